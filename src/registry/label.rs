//! Strings that are kept where they are compared.

use std::borrow::{Borrow, Cow};
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

use crate::sync::Arc;

/// The longest string that is kept in place.
const ROOM: usize = 22;

/// A string as a key: cheap to clone, and up to 22 bytes of it kept in place, so that a look-up needs no
/// way to where else it lies. What the system's [names](crate::Handle::names) are.
///
/// It goes wherever a `&str` goes, and compares, hashes and orders as one. As a key of a
/// [`Registry`](crate::Registry) of your own it makes look-ups faster than a `String` or an `Arc<str>` does.
///
/// ```
/// use noex::Label;
///
/// let label = Label::from("front door");
/// assert_eq!(label, *"front door");
/// assert!(label.starts_with("front"));
/// ```
#[derive(Clone)]
pub struct Label(Repr);

#[derive(Clone)]
enum Repr {
    /// The first `len` bytes are a string.
    Here {
        len: u8,
        bytes: [u8; ROOM],
    },
    There(Arc<str>),
}

impl Label {
    fn short(string: &str) -> Option<Self> {
        let mut bytes = [0; ROOM];
        bytes
            .get_mut(..string.len())?
            .copy_from_slice(string.as_bytes());
        // At most `ROOM`.
        let len = string.len() as u8;
        Some(Label(Repr::Here { len, bytes }))
    }

    /// The string.
    #[inline]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Repr::Here { len, bytes } => {
                let string = bytes.get(..usize::from(*len)).unwrap_or_default();
                // SAFETY: copied from a whole string, by `short` alone, and never changed.
                unsafe { std::str::from_utf8_unchecked(string) }
            }
            Repr::There(string) => string,
        }
    }
}

impl Deref for Label {
    type Target = str;
    #[inline]
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for Label {
    #[inline]
    fn borrow(&self) -> &str {
        self
    }
}

impl AsRef<str> for Label {
    fn as_ref(&self) -> &str {
        self
    }
}

impl PartialEq for Label {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Label {}

impl PartialEq<str> for Label {
    fn eq(&self, other: &str) -> bool {
        **self == *other
    }
}

impl PartialOrd for Label {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Label {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(other)
    }
}

impl Hash for Label {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

macro_rules! from_strings {
    ($($string:ty),+) => {
        $(
            impl From<$string> for Label {
                fn from(string: $string) -> Self {
                    Label::short(&string).unwrap_or_else(|| Label(Repr::There(string.into())))
                }
            }
        )+
    };
}

from_strings!(&str, String, Box<str>, Cow<'_, str>, Arc<str>);

impl From<&String> for Label {
    fn from(string: &String) -> Self {
        string.as_str().into()
    }
}

impl From<&Arc<str>> for Label {
    fn from(string: &Arc<str>) -> Self {
        Label::short(string).unwrap_or_else(|| Label(Repr::There(string.clone())))
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use super::*;

    #[test]
    fn strings_of_every_length_come_back_whole() {
        for len in 0..60 {
            for filler in ["x", "ä", "🦀"] {
                let string: String = filler.repeat(len);
                let label = Label::from(string.as_str());
                assert_eq!(label, *string);
                assert_eq!(Label::from(&string), label);
                assert_eq!(Label::from(Arc::<str>::from(&*string)), label);
                let is_here = matches!(label.0, Repr::Here { .. });
                assert_eq!(is_here, string.len() <= ROOM);
            }
        }
    }

    #[test]
    fn a_label_hashes_orders_and_prints_as_its_string() {
        let state = RandomState::new();
        let strings = [
            "",
            "a",
            "name",
            "a name that is longer than the room for it",
        ];
        for one in strings {
            let label = Label::from(one);
            assert_eq!(state.hash_one(&label), state.hash_one(one));
            assert_eq!(format!("{label} {label:?}"), format!("{one} {one:?}"));
            for other in strings {
                assert_eq!(label.cmp(&Label::from(other)), one.cmp(other));
            }
        }
    }

    #[test]
    fn a_label_takes_three_words() {
        assert_eq!(size_of::<Label>(), 24);
    }
}
