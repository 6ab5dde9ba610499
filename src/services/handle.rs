//! What all services share: how they are reached, started, asked and stopped.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use std::sync::Arc;

use crate::{
    Call, CallError, ChildKind, ChildSpec, ExitReason, GenServer, HandleCast, HandleRequest,
    MailboxPolicy, Name, Named, Pid, SendError, ServerOptions, ServerRef, Start, StartError,
    Starter, Stop,
};

/// How the process of a service is started: what its builder knows beside the service's own settings.
#[derive(Clone, Debug, Default)]
pub(super) struct Common {
    pub(super) name: Option<Name>,
    pub(super) mailbox: Option<MailboxPolicy>,
    /// It has children: it is given the time to stop them, and loses no message about them.
    pub(super) supervises: bool,
}

impl Common {
    pub(super) fn options(&self) -> ServerOptions {
        let mut options = ServerOptions::new();
        if let Some(name) = &self.name {
            options = options.name(name.clone());
        }
        if let Some(mailbox) = self.mailbox {
            options = options.mailbox(mailbox);
        }
        options
    }

    /// A spec of such a process; whoever puts it into a tree may change it.
    pub(super) fn spec<S>(&self, id: Arc<str>, args: S::Args) -> ChildSpec
    where
        S: GenServer,
        S::Args: Clone + Sync,
    {
        let mut spec = match self.supervises {
            false => ChildSpec::server::<S>(id, args),
            true => {
                let start = move |starter: Starter| {
                    let options = starter.options().mailbox(MailboxPolicy::Unbounded);
                    starter.start_link_with::<S>(args.clone(), options)
                };
                ChildSpec::worker(id, start).of_kind(ChildKind::Supervisor)
            }
        };
        if let Some(name) = &self.name {
            spec = spec.name(name.clone());
        }
        if let Some(mailbox) = self.mailbox {
            spec = spec.mailbox(mailbox);
        }
        spec
    }
}

/// One incarnation, or whichever has a name.
pub enum Reach<S> {
    One(ServerRef<S>),
    Name(Named<S>),
}

impl<S> Clone for Reach<S> {
    fn clone(&self) -> Self {
        match self {
            Reach::One(server) => Reach::One(server.clone()),
            Reach::Name(name) => Reach::Name(name.clone()),
        }
    }
}

impl<S> fmt::Debug for Reach<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reach::One(server) => server.fmt(f),
            Reach::Name(name) => name.fmt(f),
        }
    }
}

impl<S: GenServer> Reach<S> {
    pub(super) fn server(&self) -> Option<ServerRef<S>> {
        match self {
            Reach::One(server) => Some(server.clone()),
            Reach::Name(name) => name.resolve(),
        }
    }

    pub(super) fn call<M: Send + 'static>(&self, message: M) -> Call<S::Reply>
    where
        S: HandleRequest<M>,
    {
        match self {
            Reach::One(server) => server.call(message),
            Reach::Name(name) => name.call(message),
        }
    }

    pub(super) fn call_with<M: Send + 'static>(
        &self,
        message: M,
        timeout: Option<Duration>,
    ) -> Call<S::Reply>
    where
        S: HandleRequest<M>,
    {
        match self {
            Reach::One(server) => server.call_with(message, timeout),
            Reach::Name(name) => name.call_with(message, timeout),
        }
    }

    pub(super) fn cast<M: Send + 'static>(&self, message: M) -> Result<(), SendError<M>>
    where
        S: HandleCast<M>,
    {
        match self {
            Reach::One(server) => server.cast(message),
            Reach::Name(name) => name.cast(message),
        }
    }
}

/// What every handle of a service is. Sealed by what is hidden of it.
pub trait Service: Sized + Send + 'static {
    #[doc(hidden)]
    type Server: GenServer;
    #[doc(hidden)]
    fn __reached(reach: Reach<Self::Server>) -> Self;
}

/// A service that is being started: a future of its handle, which leads to this incarnation.
///
/// # Errors
/// As for [`Start`].
///
/// # Cancellation
/// Dropping it does not stop the service.
#[must_use = "the service starts, but whether it did is not looked at"]
pub struct Starting<H: Service> {
    start: Start<H::Server>,
}

impl<H: Service> fmt::Debug for Starting<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Starting").field(&self.start).finish()
    }
}

impl<H: Service> Starting<H> {
    pub(super) fn new(start: Start<H::Server>) -> Self {
        Starting { start }
    }

    /// The pid, as soon as there is one.
    pub fn pid(&self) -> Option<Pid> {
        self.start.pid()
    }

    fn handle(server: ServerRef<H::Server>) -> H {
        H::__reached(Reach::One(server))
    }

    /// Blocks the calling thread until the service has started. On the thread that drives a manual
    /// system this runs the system meanwhile.
    ///
    /// # Errors
    /// As the future itself; also that the caller must not block.
    pub fn wait(self) -> Result<H, StartError> {
        self.start.wait().map(Self::handle)
    }

    /// As [`wait`](Self::wait), for at most `timeout` from now; then the service is killed.
    ///
    /// # Errors
    /// As for [`wait`](Self::wait), and [`StartError::Timeout`].
    pub fn wait_timeout(self, timeout: Duration) -> Result<H, StartError> {
        self.start.wait_timeout(timeout).map(Self::handle)
    }
}

// The start is not pinned in place: it is polled as one that may be moved.
impl<H: Service> Unpin for Starting<H> {}

impl<H: Service> Future for Starting<H> {
    type Output = Result<H, StartError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.start)
            .poll(cx)
            .map(|started| started.map(Self::handle))
    }
}

/// A request to a service, under way: a future of its answer.
///
/// # Errors
/// Those of the method that made it. What a call can fail with, the service is gone or gives no answer
/// in time, is a [`CallError`] in them.
///
/// # Cancellation
/// Dropping it gives up interest in the answer; the request may be handled all the same.
#[must_use = "the request is sent, but its answer is dropped"]
pub struct Request<T, E> {
    asked: Asked<T, E>,
}

enum Asked<T, E> {
    Sent(Call<Result<T, E>>),
    /// Never sent: it was wrong. Taken by the first poll.
    Wrong(Option<E>),
}

impl<T, E> fmt::Debug for Request<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.asked {
            Asked::Sent(call) => f.debug_tuple("Request").field(call).finish(),
            Asked::Wrong(_) => f.write_str("Request(refused)"),
        }
    }
}

impl<T, E: From<CallError>> Request<T, E> {
    pub(super) fn sent(call: Call<Result<T, E>>) -> Self {
        Request {
            asked: Asked::Sent(call),
        }
    }

    pub(super) fn wrong(error: E) -> Self {
        Request {
            asked: Asked::Wrong(Some(error)),
        }
    }

    fn block(
        self,
        wait: impl FnOnce(Call<Result<T, E>>) -> Result<Result<T, E>, CallError>,
    ) -> Result<T, E> {
        match self.asked {
            Asked::Sent(call) => wait(call).unwrap_or_else(|error| Err(error.into())),
            Asked::Wrong(error) => Err(error.unwrap_or_else(|| CallError::NoReply.into())),
        }
    }

    /// Blocks the calling thread until the answer is here. On the thread that drives a manual system
    /// this runs the system meanwhile.
    ///
    /// # Errors
    /// As the future itself; also that the caller must not block, or that a manual system has nothing
    /// left to run.
    pub fn wait(self) -> Result<T, E> {
        self.block(Call::wait)
    }

    /// As [`wait`](Self::wait), for at most `timeout` from now.
    ///
    /// # Errors
    /// As for [`wait`](Self::wait).
    pub fn wait_timeout(self, timeout: Duration) -> Result<T, E> {
        self.block(|call| call.wait_timeout(timeout))
    }
}

// Neither the call nor the error is pinned in place.
impl<T, E> Unpin for Request<T, E> {}

impl<T, E: From<CallError>> Future for Request<T, E> {
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        match &mut self.asked {
            Asked::Sent(call) => Pin::new(call)
                .poll(cx)
                .map(|answer| answer.unwrap_or_else(|error| Err(error.into()))),
            Asked::Wrong(error) => Poll::Ready(Err(error
                .take()
                .unwrap_or_else(|| CallError::NoReply.into()))),
        }
    }
}

/// The wait for a service to be gone. With nobody to stop it is ready at once.
///
/// # Errors
/// As for [`Stop`].
///
/// # Cancellation
/// Dropping it changes nothing: the service stops.
#[must_use = "the service is stopping; whether it is gone is not looked at"]
#[derive(Debug)]
pub struct EndOfService {
    stop: Option<Stop>,
}

impl EndOfService {
    pub(super) fn of<S: GenServer>(reach: &Reach<S>, reason: ExitReason) -> Self {
        EndOfService {
            stop: reach.server().map(|server| server.stop(reason)),
        }
    }

    /// Blocks until the service is gone.
    ///
    /// # Errors
    /// As the future itself; also that the caller must not block.
    pub fn wait(self) -> Result<(), CallError> {
        self.stop.map_or(Ok(()), Stop::wait)
    }

    /// As [`wait`](Self::wait), for at most `timeout`; the service goes on with stopping.
    ///
    /// # Errors
    /// As for [`wait`](Self::wait), and [`CallError::Timeout`].
    pub fn wait_timeout(self, timeout: Duration) -> Result<(), CallError> {
        self.stop.map_or(Ok(()), |stop| stop.wait_timeout(timeout))
    }
}

impl Future for EndOfService {
    type Output = Result<(), CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        match &mut self.stop {
            Some(stop) => Pin::new(stop).poll(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}

/// Gives a service its handle type, and its builder the ways to start it. The builder has a field
/// `common: Common`, and a method `args` that makes the arguments of its incarnations.
macro_rules! service {
    (
        $(#[$doc:meta])*
        $handle:ident, $builder:ident, $server:ident, [$($bounds:tt)*], [$($params:tt)*]
    ) => {
        $(#[$doc])*
        pub struct $handle<$($params)*> {
            reach: $crate::services::handle::Reach<$server<$($params)*>>,
        }

        impl<$($params)*> Clone for $handle<$($params)*> {
            fn clone(&self) -> Self {
                $handle { reach: self.reach.clone() }
            }
        }

        impl<$($params)*> ::std::fmt::Debug for $handle<$($params)*> {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.debug_tuple(stringify!($handle)).field(&self.reach).finish()
            }
        }

        impl<$($bounds)*> $crate::services::handle::Service for $handle<$($params)*> {
            type Server = $server<$($params)*>;
            fn __reached(reach: $crate::services::handle::Reach<Self::Server>) -> Self {
                $handle { reach }
            }
        }

        impl<$($bounds)*> $handle<$($params)*> {
            /// The service that has `name`, whether or not somebody has it yet: each request looks up
            /// who has it then.
            pub fn named(
                system: &$crate::Handle,
                name: impl Into<$crate::Name>,
            ) -> Self {
                $handle { reach: $crate::services::handle::Reach::Name(system.server(name)) }
            }

            /// The pid: of the incarnation it leads to, dead or alive, or of whoever has the name now.
            /// `None`: nobody has the name, or one that is not such a service.
            pub fn pid(&self) -> Option<$crate::Pid> {
                self.reach.server().map(|server| server.pid())
            }

            /// Whether there is a live service behind it.
            pub fn is_alive(&self) -> bool {
                self.reach.server().is_some_and(|server| server.is_alive())
            }

            /// Asks the service to stop, behind the requests that are queued. OTP:
            /// `gen_server:stop/3`.
            pub fn stop(&self, reason: $crate::ExitReason) -> $crate::services::EndOfService {
                $crate::services::EndOfService::of(&self.reach, reason)
            }
        }

        impl<$($bounds)*> $builder<$($params)*> {
            /// Registers the service under `name`. Default: none.
            pub fn name(mut self, name: impl Into<$crate::Name>) -> Self {
                self.common.name = Some(name.into());
                self
            }

            /// Starts the service. From outside any process it is a child of the system's root:
            /// stopped in order at shutdown. OTP: `gen_server:start/3`.
            pub fn start(
                &self,
                system: &$crate::Handle,
            ) -> $crate::services::Starting<$handle<$($params)*>> {
                let start = system.start_with(self.args(), self.common.options());
                $crate::services::Starting::new(start)
            }

            /// Starts the service linked to the calling process, which is its parent. If it fails, the
            /// error comes back *and* the exit signal does. OTP: `gen_server:start_link/3`.
            pub fn start_link(
                &self,
                cx: &$crate::ProcessContext,
            ) -> $crate::services::Starting<$handle<$($params)*>> {
                let start = cx.start_link_with(self.args(), self.common.options());
                $crate::services::Starting::new(start)
            }

            /// The service as a child of a supervisor, with this name if it has one; permanent unless
            /// told otherwise ([`ChildSpec::restart`](crate::ChildSpec::restart)).
            pub fn child_spec(&self, id: impl Into<::std::sync::Arc<str>>) -> $crate::ChildSpec {
                self.common.spec::<$server<$($params)*>>(id.into(), self.args())
            }
        }
    };
}
pub(super) use service;
