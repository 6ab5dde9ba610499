//! Patterns of string keys.

/// `?` is any one character, `*` any number of them but `/`, `**` any number of them.
pub(super) struct Glob(Vec<Part>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    This(char),
    One,
    Some,
    All,
}

impl Glob {
    pub(super) fn new(pattern: &str) -> Self {
        let mut parts = Vec::new();
        for c in pattern.chars() {
            match (c, parts.last()) {
                ('*', Some(Part::All)) => {}
                ('*', Some(Part::Some)) => {
                    parts.pop();
                    parts.push(Part::All);
                }
                ('*', _) => parts.push(Part::Some),
                ('?', _) => parts.push(Part::One),
                (c, _) => parts.push(Part::This(c)),
            }
        }
        Glob(parts)
    }

    /// In time with the product of both lengths, whatever they are.
    pub(super) fn matches(&self, text: &str) -> bool {
        // Which parts of the pattern could come next.
        let mut next = vec![false; self.0.len() + 1];
        next[0] = true;
        self.skip(&mut next);
        for c in text.chars() {
            let mut after = vec![false; next.len()];
            for (at, part) in self.0.iter().enumerate().filter(|(at, _)| next[*at]) {
                match part {
                    Part::This(this) => after[at + 1] |= *this == c,
                    Part::One => after[at + 1] = true,
                    Part::Some => after[at] |= c != '/',
                    Part::All => after[at] = true,
                }
            }
            self.skip(&mut after);
            next = after;
        }
        next[self.0.len()]
    }

    /// A star may stand for nothing.
    fn skip(&self, next: &mut [bool]) {
        for (at, part) in self.0.iter().enumerate() {
            if next[at] && matches!(part, Part::Some | Part::All) {
                next[at + 1] = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Glob::new(pattern).matches(text)
    }

    #[test]
    fn a_pattern_without_signs_is_itself() {
        assert!(matches("users/7", "users/7"));
        assert!(!matches("users/7", "users/77"));
        assert!(matches("", "") && !matches("", "a"));
    }

    #[test]
    fn a_star_stops_at_a_slash_and_two_do_not() {
        assert!(matches("users/*", "users/7") && matches("users/*", "users/"));
        assert!(!matches("users/*", "users/7/door"));
        assert!(matches("users/**", "users/7/door"));
        assert!(matches("**/door", "users/7/door") && !matches("*/door", "users/7/door"));
        assert!(matches("u*s/*/d**", "users/7/door/key"));
    }

    #[test]
    fn a_question_mark_is_one_character_of_any_width() {
        assert!(matches("na?ve", "naïve") && !matches("na?ve", "nave"));
        assert!(matches("a?b", "a/b"));
    }

    #[test]
    fn many_stars_take_no_longer_than_few() {
        let pattern = "*a".repeat(30) + "b";
        assert!(!matches(&pattern, &"a".repeat(2000)));
    }
}
