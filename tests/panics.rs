//! A panic in user code ends the process it happens in, with its message and place, and nothing
//! else; a second one changes nothing and is reported. Wherever it happens, the accounts are exact.

mod support;

use std::future::{Future, pending};
use std::panic::panic_any;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use noex::prelude::*;
use noex::{AnyMessage, CallError, Down, Event, Exit, Inbox, Process, Routes, StartError};
use support::{DEADLINE, end_of, next, on_all, on_all_built, quiet, reports, settled};

const MS: Duration = Duration::from_millis(1);

/// Panics when it is dropped, if armed.
struct Bomb(&'static str, bool);
impl Drop for Bomb {
    fn drop(&mut self) {
        if self.1 {
            panic!("{}", self.0);
        }
    }
}

/// Where the server panics.
#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    Nowhere,
    Init,
    InitAfterWait,
    Handler,
    HandlerAfterWait,
    /// Before the handler's future exists.
    Early,
    Any,
    AnyEarly,
    Down,
    DownEarly,
    Exit,
    ExitEarly,
    Timeout,
    TimeoutEarly,
    Continue,
    MessageDrop,
    FutureDrop,
}

/// All at which a server that runs panics.
const RUNNING: [At; 15] = [
    At::Handler,
    At::HandlerAfterWait,
    At::Early,
    At::Any,
    At::AnyEarly,
    At::Down,
    At::DownEarly,
    At::Exit,
    At::ExitEarly,
    At::Timeout,
    At::TimeoutEarly,
    At::Continue,
    At::MessageDrop,
    At::FutureDrop,
    At::Nowhere,
];

/// How it ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Quietly,
    TerminatePanics,
    TerminatePanicsEarly,
    StatePanics,
    BothPanic,
}

struct Server {
    at: At,
    end: End,
    terminated: Sender<ExitReason>,
    _state: Bomb,
}

fn bang(at: At) -> ! {
    panic!("bang: {at:?}")
}

/// Does what it takes to have the server panic where it should.
struct Go(Pid);
struct Untyped;
struct Now;

impl GenServer for Server {
    type Args = (At, End, Sender<ExitReason>);

    async fn init(
        (at, end, terminated): Self::Args,
        cx: &mut Context<Self>,
    ) -> Result<Self, InitStop> {
        if at == At::Init {
            bang(at);
        }
        cx.trap_exit(true);
        cx.sleep(MS).await;
        if at == At::InitAfterWait {
            bang(at);
        }
        let armed = matches!(end, End::StatePanics | End::BothPanic);
        Ok(Server {
            at,
            end,
            terminated,
            _state: Bomb("state", armed),
        })
    }

    fn handle_down(&mut self, _: Down, _: &mut Context<Self>) -> impl Future<Output = ()> + Send {
        self.early(At::DownEarly);
        let at = self.at;
        async move {
            if at == At::Down {
                bang(at);
            }
        }
    }

    fn handle_exit(&mut self, _: Exit, _: &mut Context<Self>) -> impl Future<Output = ()> + Send {
        self.early(At::ExitEarly);
        let at = self.at;
        async move {
            if at == At::Exit {
                bang(at);
            }
        }
    }

    fn handle_timeout(&mut self, _: &mut Context<Self>) -> impl Future<Output = ()> + Send {
        self.early(At::TimeoutEarly);
        let at = self.at;
        async move {
            if at == At::Timeout {
                bang(at);
            }
        }
    }

    fn handle_any(
        &mut self,
        _: AnyMessage,
        _: &mut Context<Self>,
    ) -> impl Future<Output = ()> + Send {
        self.early(At::AnyEarly);
        let at = self.at;
        async move {
            if at == At::Any {
                bang(at);
            }
        }
    }

    fn terminate(
        &mut self,
        reason: ExitReason,
        _: &mut Context<Self>,
    ) -> impl Future<Output = ()> + Send {
        let _ = self.terminated.send(reason);
        if self.end == End::TerminatePanicsEarly {
            panic!("terminate");
        }
        let end = self.end;
        async move {
            if matches!(end, End::TerminatePanics | End::BothPanic) {
                panic!("terminate");
            }
        }
    }
}

impl Server {
    fn early(&self, at: At) {
        if self.at == at {
            bang(at);
        }
    }
}

impl HandleContinue<Now> for Server {
    async fn handle_continue(&mut self, _: Now, _: &mut Context<Self>) {
        bang(self.at);
    }
}

impl HandleCall<Go> for Server {
    type Reply = ();
    fn handle_call(
        &mut self,
        Go(other): Go,
        cx: &mut Context<Self>,
    ) -> impl Future<Output = ()> + Send {
        self.early(At::Early);
        async move {
            let at = self.at;
            match at {
                At::Handler => bang(at),
                At::HandlerAfterWait => {
                    cx.sleep(MS).await;
                    bang(at);
                }
                At::Any | At::AnyEarly => cx.send(cx.pid(), Untyped),
                At::Down | At::DownEarly => {
                    cx.monitor(other);
                }
                At::Exit | At::ExitEarly => cx.link(other),
                At::Timeout | At::TimeoutEarly => cx.set_timeout(MS),
                At::Continue => cx.continue_with(Now),
                At::MessageDrop | At::FutureDrop => {
                    let _bomb = Bomb("bang: in the handler", true);
                    if at == At::FutureDrop {
                        cx.sleep(MS).await;
                    }
                }
                _ => {}
            }
        }
    }
}

fn start(
    system: &System,
    at: At,
    end: End,
) -> (ServerRef<Server>, std::sync::mpsc::Receiver<ExitReason>) {
    let (tell, told) = reports();
    let server = system
        .start::<Server>((at, end, tell))
        .wait_timeout(DEADLINE)
        .unwrap();
    (server, told)
}

fn dead(system: &System) -> Pid {
    let process = system.spawn(|_: Inbox<()>| async {}).unwrap();
    end_of(system, &process);
    process.pid()
}

fn message_of(reason: &ExitReason) -> String {
    match reason {
        ExitReason::Panic(panic) => panic.message().to_owned(),
        other => panic!("not a panic: {other:?}"),
    }
}

#[test]
fn wherever_a_server_panics_it_ends_with_that_and_terminates_first() {
    on_all(|system| {
        let dead = dead(system);
        for at in RUNNING {
            let (server, terminated) = start(system, at, End::Quietly);
            let before = settled(system);
            let monitor = system.monitor(server.pid());
            let answer = server.call(Go(dead)).wait_timeout(DEADLINE);
            if at == At::Nowhere {
                assert_eq!(answer, Ok(()));
                server.stop(ExitReason::Normal).wait().unwrap();
                continue;
            }
            let down = monitor.wait_timeout(DEADLINE);
            let reason = down.unwrap().reason;
            assert!(message_of(&reason).starts_with("bang"), "{at:?}");
            assert_eq!(next(system, &terminated), reason);
            // In the handler itself the caller has no reply.
            match at {
                At::Handler | At::HandlerAfterWait | At::Early => {
                    assert_eq!(answer, Err(CallError::Exited(reason)), "{at:?}");
                }
                _ => assert!(
                    matches!(answer, Ok(()) | Err(CallError::Exited(_))),
                    "{at:?}: {answer:?}"
                ),
            }
            let after = settled(system);
            assert_eq!(after.aborted - before.aborted, 1, "{at:?}");
        }
    });
}

/// Panics when it is asked what it takes.
struct Router;
impl GenServer for Router {
    type Args = ();
    async fn init(_: (), _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Router)
    }
    fn routes(_: &mut Routes<'_, Self>) {
        panic!("bang: routes");
    }
}

#[test]
fn routes_that_panic_end_the_server_too() {
    on_all(|system| {
        let router = system.start::<Router>(()).wait_timeout(DEADLINE).unwrap();
        let monitor = system.monitor(router.pid());
        system.send(router.pid(), Untyped);
        let reason = monitor.wait_timeout(DEADLINE).unwrap().reason;
        assert_eq!(message_of(&reason), "bang: routes");
        assert_eq!(settled(system).aborted, 1);
    });
}

#[test]
fn an_init_that_panics_is_a_failed_start_and_nothing_terminates() {
    on_all(|system| {
        for at in [At::Init, At::InitAfterWait] {
            let (tell, told) = reports();
            let before = settled(system);
            let start = system
                .start_with::<Server>((at, End::Quietly, tell), ServerOptions::new().name("init"))
                .wait_timeout(DEADLINE);
            match start {
                Err(StartError::Init(reason)) => {
                    assert!(message_of(&reason).starts_with("bang: Init"));
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(system.whereis("init"), None);
            assert_eq!(settled(system).aborted - before.aborted, 1);
            assert!(told.try_recv().is_err());
        }
    });
}

#[test]
fn a_second_panic_changes_nothing_and_is_reported() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let heard = events.clone();
    let built = move || {
        let heard = heard.clone();
        quiet().on_event(move |event| {
            if let Event::PanicWhileEnding { pid, reason } = event {
                heard.lock().unwrap().push((*pid, message_of(reason)));
            }
        })
    };
    on_all_built(built, |system| {
        let dead = dead(system);
        for (end, expected) in [
            (End::Quietly, vec![]),
            (End::TerminatePanics, vec!["terminate"]),
            (End::TerminatePanicsEarly, vec!["terminate"]),
            (End::StatePanics, vec!["state"]),
            (End::BothPanic, vec!["terminate", "state"]),
        ] {
            events.lock().unwrap().clear();
            let (server, _terminated) = start(system, At::Handler, end);
            let monitor = system.monitor(server.pid());
            let answer = server.call(Go(dead)).wait_timeout(DEADLINE);
            let reason = monitor.wait_timeout(DEADLINE).unwrap().reason;
            assert_eq!(message_of(&reason), "bang: Handler");
            assert_eq!(answer, Err(CallError::Exited(reason.clone())));
            assert_eq!(server.exit_reason(), Some(reason));
            settled(system);
            let seen: Vec<_> = events.lock().unwrap().clone();
            let expected: Vec<_> = expected
                .into_iter()
                .map(|message| (server.pid(), message.to_owned()))
                .collect();
            assert_eq!(seen, expected, "{end:?}");
        }
    });
}

#[test]
fn a_stop_keeps_its_reason_though_terminate_and_the_state_panic() {
    on_all(|system| {
        for end in [
            End::TerminatePanics,
            End::TerminatePanicsEarly,
            End::StatePanics,
            End::BothPanic,
        ] {
            let (server, _terminated) = start(system, At::Nowhere, end);
            let stopped = server.stop(ExitReason::Timeout).wait_timeout(DEADLINE);
            assert_eq!(stopped, Ok(()), "{end:?}");
            assert_eq!(server.exit_reason(), Some(ExitReason::Timeout));
        }
    });
}

/// Waits for ever with a bomb in its future.
struct Hold;
impl HandleCast<Hold> for Server {
    async fn handle_cast(&mut self, _: Hold, _: &mut Context<Self>) {
        let _bomb = Bomb("future", true);
        pending().await
    }
}
impl HandleCast<Bomb> for Server {
    async fn handle_cast(&mut self, _: Bomb, _: &mut Context<Self>) {}
}

#[test]
fn drops_that_panic_while_a_process_is_killed_take_nothing_with_them() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let heard = events.clone();
    let built = move || {
        let heard = heard.clone();
        quiet().on_event(move |event| {
            if let Event::PanicWhileEnding { reason, .. } = event {
                heard.lock().unwrap().push(message_of(reason));
            }
        })
    };
    on_all_built(built, |system| {
        events.lock().unwrap().clear();
        let (server, _terminated) = start(system, At::Nowhere, End::StatePanics);
        server.cast(Hold).unwrap();
        for _ in 0..3 {
            server.cast(Bomb("queued", true)).unwrap();
        }
        support::until(system, || {
            let info = system.process_info(server.pid()).wait().unwrap();
            info.in_handler && info.message_queue_len == 3
        });
        let call = server.call(Go(server.pid()));
        let monitor = system.monitor(server.pid());
        system.exit(server.pid(), ExitReason::Kill);
        let down = monitor.wait_timeout(DEADLINE).unwrap();
        assert_eq!(down.reason, ExitReason::Killed);
        let killed = Err(CallError::Exited(ExitReason::Killed));
        assert_eq!(call.wait_timeout(DEADLINE), killed);
        let stats = settled(system);
        assert_eq!((stats.aborted, stats.undelivered, stats.queued), (1, 4, 0));
        let seen: Vec<_> = events.lock().unwrap().clone();
        assert_eq!(seen[..2], ["future", "state"]);
        // Those to the dead as well: the sender does not notice.
        server.cast(Bomb("late", true)).unwrap();
        assert_eq!(settled(system).undelivered, 5);
    });
}

// --- processes that receive by themselves ---

#[test]
fn wherever_a_process_function_panics_it_ends_with_that() {
    type Job = fn(Inbox<()>) -> Pin<Box<dyn Future<Output = ()> + Send>>;
    let jobs: [Job; 4] = [
        |_| panic!("bang: before there is a future"),
        |_| Box::pin(async { panic!("bang: at once") }),
        |cx| {
            Box::pin(async move {
                cx.sleep(MS).await;
                panic!("bang: after a wait")
            })
        },
        |_| {
            Box::pin(async {
                let _bomb = Bomb("bang: at the end", true);
            })
        },
    ];
    on_all(|system| {
        for job in jobs {
            let process = system.spawn(job).unwrap();
            assert!(message_of(&end_of(system, &process)).starts_with("bang"));
        }
        settled(system);
    });
}

#[test]
fn a_state_machine_that_panics_ends_with_that_and_its_drop_may_panic_too() {
    struct Machine(#[allow(dead_code)] Bomb);
    impl Process for Machine {
        type Message = ();
        fn poll(
            self: Pin<&mut Self>,
            inbox: &mut Inbox<()>,
            _: &mut TaskContext<'_>,
        ) -> Poll<ExitReason> {
            match inbox.try_recv() {
                Some(_) => panic!("bang: the machine"),
                None => Poll::Pending,
            }
        }
    }
    on_all(|system| {
        let machine = system.spawn_process(Machine(Bomb("drop", true))).unwrap();
        machine.send(()).unwrap();
        assert_eq!(message_of(&end_of(system, &machine)), "bang: the machine");
        settled(system);
    });
}

#[test]
fn links_and_monitors_hear_of_a_panic_with_its_message_and_place() {
    on_all(|system| {
        let (tell, told) = reports();
        system
            .spawn(move |mut cx: Inbox<()>| async move {
                cx.trap_exit(true);
                let child = cx
                    .spawn_link(|mut cx: Inbox<()>| async move {
                        cx.recv().await;
                        panic!("of {}", 7)
                    })
                    .unwrap();
                cx.monitor(child.pid());
                child.send(()).unwrap();
                for _ in 0..2 {
                    let reason = match cx.recv().await {
                        noex::Received::Exit(exit) => exit.reason,
                        noex::Received::Down(down) => down.reason,
                        other => panic!("{other:?}"),
                    };
                    let _ = tell.send(reason);
                }
            })
            .unwrap();
        let (one, two) = (next(system, &told), next(system, &told));
        assert_eq!(one, two);
        let ExitReason::Panic(panic) = one else {
            panic!("{one:?}")
        };
        assert_eq!(panic.message(), "of 7");
        let place = panic.location().unwrap();
        assert!(place.file().ends_with("panics.rs"));
    });
}

#[test]
fn a_payload_that_is_no_text_is_a_panic_all_the_same_and_a_long_text_is_cut() {
    on_all(|system| {
        let odd = system
            .spawn(|_: Inbox<()>| async { panic_any(vec![1, 2, 3]) })
            .unwrap();
        assert!(matches!(end_of(system, &odd), ExitReason::Panic(_)));
        let long = system
            .spawn(|_: Inbox<()>| async { panic!("{}", "x".repeat(100_000)) })
            .unwrap();
        assert!(message_of(&end_of(system, &long)).len() < 5000);
    });
}

#[test]
fn the_report_of_a_crash_is_small_whatever_the_panic_and_the_mailbox_hold() {
    let reports = Arc::new(Mutex::new(Vec::new()));
    let heard = reports.clone();
    let system = quiet()
        .on_event(move |event| heard.lock().unwrap().push(event.to_string()))
        .schedulers(1)
        .build()
        .unwrap();
    let process = system
        .spawn(|mut cx: Inbox<String>| async move {
            cx.recv_match(|received| matches!(received, noex::Received::Message(m) if m == "go"))
                .await;
            panic!("{}", "y".repeat(100_000));
        })
        .unwrap();
    for _ in 0..100 {
        process.send("z".repeat(1000)).unwrap();
    }
    process.send("go".to_owned()).unwrap();
    end_of(&system, &process);
    settled(&system);
    let reports = reports.lock().unwrap();
    let crash: Vec<_> = reports.iter().filter(|line| line.contains("yyy")).collect();
    // The crash report, and the end.
    assert_eq!(crash.len(), 2);
    assert!(crash.iter().all(|line| line.len() < 2000));
    assert!(reports.iter().all(|line| !line.contains("zzz")));
}

// --- timers and hooks ---

/// Panics when it is cloned for the third time.
struct Clones(Arc<AtomicUsize>);
impl Clone for Clones {
    fn clone(&self) -> Self {
        if self.0.fetch_add(1, SeqCst) == 2 {
            panic!("cloned too often");
        }
        Clones(self.0.clone())
    }
}

#[test]
fn a_message_that_panics_when_its_timer_clones_it_ends_that_timer_only() {
    on_all(|system| {
        let (tell, told) = reports();
        let receiver = system
            .spawn(move |mut cx: Inbox<Clones>| async move {
                loop {
                    cx.recv().await;
                    let _ = tell.send(());
                }
            })
            .unwrap();
        let clones = Clones(Arc::default());
        let timer = system.send_interval(MS, &receiver, clones);
        next(system, &told);
        next(system, &told);
        // A look while the timer is firing sees neither; so both must say that it is gone.
        support::until(system, || {
            system.read_timer(timer).is_none() && system.cancel_timer(timer).is_none()
        });
        assert!(receiver.is_alive());
        settled(system);
    });
}

#[test]
fn a_timers_message_that_panics_when_the_system_drops_it_harms_nobody() {
    on_all(|system| {
        let receiver = system
            .spawn(|mut cx: Inbox<Bomb>| async move {
                cx.recv().await;
            })
            .unwrap();
        let hour = Duration::from_secs(3600);
        let _timer = system.send_after(hour, &receiver, Bomb("left", true));
    });
}

#[test]
fn hooks_that_panic_are_ignored() {
    let built = || {
        System::builder()
            .on_event(|_| panic!("in the event hook"))
            .on_dead_letter(|_| panic!("in the dead-letter hook"))
    };
    on_all_built(built, |system| {
        let process = system
            .spawn(|mut cx: Inbox<u32>| async move {
                cx.recv().await;
            })
            .unwrap();
        process.send(1).unwrap();
        end_of(system, &process);
        process.send(2).unwrap();
        assert_eq!(settled(system).undelivered, 1);
    });
}

/// Not a test of its own: what the next one looks at, in a program of its own.
#[test]
#[ignore = "run by without_a_hook_a_crash_is_one_line_on_standard_error"]
fn crash_without_a_hook() {
    let system = System::builder().schedulers(1).build().unwrap();
    let crash = |end: ExitReason| {
        let process = system
            .spawn(move |_: Inbox<()>| async move {
                match end {
                    ExitReason::Timeout => panic!("in plain sight"),
                    end => end,
                }
            })
            .unwrap();
        end_of(&system, &process);
    };
    crash(ExitReason::Timeout);
    crash(ExitReason::error("an error"));
    // No news: an orderly end, and somebody's decision.
    crash(ExitReason::Normal);
    crash(ExitReason::Shutdown(None));
    crash(ExitReason::Killed);
    // A panic that is no process's is told as ever.
    let _ = std::thread::spawn(|| panic!("outside")).join();
}

#[test]
fn without_a_hook_a_crash_is_one_line_on_standard_error() {
    let run = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "crash_without_a_hook",
            "--ignored",
            "--nocapture",
        ])
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap();
    assert!(run.status.success());
    let told = String::from_utf8_lossy(&run.stderr);
    let ours: Vec<&str> = told
        .lines()
        .filter(|line| line.starts_with("noex: "))
        .collect();
    assert_eq!(ours.len(), 2, "{told}");
    assert!(
        ours[0].contains("in plain sight") && ours[0].contains("panics.rs"),
        "{told}"
    );
    assert!(ours[1].contains("an error"), "{told}");
    // The default message of a process's panic is not printed beside it.
    assert_eq!(told.matches("in plain sight").count(), 1, "{told}");
    assert_eq!(told.matches("panicked at").count(), 1, "{told}");
}

#[test]
fn an_exit_reason_that_cannot_be_printed_harms_nobody() {
    #[derive(Debug)]
    struct Unspeakable;
    impl std::fmt::Display for Unspeakable {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            panic!("not to be said");
        }
    }
    impl std::error::Error for Unspeakable {}
    // No hook: the end of the process is printed.
    let system = System::builder().schedulers(1).build().unwrap();
    for _ in 0..2 {
        let process = system.spawn(|mut inbox: Inbox<()>| async move {
            inbox.recv().await;
            Err::<(), _>(Unspeakable)
        });
        let process = process.unwrap();
        let end = system.monitor(process.pid());
        process.send(()).unwrap();
        let reason = end.wait_timeout(DEADLINE).unwrap().reason;
        assert!(matches!(reason, ExitReason::Error(_)));
    }
    system.shutdown().wait_timeout(DEADLINE).unwrap();
}
