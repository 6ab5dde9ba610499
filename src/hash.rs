//! The hash function of tables: seeded, and a few instructions for an integer.
//!
//! Each word of the key is mixed in by one *folded multiplication*: a product of 64 by 64 bits whose
//! upper half is xored onto its lower half, so every bit of the word comes to bear on every bit of the
//! state. Which products those are depends on two secret numbers, drawn anew for each table from where
//! std draws the keys of its maps; so nobody who only chooses keys can choose them to collide. Why not
//! std's own function, and what this one does not promise, is argued in `docs/design/ets.md`.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Digits of π: what is mixed in where it need not be secret.
const PI: [u64; 2] = [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7345];

/// The secrets of one table.
#[derive(Clone)]
pub(crate) struct Seeds {
    start: u64,
    factor: u64,
}

impl Seeds {
    /// Fresh ones.
    pub(crate) fn random() -> Self {
        let source = RandomState::new();
        Seeds {
            start: source.hash_one(0u64),
            // Odd, so it is not 0, which would fold all to nothing.
            factor: source.hash_one(1u64) | 1,
        }
    }
}

impl Default for Seeds {
    fn default() -> Self {
        Seeds::random()
    }
}

impl BuildHasher for Seeds {
    type Hasher = Folded;

    #[inline]
    fn build_hasher(&self) -> Folded {
        Folded {
            state: self.start,
            factor: self.factor,
        }
    }
}

/// A hash being computed.
pub(crate) struct Folded {
    state: u64,
    factor: u64,
}

#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[inline(always)]
fn word(bytes: &[u8]) -> u64 {
    let mut all = [0; 8];
    all[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(all)
}

/// All of up to 16 bytes, of which there is one at least, in two words; they overlap where there are
/// fewer, as a read of known length is one instruction and any other is a call.
#[inline(always)]
fn ends(bytes: &[u8]) -> (u64, u64) {
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        return (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        return (first.into(), last.into());
    }
    let at = |place: usize| u64::from(bytes.get(place).copied().unwrap_or(0));
    (at(0) << 8 | at(bytes.len() / 2), at(bytes.len() - 1))
}

impl Folded {
    #[inline(always)]
    fn mix(&mut self, word: u64) {
        self.state = fold(self.state ^ word, self.factor);
    }
}

impl Hasher for Folded {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        // The length first, so that what follows cannot stand for zeros at the end.
        self.state = self.state.wrapping_add(bytes.len() as u64);
        let mut pairs = bytes.chunks_exact(16);
        for pair in &mut pairs {
            let (low, high) = pair.split_at(8);
            self.state = fold(self.state ^ word(low), self.factor ^ word(high));
        }
        let rest = pairs.remainder();
        if rest.is_empty() {
            return;
        }
        let (low, high) = ends(rest);
        self.state = fold(self.state ^ low, self.factor ^ high);
    }

    #[inline]
    fn write_u8(&mut self, n: u8) {
        self.mix(n.into());
    }
    #[inline]
    fn write_u16(&mut self, n: u16) {
        self.mix(n.into());
    }
    #[inline]
    fn write_u32(&mut self, n: u32) {
        self.mix(n.into());
    }
    #[inline]
    fn write_u64(&mut self, n: u64) {
        self.mix(n);
    }
    #[inline]
    fn write_u128(&mut self, n: u128) {
        self.mix(n as u64);
        self.mix((n >> 64) as u64);
    }
    #[inline]
    fn write_usize(&mut self, n: usize) {
        self.mix(n as u64);
    }

    #[inline]
    fn finish(&self) -> u64 {
        fold(self.state ^ PI[0], self.factor ^ PI[1])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::Hash;

    use super::*;

    fn fixed() -> Seeds {
        Seeds {
            start: 0x0123_4567_89ab_cdef,
            factor: 0xfedc_ba98_7654_3211,
        }
    }

    /// How far the fullest of `buckets` is above an even share, in standard deviations.
    fn excess(hashes: impl Iterator<Item = u64>, bits: u32, top: bool) -> f64 {
        let mut counts = vec![0u32; 1 << bits];
        let mut n = 0.0;
        for hash in hashes {
            let bucket = if top {
                hash >> (64 - bits)
            } else {
                hash & ((1 << bits) - 1)
            };
            counts[bucket as usize] += 1;
            n += 1.0;
        }
        let share = n / counts.len() as f64;
        (f64::from(counts.into_iter().max().unwrap_or(0)) - share) / share.sqrt()
    }

    #[test]
    fn keys_in_a_row_or_in_strides_fill_all_buckets_evenly() {
        let seeds = fixed();
        for stride in [1u64, 2, 8, 64, 4096, 1 << 20, 1 << 32, 1 << 44, 7919] {
            for top in [true, false] {
                let hashes = (0..65_536).map(|i| seeds.hash_one(i * stride));
                let excess = excess(hashes, 10, top);
                assert!(excess < 6.0, "stride {stride}, top {top}: {excess}");
            }
        }
    }

    #[test]
    fn one_changed_bit_of_a_key_changes_each_bit_of_the_hash_half_the_time() {
        let seeds = fixed();
        for bit in 0..64 {
            let mut flips = [0u32; 64];
            for key in 0..2_000u64 {
                let key = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let changed = seeds.hash_one(key) ^ seeds.hash_one(key ^ 1 << bit);
                for (i, flips) in flips.iter_mut().enumerate() {
                    *flips += (changed >> i & 1) as u32;
                }
            }
            for (i, flips) in flips.into_iter().enumerate() {
                assert!((800..1_200).contains(&flips), "{bit} on {i}: {flips}");
            }
        }
    }

    #[test]
    fn strings_of_all_lengths_and_tails_hash_apart() {
        let seeds = fixed();
        let mut seen = HashSet::new();
        let mut all = 0;
        for len in 0..70 {
            for fill in [0u8, 1, 255] {
                all += usize::from(len > 0 || fill == 0);
                seen.insert(seeds.hash_one(&vec![fill; len][..]));
            }
            for place in 0..len {
                let mut bytes = vec![0u8; len];
                bytes[place] = 7;
                all += 1;
                seen.insert(seeds.hash_one(&bytes[..]));
            }
        }
        assert_eq!(seen.len(), all);
        assert_ne!(seeds.hash_one(("ab", "c")), seeds.hash_one(("a", "bc")));
    }

    #[test]
    fn two_tables_hash_the_same_key_differently() {
        let key = "the same";
        let hashes: HashSet<u64> = (0..100).map(|_| Seeds::random().hash_one(key)).collect();
        assert_eq!(hashes.len(), 100);
    }

    #[test]
    fn integers_of_every_width_count() {
        let seeds = fixed();
        fn one(seeds: &Seeds, key: impl Hash) -> u64 {
            seeds.hash_one(key)
        }
        let hashes = [
            one(&seeds, 1u8),
            one(&seeds, 2u16),
            one(&seeds, 3u32),
            one(&seeds, 4u64),
            one(&seeds, 5u128),
            one(&seeds, 5u128 << 64),
            one(&seeds, 6usize),
            one(&seeds, -1i8),
            one(&seeds, -2i128),
        ];
        assert_eq!(hashes.iter().collect::<HashSet<_>>().len(), hashes.len());
    }
}
