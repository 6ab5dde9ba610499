//! The body of a server's process: which envelope is opened next, and what happens around it.
//!
//! # Invariants
//! 1. `state` is a value from the moment `init` succeeded (`phase` leaves `Init`) until the body is
//!    dropped.
//! 2. While a handler's future lives (`own.current` is not null) nobody else refers to `state` or
//!    `cx`: the step that finds such a future only resumes or aborts it.

use std::future::Future;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::ptr::{self, NonNull};

use super::{AnyMessage, Context, GenServer, InitStop, Routes};
use crate::error::StartError;
use crate::exit::ExitReason;
use crate::hooks::Event;
use crate::process::ask::Ask;
use crate::process::bounded::Next;
use crate::process::cell::{Cell, CellVtable, Extra, Step};
use crate::process::deliver::AbortOnDrop;
use crate::process::node::{Kind, Node, Progress, Stage};
use crate::process::signal::{Content, Notice, SystemNode};
use crate::process::sys::{self, SysAction};
use crate::process::{cycle, death, envelope};
use crate::sched::stats::Count;
use crate::sched::worker::Worker;
use crate::sync::UnsafeCell;
use crate::sync::atomic::Ordering::Relaxed;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// `init` has not succeeded (yet).
    Init,
    Running,
    /// `terminate` runs.
    Stopping,
    /// `terminate` has run.
    Stopped,
}

pub(crate) struct ServerBody<S> {
    cx: UnsafeCell<Context<S>>,
    phase: std::cell::Cell<Phase>,
    state: UnsafeCell<MaybeUninit<S>>,
}

/// State and context, for a handler about to be called.
///
/// # Safety
/// `body` is that of the process whose turn it is, its state is there, and no handler's future lives.
#[inline(always)]
pub(crate) unsafe fn parts<S: GenServer>(
    body: *mut ServerBody<S>,
) -> (&'static mut S, &'static mut Context<S>) {
    // SAFETY: as the caller promises; the references go into the one handler's future, which is
    // dropped before the body.
    unsafe {
        let state = (*body).state.with_mut(|state| &mut *state.cast::<S>());
        let cx = (*body).cx.with_mut(|cx| &mut *cx);
        (state, cx)
    }
}

/// Takes the state out. Until [`put_state`] there is none: should the process end, it is as if `init` had
/// failed.
///
/// # Safety
/// As for [`parts`].
pub(crate) unsafe fn take_state<S: GenServer>(body: *mut ServerBody<S>) -> S {
    // SAFETY: as the caller promises; the phase says from here on that it is gone.
    unsafe {
        (*body).phase.set(Phase::Init);
        (*body).state.with_mut(|state| (*state).assume_init_read())
    }
}

/// Puts a state where there is none, and the server runs.
///
/// # Safety
/// In the process's turn, and there is no state.
pub(crate) unsafe fn put_state<S: GenServer>(body: *mut ServerBody<S>, state: S) {
    // SAFETY: as the caller promises; nobody refers to the state before `Running`.
    unsafe {
        (*body).state.with_mut(|slot| (*slot).write(state));
        (*body).phase.set(Phase::Running);
    }
}

impl<S: GenServer> ServerBody<S> {
    pub(crate) const VTABLE: CellVtable = CellVtable {
        step: step::<S>,
        panicked: panicked::<S>,
        drop_body: drop_body::<S>,
        show: show::<S>,
        dealloc: |cell| {
            // SAFETY: allocated with this body, which is gone.
            unsafe { Cell::dealloc::<ServerBody<S>>(cell) }
        },
        serves: true,
        type_name: std::any::type_name::<S>,
        type_id: std::any::TypeId::of::<S>,
    };

    pub(crate) fn new() -> Self {
        ServerBody {
            cx: UnsafeCell::new(Context::new()),
            phase: std::cell::Cell::new(Phase::Init),
            state: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }

    /// The first envelope: `init`, which answers whoever starts the server.
    pub(crate) fn init(args: S::Args) -> NonNull<Ask<Result<(), StartError>>> {
        envelope::call(args, |body: *mut ServerBody<S>, args| async move {
            // The state is not there yet, but the context is.
            // SAFETY: opened in the process's turn, before any handler; the reference dies with this
            // future.
            let cx = unsafe { (*body).cx.with_mut(|cx| &mut *cx) };
            match S::init(args, cx).await {
                Ok(state) => {
                    // SAFETY: in the process's turn; there was none before.
                    unsafe { put_state(body, state) };
                    Ok(())
                }
                Err(stop) => {
                    // SAFETY: as above.
                    let cx = unsafe { (*body).cx.with_mut(|cx| &mut *cx) };
                    match stop {
                        InitStop::Ignore => {
                            cx.stop(ExitReason::Normal);
                            Err(StartError::Ignore)
                        }
                        InitStop::Stop(reason) => {
                            cx.stop(reason.clone());
                            Err(StartError::Init(reason))
                        }
                    }
                }
            }
        })
    }
}

unsafe fn drop_body<S: GenServer>(cell: NonNull<Cell>) {
    // SAFETY: called once, by the dying turn, when no handler's future lives.
    unsafe {
        let body = Cell::body::<ServerBody<S>>(cell);
        if (*body).phase.replace(Phase::Init) != Phase::Init {
            (*body).state.with_mut(|state| (*state).assume_init_drop());
        }
    }
}

unsafe fn show<S: GenServer>(cell: NonNull<Cell>) -> Option<String> {
    // SAFETY: called in the process's turn, when no handler's future lives.
    unsafe {
        let body = Cell::body::<ServerBody<S>>(cell);
        ((*body).phase.get() != Phase::Init).then(|| parts(body).0.format_status())
    }
}

unsafe fn step<S: GenServer>(this: NonNull<Cell>, worker: &Worker) -> Step {
    // SAFETY: throughout: this is the running turn of the process, whose body is a `ServerBody<S>`;
    // `own` is taken anew for each use, as handlers use it; and no handler's future lives once
    // `current` is null (invariant 2).
    unsafe {
        let cell = this.as_ref();
        let body = Cell::body::<ServerBody<S>>(this);
        let waiting = cell.own().current;
        if !waiting.is_null() {
            if !worker.turn.woken.replace(false) {
                return Step::Stay;
            }
            if !worker.charge() {
                worker.turn.woken.set(true);
                return Step::Yield;
            }
            cycle::resumed(worker.core(), cell);
            worker.set_message(Some((*waiting).vtable));
            worker.begin_poll();
            match ((*waiting).vtable.resume)(waiting, body.cast()) {
                Progress::Waits => return Step::Park,
                Progress::Done => done(cell, worker, body),
            }
        }
        loop {
            let extra = cell.own().extra.as_deref();
            if extra.is_some_and(Extra::goes_ahead) {
                match ahead(cell, worker, body) {
                    Ahead::Nothing => {}
                    Ahead::Done => continue,
                    Ahead::Step(step) => return step,
                }
            }
            if cell.urgent.load(Relaxed) {
                cell.urgent.store(false, Relaxed);
                return Step::TakeIn;
            }
            if !worker.charge() {
                return Step::Yield;
            }
            let node = match &cell.bounded {
                None => cell.own().inbox.pop_front(),
                Some(bounded) => match cell.own().inbox.pop_front() {
                    Some(node) => Some(node),
                    None => match bounded.next() {
                        Next::Message(node) => Some(node),
                        Next::Nothing => None,
                        Next::Signal => return Step::TakeIn,
                    },
                },
            };
            let Some(node) = node else {
                return Step::Listen;
            };
            match dispatch(cell, worker, body, node) {
                Progress::Waits => return Step::Park,
                Progress::Done => {}
            }
        }
    }
}

/// What came ahead of the next message.
enum Ahead {
    Nothing,
    /// Something was handled; look again.
    Done,
    Step(Step),
}

/// Sees to what comes ahead of messages: the end of the server, what it wants to continue with, and that
/// it is suspended.
#[cold]
unsafe fn ahead<S: GenServer>(cell: &Cell, worker: &Worker, body: *mut ServerBody<S>) -> Ahead {
    // SAFETY: throughout: as in `step`.
    unsafe {
        let extra = cell.own().extra();
        let progress = if let Some(reason) = extra.stop.clone() {
            if (*body).phase.get() != Phase::Running {
                return Ahead::Step(Step::Exit(reason));
            }
            if !worker.charge() {
                return Ahead::Step(Step::Yield);
            }
            (*body).phase.set(Phase::Stopping);
            cell.own().uncounted = true;
            let (state, cx) = parts(body);
            run(cell, worker, body, async move {
                state.terminate(reason, cx).await
            })
        } else {
            let suspended = extra.sys.as_ref().is_some_and(|sys| sys.suspended);
            if extra.continues.is_empty() && !suspended {
                return Ahead::Nothing;
            }
            // One that goes on and on lets others run, and hears its signals.
            if cell.urgent.load(Relaxed) {
                cell.urgent.store(false, Relaxed);
                return Ahead::Step(Step::TakeIn);
            }
            if !worker.charge() {
                return Ahead::Step(Step::Yield);
            }
            match extra.continues.pop_front() {
                Some(node) => open(cell, worker, body, node),
                None => match sys::next(cell) {
                    Some(node) => dispatch(cell, worker, body, node),
                    None => return Ahead::Step(Step::Listen),
                },
            }
        };
        match progress {
            Progress::Waits => Ahead::Step(Step::Park),
            Progress::Done => Ahead::Done,
        }
    }
}

/// Opens an envelope whose vtable has the handler.
#[inline(always)]
unsafe fn open<S: GenServer>(
    cell: &Cell,
    worker: &Worker,
    body: *mut ServerBody<S>,
    node: *mut Node,
) -> Progress {
    // SAFETY: the running turn; the node is ours.
    unsafe {
        let own = cell.own();
        own.current = node;
        own.stage = Stage::Opened;
        let vtable = (*node).vtable;
        if let Some(extra) = own.extra.as_mut() {
            if vtable.kind == Kind::Handler {
                extra.timeout.disarm(worker.core());
                if extra.sys.is_some() {
                    observe(cell, SysAction::Got((vtable.type_name)()));
                }
            }
        }
        worker.set_message(Some(vtable));
        worker
            .core()
            .record(|| format!("handle  {} {}", cell.pid(), (vtable.type_name)()));
        worker.begin_poll();
        let progress = (vtable.start)(node, body.cast());
        if progress == Progress::Done {
            done(cell, worker, body);
        }
        progress
    }
}

/// Tells whoever watches the server.
///
/// # Safety
/// The running turn, and nobody refers to its `extra`.
#[cold]
unsafe fn observe(cell: &Cell, action: SysAction) {
    // SAFETY: as the caller promises.
    let extra = unsafe { cell.own() }.extra.as_mut();
    if let Some(sys) = extra.and_then(|extra| extra.sys.as_mut()) {
        sys.observe(cell, action);
    }
}

/// A handler is done and its envelope consumed.
#[inline(always)]
unsafe fn done<S: GenServer>(cell: &Cell, worker: &Worker, body: *mut ServerBody<S>) {
    // SAFETY: the running turn.
    let own = unsafe { cell.own() };
    own.current = ptr::null_mut();
    worker.set_message(None);
    if own.uncounted {
        own.uncounted = false;
        // SAFETY: the running turn. Only `terminate` is nobody's message.
        unsafe { (*body).phase.set(Phase::Stopped) };
        return;
    }
    worker.count_handled();
    if let Some(extra) = own.extra.as_mut() {
        if extra.timeout.is_active() {
            extra.timeout.arm(worker.core(), cell);
        }
        if extra.sys.is_some() {
            // SAFETY: the running turn; `extra` is not used any more.
            unsafe { observe(cell, SysAction::Done) };
        }
    }
}

/// Opens whatever comes next in the mailbox.
#[inline(always)]
unsafe fn dispatch<S: GenServer>(
    cell: &Cell,
    worker: &Worker,
    body: *mut ServerBody<S>,
    node: *mut Node,
) -> Progress {
    // SAFETY: the running turn; the node is ours.
    unsafe {
        if (*node).vtable.kind == Kind::Handler {
            return open(cell, worker, body, node);
        }
        dispatch_rare(cell, worker, body, node)
    }
}

#[cold]
unsafe fn dispatch_rare<S: GenServer>(
    cell: &Cell,
    worker: &Worker,
    body: *mut ServerBody<S>,
    node: *mut Node,
) -> Progress {
    // SAFETY: throughout: the running turn, no handler's future lives, the node is ours.
    unsafe {
        let kind = (*node).vtable.kind;
        match kind {
            Kind::System => open(cell, worker, body, node),
            Kind::Any => {
                let name = ((*node).vtable.type_name)();
                let mut message = Some(AnyMessage(envelope::open_any(node), name));
                let mut routed = None;
                let counted = AbortOnDrop(worker.core());
                S::routes(&mut Routes {
                    message: &mut message,
                    envelope: &mut routed,
                    server: Default::default(),
                });
                std::mem::forget(counted);
                if let Some(node) = routed {
                    return open(cell, worker, body, node);
                }
                let Some(message) = message else {
                    return skip(worker);
                };
                taken(cell, worker, name);
                let (state, cx) = parts(body);
                run(cell, worker, body, async move {
                    state.handle_any(message, cx).await
                })
            }
            Kind::Notice => match SystemNode::open(node) {
                Content::Notice(notice) => notify(cell, worker, body, notice),
                _ => skip(worker),
            },
            // A typed message for a process that receives by itself cannot be addressed to a server.
            Kind::Plain | Kind::Signal | Kind::Handler => {
                ((*node).vtable.discard)(node, crate::process::node::Discard::Dead);
                skip(worker)
            }
        }
    }
}

unsafe fn notify<S: GenServer>(
    cell: &Cell,
    worker: &Worker,
    body: *mut ServerBody<S>,
    notice: Notice,
) -> Progress {
    // SAFETY: throughout: as in `dispatch_rare`.
    unsafe {
        match notice {
            Notice::Down(down) => {
                let wanted = cell
                    .own()
                    .extra()
                    .monitoring
                    .remove(&down.monitor)
                    .is_some();
                if !wanted {
                    return skip(worker);
                }
                taken(cell, worker, "Down");
                let (state, cx) = parts(body);
                run(cell, worker, body, async move {
                    state.handle_down(down, cx).await
                })
            }
            Notice::Exit(exit) if exit.parent => {
                cell.own().extra().stop.get_or_insert(exit.reason);
                skip(worker)
            }
            Notice::Exit(exit) => {
                taken(cell, worker, "Exit");
                let (state, cx) = parts(body);
                run(cell, worker, body, async move {
                    state.handle_exit(exit, cx).await
                })
            }
            Notice::Stop { reason } => {
                cell.own().extra().stop.get_or_insert(reason);
                skip(worker)
            }
            Notice::Timeout(number) => {
                if !cell.own().extra().timeout.fired(number) {
                    return skip(worker);
                }
                observe(cell, SysAction::Got("timeout"));
                let (state, cx) = parts(body);
                run(
                    cell,
                    worker,
                    body,
                    async move { state.handle_timeout(cx).await },
                )
            }
            Notice::Sys(request) => {
                let state = || {
                    let (state, _) = parts(body);
                    state.format_status()
                };
                let counted = AbortOnDrop(worker.core());
                sys::carry_out(cell, request, state);
                std::mem::forget(counted);
                skip(worker)
            }
        }
    }
}

fn skip(worker: &Worker) -> Progress {
    worker.count_handled();
    Progress::Done
}

/// A message came up that is handled without an envelope of its own.
unsafe fn taken(cell: &Cell, worker: &Worker, what: &'static str) {
    // SAFETY: the running turn.
    unsafe {
        if let Some(extra) = cell.own().extra.as_mut() {
            extra.timeout.disarm(worker.core());
        }
        observe(cell, SysAction::Got(what));
    }
}

/// Runs the future of a callback that has no envelope of its own. It shall call the callback only when
/// polled: a panic outside the future that the callback returns is one of its message's, too.
unsafe fn run<S: GenServer, F>(
    cell: &Cell,
    worker: &Worker,
    body: *mut ServerBody<S>,
    future: F,
) -> Progress
where
    F: Future<Output = ()> + Send + 'static,
{
    /// Boxed here, so that the envelope is small whatever the callback.
    type Boxed = Pin<Box<dyn Future<Output = ()> + Send>>;
    let boxed: Boxed = Box::pin(future);
    let node = envelope::message(boxed, |_: *mut ServerBody<S>, future: Boxed| future);
    // SAFETY: the running turn; the node is fresh, for this server.
    unsafe {
        let own = cell.own();
        own.current = node;
        own.stage = Stage::Opened;
        worker.begin_poll();
        let progress = ((*node).vtable.start)(node, body.cast());
        if progress == Progress::Done {
            done(cell, worker, body);
        }
        progress
    }
}

unsafe fn panicked<S: GenServer>(
    this: NonNull<Cell>,
    worker: &Worker,
    reason: ExitReason,
) -> Option<ExitReason> {
    // SAFETY: the running turn of this process, whose body is a `ServerBody<S>`.
    let (cell, body) = unsafe { (this.as_ref(), Cell::body::<ServerBody<S>>(this)) };
    worker.set_message(None);
    // SAFETY: the running turn.
    let own = unsafe { cell.own() };
    let node = std::mem::replace(&mut own.current, ptr::null_mut());
    let stage = std::mem::replace(&mut own.stage, Stage::Spent);
    if !node.is_null() {
        if stage != Stage::Spent && worker.core().hooks.wants_events() {
            // SAFETY: whole until `abort` below.
            own.extra().crashed_in = Some(unsafe { ((*node).vtable.type_name)() });
        }
        if !std::mem::take(&mut own.uncounted) {
            worker.core().count(Count::Aborted, 1);
        }
        // SAFETY: the envelope whose handler panicked; what is left of it is dropped.
        let (unanswered, panic) = unsafe { death::abort(node, stage) };
        if unanswered {
            // SAFETY: the running turn; answered at the process's end.
            unsafe { cell.own().extra().orphans.push_back(node) };
        }
        if let Some(reason) = panic {
            let pid = cell.pid();
            worker
                .core()
                .hooks
                .event(&Event::PanicWhileEnding { pid, reason });
        }
    }
    // SAFETY: in the turn.
    match unsafe { (*body).phase.get() } {
        Phase::Running => {
            // SAFETY: the running turn.
            unsafe { cell.own() }.extra().stop = Some(reason);
            None
        }
        Phase::Init => Some(reason),
        Phase::Stopping | Phase::Stopped => {
            worker.core().hooks.event(&Event::PanicWhileEnding {
                pid: cell.pid(),
                reason: reason.clone(),
            });
            // SAFETY: the running turn.
            Some(unsafe { cell.own() }.extra().stop.clone().unwrap_or(reason))
        }
    }
}
