//! A server whose callbacks do what the test says, and tell of what happens to it.
#![allow(dead_code)] // each test binary uses its own part

use std::future::Future;
use std::pin::Pin;
use std::sync::mpsc::Sender;

use noex::prelude::*;
use noex::{AnyMessage, Call, Down, Exit, InitStop, ReplyTo, Routes};

use crate::support::DEADLINE;

/// What a puppet tells.
#[derive(Debug, PartialEq)]
pub(crate) enum Told {
    Note(u32),
    Down(Pid, ExitReason),
    Exit(Option<Pid>, ExitReason),
    Timeout,
    Any(&'static str),
    Terminate(ExitReason),
    Dropped,
}

pub(crate) type Doing<'a, R> = Pin<Box<dyn Future<Output = R> + Send + 'a>>;
type Doer<R> = dyn for<'a> FnOnce(&'a mut Puppet, &'a mut Context<Puppet>) -> Doing<'a, R> + Send;
type Starter =
    dyn for<'a> FnOnce(&'a mut Context<Puppet>) -> Doing<'a, Result<(), InitStop>> + Send;

/// A message that says what to do.
pub(crate) struct Do<R>(Box<Doer<R>>);

/// Does something with the puppet and its context.
pub(crate) fn act<R>(
    doing: impl for<'a> FnOnce(&'a mut Puppet, &'a mut Context<Puppet>) -> Doing<'a, R> + Send + 'static,
) -> Do<R> {
    Do(Box::new(doing))
}

/// As [`act`], at once.
pub(crate) fn at_once<R: Send + 'static>(
    doing: impl FnOnce(&mut Puppet, &mut Context<Puppet>) -> R + Send + 'static,
) -> Do<R> {
    Do(Box::new(move |puppet, cx| {
        // In the handler's future, not before it.
        Box::pin(async move { doing(puppet, cx) })
    }))
}

/// A message that is told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Note(pub(crate) u32);

/// A request whose right to answer goes to the closure.
#[allow(clippy::type_complexity)] // a closure's type, named once
pub(crate) struct Ask<R>(
    pub(crate) Box<dyn FnOnce(&mut Puppet, ReplyTo<R>, &mut Context<Puppet>) + Send>,
);

pub(crate) fn ask<R>(
    with: impl FnOnce(&mut Puppet, ReplyTo<R>, &mut Context<Puppet>) + Send + 'static,
) -> Ask<R> {
    Ask(Box::new(with))
}

pub(crate) struct Puppet {
    pub(crate) tell: Sender<Told>,
    pub(crate) kept: Vec<ReplyTo<u32>>,
    /// Stops with this after the next down, exit, timeout or untyped message.
    pub(crate) then_stop: Option<ExitReason>,
    terminate: Option<Box<Doer<()>>>,
    silent_drop: bool,
}

/// What a puppet is started with.
pub(crate) struct Strings {
    tell: Sender<Told>,
    init: Option<Box<Starter>>,
    terminate: Option<Box<Doer<()>>>,
    silent_drop: bool,
}

impl Strings {
    pub(crate) fn new(tell: &Sender<Told>) -> Self {
        Strings {
            tell: tell.clone(),
            init: None,
            terminate: None,
            silent_drop: true,
        }
    }

    pub(crate) fn init(
        mut self,
        init: impl for<'a> FnOnce(&'a mut Context<Puppet>) -> Doing<'a, Result<(), InitStop>>
        + Send
        + 'static,
    ) -> Self {
        self.init = Some(Box::new(init));
        self
    }

    pub(crate) fn terminate(mut self, terminate: Do<()>) -> Self {
        self.terminate = Some(terminate.0);
        self
    }

    /// Tells of the state's drop, too.
    pub(crate) fn tell_drop(mut self) -> Self {
        self.silent_drop = false;
        self
    }
}

impl Puppet {
    fn then(&mut self, told: Told, cx: &Context<Self>) {
        self.tell(told);
        if let Some(reason) = self.then_stop.take() {
            cx.stop(reason);
        }
    }

    pub(crate) fn tell(&self, told: Told) {
        let _ = self.tell.send(told); // the test may not listen any more
    }
}

impl Drop for Puppet {
    fn drop(&mut self) {
        if !self.silent_drop {
            self.tell(Told::Dropped);
        }
    }
}

impl GenServer for Puppet {
    type Args = Strings;

    async fn init(strings: Strings, cx: &mut Context<Self>) -> Result<Self, InitStop> {
        let puppet = Puppet {
            tell: strings.tell,
            kept: Vec::new(),
            then_stop: None,
            terminate: strings.terminate,
            silent_drop: strings.silent_drop,
        };
        if let Some(init) = strings.init {
            init(cx).await?;
        }
        Ok(puppet)
    }

    async fn handle_down(&mut self, down: Down, cx: &mut Context<Self>) {
        self.then(Told::Down(down.pid, down.reason), cx);
    }

    async fn handle_exit(&mut self, exit: Exit, cx: &mut Context<Self>) {
        self.then(Told::Exit(exit.from, exit.reason), cx);
    }

    async fn handle_timeout(&mut self, cx: &mut Context<Self>) {
        self.then(Told::Timeout, cx);
    }

    async fn handle_any(&mut self, message: AnyMessage, cx: &mut Context<Self>) {
        self.then(Told::Any(message.type_name()), cx);
    }

    fn routes(routes: &mut Routes<'_, Self>) {
        routes.info::<Note>().info::<Do<()>>();
    }

    async fn terminate(&mut self, reason: ExitReason, cx: &mut Context<Self>) {
        self.tell(Told::Terminate(reason));
        if let Some(terminate) = self.terminate.take() {
            terminate(self, cx).await;
        }
    }
}

impl<R: Send + 'static> HandleCall<Do<R>> for Puppet {
    type Reply = R;
    async fn handle_call(&mut self, Do(doing): Do<R>, cx: &mut Context<Self>) -> R {
        doing(self, cx).await
    }
}
impl<R: Send + 'static> HandleRequest<Ask<R>> for Puppet {
    type Reply = R;
    async fn handle_request(
        &mut self,
        Ask(with): Ask<R>,
        reply: ReplyTo<R>,
        cx: &mut Context<Self>,
    ) {
        with(self, reply, cx);
    }
}
impl HandleCast<Do<()>> for Puppet {
    async fn handle_cast(&mut self, Do(doing): Do<()>, cx: &mut Context<Self>) {
        doing(self, cx).await
    }
}
impl HandleInfo<Do<()>> for Puppet {
    async fn handle_info(&mut self, Do(doing): Do<()>, cx: &mut Context<Self>) {
        doing(self, cx).await
    }
}
impl HandleContinue<Do<()>> for Puppet {
    async fn handle_continue(&mut self, Do(doing): Do<()>, cx: &mut Context<Self>) {
        doing(self, cx).await
    }
}
impl HandleContinue<Note> for Puppet {
    async fn handle_continue(&mut self, Note(n): Note, _: &mut Context<Self>) {
        self.tell(Told::Note(n));
    }
}
impl HandleCast<Note> for Puppet {
    async fn handle_cast(&mut self, Note(n): Note, _: &mut Context<Self>) {
        self.tell(Told::Note(n));
    }
}
impl HandleInfo<Note> for Puppet {
    async fn handle_info(&mut self, Note(n): Note, _: &mut Context<Self>) {
        self.tell(Told::Note(n));
    }
}
impl HandleCall<Note> for Puppet {
    type Reply = u32;
    async fn handle_call(&mut self, Note(n): Note, _: &mut Context<Self>) -> u32 {
        self.tell(Told::Note(n));
        n
    }
}

/// A started puppet.
pub(crate) fn puppet(system: &System, strings: Strings) -> ServerRef<Puppet> {
    system
        .start::<Puppet>(strings)
        .wait_timeout(DEADLINE)
        .expect("a puppet")
}

/// Has the puppet do something, and waits until it is done.
pub(crate) fn done<R: Send + 'static>(
    puppet: &ServerRef<Puppet>,
    doing: impl FnOnce(&mut Puppet, &mut Context<Puppet>) -> R + Send + 'static,
) -> R {
    puppet
        .call(at_once(doing))
        .wait_timeout(DEADLINE)
        .expect("done")
}

/// Why the puppet ended, when it has.
pub(crate) fn end_of<S: GenServer>(system: &System, server: &ServerRef<S>) -> ExitReason {
    system
        .monitor(server.pid())
        .wait_timeout(DEADLINE)
        .expect("its end");
    server.exit_reason().expect("dead")
}

/// Polls a future once, with the waker of whoever polls.
pub(crate) async fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    std::future::poll_fn(|cx| {
        std::task::Poll::Ready(match Pin::new(&mut *future).poll(cx) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

/// A gate that handlers wait at; each that is opened lets all through.
#[derive(Clone, Default)]
pub(crate) struct Gate(std::sync::Arc<std::sync::Mutex<(bool, Vec<std::task::Waker>)>>);

impl Gate {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn open(&self) {
        let wakers = {
            let mut gate = self.0.lock().expect("no panic holds it");
            gate.0 = true;
            std::mem::take(&mut gate.1)
        };
        wakers.into_iter().for_each(std::task::Waker::wake);
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.0.lock().expect("no panic holds it").1.len()
    }

    pub(crate) fn pass(&self) -> impl Future<Output = ()> + Send + use<> {
        let gate = self.0.clone();
        std::future::poll_fn(move |cx| {
            let mut gate = gate.lock().expect("no panic holds it");
            if gate.0 {
                return std::task::Poll::Ready(());
            }
            gate.1.push(cx.waker().clone());
            std::task::Poll::Pending
        })
    }
}

/// Has the puppet wait at the gate, and sees that it does.
pub(crate) fn hold_up(system: &System, puppet: &ServerRef<Puppet>, gate: &Gate) {
    let before = gate.waiting();
    let at = gate.clone();
    puppet
        .cast(act(move |_, _| Box::pin(at.pass())))
        .expect("room");
    while gate.waiting() == before {
        crate::support::pump(system);
    }
}

/// The answer of a call, which must come.
pub(crate) fn answer<R>(call: Call<R>) -> Result<R, noex::CallError> {
    call.wait_timeout(DEADLINE)
}
