//! SIGTERM and SIGINT end a system in order. Run with `--features signals`.
#![cfg(all(feature = "signals", unix))]

mod support;

use noex::Inbox;
use rustix::process::{Signal, getpid, kill_process};
use support::{DEADLINE, next, quiet, reports};

// One test: signals go to the whole process.
#[test]
fn the_first_signal_shuts_the_system_down_and_a_dropped_guard_listens_no_more() {
    for signal in [Signal::TERM, Signal::INT] {
        let system = quiet().schedulers(2).build().unwrap();
        let listening = system.shutdown_on_signals().unwrap();
        let (tell, told) = reports();
        let process = move |mut inbox: Inbox<()>| async move {
            inbox.trap_exit(true);
            let _ = tell.send("ready".to_string());
            let _ = tell.send(format!("{:?}", inbox.recv().await));
        };
        system.spawn(process).unwrap();
        assert_eq!(next(&system, &told), "ready");
        let ended = system.wait();
        kill_process(getpid(), signal).unwrap();
        assert!(ended.wait_timeout(DEADLINE).is_ok());
        let last = told.recv_timeout(DEADLINE).unwrap();
        assert!(last.contains("Shutdown"), "{last}");
        drop(listening);

        // Another system of the same program is not concerned, whether it listened once or never.
        let other = quiet().schedulers(1).build().unwrap();
        drop(other.shutdown_on_signals().unwrap());
        assert!(other.shutdown().wait_timeout(DEADLINE).is_ok());
    }
}
