//! Servers to supervise, and the systems to do it on.
#![allow(dead_code)] // each test binary uses its own part

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::{Duration, Instant};

use noex::prelude::*;
use noex::{Budget, ChildStatus, Driver};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// Something that happened to a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Note {
    /// `init` is done.
    Up(&'static str),
    /// `terminate` has begun.
    Down(&'static str),
}

/// `Up` for each letter.
pub(crate) fn ups(ids: &'static str) -> Vec<Note> {
    (0..ids.len()).map(|n| Note::Up(&ids[n..=n])).collect()
}

/// How a probe behaves. Its inits are counted from 0, over all incarnations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conduct {
    Good,
    /// Stops with `Timeout` in so many inits.
    FailInits {
        from: u32,
        failures: u32,
    },
    /// The first so many.
    IgnoreInits(u32),
    HangInInit,
    HangInInitTrapping,
    /// In all from that one on.
    HangInInits {
        from: u32,
    },
    HangInTerminate,
    /// Ends normally, at once.
    StopAfterInit,
    /// Takes the link to its parent back.
    UnlinkInInit,
    /// Asks the supervisor of that name for its children before it is one.
    AskInInit(&'static str),
}

#[derive(Clone)]
pub(crate) struct ProbeArgs {
    id: &'static str,
    conduct: Conduct,
    inits: Arc<AtomicU32>,
    notes: Arc<Mutex<Sender<Note>>>,
    living: Arc<AtomicUsize>,
}

/// A server that notes its ups and downs.
pub(crate) struct Probe(ProbeArgs);

impl Drop for Probe {
    fn drop(&mut self) {
        self.0.living.fetch_sub(1, SeqCst);
    }
}

impl ProbeArgs {
    /// As this one, but it behaves otherwise, and its inits are counted from 0.
    pub(crate) fn behaving(self, conduct: Conduct) -> Self {
        let inits = Arc::default();
        ProbeArgs {
            conduct,
            inits,
            ..self
        }
    }

    fn note(&self, note: Note) {
        // A test that is over listens no more.
        let _ = self.notes.lock().unwrap().send(note);
    }
}

pub(crate) struct Boom;
pub(crate) struct Ping;
pub(crate) struct Quit(pub(crate) ExitReason);
pub(crate) struct Forge(pub(crate) Pid, pub(crate) ExitReason);
struct Leave;

impl GenServer for Probe {
    type Args = ProbeArgs;

    async fn init(args: ProbeArgs, cx: &mut Context<Self>) -> Result<Self, InitStop> {
        let init = args.inits.fetch_add(1, SeqCst);
        match args.conduct {
            Conduct::FailInits { from, failures } if (from..from + failures).contains(&init) => {
                return Err(ExitReason::Timeout.into());
            }
            Conduct::IgnoreInits(inits) if init < inits => return Err(InitStop::Ignore),
            Conduct::HangInInit => pending::<()>().await,
            Conduct::HangInInitTrapping => {
                cx.trap_exit(true);
                pending::<()>().await;
            }
            Conduct::HangInInits { from } if init >= from => pending::<()>().await,
            Conduct::StopAfterInit => cx.continue_with(Leave),
            Conduct::UnlinkInInit => cx.unlink(cx.parent().unwrap()),
            Conduct::AskInInit(name) => {
                let supervisor = cx.system().supervisor(name).unwrap();
                supervisor.which_children().await.unwrap();
            }
            _ => {}
        }
        cx.trap_exit(true);
        args.living.fetch_add(1, SeqCst);
        args.note(Note::Up(args.id));
        Ok(Probe(args))
    }

    async fn terminate(&mut self, _: ExitReason, _: &mut Context<Self>) {
        self.0.note(Note::Down(self.0.id));
        if self.0.conduct == Conduct::HangInTerminate {
            pending::<()>().await;
        }
    }

    async fn handle_exit(&mut self, exit: noex::Exit, cx: &mut Context<Self>) {
        cx.stop(exit.reason);
    }
}

impl HandleCast<Boom> for Probe {
    async fn handle_cast(&mut self, _: Boom, _: &mut Context<Self>) {
        panic!("as told");
    }
}

impl HandleCast<Quit> for Probe {
    async fn handle_cast(&mut self, Quit(reason): Quit, cx: &mut Context<Self>) {
        cx.stop(reason);
    }
}

impl HandleCall<Ping> for Probe {
    type Reply = ();
    async fn handle_call(&mut self, _: Ping, _: &mut Context<Self>) {}
}

impl HandleCall<Forge> for Probe {
    type Reply = ();
    async fn handle_call(&mut self, Forge(to, reason): Forge, cx: &mut Context<Self>) {
        cx.exit(to, reason);
    }
}

impl HandleContinue<Leave> for Probe {
    async fn handle_continue(&mut self, _: Leave, cx: &mut Context<Self>) {
        cx.stop(ExitReason::Normal);
    }
}

/// The ups and downs of some probes.
pub(crate) struct Life {
    send: Arc<Mutex<Sender<Note>>>,
    notes: Receiver<Note>,
    living: Arc<AtomicUsize>,
}

impl Life {
    pub(crate) fn probe(&self, id: &'static str, conduct: Conduct) -> ProbeArgs {
        ProbeArgs {
            id,
            conduct,
            inits: Arc::default(),
            notes: self.send.clone(),
            living: self.living.clone(),
        }
    }

    /// A probe as a child with that id and name.
    pub(crate) fn conduct(&self, id: &'static str, conduct: Conduct) -> ChildSpec {
        ChildSpec::server::<Probe>(id, self.probe(id, conduct)).name(id)
    }

    pub(crate) fn child(&self, id: &'static str) -> ChildSpec {
        self.conduct(id, Conduct::Good)
    }

    pub(crate) fn children<const N: usize>(&self, ids: [&'static str; N]) -> [ChildSpec; N] {
        ids.map(|id| self.child(id))
    }

    /// What comes next is exactly this; with nothing expected, nothing has come.
    #[track_caller]
    pub(crate) fn expect(&self, world: &World, notes: &[Note]) {
        let seen: Vec<Note> = notes.iter().map(|_| world.next(&self.notes)).collect();
        assert_eq!(seen, notes);
        if notes.is_empty() {
            assert_eq!(self.notes.try_recv(), Err(TryRecvError::Empty));
        }
    }

    /// What comes next.
    #[track_caller]
    pub(crate) fn next(&self, world: &World) -> Note {
        world.next(&self.notes)
    }

    /// How many probes there are.
    pub(crate) fn living(&self) -> usize {
        self.living.load(SeqCst)
    }
}

/// A system, and its driver if it is a manual one.
pub(crate) struct World {
    pub(crate) system: System,
    driver: Option<Driver>,
}

impl World {
    pub(crate) fn threads(schedulers: usize) -> Self {
        let builder = System::builder().on_event(|_| {}).schedulers(schedulers);
        World {
            system: builder.build().unwrap(),
            driver: None,
        }
    }

    /// A system on threads, with hooks of the test's own.
    pub(crate) fn of(system: System) -> Self {
        World {
            system,
            driver: None,
        }
    }

    pub(crate) fn manual(seed: u64) -> Self {
        let builder = System::builder()
            .on_event(|_| {})
            .virtual_clock()
            .seed(seed);
        let (system, driver) = builder.manual();
        World {
            system,
            driver: Some(driver),
        }
    }

    pub(crate) fn recorded(seed: u64) -> Self {
        let builder = System::builder()
            .on_event(|_| {})
            .virtual_clock()
            .seed(seed)
            .record();
        let (system, driver) = builder.manual();
        World {
            system,
            driver: Some(driver),
        }
    }

    pub(crate) fn life(&self) -> Life {
        let (send, notes) = channel();
        Life {
            send: Arc::new(Mutex::new(send)),
            notes,
            living: Arc::default(),
        }
    }

    #[track_caller]
    pub(crate) fn start(&self, supervisor: Supervisor) -> SupervisorRef {
        supervisor
            .start(&self.system)
            .wait_timeout(10 * SECOND)
            .unwrap()
    }

    #[track_caller]
    pub(crate) fn pid(&self, name: &str) -> Pid {
        self.system.whereis(name).expect(name)
    }

    pub(crate) fn server(&self, name: &'static str) -> Named<Probe> {
        self.system.server(name)
    }

    pub(crate) fn crash(&self, name: &'static str) {
        self.server(name).cast(Boom).unwrap();
    }

    #[track_caller]
    pub(crate) fn status(&self, sup: &SupervisorRef, id: &str) -> Option<ChildStatus> {
        let children = sup.which_children().wait_timeout(10 * SECOND).unwrap();
        children
            .into_iter()
            .find(|child| &*child.id == id)
            .map(|child| child.status)
    }

    /// The ids of the children that run.
    #[track_caller]
    pub(crate) fn running(&self, sup: &SupervisorRef) -> Vec<String> {
        let children = sup.which_children().wait_timeout(10 * SECOND).unwrap();
        let running = children.iter().filter(|child| child.pid().is_some());
        running.map(|child| child.id.to_string()).collect()
    }

    /// Why a process, which may be gone already, ended.
    #[track_caller]
    pub(crate) fn wait_for_end(&self, pid: Pid) -> ExitReason {
        self.system
            .monitor(pid)
            .wait_timeout(10 * SECOND)
            .unwrap()
            .reason
    }

    /// Why a supervisor ended, which it does.
    #[track_caller]
    pub(crate) fn end_of(&self, sup: &SupervisorRef) -> ExitReason {
        self.until(|| sup.exit_reason().is_some());
        sup.exit_reason().unwrap()
    }

    /// What comes through `channel` next.
    #[track_caller]
    pub(crate) fn next<T>(&self, channel: &Receiver<T>) -> T {
        match &self.driver {
            None => channel.recv_timeout(10 * SECOND).expect("in time"),
            Some(driver) => channel.try_recv().unwrap_or_else(|_| {
                driver.run_until_idle();
                channel
                    .try_recv()
                    .expect("something comes before the system is idle")
            }),
        }
    }

    /// Waits until it holds; a manual system is idle by then or never.
    #[track_caller]
    pub(crate) fn until(&self, mut holds: impl FnMut() -> bool) {
        self.settle();
        if self.driver.is_some() {
            assert!(holds());
            return;
        }
        let deadline = Instant::now() + 10 * SECOND;
        while !holds() {
            assert!(Instant::now() < deadline, "in time");
            std::thread::yield_now();
        }
    }

    /// Runs a manual system until it is idle.
    pub(crate) fn settle(&self) {
        if let Some(driver) = &self.driver {
            driver.run_until_idle();
        }
    }

    /// Runs a manual system for so many messages.
    pub(crate) fn tick(&self, messages: u32) {
        if let Some(driver) = &self.driver {
            driver.tick(Budget::messages(messages));
        }
    }

    pub(crate) fn advance(&self, time: Duration) {
        self.driver.as_ref().expect("a virtual clock").advance(time);
    }

    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        let driver = self.driver.as_ref().expect("a manual system");
        driver.next_deadline()
    }

    /// A future's output, if it is there.
    pub(crate) fn poll<F: Future + Unpin>(&self, future: &mut F) -> Option<F::Output> {
        let mut cx = TaskContext::from_waker(Waker::noop());
        match Pin::new(future).poll(&mut cx) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    pub(crate) fn take_log(&self) -> String {
        self.driver.as_ref().expect("a manual system").take_log()
    }

    /// Ends the system, and looks whether all messages are accounted for.
    #[track_caller]
    pub(crate) fn finish(&self) {
        let mut end = self.system.shutdown();
        if let Some(driver) = &self.driver {
            // Children that hang cost time.
            for _ in 0..60 {
                if self.poll(&mut end).is_some() {
                    break;
                }
                driver.advance(SECOND);
            }
            let stats = self.system.stats();
            assert_eq!(stats.queued, 0, "{stats:?}");
        } else {
            end.wait_timeout(60 * SECOND).unwrap();
        }
    }
}

/// Runs a test on one thread, on four, and on the manual driver with 100 seeds.
pub(crate) fn everywhere(test: impl Fn(&World)) {
    for threads in [1, 4] {
        let world = World::threads(threads);
        test(&world);
        world.finish();
    }
    in_virtual_time(test);
}

/// Runs a test on the manual driver with 100 seeds.
pub(crate) fn in_virtual_time(test: impl Fn(&World)) {
    with_seeds(100, |world, _| test(world));
}

/// Runs a test on the manual driver with so many seeds; it is given a source of numbers below one.
pub(crate) fn with_seeds(seeds: u64, test: impl Fn(&World, &mut dyn FnMut(usize) -> usize)) {
    for seed in 0..seeds {
        let told = Told(seed);
        let world = World::manual(seed);
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        test(&world, &mut |below| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 33) as usize % below
        });
        world.finish();
        drop(told);
    }
}

/// Says with which seed a test failed.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with seed {}", self.0);
        }
    }
}
