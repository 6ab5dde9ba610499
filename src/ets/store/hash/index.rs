//! Where in a shard a key may be: open addressing over words, which know neither keys nor entries.
//!
//! A word has the number of a slot and, in the bits that are left, some of the key's hash. It lies at the
//! place that other bits of the hash name, its *home*, or if that was taken, the next free one after it; so a
//! search goes from there to the first empty word. A word that is taken out leaves no mark: those behind it
//! move up, as far as it brings them nearer to their homes. The 32 bits of hash that matter here, the *tag*,
//! are with the slots too, where they are asked for when a word has to move. So the index grows, shrinks and
//! forgets without running any code of the key.
//!
//! ```text
//!   tag    31 ....................... 0      home: the lower bits, as many as there are words for
//!   word   31 .......... bits ....... 0
//!         │ upper bits of the tag │ slot + 1 │         0: empty
//! ```
//!
//! # Invariants
//! 1. From the home of a word to the word there is no empty one.
//! 2. At least a quarter of the words is empty.
//! 3. A slot is in one word at most.
//! 4. Each slot's number, plus one, fits in `bits`.

const EMPTY: u32 = 0;

/// The fewest words there are, once there is one: a cache line.
const LEAST: usize = 16;

/// The most slots: with more there would be no bit left for the tag.
pub(super) const MOST: usize = (1 << 31) - 2;

#[derive(Debug, Default)]
pub(super) struct Index {
    /// None, or a power of two.
    words: Box<[u32]>,
    /// How many bits of a word are for the slot.
    bits: u32,
}

impl Index {
    pub(super) fn words(&self) -> usize {
        self.words.len()
    }

    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        self.words.iter().filter(|word| **word != EMPTY).count()
    }

    #[inline]
    fn mask(&self) -> usize {
        self.words.len().wrapping_sub(1)
    }

    #[inline]
    fn word(&self, tag: u32, slot: u32) -> u32 {
        (tag & (u32::MAX << self.bits)) | (slot + 1)
    }

    /// The slot of a word that is not empty.
    #[inline]
    fn slot(&self, word: u32) -> u32 {
        (word & !(u32::MAX << self.bits)) - 1
    }

    /// The first slot which, by its word, may have this tag, and that `is` says it is.
    #[inline]
    pub(super) fn find(&self, tag: u32, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        let (mask, wanted) = (self.mask(), tag >> self.bits);
        let mut at = tag as usize & mask;
        loop {
            // Out of bounds only if there are no words.
            let word = *self.words.get(at)?;
            if word == EMPTY {
                return None;
            }
            if word >> self.bits == wanted {
                let slot = self.slot(word);
                if is(slot) {
                    return Some(slot);
                }
            }
            at = (at + 1) & mask;
        }
    }

    /// Adds a slot, for which there is room.
    #[inline]
    pub(super) fn insert(&mut self, tag: u32, slot: u32) {
        let mask = self.mask();
        let mut at = tag as usize & mask;
        while self.words[at] != EMPTY {
            at = (at + 1) & mask;
        }
        self.words[at] = self.word(tag, slot);
    }

    /// Makes room for one more slot, which is `slot`. See [`rebuild`](Self::rebuild) for the others.
    #[inline]
    pub(super) fn make_room(
        &mut self,
        slot: u32,
        (taken, slots): (usize, usize),
        tag_of: impl Fn(u32) -> Option<u32>,
    ) {
        let fits = (slot + 1) >> self.bits == 0;
        let words = match (taken + 1) * 4 > self.words.len() * 3 {
            true => (self.words.len() * 2).max(LEAST),
            false if fits => return,
            false => self.words.len(),
        };
        self.rebuild(words, (taken, slots.max(slot as usize + 1)), tag_of);
    }

    /// Forgets a slot. The tags of others are asked for.
    pub(super) fn remove(&mut self, tag: u32, slot: u32, tag_of: impl Fn(u32) -> u32) {
        let (mask, word) = (self.mask(), self.word(tag, slot));
        let mut hole = tag as usize & mask;
        while self.words[hole] != word {
            debug_assert_ne!(self.words[hole], EMPTY, "the slot is in the index");
            hole = (hole + 1) & mask;
        }
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let word = self.words[at];
            if word == EMPTY {
                break;
            }
            let home = tag_of(self.slot(word)) as usize;
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask {
                self.words[hole] = word;
                hole = at;
            }
        }
        self.words[hole] = EMPTY;
    }

    /// Makes it smaller if the slots it has are few. See [`rebuild`](Self::rebuild) for them.
    pub(super) fn shrink(
        &mut self,
        (taken, slots): (usize, usize),
        tag_of: impl Fn(u32) -> Option<u32>,
    ) {
        if self.words.len() > LEAST && taken * 8 < self.words.len() {
            self.rebuild(self.words.len() / 2, (taken, slots), tag_of);
        }
    }

    /// Builds it anew from the slots it has: `taken` of those up to `slots`, of which `tag_of` tells the tags,
    /// and that the others have none.
    #[cold]
    fn rebuild(
        &mut self,
        words: usize,
        (taken, slots): (usize, usize),
        tag_of: impl Fn(u32) -> Option<u32>,
    ) {
        let old = std::mem::replace(&mut self.words, vec![EMPTY; words].into_boxed_slice());
        let old_bits = self.bits;
        // At least as many as say where the home is, and so nothing more about the key.
        self.bits = words.ilog2().max(usize::BITS - slots.leading_zeros());
        if slots <= taken.saturating_mul(4) {
            // In their own order, as memory likes it.
            for slot in 0..slots as u32 {
                if let Some(tag) = tag_of(slot) {
                    self.insert(tag, slot);
                }
            }
        } else {
            for word in old.into_iter().filter(|word| *word != EMPTY) {
                let slot = (word & !(u32::MAX << old_bits)) - 1;
                if let Some(tag) = tag_of(slot) {
                    self.insert(tag, slot);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// An index, and the tags of its slots.
    #[derive(Default)]
    struct Both {
        index: Index,
        tags: BTreeMap<u32, u32>,
    }

    impl Both {
        fn sizes(&self) -> (usize, usize) {
            let slots = self.tags.last_key_value().map_or(0, |(slot, _)| slot + 1);
            (self.tags.len(), slots as usize)
        }

        fn insert(&mut self, tag: u32, slot: u32) {
            let (sizes, tags) = (self.sizes(), &self.tags);
            self.index
                .make_room(slot, sizes, |slot| tags.get(&slot).copied());
            self.index.insert(tag, slot);
            self.tags.insert(slot, tag);
        }

        fn remove(&mut self, slot: u32) {
            let Some(tag) = self.tags.remove(&slot) else {
                return;
            };
            let (sizes, tags) = (self.sizes(), &self.tags);
            self.index.remove(tag, slot, |slot| tags[&slot]);
            self.index.shrink(sizes, |slot| tags.get(&slot).copied());
            assert_eq!(self.index.find(tag, |found| found == slot), None);
        }

        /// The invariants.
        fn check(&self) {
            let (index, mask) = (&self.index, self.index.mask());
            let words = index.words.iter().filter(|word| **word != EMPTY);
            assert_eq!(words.count(), self.tags.len());
            assert!(self.tags.len() * 4 <= index.words.len() * 3);
            for (at, word) in index.words.iter().enumerate() {
                if *word == EMPTY {
                    continue;
                }
                let tag = self.tags[&index.slot(*word)];
                assert_eq!(*word, index.word(tag, index.slot(*word)));
                let mut place = tag as usize & mask;
                while place != at {
                    assert_ne!(index.words[place], EMPTY, "an empty word before {at}");
                    place = (place + 1) & mask;
                }
            }
            for (&slot, &tag) in &self.tags {
                assert_eq!(index.find(tag, |found| found == slot), Some(slot));
            }
        }
    }

    #[test]
    fn an_index_that_never_had_a_word_finds_nothing() {
        assert_eq!(Index::default().find(7, |_| true), None);
    }

    #[test]
    fn equal_tags_are_told_apart_by_their_slots() {
        let mut both = Both::default();
        for slot in 0..100 {
            both.insert(5, slot);
        }
        both.check();
        assert_eq!(both.index.find(5, |_| false), None);
        assert_eq!(both.index.find(6 | 1 << 31, |_| true), None);
    }

    #[test]
    fn a_removed_word_closes_the_gap_it_leaves() {
        // Tags of few values, at both ends of the index, so that runs are long and wrap around.
        let mut seed = 1u64;
        let mut random = move |below: u64| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1);
            (seed >> 33) % below
        };
        for tags in [1, 3, 8, 1 << 31] {
            let mut both = Both::default();
            for step in 0..3_000u32 {
                if random(100) < if step < 1_500 { 60 } else { 30 } {
                    both.insert((random(tags) as u32).wrapping_sub(tags as u32 / 2), step);
                } else if !both.tags.is_empty() {
                    let nth = random(both.tags.len() as u64) as usize;
                    let slot = both.tags.keys().nth(nth).copied();
                    both.remove(slot.unwrap_or_default());
                }
                if step % 50 == 0 {
                    both.check();
                }
            }
        }
    }

    #[test]
    fn it_grows_for_a_slot_of_a_large_number_and_shrinks_when_little_is_left() {
        let mut both = Both::default();
        both.insert(1, 70_000);
        both.check();
        for slot in 0..10_000u32 {
            both.insert(slot.wrapping_mul(2_654_435_769), slot);
        }
        both.check();
        for slot in 0..10_000u32 {
            both.remove(slot);
        }
        both.check();
        assert_eq!(both.index.words(), LEAST);
    }
}
