//! The clients: processes that take one line after the other from a common pile, and ask for each
//! transfer until they have an answer.

use std::io::BufRead;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use noex::{Handle, Inbox, Named, SpawnError};

use super::branch::{Branch, named};
use super::ledger::{Outcome, Refusal};
use super::transfer::{Branches, HEADER, Reject, Transfer, parse};

/// How often a transfer is asked for before it counts as failed, and how long between.
const ATTEMPTS: u32 = 500;
const PAUSE: Duration = Duration::from_millis(5);

/// What became of the lines so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) done: AtomicU64,
    pub(crate) malformed: AtomicU64,
    pub(crate) unknown: AtomicU64,
    pub(crate) insufficient: AtomicU64,
    pub(crate) reused: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// Requests that a crash left without an answer, and that were made again.
    pub(crate) repeated: AtomicU64,
}

impl Tally {
    fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    pub(crate) fn lines(&self) -> u64 {
        [
            &self.done,
            &self.malformed,
            &self.unknown,
            &self.insufficient,
            &self.reused,
            &self.failed,
        ]
        .iter()
        .map(|counter| counter.load(Relaxed))
        .sum()
    }
}

/// The pile of lines.
pub(crate) struct Pile {
    lines: Mutex<(Box<dyn BufRead + Send>, u64)>,
    branches: Branches,
    tally: Arc<Tally>,
}

impl Pile {
    pub(crate) fn new(
        lines: Box<dyn BufRead + Send>,
        branches: Branches,
        tally: Arc<Tally>,
    ) -> Self {
        Pile {
            lines: Mutex::new((lines, 0)),
            branches,
            tally,
        }
    }

    /// The next transfer; lines that are none are counted, and the malformed ones shown.
    fn next(&self) -> Option<Transfer> {
        let mut line = Vec::new();
        // A client that panicked with the pile in its hand would have left it whole.
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            line.clear();
            let read = lines.0.read_until(b'\n', &mut line);
            lines.1 += 1;
            let number = lines.1;
            match read {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => {
                    eprintln!("bank: line {number} cannot be read: {error}");
                    Tally::count(&self.tally.failed);
                    return None;
                }
            }
            let text = line.trim_ascii_end();
            if text.is_empty() || number == 1 && text == HEADER.as_bytes() {
                continue;
            }
            match parse(text, &self.branches) {
                Ok(transfer) => return Some(transfer),
                Err(Reject::UnknownBranch) => Tally::count(&self.tally.unknown),
                Err(Reject::Malformed(why)) => {
                    eprintln!("bank: line {number} is refused: {why}");
                    Tally::count(&self.tally.malformed);
                }
            }
        }
    }
}

/// Starts a client.
pub(crate) fn start(system: &Handle, pile: Arc<Pile>) -> Result<noex::Recipient<()>, SpawnError> {
    let branches: Vec<Named<Branch>> = pile
        .branches
        .ids()
        .map(|id| named(system, &pile.branches, id))
        .collect();
    system.spawn(move |cx: Inbox<()>| async move {
        while let Some(transfer) = pile.next() {
            let branch = &branches[usize::from(transfer.from.branch)];
            let outcome = ask(&cx, branch, transfer, &pile.tally).await;
            Tally::count(match outcome {
                Some(Outcome::Done) => &pile.tally.done,
                Some(Outcome::Refused(Refusal::InsufficientFunds)) => &pile.tally.insufficient,
                Some(Outcome::Refused(Refusal::UnknownAccount)) => &pile.tally.unknown,
                Some(Outcome::Refused(Refusal::IdReused)) => &pile.tally.reused,
                None => &pile.tally.failed,
            });
        }
    })
}

async fn ask(
    cx: &Inbox<()>,
    branch: &Named<Branch>,
    transfer: Transfer,
    tally: &Tally,
) -> Option<Outcome> {
    for _ in 0..ATTEMPTS {
        match branch.call(transfer).await {
            Ok(outcome) => return Some(outcome),
            // The branch crashed, or is being restarted. Whether it had begun the transfer is in its
            // journal, so the same question gets the right answer.
            Err(_) => Tally::count(&tally.repeated),
        }
        cx.sleep(PAUSE).await;
    }
    None
}
