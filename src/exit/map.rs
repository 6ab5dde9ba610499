//! [`TermMap`]: terms by keys, which are terms as well.

use std::fmt;

use super::order::compare_exactly;
use super::term::Term;

/// A map of terms, as [`TermKind::Map`](crate::TermKind::Map) has one. It does not change; another one is
/// made of its entries.
///
/// Keys are compared as by `=:=`, so `1` and `1.0` are two. They are in the order in which OTP (until 25)
/// keeps those of small maps: the order of terms, but integers before floats.
///
/// ```
/// # use noex::Term;
/// let term = Term::map([(Term::from(1.0), "float"), (Term::from(1), "integer")]);
/// let map = term.as_map().ok_or("no map")?;
/// assert_eq!(map.len(), 2);
/// assert_eq!(map.get(&Term::from(1)), Some(&Term::from("integer")));
/// # Ok::<(), &str>(())
/// ```
#[derive(Clone)]
pub struct TermMap {
    /// All keys in their order, then the value of each: parts of a term like those of a tuple.
    parts: Vec<Term>,
}

/// The entries of a [`TermMap`], in the order of the keys.
pub(super) type Entries<'a> =
    std::iter::Zip<std::slice::Iter<'a, Term>, std::slice::Iter<'a, Term>>;

impl TermMap {
    pub(super) fn of<K: Into<Term>, V: Into<Term>>(
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> TermMap {
        let into = |(key, value): (K, V)| (key.into(), value.into());
        let mut entries: Vec<(Term, Term)> = entries.into_iter().map(into).collect();
        // Stable: of equal keys the last is the one that came last.
        entries.sort_by(|(a, _), (b, _)| compare_exactly(a, b));
        let mut all: Vec<(Term, Term)> = Vec::with_capacity(entries.len());
        for entry in entries {
            match all.last_mut() {
                Some(last) if last.0 == entry.0 => *last = entry,
                _ => all.push(entry),
            }
        }
        let (mut parts, values): (Vec<Term>, Vec<Term>) = all.into_iter().unzip();
        parts.extend(values);
        TermMap { parts }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.parts.len() / 2
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The keys, in their order.
    pub fn keys(&self) -> &[Term] {
        &self.parts[..self.len()]
    }

    /// The values, in the order of their keys.
    pub fn values(&self) -> &[Term] {
        &self.parts[self.len()..]
    }

    /// The entries, in the order of their keys.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&Term, &Term)> + ExactSizeIterator {
        self.entries()
    }

    pub(super) fn entries(&self) -> Entries<'_> {
        self.keys().iter().zip(self.values())
    }

    /// The value of a key. OTP: `maps:find/2`.
    pub fn get(&self, key: &Term) -> Option<&Term> {
        let at = self.keys().binary_search_by(|it| compare_exactly(it, key));
        self.values().get(at.ok()?)
    }

    pub(super) fn parts(&self) -> &[Term] {
        &self.parts
    }

    pub(super) fn take_parts(&mut self) -> Vec<Term> {
        std::mem::take(&mut self.parts)
    }
}

impl PartialEq for TermMap {
    fn eq(&self, other: &TermMap) -> bool {
        self.parts == other.parts
    }
}

impl Eq for TermMap {}

impl fmt::Debug for TermMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_values_for_a_key_the_last_counts() {
        let map = TermMap::of([(1, 10), (2, 20), (1, 11), (2, 21), (1, 12)]);
        assert_eq!(map.len(), 2);
        assert_eq!(map.get(&Term::from(1)), Some(&Term::from(12)));
        assert_eq!(map.get(&Term::from(2)), Some(&Term::from(21)));
        assert_eq!(map.get(&Term::from(1.0)), None);
    }

    #[test]
    fn maps_are_equal_whatever_the_order_they_were_made_in() {
        let one = Term::map([(Term::from(1), 1), (Term::atom("a"), 2)]);
        let two = Term::map([(Term::atom("a"), 2), (Term::from(1), 1)]);
        assert_eq!(one, two);
        assert_ne!(one, Term::map([(Term::atom("a"), 1), (Term::from(1), 2)]));
        assert_ne!(Term::map([(1, 2)]), Term::list([1, 2]));
    }
}
