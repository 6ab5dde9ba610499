//! How a system is built.

use std::time::Duration;

use super::{System, Threads};
use crate::error::Error;
use crate::hooks::{DeadLetter, Event, Hooks};
use crate::sched::clock::Clock;
use crate::sched::core::{Core, CoreRef, PRIORITIES, Parts, Remote, Settings};
use crate::sched::manual::{Driver, ManualShared};
use crate::sched::worker::{Job, Worker};
use crate::sched::{threads, watchdog};
use crate::sync::Deque;

/// Builds a [`System`].
pub struct Builder {
    name: String,
    schedulers: Option<usize>,
    stack_size: Option<usize>,
    budget: u32,
    blocking_threads: Option<usize>,
    long_handler: Duration,
    virtual_clock: bool,
    auto_advance: bool,
    seed: Option<u64>,
    record: bool,
    panic_hook: bool,
    hooks: Hooks,
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}

impl Builder {
    /// The defaults, which each method names.
    pub fn new() -> Self {
        Builder {
            name: "noex".to_owned(),
            schedulers: None,
            stack_size: None,
            budget: 256,
            blocking_threads: None,
            long_handler: Duration::from_millis(100),
            virtual_clock: false,
            auto_advance: false,
            seed: None,
            record: false,
            panic_hook: true,
            hooks: Hooks::default(),
        }
    }

    /// The name its threads begin with. Default: `noex`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// How many scheduler threads; at least 1. Default: one for each core the program may use. A
    /// manual system has none.
    pub fn schedulers(mut self, threads: usize) -> Self {
        self.schedulers = Some(threads.max(1));
        self
    }

    /// The stack size of the scheduler threads, in bytes. Default: the standard library's, 2 MiB.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = Some(bytes);
        self
    }

    /// How many messages (or [`consume`](crate::ProcessContext::consume)d reductions) a process may
    /// handle before others get their turn; at least 1. Default: 256.
    pub fn budget(mut self, messages: u32) -> Self {
        self.budget = messages.max(1);
        self
    }

    /// The most threads for [`cx.blocking`](crate::ProcessContext::blocking); they are started when
    /// needed. Default: 64; on a manual system 0, where 0 means that the work runs inline.
    pub fn blocking_threads(mut self, threads: usize) -> Self {
        self.blocking_threads = Some(threads);
        self
    }

    /// From which running time on a handler that holds its thread is reported
    /// ([`Event::LongHandler`]). Default: 100 ms. A manual system reports none: its host sees.
    pub fn long_handler(mut self, threshold: Duration) -> Self {
        self.long_handler = threshold;
        self
    }

    /// Gives a manual system a clock that only its driver moves. Default: the machine's. A system
    /// with threads always has the machine's.
    pub fn virtual_clock(mut self) -> Self {
        self.virtual_clock = true;
        self
    }

    /// Has `.wait()` on the driver's thread move a virtual clock on to the next timer when nothing
    /// else is left to do. Default: it is an error then ([`CallError::Stalled`](crate::CallError)).
    pub fn auto_advance(mut self) -> Self {
        self.auto_advance = true;
        self
    }

    /// Makes a manual system choose at random which process runs next, the same way for the same
    /// seed. Default: first come, first served, most recent first.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Keeps an event log ([`Driver::take_log`]). Default: no.
    pub fn record(mut self) -> Self {
        self.record = true;
        self
    }

    /// Whether the first system of the program installs a panic hook, which notes where a process
    /// panicked, keeps the default message of such panics from standard error, and passes all others
    /// on to the hook that was there. Default: yes; without it an exit reason has no location.
    pub fn panic_hook(mut self, install: bool) -> Self {
        self.panic_hook = install;
        self
    }

    /// Called for each message that nobody handles (in OTP it vanishes). It runs where the message is
    /// lost, perhaps inside a send; a panic in it is ignored. Default: they are only counted, in
    /// [`Stats`](crate::Stats).
    pub fn on_dead_letter(mut self, hook: impl Fn(&DeadLetter) + Send + Sync + 'static) -> Self {
        self.hooks.on_dead_letter = Some(Box::new(hook));
        self
    }

    /// Called for what happens to processes, in place of the line on standard error that tells of
    /// crashes. A panic in it is ignored.
    pub fn on_event(mut self, hook: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.hooks.on_event = Some(Box::new(hook));
        self
    }

    fn core(
        self,
        threads: usize,
        blocking: usize,
        manual: bool,
    ) -> (CoreRef, Vec<[Deque<Job>; PRIORITIES]>) {
        if self.panic_hook {
            crate::exit::install_panic_hook();
        }
        let queues: Vec<[Deque<Job>; PRIORITIES]> = (0..threads)
            .map(|_| std::array::from_fn(|_| Deque::new_fifo()))
            .collect();
        let remotes = queues
            .iter()
            .map(|queues| Remote::new(std::array::from_fn(|lane| queues[lane].stealer())))
            .collect();
        let clock = if manual && self.virtual_clock {
            Clock::virtual_()
        } else {
            Clock::real()
        };
        let settings = Settings {
            name: self.name,
            stack_size: self.stack_size,
            budget: self.budget,
            blocking_threads: self.blocking_threads.unwrap_or(blocking),
            long_handler: self.long_handler,
            seed: self.seed,
            record: self.record,
        };
        let manual = manual.then(ManualShared::new);
        (
            Core::build(Parts {
                settings,
                remotes,
                manual,
                clock,
                hooks: self.hooks,
            }),
            queues,
        )
    }

    /// Builds the system and starts its threads.
    ///
    /// # Errors
    /// [`Error::Threads`]: the operating system gives no thread.
    pub fn build(self) -> Result<System, Error> {
        let schedulers = self.schedulers.unwrap_or_else(|| {
            std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
        });
        let (core, queues) = self.core(schedulers, 64, false);
        let mut handles = Vec::with_capacity(schedulers);
        let mut failure = None;
        for (index, queues) in queues.into_iter().enumerate() {
            match threads::start(core.clone(), index, queues) {
                Ok(handle) => handles.push(handle),
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        let watchdog = if failure.is_none() {
            watchdog::start(core.clone())
                .map_err(|error| failure = Some(error))
                .ok()
        } else {
            None
        };
        // Dropping a half-built system stops the threads it has.
        let system = System::assemble(
            core,
            Some(Threads {
                schedulers: handles,
                watchdog,
            }),
        );
        match failure {
            None => Ok(system),
            Some(error) => Err(Error::Threads(error)),
        }
    }

    /// Builds a system without threads, and the driver that runs it, which stays on this thread.
    pub fn manual(self) -> (System, Driver) {
        let auto_advance = self.auto_advance;
        let (core, queues) = self.core(1, 0, true);
        let queues = queues
            .into_iter()
            .next()
            .unwrap_or_else(|| std::array::from_fn(|_| Deque::new_fifo()));
        let driver = Driver::new(
            core.clone(),
            Worker::new(core.clone(), 0, queues),
            auto_advance,
        );
        (System::assemble(core, None), driver)
    }
}
