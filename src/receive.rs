//! Processes that receive by themselves: hand-written state machines ([`Process`]) and `async`
//! closures with an [`Inbox`].

use std::collections::VecDeque;
use std::future::Future;
use std::marker::PhantomData;
use std::ops::Deref;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use crate::error::{SpawnError, StartError};
use crate::exit::ExitReason;
use crate::gen_server::{AnyMessage, Recipient};
use crate::process::bounded::Next;
use crate::process::call::{note_other_wait, own_turn};
use crate::process::cell::{Cell, CellVtable, Extra, Step};
use crate::process::context::{ProcessContext, Sleep};
use crate::process::deliver::{AbortOnDrop, guard};
use crate::process::envelope;
use crate::process::node::{Discard, Kind};
use crate::process::passed::{Passed, PassedOver};
use crate::process::pid::MonitorRef;
use crate::process::signal::{Content, Down, Exit, Notice, SystemNode};
use crate::process::spawn::{SpawnOptions, Ties, Unborn, make};
use crate::process::waker;
use crate::registry::Name;
use crate::sched::core::CoreRef;
use crate::sched::stats::Count;
use crate::sched::timers;
use crate::sched::worker::{Worker, here};
use crate::sync::atomic::Ordering::Relaxed;
use crate::sync::{Arc, UnsafeCell};

/// What a process that receives by itself finds in its mailbox.
#[derive(Debug)]
#[non_exhaustive]
pub enum Received<M> {
    /// A message.
    Message(M),
    /// A monitored process is gone.
    Down(Down),
    /// A trapped exit signal.
    Exit(Exit),
    /// A message of another type, sent to the bare pid. (One of type `M` comes as `Message`.)
    Any(AnyMessage),
}

/// A process as a hand-written state machine: polled when messages or signals arrive, or when its
/// waker is called. The lowest layer of noex.
///
/// ```
/// use std::pin::Pin;
/// use std::task::{Context, Poll};
/// use noex::{ExitReason, Inbox, Process, Received, System};
///
/// struct Sum(u64, std::sync::mpsc::Sender<u64>);
///
/// impl Process for Sum {
///     type Message = u64;
///     fn poll(mut self: Pin<&mut Self>, inbox: &mut Inbox<u64>, _: &mut Context<'_>) -> Poll<ExitReason> {
///         while let Some(received) = inbox.try_recv() {
///             match received {
///                 Received::Message(0) => {
///                     let _ = self.1.send(self.0);
///                     return Poll::Ready(ExitReason::Normal);
///                 }
///                 Received::Message(n) => self.0 += n,
///                 _ => {}
///             }
///         }
///         Poll::Pending
///     }
/// }
///
/// let system = System::new()?;
/// let (send, receive) = std::sync::mpsc::channel();
/// let sum = system.spawn_process(Sum(0, send))?;
/// for n in [1, 2, 3, 0] {
///     sum.send(n)?;
/// }
/// assert_eq!(receive.recv(), Ok(6));
/// # Ok::<(), noex::Error>(())
/// ```
pub trait Process: 'static {
    /// The type of message it takes.
    type Message: Send + 'static;

    #[doc(hidden)]
    const RECEIVES_BY_AWAIT: bool = false;

    /// Goes on as far as it can. Receive with [`Inbox::try_recv`] until it gives `None`, or until the
    /// state machine waits for something else; what is left in the mailbox is kept, and the next
    /// arrival polls again. `Ready` ends the process.
    fn poll(
        self: Pin<&mut Self>,
        inbox: &mut Inbox<Self::Message>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<ExitReason>;
}

/// What a process function returns: its exit reason.
pub trait IntoExit {
    /// The reason.
    fn into_exit(self) -> ExitReason;
}

impl IntoExit for () {
    fn into_exit(self) -> ExitReason {
        ExitReason::Normal
    }
}

impl IntoExit for ExitReason {
    fn into_exit(self) -> ExitReason {
        self
    }
}

#[allow(unreachable_pub)] // named by a public `impl`, and by nothing else
mod never {
    /// Names `!`, which stable Rust has no other way to name.
    pub trait Returns {
        type Value;
    }
    impl<T> Returns for fn() -> T {
        type Value = T;
    }
    pub type Never = <fn() -> ! as Returns>::Value;
}

/// A process that loops for ever.
impl IntoExit for never::Never {
    fn into_exit(self) -> ExitReason {
        self
    }
}

impl<E: Into<Box<dyn std::error::Error + Send + Sync>>> IntoExit for Result<(), E> {
    fn into_exit(self) -> ExitReason {
        match self {
            Ok(()) => ExitReason::Normal,
            Err(error) => ExitReason::error(error),
        }
    }
}

/// The mailbox of a process that receives messages of type `M` by itself, and, by dereference, its
/// [`ProcessContext`].
///
/// # Panics
/// As for [`ProcessContext`]: used outside the process's own turn.
pub struct Inbox<M> {
    process: ProcessContext,
    /// Received, but passed over by a selective receive: oldest first.
    saved: VecDeque<Received<M>>,
    /// What others know of them, once there have been any.
    passed_over: Option<Arc<PassedOver>>,
    core: CoreRef,
    message: PhantomData<fn() -> M>,
}

// SAFETY: a shared reference gives access to the context alone, which checks each use; the saved
// messages are reached through `&mut` only (but for their number).
unsafe impl<M: Send> Sync for Inbox<M> {}

impl<M> std::fmt::Debug for Inbox<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbox")
            .field("saved", &self.saved.len())
            .finish_non_exhaustive()
    }
}

impl<M> Deref for Inbox<M> {
    type Target = ProcessContext;
    fn deref(&self) -> &ProcessContext {
        &self.process
    }
}

impl<M> Drop for Inbox<M> {
    fn drop(&mut self) {
        if self.saved.is_empty() {
            return;
        }
        // Wherever this happens: the process may live on, or be gone.
        let passed_over = self.passed_over.as_ref();
        let mut passed = passed_over.map_or_else(VecDeque::new, |passed_over| passed_over.close());
        let pid = self.process.owner();
        while let Some(message) = self.saved.pop_front() {
            if passed.pop_front() == Some(Passed::Flushed) {
                continue;
            }
            self.core.count(Count::Undelivered, 1);
            let name = match &message {
                Received::Message(_) => std::any::type_name::<M>(),
                Received::Any(any) => any.type_name(),
                Received::Down(_) | Received::Exit(_) => SystemNode::TYPE_NAME,
            };
            self.core.hooks.dead_letter(Some(pid), name, Discard::Dead);
            guard(move || drop(message));
        }
    }
}

impl<M: Send + 'static> Inbox<M> {
    fn new(cell: &Cell) -> Self {
        Inbox {
            process: ProcessContext::of(cell),
            saved: VecDeque::new(),
            passed_over: None,
            core: cell.core.clone(),
            message: PhantomData,
        }
    }

    /// This process as a recipient of its messages.
    pub fn this(&self) -> Recipient<M> {
        let cell = self.process.cell().this();
        // SAFETY: the running process's cell is alive, and takes plain messages of type `M`.
        unsafe { Recipient::new(crate::process::turn::reference(cell), envelope::plain::<M>) }
    }

    /// The next message, if one is here.
    ///
    /// `None` also if one is here but the process's turn is over first: its budget is spent, or a
    /// signal is to act before the next message. A state machine returns `Pending` then and is polled
    /// again; an `async` process goes on at its next `.await`, where [`recv`](Self::recv) has the
    /// message. (OTP preempts, and its `receive .. after 0` does not know such a case.)
    pub fn try_recv(&mut self) -> Option<Received<M>> {
        self.take(&mut |_| true, &mut 0).ok()
    }

    /// Waits for the next message. Cancel-safe: dropped before it is ready it has taken nothing.
    pub fn recv(&mut self) -> impl Future<Output = Received<M>> + Send + use<'_, M>
    where
        M: Send,
    {
        let mut receive = Receive {
            inbox: self,
            wanted: |_: &Received<M>| true,
            scanned: 0,
        };
        std::future::poll_fn(move |cx| receive.poll(cx))
    }

    /// As [`recv`](Self::recv), for at most `timeout`; `None`: nothing came. OTP: `receive .. after`.
    pub fn recv_timeout(
        &mut self,
        timeout: Duration,
    ) -> impl Future<Output = Option<Received<M>>> + Send + use<'_, M> {
        self.recv_match_timeout(timeout, |_| true)
    }

    /// Waits for the first message for which `wanted` says yes; the others keep their places. OTP: a
    /// `receive` with patterns. Looks through all that is queued: takes time with their number.
    pub fn recv_match<F>(
        &mut self,
        wanted: F,
    ) -> impl Future<Output = Received<M>> + Send + use<'_, M, F>
    where
        F: FnMut(&Received<M>) -> bool + Send,
    {
        let mut receive = Receive {
            inbox: self,
            wanted,
            scanned: 0,
        };
        std::future::poll_fn(move |cx| receive.poll(cx))
    }

    /// As [`recv_match`](Self::recv_match), for at most `timeout`. With a zero timeout it looks
    /// through the mailbox once.
    pub fn recv_match_timeout<F>(
        &mut self,
        timeout: Duration,
        wanted: F,
    ) -> impl Future<Output = Option<Received<M>>> + Send + use<'_, M, F>
    where
        F: FnMut(&Received<M>) -> bool + Send,
    {
        let core = self.process.core().clone();
        let at = timers::due_in(&core, timeout);
        let mut sleep = Sleep::until(core, at);
        let mut receive = Receive {
            inbox: self,
            wanted,
            scanned: 0,
        };
        std::future::poll_fn(move |cx| {
            match receive.look(cx) {
                Ok(received) => return Poll::Ready(Some(received)),
                // The time is not over before all that is here was looked at.
                Err(Empty::NotNow) => return Poll::Pending,
                Err(Empty::Nothing) => {}
            }
            Pin::new(&mut sleep).poll(cx).map(|()| None)
        })
    }

    /// Takes the first message that is wanted. `scanned` of the saved ones were looked at before.
    fn take(
        &mut self,
        wanted: &mut dyn FnMut(&Received<M>) -> bool,
        scanned: &mut usize,
    ) -> Result<Received<M>, Empty> {
        let worker = here();
        while *scanned < self.saved.len() {
            let passed_over = self.passed_over.as_ref();
            if passed_over.is_some_and(|passed_over| passed_over.remove_flushed(*scanned)) {
                self.saved.remove(*scanned);
                continue;
            }
            if wanted(&self.saved[*scanned]) {
                if let Some(received) = self.saved.remove(*scanned) {
                    if let Some(passed_over) = &self.passed_over {
                        passed_over.remove(*scanned);
                    }
                    if let Some(worker) = worker {
                        worker.count_handled();
                    }
                    return Ok(received);
                }
            }
            *scanned += 1;
        }
        let cell = self.process.cell();
        let Some(worker) = worker else {
            return Err(Empty::Nothing);
        };
        loop {
            // SAFETY: in the process's turn.
            if !unsafe { has_mail(cell) } {
                return Err(Empty::Nothing);
            }
            if cell.urgent.load(Relaxed) || !worker.charge() {
                return Err(Empty::NotNow);
            }
            let Some(received) = self.open_next(cell, worker) else {
                continue;
            };
            let lost = AbortOnDrop(&self.core);
            let take = wanted(&received);
            std::mem::forget(lost);
            if take {
                worker.count_handled();
                return Ok(received);
            }
            self.save(received);
            *scanned = self.saved.len();
        }
    }

    fn save(&mut self, received: Received<M>) {
        let passed = match &received {
            Received::Down(down) => Passed::Down(down.monitor),
            Received::Exit(exit) => Passed::Exit(exit.from),
            Received::Message(_) | Received::Any(_) => Passed::Message,
        };
        let process = &self.process;
        let passed_over = self.passed_over.get_or_insert_with(|| {
            let passed_over = Arc::<PassedOver>::default();
            process.extra().passed_over = Some(passed_over.clone());
            passed_over
        });
        passed_over.push(passed);
        self.saved.push_back(received);
    }

    /// Opens the next envelope; `None`: it was nothing for the process.
    fn open_next(&mut self, cell: &Cell, worker: &Worker) -> Option<Received<M>> {
        // SAFETY: in the process's turn.
        let own = unsafe { cell.own() };
        let node = match (own.inbox.pop_front(), &cell.bounded) {
            (Some(node), _) => node,
            (None, None) => return None,
            (None, Some(bounded)) => match bounded.next() {
                Next::Message(node) => node,
                Next::Nothing => return None,
                Next::Signal => {
                    // To be taken in before the next message (its sender may not have said so yet).
                    cell.urgent.store(true, Relaxed);
                    return None;
                }
            },
        };
        // SAFETY: taken out of the mailbox, so ours, in each arm.
        unsafe {
            let vtable = (*node).vtable;
            worker
                .core()
                .record(|| format!("receive {} {}", cell.pid(), (vtable.type_name)()));
            match vtable.kind {
                Kind::Plain => return Some(Received::Message(envelope::open_typed(node))),
                Kind::Any => {
                    let message = AnyMessage(envelope::open_any(node), (vtable.type_name)());
                    return Some(match message.downcast::<M>() {
                        Ok(message) => Received::Message(message),
                        Err(other) => Received::Any(other),
                    });
                }
                Kind::Notice => match SystemNode::open(node) {
                    Content::Notice(Notice::Down(down))
                        if own.extra().monitoring.remove(&down.monitor).is_some() =>
                    {
                        return Some(Received::Down(down));
                    }
                    Content::Notice(Notice::Exit(exit)) => return Some(Received::Exit(exit)),
                    Content::Notice(Notice::Stop { reason }) => {
                        if own.trap_exit {
                            return Some(Received::Exit(Exit {
                                from: None,
                                reason,
                                parent: true,
                            }));
                        }
                        own.extra().stop.get_or_insert(reason);
                    }
                    _ => {}
                },
                Kind::Handler | Kind::System | Kind::Signal => {
                    (vtable.discard)(node, Discard::Dead);
                }
            }
        }
        worker.count_handled();
        None
    }
}

/// Why there is no message.
enum Empty {
    Nothing,
    /// There may be one, but the turn is over first.
    NotNow,
}

struct Receive<'a, M, F> {
    inbox: &'a mut Inbox<M>,
    wanted: F,
    scanned: usize,
}

impl<M: Send + 'static, F: FnMut(&Received<M>) -> bool> Receive<'_, M, F> {
    fn poll(&mut self, cx: &mut TaskContext<'_>) -> Poll<Received<M>> {
        self.look(cx).map_or(Poll::Pending, Poll::Ready)
    }

    /// Takes the first wanted message, or sees to it that the process is woken.
    fn look(&mut self, cx: &mut TaskContext<'_>) -> Result<Received<M>, Empty> {
        let empty = match self.inbox.take(&mut self.wanted, &mut self.scanned) {
            Ok(received) => return Ok(received),
            Err(empty) => empty,
        };
        if let Some(worker) = here() {
            match empty {
                Empty::Nothing => worker.turn.listens.set(true),
                Empty::NotNow => {
                    worker.turn.yielded.set(true);
                    cx.waker().wake_by_ref();
                }
            }
        }
        note_other_wait(cx);
        if own_turn(cx).is_none() {
            // Polled by a combinator that wants its own waker called when mail comes.
            self.inbox.process.extra().receiver = Some(waker::waiter(cx.waker()));
        }
        Err(empty)
    }
}

/// The body of a process that receives by itself.
struct ReceiverBody<P: Process> {
    process: UnsafeCell<P>,
    inbox: UnsafeCell<Option<Inbox<P::Message>>>,
}

impl<P: Process> ReceiverBody<P> {
    const VTABLE: CellVtable = CellVtable {
        show: |_| None,
        step: step::<P>,
        panicked: |_, _, reason| Some(reason),
        drop_body: |cell| {
            // SAFETY: called once, by the dying turn; the body is not used afterwards.
            unsafe { Cell::body::<ReceiverBody<P>>(cell).drop_in_place() }
        },
        dealloc: |cell| {
            // SAFETY: allocated with this body, which is gone.
            unsafe { Cell::dealloc::<ReceiverBody<P>>(cell) }
        },
        serves: false,
        type_name: std::any::type_name::<P>,
        type_id: std::any::TypeId::of::<P::Message>,
    };
}

unsafe fn step<P: Process>(this: NonNull<Cell>, worker: &Worker) -> Step {
    // SAFETY: throughout: the running turn of this process, and nobody else refers to its body.
    unsafe {
        let cell = this.as_ref();
        let body = Cell::body::<ReceiverBody<P>>(this);
        let inbox = (*body)
            .inbox
            .with_mut(|inbox| (*inbox).get_or_insert_with(|| Inbox::new(cell)));
        loop {
            if let Some(extra) = cell.own().extra.as_mut() {
                if let Some(reason) = extra.stop.clone() {
                    return Step::Exit(reason);
                }
            }
            if worker.is_spent() {
                return Step::Yield;
            }
            wake_receiver(cell);
            worker.turn.woken.set(false);
            worker.turn.listens.set(false);
            worker.begin_poll();
            let before = worker.turn.budget.get();
            let waker = waker::borrowed(cell);
            let mut cx = TaskContext::from_waker(&waker);
            let polled = (*body)
                .process
                .with_mut(|process| Pin::new_unchecked(&mut *process).poll(inbox, &mut cx));
            if let Poll::Ready(reason) = polled {
                return Step::Exit(reason);
            }
            let took = worker.turn.budget.get() < before;
            if !took {
                // To be polled for something else than a message costs as much as one.
                let _within = worker.charge();
            }
            if cell
                .own()
                .extra
                .as_ref()
                .is_some_and(|extra| extra.stop.is_some())
            {
                continue;
            }
            if cell.urgent.load(Relaxed) {
                cell.urgent.store(false, Relaxed);
                return Step::TakeIn;
            }
            if P::RECEIVES_BY_AWAIT {
                // A receive in a combinator waits for mail until its waker was called, whether or not it
                // was polled just now.
                let receives = |extra: &Extra| extra.receiver.is_some();
                let listens =
                    worker.turn.listens.get() || cell.own().extra.as_deref().is_some_and(receives);
                return if listens { Step::Listen } else { Step::Park };
            }
            // A state machine is polled again as long as it takes messages and there are more.
            if !(took && has_mail(cell)) {
                return Step::Listen;
            }
        }
    }
}

/// Whether something is in the mailbox, taken in.
///
/// # Safety
/// The caller is the running turn of `cell`.
unsafe fn has_mail(cell: &Cell) -> bool {
    // SAFETY: as the caller promises.
    !unsafe { cell.own() }.inbox.is_empty() || cell.bounded.as_ref().is_some_and(|b| b.len() > 0)
}

/// Calls the waker of a receive that waits in a combinator, if there is mail for it. (Without mail it
/// must not be called: it may be the process's own, which then would never rest.)
///
/// # Safety
/// As for [`has_mail`].
unsafe fn wake_receiver(cell: &Cell) {
    // SAFETY: as the caller promises; `own` is let go before the waker runs.
    unsafe {
        let Some(extra) = cell.own().extra.as_mut() else {
            return;
        };
        let Some(receiver) = extra.receiver.take() else {
            return;
        };
        if has_mail(cell) {
            receiver.wake();
        } else {
            cell.own().extra().receiver = Some(receiver);
        }
    }
}

/// An `async` closure as a process.
struct Running<M, B, F> {
    state: State<B, F>,
    message: PhantomData<fn(M)>,
}

enum State<B, F> {
    /// Not called yet: its code shall run as the process.
    New(Option<B>),
    Future(F),
}

impl<M, B, F, R> Process for Running<M, B, F>
where
    M: Send + 'static,
    B: FnOnce(Inbox<M>) -> F + 'static,
    F: Future<Output = R> + 'static,
    R: IntoExit,
{
    type Message = M;
    const RECEIVES_BY_AWAIT: bool = true;

    fn poll(
        self: Pin<&mut Self>,
        inbox: &mut Inbox<M>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<ExitReason> {
        // SAFETY: the future is structurally pinned: once it is in `state` it is neither moved nor
        // replaced until it is dropped with `self`. `New` is not pinned.
        let state = unsafe { &mut self.get_unchecked_mut().state };
        if let State::New(run) = state {
            let Some(run) = run.take() else {
                return Poll::Ready(ExitReason::Normal);
            };
            let inbox = Inbox::new(inbox.process.cell());
            *state = State::Future(run(inbox));
        }
        let State::Future(future) = state else {
            return Poll::Pending;
        };
        // SAFETY: as above.
        unsafe { Pin::new_unchecked(future) }
            .poll(cx)
            .map(IntoExit::into_exit)
    }
}

/// Starts an `async` closure as a process.
pub(crate) fn spawn<M, F, R>(
    core: &CoreRef,
    options: &SpawnOptions,
    ties: Ties,
    run: impl FnOnce(Inbox<M>) -> F + 'static,
) -> Result<(Recipient<M>, Option<MonitorRef>), SpawnError>
where
    M: Send + 'static,
    F: Future<Output = R> + 'static,
    R: IntoExit,
{
    spawn_process(
        core,
        options,
        ties,
        Running {
            state: State::New(Some(run)),
            message: PhantomData,
        },
    )
}

/// As [`spawn`], under a name before it runs; `prepare` is given the process then.
pub(crate) fn spawn_named<M, F, R>(
    core: &CoreRef,
    options: &SpawnOptions,
    ties: Ties,
    name: Option<&Name>,
    run: impl FnOnce(Inbox<M>) -> F + 'static,
    prepare: impl FnOnce(&mut Unborn),
) -> Result<Recipient<M>, StartError>
where
    M: Send + 'static,
    F: Future<Output = R> + 'static,
    R: IntoExit,
{
    let mut unborn = Name::give(name, conceive_async(core, options, ties, run)?)?;
    prepare(&mut unborn);
    // SAFETY: the process takes plain messages of that type.
    Ok(unsafe { Recipient::new(unborn.bear(), envelope::plain::<M>) })
}

/// Makes a process of an `async` closure, which does not run yet.
pub(crate) fn conceive_async<M, F, R>(
    core: &CoreRef,
    options: &SpawnOptions,
    ties: Ties,
    run: impl FnOnce(Inbox<M>) -> F + 'static,
) -> Result<Unborn, SpawnError>
where
    M: Send + 'static,
    F: Future<Output = R> + 'static,
    R: IntoExit,
{
    let process = Running {
        state: State::New(Some(run)),
        message: PhantomData,
    };
    conceive(core, options, ties, process)
}

/// Starts a process that receives by itself. The caller vouches for `Send`, unless it is local.
pub(crate) fn spawn_process<P: Process>(
    core: &CoreRef,
    options: &SpawnOptions,
    ties: Ties,
    process: P,
) -> Result<(Recipient<P::Message>, Option<MonitorRef>), SpawnError> {
    let unborn = conceive(core, options, ties, process)?;
    let monitor = unborn.monitor;
    // SAFETY: the process takes plain messages of that type.
    let recipient = unsafe { Recipient::new(unborn.bear(), envelope::plain::<P::Message>) };
    Ok((recipient, monitor))
}

/// Makes the process, which does not run yet.
pub(crate) fn conceive<P: Process>(
    core: &CoreRef,
    options: &SpawnOptions,
    ties: Ties,
    process: P,
) -> Result<Unborn, SpawnError> {
    let body = ReceiverBody {
        process: UnsafeCell::new(process),
        inbox: UnsafeCell::new(None),
    };
    // SAFETY: the vtable is for this body.
    let unborn = unsafe {
        make(
            core,
            const { &ReceiverBody::<P>::VTABLE },
            body,
            options,
            ties,
            None,
        )
    };
    unborn.map_err(|_| SpawnError)
}
