//! The wheel beside a sorted map that does the same, on random histories; then each edge by name.

use super::*;
use std::collections::BTreeMap;

/// splitmix64: small, seeded, good enough.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Below 2^`bits`, as likely short as long.
    fn of_any_length(&mut self, bits: u64) -> u64 {
        let length = self.below(bits + 1);
        if length == 0 {
            0
        } else {
            self.next() >> (64 - length)
        }
    }
}

/// Panics unless the module's invariants hold (but for 6, which needs a history).
fn check<T>(wheel: &Wheel<T>) {
    let mut seen = 0;
    let mut walk = |list: &List, place: u16| {
        let (mut prev, mut index, mut ats) = (NIL, list.head, Vec::new());
        while index != NIL {
            let node = &wheel.nodes.slab[index as usize];
            assert!(node.item.is_some() && node.prev == prev && node.place == place);
            ats.push(node.at);
            (prev, index) = (index, node.next);
        }
        assert_eq!(list.tail, prev);
        seen += ats.len();
        ats
    };
    for (&at, list) in &wheel.late {
        let ats = walk(list, LATE);
        assert!(!ats.is_empty() && ats.iter().all(|&other| other == at));
        assert!(at < wheel.base, "invariant 1");
    }
    for (index, slot) in wheel.slots.iter().enumerate() {
        let at_place = index as u16;
        let ats = walk(&slot.list, at_place);
        let occupied = wheel.occupied[level(at_place)] & bit(at_place) != 0;
        let stale = wheel.stale[level(at_place)] & bit(at_place) != 0;
        assert_eq!(occupied, !ats.is_empty(), "invariant 5");
        let Some(&min) = ats.iter().min() else {
            assert!(!stale && slot.min == u64::MAX, "invariant 5");
            continue;
        };
        assert!(wheel.base <= slot.min && slot.min <= min, "invariant 4");
        assert!(stale || slot.min == min, "invariant 4");
        if wheel.pouring != NO_SLOT && at_place == wheel.pouring {
            assert_eq!(slot.min, wheel.base, "invariant 3");
            let below = |at| level(place(wheel.base, at)) < level(at_place);
            assert!(ats.into_iter().all(below), "invariant 3");
        } else {
            let here = |at| place(wheel.base, at) == at_place;
            assert!(here(slot.min) && ats.into_iter().all(here), "invariant 2");
        }
    }
    for (level, &occupied) in wheel.occupied.iter().enumerate() {
        let bit = wheel.levels >> level & 1;
        assert_eq!(bit != 0, occupied != 0, "invariant 5");
    }
    assert!(wheel.pouring == NO_SLOT || wheel.occupied[level(wheel.pouring)] != 0);
    assert_eq!(seen, wheel.len());
}

/// A wheel and a sorted map that must agree at every step.
struct Pair {
    wheel: Wheel<u64>,
    model: BTreeMap<(u64, u64), Key>,
    live: Vec<(u64, u64)>,
    gone: Vec<Key>,
    serial: u64,
    now: u64,
}

impl Pair {
    fn new(now: u64) -> Self {
        Pair {
            wheel: Wheel::new(now),
            model: BTreeMap::new(),
            live: Vec::new(),
            gone: Vec::new(),
            serial: 0,
            now,
        }
    }

    fn insert(&mut self, at: u64) {
        self.serial += 1;
        let key = self.wheel.insert(at, self.serial);
        self.model.insert((at, self.serial), key);
        self.live.push((at, self.serial));
    }

    fn cancel(&mut self, random: &mut Random) {
        if self.live.is_empty() {
            return;
        }
        let pick = random.below(self.live.len() as u64) as usize;
        let (at, serial) = self.live.swap_remove(pick);
        let Some(key) = self.model.remove(&(at, serial)) else {
            return; // it has fired
        };
        assert_eq!(self.wheel.at(key), Some(at));
        assert_eq!(self.wheel.get_mut(key).copied(), Some(serial));
        assert_eq!(self.wheel.cancel(key), Some((at, serial)));
        self.gone.push(key);
    }

    fn expire(&mut self, now: u64, limit: usize) -> bool {
        let bound = self.wheel.next_bound();
        let mut out = Vec::new();
        let more = self.wheel.expire(now, limit, &mut out);
        assert!(out.len() <= limit);
        for fired in out {
            let Some((due, key)) = self.model.pop_first() else {
                panic!("{fired:?} fired, and there is no timer");
            };
            assert_eq!(fired, due);
            assert!(due.0 <= now);
            self.gone.push(key);
        }
        let first = self.model.first_key_value().map(|(&(at, _), _)| at);
        if !more {
            assert!(first.is_none_or(|at| at > now), "more was due");
        }
        let next = self.wheel.next_bound();
        assert_eq!(more, next.is_some_and(|at| at <= now));
        if limit == usize::MAX {
            assert!(!more, "no limit was set");
            assert!(bound.is_none_or(|at| at > now || next.is_none_or(|next| next > at)));
        }
        more
    }

    fn compare(&self) {
        let first = self.model.first_key_value().map(|(&(at, _), _)| at);
        let bound = self.wheel.next_bound();
        assert_eq!(self.wheel.next_exact(), first);
        assert_eq!(bound.is_some(), first.is_some());
        assert!(bound <= first);
        assert_eq!(self.wheel.len(), self.model.len());
        assert_eq!(self.wheel.is_empty(), self.model.is_empty());
    }

    fn nothing_is_found_by_a_stale_key(&mut self) {
        for key in self.gone.drain(..) {
            assert_eq!(self.wheel.at(key), None);
            assert_eq!(self.wheel.get_mut(key), None);
            assert_eq!(self.wheel.cancel(key), None);
        }
    }
}

/// One random history. `spread` is the length in bits of delays and jumps, `start` the first now.
fn agree(seed: u64, spread: u64, start: u64, steps: u64) {
    let mut random = Random(seed);
    let mut pair = Pair::new(start);
    for step in 0..steps {
        match random.below(16) {
            0..6 => {
                let at = pair.now.saturating_add(random.of_any_length(spread));
                for _ in 0..=random.below(3) {
                    pair.insert(at);
                }
            }
            6 => pair.insert(pair.now.saturating_sub(random.of_any_length(spread))),
            7 => {
                // The tick of another timer, so that ties are split over levels and pours.
                if let Some(&(at, _)) = pair.live.last() {
                    pair.insert(at);
                }
            }
            8..11 => pair.cancel(&mut random),
            11 => {
                let back = pair.now.saturating_sub(random.below(4));
                pair.expire(back, random.below(5) as usize);
            }
            12 => {
                pair.now = pair.now.saturating_add(random.of_any_length(spread));
                pair.expire(pair.now, random.below(5) as usize);
            }
            13 => {
                if let Some(bound) = pair.wheel.next_bound() {
                    pair.now = pair.now.max(bound);
                    pair.expire(pair.now, usize::MAX);
                }
            }
            14 => {
                pair.now = pair.now.saturating_add(random.below(3));
                pair.expire(pair.now, 1);
            }
            _ => while pair.expire(pair.now, 1 + random.below(9) as usize) {},
        }
        pair.compare();
        if step % 16 == 0 {
            check(&pair.wheel);
            pair.nothing_is_found_by_a_stale_key();
        }
        if pair.live.len() > 2 * pair.model.len() + 64 {
            let Pair { live, model, .. } = &mut pair;
            live.retain(|timer| model.contains_key(timer));
        }
    }
    pair.expire(u64::MAX, usize::MAX);
    assert!(pair.model.is_empty() && pair.wheel.is_empty());
    pair.nothing_is_found_by_a_stale_key();
    check(&pair.wheel);
}

/// Miri is slow; it gets the same histories, shorter.
const STEPS: u64 = if cfg!(miri) { 100 } else { 3_000 };

#[test]
fn random_histories_agree_with_a_sorted_map() {
    for (seed, spread) in [3, 6, 7, 13, 20, 36, 48, 63].into_iter().enumerate() {
        agree(seed as u64, spread, 0, STEPS);
    }
}

#[test]
fn random_histories_agree_across_the_boundaries_of_levels() {
    for level in 1..LEVELS as u64 {
        agree(100 + level, 8, (1 << (6 * level)) - 40, STEPS / 4);
    }
}

#[test]
fn random_histories_agree_at_the_end_of_time() {
    for spread in [4, 8, 14, 40] {
        agree(200 + spread, spread, u64::MAX - (1 << spread), STEPS / 4);
    }
}

#[test]
fn a_deep_pour_in_small_steps_keeps_the_order() {
    let mut random = Random(7);
    let mut pair = Pair::new(5);
    for round in 0..4 {
        let start = pair.now + (1 << 18);
        for _ in 0..if cfg!(miri) { 60 } else { 1_000 } {
            pair.insert(start + random.below(200));
        }
        pair.now = start + 150;
        while pair.expire(pair.now, 1 + round) {
            // Into the slot that is being poured, before it, and on ticks already moved.
            pair.insert(start + random.below(200));
            pair.insert(start - random.below(1 << 10));
            pair.cancel(&mut random);
            pair.cancel(&mut random);
            pair.cancel(&mut random);
            pair.compare();
            check(&pair.wheel);
        }
    }
}

fn expire_all<T>(wheel: &mut Wheel<T>, now: u64) -> Vec<(u64, T)> {
    let mut out = Vec::new();
    assert!(!wheel.expire(now, usize::MAX, &mut out));
    check(wheel);
    out
}

#[test]
fn nothing_fires_a_tick_early() {
    for delay in [1, 63, 64, 65, 4_095, 4_096, 1 << 36, (1 << 36) + 1, 1 << 60] {
        let mut wheel = Wheel::new(17);
        wheel.insert(17 + delay, ());
        assert_eq!(expire_all(&mut wheel, 16 + delay), []);
        assert_eq!(wheel.next_exact(), Some(17 + delay));
        assert_eq!(expire_all(&mut wheel, 17 + delay), [(17 + delay, ())]);
    }
}

#[test]
fn what_is_due_at_insertion_fires_at_the_next_expire() {
    let mut wheel = Wheel::new(100);
    wheel.insert(100, "now");
    wheel.insert(20, "long ago");
    wheel.insert(99, "just missed");
    wheel.insert(20, "long ago too");
    assert_eq!(wheel.next_bound(), Some(20));
    assert_eq!(
        expire_all(&mut wheel, 100),
        [
            (20, "long ago"),
            (20, "long ago too"),
            (99, "just missed"),
            (100, "now")
        ]
    );
}

#[test]
fn a_late_entry_can_be_read_and_cancelled() {
    let mut wheel = Wheel::new(100);
    let (first, second) = (wheel.insert(20, 'a'), wheel.insert(20, 'b'));
    assert_eq!(wheel.at(second), Some(20));
    assert_eq!(wheel.cancel(first), Some((20, 'a')));
    check(&wheel);
    assert_eq!(wheel.cancel(second), Some((20, 'b')));
    assert_eq!(wheel.next_bound(), None);
    check(&wheel);
}

#[test]
fn a_tick_that_is_half_fired_takes_new_entries_at_its_end() {
    let mut wheel = Wheel::new(0);
    let mut out = Vec::new();
    for item in 0..4 {
        wheel.insert(10, item);
    }
    assert!(wheel.expire(10, 2, &mut out));
    wheel.insert(10, 4);
    wheel.insert(9, 5);
    assert!(!wheel.expire(10, 100, &mut out));
    assert_eq!(out, [(10, 0), (10, 1), (9, 5), (10, 2), (10, 3), (10, 4)]);
}

#[test]
fn a_cancel_while_half_expired_takes_only_its_own() {
    let mut wheel = Wheel::new(0);
    let mut out = Vec::new();
    let keys: Vec<Key> = (0..6).map(|item| wheel.insert(70, item)).collect();
    assert!(wheel.expire(70, 3, &mut out)); // three of six have moved to level 0
    assert_eq!(out, []);
    assert_eq!(wheel.cancel(keys[1]), Some((70, 1))); // one that has moved
    assert_eq!(wheel.cancel(keys[4]), Some((70, 4))); // one that has not
    check(&wheel);
    assert!(wheel.expire(70, 4, &mut out)); // two move, two fire
    assert_eq!(out, [(70, 0), (70, 2)]);
    assert_eq!(wheel.cancel(keys[0]), None);
    assert_eq!(wheel.cancel(keys[3]), Some((70, 3)));
    assert!(!wheel.expire(70, 4, &mut out));
    assert_eq!(out, [(70, 0), (70, 2), (70, 5)]);
    check(&wheel);
}

#[test]
fn a_pour_ends_when_its_rest_is_cancelled() {
    let mut wheel = Wheel::new(0);
    let mut out = Vec::new();
    let keys: Vec<Key> = (0..3).map(|item| wheel.insert(70, item)).collect();
    assert!(wheel.expire(70, 1, &mut out));
    assert_eq!(wheel.cancel(keys[1]), Some((70, 1)));
    assert_eq!(wheel.cancel(keys[2]), Some((70, 2)));
    check(&wheel);
    assert!(!wheel.expire(70, 2, &mut out));
    assert_eq!(out, [(70, 0)]);
}

#[test]
fn the_end_of_time_is_a_deadline_like_others() {
    let mut wheel = Wheel::new(0);
    wheel.insert(u64::MAX, 'b');
    wheel.insert(u64::MAX - 1, 'a');
    wheel.insert(u64::MAX, 'c');
    assert_eq!(expire_all(&mut wheel, u64::MAX - 2), []);
    assert_eq!(expire_all(&mut wheel, u64::MAX - 1), [(u64::MAX - 1, 'a')]);
    let last = [(u64::MAX, 'b'), (u64::MAX, 'c')];
    assert_eq!(expire_all(&mut wheel, u64::MAX), last);
    wheel.insert(u64::MAX, 'd');
    assert_eq!(expire_all(&mut wheel, u64::MAX), [(u64::MAX, 'd')]);
}

#[test]
fn a_clock_that_goes_back_fires_nothing_early() {
    let mut wheel = Wheel::new(0);
    assert_eq!(expire_all(&mut wheel, 1_000), []);
    wheel.insert(900, 'a');
    wheel.insert(1_000, 'b');
    assert_eq!(expire_all(&mut wheel, 899), []);
    assert_eq!(expire_all(&mut wheel, 950), [(900, 'a')]);
    assert_eq!(expire_all(&mut wheel, 1_000), [(1_000, 'b')]);
}

#[test]
fn a_clock_that_goes_back_keeps_late_entries_in_order() {
    let mut wheel = Wheel::new(1_000);
    wheel.insert(900, 'b');
    assert_eq!(expire_all(&mut wheel, 850), []);
    wheel.insert(899, 'a');
    wheel.insert(900, 'c');
    let late = [(899, 'a'), (900, 'b'), (900, 'c')];
    assert_eq!(expire_all(&mut wheel, 900), late);
}

#[test]
fn a_short_timer_costs_one_step_though_long_ones_wait() {
    let mut wheel = Wheel::new(0);
    let mut out = Vec::new();
    wheel.insert(1 << 20, "long");
    assert_eq!(expire_all(&mut wheel, 10_000), []);
    wheel.insert(10_020, "short");
    assert!(!wheel.expire(10_020, 1, &mut out));
    assert_eq!(out, [(10_020, "short")]);
}

#[test]
fn a_limit_of_nothing_does_nothing() {
    let mut wheel = Wheel::new(0);
    let mut out = Vec::new();
    assert!(!wheel.expire(5, 0, &mut out));
    wheel.insert(6, ());
    assert!(!wheel.expire(5, 0, &mut out));
    assert!(wheel.expire(6, 0, &mut out));
    assert!(out.is_empty() && wheel.len() == 1);
}

#[test]
fn a_lone_timer_costs_two_steps_however_far_the_jump() {
    for at in [3, 70, 5_000, 1 << 40, u64::MAX] {
        let mut wheel = Wheel::new(1);
        let mut out = Vec::new();
        wheel.insert(at, ());
        assert!(!wheel.expire(at, 3, &mut out));
        assert_eq!(out, [(at, ())]);
    }
}

#[test]
fn the_work_of_a_call_is_bounded_by_the_limit() {
    let mut wheel = Wheel::new(0);
    let mut out = Vec::new();
    for item in 0..1_000u64 {
        wheel.insert((1 << 30) + item * 64, item);
    }
    let mut calls = 1;
    while wheel.expire(u64::MAX, 10, &mut out) {
        calls += 1;
    }
    assert_eq!(out.len(), 1_000);
    // Each entry moves at most once a level (its slot is at level 5) and fires.
    assert!((100..=600).contains(&calls), "{calls}");
}

#[test]
fn a_bound_is_exact_until_the_earliest_is_cancelled() {
    let mut wheel = Wheel::new(0);
    wheel.insert(200, 'b');
    let early = wheel.insert(150, 'a');
    assert_eq!(wheel.next_bound(), Some(150));
    wheel.cancel(early);
    assert!(wheel.next_bound() <= Some(200));
    assert_eq!(wheel.next_exact(), Some(200));
    assert_eq!(expire_all(&mut wheel, 150), []);
    assert_eq!(wheel.next_bound(), Some(200), "after one idle call");
}

#[test]
fn a_stale_key_finds_nothing_once_its_node_is_used_again() {
    let mut wheel = Wheel::new(0);
    let old = wheel.insert(5, "old");
    assert_eq!(expire_all(&mut wheel, 5), [(5, "old")]);
    let new = wheel.insert(6, "new");
    assert_eq!(new.index, old.index);
    assert_eq!(wheel.cancel(old), None);
    assert_eq!(wheel.get_mut(old), None);
    assert_eq!(wheel.at(old), None);
    assert_eq!(wheel.at(new), Some(6));
}

#[test]
fn a_node_whose_generations_are_used_up_is_retired() {
    let mut wheel = Wheel::new(0);
    let first = wheel.insert(5, 'a');
    wheel.nodes.slab[first.index as usize].generation = u32::MAX;
    let last = wheel.nodes.key(first.index);
    assert_eq!(wheel.cancel(last), Some((5, 'a')));
    assert_eq!(wheel.cancel(last), None);
    let other = wheel.insert(5, 'b');
    assert_ne!(other.index, first.index);
    assert_eq!(wheel.cancel(last), None);
    assert_eq!(wheel.len(), 1);
}

#[test]
fn a_key_survives_as_a_number_and_no_key_is_zero() {
    let mut wheel = Wheel::new(0);
    let key = wheel.insert(5, ());
    assert_eq!(Key::from_bits(key.to_bits()), key);
    assert_ne!(key.to_bits(), 0);
    assert_eq!(wheel.at(Key::from_bits(0)), None);
    assert_eq!(wheel.cancel(Key::from_bits(u64::MAX)), None);
    assert_eq!(wheel.len(), 1);
}

#[test]
fn a_drain_empties_the_wheel_and_makes_every_key_stale() {
    let mut random = Random(1);
    let mut wheel = Wheel::new(1 << 20);
    let mut out = Vec::new();
    let mut keys = Vec::new();
    for item in 0..500u64 {
        keys.push(wheel.insert((1 << 20) + 10_000 + random.below(5_000), item));
    }
    let _more = wheel.expire((1 << 20) + 12_000, 40, &mut out);
    keys.push(wheel.insert(3, 500));
    let mut left: Vec<u64> = wheel.drain().take(100).map(|(_, item)| item).collect();
    check(&wheel);
    left.extend(wheel.drain().map(|(_, item)| item));
    left.extend(out.into_iter().map(|(_, item)| item));
    left.sort_unstable();
    assert!(left.into_iter().eq(0..=500));
    check(&wheel);
    assert!(wheel.is_empty() && wheel.next_bound().is_none());
    assert!(keys.into_iter().all(|key| wheel.cancel(key).is_none()));
    wheel.insert((1 << 20) + 20_000, 7);
    assert_eq!(expire_all(&mut wheel, 1 << 21).len(), 1);
}

#[test]
fn keys_and_entries_are_small() {
    assert_eq!(size_of::<Key>(), 8);
    assert_eq!(size_of::<Node<Box<u8>>>(), 24 + size_of::<Box<u8>>());
    assert!(size_of::<Node<u64>>() <= 40 + size_of::<u64>());
}
