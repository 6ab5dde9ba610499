//! A question and its answer in one allocation. The asker holds a [`Pending`], the right to answer is
//! the envelope in the server's mailbox or an [`Answer`]; the memory goes with the last of them.
//!
//! # Invariants
//! 1. `refs` counts the asker, the envelope while it is in a mailbox or its handler runs, each
//!    `Answer`, and each [`Question`]. Whoever brings it to zero frees the memory.
//! 2. Exactly one holder has the right to answer, and uses it exactly once: by a reply, or by the
//!    error that its loss means. So no asker waits for ever for a right that is gone.

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::task::{Context, Poll, Waker};

use super::call::note_other_wait;
use super::edge;
use super::node::{Discard, Kind, Node, NodeVtable, Progress, Stage};
use super::refs::Refs;
use super::reply::{Mark, ReplySlot};
use super::waker;
use crate::error::CallError;
use crate::exit::ExitReason;
use crate::sched::worker::here;

/// What a question is, whatever its answer's type.
#[repr(C)]
struct Head {
    node: Node,
    refs: Refs,
}

/// The head of a call's envelope, or all of a question that is not a message.
#[repr(C)]
pub(crate) struct Ask<R> {
    head: Head,
    slot: ReplySlot<Result<R, CallError>>,
}

impl Head {
    /// Gives up one hold.
    ///
    /// # Safety
    /// The caller owns that hold and does not use the question afterwards.
    unsafe fn release(this: NonNull<Self>) {
        // SAFETY: our hold keeps it alive up to here.
        let head = unsafe { this.as_ref() };
        let free = head.node.vtable.free;
        if head.refs.give_back_last() {
            // SAFETY: ours was the last hold (invariant 1).
            unsafe { free(this.as_ptr().cast()) };
        }
    }
}

impl<R> Ask<R> {
    /// For an envelope: two holders, the envelope itself and the asker.
    pub(crate) fn new(vtable: &'static NodeVtable) -> Self {
        Ask {
            head: Head {
                node: Node::new(vtable),
                refs: Refs::new(2),
            },
            slot: ReplySlot::new(),
        }
    }

    /// Gives up one hold.
    ///
    /// # Safety
    /// The caller owns that hold and does not use `this` afterwards.
    pub(crate) unsafe fn release(this: NonNull<Self>) {
        // SAFETY: as the caller promises; the head is where the question is.
        unsafe { Head::release(this.cast()) }
    }

    /// Makes one more hold.
    pub(crate) fn retain(&self) {
        self.head.refs.add(1);
    }

    /// Puts the answer in without telling anybody.
    ///
    /// # Safety
    /// The caller has the right to answer and has not used it.
    pub(crate) unsafe fn write(&self, answer: Result<R, CallError>) {
        // SAFETY: as the caller promises.
        unsafe { self.slot.write(answer) }
    }

    /// Tells the asker of the answer written before, and uses the right up.
    ///
    /// # Safety
    /// `write` was called, `publish` not.
    pub(crate) unsafe fn publish(&self) {
        // SAFETY: as the caller promises.
        let Some(waiter) = (unsafe { self.slot.publish() }) else {
            return;
        };
        if waiter.edge != 0 {
            // The edge is in the table of the asker, who marks a question only while it waits itself.
            // Who answers may be anybody: a full mailbox drops requests where the newer one is sent.
            if let Some(asker) = waker::waiting_process(&waiter.waker) {
                edge::answered(&asker.core.table, waiter.edge);
            }
        }
        waiter.waker.wake();
    }

    /// `write`, `publish`, and the end of the hold.
    ///
    /// # Safety
    /// The caller has the right to answer and one hold; both are used up.
    pub(crate) unsafe fn answer(this: NonNull<Self>, answer: Result<R, CallError>) {
        // An answer that nobody wants is dropped here, by user code that may panic.
        // SAFETY: as the caller promises.
        unsafe {
            let _hold = Hold(this);
            this.as_ref().write(answer);
            this.as_ref().publish();
        }
    }
}

/// A hold, given up at the end of the scope, by a panic too.
pub(crate) struct Hold<R>(pub(crate) NonNull<Ask<R>>);

impl<R> Drop for Hold<R> {
    fn drop(&mut self) {
        // SAFETY: whoever made us gave us the hold, and uses the question within our life only.
        unsafe { Ask::release(self.0) }
    }
}

/// What the loss of the right to answer means to the asker, seen from where it is lost: the exit
/// reason of a process that dies with it, else that nobody replied.
pub(crate) fn lost() -> CallError {
    match here().and_then(|worker| worker.current()) {
        // SAFETY: the running process's cell is alive.
        Some(cell) => match unsafe { cell.as_ref() }.exit_reason() {
            Some(reason) => CallError::Exited(reason),
            None => CallError::NoReply,
        },
        None => CallError::NoReply,
    }
}

/// The right to answer, apart from any envelope. Dropping it unused tells the asker so.
pub(crate) struct Answer<R>(NonNull<Ask<R>>);

// SAFETY: the right to answer moves between threads with the answer, hence `R: Send`.
unsafe impl<R: Send> Send for Answer<R> {}
// SAFETY: `&Answer` gives access to nothing.
unsafe impl<R: Send> Sync for Answer<R> {}

impl<R> Answer<R> {
    /// # Safety
    /// The right and one hold pass to the new value.
    pub(crate) unsafe fn from_raw(ask: NonNull<Ask<R>>) -> Self {
        Answer(ask)
    }

    pub(crate) fn send(self, answer: Result<R, CallError>) {
        let ask = self.0;
        std::mem::forget(self);
        // SAFETY: the right and the hold were ours.
        unsafe { Ask::answer(ask, answer) }
    }
}

impl<R> Drop for Answer<R> {
    fn drop(&mut self) {
        // Dropped by the unwinding of its process: the reason is not known yet, so the answer waits
        // for the death.
        if std::thread::panicking() {
            let cell = here().and_then(|worker| worker.current());
            // SAFETY: the running process's cell is alive.
            if let Some(cell) = cell.filter(|cell| !unsafe { cell.as_ref() }.is_dead()) {
                // SAFETY: this runs in the turn of that process; the right and the hold pass to its
                // list, and every `Ask` answers by `fail`.
                unsafe {
                    cell.as_ref()
                        .own()
                        .extra()
                        .orphans
                        .push_back(self.0.as_ptr().cast())
                };
                return;
            }
        }
        // SAFETY: not used yet, or `send` would have forgotten us.
        unsafe { Ask::answer(self.0, Err(lost())) }
    }
}

/// `NodeVtable::fail` of every question.
///
/// # Safety
/// `node` is the head of an `Ask<R>`; the right to answer and one hold are the caller's and used up.
pub(crate) unsafe fn fail<R>(node: *mut Node, reason: Option<&ExitReason>) {
    let error = reason.map_or(CallError::NoReply, |reason| {
        CallError::Exited(reason.clone())
    });
    // SAFETY: as the caller promises.
    unsafe { Ask::answer(NonNull::new_unchecked(node.cast::<Ask<R>>()), Err(error)) }
}

/// The asker's side.
pub(crate) struct Pending<R>(Option<NonNull<Ask<R>>>);

// SAFETY: the answer moves to the asker's thread, hence `R: Send`.
unsafe impl<R: Send> Send for Pending<R> {}
// SAFETY: `&Pending` gives access to nothing but an atomic.
unsafe impl<R: Send> Sync for Pending<R> {}

impl<R> Pending<R> {
    /// # Safety
    /// The asker's hold passes to the new value.
    pub(crate) unsafe fn from_raw(ask: NonNull<Ask<R>>) -> Self {
        Pending(Some(ask))
    }

    fn ask(&self) -> Option<&Ask<R>> {
        // SAFETY: our hold keeps it alive.
        self.0.map(|ask| unsafe { ask.as_ref() })
    }

    pub(crate) fn is_done(&self) -> bool {
        self.ask().is_none_or(|ask| ask.slot.is_done())
    }

    /// A hold on the question, for the turn that decides after the poll whether it makes an edge.
    pub(crate) fn question(&self) -> Option<Question> {
        let ask = self.0?;
        // SAFETY: our hold keeps it alive, and makes another.
        let mark = unsafe {
            ask.as_ref().retain();
            NonNull::from(ask.as_ref().slot.mark())
        };
        Some(Question {
            head: ask.cast(),
            mark,
        })
    }

    /// Whether it is this one's question.
    pub(crate) fn asked(&self, question: &Question) -> bool {
        self.0.is_some_and(|ask| ask.cast() == question.head)
    }

    /// Takes the answer if it is here. Afterwards the question is over.
    pub(crate) fn try_take(&mut self) -> Option<Result<R, CallError>> {
        if !self.ask()?.slot.is_done() {
            return None;
        }
        let ask = self.0.take()?;
        // SAFETY: the answer is here, we are the reader, and we let go afterwards.
        unsafe {
            let answer = ask.as_ref().slot.take();
            Ask::release(ask);
            Some(answer)
        }
    }

    /// As a future: `Ready` once. Polled again after that it stays pending.
    ///
    /// To a process the answer comes behind the signals that were sent to it before, by whomever: they
    /// have acted when it is there. (In OTP an answer is a message, and order is kept by that.)
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<R, CallError>> {
        if self.is_done() {
            if signals_wait(cx) {
                return Poll::Pending;
            }
            return self.try_take().map_or(Poll::Pending, Poll::Ready);
        }
        let Some(ask) = self.ask() else {
            return Poll::Pending;
        };
        // SAFETY: we are the one reader and have not taken the value.
        let done = unsafe {
            ask.slot.register(
                || waker::waiter(cx.waker()),
                |old| waker::same(old, cx.waker()),
            )
        };
        if done && !signals_wait(cx) {
            return self.try_take().map_or(Poll::Pending, Poll::Ready);
        }
        Poll::Pending
    }
}

/// Whether the running process has signals to take in before it may see an answer that is here. Then it
/// is polled again when it has.
fn signals_wait(cx: &Context<'_>) -> bool {
    let Some(cell) = here().and_then(|worker| worker.current()) else {
        return false;
    };
    // Asked of the mailbox itself: `urgent` is a hint, which may come late.
    // SAFETY: the running process's cell is alive.
    if !unsafe { cell.as_ref() }.mailbox.has_signal() {
        return false;
    }
    // The wake-up brings the turn back to taking in, which sees all that was sent.
    note_other_wait(cx);
    cx.waker().wake_by_ref();
    true
}

impl<R> Drop for Pending<R> {
    fn drop(&mut self) {
        if let Some(ask) = self.0.take() {
            let _hold = Hold(ask);
            // SAFETY: we are the reader and have not taken the value.
            unsafe { ask.as_ref().slot.abandon() };
        }
    }
}

/// A hold on a question whose asker waits. The asker may have let go of it meanwhile, on whatever
/// thread, so there is a hold of its own.
pub(crate) struct Question {
    head: NonNull<Head>,
    mark: NonNull<Mark>,
}

impl Question {
    /// Marks the question with the asker's edge; `false`: it is answered, or nobody waits for it.
    #[must_use = "`false`: there must be no edge"]
    pub(crate) fn mark(&self, edge: u64) -> bool {
        // SAFETY: our hold keeps it alive.
        unsafe { self.mark.as_ref() }.set(edge)
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        // SAFETY: ours.
        unsafe { Head::release(self.head) }
    }
}

/// A question that is not a message: both sides at once.
pub(crate) fn question<R: Send + 'static>() -> (Answer<R>, Pending<R>) {
    struct Bare<R>(PhantomData<R>);
    impl<R: Send + 'static> Bare<R> {
        const VTABLE: NodeVtable = NodeVtable {
            kind: Kind::Notice,
            answered_in_place: false,
            start: |_, _| Progress::Done,
            resume: |_, _| Progress::Done,
            abort: |_: *mut Node, _: Stage| false,
            discard: |_: *mut Node, _: Discard| {},
            take: |_, _| {},
            release: |_| {},
            fail: fail::<R>,
            // SAFETY: a bare question is a boxed `Ask<R>`, and nobody holds it any more.
            free: |node| drop(unsafe { Box::from_raw(node.cast::<Ask<R>>()) }),
            type_name: std::any::type_name::<R>,
            portable: None,
            tied: None,
        };
    }
    let ask = Box::into_raw(Box::new(Ask::<R>::new(const { &Bare::<R>::VTABLE })));
    // SAFETY: fresh from the box.
    let ask = unsafe { NonNull::new_unchecked(ask) };
    // SAFETY: the two holds it was made with go one to each side.
    unsafe { (Answer::from_raw(ask), Pending::from_raw(ask)) }
}

/// Wakes a waker outside any lock; a helper for lists of them.
pub(crate) fn wake_all(wakers: impl IntoIterator<Item = Waker>) {
    for waker in wakers {
        waker.wake();
    }
}
