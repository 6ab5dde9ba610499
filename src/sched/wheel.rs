//! Which timers are due: a hierarchical timing wheel, one tick being one millisecond. It is plain
//! data: it reads no clock, takes no lock and runs no user code (items are moved, never dropped).
//! The scheduler keeps one per shard under a mutex and hands in `now`.
//!
//! A deadline is read as eleven digits of six bits. An entry sits at the level of the *highest
//! digit in which its deadline differs from `base`*, in the slot which that digit names:
//!
//! ```text
//!            digit 10   …   2        1        0
//!    base =        0       0       17       40
//!  at  43 ticks    0       0       17       43    differs in digit 0: level 0, slot 43
//!  at  +5 s        0       1       31       48    differs in digit 2: level 2, slot 1
//!
//!  level 0   [ ..., 40: base, ..., 43: one tick a slot, ...  ]
//!  level 1   [ ..., 17: base, ..., 64 ticks a slot, ...      ]
//!  level 2   [ 0: base, 1: ..., 4096 ticks a slot, ...       ]      … up to level 10
//! ```
//!
//! So what is on a lower level is earlier, and within a level the lower slot is earlier: two
//! trailing-zero counts find the first slot. Once that slot's earliest deadline has come, `base`
//! jumps there and the slot is *poured*: its entries move, in order, to the lower levels where
//! they now belong. A slot of level 0 holds a single tick and *fires*. Nothing is done for the
//! empty slots between, however far `now` has jumped, and an entry moves at most once a level.
//!
//! Eleven levels cover all of `u64`. Six (2^36 ticks, two years) and a list for the rest would
//! save 5 KiB a wheel, and cost a walk over that list at each 2^36 ticks of virtual time.
//!
//! # Invariants
//! 1. No entry of a slot is due before `base`. What is inserted with an earlier deadline (another
//!    thread's clock was read first, or the deadline had passed) goes to `late`, a list a tick.
//! 2. An entry that is not late is in the slot which `place(base, at)` names, unless a pour is
//!    under way and it is in the slot being poured. Hence all entries of one deadline are in one
//!    list, and every list is in order of insertion.
//! 3. While a slot is poured, `base` already lies in its range, and a new entry for that range
//!    queues up behind the rest in that slot; so the entries already moved are older than those
//!    still to move. Nothing fires from the levels below until the slot is empty.
//! 4. A slot's `min` is no later than any of its deadlines, within the slot's range, and no
//!    earlier than `base`. It is exact unless the slot's `stale` bit is set.
//! 5. A slot's bit in `occupied` is set iff its list has entries, and a level's bit in `levels`
//!    iff the level has such a slot. An empty slot is `Slot::EMPTY` and not stale.
//! 6. A node's generation goes up when the node is freed, and a node whose generations are used
//!    up is not used again: a key finds its own entry or nothing.

use std::collections::BTreeMap;

#[cfg(test)]
mod tests;

/// Bits of a deadline that one level resolves.
const BITS: usize = 6;
/// Slots of a level: one word of occupancy bits.
const SLOTS: usize = 1 << BITS;
/// Enough digits for every `u64`.
const LEVELS: usize = u64::BITS.div_ceil(BITS as u32) as usize;

/// No node: the end of a list.
const NIL: u32 = u32::MAX;
/// The place of an entry in `late`.
const LATE: u16 = u16::MAX;
/// Nothing is being poured. It is a slot of level 0, and those are never poured.
const NO_SLOT: u16 = 0;

/// Names an entry of one wheel. Once the entry has fired or been cancelled the key is stale and
/// finds nothing, whatever has been inserted since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    /// The key as a number, never 0.
    #[inline]
    pub(crate) fn to_bits(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    /// Back from [`to_bits`](Self::to_bits). Any other number is a key that finds nothing, or one
    /// of another entry; it is never undefined.
    #[inline]
    pub(crate) fn from_bits(bits: u64) -> Self {
        Key {
            index: bits as u32,
            generation: (bits >> 32) as u32,
        }
    }
}

/// The timers of one shard. The module's text says how it works.
pub(crate) struct Wheel<T> {
    base: u64,
    /// A bit for each level that has entries.
    levels: u16,
    /// The slot that is being poured, or `NO_SLOT`.
    pouring: u16,
    occupied: [u64; LEVELS],
    stale: [u64; LEVELS],
    slots: Box<[Slot]>,
    nodes: Nodes<T>,
    /// A tree, since what comes late comes in no order. It is empty nearly always.
    late: BTreeMap<u64, List>,
}

#[derive(Clone)]
struct Slot {
    list: List,
    min: u64,
}

impl Slot {
    const EMPTY: Slot = Slot {
        list: List::EMPTY,
        min: u64::MAX,
    };
}

/// Where `at` belongs while the wheel stands at `base`: its level times `SLOTS`, plus its digit.
#[inline(always)]
fn place(base: u64, at: u64) -> u16 {
    // `| 1` gives equal numbers level 0 too; it cannot change the level of others.
    let level = ((base ^ at) | 1).ilog2() as usize / BITS;
    let digit = (at >> (level * BITS)) as usize % SLOTS;
    (level * SLOTS + digit) as u16
}

#[inline(always)]
fn level(place: u16) -> usize {
    usize::from(place) / SLOTS
}

#[inline(always)]
fn bit(place: u16) -> u64 {
    1 << (usize::from(place) % SLOTS)
}

impl<T> Wheel<T> {
    /// An empty wheel that stands at `now`.
    pub(crate) fn new(now: u64) -> Self {
        Wheel {
            base: now,
            levels: 0,
            pouring: NO_SLOT,
            occupied: [0; LEVELS],
            stale: [0; LEVELS],
            slots: vec![Slot::EMPTY; LEVELS * SLOTS].into_boxed_slice(),
            nodes: Nodes::new(),
            late: BTreeMap::new(),
        }
    }

    /// How many entries there are, due or not.
    #[inline]
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.nodes.live
    }

    /// Whether there are none.
    #[inline]
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.live == 0
    }

    /// Adds an entry that falls due at `at`. One that is due already leaves with the next
    /// [`expire`](Self::expire).
    #[inline]
    pub(crate) fn insert(&mut self, at: u64, item: T) -> Key {
        let key = self.nodes.add(at, item);
        if at < self.base {
            self.insert_late(at, key.index);
            return key;
        }
        let mut place = place(self.base, at);
        if level(place) < level(self.pouring) {
            place = self.pouring; // invariant 3
        }
        self.link(place, at, key.index);
        key
    }

    #[cold]
    fn insert_late(&mut self, at: u64, index: u32) {
        let list = self.late.entry(at).or_insert(List::EMPTY);
        self.nodes.push_back(list, index);
        self.nodes.slab[index as usize].place = LATE;
    }

    /// Takes an entry out before it fires, with its deadline. `None`: it has fired or was
    /// cancelled.
    #[inline]
    pub(crate) fn cancel(&mut self, key: Key) -> Option<(u64, T)> {
        let &Node { at, place, .. } = self.nodes.find(key)?;
        if place == LATE {
            self.unlink_late(at, key.index);
        } else {
            let slot = &mut self.slots[usize::from(place)];
            self.nodes.unlink(&mut slot.list, key.index);
            if slot.list.is_empty() {
                self.emptied(place);
            } else if at == slot.min && level(place) > 0 {
                // Who is the earliest now would take a walk; `next_exact` makes it if it must.
                self.stale[level(place)] |= bit(place);
            }
        }
        self.nodes.remove(key.index)
    }

    #[cold]
    fn unlink_late(&mut self, at: u64, index: u32) {
        let Some(list) = self.late.get_mut(&at) else {
            unreachable!("a late entry is in the list of its tick");
        };
        self.nodes.unlink(list, index);
        if list.is_empty() {
            self.late.remove(&at);
        }
    }

    /// When the entry falls due. `None`: it has fired or was cancelled.
    #[inline]
    pub(crate) fn at(&self, key: Key) -> Option<u64> {
        self.nodes.find(key).map(|node| node.at)
    }

    /// The entry's item. `None`: it has fired or was cancelled.
    #[inline]
    #[cfg(test)]
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.nodes.find(key)?;
        self.nodes.slab[key.index as usize].item.as_mut()
    }

    /// Moves entries that are due at `now` to the end of `out`, in the order of their deadlines
    /// and, where these are equal, of their insertion.
    ///
    /// `limit` bounds the work: an entry moved to `out` counts one, and so does one moved to a
    /// lower level. `true`: there is more to do at `now`, so call again, though that call may
    /// find that all that was left had been cancelled. The order holds across calls, and entries
    /// inserted between them take their places in it. A `now` that is earlier than the last one
    /// is not an error; what is not due by it stays.
    #[must_use = "`true` leaves it to the caller to call again"]
    #[inline]
    pub(crate) fn expire(&mut self, now: u64, limit: usize, out: &mut Vec<(u64, T)>) -> bool {
        let mut left = limit;
        if !self.late.is_empty() {
            left = self.fire_late(now, left, out);
        }
        while left > 0 {
            let Some(place) = self.first() else {
                self.base = self.base.max(now);
                return false;
            };
            if self.slots[usize::from(place)].min > now {
                self.approach(place, now);
                return false;
            }
            left = if level(place) == 0 {
                self.fire(place, left, out)
            } else {
                self.pour(place, left)
            };
        }
        self.next_bound().is_some_and(|bound| bound <= now)
    }

    /// A time no later than the earliest deadline, found without a search. It is exact but for
    /// cancelled entries, whose time it may still be. An [`expire`](Self::expire) at this time
    /// makes progress: called until it returns `false`, it has moved entries to `out` or raised
    /// the bound. `None`: there are no entries.
    #[inline]
    pub(crate) fn next_bound(&self) -> Option<u64> {
        if let Some((&at, _)) = self.late.first_key_value() {
            return Some(at); // before all others (invariant 1)
        }
        // While a slot is poured its `min` is `base`, which bounds what was poured from it too.
        self.first().map(|place| self.slots[usize::from(place)].min)
    }

    /// The earliest deadline. Looks through one slot if its earliest entry was cancelled or it is
    /// half poured, else as cheap as [`next_bound`](Self::next_bound).
    pub(crate) fn next_exact(&self) -> Option<u64> {
        if let Some((&at, _)) = self.late.first_key_value() {
            return Some(at);
        }
        let lowest = self.slot_min(self.lowest()?);
        if self.pouring == NO_SLOT {
            return Some(lowest);
        }
        Some(lowest.min(self.slot_min(self.pouring)))
    }

    /// Takes out everything, due or not, in no promised order. What is not taken before the
    /// iterator is dropped stays.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = (u64, T)> {
        std::iter::from_fn(|| {
            let index = match self.late.first_key_value() {
                Some((_, list)) => list.head,
                None => self.slots[usize::from(self.lowest()?)].list.head,
            };
            self.cancel(self.nodes.key(index))
        })
    }

    /// The slot to see to next.
    #[inline(always)]
    fn first(&self) -> Option<u16> {
        if self.pouring != NO_SLOT {
            return Some(self.pouring); // before the levels it is poured into (invariant 3)
        }
        self.lowest()
    }

    /// The first slot of the lowest level that has entries.
    #[inline(always)]
    fn lowest(&self) -> Option<u16> {
        if self.levels == 0 {
            return None;
        }
        let level = self.levels.trailing_zeros() as usize;
        let digit = self.occupied[level].trailing_zeros() as usize;
        Some((level * SLOTS + digit) as u16)
    }

    /// The earliest deadline in a slot that has entries.
    fn slot_min(&self, place: u16) -> u64 {
        let slot = &self.slots[usize::from(place)];
        if self.stale[level(place)] & bit(place) == 0 {
            return slot.min;
        }
        let mut min = u64::MAX;
        let mut index = slot.list.head;
        while index != NIL {
            let node = &self.nodes.slab[index as usize];
            min = min.min(node.at);
            index = node.next;
        }
        min
    }

    /// Appends a node to a slot.
    #[inline(always)]
    fn link(&mut self, place: u16, at: u64, index: u32) {
        let slot = &mut self.slots[usize::from(place)];
        self.nodes.push_back(&mut slot.list, index);
        self.nodes.slab[index as usize].place = place;
        if at <= slot.min {
            slot.min = at;
            self.stale[level(place)] &= !bit(place);
        }
        self.occupied[level(place)] |= bit(place);
        self.levels |= 1 << level(place);
    }

    /// The last entry has left the slot.
    #[inline(always)]
    fn emptied(&mut self, place: u16) {
        let level = level(place);
        self.slots[usize::from(place)] = Slot::EMPTY;
        self.stale[level] &= !bit(place);
        self.occupied[level] &= !bit(place);
        if self.occupied[level] == 0 {
            self.levels &= !(1 << level);
        }
        if place == self.pouring {
            self.pouring = NO_SLOT;
        }
    }

    /// Lets what is left of one tick go. Returns what is left of the limit.
    fn fire(&mut self, place: u16, mut left: usize, out: &mut Vec<(u64, T)>) -> usize {
        let slot = &mut self.slots[usize::from(place)];
        while left > 0 {
            let Some(index) = self.nodes.pop_front(&mut slot.list) else {
                break;
            };
            out.extend(self.nodes.remove(index));
            left -= 1;
        }
        if slot.list.is_empty() {
            self.emptied(place);
        }
        left
    }

    /// Begins to pour a slot, or goes on. Returns what is left of the limit.
    fn pour(&mut self, place: u16, mut left: usize) -> usize {
        self.base = self.slots[usize::from(place)].min;
        self.pouring = place;
        self.stale[level(place)] |= bit(place); // the earliest may be among those that move
        while left > 0 {
            let slot = &mut self.slots[usize::from(place)];
            let Some(index) = self.nodes.pop_front(&mut slot.list) else {
                break;
            };
            let at = self.nodes.slab[index as usize].at;
            self.link(self::place(self.base, at), at, index);
            left -= 1;
        }
        if self.slots[usize::from(place)].list.is_empty() {
            self.emptied(place);
        }
        left
    }

    /// Lets go what was late. Returns what is left of the limit.
    #[cold]
    fn fire_late(&mut self, now: u64, mut left: usize, out: &mut Vec<(u64, T)>) -> usize {
        while left > 0 {
            let Some(mut tick) = self.late.first_entry().filter(|tick| *tick.key() <= now) else {
                break;
            };
            if let Some(index) = self.nodes.pop_front(tick.get_mut()) {
                out.extend(self.nodes.remove(index));
                left -= 1;
            }
            if tick.get().is_empty() {
                tick.remove();
            }
        }
        left
    }

    /// Brings `base` as near to `now` as can be without entering the first slot, which is not due:
    /// short timers then need no pouring, and no entry's place changes (invariant 2).
    #[inline(always)]
    fn approach(&mut self, first: u16, now: u64) {
        if now <= self.base {
            return; // also: the slot is half poured and the clock went back
        }
        let shift = level(first) * BITS;
        let digit = u64::from(first) % SLOTS as u64;
        let above = (self.base >> shift) & !(SLOTS as u64 - 1);
        // Greater than `base`: the slot's digit is greater than that of `base`, or it is the
        // tick `base` itself, but that would be due.
        let start = (above | digit) << shift;
        self.base = now.min(start - 1);
    }
}

/// A doubly linked list through the nodes.
#[derive(Clone)]
struct List {
    head: u32,
    tail: u32,
}

impl List {
    const EMPTY: List = List {
        head: NIL,
        tail: NIL,
    };

    #[inline(always)]
    fn is_empty(&self) -> bool {
        self.head == NIL
    }
}

/// An entry, or a free node.
struct Node<T> {
    at: u64,
    /// The next in the list; of a free node, the next free one.
    next: u32,
    prev: u32,
    generation: u32,
    /// The slot whose list it is in, or `LATE`.
    place: u16,
    /// `None`: the node is free.
    item: Option<T>,
}

/// The memory of a wheel: it grows with the greatest number of entries there ever were, and keeps
/// every node's generation (the slab crate has none).
struct Nodes<T> {
    slab: Vec<Node<T>>,
    free: u32,
    live: usize,
}

impl<T> Nodes<T> {
    fn new() -> Self {
        Nodes {
            slab: Vec::new(),
            free: NIL,
            live: 0,
        }
    }

    #[inline(always)]
    fn key(&self, index: u32) -> Key {
        Key {
            index,
            generation: self.slab[index as usize].generation,
        }
    }

    #[inline(always)]
    fn find(&self, key: Key) -> Option<&Node<T>> {
        self.slab
            .get(key.index as usize)
            .filter(|node| node.generation == key.generation && node.item.is_some())
    }

    /// Takes a node into use, in no list.
    #[inline(always)]
    fn add(&mut self, at: u64, item: T) -> Key {
        self.live += 1;
        let index = self.free;
        if index == NIL {
            return self.grow(at, item);
        }
        let node = &mut self.slab[index as usize];
        self.free = node.next;
        node.at = at;
        node.item = Some(item);
        Key {
            index,
            generation: node.generation,
        }
    }

    #[inline(never)]
    fn grow(&mut self, at: u64, item: T) -> Key {
        let index = self.slab.len();
        assert!(index < NIL as usize, "more timers than a u32 can count");
        self.slab.push(Node {
            at,
            next: NIL,
            prev: NIL,
            generation: 1, // not 0, so that no key is 0
            place: LATE,
            item: Some(item),
        });
        Key {
            index: index as u32,
            generation: 1,
        }
    }

    /// Takes the entry out of a node that is in no list, and frees the node.
    #[inline(always)]
    fn remove(&mut self, index: u32) -> Option<(u64, T)> {
        let node = &mut self.slab[index as usize];
        let item = node.item.take()?;
        self.live -= 1;
        if node.generation < u32::MAX {
            node.generation += 1;
            node.next = self.free;
            self.free = index;
        } // else it is retired (invariant 6)
        Some((node.at, item))
    }

    #[inline(always)]
    fn push_back(&mut self, list: &mut List, index: u32) {
        let node = &mut self.slab[index as usize];
        node.next = NIL;
        node.prev = list.tail;
        match list.tail {
            NIL => list.head = index,
            tail => self.slab[tail as usize].next = index,
        }
        list.tail = index;
    }

    #[inline(always)]
    fn pop_front(&mut self, list: &mut List) -> Option<u32> {
        let index = list.head;
        if index == NIL {
            return None;
        }
        list.head = self.slab[index as usize].next;
        match list.head {
            NIL => list.tail = NIL,
            head => self.slab[head as usize].prev = NIL,
        }
        Some(index)
    }

    #[inline(always)]
    fn unlink(&mut self, list: &mut List, index: u32) {
        let &Node { next, prev, .. } = &self.slab[index as usize];
        match prev {
            NIL => list.head = next,
            prev => self.slab[prev as usize].next = next,
        }
        match next {
            NIL => list.tail = prev,
            next => self.slab[next as usize].prev = prev,
        }
    }
}
