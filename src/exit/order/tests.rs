//! The order by examples, and its laws by terms at random.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::*;

fn hash_of(term: &Term) -> u64 {
    let mut hasher = DefaultHasher::new();
    term.hash(&mut hasher);
    hasher.finish()
}

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % sides
    }

    /// Terms out of few values, so that many are equal, in part or by `==` alone.
    fn term(&mut self, depth: usize) -> Term {
        const BIG: i64 = 1 << 53;
        let sides = if depth == 0 { 8 } else { 11 };
        match self.roll(sides) {
            0 => Term::from(self.roll(3) as i64 - 1),
            1 => Term::from(self.roll(5) as f64 / 2.0 - 1.0),
            2 => Term::from([BIG, BIG + 1, -BIG - 1, i64::MAX, i64::MIN][self.roll(5)]),
            3 => Term::from([BIG as f64, -BIG as f64, BEYOND, -BEYOND, 1e300, -0.0][self.roll(6)]),
            4 => Term::atom(["", "a", "b", "ab", "é"][self.roll(5)]),
            5 => Term::from(["", "a", "ab"][self.roll(3)]),
            6 => Term::binary([vec![], vec![97], vec![255]][self.roll(3)].clone()),
            7 => Term::from(crate::process::pid::Pid::local(1, self.roll(2) as u32, 1)),
            8 => Term::tuple(
                (0..self.roll(3))
                    .map(|_| self.term(depth - 1))
                    .collect::<Vec<_>>(),
            ),
            9 => Term::list(
                (0..self.roll(3))
                    .map(|_| self.term(depth - 1))
                    .collect::<Vec<_>>(),
            ),
            _ => {
                let entries =
                    (0..self.roll(3)).map(|_| (self.term(depth - 1), self.term(depth - 1)));
                Term::map(entries.collect::<Vec<_>>())
            }
        }
    }
}

fn terms(count: usize, seed: u64) -> Vec<Term> {
    let mut dice = Dice(seed);
    (0..count).map(|_| dice.term(3)).collect()
}

const COUNT: usize = if cfg!(miri) { 12 } else { 120 };

#[test]
fn both_orders_are_total_and_the_exact_one_agrees_with_equality_and_hash() {
    for seed in 1..=4 {
        let terms = terms(COUNT, seed);
        for a in &terms {
            for b in &terms {
                for order in [Term::compare, compare_exactly] {
                    assert_eq!(order(a, b), order(b, a).reverse(), "{a} and {b}");
                }
                assert_eq!(a == b, compare_exactly(a, b).is_eq(), "{a} and {b}");
                if a == b {
                    assert_eq!(hash_of(a), hash_of(b), "{a}");
                    assert!(a.compare(b).is_eq(), "{a}");
                }
                for c in &terms {
                    for order in [Term::compare, compare_exactly] {
                        if order(a, b).is_le() && order(b, c).is_le() {
                            assert!(order(a, c).is_le(), "{a}, {b}, {c}");
                        }
                        if order(a, b).is_eq() {
                            assert_eq!(order(a, c), order(b, c), "{a}, {b}, {c}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn terms_of_different_kinds_are_in_erlangs_order() {
    use crate::process::pid::{MonitorRef, Pid};
    let ascending = [
        Term::from(f64::MAX),
        Term::atom(""),
        Term::from(MonitorRef(1)),
        Term::from(Pid::local(1, 1, 1)),
        Term::tuple::<Term>([]),
        Term::tuple([1]),
        Term::map::<Term, Term>([]),
        Term::list::<Term>([]),
        Term::list([1]),
        Term::from(""),
    ];
    for pair in ascending.windows(2) {
        assert_eq!(pair[0].compare(&pair[1]), Ordering::Less, "{pair:?}");
        assert_eq!(
            compare_exactly(&pair[0], &pair[1]),
            Ordering::Less,
            "{pair:?}"
        );
    }
}

#[test]
fn numbers_are_compared_by_value_beyond_what_a_float_can_say() {
    let big = 1_i64 << 53;
    let cases = [
        (1, 1.0, Ordering::Equal),
        (0, -0.0, Ordering::Equal),
        (0, -0.5, Ordering::Greater),
        (-1, -1.5, Ordering::Greater),
        (-2, -1.5, Ordering::Less),
        (1, 1.5, Ordering::Less),
        (big, big as f64, Ordering::Equal),
        (big + 1, big as f64, Ordering::Greater),
        (-big - 1, -big as f64, Ordering::Less),
        (i64::MAX, BEYOND, Ordering::Less),
        (i64::MIN, -BEYOND, Ordering::Equal),
        (i64::MIN, -BEYOND * 2.0, Ordering::Greater),
        (i64::MAX, f64::INFINITY, Ordering::Less),
        (i64::MIN, f64::NEG_INFINITY, Ordering::Greater),
        (i64::MAX, f64::NAN, Ordering::Less),
        (i64::MIN, -f64::NAN, Ordering::Greater),
    ];
    for (integer, float, expected) in cases {
        let (a, b) = (Term::from(integer), Term::from(float));
        assert_eq!(a.compare(&b), expected, "{a} and {b}");
        assert_eq!(b.compare(&a), expected.reverse(), "{a} and {b}");
        assert_eq!(compare_exactly(&a, &b), Ordering::Less, "{a} and {b}");
    }
}

#[test]
fn zeros_are_equal_by_value_and_two_exactly() {
    let (plus, minus) = (Term::from(0.0), Term::from(-0.0));
    assert_eq!(plus.compare(&minus), Ordering::Equal);
    assert_eq!(compare_exactly(&minus, &plus), Ordering::Less);
    assert_ne!(plus, minus);
}

#[test]
fn tuples_are_compared_by_size_first_and_lists_are_not() {
    assert_eq!(
        Term::tuple([9]).compare(&Term::tuple([1, 1])),
        Ordering::Less
    );
    assert_eq!(
        Term::list([9]).compare(&Term::list([1, 1])),
        Ordering::Greater
    );
    assert_eq!(Term::list([1]).compare(&Term::list([1, 1])), Ordering::Less);
}

#[test]
fn maps_are_compared_by_size_then_keys_then_values() {
    let map = |entries: &[(Term, Term)]| Term::map(entries.to_vec());
    let one = |key: Term, value: Term| Term::map([(key, value)]);
    assert!(one(2.into(), 1.into()).compare(&map(&[])).is_gt());
    let two = map(&[(1.into(), 9.into()), (2.into(), 1.into())]);
    assert!(
        two.compare(&map(&[(1.into(), 0.into()), (3.into(), 0.into())]))
            .is_lt()
    );
    assert!(
        two.compare(&map(&[(1.into(), 8.into()), (2.into(), 2.into())]))
            .is_gt()
    );
    // As keys, and in keys, integers come before floats; as values they do not.
    assert!(
        one(2.into(), 1.into())
            .compare(&one(1.0.into(), 1.into()))
            .is_lt()
    );
    assert!(
        one((1,).into(), 1.into())
            .compare(&one((1.0,).into(), 0.into()))
            .is_lt()
    );
    assert!(
        one(2.into(), 1.into())
            .compare(&one(2.into(), 1.0.into()))
            .is_eq()
    );
}

#[test]
fn a_deep_term_is_compared_on_a_flat_stack() {
    let deep = if cfg!(miri) { 400 } else { 300_000 };
    let nested = |core: i64| {
        (0..deep).fold(Term::from(core), |inner, level| match level % 3 {
            0 => Term::tuple([inner]),
            1 => Term::list([Term::from(1), inner]),
            _ => Term::map([(1, inner)]),
        })
    };
    assert_eq!(nested(1).compare(&nested(1)), Ordering::Equal);
    assert_eq!(nested(1).compare(&nested(2)), Ordering::Less);
}
