//! What holds where nothing is said: OTP's defaults, on a virtual clock.

mod support;

use std::time::Duration;

use noex::prelude::*;
use noex::{CallError, Driver, Inbox};
use support::{quiet, reports};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// Takes its time to start, and to terminate; never answers.
struct Slow(Duration);
struct Ask;
impl GenServer for Slow {
    /// For `init` and for `terminate`.
    type Args = (Duration, Duration);
    async fn init((start, end): Self::Args, cx: &mut Context<Self>) -> Result<Self, InitStop> {
        cx.trap_exit(true);
        cx.sleep(start).await;
        Ok(Slow(end))
    }
    async fn terminate(&mut self, _: ExitReason, cx: &mut Context<Self>) {
        cx.sleep(self.0).await;
    }
}
impl HandleCall<Ask> for Slow {
    type Reply = ();
    async fn handle_call(&mut self, _: Ask, _: &mut Context<Self>) {
        std::future::pending().await
    }
}

fn virtual_time() -> (System, Driver) {
    quiet().virtual_clock().manual()
}

fn start(system: &System, driver: &Driver, children: Vec<ChildSpec>) -> SupervisorRef {
    let start = Supervisor::new(Strategy::OneForOne)
        .children(children)
        .start(system);
    driver.run_until_idle();
    start.wait().unwrap()
}

#[test]
fn a_call_waits_five_seconds() {
    let (system, driver) = virtual_time();
    let slow = system.start::<Slow>((Duration::ZERO, HOUR)).wait().unwrap();
    let (tell, told) = reports();
    system
        .spawn(move |cx: Inbox<()>| async move {
            let answer = slow.call(Ask).await;
            let _ = tell.send((answer, cx.system().now()));
        })
        .unwrap();
    driver.advance(5 * SECOND - MS);
    assert!(told.try_recv().is_err());
    driver.advance(MS);
    assert_eq!(told.try_recv(), Ok((Err(CallError::Timeout), 5 * SECOND)));
}

#[test]
fn init_may_take_as_long_as_it_likes() {
    let (system, _driver) = quiet().virtual_clock().auto_advance().manual();
    assert!(system.start::<Slow>((HOUR, HOUR)).wait().is_ok());
    assert_eq!(system.now(), HOUR);
}

#[test]
fn a_worker_has_five_seconds_to_stop() {
    let (system, driver) = virtual_time();
    let child = |id, end| ChildSpec::server::<Slow>(id, (Duration::ZERO, end)).name(id);
    let children = vec![child("late", HOUR), child("in time", 5 * SECOND - MS)];
    let sup = start(&system, &driver, children);
    for (id, reason) in [
        ("late", ExitReason::Killed),
        ("in time", ExitReason::Shutdown(None)),
    ] {
        let end = system.monitor(system.whereis(id).unwrap());
        let begin = system.now();
        let terminated = sup.terminate_child(id);
        driver.advance(5 * SECOND - 2 * MS);
        assert!(system.whereis(id).is_some());
        driver.advance(2 * MS);
        assert_eq!(system.now(), begin + 5 * SECOND);
        assert_eq!((terminated.wait(), system.whereis(id)), (Ok(()), None));
        assert_eq!(end.wait().unwrap().reason, reason);
    }
}

#[test]
fn a_supervisor_has_all_the_time_its_children_take() {
    let (system, driver) = virtual_time();
    let leaf = ChildSpec::server::<Slow>("leaf", (Duration::ZERO, HOUR))
        .name("leaf")
        .shutdown(Shutdown::Infinity);
    let branch = Supervisor::new(Strategy::OneForOne).child(leaf);
    let sup = start(
        &system,
        &driver,
        vec![ChildSpec::supervisor("branch", branch)],
    );
    let leaf = system.monitor(system.whereis("leaf").unwrap());
    let terminated = sup.terminate_child("branch");
    driver.advance(HOUR - MS);
    assert!(system.whereis("leaf").is_some());
    driver.advance(MS);
    assert_eq!(terminated.wait(), Ok(()));
    assert_eq!(leaf.wait().unwrap().reason, ExitReason::Shutdown(None));
}

#[test]
fn a_child_is_permanent_and_three_restarts_in_five_seconds_are_allowed() {
    let (system, driver) = virtual_time();
    let child = ChildSpec::server::<Slow>("child", (Duration::ZERO, Duration::ZERO)).name("child");
    let sup = start(&system, &driver, vec![child]);
    let stop = || {
        let pid = system.whereis("child").unwrap();
        let child = system.server_ref::<Slow>(pid).unwrap();
        drop(child.stop(ExitReason::Normal));
        driver.run_until_idle();
        system.whereis("child").is_some_and(|new| new != pid)
    };
    for _ in 0..3 {
        assert!(stop());
    }
    // The first is five seconds ago and counts no more.
    driver.advance(5 * SECOND + MS);
    for _ in 0..3 {
        assert!(stop());
    }
    driver.advance(5 * SECOND);
    assert!(!stop(), "the fourth");
    assert_eq!(sup.exit_reason(), Some(ExitReason::Shutdown(None)));
}

#[test]
fn a_mailbox_has_no_bound() {
    let (system, driver) = virtual_time();
    let hold = |_: Inbox<u64>| std::future::pending::<()>();
    let process = system.spawn(hold).unwrap();
    driver.run_until_idle();
    for n in 0..100_000 {
        process.send(n).unwrap();
    }
    let info = system.process_info(process.pid()).wait().unwrap();
    assert_eq!(info.message_queue_len, 100_000);
    assert!(!info.trap_exit, "nor does it trap exits");
}
