//! A branch: the server that owns its accounts. Whatever it does is in its journal first; after a
//! crash the next incarnation begins with what the journal says, and asks again about the transfers
//! whose other half it does not know of.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use noex::prelude::*;
use noex::{Handle, ReplyTo};

use super::crash::{Crashes, Moment};
use super::journal::{self, Journal};
use super::ledger::{Credit, CreditDecision, Decision, Entry, Ledger, Outcome, Refusal};
use super::transfer::{Branches, Transfer};

/// How often a branch asks again about transfers whose credit it has not heard of: the message, or
/// its answer, may have died with a mailbox.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// What each incarnation is started with.
#[derive(Clone)]
pub(crate) struct Charter {
    pub(crate) branch: u8,
    pub(crate) branches: Branches,
    pub(crate) directory: PathBuf,
    /// What a new branch opens with.
    pub(crate) accounts: u32,
    pub(crate) cents: u64,
    pub(crate) crashes: Crashes,
    /// Counts incarnations.
    pub(crate) starts: Arc<AtomicU64>,
}

/// The server of a branch, whichever incarnation runs.
pub(crate) fn named(system: &Handle, branches: &Branches, branch: u8) -> Named<Branch> {
    system.server::<Branch>(branches.name(branch))
}

pub(crate) struct Branch {
    charter: Charter,
    ledger: Ledger,
    journal: Journal,
    others: Vec<Named<Branch>>,
    /// Who waits for the end of a transfer to another branch.
    waiting: HashMap<u64, Vec<ReplyTo<Outcome>>>,
    asking: bool,
}

/// The answer to a [`Credit`].
struct Ended {
    id: u64,
    credited: bool,
}
struct Recovered;
struct AskAgain;
/// Asks for the state of the books.
pub(crate) struct Books;
/// The state of a branch's books.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Summary {
    pub(crate) balance: u128,
    pub(crate) in_transit: usize,
}

impl GenServer for Branch {
    type Args = Charter;

    async fn init(charter: Charter, cx: &mut Context<Self>) -> Result<Self, InitStop> {
        let path = journal::path(&charter.directory, &charter.branches, charter.branch);
        let recovered = journal::recover(&path, &charter.branches, charter.branch)
            .map_err(ExitReason::error)?;
        let journal =
            Journal::open(&path, recovered.length, &charter.branches).map_err(ExitReason::error)?;
        let others = charter
            .branches
            .ids()
            .map(|id| named(&cx.system(), &charter.branches, id))
            .collect();
        let mut branch = Branch {
            charter,
            ledger: recovered.ledger,
            journal,
            others,
            waiting: HashMap::new(),
            asking: false,
        };
        if branch.ledger.opened_with().is_none() {
            let open = Entry::Open {
                accounts: branch.charter.accounts,
                cents: branch.charter.cents,
            };
            branch.journal.append(&open).map_err(ExitReason::error)?;
            branch.ledger.apply(&open).map_err(ExitReason::error)?;
        }
        branch.charter.starts.fetch_add(1, Relaxed);
        cx.continue_with(Recovered);
        Ok(branch)
    }
}

impl Branch {
    /// Writes an entry, then acts on it. A journal that cannot be written ends the branch; so does
    /// a crash on purpose.
    fn commit(&mut self, entry: &Entry) {
        match self.charter.crashes.draw() {
            Some(Moment::Before) => panic!("crashed on purpose before an entry"),
            Some(Moment::Torn) => {
                self.journal.tear(entry);
                panic!("crashed on purpose in an entry");
            }
            Some(Moment::After) => {
                let written = self.journal.append(entry);
                panic!("crashed on purpose after an entry ({written:?})");
            }
            None => {}
        }
        // Let it crash: the next incarnation knows what stands in the journal, this one does not.
        self.journal
            .append(entry)
            .expect("the journal can be written");
        self.ledger
            .apply(entry)
            .expect("what was decided can be done");
    }

    fn ask(&mut self, credit: Credit, cx: &Context<Self>) {
        // Its mailbox is unbounded, so this cannot be refused; what a crash loses is asked again.
        let _ = self.others[usize::from(credit.to.branch)].cast(credit);
        if !self.asking {
            self.asking = true;
            cx.send_after(ASK_AGAIN, &cx.this(), AskAgain);
        }
    }

    fn ask_all(&mut self, cx: &Context<Self>) {
        for credit in self.ledger.outstanding(None) {
            self.ask(credit, cx);
        }
    }

    fn answer(&mut self, id: u64, outcome: Outcome) {
        for reply in self.waiting.remove(&id).unwrap_or_default() {
            reply.reply(outcome);
        }
    }
}

impl HandleContinue<Recovered> for Branch {
    async fn handle_continue(&mut self, _: Recovered, cx: &mut Context<Self>) {
        self.ask_all(cx);
    }
}

impl HandleInfo<AskAgain> for Branch {
    async fn handle_info(&mut self, _: AskAgain, cx: &mut Context<Self>) {
        self.asking = false;
        self.ask_all(cx);
    }
}

/// A transfer is asked for until it is answered, always with the same id: so a client need not know
/// whether a branch that crashed had begun it.
impl HandleRequest<Transfer> for Branch {
    type Reply = Outcome;

    async fn handle_request(
        &mut self,
        transfer: Transfer,
        reply: ReplyTo<Outcome>,
        cx: &mut Context<Self>,
    ) {
        match self.ledger.decide(&transfer) {
            Decision::Answer(outcome) => reply.reply(outcome),
            Decision::Wait => self.waiting.entry(transfer.id).or_default().push(reply),
            Decision::Write(entry) => {
                self.commit(&entry);
                if let Entry::Debit { id, to, cents, .. } = entry {
                    self.waiting.entry(id).or_default().push(reply);
                    self.ask(
                        Credit {
                            source: self.charter.branch,
                            id,
                            to,
                            cents,
                        },
                        cx,
                    );
                } else {
                    reply.reply(Outcome::Done);
                }
            }
        }
    }
}

impl HandleCast<Credit> for Branch {
    async fn handle_cast(&mut self, credit: Credit, _: &mut Context<Self>) {
        let credited = match self.ledger.decide_credit(&credit) {
            CreditDecision::Repeated => true,
            CreditDecision::UnknownAccount => false,
            CreditDecision::Write(entry) => {
                self.commit(&entry);
                true
            }
        };
        let _ = self.others[usize::from(credit.source)].cast(Ended {
            id: credit.id,
            credited,
        });
    }
}

impl HandleCast<Ended> for Branch {
    async fn handle_cast(&mut self, ended: Ended, _: &mut Context<Self>) {
        let Some(entry) = self.ledger.decide_end(ended.id, ended.credited) else {
            return;
        };
        self.commit(&entry);
        let outcome = if ended.credited {
            Outcome::Done
        } else {
            Outcome::Refused(Refusal::UnknownAccount)
        };
        self.answer(ended.id, outcome);
    }
}

impl HandleCall<Books> for Branch {
    type Reply = Summary;
    async fn handle_call(&mut self, _: Books, _: &mut Context<Self>) -> Summary {
        Summary {
            balance: self.ledger.balance(),
            in_transit: self.ledger.in_transit(),
        }
    }
}
