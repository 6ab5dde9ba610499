//! What users gave a supervisor may panic when it is dropped, wherever that happens: nobody else comes
//! to harm. (A second panic while a first one unwinds would end the test program.)

mod support;

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread;

use noex::prelude::*;
use noex::{
    ChildError, ChildPid, PartitionSupervisor, Partitions, StartError, TaskContext, TaskSupervisor,
    Template,
};
use support::{DEADLINE, on_all, until};

/// Panics when it is dropped, and counts that.
struct Bomb(Arc<AtomicUsize>);

impl Drop for Bomb {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
        panic!("as it does");
    }
}

impl Clone for Bomb {
    fn clone(&self) -> Self {
        Bomb(self.0.clone())
    }
}

struct Idle;

impl GenServer for Idle {
    type Args = ();
    async fn init(_: (), _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Idle)
    }
}

/// A child whose start function holds a bomb.
fn child(id: &str, dropped: &Arc<AtomicUsize>) -> ChildSpec {
    let bomb = Bomb(dropped.clone());
    ChildSpec::worker(id, move |starter| {
        let _ = &bomb;
        starter.start_link::<Idle>(())
    })
}

/// Kills a supervisor, or stops it.
fn end(system: &System, pid: Pid, is_killed: bool, stop: impl FnOnce() -> noex::Stop) {
    match is_killed {
        true => system.exit(pid, ExitReason::Kill),
        // Its end is waited for otherwise.
        false => drop(stop()),
    }
}

fn tree(children: impl IntoIterator<Item = ChildSpec>) -> Supervisor {
    Supervisor::new(Strategy::OneForOne).children(children)
}

#[test]
fn specs_that_are_forgotten_replaced_or_refused_harm_no_supervisor() {
    on_all(|system| {
        let dropped = Arc::<AtomicUsize>::default();
        let count = || dropped.load(SeqCst);
        let child = |id| child(id, &dropped);
        let sup = tree([child("a"), child("b")]).start(system);
        let sup = sup.wait_timeout(DEADLINE).unwrap();
        let refused = sup.start_child(child("a")).wait_timeout(DEADLINE);
        assert!(matches!(refused, Err(ChildError::AlreadyStarted(_))));
        assert_eq!(count(), 1);
        sup.terminate_child("a").wait_timeout(DEADLINE).unwrap();
        sup.delete_child("a").wait_timeout(DEADLINE).unwrap();
        assert_eq!(count(), 2);
        let temporary = child("t").restart(Restart::Temporary);
        let started = sup.start_child(temporary).wait_timeout(DEADLINE);
        assert!(started.unwrap().is_some());
        sup.terminate_child("t").wait_timeout(DEADLINE).unwrap();
        assert_eq!(count(), 3);
        sup.change(tree([child("b")]))
            .wait_timeout(DEADLINE)
            .unwrap();
        assert_eq!(count(), 4);
        let fails = ChildSpec::worker("f", {
            let bomb = Bomb(dropped.clone());
            move |_| {
                let _ = &bomb;
                std::future::ready(Err::<Pid, _>(StartError::Refused))
            }
        });
        assert!(sup.start_child(fails).wait_timeout(DEADLINE).is_err());
        assert_eq!(count(), 5);
        let all = sup.which_children().wait_timeout(DEADLINE).unwrap();
        assert_eq!(all.len(), 1);
        assert!(all[0].pid().is_some());
        sup.stop(ExitReason::Normal).wait_timeout(DEADLINE).unwrap();
        until(system, || count() == 6);
    });
}

#[test]
fn a_supervisor_ends_whatever_its_specs_do_when_they_are_dropped() {
    on_all(|system| {
        for is_killed in [true, false] {
            let dropped = Arc::default();
            let specs = ["a", "b", "c"].map(|id| child(id, &dropped));
            let sup = tree(specs).start(system).wait_timeout(DEADLINE).unwrap();
            // Requests that nobody begins, too.
            let ended = system.monitor(sup.pid());
            end(system, sup.pid(), is_killed, || {
                sup.stop(ExitReason::Normal)
            });
            let more = sup.start_child(child("d", &dropped));
            let change = sup.change(tree(["e", "f"].map(|id| child(id, &dropped))));
            ended.wait_timeout(DEADLINE).unwrap();
            drop((more, change));
            until(system, || dropped.load(SeqCst) == 6);
        }
    });
}

#[test]
fn starts_that_panic_when_they_are_given_up_harm_nobody() {
    on_all(|system| {
        let dropped = Arc::<AtomicUsize>::default();
        let hangs = |id: &str| {
            let dropped = dropped.clone();
            ChildSpec::worker(id, move |_| {
                let bomb = Bomb(dropped.clone());
                async move {
                    let _bomb = bomb;
                    pending::<Result<Pid, StartError>>().await
                }
            })
        };
        let sup = tree([]).start(system).wait_timeout(DEADLINE).unwrap();
        let dynamic = DynamicSupervisor::new().start(system);
        let dynamic = dynamic.wait_timeout(DEADLINE).unwrap();
        let mut starts = Vec::new();
        for id in ["a", "b", "c"] {
            starts.push(sup.start_child(hangs(id)));
            starts.push(dynamic.start_child(hangs(id)));
        }
        let all = || sup.count_children().wait_timeout(DEADLINE).unwrap().specs;
        until(system, || all() == 3);
        sup.terminate_child("a").wait_timeout(DEADLINE).unwrap();
        assert_eq!(dropped.load(SeqCst), 1);
        let all = || {
            dynamic
                .count_children()
                .wait_timeout(DEADLINE)
                .unwrap()
                .specs
        };
        until(system, || all() == 3);
        for pid in [sup.pid(), dynamic.pid()] {
            let ended = system.monitor(pid);
            system.exit(pid, ExitReason::Kill);
            assert_eq!(
                ended.wait_timeout(DEADLINE).unwrap().reason,
                ExitReason::Killed
            );
        }
        until(system, || dropped.load(SeqCst) == 6);
    });
}

#[test]
fn a_dynamic_supervisor_ends_whatever_it_keeps_for_restarts() {
    on_all(|system| {
        for is_killed in [true, false] {
            let dropped = Arc::<AtomicUsize>::default();
            let held = Bomb(dropped.clone());
            let template = Template::server_with::<Idle, _>(move |bomb: Bomb| {
                let _ = &held;
                std::mem::forget(bomb);
            });
            let template = template.restart(Restart::Permanent);
            let sup = DynamicSupervisor::with_template(template).start(system);
            let sup = sup.wait_timeout(DEADLINE).unwrap();
            for _ in 0..3 {
                let started = sup.start_child(Bomb(dropped.clone()));
                assert!(started.wait_timeout(DEADLINE).unwrap().is_some());
            }
            let ended = system.monitor(sup.pid());
            end(system, sup.pid(), is_killed, || {
                sup.stop(ExitReason::Normal)
            });
            ended.wait_timeout(DEADLINE).unwrap();
            // What is kept of three, and what the template holds.
            until(system, || dropped.load(SeqCst) == 4);
        }
    });
}

#[test]
fn a_supervisor_of_tasks_ends_whatever_it_keeps_for_restarts() {
    on_all(|system| {
        for is_killed in [true, false] {
            let dropped = Arc::<AtomicUsize>::default();
            let tasks = TaskSupervisor::new().start(system);
            let tasks = tasks.wait_timeout(DEADLINE).unwrap();
            let start = || {
                let held = Bomb(dropped.clone());
                let work = move |_: TaskContext| {
                    let _ = &held;
                    pending::<()>()
                };
                let started =
                    tasks.start_child_with(Restart::Permanent, Shutdown::BrutalKill, work);
                started.wait_timeout(DEADLINE).unwrap()
            };
            let all = [start(), start(), start()];
            let ended = tasks.terminate_child(all[0]);
            assert_eq!(ended.wait_timeout(DEADLINE), Ok(true));
            until(system, || dropped.load(SeqCst) == 1);
            let ended = system.monitor(tasks.pid());
            end(system, tasks.pid(), is_killed, || {
                tasks.stop(ExitReason::Normal)
            });
            ended.wait_timeout(DEADLINE).unwrap();
            until(system, || dropped.load(SeqCst) == 3);
        }
    });
}

/// What leads to a partition: a clone of it looks the partition up, its drop panics.
struct Way {
    pid: Pid,
    dropped: Arc<AtomicUsize>,
    looks: Arc<AtomicBool>,
    ways: Partitions<Way>,
}

impl ChildPid for Way {
    fn child_pid(&self) -> Pid {
        self.pid
    }
}

impl Clone for Way {
    fn clone(&self) -> Self {
        // Once, or it would never end.
        if self.looks.swap(false, SeqCst) {
            if let Some(way) = self.ways.at(0) {
                std::mem::forget(way);
            }
            self.looks.store(true, SeqCst);
        }
        Way {
            dropped: self.dropped.clone(),
            looks: self.looks.clone(),
            ways: self.ways.clone(),
            ..*self
        }
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, SeqCst);
        panic!("as it does");
    }
}

#[test]
fn what_leads_to_a_partition_may_look_it_up_when_it_is_cloned_and_panic_when_it_is_dropped() {
    on_all(|system| {
        let (dropped, looks) = (
            Arc::<AtomicUsize>::default(),
            Arc::new(AtomicBool::new(true)),
        );
        let place: Arc<std::sync::OnceLock<Partitions<Way>>> = Arc::default();
        let (counted, looking, ways) = (Arc::clone(&dropped), looks.clone(), place.clone());
        let template = Template::worker(move |starter, _: usize| {
            let (dropped, looks) = (counted.clone(), looking.clone());
            let ways = ways.get().expect("set before the start").clone();
            async move {
                let server = starter.start_link::<Idle>(()).await?;
                Ok(Way {
                    pid: server.pid(),
                    dropped,
                    looks,
                    ways,
                })
            }
        });
        let supervisor = PartitionSupervisor::new(template).partitions(1);
        let ways = supervisor.routes();
        assert!(place.set(ways.clone()).is_ok());
        let sup = supervisor.start(system).wait_timeout(DEADLINE).unwrap();
        let (tell, told) = mpsc::channel();
        let look = ways.clone();
        thread::spawn(move || {
            let way = look.at(0).expect("it runs");
            let pid = way.pid;
            std::mem::forget(way);
            let _ = tell.send(pid);
        });
        let first = told
            .recv_timeout(DEADLINE)
            .expect("nobody waits for a lock");
        system.exit(first, ExitReason::Kill);
        until(system, || dropped.load(SeqCst) == 1);
        assert!(sup.is_alive());
    });
}
