//! What the unsafe code does, at sizes that Miri can check: every way through an envelope, a cell and
//! a question. Nearly all on the manual driver, so that one run is all there is to see.
//!
//! Run by `.ci/deep miri`: those named `miri_` in both borrow models, those named `on_threads_` in one,
//! with several seeds. Each test is an ordinary one, too.

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

#[test]
fn miri_casts_infos_and_calls_are_handled_in_place() {
    let (system, driver) = manual();
    let server = start(&system);
    server.cast(Say("a")).unwrap();
    server.send(Say("b")).unwrap();
    server.recipient::<Say>().send(Say("c")).unwrap();
    system.send(server.pid(), 5_u8);
    assert_eq!(lines(&server), ["a", "info b", "info c"]);
    driver.run_until_idle();
    assert_eq!(system.stats().queued, 0);
}

#[test]
fn miri_a_reply_is_taken_polled_or_dropped() {
    let (system, driver) = manual();
    let server = start(&system);
    let mut taken = server.call(Lines);
    let mut polled = server.call(Lines);
    let (dropped, late) = (server.call(Lines), server.call(Lines));
    drop(dropped);
    let (old, new) = (Arc::new(Bell(0.into())), Arc::new(Bell(0.into())));
    for bell in [&old, &old, &new] {
        let waker = Waker::from(bell.clone());
        let poll = Pin::new(&mut polled).poll(&mut TaskContext::from_waker(&waker));
        assert!(poll.is_pending());
    }
    assert!(taken.try_take().is_none());
    driver.run_until_idle();
    drop(late);
    assert_eq!(taken.try_take(), Some(Ok(vec![])));
    assert_eq!((old.0.load(Relaxed), new.0.load(Relaxed)), (0, 1));
    assert_eq!(polled.wait(), Ok(vec![]));
    assert_eq!((Arc::strong_count(&old), Arc::strong_count(&new)), (1, 1));
}

#[test]
fn miri_a_future_that_waits_stays_where_it_is_in_its_envelope_or_a_box() {
    let (system, driver) = manual();
    let (server, drops) = (start(&system), Drops::default());
    let large = server.call(Large(drops.one()));
    let small = server.call(Small(drops.one()));
    server.cast(Say("after")).unwrap();
    driver.advance(2 * SECOND);
    assert_eq!(large.wait(), Ok(1025));
    assert_eq!(small.wait(), Ok(2));
    assert_eq!(lines(&server), ["large", "small", "after"]);
    assert_eq!(drops.count(), 2);
}

#[test]
fn miri_a_parked_handler_is_dropped_with_its_server_and_the_callers_are_told() {
    for large in [false, true] {
        let (system, driver) = manual();
        let (server, drops) = (start(&system), Drops::default());
        let parked: Box<dyn FnOnce() -> CallError> = if large {
            let call = server.call(Large(drops.one()));
            Box::new(|| call.wait().unwrap_err())
        } else {
            let call = server.call(Small(drops.one()));
            Box::new(|| call.wait().unwrap_err())
        };
        driver.run_until_idle();
        let queued = server.call(Small(drops.one()));
        let (request, gone) = (server.call(Answer::Later), server.call(Answer::Now));
        drop(gone);
        server.cast(Say("never handled")).unwrap();
        assert_eq!(drops.count(), 0);
        system.exit(server.pid(), ExitReason::Kill);
        driver.run_until_idle();
        assert_eq!(drops.count(), 2);
        let killed = CallError::Exited(ExitReason::Killed);
        assert_eq!(parked(), killed);
        assert_eq!(queued.wait().unwrap_err(), killed);
        assert_eq!(request.wait().unwrap_err(), killed);
        assert_eq!(server.call(Lines).wait().unwrap_err(), killed);
        server.cast(Say("to nobody")).unwrap();
    }
}

#[test]
fn miri_a_panic_before_or_after_a_wait_ends_the_server_with_terminate() {
    for how in [Crash::AtOnce, Crash::AfterAWait] {
        let (system, driver) = manual();
        let (drops, out) = (
            Drops::default(),
            Arc::<std::sync::Mutex<Vec<String>>>::default(),
        );
        let server = Server {
            drops: Some(drops.one()),
            out: Some(out.clone()),
            ..Server::default()
        };
        let server = system.start::<Server>(server).wait().unwrap();
        let (crashed, queued) = (server.call(how), server.call(Lines));
        driver.advance(3 * SECOND);
        assert!(matches!(
            crashed.wait(),
            Err(CallError::Exited(ExitReason::Panic(_)))
        ));
        assert!(matches!(
            queued.wait(),
            Err(CallError::Exited(ExitReason::Panic(_)))
        ));
        assert_eq!((drops.count(), out.lock().unwrap().len()), (1, 1));
    }
}

#[test]
fn miri_a_reply_waits_for_terminate_and_a_late_continue_is_dropped() {
    let (system, driver) = manual();
    let server = start(&system);
    let mut reply = server.call(Finish);
    driver.run_until_idle();
    assert!(reply.try_take().is_none());
    driver.advance(SECOND);
    assert_eq!(reply.try_take(), Some(Ok("finished".into())));
    assert_eq!(server.exit_reason(), Some(ExitReason::Shutdown(None)));
}

#[test]
fn miri_requests_are_answered_now_later_or_never() {
    let (system, driver) = manual();
    let server = start(&system);
    let (now, later) = (server.call(Answer::Now), server.call(Answer::Later));
    let never = server.call(Answer::Never);
    driver.advance(SECOND);
    assert_eq!(now.wait(), Ok("now".into()));
    assert_eq!(later.wait(), Ok("later".into()));
    assert_eq!(never.wait(), Err(CallError::NoReply));
}

#[test]
fn miri_continues_come_first_and_timeouts_last() {
    let (system, driver) = manual();
    let server = start(&system);
    let both = run(|_, cx| {
        cx.continue_with(Say("1"));
        cx.continue_with(Say("2"));
        async {}
    });
    server.cast(both).unwrap();
    let timeout = run(|_, cx| {
        cx.set_timeout(SECOND);
        async {}
    });
    server.cast(timeout).unwrap();
    driver.run_until_idle();
    driver.advance(SECOND);
    assert_eq!(lines(&server), ["continue 1", "continue 2", "timeout"]);
}

#[test]
fn miri_links_and_monitors_tell_of_ends() {
    let (system, driver) = manual();
    let server = start(&system);
    let watch = run(|_, cx| {
        let linked = cx.spawn_link(|mut inbox: Inbox<()>| async move {
            inbox.recv().await;
            Err::<(), _>("linked")
        });
        let monitored = cx.spawn(|mut inbox: Inbox<()>| async move {
            inbox.recv().await;
        });
        let (linked, monitored) = (linked.unwrap(), monitored.unwrap());
        cx.monitor(monitored.pid());
        let unwanted = cx.monitor(monitored.pid());
        cx.demonitor(unwanted);
        linked.send(()).unwrap();
        monitored.send(()).unwrap();
        async {}
    });
    server.cast(watch).unwrap();
    driver.run_until_idle();
    let lines = lines(&server);
    assert_eq!(lines.len(), 2);
    assert!(lines.contains(&"down normal".into()));
    // Of the dead, everybody hears at once.
    let dead = system.spawn(|_: Inbox<()>| async {}).unwrap();
    driver.run_until_idle();
    let monitor = system.monitor(dead.pid());
    assert_eq!(monitor.wait().unwrap().reason, ExitReason::NoProc);
    let living = system.monitor(server.pid());
    let stop = server.stop_now(ExitReason::Shutdown(None));
    driver.advance(SECOND);
    stop.wait().unwrap();
    assert_eq!(living.wait().unwrap().reason, ExitReason::Shutdown(None));
}

#[test]
fn miri_a_process_may_be_asked_about_itself() {
    let (system, driver) = manual();
    let server = start(&system);
    server.cast(Say("a")).unwrap();
    let info = system.process_info(server.pid());
    driver.run_until_idle();
    assert!(info.wait().is_some());
    // Also one with a bounded mailbox, whose signals lie in its ring.
    let options = ServerOptions::new().mailbox(MailboxPolicy::Bounded {
        capacity: 1,
        overflow: Overflow::Reject,
    });
    let bounded = system
        .start_with::<Server>(Server::default(), options)
        .wait()
        .unwrap();
    bounded.cast(Say("b")).unwrap();
    let info = system.process_info(bounded.pid());
    driver.run_until_idle();
    assert!(info.wait().is_some());
}

#[test]
fn miri_a_bounded_mailbox_rejects_or_pushes_out() {
    for overflow in [Overflow::Reject, Overflow::DropNewest, Overflow::DropOldest] {
        let (system, driver) = manual();
        let options = ServerOptions::new().mailbox(MailboxPolicy::Bounded {
            capacity: 1,
            overflow,
        });
        let server = system
            .start_with::<Server>(Server::default(), options)
            .wait()
            .unwrap();
        let mut first = server.call(Lines);
        let second = server.cast(Say("second"));
        assert_eq!(second.is_err(), overflow == Overflow::Reject);
        if overflow == Overflow::DropOldest {
            assert_eq!(first.try_take(), Some(Err(CallError::Overloaded)));
        } else {
            assert_eq!(server.call(Lines).wait(), Err(CallError::Overloaded));
        }
        driver.run_until_idle();
        let mut waiting = server.cast_async(Say("third"));
        let mut cx = TaskContext::from_waker(Waker::noop());
        assert_eq!(Pin::new(&mut waiting).poll(&mut cx), Poll::Ready(()));
        let mut blocked = server.cast_async(Say("fourth"));
        let _ = Pin::new(&mut blocked).poll(&mut cx);
        let stop = server.stop(ExitReason::Normal);
        system.exit(server.pid(), ExitReason::Kill);
        driver.run_until_idle();
        assert!(!server.is_alive());
        drop(stop);
    }
}

#[test]
fn miri_a_cycle_of_calls_is_an_error() {
    let (system, _driver) = manual();
    let (one, other) = (start(&system), start(&system));
    let reply = one.call(CallBack(other.clone())).wait().unwrap().unwrap();
    let Err(CallError::Cycle(path)) = reply else {
        panic!("{reply:?}")
    };
    assert!(path.to_string().contains(&one.pid().to_string()));
    assert!(lines(&one).is_empty() && lines(&other).is_empty());
}

/// The turn notes what a handler waits for when its call is polled, and looks at it after the poll.
#[test]
fn miri_a_call_that_is_dropped_after_a_poll_leaves_nothing_behind() {
    let (system, driver) = manual();
    let options = ServerOptions::new().mailbox(MailboxPolicy::Bounded {
        capacity: 1,
        overflow: Overflow::DropOldest,
    });
    let target = system
        .start_with::<Server>(Server::default(), options)
        .wait()
        .unwrap();
    let server = start(&system);
    let to = target.clone();
    let job = run(move |_, _| async move {
        let mut call = to.call(Lines);
        poll_fn(|cx| {
            assert!(Pin::new(&mut call).poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        // Pushes the question out of its mailbox, so that nobody holds it but `call`.
        to.cast(Say("instead")).unwrap();
        drop(call);
        std::future::pending::<()>().await;
    });
    server.cast(job).unwrap();
    driver.run_until_idle();
    system.exit(server.pid(), ExitReason::Kill);
    assert_eq!(lines(&target), ["instead"]);
}

#[test]
fn miri_selective_receives_and_timeouts_keep_what_they_pass_over() {
    let (system, driver) = manual();
    let (send, receive) = std::sync::mpsc::channel();
    let process = system
        .spawn(move |mut inbox: Inbox<u32>| async move {
            let two = inbox
                .recv_match(|m| matches!(m, Received::Message(2)))
                .await;
            send.send(format!("{two:?}")).unwrap();
            let none = inbox
                .recv_match_timeout(SECOND, |m| matches!(m, Received::Message(9)))
                .await;
            send.send(format!("{none:?}")).unwrap();
            for _ in 0..3 {
                send.send(format!("{:?}", inbox.recv().await)).unwrap();
            }
            inbox.recv().await;
        })
        .unwrap();
    for n in [1, 3] {
        process.send(n).unwrap();
    }
    driver.run_until_idle();
    for n in [2, 4] {
        process.send(n).unwrap();
    }
    driver.advance(SECOND);
    let got: Vec<String> = receive.try_iter().collect();
    let want = [
        "Message(2)",
        "None",
        "Message(1)",
        "Message(3)",
        "Message(4)",
    ];
    assert_eq!(got, want);
    system.send(process.pid(), "any");
    driver.run_until_idle();
    assert!(!process.is_alive());
}

/// Takes one message a poll, so that it is polled again; and ends with what it has.
struct Machine(Vec<Arc<u32>>, std::sync::mpsc::Sender<Vec<Arc<u32>>>);
impl Process for Machine {
    type Message = Arc<u32>;
    fn poll(
        mut self: Pin<&mut Self>,
        inbox: &mut Inbox<Arc<u32>>,
        _: &mut TaskContext<'_>,
    ) -> Poll<ExitReason> {
        match inbox.try_recv() {
            Some(Received::Message(n)) if *n == 0 => {
                let all = std::mem::take(&mut self.0);
                self.1.send(all).unwrap();
                Poll::Ready(ExitReason::Normal)
            }
            Some(Received::Message(n)) => {
                self.0.push(n);
                Poll::Pending
            }
            _ => Poll::Pending,
        }
    }
}

#[test]
fn miri_a_state_machine_is_polled_for_each_message() {
    let (system, driver) = manual();
    let (send, receive) = std::sync::mpsc::channel();
    let machine = system.spawn_process(Machine(Vec::new(), send)).unwrap();
    for n in [1, 2, 0, 3] {
        machine.send(Arc::new(n)).unwrap();
    }
    driver.run_until_idle();
    assert_eq!(receive.try_recv().unwrap(), [Arc::new(1), Arc::new(2)]);
    machine.send(Arc::new(4)).unwrap();
    assert!(!machine.is_alive());
}

#[test]
fn miri_processes_that_are_not_send_run_on_the_drivers_thread() {
    let (_system, driver) = manual();
    let seen = std::rc::Rc::new(std::cell::Cell::new(0));
    let own = seen.clone();
    let process = driver
        .spawn_local(move |mut inbox: Inbox<u32>| async move {
            while let Received::Message(n) = inbox.recv().await {
                own.set(own.get() + n);
            }
        })
        .unwrap();
    process.send(2).unwrap();
    process.send(3).unwrap();
    driver.run_until_idle();
    assert_eq!((seen.get(), std::rc::Rc::strong_count(&seen)), (5, 2));
    drop(driver);
    assert_eq!(std::rc::Rc::strong_count(&seen), 1);
}

#[test]
fn miri_timers_fire_are_cancelled_and_repeat_on_a_virtual_clock() {
    let (system, driver) = manual();
    let (server, drops) = (start(&system), Drops::default());
    system.send_after(SECOND, &server.recipient::<Say>(), Say("once"));
    let cancelled = system.send_after(SECOND, &server.recipient::<Say>(), Say("never"));
    assert_eq!(system.cancel_timer(cancelled), Some(SECOND));
    let sink = system
        .spawn(|mut inbox: Inbox<Arc<Dropped>>| async move {
            while !matches!(inbox.recv().await, Received::Exit(_)) {}
        })
        .unwrap();
    let tick = system.send_interval(SECOND, &sink, Arc::new(drops.one()));
    driver.advance(3 * SECOND);
    assert_eq!(lines(&server), ["info once"]);
    system.cancel_timer(tick);
    driver.advance(3 * SECOND);
    assert_eq!(drops.count(), 1);
    // One that never fires.
    system.send_after(SECOND, &server.recipient::<Say>(), Say("too late"));
}

#[test]
fn miri_wakers_outlive_the_process_and_its_system() {
    let (system, driver) = manual();
    let (send, receive) = std::sync::mpsc::channel();
    let process = system
        .spawn(move |_: Inbox<()>| async move {
            let mut polls = 0;
            poll_fn(|cx| {
                send.send(cx.waker().clone()).unwrap();
                polls += 1;
                if polls < 3 {
                    Poll::Pending
                } else {
                    Poll::Ready(())
                }
            })
            .await;
        })
        .unwrap();
    driver.run_until_idle();
    receive.try_recv().unwrap().wake();
    driver.run_until_idle();
    let waker = receive.try_recv().unwrap();
    waker.wake_by_ref();
    driver.run_until_idle();
    assert!(!process.is_alive());
    drop((process, driver, system));
    waker.wake_by_ref();
    drop(waker.clone());
    waker.wake();
}

#[test]
fn miri_a_failed_start_leaves_nothing_behind() {
    struct Failing(Dropped);
    impl GenServer for Failing {
        type Args = (Drops, bool);
        async fn init(
            (drops, waits): (Drops, bool),
            cx: &mut Context<Self>,
        ) -> Result<Self, InitStop> {
            let server = Failing(drops.one());
            if waits {
                cx.sleep(SECOND).await;
            }
            drop(server.0);
            Err(ExitReason::Shutdown(None).into())
        }
    }
    let (system, driver) = manual();
    let drops = Drops::default();
    let mut started = [false, true].map(|waits| system.start::<Failing>((drops.clone(), waits)));
    driver.advance(SECOND);
    for start in &mut started {
        let mut cx = TaskContext::from_waker(Waker::noop());
        let Poll::Ready(Err(error)) = Pin::new(start).poll(&mut cx) else {
            panic!("not started")
        };
        assert_eq!(error, StartError::Init(ExitReason::Shutdown(None)));
    }
    assert_eq!(drops.count(), 2);
    // One that nobody lets finish.
    drop(system.start::<Failing>((drops.clone(), true)));
    driver.run_until_idle();
    drop(driver);
    assert_eq!(drops.count(), 3);
}

/// A message whose `Drop` panics, thrown away at each place where that happens.
struct Bomb;
impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("bomb");
    }
}
impl HandleCall<Bomb> for Server {
    type Reply = ();
    async fn handle_call(&mut self, bomb: Bomb, cx: &mut Context<Self>) {
        cx.sleep(SECOND).await;
        drop(bomb);
    }
}
impl HandleCast<Bomb> for Server {
    async fn handle_cast(&mut self, bomb: Bomb, cx: &mut Context<Self>) {
        cx.sleep(SECOND).await;
        drop(bomb);
    }
}

#[test]
fn miri_a_drop_that_panics_takes_nothing_with_it() {
    let (system, driver) = manual();
    // The handler's future, and what is queued behind it.
    let server = start(&system);
    let (parked, queued) = (server.call(Bomb), server.call(Bomb));
    server.cast(Bomb).unwrap();
    driver.run_until_idle();
    system.exit(server.pid(), ExitReason::Kill);
    driver.run_until_idle();
    let killed = CallError::Exited(ExitReason::Killed);
    assert_eq!(parked.wait(), Err(killed.clone()));
    assert_eq!(queued.wait(), Err(killed.clone()));
    // In the handler itself, of a cast.
    let server = start(&system);
    server.cast(Bomb).unwrap();
    let queued = server.call(Lines);
    driver.advance(3 * SECOND);
    assert!(matches!(
        queued.wait(),
        Err(CallError::Exited(ExitReason::Panic(_)))
    ));
}

/// A right to answer, in a message that panics as it is thrown away.
struct Forwarded(Bomb, #[allow(dead_code)] ReplyTo<String>);
struct Forward(Recipient<Forwarded>);
impl HandleRequest<Forward> for Server {
    type Reply = String;
    async fn handle_request(&mut self, to: Forward, reply: ReplyTo<String>, _: &mut Context<Self>) {
        to.0.send(Forwarded(Bomb, reply)).unwrap();
    }
}

#[test]
fn miri_a_right_to_answer_that_is_lost_to_a_panic_is_answered() {
    let (system, driver) = manual();
    let server = start(&system);
    let passing_over = system.spawn(|mut inbox: Inbox<Forwarded>| async move {
        inbox.recv_match(|_| false).await;
    });
    let asleep = system.spawn(|inbox: Inbox<Forwarded>| async move {
        inbox.sleep(SECOND).await;
    });
    for receiver in [passing_over.unwrap(), asleep.unwrap()] {
        driver.run_until_idle();
        let in_time = server.call(Forward(receiver.clone()));
        driver.run_until_idle();
        system.exit(receiver.pid(), ExitReason::Kill);
        let too_late = server.call(Forward(receiver));
        driver.run_until_idle();
        assert_eq!(in_time.wait(), Err(CallError::Exited(ExitReason::Killed)));
        assert_eq!(too_late.wait(), Err(CallError::NoReply));
    }
}

#[test]
fn miri_all_processes_go_with_their_driver_whatever_they_do() {
    let (system, driver) = manual();
    let drops = Drops::default();
    let servers: Vec<_> = (0..3)
        .map(|_| {
            let server = Server {
                drops: Some(drops.one()),
                ..Server::default()
            };
            system.start::<Server>(server).wait().unwrap()
        })
        .collect();
    let parked = servers[0].call(Large(drops.one()));
    driver.run_until_idle();
    let queued = servers[0].call(Small(drops.one()));
    let arrived = servers[1].call(Small(drops.one()));
    let options = SpawnOptions::new();
    let receiver = system.spawn_with(options, |mut inbox: Inbox<Dropped>| async move {
        inbox.recv_match(|_| false).await;
    });
    let receiver = receiver.unwrap();
    receiver.send(drops.one()).unwrap();
    driver.run_until_idle();
    receiver.send(drops.one()).unwrap();
    system.send_after(SECOND, &receiver, drops.one());
    assert_eq!(drops.count(), 0);
    drop(driver);
    assert_eq!(drops.count(), 9);
    let killed = CallError::Exited(ExitReason::Killed);
    assert_eq!(parked.wait().unwrap_err(), killed);
    assert_eq!(queued.wait().unwrap_err(), killed);
    assert_eq!(arrived.wait().unwrap_err(), killed);
    assert!(servers.iter().all(|server| !server.is_alive()));
    drop(system);
    servers[2].cast(Say("to nobody")).unwrap();
}

#[test]
fn miri_a_system_dropped_before_its_driver_leaves_the_driver_usable() {
    let (system, driver) = manual();
    let server = start(&system);
    server.cast(Say("a")).unwrap();
    drop(system);
    driver.run_until_idle();
    assert_eq!(driver.tick(Budget::messages(1)), Tick::Idle);
    drop(driver);
    assert!(!server.is_alive());
}

/// A message that owns something, larger than a pointer.
struct Owned(String, #[allow(dead_code)] Dropped);
impl HandleCast<Owned> for Server {
    async fn handle_cast(&mut self, message: Owned, _: &mut Context<Self>) {
        self.say(message.0.as_str());
    }
}

#[test]
fn miri_mail_goes_to_the_next_incarnation_to_a_hook_or_nowhere() {
    for (bounded, fate) in [
        (false, "keep"),
        (true, "keep"),
        (false, "hand over"),
        (false, "other type"),
        (false, "stop"),
    ] {
        let (system, driver) = manual();
        let drops = Drops::default();
        let handed = Arc::new(std::sync::Mutex::new(Vec::new()));
        let all = handed.clone();
        let mailbox_fate = match fate {
            "hand over" => {
                MailboxFate::hand_over(move |_, message| match message.downcast::<Owned>() {
                    Ok(owned) => all.lock().unwrap().push(owned.0.clone()),
                    Err(other) => drop(other),
                })
            }
            _ => MailboxFate::Keep,
        };
        let starts = AtomicUsize::new(0);
        let child = ChildSpec::worker("a", move |starter| {
            let start = starts.fetch_add(1, Relaxed);
            async move {
                match (start, fate) {
                    (1, "other type") => {
                        let other = starter.spawn_link(|mut inbox: Inbox<()>| async move {
                            inbox.recv().await;
                        });
                        other.map(|other| other.pid())
                    }
                    // It leaves what it was given.
                    (1, "keep") => Err(StartError::Init(ExitReason::Timeout)),
                    _ => {
                        let server = starter.start_link::<Server>(Server::default()).await?;
                        Ok(server.pid())
                    }
                }
            }
        });
        let policy = match bounded {
            true => MailboxPolicy::Bounded {
                capacity: 10,
                overflow: Overflow::Reject,
            },
            false => MailboxPolicy::Unbounded,
        };
        let child = child.name("a").mailbox(policy).mailbox_fate(mailbox_fate);
        let tree = Supervisor::new(Strategy::OneForOne).child(child);
        let tree = tree.start(&system).wait().unwrap();
        let a = tree.supervised::<Server>("a").wait().unwrap();
        let first = a.resolve().unwrap();
        let hang = run(|_, cx| {
            cx.continue_with(Say("never"));
            cx.send_after(Duration::ZERO, &cx.this(), Say("a timer"));
            std::future::pending()
        });
        first.cast(hang).unwrap();
        driver.advance(SECOND);
        first.cast(Owned("one".into(), drops.one())).unwrap();
        first.cast(Say("two")).unwrap();
        let call = first.call(Large(drops.one()));
        system.send(first.pid(), 7_u8);
        first.cast(Owned("three".into(), drops.one())).unwrap();
        driver.run_until_idle();
        assert_eq!(drops.count(), 0);
        if fate == "stop" {
            let terminated = tree.terminate_child("a");
            driver.advance(10 * SECOND);
            terminated.wait().unwrap();
        } else {
            system.exit(first.pid(), ExitReason::Kill);
        }
        driver.run_until_idle();
        assert!(matches!(call.wait(), Err(CallError::Exited(_))));
        assert_eq!(drops.count(), 3, "{fate}");
        match fate {
            "keep" => {
                let lines = a.call(Lines).wait().unwrap();
                assert_eq!(lines, ["one", "two", "three"]);
            }
            "hand over" => {
                assert_eq!(*handed.lock().unwrap(), ["one", "three"]);
                assert!(a.call(Lines).wait().unwrap().is_empty());
            }
            _ => assert!(a.resolve().is_none()),
        }
        driver.run_until_idle();
        assert_eq!(system.stats().queued, 0);
        // Some is left with nobody to take it when the system goes.
        if let Some(second) = a.resolve() {
            second.cast(run(|_, _| std::future::pending())).unwrap();
            second.cast(Owned("four".into(), drops.one())).unwrap();
            driver.run_until_idle();
            system.exit(second.pid(), ExitReason::Kill);
        }
        drop(driver);
        drop((system, tree, a, first));
    }
}

#[test]
fn on_threads_mail_is_left_while_the_next_incarnation_is_started() {
    let system = System::builder()
        .schedulers(2)
        .on_event(|_| {})
        .build()
        .unwrap();
    let drops = Drops::default();
    let child = ChildSpec::worker("a", |starter| {
        starter.start_link::<Server>(Server::default())
    });
    let tree = Supervisor::new(Strategy::OneForOne)
        .child(child.mailbox_fate(MailboxFate::Keep))
        .intensity(1000);
    let tree = tree.start(&system).wait().unwrap();
    let a = tree.supervised::<Server>("a").wait().unwrap();
    for _ in 0..5 {
        for _ in 0..5 {
            a.cast(Owned("mail".into(), drops.one())).unwrap();
        }
        if let Some(pid) = a.pid() {
            system.exit(pid, ExitReason::Kill);
        }
    }
    while a.call(Lines).wait().is_err() {
        std::thread::yield_now();
    }
    system.shutdown().wait().unwrap();
    assert_eq!(drops.count(), 25);
}

#[test]
fn miri_a_budget_stops_a_tick_between_messages() {
    let (system, driver) = manual();
    let server = start(&system);
    for _ in 0..3 {
        server.cast(Say("a")).unwrap();
    }
    assert_eq!(driver.tick(Budget::messages(2)), Tick::More);
    assert_eq!(driver.tick(Budget::messages(2)), Tick::Idle);
    assert_eq!(lines(&server).len(), 3);
    let ready = Arc::new(Bell(0.into()));
    let hook = ready.clone();
    driver.on_ready(move || {
        hook.0.fetch_add(1, Relaxed);
    });
    server.cast(Say("a")).unwrap();
    server.cast(Say("a")).unwrap();
    assert_eq!(ready.0.load(Relaxed), 1);
}

/// On threads, for Miri's sake: it says when two turns of a process are not ordered. Not with stacked
/// borrows, nor with a look for leaks, both for crossbeam-epoch's sake: hence the name without `miri_`.
#[test]
fn on_threads_a_server_that_wanders_keeps_its_state() {
    let system = System::builder()
        .schedulers(2)
        .on_event(|_| {})
        .build()
        .unwrap();
    let (one, other) = (start(&system), start(&system));
    let wait = Duration::from_secs(600);
    let senders = [(one.clone(), "a"), (other.clone(), "b")].map(|(to, line)| {
        std::thread::spawn(move || {
            for _ in 0..5 {
                to.cast(Say(line)).unwrap();
                to.call_with(Lines, wait).wait().unwrap();
            }
        })
    });
    for _ in 0..3 {
        one.call_with(CallOn(other.clone()), wait)
            .wait()
            .unwrap()
            .unwrap();
    }
    for sender in senders {
        sender.join().unwrap();
    }
    for server in [&one, &other] {
        assert_eq!(server.call_with(Lines, wait).wait().unwrap().len(), 5);
    }
    system.exit(one.pid(), ExitReason::Kill);
    let monitor = system.monitor(one.pid());
    assert!(monitor.wait_timeout(wait).is_ok());
}

/// Panics as it is dropped, and has memory to lose.
struct Rude(#[allow(dead_code)] Box<u8>);
impl Drop for Rude {
    fn drop(&mut self) {
        panic!("rude");
    }
}
struct BeRude;
struct BeRudeLater;
impl HandleCall<BeRude> for Server {
    type Reply = Rude;
    async fn handle_call(&mut self, _: BeRude, _: &mut Context<Self>) -> Rude {
        Rude(Box::new(1))
    }
}
impl HandleRequest<BeRudeLater> for Server {
    type Reply = Rude;
    async fn handle_request(
        &mut self,
        _: BeRudeLater,
        reply: ReplyTo<Rude>,
        cx: &mut Context<Self>,
    ) {
        cx.sleep(SECOND).await;
        reply.reply(Rude(Box::new(2)));
    }
}

#[test]
fn miri_an_answer_that_panics_as_it_is_dropped_leaves_nothing_behind() {
    let dropping = |call: noex::Call<Rude>| {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(call)))
    };
    let start = |system: &System| system.start::<Server>(Server::default()).wait().unwrap();
    let (system, driver) = manual();
    // Nobody wants it: it panics in the server, which ends by that.
    for later in [false, true] {
        let server = start(&system);
        let given_up = match later {
            false => server.call(BeRude),
            true => server.call(BeRudeLater),
        };
        assert!(dropping(given_up).is_ok());
        driver.run_until_idle();
        driver.advance(SECOND * 3);
        assert!(matches!(server.exit_reason(), Some(ExitReason::Panic(_))));
    }
    // It is here, and panics where it is given up.
    let server = start(&system);
    let answered = server.call(BeRude);
    driver.run_until_idle();
    assert!(dropping(answered).is_err());
    assert!(server.is_alive());
}

/// A state machine: what it postpones and keeps, and timers that fire, are stopped, and are left.
struct Lockable {
    kept: Option<ReplyTo<u32>>,
    _drops: Dropped,
}

enum Happens {
    Ask(ReplyTo<u32>),
    Keep(ReplyTo<u32>),
    Open,
    Timeout(Dropped),
}

impl noex::GenStateMachine for Lockable {
    type Args = Drops;
    type State = bool;
    type Event = Happens;
    type Timeout = u32;

    async fn init(
        drops: Drops,
        _: &mut noex::MachineContext<Self>,
    ) -> Result<noex::Initial<Self>, InitStop> {
        let machine = Lockable {
            kept: None,
            _drops: drops.one(),
        };
        Ok(noex::Initial::new(machine, false)
            .state_timeout(SECOND, Happens::Timeout(drops.one()))
            .timeout(1, SECOND, Happens::Timeout(drops.one()))
            .timeout(2, 100 * SECOND, Happens::Timeout(drops.one())))
    }

    async fn handle_event(
        &mut self,
        open: &bool,
        event: Happens,
        cx: &mut noex::MachineContext<Self>,
    ) -> noex::Next<Self> {
        match event {
            Happens::Keep(reply) => {
                self.kept = Some(reply);
                noex::Next::keep_state()
            }
            event @ Happens::Ask(_) if !open => noex::Next::keep_state().postpone(event),
            Happens::Ask(reply) => {
                cx.yield_now().await;
                noex::Next::keep_state().reply(reply, 1)
            }
            Happens::Open => noex::Next::state(true),
            Happens::Timeout(_dropped) => noex::Next::keep_state(),
        }
    }
}

#[test]
fn miri_a_state_machine_and_its_timers() {
    let (system, driver) = manual();
    let drops = Drops::default();
    let machine = system.start::<noex::Machine<Lockable>>(drops.clone());
    driver.run_until_idle();
    let machine = machine.wait().unwrap();
    let asks = machine.request(Happens::Ask);
    let kept = machine.request(Happens::Keep);
    driver.run_until_idle();
    machine.cast(Happens::Open).unwrap(); // takes the state timeout back
    driver.run_until_idle();
    assert_eq!((asks.wait(), drops.count()), (Ok(1), 1));
    driver.advance(2 * SECOND);
    assert_eq!(drops.count(), 2);
    system.exit(machine.pid(), ExitReason::Kill);
    driver.run_until_idle();
    assert_eq!(kept.wait(), Err(CallError::Exited(ExitReason::Killed)));
    assert_eq!(drops.count(), 4);
    driver.advance(200 * SECOND);
    assert_eq!(system.stats().undelivered, 0);
}

#[test]
fn miri_a_table_goes_with_its_owner_or_to_its_heir() {
    use noex::ets::{DuplicateBag, OrderedSet, Set, Transfer};
    use noex::{Table, TableError};
    type Gift = Transfer<u32, Dropped, Set, u8>;

    let (system, driver) = manual();
    let drops = Drops::default();
    let (tell, told) = std::sync::mpsc::channel();
    let heir: Recipient<Gift> = system
        .spawn(move |mut cx: Inbox<Gift>| async move {
            let Received::Message(gift) = cx.recv().await else {
                return;
            };
            let second = cx.recv().await;
            tell.send((gift.data, matches!(second, Received::Message(_))))
                .unwrap();
        })
        .unwrap();
    let (give, given) = std::sync::mpsc::channel();
    let (to, object) = (heir.clone(), drops.one());
    let owner = system.spawn(move |mut cx: Inbox<()>| async move {
        let kept: Table<u32, Dropped> = Table::builder().heir(&to, 1).build(&cx).unwrap();
        let gone: Table<u32, Dropped> = Table::new(&cx);
        let gift: Table<u32, Dropped> = Table::new(&cx);
        kept.insert(1, object).unwrap();
        gift.give_away(&to, 2).unwrap();
        let fixed = gone.fix().unwrap();
        give.send((kept, gone, fixed)).unwrap();
        cx.recv().await;
    });
    driver.run_until_idle();
    let (kept, gone, fixed) = given.recv().unwrap();
    let lost: Table<u32, Dropped, DuplicateBag> = system.table(Table::builder()).unwrap();
    lost.insert_many((0..3).map(|n| (n % 2, drops.one())))
        .unwrap();
    system.exit(owner.unwrap().pid(), ExitReason::Kill);
    driver.run_until_idle();
    assert_eq!(told.recv().unwrap(), (2, true));
    // The heir has ended, too, with all that was its.
    assert_eq!(
        (kept.len(), gone.len()),
        (Err(TableError::Gone), Err(TableError::Gone))
    );
    assert_eq!(drops.count(), 1);
    drop(fixed);
    let sorted: Table<u32, u32, OrderedSet> = system.table(Table::builder()).unwrap();
    sorted
        .insert_many((0..40).map(|n| (n * 7 % 40, n)))
        .unwrap();
    assert_eq!(sorted.select_delete(|key, _| key % 2 == 0), Ok(20));
    assert_eq!(sorted.range(10..14), Ok(vec![(11, 13), (13, 19)]));
    assert_eq!(sorted.update_counter(&11, |n| n, 1), Ok(14));
    drop(driver);
    drop(system);
    assert_eq!(lost.len(), Err(TableError::Gone));
    drop(lost);
    assert_eq!(drops.count(), 4);
}
