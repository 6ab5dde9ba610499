//! Agents: processes that keep a state for others, who send the functions that read and change it.
//! OTP: none; Elixir: `Agent`.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::time::Duration;

use crate::error::SendError;
use crate::exit::ExitReason;
use crate::gen_server::{
    self, Context, GenServer, HandleCall, HandleCast, InitStop, Named, ServerOptions, ServerRef,
};
use crate::handles::{handles, named};
use crate::process::call::{Call, DEFAULT_TIMEOUT};
use crate::process::context::ProcessContext;
use crate::process::spawn::Ties;
use crate::registry::Name;
use crate::sched::core::CoreRef;
use crate::starts::starts;
use crate::supervisor::ChildSpec;
use crate::sync::Arc;
use crate::sys::{ServerSys, Sys};
use crate::system::Handle;

/// A reference to a process that keeps an `S` for others: cheap to clone; does not keep the process
/// running, and leads to one incarnation only ([`NamedAgent`] to whichever has a name). Elixir:
/// `Agent`.
///
/// The functions run in the agent, one after the other, in the order of their sending from each
/// process. While one runs all others wait, so long work belongs into the caller: [`get`](Self::get)
/// what is needed and compute there. (A function cannot wait for others: `.wait()` in it is
/// [`CallError::WouldBlock`](crate::CallError::WouldBlock).)
///
/// A function that panics ends the agent, state and all; whoever waits for it gets
/// [`CallError::Exited`](crate::CallError::Exited).
///
/// # Examples
/// ```
/// use noex::{Agent, System};
///
/// let system = System::new()?;
/// let scores = Agent::start(&system, || vec![3, 1]).wait()?;
/// scores.update(|scores| scores.push(2)).wait()?;
/// scores.cast(|scores| scores.sort())?;
/// assert_eq!(scores.get(|scores| scores.len()).wait()?, 3);
/// assert_eq!(scores.get_and_update(|scores| scores.pop()).wait()?, Some(3));
/// # Ok::<(), noex::Error>(())
/// ```
pub struct Agent<S> {
    server: ServerRef<AgentServer<S>>,
}

/// An agent by name: each request looks up who has the name then. See [`Handle::agent`].
pub struct NamedAgent<S> {
    server: Named<AgentServer<S>>,
}

impl<S> Agent<S> {
    fn new(server: ServerRef<AgentServer<S>>) -> Self {
        Agent { server }
    }
}

handles! {
    /// Asks the agent to stop, behind the requests that are queued. Elixir: `Agent.stop/3`.
    Agent<S: ('static)> { server }, "agent"
}

named!(NamedAgent<S: (Send + 'static)>, Agent, "agent");

impl<S: Send + 'static> Agent<S> {
    /// Starts an agent with the state that `init` makes, in the agent's process. From outside any
    /// process it is a child of the system's root. Elixir: `Agent.start/2`.
    ///
    /// If `init` panics the start fails with [`StartError::Init`](crate::StartError::Init).
    pub fn start(system: &Handle, init: impl FnOnce() -> S + Send + 'static) -> AgentStart<S> {
        Self::start_with(system, ServerOptions::new(), init)
    }

    /// As [`start`](Self::start), with a name or other options.
    pub fn start_with(
        system: &Handle,
        options: ServerOptions,
        init: impl FnOnce() -> S + Send + 'static,
    ) -> AgentStart<S> {
        launch(system.core(), init, &options, Handle::ties())
    }

    /// Starts an agent that is linked to the calling process, which is its parent. Elixir:
    /// `Agent.start_link/2`.
    pub fn start_link(
        cx: &ProcessContext,
        init: impl FnOnce() -> S + Send + 'static,
    ) -> AgentStart<S> {
        Self::start_link_with(cx, ServerOptions::new(), init)
    }

    /// As [`start_link`](Self::start_link), with a name or other options.
    pub fn start_link_with(
        cx: &ProcessContext,
        options: ServerOptions,
        init: impl FnOnce() -> S + Send + 'static,
    ) -> AgentStart<S> {
        let ties = Ties {
            link: true,
            ..Ties::default()
        };
        launch(cx.core(), init, &options, ties)
    }

    /// An agent as the child of a supervisor: each incarnation begins with what `init` makes anew.
    /// Elixir: `Agent.child_spec/1`.
    ///
    /// Give it a [name](ChildSpec::name) and reach it by [`Handle::agent`].
    pub fn child_spec(
        id: impl Into<Arc<str>>,
        init: impl Fn() -> S + Send + Sync + 'static,
    ) -> ChildSpec {
        let init = Arc::new(init);
        ChildSpec::worker(id, move |starter| {
            let init = init.clone();
            let init: Init<S> = Box::new(move || init());
            starter.start_link::<AgentServer<S>>(init)
        })
    }
}

fn launch<S: Send + 'static>(
    core: &CoreRef,
    init: impl FnOnce() -> S + Send + 'static,
    options: &ServerOptions,
    ties: Ties,
) -> AgentStart<S> {
    let init: Init<S> = Box::new(init);
    AgentStart::new(gen_server::start(core, init, options, ties))
}

starts! {
    /// An agent that is being started: [`Agent::start`].
    AgentStart<S: (Send + 'static)>, AgentServer<S>, Agent<S>
}

impl Handle {
    /// An agent with a state of type `S` by name, whether or not somebody has the name yet.
    ///
    /// If something else has it, all requests fail as if nobody had.
    pub fn agent<S: Send + 'static>(&self, name: impl Into<Name>) -> NamedAgent<S> {
        NamedAgent {
            server: self.server(name),
        }
    }
}

/// What can be asked of an agent, however it is reached.
macro_rules! requests {
    ($agent:ty) => {
        impl<S: Send + 'static> $agent {
            /// Gives what `read` makes of the state, within 5 s. Elixir: `Agent.get/2`.
            ///
            /// # Errors
            /// As for a [`Call`].
            pub fn get<R: Send + 'static>(
                &self,
                read: impl FnOnce(&S) -> R + Send + 'static,
            ) -> Call<R> {
                self.get_with(read, DEFAULT_TIMEOUT)
            }

            /// As [`get`](Self::get), with a timeout of its own; `None`: no timeout. A function whose
            /// caller has given up runs all the same. Elixir: `Agent.get/3`.
            ///
            /// # Errors
            /// As for a [`Call`].
            pub fn get_with<R: Send + 'static>(
                &self,
                read: impl FnOnce(&S) -> R + Send + 'static,
                timeout: impl Into<Option<Duration>>,
            ) -> Call<R> {
                self.server.call_with(Get(read, PhantomData), timeout)
            }

            /// Changes the state, and waits until that is done, within 5 s. Elixir: `Agent.update/2`.
            ///
            /// # Errors
            /// As for a [`Call`].
            pub fn update(&self, change: impl FnOnce(&mut S) + Send + 'static) -> Call<()> {
                self.update_with(change, DEFAULT_TIMEOUT)
            }

            /// As [`update`](Self::update), with a timeout of its own; `None`: no timeout. Elixir:
            /// `Agent.update/3`.
            ///
            /// # Errors
            /// As for a [`Call`].
            pub fn update_with(
                &self,
                change: impl FnOnce(&mut S) + Send + 'static,
                timeout: impl Into<Option<Duration>>,
            ) -> Call<()> {
                self.get_and_update_with(change, timeout)
            }

            /// Changes the state, and gives what `change` returns, within 5 s. Elixir:
            /// `Agent.get_and_update/2`.
            ///
            /// # Errors
            /// As for a [`Call`].
            pub fn get_and_update<R: Send + 'static>(
                &self,
                change: impl FnOnce(&mut S) -> R + Send + 'static,
            ) -> Call<R> {
                self.get_and_update_with(change, DEFAULT_TIMEOUT)
            }

            /// As [`get_and_update`](Self::get_and_update), with a timeout of its own; `None`: no
            /// timeout. Elixir: `Agent.get_and_update/3`.
            ///
            /// # Errors
            /// As for a [`Call`].
            pub fn get_and_update_with<R: Send + 'static>(
                &self,
                change: impl FnOnce(&mut S) -> R + Send + 'static,
                timeout: impl Into<Option<Duration>>,
            ) -> Call<R> {
                self.server.call_with(Update(change, PhantomData), timeout)
            }

            /// Changes the state; nobody waits for it. Elixir: `Agent.cast/2`.
            ///
            /// # Errors
            /// [`SendError`]: the agent's bounded mailbox rejects it; the function comes back. A dead
            /// agent is no error.
            pub fn cast<F>(&self, change: F) -> Result<(), SendError<F>>
            where
                F: FnOnce(&mut S) + Send + 'static,
            {
                self.server
                    .cast(Cast(change))
                    .map_err(|SendError(Cast(change))| SendError(change))
            }
        }
    };
}

requests!(Agent<S>);
requests!(NamedAgent<S>);

impl<S: Send + 'static> Agent<S> {
    /// The system side of this agent: see [`sys`](crate::sys). What is asked there a suspended agent
    /// answers as well.
    pub fn sys(&self) -> AgentSys<S> {
        AgentSys {
            sys: self.server.sys(),
        }
    }
}

/// What can be asked of an agent beside what it is there for; dereferences to [`Sys`] for the rest.
pub struct AgentSys<S> {
    sys: ServerSys<AgentServer<S>>,
}

impl<S> Clone for AgentSys<S> {
    fn clone(&self) -> Self {
        AgentSys {
            sys: self.sys.clone(),
        }
    }
}

impl<S> fmt::Debug for AgentSys<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AgentSys").field(&self.pid()).finish()
    }
}

impl<S> Deref for AgentSys<S> {
    type Target = Sys;
    fn deref(&self) -> &Sys {
        &self.sys
    }
}

impl<S: Send + 'static> AgentSys<S> {
    /// A clone of the state. OTP: `sys:get_state/1`.
    ///
    /// # Errors
    /// As for any call.
    pub fn get_state(&self) -> Call<S>
    where
        S: Clone,
    {
        self.with_state(|state| state.clone())
    }

    /// Replaces the state; the old one. OTP: `sys:replace_state/2`.
    ///
    /// # Errors
    /// As for any call.
    pub fn replace_state(&self, state: S) -> Call<S> {
        self.with_state(|old| std::mem::replace(old, state))
    }

    /// Runs `look` on the state, inside the agent. A panic in it ends the agent. OTP:
    /// `sys:replace_state/2` with a function.
    ///
    /// # Errors
    /// As for any call.
    pub fn with_state<R: Send + 'static>(
        &self,
        look: impl FnOnce(&mut S) -> R + Send + 'static,
    ) -> Call<R> {
        self.sys.with_state(|agent| look(&mut agent.0))
    }

    /// Moves the agent to a new version of its state, as
    /// [`ServerSys::change_code`](crate::sys::ServerSys::change_code). Elixir: what `Agent` does in
    /// `code_change/3`.
    ///
    /// # Errors
    /// As there.
    pub fn change_code(
        &self,
        change: impl FnOnce(S) -> Result<S, (S, ExitReason)> + Send + 'static,
    ) -> Call<Result<(), ExitReason>> {
        self.sys.change_code(|agent| match change(agent.0) {
            Ok(new) => Ok(AgentServer(new)),
            Err((old, reason)) => Err((AgentServer(old), reason)),
        })
    }
}

/// Makes the first state.
type Init<S> = Box<dyn FnOnce() -> S + Send>;

pub(crate) struct AgentServer<S>(S);

pub(crate) struct Get<F, R>(F, PhantomData<fn() -> R>);
pub(crate) struct Update<F, R>(F, PhantomData<fn() -> R>);
pub(crate) struct Cast<F>(F);

impl<S: Send + 'static> GenServer for AgentServer<S> {
    type Args = Init<S>;

    async fn init(init: Init<S>, _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(AgentServer(init()))
    }
}

impl<S, F, R> HandleCall<Get<F, R>> for AgentServer<S>
where
    S: Send + 'static,
    F: FnOnce(&S) -> R + Send + 'static,
    R: Send + 'static,
{
    type Reply = R;

    async fn handle_call(&mut self, Get(read, _): Get<F, R>, _: &mut Context<Self>) -> R {
        read(&self.0)
    }
}

impl<S, F, R> HandleCall<Update<F, R>> for AgentServer<S>
where
    S: Send + 'static,
    F: FnOnce(&mut S) -> R + Send + 'static,
    R: Send + 'static,
{
    type Reply = R;

    async fn handle_call(&mut self, Update(change, _): Update<F, R>, _: &mut Context<Self>) -> R {
        change(&mut self.0)
    }
}

impl<S, F> HandleCast<Cast<F>> for AgentServer<S>
where
    S: Send + 'static,
    F: FnOnce(&mut S) + Send + 'static,
{
    async fn handle_cast(&mut self, Cast(change): Cast<F>, _: &mut Context<Self>) {
        change(&mut self.0);
    }
}
