//! `sched::slot`: the owner puts and takes while a thief steals.

use std::ptr::NonNull;

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use crate::sched::slot::LifoSlot;

/// An item whose content loom checks: a read not ordered after `boxed` is reported.
type Item = UnsafeCell<u32>;

fn boxed(value: u32) -> NonNull<Item> {
    let item = Box::new(UnsafeCell::new(0));
    // SAFETY: nobody else has the item yet.
    item.with_mut(|content| unsafe { *content = value });
    NonNull::from(Box::leak(item))
}

fn open(item: NonNull<Item>) -> u32 {
    // SAFETY: made by `boxed`, and invariant 2 hands it to one taker; a second one would free it
    // twice, which loom sees as two unordered accesses.
    let item = unsafe { Box::from_raw(item.as_ptr()) };
    // SAFETY: as above.
    item.with_mut(|content| unsafe { *content })
}

#[test]
fn every_item_comes_out_once_and_whole() {
    loom::model(|| {
        let slot = Arc::new(LifoSlot::new());
        let thief = thread::spawn({
            let slot = slot.clone();
            move || slot.steal().map_or(0, open) + slot.steal().map_or(0, open)
        });
        let mut sum = slot.put(boxed(1)).map_or(0, open);
        sum += slot.put(boxed(2)).map_or(0, open);
        sum += slot.take().map_or(0, open);
        sum += slot.put(boxed(4)).map_or(0, open);
        sum += thief.join().unwrap();
        sum += slot.take().map_or(0, open);
        assert_eq!(sum, 7);
    });
}

#[test]
fn two_thieves_and_the_owner_share_one_item() {
    loom::model(|| {
        let slot = Arc::new(LifoSlot::new());
        assert!(slot.put(boxed(1)).is_none());
        let thief = || {
            let slot = slot.clone();
            thread::spawn(move || slot.steal().map_or(0, open))
        };
        let (one, two) = (thief(), thief());
        let mine = slot.take().map_or(0, open);
        assert_eq!(mine + one.join().unwrap() + two.join().unwrap(), 1);
    });
}
