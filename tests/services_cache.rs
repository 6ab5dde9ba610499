//! The cache through the public API.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use noex::prelude::*;
use noex::services::{Cache, CacheRef, CacheStats, Fetch, FetchError, Ttl};
use noex::{Call, CallError, Inbox, MailboxPolicy, Overflow, System};

use support::{DEADLINE, gate, next, on_all, pass, quiet, reports, until};

const SECOND: Duration = Duration::from_secs(1);

type Strings = CacheRef<&'static str, u32>;

fn start(system: &System, cache: Cache<&'static str, u32>) -> Strings {
    cache.start(system).wait_timeout(DEADLINE).expect("a cache")
}

fn get<T>(call: Call<T>) -> T {
    call.wait_timeout(DEADLINE).expect("an answer")
}

fn stats(cache: &Strings) -> CacheStats {
    get(cache.stats())
}

/// Tests about time, on virtual clocks only.
fn in_virtual_time(body: impl Fn(&System)) {
    for seed in 0..100 {
        let (system, _driver) = quiet().virtual_clock().auto_advance().seed(seed).manual();
        body(&system);
    }
}

#[derive(Debug, thiserror::Error)]
#[error("no such page")]
struct NoSuchPage;

#[test]
fn what_is_set_is_found_until_it_is_deleted() {
    on_all(|system| {
        let cache = start(system, Cache::new());
        assert_eq!(get(cache.get("a")), None);
        get(cache.set("a", 1));
        get(cache.set("a", 2));
        assert_eq!(get(cache.get("a")), Some(2));
        assert!(get(cache.has("a")));
        assert!(get(cache.delete("a")));
        assert!(!get(cache.delete("a")));
        assert!(!get(cache.has("a")));
        assert!(get(cache.is_empty()));
    });
}

#[test]
fn the_statistics_count_what_was_looked_up() {
    on_all(|system| {
        let cache = start(system, Cache::new().max_len(2));
        assert_eq!(stats(&cache).hit_rate(), 0.0);
        get(cache.set("a", 1));
        get(cache.get("a"));
        get(cache.get("a"));
        get(cache.get("a"));
        get(cache.get("b"));
        get(cache.has("a"));
        get(cache.has("b"));
        get(cache.set("b", 2));
        get(cache.set("c", 3));
        let now = stats(&cache);
        assert_eq!((now.hits, now.misses, now.evictions), (3, 1, 1));
        assert_eq!((now.len, now.max_len), (2, 2));
        assert_eq!(now.hit_rate(), 0.75);
        get(cache.clear());
        let now = stats(&cache);
        assert_eq!((now.hits, now.misses, now.evictions, now.len), (0, 0, 0, 0));
    });
}

#[test]
fn the_least_recently_used_goes_first() {
    on_all(|system| {
        let cache = start(system, Cache::new().max_len(3));
        for (n, key) in ["a", "b", "c"].into_iter().enumerate() {
            get(cache.set(key, n as u32));
        }
        get(cache.get("a"));
        get(cache.has("b"));
        get(cache.set("b", 9));
        get(cache.set("d", 4));
        assert_eq!(get(cache.keys()), ["d", "b", "a"]);
    });
}

#[test]
fn entries_expire_each_in_its_own_time() {
    in_virtual_time(|system| {
        let cache = start(system, Cache::new().ttl(10 * SECOND));
        get(cache.set("default", 1));
        get(cache.set_with("short", 2, Ttl::After(SECOND)));
        get(cache.set_with("for ever", 3, Ttl::Never));
        get(cache.set_with("at once", 4, Ttl::After(Duration::ZERO)));
        get(cache.set_with("longer than time", 5, Ttl::After(Duration::MAX)));
        assert_eq!(get(cache.get("at once")), None);
        assert_eq!(get(cache.get("short")), Some(2));
        pass(system, SECOND);
        assert_eq!(get(cache.get("short")), None);
        assert_eq!(get(cache.len()), 3);
        pass(system, 9 * SECOND);
        assert!(!get(cache.has("default")));
        let mut keys = get(cache.keys());
        keys.sort();
        assert_eq!(keys, ["for ever", "longer than time"]);
    });
}

#[test]
fn what_has_expired_makes_room_before_what_was_least_recently_used() {
    in_virtual_time(|system| {
        let cache = start(system, Cache::new().max_len(2));
        get(cache.set("old", 1));
        get(cache.set_with("expired", 2, Ttl::After(SECOND)));
        pass(system, 2 * SECOND);
        get(cache.set("new", 3));
        assert_eq!(get(cache.get("old")), Some(1));
        let now = stats(&cache);
        assert_eq!((now.evictions, now.expirations, now.len), (0, 1, 2));
    });
}

/// A value of which the test sees whether it is still kept.
#[derive(Clone)]
struct Tracked(#[allow(dead_code)] Arc<()>);

#[test]
fn what_nobody_looks_for_is_removed_at_intervals_and_then_nothing_runs() {
    let (system, driver) = quiet().virtual_clock().manual();
    let cache = Cache::<u32, Tracked>::new()
        .ttl(SECOND)
        .prune_every(10 * SECOND);
    let cache = cache.start(&system).wait().unwrap();
    driver.run_until_idle();
    assert_eq!(
        driver.next_deadline(),
        None,
        "an empty cache waits for nothing"
    );
    let value = Arc::new(());
    get(cache.set(1, Tracked(value.clone())));
    driver.advance(9 * SECOND);
    driver.run_until_idle();
    assert_eq!(
        Arc::strong_count(&value),
        2,
        "expired, and nobody has looked"
    );
    driver.advance(2 * SECOND);
    driver.run_until_idle();
    assert_eq!(Arc::strong_count(&value), 1);
    assert_eq!(driver.next_deadline(), None);
    assert_eq!(get(cache.prune()), 0);
}

#[test]
fn a_factory_runs_once_however_many_ask() {
    on_all(|system| {
        let cache = start(system, Cache::new());
        let runs = Arc::new(AtomicU32::new(0));
        let (wait, open) = gate();
        let ask = || {
            let (runs, wait) = (runs.clone(), wait.clone());
            cache.get_or_set("a", move || async move {
                runs.fetch_add(1, SeqCst);
                wait.await;
                Ok::<_, NoSuchPage>(7)
            })
        };
        let asked: Vec<_> = (0..10).map(|_| ask()).collect();
        // All of them are in, and the cache answers others meanwhile.
        assert_eq!(stats(&cache).fetching, 1);
        get(cache.set("b", 1));
        open.open();
        for request in asked {
            assert_eq!(request.wait_timeout(DEADLINE), Ok(7));
        }
        assert_eq!(ask().wait_timeout(DEADLINE), Ok(7));
        assert_eq!(runs.load(SeqCst), 1);
        let now = stats(&cache);
        assert_eq!((now.hits, now.misses, now.fetching), (1, 10, 0));
    });
}

#[test]
fn a_factory_that_fails_or_panics_tells_all_and_the_next_tries_again() {
    on_all(|system| {
        let cache = start(system, Cache::new());
        for panics in [false, true] {
            let (wait, open) = gate();
            let ask = || {
                let wait = wait.clone();
                cache.get_or_set("a", move || async move {
                    wait.await;
                    assert!(!panics, "on purpose");
                    Err(NoSuchPage)
                })
            };
            let asked = [ask(), ask(), ask()];
            assert_eq!(stats(&cache).fetching, 1);
            open.open();
            for request in asked {
                match request.wait_timeout(DEADLINE) {
                    Err(FetchError::Failed(ExitReason::Panic(_))) => assert!(panics),
                    Err(FetchError::Failed(reason)) => {
                        assert!(reason.downcast_ref::<NoSuchPage>().is_some());
                    }
                    other => panic!("{other:?}"),
                }
            }
            assert!(!get(cache.has("a")));
        }
        let good = cache.get_or_set("a", || async { Ok::<_, NoSuchPage>(3) });
        assert_eq!(good.wait_timeout(DEADLINE), Ok(3));
    });
}

#[test]
fn a_caller_that_gives_up_leaves_the_factory_running() {
    on_all(|system| {
        let cache = start(system, Cache::new());
        let (wait, open) = gate();
        let how = Fetch::new().timeout(Duration::from_millis(5));
        let asked = cache.get_or_set_with("a", how, move || async move {
            wait.await;
            Ok::<_, NoSuchPage>(8)
        });
        let late = asked.wait_timeout(DEADLINE);
        assert_eq!(late, Err(FetchError::Call(CallError::Timeout)));
        open.open();
        until(system, || get(cache.get("a")) == Some(8));
    });
}

#[test]
fn the_value_of_a_factory_expires_as_it_was_asked_to() {
    in_virtual_time(|system| {
        let cache = start(system, Cache::new());
        let how = Fetch::new().ttl(Ttl::After(SECOND)).timeout(None);
        let asked = cache.get_or_set_with("a", how, || async { Ok::<_, NoSuchPage>(8) });
        assert_eq!(asked.wait_timeout(DEADLINE), Ok(8));
        assert!(get(cache.has("a")));
        pass(system, SECOND);
        assert!(!get(cache.has("a")));
    });
}

#[test]
fn what_is_set_or_deleted_while_a_factory_runs_has_the_last_word() {
    on_all(|system| {
        for change in ["set", "delete", "clear"] {
            let cache = start(system, Cache::new());
            let (wait, open) = gate();
            let first = cache.get_or_set("a", move || async move {
                wait.await;
                Ok::<_, NoSuchPage>(1)
            });
            match change {
                "set" => get(cache.set("a", 2)),
                "delete" => assert!(!get(cache.delete("a"))),
                _ => get(cache.clear()),
            }
            // Who asks now does not get what is out of date.
            let second = cache.get_or_set("a", || async { Ok::<_, NoSuchPage>(2) });
            assert_eq!(second.wait_timeout(DEADLINE), Ok(2), "{change}");
            open.open();
            assert_eq!(first.wait_timeout(DEADLINE), Ok(1));
            assert_eq!(get(cache.get("a")), Some(2), "{change}");
            assert_eq!(stats(&cache).fetching, 0);
        }
    });
}

#[test]
fn the_end_of_the_cache_is_the_end_of_its_factories() {
    on_all(|system| {
        for brutal in [false, true] {
            let cache = start(system, Cache::new());
            let (send, dropped) = reports::<()>();
            let (wait, _open) = gate();
            let asked = cache.get_or_set("a", move || async move {
                wait.await;
                let _ = send.send(());
                Ok::<_, NoSuchPage>(1)
            });
            assert_eq!(stats(&cache).fetching, 1);
            if brutal {
                system.exit(cache.pid().unwrap(), ExitReason::Kill);
            } else {
                let stop = cache.stop(ExitReason::Normal);
                stop.wait_timeout(DEADLINE).unwrap();
            }
            let reason = match brutal {
                true => ExitReason::Killed,
                false => ExitReason::Normal,
            };
            let lost = asked.wait_timeout(DEADLINE);
            assert_eq!(lost, Err(FetchError::Call(CallError::Exited(reason))));
            let gone = std::sync::mpsc::TryRecvError::Disconnected;
            until(system, || dropped.try_recv() == Err(gone));
        }
    });
}

#[test]
fn a_factory_may_use_the_cache_for_other_keys() {
    on_all(|system| {
        let cache = start(system, Cache::new());
        let inner = cache.clone();
        let sum = cache.get_or_set("sum", move || async move {
            let part = inner.get_or_set("part", || async { Ok::<_, NoSuchPage>(20) });
            Ok::<_, FetchError>(part.await? + 1)
        });
        assert_eq!(sum.wait_timeout(DEADLINE), Ok(21));
        assert_eq!(get(cache.get("part")), Some(20));
    });
}

/// Panics when it is cloned.
struct Bomb;
impl Clone for Bomb {
    fn clone(&self) -> Self {
        panic!("on purpose")
    }
}

#[test]
fn a_supervised_cache_is_restarted_empty_under_its_name() {
    on_all(|system| {
        let spec = Cache::<u32, Bomb>::new().name("cache").child_spec("cache");
        Supervisor::new(Strategy::OneForOne)
            .child(spec)
            .start(system)
            .wait_timeout(DEADLINE)
            .unwrap();
        let cache = CacheRef::<u32, Bomb>::named(system, "cache");
        get(cache.set(1, Bomb));
        let first = cache.pid();
        let crashed = cache.get(1).wait_timeout(DEADLINE);
        assert!(matches!(
            crashed,
            Err(CallError::Exited(ExitReason::Panic(_)))
        ));
        until(system, || cache.is_alive() && cache.pid() != first);
        assert!(get(cache.is_empty()));
        let wrong = CacheRef::<u32, u32>::named(system, "cache");
        assert_eq!(wrong.get(1).wait_timeout(DEADLINE), Err(CallError::NoProc));
        assert_eq!(wrong.pid(), None);
    });
}

#[test]
fn a_named_cache_that_is_there_is_told_of() {
    on_all(|system| {
        let builder = Cache::<u32, u32>::new().name("cache");
        let cache = builder.start(system).wait_timeout(DEADLINE).unwrap();
        let second = builder.start(system).wait_timeout(DEADLINE);
        let pid = cache.pid().unwrap();
        match second {
            Err(error) => assert_eq!(error, noex::StartError::AlreadyStarted(pid)),
            Ok(_) => panic!("two caches under one name"),
        }
        let named = CacheRef::<u32, u32>::named(system, "cache");
        named
            .stop(ExitReason::Normal)
            .wait_timeout(DEADLINE)
            .unwrap();
        // With nobody there, it has stopped.
        named
            .stop(ExitReason::Normal)
            .wait_timeout(DEADLINE)
            .unwrap();
        assert!(!cache.is_alive() && !named.is_alive());
    });
}

struct Owner;
impl GenServer for Owner {
    type Args = std::sync::mpsc::Sender<CacheRef<u32, u32>>;
    async fn init(to: Self::Args, cx: &mut Context<Self>) -> Result<Self, InitStop> {
        let start = Cache::new().start_link(cx);
        let cache = start.await.map_err(|error| error.into_reason())?;
        cache.set(1, 1).await.map_err(ExitReason::error)?;
        let _ = to.send(cache);
        Ok(Owner)
    }
}

#[test]
fn a_linked_cache_ends_with_its_parent() {
    on_all(|system| {
        let (send, cache) = reports();
        let owner = system.start::<Owner>(send).wait_timeout(DEADLINE).unwrap();
        let cache = next(system, &cache);
        assert_eq!(get(cache.get(1)), Some(1));
        system.exit(owner.pid(), ExitReason::Kill);
        until(system, || !cache.is_alive());
    });
}

#[test]
fn a_full_mailbox_loses_no_result() {
    on_all(|system| {
        let tight = MailboxPolicy::Bounded {
            capacity: 1,
            overflow: Overflow::DropNewest,
        };
        let spec = Cache::<&str, u32>::new().name("pages").child_spec("pages");
        let tree = Supervisor::new(Strategy::OneForOne).child(spec.mailbox(tight));
        let tree = tree.start(system).wait_timeout(DEADLINE).expect("a tree");
        let pages = Strings::named(system, "pages");
        let (at, open) = gate();
        let page = pages.get_or_set("a", || async {
            at.await;
            Ok::<u32, NoSuchPage>(1)
        });
        until(system, || {
            let stats = pages.stats().wait_timeout(DEADLINE);
            stats.is_ok_and(|stats| stats.fetching == 1)
        });
        // The factory ends while the cache is suspended and its mailbox is full.
        let sys = system.sys(pages.pid().expect("it lives"));
        get(sys.suspend());
        let waits = pages.get("a");
        open.open();
        until(system, || {
            let info = system.process_info(sys.pid()).wait_timeout(DEADLINE);
            info.is_some_and(|info| info.links == [tree.pid()])
        });
        get(sys.resume());
        assert_eq!(page.wait_timeout(DEADLINE), Ok(1));
        // In its place ahead of the factory's end, or behind it.
        assert!(get(waits).is_none_or(|page| page == 1));
        assert_eq!(get(pages.get("a")), Some(1));
    });
}

#[test]
fn any_process_may_start_a_cache_that_ends_with_it() {
    on_all(|system| {
        let (tell, told) = reports();
        let starter = move |cx: Inbox<()>| async move {
            let _ = tell.send(Cache::<u8, u32>::new().start_link(&cx).await);
            std::future::pending::<()>().await;
        };
        let starter = system.spawn(starter).expect("a running system");
        let cache = next(system, &told).expect("a start");
        get(cache.set(1, 1));
        system.exit(starter.pid(), ExitReason::Kill);
        until(system, || !cache.is_alive());
    });
}
