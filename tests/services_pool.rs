//! The pool through the public API.

mod support;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::time::Duration;

use noex::prelude::*;
use noex::services::{Checkout, Pool, PoolError, PoolRef, PoolStatus, Request};
use noex::{
    CallError, ChildKind, Inbox, MailboxPolicy, Overflow, Received, Recipient, StartError, System,
};

use support::{DEADLINE, end_of, gate, next, on_all, pump, quiet, reports, until};

const SECOND: Duration = Duration::from_secs(1);

/// A worker that tells its pid, or crashes.
struct Worker {
    /// Open as long as the worker lives.
    _life: Sender<()>,
}
struct Who;
struct Crash;

impl GenServer for Worker {
    type Args = Sender<()>;
    async fn init(life: Sender<()>, _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Worker { _life: life })
    }
}
impl HandleCall<Who> for Worker {
    type Reply = Pid;
    async fn handle_call(&mut self, _: Who, cx: &mut Context<Self>) -> Pid {
        cx.pid()
    }
}
impl HandleCall<Crash> for Worker {
    type Reply = ();
    async fn handle_call(&mut self, _: Crash, _: &mut Context<Self>) {
        panic!("on purpose")
    }
}

type Workers = Pool<ServerRef<Worker>>;
type Ref = PoolRef<ServerRef<Worker>>;
type Lent = Checkout<ServerRef<Worker>>;

/// A pool, and what tells when its workers are gone.
fn workers(size: usize) -> (Workers, Receiver<()>) {
    let (life, gone) = reports();
    (Pool::servers::<Worker>(size, life), gone)
}

fn start(system: &System, pool: &Workers) -> Ref {
    pool.start(system).wait_timeout(DEADLINE).expect("a pool")
}

fn pool(system: &System, size: usize) -> Ref {
    start(system, &workers(size).0)
}

fn get<T>(request: Request<T, PoolError>) -> T {
    request.wait_timeout(DEADLINE).expect("an answer")
}

fn lend(pool: &Ref) -> Lent {
    get(pool.checkout_outside())
}

fn status(pool: &Ref) -> PoolStatus {
    pool.status().wait_timeout(DEADLINE).expect("a status")
}

/// Workers, free, lent, waiting.
fn figures(pool: &Ref) -> (usize, usize, usize, usize) {
    let status = status(pool);
    (status.workers, status.free, status.lent, status.waiting)
}

fn none_left(gone: &Receiver<()>) -> bool {
    gone.try_recv() == Err(TryRecvError::Disconnected)
}

/// The output, if it is there.
fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::Pin::new(future).poll(&mut cx) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

#[test]
fn each_borrower_has_a_worker_to_itself() {
    on_all(|system| {
        let pool = pool(system, 3);
        assert_eq!(figures(&pool), (3, 3, 0, 0));
        let lent = [lend(&pool), lend(&pool), lend(&pool)];
        let pids: HashSet<Pid> = lent
            .iter()
            .map(|worker| worker.call(Who).wait_timeout(DEADLINE).unwrap())
            .collect();
        assert_eq!(pids.len(), 3);
        assert_eq!(figures(&pool), (3, 0, 3, 0));
        drop(lent);
        assert_eq!(figures(&pool), (3, 3, 0, 0));
    });
}

#[test]
fn who_comes_when_none_is_free_waits_in_line() {
    on_all(|system| {
        let pool = pool(system, 1);
        let first = lend(&pool);
        let mut second = pool.checkout_outside();
        let mut third = pool.checkout_outside();
        assert_eq!(figures(&pool), (1, 0, 1, 2));
        assert!(poll_once(&mut second).is_none() && poll_once(&mut third).is_none());
        let pid = first.pid();
        drop(first);
        let second = get(second);
        assert_eq!(second.pid(), pid);
        assert_eq!(figures(&pool), (1, 0, 1, 1));
        assert!(poll_once(&mut third).is_none());
        drop(second);
        assert_eq!(get(third).pid(), pid);
    });
}

#[test]
fn a_timeout_is_an_error_and_loses_no_worker() {
    on_all(|system| {
        let pool = pool(system, 1);
        let first = lend(&pool);
        let late = pool.checkout_outside_within(Duration::from_millis(5));
        assert_eq!(late.wait_timeout(DEADLINE).err(), Some(PoolError::Timeout));
        // One that is no longer waited for, though the pool does not know.
        drop(pool.checkout_outside_within(None));
        until(system, || figures(&pool) == (1, 0, 1, 1));
        drop(first);
        until(system, || figures(&pool) == (1, 1, 0, 0));
        drop(lend(&pool));
    });
}

#[test]
fn too_many_are_refused_at_once() {
    on_all(|system| {
        let pool = start(system, &workers(1).0.max_waiting(1));
        let first = lend(&pool);
        let second = pool.checkout_outside();
        let third = pool.checkout_outside();
        assert_eq!(third.wait_timeout(DEADLINE).err(), Some(PoolError::Full));
        drop(first);
        drop(get(second));
    });
}

/// A borrower that takes a worker as a process, tells of it, and does what it is told.
fn borrower(
    system: &System,
    pool: &Ref,
    then: impl FnOnce(Lent) + Send + 'static,
) -> (Recipient<()>, Receiver<Pid>) {
    let (send, lent) = reports();
    let pool = pool.clone();
    let process = system
        .spawn(move |mut cx: Inbox<()>| async move {
            let worker = pool.checkout_within(&cx, None).await.expect("a worker");
            let _ = send.send(worker.pid());
            cx.recv().await;
            then(worker);
            cx.recv().await;
        })
        .expect("a process");
    (process, lent)
}

#[test]
fn a_borrower_that_dies_gives_its_worker_back() {
    on_all(|system| {
        let pool = pool(system, 1);
        // By its guard.
        let (process, lent) = borrower(system, &pool, drop);
        let pid = next(system, &lent);
        system.exit(process.pid(), ExitReason::Kill);
        until(system, || figures(&pool) == (1, 1, 0, 0));
        // By its guard, in a panic.
        let (process, lent) = borrower(system, &pool, |_worker| panic!("on purpose"));
        assert_eq!(next(system, &lent), pid);
        process.send(()).unwrap();
        until(system, || figures(&pool) == (1, 1, 0, 0));
        // By the pool's monitor, as the guard is lost.
        let (process, lent) = borrower(system, &pool, std::mem::forget);
        assert_eq!(next(system, &lent), pid);
        process.send(()).unwrap();
        pump(system);
        assert_eq!(figures(&pool), (1, 0, 1, 0));
        process.send(()).unwrap();
        until(system, || figures(&pool) == (1, 1, 0, 0));
        assert_eq!(lend(&pool).pid(), pid);
    });
}

#[test]
fn a_borrower_that_dies_while_it_waits_is_forgotten() {
    on_all(|system| {
        let pool = pool(system, 1);
        let first = lend(&pool);
        let (process, _lent) = borrower(system, &pool, drop);
        until(system, || figures(&pool) == (1, 0, 1, 1));
        system.exit(process.pid(), ExitReason::Kill);
        until(system, || figures(&pool) == (1, 0, 1, 0));
        drop(first);
        assert_eq!(figures(&pool), (1, 1, 0, 0));
    });
}

#[test]
fn a_worker_that_crashes_is_replaced() {
    on_all(|system| {
        let pool = pool(system, 1);
        let first = lend(&pool);
        let pid = first.pid();
        let waiting = pool.checkout_outside();
        let crashed = first.call(Crash).wait_timeout(DEADLINE);
        assert!(matches!(
            crashed,
            Err(CallError::Exited(ExitReason::Panic(_)))
        ));
        // The next in line gets the new one, though the old one was never given back.
        let second = get(waiting);
        assert_ne!(second.pid(), pid);
        drop(first);
        assert_eq!(figures(&pool), (1, 0, 1, 0));
        drop(second);
        assert_eq!(figures(&pool), (1, 1, 0, 0));
        // One that is free, too.
        let free = lend(&pool).pid();
        system.exit(free, ExitReason::Kill);
        until(system, || {
            figures(&pool).1 == 1 && lend(&pool).pid() != free
        });
    });
}

#[test]
fn workers_of_the_overflow_come_and_go() {
    on_all(|system| {
        let (plan, _gone) = workers(1);
        let pool = start(system, &plan.overflow(2).max_waiting(0));
        let lent = [lend(&pool), lend(&pool), lend(&pool)];
        let now = status(&pool);
        assert_eq!((now.workers, now.lent, now.overflow), (3, 3, 2));
        let refused = pool.checkout_outside().wait_timeout(DEADLINE);
        assert_eq!(refused.err(), Some(PoolError::Full));
        let [permanent, extra, crashing] = lent;
        let pid = extra.pid();
        drop(extra);
        assert_eq!(status(&pool).overflow, 1);
        until(system, || !system.is_alive(pid));
        // One that crashes is not restarted.
        assert!(crashing.call(Crash).wait_timeout(DEADLINE).is_err());
        until(system, || status(&pool).overflow == 0);
        drop(crashing);
        drop(permanent);
        assert_eq!(figures(&pool), (1, 1, 0, 0));
    });
}

#[test]
fn a_pool_may_have_nothing_but_overflow() {
    on_all(|system| {
        let (plan, _gone) = workers(0);
        let pool = start(system, &plan.overflow(1));
        assert_eq!(figures(&pool), (0, 0, 0, 0));
        let first = lend(&pool);
        let second = pool.checkout_outside();
        assert_eq!(figures(&pool), (1, 0, 1, 1));
        let pid = first.pid();
        drop(first);
        let second = get(second);
        assert_eq!(second.pid(), pid, "it goes to who waits before it goes");
        drop(second);
        until(system, || {
            figures(&pool) == (0, 0, 0, 0) && !system.is_alive(pid)
        });
        assert_ne!(lend(&pool).pid(), pid);
    });
}

#[test]
fn a_worker_of_the_overflow_that_does_not_start_costs_nobody_their_place() {
    on_all(|system| {
        let starts = Arc::new(AtomicUsize::new(0));
        let (life, _gone) = reports();
        let counted = starts.clone();
        let plan = Pool::new(1, move |starter| {
            let (life, nth) = (life.clone(), counted.fetch_add(1, SeqCst));
            async move {
                match nth {
                    1 => Err(StartError::Init(ExitReason::error("no room"))),
                    2 => panic!("on purpose"),
                    _ => starter.start_link::<Worker>(life).await,
                }
            }
        });
        let pool = start(system, &plan.overflow(1));
        let first = lend(&pool);
        let mut second = pool.checkout_outside();
        until(system, || {
            starts.load(SeqCst) == 2 && status(&pool).overflow == 0
        });
        let third = pool.checkout_outside();
        until(system, || {
            starts.load(SeqCst) == 3 && status(&pool).overflow == 0
        });
        assert!(poll_once(&mut second).is_none());
        drop(first);
        drop(get(second));
        // The first to come is served by the worker; a third start would work.
        drop(get(third));
        assert_eq!(figures(&pool), (1, 1, 0, 0));
    });
}

/// A pool of overflow alone, whose starts fail in turn: by an error, by a panic, by ending at once.
fn unlucky(workers: usize, works_from: usize) -> (Workers, Arc<AtomicUsize>) {
    let starts = Arc::new(AtomicUsize::new(0));
    let (life, _) = reports();
    let counted = starts.clone();
    let plan = Pool::new(0, move |starter| {
        let (life, nth) = (life.clone(), counted.fetch_add(1, SeqCst));
        async move {
            if nth >= works_from {
                return starter.start_link::<Worker>(life).await;
            }
            match nth % 3 {
                0 => Err(StartError::Ignore),
                1 => panic!("on purpose"),
                _ => {
                    let worker = starter.start_link::<Worker>(life).await?;
                    worker.stop(ExitReason::Normal).await.expect("its end");
                    Ok(worker)
                }
            }
        }
    });
    (plan.overflow(workers), starts)
}

#[test]
fn a_borrower_hears_that_the_only_worker_it_could_have_does_not_start() {
    quiet();
    on_all(|system| {
        let (plan, starts) = unlucky(1, usize::MAX);
        let pool = start(system, &plan);
        let mut seen = Vec::new();
        for _ in 0..3 {
            let request = pool.checkout_outside_within(None);
            match request.wait_timeout(DEADLINE) {
                Err(PoolError::NotStarted(why)) => seen.push(why),
                other => panic!("there is no worker: {other:?}"),
            }
        }
        assert_eq!(seen[0], StartError::Ignore);
        assert!(matches!(&seen[1], StartError::Init(ExitReason::Error(_))));
        assert_eq!(seen[2], StartError::Init(ExitReason::NoProc));
        assert_eq!(starts.load(SeqCst), 3);
        assert_eq!(figures(&pool), (0, 0, 0, 0));
    });
}

#[test]
fn each_of_those_who_wait_for_a_worker_that_does_not_start_is_worth_another_start() {
    quiet();
    on_all(|system| {
        let (plan, starts) = unlucky(1, 2);
        let pool = start(system, &plan);
        // In a process, so that all of them wait before the first start is over.
        let (tell, told) = reports();
        let borrower = pool.clone();
        let ask = move |cx: Inbox<()>| async move {
            let requests = [(); 4].map(|()| borrower.checkout_within(&cx, None));
            for request in requests {
                let _ = tell.send(request.await.map(|worker| worker.pid()));
            }
        };
        system.spawn(ask).expect("a running system");
        let ends = [(); 4].map(|()| next(system, &told));
        assert!(matches!(ends[0], Err(PoolError::NotStarted(_))));
        assert!(matches!(ends[1], Err(PoolError::NotStarted(_))));
        assert!(ends[2].is_ok() && ends[2] == ends[3], "{ends:?}");
        assert_eq!(starts.load(SeqCst), 3);
        until(system, || figures(&pool) == (0, 0, 0, 0));
    });
}

#[test]
fn a_pool_that_can_have_no_worker_refuses_everybody() {
    on_all(|system| {
        let pool = pool(system, 0);
        let request = pool.checkout_outside_within(None);
        let end = request.wait_timeout(DEADLINE);
        assert_eq!(end.err(), Some(PoolError::Full));
    });
}

#[test]
fn a_pool_in_a_tree_counts_as_a_supervisor() {
    on_all(|system| {
        let (plan, gone) = workers(1);
        let spec = plan.name("pool").child_spec("pool");
        assert_eq!(spec.kind(), ChildKind::Supervisor);
        let tree = Supervisor::new(Strategy::OneForOne).child(spec);
        let tree = tree.start(system).wait_timeout(DEADLINE).expect("a tree");
        let children = tree.which_children().wait_timeout(DEADLINE);
        let children = children.expect("a list");
        assert_eq!(children[0].kind, ChildKind::Supervisor);
        let counts = tree.count_children().wait_timeout(DEADLINE);
        assert_eq!(counts.expect("counts").supervisors, 1);
        tree.stop(ExitReason::Normal)
            .wait_timeout(DEADLINE)
            .expect("its end");
        until(system, || none_left(&gone));
    });
}

/// Takes a minute to stop.
struct Slow(Sender<()>);

impl GenServer for Slow {
    type Args = Sender<()>;
    async fn init(stopped: Sender<()>, cx: &mut Context<Self>) -> Result<Self, InitStop> {
        cx.trap_exit(true);
        Ok(Slow(stopped))
    }
    async fn terminate(&mut self, _: ExitReason, cx: &mut Context<Self>) {
        cx.sleep(60 * SECOND).await;
        let _ = self.0.send(());
    }
}

#[test]
fn a_pool_in_a_tree_is_given_the_time_its_workers_need() {
    let builder = System::builder().virtual_clock().auto_advance();
    let (system, _driver) = builder.manual();
    let (stopped, told) = reports();
    let plan = Pool::servers::<Slow>(2, stopped).shutdown(Shutdown::Infinity);
    let tree = Supervisor::new(Strategy::OneForOne).child(plan.child_spec("pool"));
    let tree = tree.start(&system).wait().expect("a tree");
    tree.stop(ExitReason::Normal).wait().expect("its end");
    assert_eq!(told.try_iter().count(), 2, "no worker was killed");
}

#[test]
fn a_pool_loses_no_return_whatever_its_spec_says_of_the_mailbox() {
    on_all(|system| {
        let (plan, _gone) = workers(20);
        let tight = MailboxPolicy::Bounded {
            capacity: 1,
            overflow: Overflow::DropNewest,
        };
        let spec = plan.name("pool").child_spec("pool").mailbox(tight);
        let tree = Supervisor::new(Strategy::OneForOne).child(spec);
        let tree = tree.start(system).wait_timeout(DEADLINE).expect("a tree");
        let pool = Ref::named(system, "pool");
        let lent: Vec<Lent> = (0..20).map(|_| lend(&pool)).collect();
        // All at once, while the pool cannot run.
        let (tell, told) = reports();
        let give_back = move |_: Inbox<()>| async move {
            drop(lent);
            let _ = tell.send(());
        };
        system.spawn(give_back).expect("a running system");
        next(system, &told);
        until(system, || figures(&pool) == (20, 20, 0, 0));
        assert!(tree.is_alive());
    });
}

#[test]
fn a_transaction_gives_its_worker_back_however_it_ends() {
    on_all(|system| {
        let pool = pool(system, 1);
        let (send, result) = reports();
        let (mine, used) = (pool.clone(), send.clone());
        let work = move |worker: ServerRef<Worker>| async move { worker.call(Who).await };
        system
            .spawn(move |cx: Inbox<()>| async move {
                let _ = used.send(mine.transaction(&cx, work).await);
            })
            .unwrap();
        assert!(matches!(next(system, &result), Ok(Ok(_))));
        assert_eq!(figures(&pool), (1, 1, 0, 0));
        // A panic in it.
        let mine = pool.clone();
        let process: Recipient<()> = system
            .spawn(move |cx: Inbox<()>| async move {
                let work = |_worker| async { panic!("on purpose") };
                let _: Result<(), _> = mine.transaction(&cx, work).await;
            })
            .unwrap();
        assert!(matches!(end_of(system, &process), ExitReason::Panic(_)));
        until(system, || figures(&pool) == (1, 1, 0, 0));
        // Its process is killed.
        let (mine, (wait, _open)) = (pool.clone(), gate());
        let process: Recipient<()> = system
            .spawn(move |cx: Inbox<()>| async move {
                let _ = mine.transaction(&cx, |_worker| wait).await;
            })
            .unwrap();
        until(system, || figures(&pool) == (1, 0, 1, 0));
        // Meanwhile another does not get it.
        let (mine, late) = (pool.clone(), send);
        system
            .spawn(move |cx: Inbox<()>| async move {
                let work = |worker: ServerRef<Worker>| async move { worker.call(Who).await };
                let within = Duration::from_millis(5);
                let _ = late.send(mine.transaction_within(&cx, within, work).await);
            })
            .unwrap();
        assert_eq!(next(system, &result), Err(PoolError::Timeout));
        system.exit(process.pid(), ExitReason::Kill);
        until(system, || figures(&pool) == (1, 1, 0, 0));
    });
}

#[test]
fn a_guard_may_go_elsewhere() {
    on_all(|system| {
        let pool = pool(system, 1);
        let keeper: Recipient<Lent> = system
            .spawn(|mut cx: Inbox<Lent>| async move {
                while let Received::Message(lent) = cx.recv().await {
                    drop(lent);
                }
            })
            .unwrap();
        let lent = lend(&pool);
        keeper.send(lent).unwrap();
        until(system, || figures(&pool) == (1, 1, 0, 0));
        let lent = lend(&pool);
        let thread = std::thread::spawn(move || drop(lent));
        thread.join().unwrap();
        until(system, || figures(&pool) == (1, 1, 0, 0));
    });
}

#[test]
fn a_pool_starts_with_all_its_workers_or_not_at_all() {
    on_all(|system| {
        let (life, gone) = reports();
        let starts = Arc::new(AtomicUsize::new(0));
        let counted = starts.clone();
        let plan: Workers = Pool::new(3, move |starter| {
            let (life, nth) = (life.clone(), counted.fetch_add(1, SeqCst));
            async move {
                match nth {
                    2 => Err(StartError::Init(ExitReason::error("no room"))),
                    _ => starter.start_link::<Worker>(life).await,
                }
            }
        });
        let failed = plan.name("pool").start(system).wait_timeout(DEADLINE);
        match failed {
            Err(StartError::Init(reason)) => match reason.downcast_ref() {
                Some(StartError::Child { id, .. }) => assert_eq!(&**id, "worker-2"),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
        assert_eq!(system.whereis("pool"), None);
        assert_eq!(starts.load(SeqCst), 3);
        until(system, || none_left(&gone));
    });
}

#[test]
fn a_pool_that_stops_stops_its_workers_first() {
    on_all(|system| {
        let (plan, gone) = workers(2);
        let pool = start(system, &plan.clone().overflow(1));
        drop(plan);
        let lent = lend(&pool);
        let (second, third) = (lend(&pool), lend(&pool));
        let waiting = pool.checkout_outside();
        pool.stop(ExitReason::Normal)
            .wait_timeout(DEADLINE)
            .unwrap();
        assert!(none_left(&gone), "each was gone before the pool");
        let lost = waiting.wait_timeout(DEADLINE);
        let reason = CallError::Exited(ExitReason::Normal);
        assert_eq!(lost.err(), Some(PoolError::Call(reason)));
        assert!(!lent.is_alive());
        drop((lent, second, third));
    });
}

#[test]
fn a_pool_that_is_killed_leaves_no_worker_behind() {
    on_all(|system| {
        let (plan, gone) = workers(2);
        let pool = start(system, &plan);
        drop(plan);
        system.exit(pool.pid().unwrap(), ExitReason::Kill);
        until(system, || none_left(&gone));
        assert!(!pool.is_alive());
    });
}

#[test]
fn workers_that_crash_too_often_end_the_pool_and_its_supervisor_starts_another() {
    on_all(|system| {
        let (plan, _gone) = workers(1);
        let plan = plan.intensity(1).period(3600 * SECOND).name("pool");
        Supervisor::new(Strategy::OneForOne)
            .child(plan.child_spec("pool"))
            .start(system)
            .wait_timeout(DEADLINE)
            .unwrap();
        let pool = Ref::named(system, "pool");
        let first = pool.pid().unwrap();
        for _ in 0..2 {
            let worker = lend(&pool);
            assert!(worker.call(Crash).wait_timeout(DEADLINE).is_err());
        }
        until(system, || pool.pid().is_some_and(|pid| pid != first));
        until(system, || figures(&pool) == (1, 1, 0, 0));
    });
}

#[test]
fn the_end_of_the_system_ends_a_pool_in_order() {
    let (plan, gone) = workers(2);
    let system = quiet().build().unwrap();
    let pool = start(&system, &plan.clone().name("pool"));
    drop(plan);
    let lent = lend(&pool);
    system.shutdown().wait_timeout(DEADLINE).unwrap();
    assert!(none_left(&gone));
    assert!(!lent.is_alive());
    let late = pool.checkout_outside().wait_timeout(DEADLINE);
    assert!(matches!(late.err(), Some(PoolError::Call(_))));
}

/// Borrowers by the dozen, some of whom crash, and take their workers along at times: in the end all
/// workers are there, and no two ever had the same.
#[test]
fn many_borrowers_and_crashes_lose_no_worker() {
    on_all(|system| {
        let (plan, _gone) = workers(3);
        let pool = start(system, &plan.overflow(1).intensity(1_000));
        let in_use = Arc::new(std::sync::Mutex::new(HashSet::new()));
        let (done, ended) = reports::<()>();
        for n in 0..40 {
            let (pool, in_use, done) = (pool.clone(), in_use.clone(), done.clone());
            system
                .spawn(move |cx: Inbox<()>| async move {
                    let _done = done;
                    let worker = pool.checkout_within(&cx, None).await.unwrap();
                    let pid = worker.pid();
                    assert!(in_use.lock().unwrap().insert(pid), "lent twice");
                    let _ = worker.call(Who).await;
                    in_use.lock().unwrap().remove(&pid);
                    match n % 5 {
                        0 => std::mem::forget(worker),
                        1 => drop(worker.call(Crash).await),
                        2 => panic!("on purpose"),
                        _ => drop(worker),
                    }
                })
                .unwrap();
        }
        drop(done);
        until(system, || none_left(&ended));
        until(system, || {
            let now = status(&pool);
            (now.workers, now.free, now.lent, now.overflow, now.waiting) == (3, 3, 0, 0, 0)
        });
    });
}
