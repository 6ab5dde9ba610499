//! Tables: deaths that race with look-ups, gifts and each other.

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};

use noex::ets::{Access, Set, Transfer};
use noex::prelude::*;
use noex::{Inbox, Received, Recipient, Table, TableError};
use support::{DEADLINE, end_of, next, quiet, reports};

type Words = Table<u32, u32>;
type Gift = Transfer<u32, u32, Set, ()>;

/// What is known to be wrong.
#[derive(Clone, Default)]
struct Wrong(Arc<Mutex<Vec<String>>>);

impl Wrong {
    fn unless(&self, right: bool, what: impl FnOnce() -> String) {
        if !right {
            self.0.lock().unwrap().push(what());
        }
    }
}

/// One that looks at the table when it hears of the owner's death: it is gone, or its heir's.
async fn watch(mut cx: Inbox<()>, owner: Pid, linked: bool, table: Words, wrong: Wrong) {
    if linked {
        cx.trap_exit(true);
        cx.link(owner);
    } else {
        cx.monitor(owner);
    }
    while !matches!(cx.recv().await, Received::Down(_) | Received::Exit(_)) {}
    let found = table.info();
    let still = found.as_ref().is_ok_and(|info| info.owner == Some(owner));
    wrong.unless(!still, || format!("the dead {owner} has it: {found:?}"));
    let named: Result<Words, _> = cx.system().table_named("table");
    let found = named.and_then(|table| table.info());
    let still = found.as_ref().is_ok_and(|info| info.owner == Some(owner));
    wrong.unless(!still, || {
        format!("the dead {owner} has the name: {found:?}")
    });
    // For whoever writes: it is there, or gone, and not somebody's who is dead.
    match table.insert(1, 1) {
        Ok(()) | Err(TableError::Gone) => {}
        Err(other) => wrong.unless(false, || format!("{other:?}")),
    }
}

/// One that inherits, maybe, and hears of the owner's death only afterwards.
async fn inherit(mut cx: Inbox<Gift>, owner: Pid, heard: Arc<AtomicUsize>, wrong: Wrong) {
    cx.monitor(owner);
    let mut downs = 0;
    loop {
        match cx.recv().await {
            Received::Message(gift) => {
                wrong.unless(downs == 0, || "the gift came after the Down".into());
                let me = Some(cx.pid());
                let info = gift.table.info();
                wrong.unless(info.is_ok_and(|info| info.owner == me), || {
                    "the heir is not the owner".into()
                });
                wrong.unless(gift.table.rename("heirs").is_ok(), || "no rename".into());
                heard.fetch_add(1, SeqCst);
            }
            Received::Down(_) => downs += 1,
            _ => return,
        }
    }
}

/// A table, its owner and those that look at it, on a system that runs by itself or by `seed`.
fn scene(system: &System, seed: u64, wrong: &Wrong) {
    let (tell, told): (Sender<Words>, _) = reports();
    let (done, is_done) = reports();
    let builder = Words::builder().named("table").access(Access::Public);
    let owner: Recipient<Recipient<Gift>> = system
        .spawn(move |mut cx: Inbox<Recipient<Gift>>| async move {
            let table = builder.build(&cx).unwrap();
            tell.send(table.clone()).unwrap();
            while let Received::Message(to) = cx.recv().await {
                // The last one heard of inherits, or gets it at once.
                match to.pid().id() % 2 {
                    0 => table.set_heir(&to, ()).unwrap(),
                    _ => drop(table.give_away(&to, ()).is_ok()),
                }
                let _seen = done.send(());
                if seed % 5 == 0 {
                    return;
                }
            }
        })
        .unwrap();
    let table = next(system, &told);
    let pid = owner.pid();
    let heard = Arc::new(AtomicUsize::new(0));
    let heirs: Vec<Recipient<Gift>> = (0..2)
        .map(|_| {
            let (heard, wrong) = (heard.clone(), wrong.clone());
            let run = move |cx: Inbox<Gift>| inherit(cx, pid, heard, wrong);
            system.spawn(run).unwrap()
        })
        .collect();
    let watchers: Vec<Recipient<()>> = (0..3)
        .map(|n| {
            let (table, wrong) = (table.clone(), wrong.clone());
            let run = move |cx: Inbox<()>| watch(cx, pid, n == 1, table, wrong);
            system.spawn(run).unwrap()
        })
        .collect();
    let heir = &heirs[(seed % 2) as usize];
    if seed % 3 > 0 {
        owner.send(heir.clone()).unwrap();
        // Else the kill may well overtake it.
        if seed % 4 > 0 {
            next(system, &is_done);
        }
    }
    if seed % 7 < 3 {
        system.exit(heir.pid(), ExitReason::Kill);
    }
    system.exit(pid, ExitReason::Kill);
    for watcher in watchers {
        end_of(system, &watcher);
    }
    for heir in heirs {
        let end = system.monitor(heir.pid());
        system.exit(heir.pid(), ExitReason::Kill);
        end.wait_timeout(DEADLINE).unwrap();
    }
    wrong.unless(table.len() == Err(TableError::Gone), || {
        "it is left over".into()
    });
    wrong.unless(system.tables().is_empty(), || "it is in the list".into());
    wrong.unless(heard.load(SeqCst) <= 1, || "two inherited".into());
}

#[test]
fn under_ten_thousand_seeds_whoever_hears_of_a_death_finds_the_table_gone_or_its_heirs() {
    let wrong = Wrong::default();
    for seed in 0..10_000 {
        let (system, _driver) = quiet().virtual_clock().auto_advance().seed(seed).manual();
        scene(&system, seed, &wrong);
        let found = wrong.0.lock().unwrap();
        assert!(found.is_empty(), "seed {seed}: {found:?}");
    }
}

#[test]
fn on_threads_whoever_hears_of_a_death_finds_the_table_gone_or_its_heirs() {
    let wrong = Wrong::default();
    for threads in [1, 4] {
        let system = quiet().schedulers(threads).build().unwrap();
        for seed in 0..300 {
            scene(&system, seed, &wrong);
            let found = wrong.0.lock().unwrap();
            assert!(found.is_empty(), "round {seed}: {found:?}");
        }
    }
}

#[test]
fn readers_and_writers_that_race_with_the_owners_death_fail_cleanly_and_for_good() {
    for threads in [1, 4] {
        let system = quiet().schedulers(threads).build().unwrap();
        for round in 0..40 {
            let (tell, told) = reports();
            let owner = system.spawn(move |mut cx: Inbox<()>| async move {
                let builder = Words::builder().access(Access::Public);
                tell.send(builder.build(&cx).unwrap()).unwrap();
                cx.recv().await;
            });
            let owner = owner.unwrap().pid();
            let table = next(&system, &told);
            table.insert_many((0..500).map(|n| (n, n))).unwrap();
            let dead = AtomicBool::new(false);
            std::thread::scope(|scope| {
                for n in 0..3_u32 {
                    let (table, dead) = (&table, &dead);
                    scope.spawn(move || {
                        let mut gone = false;
                        while !gone {
                            let knew = dead.load(SeqCst);
                            let done = match n {
                                0 => table.lookup(&7).map(|found| assert_eq!(found, Some(7))),
                                1 => table.insert(1_000 + n, n),
                                _ => table.update_counter(&8, |n| n, 0).map(|n| assert_eq!(n, 8)),
                            };
                            gone = match done {
                                Ok(()) => {
                                    assert!(!knew, "there after its owner's death was known");
                                    false
                                }
                                Err(error) => {
                                    assert_eq!(error, TableError::Gone);
                                    true
                                }
                            };
                        }
                        assert_eq!(table.lookup(&7), Err(TableError::Gone));
                    });
                }
                let end = system.monitor(owner);
                for _ in 0..round * 20 {
                    std::hint::spin_loop();
                }
                system.exit(owner, ExitReason::Kill);
                end.wait_timeout(DEADLINE).unwrap();
                dead.store(true, SeqCst);
            });
        }
    }
}

#[test]
fn of_many_that_take_a_tables_name_exactly_one_does() {
    for threads in [1, 4] {
        let system = quiet().schedulers(threads).build().unwrap();
        for _ in 0..50 {
            let (tell, told) = reports();
            let racers: Vec<Recipient<()>> = (0..6)
                .map(|_| {
                    let tell = tell.clone();
                    let run = move |mut cx: Inbox<()>| async move {
                        let made = Words::builder().named("one").build(&cx);
                        tell.send((cx.pid(), made.map(|_| ()))).unwrap();
                        cx.recv().await;
                    };
                    system.spawn(run).unwrap()
                })
                .collect();
            let outcomes: Vec<_> = racers.iter().map(|_| next(&system, &told)).collect();
            let won: Vec<Pid> = outcomes
                .iter()
                .filter(|it| it.1.is_ok())
                .map(|it| it.0)
                .collect();
            assert_eq!(won.len(), 1);
            let lost = |it: &&(Pid, Result<(), _>)| it.1 == Err(TableError::NameTaken);
            assert_eq!(outcomes.iter().filter(lost).count(), 5);
            let found: Words = system.table_named("one").unwrap();
            assert_eq!(found.info().unwrap().owner, Some(won[0]));
            for racer in racers {
                racer.send(()).unwrap();
                end_of(&system, &racer);
            }
        }
    }
}
