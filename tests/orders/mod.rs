//! Processes that do as they are told, and tell of the signals they get.
#![allow(dead_code)] // each test binary uses its own part

use noex::prelude::*;
use noex::{Inbox, Received, Recipient};

use crate::support::{next, reports};

/// A process that waits for its orders.
#[derive(Debug)]
pub(crate) enum Do {
    Link(Pid),
    Unlink(Pid),
    Exit(Pid, ExitReason),
    Trap(bool),
    End(ExitReason),
    Note(&'static str),
    Run(Job),
}

/// Something to do as the process.
#[allow(clippy::type_complexity)]
pub(crate) struct Job(pub(crate) Box<dyn FnOnce(&mut Inbox<Do>) + Send>);
impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Job")
    }
}

/// What it tells of itself.
#[derive(Debug, PartialEq)]
pub(crate) enum Told {
    Exit(Option<Pid>, ExitReason),
    Down(Pid, ExitReason),
    Note(&'static str),
}

/// Follows orders until it is to end.
pub(crate) async fn obey(mut cx: Inbox<Do>, tell: std::sync::mpsc::Sender<Told>) -> ExitReason {
    loop {
        let told = match cx.recv().await {
            Received::Message(Do::Link(pid)) => {
                cx.link(pid);
                continue;
            }
            Received::Message(Do::Unlink(pid)) => {
                cx.unlink(pid);
                continue;
            }
            Received::Message(Do::Exit(pid, reason)) => {
                cx.exit(pid, reason);
                continue;
            }
            Received::Message(Do::Trap(trap)) => {
                cx.trap_exit(trap);
                continue;
            }
            Received::Message(Do::End(reason)) => return reason,
            Received::Message(Do::Run(job)) => {
                job.0(&mut cx);
                continue;
            }
            Received::Message(Do::Note(note)) => Told::Note(note),
            // The system shuts down.
            Received::Exit(exit) if exit.reason.is_shutdown() && exit.from.is_some() => {
                return exit.reason;
            }
            Received::Exit(exit) => Told::Exit(exit.from, exit.reason),
            Received::Down(down) => Told::Down(down.pid, down.reason),
            _ => continue,
        };
        let _ = tell.send(told);
    }
}

/// Where it tells.
pub(crate) type Tells = std::sync::mpsc::Receiver<Told>;

/// Starts one, and hears what it tells.
pub(crate) fn start(system: &System) -> (Recipient<Do>, Tells) {
    let (tell, told) = reports();
    let process = system
        .spawn(move |cx: Inbox<Do>| obey(cx, tell))
        .expect("a process");
    (process, told)
}

/// Gives an order.
pub(crate) fn order(to: &Recipient<Do>, order: Do) {
    to.send(order).expect("an unbounded mailbox");
}

/// Has something done as the process.
pub(crate) fn run(to: &Recipient<Do>, job: impl FnOnce(&mut Inbox<Do>) + Send + 'static) {
    order(to, Do::Run(Job(Box::new(job))));
}

/// Waits until the process has done all its orders so far.
pub(crate) fn done(system: &System, process: &Recipient<Do>, told: &Tells) {
    order(process, Do::Note("done"));
    while next(system, told) != Told::Note("done") {}
}

/// An error; each is equal to itself only.
pub(crate) fn broken() -> ExitReason {
    ExitReason::error("broken")
}

/// One of each kind of reason but `Panic` (tests/panics.rs has those).
pub(crate) fn reasons() -> Vec<ExitReason> {
    vec![
        ExitReason::Normal,
        ExitReason::Shutdown(None),
        ExitReason::shutdown("why"),
        ExitReason::Kill,
        ExitReason::Killed,
        ExitReason::NoProc,
        ExitReason::NoConnection,
        ExitReason::Timeout,
        broken(),
    ]
}
