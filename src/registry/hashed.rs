//! A hash map whose keys bring their hash along, so that a key is hashed once for shard and map
//! together, and not at all when the map grows.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// From keys to `T`s. Looked up by a [`Probe`] as a `&dyn Sought<Q>`.
pub(super) type HashedMap<K, T> = HashMap<Hashed<K>, T, BuildHasherDefault<AsItIs>>;

/// A key and its hash.
#[derive(Debug)]
pub(super) struct Hashed<K> {
    pub(super) hash: u64,
    pub(super) key: K,
}

/// What a key can be looked up by, and its hash.
pub(super) struct Probe<'a, Q: ?Sized> {
    pub(super) hash: u64,
    pub(super) key: &'a Q,
}

/// Both of them, as a map sees them.
pub(super) trait Sought<Q: ?Sized> {
    fn hash(&self) -> u64;
    fn key(&self) -> &Q;
}

impl<K: Borrow<Q>, Q: ?Sized> Sought<Q> for Hashed<K> {
    fn hash(&self) -> u64 {
        self.hash
    }
    fn key(&self) -> &Q {
        self.key.borrow()
    }
}

impl<Q: ?Sized> Sought<Q> for Probe<'_, Q> {
    fn hash(&self) -> u64 {
        self.hash
    }
    fn key(&self) -> &Q {
        self.key
    }
}

impl<K> Hash for Hashed<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl<K: Eq> PartialEq for Hashed<K> {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.key == other.key
    }
}

impl<K: Eq> Eq for Hashed<K> {}

impl<Q: ?Sized> Hash for dyn Sought<Q> + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(Sought::hash(self));
    }
}

impl<Q: Eq + ?Sized> PartialEq for dyn Sought<Q> + '_ {
    fn eq(&self, other: &Self) -> bool {
        Sought::hash(self) == Sought::hash(other) && self.key() == other.key()
    }
}

impl<Q: Eq + ?Sized> Eq for dyn Sought<Q> + '_ {}

impl<'a, K: Borrow<Q> + 'a, Q: ?Sized + 'a> Borrow<dyn Sought<Q> + 'a> for Hashed<K> {
    fn borrow(&self) -> &(dyn Sought<Q> + 'a) {
        self
    }
}

/// The hash that is written.
#[derive(Default)]
pub(super) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {
        unreachable!("only hashes are written");
    }
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(map: &HashedMap<String, u32>, hash: u64, key: &str) -> Option<u32> {
        map.get(&Probe { hash, key } as &dyn Sought<str>).copied()
    }

    #[test]
    fn a_key_is_found_by_what_it_borrows_as_and_not_by_its_hash_alone() {
        let mut map = HashedMap::default();
        for (hash, key, n) in [(7, "a", 1), (7, "b", 2), (8, "c", 3)] {
            let key = key.to_owned();
            map.insert(Hashed { hash, key }, n);
        }
        assert_eq!(find(&map, 7, "a"), Some(1));
        assert_eq!(find(&map, 7, "b"), Some(2));
        assert_eq!(find(&map, 8, "c"), Some(3));
        assert_eq!(find(&map, 7, "c"), None);
        assert_eq!(find(&map, 8, "a"), None);
        map.remove(&Probe { hash: 7, key: "a" } as &dyn Sought<str>);
        assert_eq!((find(&map, 7, "a"), find(&map, 7, "b")), (None, Some(2)));
    }
}
