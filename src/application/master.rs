//! The process that runs the callbacks of one application. OTP: `application_master`.
//!
//! # Invariants
//! 1. `top` is the top process of the tree from the moment it is known until the tree is gone; the master
//!    is linked to it as long.
//! 2. `state` is there exactly as long as `stop` has not been called.
//! 3. Its [`Left`] is dropped when the master has ended and all that was started by links from it on:
//!    so the controller hears that nothing is left, however they ended.

use std::future::Future;
use std::task::Poll;
use std::time::Duration;

use super::Application;
use super::controller::{Begun, Controller, Left};
use super::spec::{ApplicationSpec, Env};
use crate::error::StartError;
use crate::exit::ExitReason;
use crate::gen_server::{
    Context, Exit, GenServer, HandleContinue, HandleInfo, InitStop, ServerRef,
};
use crate::process::call::Call;
use crate::process::context::{ProcessContext, monitor_outside};
use crate::process::pid::Pid;
use crate::sync::Arc;

/// What the controller tells a master.
pub(crate) enum Orders {
    Stop,
}

pub(crate) struct Master<A> {
    spec: Arc<ApplicationSpec>,
    controller: ServerRef<Controller>,
    state: Option<A>,
    top: Option<Pid>,
}

/// Ready when the start of an application is called off: the system shuts down, or the controller is
/// gone.
pub(crate) type CalledOff = Call<()>;

/// What a master starts with.
pub(crate) struct MasterArgs {
    pub(crate) spec: Arc<ApplicationSpec>,
    pub(crate) env: Env,
    pub(crate) controller: ServerRef<Controller>,
    pub(crate) called_off: CalledOff,
    pub(crate) left: Left,
}

/// Starts the application.
struct Begin(Env, CalledOff);

impl<A: Application> GenServer for Master<A> {
    type Args = MasterArgs;

    async fn init(args: MasterArgs, cx: &mut Context<Self>) -> Result<Self, InitStop> {
        cx.trap_exit(true);
        // Not refused: it has started nothing yet.
        drop(cx.leave(Box::new(args.left)));
        // Not in here: the controller does not wait for its masters.
        cx.continue_with(Begin(args.env, args.called_off));
        Ok(Master {
            spec: args.spec,
            controller: args.controller,
            state: None,
            top: None,
        })
    }

    async fn handle_exit(&mut self, exit: Exit, cx: &mut Context<Self>) {
        if exit.from.is_some() && exit.from == self.top {
            self.top = None;
            if let Some(state) = self.state.take() {
                state.stop(cx).await;
            }
            cx.stop(exit.reason);
        }
    }

    /// The controller is gone, or a callback panicked.
    async fn terminate(&mut self, _: ExitReason, cx: &mut Context<Self>) {
        self.stop(cx).await;
    }
}

impl<A: Application> Master<A> {
    async fn begin(&mut self, env: Env, cx: &ProcessContext) -> Result<Pid, StartError> {
        // Set through `set_env::<A>` or `new::<A>`, so it is an `A::Env`. Cloned in here: it is user code.
        let env = env.downcast_ref::<A::Env>().cloned();
        let (state, top) = A::start(env.ok_or(StartError::Refused)?, cx).await?;
        // It is, if it was started as the documentation says.
        cx.link(top);
        self.top = Some(top);
        let state = self.state.insert(state);
        for phase in &self.spec.phases {
            state.start_phase(phase, cx).await?;
        }
        Ok(top)
    }

    /// Stops the application, as far as it stands.
    async fn stop(&mut self, cx: &ProcessContext) {
        let mut state = self.state.take();
        if let (Some(state), Some(_)) = (&mut state, self.top) {
            state.prep_stop(cx).await;
        }
        if let Some(top) = self.top.take() {
            end(cx, top, self.spec.stop_timeout).await;
        }
        if let Some(state) = state {
            state.stop(cx).await;
        }
        self.end_all(cx).await;
    }

    /// Ends whatever the application has linked to this process. OTP: `kill_all_procs/0`, which knows
    /// them by their group leader.
    async fn end_all(&mut self, cx: &ProcessContext) {
        for pid in cx.linked() {
            if Some(pid) != cx.parent() {
                end(cx, pid, self.spec.stop_timeout).await;
            }
        }
    }
}

impl<A: Application> HandleContinue<Begin> for Master<A> {
    async fn handle_continue(&mut self, Begin(env, called_off): Begin, cx: &mut Context<Self>) {
        let timeout = self.spec.start_timeout;
        let late = async {
            match timeout {
                Some(timeout) => cx.sleep(timeout).await,
                None => std::future::pending().await,
            }
            Err(StartError::Timeout)
        };
        let called_off = async {
            // Whatever the answer: it means the same.
            let _ = called_off.await;
            Err(StartError::Init(ExitReason::Shutdown(None)))
        };
        let begun = either(self.begin(env, cx), either(late, called_off)).await;
        let failed = begun.is_err();
        if failed {
            self.state = None;
            self.top = None;
            self.end_all(cx).await;
        }
        // A cast to an unbounded mailbox; a dead controller needs no news.
        let _ = self.controller.cast(Begun(cx.pid(), begun));
        if failed {
            cx.stop(ExitReason::Normal);
        }
    }
}

impl<A: Application> HandleInfo<Orders> for Master<A> {
    async fn handle_info(&mut self, order: Orders, cx: &mut Context<Self>) {
        match order {
            Orders::Stop => {
                self.stop(cx).await;
                cx.stop(ExitReason::Normal);
            }
        }
    }
}

/// Stops a linked process as its parent, and waits until it is gone; kills it after `timeout`.
async fn end(cx: &ProcessContext, pid: Pid, timeout: Option<Duration>) {
    let gone = monitor_outside(cx.core(), pid, timeout);
    cx.exit_child(pid, ExitReason::Shutdown(None));
    if gone.await.is_err() {
        let gone = monitor_outside(cx.core(), pid, None);
        cx.exit(pid, ExitReason::Kill);
        // Whatever the reason: it is gone.
        let _ = gone.await;
    }
}

/// What the first of two futures that is ready gives.
pub(super) async fn either<R>(
    first: impl Future<Output = R> + Send,
    second: impl Future<Output = R> + Send,
) -> R {
    let (mut first, mut second) = (std::pin::pin!(first), std::pin::pin!(second));
    std::future::poll_fn(|cx| match first.as_mut().poll(cx) {
        Poll::Ready(result) => Poll::Ready(result),
        Poll::Pending => second.as_mut().poll(cx),
    })
    .await
}
