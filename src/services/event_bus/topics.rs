//! Topics, patterns, and the trie that finds who subscribed to a topic in the time of its segments, not
//! of the number of subscriptions.
//!
//! ```text
//!   orders.*.paid  ─┐            root
//!   orders.eu.paid ─┼─▶   orders ─┴─ *          *  : rest = [9]      one or more segments
//!   orders.*       ─┘    ┌──┴───┐
//!                        eu     * (any one)     orders : rest = [7]  one or more after it
//!                        │      │
//!                       paid   paid             paid : here = [1], [2]
//! ```

use std::collections::{BTreeSet, HashMap};

/// No topic and no pattern has more segments: the trie is as deep as the longest pattern.
pub(super) const MAX_SEGMENTS: usize = 64;

/// Why something is not a topic, or not a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopicError {
    /// It has an empty segment: it is empty, begins or ends with a dot, or has two in a row.
    #[error("a topic has no empty segments")]
    EmptySegment,
    /// A topic that is published to has a `*` in it. (In a pattern, one that is not a whole segment.)
    #[error("`*` stands for a whole segment, and only in patterns")]
    Wildcard,
    /// It has more than 64 segments.
    #[error("a topic has at most {MAX_SEGMENTS} segments")]
    TooLong,
}

/// Whether `topic` can be published to.
pub(super) fn check_topic(topic: &str) -> Result<(), TopicError> {
    check(topic, |segment| !segment.contains('*'))
}

/// Whether `pattern` can be subscribed to.
pub(super) fn check_pattern(pattern: &str) -> Result<(), TopicError> {
    check(pattern, |segment| segment == "*" || !segment.contains('*'))
}

fn check(text: &str, may_be: impl Fn(&str) -> bool) -> Result<(), TopicError> {
    let mut segments = 0;
    for segment in text.split('.') {
        segments += 1;
        if segment.is_empty() {
            return Err(TopicError::EmptySegment);
        }
        if !may_be(segment) {
            return Err(TopicError::Wildcard);
        }
    }
    if segments > MAX_SEGMENTS {
        return Err(TopicError::TooLong);
    }
    Ok(())
}

/// Who subscribed to which pattern. A subscription is a number.
#[derive(Debug, Default)]
pub(super) struct Trie {
    root: Branch,
}

#[derive(Debug, Default)]
struct Branch {
    named: HashMap<Box<str>, Branch>,
    /// Any one segment.
    any: Option<Box<Branch>>,
    /// Patterns that end here.
    here: BTreeSet<u64>,
    /// Patterns that end here with a trailing `*`.
    rest: BTreeSet<u64>,
}

impl Branch {
    fn is_bare(&self) -> bool {
        self.named.is_empty() && self.any.is_none() && self.here.is_empty() && self.rest.is_empty()
    }

    fn insert(&mut self, pattern: &str, id: u64) {
        match pattern.split_once('.') {
            None if pattern == "*" => {
                self.rest.insert(id);
            }
            None => {
                self.named
                    .entry(pattern.into())
                    .or_default()
                    .here
                    .insert(id);
            }
            Some(("*", after)) => self.any.get_or_insert_default().insert(after, id),
            Some((segment, after)) => {
                let next = self.named.entry(segment.into()).or_default();
                next.insert(after, id);
            }
        }
    }

    fn remove(&mut self, pattern: &str, id: u64) {
        let (segment, after) = match pattern.split_once('.') {
            Some((segment, after)) => (segment, Some(after)),
            None => (pattern, None),
        };
        if let ("*", None) = (segment, after) {
            self.rest.remove(&id);
            return;
        }
        let next = match segment {
            "*" => self.any.as_deref_mut(),
            _ => self.named.get_mut(segment),
        };
        let Some(next) = next else { return };
        match after {
            Some(after) => next.remove(after, id),
            None => {
                next.here.remove(&id);
            }
        }
        if next.is_bare() {
            match segment {
                "*" => self.any = None,
                _ => {
                    self.named.remove(segment);
                }
            }
        }
    }

    fn find(&self, topic: &str, found: &mut Vec<u64>) {
        found.extend(&self.rest);
        let (segment, after) = match topic.split_once('.') {
            Some((segment, after)) => (segment, Some(after)),
            None => (topic, None),
        };
        let next = self
            .named
            .get(segment)
            .into_iter()
            .chain(self.any.as_deref());
        for branch in next {
            match after {
                Some(after) => branch.find(after, found),
                None => found.extend(&branch.here),
            }
        }
    }
}

impl Trie {
    /// Adds a subscription to a pattern that was checked.
    pub(super) fn insert(&mut self, pattern: &str, id: u64) {
        self.root.insert(pattern, id);
    }

    /// Removes it again, and all that was there for it alone.
    pub(super) fn remove(&mut self, pattern: &str, id: u64) {
        self.root.remove(pattern, id);
    }

    /// The subscriptions that `topic` goes to, each once, in the order of their numbers.
    pub(super) fn find(&self, topic: &str) -> Vec<u64> {
        let mut found = Vec::new();
        self.root.find(topic, &mut found);
        found.sort_unstable();
        found
    }

    #[cfg(test)]
    fn is_bare(&self) -> bool {
        self.root.is_bare()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, topic: &str) -> bool {
        check_pattern(pattern).unwrap();
        check_topic(topic).unwrap();
        let mut trie = Trie::default();
        trie.insert(pattern, 1);
        !trie.find(topic).is_empty()
    }

    #[test]
    fn a_star_alone_is_every_topic() {
        assert!(matches("*", "a"));
        assert!(matches("*", "a.b.c"));
    }

    #[test]
    fn a_star_at_the_end_is_one_or_more_segments() {
        assert!(matches("user.*", "user.a"));
        assert!(matches("user.*", "user.a.b"));
        assert!(!matches("user.*", "user"));
        assert!(!matches("user.*", "users.a"));
    }

    #[test]
    fn a_star_in_the_middle_is_one_segment() {
        assert!(matches("a.*.c", "a.b.c"));
        assert!(!matches("a.*.c", "a.c"));
        assert!(!matches("a.*.c", "a.b.b.c"));
        assert!(matches("*.c", "b.c"));
        assert!(!matches("*.c", "b.b.c"));
        assert!(matches("a.*.*", "a.b.c"));
        assert!(!matches("a.*.*", "a.b"));
    }

    #[test]
    fn a_name_is_itself() {
        assert!(matches("a.b", "a.b"));
        assert!(!matches("a.b", "a"));
        assert!(!matches("a.b", "a.b.c"));
    }

    #[test]
    fn each_subscription_is_found_once_and_in_order() {
        let mut trie = Trie::default();
        for (id, pattern) in ["*", "a.*", "a.b", "*.b", "a.b", "c.*"].iter().enumerate() {
            trie.insert(pattern, id as u64);
        }
        assert_eq!(trie.find("a.b"), [0, 1, 2, 3, 4]);
        assert_eq!(trie.find("c.b"), [0, 3, 5]);
        assert_eq!(trie.find("a"), [0]);
    }

    #[test]
    fn the_last_subscription_takes_its_branches_along() {
        let mut trie = Trie::default();
        let patterns = ["*", "a.*.c", "a.b.c", "a.b", "*.x"];
        for (id, pattern) in patterns.iter().enumerate() {
            trie.insert(pattern, id as u64);
        }
        trie.remove("a.b.c", 99);
        trie.remove("not.there", 1);
        assert_eq!(trie.find("a.b.c"), [0, 1, 2]);
        for (id, pattern) in patterns.iter().enumerate() {
            trie.remove(pattern, id as u64);
            assert!(!trie.find("a.b.c").contains(&(id as u64)));
        }
        assert!(trie.is_bare());
    }

    #[test]
    fn what_is_no_topic_is_refused() {
        for empty in ["", ".", "a.", ".a", "a..b"] {
            assert_eq!(
                check_topic(empty),
                Err(TopicError::EmptySegment),
                "{empty:?}"
            );
            assert_eq!(check_pattern(empty), Err(TopicError::EmptySegment));
        }
        assert_eq!(check_topic("a.*"), Err(TopicError::Wildcard));
        assert_eq!(check_pattern("a.b*"), Err(TopicError::Wildcard));
        assert_eq!(check_pattern("a.**"), Err(TopicError::Wildcard));
        let long = ["a"; MAX_SEGMENTS + 1].join(".");
        assert_eq!(check_topic(&long), Err(TopicError::TooLong));
        assert_eq!(check_pattern(&["*"; MAX_SEGMENTS].join(".")), Ok(()));
    }

    /// The trie against the definition, for all short patterns and topics of two names.
    #[test]
    fn it_finds_what_the_definition_says() {
        fn defined(pattern: &[&str], topic: &[&str]) -> bool {
            match (pattern, topic) {
                (["*"], [_, ..]) => true,
                ([], []) => true,
                ([p, pattern @ ..], [t, topic @ ..]) => {
                    (*p == "*" || p == t) && defined(pattern, topic)
                }
                _ => false,
            }
        }
        fn all(names: &[&'static str], depth: usize) -> Vec<Vec<&'static str>> {
            let mut all: Vec<Vec<&'static str>> = vec![vec![]];
            let mut last = all.clone();
            for _ in 0..depth {
                last = last
                    .iter()
                    .flat_map(|path| {
                        names
                            .iter()
                            .map(|name| [path.as_slice(), &[*name]].concat())
                    })
                    .collect();
                all.extend(last.clone());
            }
            all.remove(0);
            all
        }
        let patterns = all(&["a", "b", "*"], 4);
        let mut trie = Trie::default();
        for (id, pattern) in patterns.iter().enumerate() {
            trie.insert(&pattern.join("."), id as u64);
        }
        for topic in all(&["a", "b"], 5) {
            let expected: Vec<u64> = (0..patterns.len() as u64)
                .filter(|id| defined(&patterns[*id as usize], &topic))
                .collect();
            assert_eq!(trie.find(&topic.join(".")), expected, "{topic:?}");
        }
    }
}
