//! Few workers for many borrowers: each has a worker to itself for a while and gives it back.
//!
//! ```text
//!   supervisor of yours
//!   └── pool ── who has which worker, who waits
//!       └── supervisor of its own, one_for_one
//!           ├── worker-0 ─┐
//!           ├── worker-1  ├─ size, permanent
//!           ├── worker-2 ─┘
//!           └── worker-7 ── overflow, temporary: started while somebody waits
//! ```
//! # Rules
//! - A worker is lent to one borrower at a time. Who comes when none is free waits, first come, first
//!   served, until its timeout. Of several free workers the one used last is lent.
//! - A worker comes back when its [`Checkout`] is dropped: at the end of a scope, by a panic, or because the
//!   borrower is killed. If the guard is kept or leaked it comes back when the borrower dies, which the pool
//!   monitors. An answer that nobody waited for any longer is a dropped guard, too.
//! - A worker that ends is replaced, by the supervisor and within its
//!   [`intensity`](Pool::intensity); the pool ends when that is used up. If it was lent, its borrower has a
//!   dead worker: its calls fail, and giving it back is nothing.
//! - A worker of the overflow is started when somebody would have to wait, and stopped when it comes back
//!   and nobody waits. If it does not start, who waits goes on waiting for another; if there is none,
//!   with a size of 0, that is [`PoolError::NotStarted`], and another is tried for the next in the queue.
//! - The pool starts when all its workers have; if one does not, the start fails. When it stops, it stops
//!   its workers first.

mod desk;

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use self::desk::{Desk, Loan, Order, Outside, Place};
use super::handle::{Common, Request, service};
use crate::sync::Arc;
use crate::{
    Call, CallError, ChildPid, ChildSpec, Context, Down, Exit, ExitReason, GenServer, Handle,
    HandleCall, HandleCast, HandleInfo, HandleRequest, InitStop, MonitorRef, Pid, ProcessContext,
    Recipient, ReplyTo, Restart, ServerRef, Shutdown, StartError, Starter, Strategy, Supervisor,
    SupervisorRef,
};

/// What a worker is to its borrowers: a reference to a process, a [`ServerRef`] or a
/// [`Recipient`] or a type of yours that has one.
pub trait Worker: ChildPid + Clone + Sync {}
impl<W: ChildPid + Clone + Sync> Worker for W {}

type Beginning<W> = Pin<Box<dyn Future<Output = Result<W, StartError>> + Send>>;
type StartFn<W> = Arc<dyn Fn(Starter) -> Beginning<W> + Send + Sync>;

/// Builds a pool of workers of type `W`.
///
/// ```
/// use noex::prelude::*;
/// use noex::services::Pool;
///
/// struct Connection;
/// struct Query(&'static str);
/// impl GenServer for Connection {
///     type Args = ();
///     async fn init(_: (), _: &mut Context<Self>) -> Result<Self, InitStop> {
///         Ok(Connection)
///     }
/// }
/// impl HandleCall<Query> for Connection {
///     type Reply = usize;
///     async fn handle_call(&mut self, Query(text): Query, _: &mut Context<Self>) -> usize {
///         text.len()
///     }
/// }
///
/// let system = System::new()?;
/// let pool = Pool::servers::<Connection>(4, ()).overflow(2).start(&system).wait()?;
/// let connection = pool.checkout_outside().wait().unwrap();
/// assert_eq!(connection.call(Query("select 1")).wait()?, 8);
/// drop(connection);
///
/// // In a process: `cx` is its `Context` or `Inbox`.
/// let (send, length) = std::sync::mpsc::channel();
/// system.spawn(move |cx: noex::Inbox<()>| async move {
///     let work = |connection: ServerRef<Connection>| async move {
///         connection.call(Query("select 2")).await
///     };
///     let _ = send.send(pool.transaction(&cx, work).await);
/// })?;
/// assert_eq!(length.recv().unwrap(), Ok(Ok(8)));
/// # Ok::<(), noex::Error>(())
/// ```
///
/// # In a supervisor
/// A pool counts as a supervisor, as it has children: its [`child_spec`](Self::child_spec) is of
/// [`ChildKind::Supervisor`](crate::ChildKind::Supervisor), and is given the time to stop its workers,
/// [`Shutdown::Infinity`], unless told otherwise. Its mailbox is unbounded, also if the spec says
/// something else: a worker whose return is dropped would be lost.
pub struct Pool<W> {
    common: Common,
    plan: Plan<W>,
}

#[doc(hidden)]
pub struct Plan<W> {
    start: StartFn<W>,
    size: usize,
    overflow: usize,
    max_waiting: usize,
    intensity: u32,
    period: Duration,
    shutdown: Shutdown,
}

impl<W> Clone for Plan<W> {
    fn clone(&self) -> Self {
        Plan {
            start: self.start.clone(),
            ..*self
        }
    }
}

impl<W> Clone for Pool<W> {
    fn clone(&self) -> Self {
        Pool {
            common: self.common.clone(),
            plan: self.plan.clone(),
        }
    }
}

impl<W> fmt::Debug for Pool<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("common", &self.common)
            .field("size", &self.plan.size)
            .field("overflow", &self.plan.overflow)
            .finish_non_exhaustive()
    }
}

impl Pool<()> {
    /// A pool of `size` servers of type `S`, each incarnation of each started with a clone of `args`.
    pub fn servers<S>(size: usize, args: S::Args) -> Pool<ServerRef<S>>
    where
        S: GenServer,
        S::Args: Clone + Sync,
    {
        Pool::new(size, move |starter| starter.start_link::<S>(args.clone()))
    }
}

impl<W: Worker> Pool<W> {
    /// A pool of `size` workers, each started, and started again, by `start`, as in
    /// [`ChildSpec::worker`]: it runs as the pool's supervisor, and what it gives is what borrowers
    /// get. It must not wait for the pool itself.
    ///
    /// With a size of 0 there are only workers of the [`overflow`](Self::overflow); without those
    /// everybody is refused ([`PoolError::Full`]).
    pub fn new<F>(size: usize, start: impl Fn(Starter) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<W, StartError>> + Send + 'static,
    {
        Pool {
            common: Common {
                supervises: true,
                ..Common::default()
            },
            plan: Plan {
                start: Arc::new(move |starter| Box::pin(start(starter))),
                size,
                overflow: 0,
                max_waiting: usize::MAX,
                intensity: 3,
                period: Duration::from_secs(5),
                shutdown: Shutdown::Timeout(Duration::from_secs(5)),
            },
        }
    }

    /// How many more workers may be started while somebody waits. Default: 0.
    ///
    /// One that does not start is not tried again until somebody else asks, or waits for nothing else.
    pub fn overflow(mut self, workers: usize) -> Self {
        self.plan.overflow = workers;
        self
    }

    /// How many may wait; the next is refused at once ([`PoolError::Full`]). Those for whom a worker of
    /// the overflow is being started do not count. Default: any number.
    pub fn max_waiting(mut self, borrowers: usize) -> Self {
        self.plan.max_waiting = borrowers;
        self
    }

    /// How many restarts of workers are allowed within the [`period`](Self::period); one more ends the
    /// pool, as it ends a supervisor, with [`ExitReason::Shutdown`]. Those of the overflow are not
    /// restarted and do not count. Default: 3.
    pub fn intensity(mut self, restarts: u32) -> Self {
        self.plan.intensity = restarts;
        self
    }

    /// Within what time restarts count together. Default: 5 s.
    pub fn period(mut self, period: Duration) -> Self {
        self.plan.period = period;
        self
    }

    /// How each worker is stopped. Default: within 5 s.
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.plan.shutdown = shutdown;
        self
    }

    fn args(&self) -> Plan<W> {
        self.plan.clone()
    }
}

service! {
    /// A handle on a pool: cheap to clone, does not keep the pool running.
    PoolRef, Pool, PoolServer, [W: Worker], [W]
}

/// Why there is no worker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// None came free in time.
    #[error("no worker came free within the timeout")]
    Timeout,
    /// As many are waiting as may wait.
    #[error("too many are waiting for a worker")]
    Full,
    /// A worker of the overflow did not start, or ended at once, and there is no other to wait for.
    #[error("no worker could be started")]
    NotStarted(#[source] StartError),
    /// The pool gave no answer.
    #[error(transparent)]
    Call(CallError),
}

impl From<CallError> for PoolError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Timeout => PoolError::Timeout,
            error => PoolError::Call(error),
        }
    }
}

/// How a pool does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStatus {
    /// How many workers run.
    pub workers: usize,
    /// How many of them are free.
    pub free: usize,
    /// How many are lent.
    pub lent: usize,
    /// How many of the overflow run or are being started.
    pub overflow: usize,
    /// How many borrowers wait.
    pub waiting: usize,
}

/// A worker, lent: it dereferences to `W`. Dropping it gives the worker back.
///
/// It may be moved to another process, or another thread; the borrower the pool watches is who checked
/// it out.
#[must_use = "dropping it gives the worker back"]
pub struct Checkout<W> {
    worker: W,
    _back: GiveBack,
}

/// Gives a worker back when it is dropped.
struct GiveBack {
    loan: Loan,
    pool: Recipient<CheckIn>,
}

impl<W: ChildPid> fmt::Debug for Checkout<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Checkout")
            .field(&self.worker.child_pid())
            .finish()
    }
}

impl<W> Deref for Checkout<W> {
    type Target = W;
    fn deref(&self) -> &W {
        &self.worker
    }
}

impl Drop for GiveBack {
    fn drop(&mut self) {
        // The pool's mailbox is unbounded; with the pool, its workers are gone. A dead one is not told.
        if self.pool.is_alive() {
            let _ = self.pool.send(CheckIn(self.loan));
        }
    }
}

/// How long a borrower waits that does not say.
const TIMEOUT: Duration = Duration::from_secs(5);

impl<W: Worker> PoolRef<W> {
    /// Borrows a worker for the running process, `cx`, which the pool monitors meanwhile. Waits for up
    /// to 5 s for one to come free.
    ///
    /// # Errors
    /// [`PoolError`].
    ///
    /// # Cancellation
    /// Dropped before it is ready, it gives up its place in the queue: a worker that is granted all the
    /// same goes to the next.
    ///
    /// # Panics
    /// If `cx` is not that of the running process.
    pub fn checkout(&self, cx: &ProcessContext) -> Request<Checkout<W>, PoolError> {
        self.checkout_within(cx, TIMEOUT)
    }

    /// As [`checkout`](Self::checkout), waiting for up to `timeout`; `None`: as long as it takes.
    ///
    /// # Errors
    /// [`PoolError`].
    pub fn checkout_within(
        &self,
        cx: &ProcessContext,
        timeout: impl Into<Option<Duration>>,
    ) -> Request<Checkout<W>, PoolError> {
        self.ask(Some(cx.pid()), timeout.into())
    }

    /// Borrows a worker for whoever is no process: a thread of yours. Nobody is monitored; the worker
    /// is lent until the guard is dropped. Waits for up to 5 s.
    ///
    /// # Errors
    /// [`PoolError`].
    pub fn checkout_outside(&self) -> Request<Checkout<W>, PoolError> {
        self.checkout_outside_within(TIMEOUT)
    }

    /// As [`checkout_outside`](Self::checkout_outside), waiting for up to `timeout`; `None`: as long as
    /// it takes.
    ///
    /// # Errors
    /// [`PoolError`].
    pub fn checkout_outside_within(
        &self,
        timeout: impl Into<Option<Duration>>,
    ) -> Request<Checkout<W>, PoolError> {
        self.ask(None, timeout.into())
    }

    fn ask(
        &self,
        borrower: Option<Pid>,
        timeout: Option<Duration>,
    ) -> Request<Checkout<W>, PoolError> {
        let check_out = CheckOut { borrower, timeout };
        Request::sent(self.reach.call_with(check_out, timeout))
    }

    /// Borrows a worker for the running process, does `work` with it and gives it back, whether `work`
    /// returns, panics or is dropped. `work` runs in the calling process; the worker it is given must
    /// not be used longer.
    ///
    /// # Errors
    /// [`PoolError`]: there was no worker, and `work` was not begun. What `work` returns is its own.
    ///
    /// # Cancellation
    /// Dropping it drops `work` where it waits, and gives the worker back.
    ///
    /// # Panics
    /// As for [`checkout`](Self::checkout).
    pub fn transaction<F, R>(
        &self,
        cx: &ProcessContext,
        work: impl FnOnce(W) -> F + Send + 'static,
    ) -> Transaction<W, R>
    where
        F: Future<Output = R> + Send + 'static,
    {
        self.transaction_within(cx, TIMEOUT, work)
    }

    /// As [`transaction`](Self::transaction), waiting for a worker for up to `timeout`; `None`: as long
    /// as it takes.
    ///
    /// # Errors
    /// As for [`transaction`](Self::transaction).
    pub fn transaction_within<F, R>(
        &self,
        cx: &ProcessContext,
        timeout: impl Into<Option<Duration>>,
        work: impl FnOnce(W) -> F + Send + 'static,
    ) -> Transaction<W, R>
    where
        F: Future<Output = R> + Send + 'static,
    {
        Transaction {
            stage: Stage::Waiting(
                self.checkout_within(cx, timeout),
                Box::new(move |worker| Box::pin(work(worker))),
            ),
        }
    }

    /// How the pool does.
    ///
    /// # Errors
    /// As for every call.
    pub fn status(&self) -> Call<PoolStatus> {
        self.reach.call(Status)
    }
}

type Working<R> = Pin<Box<dyn Future<Output = R> + Send>>;

enum Stage<W, R> {
    Waiting(
        Request<Checkout<W>, PoolError>,
        Box<dyn FnOnce(W) -> Working<R> + Send>,
    ),
    // The work first: it is dropped before the worker is given back.
    Working(Working<R>, Checkout<W>),
    Over,
}

/// Work with a borrowed worker: [`PoolRef::transaction`]. It runs in the process that awaits it, so
/// unlike other waits it has no blocking form; outside of processes, check a worker out.
///
/// Polled again after it was ready it is pending for ever.
#[must_use = "the work is not done unless awaited"]
pub struct Transaction<W, R> {
    stage: Stage<W, R>,
}

impl<W, R> fmt::Debug for Transaction<W, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.stage {
            Stage::Waiting(..) => "Transaction(waiting)",
            Stage::Working(..) => "Transaction(working)",
            Stage::Over => "Transaction(over)",
        })
    }
}

// All that must not move is in a box.
impl<W, R> Unpin for Transaction<W, R> {}

impl<W: Worker, R> Future for Transaction<W, R> {
    type Output = Result<R, PoolError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        if let Stage::Waiting(request, _) = &mut self.stage {
            let Poll::Ready(granted) = Pin::new(request).poll(cx) else {
                return Poll::Pending;
            };
            match (granted, std::mem::replace(&mut self.stage, Stage::Over)) {
                (Ok(checkout), Stage::Waiting(_, work)) => {
                    self.stage = Stage::Working(work(checkout.worker.clone()), checkout);
                }
                (Err(error), _) => return Poll::Ready(Err(error)),
                (Ok(_), _) => return Poll::Pending,
            }
        }
        let Stage::Working(work, _) = &mut self.stage else {
            return Poll::Pending;
        };
        let Poll::Ready(result) = work.as_mut().poll(cx) else {
            return Poll::Pending;
        };
        self.stage = Stage::Over;
        Poll::Ready(Ok(result))
    }
}

type Answer<W> = ReplyTo<Result<Checkout<W>, PoolError>>;

/// The process.
#[doc(hidden)]
pub struct PoolServer<W> {
    plan: Plan<W>,
    supervisor: SupervisorRef,
    desk: Desk<Answer<W>>,
    /// Who works in which place.
    workers: HashMap<Place, W>,
    /// The monitors of workers and of borrowers.
    monitors: HashMap<MonitorRef, Watched>,
    borrowers: HashMap<Pid, MonitorRef>,
}

#[derive(Clone, Copy)]
enum Watched {
    Worker(Place),
    Borrower,
}

impl Outside for Handle {
    fn now(&self) -> Duration {
        Handle::now(self)
    }
    fn is_alive(&self, worker: Pid) -> bool {
        Handle::is_alive(self, worker)
    }
}

fn id(place: Place) -> String {
    format!("worker-{place}")
}

/// Tells the pool what became of a start, also if it is given up or panics.
struct Report<W: Worker> {
    place: Place,
    pool: ServerRef<PoolServer<W>>,
    done: bool,
}

impl<W: Worker> Report<W> {
    fn up(mut self, worker: W) {
        self.done = true;
        let _ = self.pool.cast(Up(self.place, worker));
    }

    fn failed(&mut self, why: StartError) {
        self.done = true;
        if self.pool.is_alive() {
            let _ = self.pool.cast(NotUp(self.place, why));
        }
    }
}

impl<W: Worker> Drop for Report<W> {
    fn drop(&mut self) {
        if !self.done {
            let why = ExitReason::error("the start panicked or was given up");
            self.failed(StartError::Init(why));
        }
    }
}

impl<W: Worker> Plan<W> {
    fn child(&self, place: Place, pool: ServerRef<PoolServer<W>>) -> ChildSpec {
        let start = self.start.clone();
        let start = move |starter| {
            let start = start.clone();
            let mut report = Report {
                place,
                pool: pool.clone(),
                done: false,
            };
            async move {
                match start(starter).await {
                    Ok(worker) => {
                        let pid = worker.child_pid();
                        report.up(worker);
                        Ok(pid)
                    }
                    Err(why) => {
                        report.failed(why.clone());
                        Err(why)
                    }
                }
            }
        };
        ChildSpec::worker(id(place), start).shutdown(self.shutdown)
    }
}

impl<W: Worker> PoolServer<W> {
    /// Does what the desk says.
    fn obey(&mut self, cx: &Context<Self>) {
        for order in self.desk.orders() {
            match order {
                Order::Grant { to, place, loan } => {
                    // Without a worker the answer is dropped; a place that is lent has one.
                    if let Some(worker) = self.workers.get(&place).cloned() {
                        let pool = cx.this().recipient();
                        let _back = GiveBack { loan, pool };
                        to.reply(Ok(Checkout { worker, _back }));
                    }
                }
                Order::Refuse(to) => to.reply(Err(PoolError::Full)),
                Order::Fail { to, why } => to.reply(Err(PoolError::NotStarted(why))),
                Order::Start(place) => {
                    let spec = self.plan.child(place, cx.this());
                    // What became of it is reported by the start itself.
                    let spec = spec.restart(Restart::Temporary);
                    drop(self.supervisor.start_child(spec));
                }
                Order::Stop(place) => {
                    self.workers.remove(&place);
                    drop(self.supervisor.terminate_child(&id(place)));
                }
                Order::Watch(borrower) => {
                    let monitor = cx.monitor(borrower);
                    self.monitors.insert(monitor, Watched::Borrower);
                    self.borrowers.insert(borrower, monitor);
                }
                Order::Unwatch(borrower) => {
                    if let Some(monitor) = self.borrowers.remove(&borrower) {
                        self.monitors.remove(&monitor);
                        cx.demonitor(monitor);
                    }
                }
            }
        }
    }
}

impl<W: Worker> GenServer for PoolServer<W> {
    type Args = Plan<W>;

    async fn init(plan: Plan<W>, cx: &mut Context<Self>) -> Result<Self, InitStop> {
        // The end of the supervisor is the end of the pool, and the other way round, in order.
        cx.trap_exit(true);
        let this = cx.this();
        let supervisor = Supervisor::new(Strategy::OneForOne)
            .intensity(plan.intensity)
            .period(plan.period)
            .children((0..plan.size as u64).map(|place| plan.child(place, this.clone())))
            .start_link(cx)
            .await
            .map_err(|error| InitStop::Stop(error.into_reason()))?;
        Ok(PoolServer {
            desk: Desk::new(plan.size, plan.overflow, plan.max_waiting),
            plan,
            supervisor,
            workers: HashMap::new(),
            monitors: HashMap::new(),
            borrowers: HashMap::new(),
        })
    }

    async fn handle_down(&mut self, down: Down, cx: &mut Context<Self>) {
        match self.monitors.remove(&down.monitor) {
            Some(Watched::Worker(place)) => {
                let current = self.workers.get(&place);
                if current.is_some_and(|worker| worker.child_pid() == down.pid) {
                    self.workers.remove(&place);
                }
                self.desk.down(place, down.pid, down.reason);
            }
            Some(Watched::Borrower) => {
                self.borrowers.remove(&down.pid);
                self.desk.borrower_down(down.pid, &cx.system());
            }
            None => return,
        }
        self.obey(cx);
    }

    async fn handle_exit(&mut self, exit: Exit, cx: &mut Context<Self>) {
        if exit.from == Some(self.supervisor.pid()) {
            cx.stop(exit.reason);
        }
    }

    async fn terminate(&mut self, _: ExitReason, _: &mut Context<Self>) {
        // One that is gone already has stopped.
        let _ = self.supervisor.stop(ExitReason::Shutdown(None)).await;
    }
}

struct CheckOut {
    borrower: Option<Pid>,
    timeout: Option<Duration>,
}

impl<W: Worker> HandleRequest<CheckOut> for PoolServer<W> {
    type Reply = Result<Checkout<W>, PoolError>;

    async fn handle_request(&mut self, m: CheckOut, reply: Answer<W>, cx: &mut Context<Self>) {
        let system = cx.system();
        // The borrower's own timeout runs from its request, so it gives up no later than this.
        let deadline = m
            .timeout
            .and_then(|timeout| system.now().checked_add(timeout));
        self.desk.check_out(reply, m.borrower, deadline, &system);
        self.obey(cx);
    }
}

struct CheckIn(Loan);

impl<W: Worker> HandleInfo<CheckIn> for PoolServer<W> {
    async fn handle_info(&mut self, CheckIn(loan): CheckIn, cx: &mut Context<Self>) {
        self.desk.check_in(loan, &cx.system());
        self.obey(cx);
    }
}

struct Up<W>(Place, W);

impl<W: Worker> HandleCast<Up<W>> for PoolServer<W> {
    async fn handle_cast(&mut self, Up(place, worker): Up<W>, cx: &mut Context<Self>) {
        let pid = worker.child_pid();
        self.workers.insert(place, worker);
        let monitor = cx.monitor(pid);
        self.monitors.insert(monitor, Watched::Worker(place));
        if !self.desk.up(place, pid, &cx.system()) {
            self.workers.remove(&place);
            drop(self.supervisor.terminate_child(&id(place)));
        }
        self.obey(cx);
    }
}

struct NotUp(Place, StartError);

impl<W: Worker> HandleCast<NotUp> for PoolServer<W> {
    async fn handle_cast(&mut self, NotUp(place, why): NotUp, cx: &mut Context<Self>) {
        self.desk.not_up(place, why);
        self.obey(cx);
    }
}

struct Status;

impl<W: Worker> HandleCall<Status> for PoolServer<W> {
    type Reply = PoolStatus;

    async fn handle_call(&mut self, _: Status, cx: &mut Context<Self>) -> PoolStatus {
        let figures = self.desk.figures(cx.system().now());
        self.obey(cx);
        PoolStatus {
            workers: figures.workers,
            free: figures.free,
            lent: figures.lent,
            overflow: figures.extra,
            waiting: figures.waiting,
        }
    }
}
