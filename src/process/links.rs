//! Whom a process is linked to. Most have one link, to who started them, and there may be a million
//! such: one link takes no memory of its own.

use std::collections::{BTreeSet, btree_set};

use super::pid::Pid;

#[derive(Default)]
pub(crate) enum Links {
    #[default]
    None,
    One(Pid),
    /// Any number, after there have been two at once.
    #[allow(clippy::box_collection)] // it keeps the other two small
    Many(Box<BTreeSet<Pid>>),
}

impl Links {
    /// `false`: it was there.
    pub(crate) fn insert(&mut self, pid: Pid) -> bool {
        match self {
            Links::None => *self = Links::One(pid),
            Links::One(one) if *one == pid => return false,
            Links::One(one) => *self = Links::Many(Box::new(BTreeSet::from([*one, pid]))),
            Links::Many(many) => return many.insert(pid),
        }
        true
    }

    /// Whether it was there.
    pub(crate) fn remove(&mut self, pid: &Pid) -> bool {
        match self {
            Links::One(one) if one == pid => {
                *self = Links::None;
                true
            }
            Links::None | Links::One(_) => false,
            Links::Many(many) => many.remove(pid),
        }
    }

    pub(crate) fn contains(&self, pid: &Pid) -> bool {
        match self {
            Links::None => false,
            Links::One(one) => one == pid,
            Links::Many(many) => many.contains(pid),
        }
    }

    /// In the order of their pids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Pid> + '_ {
        let (one, many) = match self {
            Links::None => (None, None),
            Links::One(one) => (Some(*one), None),
            Links::Many(many) => (None, Some(many.iter().copied())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

impl IntoIterator for Links {
    type Item = Pid;
    type IntoIter = std::iter::Chain<std::option::IntoIter<Pid>, btree_set::IntoIter<Pid>>;

    /// In the order of their pids.
    fn into_iter(self) -> Self::IntoIter {
        let (one, many) = match self {
            Links::None => (None, BTreeSet::new()),
            Links::One(one) => (Some(one), BTreeSet::new()),
            Links::Many(many) => (None, *many),
        };
        one.into_iter().chain(many)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_set_in_order_whatever_its_size() {
        let pid = |id| Pid::local(1, id, 1);
        let mut links = Links::default();
        let mut expected = BTreeSet::new();
        // Up to three at once, down to none, and up again.
        for (add, id) in [
            (true, 2),
            (true, 2),
            (false, 3),
            (true, 1),
            (true, 1),
            (true, 3),
            (false, 2),
            (false, 2),
            (false, 1),
            (false, 3),
            (false, 3),
            (true, 5),
            (true, 4),
        ] {
            if add {
                assert_eq!(links.insert(pid(id)), expected.insert(pid(id)));
            } else {
                assert_eq!(links.remove(&pid(id)), expected.remove(&pid(id)));
            }
            assert!(links.iter().eq(expected.iter().copied()));
            assert_eq!(links.contains(&pid(1)), expected.contains(&pid(1)));
        }
        assert!(links.into_iter().eq(expected));

        let mut one = Links::default();
        assert!(one.insert(pid(1)) && !one.insert(pid(1)) && !one.remove(&pid(2)));
        assert!(one.iter().eq([pid(1)]));
        assert!(one.remove(&pid(1)) && !one.remove(&pid(1)));
        assert!(one.into_iter().next().is_none());
        assert_eq!(size_of::<Links>(), 24);
    }
}
