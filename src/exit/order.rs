//! Erlang's order of all terms, and the equality that goes with it.
//!
//! ```text
//! number < atom < reference < pid < tuple < map < list < binary
//! ```
//!
//! Two orders are alike but for numbers:
//!
//! | | `1` and `1.0` | where |
//! |---|---|---|
//! | the order of terms, `==`, `<` | equal | [`Term::compare`], [`OrderedTerm`] |
//! | the exact order, `=:=` | `1` before `1.0`, all integers before all floats | keys of maps, whatever they are nested in |

use std::cmp::Ordering;

use super::term::{Term, TermKind};

/// How numbers of the two kinds are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Numbers {
    /// By what they are worth.
    ByValue,
    /// Integers come before floats.
    ByKind,
}

impl Term {
    /// Which comes first in Erlang's order of terms: number < atom < reference < pid < tuple < map < list
    /// < binary. Equal is what is so by Erlang's `==`, which for terms without floats is what `Eq` says.
    ///
    /// - Integers and floats are compared by their values, also where a float is not exact any more.
    /// - Atoms are compared by their text, binaries by their bytes.
    /// - Tuples by their size first, then element by element; lists element by element.
    /// - Maps by their size, then by their keys in order, then by their values in the order of the keys.
    ///   As keys, integers come before floats.
    /// - NaN, which Erlang has not, comes before or after all numbers, as its sign says.
    ///
    /// OTP: `==`, `<` and so on; `lists:sort/1`. The other equality, `=:=`, is `Eq`. Terms have no `Ord`,
    /// which would have to agree with that one; [`OrderedTerm`] has.
    ///
    /// ```
    /// # use noex::Term;
    /// use std::cmp::Ordering;
    ///
    /// assert_eq!(Term::from(1).compare(&Term::from(1.0)), Ordering::Equal);
    /// assert_ne!(Term::from(1), Term::from(1.0));
    /// let exact = 1_i64 << 53;
    /// assert_eq!(Term::from(exact + 1).compare(&Term::from(exact as f64)), Ordering::Greater);
    /// ```
    pub fn compare(&self, other: &Term) -> Ordering {
        compare(self, other, Numbers::ByValue)
    }
}

/// A term that is compared as Erlang's order of terms does it, so that `1` equals `1.0`: for sorting, and
/// as the key of an ordered collection.
///
/// ```
/// # use noex::Term;
/// use noex::ets::OrderedTerm;
///
/// assert_eq!(OrderedTerm(Term::from(1)), OrderedTerm(Term::from(1.0)));
/// let mut terms = vec![Term::atom("a"), Term::from("a"), Term::from(2), Term::from(1.5)];
/// terms.sort_by_cached_key(|term| OrderedTerm(term.clone()));
/// assert_eq!(Term::list(terms).to_string(), r#"[1.5,2,a,<<"a">>]"#);
/// ```
#[derive(Debug, Clone)]
pub struct OrderedTerm(pub Term);

impl PartialEq for OrderedTerm {
    fn eq(&self, other: &OrderedTerm) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for OrderedTerm {}

impl PartialOrd for OrderedTerm {
    fn partial_cmp(&self, other: &OrderedTerm) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for OrderedTerm {
    fn cmp(&self, other: &OrderedTerm) -> Ordering {
        self.0.compare(&other.0)
    }
}

impl From<Term> for OrderedTerm {
    fn from(term: Term) -> OrderedTerm {
        OrderedTerm(term)
    }
}

/// The exact order. It calls equal what `Eq` does.
pub(crate) fn compare_exactly(a: &Term, b: &Term) -> Ordering {
    compare(a, b, Numbers::ByKind)
}

fn compare(a: &Term, b: &Term, numbers: Numbers) -> Ordering {
    // What is left to compare once the pair at hand is equal, the innermost last (invariant 4).
    let mut rest: Vec<(&[Term], &[Term], Numbers)> = Vec::new();
    let (mut a, mut b, mut numbers) = (a, b, numbers);
    loop {
        if !a.is(b) {
            let outside = outside(a.kind(), b.kind(), numbers);
            if outside.is_ne() {
                return outside;
            }
            match (a.kind(), b.kind()) {
                (TermKind::Map(a), TermKind::Map(b)) => {
                    rest.push((a.values(), b.values(), numbers));
                    rest.push((a.keys(), b.keys(), Numbers::ByKind));
                }
                (a, b) if !a.parts().is_empty() || !b.parts().is_empty() => {
                    rest.push((a.parts(), b.parts(), numbers));
                }
                _ => {}
            }
        }
        (a, b, numbers) = loop {
            let Some((more_a, more_b, numbers)) = rest.last_mut() else {
                return Ordering::Equal;
            };
            match (more_a.split_first(), more_b.split_first()) {
                (Some((a, after_a)), Some((b, after_b))) => {
                    (*more_a, *more_b) = (after_a, after_b);
                    break (a, b, *numbers);
                }
                (None, None) => _ = rest.pop(),
                // Of lists alone: the others have the same size.
                (None, Some(_)) => return Ordering::Less,
                (Some(_), None) => return Ordering::Greater,
            }
        };
    }
}

/// How two terms compare so far as one can see without looking into their parts.
fn outside(a: &TermKind, b: &TermKind, numbers: Numbers) -> Ordering {
    use TermKind::*;
    match (a, b) {
        (Integer(a), Integer(b)) => a.cmp(b),
        (Float(a), Float(b)) if numbers == Numbers::ByKind => a.total_cmp(b),
        (Float(a), Float(b)) => a.partial_cmp(b).unwrap_or_else(|| a.total_cmp(b)),
        (Integer(_), Float(_)) if numbers == Numbers::ByKind => Ordering::Less,
        (Float(_), Integer(_)) if numbers == Numbers::ByKind => Ordering::Greater,
        (Integer(a), Float(b)) => integer_with_float(*a, *b),
        (Float(a), Integer(b)) => integer_with_float(*b, *a).reverse(),
        (Atom(a), Atom(b)) => a.cmp(b),
        (Pid(a), Pid(b)) => a.cmp(b),
        (Monitor(a), Monitor(b)) => a.cmp(b),
        (Timer(a), Timer(b)) => a.cmp(b),
        (Tuple(a), Tuple(b)) => a.len().cmp(&b.len()),
        (Map(a), Map(b)) => a.len().cmp(&b.len()),
        (List(_), List(_)) => Ordering::Equal,
        (String(_) | Binary(_), String(_) | Binary(_)) => a.bytes().cmp(&b.bytes()),
        _ => rank(a).cmp(&rank(b)),
    }
}

fn rank(kind: &TermKind) -> u8 {
    match kind {
        TermKind::Integer(_) | TermKind::Float(_) => 0,
        TermKind::Atom(_) => 1,
        TermKind::Monitor(_) => 2,
        TermKind::Timer(_) => 3,
        TermKind::Pid(_) => 4,
        TermKind::Tuple(_) => 5,
        TermKind::Map(_) => 6,
        TermKind::List(_) => 7,
        TermKind::String(_) | TermKind::Binary(_) => 8,
    }
}

/// 2^63: the least float that no i64 reaches. Its negative is an i64.
const BEYOND: f64 = 9_223_372_036_854_775_808.0;

/// Exact, where converting either number might round it.
fn integer_with_float(integer: i64, float: f64) -> Ordering {
    if float.is_nan() {
        return 0.0_f64.total_cmp(&float);
    }
    if float >= BEYOND {
        return Ordering::Less;
    }
    if float < -BEYOND {
        return Ordering::Greater;
    }
    // Exact: it is within the bounds of an i64, and has no fraction.
    let whole = float.trunc();
    let by_whole = integer.cmp(&(whole as i64));
    by_whole.then_with(|| whole.partial_cmp(&float).unwrap_or(Ordering::Equal))
}

#[cfg(test)]
mod tests;
