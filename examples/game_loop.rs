//! A game loop that embeds noex: no threads of noex's; each frame calls `tick` with a budget.
//!
//! ```text
//! cargo run --release --example game_loop -- [--seconds N] [--actors N] [--budget-us N]
//! ```
//!
//! 100,000 actors wander about and talk to each other; 60 times a second the loop gives them 2 ms,
//! takes its input, and sleeps until the next frame. At the end it prints how long the ticks took and
//! by how much they overran their budget, which is at most one handler (and what the operating system
//! took meanwhile).

use std::error::Error;
use std::time::{Duration, Instant};

use noex::prelude::*;
use noex::{Budget, Tick};

/// An actor: has a place, and a neighbour to whom it shouts now and then.
struct Actor {
    x: f32,
    speed: f32,
    neighbour: Option<ServerRef<Actor>>,
    heard: u32,
}
struct Meet(ServerRef<Actor>);
/// The game's input: time has passed.
struct Frame(f32);
struct Shout(f32);

impl GenServer for Actor {
    type Args = u32;
    async fn init(n: u32, _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Actor {
            x: n as f32,
            speed: 1.0 + (n % 7) as f32,
            neighbour: None,
            heard: 0,
        })
    }
}
impl HandleCast<Meet> for Actor {
    async fn handle_cast(&mut self, meet: Meet, _: &mut Context<Self>) {
        self.neighbour = Some(meet.0);
    }
}
impl HandleCast<Frame> for Actor {
    async fn handle_cast(&mut self, frame: Frame, _: &mut Context<Self>) {
        self.x = (self.x + self.speed * frame.0).rem_euclid(1000.0);
        if let Some(neighbour) = &self.neighbour {
            let _ = neighbour.cast(Shout(self.x));
        }
    }
}
impl HandleCast<Shout> for Actor {
    async fn handle_cast(&mut self, shout: Shout, _: &mut Context<Self>) {
        self.heard += 1;
        if (shout.0 - self.x).abs() < 1.0 {
            self.speed = -self.speed;
        }
    }
}

/// Durations, to be asked for their quantiles.
#[derive(Default)]
struct Histogram(Vec<Duration>);

impl Histogram {
    fn line(&mut self, name: &str) {
        self.0.sort_unstable();
        let at = |q: f64| {
            let last = self.0.len().saturating_sub(1);
            self.0
                .get((last as f64 * q) as usize)
                .copied()
                .unwrap_or_default()
                .as_secs_f64()
                * 1e6
        };
        println!(
            "{name:<10} p50 {:>8.1} us   p99 {:>8.1} us   p99.9 {:>8.1} us   max {:>8.1} us",
            at(0.5),
            at(0.99),
            at(0.999),
            at(1.0)
        );
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    use lexopt::prelude::*;
    let (mut seconds, mut actors, mut budget_us) = (5_u32, 100_000_u32, 2_000_u64);
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next()? {
        match arg {
            Long("seconds") => seconds = args.value()?.parse()?,
            Long("actors") => actors = args.value()?.parse::<u32>()?.max(2),
            Long("budget-us") => budget_us = args.value()?.parse()?,
            other => return Err(other.unexpected().into()),
        }
    }
    let frame = Duration::from_secs(1) / 60;
    let budget = Duration::from_micros(budget_us);

    let (system, driver) = System::builder().manual();
    let starts: Vec<_> = (0..actors).map(|n| system.start::<Actor>(n)).collect();
    let cast: Vec<_> = starts
        .into_iter()
        .map(|start| start.wait())
        .collect::<Result<_, _>>()?;
    for (i, actor) in cast.iter().enumerate() {
        // Somebody far away in memory.
        let neighbour = &cast[(i * 7919 + 1) % cast.len()];
        actor.cast(Meet(neighbour.clone()))?;
    }
    driver.run_until_idle();

    let (mut ticks, mut overruns) = (Histogram::default(), Histogram::default());
    let (mut slept, mut unfinished) = (Duration::ZERO, 0_u32);
    let handled_before = system.stats().handled;
    let start = Instant::now();
    let frames = seconds * 60;
    for n in 0..frames {
        // One actor in fifty gets the frame's input; what they say to each other comes on top.
        let group = n as usize % 50;
        for actor in cast.iter().skip(group).step_by(50) {
            actor.cast(Frame(frame.as_secs_f32()))?;
        }
        let begin = Instant::now();
        let left = driver.tick(Budget::time(budget));
        let took = begin.elapsed();
        ticks.0.push(took);
        overruns.0.push(took.saturating_sub(budget));
        unfinished += u32::from(left == Tick::More);
        // The rest of the frame is the game's: here it sleeps.
        let next_frame = start + frame * (n + 1);
        let rest = next_frame.saturating_duration_since(Instant::now());
        std::thread::sleep(rest);
        slept += rest;
    }
    let took = start.elapsed();
    driver.run_until_idle();
    let handled = system.stats().handled - handled_before;

    println!(
        "{actors} actors, {frames} frames in {:.2} s, {:.0} messages a second handled within the budget of {budget:?}",
        took.as_secs_f64(),
        handled as f64 / took.as_secs_f64()
    );
    ticks.line("tick");
    overruns.line("overrun");
    println!(
        "{unfinished} ticks left work to the next frame; the loop slept {:.0} % of the time",
        100.0 * slept.as_secs_f64() / took.as_secs_f64()
    );
    Ok(())
}
