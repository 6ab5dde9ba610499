//! What becomes of the mail of a child that is restarted: dropped, kept, or handed over; and that every
//! message is accounted for.

mod support;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use noex::prelude::*;
use noex::{
    AnyMessage, Backoff, CallError, ChildStatus, Down, Exit, Inbox, MailboxFate, MailboxPolicy,
    Overflow, Received, Routes, Supervised,
};

use support::{DEADLINE, Gate, gate, next, on_all, on_all_built, quiet, reports, settled, until};

/// What a clerk did, and in which incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Did {
    Up(u32),
    Entered(u32, u64),
    Noticed(u32, &'static str),
}
use Did::{Entered, Noticed, Up};

#[derive(Clone)]
struct Desk {
    /// Incarnations so far.
    lives: Arc<AtomicU32>,
    reports: Arc<Mutex<Sender<Did>>>,
    /// These fail to start.
    failing: std::ops::Range<u32>,
    /// It waits there in its `init`, from the second on.
    init: Option<Gate>,
}

/// A server that enters what it gets.
struct Clerk(u32, Desk);

struct Entry(u64);
struct Ask;
/// Waits at the gate, then panics if told to.
struct Hold(Gate, bool);
struct Pause(Gate);
#[derive(Clone)]
struct Tick;
struct Quit(ExitReason);
struct Stay;

impl Clerk {
    fn report(&self, did: Did) {
        let _ = self.1.reports.lock().unwrap().send(did);
    }
}

impl GenServer for Clerk {
    type Args = Desk;

    async fn init(desk: Desk, cx: &mut Context<Self>) -> Result<Self, InitStop> {
        cx.trap_exit(true);
        let life = desk.lives.fetch_add(1, SeqCst);
        if life > 0 {
            if let Some(gate) = desk.init.clone() {
                gate.await;
            }
        }
        if desk.failing.contains(&life) {
            return Err(ExitReason::Timeout.into());
        }
        let clerk = Clerk(life, desk);
        clerk.report(Up(life));
        Ok(clerk)
    }

    fn routes(routes: &mut Routes<'_, Self>) {
        routes.info::<Entry>();
    }

    async fn handle_down(&mut self, _: Down, _: &mut Context<Self>) {
        self.report(Noticed(self.0, "down"));
    }

    async fn handle_exit(&mut self, _: Exit, _: &mut Context<Self>) {
        self.report(Noticed(self.0, "exit"));
    }
}

impl HandleCast<Entry> for Clerk {
    async fn handle_cast(&mut self, Entry(n): Entry, _: &mut Context<Self>) {
        self.report(Entered(self.0, n));
    }
}

impl HandleInfo<Entry> for Clerk {
    async fn handle_info(&mut self, Entry(n): Entry, _: &mut Context<Self>) {
        self.report(Entered(self.0, n));
    }
}

impl HandleInfo<Tick> for Clerk {
    async fn handle_info(&mut self, _: Tick, _: &mut Context<Self>) {
        // The first may have been in time for the one before.
        if self.0 == 2 {
            self.report(Noticed(self.0, "tick"));
        }
    }
}

impl HandleCall<Ask> for Clerk {
    type Reply = u32;
    async fn handle_call(&mut self, _: Ask, _: &mut Context<Self>) -> u32 {
        self.0
    }
}

impl HandleCast<Hold> for Clerk {
    async fn handle_cast(&mut self, Hold(gate, panics): Hold, cx: &mut Context<Self>) {
        cx.continue_with(Stay);
        cx.send_after(Duration::ZERO, &cx.this(), Entry(1000));
        let named = cx.system().server::<Clerk>("clerk");
        cx.send_after(Duration::ZERO, &named, Entry(1001));
        let other = cx.spawn(|_: Inbox<()>| async {}).unwrap();
        cx.monitor(other.pid());
        gate.await;
        assert!(!panics, "as told");
    }
}

impl HandleCast<Pause> for Clerk {
    async fn handle_cast(&mut self, Pause(gate): Pause, _: &mut Context<Self>) {
        gate.await;
    }
}

impl HandleContinue<Stay> for Clerk {
    async fn handle_continue(&mut self, _: Stay, _: &mut Context<Self>) {
        self.report(Noticed(self.0, "continue"));
    }
}

impl HandleCast<Quit> for Clerk {
    async fn handle_cast(&mut self, Quit(reason): Quit, cx: &mut Context<Self>) {
        cx.stop(reason);
    }
}

struct Office {
    desk: Desk,
    did: std::sync::mpsc::Receiver<Did>,
}

impl Office {
    fn new() -> Self {
        let (send, did) = reports();
        let desk = Desk {
            lives: Arc::default(),
            reports: Arc::new(Mutex::new(send)),
            failing: 0..0,
            init: None,
        };
        Office { desk, did }
    }

    fn clerk(&self, fate: MailboxFate) -> ChildSpec {
        ChildSpec::server::<Clerk>("clerk", self.desk.clone())
            .name("clerk")
            .mailbox_fate(fate)
    }

    #[track_caller]
    fn expect(&self, system: &System, did: impl IntoIterator<Item = Did>) {
        for did in did {
            assert_eq!(next(system, &self.did), did);
        }
    }

    #[track_caller]
    fn expect_no_more(&self) {
        assert_eq!(self.did.try_recv().ok(), None);
    }
}

fn start(system: &System, supervisor: Supervisor) -> SupervisorRef {
    let start = supervisor.start(system);
    start.wait_timeout(DEADLINE).unwrap()
}

fn one(system: &System, child: ChildSpec) -> SupervisorRef {
    let supervisor = Supervisor::new(Strategy::OneForOne)
        .child(child)
        .intensity(1_000_000);
    start(system, supervisor)
}

/// Lets a clerk wait at a gate with all kinds of mail behind it: entries 1 to 6 in three ways, a call,
/// an exit, a `Down` and two timers.
fn pile_up(system: &System, panics: bool) -> (Pid, Gate, noex::Call<u32>) {
    let clerk = system.server::<Clerk>("clerk").resolve().unwrap();
    let (waits, opens) = gate();
    let len = || {
        let info = system.process_info(clerk.pid()).wait_timeout(DEADLINE);
        info.unwrap()
    };
    clerk.cast(Hold(waits, panics)).unwrap();
    until(system, || len().in_handler);
    // Its two timers and its `Down`.
    until(system, || len().message_queue_len == 3);
    clerk.cast(Entry(1)).unwrap();
    clerk.send(Entry(2)).unwrap();
    let call = clerk.call(Ask);
    system.send(clerk.pid(), Entry(3));
    system.exit(clerk.pid(), ExitReason::Timeout);
    clerk.recipient().send(Entry(4)).unwrap();
    clerk.cast(Entry(5)).unwrap();
    system.send(clerk.pid(), Entry(6));
    until(system, || len().message_queue_len == 11);
    (clerk.pid(), opens, call)
}

#[test]
fn kept_mail_goes_to_the_next_incarnation_in_order_and_ahead_of_new_mail() {
    for panics in [false, true] {
        on_all(|system| {
            let office = Office::new();
            one(system, office.clerk(MailboxFate::Keep));
            office.expect(system, [Up(0)]);
            let (pid, opens, call) = pile_up(system, panics);
            let end = if panics {
                opens.open();
                system.monitor(pid).wait_timeout(DEADLINE).unwrap()
            } else {
                let end = system.monitor(pid);
                system.exit(pid, ExitReason::Kill);
                end.wait_timeout(DEADLINE).unwrap()
            };
            let failed = call.wait_timeout(DEADLINE);
            assert!(
                matches!(&failed, Err(CallError::Exited(reason)) if *reason == end.reason || end.reason == ExitReason::NoProc),
                "{failed:?}, {end:?}"
            );
            // To the old one, which is dead: nobody gets it.
            system.send(pid, Entry(7));
            until(system, || {
                system.whereis("clerk").is_some_and(|new| new != pid)
            });
            let clerk = system.server::<Clerk>("clerk");
            clerk.cast(Entry(8)).unwrap();
            office.expect(system, [Up(1)]);
            office.expect(system, (1..=6).map(|n| Entered(1, n)));
            office.expect(system, [Entered(1, 8)]);
            assert_eq!(clerk.call(Ask).wait_timeout(DEADLINE), Ok(1));
            office.expect_no_more();
            let stats = settled(system);
            // The call, the exit, the `Down`, two timers, one sent to the dead; and what it wanted to
            // continue with.
            assert_eq!(stats.undelivered, 7, "{stats:?}");
        });
    }
}

#[test]
fn mail_is_dropped_unless_told_otherwise() {
    let letters = Arc::new(AtomicU64::new(0));
    let builder = || {
        let letters = letters.clone();
        quiet().on_dead_letter(move |_| {
            letters.fetch_add(1, SeqCst);
        })
    };
    on_all_built(builder, |system| {
        letters.store(0, SeqCst);
        let office = Office::new();
        one(system, office.clerk(MailboxFate::Drop));
        let (pid, _opens, _call) = pile_up(system, false);
        system.exit(pid, ExitReason::Kill);
        office.expect(system, [Up(0), Up(1)]);
        let stats = settled(system);
        assert_eq!(stats.undelivered, 12, "{stats:?}");
        assert_eq!(letters.load(SeqCst), 12);
        office.expect_no_more();
    });
}

#[test]
fn mail_handed_over_is_given_to_the_hook_before_the_next_incarnation_starts() {
    on_all(|system| {
        let mut office = Office::new();
        let (waits, opens_init) = gate();
        office.desk.init = Some(waits);
        let (send, handed) = reports();
        let send = Mutex::new(send);
        let lives = office.desk.lives.clone();
        let fate = MailboxFate::hand_over(move |pid: Pid, message: AnyMessage| {
            let Entry(n) = message.downcast().unwrap();
            let _ = send.lock().unwrap().send((pid, n, lives.load(SeqCst)));
            assert_ne!(n, 3, "as told");
        });
        one(system, office.clerk(fate));
        let (pid, opens, call) = pile_up(system, true);
        opens.open();
        assert!(matches!(
            call.wait_timeout(DEADLINE),
            Err(CallError::Exited(_))
        ));
        // A panic costs the hook one message and nobody else anything.
        for n in 1..=6 {
            assert_eq!(next(system, &handed), (pid, n, 1));
        }
        opens_init.open();
        office.expect(system, [Up(0), Up(1)]);
        let stats = settled(system);
        assert_eq!(stats.undelivered, 12, "{stats:?}");
        office.expect_no_more();
        assert_eq!(handed.try_recv().ok(), None);
    });
}

#[test]
fn kept_mail_survives_failed_attempts() {
    on_all(|system| {
        let mut office = Office::new();
        office.desk.failing = 1..4;
        one(system, office.clerk(MailboxFate::Keep));
        let (pid, ..) = pile_up(system, false);
        system.exit(pid, ExitReason::Kill);
        office.expect(system, [Up(0), Up(4)]);
        office.expect(system, (1..=6).map(|n| Entered(4, n)));
        office.expect_no_more();
    });
}

#[test]
fn what_comes_to_a_name_during_init_comes_after_what_was_kept() {
    on_all(|system| {
        let mut office = Office::new();
        let (waits, opens) = gate();
        office.desk.init = Some(waits);
        one(system, office.clerk(MailboxFate::Keep));
        let (pid, ..) = pile_up(system, false);
        system.exit(pid, ExitReason::Kill);
        until(system, || {
            system.whereis("clerk").is_some_and(|new| new != pid)
        });
        system.server::<Clerk>("clerk").cast(Entry(7)).unwrap();
        opens.open();
        office.expect(system, [Up(0), Up(1)]);
        office.expect(system, (1..=7).map(|n| Entered(1, n)));
    });
}

#[test]
fn mail_kept_during_a_wait_counts_as_queued_and_goes_if_the_wait_is_called_off() {
    let letters = Arc::new(AtomicU64::new(0));
    let builder = || {
        let letters = letters.clone();
        quiet().on_dead_letter(move |letter| {
            if letter.message.ends_with("Entry") {
                letters.fetch_add(1, SeqCst);
            }
        })
    };
    for stop in [false, true] {
        on_all_built(builder, |system| {
            letters.store(0, SeqCst);
            let office = Office::new();
            let backoff = Backoff::exponential(Duration::from_secs(3600)).cap(Duration::MAX);
            let sup = one(system, office.clerk(MailboxFate::Keep).backoff(backoff));
            let (pid, ..) = pile_up(system, false);
            system.exit(pid, ExitReason::Kill);
            until(system, || {
                let children = sup.which_children().wait_timeout(DEADLINE).unwrap();
                matches!(children[0].status, ChildStatus::Waiting(_))
            });
            until(system, || system.stats().queued == 6);
            // The two timers are not mail of others.
            assert_eq!(letters.load(SeqCst), 2);
            if stop {
                sup.stop(ExitReason::Normal).wait_timeout(DEADLINE).unwrap();
            } else {
                sup.terminate_child("clerk").wait_timeout(DEADLINE).unwrap();
                sup.restart_child("clerk").wait_timeout(DEADLINE).unwrap();
                office.expect(system, [Up(0), Up(1)]);
                office.expect_no_more();
            }
            until(system, || letters.load(SeqCst) == 8);
            assert_eq!(settled(system).queued, 0);
        });
    }
}

#[test]
fn only_a_restart_keeps_mail() {
    let letters = Arc::new(AtomicU64::new(0));
    let builder = || {
        let letters = letters.clone();
        quiet().on_dead_letter(move |letter| {
            if letter.message.ends_with("Entry") {
                letters.fetch_add(1, SeqCst);
            }
        })
    };
    on_all_built(builder, |system| {
        for how in ["terminate", "normal", "stop"] {
            letters.store(0, SeqCst);
            let office = Office::new();
            let child = office.clerk(MailboxFate::Keep).restart(Restart::Transient);
            let sup = one(system, child);
            office.expect(system, [Up(0)]);
            let clerk = system.server::<Clerk>("clerk").resolve().unwrap();
            let (waits, opens) = gate();
            let info = || {
                let info = system.process_info(clerk.pid()).wait_timeout(DEADLINE);
                info.unwrap()
            };
            clerk.cast(Pause(waits)).unwrap();
            until(system, || info().in_handler);
            match how {
                "terminate" => drop(sup.terminate_child("clerk")),
                "normal" => clerk.cast(Quit(ExitReason::Normal)).unwrap(),
                _ => drop(sup.stop(ExitReason::Normal)),
            }
            until(system, || info().message_queue_len == 1);
            clerk.cast(Entry(1)).unwrap();
            clerk.send(Entry(2)).unwrap();
            opens.open();
            until(system, || letters.load(SeqCst) == 2);
            if how != "stop" {
                let stopped = || {
                    let children = sup.which_children().wait_timeout(DEADLINE).unwrap();
                    children[0].status == ChildStatus::Stopped
                };
                until(system, stopped);
                sup.restart_child("clerk").wait_timeout(DEADLINE).unwrap();
                office.expect(system, [Up(1)]);
                sup.stop(ExitReason::Normal).wait_timeout(DEADLINE).unwrap();
            }
            settled(system);
            office.expect_no_more();
        }
    });
}

#[test]
fn mail_is_kept_of_a_child_that_is_stopped_with_its_group() {
    on_all(|system| {
        let office = Office::new();
        let other = ChildSpec::process("other", |mut inbox: Inbox<()>| async move {
            inbox.recv().await;
        });
        let sup = Supervisor::new(Strategy::OneForAll)
            .child(other.name("other"))
            .child(office.clerk(MailboxFate::Keep));
        start(system, sup);
        let clerk = system.server::<Clerk>("clerk").resolve().unwrap();
        let (waits, opens) = gate();
        clerk.cast(Hold(waits, false)).unwrap();
        let info = || system.process_info(clerk.pid()).wait_timeout(DEADLINE);
        until(system, || info().unwrap().in_handler);
        until(system, || info().unwrap().message_queue_len == 3);
        system.send(system.whereis("other").unwrap(), ());
        until(system, || info().unwrap().message_queue_len == 4);
        clerk.cast(Entry(1)).unwrap();
        clerk.send(Entry(2)).unwrap();
        opens.open();
        office.expect(system, [Up(0)]);
        let mut seen = Vec::new();
        while seen.len() < 3 {
            match next(system, &office.did) {
                did @ (Up(1) | Entered(1, _)) => seen.push(did),
                Entered(0, 1000 | 1001) | Noticed(0, _) => {}
                did => panic!("{did:?}"),
            }
        }
        assert_eq!(seen, [Up(1), Entered(1, 1), Entered(1, 2)]);
    });
}

#[test]
fn the_mail_of_a_bounded_mailbox_is_kept_in_order_too() {
    on_all(|system| {
        for overflow in [Overflow::DropNewest, Overflow::DropOldest, Overflow::Reject] {
            let office = Office::new();
            let child = office
                .clerk(MailboxFate::Keep)
                .mailbox(MailboxPolicy::Bounded {
                    capacity: 9,
                    overflow,
                });
            let sup = one(system, child);
            let (pid, ..) = pile_up(system, false);
            let clerk = system.server_ref::<Clerk>(pid).unwrap();
            clerk.cast(Entry(7)).unwrap();
            let refused = clerk.cast(Entry(8)).is_err();
            assert!(!refused);
            let overflows = clerk.cast(Entry(9)).is_err();
            assert_eq!(overflows, overflow == Overflow::Reject);
            system.exit(pid, ExitReason::Kill);
            office.expect(system, [Up(0), Up(1)]);
            let kept = match overflow {
                Overflow::DropOldest => 2..=9,
                _ => 1..=8,
            };
            office.expect(system, kept.map(|n| Entered(1, n)));
            office.expect_no_more();
            sup.stop(ExitReason::Normal).wait_timeout(DEADLINE).unwrap();
        }
    });
}

#[test]
fn a_mailbox_larger_than_one_slice_keeps_its_order() {
    const MANY: u64 = 20_000;
    let run = |system: &System| {
        let office = Office::new();
        one(system, office.clerk(MailboxFate::Keep));
        let clerk = system.server::<Clerk>("clerk").resolve().unwrap();
        let (waits, _opens) = gate();
        clerk.cast(Hold(waits, false)).unwrap();
        let info = || system.process_info(clerk.pid()).wait_timeout(DEADLINE);
        until(system, || info().unwrap().in_handler);
        for n in 0..MANY {
            // Calls in between are not kept.
            if n % 100 == 0 {
                drop(clerk.call(Ask));
            }
            clerk.cast(Entry(n)).unwrap();
        }
        system.exit(clerk.pid(), ExitReason::Kill);
        let mut expected = (0..MANY).peekable();
        while let Some(n) = expected.peek() {
            match next(system, &office.did) {
                Entered(1, entered) if entered == *n => _ = expected.next(),
                Up(_) => {}
                did => panic!("{did:?}, not {n}"),
            }
        }
        settled(system);
    };
    for threads in [1, 4] {
        let system = quiet().schedulers(threads).build().unwrap();
        run(&system);
        system.shutdown().wait_timeout(DEADLINE).unwrap();
    }
    for seed in 0..3 {
        let (system, driver) = quiet().virtual_clock().auto_advance().seed(seed).manual();
        run(&system);
        driver.run_until_idle();
        system.shutdown().wait_timeout(DEADLINE).unwrap();
    }
}

#[test]
fn what_a_process_sends_itself_and_never_takes_in_is_kept_in_order() {
    // More than what is dropped of a dead mailbox in one go.
    const MANY: u64 = 10_000;
    let run = |system: &System| {
        let (send, got) = reports();
        let send = Arc::new(Mutex::new(send));
        let lives = Arc::new(AtomicU32::new(0));
        let child = ChildSpec::process("a", move |mut inbox: Inbox<u64>| {
            let (send, life) = (send.clone(), lives.fetch_add(1, SeqCst));
            async move {
                if life == 0 {
                    for n in 0..MANY {
                        inbox.this().send(n).unwrap();
                    }
                    return ExitReason::Timeout;
                }
                loop {
                    if let Received::Message(n) = inbox.recv().await {
                        let _ = send.lock().unwrap().send(n);
                    }
                }
            }
        });
        one(system, child.mailbox_fate(MailboxFate::Keep));
        for n in 0..MANY {
            assert_eq!(next(system, &got), n);
        }
        settled(system);
    };
    for threads in [1, 4] {
        let system = quiet().schedulers(threads).build().unwrap();
        run(&system);
        system.shutdown().wait_timeout(DEADLINE).unwrap();
    }
    let (system, driver) = quiet().virtual_clock().auto_advance().seed(1).manual();
    run(&system);
    driver.run_until_idle();
}

#[test]
fn what_a_selective_receive_had_passed_over_is_not_kept() {
    on_all(|system| {
        let (send, got) = reports();
        let send = Arc::new(Mutex::new(send));
        let lives = Arc::new(AtomicU32::new(0));
        let child = ChildSpec::process("a", move |mut inbox: Inbox<u64>| {
            let (send, life) = (send.clone(), lives.fetch_add(1, SeqCst));
            async move {
                if life == 0 {
                    // 1 and 2 are passed over, and so taken out.
                    let three = |received: &Received<u64>| matches!(received, Received::Message(3));
                    inbox.recv_match(three).await;
                    return ExitReason::Timeout;
                }
                loop {
                    match inbox.recv().await {
                        Received::Message(n) => _ = send.lock().unwrap().send(n),
                        other => panic!("{other:?}"),
                    }
                }
            }
        });
        let child = child.name("a").mailbox_fate(MailboxFate::Keep);
        let sup = one(system, child);
        let pid = system.whereis("a").unwrap();
        for n in [1, 2, 4, 5] {
            system.send(pid, n);
        }
        system.send(pid, "of another type");
        let info = || system.process_info(pid).wait_timeout(DEADLINE).unwrap();
        until(system, || info().message_queue_len == 5);
        system.send(pid, 3_u64);
        system.monitor(pid).wait_timeout(DEADLINE).unwrap();
        until(system, || system.whereis("a").is_some_and(|new| new != pid));
        system.send(system.whereis("a").unwrap(), 6_u64);
        assert_eq!(next(system, &got), 6);
        sup.stop(ExitReason::Normal).wait_timeout(DEADLINE).unwrap();
    });
}

#[test]
fn the_mail_of_a_process_that_receives_by_itself_goes_to_the_next() {
    on_all(|system| {
        let (send, got) = reports();
        let send = Arc::new(Mutex::new(send));
        let (waits, opens) = gate();
        let lives = Arc::new(AtomicU32::new(0));
        let child = ChildSpec::process("a", move |mut inbox: Inbox<u64>| {
            let (send, life) = (send.clone(), lives.fetch_add(1, SeqCst));
            let waits = waits.clone();
            async move {
                if life == 0 {
                    waits.await;
                    return ExitReason::Timeout;
                }
                loop {
                    if let Received::Message(n) = inbox.recv().await {
                        let _ = send.lock().unwrap().send(n);
                    }
                }
            }
        });
        one(system, child.name("a").mailbox_fate(MailboxFate::Keep));
        let pid = system.whereis("a").unwrap();
        for n in 0..5_u64 {
            system.send(pid, n);
        }
        opens.open();
        for n in 0..5 {
            assert_eq!(next(system, &got), n);
        }
    });
}

/// Another type of server, which takes no mail of a clerk's.
struct Other;

impl GenServer for Other {
    type Args = ();
    async fn init((): (), _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Other)
    }
}

#[test]
fn mail_for_one_type_of_server_does_not_go_to_another() {
    on_all(|system| {
        let office = Office::new();
        let desk = office.desk.clone();
        let starts = Arc::new(AtomicU32::new(0));
        let child = ChildSpec::worker("clerk", move |starter| {
            let (desk, start) = (desk.clone(), starts.fetch_add(1, SeqCst));
            async move {
                match start {
                    0 => starter
                        .start_link::<Clerk>(desk)
                        .await
                        .map(|clerk| clerk.pid()),
                    _ => starter
                        .start_link::<Other>(())
                        .await
                        .map(|other| other.pid()),
                }
            }
        });
        let sup = one(system, child.name("clerk").mailbox_fate(MailboxFate::Keep));
        let (pid, ..) = pile_up(system, false);
        system.exit(pid, ExitReason::Kill);
        until(system, || {
            system.server::<Other>("clerk").resolve().is_some()
        });
        until(system, || {
            sup.count_children().wait_timeout(DEADLINE).unwrap().active == 1
        });
        let stats = settled(system);
        assert_eq!(stats.undelivered, 12, "{stats:?}");
        office.expect(system, [Up(0)]);
        office.expect_no_more();
    });
}

#[test]
fn of_several_processes_that_a_start_function_starts_only_the_child_leaves_mail() {
    on_all(|system| {
        let office = Office::new();
        let helper = Office::new();
        let (desk, helping) = (office.desk.clone(), helper.desk.clone());
        let child = ChildSpec::worker("clerk", move |starter| {
            let (desk, helping) = (desk.clone(), helping.clone());
            async move {
                let clerk = starter.start_link::<Clerk>(desk).await?;
                starter
                    .start_link_with::<Clerk>(helping, ServerOptions::new().name("helper"))
                    .await?;
                Ok::<_, noex::StartError>(clerk)
            }
        });
        one(system, child.name("clerk").mailbox_fate(MailboxFate::Keep));
        let (pid, ..) = pile_up(system, false);
        let helper_was = system.server::<Clerk>("helper").resolve().unwrap();
        helper_was.cast(Pause(gate().0)).unwrap();
        helper_was.cast(Entry(70)).unwrap();
        let info = || {
            let info = system.process_info(helper_was.pid());
            info.wait_timeout(DEADLINE).unwrap()
        };
        until(system, || {
            info().in_handler && info().message_queue_len == 1
        });
        system.exit(helper_was.pid(), ExitReason::Kill);
        until(system, || !helper_was.is_alive());
        system.exit(pid, ExitReason::Kill);
        office.expect(system, [Up(0), Up(1)]);
        office.expect(system, (1..=6).map(|n| Entered(1, n)));
        helper.expect(system, [Up(0), Up(1)]);
        office.expect_no_more();
        helper.expect_no_more();
    });
}

#[test]
fn a_timer_to_a_reference_to_a_child_reaches_whoever_runs_when_it_fires() {
    on_all(|system| {
        let office = Office::new();
        let sup = one(system, office.clerk(MailboxFate::Drop));
        let clerk: Supervised<Clerk> = sup.supervised("clerk").wait_timeout(DEADLINE).unwrap();
        let pid = clerk.pid().unwrap();
        system.exit(pid, ExitReason::Kill);
        until(system, || clerk.pid().is_some_and(|new| new != pid));
        system.send_after(Duration::from_millis(1), &clerk, Entry(1));
        office.expect(system, [Up(0), Up(1), Entered(1, 1)]);
        let timer = system.send_interval(Duration::from_millis(1), &clerk, Tick);
        let pid = clerk.pid().unwrap();
        system.exit(pid, ExitReason::Kill);
        office.expect(system, std::iter::once(Up(2)));
        office.expect(system, [Noticed(2, "tick"), Noticed(2, "tick")]);
        system.cancel_timer(timer);
        sup.stop(ExitReason::Normal).wait_timeout(DEADLINE).unwrap();
    });
}

#[test]
fn mail_of_many_incarnations_is_handled_once_and_in_the_order_of_each_sender() {
    const SENDERS: u64 = 3;
    const EACH: u64 = 2_000;
    for threads in [1, 4] {
        let system = quiet().schedulers(threads).build().unwrap();
        let office = Office::new();
        let sup = one(&system, office.clerk(MailboxFate::Keep));
        let clerk: Supervised<Clerk> = sup.supervised("clerk").wait_timeout(DEADLINE).unwrap();
        let done = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for sender in 0..SENDERS {
                let (clerk, done) = (&clerk, &done);
                scope.spawn(move || {
                    for n in 0..EACH {
                        clerk.cast(Entry(sender * 1_000_000 + n)).unwrap();
                        if n % 64 == 0 {
                            std::thread::yield_now();
                        }
                    }
                    done.fetch_add(1, SeqCst);
                });
            }
            while done.load(SeqCst) < SENDERS {
                if let Some(pid) = clerk.pid() {
                    system.exit(pid, ExitReason::Kill);
                    system.monitor(pid).wait_timeout(DEADLINE).unwrap();
                }
            }
        });
        until(&system, || clerk.pid().is_some());
        let stats = settled(&system);
        assert_eq!(stats.queued, 0);
        let mut latest = [None; SENDERS as usize];
        let mut handled = 0;
        let (mut lives, mut life) = (0, None);
        while let Ok(did) = office.did.try_recv() {
            match did {
                Up(up) => {
                    lives += 1;
                    assert!(life < Some(up));
                    life = Some(up);
                }
                Entered(entered, n) => {
                    assert_eq!(Some(entered), life);
                    let (sender, n) = ((n / 1_000_000) as usize, n % 1_000_000);
                    assert!(latest[sender] < Some(n), "{n} after {latest:?}");
                    latest[sender] = Some(n);
                    handled += 1;
                }
                Noticed(..) => panic!("{did:?}"),
            }
        }
        assert!(handled + stats.undelivered + stats.aborted >= SENDERS * EACH);
        assert!(lives >= 2, "it was killed at least once");
        system.shutdown().wait_timeout(DEADLINE).unwrap();
    }
}
