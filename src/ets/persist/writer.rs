//! The process of a persistent table: an ordinary server, which owns the table.
//!
//! Whoever writes puts a request in the queue, and rings if the queue was empty. The process takes all that
//! is there and has it done on a thread of the dirty pool; whatever comes meanwhile is the next batch. So
//! the more there are who write, the more writes share one sync of the disk, and nobody waits for a
//! timer; and no scheduler thread ever waits for the disk.
//!
//! # Invariants
//! 1. If the queue is not empty, a [`Bell`] is on its way to the process, or the process is busy and will look
//!    at the queue again.
//! 2. The engine is with the process or with one thread of the pool. When the process dies, it is closed by
//!    the pool: by that thread, or by another one that gets it.

use std::any::Any;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::time::Duration;

use super::Durability;
use super::engine::{Engine, Opening, Request};
use super::error::PersistError;
use super::view::Persists;
use crate::error::CallError;
use crate::ets::Table;
use crate::ets::codec::Stored;
use crate::exit::ExitReason;
use crate::gen_server::{
    Context, Exit, GenServer, HandleCall, HandleCast, HandleInfo, InitStop, ServerRef,
};
use crate::sched::core::CoreRef;
use crate::sync::{Arc, Mutex, OnceLock};

/// How many requests are done at once.
const BATCH: usize = 4096;

/// What a persistent table is to those who use it.
pub(super) struct Shared<K: 'static, V: 'static, Kind: Persists<K, V>> {
    queue: Mutex<Queue<K, V, Kind>>,
    made: OnceLock<Made<K, V, Kind>>,
}

/// What there is once it is open.
pub(super) struct Made<K: 'static, V: 'static, Kind: Persists<K, V>> {
    pub(super) table: Table<K, V, Kind>,
    pub(super) writer: ServerRef<Writer<K, V, Kind>>,
}

struct Queue<K: 'static, V: 'static, Kind: Persists<K, V>> {
    requests: VecDeque<Request<K, V, Kind>>,
    closed: bool,
}

impl<K: 'static, V: 'static, Kind: Persists<K, V>> Shared<K, V, Kind> {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Shared {
            queue: Mutex::new(Queue {
                requests: VecDeque::new(),
                closed: false,
            }),
            made: OnceLock::new(),
        })
    }

    pub(super) fn made(&self) -> Option<&Made<K, V, Kind>> {
        self.made.get()
    }

    /// Puts a request in the queue. `Err`: nobody will do it.
    pub(super) fn ask(&self, request: Request<K, V, Kind>) -> Result<(), Request<K, V, Kind>>
    where
        K: Stored + Clone,
        V: Stored + Clone,
    {
        let first = {
            let mut queue = self.queue.lock();
            if queue.closed {
                drop(queue);
                return Err(request);
            }
            queue.requests.push_back(request);
            queue.requests.len() == 1
        };
        if let Some(made) = self.made.get().filter(|_| first) {
            // If it is dead it closes the queue, which answers.
            let _rung = made.writer.cast(Bell);
        }
        Ok(())
    }

    /// Takes no more requests, or does so again.
    fn shut(&self, shut: bool) {
        self.queue.lock().closed = shut;
    }

    fn take(&self) -> Vec<Request<K, V, Kind>> {
        let mut queue = self.queue.lock();
        let count = queue.requests.len().min(BATCH);
        queue.requests.drain(..count).collect()
    }

    fn is_waiting(&self) -> bool {
        !self.queue.lock().requests.is_empty()
    }

    /// Nobody does anything any more. What was asked for is dropped, which tells whoever waits.
    fn close(&self) {
        let requests = {
            let mut queue = self.queue.lock();
            queue.closed = true;
            std::mem::take(&mut queue.requests)
        };
        drop(requests);
    }
}

/// The persistent tables of a system, by the numbers of their tables.
#[derive(Default)]
pub(super) struct Open(Mutex<HashMap<u64, Arc<dyn Any + Send + Sync>>>);

impl Open {
    pub(super) fn get(&self, number: u64) -> Option<Arc<dyn Any + Send + Sync>> {
        self.0.lock().get(&number).cloned()
    }
}

/// There is something in the queue.
pub(super) struct Bell;
/// It is time to write to the file what is not there yet.
pub(super) struct Flush;
/// It is time to remove from the file what has expired.
pub(super) struct Purge;
/// Close the file, and end.
pub(super) struct Close;

/// What the process is started with.
pub(super) struct Args<K: 'static, V: 'static, Kind: Persists<K, V>> {
    pub(super) opening: Opening<K, V, Kind>,
    pub(super) shared: Arc<Shared<K, V, Kind>>,
    pub(super) purge_every: Duration,
}

/// See the module.
pub(super) struct Writer<K: 'static, V: 'static, Kind: Persists<K, V>> {
    shared: Arc<Shared<K, V, Kind>>,
    core: CoreRef,
    number: u64,
    /// With the pool, if `None`.
    engine: Option<Engine<K, V, Kind>>,
    durability: Durability,
    purge_every: Duration,
    flushing: bool,
    purging: bool,
}

impl<K, V, Kind> GenServer for Writer<K, V, Kind>
where
    K: Stored + Clone,
    V: Stored + Clone,
    Kind: Persists<K, V>,
{
    type Args = Args<K, V, Kind>;

    async fn init(args: Self::Args, cx: &mut Context<Self>) -> Result<Self, InitStop> {
        // So that `terminate` closes the file.
        cx.trap_exit(true);
        let Args {
            opening,
            shared,
            purge_every,
        } = args;
        let durability = opening.durability;
        let (core, pid) = (cx.core().clone(), cx.pid());
        let open = {
            let core = core.clone();
            move || opening.open(&core, pid)
        };
        let opened = cx.blocking(open).await;
        let opened = opened.unwrap_or_else(|error| {
            Err(match error {
                // A `Deserialize`, or the like.
                CallError::Exited(panic) => PersistError::Panicked(panic),
                other => PersistError::NoAnswer(other),
            })
        });
        let engine = opened.map_err(ExitReason::error)?;
        let table = engine.table.clone();
        let number = table.inner.common.number;
        let made = Made {
            table,
            writer: cx.this(),
        };
        // Nobody else does this.
        let _made = shared.made.set(made);
        let open: Arc<Open> = core.attached.get();
        open.0.lock().insert(number, shared.clone());
        let mut writer = Writer {
            shared,
            core,
            number,
            engine: Some(engine),
            durability,
            purge_every,
            flushing: false,
            purging: false,
        };
        // What expired while the file was closed goes soon.
        writer.plan_purge(cx, Some(purge_every));
        Ok(writer)
    }

    async fn handle_exit(&mut self, exit: Exit, cx: &mut Context<Self>) {
        // As if it did not trap exits.
        if exit.reason != ExitReason::Normal {
            cx.stop(exit.reason);
        }
    }

    async fn terminate(&mut self, _reason: ExitReason, cx: &mut Context<Self>) {
        self.shared.close();
        if let Some(mut engine) = self.engine.take() {
            let close = move || {
                // `Drop` would do it too, but nobody waited for that.
                let _closed = engine.close();
            };
            let _closed = cx.blocking(close).await;
        }
    }
}

impl<K, V, Kind> Writer<K, V, Kind>
where
    K: Stored + Clone,
    V: Stored + Clone,
    Kind: Persists<K, V>,
{
    /// Does something with the engine on a thread of the pool.
    async fn work<R: Send + 'static>(
        &mut self,
        cx: &mut Context<Self>,
        work: impl FnOnce(&mut Engine<K, V, Kind>) -> R + Send + 'static,
    ) -> Option<R> {
        let mut engine = self.engine.take()?;
        let run = move || {
            let done = work(&mut engine);
            (engine, done)
        };
        match cx.blocking(run).await {
            Ok((engine, done)) => {
                let wreck = engine.wreck();
                self.engine = Some(engine);
                if let Some(reason) = wreck {
                    cx.stop(reason);
                }
                Some(done)
            }
            Err(error) => {
                // Something panicked that should not: the engine is closed, and nothing can be done.
                cx.stop(ExitReason::error(error));
                None
            }
        }
    }

    fn plan_flush(&mut self, cx: &mut Context<Self>) {
        let unsaved = self.engine.as_ref().is_some_and(Engine::is_unsaved);
        if let Durability::Interval(interval) = self.durability {
            if unsaved && !self.flushing {
                self.flushing = true;
                cx.send_after(interval, &cx.this(), Flush);
            }
        }
    }

    fn plan_purge(&mut self, cx: &mut Context<Self>, after: Option<Duration>) {
        if let Some(after) = after.filter(|_| !self.purging) {
            self.purging = true;
            cx.send_after(after, &cx.this(), Purge);
        }
    }
}

impl<K, V, Kind> HandleCast<Bell> for Writer<K, V, Kind>
where
    K: Stored + Clone,
    V: Stored + Clone,
    Kind: Persists<K, V>,
{
    async fn handle_cast(&mut self, _: Bell, cx: &mut Context<Self>) {
        let (requests, every) = (self.shared.take(), self.purge_every);
        if requests.is_empty() {
            return;
        }
        let purging = self.purging;
        let purge = self.work(cx, move |engine| {
            engine.perform(requests);
            match purging {
                true => None,
                false => engine.next_purge(every),
            }
        });
        let purge = purge.await.flatten();
        self.plan_purge(cx, purge);
        self.plan_flush(cx);
        // Invariant 1. Behind what else is in the mailbox: others want to be heard, too.
        if self.shared.is_waiting() {
            let _rung = cx.this().cast(Bell);
        }
    }
}

impl<K, V, Kind> HandleInfo<Flush> for Writer<K, V, Kind>
where
    K: Stored + Clone,
    V: Stored + Clone,
    Kind: Persists<K, V>,
{
    async fn handle_info(&mut self, _: Flush, cx: &mut Context<Self>) {
        self.flushing = false;
        let _done = self.work(cx, Engine::flush).await;
        // Again, if it failed.
        self.plan_flush(cx);
    }
}

impl<K, V, Kind> HandleInfo<Purge> for Writer<K, V, Kind>
where
    K: Stored + Clone,
    V: Stored + Clone,
    Kind: Persists<K, V>,
{
    async fn handle_info(&mut self, _: Purge, cx: &mut Context<Self>) {
        self.purging = false;
        let every = self.purge_every;
        let next = self.work(cx, move |engine| engine.purge(every)).await;
        self.plan_purge(cx, next.flatten());
    }
}

impl<K, V, Kind> HandleCall<Close> for Writer<K, V, Kind>
where
    K: Stored + Clone,
    V: Stored + Clone,
    Kind: Persists<K, V>,
{
    type Reply = Result<(), PersistError>;

    async fn handle_call(&mut self, _: Close, cx: &mut Context<Self>) -> Self::Reply {
        // What was asked for before is done before; what comes now is refused.
        self.shared.shut(true);
        let mut requests = Vec::new();
        while self.shared.is_waiting() {
            requests.extend(self.shared.take());
        }
        let closed = self.work(cx, move |engine| {
            engine.perform(requests);
            engine.close()
        });
        // Otherwise it has been told to stop already.
        let closed = closed.await.unwrap_or(Ok(()));
        match closed {
            Ok(()) => cx.stop(ExitReason::Normal),
            Err(_) => self.shared.shut(false),
        }
        closed
    }
}

impl<K: 'static, V: 'static, Kind: Persists<K, V>> Drop for Writer<K, V, Kind> {
    fn drop(&mut self) {
        self.shared.close();
        let open: Arc<Open> = self.core.attached.get();
        let listed = open.0.lock().remove(&self.number);
        drop(listed);
    }
}
