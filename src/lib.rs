//! Erlang/OTP as a Rust library, on a scheduler of its own: servers with state that survives
//! crashes, supervised, with compile-time typed messages and without an async runtime.
//!
//! ```
//! use noex::prelude::*;
//!
//! struct Counter(i64);
//! struct Get;
//! struct Add(i64);
//!
//! impl GenServer for Counter {
//!     type Args = i64;
//!     async fn init(start: i64, _cx: &mut Context<Self>) -> Result<Self, InitStop> {
//!         Ok(Counter(start))
//!     }
//! }
//! impl HandleCall<Get> for Counter {
//!     type Reply = i64;
//!     async fn handle_call(&mut self, _: Get, _cx: &mut Context<Self>) -> i64 {
//!         self.0
//!     }
//! }
//! impl HandleCast<Add> for Counter {
//!     async fn handle_cast(&mut self, Add(n): Add, _cx: &mut Context<Self>) {
//!         self.0 += n
//!     }
//! }
//!
//! let system = System::new()?;
//! let counter = system.start::<Counter>(40).wait()?;
//! counter.cast(Add(2))?;
//! assert_eq!(counter.call(Get).wait()?, 42);
//! # Ok::<(), noex::Error>(())
//! ```
//!
//! | to | see |
//! | --- | --- |
//! | write a server | [`GenServer`], [`HandleCall`], [`HandleCast`], [`Context`] |
//! | write a state machine | [`GenStateMachine`], [`Machine`], [`Next`] |
//! | keep it running | [`Supervisor`], [`ChildSpec`] |
//! | keep a state without writing a server | [`Agent`] |
//! | hand events to whoever wants them | [`GenEvent`], [`gen_event`] |
//! | do one thing beside it, and wait for that | [`Task`], [`TaskSupervisor`], [`task`] |
//! | keep many, that come and go | [`DynamicSupervisor`], [`Template`] |
//! | split it by keys | [`PartitionSupervisor`], [`Partitions`] |
//! | reach it | [`Named`], [`Supervised`], [`ServerRef`], [`Recipient`], [`Requester`], [`Pid`] |
//! | write a process that receives by itself | [`Inbox`], [`Process`] |
//! | find processes by keys of any type, dispatch to all under one | [`Registry`], [`Name`] |
//! | keep track of who belongs together | [`Pg`] |
//! | link, monitor, set timers | [`ProcessContext`] |
//! | run it all | [`System`], [`Builder`]; without threads: [`Driver`] |
//! | share tables between processes and threads | [`Table`], [`ets`]; of any terms: [`TermTable`] |
//! | publish, cache, limit, schedule, pool | [`services`] |

#[cfg(not(all(test, loom)))]
mod agent;
#[cfg(not(all(test, loom)))]
mod application;
#[cfg(not(all(test, loom)))]
mod crash;
#[cfg(not(all(test, loom)))]
mod destination;
#[cfg(not(all(test, loom)))]
mod dynamic_supervisor;
#[cfg(not(all(test, loom)))]
mod error;
#[cfg(not(all(test, loom)))]
pub mod ets;
#[cfg_attr(all(test, loom), allow(dead_code, unused_imports, unreachable_pub))]
mod exit;
#[cfg(not(all(test, loom)))]
pub mod gen_event;
#[cfg(not(all(test, loom)))]
mod gen_server;
#[cfg(not(all(test, loom)))]
mod gen_state_machine;
#[cfg(not(all(test, loom)))]
mod handles;
#[cfg(not(all(test, loom)))]
mod hash;
#[cfg(not(all(test, loom)))]
mod hooks;
#[cfg(not(all(test, loom)))]
mod partition_supervisor;
#[cfg(not(all(test, loom)))]
mod pg;
#[cfg_attr(all(test, loom), allow(dead_code, unused_imports, unreachable_pub))]
mod process;
#[cfg(not(all(test, loom)))]
mod receive;
#[cfg(not(all(test, loom)))]
mod registry;
#[cfg_attr(all(test, loom), allow(dead_code, unused_imports))]
mod sched;
#[cfg(not(all(test, loom)))]
pub mod services;
#[cfg_attr(all(test, loom), allow(dead_code))]
mod shards;
#[cfg_attr(all(test, loom), allow(dead_code, unreachable_pub))]
mod start_error;
#[cfg(not(all(test, loom)))]
mod starts;
#[cfg(not(all(test, loom)))]
mod supervisor;
#[cfg_attr(all(test, loom), allow(dead_code))]
mod sync;
#[cfg(not(all(test, loom)))]
pub mod sys;
#[cfg(not(all(test, loom)))]
mod system;
#[cfg(not(all(test, loom)))]
pub mod task;

#[cfg(all(test, loom))]
#[path = "../loom-tests/mod.rs"]
mod loom_tests;

#[cfg(not(all(test, loom)))]
mod exports {
    pub use crate::agent::{Agent, AgentStart, AgentSys, NamedAgent};
    pub use crate::application::{
        Application, ApplicationError, ApplicationInfo, ApplicationKind, ApplicationSpec,
        ApplicationStatus, Applications, ChangingApplication, EnsuringStarted, WhoseProcess,
    };
    pub use crate::crash::CrashReport;
    pub use crate::destination::Destination;
    pub use crate::dynamic_supervisor::{
        DynamicChild, DynamicSupervisor, DynamicSupervisorRef, DynamicSupervisorStart, Template,
    };
    pub use crate::error::{
        CallError, CallPath, Error, SendError, ShutdownError, SpawnError, StartError,
    };
    pub use crate::ets::{Table, TableError, TermTable};
    pub use crate::exit::{
        ErrorReason, ExitReason, PanicLocation, PanicReason, ParseTermError, Term, TermKind,
        TermMap, WrongTerm,
    };
    pub use crate::gen_event::{GenEvent, HandlerError, NamedGenEvent};
    pub use crate::gen_server::{
        AnyMessage, Calls, Context, Down, Exit, GenServer, HandleCall, HandleCast, HandleContinue,
        HandleInfo, HandleRequest, InitStop, Named, NextCall, Recipient, ReplyTo, Requester,
        Routes, Sending, ServerOptions, ServerRef, Start, StartMonitor, Stop, call_all,
    };
    pub use crate::gen_state_machine::{
        Enter, EventType, GenStateMachine, Initial, Machine, MachineContext, MachineRef, Next,
        Transition, Transitions,
    };
    pub use crate::hooks::{DeadLetter, Event};
    pub use crate::partition_supervisor::{
        Partition, PartitionLookup, PartitionSupervisor, PartitionSupervisorRef,
        PartitionSupervisorStart, Partitions,
    };
    pub use crate::pg::{Pg, PgEvent, PgMonitor, ScopeClosed};
    pub use crate::process::bounded::{MailboxPolicy, Overflow};
    pub use crate::process::call::Call;
    pub use crate::process::cell::Priority;
    pub use crate::process::context::{Blocking, Info, Monitor, ProcessContext, Sleep, Yield};
    pub use crate::process::info::ProcessInfo;
    pub use crate::process::pid::{MonitorRef, Pid};
    pub use crate::process::spawn::SpawnOptions;
    pub use crate::receive::{Inbox, IntoExit, Process, Received};
    pub use crate::registry::{
        Dispatch, Duplicate, Keys, Label, MetaError, Name, RegisterError, Registry,
        RegistryBuilder, RegistryError, RegistryEvent, Unique,
    };
    pub use crate::sched::manual::{Budget, Driver, Tick};
    pub use crate::sched::stats::Stats;
    pub use crate::sched::timers::TimerRef;
    pub use crate::supervisor::{
        AutoShutdown, Backoff, ChildCounts, ChildError, ChildInfo, ChildKind, ChildPid,
        ChildRequest, ChildSpec, ChildStatus, MailboxFate, Restart, Shutdown, Starter, Strategy,
        Supervised, Supervisor, SupervisorRef, SupervisorStart,
    };
    #[cfg(all(feature = "signals", unix))]
    pub use crate::system::SignalGuard;
    pub use crate::system::{Builder, Ended, Handle, ShuttingDown, System};
    pub use crate::task::{Task, TaskContext, TaskError, TaskSupervisor, TaskSupervisorRef};
}
#[cfg(not(all(test, loom)))]
pub use exports::*;

/// What most programs use.
#[cfg(not(all(test, loom)))]
pub mod prelude {
    pub use crate::{
        ChildSpec, Context, DynamicSupervisor, DynamicSupervisorRef, ExitReason, GenServer,
        HandleCall, HandleCast, HandleContinue, HandleInfo, HandleRequest, InitStop, Named, Pid,
        Restart, ServerOptions, ServerRef, Shutdown, Strategy, Supervisor, SupervisorRef, System,
    };
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../docs/guide/why.md")]
struct WhyGuide;

#[cfg(doctest)]
#[doc = include_str!("../docs/guide/gen_server.md")]
struct GenServerGuide;

#[cfg(doctest)]
#[doc = include_str!("../docs/guide/supervisor.md")]
struct SupervisorGuide;

#[cfg(doctest)]
#[doc = include_str!("../docs/guide/application.md")]
struct ApplicationGuide;

#[cfg(doctest)]
#[doc = include_str!("../docs/guide/sys.md")]
struct SysGuide;

#[cfg(doctest)]
#[doc = include_str!("../docs/guide/gen_state_machine.md")]
struct GenStateMachineGuide;

#[cfg(doctest)]
#[doc = include_str!("../docs/guide/task.md")]
struct TaskGuide;

#[cfg(doctest)]
#[doc = include_str!("../docs/guide/agent.md")]
struct AgentGuide;

#[cfg(doctest)]
#[doc = include_str!("../docs/guide/gen_event.md")]
struct GenEventGuide;

#[cfg(doctest)]
#[doc = include_str!("../docs/guide/dynamic_supervisor.md")]
struct DynamicSupervisorGuide;

#[cfg(doctest)]
#[doc = include_str!("../docs/guide/partition_supervisor.md")]
struct PartitionSupervisorGuide;

#[cfg(doctest)]
#[doc = include_str!("../docs/guide/registry.md")]
struct RegistryGuide;

#[cfg(doctest)]
#[doc = include_str!("../docs/guide/pg.md")]
struct PgGuide;

#[cfg(doctest)]
#[doc = include_str!("../docs/guide/services.md")]
struct ServicesGuide;

#[cfg(all(doctest, feature = "tab2file", feature = "persist"))]
#[doc = include_str!("../docs/guide/ets_persistence.md")]
struct EtsPersistenceGuide;

#[cfg(doctest)]
#[doc = include_str!("../docs/guide/ets.md")]
struct EtsGuide;
