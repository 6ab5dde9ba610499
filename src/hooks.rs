//! Where a program listens to its system: dead letters, the life and death of processes, handlers
//! that run too long. Without hooks, what a person must know goes to standard error in one line.

use std::fmt;
use std::io::Write;
use std::time::Duration;

use crate::crash::CrashReport;
use crate::error::StartError;
use crate::exit::{ExitReason, head};
use crate::process::node::Discard;
use crate::process::pid::Pid;
use crate::sync::Arc;

/// A message that no handler got.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The receiver; `None`: a name that nobody had when a timer fired.
    pub to: Option<Pid>,
    /// The type of the message.
    pub message: &'static str,
    /// `true`: a full mailbox dropped it; `false`: the receiver is dead.
    pub overload: bool,
}

/// Something that happened to a process.
///
/// As text it is at most a few kilobytes, whatever names and reasons are in it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A process was started.
    Started {
        /// Which.
        pid: Pid,
        /// Its type.
        kind: &'static str,
    },
    /// A process ended. Every end is reported, normal ones too.
    Exited {
        /// Which.
        pid: Pid,
        /// Its type.
        kind: &'static str,
        /// Why.
        reason: ExitReason,
    },
    /// A process ended by a failure of its own; told before [`Exited`](Self::Exited). OTP: a crash
    /// report.
    Crashed(Box<CrashReport>),
    /// A supervisor has started a child, or started it again. OTP: a progress report.
    ChildStarted {
        /// The supervisor.
        supervisor: Pid,
        /// The id of the child.
        child: Arc<str>,
        /// Its process.
        pid: Pid,
    },
    /// A child has ended by itself, with a reason that is not as it should be: any but `Normal` and
    /// `Shutdown`, and of a permanent child any. OTP: the supervisor report `child_terminated`.
    ChildEnded {
        /// The supervisor.
        supervisor: Pid,
        /// The id of the child.
        child: Arc<str>,
        /// The process that ended.
        pid: Pid,
        /// Why.
        reason: ExitReason,
    },
    /// A child did not start. OTP: the supervisor report `start_error`.
    ChildNotStarted {
        /// The supervisor.
        supervisor: Pid,
        /// The id of the child.
        child: Arc<str>,
        /// Why.
        error: StartError,
    },
    /// A second panic, in `terminate` or in a `Drop` of a process that was ending already. It changes
    /// neither the exit reason nor who is told of it.
    PanicWhileEnding {
        /// Which.
        pid: Pid,
        /// The panic.
        reason: ExitReason,
    },
    /// A supervisor ends because a child was to be restarted more often than its intensity allows.
    /// OTP: `reached_max_restart_intensity`.
    GaveUp {
        /// The supervisor.
        pid: Pid,
        /// The id of the child; one that has none is called by the type of its template, or by its pid.
        child: Arc<str>,
        /// Why the child ended, or failed to start, the last time.
        reason: ExitReason,
    },
    /// An application was started: its tree stands, its phases are done.
    ApplicationStarted {
        /// Its name.
        name: Arc<str>,
    },
    /// The start of an application failed.
    ApplicationNotStarted {
        /// Its name.
        name: Arc<str>,
        /// Why.
        error: StartError,
    },
    /// An application was stopped (then the reason is `Normal`), or ended by itself. OTP: the report
    /// `application: exited`.
    ApplicationStopped {
        /// Its name.
        name: Arc<str>,
        /// Why.
        reason: ExitReason,
    },
    /// A child of a supervisor was killed, and a second later still runs: some code of it does not
    /// return. It keeps its scheduler thread and its name, and cannot be replaced before it returns.
    /// Reported once.
    Stuck {
        /// Which process.
        pid: Pid,
        /// Its supervisor.
        supervisor: Pid,
        /// The id of the child; one that has none is called by the type of its template, or by its pid.
        child: Arc<str>,
    },
    /// A handler of an event manager panicked and was removed; or one that was to take its place was
    /// not made. OTP: the error report of `gen_event`.
    HandlerCrashed {
        /// The event manager.
        manager: Pid,
        /// Which handler.
        handler: crate::gen_event::HandlerId,
        /// Why.
        reason: ExitReason,
    },
    /// A handler has been running on its scheduler thread for longer than the threshold (BEAM:
    /// `long_schedule`). Reported once while it runs.
    LongHandler {
        /// Which process.
        pid: Pid,
        /// The type of the message it handles, if it handles one.
        message: Option<&'static str>,
        /// For how long it has been running, to the precision of the watchdog.
        running: Duration,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Started { pid, kind } => write!(f, "{pid} started: {kind}"),
            Event::Exited { pid, kind, reason } => {
                write!(f, "{pid} ({kind}) exited: {}", Capped(reason))
            }
            Event::PanicWhileEnding { pid, reason } => {
                write!(f, "{pid} panicked again while it ended: {}", Capped(reason))
            }
            Event::GaveUp { pid, child, reason } => write!(
                f,
                "{pid} gives up: its child `{}` ended too often, the last time of: {}",
                Brief(child),
                Capped(reason)
            ),
            Event::Crashed(report) => write!(f, "{report}"),
            Event::ChildStarted {
                supervisor,
                child,
                pid,
            } => write!(
                f,
                "{supervisor} started its child `{}`: {pid}",
                Brief(child)
            ),
            Event::ChildEnded {
                supervisor,
                child,
                pid,
                reason,
            } => write!(
                f,
                "the child `{}` of {supervisor}, {pid}, ended: {}",
                Brief(child),
                Capped(reason)
            ),
            Event::ChildNotStarted {
                supervisor,
                child,
                error,
            } => write!(
                f,
                "the child `{}` of {supervisor} did not start: {}",
                Brief(child),
                Capped(error)
            ),
            Event::ApplicationStarted { name } => write!(f, "application {} started", Brief(name)),
            Event::ApplicationNotStarted { name, error } => {
                write!(
                    f,
                    "application {} did not start: {}",
                    Brief(name),
                    Capped(error)
                )
            }
            Event::ApplicationStopped { name, reason } => {
                write!(f, "application {} ended: {}", Brief(name), Capped(reason))
            }
            Event::Stuck {
                pid,
                supervisor,
                child,
            } => write!(
                f,
                "{pid} is stuck: {supervisor} killed its child `{}`, whose code does not return",
                Brief(child)
            ),
            Event::HandlerCrashed {
                manager,
                handler,
                reason,
            } => write!(
                f,
                "the event handler {} in {manager} crashed: {}",
                Brief(&handler.to_string()),
                Capped(reason)
            ),
            Event::LongHandler {
                pid,
                message,
                running,
            } => {
                let message = message.unwrap_or("no message");
                write!(
                    f,
                    "{pid} has been handling {message} for {} ms; use cx.blocking(..) for such work",
                    running.as_millis()
                )
            }
        }
    }
}

/// Prints a line on standard error. Not by `eprintln!`, which panics if nobody reads; and the `Display` of
/// a user's error may.
pub(crate) fn print(line: impl fmt::Display) {
    crate::process::deliver::guard(|| {
        let _ = writeln!(std::io::stderr(), "noex: {line}");
    });
}

/// Prints at most a kilobyte: a report must never be larger than the trouble it tells of.
pub(crate) struct Capped<'a>(pub(crate) &'a dyn std::error::Error);

impl fmt::Display for Capped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 1024;
        let text = match self.0.source() {
            Some(source) => format!("{}: {source}", self.0),
            None => self.0.to_string(),
        };
        match text.char_indices().nth(MOST) {
            Some((at, _)) => write!(f, "{} ... ({} bytes)", &text[..at], text.len()),
            None => f.write_str(&text),
        }
    }
}

/// Prints of a name that somebody chose at most so much as a person reads.
pub(crate) struct Brief<'a>(pub(crate) &'a str);

impl Brief<'_> {
    const MOST: usize = 200;

    fn cut(&self) -> (&str, &'static str) {
        let kept = head(self.0, Self::MOST);
        let mark = if kept.len() < self.0.len() { "..." } else { "" };
        (kept, mark)
    }
}

impl fmt::Display for Brief<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kept, mark) = self.cut();
        write!(f, "{kept}{mark}")
    }
}

/// Quoted.
impl fmt::Debug for Brief<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kept, mark) = self.cut();
        write!(f, "{kept:?}{mark}")
    }
}

type DeadLetterHook = Box<dyn Fn(&DeadLetter) + Send + Sync>;
type EventHook = Box<dyn Fn(&Event) + Send + Sync>;

#[derive(Default)]
pub(crate) struct Hooks {
    pub(crate) on_dead_letter: Option<DeadLetterHook>,
    pub(crate) on_event: Option<EventHook>,
}

impl Hooks {
    pub(crate) fn dead_letter(&self, to: Option<Pid>, message: &'static str, why: Discard) {
        if let Some(hook) = &self.on_dead_letter {
            let letter = DeadLetter {
                to,
                message,
                overload: why == Discard::Overload,
            };
            crate::process::deliver::guard(|| hook(&letter));
        }
    }

    pub(crate) fn hears_dead_letters(&self) -> bool {
        self.on_dead_letter.is_some()
    }

    pub(crate) fn wants_events(&self) -> bool {
        self.on_event.is_some()
    }

    /// Reports an event: to the hook, or, if it tells of trouble, to standard error.
    pub(crate) fn event(&self, event: &Event) {
        match &self.on_event {
            Some(hook) => {
                crate::process::deliver::guard(|| hook(event));
            }
            None => {
                let trouble = match event {
                    Event::Started { .. } => false,
                    // A kill is somebody's decision; what went wrong by itself is news.
                    Event::Exited { reason, .. } => {
                        matches!(reason, ExitReason::Panic(_) | ExitReason::Error(_))
                    }
                    // Of these the end of the process tells in one line.
                    Event::Crashed(_) | Event::ChildEnded { .. } => false,
                    Event::ChildStarted { .. } | Event::ApplicationStarted { .. } => false,
                    Event::ChildNotStarted { .. } => true,
                    Event::ApplicationStopped { reason, .. } => !reason.is_normal(),
                    Event::ApplicationNotStarted { .. } => true,
                    Event::PanicWhileEnding { .. }
                    | Event::GaveUp { .. }
                    | Event::Stuck { .. }
                    | Event::HandlerCrashed { .. }
                    | Event::LongHandler { .. } => true,
                };
                if trouble {
                    print(event);
                }
            }
        }
    }
}
