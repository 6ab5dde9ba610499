//! An order: a state machine that goes from service to service, and asks again where one has crashed.
//!
//! ```text
//!   Reserving ──▶ Charging ──▶ Mailing ──▶ Ended(Charged)
//!       │             │ declined   │ bounced
//!       │             ▼            ▼
//!       │         Releasing ◀── Refunding
//!       ▼             ▼
//!   Ended(Rejected)  Ended(Rejected or Refunded)
//! ```

use std::fmt;
use std::time::Duration;

use noex::prelude::*;
use noex::{CallError, GenStateMachine, Initial, MachineContext, Next, ReplyTo};
use serde::Deserialize;

use super::services::{Charge, Faults, Mail, Refund, Release, Reserve, Service};
use super::world::Refusal;

pub(crate) type OrderId = u64;
pub(crate) type Cents = u64;

/// A line of the input.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Order {
    pub(crate) id: OrderId,
    pub(crate) customer: String,
    pub(crate) email: String,
    pub(crate) card: String,
    pub(crate) items: Vec<Item>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Item {
    pub(crate) sku: String,
    pub(crate) count: u32,
}

/// How an order ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ending {
    /// Charged once, and the customer told.
    Charged,
    /// Charged once, and given back.
    Refunded(Refusal),
    /// Never charged.
    Rejected(Refusal),
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ending::Charged => f.write_str("charged"),
            Ending::Refunded(why) => write!(f, "refunded: {why:?}"),
            Ending::Rejected(why) => write!(f, "rejected: {why:?}"),
        }
    }
}

/// Where an order is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Stage {
    Reserving,
    Charging(Cents),
    Mailing,
    Refunding(Refusal),
    /// The items go back; then it ends.
    Releasing(Ending),
    Ended(Ending),
}

pub(crate) enum Event {
    /// Time to do what the stage is for.
    Go,
    /// Who waits for the end.
    Outcome(ReplyTo<Ending>),
}

/// The data of the machine.
pub(crate) struct Clerk {
    order: Order,
    faults: Faults,
    inventory: Named<Service>,
    payment: Named<Service>,
    mail: Named<Service>,
    /// Attempts at this stage, so far.
    attempts: u32,
}

impl GenStateMachine for Clerk {
    type Args = (Order, Faults);
    type State = Stage;
    type Event = Event;
    type Timeout = std::convert::Infallible;

    async fn init(
        (order, faults): Self::Args,
        cx: &mut MachineContext<Self>,
    ) -> Result<Initial<Self>, InitStop> {
        let clerk = Clerk {
            order,
            faults,
            inventory: cx.system().server("inventory"),
            payment: cx.system().server("payment"),
            mail: cx.system().server("mail"),
            attempts: 0,
        };
        // An order that crashed begins anew: whatever was done for it is done only once.
        Ok(Initial::new(clerk, Stage::Reserving).next_event(Event::Go))
    }

    async fn handle_event(
        &mut self,
        stage: &Stage,
        event: Event,
        _: &mut MachineContext<Self>,
    ) -> Next<Self> {
        match (stage, event) {
            (Stage::Ended(ending), Event::Outcome(reply)) => {
                Next::stop(ExitReason::Normal).reply(reply, *ending)
            }
            // It comes again with every change of the stage.
            (_, outcome @ Event::Outcome(_)) => Next::keep_state().postpone(outcome),
            (stage, Event::Go) => match self.go(*stage).await {
                Ok(ended @ Stage::Ended(_)) => Next::state(ended),
                Ok(next) => {
                    self.attempts = 0;
                    Next::state(next).next_event(Event::Go)
                }
                // The service has crashed, before or after it did it; or it is just being restarted.
                Err(_) => {
                    self.attempts += 1;
                    let patience = Duration::from_millis(1 << self.attempts.min(6));
                    Next::keep_state().state_timeout(patience, Event::Go)
                }
            },
        }
    }
}

impl Clerk {
    /// Does what the stage is for; the next one.
    async fn go(&self, stage: Stage) -> Result<Stage, CallError> {
        self.faults.perhaps();
        let Order {
            id,
            email,
            card,
            items,
            ..
        } = &self.order;
        Ok(match stage {
            Stage::Reserving => match self.inventory.call(Reserve(*id, items.clone())).await? {
                Ok(cents) => Stage::Charging(cents),
                Err(refusal) => Stage::Ended(Ending::Rejected(refusal)),
            },
            Stage::Charging(cents) => {
                match self.payment.call(Charge(*id, card.clone(), cents)).await? {
                    Ok(()) => Stage::Mailing,
                    Err(refusal) => Stage::Releasing(Ending::Rejected(refusal)),
                }
            }
            Stage::Mailing => match self.mail.call(Mail(*id, email.clone())).await? {
                Ok(()) => Stage::Ended(Ending::Charged),
                Err(refusal) => Stage::Refunding(refusal),
            },
            Stage::Refunding(refusal) => {
                self.payment.call(Refund(*id)).await?;
                Stage::Releasing(Ending::Refunded(refusal))
            }
            Stage::Releasing(ending) => {
                self.inventory.call(Release(*id)).await?;
                Stage::Ended(ending)
            }
            ended @ Stage::Ended(_) => ended,
        })
    }
}
