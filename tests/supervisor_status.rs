//! What supervisors of each kind show of themselves to `sys`.

mod support;

use std::time::Duration;

use noex::prelude::*;
use noex::{AutoShutdown, Backoff, Inbox, PartitionSupervisor, Strategy, TaskSupervisor, Template};
use support::{DEADLINE, on_all, on_all_built, reports, until};

const HOUR: Duration = Duration::from_secs(3600);

fn status(system: &System, pid: Pid) -> String {
    let status = system.sys(pid).get_status();
    status.wait_timeout(DEADLINE).expect("an answer").state
}

#[track_caller]
fn assert_shows(status: &str, what: &[&str]) {
    for what in what {
        assert!(status.contains(what), "no `{what}` in {status}");
    }
}

/// Ends with whatever reason it is sent.
async fn child(mut inbox: Inbox<ExitReason>) -> ExitReason {
    loop {
        if let noex::Received::Message(reason) = inbox.recv().await {
            return reason;
        }
    }
}

fn spec(id: &str) -> ChildSpec {
    ChildSpec::process(id, child)
}

fn end(system: &System, name: &str, reason: ExitReason) -> Pid {
    let pid = system.whereis(name).expect("it runs");
    let end = system.monitor(pid);
    system.send(pid, reason);
    assert!(end.wait_timeout(DEADLINE).is_ok());
    pid
}

#[test]
fn a_supervisor_shows_its_strategy_its_limits_its_restarts_and_how_each_child_stands() {
    on_all(|system| {
        let supervisor = Supervisor::new(Strategy::OneForOne)
            .intensity(7)
            .period(HOUR)
            .auto_shutdown(AutoShutdown::AllSignificant)
            .child(spec("runs").name("runs"))
            .child(
                spec("waits")
                    .name("waits")
                    .backoff(Backoff::exponential(HOUR / 2).cap(HOUR)),
            )
            .child(spec("done").name("done").restart(Restart::Transient))
            .child(ChildSpec::supervisor(
                "tree",
                Supervisor::new(Strategy::RestForOne),
            ));
        let supervisor = supervisor.start(system).wait_timeout(DEADLINE).unwrap();
        assert_shows(
            &status(system, supervisor.pid()),
            &["restarts: 0", "active: 4"],
        );

        let first = end(system, "runs", ExitReason::Timeout);
        until(system, || {
            system.whereis("runs").is_some_and(|pid| pid != first)
        });
        end(system, "waits", ExitReason::Timeout);
        end(system, "done", ExitReason::Normal);
        let mut shown = String::new();
        until(system, || {
            shown = status(system, supervisor.pid());
            shown.contains("Waiting(") && shown.contains("Stopped")
        });
        let runs = format!(
            "\"runs\" Worker Running({})",
            system.whereis("runs").unwrap()
        );
        assert_shows(
            &shown,
            &[
                "Supervisor { strategy: OneForOne, intensity: 7, period: 3600s, restarts: 2",
                "auto_shutdown: AllSignificant",
                "specs: 4, active: 2, waiting: 1, supervisors: 1, workers: 3",
                &runs,
                "\"waits\" Worker Waiting(",
                "\"done\" Worker Stopped",
                "\"tree\" Supervisor Running(",
            ],
        );
        assert!(!shown.contains("more"), "{shown}");
    });
}

#[test]
fn restarts_that_are_older_than_the_period_are_not_shown() {
    on_all(|system| {
        let supervisor = Supervisor::new(Strategy::OneForOne)
            .period(Duration::from_millis(50))
            .child(spec("runs").name("runs"));
        let supervisor = supervisor.start(system).wait_timeout(DEADLINE).unwrap();
        let first = end(system, "runs", ExitReason::Timeout);
        until(system, || {
            system.whereis("runs").is_some_and(|pid| pid != first)
        });
        // The clock of a manual system moves on while this waits.
        until(system, || {
            status(system, supervisor.pid()).contains("restarts: 0")
        });
    });
}

#[test]
fn of_many_children_the_first_are_shown_and_how_many_more_there_are() {
    on_all(|system| {
        let long = "x".repeat(1000);
        let ids = (0..50).map(|n| format!("{n}{long}"));
        let supervisor = Supervisor::new(Strategy::OneForOne).children(ids.map(|id| spec(&id)));
        let supervisor = supervisor.start(system).wait_timeout(DEADLINE).unwrap();
        let shown = status(system, supervisor.pid());
        assert_shows(&shown, &["specs: 50", "\"0xxx", "\"19xxx", "more: 30"]);
        assert!(!shown.contains("\"20x"), "{shown}");
        assert!(shown.len() < 8192, "{}", shown.len());
    });
}

#[test]
fn a_dynamic_supervisor_shows_how_many_children_it_has_and_the_first_of_them() {
    on_all(|system| {
        let supervisor = DynamicSupervisor::new().intensity(5).max_children(300);
        let supervisor = supervisor.start(system).wait_timeout(DEADLINE).unwrap();
        let mut pids = Vec::new();
        for _ in 0..150 {
            let started = supervisor.start_child(spec("child")).wait_timeout(DEADLINE);
            pids.push(started.unwrap().expect("a process"));
        }
        let answer = system.sys(supervisor.pid()).get_status();
        let answer = answer.wait_timeout(DEADLINE).expect("an answer");
        assert_shows(
            &answer.state,
            &[
                "DynamicSupervisor { strategy: OneForOne, intensity: 5, period: 5s, restarts: 0",
                "max_children: 300, specs: 150, active: 150, waiting: 0, supervisors: 0, workers: 150",
                &format!("Worker Running({})", pids[0]),
                "more: 130",
            ],
        );
        // What is told of the process itself is as small.
        assert_eq!(answer.process.links.len(), 100);
        let info = system.process_info(supervisor.pid());
        let info = info.wait_timeout(DEADLINE).expect("it lives");
        assert!(info.links.len() >= 150);
    });
}

#[test]
fn a_dynamic_supervisor_shows_the_latest_process_of_a_child_that_waits() {
    on_all(|system| {
        let backoff = Backoff::exponential(HOUR).cap(HOUR);
        let supervisor = DynamicSupervisor::new().backoff(backoff);
        let supervisor = supervisor.start(system).wait_timeout(DEADLINE).unwrap();
        let child = spec("child").name("child").restart(Restart::Permanent);
        let started = supervisor.start_child(child).wait_timeout(DEADLINE);
        let pid = started.unwrap().expect("a process");
        end(system, "child", ExitReason::Timeout);
        until(system, || {
            status(system, supervisor.pid()).contains(&format!("[{pid} Worker Waiting("))
        });
        let shown = status(system, supervisor.pid());
        assert_shows(
            &shown,
            &["restarts: 1", "backoff: Backoff", "active: 0, waiting: 1"],
        );
    });
}

#[test]
fn a_partition_supervisor_shows_its_partitions() {
    on_all(|system| {
        let template = Template::process(|inbox, _: usize| child(inbox));
        let supervisor = PartitionSupervisor::new(template)
            .partitions(3)
            .intensity(2);
        let supervisor = supervisor.start(system).wait_timeout(DEADLINE).unwrap();
        let shown = status(system, supervisor.pid());
        let what = [
            "PartitionSupervisor { strategy: OneForOne, intensity: 2",
            "specs: 3, active: 3",
            "\"0\" Worker Running(",
            "\"2\" Worker Running(",
        ];
        assert_shows(&shown, &what);
    });
}

#[test]
fn a_supervisor_of_tasks_shows_the_tasks_that_run() {
    on_all(|system| {
        let tasks = TaskSupervisor::new().max_children(40).start(system);
        let tasks = tasks.wait_timeout(DEADLINE).unwrap();
        let started: Vec<Pid> = (0..30)
            .map(|_| {
                let started = tasks.start_child(|_| std::future::pending::<()>());
                started.wait_timeout(DEADLINE).expect("room")
            })
            .collect();
        let shown = status(system, tasks.pid());
        let first = format!("[Worker Running({}), Worker", started[0]);
        let what = [
            "TaskSupervisor {",
            "max_children: 40, specs: 30, active: 30",
            &first,
            "more: 10",
        ];
        assert_shows(&shown, &what);
    });
}

#[test]
fn the_reports_of_a_supervisor_are_small_whatever_its_children_are_called_and_say() {
    let (tell, told) = reports();
    let builder = || {
        let tell = tell.clone();
        System::builder().on_event(move |event: &noex::Event| {
            let _ = tell.send(event.to_string());
        })
    };
    on_all_built(builder, |system| {
        let long = "x".repeat(100_000);
        let says = long.clone();
        let child = ChildSpec::process(long.as_str(), move |_: Inbox<()>| {
            let says = says.clone();
            async move { panic!("{says}") }
        });
        let supervisor = Supervisor::new(Strategy::OneForOne)
            .intensity(1)
            .child(child);
        let supervisor = supervisor.start(system).wait_timeout(DEADLINE).unwrap();
        let end = system.monitor(supervisor.pid());
        assert!(end.wait_timeout(DEADLINE).is_ok());
        let told: Vec<String> = told.try_iter().collect();
        for what in ["started its child", "ended: ", "gives up", "crashed"] {
            assert!(told.iter().any(|told| told.contains(what)), "no `{what}`");
        }
        let longest = told.iter().map(String::len).max();
        assert!(longest.is_some_and(|longest| longest < 4096), "{longest:?}");
    });
}
