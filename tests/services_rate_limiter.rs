//! The rate limiter through the public API.

mod support;

use std::time::Duration;

use noex::prelude::*;
use noex::services::{Limit, RateLimitError, RateLimiter, RateLimiterRef, RateStatus};
use noex::{Call, CallError, System};

use support::{DEADLINE, on_all, pass, quiet, until};

const SECOND: Duration = Duration::from_secs(1);
/// Longer than any test, so that nothing leaves it on a real clock.
const HOUR: Duration = Duration::from_secs(3600);

type Limiter = RateLimiterRef<&'static str>;

fn start(system: &System, limiter: RateLimiter<&'static str>) -> Limiter {
    let start = limiter.start(system);
    start.wait_timeout(DEADLINE).expect("a limiter")
}

fn get<T>(call: Call<T>) -> T {
    call.wait_timeout(DEADLINE).expect("an answer")
}

/// What is left afterwards; or what the refusal says.
fn consume(limiter: &Limiter, key: &'static str, cost: u64) -> Result<u64, RateStatus> {
    match limiter.consume(key, cost).wait_timeout(DEADLINE) {
        Ok(status) => {
            assert!(status.allowed);
            assert_eq!(status.retry_after, Some(Duration::ZERO));
            Ok(status.remaining)
        }
        Err(RateLimitError::Exceeded(status)) => Err(status),
        Err(other) => panic!("{other}"),
    }
}

fn in_virtual_time(body: impl Fn(&System)) {
    for seed in 0..100 {
        let (system, _driver) = quiet().virtual_clock().auto_advance().seed(seed).manual();
        body(&system);
    }
}

#[test]
fn keys_are_limited_each_for_itself() {
    on_all(|system| {
        let limiter = start(system, RateLimiter::new(Limit::new(3, HOUR)));
        assert_eq!(consume(&limiter, "a", 1), Ok(2));
        assert_eq!(consume(&limiter, "a", 2), Ok(0));
        assert_eq!(consume(&limiter, "b", 3), Ok(0));
        let refused = consume(&limiter, "a", 1).unwrap_err();
        assert_eq!((refused.used, refused.limit, refused.remaining), (3, 3, 0));
        assert!(refused.retry_after.is_some_and(|wait| wait <= HOUR));
        let mut keys = get(limiter.keys());
        keys.sort();
        assert_eq!(keys, ["a", "b"]);
    });
}

#[test]
fn a_check_never_consumes_and_remembers_nobody() {
    on_all(|system| {
        let limiter = start(system, RateLimiter::new(Limit::new(2, HOUR)));
        for _ in 0..5 {
            let status = get(limiter.check("a", 2));
            assert!(status.allowed);
            assert_eq!((status.used, status.remaining), (0, 2));
        }
        assert_eq!(get(limiter.keys()), [""; 0]);
        assert!(!get(limiter.check("a", 3)).allowed);
        assert_eq!(consume(&limiter, "a", 2), Ok(0));
        let status = get(limiter.status("a"));
        assert_eq!((status.allowed, status.used), (false, 2));
    });
}

#[test]
fn a_refusal_spends_nothing() {
    on_all(|system| {
        let limiter = start(system, RateLimiter::new(Limit::new(5, HOUR)));
        assert_eq!(consume(&limiter, "a", 3), Ok(2));
        assert!(consume(&limiter, "a", 3).is_err());
        assert_eq!(consume(&limiter, "a", 2), Ok(0));
        assert_eq!(consume(&limiter, "a", 0), Ok(0));
        assert_eq!(consume(&limiter, "a", 6).unwrap_err().retry_after, None);
        assert!(consume(&limiter, "new", 6).is_err());
        assert_eq!(get(limiter.keys()), ["a"]);
    });
}

#[test]
fn whoever_waits_as_long_as_told_is_let_through() {
    in_virtual_time(|system| {
        let limiter = start(system, RateLimiter::new(Limit::new(4, 10 * SECOND)));
        consume(&limiter, "a", 1).unwrap();
        pass(system, 3 * SECOND);
        consume(&limiter, "a", 3).unwrap();
        let one = get(limiter.check("a", 1)).retry_after.unwrap();
        let two = get(limiter.check("a", 2)).retry_after.unwrap();
        assert!(one <= 7 * SECOND && two <= 10 * SECOND && one < two);
        pass(system, one - Duration::from_millis(1));
        assert!(consume(&limiter, "a", 1).is_err());
        pass(system, Duration::from_millis(1));
        assert_eq!(consume(&limiter, "a", 1), Ok(0));
        // The window slides; it does not begin anew.
        assert!(consume(&limiter, "a", 1).is_err());
    });
}

#[test]
fn keys_may_have_limits_of_their_own() {
    on_all(|system| {
        let limiter = RateLimiter::new(Limit::new(1, HOUR)).limit_for("vip", Limit::new(9, HOUR));
        let limiter = start(system, limiter);
        assert_eq!(consume(&limiter, "vip", 5), Ok(4));
        assert!(consume(&limiter, "a", 2).is_err());
        get(limiter.set_limit("a", Limit::new(2, HOUR)));
        assert_eq!(consume(&limiter, "a", 2), Ok(0));
        get(limiter.clear_limit("vip"));
        let status = get(limiter.status("vip"));
        assert_eq!((status.used, status.limit, status.remaining), (5, 1, 0));
        get(limiter.set_limit("none", Limit::new(0, HOUR)));
        assert_eq!(consume(&limiter, "none", 1).unwrap_err().retry_after, None);
    });
}

#[test]
fn a_shorter_window_forgets_sooner() {
    in_virtual_time(|system| {
        let limiter = start(system, RateLimiter::new(Limit::new(2, HOUR)));
        consume(&limiter, "a", 2).unwrap();
        pass(system, 5 * SECOND);
        get(limiter.set_limit("a", Limit::new(2, 10 * SECOND)));
        assert!(consume(&limiter, "a", 1).is_err());
        assert_eq!(get(limiter.keys()), ["a"]);
        pass(system, 5 * SECOND);
        assert_eq!(get(limiter.keys()), [""; 0]);
        assert_eq!(consume(&limiter, "a", 2), Ok(0));
    });
}

#[test]
fn a_reset_forgets_what_was_consumed() {
    on_all(|system| {
        let limiter = start(system, RateLimiter::new(Limit::new(1, HOUR)));
        assert!(!get(limiter.reset("a")));
        consume(&limiter, "a", 1).unwrap();
        assert!(get(limiter.reset("a")));
        assert!(!get(limiter.reset("a")));
        assert_eq!(consume(&limiter, "a", 1), Ok(0));
    });
}

#[test]
fn idle_keys_are_forgotten_busy_ones_are_not() {
    in_virtual_time(|system| {
        // By itself the limiter looks once in its own window.
        let own = Limit::new(9, 10 * SECOND);
        let limiter = RateLimiter::new(Limit::new(9, HOUR));
        let limiter = start(
            system,
            limiter.limit_for("idle", own).limit_for("busy", own),
        );
        consume(&limiter, "idle", 1).unwrap();
        consume(&limiter, "busy", 1).unwrap();
        pass(system, 6 * SECOND);
        consume(&limiter, "busy", 1).unwrap();
        pass(system, 4 * SECOND);
        assert_eq!(get(limiter.cleanup()), 1);
        assert_eq!(get(limiter.keys()), ["busy"]);
        assert_eq!(get(limiter.status("busy")).used, 1);
        pass(system, 6 * SECOND);
        assert_eq!(get(limiter.cleanup()), 1);
        assert_eq!(get(limiter.cleanup()), 0);
    });
}

#[test]
fn a_limiter_with_nobody_to_limit_waits_for_nothing() {
    let (system, driver) = quiet().virtual_clock().manual();
    let limiter = RateLimiter::new(Limit::new(9, 10 * SECOND)).start(&system);
    let limiter: Limiter = limiter.wait().unwrap();
    driver.run_until_idle();
    assert_eq!(driver.next_deadline(), None);
    consume(&limiter, "a", 1).unwrap();
    assert!(driver.next_deadline().is_some());
    driver.advance(21 * SECOND);
    driver.run_until_idle();
    assert_eq!(
        driver.next_deadline(),
        None,
        "the key is gone, and with it the timer"
    );
    // A window without an end never leaves: that is no overflow.
    get(limiter.set_limit("b", Limit::new(1, Duration::MAX)));
    consume(&limiter, "b", 1).unwrap();
    assert!(consume(&limiter, "b", 1).is_err());
}

#[test]
fn a_restarted_limiter_has_its_limits_and_empty_windows() {
    on_all(|system| {
        let limiter = RateLimiter::new(Limit::new(1, HOUR))
            .limit_for("vip", Limit::new(5, HOUR))
            .name("limiter");
        Supervisor::new(Strategy::OneForOne)
            .child(limiter.child_spec("limiter"))
            .start(system)
            .wait_timeout(DEADLINE)
            .unwrap();
        let limiter = Limiter::named(system, "limiter");
        consume(&limiter, "vip", 5).unwrap();
        let first = limiter.pid().unwrap();
        system.exit(first, ExitReason::Kill);
        until(system, || limiter.pid().is_some_and(|pid| pid != first));
        assert_eq!(consume(&limiter, "vip", 5), Ok(0));
    });
}

#[test]
fn a_limiter_that_is_gone_is_an_error_and_no_refusal() {
    on_all(|system| {
        let limiter = Limiter::named(system, "nobody");
        let gone = limiter.consume("a", 1).wait_timeout(DEADLINE);
        assert_eq!(gone, Err(RateLimitError::Call(CallError::NoProc)));
        assert_eq!(gone.unwrap_err().retry_after(), None);
    });
}
