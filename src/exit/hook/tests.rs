use std::panic::{catch_unwind, resume_unwind};
use std::process::{Command, Output};

use super::super::{ExitReason, catch, drop_quietly};
use super::*;

/// Catches as the scheduler does and gives line and message.
fn caught(body: impl FnOnce()) -> (Option<u32>, String) {
    match catch(body) {
        Err(ExitReason::Panic(panic)) => (
            panic.location().map(PanicLocation::line),
            panic.message().into(),
        ),
        other => panic!("{other:?}"),
    }
}

fn at(line: u32, message: &str) -> (Option<u32>, String) {
    (Some(line), message.into())
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn a_panic_inside_a_poll_has_its_location() {
    install_panic_hook();
    let _poll = enter_poll();
    let (line, reason) = (line!(), catch(|| panic!("n = {}", 5)));
    let Err(ExitReason::Panic(panic)) = reason else {
        panic!("{reason:?}")
    };
    let location = panic.location().unwrap();
    assert_eq!(panic.message(), "n = 5");
    assert_eq!((location.file(), location.line()), (file!(), line));
    assert!(location.column() > 1);
    assert_eq!(take_location(), None, "it was taken");
}

#[test]
fn a_panic_outside_a_poll_has_none() {
    install_panic_hook();
    drop(enter_poll());
    assert_eq!(caught(|| panic!("x")), (None, "x".into()));
}

#[test]
fn a_location_of_an_earlier_poll_is_not_taken_for_that_of_a_later_one() {
    install_panic_hook();
    let poll = enter_poll();
    assert!(catch_unwind(|| panic!("caught by the handler")).is_err());
    drop(poll);
    let _poll = enter_poll();
    assert_eq!(take_location(), None);
    assert_eq!(caught(|| resume_unwind(Box::new("x"))), (None, "x".into()));
}

#[test]
fn the_later_of_two_panics_is_the_one_that_counts() {
    install_panic_hook();
    let _poll = enter_poll();
    let body = || {
        assert!(catch_unwind(|| panic!("caught by the handler")).is_err());
        panic!("not caught")
    };
    assert_eq!(caught(body), at(line!() - 2, "not caught"));
}

#[test]
fn what_is_caught_in_a_drop_during_unwinding_leaves_the_location_alone() {
    install_panic_hook();
    let _poll = enter_poll();
    let body = || {
        let _on_drop = OnDrop(|| {
            assert_eq!(caught(|| panic!("inner")), at(line!(), "inner"));
            assert!(drop_quietly(OnDrop(|| panic!("innermost"))).is_err());
            assert!(catch(|| ()).is_ok());
        });
        panic!("outer")
    };
    assert_eq!(caught(body), at(line!() - 2, "outer"));
}

#[test]
fn a_payload_that_panics_when_it_is_dropped_leaves_no_location_behind() {
    install_panic_hook();
    let _poll = enter_poll();
    let line = line!() + 1;
    let (place, _) = caught(|| std::panic::panic_any(OnDrop(|| panic!("dropped"))));
    assert_eq!(place, Some(line));
    assert_eq!(take_location(), None);
}

#[test]
fn polls_nest() {
    install_panic_hook();
    let _outer = enter_poll();
    {
        let _inner = enter_poll();
        assert_eq!(caught(|| panic!("inner")), at(line!(), "inner"));
    }
    assert_eq!(caught(|| panic!("outer")), at(line!(), "outer"));
    assert!(catch_unwind(|| panic!("the poll ends by this")).is_err());
    drop(enter_poll());
    assert_eq!(
        take_location(),
        None,
        "an inner poll forgets what the outer one did not take"
    );
}

#[test]
fn a_poll_that_ends_by_unwinding_is_over() {
    install_panic_hook();
    let result = catch_unwind(|| {
        let _poll = enter_poll();
        panic!("x");
    });
    assert!(result.is_err());
    assert_eq!(STATE.get(), OUTSIDE);
    assert_eq!(take_location(), None);
}

#[test]
fn each_thread_polls_for_itself() {
    install_panic_hook();
    let _poll = enter_poll();
    let other = std::thread::spawn(|| caught(|| panic!("elsewhere")));
    assert_eq!(other.join().unwrap(), (None, "elsewhere".into()));
    assert_eq!(take_location(), None);
}

// What follows concerns the hook of the whole program, or ends the program: it happens in a
// process of its own, which is this test binary again, told to run the same test.

const CHILD: &str = "NOEX_TEST_IS_CHILD";

fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// Runs the test of that name in a new process; gives its output with the stderr as text.
fn run_alone(test: &str) -> (Output, String) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "--nocapture",
            "--test-threads=1",
            &format!("exit::hook::tests::{test}"),
        ])
        .env(CHILD, "1")
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, stderr)
}

#[test]
#[cfg_attr(miri, ignore = "starts a process")]
fn the_previous_hook_hears_only_of_panics_outside_a_poll() {
    if !is_child() {
        let (output, stderr) = run_alone("the_previous_hook_hears_only_of_panics_outside_a_poll");
        assert!(output.status.success(), "{stderr}");
        assert!(!stderr.contains("inside"), "{stderr}");
        assert_eq!(stderr.matches("previous: outside").count(), 2, "{stderr}");
        return;
    }
    std::panic::set_hook(Box::new(|info| {
        eprintln!(
            "previous: {}",
            info.payload().downcast_ref::<&str>().unwrap()
        );
    }));
    install_panic_hook();
    install_panic_hook();
    let _ = catch(|| panic!("outside"));
    let poll = enter_poll();
    let _ = catch(|| panic!("inside"));
    drop(poll);
    let _ = catch(|| panic!("outside"));
}

#[test]
#[cfg_attr(miri, ignore = "starts a process")]
fn without_the_hook_a_panic_has_no_location_and_is_printed() {
    if !is_child() {
        let (output, stderr) = run_alone("without_the_hook_a_panic_has_no_location_and_is_printed");
        assert!(output.status.success(), "{stderr}");
        assert!(stderr.contains("as ever"), "{stderr}");
        return;
    }
    let _poll = enter_poll();
    assert_eq!(caught(|| panic!("as ever")), (None, "as ever".into()));
}

#[test]
#[cfg_attr(miri, ignore = "starts a process")]
fn a_system_started_while_its_thread_panics_leaves_the_hook_to_the_next() {
    if !is_child() {
        let test = "a_system_started_while_its_thread_panics_leaves_the_hook_to_the_next";
        let (output, stderr) = run_alone(test);
        assert!(output.status.success(), "{stderr}");
        return;
    }
    let _ = catch_unwind(|| {
        let _on_drop = OnDrop(install_panic_hook);
        panic!("unwinds");
    });
    let _poll = enter_poll();
    assert_eq!(caught(|| panic!("x")), (None, "x".into()));
    install_panic_hook();
    assert_eq!(caught(|| panic!("x")), at(line!(), "x"));
}

#[test]
#[cfg_attr(miri, ignore = "starts a process")]
fn an_abort_inside_a_poll_is_not_silent() {
    if !is_child() {
        let (output, stderr) = run_alone("an_abort_inside_a_poll_is_not_silent");
        assert!(!output.status.success(), "{stderr}");
        assert!(
            stderr.contains("noex: a process panicked at src/exit/hook/tests.rs"),
            "{stderr}"
        );
        assert!(stderr.contains("the second, in a drop"), "{stderr}");
        assert!(
            stderr.contains("panic in a destructor during cleanup"),
            "{stderr}"
        );
        return;
    }
    install_panic_hook();
    let _poll = enter_poll();
    let _ = catch(|| {
        let _on_drop = OnDrop(|| panic!("the second, in a drop"));
        panic!("the first");
    });
}
