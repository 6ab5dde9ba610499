//! Timers with names, which outlive crashes of their targets and of the service itself.
//!
//! ```text
//!   TimerService (the builder, and every ChildSpec made of it)
//!        └── the schedule ◀── incarnation 1 ✝
//!                        ◀── incarnation 2: goes on where 1 was; what is overdue fires, once
//! ```
//! # What is durable, and what is not
//! - The schedule belongs to the builder, not to the process: the builder, its clones and each child spec
//!   made of it share one. A process that is restarted from that spec, by its supervisor or by one above
//!   it, finds all timers there. What ends the last of builder and specs ends the schedule.
//! - It is kept in memory. The end of the program, or of the system, is the end of all timers.
//! - One process has the schedule at a time, and one system for good: the start of a second, or in
//!   another system, fails with [`StartError::AlreadyStarted`] as its reason.
//! - A timer sends at most once for each time it is due: it leaves the schedule before its message is
//!   sent. Whether the target handles the message is the target's affair, as with every send.
//! - A message whose `Clone` panics ends the service, and the timer; the others stand.
//!
//! # Rules
//! - A name has one timer. A server can [`schedule`](TimerServiceRef::schedule) in its `init`, again in
//!   each incarnation: the second time it is told that the timer stands.
//! - Target a process by its name, and the timer finds whichever incarnation lives when it fires. A
//!   one-shot timer whose target has no process just then, because it is being restarted, looks again for a
//!   while ([`TimerService::patience`]); then its message is a dead letter. A repeating one skips that time.
//! - Repeating timers do not drift: they are due at multiples of their period, whenever they really fire.
//!   What was missed, because the service was down, fires once.
//! - A timer for one incarnation ([`Recipient`], [`ServerRef`], [`Pid`]) ends with it.
//! - Precision is that of the system's timers: never early, 1 ms. Nothing polls.

mod schedule;

use std::fmt;
use std::time::Duration;

use self::schedule::{Firing, Presence, Schedule, Timer, fire};
use super::handle::{Common, Request, service};
use crate::sync::{Arc, Mutex};
use crate::{
    Call, CallError, Context, GenServer, Handle, HandleCall, HandleInfo, InitStop, Named, Pid,
    Recipient, ServerRef, StartError, TimerRef,
};

/// Builds a timer service. Its clones, and the child specs made of it, share one schedule.
///
/// ```
/// use std::time::Duration;
/// use noex::prelude::*;
/// use noex::services::{TimerService, TimerServiceRef, Timing};
/// # struct Reports(std::sync::mpsc::Sender<&'static str>);
/// # #[derive(Clone)]
/// # struct Due(&'static str);
/// # impl GenServer for Reports {
/// #     type Args = std::sync::mpsc::Sender<&'static str>;
/// #     async fn init(to: Self::Args, _: &mut Context<Self>) -> Result<Self, InitStop> {
/// #         Ok(Reports(to))
/// #     }
/// # }
/// # impl HandleInfo<Due> for Reports {
/// #     async fn handle_info(&mut self, Due(what): Due, _: &mut Context<Self>) {
/// #         let _ = self.0.send(what);
/// #     }
/// # }
///
/// let system = System::new()?;
/// # let (to, due) = std::sync::mpsc::channel();
/// Supervisor::new(Strategy::OneForOne)
///     .child(TimerService::new().name("timers").child_spec("timers"))
///     .child(ChildSpec::server::<Reports>("reports", to).name("reports"))
///     .start(&system)
///     .wait()?;
/// let timers = TimerServiceRef::named(&system, "timers");
/// let reports = system.server::<Reports>("reports");
/// timers
///     .schedule("monthly report", reports, Due("monthly"), Timing::after(Duration::from_millis(2)))
///     .wait()
///     .unwrap();
/// assert_eq!(due.recv(), Ok("monthly"));
/// # Ok::<(), noex::Error>(())
/// ```
#[derive(Clone)]
pub struct TimerService {
    common: Common,
    patience: Duration,
    shared: Arc<Mutex<Shared>>,
}

/// What outlives the process. No code of a user runs under its lock.
struct Shared {
    schedule: Schedule<Job>,
    owner: Option<Pid>,
}

impl fmt::Debug for TimerService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimerService")
            .field("common", &self.common)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

impl Default for TimerService {
    fn default() -> Self {
        Self::new()
    }
}

impl TimerService {
    /// A service with an empty schedule.
    pub fn new() -> Self {
        TimerService {
            common: Common::default(),
            patience: Duration::from_secs(5),
            shared: Arc::new(Mutex::new(Shared {
                schedule: Schedule::new(),
                owner: None,
            })),
        }
    }

    /// How long a one-shot timer that is due waits for a target whose name nobody has, looking every
    /// 50 ms. Default: 5 s.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    fn args(&self) -> TimerArgs {
        TimerArgs {
            patience: self.patience,
            shared: self.shared.clone(),
        }
    }
}

service! {
    /// A handle on a timer service: cheap to clone, does not keep the service running.
    TimerServiceRef, TimerService, Timers, [], []
}

/// When a timer fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    first: Duration,
    period: Option<Duration>,
}

impl Timing {
    /// Once, after `time`.
    pub fn after(time: Duration) -> Self {
        Timing {
            first: time,
            period: None,
        }
    }

    /// Every `period`, at least 1 ms; for the first time after one.
    pub fn every(period: Duration) -> Self {
        let period = period.max(Duration::from_millis(1));
        Timing {
            first: period,
            period: Some(period),
        }
    }

    /// For the first time after `time` instead.
    pub fn first_after(mut self, time: Duration) -> Self {
        self.first = time;
        self
    }
}

mod sealed {
    use super::Presence;
    use crate::Handle;

    pub trait Target<M> {
        fn __presence(&self, system: &Handle) -> Presence2;
        fn __send(&self, system: &Handle, message: M);
        fn __describe(&self) -> String;
    }
    pub struct Presence2(pub(super) Presence);
}
use sealed::{Presence2, Target};

/// Where a timer can send an `M`: a process by its name (`&str`, `String`; a server gets the message
/// through its [`routes`](GenServer::routes)), a [`Named`] server, or one incarnation, by its
/// [`Recipient`], [`ServerRef`] or [`Pid`]. Sealed.
pub trait TimerTarget<M>: Target<M> + Send + 'static {}
impl<M, T: Target<M> + Send + 'static> TimerTarget<M> for T {}

fn one(alive: bool) -> Presence2 {
    Presence2(match alive {
        true => Presence::Here,
        false => Presence::Gone,
    })
}

fn by_name(here: bool) -> Presence2 {
    Presence2(match here {
        true => Presence::Here,
        false => Presence::Away,
    })
}

impl<M: Send + 'static> Target<M> for Recipient<M> {
    fn __presence(&self, _: &Handle) -> Presence2 {
        one(self.is_alive())
    }
    fn __send(&self, _: &Handle, message: M) {
        // What a full mailbox rejects is counted as rejected.
        let _ = self.send(message);
    }
    fn __describe(&self) -> String {
        self.pid().to_string()
    }
}

impl<S: HandleInfo<M>, M: Send + 'static> Target<M> for ServerRef<S> {
    fn __presence(&self, _: &Handle) -> Presence2 {
        one(self.is_alive())
    }
    fn __send(&self, _: &Handle, message: M) {
        let _ = self.send(message);
    }
    fn __describe(&self) -> String {
        self.pid().to_string()
    }
}

impl<S: HandleInfo<M>, M: Send + 'static> Target<M> for Named<S> {
    fn __presence(&self, _: &Handle) -> Presence2 {
        by_name(self.resolve().is_some())
    }
    fn __send(&self, _: &Handle, message: M) {
        let _ = self.send(message);
    }
    fn __describe(&self) -> String {
        self.name().to_string()
    }
}

impl<M: Send + 'static> Target<M> for Pid {
    fn __presence(&self, system: &Handle) -> Presence2 {
        one(system.is_alive(*self))
    }
    fn __send(&self, system: &Handle, message: M) {
        system.send(*self, message);
    }
    fn __describe(&self) -> String {
        self.to_string()
    }
}

/// A server that nobody starts: whoever sends to it by name has made a dead letter, which is counted
/// and seen as such.
struct Nobody;

impl GenServer for Nobody {
    type Args = ();
    async fn init(_: (), _: &mut Context<Self>) -> Result<Self, InitStop> {
        Err(InitStop::Ignore)
    }
}

impl<M: Send + 'static> HandleInfo<M> for Nobody {
    async fn handle_info(&mut self, _: M, _: &mut Context<Self>) {}
}

impl<M: Send + 'static> Target<M> for String {
    fn __presence(&self, system: &Handle) -> Presence2 {
        by_name(system.whereis(self).is_some())
    }
    fn __send(&self, system: &Handle, message: M) {
        match system.whereis(self) {
            Some(pid) => system.send(pid, message),
            None => {
                let _ = system.server::<Nobody>(self.as_str()).send(message);
            }
        }
    }
    fn __describe(&self) -> String {
        self.clone()
    }
}

impl<M: Send + 'static> Target<M> for &'static str {
    fn __presence(&self, system: &Handle) -> Presence2 {
        Target::<M>::__presence(&(*self).to_owned(), system)
    }
    fn __send(&self, system: &Handle, message: M) {
        (*self).to_owned().__send(system, message);
    }
    fn __describe(&self) -> String {
        (*self).to_owned()
    }
}

/// What a timer does, whatever its types.
trait Work: Send {
    fn presence(&self, system: &Handle) -> Presence;
    fn send(&self, system: &Handle);
}

struct Job {
    work: Box<dyn Work>,
    target: Arc<str>,
    message: &'static str,
}

struct Sending<T, M> {
    target: T,
    message: M,
}

impl<T: TimerTarget<M>, M: Clone + Send + 'static> Work for Sending<T, M> {
    fn presence(&self, system: &Handle) -> Presence {
        self.target.__presence(system).0
    }
    fn send(&self, system: &Handle) {
        self.target.__send(system, self.message.clone());
    }
}

/// A timer, as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScheduledTimer {
    /// Its name.
    pub name: Arc<str>,
    /// The name of its target, or the pid.
    pub target: Arc<str>,
    /// The type of its message.
    pub message: &'static str,
    /// How long until it fires. Zero: it is due, or waits for its target.
    pub due_in: Duration,
    /// How often it repeats; `None`: it fires once.
    pub period: Option<Duration>,
    /// How often it has fired.
    pub fired: u64,
}

/// Why nothing was scheduled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimerError {
    /// There is a timer of this name, which stays as it is.
    #[error("a timer named `{}` is scheduled", .0.name)]
    AlreadyScheduled(ScheduledTimer),
    /// The service gave no answer.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl TimerServiceRef {
    /// Schedules a timer under a name: `message` is sent to `target` as `timing` says. Once this is
    /// answered the timer survives a crash of the service.
    ///
    /// # Errors
    /// [`TimerError::AlreadyScheduled`]: the name has a timer, which stands. [`TimerError::Call`].
    pub fn schedule<T, M>(
        &self,
        name: impl Into<Arc<str>>,
        target: T,
        message: M,
        timing: Timing,
    ) -> Request<(), TimerError>
    where
        T: TimerTarget<M>,
        M: Clone + Send + 'static,
    {
        self.put(name.into(), target, message, timing, false)
    }

    /// As [`schedule`](Self::schedule), in place of the timer that has the name, if there is one.
    ///
    /// # Errors
    /// [`TimerError::Call`].
    pub fn reschedule<T, M>(
        &self,
        name: impl Into<Arc<str>>,
        target: T,
        message: M,
        timing: Timing,
    ) -> Request<(), TimerError>
    where
        T: TimerTarget<M>,
        M: Clone + Send + 'static,
    {
        self.put(name.into(), target, message, timing, true)
    }

    fn put<T, M>(
        &self,
        name: Arc<str>,
        target: T,
        message: M,
        timing: Timing,
        replace: bool,
    ) -> Request<(), TimerError>
    where
        T: TimerTarget<M>,
        M: Clone + Send + 'static,
    {
        let job = Job {
            target: target.__describe().into(),
            message: std::any::type_name::<M>(),
            work: Box::new(Sending { target, message }),
        };
        Request::sent(self.reach.call(Put {
            name,
            job,
            timing,
            replace,
        }))
    }

    /// Takes a timer back; whether there was one. Its message may be in the target's mailbox already.
    ///
    /// # Errors
    /// As for every call.
    pub fn cancel(&self, name: &str) -> Call<bool> {
        self.reach.call(Cancel(name.into()))
    }

    /// The timer of this name.
    ///
    /// # Errors
    /// As for every call.
    pub fn get(&self, name: &str) -> Call<Option<ScheduledTimer>> {
        self.reach.call(Get(name.into()))
    }

    /// All timers, the next due first.
    ///
    /// # Errors
    /// As for every call.
    pub fn list(&self) -> Call<Vec<ScheduledTimer>> {
        self.reach.call(List)
    }
}

#[doc(hidden)]
#[derive(Clone)]
pub struct TimerArgs {
    patience: Duration,
    shared: Arc<Mutex<Shared>>,
}

/// The process: it has one timer of the system armed, for whatever is due next.
#[doc(hidden)]
pub struct Timers {
    patience: Duration,
    shared: Arc<Mutex<Shared>>,
    armed: Option<(Duration, TimerRef)>,
}

impl Timers {
    fn fire_due(&mut self, cx: &Context<Self>) {
        let system = cx.system();
        let now = system.now();
        loop {
            let due = self.shared.lock().schedule.take_due(now);
            let Some((name, mut timer)) = due else { break };
            let presence = timer.job.work.presence(&system);
            let again = match fire(&timer, presence, now, self.patience) {
                Firing::Send(again) => {
                    timer.job.work.send(&system);
                    timer.fired += 1;
                    again
                }
                Firing::Later(again) => Some(again),
                Firing::Drop => None,
            };
            let Some(again) = again else { continue };
            timer.due = again;
            if timer.period.is_some() {
                timer.wanted = again;
            }
            let old = self.shared.lock().schedule.insert(name, timer);
            drop(old);
        }
        self.arm(cx);
    }

    /// Sees to it that the process wakes when the next timer is due.
    fn arm(&mut self, cx: &Context<Self>) {
        let next = self.shared.lock().schedule.next_due();
        if self.armed.map(|(due, _)| due) == next {
            return;
        }
        if let Some((_, timer)) = self.armed.take() {
            cx.cancel_timer(timer);
        }
        if let Some(due) = next {
            let after = due.saturating_sub(cx.system().now());
            self.armed = Some((due, cx.send_after(after, &cx.this(), Tick)));
        }
    }
}

fn describe(name: &Arc<str>, timer: &Timer<Job>, now: Duration) -> ScheduledTimer {
    ScheduledTimer {
        name: name.clone(),
        target: timer.job.target.clone(),
        message: timer.job.message,
        due_in: timer.wanted.saturating_sub(now),
        period: timer.period,
        fired: timer.fired,
    }
}

impl GenServer for Timers {
    type Args = TimerArgs;

    async fn init(args: TimerArgs, cx: &mut Context<Self>) -> Result<Self, InitStop> {
        let me = cx.pid();
        {
            let mut shared = args.shared.lock();
            match shared.owner {
                // Another system has another clock: its times mean nothing here.
                Some(owner) if owner.creation() != me.creation() || cx.system().is_alive(owner) => {
                    return Err(StartError::AlreadyStarted(owner).into_reason().into());
                }
                _ => shared.owner = Some(me),
            }
        }
        let mut timers = Timers {
            patience: args.patience,
            shared: args.shared,
            armed: None,
        };
        // What is overdue fires now, or rather once the service has started.
        timers.arm(cx);
        Ok(timers)
    }
}

struct Tick;

impl HandleInfo<Tick> for Timers {
    async fn handle_info(&mut self, _: Tick, cx: &mut Context<Self>) {
        self.armed = None;
        self.fire_due(cx);
    }
}

struct Put {
    name: Arc<str>,
    job: Job,
    timing: Timing,
    replace: bool,
}

impl HandleCall<Put> for Timers {
    type Reply = Result<(), TimerError>;

    async fn handle_call(&mut self, m: Put, cx: &mut Context<Self>) -> Self::Reply {
        let now = cx.system().now();
        let due = now.saturating_add(m.timing.first);
        let timer = Timer {
            job: m.job,
            due,
            period: m.timing.period,
            wanted: due,
            fired: 0,
        };
        let old = {
            let mut shared = self.shared.lock();
            let standing = shared.schedule.get(&m.name);
            match standing {
                Some(standing) if !m.replace => {
                    let standing = describe(&m.name, standing, now);
                    drop(shared);
                    return Err(TimerError::AlreadyScheduled(standing));
                }
                _ => shared.schedule.insert(m.name, timer),
            }
        };
        drop(old);
        self.arm(cx);
        Ok(())
    }
}

struct Cancel(Box<str>);

impl HandleCall<Cancel> for Timers {
    type Reply = bool;

    async fn handle_call(&mut self, Cancel(name): Cancel, cx: &mut Context<Self>) -> bool {
        let cancelled = self.shared.lock().schedule.remove(&name);
        self.arm(cx);
        cancelled.is_some()
    }
}

struct Get(Box<str>);

impl HandleCall<Get> for Timers {
    type Reply = Option<ScheduledTimer>;

    async fn handle_call(&mut self, Get(name): Get, cx: &mut Context<Self>) -> Self::Reply {
        let now = cx.system().now();
        let shared = self.shared.lock();
        let timer = shared.schedule.get(&name)?;
        Some(describe(&Arc::from(name), timer, now))
    }
}

struct List;

impl HandleCall<List> for Timers {
    type Reply = Vec<ScheduledTimer>;

    async fn handle_call(&mut self, _: List, cx: &mut Context<Self>) -> Self::Reply {
        let now = cx.system().now();
        let shared = self.shared.lock();
        let timers = shared.schedule.iter();
        timers
            .map(|(name, timer)| describe(name, timer, now))
            .collect()
    }
}
