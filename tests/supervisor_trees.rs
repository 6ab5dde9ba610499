//! Random supervision trees, random crashes, many seeds. One crash at a time: exactly what the model of
//! a tree says, in that order. Many at once: no orphan, no double, nothing left behind.

mod tree_model;

use std::collections::HashSet;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use noex::prelude::*;
use noex::{
    AutoShutdown, Backoff, Budget, ChildKind, ChildStatus, Driver, Event, Exit, MailboxFate,
};

use tree_model::{Branch, Kind, Node, Step, Tree, Verdict, World};

const SEEDS: u64 = 1000;
const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// Numbers at random, the same for the same seed.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % n
    }
    /// True once in `n` times.
    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

/// What the leaves of a tree share.
#[derive(Default)]
struct Shared {
    log: Vec<Step>,
    failing: Vec<u32>,
    pids: Vec<Option<Pid>>,
    /// The leaves whose state there is: their pids, with the number of each.
    living: HashSet<(Pid, usize)>,
}

#[derive(Clone, Default)]
struct Site(Arc<Mutex<Shared>>);

impl Site {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap()
    }
}

#[derive(Clone)]
struct LeafArgs {
    site: Site,
    number: usize,
    traps: bool,
    hangs: bool,
}

struct Leaf(LeafArgs, Pid);
struct Panic;
struct Quit(ExitReason);

impl GenServer for Leaf {
    type Args = LeafArgs;

    async fn init(args: LeafArgs, cx: &mut Context<Self>) -> Result<Self, InitStop> {
        cx.trap_exit(args.traps);
        let mut shared = args.site.lock();
        if shared.failing[args.number] > 0 {
            shared.failing[args.number] -= 1;
            shared.log.push(Step::Failed(args.number));
            return Err(ExitReason::Timeout.into());
        }
        shared.log.push(Step::Up(args.number));
        shared.pids[args.number] = Some(cx.pid());
        shared.living.insert((cx.pid(), args.number));
        drop(shared);
        let pid = cx.pid();
        Ok(Leaf(args, pid))
    }

    async fn handle_exit(&mut self, exit: Exit, cx: &mut Context<Self>) {
        cx.stop(exit.reason);
    }

    async fn terminate(&mut self, _: ExitReason, _: &mut Context<Self>) {
        if self.0.hangs {
            pending::<()>().await;
        }
    }
}

impl Drop for Leaf {
    fn drop(&mut self) {
        let mut shared = self.0.site.lock();
        shared.log.push(Step::Gone(self.0.number));
        shared.living.remove(&(self.1, self.0.number));
    }
}

impl HandleCast<Panic> for Leaf {
    async fn handle_cast(&mut self, _: Panic, _: &mut Context<Self>) {
        panic!("as told");
    }
}

impl HandleCast<Quit> for Leaf {
    async fn handle_cast(&mut self, Quit(reason): Quit, cx: &mut Context<Self>) {
        cx.stop(reason);
    }
}

/// Makes trees.
struct Plan {
    random: Random,
    nodes: usize,
    /// Restarts are counted within seconds; else within all the time there is, and they may wait.
    timed: bool,
    /// Supervisors give up after a few restarts.
    strict: bool,
    /// Some leaves hang in `terminate`.
    hangs: bool,
}

impl Plan {
    fn new(seed: u64, strict: bool, hangs: bool) -> Self {
        let mut random = Random::new(seed);
        let timed = random.one_in(2);
        Plan {
            random,
            nodes: 0,
            timed,
            strict,
            hangs,
        }
    }

    fn branch(&mut self, depth: usize) -> Branch {
        let random = &mut self.random;
        let strategy = random.pick(&[
            Strategy::OneForOne,
            Strategy::OneForAll,
            Strategy::RestForOne,
        ]);
        let auto_shutdown = random.pick(&[
            AutoShutdown::Never,
            AutoShutdown::AnySignificant,
            AutoShutdown::AllSignificant,
        ]);
        let intensity = match self.strict {
            true => random.below(5),
            false => 200,
        };
        let children = 1 + random.below(4);
        Branch {
            strategy,
            intensity,
            period: if self.timed {
                5 * SECOND
            } else {
                1_000_000 * SECOND
            },
            auto_shutdown,
            children: (0..children)
                .map(|_| self.node(depth, auto_shutdown))
                .collect(),
        }
    }

    fn node(&mut self, depth: usize, auto_shutdown: AutoShutdown) -> Node {
        let number = self.nodes;
        self.nodes += 1;
        let random = &mut self.random;
        let restart = random.pick(&[
            Restart::Permanent,
            Restart::Permanent,
            Restart::Transient,
            Restart::Temporary,
        ]);
        let may_be = auto_shutdown != AutoShutdown::Never && restart != Restart::Permanent;
        let significant = may_be && random.one_in(2);
        let backoff = !self.timed && random.one_in(2);
        let hangs = self.hangs && !self.timed && random.one_in(5);
        let hangs = hangs.then(|| 100 + random.below(400) as u64);
        let traps = hangs.is_some() || random.one_in(2);
        let kind = if depth > 0 && random.one_in(3) {
            Kind::Branch(self.branch(depth - 1))
        } else {
            Kind::Leaf { traps, hangs }
        };
        Node {
            number,
            restart,
            significant,
            backoff,
            kind,
        }
    }
}

fn supervisor(branch: &Branch, site: &Site) -> Supervisor {
    Supervisor::new(branch.strategy)
        .intensity(branch.intensity as u32)
        .period(branch.period)
        .auto_shutdown(branch.auto_shutdown)
        .children(branch.children.iter().map(|node| child(node, site)))
}

fn child(node: &Node, site: &Site) -> ChildSpec {
    let id = node.number.to_string();
    let spec = match &node.kind {
        Kind::Branch(branch) => {
            let name = format!("branch {id}");
            ChildSpec::supervisor(id, supervisor(branch, site)).name(name)
        }
        Kind::Leaf { traps, hangs } => {
            let args = LeafArgs {
                site: site.clone(),
                number: node.number,
                traps: *traps,
                hangs: hangs.is_some(),
            };
            let shutdown = match hangs {
                Some(ms) => Shutdown::Timeout(Duration::from_millis(*ms)),
                None if node.number % 3 == 0 => Shutdown::BrutalKill,
                None => Shutdown::Timeout(SECOND),
            };
            ChildSpec::server::<Leaf>(id, args).shutdown(shutdown)
        }
    };
    let spec = spec.restart(node.restart).significant(node.significant);
    if node.backoff {
        let backoff = Backoff::exponential(20 * MS).cap(300 * MS);
        spec.backoff(backoff).mailbox_fate(MailboxFate::Keep)
    } else {
        spec
    }
}

fn system(seed: u64, site: &Site) -> (System, Driver) {
    let site = site.clone();
    System::builder()
        .on_event(move |event| {
            if let Event::GaveUp { child, .. } = event {
                let child = child.parse().unwrap();
                site.lock().log.push(Step::GaveUp(child));
            }
        })
        .virtual_clock()
        .seed(seed)
        .manual()
}

/// Ends a leaf in a way of its own; whether that is abnormal.
fn end(system: &System, pid: Pid, leaf: &Node, random: &mut Random) -> bool {
    let Kind::Leaf { hangs, .. } = leaf.kind else {
        panic!("a leaf")
    };
    let server = system.server_ref::<Leaf>(pid).unwrap();
    // One that hangs in `terminate` only ends if it is killed.
    let way = if hangs.is_some() { 0 } else { random.below(5) };
    let quit = |reason| server.cast(Quit(reason)).unwrap();
    match way {
        0 => system.exit(pid, ExitReason::Kill),
        1 => system.exit(pid, ExitReason::Timeout),
        2 => server.cast(Panic).unwrap(),
        3 => quit(ExitReason::Normal),
        _ => quit(ExitReason::Shutdown(None)),
    }
    way < 3
}

/// What one seed came to.
#[derive(Debug, Default)]
struct Tally {
    ends: usize,
    restarts: usize,
    gave_up: usize,
    failed: usize,
    not_started: usize,
    ended: usize,
}

fn one_by_one(seed: u64, tally: &mut Tally) {
    let mut plan = Plan::new(seed, true, true);
    let tree = plan.branch(3);
    let (mut random, nodes, timed) = (plan.random, plan.nodes, plan.timed);
    let site = Site::default();
    {
        let mut shared = site.lock();
        shared.failing = vec![0; nodes];
        shared.pids = vec![None; nodes];
        if random.one_in(8) {
            shared.failing[random.below(nodes)] = 1;
        }
    }
    let (system, driver) = system(seed, &site);
    let mut world = World {
        now: Duration::ZERO,
        log: Vec::new(),
        failing: site.lock().failing.clone(),
    };
    let check = |world: &World, what: &str| {
        let seen = std::mem::take(&mut site.lock().log);
        assert_eq!(seen, world.log, "seed {seed}, {what}: {tree:#?}");
    };
    let start = supervisor(&tree, &site).start(&system);
    let sup = start.pid().unwrap();
    driver.advance(5 * SECOND);
    let model = Tree::start(&tree, &mut world);
    check(&world, "start");
    let started = start.wait_timeout(SECOND);
    let Some(mut model) = model else {
        assert!(started.is_err() && !system.is_alive(sup));
        assert!(site.lock().living.is_empty());
        tally.not_started += 1;
        return;
    };
    let sup = started.unwrap();
    for turn in 0..12 {
        let leaves = model.leaves();
        if leaves.is_empty() {
            break;
        }
        world.log.clear();
        let (way, leaf) = random.pick(&leaves);
        if random.one_in(4) {
            let failing = random.below(nodes);
            let times = 1 + random.below(3) as u32;
            site.lock().failing[failing] = times;
            world.failing[failing] = times;
        }
        let pid = site.lock().pids[leaf.number].unwrap();
        world.now = driver.now();
        let abnormal = end(&system, pid, &leaf, &mut random);
        driver.run_until_idle();
        driver.advance(match timed {
            true => random.below(3000) as u32 * MS,
            false => 30 * SECOND,
        });
        let verdict = model.end(&way, abnormal, &mut world);
        if verdict == Verdict::Ends {
            model.stop(&mut world);
        }
        check(
            &world,
            &format!("end {turn} of {leaf:?}, abnormal: {abnormal}"),
        );
        let steps = |wanted: fn(&Step) -> bool| world.log.iter().filter(|s| wanted(s)).count();
        tally.ends += 1;
        tally.restarts += steps(|step| matches!(step, Step::Up(_)));
        tally.gave_up += steps(|step| matches!(step, Step::GaveUp(_)));
        tally.failed += steps(|step| matches!(step, Step::Failed(_)));
        let living = site.lock().living.len();
        if verdict == Verdict::Ends {
            assert_eq!(sup.exit_reason(), Some(ExitReason::Shutdown(None)));
            assert_eq!(living, 0);
            tally.ended += 1;
            return;
        }
        assert!(sup.is_alive(), "seed {seed}");
        assert_eq!(living, model.leaves().len());
        assert_eq!(driver.next_deadline(), None, "nobody waits any more");
    }
    world.log.clear();
    model.stop(&mut world);
    let stop = sup.stop(ExitReason::Normal);
    driver.advance(30 * SECOND);
    assert_eq!(stop.wait_timeout(SECOND), Ok(()));
    check(&world, "stop");
    assert_eq!(system.stats().queued, 0);
}

#[test]
fn a_tree_does_what_the_model_says_whatever_ends_in_it() {
    let mut tally = Tally::default();
    for seed in 0..SEEDS {
        one_by_one(seed, &mut tally);
    }
    // The trees are such that all of it happens often.
    println!("{tally:?}");
    assert!(tally.ends > 4000 && tally.restarts > 3000, "{tally:?}");
    assert!(tally.gave_up > 300 && tally.failed > 300, "{tally:?}");
    assert!(tally.not_started > 50 && tally.ended > 200, "{tally:?}");
}

/// The leaves that run below a supervisor, as it and those below it say; none that it says twice.
fn reachable(
    system: &System,
    sup: &SupervisorRef,
    found: &mut HashSet<(Pid, usize)>,
    supervisors: &mut usize,
) {
    *supervisors += 1;
    for child in sup.which_children().wait_timeout(SECOND).unwrap() {
        let Some(pid) = child.pid() else {
            assert_eq!(child.status, ChildStatus::Stopped, "all is settled");
            continue;
        };
        assert!(system.is_alive(pid));
        let number = child.id.parse().unwrap();
        if child.kind == ChildKind::Supervisor {
            let name = format!("branch {number}");
            let branch = system.supervisor(&name).unwrap();
            assert_eq!(branch.pid(), pid);
            reachable(system, &branch, found, supervisors);
        } else {
            assert!(found.insert((pid, number)), "{number} is there twice");
        }
    }
}

/// How many leaves came up in the course of it.
fn many_at_once(seed: u64) -> usize {
    // A supervisor that is killed leaves those that hang behind, as in OTP.
    let kills_supervisors = seed % 2 == 0;
    let mut plan = Plan::new(seed, false, !kills_supervisors);
    let tree = plan.branch(2);
    let (mut random, nodes) = (plan.random, plan.nodes);
    let site = Site::default();
    {
        let mut shared = site.lock();
        shared.failing = vec![0; nodes];
        shared.pids = vec![None; nodes];
    }
    let (system, driver) = system(seed, &site);
    let start = supervisor(&tree, &site).name("root").start(&system);
    let sup = start.wait_timeout(SECOND).unwrap();
    driver.run_until_idle();
    // The system's own, which keeps names.
    let others = {
        let (mut found, mut supervisors) = (HashSet::new(), 0);
        reachable(&system, &sup, &mut found, &mut supervisors);
        system.processes().len() - found.len() - supervisors
    };
    let mut answers = Vec::new();
    for _ in 0..4 {
        for _ in 0..random.below(12) {
            let number = random.below(nodes);
            let pid = site.lock().pids[number];
            let id = number.to_string();
            let branches = (0..nodes).filter_map(|n| system.supervisor(format!("branch {n}")));
            let supervisors: Vec<_> = branches.chain(system.supervisor("root")).collect();
            if supervisors.is_empty() {
                break;
            }
            let some = &supervisors[random.below(supervisors.len())];
            match random.below(9) {
                0 => site.lock().failing[number] = 1,
                1 => answers.push(some.terminate_child(&id)),
                2 => drop(some.restart_child(&id)),
                3 => answers.push(some.delete_child(&id)),
                4 if kills_supervisors && some.pid() != sup.pid() => {
                    system.exit(some.pid(), ExitReason::Kill)
                }
                _ => {
                    if let Some(server) = pid.and_then(|pid| system.server_ref::<Leaf>(pid)) {
                        match random.below(4) {
                            // Not to one that would then hang for ever.
                            0 if kills_supervisors => server.cast(Panic).unwrap(),
                            1 if kills_supervisors => {
                                server.cast(Quit(ExitReason::Normal)).unwrap();
                            }
                            _ => system.exit(server.pid(), ExitReason::Kill),
                        }
                    }
                }
            }
            driver.tick(Budget::messages(random.below(30) as u32));
            if random.one_in(4) {
                driver.advance(random.below(100) as u32 * MS);
            }
        }
        driver.advance(60 * SECOND);
        let mut found = HashSet::new();
        let mut supervisors = 0;
        if sup.is_alive() {
            reachable(&system, &sup, &mut found, &mut supervisors);
        }
        // No orphan and no double: whoever lives is where the tree says, once.
        let shared = site.lock();
        assert_eq!(found, shared.living, "seed {seed}: {tree:#?}");
        let numbers: HashSet<usize> = found.iter().map(|(_, number)| *number).collect();
        assert_eq!(numbers.len(), found.len(), "seed {seed}");
        // And nobody else does.
        let all = found.len() + supervisors + others;
        assert_eq!(system.processes().len(), all, "seed {seed}");
        assert_eq!(system.stats().queued, 0, "seed {seed}");
        drop(shared);
        assert_eq!(driver.next_deadline(), None, "seed {seed}");
    }
    for answer in answers {
        // Each is answered, if only by the end of whom it was asked.
        let answer = answer.wait_timeout(Duration::ZERO);
        let unanswered = noex::ChildError::Call(noex::CallError::Timeout);
        assert!(answer != Err(unanswered), "seed {seed}");
    }
    let stop = sup.stop(ExitReason::Normal);
    driver.advance(60 * SECOND);
    drop(stop.wait_timeout(SECOND));
    assert!(site.lock().living.is_empty());
    assert_eq!(system.processes().len(), others);
    let shared = site.lock();
    shared
        .log
        .iter()
        .filter(|step| matches!(step, Step::Up(_)))
        .count()
}

#[test]
fn many_ends_and_requests_at_once_leave_no_orphan_and_no_double() {
    let ups: usize = (0..SEEDS).map(many_at_once).sum();
    // Far more than there are leaves in a thousand trees.
    assert!(ups > 10_000, "{ups}");
}
