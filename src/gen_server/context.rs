//! What a server's callbacks are given beside the message.

use std::marker::PhantomData;
use std::ops::Deref;
use std::time::Duration;

use super::refs::ServerRef;
use super::start::{ServerOptions, Start, StartMonitor, start};
use super::{AnyMessage, GenServer, HandleContinue, continue_envelope};
use crate::exit::ExitReason;
use crate::hooks;
use crate::process::cell::CellRef;
use crate::process::context::ProcessContext;
use crate::process::node::{Discard, Node};
use crate::process::spawn::Ties;
use crate::sched::clock;
use crate::sched::stats::Count;
use crate::sched::timers::{self, Due, Envelope, Target, TimerRef};

/// A server's handle on itself, given to each of its callbacks. What every process can do, start
/// servers, link, monitor, timers, sleep, is in [`ProcessContext`], to which it dereferences.
///
/// # Panics
/// As for [`ProcessContext`]: used outside the server's own turn.
#[derive(Debug)]
pub struct Context<S> {
    process: ProcessContext,
    server: PhantomData<fn(S)>,
}

impl<S> Context<S> {
    pub(crate) const fn new() -> Self {
        Context {
            process: ProcessContext::of_whoever_runs(),
            server: PhantomData,
        }
    }
}

impl<S> Deref for Context<S> {
    type Target = ProcessContext;
    fn deref(&self) -> &ProcessContext {
        &self.process
    }
}

impl<S: GenServer> Context<S> {
    /// A reference to this server.
    pub fn this(&self) -> ServerRef<S> {
        let cell = self.process.cell();
        // SAFETY: the running process's cell is alive, and it is a server of type `S`: only its own
        // callbacks have a `Context<S>`.
        unsafe { ServerRef::from_cell(CellRef::retained(cell.this())) }
    }

    /// Ends the server when the current callback is done: `terminate` runs, then a reply that the
    /// callback returns is sent, then links and monitors hear `reason`. The first reason stands. OTP:
    /// `{stop, Reason, Reply, State}`.
    pub fn stop(&self, reason: ExitReason) {
        self.process.extra().stop.get_or_insert(reason);
    }

    /// Has `handle_continue` called with `what` when the current callback is done, ahead of all
    /// messages; several are handled in order. OTP: `{continue, Continue}`.
    pub fn continue_with<C: Send + 'static>(&self, what: C)
    where
        S: HandleContinue<C>,
    {
        let node = continue_envelope::<S, C>(what);
        self.process.core().count(Count::Sent, 1);
        // SAFETY: a fresh envelope for this server, and for no other incarnation of it.
        unsafe {
            Node::tie(node);
            self.process.extra().continues.push_back(node);
        }
    }

    /// Calls [`handle_timeout`](GenServer::handle_timeout) if no message comes within `after`,
    /// counted from the end of the current callback. Any message takes it back. OTP: the timeout in
    /// `{noreply, State, Timeout}`.
    ///
    /// There is no `hibernate`, as there is no garbage to collect. What `hibernate_after` is for, to be
    /// small while there is nothing to do, a server does by shrinking its state when that time has come:
    ///
    /// ```
    /// use noex::prelude::*;
    /// use std::time::Duration;
    ///
    /// struct Cache(Vec<u8>);
    /// struct Fill(usize);
    ///
    /// impl GenServer for Cache {
    ///     type Args = ();
    ///     async fn init(_: (), _cx: &mut Context<Self>) -> Result<Self, InitStop> {
    ///         Ok(Cache(Vec::new()))
    ///     }
    ///     async fn handle_timeout(&mut self, _cx: &mut Context<Self>) {
    ///         self.0 = Vec::new(); // it can be read again
    ///     }
    /// }
    /// impl HandleCall<Fill> for Cache {
    ///     type Reply = usize;
    ///     async fn handle_call(&mut self, Fill(bytes): Fill, cx: &mut Context<Self>) -> usize {
    ///         let was = self.0.len();
    ///         self.0.resize(bytes, 0);
    ///         cx.set_timeout(Duration::from_secs(60));
    ///         was
    ///     }
    /// }
    ///
    /// let (system, driver) = System::builder().virtual_clock().manual();
    /// let cache = system.start::<Cache>(()).wait()?;
    /// cache.call(Fill(1 << 20)).wait()?;
    /// assert_eq!(cache.call(Fill(1 << 20)).wait()?, 1 << 20);
    /// driver.advance(Duration::from_secs(60));
    /// assert_eq!(cache.call(Fill(0)).wait()?, 0);
    /// # Ok::<(), noex::Error>(())
    /// ```
    pub fn set_timeout(&self, after: Duration) {
        self.process.extra().timeout.want(Some(after));
    }

    /// Has `handle_continue` called with `what` when `after` has passed, in the order of the mailbox.
    /// The timer is to be cancelled before the server ends.
    pub(crate) fn continue_after<C: Send + 'static>(&self, after: Duration, what: C) -> TimerRef
    where
        S: HandleContinue<C>,
    {
        self.continue_at_nanos(timers::due_in(self.process.core(), after), what)
    }

    /// As [`continue_after`](Self::continue_after), at a time of the system's clock; one that is past
    /// is as good as now.
    pub(crate) fn continue_at<C: Send + 'static>(&self, at: Duration, what: C) -> TimerRef
    where
        S: HandleContinue<C>,
    {
        self.continue_at_nanos(clock::later(0, at), what)
    }

    fn continue_at_nanos<C: Send + 'static>(&self, at: u64, what: C) -> TimerRef
    where
        S: HandleContinue<C>,
    {
        let cell = self.process.cell();
        // SAFETY: the running process's cell is alive, and is that of a server of type `S`, for which
        // the fresh envelope is.
        let envelope = unsafe {
            let to = Target::Cell(CellRef::retained(cell.this()));
            Envelope::new(to, continue_envelope::<S, C>(what))
        };
        let core = &cell.core;
        core.timers.arm(core, at, Due::Send(envelope))
    }

    /// Whether the server will end when its handler is done.
    pub(crate) fn is_stopping(&self) -> bool {
        // SAFETY: in the process's turn (checked by `cell`).
        let extra = unsafe { self.process.cell().own() }.extra.as_ref();
        extra.is_some_and(|extra| extra.stop.is_some())
    }

    /// A message nobody expected: a dead letter.
    pub(crate) fn unexpected(&self, message: &AnyMessage) {
        let core = self.process.core();
        core.hooks
            .dead_letter(Some(self.process.pid()), message.type_name(), Discard::Dead);
        if !core.hooks.hears_dead_letters() {
            let (pid, kind) = (self.process.pid(), message.type_name());
            hooks::print(format_args!(
                "{pid} got an unexpected message of type {kind}"
            ));
        }
        // It was handled in so far as it was taken; it counts as undelivered instead.
        if let Some(worker) = crate::sched::worker::here() {
            worker.recount_as_undelivered();
        }
    }
}

/// Any process can start servers.
impl ProcessContext {
    /// Starts a server that is not linked to this process. OTP: `gen_server:start/3`.
    pub fn start<S: GenServer>(&self, args: S::Args) -> Start<S> {
        self.start_with(args, ServerOptions::new())
    }

    /// As [`start`](Self::start), with a name or other options.
    pub fn start_with<S: GenServer>(&self, args: S::Args, options: ServerOptions) -> Start<S> {
        start(self.core(), args, &options, Ties::default())
    }

    /// Starts a server that is linked to this process from the start, which is its parent. If `init`
    /// fails, the error comes back *and* the exit signal does (in OTP not if it was killed). OTP:
    /// `gen_server:start_link/3`.
    pub fn start_link<S: GenServer>(&self, args: S::Args) -> Start<S> {
        self.start_link_with(args, ServerOptions::new())
    }

    /// As [`start_link`](Self::start_link), with a name or other options.
    pub fn start_link_with<S: GenServer>(&self, args: S::Args, options: ServerOptions) -> Start<S> {
        let ties = Ties {
            link: true,
            ..Ties::default()
        };
        start(self.core(), args, &options, ties)
    }

    /// Starts a server that is monitored by this process from the start. OTP:
    /// `gen_server:start_monitor/3`.
    pub fn start_monitor<S: GenServer>(&self, args: S::Args) -> StartMonitor<S> {
        self.start_monitor_with(args, ServerOptions::new())
    }

    /// As [`start_monitor`](Self::start_monitor), with a name or other options. OTP:
    /// `gen_server:start_monitor/4`.
    pub fn start_monitor_with<S: GenServer>(
        &self,
        args: S::Args,
        options: ServerOptions,
    ) -> StartMonitor<S> {
        let ties = Ties {
            monitor: true,
            ..Ties::default()
        };
        StartMonitor::new(start(self.core(), args, &options, ties))
    }
}
