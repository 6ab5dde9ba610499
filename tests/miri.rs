//! What the unsafe code does, at sizes that Miri can check: every way through an envelope, a cell and
//! a question. Nearly all on the manual driver, so that one run is all there is to see.
//!
//! Run by `.ci/deep miri`: those named `miri_` in both borrow models, those named `on_threads_` in one,
//! with several seeds. Each test is an ordinary one, too.

#[path = "miri/calls.rs"]
mod calls;
#[path = "miri/ends.rs"]
mod ends;
#[path = "miri/machines.rs"]
mod machines;
#[path = "miri/mail.rs"]
mod mail;
#[path = "miri/registries.rs"]
mod registries;
#[path = "miri/tables.rs"]
mod tables;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::time::Duration;

use noex::prelude::*;
use noex::{
    Budget, CallError, Down, Driver, Exit, HandleRequest, Inbox, MailboxFate, MailboxPolicy,
    Overflow, Process, Received, Recipient, ReplyTo, SpawnOptions, StartError, Tick,
};

const SECOND: Duration = Duration::from_secs(1);

/// A system whose events are not printed.
fn manual() -> (System, Driver) {
    System::builder()
        .on_event(|_| {})
        .on_dead_letter(|_| {})
        .virtual_clock()
        .manual()
}

/// Counts what is dropped.
#[derive(Clone, Default)]
struct Drops(Arc<AtomicUsize>);

impl Drops {
    fn one(&self) -> Dropped {
        Dropped(self.0.clone())
    }
    fn count(&self) -> usize {
        self.0.load(Relaxed)
    }
}

struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// The server of most tests: keeps lines of text, and does what a message says.
#[derive(Default)]
struct Server {
    lines: Vec<String>,
    later: Vec<ReplyTo<String>>,
    drops: Option<Dropped>,
    out: Option<Arc<std::sync::Mutex<Vec<String>>>>,
}

impl Server {
    fn say(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }
}

impl GenServer for Server {
    type Args = Server;

    async fn init(server: Server, cx: &mut Context<Self>) -> Result<Self, InitStop> {
        cx.trap_exit(true);
        Ok(server)
    }
    async fn handle_down(&mut self, down: Down, _: &mut Context<Self>) {
        self.say(format!("down {}", down.reason));
    }
    async fn handle_exit(&mut self, exit: Exit, _: &mut Context<Self>) {
        self.say(format!("exit {}", exit.reason));
    }
    async fn handle_timeout(&mut self, _: &mut Context<Self>) {
        self.say("timeout");
    }
    async fn terminate(&mut self, reason: ExitReason, cx: &mut Context<Self>) {
        cx.sleep(SECOND).await;
        if let Some(out) = &self.out {
            out.lock().unwrap().push(format!("terminate {reason}"));
        }
    }
}

/// All lines so far.
struct Lines;
impl HandleCall<Lines> for Server {
    type Reply = Vec<String>;
    async fn handle_call(&mut self, _: Lines, _: &mut Context<Self>) -> Vec<String> {
        self.lines.clone()
    }
}

/// Small, and handled without a wait.
struct Say(&'static str);
impl HandleCast<Say> for Server {
    async fn handle_cast(&mut self, Say(line): Say, _: &mut Context<Self>) {
        self.say(line);
    }
}
impl HandleInfo<Say> for Server {
    async fn handle_info(&mut self, Say(line): Say, _: &mut Context<Self>) {
        self.say(format!("info {line}"));
    }
}
impl HandleContinue<Say> for Server {
    async fn handle_continue(&mut self, Say(line): Say, _: &mut Context<Self>) {
        self.say(format!("continue {line}"));
    }
}

/// A future too large for its envelope, aligned as none of noex's own things are, which waits.
struct Large(#[allow(dead_code)] Dropped);
#[repr(align(64))]
struct Block([u8; 1024]);
impl HandleCall<Large> for Server {
    type Reply = u32;
    async fn handle_call(&mut self, message: Large, cx: &mut Context<Self>) -> u32 {
        let mut block = Block([1; 1024]);
        let own = &mut block.0[1000];
        cx.sleep(SECOND).await;
        *own += 1;
        assert_eq!((&raw const block).addr() % 64, 0);
        self.say("large");
        drop(message);
        block.0.iter().map(|&n| u32::from(n)).sum()
    }
}

/// Waits with a reference to itself and to its state, in its envelope.
struct Small(#[allow(dead_code)] Dropped);
impl HandleCall<Small> for Server {
    type Reply = usize;
    async fn handle_call(&mut self, message: Small, cx: &mut Context<Self>) -> usize {
        let (n, state) = (self.lines.len(), &mut *self);
        let held = &n;
        cx.sleep(SECOND).await;
        state.say("small");
        let n = *held + 1;
        drop(message);
        n
    }
}

enum Crash {
    AtOnce,
    AfterAWait,
}
impl HandleCall<Crash> for Server {
    type Reply = ();
    async fn handle_call(&mut self, how: Crash, cx: &mut Context<Self>) {
        let _in_the_future = self.drops.take();
        if let Crash::AfterAWait = how {
            cx.sleep(SECOND).await;
        }
        panic!("as told");
    }
}

enum Answer {
    Now,
    Later,
    Never,
}
impl HandleRequest<Answer> for Server {
    type Reply = String;
    async fn handle_request(
        &mut self,
        how: Answer,
        reply: ReplyTo<String>,
        cx: &mut Context<Self>,
    ) {
        match how {
            Answer::Now => reply.reply("now".into()),
            Answer::Later => {
                self.later.push(reply);
                cx.sleep(SECOND).await;
                for reply in self.later.drain(..) {
                    reply.reply("later".into());
                }
            }
            Answer::Never => drop(reply),
        }
    }
}

/// Stops with a reply that waits for `terminate`.
struct Finish;
impl HandleCall<Finish> for Server {
    type Reply = String;
    async fn handle_call(&mut self, _: Finish, cx: &mut Context<Self>) -> String {
        cx.continue_with(Say("never handled"));
        cx.stop(ExitReason::Shutdown(None));
        "finished".into()
    }
}

/// Runs a future in the server.
type Job = Pin<Box<dyn Future<Output = ()> + Send>>;
type Start = dyn FnOnce(&mut Server, &mut Context<Server>) -> Job + Send;
struct Run(Box<Start>);
impl HandleCast<Run> for Server {
    async fn handle_cast(&mut self, run: Run, cx: &mut Context<Self>) {
        (run.0)(self, cx).await;
    }
}
fn run<F>(job: impl FnOnce(&mut Server, &mut Context<Server>) -> F + Send + 'static) -> Run
where
    F: Future<Output = ()> + Send + 'static,
{
    Run(Box::new(|server, cx| Box::pin(job(server, cx))))
}

/// Calls another server, which the test may make call back.
struct CallOn(ServerRef<Server>);
impl HandleCall<CallOn> for Server {
    type Reply = Result<Vec<String>, CallError>;
    async fn handle_call(&mut self, to: CallOn, _: &mut Context<Self>) -> Self::Reply {
        to.0.call(Lines).await
    }
}
struct CallBack(ServerRef<Server>);
impl HandleCall<CallBack> for Server {
    type Reply = Result<Result<Vec<String>, CallError>, CallError>;
    async fn handle_call(&mut self, to: CallBack, cx: &mut Context<Self>) -> Self::Reply {
        to.0.call(CallOn(cx.this())).await
    }
}

fn start(system: &System) -> ServerRef<Server> {
    system.start::<Server>(Server::default()).wait().unwrap()
}

fn lines(server: &ServerRef<Server>) -> Vec<String> {
    server.call(Lines).wait().unwrap()
}

/// A waker of the host's own.
struct Bell(AtomicUsize);
impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}
