//! How a key picks a partition: a pure function of the key and the number of partitions.

use std::hash::{DefaultHasher, Hash, Hasher};

/// What a key comes to, whatever the number of partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route(u128);

impl Route {
    pub(crate) fn of<K: Hash + ?Sized>(key: &K) -> Self {
        let mut reader = KeyReader {
            seen: Seen::Nothing,
            hasher: DefaultHasher::new(),
        };
        key.hash(&mut reader);
        Route(match reader.seen {
            Seen::Integer(distance) => distance,
            Seen::Nothing | Seen::More => u128::from(reader.hasher.finish()),
        })
    }

    /// The partition itself.
    pub(crate) fn at(index: usize) -> Self {
        Route(index as u128)
    }

    /// Which of so many partitions, of which there is at least one. Elixir: `rem(abs(key),
    /// partitions)`, or `:erlang.phash2(key, partitions)`.
    pub(crate) fn pick(self, partitions: usize) -> usize {
        // Less than `partitions`, so it fits.
        (self.0 % partitions.max(1) as u128) as usize
    }
}

enum Seen {
    Nothing,
    /// One integer, this far from 0, and nothing else.
    Integer(u128),
    More,
}

/// A hasher that tells a key which is an integer from any other. Its hash is the same in each run: the
/// keys of `DefaultHasher::new()` are constants.
struct KeyReader {
    seen: Seen,
    hasher: DefaultHasher,
}

impl KeyReader {
    fn integer(&mut self, distance: u128) {
        self.seen = match self.seen {
            Seen::Nothing => Seen::Integer(distance),
            Seen::Integer(_) | Seen::More => Seen::More,
        };
    }
}

macro_rules! integers {
    ($($unsigned:ident $write_unsigned:ident $write_signed:ident $signed:ident,)+) => {
        $(
            fn $write_unsigned(&mut self, n: $unsigned) {
                self.integer(n as u128);
                self.hasher.$write_unsigned(n);
            }
            fn $write_signed(&mut self, n: $signed) {
                self.integer(n.unsigned_abs() as u128);
                self.hasher.$write_signed(n);
            }
        )+
    };
}

impl Hasher for KeyReader {
    fn finish(&self) -> u64 {
        self.hasher.finish()
    }

    fn write(&mut self, bytes: &[u8]) {
        self.seen = Seen::More;
        self.hasher.write(bytes);
    }

    integers! {
        u8 write_u8 write_i8 i8,
        u16 write_u16 write_i16 i16,
        u32 write_u32 write_i32 i32,
        u64 write_u64 write_i64 i64,
        u128 write_u128 write_i128 i128,
        usize write_usize write_isize isize,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick<K: Hash + ?Sized>(key: &K, partitions: usize) -> usize {
        Route::of(key).pick(partitions)
    }

    #[test]
    fn an_integer_goes_by_its_remainder_whatever_its_type() {
        assert_eq!(pick(&7u8, 4), 3);
        assert_eq!(pick(&7u16, 4), 3);
        assert_eq!(pick(&7i32, 4), 3);
        assert_eq!(pick(&7u64, 4), 3);
        assert_eq!(pick(&7usize, 4), 3);
        assert_eq!(pick(&u128::MAX, 10), (u128::MAX % 10) as usize);
    }

    #[test]
    fn a_negative_integer_goes_by_its_distance_from_zero() {
        assert_eq!(pick(&-7i64, 4), 3);
        assert_eq!(pick(&i64::MIN, 7), ((1u64 << 63) % 7) as usize);
        assert_eq!(pick(&i128::MIN, 7), ((1u128 << 127) % 7) as usize);
        assert_eq!(pick(&isize::MIN, 1), 0);
    }

    #[test]
    fn what_wraps_an_integer_goes_as_the_integer() {
        #[derive(Hash)]
        struct UserId(u64);
        assert_eq!(pick(&UserId(13), 5), 3);
        assert_eq!(pick(&&&13u64, 5), 3);
    }

    #[test]
    fn anything_else_goes_by_its_hash_the_same_each_time_and_everywhere() {
        let keys: Vec<String> = (0..1000).map(|n| format!("key {n}")).collect();
        let mut taken = [0; 8];
        for key in &keys {
            let partition = pick(key.as_str(), 8);
            assert_eq!(partition, pick(key, 8), "a `String` goes as its `str`");
            taken[partition] += 1;
        }
        assert!(taken.iter().all(|n| (60..200).contains(n)), "{taken:?}");
        assert!(pick("", 3) < 3 && pick(&(), 3) < 3 && pick(&(1, 2), 3) < 3);
    }

    #[test]
    fn two_integers_are_no_integer() {
        let pairs: Vec<usize> = (0..100u64).map(|n| pick(&(n, n), 100)).collect();
        let integers: Vec<usize> = (0..100).collect();
        assert_ne!(pairs, integers);
    }

    #[test]
    fn one_partition_takes_all() {
        assert_eq!(pick(&u64::MAX, 1), 0);
        assert_eq!(pick("x", 1), 0);
        assert_eq!(pick(&5u8, 0), 0, "there never are none");
    }
}
