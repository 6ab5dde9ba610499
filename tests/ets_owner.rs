//! Tables: whose they are, who may do what, and what becomes of them when the owner dies.

mod support;

use std::sync::mpsc::{Receiver, Sender};

use noex::ets::{Access, OrderedSet, Set, Transfer};
use noex::prelude::*;
use noex::{Inbox, MailboxPolicy, Overflow, Received, Recipient, SpawnOptions, Table, TableError};
use support::{DEADLINE, end_of, gate, next, on_all, quiet, reports, until};

type Words = Table<u32, &'static str>;
type Gift<D> = Transfer<u32, &'static str, Set, D>;

/// What a test asks of a process that owns a table.
enum Do {
    /// Runs this as the process.
    Run(Box<dyn FnOnce(&Words) + Send>),
    Give(Recipient<Gift<u8>>, Sender<Result<(), TableError>>),
    Stop,
}

/// A process with a table, made by `make`.
fn owner(
    system: &System,
    make: impl FnOnce(&Inbox<Do>) -> Words + Send + 'static,
) -> (Recipient<Do>, Words) {
    let (tell, told) = reports();
    let owner = system.spawn(move |mut cx: Inbox<Do>| async move {
        let table = make(&cx);
        tell.send(table.clone()).unwrap();
        loop {
            match cx.recv().await {
                Received::Message(Do::Run(run)) => run(&table),
                Received::Message(Do::Give(to, told)) => {
                    told.send(table.give_away(&to, 7)).unwrap();
                }
                _ => return,
            }
        }
    });
    (owner.unwrap(), next(system, &told))
}

/// A gift, and what came of writing into it.
type Tried<D> = (Gift<D>, Result<(), TableError>);

/// A process that reports the gifts it gets, with what it can do with the table.
fn receiver<D: Send + 'static>(system: &System) -> (Recipient<Gift<D>>, Receiver<Tried<D>>) {
    let (tell, told) = reports();
    let receiver = system.spawn(move |mut cx: Inbox<Gift<D>>| async move {
        while let Received::Message(gift) = cx.recv().await {
            let written = gift.table.insert(100, "mine");
            if tell.send((gift, written)).is_err() {
                return;
            }
        }
    });
    (receiver.unwrap(), told)
}

/// What the owner of a table gets to see when it does something with it.
fn as_owner<R: Send + 'static>(
    system: &System,
    owner: &Recipient<Do>,
    run: impl FnOnce(&Words) -> R + Send + 'static,
) -> R {
    let (tell, told) = reports();
    let run = move |table: &Words| drop(tell.send(run(table)));
    owner.send(Do::Run(Box::new(run))).unwrap();
    next(system, &told)
}

fn kill(system: &System, process: Pid) {
    let end = system.monitor(process);
    system.exit(process, ExitReason::Kill);
    end.wait_timeout(DEADLINE).unwrap();
}

#[test]
fn a_table_goes_with_its_owner_before_anybody_hears_of_its_death() {
    on_all(|system| {
        for how in 0..3 {
            let (owner, table) = owner(system, |cx| Table::new(cx));
            as_owner(system, &owner, |table| table.insert(1, "a")).unwrap();
            assert_eq!(table.lookup(&1), Ok(Some("a")));
            let end = system.monitor(owner.pid());
            match how {
                0 => system.exit(owner.pid(), ExitReason::Kill),
                1 => drop(owner.send(Do::Stop)),
                _ => drop(owner.send(Do::Run(Box::new(|_| panic!("a crash"))))),
            }
            end.wait_timeout(DEADLINE).unwrap();
            assert_eq!(table.lookup(&1), Err(TableError::Gone));
            assert!(!table.is_alive());
        }
        assert!(system.tables().is_empty());
    });
}

#[test]
fn whoever_gets_the_down_or_the_exit_finds_the_table_gone() {
    on_all(|system| {
        let (owner, table) = owner(system, |cx| Table::new(cx));
        let (tell, told) = reports();
        let pid = owner.pid();
        let (ready, is_ready) = reports();
        let watcher = system.spawn(move |mut cx: Inbox<()>| async move {
            cx.trap_exit(true);
            cx.monitor(pid);
            cx.link(pid);
            ready.send(()).unwrap();
            for _ in 0..2 {
                let news = cx.recv().await;
                assert!(matches!(news, Received::Down(_) | Received::Exit(_)));
                tell.send(table.is_alive()).unwrap();
            }
        });
        next(system, &is_ready);
        system.exit(pid, ExitReason::Kill);
        assert!(!next(system, &told));
        assert!(!next(system, &told));
        end_of(system, &watcher.unwrap());
    });
}

#[test]
fn the_state_of_a_dying_owner_may_still_use_its_private_table() {
    struct LastWords(Words, Sender<Result<(), TableError>>);
    impl Drop for LastWords {
        fn drop(&mut self) {
            let _told = self.1.send(self.0.insert(1, "farewell"));
        }
    }
    on_all(|system| {
        let (tell, told) = reports();
        let owner = system.spawn(move |mut cx: Inbox<()>| async move {
            let table = Table::builder().access(Access::Private).build(&cx).unwrap();
            tell.send(Ok(())).unwrap();
            let _last = LastWords(table, tell);
            cx.recv().await;
        });
        let owner = owner.unwrap();
        assert_eq!(next(system, &told), Ok(()));
        kill(system, owner.pid());
        assert_eq!(next(system, &told), Ok(()));
    });
}

#[test]
fn a_protected_table_is_written_by_its_owner_alone() {
    on_all(|system| {
        let (owner, table) = owner(system, |cx| Table::new(cx));
        assert_eq!(
            as_owner(system, &owner, |table| table.insert(1, "a")),
            Ok(())
        );
        assert_eq!(table.lookup(&1), Ok(Some("a")));
        let access = TableError::Access;
        assert_eq!(table.insert(1, "b"), Err(access));
        assert_eq!(table.insert_new(2, "b"), Err(access));
        assert_eq!(table.insert_many([(1, "b")]), Err(access));
        assert_eq!(table.delete(&1), Err(access));
        assert_eq!(table.take(&1), Err(access));
        assert_eq!(table.update(&1, |_| ()), Err(access));
        assert_eq!(table.select_delete(|_, _| true), Err(access));
        assert_eq!(table.delete_all(), Err(access));
        assert_eq!(table.rename("mine"), Err(access));
        assert_eq!(table.delete_table(), Err(access));
        assert_eq!(table.clear_heir(), Err(access));
        assert_eq!(table.give_away(&owner.pid(), 0), Err(access));
        assert_eq!(table.to_list(), Ok(vec![(1, "a")]));
        let other = table.clone();
        let (tell, told) = reports();
        let process = system.spawn(move |_: Inbox<()>| async move {
            tell.send((other.lookup(&1), other.insert(1, "b"))).unwrap();
        });
        assert_eq!(next(system, &told), (Ok(Some("a")), Err(access)));
        end_of(system, &process.unwrap());
        assert!(table.fix().is_ok());
    });
}

#[test]
fn a_private_table_is_read_by_its_owner_alone_but_says_what_it_is() {
    on_all(|system| {
        let (owner, table) = owner(system, |cx| {
            let table = Table::builder().access(Access::Private).build(cx);
            table.unwrap()
        });
        as_owner(system, &owner, |table| {
            table.insert(1, "a").unwrap();
            assert_eq!(table.lookup(&1), Ok(Some("a")));
        });
        let access = TableError::Access;
        assert_eq!(table.lookup(&1), Err(access));
        assert_eq!(table.member(&1), Err(access));
        assert_eq!(table.to_list(), Err(access));
        assert_eq!(table.first(), Err(access));
        assert_eq!(table.next(&1), Err(access));
        assert_eq!(table.fix().err(), Some(access));
        assert_eq!(table.foldl(0, |n, _, _| n), Err(access));
        assert_eq!(table.info().unwrap().access, Access::Private);
        assert_eq!(table.info().unwrap().owner, Some(owner.pid()));
        assert_eq!(table.len(), Ok(1));
    });
}

#[test]
fn a_public_table_is_everybodys_but_its_end_is_its_owners() {
    on_all(|system| {
        let (owner, table) = owner(system, |cx| {
            let table = Table::builder().access(Access::Public).build(cx);
            table.unwrap()
        });
        assert_eq!(table.insert(1, "a"), Ok(()));
        assert_eq!(table.clear_heir(), Err(TableError::Access));
        let (heir, _) = receiver::<u8>(system);
        assert_eq!(table.set_heir(&heir, 1), Err(TableError::Access));
        assert_eq!(table.give_away(&heir, 1), Err(TableError::Access));
        // As OTP has it.
        assert_eq!(table.delete_table(), Ok(()));
        assert_eq!(
            as_owner(system, &owner, |table| table.insert(1, "a")),
            Err(TableError::Gone)
        );
    });
}

#[test]
fn an_heir_is_shown_as_long_as_it_lives() {
    on_all(|system| {
        let (owner, table) = owner(system, |cx| Table::new(cx));
        let (heir, _told) = receiver::<u8>(system);
        let (to, pid) = (heir.clone(), heir.pid());
        let set = as_owner(system, &owner, move |table| table.set_heir(&to, 1));
        assert_eq!(set, Ok(()));
        assert_eq!(table.info().unwrap().heir, Some(pid));
        kill(system, pid);
        assert_eq!(table.info().unwrap().heir, None);
        let set = as_owner(system, &owner, move |table| table.set_heir(&heir, 1));
        assert_eq!(set, Ok(()));
        assert_eq!(table.info().unwrap().heir, None);
    });
}

#[test]
fn a_blocking_closure_is_its_process_and_no_longer_than_that_lives() {
    for threads in [1, 4] {
        let system = quiet().schedulers(threads).build().unwrap();
        let (tell, told) = reports();
        let (go_on, waits) = std::sync::mpsc::channel::<()>();
        let owner = system.spawn(move |cx: Inbox<()>| async move {
            let table: Words = Table::builder().access(Access::Private).build(&cx).unwrap();
            let copy = table.clone();
            let written = cx.blocking(move || copy.insert(1, "blocking")).await;
            tell.send(written.unwrap()).unwrap();
            tell.send(
                table
                    .lookup(&1)
                    .map(|found| assert_eq!(found, Some("blocking"))),
            )
            .unwrap();
            let last = cx.blocking(move || {
                waits.recv().unwrap();
                tell.send(table.insert(2, "late")).unwrap();
            });
            last.await.unwrap();
        });
        assert_eq!(next(&system, &told), Ok(()));
        assert_eq!(next(&system, &told), Ok(()));
        kill(&system, owner.unwrap().pid());
        go_on.send(()).unwrap();
        assert_eq!(next(&system, &told), Err(TableError::Gone));
    }
}

#[test]
fn a_closure_that_blocks_nothing_on_a_manual_system_is_its_process_too() {
    on_all(|system| {
        let (tell, told) = reports();
        let owner = system.spawn(move |cx: Inbox<()>| async move {
            let table: Words = Table::new(&cx);
            let written = cx.blocking(move || table.insert(1, "a")).await;
            tell.send(written.unwrap()).unwrap();
        });
        assert_eq!(next(system, &told), Ok(()));
        end_of(system, &owner.unwrap());
    });
}

#[test]
fn the_heir_gets_the_table_and_the_message_before_the_down() {
    on_all(|system| {
        let (owner, table) = owner(system, |cx| Table::new(cx));
        let pid = owner.pid();
        let (tell, told) = reports();
        let (ready, is_ready) = reports();
        let heir = system.spawn(move |mut cx: Inbox<Gift<&'static str>>| async move {
            cx.monitor(pid);
            ready.send(()).unwrap();
            let Received::Message(gift) = cx.recv().await else {
                panic!("the gift comes first");
            };
            assert!(matches!(cx.recv().await, Received::Down(_)));
            assert_eq!((gift.from, gift.data), (pid, "yours"));
            assert_eq!(gift.table.insert(2, "b"), Ok(()));
            assert_eq!(gift.table.info().unwrap().owner, Some(cx.pid()));
            tell.send(()).unwrap();
            cx.recv().await;
        });
        let heir = heir.unwrap();
        next(system, &is_ready);
        let to = heir.clone();
        as_owner(system, &owner, move |table| {
            table.insert(1, "a").unwrap();
            table.set_heir(&to, "yours").unwrap();
        });
        assert_eq!(table.info().unwrap().heir, Some(heir.pid()));
        kill(system, pid);
        next(system, &told);
        assert_eq!(table.lookup(&1), Ok(Some("a")));
        assert_eq!(table.lookup(&2), Ok(Some("b")));
        // It is the heir's own, so that it goes with it.
        kill(system, heir.pid());
        assert_eq!(table.lookup(&1), Err(TableError::Gone));
    });
}

#[test]
fn whoever_sees_the_owners_down_finds_its_successor() {
    on_all(|system| {
        let (heir, gifts) = receiver::<u8>(system);
        let to = heir.clone();
        let (owner, table) = owner(system, move |cx| {
            let builder = Table::builder().named("inherited").heir(&to, 3);
            builder.build(cx).unwrap()
        });
        kill(system, owner.pid());
        let info = table.info().unwrap();
        assert_eq!(info.owner, Some(heir.pid()));
        assert_eq!(system.table_named("inherited"), Ok(table));
        let (gift, written) = next(system, &gifts);
        assert_eq!((gift.data, written), (3, Ok(())));
    });
}

#[test]
fn an_heir_that_gave_the_table_away_gets_it_back() {
    // As OTP has it: whoever owns the table, its heir stays the same.
    on_all(|system| {
        let (heir, gifts) = receiver::<u8>(system);
        let to = heir.clone();
        let (first, table) = owner(system, move |cx| {
            Table::builder().heir(&to, 3).build(cx).unwrap()
        });
        let (second, second_gifts) = receiver::<u8>(system);
        let (tell, told) = reports();
        first.send(Do::Give(second.clone(), tell)).unwrap();
        assert_eq!(next(system, &told), Ok(()));
        let (gift, written) = next(system, &second_gifts);
        assert_eq!((gift.from, gift.data, written), (first.pid(), 7, Ok(())));
        kill(system, first.pid());
        assert_eq!(table.info().unwrap().owner, Some(second.pid()));
        kill(system, second.pid());
        let (gift, written) = next(system, &gifts);
        assert_eq!((gift.from, gift.data, written), (second.pid(), 3, Ok(())));
        assert_eq!(table.info().unwrap().owner, Some(heir.pid()));
    });
}

type SetHeir = Box<dyn FnOnce(&Words, Pid) + Send>;

#[test]
fn a_dead_heir_or_oneself_or_a_strangers_gets_nothing() {
    let elsewhere = quiet().schedulers(1).build().unwrap();
    let (stranger, _gifts) = receiver::<u8>(&elsewhere);
    on_all(|system| {
        let (dead, _) = receiver::<u8>(system);
        kill(system, dead.pid());
        let heirs: [SetHeir; 4] = [
            Box::new(move |table, _| table.set_heir(&dead, 1).unwrap()),
            Box::new(|table, me| table.set_heir(&me, 1).unwrap()),
            Box::new({
                let stranger = stranger.clone();
                move |table, _| table.set_heir(&stranger, 1).unwrap()
            }),
            Box::new(|table, _| table.clear_heir().unwrap()),
        ];
        for heir in heirs {
            let (owner, table) = owner(system, |cx| Table::new(cx));
            let pid = owner.pid();
            as_owner(system, &owner, move |table| heir(table, pid));
            kill(system, pid);
            assert_eq!(table.lookup(&1), Err(TableError::Gone));
        }
    });
}

#[test]
fn data_that_cannot_be_cloned_for_the_heir_costs_the_table_and_no_more() {
    struct Bomb;
    impl Clone for Bomb {
        fn clone(&self) -> Self {
            panic!("no clone")
        }
    }
    on_all(|system| {
        let heir: Recipient<Gift<Bomb>> = system
            .spawn(|mut cx: Inbox<Gift<Bomb>>| async move {
                cx.recv().await;
            })
            .unwrap();
        let (owner, table) = owner(system, move |cx| {
            Table::builder().heir(&heir, Bomb).build(cx).unwrap()
        });
        let end = system.monitor(owner.pid());
        owner.send(Do::Stop).unwrap();
        assert_eq!(
            end.wait_timeout(DEADLINE).unwrap().reason,
            ExitReason::Normal
        );
        assert_eq!(table.len(), Err(TableError::Gone));
    });
}

#[test]
fn a_table_is_given_away_only_to_a_living_other_process_of_the_system() {
    let elsewhere = quiet().schedulers(1).build().unwrap();
    let (stranger, _gifts) = receiver::<u8>(&elsewhere);
    on_all(|system| {
        let (owner, table) = owner(system, |cx| Table::new(cx));
        let (dead, _) = receiver::<u8>(system);
        kill(system, dead.pid());
        let (pid, stranger) = (owner.pid(), stranger.clone());
        let refused = as_owner(system, &owner, move |table| {
            [
                table.give_away(&pid, 1),
                table.give_away(&dead, 1),
                table.give_away(&dead.pid(), 1),
                table.give_away(&stranger, 1),
            ]
        });
        let no_proc = Err(TableError::NoProc);
        assert_eq!(
            refused,
            [Err(TableError::AlreadyOwner), no_proc, no_proc, no_proc]
        );
        assert_eq!(
            as_owner(system, &owner, |table| table.insert(1, "a")),
            Ok(())
        );
        // Still one of its belongings.
        kill(system, pid);
        assert_eq!(table.len(), Err(TableError::Gone));
    });
}

#[test]
fn who_gave_a_table_away_may_do_what_others_may() {
    on_all(|system| {
        let (first, table) = owner(system, |cx| Table::new(cx));
        let (second, gifts) = receiver::<u8>(system);
        let (tell, told) = reports();
        first.send(Do::Give(second.clone(), tell.clone())).unwrap();
        assert_eq!(next(system, &told), Ok(()));
        next(system, &gifts).1.unwrap();
        assert_eq!(
            as_owner(system, &first, |table| table.insert(1, "a")),
            Err(TableError::Access)
        );
        first.send(Do::Give(second.clone(), tell)).unwrap();
        assert_eq!(next(system, &told), Err(TableError::Access));
        kill(system, first.pid());
        assert_eq!(table.lookup(&100), Ok(Some("mine")));
        kill(system, second.pid());
        assert_eq!(table.lookup(&100), Err(TableError::Gone));
    });
}

#[test]
fn a_bare_pid_gets_the_transfer_as_any_message() {
    on_all(|system| {
        let (tell, told) = reports();
        let second = system.spawn(move |mut cx: Inbox<()>| async move {
            let Received::Any(message) = cx.recv().await else {
                panic!("nothing else was sent");
            };
            let gift = message.downcast::<Gift<&'static str>>().ok().unwrap();
            tell.send((gift.data, gift.table.insert(1, "a"))).unwrap();
        });
        let second = second.unwrap().pid();
        let (first, _table) = owner(system, |cx| Table::new(cx));
        as_owner(system, &first, move |table| {
            table.give_away(&second, "take it")
        })
        .unwrap();
        assert_eq!(next(system, &told), ("take it", Ok(())));
    });
}

#[test]
fn a_transfer_is_accepted_by_a_full_mailbox() {
    on_all(|system| {
        let (tell, told) = reports();
        let (wait, open) = gate();
        let options = SpawnOptions::new().mailbox(MailboxPolicy::Bounded {
            capacity: 1,
            overflow: Overflow::Reject,
        });
        let full = system.spawn_with(options, move |mut cx: Inbox<Gift<u8>>| async move {
            wait.await;
            for _ in 0..20 {
                if let Received::Message(gift) = cx.recv().await {
                    tell.send(gift.table.insert(1, "a")).unwrap();
                }
            }
        });
        let full = full.unwrap();
        let owners: Vec<_> = (0..20)
            .map(|_| owner(system, |cx| Table::new(cx)))
            .collect();
        for (owner, _) in &owners {
            let (tell, told) = reports();
            owner.send(Do::Give(full.clone(), tell)).unwrap();
            assert_eq!(next(system, &told), Ok(()));
        }
        open.open();
        for _ in &owners {
            assert_eq!(next(system, &told), Ok(()));
        }
    });
}

#[test]
fn a_server_gets_tables_by_handle_info_under_its_name_too() {
    struct Collector(Sender<(Pid, u8)>);
    impl GenServer for Collector {
        type Args = Sender<(Pid, u8)>;
        async fn init(tell: Self::Args, _: &mut Context<Self>) -> Result<Self, InitStop> {
            Ok(Collector(tell))
        }
    }
    impl HandleInfo<Gift<u8>> for Collector {
        async fn handle_info(&mut self, gift: Gift<u8>, _: &mut Context<Self>) {
            assert_eq!(gift.table.insert(1, "a"), Ok(()));
            self.0.send((gift.from, gift.data)).unwrap();
        }
    }
    on_all(|system| {
        let (tell, told) = reports();
        let options = ServerOptions::new().name("collector");
        let server = system
            .start_with::<Collector>(tell, options)
            .wait_timeout(DEADLINE)
            .unwrap();
        let by_name = system.server::<Collector>("collector");
        let (first, _) = owner(system, |cx| Table::new(cx));
        let to = by_name.clone();
        as_owner(system, &first, move |table| table.give_away(&to, 1)).unwrap();
        assert_eq!(next(system, &told), (first.pid(), 1));
        let (second, table) = owner(system, move |cx| {
            Table::builder().heir(&by_name, 2).build(cx).unwrap()
        });
        assert_eq!(table.info().unwrap().heir, Some(server.pid()));
        kill(system, second.pid());
        assert_eq!(next(system, &told), (second.pid(), 2));
        let (third, table) = owner(system, |cx| Table::new(cx));
        let to = server.clone();
        as_owner(system, &third, move |table| table.set_heir(&to, 3)).unwrap();
        kill(system, third.pid());
        assert_eq!(next(system, &told), (third.pid(), 3));
        assert_eq!(table.info().unwrap().owner, Some(server.pid()));
    });
}

#[test]
fn names_are_typed_unique_and_free_once_the_table_is_gone() {
    on_all(|system| {
        let words: Table<String, u32> = system.table(Table::builder().named("words")).unwrap();
        assert_eq!(system.table_named("words"), Ok(words.clone()));
        let wrong: [Option<TableError>; 4] = [
            system.table_named::<String, u64, Set>("words").err(),
            system.table_named::<u32, u32, Set>("words").err(),
            system.table_named::<String, u32, OrderedSet>("words").err(),
            system.table_named::<String, u32, Set>("word").err(),
        ];
        let wrong_type = Some(TableError::WrongType);
        assert_eq!(
            wrong,
            [
                wrong_type,
                wrong_type,
                wrong_type,
                Some(TableError::NoTable)
            ]
        );
        let taken = system.table(Table::<u8, u8>::builder().named("words"));
        assert_eq!(taken, Err(TableError::NameTaken));
        assert_eq!(system.tables().len(), 1);
        words.delete_table().unwrap();
        let again = system.table(Table::<u8, u8>::builder().named("words"));
        assert!(again.is_ok());
        // A process's name is something else.
        system.register("words", system.processes()[0]).unwrap();
    });
}

#[test]
fn a_name_is_free_when_the_owners_death_is_heard_of() {
    on_all(|system| {
        for round in 0..5 {
            let (owner, table) = owner(system, |cx| {
                Table::builder().named("mine").build(cx).unwrap()
            });
            assert_eq!(system.table_named("mine"), Ok(table), "{round}");
            kill(system, owner.pid());
            let named: Result<Words, _> = system.table_named("mine");
            assert_eq!(named, Err(TableError::NoTable));
        }
    });
}

#[test]
fn a_table_is_renamed_if_it_has_a_name() {
    on_all(|system| {
        let first: Words = system.table(Table::builder().named("first")).unwrap();
        let second: Words = system.table(Table::builder().named("second")).unwrap();
        let nameless: Words = system.table(Table::builder()).unwrap();
        assert_eq!(first.rename("second"), Err(TableError::NameTaken));
        assert_eq!(first.rename("first"), Err(TableError::NameTaken));
        assert_eq!(first.rename("third"), Ok(()));
        assert_eq!(system.table_named("third"), Ok(first.clone()));
        assert_eq!(
            system.table_named::<u32, &str, Set>("first").err(),
            Some(TableError::NoTable)
        );
        assert_eq!(second.rename("first"), Ok(()));
        assert_eq!(system.table_named("first"), Ok(second));
        // No effect, as in OTP.
        assert_eq!(nameless.rename("name"), Ok(()));
        assert_eq!(
            system.table_named::<u32, &str, Set>("name").err(),
            Some(TableError::NoTable)
        );
        first.delete_table().unwrap();
        assert!(system.table(Words::builder().named("third")).is_ok());
    });
}

#[test]
fn a_table_of_the_systems_outlives_its_keeper() {
    on_all(|system| {
        let table: Words = system.table(Table::builder().named("kept")).unwrap();
        table.insert(1, "a").unwrap();
        let mut keepers = Vec::new();
        for _ in 0..3 {
            let keeper = table.info().unwrap().owner.unwrap();
            assert!(system.is_alive(keeper) && !keepers.contains(&keeper));
            keepers.push(keeper);
            kill(system, keeper);
            assert_eq!(table.lookup(&1), Ok(Some("a")));
        }
        assert_eq!(table.insert(2, "b"), Ok(()));
    });
}

#[test]
fn a_table_of_the_systems_goes_with_the_system() {
    for threads in [1, 4] {
        let system = quiet().schedulers(threads).build().unwrap();
        let table: Words = system.table(Table::builder().named("kept")).unwrap();
        table.insert(1, "a").unwrap();
        system.shutdown().wait_timeout(DEADLINE).unwrap();
        assert_eq!(table.lookup(&1), Err(TableError::Gone));
        let late = system.table(Words::builder());
        assert_eq!(late, Err(TableError::Gone));
    }
    let (system, driver) = quiet().virtual_clock().manual();
    let table: Words = system.table(Table::builder()).unwrap();
    let (_owner, owned) = owner(&system, |cx| Table::new(cx));
    drop(driver);
    drop(system);
    assert_eq!(table.len(), Err(TableError::Gone));
    assert_eq!(owned.len(), Err(TableError::Gone));
}

#[test]
fn a_handle_keeps_nothing_alive_and_a_table_needs_no_handle() {
    on_all(|system| {
        let (tell, told) = reports();
        let owner = system.spawn(move |mut cx: Inbox<()>| async move {
            drop(
                Words::builder()
                    .named("lone")
                    .access(Access::Public)
                    .build(&cx)
                    .unwrap(),
            );
            tell.send(()).unwrap();
            cx.recv().await;
        });
        let owner = owner.unwrap();
        next(system, &told);
        let found: Words = system.table_named("lone").unwrap();
        found.insert(1, "a").unwrap();
        drop(found);
        let found: Words = system.table_named("lone").unwrap();
        assert_eq!(found.lookup(&1), Ok(Some("a")));
        kill(system, owner.pid());
        assert!(!found.is_alive());
    });
}

#[test]
fn one_process_can_own_many_tables() {
    on_all(|system| {
        let (tell, told) = reports();
        let owner = system.spawn(move |mut cx: Inbox<()>| async move {
            let tables: Vec<Words> = (0..200).map(|_| Table::new(&cx)).collect();
            for (n, table) in tables.iter().enumerate() {
                table.insert(n as u32, "a").unwrap();
            }
            tell.send(tables).unwrap();
            cx.recv().await;
        });
        let tables = next(system, &told);
        kill(system, owner.unwrap().pid());
        assert!(tables.iter().all(|table| !table.is_alive()));
    });
}

#[test]
fn a_race_of_gifts_and_deaths_leaves_each_table_with_a_living_owner_or_gone() {
    on_all(|system| {
        for round in 0..20 {
            let (owner, table) = owner(system, |cx| Table::new(cx));
            let (second, gifts) = receiver::<u8>(system);
            let (heir, _heirs_gifts) = receiver::<u8>(system);
            let to = heir.clone();
            if round % 2 == 0 {
                as_owner(system, &owner, move |table| table.set_heir(&to, 1)).unwrap();
            }
            let (tell, told) = reports();
            owner.send(Do::Give(second.clone(), tell)).unwrap();
            let ends = [system.monitor(owner.pid()), system.monitor(second.pid())];
            system.exit(second.pid(), ExitReason::Kill);
            if round % 3 != 0 {
                system.exit(owner.pid(), ExitReason::Kill);
            } else {
                next(system, &told).ok();
                owner.send(Do::Stop).unwrap();
            }
            for end in ends {
                end.wait_timeout(DEADLINE).unwrap();
            }
            drop(gifts);
            if round % 2 == 0 {
                assert_eq!(table.info().unwrap().owner, Some(heir.pid()));
                kill(system, heir.pid());
            }
            assert_eq!(table.len(), Err(TableError::Gone));
        }
    });
}

#[test]
fn a_stopped_manual_system_lets_go_of_what_was_in_its_tables() {
    let alive = std::sync::Arc::new(());
    let (system, driver) = quiet().virtual_clock().manual();
    let table: Table<u32, std::sync::Arc<()>> = system.table(Table::builder()).unwrap();
    table.insert(1, alive.clone()).unwrap();
    drop(table);
    until(&system, || true);
    drop(driver);
    drop(system);
    assert_eq!(std::sync::Arc::strong_count(&alive), 1);
}
