//! Supervisors through the public API.
use noex::prelude::*;
use std::time::Duration;
struct Counter(i64);
struct Get;
struct Crash;
impl GenServer for Counter {
    type Args = i64;
    async fn init(n: i64, _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Counter(n))
    }
}
impl HandleCall<Get> for Counter {
    type Reply = i64;
    async fn handle_call(&mut self, _: Get, _: &mut Context<Self>) -> i64 {
        self.0
    }
}
impl HandleCall<Crash> for Counter {
    type Reply = ();
    async fn handle_call(&mut self, _: Crash, _: &mut Context<Self>) {
        panic!("as told")
    }
}
#[test]
fn smoke() {
    let system = System::builder()
        .on_event(|e| eprintln!("{e}"))
        .build()
        .unwrap();
    let sup = Supervisor::new(Strategy::OneForOne)
        .child(ChildSpec::server::<Counter>("counter", 3).name("counter"))
        .start(&system)
        .wait_timeout(Duration::from_secs(10))
        .unwrap();
    let counter = system.server::<Counter>("counter");
    assert_eq!(counter.call(Get).wait(), Ok(3));
    let old = system.whereis("counter");
    counter.call(Crash).wait().unwrap_err();
    eprintln!(
        "{:?}",
        sup.which_children().wait_timeout(Duration::from_secs(10))
    );
    loop {
        if let Some(p) = system.whereis("counter") {
            assert_ne!(Some(p), old);
            break;
        }
        std::thread::yield_now()
    }
    assert_eq!(counter.call(Get).wait(), Ok(3));
    system
        .shutdown()
        .wait_timeout(Duration::from_secs(10))
        .unwrap();
}
