//! Everything at once, at random, on four threads: whatever happens, everybody is answered, every
//! message is accounted for, every process ends, and all memory is given back.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use noex::prelude::*;
use noex::{
    Call, CallError, Calls, Down, Exit, Inbox, MailboxPolicy, Overflow, Received, ReplyTo,
    ServerOptions, StartError,
};
use support::{DEADLINE, quiet, settled};

/// How many of the test's own values live, of all kinds.
#[derive(Clone, Default)]
struct Books(Arc<AtomicI64>);

/// Something that is on the books.
struct Entry(Books);
impl Entry {
    fn new(books: &Books) -> Self {
        books.0.fetch_add(1, SeqCst);
        Entry(books.clone())
    }
}
impl Drop for Entry {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, SeqCst);
    }
}

struct Random(u64);
impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % n
    }
}

type World = Arc<Vec<Named<Actor>>>;

/// A server that does what a random number says with others like it.
struct Actor {
    world: World,
    random: Random,
    books: Books,
    kept: Vec<ReplyTo<Entry>>,
    _entry: Entry,
}

#[derive(Clone)]
struct Seeds {
    world: World,
    books: Books,
    seed: u64,
}

struct Do(Entry, usize);
struct Ask(Entry, usize);
struct Keep(Entry);
struct Hear(Entry);

impl Actor {
    fn other(&mut self) -> Named<Actor> {
        let pick = self.random.below(self.world.len());
        self.world[pick].clone()
    }

    /// Does something, going at most `depth` calls deep.
    async fn act(&mut self, cx: &mut Context<Self>, depth: usize) {
        let other = self.other();
        let entry = Entry::new(&self.books);
        match self.random.below(24) {
            0..4 => drop(other.cast(Do(entry, depth.saturating_sub(1)))),
            4..7 if depth > 0 => {
                // May close a cycle, time out, or meet the dead.
                let timeout = Duration::from_millis(1 + self.random.below(20) as u64);
                let _ = other.call_with(Ask(entry, depth - 1), timeout).await;
            }
            7 if depth > 0 => {
                let mut calls = Calls::new();
                for _ in 0..3 {
                    let entry = Entry::new(&self.books);
                    calls.add(
                        self.other()
                            .call_with(Ask(entry, 0), Duration::from_millis(5)),
                    );
                }
                let _ = calls.await;
            }
            8 => drop(other.call(Ask(entry, 0))), // gives up at once
            9 => drop(other.call(Keep(entry))),
            10 => {
                let pick = self.random.below(self.kept.len() + 1);
                if pick < self.kept.len() {
                    self.kept.swap_remove(pick).reply(entry);
                } else {
                    self.kept.clear();
                }
            }
            11 => {
                if let Some(other) = other.resolve() {
                    cx.link(other.pid());
                }
            }
            12 => {
                if let Some(other) = other.resolve() {
                    let monitor = cx.monitor(other.pid());
                    if self.random.below(2) == 0 {
                        cx.demonitor(monitor);
                    }
                }
            }
            13 => {
                let reason = match self.random.below(4) {
                    0 => ExitReason::Kill,
                    1 => ExitReason::Normal,
                    2 => ExitReason::Timeout,
                    _ => ExitReason::error("random"),
                };
                if let Some(other) = other.resolve() {
                    cx.exit(other.pid(), reason);
                }
            }
            14 => panic!("at random"),
            15 => cx.stop(ExitReason::Normal),
            16 => {
                let trap = self.random.below(2) == 0;
                cx.trap_exit(trap);
            }
            17 => {
                let after = Duration::from_millis(self.random.below(10) as u64);
                let timer = cx.send_after(after, &other, Hear(entry));
                if self.random.below(3) == 0 {
                    cx.cancel_timer(timer);
                }
            }
            18 => {
                cx.sleep(Duration::from_micros(self.random.below(2000) as u64))
                    .await
            }
            19 => cx.yield_now().await,
            20 => {
                let work = cx.blocking(move || entry);
                if self.random.below(2) == 0 {
                    let _ = work.await;
                }
            }
            21 => {
                // A process of another kind, linked, with a mailbox that is never emptied.
                let books = self.books.clone();
                let child = cx.spawn_link(move |mut cx: Inbox<Entry>| async move {
                    let _own = Entry::new(&books);
                    let wanted =
                        |received: &Received<Entry>| !matches!(received, Received::Message(_));
                    let _ = cx
                        .recv_match_timeout(Duration::from_millis(2), wanted)
                        .await;
                });
                if let Ok(child) = child {
                    let _ = child.send(entry);
                }
            }
            22 => {
                cx.continue_with(Hear(entry));
                cx.set_timeout(Duration::from_millis(1));
            }
            _ => drop(other.send(Hear(entry))),
        }
    }
}

impl GenServer for Actor {
    type Args = Seeds;
    async fn init(seeds: Seeds, cx: &mut Context<Self>) -> Result<Self, InitStop> {
        let entry = Entry::new(&seeds.books);
        let mut random = Random(seeds.seed | 1);
        match random.below(40) {
            0 => panic!("in init"),
            1 => return Err(ExitReason::Timeout.into()),
            2 => return Err(InitStop::Ignore),
            3 => cx.yield_now().await,
            _ => {}
        }
        Ok(Actor {
            world: seeds.world,
            random,
            books: seeds.books,
            kept: Vec::new(),
            _entry: entry,
        })
    }
    async fn handle_down(&mut self, _: Down, cx: &mut Context<Self>) {
        self.act(cx, 1).await;
    }
    async fn handle_exit(&mut self, _: Exit, cx: &mut Context<Self>) {
        self.act(cx, 1).await;
    }
    async fn handle_timeout(&mut self, cx: &mut Context<Self>) {
        self.act(cx, 1).await;
    }
    async fn terminate(&mut self, _: ExitReason, cx: &mut Context<Self>) {
        match self.random.below(8) {
            0 => panic!("in terminate"),
            1 => cx.yield_now().await,
            2 => {
                let entry = Entry::new(&self.books);
                let _ = self
                    .other()
                    .call_with(Ask(entry, 0), Duration::from_millis(2))
                    .await;
            }
            _ => {}
        }
    }
}
impl HandleCast<Do> for Actor {
    async fn handle_cast(&mut self, Do(_entry, depth): Do, cx: &mut Context<Self>) {
        self.act(cx, depth).await;
    }
}
impl HandleCall<Ask> for Actor {
    type Reply = Entry;
    async fn handle_call(&mut self, Ask(entry, depth): Ask, cx: &mut Context<Self>) -> Entry {
        self.act(cx, depth).await;
        entry
    }
}
impl HandleRequest<Keep> for Actor {
    type Reply = Entry;
    async fn handle_request(
        &mut self,
        Keep(_entry): Keep,
        reply: ReplyTo<Entry>,
        _: &mut Context<Self>,
    ) {
        self.kept.push(reply);
    }
}
impl HandleInfo<Hear> for Actor {
    async fn handle_info(&mut self, Hear(_entry): Hear, cx: &mut Context<Self>) {
        self.act(cx, 0).await;
    }
}
impl HandleContinue<Hear> for Actor {
    async fn handle_continue(&mut self, Hear(_entry): Hear, _: &mut Context<Self>) {}
}

/// A world of actors under names, each replaced when it is gone, until the time is over.
fn world(system: &System, books: &Books, threads: u64, rounds: usize) {
    let names: Vec<_> = (0..12).map(|n| format!("actor{n}")).collect();
    let world: World = Arc::new(
        names
            .iter()
            .map(|name| system.server::<Actor>(name.as_str()))
            .collect(),
    );
    let calls = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (world, names, calls) = (&world, &names, &calls);
            scope.spawn(move || {
                let mut random = Random(thread * 7919 + 1);
                let mut open: Vec<Call<Entry>> = Vec::new();
                for round in 0..rounds {
                    let pick = random.below(world.len());
                    let actor = &world[pick];
                    match random.below(8) {
                        0..3 => {
                            let entry = Entry::new(books);
                            let answer = actor
                                .call_with(Ask(entry, 3), DEADLINE * 2)
                                .wait_timeout(DEADLINE);
                            assert!(!matches!(answer, Err(CallError::Timeout)), "never answered");
                            calls.fetch_add(1, SeqCst);
                        }
                        3 => open.push(actor.call_with(Keep(Entry::new(books)), None)),
                        4 => {
                            if let Some(actor) = actor.resolve() {
                                system.exit(actor.pid(), ExitReason::Kill);
                            }
                        }
                        5 => drop(actor.cast(Do(Entry::new(books), 2))),
                        _ => {
                            // A new one where there is none.
                            let policy = match random.below(4) {
                                0 => MailboxPolicy::Bounded {
                                    capacity: 4,
                                    overflow: Overflow::DropOldest,
                                },
                                1 => MailboxPolicy::Bounded {
                                    capacity: 4,
                                    overflow: Overflow::Reject,
                                },
                                _ => MailboxPolicy::Unbounded,
                            };
                            let options = ServerOptions::new()
                                .name(names[pick].as_str())
                                .mailbox(policy);
                            let seeds = Seeds {
                                world: world.clone(),
                                books: books.clone(),
                                seed: thread << 32 | round as u64,
                            };
                            match system
                                .start_with::<Actor>(seeds, options)
                                .wait_timeout(DEADLINE)
                            {
                                Ok(_)
                                | Err(
                                    StartError::AlreadyStarted(_)
                                    | StartError::Ignore
                                    | StartError::Init(_),
                                ) => {}
                                Err(error) => panic!("{error:?}"),
                            }
                        }
                    }
                }
                // The kept ones are answered by now or when their keepers end.
                for actor in world.iter() {
                    if let Some(actor) = actor.resolve() {
                        system.exit(actor.pid(), ExitReason::Kill);
                    }
                }
                for call in open {
                    let answer = call.wait_timeout(DEADLINE);
                    assert!(!matches!(answer, Err(CallError::Timeout)), "never answered");
                }
            });
        }
    });
    assert!(calls.into_inner() > 0);
}

#[test]
fn a_world_of_crashing_servers_leaves_nothing_behind() {
    let started = Instant::now();
    let books = Books::default();
    let system = quiet().schedulers(4).build().unwrap();
    let mut rounds = 0;
    // Bounded by time as well: a slow machine does less.
    while rounds < 12 && started.elapsed() < Duration::from_secs(8) {
        world(&system, &books, 4, 400);
        rounds += 1;
    }
    let stats = settled(&system);
    assert!(
        stats.aborted > 0 && stats.undelivered > 0 && stats.handled > 1000,
        "{stats:?}"
    );
    let pids = system.processes();
    system.shutdown().wait_timeout(DEADLINE).unwrap();
    assert!(pids.iter().all(|pid| !system.is_alive(*pid)));
    let handle = system.handle();
    drop(system);
    // Only now has the process that did the shutdown ended, too.
    let stats = handle.stats();
    assert_eq!(stats.spawned, stats.exited);
    assert_eq!(
        stats.sent,
        stats.handled + stats.aborted + stats.rejected + stats.dropped + stats.undelivered
    );
    assert_eq!(books.0.load(SeqCst), 0, "all memory is given back");
}

#[test]
fn a_system_dropped_in_the_middle_of_it_leaves_nothing_behind_either() {
    for round in 0..8 {
        let books = Books::default();
        let system = quiet().schedulers(1 + round % 4).build().unwrap();
        world(&system, &books, 2, 100);
        let world: World = Arc::new(
            (0..4)
                .map(|n| system.server::<Actor>(format!("again{n}")))
                .collect(),
        );
        for n in 0..4 {
            let seeds = Seeds {
                world: world.clone(),
                books: books.clone(),
                seed: n * 1000 + 77,
            };
            let options = ServerOptions::new().name(format!("again{n}"));
            let _ = system
                .start_with::<Actor>(seeds, options)
                .wait_timeout(DEADLINE);
        }
        let calls: Vec<_> = (0..200)
            .map(|n| world[n % 4].call_with(Ask(Entry::new(&books), 3), None))
            .collect();
        drop(system);
        for call in calls {
            let _answered = call
                .wait_timeout(DEADLINE)
                .map_err(|error| assert_ne!(error, CallError::Timeout));
        }
        drop(world);
        assert_eq!(books.0.load(SeqCst), 0);
    }
}

#[test]
fn the_same_on_the_manual_driver() {
    for seed in 0..20 {
        let books = Books::default();
        let (system, driver) = quiet().virtual_clock().auto_advance().seed(seed).manual();
        let names: Vec<_> = (0..6).map(|n| format!("actor{n}")).collect();
        let world: World = Arc::new(
            names
                .iter()
                .map(|name| system.server::<Actor>(name.as_str()))
                .collect(),
        );
        let mut random = Random(seed * 31 + 1);
        for round in 0..150u64 {
            let pick = random.below(6);
            match random.below(4) {
                0 => {
                    let answer = world[pick]
                        .call(Ask(Entry::new(&books), 3))
                        .wait_timeout(DEADLINE);
                    assert!(!matches!(answer, Err(CallError::Stalled)), "never answered");
                }
                1 => drop(world[pick].cast(Do(Entry::new(&books), 2))),
                _ => {
                    let seeds = Seeds {
                        world: world.clone(),
                        books: books.clone(),
                        seed: seed << 32 | round,
                    };
                    let options = ServerOptions::new().name(names[pick].as_str());
                    let _ = system
                        .start_with::<Actor>(seeds, options)
                        .wait_timeout(DEADLINE);
                }
            }
        }
        driver.advance(Duration::from_secs(60));
        settled(&system);
        system.shutdown().wait_timeout(DEADLINE).unwrap();
        let stats = system.stats();
        assert_eq!(stats.spawned, stats.exited);
        drop(system);
        drop(driver);
        assert_eq!(books.0.load(SeqCst), 0);
    }
}
