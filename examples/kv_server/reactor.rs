//! Which sockets are ready, for the processes that wait for them.
//!
//! ```text
//!   operating system ─▶ Poller, a process ─▶ Source of each socket ─▶ the waker of whoever waits
//!     (edges)             one turn: all events      (what is known)
//! ```
//! The poller is an ordinary process that takes turns with the connections. While there are events
//! it asks for more each time it runs, without waiting, so that a busy server makes one
//! system call for the events of many sockets, on the thread that then serves them, and wakes
//! no other thread. When a few turns in a row brought nothing it lets the dirty pool wait for the next event
//! ([`cx.blocking`](noex::ProcessContext::blocking)) and costs nothing until then.
//!
//! # Invariants
//! 1. The system reports an edge once: when something becomes possible that was not. A source
//!    keeps it until somebody waits for it, so none is lost between an attempt that failed and the
//!    wait.
//! 2. [`Source::readable`] takes the edge back *before* the socket is read. What arrives after that
//!    is another edge.
//! 3. An end (closed, reset) comes with the last edge there is. It is never taken back.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Poll, Waker};
use std::time::Duration;

use mio::event::{self, Event};
use mio::{Events, Interest, Registry, Token};
use noex::prelude::*;

/// The token of what wakes a turn that waits.
const BELL: Token = Token(usize::MAX);

/// How many events one turn takes from the system.
const EVENTS: usize = 256;

/// How many turns in a row may bring nothing before the next one waits. Handing over to the pool
/// and back costs as much as ten or twenty system calls.
const EMPTY: u32 = 16;

/// How long the poller rests after the system refused to tell it anything.
const PAUSE: Duration = Duration::from_millis(100);

/// The sockets, and where the system tells of them.
pub(crate) struct Reactor {
    registry: Registry,
    bell: mio::Waker,
    sources: Mutex<Sources>,
    /// Held for a turn.
    events: Mutex<(mio::Poll, Events)>,
}

#[derive(Default)]
struct Sources {
    /// By token.
    all: Vec<Option<Arc<Source>>>,
    free: VecDeque<usize>,
}

/// What is known of one socket.
#[derive(Default)]
pub(crate) struct Source(Mutex<State>);

#[derive(Default)]
struct State {
    read: Side,
    write: Side,
}

#[derive(Default)]
struct Side {
    edge: bool,
    closed: bool,
    waker: Option<Waker>,
}

impl Side {
    fn poll(&mut self, waker: &Waker) -> Poll<()> {
        if std::mem::take(&mut self.edge) || self.closed {
            return Poll::Ready(());
        }
        if !self.waker.as_ref().is_some_and(|old| old.will_wake(waker)) {
            self.waker = Some(waker.clone());
        }
        Poll::Pending
    }

    fn tell(&mut self, edge: bool, closed: bool) -> Option<Waker> {
        self.edge |= edge;
        self.closed |= closed;
        (edge || closed).then(|| self.waker.take()).flatten()
    }
}

impl Source {
    /// Waits until there may be something to read.
    pub(crate) async fn readable(&self) {
        poll_fn(|cx| lock(&self.0).read.poll(cx.waker())).await;
    }

    /// Waits until there may be room to write.
    pub(crate) async fn writable(&self) {
        poll_fn(|cx| lock(&self.0).write.poll(cx.waker())).await;
    }

    fn tell(&self, event: &Event) {
        let wakers = {
            let mut state = lock(&self.0);
            let failed = event.is_error();
            [
                state
                    .read
                    .tell(event.is_readable(), event.is_read_closed() || failed),
                state
                    .write
                    .tell(event.is_writable(), event.is_write_closed() || failed),
            ]
        };
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
}

/// A socket that the reactor knows, until this is dropped.
pub(crate) struct Registered<S: event::Source> {
    pub(crate) io: S,
    pub(crate) source: Arc<Source>,
    reactor: Arc<Reactor>,
    token: usize,
}

impl<S: event::Source> Drop for Registered<S> {
    fn drop(&mut self) {
        // Should that fail, closing it does the same.
        let _ = self.reactor.registry.deregister(&mut self.io);
        let mut sources = lock(&self.reactor.sources);
        sources.all[self.token] = None;
        sources.free.push_back(self.token);
    }
}

impl Reactor {
    pub(crate) fn new() -> io::Result<Reactor> {
        let poll = mio::Poll::new()?;
        Ok(Reactor {
            registry: poll.registry().try_clone()?,
            bell: mio::Waker::new(poll.registry(), BELL)?,
            sources: Mutex::default(),
            events: Mutex::new((poll, Events::with_capacity(EVENTS))),
        })
    }

    /// Begins to look after a socket, which does not block.
    pub(crate) fn register<S: event::Source>(
        self: &Arc<Self>,
        mut io: S,
    ) -> io::Result<Registered<S>> {
        let source = Arc::new(Source::default());
        let token = {
            let mut sources = lock(&self.sources);
            // The one that was free the longest: an event of a socket that is gone may still be on
            // its way, and would wake another for nothing.
            let token = sources.free.pop_front().unwrap_or(sources.all.len());
            if token == sources.all.len() {
                sources.all.push(None);
            }
            sources.all[token] = Some(source.clone());
            token
        };
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registered = self.registry.register(&mut io, Token(token), interest);
        // On failure it is dropped, which gives the token back.
        let socket = Registered {
            io,
            source,
            reactor: self.clone(),
            token,
        };
        registered.map(|()| socket)
    }

    /// Waits for the system to tell something, and passes it on.
    fn wait(&self) -> io::Result<usize> {
        self.turn(&mut lock(&self.events), None)
    }

    /// Passes on what the system has to tell now. `None`: another turn is waiting.
    fn look(&self) -> Option<io::Result<usize>> {
        let mut held = match self.events.try_lock() {
            Ok(held) => held,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Some(self.turn(&mut held, Some(Duration::ZERO)))
    }

    /// How many events there were.
    fn turn(
        &self,
        (poll, events): &mut (mio::Poll, Events),
        timeout: Option<Duration>,
    ) -> io::Result<usize> {
        match poll.poll(events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(0),
            Err(error) => return Err(error),
        }
        let mut count = 0;
        for event in events.iter() {
            count += 1;
            let source = match event.token() {
                BELL => None,
                Token(token) => lock(&self.sources).all.get(token).cloned().flatten(),
            };
            if let Some(source) = source {
                source.tell(event);
            }
        }
        Ok(count)
    }
}

/// The process that polls.
pub(crate) struct Poller(Arc<Reactor>);

struct Run;

impl GenServer for Poller {
    type Args = Arc<Reactor>;

    async fn init(reactor: Arc<Reactor>, cx: &mut Context<Self>) -> Result<Self, InitStop> {
        cx.continue_with(Run);
        Ok(Poller(reactor))
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        // A turn that waits in the pool is waiting for nobody now. If the bell cannot be rung it
        // ends with the next event.
        let _ = self.0.bell.wake();
    }
}

impl HandleContinue<Run> for Poller {
    async fn handle_continue(&mut self, _: Run, cx: &mut Context<Self>) {
        let mut empty = 0;
        loop {
            let look = (empty < EMPTY).then(|| self.0.look()).flatten();
            let turn = match look {
                Some(turn) => turn,
                // Nothing for a while; or the one before us was killed, and its last turn waits.
                None => {
                    let reactor = self.0.clone();
                    let turn = cx.blocking(move || reactor.wait()).await;
                    turn.unwrap_or_else(|error| Err(io::Error::other(error)))
                }
            };
            match turn {
                Ok(0) => empty += 1,
                Ok(_) => empty = 0,
                Err(error) => {
                    eprintln!("kv_server: cannot poll: {error}");
                    cx.sleep(PAUSE).await;
                }
            }
            cx.yield_now().await;
        }
    }
}

/// A panic while a lock was held left nothing half done: each change is one assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
