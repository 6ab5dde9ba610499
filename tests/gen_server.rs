//! Servers through the public API.

use std::time::Duration;

use noex::prelude::*;
use noex::{CallError, StartError};

struct Counter {
    count: i64,
}
struct Get;
struct Add(i64);
struct Crash;

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
impl HandleCall<Crash> for Counter {
    type Reply = ();
    async fn handle_call(&mut self, _: Crash, _cx: &mut Context<Self>) {
        panic!("as told");
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
fn a_panic_ends_the_server_and_its_callers_hear_why() {
    let system = System::builder().on_event(|_| {}).build().unwrap();
    let counter = system.start::<Counter>(0).wait().unwrap();
    let error = counter.call(Crash).wait().unwrap_err();
    let CallError::Exited(ExitReason::Panic(panic)) = error else {
        panic!("{error:?}")
    };
    assert_eq!(panic.message(), "as told");
    assert!(panic.location().unwrap().file().ends_with("gen_server.rs"));
    assert!(matches!(
        counter.call(Get).wait(),
        Err(CallError::Exited(ExitReason::Panic(_)))
    ));
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

#[test]
fn a_manual_system_is_driven_by_wait() {
    let (system, driver) = System::builder().manual();
    let counter = system.start::<Counter>(40).wait().unwrap();
    counter.cast(Add(2)).unwrap();
    assert_eq!(counter.call(Get).wait(), Ok(42));
    driver.run_until_idle();
    let stats = system.stats();
    assert_eq!((stats.sent, stats.handled, stats.queued), (3, 3, 0));
}
