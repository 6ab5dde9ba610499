//! Which shards an operation concerns, and how one answer is made of theirs.
//!
//! A key's shard follows from its bytes alone, by a hash that never changes. As in a Redis cluster,
//! only what stands between the first `{` and the next `}` counts if there is
//! something, so that a client can put keys together that it uses together.
//!
//! An operation on keys of several shards is cut into one part a shard. The parts are independent:
//! unlike in Redis another client may see one done and another not yet, and if a shard crashes its
//! part fails alone. What concerns the keys of one shard is atomic.

use crate::resp::{Bytes, Reply};
use crate::store::Op;

/// What to ask of whom.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Route {
    One {
        shard: usize,
        op: Op,
    },
    /// Each part to its shard, all at once; then [`Merge::merge`] their replies in this order.
    Many {
        parts: Vec<(usize, Op)>,
        merge: Merge,
    },
}

/// How the replies of several shards become one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Merge {
    /// All were done.
    Ok,
    Sum,
    /// Each reply is a list; the next item is the next one of the list of this part.
    Interleave(Vec<usize>),
}

impl Merge {
    /// An error in any part is the answer, though the others may have been done.
    pub(crate) fn merge(self, replies: Vec<Reply>) -> Reply {
        if let Some(error) = replies
            .iter()
            .find(|reply| matches!(reply, Reply::Error(_)))
        {
            return error.clone();
        }
        match self {
            Merge::Ok => Reply::OK,
            Merge::Sum => Reply::Int(replies.iter().fold(0, |sum, reply| match reply {
                Reply::Int(count) => sum + count,
                _ => sum,
            })),
            Merge::Interleave(order) => {
                let mut lists: Vec<_> = replies
                    .into_iter()
                    .map(|reply| match reply {
                        Reply::Array(items) => items.into_iter(),
                        _ => Vec::new().into_iter(),
                    })
                    .collect();
                let item = |part: usize| lists.get_mut(part).and_then(Iterator::next);
                Reply::Array(
                    order
                        .into_iter()
                        .map(item)
                        .map(|item| item.unwrap_or(Reply::Nil))
                        .collect(),
                )
            }
        }
    }
}

/// The shard of `key`, of so many. The same in every process and every run.
///
/// # Panics
/// If there are no shards.
pub(crate) fn shard_of(key: &[u8], shards: usize) -> usize {
    assert!(shards > 0, "there is a shard");
    // The high half of the product is the hash scaled to the number of shards, and below it.
    ((u128::from(hash(tag(key))) * shards as u128) >> 64) as usize
}

/// The part of a key that decides its place.
fn tag(key: &[u8]) -> &[u8] {
    let position = |bytes: &[u8], byte| bytes.iter().position(|&other| other == byte);
    let Some(open) = position(key, b'{') else {
        return key;
    };
    let inner = &key[open + 1..];
    match position(inner, b'}') {
        None | Some(0) => key,
        Some(close) => &inner[..close],
    }
}

/// Sends `op` on its way.
pub(crate) fn route(op: Op, shards: usize) -> Route {
    let of = |key: &Bytes| shard_of(key, shards);
    let shard = match &op {
        Op::Get(key)
        | Op::IncrBy(key, _)
        | Op::Expire { key, .. }
        | Op::Persist(key)
        | Op::Ttl(key, _) => of(key),
        Op::Set(set) => of(&set.key),
        Op::MGet(_) | Op::MSet(_) | Op::Del(_) | Op::Exists(_) | Op::DbSize | Op::Flush => {
            return route_many(op, shards);
        }
    };
    Route::One { shard, op }
}

fn route_many(op: Op, shards: usize) -> Route {
    let of = |key: &Bytes| shard_of(key, shards);
    let (mut parts, merge) = match op {
        Op::MGet(keys) => {
            let (parts, order) = cut(keys, of);
            (each(parts, Op::MGet), Merge::Interleave(order))
        }
        Op::MSet(pairs) => (each(cut(pairs, |(key, _)| of(key)).0, Op::MSet), Merge::Ok),
        Op::Del(keys) => (each(cut(keys, of).0, Op::Del), Merge::Sum),
        Op::Exists(keys) => (each(cut(keys, of).0, Op::Exists), Merge::Sum),
        Op::Flush => (
            (0..shards).map(|shard| (shard, Op::Flush)).collect(),
            Merge::Ok,
        ),
        op => (
            (0..shards).map(|shard| (shard, op.clone())).collect(),
            Merge::Sum,
        ),
    };
    match parts.pop() {
        // Its reply is the answer as it is: there is nothing to merge it with.
        Some((shard, op)) if parts.is_empty() => Route::One { shard, op },
        last => {
            parts.extend(last);
            Route::Many { parts, merge }
        }
    }
}

fn each<T>(parts: Vec<(usize, Vec<T>)>, op: fn(Vec<T>) -> Op) -> Vec<(usize, Op)> {
    parts
        .into_iter()
        .map(|(shard, items)| (shard, op(items)))
        .collect()
}

/// Sorts items by their shard, keeping the order of those of one shard, and tells for each in
/// which part it went.
fn cut<T>(items: Vec<T>, shard: impl Fn(&T) -> usize) -> (Vec<(usize, Vec<T>)>, Vec<usize>) {
    let mut parts: Vec<(usize, Vec<T>)> = Vec::new();
    let mut order = Vec::with_capacity(items.len());
    for item in items {
        let shard = shard(&item);
        let part = match parts.iter().position(|(other, _)| *other == shard) {
            Some(part) => part,
            None => {
                parts.push((shard, Vec::new()));
                parts.len() - 1
            }
        };
        parts[part].1.push(item);
        order.push(part);
    }
    (parts, order)
}

/// A hash by multiplication, eight bytes at a time. The standard library's differs from run to run,
/// and the CRC16 of a Redis cluster, with a table, took a fifth of the time of a short command.
fn hash(bytes: &[u8]) -> u64 {
    // Digits of pi, the second made odd.
    const SEED: u64 = 0x243f_6a88_85a3_08d3;
    const FACTOR: u64 = 0x1319_8a2e_0370_7345;
    let fold = |hash: u64, word: u64| {
        let product = u128::from(hash ^ word) * u128::from(FACTOR);
        product as u64 ^ (product >> 64) as u64
    };
    let words = bytes.chunks_exact(8);
    let mut last = [0; 8];
    last[..words.remainder().len()].copy_from_slice(words.remainder());
    let hash = words.fold(SEED, |hash, word| {
        let mut eight = [0; 8];
        eight.copy_from_slice(word);
        fold(hash, u64::from_le_bytes(eight))
    });
    // The length tells a key from the same one with zeros after it. Twice, so that the last bytes
    // reach every bit.
    fold(fold(hash, u64::from_le_bytes(last)), bytes.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Unit;

    fn keys(names: &[&str]) -> Vec<Bytes> {
        names
            .iter()
            .map(|name| Bytes::from(name.as_bytes()))
            .collect()
    }

    #[test]
    fn the_place_of_a_key_never_changes() {
        for (key, shard) in [
            ("", 823),
            ("a", 793),
            ("foo", 131),
            ("key:000000000001", 835),
            ("counter:000000000001", 132),
        ] {
            assert_eq!(shard_of(key.as_bytes(), 1000), shard, "{key}");
        }
        assert_eq!(shard_of(b"anything", 1), 0);
    }

    #[test]
    fn only_the_tag_decides_if_there_is_one() {
        for (key, tag) in [
            ("{foo}bar", "foo"),
            ("a{foo}b{c}", "foo"),
            ("foo{{bar}}zap", "{bar"),
            ("}{a}", "a"),
            ("{}x", "{}x"),
            ("foo{}{bar}", "foo{}{bar}"),
            ("{", "{"),
            ("x{y", "x{y"),
        ] {
            assert_eq!(super::tag(key.as_bytes()), tag.as_bytes(), "{key}");
        }
    }

    #[test]
    fn keys_spread_evenly_over_shards() {
        let names: [fn(u32) -> String; 4] = [
            |number| format!("key:{number:012}"),
            |number| number.to_string(),
            |number| format!("{number:07}:session"),
            |number| "\0".repeat(number as usize % 50) + &number.to_string(),
        ];
        for (name, shards) in names
            .iter()
            .flat_map(|name| [2, 7, 16].map(|shards| (name, shards)))
        {
            let mut counts = vec![0; shards];
            for number in 0..20_000 {
                counts[shard_of(name(number).as_bytes(), shards)] += 1;
            }
            let even = 20_000 / shards;
            let near = even * 85 / 100..=even * 115 / 100;
            assert!(
                counts.iter().all(|count| near.contains(count)),
                "{}: {counts:?}",
                name(1)
            );
        }
    }

    #[test]
    fn one_key_goes_to_its_shard_whole() {
        let op = Op::Ttl(keys(&["foo"]).remove(0), Unit::Millis);
        let shard = shard_of(b"foo", 5);
        assert_eq!(route(op.clone(), 5), Route::One { shard, op });
        let together = Op::Del(keys(&["{x}1", "{x}2", "x"]));
        let shard = shard_of(b"x", 5);
        assert_eq!(
            route(together.clone(), 5),
            Route::One {
                shard,
                op: together
            }
        );
        assert_eq!(
            route(Op::Flush, 1),
            Route::One {
                shard: 0,
                op: Op::Flush
            }
        );
    }

    #[test]
    fn the_answers_to_several_keys_come_in_the_order_of_the_keys() {
        let names = keys(&["a", "b", "c", "d", "e", "f", "a", "g"]);
        let Route::Many { parts, merge } = route(Op::MGet(names.clone()), 3) else {
            panic!("these keys are of several shards");
        };
        let replies = parts
            .iter()
            .map(|(shard, op)| {
                let Op::MGet(keys) = op else {
                    panic!("parts are of a kind with the whole")
                };
                assert!(keys.iter().all(|key| shard_of(key, 3) == *shard));
                Reply::Array(keys.iter().cloned().map(Reply::Bulk).collect())
            })
            .collect();
        let all = Reply::Array(names.into_iter().map(Reply::Bulk).collect());
        assert_eq!(merge.merge(replies), all);
    }

    #[test]
    fn counts_are_summed_and_one_failure_is_the_answer() {
        assert_eq!(
            Merge::Sum.merge(vec![Reply::Int(2), Reply::Int(3)]),
            Reply::Int(5)
        );
        assert_eq!(Merge::Ok.merge(vec![Reply::OK, Reply::OK]), Reply::OK);
        let error = Reply::error("ERR crashed");
        for merge in [Merge::Ok, Merge::Sum, Merge::Interleave(vec![0, 1])] {
            assert_eq!(
                merge.merge(vec![Reply::Array(vec![]), error.clone()]),
                error
            );
        }
    }

    #[test]
    fn what_concerns_every_shard_goes_to_every_shard() {
        let to_all = |op: Op| (0..3).map(|shard| (shard, op.clone())).collect();
        for (op, merge) in [(Op::Flush, Merge::Ok), (Op::DbSize, Merge::Sum)] {
            assert_eq!(
                route(op.clone(), 3),
                Route::Many {
                    parts: to_all(op),
                    merge
                }
            );
        }
    }
}
