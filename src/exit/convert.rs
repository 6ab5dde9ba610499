//! Terms of Rust's values, and Rust's values of terms.

use std::num::TryFromIntError;

use super::map::TermMap;
use super::term::{Term, TermKind};
use crate::process::pid::{MonitorRef, Pid};
use crate::sched::timer_ref::TimerRef;

impl From<&Term> for Term {
    /// A clone, which shares it.
    fn from(term: &Term) -> Term {
        term.clone()
    }
}

impl From<TermMap> for Term {
    fn from(map: TermMap) -> Term {
        TermKind::Map(map).into()
    }
}

impl From<Pid> for Term {
    fn from(pid: Pid) -> Term {
        TermKind::Pid(pid).into()
    }
}

impl From<MonitorRef> for Term {
    fn from(monitor: MonitorRef) -> Term {
        TermKind::Monitor(monitor).into()
    }
}

impl From<TimerRef> for Term {
    fn from(timer: TimerRef) -> Term {
        TermKind::Timer(timer).into()
    }
}

impl From<&str> for Term {
    /// Text, not an atom: see [`Term::atom`].
    fn from(text: &str) -> Term {
        TermKind::String(text.into()).into()
    }
}

impl From<String> for Term {
    fn from(text: String) -> Term {
        TermKind::String(text.into()).into()
    }
}

impl From<&[u8]> for Term {
    fn from(bytes: &[u8]) -> Term {
        Term::binary(bytes)
    }
}

impl From<Vec<u8>> for Term {
    fn from(bytes: Vec<u8>) -> Term {
        Term::binary(bytes)
    }
}

impl From<Vec<Term>> for Term {
    fn from(elements: Vec<Term>) -> Term {
        TermKind::List(elements).into()
    }
}

impl From<bool> for Term {
    /// The atom `true` or `false`.
    fn from(value: bool) -> Term {
        Term::atom(if value { "true" } else { "false" })
    }
}

macro_rules! from_numbers {
    ($($kind:ident: $($number:ty),+;)+) => {$($(
        impl From<$number> for Term {
            fn from(number: $number) -> Term {
                TermKind::$kind(number.into()).into()
            }
        }
    )+)+};
}

from_numbers! {
    Integer: i8, i16, i32, i64, u8, u16, u32;
    Float: f32, f64;
}

macro_rules! from_tuples {
    ($(($($name:ident)+))+) => {$(
        impl<$($name: Into<Term>),+> From<($($name,)+)> for Term {
            #[allow(non_snake_case, reason = "one name for a type and the value of it")]
            fn from(($($name,)+): ($($name,)+)) -> Term {
                TermKind::Tuple(vec![$($name.into()),+]).into()
            }
        }
    )+};
}

from_tuples! { (A) (A B) (A B C) (A B C D) (A B C D E) (A B C D E F) }

macro_rules! try_from_integers {
    ($($number:ty)+) => {$(
        impl TryFrom<$number> for Term {
            type Error = TryFromIntError;

            /// Fails if it does not fit into 64 bits with a sign.
            fn try_from(number: $number) -> Result<Term, TryFromIntError> {
                i64::try_from(number).map(Term::from)
            }
        }
    )+};
}

try_from_integers! { u64 usize isize u128 i128 }

/// The term is of another kind, or its number is beyond the type: what could not be made of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not what is wanted")]
pub struct WrongTerm(pub Term);

macro_rules! integers_of_terms {
    ($($number:ty)+) => {$(
        impl TryFrom<&Term> for $number {
            type Error = WrongTerm;

            fn try_from(term: &Term) -> Result<$number, WrongTerm> {
                let number = term.as_integer().and_then(|number| number.try_into().ok());
                number.ok_or_else(|| WrongTerm(term.clone()))
            }
        }
    )+};
}

integers_of_terms! { i8 i16 i32 i64 isize u8 u16 u32 u64 usize }

macro_rules! values_of_terms {
    ($($value:ty: $get:expr;)+) => {$(
        impl TryFrom<&Term> for $value {
            type Error = WrongTerm;

            fn try_from(term: &Term) -> Result<$value, WrongTerm> {
                let get: fn(&Term) -> Option<$value> = $get;
                get(term).ok_or_else(|| WrongTerm(term.clone()))
            }
        }
    )+};
}

values_of_terms! {
    f64: |term| term.as_float();
    bool: |term| term.as_bool();
    String: |term| term.as_str().map(str::to_owned);
    Vec<u8>: |term| term.as_bytes().map(<[u8]>::to_vec);
    Pid: |term| term.as_pid();
}

/// What is in a term: `None` where it is of another kind. For a value of a type that is wanted anyway,
/// `try_from` has an error: `i64::try_from(&term)?`.
impl Term {
    /// The name of an atom.
    pub fn as_atom(&self) -> Option<&str> {
        match self.kind() {
            TermKind::Atom(name) => Some(name),
            _ => None,
        }
    }

    /// Whether it is the atom of this name.
    ///
    /// ```
    /// # use noex::Term;
    /// assert!(Term::from(true).is_atom("true"));
    /// ```
    pub fn is_atom(&self, name: &str) -> bool {
        self.as_atom() == Some(name)
    }

    /// What the atoms `true` and `false` say.
    pub fn as_bool(&self) -> Option<bool> {
        match self.as_atom()? {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// An integer.
    pub fn as_integer(&self) -> Option<i64> {
        match self.kind() {
            TermKind::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// A float; not an integer.
    pub fn as_float(&self) -> Option<f64> {
        match self.kind() {
            TermKind::Float(number) => Some(*number),
            _ => None,
        }
    }

    /// The bytes of a binary, text or not.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        self.kind().bytes()
    }

    /// The text of a binary that is UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        match self.kind() {
            TermKind::String(text) => Some(text),
            TermKind::Binary(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// The elements of a tuple.
    pub fn as_tuple(&self) -> Option<&[Term]> {
        match self.kind() {
            TermKind::Tuple(elements) => Some(elements),
            _ => None,
        }
    }

    /// The elements of a list.
    pub fn as_list(&self) -> Option<&[Term]> {
        match self.kind() {
            TermKind::List(elements) => Some(elements),
            _ => None,
        }
    }

    /// A map.
    pub fn as_map(&self) -> Option<&TermMap> {
        match self.kind() {
            TermKind::Map(map) => Some(map),
            _ => None,
        }
    }

    /// A pid.
    pub fn as_pid(&self) -> Option<Pid> {
        match self.kind() {
            TermKind::Pid(pid) => Some(*pid),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integer_beyond_64_bits_makes_no_term() {
        assert_eq!(Term::try_from(u64::MAX >> 1), Ok(Term::from(i64::MAX)));
        assert!(Term::try_from(u64::MAX).is_err());
        assert!(Term::try_from(i128::from(i64::MIN) - 1).is_err());
    }

    #[test]
    fn values_come_back_as_what_they_were_and_as_nothing_else() {
        assert_eq!(u8::try_from(&Term::from(255)), Ok(255));
        assert_eq!(
            u8::try_from(&Term::from(256)),
            Err(WrongTerm(Term::from(256)))
        );
        assert_eq!(
            i64::try_from(&Term::from(1.0)),
            Err(WrongTerm(Term::from(1.0)))
        );
        assert!(f64::try_from(&Term::from(1)).is_err());
        assert_eq!(f64::try_from(&Term::from(1.5)), Ok(1.5));
        assert_eq!(bool::try_from(&Term::from(true)), Ok(true));
        assert!(bool::try_from(&Term::atom("yes")).is_err());
        assert_eq!(String::try_from(&Term::binary(*b"a")), Ok("a".to_owned()));
        assert!(String::try_from(&Term::binary([255])).is_err());
        assert!(String::try_from(&Term::atom("a")).is_err());
        assert_eq!(Vec::<u8>::try_from(&Term::from("a")), Ok(vec![97]));
        let pid = Pid::local(1, 2, 3);
        assert_eq!(Pid::try_from(&Term::from(pid)), Ok(pid));
        assert_eq!(Term::from((1, 2)).as_tuple().map(<[Term]>::len), Some(2));
        assert_eq!(Term::from((1, 2)).as_list(), None);
        assert_eq!(Term::list([1]).as_list(), Some(&[Term::from(1)][..]));
    }
}
