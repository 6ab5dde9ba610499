//! Where in a shard a key may be: open addressing over words, which know neither keys nor entries.
//!
//! A word has 32 bits of the key's hash, its *tag*, and the number of a slot. It lies at the place that
//! its tag names or, if that was taken, the next free one after it; so a search goes from there to the
//! first empty word. A word that is taken out leaves no mark: those behind it move up, as far as it
//! brings them nearer to their own place. All of it goes by the tag alone, so the index grows, shrinks
//! and forgets without running any code of the key.
//!
//! # Invariants
//! 1. From the place of a word's tag to the word there is no empty one.
//! 2. At least a quarter of the words is empty.
//! 3. A slot is in one word at most.

const EMPTY: u64 = 0;

/// The fewest words there are, once there is one: a cache line.
const LEAST: usize = 8;

/// The most slots that a word can tell apart; one number stands for none.
pub(super) const MOST: usize = u32::MAX as usize;

#[derive(Debug, Default)]
pub(super) struct Index {
    /// None, or a power of two.
    words: Box<[u64]>,
    taken: usize,
}

fn word_of(tag: u32, slot: u32) -> u64 {
    u64::from(tag) << 32 | (u64::from(slot) + 1)
}

fn tag_of(word: u64) -> u32 {
    (word >> 32) as u32
}

impl Index {
    pub(super) fn words(&self) -> usize {
        self.words.len()
    }

    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    fn mask(&self) -> usize {
        self.words.len().wrapping_sub(1)
    }

    /// The first slot with this tag that `is` says it is.
    #[inline]
    pub(super) fn find(&self, tag: u32, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        let mask = self.mask();
        let mut at = tag as usize & mask;
        loop {
            // Out of bounds only if there are no words.
            let word = *self.words.get(at)?;
            if word == EMPTY {
                return None;
            }
            if tag_of(word) == tag {
                let slot = word as u32 - 1;
                if is(slot) {
                    return Some(slot);
                }
            }
            at = (at + 1) & mask;
        }
    }

    /// Adds a slot that it does not have.
    pub(super) fn insert(&mut self, tag: u32, slot: u32) {
        if (self.taken + 1) * 4 > self.words.len() * 3 {
            self.resize((self.words.len() * 2).max(LEAST));
        }
        self.taken += 1;
        self.place(word_of(tag, slot));
    }

    /// Forgets a slot.
    pub(super) fn remove(&mut self, tag: u32, slot: u32) {
        let (mask, word) = (self.mask(), word_of(tag, slot));
        let mut hole = tag as usize & mask;
        while self.words[hole] != word {
            debug_assert_ne!(self.words[hole], EMPTY, "the slot is in the index");
            hole = (hole + 1) & mask;
        }
        self.taken -= 1;
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let word = self.words[at];
            if word == EMPTY {
                break;
            }
            let from_home = at.wrapping_sub(tag_of(word) as usize) & mask;
            if from_home >= at.wrapping_sub(hole) & mask {
                self.words[hole] = word;
                hole = at;
            }
        }
        self.words[hole] = EMPTY;
        if self.words.len() > LEAST && self.taken * 8 < self.words.len() {
            self.resize(self.words.len() / 2);
        }
    }

    fn place(&mut self, word: u64) {
        let mask = self.mask();
        let mut at = tag_of(word) as usize & mask;
        while self.words[at] != EMPTY {
            at = (at + 1) & mask;
        }
        self.words[at] = word;
    }

    fn resize(&mut self, len: usize) {
        let old = std::mem::replace(&mut self.words, vec![EMPTY; len].into_boxed_slice());
        for word in old {
            if word != EMPTY {
                self.place(word);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Invariants 1 and 2.
    fn check(index: &Index) {
        let mask = index.mask();
        let taken = index.words.iter().filter(|word| **word != EMPTY).count();
        assert_eq!(taken, index.taken);
        assert!(taken * 4 <= index.words.len() * 3);
        for (at, word) in index.words.iter().enumerate() {
            let mut place = tag_of(*word) as usize & mask;
            while *word != EMPTY && place != at {
                assert_ne!(index.words[place], EMPTY, "an empty word before {at}");
                place = (place + 1) & mask;
            }
        }
    }

    #[test]
    fn an_index_that_never_had_a_word_finds_nothing() {
        assert_eq!(Index::default().find(7, |_| true), None);
    }

    #[test]
    fn equal_tags_are_told_apart_by_their_slots() {
        let mut index = Index::default();
        for slot in 0..100 {
            index.insert(5, slot);
        }
        check(&index);
        for slot in 0..100 {
            assert_eq!(index.find(5, |found| found == slot), Some(slot));
        }
        assert_eq!(index.find(5, |_| false), None);
        assert_eq!(index.find(6, |_| true), None);
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
            let mut index = Index::default();
            let mut model = BTreeMap::new();
            for step in 0..3_000u32 {
                if random(100) < if step < 1_500 { 60 } else { 30 } {
                    let tag = (random(tags) as u32).wrapping_sub(tags as u32 / 2);
                    index.insert(tag, step);
                    model.insert(step, tag);
                } else if !model.is_empty() {
                    let nth = random(model.len() as u64) as usize;
                    if let Some((&slot, &tag)) = model.iter().nth(nth) {
                        index.remove(tag, slot);
                        model.remove(&slot);
                        assert_eq!(index.find(tag, |found| found == slot), None);
                    }
                }
                if step % 50 == 0 {
                    check(&index);
                    for (&slot, &tag) in &model {
                        assert_eq!(index.find(tag, |found| found == slot), Some(slot));
                    }
                }
            }
            assert!(index.words() <= 4_096);
        }
    }

    #[test]
    fn it_shrinks_when_little_is_left() {
        let mut index = Index::default();
        for slot in 0..10_000u32 {
            index.insert(slot.wrapping_mul(2_654_435_769), slot);
        }
        for slot in 0..10_000u32 {
            index.remove(slot.wrapping_mul(2_654_435_769), slot);
            check(&index);
        }
        assert_eq!(index.words(), LEAST);
    }
}
