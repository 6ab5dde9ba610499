//! Envelopes: the message and the function that handles it in one allocation. The handler's future
//! is built *in the envelope*, in the place where the message lay, and polled at once: a handler that
//! never waits costs no allocation. A future larger than [`IN_PLACE`] gets a box of its own when its
//! turn comes, so that a million queued messages do not each carry room for it.
//!
//! # Invariants
//! 1. The content is, in this order: the message; nothing (`Stage::Opened`); the future
//!    (`Stage::Future`), pinned where it lies until it is dropped; nothing again. The stage is kept
//!    by the process, as only one envelope of it is open at a time.
//! 2. While the future lives nobody but it refers to the server's state or context.

use std::alloc::Layout;
use std::any::Any;
use std::future::Future;
use std::marker::PhantomData;
use std::mem::{align_of, size_of};
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context as TaskContext, Poll};

use super::ask::{self, Answer, Ask, Hold, lost};
use super::cell::Cell;
use super::node::{Discard, Kind, Node, NodeVtable, Progress, Stage};
use super::waker;
use crate::error::CallError;
use crate::exit::ExitReason;
use crate::sched::recycle;
use crate::sched::worker::here;

/// Futures up to this size (or up to the message's own) are built in the envelope.
pub(crate) const IN_PLACE: usize = 160;

const fn larger(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}

/// The memory layout of an envelope with head `H`, message `M` and future `F`.
struct Shape<H, M, F>(PhantomData<(H, M, F)>);

impl<H, M, F> Shape<H, M, F> {
    const IN_PLACE: bool = size_of::<F>() <= larger(IN_PLACE, size_of::<M>());
    const CONTENT_SIZE: usize = larger(
        size_of::<M>(),
        if Self::IN_PLACE {
            size_of::<F>()
        } else {
            size_of::<*mut F>()
        },
    );
    const CONTENT_ALIGN: usize = larger(
        align_of::<M>(),
        if Self::IN_PLACE {
            align_of::<F>()
        } else {
            align_of::<*mut F>()
        },
    );
    const OFFSET: usize = size_of::<H>().next_multiple_of(Self::CONTENT_ALIGN);
    const LAYOUT: Layout = match Layout::from_size_align(
        Self::OFFSET + Self::CONTENT_SIZE,
        larger(align_of::<H>(), Self::CONTENT_ALIGN),
    ) {
        Ok(layout) => layout,
        Err(_) => panic!("a message larger than memory"),
    };

    /// A new envelope with `head` and `message` in it.
    fn make(head: H, message: M) -> *mut Node {
        let memory = recycle::allocate(Self::LAYOUT).as_ptr();
        let node = memory.cast::<Node>();
        // SAFETY: fresh memory of the right layout.
        unsafe {
            memory.cast::<H>().write(head);
            Self::content(node).cast::<M>().write(message);
        }
        node
    }

    fn content(node: *mut Node) -> *mut u8 {
        node.cast::<u8>().wrapping_add(Self::OFFSET)
    }

    /// Puts the future where the message was.
    ///
    /// # Safety
    /// The content is nothing (`Stage::Opened`).
    #[inline(always)]
    unsafe fn put(node: *mut Node, future: F) {
        // SAFETY: the content has room for it, by `CONTENT_SIZE` and `CONTENT_ALIGN`.
        unsafe {
            if Self::IN_PLACE {
                Self::content(node).cast::<F>().write(future);
            } else {
                Self::content(node)
                    .cast::<*mut F>()
                    .write(Box::into_raw(Box::new(future)));
            }
        }
    }

    /// Where the future lies.
    ///
    /// # Safety
    /// The content is the future.
    #[inline(always)]
    unsafe fn future(node: *mut Node) -> *mut F {
        // SAFETY: as the caller promises.
        unsafe {
            if Self::IN_PLACE {
                Self::content(node).cast::<F>()
            } else {
                Self::content(node).cast::<*mut F>().read()
            }
        }
    }

    /// Drops the future.
    ///
    /// # Safety
    /// The content is the future, and counts as nothing from here on.
    #[inline(always)]
    unsafe fn drop_future(node: *mut Node) {
        // SAFETY: as the caller promises.
        unsafe {
            if Self::IN_PLACE {
                Self::future(node).drop_in_place();
            } else {
                drop(Box::from_raw(Self::future(node)));
            }
        }
    }

    /// Frees the memory.
    ///
    /// # Safety
    /// Content and head are gone.
    #[inline(always)]
    unsafe fn free(node: *mut Node) {
        // SAFETY: allocated by `make` with the same layout.
        unsafe { recycle::free(NonNull::new_unchecked(node.cast()), Self::LAYOUT) };
    }
}

/// A handler without captures, so that the vtable can call it without keeping it anywhere.
#[inline(always)]
fn conjure<H: Copy>() -> H {
    const { assert!(size_of::<H>() == 0, "a handler captures nothing") };
    // SAFETY: a zero-sized `Copy` value has no bytes to be wrong; one was given to the maker of the
    // envelope, so the type is inhabited.
    unsafe { NonNull::<H>::dangling().as_ptr().read() }
}

/// The process whose turn it is; envelopes are opened nowhere else.
#[inline(always)]
fn current<'a>() -> &'a Cell {
    let cell = here().and_then(|worker| worker.current());
    // SAFETY: envelopes are started, resumed and aborted by the turn of a live process only.
    unsafe { cell.unwrap_unchecked().as_ref() }
}

#[inline(always)]
fn set_stage(stage: Stage) {
    // SAFETY: we run in the turn of that process; the reference ends here.
    unsafe { current().own() }.stage = stage;
}

/// Polls a future with the running process's waker.
///
/// # Safety
/// `future` is pinned where it lies.
#[inline(always)]
unsafe fn poll<F: Future>(future: *mut F) -> Poll<F::Output> {
    let waker = waker::borrowed(current());
    let mut cx = TaskContext::from_waker(&waker);
    // SAFETY: as the caller promises.
    unsafe { Pin::new_unchecked(&mut *future) }.poll(&mut cx)
}

unsafe fn nothing_to_take(_: *mut Node, _: *mut ()) {
    unreachable!("a handler's message is not taken out")
}
unsafe fn not_held(_: *mut Node) {
    unreachable!("only a call's reply is held back")
}
unsafe fn not_a_call(_: *mut Node, _: Option<&ExitReason>) {
    unreachable!("only a call has a caller")
}
unsafe fn not_started(_: *mut Node, _: *mut ()) -> Progress {
    unreachable!("this message has no handler")
}
unsafe fn never_aborted(_: *mut Node, _: Stage) -> bool {
    unreachable!("this message has no handler")
}

/// A message whose handler returns nothing: cast, info, continue.
struct Plain<B, M, F, H>(PhantomData<(B, M, F, H)>);

impl<B, M, F, H> Plain<B, M, F, H>
where
    M: Send + 'static,
    F: Future<Output = ()>,
    H: Fn(*mut B, M) -> F + Copy,
{
    const VTABLE: NodeVtable = NodeVtable {
        portable: Some(Self::into_value),
        tied: Some(&Self::TIED),
        ..Self::TIED
    };
    const TIED: NodeVtable = NodeVtable {
        kind: Kind::Handler,
        answered_in_place: false,
        start: Self::start,
        resume: Self::resume,
        abort: Self::abort,
        discard: Self::discard,
        take: Self::take,
        release: not_held,
        fail: not_a_call,
        free: not_held,
        type_name: std::any::type_name::<M>,
        portable: None,
        tied: None,
    };

    unsafe fn take(node: *mut Node, to: *mut ()) {
        // SAFETY: never started, so the message is there; `to` has room for it.
        unsafe {
            to.cast::<M>()
                .write(Shape::<Node, M, F>::content(node).cast::<M>().read());
            Shape::<Node, M, F>::free(node);
        }
    }

    unsafe fn into_value(node: *mut Node) -> Box<dyn Any + Send> {
        // SAFETY: as in `take`.
        let message = unsafe {
            let message = Shape::<Node, M, F>::content(node).cast::<M>().read();
            Shape::<Node, M, F>::free(node);
            message
        };
        Box::new(message)
    }

    unsafe fn start(node: *mut Node, body: *mut ()) -> Progress {
        // SAFETY: the node is whole, and opened once.
        let message = unsafe { Shape::<Node, M, F>::content(node).cast::<M>().read() };
        set_stage(Stage::Opened);
        let future = conjure::<H>()(body.cast(), message);
        // SAFETY: the message has been moved out.
        unsafe { Shape::<Node, M, F>::put(node, future) };
        set_stage(Stage::Future);
        // SAFETY: the future is there now.
        unsafe { Self::resume(node, body) }
    }

    #[inline(always)]
    unsafe fn resume(node: *mut Node, _: *mut ()) -> Progress {
        // SAFETY: invariant 1.
        match unsafe { poll(Shape::<Node, M, F>::future(node)) } {
            Poll::Pending => Progress::Waits,
            Poll::Ready(()) => {
                set_stage(Stage::Spent);
                // SAFETY: invariant 1; the stage said already that it is gone, should it panic.
                unsafe {
                    Shape::<Node, M, F>::drop_future(node);
                    Shape::<Node, M, F>::free(node);
                }
                Progress::Done
            }
        }
    }

    unsafe fn abort(node: *mut Node, stage: Stage) -> bool {
        let future = stage == Stage::Future;
        let node = FreeOnDrop::<Node, M, F>(node, PhantomData);
        if future {
            // SAFETY: the stage says so.
            unsafe { Shape::<Node, M, F>::drop_future(node.0) };
        }
        false
    }

    unsafe fn discard(node: *mut Node, _: Discard) {
        let node = FreeOnDrop::<Node, M, F>(node, PhantomData);
        // SAFETY: never started, so the message is there.
        unsafe {
            Shape::<Node, M, F>::content(node.0)
                .cast::<M>()
                .drop_in_place()
        };
    }
}

/// Frees an envelope's memory even if dropping its content panics.
struct FreeOnDrop<H, M, F>(*mut Node, PhantomData<(H, M, F)>);

impl<H, M, F> Drop for FreeOnDrop<H, M, F> {
    fn drop(&mut self) {
        // SAFETY: the owner made us for a node whose content it has dropped or is dropping.
        unsafe { Shape::<H, M, F>::free(self.0) }
    }
}

/// An envelope for a message whose handler returns nothing. `handler` must capture nothing.
pub(crate) fn message<B, M, F, H>(message: M, _handler: H) -> *mut Node
where
    M: Send + 'static,
    F: Future<Output = ()>,
    H: Fn(*mut B, M) -> F + Copy,
{
    Shape::<Node, M, F>::make(Node::new(const { &Plain::<B, M, F, H>::VTABLE }), message)
}

/// A call whose reply is what the handler returns.
struct Called<B, M, R, F, H>(PhantomData<(B, M, R, F, H)>);

impl<B, M, R, F, H> Called<B, M, R, F, H>
where
    M: 'static,
    R: Send + 'static,
    F: Future<Output = R>,
    H: Fn(*mut B, M) -> F + Copy,
{
    const VTABLE: NodeVtable = NodeVtable {
        kind: Kind::Handler,
        answered_in_place: true,
        start: Self::start,
        resume: Self::resume,
        abort: Self::abort,
        discard: Self::discard,
        take: nothing_to_take,
        release: Self::release,
        fail: ask::fail::<R>,
        free: Self::free,
        type_name: std::any::type_name::<M>,
        portable: None,
        tied: None,
    };

    /// Of a call that a suspended server answers, too.
    const SYSTEM_VTABLE: NodeVtable = NodeVtable {
        kind: Kind::System,
        ..Self::VTABLE
    };

    unsafe fn ask<'a>(node: *mut Node) -> &'a Ask<R> {
        // SAFETY: the head of such an envelope is an `Ask<R>`.
        unsafe { &*node.cast::<Ask<R>>() }
    }

    unsafe fn start(node: *mut Node, body: *mut ()) -> Progress {
        // SAFETY: the node is whole, and opened once.
        let message = unsafe { Shape::<Ask<R>, M, F>::content(node).cast::<M>().read() };
        set_stage(Stage::Opened);
        let future = conjure::<H>()(body.cast(), message);
        // SAFETY: the message has been moved out.
        unsafe { Shape::<Ask<R>, M, F>::put(node, future) };
        set_stage(Stage::Future);
        // SAFETY: the future is there now.
        unsafe { Self::resume(node, body) }
    }

    #[inline(always)]
    unsafe fn resume(node: *mut Node, _: *mut ()) -> Progress {
        // SAFETY: invariant 1.
        match unsafe { poll(Shape::<Ask<R>, M, F>::future(node)) } {
            Poll::Pending => Progress::Waits,
            Poll::Ready(reply) => {
                // SAFETY: the envelope has the right to answer until here.
                unsafe { Self::ask(node).write(Ok(reply)) };
                set_stage(Stage::Answered);
                // SAFETY: invariant 1; the stage said already that it is gone, should it panic.
                unsafe { Shape::<Ask<R>, M, F>::drop_future(node) };
                // SAFETY: we run in the turn of that process; the reference ends here.
                let extra = unsafe { current().own() }.extra.as_mut();
                match extra.filter(|extra| extra.stop.is_some()) {
                    // SAFETY: the node is handed to the list, which releases it after `terminate`.
                    Some(extra) => unsafe { extra.held.push_back(node) },
                    // SAFETY: written, and the envelope's hold ends.
                    None => unsafe { Self::release(node) },
                }
                Progress::Done
            }
        }
    }

    unsafe fn abort(node: *mut Node, stage: Stage) -> bool {
        match stage {
            // SAFETY: the stage says so. (Should the drop panic, the caller is left unanswered only
            // until the process's end: the panic's handler answers orphans.)
            Stage::Future => unsafe { Shape::<Ask<R>, M, F>::drop_future(node) },
            Stage::Answered => {
                // SAFETY: written, not published.
                unsafe { Self::release(node) };
                return false;
            }
            Stage::Opened | Stage::Spent => {}
        }
        true
    }

    unsafe fn discard(node: *mut Node, why: Discard) {
        /// Answers even if the message's `Drop` panics.
        struct AnswerOnDrop<R>(NonNull<Ask<R>>, Option<CallError>);
        impl<R> Drop for AnswerOnDrop<R> {
            fn drop(&mut self) {
                let error = self.1.take().unwrap_or(CallError::NoReply);
                // SAFETY: the envelope's right and hold.
                unsafe { Ask::answer(self.0, Err(error)) }
            }
        }
        let error = refusal(why);
        // SAFETY: never null.
        let answer = AnswerOnDrop(
            unsafe { NonNull::new_unchecked(node.cast::<Ask<R>>()) },
            Some(error),
        );
        // SAFETY: never started, so the message is there.
        unsafe {
            Shape::<Ask<R>, M, F>::content(node)
                .cast::<M>()
                .drop_in_place()
        };
        drop(answer);
    }

    unsafe fn release(node: *mut Node) {
        // SAFETY: as the vtable's contract says: the answer is written, the hold is ours.
        unsafe {
            Self::ask(node).publish();
            Ask::release(NonNull::new_unchecked(node.cast::<Ask<R>>()));
        }
    }

    unsafe fn free(node: *mut Node) {
        // SAFETY: nobody holds it any more.
        unsafe {
            node.cast::<Ask<R>>().drop_in_place();
            Shape::<Ask<R>, M, F>::free(node);
        }
    }
}

/// What a caller is told when its request is thrown away.
fn refusal(why: Discard) -> CallError {
    match why {
        Discard::Overload => CallError::Overloaded,
        Discard::Dead => match lost() {
            CallError::NoReply => CallError::NoProc,
            exited => exited,
        },
    }
}

/// An envelope for a call that is answered by what its handler returns.
pub(crate) fn call<B, M, R, F, H>(message: M, _handler: H) -> NonNull<Ask<R>>
where
    M: Send + 'static,
    R: Send + 'static,
    F: Future<Output = R>,
    H: Fn(*mut B, M) -> F + Copy,
{
    let ask = Ask::new(const { &Called::<B, M, R, F, H>::VTABLE });
    // SAFETY: never null.
    unsafe { NonNull::new_unchecked(Shape::<Ask<R>, M, F>::make(ask, message).cast()) }
}

/// As [`call`], for a request that a suspended server sees to as well.
pub(crate) fn system<B, M, R, F, H>(message: M, _handler: H) -> NonNull<Ask<R>>
where
    M: Send + 'static,
    R: Send + 'static,
    F: Future<Output = R>,
    H: Fn(*mut B, M) -> F + Copy,
{
    let ask = Ask::new(const { &Called::<B, M, R, F, H>::SYSTEM_VTABLE });
    // SAFETY: never null.
    unsafe { NonNull::new_unchecked(Shape::<Ask<R>, M, F>::make(ask, message).cast()) }
}

/// A call whose handler is given the right to answer.
struct Requested<B, M, R, F, H>(PhantomData<(B, M, R, F, H)>);

impl<B, M, R, F, H> Requested<B, M, R, F, H>
where
    M: 'static,
    R: Send + 'static,
    F: Future<Output = ()>,
    H: Fn(*mut B, M, Answer<R>) -> F + Copy,
{
    const VTABLE: NodeVtable = NodeVtable {
        kind: Kind::Handler,
        answered_in_place: false,
        start: Self::start,
        resume: Self::resume,
        abort: Self::abort,
        discard: Self::discard,
        take: nothing_to_take,
        release: not_held,
        fail: ask::fail::<R>,
        free: Self::free,
        type_name: std::any::type_name::<M>,
        portable: None,
        tied: None,
    };

    unsafe fn start(node: *mut Node, body: *mut ()) -> Progress {
        // SAFETY: the node is whole, and opened once.
        let message = unsafe { Shape::<Ask<R>, M, F>::content(node).cast::<M>().read() };
        set_stage(Stage::Opened);
        // SAFETY: the head is an `Ask<R>`; the right to answer goes to the token, with a hold of its
        // own beside the envelope's.
        let answer = unsafe {
            let ask = NonNull::new_unchecked(node.cast::<Ask<R>>());
            ask.as_ref().retain();
            Answer::from_raw(ask)
        };
        let future = conjure::<H>()(body.cast(), message, answer);
        // SAFETY: the message has been moved out.
        unsafe { Shape::<Ask<R>, M, F>::put(node, future) };
        set_stage(Stage::Future);
        // SAFETY: the future is there now.
        unsafe { Self::resume(node, body) }
    }

    #[inline(always)]
    unsafe fn resume(node: *mut Node, _: *mut ()) -> Progress {
        // SAFETY: invariant 1.
        match unsafe { poll(Shape::<Ask<R>, M, F>::future(node)) } {
            Poll::Pending => Progress::Waits,
            Poll::Ready(()) => {
                set_stage(Stage::Spent);
                // SAFETY: invariant 1; then the envelope's hold ends.
                unsafe {
                    Shape::<Ask<R>, M, F>::drop_future(node);
                    Ask::release(NonNull::new_unchecked(node.cast::<Ask<R>>()));
                }
                Progress::Done
            }
        }
    }

    unsafe fn abort(node: *mut Node, stage: Stage) -> bool {
        // SAFETY: never null. The envelope's hold.
        let _hold = Hold(unsafe { NonNull::new_unchecked(node.cast::<Ask<R>>()) });
        if stage == Stage::Future {
            // SAFETY: the stage says so.
            unsafe { Shape::<Ask<R>, M, F>::drop_future(node) };
        }
        false
    }

    unsafe fn discard(node: *mut Node, why: Discard) {
        // SAFETY: the envelope's right and hold, and never started, so the message is there.
        unsafe {
            let ask = NonNull::new_unchecked(node.cast::<Ask<R>>());
            let message = Shape::<Ask<R>, M, F>::content(node).cast::<M>().read();
            Ask::answer(ask, Err(refusal(why)));
            drop(message);
        }
    }

    unsafe fn free(node: *mut Node) {
        // SAFETY: nobody holds it any more.
        unsafe {
            node.cast::<Ask<R>>().drop_in_place();
            Shape::<Ask<R>, M, F>::free(node);
        }
    }
}

/// An envelope for a call whose handler is given the right to answer.
pub(crate) fn request<B, M, R, F, H>(message: M, _handler: H) -> NonNull<Ask<R>>
where
    M: Send + 'static,
    R: Send + 'static,
    F: Future<Output = ()>,
    H: Fn(*mut B, M, Answer<R>) -> F + Copy,
{
    let ask = Ask::new(const { &Requested::<B, M, R, F, H>::VTABLE });
    // SAFETY: never null.
    unsafe { NonNull::new_unchecked(Shape::<Ask<R>, M, F>::make(ask, message).cast()) }
}

/// A message that is taken out by a process that receives by itself.
struct Taken<M>(PhantomData<M>);

impl<M: Send + 'static> Taken<M> {
    const fn vtable(kind: Kind, take: unsafe fn(*mut Node, *mut ())) -> NodeVtable {
        NodeVtable {
            kind,
            answered_in_place: false,
            start: not_started,
            resume: not_started,
            abort: never_aborted,
            discard: Self::discard,
            take,
            release: not_held,
            fail: not_a_call,
            free: not_held,
            type_name: std::any::type_name::<M>,
            portable: None,
            tied: None,
        }
    }
    const fn portable(tied: &'static NodeVtable) -> NodeVtable {
        NodeVtable {
            portable: Some(Self::into_value),
            tied: Some(tied),
            ..*tied
        }
    }
    const TYPED_TIED: NodeVtable = Self::vtable(Kind::Plain, Self::take);
    const TYPED: NodeVtable = Self::portable(&Self::TYPED_TIED);
    const ANY_TIED: NodeVtable = Self::vtable(Kind::Any, Self::take_any);
    const ANY: NodeVtable = Self::portable(&Self::ANY_TIED);

    unsafe fn read(node: *mut Node) -> M {
        // SAFETY: the message is there; the memory goes, the message is moved out.
        unsafe {
            let message = Shape::<Node, M, ()>::content(node).cast::<M>().read();
            Shape::<Node, M, ()>::free(node);
            message
        }
    }
    unsafe fn take(node: *mut Node, to: *mut ()) {
        // SAFETY: `to` has room for an `M`, by the vtable's contract.
        unsafe { to.cast::<M>().write(Self::read(node)) }
    }
    unsafe fn into_value(node: *mut Node) -> Box<dyn Any + Send> {
        // SAFETY: as for `read`.
        Box::new(unsafe { Self::read(node) })
    }
    unsafe fn take_any(node: *mut Node, to: *mut ()) {
        // SAFETY: `to` has room for the box, by the vtable's contract.
        unsafe {
            to.cast::<Box<dyn Any + Send>>()
                .write(Box::new(Self::read(node)))
        }
    }
    unsafe fn discard(node: *mut Node, _: Discard) {
        // SAFETY: the message is there.
        drop(unsafe { Self::read(node) });
    }
}

/// An envelope for a process that receives messages of type `M` by itself.
pub(crate) fn plain<M: Send + 'static>(message: M) -> *mut Node {
    Shape::<Node, M, ()>::make(Node::new(const { &Taken::<M>::TYPED }), message)
}

/// An envelope for a bare pid, whose owner may not know the type.
pub(crate) fn any<M: Send + 'static>(message: M) -> *mut Node {
    Shape::<Node, M, ()>::make(Node::new(const { &Taken::<M>::ANY }), message)
}

/// Takes a message of unknown type out of its envelope.
///
/// # Safety
/// `node` is of kind `Any`, owned by the caller, and is consumed.
pub(crate) unsafe fn open_any(node: *mut Node) -> Box<dyn Any + Send> {
    let mut message = std::mem::MaybeUninit::<Box<dyn Any + Send>>::uninit();
    // SAFETY: as the caller promises, kind `Any`.
    unsafe {
        ((*node).vtable.take)(node, message.as_mut_ptr().cast());
        message.assume_init()
    }
}

/// Takes a typed message out of an envelope that nobody opened.
///
/// # Safety
/// `node` was made by [`message`] or [`plain`] with this `M`, is owned by the caller, and is consumed.
pub(crate) unsafe fn open_typed<M>(node: *mut Node) -> M {
    let mut message = std::mem::MaybeUninit::<M>::uninit();
    // SAFETY: as the caller promises.
    unsafe {
        ((*node).vtable.take)(node, message.as_mut_ptr().cast());
        message.assume_init()
    }
}
