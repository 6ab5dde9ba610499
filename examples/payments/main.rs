//! A pipeline of orders: inventory, payment and mail, each of which crashes at random, as do the orders
//! themselves; and every order ends charged once, refunded or rejected.
//!
//! ```text
//! cargo run --release --example payments -- [FILE | -] [--crash-one-in N] [--seed N]
//! ```
//!
//! `FILE` holds one order a line, as JSON: see `orders.jsonl`, the sample, which is used without it; `-`
//! reads standard input. About every `N`th chance (default 20; 0: never) a process panics.
//!
//! ```text
//!   shop ─┬─ services ── inventory · payment · mail      servers, restarted for ever
//!         └─ orders ──── order 1 · order 2 · ...         state machines, restarted until they end
//! ```
//!
//! | file | what it is |
//! |---|---|
//! | `order` | the state machine of an order |
//! | `services` | the servers, and the faults |
//! | `world` | what lies outside, and what was really done |

mod order;
mod services;
mod world;

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, BufRead, Cursor};
use std::process::ExitCode;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use noex::prelude::*;
use noex::{CallError, Event as Happening, Machine, SupervisorRef};

use self::order::{Cents, Clerk, Ending, Event, Order};
use self::services::{Faults, SERVICES, Service};
use self::world::{Books, World};

const SAMPLE: &[u8] = include_bytes!("orders.jsonl");

struct Options {
    file: Option<String>,
    crash_one_in: u64,
    seed: u64,
}

fn options() -> Result<Options, lexopt::Error> {
    use lexopt::prelude::*;
    let mut options = Options {
        file: None,
        crash_one_in: 20,
        seed: 1,
    };
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next()? {
        match arg {
            Value(file) if options.file.is_none() => options.file = Some(file.string()?),
            Long("crash-one-in") => options.crash_one_in = args.value()?.parse()?,
            Long("seed") => options.seed = args.value()?.parse()?,
            other => return Err(other.unexpected()),
        }
    }
    Ok(options)
}

fn read(options: &Options) -> Result<Vec<Order>, Box<dyn Error>> {
    let input: Box<dyn BufRead> = match options.file.as_deref() {
        None => Box::new(Cursor::new(SAMPLE)),
        Some("-") => Box::new(io::stdin().lock()),
        Some(path) => {
            let file = std::fs::File::open(path).map_err(|error| format!("{path}: {error}"))?;
            Box::new(io::BufReader::new(file))
        }
    };
    let mut orders: BTreeMap<u64, Order> = BTreeMap::new();
    for (n, line) in input.lines().enumerate() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let order: Order =
            serde_json::from_str(&line).map_err(|error| format!("line {}: {error}", n + 1))?;
        if let Some(twice) = orders.insert(order.id, order) {
            return Err(format!("line {}: a second order {}", n + 1, twice.id).into());
        }
    }
    Ok(orders.into_values().collect())
}

/// Enough for crashes that are meant to be.
const MANY: u32 = u32::MAX;

fn services(world: &World, faults: &Faults) -> Supervisor {
    let child = |name: &str| {
        let args = (world.clone(), faults.clone());
        ChildSpec::server::<Service>(name, args).name(name)
    };
    let children = SERVICES.iter().map(|name| child(name));
    Supervisor::new(Strategy::OneForOne)
        .intensity(MANY)
        .children(children)
}

fn start(order: &Order, faults: &Faults, orders: &SupervisorRef) -> Result<(), noex::ChildError> {
    let name = order_name(order);
    let args = (order.clone(), faults.clone());
    let spec = ChildSpec::server::<Machine<Clerk>>(&*name, args).name(&*name);
    // One that has said how it ended stops, and is not wanted any more.
    orders
        .start_child(spec.restart(Restart::Transient))
        .wait()
        .map(drop)
}

fn order_name(order: &Order) -> String {
    format!("order {}", order.id)
}

/// Waits for an order's end, whatever crashes meanwhile.
fn ending(system: &System, order: &Order) -> Result<Ending, CallError> {
    let clerk = system.server::<Machine<Clerk>>(order_name(order));
    let patience = Instant::now() + Duration::from_secs(60);
    loop {
        match clerk
            .request(Event::Outcome)
            .wait_timeout(Duration::from_secs(60))
        {
            Ok(ending) => return Ok(ending),
            // It crashed, and its supervisor is at it.
            Err(CallError::Exited(_) | CallError::NoProc) if Instant::now() < patience => {
                std::thread::yield_now();
            }
            Err(error) => return Err(error),
        }
    }
}

/// What is wrong with an order, if anything is.
fn fault(order: &Order, ending: Ending, books: &Books) -> Option<String> {
    let done = books.done_for(order.id);
    let right = match (ending, done) {
        (Ending::Charged, (true, charged, 0, true)) => charged > 0,
        (Ending::Refunded(_), (false, charged, refunded, false)) => {
            charged == refunded && charged > 0
        }
        (Ending::Rejected(_), (false, 0, 0, false)) => true,
        _ => false,
    };
    (!right).then(|| {
        format!(
            "order {} of {} is said to be {ending}, and is {done:?}",
            order.id, order.customer
        )
    })
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let orders = read(options)?;
    let world = World::new();
    let faults = Faults::new(options.crash_one_in, options.seed);
    // The crashes are meant to be; anything else is news.
    let system = System::builder()
        .on_event(|event| match event {
            Happening::GaveUp { .. } | Happening::PanicWhileEnding { .. } => eprintln!("{event}"),
            _ => {}
        })
        .build()?;
    let began = Instant::now();
    let _services = services(&world, &faults).start(&system).wait()?;
    let clerks = Supervisor::new(Strategy::OneForOne).intensity(MANY);
    let clerks = clerks.start(&system).wait()?;
    for order in &orders {
        start(order, &faults, &clerks)?;
    }

    let mut table: BTreeMap<String, (u64, Cents, Cents)> = BTreeMap::new();
    let mut wrong = Vec::new();
    for order in &orders {
        let ending = ending(&system, order)?;
        let books = world.books();
        let (_, charged, refunded, _) = books.done_for(order.id);
        let row = table.entry(ending.to_string()).or_default();
        row.0 += 1;
        row.1 += charged;
        row.2 += refunded;
        wrong.extend(fault(order, ending, &books));
    }
    let took = began.elapsed();
    system.shutdown().wait()?;

    println!(
        "{:<24}{:>8}{:>14}{:>14}",
        "orders", "", "charged", "refunded"
    );
    let money = |cents: Cents| format!("{}.{:02}", cents / 100, cents % 100);
    for (ending, (count, charged, refunded)) in &table {
        println!(
            "{ending:<24}{count:>8}{:>14}{:>14}",
            money(*charged),
            money(*refunded)
        );
    }
    let books = world.books();
    println!(
        "{} orders in {:.2} s, {} crashes, {} requests of which nobody knew that they had been heard",
        orders.len(),
        took.as_secs_f64(),
        faults.crashes.load(Relaxed),
        books.asked_again
    );
    if !books.nothing_was_lost() {
        wrong.push("goods were lost".into());
    }
    match wrong.as_slice() {
        [] => Ok(()),
        wrong => Err(wrong.join("; ").into()),
    }
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(error) => {
            eprintln!(
                "payments: {error}\nusage: payments [FILE | -] [--crash-one-in N] [--seed N]"
            );
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("payments: {error}");
            ExitCode::FAILURE
        }
    }
}
