//! Timers and names.

use std::hint::black_box;
use std::time::Duration;

use noex::prelude::*;

use crate::messages::{in_process, system};

struct Ticked;
struct Tick;

impl GenServer for Ticked {
    type Args = ();
    async fn init(_: (), _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Ticked)
    }
}
impl HandleInfo<Tick> for Ticked {
    async fn handle_info(&mut self, _: Tick, _: &mut Context<Self>) {}
}

/// A delay for each of the timers, 1 to 1,000 ms.
fn delay(i: u64) -> Duration {
    Duration::from_millis(1 + i.wrapping_mul(7919) % 1000)
}

/// A timer that is armed and cancelled, beside 1,000 that are not.
pub(crate) fn timer_cancel(n: u64) {
    let system = system();
    let ticked = system.start::<Ticked>(()).wait().expect("a server starts");
    in_process(&system, move |cx| async move {
        let later = Duration::from_secs(3600);
        for i in 0..1000 {
            cx.send_after(later + delay(i), &ticked, Tick);
        }
        for i in 0..n {
            let timer = cx.send_after(later + delay(i), &ticked, Tick);
            assert!(cx.cancel_timer(timer).is_some());
        }
    });
}

/// A timer that is armed, comes due and is handled; a thousand at a time, on a virtual clock.
pub(crate) fn timer_fire(n: u64) {
    let (system, driver) = System::builder().virtual_clock().manual();
    let ticked = system.start::<Ticked>(()).wait().expect("a server starts");
    for _ in 0..n / 1000 {
        for i in 0..1000 {
            system.send_after(delay(i), &ticked, Tick);
        }
        driver.advance(Duration::from_secs(1));
    }
}

/// A look at one of 1,000 names, by a thread that is none of the system's.
pub(crate) fn whereis(n: u64) {
    let (system, _driver) = System::builder().manual();
    let names: Vec<String> = (0..1000).map(|i| format!("name_{i}")).collect();
    for name in &names {
        let server = system.start::<Ticked>(()).wait().expect("a server starts");
        system.register(name, server.pid()).expect("a free name");
    }
    for i in 0..n {
        let name = &names[(i.wrapping_mul(7919) % 1000) as usize];
        assert!(black_box(system.whereis(name)).is_some());
    }
}
