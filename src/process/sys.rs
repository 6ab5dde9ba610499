//! What a behaviour does beside its messages: being suspended, counted, watched. OTP: `sys`, as far as
//! the process itself carries it out; [`crate::sys`] is how it is asked for.
//!
//! # Invariants
//! 1. While a process is suspended, messages that it has taken in and passed over lie in `aside`, oldest
//!    first; all of them came before what lies in the inbox. Those of a bounded mailbox stay there.
//! 2. A process that nobody watches and that was never suspended has no [`SysState`], and so pays
//!    nothing.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use super::ask::Answer;
use super::cell::{Cell, Own};
use super::info::{self, ProcessInfo};
use super::node::{Kind, List, Node};
use super::pid::Pid;
use super::signal::{Content, Notice, SystemNode};
use crate::sync::Arc;

/// A request that any behaviour answers, whatever its type.
pub(crate) enum SysRequest {
    Suspend(Answer<()>),
    Resume(Answer<()>),
    /// Counts from now on, or no more.
    Count(bool, Answer<()>),
    Counted(Answer<Option<Statistics>>),
    Trace(Option<Sink>, Answer<()>),
    /// Keeps the latest so many events; zero: none.
    Log(usize, Answer<()>),
    Logged(Answer<Vec<SysEvent>>),
    /// Nobody counts, hears or keeps what it does any more.
    NoDebug(Answer<()>),
    Status(Answer<SysStatus>),
}

/// Hears what a process does.
pub(crate) type Sink = Arc<dyn Fn(&SysEvent) + Send + Sync>;

/// What a server has done since it is counted. OTP: `sys:statistics/2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// When the counting began, on the system's clock.
    pub since: Duration,
    /// The time now.
    pub now: Duration,
    /// How many messages, `Down`s, exits and timeouts its handlers were given.
    pub messages_in: u64,
}

/// Something a server did. OTP: what `sys:trace/2` prints.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SysEvent {
    /// Which server.
    pub pid: Pid,
    /// When, on the system's clock.
    pub at: Duration,
    /// What it did.
    pub action: SysAction,
}

/// What a server did, with the type of the message it was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SysAction {
    /// A handler was given a message.
    Got(&'static str),
    /// The handler is done.
    Done,
    /// It was suspended.
    Suspended,
    /// It goes on.
    Resumed,
}

impl fmt::Display for SysEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SysEvent { pid, at, action } = self;
        write!(f, "{pid} at {:.6} s ", at.as_secs_f64())?;
        match action {
            SysAction::Got(message) => write!(f, "got {message}"),
            SysAction::Done => f.write_str("is done"),
            SysAction::Suspended => f.write_str("is suspended"),
            SysAction::Resumed => f.write_str("goes on"),
        }
    }
}

/// How a server stands. OTP: `sys:get_status/1`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SysStatus {
    /// What can be known of any process.
    pub process: ProcessInfo,
    /// It handles no messages until it is resumed.
    pub suspended: bool,
    /// Its state, as its `format_status` shows it.
    pub state: String,
    /// What is counted, if it is.
    pub statistics: Option<Statistics>,
    /// The latest events, if they are kept, oldest first.
    pub log: Vec<SysEvent>,
}

#[derive(Default)]
pub(crate) struct SysState {
    pub(crate) suspended: bool,
    pub(crate) aside: List,
    counting: Option<(Duration, u64)>,
    /// A handler was given something and is not done.
    busy: bool,
    sink: Option<Sink>,
    log: VecDeque<SysEvent>,
    /// How many events the log keeps.
    kept: usize,
}

impl SysState {
    fn statistics(&self, now: Duration) -> Option<Statistics> {
        self.counting.map(|(since, messages_in)| Statistics {
            since,
            now,
            messages_in,
        })
    }

    /// The process did something.
    pub(crate) fn observe(&mut self, cell: &Cell, action: SysAction) {
        match action {
            SysAction::Got(_) => {
                self.busy = true;
                if let Some((_, messages)) = &mut self.counting {
                    *messages += 1;
                }
            }
            // With a request of this module's: nobody's business.
            SysAction::Done if !std::mem::take(&mut self.busy) => return,
            _ => {}
        }
        if self.sink.is_none() && self.kept == 0 {
            return;
        }
        let event = SysEvent {
            pid: cell.pid(),
            at: Duration::from_nanos(cell.core.clock.now()),
            action,
        };
        if let Some(sink) = self.sink.clone() {
            super::deliver::guard(|| sink(&event));
        }
        if self.kept > 0 {
            keep_latest(&mut self.log, self.kept - 1);
            self.log.push_back(event);
        }
    }
}

/// Drops the oldest until at most `kept` are left.
fn keep_latest(log: &mut VecDeque<SysEvent>, kept: usize) {
    log.drain(..log.len().saturating_sub(kept));
}

impl Own {
    /// Whether messages wait until the process is resumed.
    pub(crate) fn is_suspended(&self) -> bool {
        let sys = self.extra.as_ref().and_then(|extra| extra.sys.as_ref());
        sys.is_some_and(|sys| sys.suspended)
    }

    /// Puts what was passed over back where it was.
    pub(crate) fn take_up(&mut self) {
        if let Some(sys) = self.extra.as_mut().and_then(|extra| extra.sys.as_mut()) {
            let mut all = std::mem::take(&mut sys.aside);
            all.append(&mut self.inbox);
            self.inbox = all;
        }
    }
}

/// Carries a request out. `state`: shows the behaviour's state.
///
/// # Safety
/// The caller is the running turn of `cell`, and no handler runs.
pub(crate) unsafe fn carry_out(cell: &Cell, request: SysRequest, state: impl FnOnce() -> String) {
    let now = Duration::from_nanos(cell.core.clock.now());
    // SAFETY: as the caller promises; taken anew where foreign code ran.
    let own = || unsafe { cell.own() };
    let sys = || own().extra().sys.get_or_insert_default();
    match request {
        SysRequest::Suspend(answer) => {
            sys().suspended = true;
            sys().observe(cell, SysAction::Suspended);
            answer.send(Ok(()));
        }
        SysRequest::Resume(answer) => {
            if std::mem::take(&mut sys().suspended) {
                own().take_up();
                sys().observe(cell, SysAction::Resumed);
            }
            answer.send(Ok(()));
        }
        SysRequest::Count(count, answer) => {
            sys().counting = count.then_some((now, 0));
            answer.send(Ok(()));
        }
        SysRequest::Counted(answer) => {
            let counted = sys().statistics(now);
            answer.send(Ok(counted));
        }
        SysRequest::Trace(sink, answer) => {
            let old = std::mem::replace(&mut sys().sink, sink);
            super::deliver::guard(|| drop(old));
            answer.send(Ok(()));
        }
        SysRequest::Log(kept, answer) => {
            let sys = sys();
            sys.kept = kept;
            keep_latest(&mut sys.log, kept);
            answer.send(Ok(()));
        }
        SysRequest::Logged(answer) => {
            let log = sys().log.iter().cloned().collect();
            answer.send(Ok(log));
        }
        SysRequest::NoDebug(answer) => {
            let sys = sys();
            sys.counting = None;
            sys.kept = 0;
            sys.log.clear();
            let sink = sys.sink.take();
            super::deliver::guard(|| drop(sink));
            answer.send(Ok(()));
        }
        SysRequest::Status(answer) => {
            let state = state();
            // SAFETY: as the caller promises.
            let process = unsafe { info::describe(cell) };
            let sys = sys();
            let status = SysStatus {
                process,
                suspended: sys.suspended,
                state,
                statistics: sys.statistics(now),
                log: sys.log.iter().cloned().collect(),
            };
            answer.send(Ok(status));
        }
    }
}

/// The next of what a suspended process sees to; all else is passed over.
///
/// # Safety
/// As for [`carry_out`].
pub(crate) unsafe fn next(cell: &Cell) -> Option<*mut Node> {
    // SAFETY: as the caller promises; no foreign code runs in here.
    let own = unsafe { cell.own() };
    while let Some(node) = own.inbox.pop_front() {
        // SAFETY: a node of this process's mailbox, in its turn.
        if unsafe { is_system(node) } {
            return Some(node);
        }
        let sys = own.extra().sys.get_or_insert_default();
        // SAFETY: popped, so ours.
        unsafe { sys.aside.push_back(node) };
    }
    // SAFETY: as above.
    let system = |node| unsafe { is_system(node) };
    cell.bounded.as_ref()?.remove_first(system)
}

/// Whether a suspended process sees to it: `sys` requests, `stop`, the parent's exit. OTP: what the
/// loop of a suspended process receives.
///
/// # Safety
/// `node` lies in a mailbox, and the caller holds it still: its owner's turn, or the ring's lock.
pub(crate) unsafe fn is_system(node: *mut Node) -> bool {
    // SAFETY: as the caller promises.
    match unsafe { (*node).vtable.kind } {
        Kind::System => true,
        // SAFETY: a notice lies in a system node.
        Kind::Notice => match unsafe { SystemNode::content(node) } {
            Content::Notice(Notice::Exit(exit)) => exit.parent,
            Content::Notice(Notice::Stop { .. } | Notice::Sys(_)) => true,
            _ => false,
        },
        Kind::Handler | Kind::Plain | Kind::Any | Kind::Signal => false,
    }
}
