//! How others reach a server: by a reference to one incarnation, by name, or by what it takes.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::{GenServer, HandleCast, HandleInfo, HandleRequest, cast_envelope, info_envelope};
use crate::error::{CallError, CallPath, SendError};
use crate::exit::ExitReason;
use crate::handles::{asks_whoever, tells_whoever};
use crate::process::ask::{Answer, Ask, Pending};
use crate::process::bounded::Overflow;
use crate::process::call::{Call, DEFAULT_TIMEOUT};
use crate::process::cell::{Cell, CellRef};
use crate::process::context::{self, Monitor};
use crate::process::deliver::{
    Class, Delivered, deliver, guard, send_signal, send_to_nobody, undelivered,
};
use crate::process::envelope;
use crate::process::node::{Discard, Node};
use crate::process::pid::Pid;
use crate::process::signal::{Down, Notice, Signal, SystemNode};
use crate::process::wait::wait;
use crate::registry::Name;
use crate::sched::core::CoreRef;
use crate::sched::stats::Count;
use crate::sched::worker::here;
use crate::system::Handle;

/// A reference to one incarnation of a server: cheap to clone, sends without a look-up, and does not
/// keep the server running. After a restart it leads to the dead one; hold a [`Named`] to reach
/// whichever lives.
pub struct ServerRef<S> {
    cell: CellRef,
    server: PhantomData<fn(S)>,
}

impl<S> Clone for ServerRef<S> {
    fn clone(&self) -> Self {
        ServerRef {
            cell: self.cell.clone(),
            server: PhantomData,
        }
    }
}

impl<S> PartialEq for ServerRef<S> {
    fn eq(&self, other: &Self) -> bool {
        self.pid() == other.pid()
    }
}

impl<S> Eq for ServerRef<S> {}

impl<S> fmt::Debug for ServerRef<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServerRef").field(&self.pid()).finish()
    }
}

impl<S> ServerRef<S> {
    /// # Safety
    /// `cell` is that of a server of type `S`.
    pub(crate) unsafe fn from_cell(cell: CellRef) -> Self {
        ServerRef {
            cell,
            server: PhantomData,
        }
    }

    pub(crate) fn cell(&self) -> &CellRef {
        &self.cell
    }

    /// The server's pid.
    pub fn pid(&self) -> Pid {
        self.cell.pid()
    }

    /// Whether the server lives.
    pub fn is_alive(&self) -> bool {
        !self.cell.is_dead()
    }

    /// Why the server exited; `None` while it lives.
    pub fn exit_reason(&self) -> Option<ExitReason> {
        self.cell.exit_reason()
    }

    /// Asks the server to stop, behind the messages that are queued: `terminate` runs, then the
    /// server exits with `reason`. OTP: `gen_server:stop/3`.
    ///
    /// The wait ends when it is gone; on a timeout ([`Stop::wait_timeout`]) the server goes on with
    /// stopping.
    pub fn stop(&self, reason: ExitReason) -> Stop {
        let stop = Stop::watch(&self.cell.core, self.pid(), &reason);
        let node = SystemNode::notice(Notice::Stop { reason });
        // SAFETY: a fresh node for any process.
        unsafe { deliver(&self.cell, node, Class::Exempt).settle(&self.cell) };
        stop
    }

    /// As [`stop`](Self::stop), ahead of all queued messages; the running handler finishes first.
    /// (OTP has no such thing.)
    pub fn stop_now(&self, reason: ExitReason) -> Stop {
        let stop = Stop::watch(&self.cell.core, self.pid(), &reason);
        // A server that died meanwhile is stopped.
        let _ = send_signal(&self.cell, Signal::StopNow { reason });
        stop
    }
}

impl<S: GenServer> ServerRef<S> {
    /// Sends a request and returns the future of its reply, with a timeout of 5 s. OTP:
    /// `gen_server:call/2`.
    ///
    /// # Errors
    /// See [`Call`]. A dead server answers at once, with its exit reason ([`CallError::Exited`]; OTP
    /// forgets it: `noproc`).
    pub fn call<M: Send + 'static>(&self, message: M) -> Call<S::Reply>
    where
        S: HandleRequest<M>,
    {
        self.call_with(message, Some(DEFAULT_TIMEOUT))
    }

    /// As [`call`](Self::call), with a timeout of its own; `None`: no timeout. OTP:
    /// `gen_server:call/3`.
    ///
    /// # Errors
    /// As for [`call`](Self::call).
    pub fn call_with<M: Send + 'static>(
        &self,
        message: M,
        timeout: impl Into<Option<Duration>>,
    ) -> Call<S::Reply>
    where
        S: HandleRequest<M>,
    {
        ask(&self.cell, S::__question(message).0, timeout.into())
    }

    /// Sends a message nobody waits for. OTP: `gen_server:cast/2`.
    ///
    /// # Errors
    /// [`SendError`]: the server's bounded mailbox rejects it; the message comes back. A dead server
    /// is no error: the message is dropped and counted as undelivered.
    pub fn cast<M: Send + 'static>(&self, message: M) -> Result<(), SendError<M>>
    where
        S: HandleCast<M>,
    {
        send_typed(&self.cell, cast_envelope::<S, M>(message))
    }

    /// Casts, waiting for room if the server's mailbox is bounded and full, whatever its policy.
    pub fn cast_async<M: Send + 'static>(&self, message: M) -> Sending<M>
    where
        S: HandleCast<M>,
    {
        Sending::new(self.cell.clone(), message, cast_envelope::<S, M>)
    }

    /// Sends a plain message. OTP: `Pid ! Message`.
    ///
    /// # Errors
    /// As for [`cast`](Self::cast).
    pub fn send<M: Send + 'static>(&self, message: M) -> Result<(), SendError<M>>
    where
        S: HandleInfo<M>,
    {
        send_typed(&self.cell, info_envelope::<S, M>(message))
    }

    /// This server as one of those who take an `M`.
    pub fn recipient<M: Send + 'static>(&self) -> Recipient<M>
    where
        S: HandleInfo<M>,
    {
        // SAFETY: the envelope is for a server of type `S`, which the cell is.
        unsafe { Recipient::new(self.cell.clone(), info_envelope::<S, M>) }
    }

    /// This server as one of those who answer an `M` with the reply it gives.
    pub fn requester<M: Send + 'static>(&self) -> Requester<M, S::Reply>
    where
        S: HandleRequest<M>,
    {
        Requester {
            cell: self.cell.clone(),
            question: |message| S::__question(message),
        }
    }
}

/// Puts a call's envelope into a mailbox.
fn ask<R: Send + 'static>(
    cell: &CellRef,
    ask: std::ptr::NonNull<Ask<R>>,
    timeout: Option<Duration>,
) -> Call<R> {
    ask_as(cell, ask, timeout, Class::Counted)
}

/// As [`ask`], and says whether the bound of the mailbox counts.
pub(crate) fn ask_as<R: Send + 'static>(
    cell: &CellRef,
    ask: std::ptr::NonNull<Ask<R>>,
    timeout: Option<Duration>,
    class: Class,
) -> Call<R> {
    let node: *mut Node = ask.as_ptr().cast();
    // SAFETY: the node is ours until delivered.
    let in_place = unsafe { (*node).vtable.answered_in_place };
    // SAFETY: the asker's hold.
    let pending = unsafe { Pending::from_raw(ask) };
    let core = &cell.core;
    // SAFETY: an envelope for a server of the cell's type, by the caller's types.
    match unsafe { deliver(cell, node, class) } {
        Delivered::In => {
            let call = Call::new(core, pending, timeout);
            if in_place {
                call.answered_by(core, (cell.id, cell.serial))
            } else {
                call
            }
        }
        Delivered::Dead(node) => {
            // SAFETY: given back.
            unsafe { undelivered(core, Some(cell.pid()), node, Discard::Dead) };
            Call::failed(
                cell.exit_reason()
                    .map_or(CallError::NoProc, CallError::Exited),
            )
        }
        Delivered::Full(node, Overflow::Reject) => {
            cell.core.count(Count::Rejected, 1);
            // SAFETY: given back; its caller, us, is told `Overloaded` by that.
            guard(|| unsafe { ((*node).vtable.discard)(node, Discard::Overload) });
            Call::new(core, pending, timeout)
        }
        full => {
            // SAFETY: as above.
            unsafe { full.settle(cell) };
            Call::new(core, pending, timeout)
        }
    }
}

/// Puts a message's envelope into a mailbox; gives the message back if it is rejected.
fn send_typed<M: Send + 'static>(cell: &Cell, node: *mut Node) -> Result<(), SendError<M>> {
    // SAFETY: an envelope for a process of the cell's type, by the caller's types.
    match unsafe { deliver(cell, node, Class::Counted) } {
        Delivered::In => Ok(()),
        Delivered::Full(node, Overflow::Reject) => {
            cell.core.count(Count::Rejected, 1);
            // SAFETY: given back, unopened, with a message of type `M`.
            Err(SendError(unsafe { envelope::open_typed(node) }))
        }
        other => {
            // SAFETY: given back.
            unsafe { other.settle(cell) };
            Ok(())
        }
    }
}

/// A message that waits for room in a bounded mailbox: [`ServerRef::cast_async`].
///
/// Ready once the message is in the mailbox, or its target dead (the message is dropped and counted,
/// as with `cast`).
///
/// # Cancellation
/// Dropped before it is ready, it sends nothing.
#[must_use = "sends nothing unless awaited"]
pub struct Sending<M> {
    cell: CellRef,
    message: Option<M>,
    envelope: fn(M) -> *mut Node,
}

impl<M> fmt::Debug for Sending<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sending").field(&self.cell.pid()).finish()
    }
}

impl<M: Send + 'static> Sending<M> {
    fn new(cell: CellRef, message: M, envelope: fn(M) -> *mut Node) -> Self {
        Sending {
            cell,
            message: Some(message),
            envelope,
        }
    }

    /// Blocks the calling thread until the message is in the mailbox.
    ///
    /// # Errors
    /// The caller must not block (it is a process), or a manual system is idle with the mailbox full;
    /// the message comes back.
    pub fn wait(self) -> Result<(), SendError<M>> {
        self.block(None)
    }

    /// As [`wait`](Self::wait), for at most `timeout` from now.
    ///
    /// # Errors
    /// As for [`wait`](Self::wait), and if there was no room in time.
    pub fn wait_timeout(self, timeout: Duration) -> Result<(), SendError<M>> {
        self.block(Some(timeout))
    }

    fn block(mut self, timeout: Option<Duration>) -> Result<(), SendError<M>> {
        let core = self.cell.core.clone();
        match wait(Some(&core), &mut self, timeout) {
            Ok(()) => Ok(()),
            Err(_) => match self.message.take() {
                Some(message) => Err(SendError(message)),
                None => Ok(()),
            },
        }
    }
}

// The message is moved out, never polled.
impl<M> Unpin for Sending<M> {}

impl<M: Send + 'static> Future for Sending<M> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<()> {
        loop {
            if let Some(bounded) = &self.cell.bounded {
                if bounded.wait_for_room(cx.waker()) {
                    crate::process::call::note_other_wait(cx);
                    return Poll::Pending;
                }
            }
            let Some(message) = self.message.take() else {
                return Poll::Ready(());
            };
            let node = (self.envelope)(message);
            // Another sender may have taken the room between: then the mailbox gives it back.
            match try_push(&self.cell, node) {
                Ok(()) => return Poll::Ready(()),
                // SAFETY: given back, unopened, with a message of type `M`.
                Err(node) => self.message = Some(unsafe { envelope::open_typed(node) }),
            }
        }
    }
}

/// Delivers unless the mailbox is full, whatever its policy.
fn try_push(cell: &Cell, node: *mut Node) -> Result<(), *mut Node> {
    // SAFETY: an envelope for a process of the cell's type, by the maker of `Sending`.
    match unsafe { deliver(cell, node, Class::Patient) } {
        Delivered::Full(node, _) => Err(node),
        other => {
            cell.core.count(Count::Sent, 1);
            // SAFETY: given back.
            unsafe { other.settle(cell) };
            Ok(())
        }
    }
}

/// The wait for a server to be gone: [`ServerRef::stop`].
///
/// # Errors
/// [`CallError::Exited`]: it ended with another reason, because it crashed or was killed meanwhile. (A
/// server that was gone already counts as stopped; OTP: `exit(noproc)`.) [`CallError::Cycle`]: a
/// server waits for its own stop, which comes once its handler has returned. OTP: `calling_self`.
///
/// # Cancellation
/// Dropping it changes nothing: the server stops.
#[must_use = "the server is stopping; whether it is gone is not looked at"]
#[derive(Debug)]
pub struct Stop {
    monitor: Monitor,
    wanted: ExitReason,
    pid: Pid,
}

impl Stop {
    pub(crate) fn watch(core: &CoreRef, pid: Pid, reason: &ExitReason) -> Self {
        let current = here().and_then(|worker| worker.current());
        // SAFETY: the running process's cell is alive.
        let own = current.is_some_and(|cell| unsafe { cell.as_ref() }.pid() == pid);
        let monitor = if own {
            let cycle = CallError::Cycle(CallPath(Arc::from([pid, pid])));
            Monitor::failed(core, pid, cycle)
        } else {
            context::monitor_outside(core, pid, None)
        };
        Stop {
            monitor,
            wanted: reason.clone(),
            pid,
        }
    }

    /// The process that stops.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Blocks until the server is gone.
    ///
    /// # Errors
    /// As the future itself; also that the caller must not block.
    pub fn wait(self) -> Result<(), CallError> {
        judge(&self.wanted, self.monitor.wait())
    }

    /// As [`wait`](Self::wait), for at most `timeout`; the server goes on with stopping.
    ///
    /// # Errors
    /// As for [`wait`](Self::wait), and [`CallError::Timeout`].
    pub fn wait_timeout(self, timeout: Duration) -> Result<(), CallError> {
        judge(&self.wanted, self.monitor.wait_timeout(timeout))
    }
}

impl Future for Stop {
    type Output = Result<(), CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.monitor)
            .poll(cx)
            .map(|answer| judge(&self.wanted, answer))
    }
}

/// What the end of a server means to whoever wanted it to stop with the reason `wanted`.
fn judge(wanted: &ExitReason, answer: Result<Down, CallError>) -> Result<(), CallError> {
    match answer?.reason {
        reason if reason == *wanted || reason == ExitReason::NoProc => Ok(()),
        reason => Err(CallError::Exited(reason)),
    }
}

/// A server by name, or by a key of a registry: each send looks up who has it then. What an application
/// should hold.
pub struct Named<S> {
    system: Handle,
    name: Name,
    server: PhantomData<fn(S)>,
}

impl<S> Clone for Named<S> {
    fn clone(&self) -> Self {
        Named {
            system: self.system.clone(),
            name: self.name.clone(),
            server: PhantomData,
        }
    }
}

impl<S> fmt::Debug for Named<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Named").field(&self.name).finish()
    }
}

impl<S: GenServer> Named<S> {
    pub(crate) fn new(system: Handle, name: Name) -> Self {
        Named {
            system,
            name,
            server: PhantomData,
        }
    }

    /// The name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The live server that has the name now; `None`: nobody has it, or it is not an `S`.
    pub fn resolve(&self) -> Option<ServerRef<S>> {
        self.system
            .server_ref(self.name.whereis(self.system.core())?)
    }

    asks_whoever!("nobody has the name");
    tells_whoever!(
        "With nobody there it is dropped and counted (OTP's `Name ! Message` raises `badarg`)."
    );
}

/// Calls the server that a reference leads to just now, if it leads to one.
pub(crate) fn call_whoever<S, M>(
    server: Option<ServerRef<S>>,
    message: M,
    timeout: impl Into<Option<Duration>>,
) -> Call<S::Reply>
where
    S: HandleRequest<M>,
    M: Send + 'static,
{
    match server {
        Some(server) => server.call_with(message, timeout),
        None => Call::failed(CallError::NoProc),
    }
}

/// As [`call_whoever`], for a cast: with nobody there it counts as undelivered.
pub(crate) fn cast_whoever<S, M>(
    system: &Handle,
    server: Option<ServerRef<S>>,
    message: M,
) -> Result<(), SendError<M>>
where
    S: HandleCast<M>,
    M: Send + 'static,
{
    let Some(server) = server else {
        // SAFETY: a fresh envelope of ours.
        unsafe { send_to_nobody(system.core(), None, cast_envelope::<S, M>(message)) };
        return Ok(());
    };
    server.cast(message)
}

/// As [`cast_whoever`], for a plain message.
pub(crate) fn send_whoever<S, M>(
    system: &Handle,
    server: Option<ServerRef<S>>,
    message: M,
) -> Result<(), SendError<M>>
where
    S: HandleInfo<M>,
    M: Send + 'static,
{
    let Some(server) = server else {
        // SAFETY: a fresh envelope of ours.
        unsafe { send_to_nobody(system.core(), None, info_envelope::<S, M>(message)) };
        return Ok(());
    };
    server.send(message)
}

/// Whoever takes an `M`: a server that handles it as info, or a process that receives by itself.
pub struct Recipient<M> {
    cell: CellRef,
    envelope: fn(M) -> *mut Node,
}

impl<M> Clone for Recipient<M> {
    fn clone(&self) -> Self {
        Recipient {
            cell: self.cell.clone(),
            envelope: self.envelope,
        }
    }
}

impl<M> fmt::Debug for Recipient<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Recipient").field(&self.pid()).finish()
    }
}

impl<M> Recipient<M> {
    /// # Safety
    /// `envelope` makes envelopes for the process of `cell`.
    pub(crate) unsafe fn new(cell: CellRef, envelope: fn(M) -> *mut Node) -> Self {
        Recipient { cell, envelope }
    }

    /// Its pid.
    pub fn pid(&self) -> Pid {
        self.cell.pid()
    }

    /// Whether the process lives.
    pub fn is_alive(&self) -> bool {
        !self.cell.is_dead()
    }

    /// Why the process exited; `None` while it lives.
    pub fn exit_reason(&self) -> Option<ExitReason> {
        self.cell.exit_reason()
    }
}

impl<M: Send + 'static> Recipient<M> {
    /// Sends a message. OTP: `Pid ! Message`.
    ///
    /// # Errors
    /// [`SendError`]: a bounded mailbox rejects it; the message comes back.
    pub fn send(&self, message: M) -> Result<(), SendError<M>> {
        send_typed(&self.cell, (self.envelope)(message))
    }

    /// Sends, waiting for room if the mailbox is bounded and full.
    pub fn send_async(&self, message: M) -> Sending<M> {
        Sending::new(self.cell.clone(), message, self.envelope)
    }

    pub(crate) fn parts(&self) -> (&CellRef, fn(M) -> *mut Node) {
        (&self.cell, self.envelope)
    }
}

/// Whoever answers an `M` with an `R`.
pub struct Requester<M, R> {
    cell: CellRef,
    question: fn(M) -> super::Question<R>,
}

impl<M, R> Clone for Requester<M, R> {
    fn clone(&self) -> Self {
        Requester {
            cell: self.cell.clone(),
            question: self.question,
        }
    }
}

impl<M, R> fmt::Debug for Requester<M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Requester").field(&self.cell.pid()).finish()
    }
}

impl<M: Send + 'static, R: Send + 'static> Requester<M, R> {
    /// Its pid.
    pub fn pid(&self) -> Pid {
        self.cell.pid()
    }

    /// As [`ServerRef::call`].
    ///
    /// # Errors
    /// As there.
    pub fn call(&self, message: M) -> Call<R> {
        self.call_with(message, Some(DEFAULT_TIMEOUT))
    }

    /// As [`ServerRef::call_with`].
    ///
    /// # Errors
    /// As for [`call`](Self::call).
    pub fn call_with(&self, message: M, timeout: impl Into<Option<Duration>>) -> Call<R> {
        ask(&self.cell, (self.question)(message).0, timeout.into())
    }
}

/// The right to answer a call, and the duty: whoever holds it owes the caller a reply. It may be kept
/// in the state, sent to another process, or leave the system. OTP: the `From` of
/// `gen_server:reply/2`.
///
/// Dropped without an answer it gives the caller [`CallError::NoReply`], or [`CallError::Exited`] if
/// it is the holder's death that drops it.
pub struct ReplyTo<R> {
    answer: Answer<R>,
}

impl<R> fmt::Debug for ReplyTo<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplyTo").finish_non_exhaustive()
    }
}

impl<R: Send + 'static> ReplyTo<R> {
    pub(crate) fn new(answer: Answer<R>) -> Self {
        ReplyTo { answer }
    }

    /// Answers. A caller that has given up does not get it, and that is nobody's error.
    pub fn reply(self, reply: R) {
        self.answer.send(Ok(reply));
    }
}
