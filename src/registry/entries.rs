//! What a key leads to: one registration, or several in the order in which they were made.

use std::num::NonZeroU64;

use crate::process::pid::Pid;
use crate::sched::core::Core;

/// The process a registration is for: a pid of the registry's system, in half the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Holder(NonZeroU64);

impl Holder {
    /// `None`: no process of this system has such a pid.
    pub(super) fn of(core: &Core, pid: Pid) -> Option<Self> {
        if pid.creation() != core.creation() || pid.node() != 0 {
            return None;
        }
        let both = u64::from(pid.id()) << 32 | u64::from(pid.serial());
        NonZeroU64::new(both).map(Holder)
    }

    #[inline]
    fn parts(self) -> (u32, u32) {
        ((self.0.get() >> 32) as u32, self.0.get() as u32)
    }

    pub(super) fn pid(self, core: &Core) -> Pid {
        let (id, serial) = self.parts();
        Pid::local(core.creation(), id, serial)
    }

    /// Whether it lives. A process is dead no later than anybody hears of it.
    #[inline]
    pub(super) fn lives(self, core: &Core) -> bool {
        let (id, serial) = self.parts();
        core.table.is_live(id, serial)
    }
}

/// A registration. The stamp is its number among all of its registry.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry<V> {
    pub(super) stamp: u64,
    pub(super) holder: Holder,
    pub(super) value: V,
}

#[derive(Debug)]
pub(super) enum Entries<V> {
    One(Entry<V>),
    Many(Box<Many<V>>),
}

/// By rising stamp. What is taken out leaves a hole, so that a thousand subscribers that die together are
/// not moved up a thousand times; holes go once they are the greater part.
#[derive(Debug)]
pub(super) struct Many<V> {
    places: Vec<Place<V>>,
    there: usize,
}

#[derive(Debug)]
struct Place<V> {
    stamp: u64,
    entry: Option<(Holder, V)>,
}

impl<V> Entries<V> {
    /// Adds an entry, whose stamp is greater than all that are here.
    pub(super) fn push(&mut self, entry: Entry<V>) {
        if let Entries::One(_) = self {
            let places = Vec::with_capacity(4);
            let first = std::mem::replace(self, Entries::Many(Box::new(Many { places, there: 0 })));
            if let Entries::One(first) = first {
                self.push(first);
            }
        }
        if let Entries::Many(many) = self {
            let Entry {
                stamp,
                holder,
                value,
            } = entry;
            let entry = Some((holder, value));
            many.places.push(Place { stamp, entry });
            many.there += 1;
        }
    }

    /// All, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, Holder, &V)> {
        let (one, many) = match self {
            Entries::One(entry) => (Some(entry), [].as_slice()),
            Entries::Many(many) => (None, many.places.as_slice()),
        };
        let one = one.map(|entry| (entry.stamp, entry.holder, &entry.value));
        let many = many.iter().filter_map(|place| {
            let (holder, value) = place.entry.as_ref()?;
            Some((place.stamp, *holder, value))
        });
        one.into_iter().chain(many)
    }

    /// The first. There is one, unless `is_empty`.
    #[inline]
    pub(super) fn first(&self) -> Option<(u64, Holder, &V)> {
        match self {
            Entries::One(entry) => Some((entry.stamp, entry.holder, &entry.value)),
            Entries::Many(_) => self.iter().next(),
        }
    }

    /// Whether an entry with that stamp is here.
    pub(super) fn has(&self, stamp: u64) -> bool {
        match self {
            Entries::One(entry) => entry.stamp == stamp,
            Entries::Many(many) => many
                .find(stamp)
                .is_some_and(|at| many.places[at].entry.is_some()),
        }
    }

    /// The value of an entry.
    pub(super) fn value_mut(&mut self, stamp: u64) -> Option<&mut V> {
        match self {
            Entries::One(entry) => (entry.stamp == stamp).then_some(&mut entry.value),
            Entries::Many(many) => {
                let at = many.find(stamp)?;
                many.places[at].entry.as_mut().map(|(_, value)| value)
            }
        }
    }

    /// Takes those out whose stamps are given, in that order.
    pub(super) fn take(self, stamps: &[u64]) -> (Option<Self>, Vec<Entry<V>>) {
        match self {
            Entries::One(entry) if stamps.contains(&entry.stamp) => (None, vec![entry]),
            Entries::One(entry) => (Some(Entries::One(entry)), Vec::new()),
            Entries::Many(mut many) => {
                let taken = stamps.iter().filter_map(|stamp| many.take(*stamp));
                let taken = taken.collect();
                let rest = (many.there > 0).then_some(Entries::Many(many));
                (rest, taken)
            }
        }
    }
}

impl<V> Many<V> {
    fn find(&self, stamp: u64) -> Option<usize> {
        self.places
            .binary_search_by_key(&stamp, |place| place.stamp)
            .ok()
    }

    fn take(&mut self, stamp: u64) -> Option<Entry<V>> {
        let at = self.find(stamp)?;
        let (holder, value) = self.places[at].entry.take()?;
        self.there -= 1;
        if self.places.len() > 8 && self.there < self.places.len() / 2 {
            self.places.retain(|place| place.entry.is_some());
            self.places.shrink_to(2 * self.there);
        }
        Some(Entry {
            stamp,
            holder,
            value,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(stamp: u64) -> Entry<u64> {
        Entry {
            stamp,
            holder: Holder(NonZeroU64::new(stamp + 1).unwrap()),
            value: stamp * 10,
        }
    }

    fn of(stamps: std::ops::Range<u64>) -> Entries<u64> {
        let mut stamps = stamps.map(entry);
        let mut entries = Entries::One(stamps.next().unwrap());
        stamps.for_each(|entry| entries.push(entry));
        entries
    }

    fn stamps(entries: &Entries<u64>) -> Vec<u64> {
        entries.iter().map(|(stamp, _, _)| stamp).collect()
    }

    #[test]
    fn entries_come_in_the_order_of_their_stamps() {
        assert_eq!(stamps(&of(3..4)), [3]);
        assert_eq!(stamps(&of(3..9)), [3, 4, 5, 6, 7, 8]);
        assert_eq!(of(3..9).first().map(|(stamp, ..)| stamp), Some(3));
    }

    #[test]
    fn what_is_taken_is_gone_and_the_rest_keeps_its_order() {
        let (rest, taken) = of(0..6).take(&[4, 0, 9]);
        assert_eq!(taken, [entry(4), entry(0)]);
        let mut rest = rest.unwrap();
        assert_eq!(stamps(&rest), [1, 2, 3, 5]);
        assert_eq!(rest.first().map(|(stamp, ..)| stamp), Some(1));
        assert_eq!(rest.value_mut(4), None);
        assert!(rest.has(5) && !rest.has(4) && !rest.has(9));
        *rest.value_mut(5).unwrap() = 7;
        rest.push(entry(6));
        let values: Vec<u64> = rest.iter().map(|(.., value)| *value).collect();
        assert_eq!(values, [10, 20, 30, 7, 60]);
    }

    #[test]
    fn the_last_one_taken_leaves_nothing() {
        assert!(matches!(of(5..6).take(&[5]), (None, taken) if taken == [entry(5)]));
        assert!(matches!(of(5..7).take(&[6, 5]), (None, taken) if taken.len() == 2));
        assert!(matches!(of(5..6).take(&[6]), (Some(_), taken) if taken.is_empty()));
    }

    #[test]
    fn a_thousand_that_leave_take_their_room_with_them() {
        let mut entries = of(0..1000);
        for stamp in 0..990 {
            let (rest, taken) = entries.take(&[stamp]);
            assert_eq!(taken, [entry(stamp)]);
            entries = rest.unwrap();
        }
        assert_eq!(stamps(&entries), (990..1000).collect::<Vec<_>>());
        let Entries::Many(many) = &entries else {
            panic!("there are ten");
        };
        assert!(many.places.capacity() < 64, "{}", many.places.capacity());
    }

    #[test]
    fn one_registration_without_a_value_takes_two_words() {
        assert_eq!(size_of::<Entries<()>>(), 16);
    }
}
