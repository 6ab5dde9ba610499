//! A game's loop: 100,000 actors under a driver, sixty times a second. What is guarded: a frame in which
//! every actor gets a message allocates nothing, the host's input included, and a tick with a budget of time
//! overruns it by less than one handler.
//!
//! ```text
//! cargo bench --bench tick -- [--frames N] [--actors N] [--rest]
//! ```
//!
//! prints a line for each of two loads: `noex<TAB>tick<TAB>n<TAB>seconds<TAB>ops/s<TAB>extra`.
//!
//! - `tick`: in every frame each actor gets a message, and the frame is run to its end.
//! - `tick:budget`: there is always more to do than the budget of a millisecond allows, in handlers of ten
//!   microseconds. What a tick takes beyond its budget is the overrun.
//!
//! Frames follow each other at once: what is measured is how long they take, and 10,000 are needed for
//! the p99.99. `--rest` waits for each frame's time, as a game does. Ends with 1 if anything was allocated.

use std::alloc::{GlobalAlloc, Layout, System as Heap};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use noex::prelude::*;
use noex::{Budget, Tick};

static ALLOCATED: AtomicU64 = AtomicU64::new(0);

struct Counting;

// SAFETY: all is the system's allocator's; the counter is a plain number and allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(1, Relaxed);
        // SAFETY: as the caller promises.
        unsafe { Heap.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(1, Relaxed);
        // SAFETY: as the caller promises.
        unsafe { Heap.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATED.fetch_add(1, Relaxed);
        // SAFETY: as the caller promises.
        unsafe { Heap.realloc(block, layout, size) }
    }
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { Heap.dealloc(block, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const FRAME: Duration = Duration::from_nanos(1_000_000_000 / 60);
/// Until here memory comes to rest.
const WARM_UP: u64 = 20;
const BUDGET: Duration = Duration::from_millis(1);
const HANDLER: Duration = Duration::from_micros(10);

/// Moves on in each frame; with work, until the next one.
struct Actor {
    x: f32,
    next: Option<ServerRef<Actor>>,
}
struct Meet(ServerRef<Actor>);
struct Frame(f32);
/// Passed on for ever.
struct Work;

impl GenServer for Actor {
    type Args = f32;
    async fn init(x: f32, _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Actor { x, next: None })
    }
}
impl HandleCast<Meet> for Actor {
    async fn handle_cast(&mut self, meet: Meet, _: &mut Context<Self>) {
        self.next = Some(meet.0);
    }
}
impl HandleCast<Frame> for Actor {
    async fn handle_cast(&mut self, frame: Frame, _: &mut Context<Self>) {
        self.x = (self.x + frame.0).rem_euclid(1000.0);
    }
}
impl HandleCast<Work> for Actor {
    async fn handle_cast(&mut self, work: Work, _: &mut Context<Self>) {
        let start = Instant::now();
        while start.elapsed() < HANDLER {
            std::hint::spin_loop();
        }
        if let Some(next) = &self.next {
            let _ = next.cast(work);
        }
    }
}

/// Tells all actors of a frame: what the host would do, from inside.
struct World(Vec<ServerRef<Actor>>);

impl GenServer for World {
    type Args = Vec<ServerRef<Actor>>;
    async fn init(actors: Self::Args, _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(World(actors))
    }
}
impl HandleCast<Frame> for World {
    async fn handle_cast(&mut self, frame: Frame, _: &mut Context<Self>) {
        for actor in &self.0 {
            let _ = actor.cast(Frame(frame.0));
        }
    }
}

struct Options {
    frames: u64,
    actors: u64,
    rest: bool,
}

/// Runs a frame again and again; how long each took.
fn frames(
    options: &Options,
    mut frame: impl FnMut(),
) -> Result<(Histogram<u64>, f64, u64), String> {
    let mut took = Histogram::new_with_bounds(1, 60_000_000_000, 3).map_err(|e| e.to_string())?;
    (0..WARM_UP).for_each(|_| frame());
    let allocated = ALLOCATED.load(Relaxed);
    let start = Instant::now();
    for n in 1..=options.frames {
        let begin = Instant::now();
        frame();
        took.saturating_record(begin.elapsed().as_nanos() as u64);
        if options.rest {
            let next = start + FRAME * n as u32;
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    Ok((took, seconds, ALLOCATED.load(Relaxed) - allocated))
}

fn quantiles(of: &Histogram<u64>, less: u64) -> String {
    let at = |q| of.value_at_quantile(q).saturating_sub(less);
    format!(
        "p50_ns={} p99_ns={} p9999_ns={} max_ns={}",
        at(0.5),
        at(0.99),
        at(0.9999),
        of.max().saturating_sub(less)
    )
}

fn run(options: &Options) -> Result<bool, String> {
    let (system, driver) = System::builder().manual();
    let start = |x| {
        let start = system.start::<Actor>(x as f32);
        start.wait().map_err(|e| e.to_string())
    };
    let actors: Vec<_> = (0..options.actors).map(start).collect::<Result<_, _>>()?;
    for (i, actor) in actors.iter().enumerate() {
        // Somebody far away in memory.
        let next = actors[(i * 7919 + 1) % actors.len()].clone();
        actor.cast(Meet(next)).map_err(|e| e.to_string())?;
    }
    let world = system.start::<World>(actors.clone()).wait();
    let world = world.map_err(|e| e.to_string())?;
    driver.run_until_idle();

    let mut late = 0;
    let (took, seconds, allocated) = frames(options, || {
        let begin = Instant::now();
        let _ = world.cast(Frame(0.016));
        driver.run_until_idle();
        late += u64::from(begin.elapsed() > FRAME);
    })?;
    let messages = options.frames * (options.actors + 1);
    println!(
        "noex\ttick\t{messages}\t{seconds:.6}\t{:.0}\t{} late_frames={late} allocations={allocated}",
        messages as f64 / seconds,
        quantiles(&took, 0),
    );
    let mut steady = allocated == 0;

    // More work than one budget allows, twice over.
    for actor in actors.iter().take(200) {
        let _ = actor.cast(Work);
    }
    let handled = system.stats().handled;
    let (took, seconds, allocated) = frames(options, || {
        assert_eq!(driver.tick(Budget::time(BUDGET)), Tick::More);
    })?;
    let handled = system.stats().handled - handled;
    println!(
        "noex\ttick:budget\t{handled}\t{seconds:.6}\t{:.0}\toverrun: {} handler_ns={} allocations={allocated}",
        handled as f64 / seconds,
        quantiles(&took, BUDGET.as_nanos() as u64),
        HANDLER.as_nanos(),
    );
    steady &= allocated == 0;
    if !steady {
        eprintln!("tick: a frame allocates");
    }
    Ok(steady)
}

fn main() -> ExitCode {
    let mut options = Options {
        frames: 10_000,
        actors: 100_000,
        rest: false,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || args.next().and_then(|n| n.parse().ok()).filter(|n| *n > 0);
        match arg.as_str() {
            "--bench" => {}
            "--rest" => options.rest = true,
            "--frames" => options.frames = number().unwrap_or(options.frames),
            "--actors" => options.actors = number().unwrap_or(options.actors),
            _ => {
                eprintln!("usage: tick [--frames N] [--actors N] [--rest]");
                return ExitCode::from(2);
            }
        }
    }
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("tick: {error}");
            ExitCode::FAILURE
        }
    }
}
