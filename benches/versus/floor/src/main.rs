//! A throwaway measure, not a library: a process cell of 72 bytes, an intrusive queue of type-erased
//! envelopes, `async` handlers built in place, a slot for the most recent, two workers. It has no unwinding, no links, no
//! monitors, no timers, no statistics, no registry, no pid table, and is not fit for use: its queue can
//! report empty during a push, its reference counts leak at exit. What it shows is the cost that no design
//! of this kind gets under.

// It stays as it was when the targets were set by it.
#![allow(clippy::all, dead_code)]
use crossbeam_deque::{Injector, Stealer, Worker};
use harness::{Peer, THREADS, main_for};
use std::cell::{Cell, UnsafeCell};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::*};
use std::time::Instant;

#[repr(C)]
struct Node {
    next: AtomicPtr<Node>,
    run: unsafe fn(*mut Node, *mut ()),
}
#[repr(C)]
struct Env<M, F> {
    node: Node,
    slot: Slot<M, F>,
}
union Slot<M, F> {
    msg: std::mem::ManuallyDrop<M>,
    fut: std::mem::ManuallyDrop<F>,
}
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
trait Handler<M>: Sized + Send {
    fn handle(&mut self, m: M, cx: &mut Cx) -> impl Future<Output = ()> + Send;
}
fn envelope<M, P: Handler<M>>(m: M) -> *mut Node {
    fn mk<M, P, F>(m: M, _: fn(*mut P, M, *mut Cx) -> F) -> *mut Node
    where
        P: Handler<M>,
        F: Future<Output = ()>,
    {
        Box::into_raw(Box::new(Env::<M, F> {
            node: Node {
                next: AtomicPtr::new(ptr::null_mut()),
                run: run_env::<M, P, F>,
            },
            slot: Slot {
                msg: std::mem::ManuallyDrop::new(m),
            },
        })) as *mut Node
    }
    mk::<M, P, _>(m, |p, m, c| unsafe { (*p).handle(m, &mut *c) })
}
unsafe fn run_env<M, P: Handler<M>, F: Future<Output = ()>>(n: *mut Node, p: *mut ()) {
    unsafe {
        let e = n as *mut Env<M, F>;
        let m = std::mem::ManuallyDrop::take(&mut (*e).slot.msg);
        let mut cx = Cx;
        let f = (*(p as *mut P)).handle(m, &mut cx);
        // same opaque type, lifetime erased
        (&mut (*e).slot as *mut Slot<M, F> as *mut F)
            .write(std::mem::transmute_copy(&std::mem::ManuallyDrop::new(f)));
        let mut tc = Context::from_waker(Waker::noop());
        match Pin::new_unchecked(&mut *(&mut (*e).slot as *mut Slot<M, F> as *mut F)).poll(&mut tc)
        {
            Poll::Ready(()) => {
                std::mem::ManuallyDrop::drop(&mut (*e).slot.fut);
                drop(Box::from_raw(e));
            }
            Poll::Pending => unimplemented!(),
        }
    }
}
struct Cx;

struct Queue {
    head: AtomicPtr<Node>,
    tail: Cell<*mut Node>,
    stub: Node,
}
unsafe fn nop(_: *mut Node, _: *mut ()) {}
#[repr(C)]
struct Cell_ {
    state: AtomicUsize,
    refs: AtomicUsize,
    q: Queue,
    poll: unsafe fn(*const Cell_),
    drop: unsafe fn(*const Cell_),
}
#[repr(C)]
struct Full<P> {
    c: Cell_,
    p: UnsafeCell<P>,
}
const IDLE: usize = 0;
const SCHED: usize = 1;

fn push(q: &Queue, n: *mut Node) {
    unsafe {
        (*n).next.store(ptr::null_mut(), Relaxed);
        let prev = q.head.swap(n, AcqRel);
        (*prev).next.store(n, Release);
    }
}
fn pop(q: &Queue) -> *mut Node {
    unsafe {
        let stub = &q.stub as *const _ as *mut Node;
        let mut tail = q.tail.get();
        let mut next = (*tail).next.load(Acquire);
        if tail == stub {
            if next.is_null() {
                return ptr::null_mut();
            }
            q.tail.set(next);
            tail = next;
            next = (*next).next.load(Acquire);
        }
        if !next.is_null() {
            q.tail.set(next);
            return tail;
        }
        let head = q.head.load(Acquire);
        if tail != head {
            std::hint::spin_loop();
            return ptr::null_mut();
        }
        push(q, stub);
        next = (*tail).next.load(Acquire);
        if !next.is_null() {
            q.tail.set(next);
            return tail;
        }
        ptr::null_mut()
    }
}
fn empty(q: &Queue) -> bool {
    unsafe {
        let stub = &q.stub as *const _ as *mut Node;
        let tail = q.tail.get();
        tail == stub && q.head.load(Acquire) == stub && (*tail).next.load(Acquire).is_null()
    }
}

struct Ref<P>(NonNull<Full<P>>);
unsafe impl<P> Send for Ref<P> {}
unsafe impl<P> Sync for Ref<P> {}
impl<P> Clone for Ref<P> {
    fn clone(&self) -> Self {
        unsafe {
            self.0.as_ref().c.refs.fetch_add(1, Relaxed);
        }
        Ref(self.0)
    }
}
impl<P> Drop for Ref<P> {
    fn drop(&mut self) {
        unsafe { release(self.0.as_ptr() as *const Cell_) }
    }
}
unsafe fn release(c: *const Cell_) {
    unsafe {
        if (*c).refs.fetch_sub(1, AcqRel) == 1 {
            ((*c).drop)(c)
        }
    }
}

unsafe fn poll_p<P>(c: *const Cell_) {
    unsafe {
        let full = c as *const Full<P>;
        let q = &(*c).q;
        let mut budget = 64;
        loop {
            let n = pop(q);
            if n.is_null() {
                // try to go idle
                (*c).state.store(IDLE, SeqCst);
                if empty(q)
                    || (*c)
                        .state
                        .compare_exchange(IDLE, SCHED, SeqCst, Relaxed)
                        .is_err()
                {
                    release(c);
                    return;
                }
                continue;
            }
            ((*n).run)(n, (*full).p.get() as *mut ());
            budget -= 1;
            if budget == 0 {
                schedule(c, false);
                return;
            }
        }
    }
}
unsafe fn drop_p<P>(c: *const Cell_) {
    unsafe {
        let q = &(*c).q;
        loop {
            let n = pop(q);
            if n.is_null() {
                break;
            }
        }
        drop(Box::from_raw(c as *mut Full<P>));
    }
}

impl<P: Send + 'static> Ref<P> {
    fn new(p: P) -> Self {
        let b = Box::new(Full {
            c: Cell_ {
                state: AtomicUsize::new(IDLE),
                refs: AtomicUsize::new(1),
                q: Queue {
                    head: AtomicPtr::new(ptr::null_mut()),
                    tail: Cell::new(ptr::null_mut()),
                    stub: Node {
                        next: AtomicPtr::new(ptr::null_mut()),
                        run: nop,
                    },
                },
                poll: poll_p::<P>,
                drop: drop_p::<P>,
            },
            p: UnsafeCell::new(p),
        });
        let stub = &b.c.q.stub as *const _ as *mut Node;
        b.c.q.head.store(stub, Relaxed);
        b.c.q.tail.set(stub);
        Ref(NonNull::new(Box::into_raw(b)).unwrap())
    }
    fn send<M>(&self, m: M)
    where
        P: Handler<M>,
    {
        unsafe {
            let n = envelope::<M, P>(m);
            let c = self.0.as_ptr() as *const Cell_;
            push(&(*c).q, n as *mut Node);
            if (*c).state.load(SeqCst) == IDLE
                && (*c)
                    .state
                    .compare_exchange(IDLE, SCHED, SeqCst, Relaxed)
                    .is_ok()
            {
                (*c).refs.fetch_add(1, Relaxed);
                schedule(c, true);
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Job(*const Cell_);
unsafe impl Send for Job {}
struct Shared {
    inj: Injector<Job>,
    stealers: Vec<Stealer<Job>>,
    sleepers: AtomicUsize,
    searching: AtomicUsize,
    lock: parking_lot::Mutex<()>,
    cv: parking_lot::Condvar,
}
static mut SHARED: Option<&'static Shared> = None;
thread_local! { static W: Cell<*const (Worker<Job>, Cell<Option<Job>>)> = const { Cell::new(ptr::null()) }; }
#[allow(static_mut_refs)]
fn sh() -> &'static Shared {
    unsafe { SHARED.unwrap() }
}
fn schedule(c: *const Cell_, lifo: bool) {
    let w = W.get();
    if w.is_null() {
        sh().inj.push(Job(c));
        wake();
        return;
    }
    let (q, slot) = unsafe { &*w };
    if lifo {
        if let Some(old) = slot.replace(Some(Job(c))) {
            q.push(old);
            wake();
        }
    } else {
        q.push(Job(c));
        wake();
    }
}
fn wake() {
    let s = sh();
    if s.sleepers.load(SeqCst) > 0 && s.searching.load(SeqCst) == 0 {
        let _g = s.lock.lock();
        s.cv.notify_one();
    }
}
fn worker(i: usize, q: Worker<Job>) {
    let pair = (q, Cell::new(None));
    W.set(&pair);
    let s = sh();
    let mut lifo_run = 0;
    loop {
        let job = if lifo_run < 64 { pair.1.take() } else { None };
        if job.is_some() {
            lifo_run += 1
        } else {
            lifo_run = 0;
            if let Some(j) = pair.1.take() {
                pair.0.push(j)
            }
        }
        let job = job.or_else(|| pair.0.pop()).or_else(|| {
            s.searching.fetch_add(1, SeqCst);
            let mut found = None;
            for _ in 0..8 {
                if let crossbeam_deque::Steal::Success(j) = s.inj.steal_batch_and_pop(&pair.0) {
                    found = Some(j);
                    break;
                }
                for (k, st) in s.stealers.iter().enumerate() {
                    if k != i {
                        if let crossbeam_deque::Steal::Success(j) = st.steal_batch_and_pop(&pair.0)
                        {
                            found = Some(j);
                            break;
                        }
                    }
                }
                if found.is_some() {
                    break;
                }
                std::hint::spin_loop();
            }
            s.searching.fetch_sub(1, SeqCst);
            found
        });
        match job {
            Some(j) => unsafe { ((*j.0).poll)(j.0) },
            None => {
                let mut g = s.lock.lock();
                s.sleepers.fetch_add(1, SeqCst);
                if s.inj.is_empty() && s.stealers.iter().all(|x| x.is_empty()) {
                    s.cv.wait_for(&mut g, std::time::Duration::from_millis(5));
                }
                s.sleepers.fetch_sub(1, SeqCst);
            }
        }
    }
}

// ---- workloads
type Done = Option<std::sync::mpsc::Sender<u64>>;
struct Ping {
    peer: Option<Ref<Ping>>,
    left: u64,
    done: Done,
}
struct Ball(u64);
struct Meet(Ref<Ping>);
impl Handler<Ball> for Ping {
    async fn handle(&mut self, m: Ball, _: &mut Cx) {
        if self.left == 0 {
            self.peer = None;
            if let Some(d) = self.done.take() {
                let _ = d.send(m.0);
            }
            return;
        }
        self.left -= 1;
        self.peer.as_ref().unwrap().send(Ball(m.0 + 1));
    }
}
impl Handler<Meet> for Ping {
    async fn handle(&mut self, m: Meet, _: &mut Cx) {
        self.peer = Some(m.0);
    }
}

struct Count {
    n: u64,
    want: u64,
    done: Done,
}
struct Inc(u64);
impl Handler<Inc> for Count {
    async fn handle(&mut self, m: Inc, _: &mut Cx) {
        self.n += m.0;
        if self.n == self.want {
            let _ = self.done.take().unwrap().send(self.n);
        }
    }
}
struct Producer {
    to: Ref<Count>,
    n: u64,
}
struct Go(Option<Ref<Producer>>);
impl Handler<Go> for Producer {
    async fn handle(&mut self, g: Go, _: &mut Cx) {
        let k = self.n.min(100);
        for _ in 0..k {
            self.to.send(Inc(1));
        }
        self.n -= k;
        if self.n > 0 {
            let me = g.0.unwrap();
            me.clone().send(Go(Some(me)));
        }
    }
}
struct Nop {
    to: Ref<Count>,
}
struct Once;
impl Handler<Once> for Nop {
    async fn handle(&mut self, _: Once, _: &mut Cx) {
        self.to.send(Inc(1));
    }
}

fn pingpong(pairs: u64, n: u64) -> u64 {
    let (tx, rx) = std::sync::mpsc::channel();
    let start: Vec<_> = (0..pairs)
        .map(|_| {
            let a = Ref::new(Ping {
                peer: None,
                left: n,
                done: Some(tx.clone()),
            });
            let b = Ref::new(Ping {
                peer: None,
                left: n,
                done: None,
            });
            a.send(Meet(b.clone()));
            b.send(Meet(a.clone()));
            a
        })
        .collect();
    for a in &start {
        a.send(Ball(0));
    }
    for _ in 0..pairs {
        rx.recv().unwrap();
    }
    2 * n * pairs
}
fn ring(len: usize, tokens: u64, laps: u64) -> u64 {
    let procs: Vec<_> = (0..len)
        .map(|_| {
            Ref::new(Ping {
                peer: None,
                left: tokens * laps,
                done: None,
            })
        })
        .collect();
    for i in 0..len {
        procs[i].send(Meet(procs[(i + 1) % len].clone()));
    }
    for i in 0..tokens {
        procs[i as usize * len / tokens as usize].send(Ball(0));
    }
    // Each process passes on exactly tokens * laps balls, then swallows what still comes.
    while procs
        .iter()
        .any(|p| unsafe { ptr::read_volatile(&(*p.0.as_ref().p.get()).left) > 0 })
    {
        std::thread::sleep(std::time::Duration::from_micros(200));
    }
    tokens * laps * len as u64
}
fn fanin(producers: u64, each: u64) -> u64 {
    let (tx, rx) = std::sync::mpsc::channel();
    let c = Ref::new(Count {
        n: 0,
        want: producers * each,
        done: Some(tx),
    });
    let ps: Vec<_> = (0..producers)
        .map(|_| {
            Ref::new(Producer {
                to: c.clone(),
                n: each,
            })
        })
        .collect();
    for p in &ps {
        p.send(Go(Some(p.clone())));
    }
    rx.recv().unwrap()
}
fn spawn(n: u64) -> u64 {
    let (tx, rx) = std::sync::mpsc::channel();
    let c = Ref::new(Count {
        n: 0,
        want: n,
        done: Some(tx),
    });
    for _ in 0..n {
        Ref::new(Nop { to: c.clone() }).send(Once);
    }
    rx.recv().unwrap()
}

/// Seconds that it takes.
fn timed(run: impl FnOnce() -> u64) -> Option<f64> {
    let start = Instant::now();
    std::hint::black_box(run());
    Some(start.elapsed().as_secs_f64())
}

struct Floor;

impl Peer for Floor {
    const NAME: &'static str = "floor";
    fn chain(&self, groups: usize, size: usize, tokens: usize, hops: u64) -> Option<f64> {
        match (groups, size, tokens) {
            (pairs, 2, 1) => timed(|| pingpong(pairs as u64, hops / 2)),
            (1, size, tokens) => timed(|| ring(size, tokens as u64, (hops / size as u64).max(1))),
            _ => None,
        }
    }
    fn fanin(&self, producers: usize, each: u64) -> Option<f64> {
        timed(|| fanin(producers as u64, each))
    }
    fn fanout(&self, _: usize, _: u64) -> Option<f64> {
        None
    }
    fn call(&self, _: u64) -> Option<f64> {
        None
    }
    fn call_sync(&self, _: u64) -> Option<f64> {
        None
    }
    fn spawn(&self, n: u64) -> Option<f64> {
        timed(|| spawn(n))
    }
    fn spawn_keep(&self, _: u64) -> Option<(f64, u64)> {
        None
    }
}

fn main() {
    let queues: Vec<_> = (0..THREADS).map(|_| Worker::new_fifo()).collect();
    let shared: &'static Shared = Box::leak(Box::new(Shared {
        inj: Injector::new(),
        stealers: queues.iter().map(|queue| queue.stealer()).collect(),
        sleepers: AtomicUsize::new(0),
        searching: AtomicUsize::new(0),
        lock: parking_lot::Mutex::new(()),
        cv: parking_lot::Condvar::new(),
    }));
    // SAFETY: no other thread runs yet.
    unsafe { SHARED = Some(shared) };
    for (i, queue) in queues.into_iter().enumerate() {
        std::thread::spawn(move || worker(i, queue));
    }
    main_for(Floor);
    // What still runs is not waited for.
    std::process::exit(0);
}
