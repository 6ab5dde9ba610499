//! A writer that passes on so many bytes and no more (invariant 3 of [`super`]).

use std::fmt::{self, Write};

use super::TEXT_LIMIT;

/// What follows a text that was cut.
pub(super) const MARK: &str = "... (cut at 4096 bytes)";
const _: () = assert!(TEXT_LIMIT == 4096, "MARK names the limit");

/// Passes on the first [`TEXT_LIMIT`] bytes, then writes [`MARK`] once and swallows the rest.
///
/// What is swallowed counts as written: an application's `Display` may `unwrap` its own `write!`.
pub(super) struct Cut<'a> {
    out: &'a mut dyn Write,
    room: usize,
    full: bool,
}

impl<'a> Cut<'a> {
    pub(super) fn new(out: &'a mut dyn Write) -> Self {
        Cut {
            out,
            room: TEXT_LIMIT,
            full: false,
        }
    }

    /// Whether something was left out, so that writing more is idle work.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }
}

impl Write for Cut<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.full {
            return Ok(());
        }
        let kept = head(text, self.room);
        self.out.write_str(kept)?;
        self.room -= kept.len();
        if kept.len() < text.len() {
            self.full = true;
            self.out.write_str(MARK)?;
        }
        Ok(())
    }
}

/// The longest beginning of `text` that takes at most `bytes` and ends between two characters.
pub(crate) fn head(text: &str, bytes: usize) -> &str {
    if text.len() <= bytes {
        return text;
    }
    let mut end = bytes;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(parts: &[&str]) -> String {
        let mut out = String::new();
        let mut cut = Cut::new(&mut out);
        for part in parts {
            cut.write_str(part).unwrap();
        }
        out
    }

    #[test]
    fn a_text_of_exactly_the_limit_is_not_cut() {
        let text = "x".repeat(TEXT_LIMIT);
        assert_eq!(cut(&[&text]), text);
        assert_eq!(cut(&[&text, ""]), text);
    }

    #[test]
    fn one_byte_more_is_cut_and_marked_once() {
        let text = "x".repeat(TEXT_LIMIT);
        assert_eq!(cut(&[&text, "y", "z"]), format!("{text}{MARK}"));
    }

    #[test]
    fn nothing_follows_the_mark_even_where_a_short_text_would_still_fit() {
        let text = "x".repeat(TEXT_LIMIT - 1);
        assert_eq!(cut(&[&text, "é", "z"]), format!("{text}{MARK}"));
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(head("aé", 2), "a");
        assert_eq!(head("aé", 3), "aé");
        assert_eq!(head("日", 2), "");
        assert_eq!(head("", 0), "");
    }
}
