//! A branch's books: what it decides about a transfer, and what each entry of its journal changes.
//!
//! Nothing here acts. A decision is an [`Entry`] to write; [`Ledger::apply`] is the one place where
//! balances change, for the branch at work and for its recovery alike. So whatever stands in the
//! journal, the same ledger comes out of it.
//!
//! ```text
//!   within a branch          between two
//!                            source                       target
//!   move 100 a → b           debit 100 a   ── credit ──▶  credit 100 b    (or: no such account)
//!                            settle        ◀── done ────
//!                            refund 100 a  ◀── bounced ──
//! ```
//! # Invariants
//! 1. Money leaves a balance by a debit, once a transfer, and from then on is in transit until
//!    exactly one of settle and refund ends it.
//! 2. A credit is made at most once for a transfer, however often it is asked for.
//! 3. The source settles only after the target has its credit in its journal, and refunds only if
//!    the target never will. So with nothing in transit anywhere, all balances are all the money.

use std::collections::{BTreeSet, HashMap};

use super::transfer::{Account, Transfer};

/// A line of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// The branch opens, with this many accounts of this balance each. Always the first.
    Open { accounts: u32, cents: u64 },
    /// A transfer within the branch, whole.
    Move {
        id: u64,
        from: u32,
        to: u32,
        cents: u64,
    },
    /// The first half of a transfer to another branch.
    Debit {
        id: u64,
        from: u32,
        to: Account,
        cents: u64,
    },
    /// The second half, in the journal of that other branch.
    Credit {
        source: u8,
        id: u64,
        to: u32,
        cents: u64,
    },
    /// The source knows that the credit is made.
    Settle { id: u64 },
    /// The source knows that it never will be, and takes the money back.
    Refund { id: u64 },
}

/// Why a transfer moves no money.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    InsufficientFunds,
    UnknownAccount,
    /// The id belongs to a transfer that was something else.
    IdReused,
}

/// How a transfer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    Refused(Refusal),
}

/// What to do about a transfer that a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It is over, or comes to nothing.
    Answer(Outcome),
    /// It is under way: the answer comes with the target's.
    Wait,
    /// It begins with this entry.
    Write(Entry),
}

/// What to do about a credit that another branch asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CreditDecision {
    /// It was made before; that is to be said again.
    Repeated,
    /// It is made by this entry.
    Write(Entry),
    /// It cannot be made, now or ever: accounts are neither opened nor closed.
    UnknownAccount,
}

/// An entry that cannot follow those before it: the journal is not one that a branch wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Inconsistent(pub(crate) &'static str);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Done,
    InTransit,
    Refunded,
}

/// A transfer that began here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record {
    from: u32,
    to: Account,
    cents: u64,
    state: State,
}

/// A credit that another branch is to make: the message, and the question again after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Credit {
    pub(crate) source: u8,
    pub(crate) id: u64,
    pub(crate) to: Account,
    pub(crate) cents: u64,
}

/// The books of one branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ledger {
    branch: u8,
    opened_with: Option<(u32, u64)>,
    balances: Vec<u64>,
    started: HashMap<u64, Record>,
    in_transit: BTreeSet<u64>,
    /// Credits made here, by the branch they came from and its id for them.
    credits: HashMap<(u8, u64), (u32, u64)>,
    entries: u64,
}

impl Ledger {
    /// Books with nothing in them, not even accounts.
    pub(crate) fn new(branch: u8) -> Self {
        Ledger {
            branch,
            opened_with: None,
            balances: Vec::new(),
            started: HashMap::new(),
            in_transit: BTreeSet::new(),
            credits: HashMap::new(),
            entries: 0,
        }
    }

    /// The accounts and the balance of each that the branch opened with.
    pub(crate) fn opened_with(&self) -> Option<(u32, u64)> {
        self.opened_with
    }

    /// How many entries made this ledger.
    pub(crate) fn entries(&self) -> u64 {
        self.entries
    }

    /// The sum of all balances.
    pub(crate) fn balance(&self) -> u128 {
        self.balances.iter().map(|cents| u128::from(*cents)).sum()
    }

    /// Transfers debited here of which it is not known whether they were credited.
    pub(crate) fn in_transit(&self) -> usize {
        self.in_transit.len()
    }

    /// The credits that are to be asked for (again), of one branch or of all.
    pub(crate) fn outstanding(&self, of: Option<u8>) -> Vec<Credit> {
        self.in_transit
            .iter()
            .filter_map(|id| Some((*id, self.started.get(id)?)))
            .filter(|(_, record)| of.is_none_or(|branch| record.to.branch == branch))
            .map(|(id, record)| Credit {
                source: self.branch,
                id,
                to: record.to,
                cents: record.cents,
            })
            .collect()
    }

    /// Decides about a transfer from an account of this branch.
    pub(crate) fn decide(&self, transfer: &Transfer) -> Decision {
        let Transfer {
            id,
            from,
            to,
            cents,
        } = *transfer;
        let refuse = |why| Decision::Answer(Outcome::Refused(why));
        if let Some(record) = self.started.get(&id) {
            if (record.from, record.to, record.cents) != (from.number, to, cents) {
                return refuse(Refusal::IdReused);
            }
            return match record.state {
                State::Done => Decision::Answer(Outcome::Done),
                State::Refunded => refuse(Refusal::UnknownAccount),
                State::InTransit => Decision::Wait,
            };
        }
        let Some(balance) = self.balance_of(from.number) else {
            return refuse(Refusal::UnknownAccount);
        };
        let within = to.branch == self.branch;
        if within && self.balance_of(to.number).is_none() {
            return refuse(Refusal::UnknownAccount);
        }
        if balance < cents {
            return refuse(Refusal::InsufficientFunds);
        }
        let from = from.number;
        Decision::Write(if within {
            let to = to.number;
            Entry::Move {
                id,
                from,
                to,
                cents,
            }
        } else {
            Entry::Debit {
                id,
                from,
                to,
                cents,
            }
        })
    }

    /// Decides about a credit to an account of this branch (invariant 2).
    pub(crate) fn decide_credit(&self, credit: &Credit) -> CreditDecision {
        let Credit {
            source,
            id,
            to,
            cents,
        } = *credit;
        if self.credits.contains_key(&(source, id)) {
            CreditDecision::Repeated
        } else if self.balance_of(to.number).is_none() {
            CreditDecision::UnknownAccount
        } else {
            let to = to.number;
            CreditDecision::Write(Entry::Credit {
                source,
                id,
                to,
                cents,
            })
        }
    }

    /// Decides what the target's answer means; `None`: it was heard before.
    pub(crate) fn decide_end(&self, id: u64, credited: bool) -> Option<Entry> {
        self.in_transit.contains(&id).then_some(if credited {
            Entry::Settle { id }
        } else {
            Entry::Refund { id }
        })
    }

    /// Changes the books by an entry that is in the journal.
    ///
    /// # Errors
    /// It cannot follow the entries before it; nothing is changed.
    pub(crate) fn apply(&mut self, entry: &Entry) -> Result<(), Inconsistent> {
        if self.opened_with.is_none() != matches!(entry, Entry::Open { .. }) {
            return Err(Inconsistent("the branch opens with the first entry, once"));
        }
        match *entry {
            Entry::Open { accounts, cents } => {
                self.opened_with = Some((accounts, cents));
                self.balances = vec![cents; accounts as usize];
            }
            Entry::Move {
                id,
                from,
                to,
                cents,
            } => {
                self.unused(id)?;
                let (less, more) = (self.less(from, cents)?, self.more(to, cents)?);
                self.set(from, less);
                self.set(to, more);
                let to = Account {
                    branch: self.branch,
                    number: to,
                };
                self.start(id, from, to, cents, State::Done);
            }
            Entry::Debit {
                id,
                from,
                to,
                cents,
            } => {
                self.unused(id)?;
                let less = self.less(from, cents)?;
                self.set(from, less);
                self.in_transit.insert(id);
                self.start(id, from, to, cents, State::InTransit);
            }
            Entry::Credit {
                source,
                id,
                to,
                cents,
            } => {
                if self.credits.contains_key(&(source, id)) {
                    return Err(Inconsistent("a transfer is credited twice"));
                }
                let more = self.more(to, cents)?;
                self.set(to, more);
                self.credits.insert((source, id), (to, cents));
            }
            Entry::Settle { id } => self.end(id, State::Done)?,
            Entry::Refund { id } => {
                let record = self.started.get(&id).ok_or(NOT_IN_TRANSIT)?;
                let (from, more) = (record.from, self.more(record.from, record.cents)?);
                self.end(id, State::Refunded)?;
                self.set(from, more);
            }
        }
        self.entries += 1;
        Ok(())
    }

    fn balance_of(&self, number: u32) -> Option<u64> {
        self.balances.get(number as usize).copied()
    }

    fn set(&mut self, number: u32, cents: u64) {
        self.balances[number as usize] = cents;
    }

    fn less(&self, number: u32, cents: u64) -> Result<u64, Inconsistent> {
        let balance = self.balance_of(number).ok_or(NO_ACCOUNT)?;
        let overdrawn = Inconsistent("an account is overdrawn");
        balance.checked_sub(cents).ok_or(overdrawn)
    }

    fn more(&self, number: u32, cents: u64) -> Result<u64, Inconsistent> {
        let balance = self.balance_of(number).ok_or(NO_ACCOUNT)?;
        let overflow = Inconsistent("more money in an account than there is");
        balance.checked_add(cents).ok_or(overflow)
    }

    fn unused(&self, id: u64) -> Result<(), Inconsistent> {
        match self.started.contains_key(&id) {
            true => Err(Inconsistent("a transfer is made twice")),
            false => Ok(()),
        }
    }

    fn start(&mut self, id: u64, from: u32, to: Account, cents: u64, state: State) {
        let record = Record {
            from,
            to,
            cents,
            state,
        };
        self.started.insert(id, record);
    }

    fn end(&mut self, id: u64, state: State) -> Result<(), Inconsistent> {
        let record = self.started.get_mut(&id).ok_or(NOT_IN_TRANSIT)?;
        if !self.in_transit.remove(&id) {
            return Err(NOT_IN_TRANSIT);
        }
        record.state = state;
        Ok(())
    }
}

const NO_ACCOUNT: Inconsistent = Inconsistent("there is no such account");
const NOT_IN_TRANSIT: Inconsistent = Inconsistent("a transfer ends that is not in transit");

/// Compares the books of all branches with each other: each transfer that is settled was credited,
/// once and in full, and nothing was credited that was not.
///
/// # Errors
/// The first thing that does not agree.
pub(crate) fn reconcile(books: &[Ledger]) -> Result<(), String> {
    let mut settled = 0_usize;
    for source in books {
        for (id, record) in &source.started {
            let target = books.iter().find(|book| book.branch == record.to.branch);
            let credit = target.and_then(|book| book.credits.get(&(source.branch, *id)));
            let between = record.to.branch != source.branch;
            let expected = (between && record.state == State::Done)
                .then_some((record.to.number, record.cents));
            if record.state == State::InTransit {
                return Err(format!("transfer {id} is still in transit"));
            }
            if credit.copied() != expected {
                return Err(format!(
                    "transfer {id}: {:?} at the source, {credit:?} at the target",
                    record.state
                ));
            }
            settled += usize::from(expected.is_some());
        }
    }
    let credited: usize = books.iter().map(|book| book.credits.len()).sum();
    if credited != settled {
        return Err(format!("{credited} credits for {settled} debits"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NORTH: u8 = 0;
    const SOUTH: u8 = 1;

    fn opened(branch: u8) -> Ledger {
        let mut ledger = Ledger::new(branch);
        let open = Entry::Open {
            accounts: 2,
            cents: 100,
        };
        ledger.apply(&open).unwrap();
        ledger
    }

    fn account(branch: u8, number: u32) -> Account {
        Account { branch, number }
    }

    fn transfer(id: u64, from: Account, to: Account, cents: u64) -> Transfer {
        Transfer {
            id,
            from,
            to,
            cents,
        }
    }

    fn write(ledger: &mut Ledger, transfer: &Transfer) {
        let Decision::Write(entry) = ledger.decide(transfer) else {
            panic!("{:?}", ledger.decide(transfer))
        };
        ledger.apply(&entry).unwrap();
    }

    #[test]
    fn a_transfer_within_a_branch_is_one_entry_and_made_once() {
        let mut north = opened(NORTH);
        let order = transfer(1, account(NORTH, 0), account(NORTH, 1), 30);
        write(&mut north, &order);
        assert_eq!(north.balances, [70, 130]);
        assert_eq!(north.decide(&order), Decision::Answer(Outcome::Done));
    }

    #[test]
    fn a_transfer_between_branches_is_in_transit_until_the_target_has_answered() {
        let (mut north, mut south) = (opened(NORTH), opened(SOUTH));
        let order = transfer(1, account(NORTH, 0), account(SOUTH, 1), 30);
        write(&mut north, &order);
        assert_eq!((north.balance(), north.in_transit()), (170, 1));
        assert_eq!(north.decide(&order), Decision::Wait);
        let credit = north.outstanding(None)[0];
        assert_eq!(north.outstanding(Some(SOUTH)), [credit]);
        assert_eq!(north.outstanding(Some(NORTH)), []);

        let CreditDecision::Write(entry) = south.decide_credit(&credit) else {
            panic!()
        };
        south.apply(&entry).unwrap();
        assert_eq!(south.decide_credit(&credit), CreditDecision::Repeated);
        assert_eq!(south.balances, [100, 130]);

        let end = north.decide_end(1, true).unwrap();
        north.apply(&end).unwrap();
        assert_eq!(north.decide_end(1, true), None);
        assert_eq!(north.decide(&order), Decision::Answer(Outcome::Done));
        assert_eq!(
            (north.in_transit(), north.balance() + south.balance()),
            (0, 400)
        );
        assert_eq!(reconcile(&[north, south]), Ok(()));
    }

    #[test]
    fn what_the_target_cannot_credit_comes_back() {
        let (mut north, south) = (opened(NORTH), opened(SOUTH));
        let order = transfer(1, account(NORTH, 0), account(SOUTH, 9), 30);
        write(&mut north, &order);
        let credit = north.outstanding(None)[0];
        assert_eq!(south.decide_credit(&credit), CreditDecision::UnknownAccount);
        let end = north.decide_end(1, false).unwrap();
        north.apply(&end).unwrap();
        assert_eq!(north.balances, [100, 100]);
        let refused = Decision::Answer(Outcome::Refused(Refusal::UnknownAccount));
        assert_eq!(north.decide(&order), refused);
        assert_eq!(reconcile(&[north, south]), Ok(()));
    }

    #[test]
    fn a_transfer_that_cannot_be_made_is_refused_before_anything_is_written() {
        let mut north = opened(NORTH);
        let refused = |why| Decision::Answer(Outcome::Refused(why));
        let mine = account(NORTH, 0);
        let too_much = transfer(1, mine, account(SOUTH, 0), 101);
        assert_eq!(north.decide(&too_much), refused(Refusal::InsufficientFunds));
        let nobody = transfer(1, account(NORTH, 2), mine, 1);
        assert_eq!(north.decide(&nobody), refused(Refusal::UnknownAccount));
        let to_nobody = transfer(1, mine, account(NORTH, 2), 1);
        assert_eq!(north.decide(&to_nobody), refused(Refusal::UnknownAccount));

        write(&mut north, &transfer(1, mine, account(NORTH, 1), 1));
        let other = transfer(1, mine, account(NORTH, 1), 2);
        assert_eq!(north.decide(&other), refused(Refusal::IdReused));
    }

    #[test]
    fn all_of_a_balance_can_go() {
        let mut north = opened(NORTH);
        write(
            &mut north,
            &transfer(1, account(NORTH, 0), account(SOUTH, 0), 100),
        );
        assert_eq!(north.balances, [0, 100]);
    }

    #[test]
    fn entries_that_no_branch_would_write_are_not_applied() {
        let open = Entry::Open {
            accounts: 1,
            cents: 5,
        };
        let credit = Entry::Credit {
            source: SOUTH,
            id: 1,
            to: 0,
            cents: 5,
        };
        let mut new = Ledger::new(NORTH);
        assert!(new.apply(&credit).is_err());
        let mut north = opened(NORTH);
        north.apply(&credit).unwrap();
        let before = north.clone();
        let too_much = Entry::Debit {
            id: 2,
            from: 1,
            to: account(SOUTH, 0),
            cents: 101,
        };
        for entry in [
            open,
            credit,
            too_much,
            Entry::Settle { id: 1 },
            Entry::Refund { id: 1 },
        ] {
            assert!(north.apply(&entry).is_err(), "{entry:?}");
            assert_eq!(north, before);
        }
    }

    #[test]
    fn books_that_do_not_agree_are_found_out() {
        let (mut north, south) = (opened(NORTH), opened(SOUTH));
        let order = transfer(1, account(NORTH, 0), account(SOUTH, 0), 30);
        write(&mut north, &order);
        assert!(reconcile(&[north.clone(), south.clone()]).is_err());
        north.apply(&Entry::Settle { id: 1 }).unwrap();
        assert!(reconcile(&[north.clone(), south.clone()]).is_err());
        let mut generous = south;
        let credit = Entry::Credit {
            source: NORTH,
            id: 2,
            to: 0,
            cents: 30,
        };
        generous.apply(&credit).unwrap();
        assert!(reconcile(&[north, generous]).is_err());
    }
}
