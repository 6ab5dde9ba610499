//! What lies outside the program and does not crash with it: the shelves, the payment provider, the mail.
//! Each does a thing once for each order, however often it is asked: so whoever does not know whether its
//! last request was heard asks again.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use super::order::{Cents, Item, OrderId};

/// The price of each thing, and how many lie on the shelf.
const GOODS: [(&str, Cents, u32); 5] = [
    ("tea", 350, 600),
    ("rice", 220, 600),
    ("salt", 90, 600),
    ("lamp", 4900, 300),
    ("book", 1890, 600),
];

/// An account of what was really done.
#[derive(Default)]
pub(crate) struct Books {
    shelf: HashMap<String, (Cents, u32)>,
    reserved: BTreeMap<OrderId, Vec<Item>>,
    charged: BTreeMap<OrderId, Cents>,
    refunded: BTreeMap<OrderId, Cents>,
    mailed: BTreeMap<OrderId, String>,
    /// How often somebody asked for what had been done already.
    pub(crate) asked_again: u64,
}

/// Why the world refuses for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Refusal {
    /// There is no such thing, or not enough of it.
    OutOfStock,
    /// The card.
    Declined,
    /// The address.
    Bounced,
}

#[derive(Clone)]
pub(crate) struct World(Arc<Mutex<Books>>);

impl World {
    pub(crate) fn new() -> Self {
        let shelf = GOODS.map(|(sku, price, count)| (sku.to_owned(), (price, count)));
        World(Arc::new(Mutex::new(Books {
            shelf: shelf.into(),
            ..Books::default()
        })))
    }

    /// The books stay whole even if a thread panics beside them: each change is made at once.
    pub(crate) fn books(&self) -> MutexGuard<'_, Books> {
        self.0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Books {
    /// Takes the items from the shelf; what they cost.
    pub(crate) fn reserve(&mut self, order: OrderId, items: &[Item]) -> Result<Cents, Refusal> {
        let price = |item: &Item| {
            let (price, _) = self.shelf.get(&item.sku).ok_or(Refusal::OutOfStock)?;
            Ok(price * Cents::from(item.count))
        };
        let cost = items.iter().map(price).sum::<Result<Cents, Refusal>>()?;
        if self.reserved.contains_key(&order) {
            self.asked_again += 1;
            return Ok(cost);
        }
        let enough = |item: &Item| self.shelf[&item.sku].1 >= item.count;
        if !items.iter().all(enough) {
            return Err(Refusal::OutOfStock);
        }
        for item in items {
            if let Some((_, left)) = self.shelf.get_mut(&item.sku) {
                *left -= item.count;
            }
        }
        self.reserved.insert(order, items.to_vec());
        Ok(cost)
    }

    /// Puts them back.
    pub(crate) fn release(&mut self, order: OrderId) {
        match self.reserved.remove(&order) {
            None => self.asked_again += 1,
            Some(items) => {
                for item in items {
                    if let Some((_, left)) = self.shelf.get_mut(&item.sku) {
                        *left += item.count;
                    }
                }
            }
        }
    }

    pub(crate) fn charge(
        &mut self,
        order: OrderId,
        card: &str,
        cents: Cents,
    ) -> Result<(), Refusal> {
        if card.ends_with("declined") {
            return Err(Refusal::Declined);
        }
        if self.charged.insert(order, cents).is_some() {
            self.asked_again += 1;
        }
        Ok(())
    }

    pub(crate) fn refund(&mut self, order: OrderId) {
        if let Some(cents) = self.charged.get(&order) {
            if self.refunded.insert(order, *cents).is_some() {
                self.asked_again += 1;
            }
        }
    }

    pub(crate) fn mail(&mut self, order: OrderId, address: &str) -> Result<(), Refusal> {
        if address.ends_with("@bounces.example") {
            return Err(Refusal::Bounced);
        }
        if self.mailed.insert(order, address.to_owned()).is_some() {
            self.asked_again += 1;
        }
        Ok(())
    }

    /// What was done for one order: is it reserved, charged, refunded, mailed?
    pub(crate) fn done_for(&self, order: OrderId) -> (bool, Cents, Cents, bool) {
        let cents = |book: &BTreeMap<OrderId, Cents>| book.get(&order).copied().unwrap_or(0);
        (
            self.reserved.contains_key(&order),
            cents(&self.charged),
            cents(&self.refunded),
            self.mailed.contains_key(&order),
        )
    }

    /// What lies on the shelf and what was taken from it is what there was.
    pub(crate) fn nothing_was_lost(&self) -> bool {
        GOODS.iter().all(|(sku, _, all)| {
            let items = self.reserved.values().flatten();
            let taken: u32 = items.filter(|i| i.sku == *sku).map(|i| i.count).sum();
            self.shelf[*sku].1 + taken == *all
        })
    }
}
