//! Agents: functions that run in the process that keeps the state.

mod support;

use std::future::{Future, pending};
use std::sync::mpsc::channel;
use std::time::Duration;

use noex::prelude::*;
use noex::{Agent, CallError, Inbox, MailboxPolicy, Overflow, Recipient, SendError, StartError};
use support::{DEADLINE, end_of, next, on_all, quiet, reports, settled, until};

/// Runs `body` as a process, and gives what it returns.
fn run<T, F>(system: &System, body: impl FnOnce(Inbox<()>) -> F + Send + 'static) -> T
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let (tell, told) = reports();
    spawn(system, move |cx| async move {
        let _ = tell.send(body(cx).await);
    });
    next(system, &told)
}

fn spawn<F>(system: &System, body: impl FnOnce(Inbox<()>) -> F + Send + 'static) -> Recipient<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    system.spawn(body).expect("a running system")
}

fn counter(system: &System, start: u64) -> Agent<u64> {
    let agent = Agent::start(system, move || start);
    agent.wait_timeout(DEADLINE).expect("a start")
}

fn is_panic<T: std::fmt::Debug>(answer: Result<T, CallError>) -> bool {
    matches!(answer, Err(CallError::Exited(ExitReason::Panic(panic))) if panic.message() == "as it should")
}

#[test]
fn functions_read_and_change_the_state() {
    on_all(|system| {
        let agent = counter(system, 1);
        assert_eq!(agent.get(|n| n + 100).wait(), Ok(101));
        assert_eq!(agent.update(|n| *n += 1).wait(), Ok(()));
        let both = agent.get_and_update(|n| std::mem::replace(n, 10)).wait();
        assert_eq!(both, Ok(2));
        agent.cast(|n| *n *= 3).expect("room");
        assert_eq!(agent.get(|n| *n).wait(), Ok(30), "behind the cast");
    });
}

#[test]
fn the_state_is_made_and_used_in_the_agents_process() {
    on_all(|system| {
        let (tell, told) = reports();
        struct State(std::sync::mpsc::Sender<&'static str>);
        impl Drop for State {
            fn drop(&mut self) {
                let _ = self.0.send("dropped");
            }
        }
        let agent = run(system, move |cx| async move {
            let agent = Agent::start(&cx.system(), move || State(tell)).await;
            agent.expect("a start")
        });
        agent.stop(ExitReason::Normal).wait().expect("its end");
        assert_eq!(told.try_recv(), Ok("dropped"));
    });
}

#[test]
fn updates_of_many_are_each_atomic() {
    on_all(|system| {
        let agent = counter(system, 0);
        let (tell, told) = reports();
        for _ in 0..10 {
            let (agent, tell) = (agent.clone(), tell.clone());
            spawn(system, move |_| async move {
                for _ in 0..20 {
                    agent.update(|n| *n += 1).await.expect("an answer");
                }
                let _ = tell.send(());
            });
        }
        for _ in 0..10 {
            next(system, &told);
        }
        assert_eq!(agent.get(|n| *n).wait(), Ok(200));
    });
}

#[test]
fn a_function_that_panics_ends_the_agent() {
    on_all(|system| {
        let crashed = counter(system, 0);
        let end = crashed.get(|_| -> u64 { panic!("as it should") });
        let queued = crashed.get(|n| *n);
        assert!(is_panic(end.wait()));
        assert!(is_panic(queued.wait()));
        assert!(is_panic(crashed.update(|n| *n += 1).wait()));
        assert!(!crashed.is_alive());
        assert!(matches!(crashed.exit_reason(), Some(ExitReason::Panic(_))));

        let crashed = counter(system, 0);
        crashed.cast(|_| panic!("as it should")).expect("room");
        assert!(is_panic(crashed.update(|n| *n += 1).wait()));
        // To the dead: no error, but counted.
        let before = settled(system).undelivered;
        crashed.cast(|n| *n += 1).expect("no error");
        assert_eq!(settled(system).undelivered, before + 1);
    });
}

#[test]
fn a_caller_that_gives_up_does_not_stop_its_function() {
    on_all(|system| {
        let agent = counter(system, 0);
        drop(agent.update_with(|n| *n += 1, None));
        drop(agent.get_and_update_with(|n| *n += 1, Duration::ZERO));
        assert_eq!(agent.get_with(|n| *n, None).wait(), Ok(2));
    });
}

#[test]
fn a_request_has_a_timeout() {
    // Threads only: the agent has to be busy while others wait.
    let system = quiet().schedulers(2).build().expect("threads");
    let agent = counter(&system, 0);
    let (go, gone) = channel::<()>();
    agent
        .cast(move |_| {
            let _ = gone.recv_timeout(DEADLINE);
        })
        .expect("room");
    let short = Duration::from_millis(5);
    assert_eq!(
        agent.get_with(|n| *n, short).wait(),
        Err(CallError::Timeout)
    );
    let late = agent.update_with(|n| *n += 1, short).wait();
    assert_eq!(late, Err(CallError::Timeout));
    let late = agent.get_and_update_with(|n| *n += 1, short).wait();
    assert_eq!(late, Err(CallError::Timeout));
    drop(go);
    // They run all the same.
    assert_eq!(agent.get(|n| *n).wait(), Ok(2));
}

#[test]
fn a_function_must_not_wait_for_a_process() {
    on_all(|system| {
        let (agent, other) = (counter(system, 0), counter(system, 1));
        let answer = agent.get(move |_| other.get(|n| *n).wait()).wait();
        assert_eq!(answer, Ok(Err(CallError::WouldBlock)));
        let myself = agent.clone();
        let answer = agent.get(move |_| myself.get(|n| *n).wait()).wait();
        assert_eq!(answer, Ok(Err(CallError::WouldBlock)));
    });
}

#[test]
fn an_init_that_panics_is_a_failed_start() {
    on_all(|system| {
        let options = ServerOptions::new().name("agent");
        let init = || -> u64 { panic!("as it should") };
        let start = Agent::start_with(system, options.clone(), init).wait();
        match start {
            Err(StartError::Init(ExitReason::Panic(panic))) => {
                assert_eq!(panic.message(), "as it should");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(system.whereis("agent"), None);
        let again = Agent::start_with(system, options, || 1u64).wait();
        assert!(again.is_ok(), "its name is free");
    });
}

#[test]
fn a_linked_agent_ends_with_its_parent_and_the_other_way_round() {
    on_all(|system| {
        let (tell, told) = reports();
        let parent = spawn(system, move |cx| async move {
            let agent = Agent::start_link(&cx, || 0u64).await.expect("a start");
            let _ = tell.send(agent);
            pending::<()>().await;
        });
        let agent = next(system, &told);
        let monitor = system.monitor(agent.pid());
        system.exit(parent.pid(), ExitReason::Timeout);
        let down = monitor.wait_timeout(DEADLINE).expect("its end");
        assert_eq!(down.reason, ExitReason::Timeout);

        let parent = spawn(system, |cx| async move {
            let options = ServerOptions::new().name("linked");
            let agent = Agent::start_link_with(&cx, options, || 0u64).await;
            let agent = agent.expect("a start");
            agent.cast(|_| panic!("as it should")).expect("room");
            pending::<()>().await;
        });
        assert!(matches!(end_of(system, &parent), ExitReason::Panic(_)));
    });
}

#[test]
fn stop_comes_behind_what_is_queued() {
    on_all(|system| {
        let agent = counter(system, 0);
        let last = agent.get_and_update(|n| std::mem::replace(n, 1));
        let stop = agent.stop(ExitReason::Timeout);
        let after = agent.get(|n| *n);
        assert_eq!(last.wait(), Ok(0));
        assert_eq!(stop.wait(), Ok(()));
        assert_eq!(after.wait(), Err(CallError::Exited(ExitReason::Timeout)));
        assert_eq!(agent.exit_reason(), Some(ExitReason::Timeout));
    });
}

#[test]
fn an_agent_is_reached_by_its_name() {
    on_all(|system| {
        let named = system.agent::<u64>("count");
        assert_eq!(named.get(|n| *n).wait(), Err(CallError::NoProc));
        named.cast(|n| *n += 1).expect("no error");
        assert_eq!(named.resolve(), None);

        let options = ServerOptions::new().name("count");
        let agent = Agent::start_with(system, options.clone(), || 7u64).wait();
        let agent = agent.expect("a start");
        let second = Agent::start_with(system, options, || 8u64).wait();
        assert_eq!(second, Err(StartError::AlreadyStarted(agent.pid())));
        assert_eq!(named.resolve(), Some(agent.clone()));
        assert_eq!(named.update(|n| *n += 1).wait(), Ok(()));
        named.cast(|n| *n += 1).expect("room");
        assert_eq!(named.get_and_update(|n| *n).wait(), Ok(9));
        assert_eq!(agent.get(|n| *n).wait(), Ok(9));
    });
}

#[test]
fn a_name_is_of_one_type() {
    on_all(|system| {
        let options = ServerOptions::new().name("count");
        let _agent = Agent::start_with(system, options, || 7u64).wait();
        let other = system.agent::<i8>("count");
        assert_eq!(other.get(|n| *n).wait(), Err(CallError::NoProc));
        assert_eq!(other.resolve(), None);
    });
}

#[test]
fn a_supervised_agent_begins_anew() {
    on_all(|system| {
        let supervisor = Supervisor::new(Strategy::OneForOne)
            .child(Agent::child_spec("count", || 40u64).name("count"))
            .start(system)
            .wait()
            .expect("a start");
        let count = system.agent::<u64>("count");
        let first = count.resolve().expect("it runs").pid();
        assert_eq!(count.get_and_update(|n| *n += 2).wait(), Ok(()));
        assert_eq!(count.get(|n| *n).wait(), Ok(42));
        assert!(is_panic(count.update(|_| panic!("as it should")).wait()));
        until(system, || {
            count.resolve().is_some_and(|agent| agent.pid() != first)
        });
        assert_eq!(count.get(|n| *n).wait(), Ok(40));
        supervisor.stop(ExitReason::Normal).wait().expect("its end");
        assert_eq!(count.get(|n| *n).wait(), Err(CallError::NoProc));
    });
}

#[test]
fn a_full_mailbox_gives_the_function_back() {
    // Threads only: the agent has to be busy while others send.
    let system = quiet().schedulers(2).build().expect("threads");
    let options = ServerOptions::new().mailbox(MailboxPolicy::Bounded {
        capacity: 1,
        overflow: Overflow::Reject,
    });
    let agent = Agent::start_with(&system, options, || 0u64);
    let agent = agent.wait().expect("a start");
    let (go, gone) = channel::<()>();
    let (enter, entered) = channel();
    agent
        .cast(move |_| {
            let _ = enter.send(());
            let _ = gone.recv_timeout(DEADLINE);
        })
        .expect("room");
    entered.recv_timeout(DEADLINE).expect("it runs");
    agent.cast(|n| *n += 1).expect("room");
    let back = agent.cast(|n| *n += 10);
    assert_eq!(agent.get(|n| *n).wait(), Err(CallError::Overloaded));
    drop(go);
    let Err(SendError(function)) = back else {
        panic!("there was room");
    };
    until(&system, || agent.get(|n| *n).wait() == Ok(1));
    agent.update(function).wait().expect("an answer");
    assert_eq!(agent.get(|n| *n).wait(), Ok(11));
}

#[test]
fn a_process_asks_several_agents_at_once() {
    on_all(|system| {
        let agents = [1, 2, 3].map(|n| counter(system, n));
        let sum = run(system, move |_| async move {
            let calls: Vec<_> = agents.iter().map(|agent| agent.get(|n| *n)).collect();
            let mut sum = 0;
            for call in calls {
                sum += call.await.expect("an answer");
            }
            sum
        });
        assert_eq!(sum, 6);
    });
}
