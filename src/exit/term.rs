//! [`Term`]: an Erlang value, as an exit reason may carry one and a
//! [`TermTable`](crate::ets::TermTable) keeps them.
//!
//! Terms are shared, and nested as deep as their maker likes. What works on one keeps a list of
//! the places still to visit on the heap (invariant 4 of [`super`]), and a term without parts,
//! the common one, never touches that list.

use std::fmt;
use std::hash::{Hash, Hasher};

use super::erlang;
use super::map::TermMap;
use crate::process::pid::{MonitorRef, Pid};
use crate::sched::timer_ref::TimerRef;
use crate::sync::Arc;

/// An Erlang value: an atom, a number, a binary, a pid or a reference; a tuple, a list or a map of such.
///
/// It tells whoever sees a process end what was meant, in a form that an Erlang node can be sent:
/// OTP's `{shutdown, Term}` is [`ExitReason::Shutdown`](crate::ExitReason::Shutdown) with a term. And it
/// is what a [`TermTable`](crate::ets::TermTable) keeps.
///
/// There are no funs, ports, improper lists, or bitstrings that are not whole bytes. An integer has 64
/// bits: of Rust's types that may exceed them a term is made by `try_from`, so that nothing is cut off.
///
/// A term is one pointer; a clone shares it. Terms may nest without limit: dropping, comparing,
/// hashing and printing a deep one take no more stack than a flat one.
///
/// Two terms are equal where Erlang's `=:=` says so: `1` is not `1.0`, and text is the binary of
/// its UTF-8 bytes, whether built as [`TermKind::String`] or as [`TermKind::Binary`]. Floats are
/// compared by their bits, so that NaN equals itself and `0.0` is not `-0.0` (as since OTP 27).
/// A part that both terms share is not looked into; otherwise comparing, and hashing always,
/// visits a part once for each place where it stands. Erlang's `==`, in which `1` is `1.0`, and its
/// order of all terms are [`compare`](Term::compare).
///
/// `Display` and `Debug` both print Erlang's syntax, atoms quoted where Erlang would, and cut
/// what is longer than 4 KiB. What is not a value in Erlang is printed as `nan`, `inf`, `-inf`.
/// `parse` reads that syntax.
///
/// # Examples
/// ```
/// use noex::Term;
///
/// let term = Term::from((Term::atom("badarg"), "no such key", 7));
/// assert_eq!(term.to_string(), r#"{badarg,<<"no such key">>,7}"#);
/// assert_eq!(Term::atom("Hello world").to_string(), "'Hello world'");
/// assert_eq!(Term::list([1.5, 2.0]).to_string(), "[1.5,2.0]");
/// assert_eq!(term, r#"{badarg, <<"no such key">>, 7}"#.parse()?);
/// # Ok::<(), noex::ParseTermError>(())
/// ```
#[derive(Clone)]
pub struct Term(Arc<Node>);

const _: () = assert!(size_of::<Term>() == 8 && size_of::<Option<Term>>() == 8);

/// What a [`Term`] is, as [`Term::kind`] shows it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum TermKind {
    /// A name. Erlang allows 255 characters; that is not checked here.
    Atom(Box<str>),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction. Erlang knows no infinity and no NaN; that is not checked here, but
    /// remembered: see [`Term::is_finite`].
    Float(f64),
    /// Text: in Erlang a binary in UTF-8, as Elixir's strings are; not a list of characters.
    String(Box<str>),
    /// Bytes: in Erlang a binary.
    Binary(Box<[u8]>),
    /// A fixed number of terms: `{a,b}`.
    Tuple(Vec<Term>),
    /// A proper list: `[a,b]`.
    List(Vec<Term>),
    /// Terms by keys: `#{a => 1}`.
    Map(TermMap),
    /// A process.
    Pid(Pid),
    /// A monitor: in Erlang a reference.
    Monitor(MonitorRef),
    /// A timer: in Erlang a reference.
    Timer(TimerRef),
}

/// The shared part of a term. Apart from [`TermKind`], so that the latter has no `Drop` and can be
/// taken apart by pattern.
struct Node {
    kind: TermKind,
    /// No float in it is NaN or infinite.
    finite: bool,
}

impl Term {
    /// An atom.
    ///
    /// ```
    /// # use noex::Term;
    /// assert_eq!(Term::atom("timeout").to_string(), "timeout");
    /// assert_ne!(Term::atom("timeout"), Term::from("timeout"));
    /// ```
    pub fn atom(name: impl Into<Box<str>>) -> Term {
        TermKind::Atom(name.into()).into()
    }

    /// A binary of any bytes.
    ///
    /// ```
    /// # use noex::Term;
    /// assert_eq!(Term::binary([0, 255]).to_string(), "<<0,255>>");
    /// ```
    pub fn binary(bytes: impl Into<Box<[u8]>>) -> Term {
        TermKind::Binary(bytes.into()).into()
    }

    /// A tuple of any size. Small ones also come from Rust's tuples by `into`.
    ///
    /// ```
    /// # use noex::Term;
    /// assert_eq!(Term::tuple([1, 2, 3]), Term::from((1, 2, 3)));
    /// ```
    pub fn tuple<T: Into<Term>>(elements: impl IntoIterator<Item = T>) -> Term {
        TermKind::Tuple(elements.into_iter().map(Into::into).collect()).into()
    }

    /// A list.
    ///
    /// ```
    /// # use noex::Term;
    /// assert_eq!(Term::list(["a", "b"]).to_string(), r#"[<<"a">>,<<"b">>]"#);
    /// ```
    pub fn list<T: Into<Term>>(elements: impl IntoIterator<Item = T>) -> Term {
        TermKind::List(elements.into_iter().map(Into::into).collect()).into()
    }

    /// A map. Of several values for one key the last one counts, as in `maps:from_list/1`. `1` and `1.0`
    /// are two keys.
    ///
    /// ```
    /// # use noex::Term;
    /// let map = Term::map([(Term::atom("b"), 2), (Term::atom("a"), 1)]);
    /// assert_eq!(map.to_string(), "#{a => 1,b => 2}");
    /// ```
    pub fn map<K: Into<Term>, V: Into<Term>>(entries: impl IntoIterator<Item = (K, V)>) -> Term {
        TermKind::Map(TermMap::of(entries)).into()
    }

    /// Whether all floats in this term are numbers in Erlang too: none is NaN or infinite. Takes no time:
    /// it is known of every term since it was made.
    pub fn is_finite(&self) -> bool {
        self.0.finite
    }

    /// Whether the two are one and the same part of memory.
    pub(super) fn is(&self, other: &Term) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// What this term is.
    ///
    /// ```
    /// # use noex::{Term, TermKind};
    /// let term = Term::from((Term::atom("retry_in"), 250));
    /// if let TermKind::Tuple(parts) = term.kind() {
    ///     assert!(matches!(parts[1].kind(), TermKind::Integer(250)));
    /// }
    /// ```
    pub fn kind(&self) -> &TermKind {
        &self.0.kind
    }
}

impl TermKind {
    /// The terms directly inside; none of what is no tuple, list or map.
    pub(crate) fn parts(&self) -> &[Term] {
        match self {
            TermKind::Tuple(parts) | TermKind::List(parts) => parts,
            TermKind::Map(map) => map.parts(),
            _ => &[],
        }
    }

    fn take_parts(&mut self) -> Vec<Term> {
        match self {
            TermKind::Tuple(parts) | TermKind::List(parts) => std::mem::take(parts),
            TermKind::Map(map) => map.take_parts(),
            _ => Vec::new(),
        }
    }

    /// The bytes of what is a binary in Erlang.
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        match self {
            TermKind::String(text) => Some(text.as_bytes()),
            TermKind::Binary(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Whether the two are equal so far as one can see without looking into their parts.
    fn looks_like(&self, other: &TermKind) -> bool {
        use TermKind::*;
        match (self, other) {
            (Atom(a), Atom(b)) => a == b,
            (Integer(a), Integer(b)) => a == b,
            (Float(a), Float(b)) => a.to_bits() == b.to_bits(),
            (Tuple(a), Tuple(b)) | (List(a), List(b)) => a.len() == b.len(),
            (Map(a), Map(b)) => a.len() == b.len(),
            (Pid(a), Pid(b)) => a == b,
            (Monitor(a), Monitor(b)) => a == b,
            (Timer(a), Timer(b)) => a == b,
            (String(_) | Binary(_), String(_) | Binary(_)) => self.bytes() == other.bytes(),
            _ => false,
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // The parts' own parts join the list before a part is dropped, so that the `drop` of a
        // part finds nothing left to do and the stack stays flat (invariant 4).
        let mut doomed = self.kind.take_parts();
        while let Some(term) = doomed.pop() {
            // `into_inner` gives the node to exactly one of the owners that let go at once.
            if let Some(mut node) = Arc::into_inner(term.0) {
                doomed.append(&mut node.kind.take_parts());
            }
        }
    }
}

impl PartialEq for Term {
    fn eq(&self, other: &Term) -> bool {
        let mut rest: Vec<(&[Term], &[Term])> = Vec::new();
        let mut pair = (self, other);
        loop {
            let (a, b) = (&pair.0.0, &pair.1.0);
            if !Arc::ptr_eq(a, b) {
                if !a.kind.looks_like(&b.kind) {
                    return false;
                }
                if !a.kind.parts().is_empty() {
                    rest.push((a.kind.parts(), b.kind.parts()));
                }
            }
            pair = loop {
                let Some((a, b)) = rest.last_mut() else {
                    return true;
                };
                match (a.split_first(), b.split_first()) {
                    (Some((first_a, more_a)), Some((first_b, more_b))) => {
                        (*a, *b) = (more_a, more_b);
                        break (first_a, first_b);
                    }
                    // Both are at their end: `looks_like` has compared the lengths.
                    _ => _ = rest.pop(),
                }
            };
        }
    }
}

impl Eq for Term {}

impl Hash for Term {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let mut rest: Vec<std::slice::Iter<'_, Term>> = Vec::new();
        let mut term = self;
        loop {
            // A tag for each kind that equality tells apart, and lengths, so that no two terms
            // feed the same bytes by the way they are nested.
            match term.kind() {
                TermKind::Atom(name) => (0u8, name).hash(state),
                TermKind::Integer(number) => (1u8, number).hash(state),
                TermKind::Float(number) => (2u8, number.to_bits()).hash(state),
                TermKind::String(text) => (3u8, text.as_bytes()).hash(state),
                TermKind::Binary(bytes) => (3u8, &**bytes).hash(state),
                TermKind::Tuple(parts) => (4u8, parts.len()).hash(state),
                TermKind::List(parts) => (5u8, parts.len()).hash(state),
                TermKind::Map(map) => (6u8, map.len()).hash(state),
                TermKind::Pid(pid) => (7u8, pid).hash(state),
                TermKind::Monitor(monitor) => (8u8, monitor).hash(state),
                TermKind::Timer(timer) => (9u8, timer).hash(state),
            }
            if !term.kind().parts().is_empty() {
                rest.push(term.kind().parts().iter());
            }
            term = loop {
                let Some(parts) = rest.last_mut() else { return };
                match parts.next() {
                    Some(next) => break next,
                    None => _ = rest.pop(),
                }
            };
        }
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        erlang::write_term(self, f)
    }
}

impl fmt::Debug for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        erlang::write_term(self, f)
    }
}

impl From<TermKind> for Term {
    fn from(kind: TermKind) -> Term {
        let finite = match &kind {
            TermKind::Float(number) => number.is_finite(),
            others => others.parts().iter().all(Term::is_finite),
        };
        Term(Arc::new(Node { kind, finite }))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::{DefaultHasher, Hasher};

    use super::*;

    fn hash_of(term: &Term) -> u64 {
        let mut hasher = DefaultHasher::new();
        term.hash(&mut hasher);
        hasher.finish()
    }

    fn nested(depth: usize) -> Term {
        (0..depth).fold(Term::atom("core"), |inner, level| match level % 2 {
            0 => Term::tuple([inner]),
            _ => Term::list([Term::from(1), inner]),
        })
    }

    /// Deep enough to overflow the stack of a test thread, were anything to recurse.
    const DEEP: usize = if cfg!(miri) { 400 } else { 300_000 };

    #[test]
    fn a_deep_term_is_dropped_compared_hashed_and_printed_on_a_flat_stack() {
        let (one, two) = (nested(DEEP), nested(DEEP));
        assert_eq!(one, two);
        assert_eq!(hash_of(&one), hash_of(&two));
        assert_ne!(one, nested(DEEP - 2));
        assert!(one.to_string().len() < 5_000);
        drop((one, two));
    }

    #[test]
    fn what_a_dropped_term_shares_with_a_live_one_lives_on() {
        let shared = nested(8);
        let text = shared.to_string();
        let outer = Term::from((shared.clone(), Term::list([shared.clone(), shared.clone()])));
        drop(outer);
        assert_eq!(shared.to_string(), text);
        assert_eq!(Arc::strong_count(&shared.0), 1);
    }

    #[test]
    fn a_term_shared_by_threads_is_freed_by_the_last_of_them() {
        let term = nested(if cfg!(miri) { 50 } else { 5_000 });
        let watch = Arc::downgrade(&term.0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let term = term.clone();
                scope.spawn(move || drop(term));
            }
            drop(term);
        });
        assert!(watch.upgrade().is_none());
    }

    #[test]
    fn a_term_that_shares_its_parts_is_compared_without_looking_into_them() {
        // 2^200 leaves, were each visited.
        let shared = (0..200).fold(Term::from(0), |term, _| Term::from((term.clone(), term)));
        assert_eq!(Term::list([shared.clone()]), Term::list([shared]));
    }

    #[test]
    fn printing_a_term_stops_where_the_text_is_cut() {
        let shared = (0..200).fold(Term::from(0), |term, _| Term::from((term.clone(), term)));
        assert!(shared.to_string().ends_with(super::super::cut::MARK));
    }

    #[test]
    fn terms_are_equal_by_content_as_in_erlang() {
        assert_eq!(Term::from((1, "a")), Term::from((1, String::from("a"))));
        assert_ne!(Term::from(1), Term::from(1.0));
        assert_ne!(Term::atom("a"), Term::from("a"));
        assert_ne!(Term::list([1, 2]), Term::tuple([1, 2]));
        assert_ne!(Term::list([1, 2]), Term::list([1, 2, 3]));
        assert_ne!(Term::list([1, 2]), Term::list([2, 1]));
        assert_ne!(Term::from(((1,), 2)), Term::from((1, (2,))));
        assert_eq!(Term::list::<Term>([]), Term::from(Vec::<Term>::new()));
        assert_ne!(Term::list::<Term>([]), Term::tuple::<Term>([]));
        assert_eq!(Term::from(true), Term::atom("true"));
    }

    #[test]
    fn text_and_the_bytes_of_it_are_the_same_binary() {
        assert_eq!(Term::from("é"), Term::binary("é".as_bytes()));
        assert_eq!(
            hash_of(&Term::from("é")),
            hash_of(&Term::from(Vec::from("é")))
        );
        assert_ne!(Term::from("é"), Term::binary([233]));
    }

    #[test]
    fn floats_are_compared_by_their_bits() {
        assert_eq!(Term::from(f64::NAN), Term::from(f64::NAN));
        assert_ne!(Term::from(0.0), Term::from(-0.0));
        assert_eq!(Term::from(0.5f32), Term::from(0.5f64));
    }

    #[test]
    fn terms_that_differ_only_in_nesting_hash_apart() {
        let terms = [
            Term::from(((1,), 2)),
            Term::from((1, (2,))),
            Term::from(((1, 2),)),
            Term::from((1, 2)),
            Term::list([1, 2]),
            Term::from((Term::tuple::<Term>([]), 1)),
            Term::from((1, Term::tuple::<Term>([]))),
        ];
        let hashes: HashSet<u64> = terms.iter().map(hash_of).collect();
        assert_eq!(hashes.len(), terms.len());
        assert_eq!(
            terms.iter().cloned().collect::<HashSet<Term>>().len(),
            terms.len()
        );
    }

    #[test]
    fn a_kind_shows_what_the_term_was_built_of() {
        assert!(matches!(Term::atom("a").kind(), TermKind::Atom(name) if &**name == "a"));
        assert!(matches!(Term::from(7u32).kind(), TermKind::Integer(7)));
        assert!(matches!(Term::from("a").kind(), TermKind::String(text) if &**text == "a"));
        assert!(
            matches!(Term::from(&b"a"[..]).kind(), TermKind::Binary(bytes) if **bytes == *b"a")
        );
        let list = Term::from(vec![Term::from(1)]);
        assert!(matches!(list.kind(), TermKind::List(parts) if parts.len() == 1));
    }
}
