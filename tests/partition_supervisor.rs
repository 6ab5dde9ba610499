//! Partition supervisors through the public API, on one scheduler thread, on four, and on the manual
//! driver with many seeds.

mod supervise;

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Sender, channel};

use noex::prelude::*;
use noex::{
    CallError, ChildCounts, ChildKind, ChildPid, PartitionSupervisor, PartitionSupervisorRef,
    Partitions, StartError, Template,
};

use supervise::{SECOND, World, with_seeds};

/// Runs a test on one thread, on four, and on the manual driver with 100 seeds.
fn on_all(test: impl Fn(&World)) {
    for threads in [1, 4] {
        let world = World::threads(threads);
        test(&world);
        world.finish();
    }
    with_seeds(100, |world, _| test(world));
}

/// A server that knows which partition it has, and which incarnation of it it is.
struct Part {
    index: usize,
    incarnation: usize,
    heard: Option<Sender<u32>>,
}

#[derive(Clone)]
struct PartArgs {
    index: usize,
    inits: Arc<AtomicUsize>,
    /// The partition that does not start.
    fails: Option<usize>,
    heard: Option<Sender<u32>>,
}

impl GenServer for Part {
    type Args = PartArgs;
    async fn init(args: PartArgs, _: &mut Context<Self>) -> Result<Self, InitStop> {
        if args.fails == Some(args.index) {
            return Err(ExitReason::Timeout.into());
        }
        Ok(Part {
            index: args.index,
            incarnation: args.inits.fetch_add(1, SeqCst),
            heard: args.heard,
        })
    }
}

struct Which;
impl HandleCall<Which> for Part {
    type Reply = (usize, usize);
    async fn handle_call(&mut self, _: Which, _: &mut Context<Self>) -> (usize, usize) {
        (self.index, self.incarnation)
    }
}

struct Boom;
impl HandleCast<Boom> for Part {
    async fn handle_cast(&mut self, _: Boom, _: &mut Context<Self>) {
        panic!("as told");
    }
}

impl HandleInfo<u32> for Part {
    async fn handle_info(&mut self, n: u32, _: &mut Context<Self>) {
        if let Some(heard) = &self.heard {
            let _ = heard.send(n);
        }
    }
}

fn parts() -> Template<usize, ServerRef<Part>> {
    parts_with(None, None)
}

/// Partitions of which one may fail; what they are sent is heard there.
fn parts_with(
    fails: Option<usize>,
    heard: Option<Sender<u32>>,
) -> Template<usize, ServerRef<Part>> {
    let (inits, heard) = (Arc::new(AtomicUsize::new(0)), Mutex::new(heard));
    Template::server_with::<Part, _>(move |index| PartArgs {
        index,
        inits: inits.clone(),
        fails,
        heard: heard.lock().unwrap().clone(),
    })
}

#[track_caller]
fn start<P: ChildPid + Clone + Sync>(
    world: &World,
    supervisor: PartitionSupervisor<P>,
) -> PartitionSupervisorRef<P> {
    let start = supervisor.start(&world.system);
    start.wait_timeout(10 * SECOND).unwrap()
}

#[track_caller]
fn which(partition: &noex::Partition<Part>) -> (usize, usize) {
    partition.call(Which).wait_timeout(10 * SECOND).unwrap()
}

/// The pids of all partitions, once they live.
#[track_caller]
fn pids(world: &World, parts: &Partitions<ServerRef<Part>>) -> Vec<Pid> {
    let mut pids = Vec::new();
    world.until(|| {
        let living = parts.servers().filter_map(|part| part.resolve());
        pids = living.map(|part| part.pid()).collect();
        pids.len() == parts.count()
    });
    pids
}

#[test]
fn each_partition_is_told_its_number_and_is_reached_by_it() {
    on_all(|world| {
        let parts = start(world, PartitionSupervisor::new(parts()).partitions(3));
        assert_eq!(parts.count(), 3);
        let numbers: Vec<usize> = parts.servers().map(|part| which(&part).0).collect();
        assert_eq!(numbers, [0, 1, 2]);
        let children = parts.which_children().wait_timeout(10 * SECOND).unwrap();
        let listed: Vec<_> = children
            .iter()
            .map(|child| (&*child.id, child.kind, child.pid()))
            .collect();
        let pid = |index| Some(parts.at(index).unwrap().pid());
        let worker = ChildKind::Worker;
        assert_eq!(
            listed,
            [
                ("0", worker, pid(0)),
                ("1", worker, pid(1)),
                ("2", worker, pid(2))
            ]
        );
        assert_eq!(parts.at(3), None);
        let ChildCounts {
            specs,
            active,
            supervisors,
            workers,
            ..
        } = parts.count_children().wait_timeout(10 * SECOND).unwrap();
        assert_eq!((specs, active, supervisors, workers), (3, 3, 0, 3));
    });
}

#[test]
fn there_are_as_many_partitions_as_scheduler_threads_unless_told_otherwise() {
    for threads in [1, 3] {
        let world = World::threads(threads);
        let by_default = start(&world, PartitionSupervisor::new(parts()));
        assert_eq!(by_default.count(), threads);
        let zero = start(&world, PartitionSupervisor::new(parts()).partitions(0));
        assert_eq!(zero.count(), threads);
        world.finish();
    }
    let world = World::manual(0);
    let one = start(&world, PartitionSupervisor::new(parts()));
    assert_eq!(one.count(), 1);
    world.finish();
}

#[test]
fn integers_go_by_their_remainder_and_other_keys_always_the_same_way() {
    on_all(|world| {
        let parts = start(world, PartitionSupervisor::new(parts()).partitions(5));
        for key in [0i64, 1, 4, 5, 13, -1, -13, i64::MIN] {
            let expected = (key.unsigned_abs() % 5) as usize;
            assert_eq!(parts.index(&key), Some(expected));
            assert_eq!(which(&parts.server(&key)).0, expected);
        }
        assert_eq!(parts.index(&7u8), parts.index(&7u64));
        let mut taken = [false; 5];
        for n in 0..100 {
            let key = format!("user {n}");
            let index = parts.index(&key).unwrap();
            taken[index] = true;
            assert_eq!(parts.server(key.as_str()).index(), Some(index));
            assert_eq!(parts.find(&key), parts.at(index));
        }
        assert_eq!(taken, [true; 5]);
    });
}

#[test]
fn a_reference_to_a_partition_leads_to_each_incarnation() {
    on_all(|world| {
        let parts = start(world, PartitionSupervisor::new(parts()).partitions(2));
        let part = parts.server(&1);
        let other = parts.server(&0);
        let before = (part.resolve().unwrap(), other.resolve().unwrap());
        assert_eq!(which(&part).0, 1);
        part.cast(Boom).unwrap();
        world.wait_for_end(before.0.pid());
        assert_ne!(part.resolve(), Some(before.0.clone()), "never a dead one");
        pids(world, &parts);
        assert_eq!(which(&part), (1, 2), "the third to start");
        assert_ne!(part.resolve(), Some(before.0));
        assert_eq!(other.resolve(), Some(before.1), "the other is the same");
        assert!(parts.is_alive());
    });
}

#[test]
fn a_partition_that_is_down_is_no_process() {
    on_all(|world| {
        let template = parts().restart(Restart::Temporary);
        let parts = start(world, PartitionSupervisor::new(template).partitions(2));
        let part = parts.server(&1);
        part.cast(Boom).unwrap();
        world.until(|| part.resolve().is_none());
        let call = part.call(Which).wait_timeout(10 * SECOND);
        assert_eq!(call, Err(CallError::NoProc));
        assert_eq!(parts.find(&1), None);
        let before = world.system.stats().undelivered;
        part.cast(Boom).unwrap();
        part.send(1).unwrap();
        assert_eq!(world.system.stats().undelivered, before + 2);
        assert_eq!(which(&parts.server(&0)).0, 0);
    });
}

#[test]
fn the_way_to_the_partitions_is_there_before_them_and_survives_their_supervisor() {
    on_all(|world| {
        let supervisor = PartitionSupervisor::new(parts()).partitions(2);
        let routes = supervisor.routes();
        let part = routes.server("some key");
        assert_eq!((routes.count(), part.index()), (0, None));
        assert_eq!(routes.index("some key"), None);
        assert_eq!((routes.find("some key"), routes.at(0)), (None, None));
        assert!(part.resolve().is_none());
        assert_eq!(routes.servers().count(), 0);
        let call = part.call(Which).wait_timeout(10 * SECOND);
        assert_eq!(call, Err(CallError::NoProc));
        part.cast(Boom).unwrap();
        part.send(1).unwrap();

        let branch = ChildSpec::partition_supervisor("parts", supervisor).name("parts");
        assert_eq!(branch.kind(), ChildKind::Supervisor);
        world.start(Supervisor::new(Strategy::OneForOne).child(branch));
        let first = pids(world, &routes);
        assert_eq!(which(&part).0, routes.index("some key").unwrap());

        world.system.exit(world.pid("parts"), ExitReason::Kill);
        world.until(|| {
            let second = pids(world, &routes);
            first.iter().all(|pid| !second.contains(pid))
        });
        assert_eq!(which(&part).0, routes.index("some key").unwrap());
    });
}

#[test]
fn a_partition_supervisor_is_found_by_its_name() {
    on_all(|world| {
        let supervisor = PartitionSupervisor::new(parts())
            .partitions(2)
            .name("parts");
        let parts = start(world, supervisor);
        let find = |name| {
            let lookup = world.system.partition_supervisor::<ServerRef<Part>>(name);
            lookup.wait_timeout(10 * SECOND)
        };
        let found = find("parts").unwrap();
        assert_eq!(found, parts);
        assert_eq!(found.at(1), parts.at(1));

        // Not one with other partitions, not another supervisor, and nobody.
        let other = world.system.partition_supervisor::<Pid>("parts");
        assert_eq!(other.wait_timeout(10 * SECOND), Err(CallError::NoProc));
        world.start(Supervisor::new(Strategy::OneForOne).name("plain"));
        assert_eq!(find("plain"), Err(CallError::NoProc));
        assert_eq!(find("nobody"), Err(CallError::NoProc));
        let taken = PartitionSupervisor::new(self::parts()).name("parts");
        assert_eq!(
            taken.start(&world.system).wait_timeout(10 * SECOND),
            Err(StartError::AlreadyStarted(parts.pid()))
        );
    });
}

#[test]
fn a_partition_that_does_not_start_rolls_the_supervisor_back() {
    on_all(|world| {
        let supervisor = PartitionSupervisor::new(parts_with(Some(2), None)).partitions(4);
        let routes = supervisor.routes();
        let error = supervisor
            .start(&world.system)
            .wait_timeout(10 * SECOND)
            .unwrap_err();
        let failed = StartError::Init(ExitReason::Timeout);
        assert_eq!(
            error,
            StartError::Child {
                id: "2".into(),
                error: Box::new(failed)
            }
        );
        assert!(routes.servers().all(|part| part.resolve().is_none()));
    });
}

#[test]
fn the_strategy_says_which_partitions_are_restarted_together() {
    on_all(|world| {
        for (strategy, restarted) in [
            (Strategy::OneForOne, [false, true, false]),
            (Strategy::OneForAll, [true, true, true]),
            (Strategy::RestForOne, [false, true, true]),
        ] {
            let supervisor = PartitionSupervisor::new(parts()).partitions(3);
            let parts = start(world, supervisor.strategy(strategy));
            let before = pids(world, &parts);
            parts.server(&1).cast(Boom).unwrap();
            let mut changed = Vec::new();
            world.until(|| {
                let now = pids(world, &parts);
                changed = before
                    .iter()
                    .zip(&now)
                    .map(|(old, new)| old != new)
                    .collect();
                changed == restarted
            });
        }
    });
}

#[test]
fn too_many_restarts_end_the_supervisor() {
    on_all(|world| {
        let supervisor = PartitionSupervisor::new(parts()).partitions(2).intensity(1);
        let parts = start(world, supervisor.period(1000 * SECOND));
        for _ in 0..2 {
            let before = pids(world, &parts)[0];
            parts.server(&0).cast(Boom).unwrap();
            world.wait_for_end(before);
        }
        world.until(|| parts.exit_reason() == Some(ExitReason::Shutdown(None)));
        assert!(parts.servers().all(|part| part.resolve().is_none()));
    });
}

#[test]
fn partitions_can_be_dynamic_supervisors() {
    on_all(|world| {
        let life = world.life();
        let template = Template::dynamic_supervisor(|_partition| DynamicSupervisor::new());
        let supervisors = start(world, PartitionSupervisor::new(template).partitions(3));
        for (key, id) in [(0, "a"), (1, "b"), (3, "c")] {
            let supervisor = supervisors.find(&key).unwrap();
            let child = supervisor.start_child(life.child(id));
            child.wait_timeout(10 * SECOND).unwrap();
        }
        let children: Vec<usize> = (0..3)
            .map(|index| {
                let supervisor = supervisors.at(index).unwrap();
                let counts = supervisor.count_children().wait_timeout(10 * SECOND);
                counts.unwrap().active
            })
            .collect();
        assert_eq!(children, [2, 1, 0]);
        let counts = supervisors
            .count_children()
            .wait_timeout(10 * SECOND)
            .unwrap();
        assert_eq!((counts.supervisors, counts.workers), (3, 0));
        let end = supervisors.stop(ExitReason::Normal);
        end.wait_timeout(10 * SECOND).unwrap();
        assert_eq!(life.living(), 0);
    });
}

#[test]
fn partitions_can_be_copies_of_one_spec() {
    on_all(|world| {
        let life = world.life();
        let probe = life.probe("p", supervise::Conduct::Good);
        let spec = ChildSpec::server::<supervise::Probe>("p", probe);
        let parts = start(
            world,
            PartitionSupervisor::new(Template::spec(spec)).partitions(3),
        );
        let pid: Pid = parts.find("key").unwrap();
        assert_eq!(life.living(), 3);
        world.system.exit(pid, ExitReason::Kill);
        world.wait_for_end(pid);
        world.until(|| parts.find("key").is_some_and(|now| now != pid));
    });
}

#[test]
fn a_timer_to_a_partition_reaches_whoever_has_it_when_it_fires() {
    with_seeds(100, |world, _| {
        let (send, heard) = channel();
        let template = parts_with(None, Some(send));
        let parts = start(world, PartitionSupervisor::new(template).partitions(2));
        let part = parts.server(&1);
        world.system.send_after(SECOND, &part, 7u32);
        let ticks = world.system.send_interval(SECOND, &part, 8u32);
        let first = part.resolve().unwrap();
        part.cast(Boom).unwrap();
        world.settle();
        assert!(!first.is_alive());
        world.advance(SECOND);
        let mut got = [world.next(&heard), world.next(&heard)];
        got.sort();
        assert_eq!(got, [7, 8]);
        part.cast(Boom).unwrap();
        world.advance(SECOND);
        assert_eq!(world.next(&heard), 8);
        assert!(world.system.cancel_timer(ticks).is_some());
    });
}

#[test]
fn a_clone_is_another_supervisor_with_partitions_of_its_own() {
    on_all(|world| {
        let supervisor = PartitionSupervisor::new(parts()).partitions(2);
        let other = supervisor.clone().partitions(3);
        let (routes, other_routes) = (supervisor.routes(), other.routes());
        start(world, supervisor);
        assert_eq!((routes.count(), other_routes.count()), (2, 0));
        start(world, other);
        assert_eq!((routes.count(), other_routes.count()), (2, 3));
        assert_ne!(routes.at(0), other_routes.at(0));
    });
}

#[test]
fn a_process_starts_one_linked_to_itself_and_awaits_its_partitions() {
    on_all(|world| {
        let (send, told) = channel();
        let parent = world
            .system
            .spawn(move |mut inbox: noex::Inbox<()>| async move {
                let supervisor = PartitionSupervisor::new(parts())
                    .partitions(2)
                    .name("parts");
                let parts = supervisor.start_link(&inbox).await.unwrap();
                let which = parts.server(&1).call(Which).await.unwrap();
                let found = inbox
                    .system()
                    .partition_supervisor::<ServerRef<Part>>("parts");
                send.send((found.await.unwrap(), which.0)).unwrap();
                inbox.recv().await;
            });
        let (parts, index) = world.next(&told);
        assert_eq!(index, 1);
        parent.unwrap().send(()).unwrap();
        world.until(|| parts.exit_reason() == Some(ExitReason::Normal));
        assert!(parts.servers().all(|part| part.resolve().is_none()));
    });
}

/// Whoever calls while partitions crash gets an answer of the right partition, or an error at once.
#[test]
fn calls_during_crashes_reach_the_right_partition_or_fail_at_once() {
    with_seeds(200, |world, random| {
        let supervisor = PartitionSupervisor::new(parts())
            .partitions(3)
            .intensity(1000);
        let parts = start(world, supervisor);
        let (mut answered, mut failed) = (0, 0);
        for _ in 0..30 {
            let key = random(9);
            if random(3) == 0 {
                parts.server(&key).cast(Boom).unwrap();
                world.tick(random(6) as u32);
                continue;
            }
            match parts.server(&key).call(Which).wait_timeout(10 * SECOND) {
                Ok((index, _)) => {
                    assert_eq!(index, key % 3);
                    answered += 1;
                }
                Err(CallError::NoProc | CallError::Exited(_)) => failed += 1,
                Err(error) => panic!("{error}"),
            }
        }
        assert!(answered + failed > 0);
        pids(world, &parts);
        for key in 0..9 {
            assert_eq!(which(&parts.server(&key)).0, key % 3);
        }
    });
}
