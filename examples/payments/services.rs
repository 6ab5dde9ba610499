//! The three services of the shop. Each is a server that passes requests on to the world, and panics now
//! and then: before it has asked, or after, when its caller cannot know that it has.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use noex::prelude::*;

use super::order::{Cents, Item, OrderId};
use super::world::{Books, Refusal, World};

/// The names of the services.
pub(crate) const SERVICES: [&str; 3] = ["inventory", "payment", "mail"];

/// When to crash: about once in so many chances, by a seed.
#[derive(Clone)]
pub(crate) struct Faults {
    one_in: u64,
    state: Arc<AtomicU64>,
    pub(crate) crashes: Arc<AtomicU64>,
}

impl Faults {
    pub(crate) fn new(one_in: u64, seed: u64) -> Self {
        Faults {
            one_in,
            state: Arc::new(AtomicU64::new(seed)),
            crashes: Arc::default(),
        }
    }

    /// Panics, perhaps.
    pub(crate) fn perhaps(&self) {
        // SplitMix64: each draw is a function of how many were before.
        let mut x = self.state.fetch_add(0x9E37_79B9_7F4A_7C15, Relaxed);
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^= x >> 31;
        if self.one_in > 0 && x % self.one_in == 0 {
            self.crashes.fetch_add(1, Relaxed);
            panic!("an injected fault");
        }
    }
}

/// One of the services.
pub(crate) struct Service {
    world: World,
    faults: Faults,
}

impl Service {
    /// Asks the world, with a chance to crash on either side.
    fn ask<R>(&self, ask: impl FnOnce(&mut Books) -> R) -> R {
        self.faults.perhaps();
        let answer = ask(&mut self.world.books());
        self.faults.perhaps();
        answer
    }
}

impl GenServer for Service {
    type Args = (World, Faults);
    async fn init((world, faults): Self::Args, _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Service { world, faults })
    }
}

/// Takes items from the shelf; what they cost.
pub(crate) struct Reserve(pub(crate) OrderId, pub(crate) Vec<Item>);
impl HandleCall<Reserve> for Service {
    type Reply = Result<Cents, Refusal>;
    async fn handle_call(&mut self, ask: Reserve, _: &mut Context<Self>) -> Self::Reply {
        self.ask(|books| books.reserve(ask.0, &ask.1))
    }
}

/// Puts them back.
pub(crate) struct Release(pub(crate) OrderId);
impl HandleCall<Release> for Service {
    type Reply = ();
    async fn handle_call(&mut self, ask: Release, _: &mut Context<Self>) {
        self.ask(|books| books.release(ask.0));
    }
}

/// Charges a card.
pub(crate) struct Charge(pub(crate) OrderId, pub(crate) String, pub(crate) Cents);
impl HandleCall<Charge> for Service {
    type Reply = Result<(), Refusal>;
    async fn handle_call(&mut self, ask: Charge, _: &mut Context<Self>) -> Self::Reply {
        self.ask(|books| books.charge(ask.0, &ask.1, ask.2))
    }
}

/// Gives the money back.
pub(crate) struct Refund(pub(crate) OrderId);
impl HandleCall<Refund> for Service {
    type Reply = ();
    async fn handle_call(&mut self, ask: Refund, _: &mut Context<Self>) {
        self.ask(|books| books.refund(ask.0));
    }
}

/// Tells the customer that it is on its way.
pub(crate) struct Mail(pub(crate) OrderId, pub(crate) String);
impl HandleCall<Mail> for Service {
    type Reply = Result<(), Refusal>;
    async fn handle_call(&mut self, ask: Mail, _: &mut Context<Self>) -> Self::Reply {
        self.ask(|books| books.mail(ask.0, &ask.1))
    }
}
