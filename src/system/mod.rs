//! A system: the processes, the threads that run them, and the end of both.

mod builder;
mod handle;
#[cfg(all(feature = "signals", unix))]
mod signals;
pub(crate) mod stop;

pub use self::builder::Builder;
pub use self::handle::Handle;
#[cfg(all(feature = "signals", unix))]
pub use self::signals::SignalGuard;
pub use self::stop::{Ended, ShuttingDown};

use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::Error;
use crate::sched::core::CoreRef;
use crate::sched::worker::Worker;
use crate::sync::Mutex;

/// Owns a system. Everything hangs off it: there is nothing global, and a program may have several.
///
/// What can be done with a system, start processes, look names up, is in [`Handle`], to which it
/// dereferences; a handle is weak and can be cloned.
///
/// Dropping it stops the threads and drops all processes without running `terminate`; for an orderly
/// end call [`shutdown`](Self::shutdown) first. Dropped on one of its own scheduler threads it
/// detaches instead of waiting for itself.
pub struct System {
    handle: Handle,
    threads: Mutex<Option<Threads>>,
}

struct Threads {
    schedulers: Vec<JoinHandle<Worker>>,
    watchdog: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for System {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("System")
            .field("name", &self.handle.core().settings.name)
            .finish_non_exhaustive()
    }
}

impl std::ops::Deref for System {
    type Target = Handle;
    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl System {
    /// A system with the defaults: one scheduler thread per core.
    ///
    /// # Errors
    /// [`Error::Threads`]: the operating system gives no thread.
    pub fn new() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// A builder, for everything else.
    pub fn builder() -> Builder {
        Builder::new()
    }

    fn assemble(core: CoreRef, threads: Option<Threads>) -> Self {
        System {
            handle: Handle::new(core),
            threads: Mutex::new(threads),
        }
    }

    /// A weak handle: it does not keep the system running, and does nothing once it is gone.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Ends the system in order: what was started from outside is stopped, last first, each as by its
    /// parent, with [`ExitReason::Shutdown`](crate::ExitReason); then all other processes; then
    /// timers, pools and threads. As [`shutdown_within`](Self::shutdown_within) 30 seconds.
    pub fn shutdown(&self) -> ShuttingDown {
        self.shutdown_within(Duration::from_secs(30))
    }

    /// As [`shutdown`](Self::shutdown); what has not stopped after `deadline` is killed. A process
    /// that is still inside a handler after that is [`ShutdownError::Stuck`](crate::ShutdownError),
    /// and its thread is abandoned.
    pub fn shutdown_within(&self, deadline: Duration) -> ShuttingDown {
        stop::shutdown(self.handle.core(), deadline)
    }

    /// Waits until the system ends, or until something that was started from outside ends by itself
    /// with any reason but `Normal` (a supervisor that gives up ends with `Shutdown`), and says why.
    pub fn wait(&self) -> Ended {
        stop::ended(self.handle.core())
    }
}

impl Drop for System {
    fn drop(&mut self) {
        let core = self.handle.core();
        if let Some(threads) = self.threads.lock().take() {
            stop::join(core, threads.schedulers, threads.watchdog);
        } else {
            // A manual system: its driver drops the processes, on its own thread.
            stop::halt(core);
        }
    }
}
