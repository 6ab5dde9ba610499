//! How a server starts, or does not, and who hears of it.

mod puppet;
mod support;

use std::time::Duration;

use noex::prelude::*;
use noex::{CallError, Inbox, Received, Start, StartError, Task};
use puppet::{Gate, Note, Puppet, Strings, Told, act, answer, done, end_of, puppet};
use support::{DEADLINE, next, on_all, reports};

struct Counter {
    count: i64,
}
struct Get;
struct Add(i64);

impl GenServer for Counter {
    type Args = i64;
    async fn init(start: i64, _cx: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Counter { count: start })
    }
}
impl HandleCall<Get> for Counter {
    type Reply = i64;
    async fn handle_call(&mut self, _: Get, _cx: &mut Context<Self>) -> i64 {
        self.count
    }
}
impl HandleCast<Add> for Counter {
    async fn handle_cast(&mut self, Add(n): Add, _cx: &mut Context<Self>) {
        self.count += n
    }
}

#[test]
fn a_counter_counts() {
    let system = System::new().unwrap();
    let counter = system.start::<Counter>(40).wait().unwrap();
    counter.cast(Add(2)).unwrap();
    assert_eq!(counter.call(Get).wait(), Ok(42));
    system.shutdown().wait().unwrap();
    assert!(!counter.is_alive());
}

#[test]
fn a_name_is_taken_once() {
    let system = System::new().unwrap();
    let named = |n: i64| {
        system
            .start_with::<Counter>(n, ServerOptions::new().name("counter"))
            .wait()
    };
    let first = named(1).unwrap();
    assert_eq!(
        named(2).unwrap_err(),
        StartError::AlreadyStarted(first.pid())
    );
    first.stop(ExitReason::Normal).wait().unwrap();
    let second = named(3).unwrap();
    assert_eq!(
        system
            .server::<Counter>("counter")
            .call(Get)
            .wait_timeout(Duration::from_secs(5)),
        Ok(3)
    );
    assert_ne!(first.pid(), second.pid());
}

fn named(name: &str) -> ServerOptions {
    ServerOptions::new().name(name)
}

/// Starts a puppet that must not come up, and says why it did not.
fn failure(start: Start<Puppet>) -> StartError {
    start.wait_timeout(DEADLINE).expect_err("no start")
}

#[test]
fn a_start_that_fails_says_why_runs_no_terminate_and_frees_its_name() {
    on_all(|system| {
        let (tell, told) = reports();
        let start = |strings| system.start_with::<Puppet>(strings, named("it"));
        let ignore = Strings::new(&tell).init(|_| Box::pin(async { Err(InitStop::Ignore) }));
        assert_eq!(failure(start(ignore)), StartError::Ignore);
        assert_eq!(system.whereis("it"), None);

        let stop =
            Strings::new(&tell).init(|_| Box::pin(async { Err(ExitReason::Timeout.into()) }));
        assert_eq!(failure(start(stop)), StartError::Init(ExitReason::Timeout));
        assert_eq!(system.whereis("it"), None);

        let panic = Strings::new(&tell).init(|_| Box::pin(async { panic!("in init") }));
        let StartError::Init(ExitReason::Panic(reason)) = failure(start(panic)) else {
            panic!("not a panic")
        };
        assert_eq!(reason.message(), "in init");
        assert_eq!(system.whereis("it"), None);

        let at = Gate::new(); // never opened
        let wait = Strings::new(&tell).init(move |_| {
            Box::pin(async move {
                at.pass().await;
                Ok(())
            })
        });
        let starting = start(wait);
        let pid = starting.pid().expect("it is there while its init runs");
        assert_eq!(system.whereis("it"), Some(pid));
        system.exit(pid, ExitReason::Kill);
        assert_eq!(failure(starting), StartError::Init(ExitReason::Killed));
        assert_eq!(system.whereis("it"), None);

        let it = start(Strings::new(&tell))
            .wait_timeout(DEADLINE)
            .expect("the name is free");
        assert_eq!(system.whereis("it"), Some(it.pid()));
        assert!(told.try_recv().is_err(), "no terminate ran");
    });
}

#[test]
fn an_init_that_takes_longer_than_its_timeout_is_killed_and_its_name_is_free() {
    on_all(|system| {
        let (tell, _told) = reports();
        let never = Strings::new(&tell).init(|_| Box::pin(std::future::pending()));
        let options = named("slow").timeout(Duration::from_millis(3));
        let starting = system.start_with::<Puppet>(never, options);
        let pid = starting.pid().expect("a process");
        assert_eq!(failure(starting), StartError::Timeout);
        assert_eq!(system.whereis("slow"), None);
        assert!(!system.is_alive(pid));
        system
            .start_with::<Puppet>(Strings::new(&tell), named("slow"))
            .wait_timeout(DEADLINE)
            .expect("the name is free");
    });
}

#[test]
fn messages_sent_while_init_runs_are_handled_after_it() {
    on_all(|system| {
        let (tell, told) = reports();
        let (gate, note) = (Gate::new(), tell.clone());
        let at = gate.clone();
        let starting = system.start::<Puppet>(Strings::new(&tell).init(move |_| {
            Box::pin(async move {
                at.pass().await;
                let _ = note.send(Told::Note(1));
                Ok(())
            })
        }));
        let pid = starting.pid().expect("a process");
        let server = system.server_ref::<Puppet>(pid).expect("a puppet");
        server.cast(Note(2)).unwrap();
        let call = server.call(Note(3));
        gate.open();
        starting.wait_timeout(DEADLINE).expect("a start");
        assert_eq!(answer(call), Ok(3));
        for n in 1..=3 {
            assert_eq!(next(system, &told), Told::Note(n));
        }
    });
}

#[test]
fn a_failed_start_link_is_an_error_and_an_exit_signal_as_well() {
    on_all(|system| {
        let (tell, told) = reports();
        let parent = puppet(system, Strings::new(&tell));
        let failing = |tell: &_, trap| {
            let strings =
                Strings::new(tell).init(|_| Box::pin(async { Err(ExitReason::Timeout.into()) }));
            act(move |_, cx| {
                cx.trap_exit(trap);
                Box::pin(async move {
                    let start = cx.start_link::<Puppet>(strings);
                    let pid = start.pid().expect("a process");
                    (pid, start.await.map(|_| ()))
                })
            })
        };
        let (child, error) = answer(parent.call(failing(&tell, true))).unwrap();
        assert_eq!(error, Err(StartError::Init(ExitReason::Timeout)));
        assert_eq!(
            next(system, &told),
            Told::Exit(Some(child), ExitReason::Timeout)
        );
        // One that does not trap ends by it: before its handler goes on, or right after.
        let last = answer(parent.call(failing(&tell, false)));
        assert!(
            matches!(last, Ok(_) | Err(CallError::Exited(ExitReason::Timeout))),
            "{last:?}"
        );
        assert_eq!(end_of(system, &parent), ExitReason::Timeout);
        assert!(told.try_recv().is_err(), "no terminate");
    });
}

#[test]
fn start_monitor_gives_a_down_for_a_server_that_started_and_none_for_one_that_did_not() {
    on_all(|system| {
        let (tell, told) = reports();
        let parent = puppet(system, Strings::new(&tell));
        let start = |strings: Strings| {
            let start = act(move |_, cx| {
                Box::pin(async move {
                    cx.start_monitor::<Puppet>(strings)
                        .await
                        .map(|(server, _)| server)
                })
            });
            answer(parent.call(start)).expect("an answer")
        };
        let (quiet, _) = reports();
        let failing = Strings::new(&quiet).init(|_| Box::pin(async { Err(InitStop::Ignore) }));
        assert_eq!(start(failing), Err(StartError::Ignore));
        let child = start(Strings::new(&quiet)).expect("a child");
        system.exit(child.pid(), ExitReason::Timeout);
        assert_eq!(
            next(system, &told),
            Told::Down(child.pid(), ExitReason::Timeout)
        );
        done(&parent, |_, _| ());
        assert!(told.try_recv().is_err(), "one down");
    });
}

#[test]
fn a_process_that_receives_by_itself_starts_servers_as_a_server_does() {
    on_all(|system| {
        let (tell, told) = reports();
        let starter = move |mut cx: Inbox<()>| async move {
            let linked = cx.start_link::<Counter>(1).await.expect("a start");
            let info = cx.system().process_info(linked.pid()).await;
            assert_eq!(info.expect("it lives").parent, Some(cx.pid()));

            let options = ServerOptions::new().name("watched");
            let start = cx.start_monitor_with::<Counter>(2, options);
            let (watched, monitor) = start.await.expect("a start");
            assert_eq!(cx.system().whereis("watched"), Some(watched.pid()));
            assert_eq!(watched.call(Get).await, Ok(2));
            cx.exit(watched.pid(), ExitReason::Kill);
            let Received::Down(down) = cx.recv().await else {
                panic!("the end of the one that is watched")
            };
            assert_eq!((down.monitor, down.reason), (monitor, ExitReason::Killed));

            let loose = cx.start::<Counter>(3).await.expect("a start");
            let _ = tell.send((linked, loose));
            std::future::pending::<()>().await;
        };
        let starter = system.spawn(starter).expect("a running system");
        let (linked, loose) = next(system, &told);
        system.exit(starter.pid(), ExitReason::Kill);
        assert_eq!(end_of(system, &linked), ExitReason::Killed);
        assert_eq!(answer(loose.call(Get)), Ok(3));
    });
}

/// Is not started.
struct Refuses;

impl GenServer for Refuses {
    type Args = ();
    async fn init(_: (), _: &mut Context<Self>) -> Result<Self, InitStop> {
        Err(InitStop::Stop(ExitReason::Timeout))
    }
}

#[test]
fn a_task_hears_of_a_linked_start_that_fails_by_the_error_and_the_exit() {
    on_all(|system| {
        let task = Task::async_nolink(system, |mut cx| async move {
            cx.trap_exit(true);
            let error = cx.start_link::<Refuses>(()).await.expect_err("no server");
            let Received::Exit(exit) = cx.recv().await else {
                panic!("the exit of what did not start")
            };
            (error, exit.reason)
        });
        let reason = ExitReason::Timeout;
        let heard = (StartError::Init(reason.clone()), reason);
        assert_eq!(task.wait_timeout(DEADLINE), Ok(heard));
    });
}
