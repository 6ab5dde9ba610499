//! A bank on noex: one server for each branch, under a supervisor, crashing on purpose; clients that
//! transfer money between accounts all the while; and at the end not a cent too many or too few.
//!
//! ```text
//! cargo run --release --example bank -- [FILE | -] [--crash-one-in N] [--seed N] [--clients N]
//!                                       [--schedulers N] [--make-sample FILE]
//! ```
//!
//! `FILE` holds `id,from,to,cents` lines, accounts like `north-0042`; `-` reads standard input;
//! without it the sample beside this file is used. Every `N`th journal entry or so the branch that
//! writes it panics (default 1,000; 0: never): before the entry, in the middle of it, or after it.
//!
//! ```text
//!   client ──transfer──▶ branch ──credit──▶ branch      each branch: one owner of its accounts,
//!   client ◀──outcome─── branch ◀──ended─── branch      one journal, one line of a supervisor
//! ```
//!
//! | file | what it is |
//! |---|---|
//! | `transfer` | accounts, transfers, lines of input |
//! | `ledger` | the books: decisions and entries, no effects |
//! | `journal` | the file of entries, and recovery from it |
//! | `branch` | the server that puts the two together |
//! | `client` | who asks for transfers, again if need be |

mod branch;
mod client;
mod crash;
mod journal;
mod ledger;
mod sample;
#[allow(dead_code)] // `scratch` serves the tests of the journal as well
mod scratch;
mod transfer;

use std::error::Error;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use noex::Handle;
use noex::prelude::*;

use self::branch::{Books, Branch, Charter, Summary, named};
use self::client::{Pile, Tally};
use self::crash::Crashes;
use self::scratch::Scratch;
use self::transfer::{Branches, Count, Money};

const SAMPLE: &[u8] = include_bytes!("transfers.csv");

struct Options {
    file: Option<PathBuf>,
    crash_one_in: u64,
    seed: u64,
    clients: usize,
    schedulers: Option<usize>,
    make_sample: Option<PathBuf>,
}

fn options() -> Result<Options, lexopt::Error> {
    use lexopt::prelude::*;
    let mut options = Options {
        file: None,
        crash_one_in: 1_000,
        seed: 1,
        clients: 64,
        schedulers: None,
        make_sample: None,
    };
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next()? {
        match arg {
            Value(file) if options.file.is_none() => options.file = Some(file.into()),
            Long("crash-one-in") => options.crash_one_in = args.value()?.parse()?,
            Long("seed") => options.seed = args.value()?.parse()?,
            Long("clients") => options.clients = args.value()?.parse::<usize>()?.max(1),
            Long("schedulers") => options.schedulers = Some(args.value()?.parse()?),
            Long("make-sample") => options.make_sample = Some(args.value()?.into()),
            other => return Err(other.unexpected()),
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    let result = options()
        .map_err(Into::into)
        .and_then(|options| match &options.make_sample {
            Some(file) => std::fs::write(file, sample::make(sample::LINES, options.seed))
                .map(|()| true)
                .map_err(Into::into),
            None => run(&options),
        });
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bank: {error}");
            ExitCode::FAILURE
        }
    }
}

fn input(file: Option<&PathBuf>) -> Result<(Box<dyn BufRead + Send>, String), Box<dyn Error>> {
    Ok(match file {
        None => (Box::new(Cursor::new(SAMPLE)), "the sample".to_owned()),
        Some(path) if path.as_os_str() == "-" => {
            // Read by the clients, perhaps on a scheduler thread: so all of it first.
            let mut all = Vec::new();
            io::stdin().lock().read_to_end(&mut all)?;
            (Box::new(Cursor::new(all)), "standard input".to_owned())
        }
        Some(path) => {
            let file = File::open(path)
                .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            (
                Box::new(BufReader::with_capacity(1 << 16, file)),
                path.display().to_string(),
            )
        }
    })
}

/// Runs the bank. `false`: the books do not agree.
fn run(options: &Options) -> Result<bool, Box<dyn Error>> {
    let branches = Branches::new(sample::BRANCHES)?;
    let (lines, what) = input(options.file.as_ref())?;
    let directory = Scratch::new();
    let starts = Arc::new(AtomicU64::new(0));

    let mut builder = System::builder().name("bank").on_event(|_| {}); // its crashes are no news
    if let Some(schedulers) = options.schedulers {
        builder = builder.schedulers(schedulers);
    }
    let system = builder.build()?;
    let charter = |branch| Charter {
        branch,
        branches: branches.clone(),
        directory: directory.path().to_owned(),
        accounts: sample::ACCOUNTS,
        cents: sample::OPENING,
        crashes: Crashes::new(options.crash_one_in, options.seed),
        starts: starts.clone(),
    };
    // Crashes are what this program is about: many a second must not end it.
    let supervisor = Supervisor::new(Strategy::OneForOne)
        .intensity(10_000)
        .children(branches.ids().map(|id| {
            ChildSpec::server::<Branch>(branches.name(id), charter(id)).name(branches.name(id))
        }));
    let _supervisor = supervisor.start(&system).wait()?;
    let opened =
        u128::from(sample::OPENING) * u128::from(sample::ACCOUNTS) * branches.len() as u128;
    println!(
        "{} branches hold {}; {} clients transfer {what}",
        branches.len(),
        Money(opened),
        options.clients
    );

    let tally = Arc::new(Tally::default());
    let pile = Arc::new(Pile::new(lines, branches.clone(), tally.clone()));
    let start = Instant::now();
    let clients: Vec<_> = (0..options.clients)
        .map(|_| client::start(&system, pile.clone()))
        .collect::<Result<_, _>>()?;
    let restarts = || starts.load(Relaxed).saturating_sub(branches.len() as u64);
    for client in &clients {
        let mut gone = system.monitor(client.pid());
        loop {
            match gone.wait_timeout(Duration::from_millis(500)) {
                Ok(_) => break,
                Err(_) => {
                    println!(
                        "  {:>9} lines, {:>5} restarts",
                        Count(tally.lines()),
                        Count(restarts())
                    );
                    gone = system.monitor(client.pid());
                }
            }
        }
    }
    let took = start.elapsed();
    let books = settle(&system, &branches)?;
    let restarted = restarts();
    system.shutdown().wait()?;

    let of = |counter: &AtomicU64| Count(counter.load(Relaxed));
    println!(
        "{:>9} transfers done, {:.0} a second",
        of(&tally.done),
        tally.lines() as f64 / took.as_secs_f64()
    );
    println!("{:>9} refused: not enough money", of(&tally.insufficient));
    println!("{:>9} refused: no such account", of(&tally.unknown));
    println!("{:>9} refused: malformed", of(&tally.malformed));
    println!(
        "{:>9} refused: the id belongs to another transfer",
        of(&tally.reused)
    );
    println!("{:>9} failed: no answer", of(&tally.failed));
    println!(
        "{:>9} restarts of a branch, {} requests made again",
        Count(restarted),
        of(&tally.repeated)
    );

    // Twice: what the branches say, and what an auditor finds in the journals.
    let total: u128 = books.iter().map(|summary| summary.balance).sum();
    let ledgers = branches
        .ids()
        .map(|id| {
            journal::recover(
                &journal::path(directory.path(), &branches, id),
                &branches,
                id,
            )
        })
        .collect::<Result<Vec<_>, _>>()?;
    let entries: u64 = ledgers
        .iter()
        .map(|recovered| recovered.ledger.entries())
        .sum();
    let audited: u128 = ledgers
        .iter()
        .map(|recovered| recovered.ledger.balance())
        .sum();
    let ledgers: Vec<_> = ledgers
        .into_iter()
        .map(|recovered| recovered.ledger)
        .collect();
    println!(
        "{:>9} entries in the journals hold {}, the branches hold {}",
        Count(entries),
        Money(audited),
        Money(total)
    );
    let agreed = ledger::reconcile(&ledgers);
    if let Err(why) = &agreed {
        println!("the books do not agree: {why}");
    }
    let conserved = total == opened && audited == opened && agreed.is_ok();
    println!(
        "{}",
        if conserved {
            "not a cent too many or too few"
        } else {
            "MONEY WAS MADE OR LOST"
        }
    );
    Ok(conserved)
}

/// Waits until no money is under way, and asks each branch what it holds.
fn settle(system: &Handle, branches: &Branches) -> Result<Vec<Summary>, Box<dyn Error>> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let asked: Vec<_> = branches
            .ids()
            .map(|id| named(system, branches, id).call(Books))
            .collect();
        let books: Result<Vec<Summary>, _> = asked.into_iter().map(|call| call.wait()).collect();
        match books {
            Ok(books) if books.iter().all(|summary| summary.in_transit == 0) => return Ok(books),
            // A branch that just crashed, or still waits for another.
            _ if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
            Ok(_) => return Err("money is still under way after 30 s".into()),
            Err(error) => return Err(error.into()),
        }
    }
}
