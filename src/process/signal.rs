//! What processes send each other besides messages, and what an exit signal does.
//!
//! A [`Signal`] acts as soon as it is taken in, ahead of queued messages; a [`Notice`] is a message
//! of noex's own that keeps its place in the mailbox. Both lie in a [`SystemNode`], so an exit
//! signal that is trapped becomes a notice where it stands.

use super::ask::Answer;
use super::node::{Discard, Kind, Node, NodeVtable, Progress, Stage};
use super::pid::{MonitorRef, Pid};
use crate::exit::ExitReason;

/// Why an exit signal was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A linked process exited, or was none when it should have been linked. Void unless the link
    /// still stands on the receiver's side.
    Link,
    /// `exit(pid, reason)`.
    Sent,
    /// As `Sent`, by the receiver's parent or the system on the parent's behalf.
    Parent,
}

/// Acts when it is taken in.
pub(crate) enum Signal {
    Exit {
        from: Option<Pid>,
        reason: ExitReason,
        cause: Cause,
    },
    Link {
        from: Pid,
    },
    /// The sender's unlink number so and so; always answered by `Unlinked`.
    Unlink {
        from: Pid,
        number: u64,
    },
    /// Until this comes, a `Link` from there is older than our unlink was known there, and void: both
    /// ends agree that there is no link. OTP: the unlink acknowledgement of the link protocol.
    Unlinked {
        from: Pid,
        number: u64,
    },
    Monitor {
        monitor: MonitorRef,
        watcher: Watcher,
    },
    Demonitor {
        monitor: MonitorRef,
    },
    /// `stop_now`: the behaviour stops before it handles another message.
    StopNow {
        reason: ExitReason,
    },
    Info {
        answer: Answer<super::info::ProcessInfo>,
    },
    /// It was given something: see [`super::belongings`].
    Endowed,
    /// Rings for signals that lie in a bounded mailbox.
    Bell,
}

/// Who is told of a death.
pub(crate) enum Watcher {
    Process(Pid),
    Outside(Answer<Down>),
}

/// A message of noex's own.
pub(crate) enum Notice {
    Down(Down),
    Exit(Exit),
    Stop {
        reason: ExitReason,
    },
    /// The receive timeout number `n` ran out.
    Timeout(u64),
    /// A request of [`crate::sys`].
    Sys(super::sys::SysRequest),
}

/// A monitored process is gone. OTP: `{'DOWN', Ref, process, Pid, Reason}`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Down {
    /// What `monitor` returned.
    pub monitor: MonitorRef,
    /// The process that is gone.
    pub pid: Pid,
    /// Why; [`ExitReason::NoProc`] if there was no such process when the monitor reached it.
    pub reason: ExitReason,
}

/// An exit signal that was trapped. OTP: `{'EXIT', Pid, Reason}`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exit {
    /// Who sent it; `None`: it came from outside any process.
    pub from: Option<Pid>,
    /// Why the sender exited, or the reason it gave to `exit`.
    pub reason: ExitReason,
    /// It is the receiver's parent that ends it (a supervisor or the system). A behaviour stops
    /// with this reason and never shows it to the user's callbacks.
    pub(crate) parent: bool,
}

/// What an exit signal does to its receiver.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Ignore,
    /// It becomes an `Exit` message.
    Deliver,
    /// The receiver ends, with this reason.
    Die(ExitReason),
}

/// Decides what an exit signal does. Pure: the rules of `erlang:exit/2`, `link/1` and
/// `process_flag(trap_exit, _)`.
///
/// | signal | traps | does not trap |
/// |---|---|---|
/// | `exit(pid, Kill)` | dies of `Killed` | dies of `Killed` |
/// | `exit(pid, Normal)` from another | message | ignored |
/// | `exit(self, Normal)` | message | dies of `Normal` |
/// | link, normal exit | message | ignored |
/// | any other reason (a link's `Kill` too) | message | dies of it |
/// | anything linked, link gone | ignored | ignored |
pub(crate) fn judge(
    cause: Cause,
    reason: &ExitReason,
    traps: bool,
    from_self: bool,
    linked: bool,
) -> Verdict {
    let sent = matches!(cause, Cause::Sent | Cause::Parent);
    if cause == Cause::Link && !linked {
        return Verdict::Ignore;
    }
    if sent && *reason == ExitReason::Kill {
        return Verdict::Die(ExitReason::Killed);
    }
    if traps {
        return Verdict::Deliver;
    }
    if *reason == ExitReason::Normal && !(from_self && sent) {
        return Verdict::Ignore;
    }
    Verdict::Die(reason.clone())
}

/// A node that carries a signal or a notice.
#[repr(C)]
pub(crate) struct SystemNode {
    node: Node,
    content: Content,
}

pub(crate) enum Content {
    Signal(Signal),
    Notice(Notice),
}

unsafe fn not_a_handler(_: *mut Node, _: *mut ()) -> Progress {
    unreachable!("a system node is opened, not started")
}
unsafe fn not_running(_: *mut Node, _: Stage) -> bool {
    unreachable!("a system node never runs")
}
unsafe fn not_held(_: *mut Node) {
    unreachable!("a system node holds no reply")
}
unsafe fn not_a_call(_: *mut Node, _: Option<&ExitReason>) {
    unreachable!("a system node has no caller")
}
unsafe fn discard(node: *mut Node, _: Discard) {
    // SAFETY: the vtable belongs to system nodes, and the caller owns this one.
    drop(unsafe { SystemNode::open(node) });
}
unsafe fn take(node: *mut Node, to: *mut ()) {
    // SAFETY: as in `discard`; `to` is room for a `Content`.
    unsafe { to.cast::<Content>().write(SystemNode::open(node)) }
}

const fn vtable(kind: Kind) -> NodeVtable {
    NodeVtable {
        kind,
        answered_in_place: false,
        start: not_a_handler,
        resume: not_a_handler,
        abort: not_running,
        discard,
        take,
        release: not_held,
        fail: not_a_call,
        free: not_held,
        type_name: || SystemNode::TYPE_NAME,
        portable: None,
        tied: None,
    }
}

static SIGNAL: NodeVtable = vtable(Kind::Signal);
static NOTICE: NodeVtable = vtable(Kind::Notice);

impl SystemNode {
    /// What a dead letter says in place of a message's type.
    pub(crate) const TYPE_NAME: &str = "a system message";

    pub(crate) fn signal(signal: Signal) -> *mut Node {
        Self::make(&SIGNAL, Content::Signal(signal))
    }

    pub(crate) fn notice(notice: Notice) -> *mut Node {
        Self::make(&NOTICE, Content::Notice(notice))
    }

    fn make(vtable: &'static NodeVtable, content: Content) -> *mut Node {
        Box::into_raw(Box::new(SystemNode {
            node: Node::new(vtable),
            content,
        }))
        .cast()
    }

    /// Takes the content out and frees the node.
    ///
    /// # Safety
    /// `node` is a system node (kind `Signal` or `Notice`) owned by the caller.
    pub(crate) unsafe fn open(node: *mut Node) -> Content {
        // SAFETY: made by `make`, owned by the caller.
        let boxed = unsafe { Box::from_raw(node.cast::<SystemNode>()) };
        boxed.content
    }

    /// Looks at the content in place.
    ///
    /// # Safety
    /// As for [`open`](Self::open); no other reference to the content lives.
    pub(crate) unsafe fn content<'a>(node: *mut Node) -> &'a mut Content {
        // SAFETY: as the caller promises.
        unsafe { &mut (*node.cast::<SystemNode>()).content }
    }

    /// Makes a signal node a notice, in place.
    ///
    /// # Safety
    /// As for [`content`](Self::content).
    pub(crate) unsafe fn become_notice(node: *mut Node, notice: Notice) {
        // SAFETY: as the caller promises.
        unsafe {
            (*node).vtable = &NOTICE;
            *Self::content(node) = Content::Notice(notice);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEND: [Cause; 2] = [Cause::Sent, Cause::Parent];

    #[test]
    fn a_sent_kill_cannot_be_trapped() {
        for cause in SEND {
            for traps in [false, true] {
                assert_eq!(
                    judge(cause, &ExitReason::Kill, traps, false, false),
                    Verdict::Die(ExitReason::Killed)
                );
            }
        }
    }

    #[test]
    fn a_links_kill_is_an_ordinary_reason() {
        assert_eq!(
            judge(Cause::Link, &ExitReason::Kill, true, false, true),
            Verdict::Deliver
        );
        assert_eq!(
            judge(Cause::Link, &ExitReason::Kill, false, false, true),
            Verdict::Die(ExitReason::Kill)
        );
    }

    #[test]
    fn a_normal_exit_reaches_only_who_traps_or_sends_it_to_itself() {
        assert_eq!(
            judge(Cause::Sent, &ExitReason::Normal, false, false, false),
            Verdict::Ignore
        );
        assert_eq!(
            judge(Cause::Link, &ExitReason::Normal, false, false, true),
            Verdict::Ignore
        );
        assert_eq!(
            judge(Cause::Link, &ExitReason::Normal, true, false, true),
            Verdict::Deliver
        );
        assert_eq!(
            judge(Cause::Sent, &ExitReason::Normal, true, false, false),
            Verdict::Deliver
        );
        assert_eq!(
            judge(Cause::Sent, &ExitReason::Normal, false, true, false),
            Verdict::Die(ExitReason::Normal)
        );
    }

    #[test]
    fn a_link_that_is_gone_carries_nothing() {
        assert_eq!(
            judge(Cause::Link, &ExitReason::Killed, false, false, false),
            Verdict::Ignore
        );
        assert_eq!(
            judge(Cause::Link, &ExitReason::Killed, true, false, false),
            Verdict::Ignore
        );
    }
}
