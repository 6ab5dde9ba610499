//! Looking into a running server, and changing it: state, suspension, statistics, traces, new code. OTP:
//! `sys`.
//!
//! A request keeps its place among the server's messages, and a full mailbox accepts it. A *suspended*
//! server sees to requests of this module, to `stop` and to its parent's exit, and to nothing else;
//! messages wait in their order.
//!
//! ```
//! use noex::prelude::*;
//! use noex::sys::SysAction;
//!
//! #[derive(Clone, Debug)]
//! struct Counter(i64);
//! struct Add(i64);
//!
//! impl GenServer for Counter {
//!     type Args = i64;
//!     async fn init(start: i64, _: &mut Context<Self>) -> Result<Self, InitStop> {
//!         Ok(Counter(start))
//!     }
//!     fn format_status(&self) -> String {
//!         format!("{self:?}")
//!     }
//! }
//! impl HandleCast<Add> for Counter {
//!     async fn handle_cast(&mut self, Add(n): Add, _: &mut Context<Self>) {
//!         self.0 += n;
//!     }
//! }
//!
//! let system = System::new()?;
//! let counter = system.start::<Counter>(40).wait()?;
//! counter.sys().log(10).wait()?;
//! counter.cast(Add(2))?;
//! assert_eq!(counter.sys().get_state().wait()?.0, 42);
//! assert!(matches!(counter.sys().get_log().wait()?[0].action, SysAction::Got(_)));
//!
//! // Known by its pid only:
//! let status = system.sys(counter.pid()).get_status().wait()?;
//! assert_eq!(status.state, "Counter(42)");
//! # Ok::<(), noex::Error>(())
//! ```
//!
//! # Departures from OTP
//! - The state of an [`Agent`](crate::Agent) and those of the handlers of a
//!   [`GenEvent`](crate::GenEvent) are reached by their own [`Agent::sys`](crate::Agent::sys) and
//!   [`GenEvent::sys`](crate::GenEvent::sys). A machine's is its data and its state:
//!   [`Machine::state_mut`](crate::Machine::state_mut).
//! - Only behaviours answer: a process that receives by itself gives
//!   [`CallError::NoReply`] at once, where OTP's would let the caller time out.
//! - `change_code` needs no suspended server: it is one message, and nothing runs beside it. Suspend
//!   several to change them together.
//! - `statistics` counts what comes in; what a handler sends is its own affair.
//! - A request of this module does not restart the receive timeout
//!   ([`Context::set_timeout`](crate::Context::set_timeout)): it runs on.

use std::ops::Deref;

use crate::error::CallError;
use crate::exit::ExitReason;
use crate::gen_server::{self, GenServer, ServerRef};
use crate::process::ask::{Answer, question};
use crate::process::call::{Call, DEFAULT_TIMEOUT};
use crate::process::deliver::{Class, Delivered, deliver, undelivered};
use crate::process::node::Discard;
use crate::process::pid::Pid;
use crate::process::signal::{Notice, SystemNode};
use crate::process::sys::SysRequest;
pub use crate::process::sys::{Statistics, SysAction, SysEvent, SysStatus};
use crate::sync::Arc;
use crate::system::Handle;

/// What can be asked of any server, by its pid. Each answer has a timeout of 5 s, as in OTP.
#[derive(Clone, Debug)]
pub struct Sys {
    system: Handle,
    pid: Pid,
}

impl Handle {
    /// The system side of a server: see [`sys`](crate::sys).
    pub fn sys(&self, pid: Pid) -> Sys {
        Sys {
            system: self.clone(),
            pid,
        }
    }
}

impl Sys {
    /// Which server.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    fn ask<R: Send + 'static>(&self, request: impl FnOnce(Answer<R>) -> SysRequest) -> Call<R> {
        let core = self.system.core();
        let Some(cell) = core.find(self.pid) else {
            return Call::failed(CallError::NoProc);
        };
        let (answer, pending) = question();
        let node = SystemNode::notice(Notice::Sys(request(answer)));
        // SAFETY: a fresh node for any process.
        match unsafe { deliver(&cell, node, Class::Exempt) } {
            Delivered::In => Call::new(core, pending, Some(DEFAULT_TIMEOUT))
                .answered_by(core, (cell.id, cell.serial)),
            Delivered::Dead(node) | Delivered::Full(node, _) => {
                // SAFETY: given back.
                unsafe { undelivered(core, Some(self.pid), node, Discard::Dead) };
                let exited = cell.exit_reason().map(CallError::Exited);
                Call::failed(exited.unwrap_or(CallError::NoProc))
            }
        }
    }

    /// Suspends the server: messages wait until it is [resumed](Self::resume). Again: nothing changes.
    /// OTP: `sys:suspend/1`.
    ///
    /// # Errors
    /// As for all of this type: [`CallError`], as for any call; [`CallError::NoReply`]: the process is no
    /// server.
    pub fn suspend(&self) -> Call<()> {
        self.ask(SysRequest::Suspend)
    }

    /// Lets a suspended server go on, with what has come meanwhile, in order. OTP: `sys:resume/1`.
    ///
    /// # Errors
    /// As for [`suspend`](Self::suspend).
    pub fn resume(&self) -> Call<()> {
        self.ask(SysRequest::Resume)
    }

    /// How it stands: with its state, as [`GenServer::format_status`] shows it. OTP: `sys:get_status/1`.
    ///
    /// # Errors
    /// As for [`suspend`](Self::suspend).
    pub fn get_status(&self) -> Call<SysStatus> {
        self.ask(SysRequest::Status)
    }

    /// Counts from now on (from zero, if it did before), or no more. OTP: `sys:statistics/2`.
    ///
    /// # Errors
    /// As for [`suspend`](Self::suspend).
    pub fn statistics(&self, count: bool) -> Call<()> {
        self.ask(|answer| SysRequest::Count(count, answer))
    }

    /// What was counted; `None`: it does not count. OTP: `sys:statistics(_, get)`.
    ///
    /// # Errors
    /// As for [`suspend`](Self::suspend).
    pub fn get_statistics(&self) -> Call<Option<Statistics>> {
        self.ask(SysRequest::Counted)
    }

    /// Tells `sink` of all it does from now on, instead of whom it told before. The sink runs in the
    /// server's turn: it holds the server up, and must not block. A panic in it is swallowed. OTP:
    /// `sys:install/2`, and `sys:trace/2` with a sink that prints.
    ///
    /// # Errors
    /// As for [`suspend`](Self::suspend).
    pub fn trace(&self, sink: impl Fn(&SysEvent) + Send + Sync + 'static) -> Call<()> {
        self.ask(|answer| SysRequest::Trace(Some(Arc::new(sink)), answer))
    }

    /// Tells nobody any more. OTP: `sys:remove/2`.
    ///
    /// # Errors
    /// As for [`suspend`](Self::suspend).
    pub fn no_trace(&self) -> Call<()> {
        self.ask(|answer| SysRequest::Trace(None, answer))
    }

    /// Keeps the latest `events` of what it does; zero: none. OTP: `sys:log/2`.
    ///
    /// # Errors
    /// As for [`suspend`](Self::suspend).
    pub fn log(&self, events: usize) -> Call<()> {
        self.ask(|answer| SysRequest::Log(events, answer))
    }

    /// The kept events, oldest first. OTP: `sys:log(_, get)`.
    ///
    /// # Errors
    /// As for [`suspend`](Self::suspend).
    pub fn get_log(&self) -> Call<Vec<SysEvent>> {
        self.ask(SysRequest::Logged)
    }

    /// Ends [`statistics`](Self::statistics), [`trace`](Self::trace) and [`log`](Self::log). OTP:
    /// `sys:no_debug/1`.
    ///
    /// # Errors
    /// As for [`suspend`](Self::suspend).
    pub fn no_debug(&self) -> Call<()> {
        self.ask(SysRequest::NoDebug)
    }
}

/// What can be asked of a server whose type is known; dereferences to [`Sys`] for the rest.
#[derive(Debug)]
pub struct ServerSys<S> {
    sys: Sys,
    server: ServerRef<S>,
}

impl<S> Clone for ServerSys<S> {
    fn clone(&self) -> Self {
        ServerSys {
            sys: self.sys.clone(),
            server: self.server.clone(),
        }
    }
}

impl<S> Deref for ServerSys<S> {
    type Target = Sys;
    fn deref(&self) -> &Sys {
        &self.sys
    }
}

impl<S: GenServer> ServerRef<S> {
    /// The system side of this server: see [`sys`](crate::sys).
    pub fn sys(&self) -> ServerSys<S> {
        ServerSys {
            sys: Sys {
                system: Handle::new(self.cell().core.clone()),
                pid: self.pid(),
            },
            server: self.clone(),
        }
    }
}

impl<S: GenServer> ServerSys<S> {
    /// A clone of the state. OTP: `sys:get_state/1`.
    ///
    /// # Errors
    /// As for any call.
    pub fn get_state(&self) -> Call<S>
    where
        S: Clone,
    {
        self.with_state(|state| state.clone())
    }

    /// Replaces the state; the old one. OTP: `sys:replace_state/2`.
    ///
    /// # Errors
    /// As for any call.
    pub fn replace_state(&self, state: S) -> Call<S> {
        self.with_state(|old| std::mem::replace(old, state))
    }

    /// Runs `look` on the state, inside the server, and gives what it returns. A panic in it ends the
    /// server, as one in a handler. OTP: `sys:replace_state/2` with a function.
    ///
    /// # Errors
    /// As for any call.
    pub fn with_state<R: Send + 'static>(
        &self,
        look: impl FnOnce(&mut S) -> R + Send + 'static,
    ) -> Call<R> {
        gen_server::inside::with_state(&self.server, look)
    }

    /// Moves the server to a new version of its state: `change` is given the old one by value. Its queue
    /// is kept, its pid and its callers notice nothing. OTP: `sys:change_code/4`, `code_change/3`.
    ///
    /// The type stays the same; a state that is to outlive versions of itself is an enum of them, or is
    /// behind a trait object.
    ///
    /// # Errors
    /// The inner one: `change` refused, and the server goes on with the state that it gave back. A panic
    /// in `change` ends the server, without `terminate`: the state is lost.
    pub fn change_code(
        &self,
        change: impl FnOnce(S) -> Result<S, (S, ExitReason)> + Send + 'static,
    ) -> Call<Result<(), ExitReason>> {
        gen_server::inside::change(&self.server, change)
    }
}
