//! What each hot path costs in instructions and in atomic read-modify-writes, counted by callgrind: a
//! guard against regressions that a loaded machine cannot fool.
//!
//! ```text
//! cargo bench --bench instructions               compares with counts.tsv; exit 1 if a path costs more
//! cargo bench --bench instructions -- --update   writes counts.tsv anew
//! cargo bench --bench instructions -- [--only PATH,PATH] [--update]
//! ```
//!
//! Each path runs twice under `valgrind --tool=callgrind`, with few and with many operations; the
//! difference divided by the operations in between is what one costs, and start-up, warm-up and shutdown
//! cancel. One scheduler thread, or a driver without any, so that nothing depends on who won a race.
//! What is left of chance (hash seeds, a look of the watchdog) is below 1 %.
//!
//! Instructions depend on the compiler. `counts.tsv` names the one that it was made with; under another
//! one the tolerance is wider, and says so. Atomics hardly do, and have one of their own.
//!
//! A last row, `guard`, is the path `pingpong` with one allocation a message too many: the comparison
//! must reject it, else it guards nothing.
//!
//! A path that seems to have become worse is counted a second time before it counts.
//!
//! **Another path:** a function in one of the files beside this and a line in [`PATHS`]; then `--update`.

mod callgrind;
mod messages;
mod processes;
mod services;
mod table;
mod tables;

use std::path::Path as File;
use std::process::ExitCode;

use callgrind::Cost;
use table::{Table, Verdict};

/// Does so many operations, on a system of its own.
type Path = fn(u64);

/// Name, what is done, and between which two numbers of operations the slope is taken.
const PATHS: &[(&str, Path, u64, u64)] = &[
    ("pingpong", messages::pingpong, 2_000, 42_000),
    ("receive", messages::receive, 2_000, 42_000),
    ("machine", messages::machine, 2_000, 42_000),
    ("fanin", messages::fanin, 4_000, 44_000),
    ("call", messages::call, 2_000, 22_000),
    ("call:server", messages::call_from_server, 2_000, 22_000),
    ("call:manual", messages::call_manual, 2_000, 22_000),
    ("tick", messages::tick, 10_000, 50_000),
    ("spawn", processes::spawn, 4_000, 24_000),
    ("spawn:server", processes::spawn_server, 4_000, 24_000),
    ("monitor", processes::monitor, 2_000, 12_000),
    ("supervise", processes::supervise, 300, 1_800),
    ("supervise:err", processes::supervise_err, 300, 1_800),
    ("timer:cancel", services::timer_cancel, 2_000, 22_000),
    ("timer:fire", services::timer_fire, 2_000, 22_000),
    ("whereis", services::whereis, 2_000, 42_000),
    ("ets:lookup", tables::lookup_set, 2_000, 42_000),
    ("ets:insert", tables::insert_set, 2_000, 42_000),
    ("ets:lookup_ordered", tables::lookup_ordered, 2_000, 42_000),
    ("ets:insert_ordered", tables::insert_ordered, 2_000, 42_000),
];

/// `pingpong`, with an allocation more.
const GUARD: (&str, Path, u64, u64) = ("guard", messages::pingpong_allocates, 2_000, 42_000);

fn main() -> ExitCode {
    let (mut update, mut only) = (false, None);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--bench" => {}
            "--update" => update = true,
            "--only" => only = args.next(),
            "--run" => return run_one(args.next(), args.next()),
            other => return usage(&format!("no such option: {other}")),
        }
    }
    let chosen: Vec<_> = match &only {
        None => PATHS.to_vec(),
        Some(only) => {
            if let Some(unknown) = only.split(',').find(|name| !is_path(name)) {
                return usage(&format!("no such path: {unknown}"));
            }
            let wanted = |name: &str| only.split(',').any(|wanted| wanted == name);
            PATHS
                .iter()
                .filter(|path| wanted(path.0))
                .copied()
                .collect()
        }
    };
    match measure(&chosen, update) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("instructions: {error}");
            ExitCode::FAILURE
        }
    }
}

fn is_path(name: &str) -> bool {
    PATHS.iter().any(|path| path.0 == name)
}

fn usage(what: &str) -> ExitCode {
    let names: Vec<&str> = PATHS.iter().map(|path| path.0).collect();
    eprintln!(
        "{what}\nusage: instructions [--only PATH,PATH] [--update]\npaths: {}",
        names.join(" ")
    );
    ExitCode::from(2)
}

/// What runs under callgrind.
fn run_one(name: Option<String>, operations: Option<String>) -> ExitCode {
    let all = PATHS.iter().chain([&GUARD]);
    let path = name.and_then(|name| all.into_iter().find(|path| path.0 == name));
    let operations = operations.and_then(|n| n.parse().ok());
    match (path, operations) {
        (Some(path), Some(operations)) => {
            path.1(operations);
            ExitCode::SUCCESS
        }
        _ => usage("--run takes a path and a number of operations"),
    }
}

fn measure(chosen: &[(&'static str, Path, u64, u64)], update: bool) -> Result<ExitCode, String> {
    let stored = File::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions/counts.tsv");
    let compiler = callgrind::compiler()?;
    let before = Table::read(&stored)?;
    let same_compiler = before.compiler == compiler;
    if !same_compiler && !update {
        println!(
            "# counts.tsv was made with {}, this is {compiler}: the tolerance is {} %",
            before.compiler,
            table::tolerance(false) * 100.0
        );
    }
    println!("path\tinstructions\tbefore\tatomics\tbefore\tverdict");
    let mut after = before.clone();
    after.compiler = compiler;
    let mut worse = 0;
    for (name, _, few, many) in chosen {
        let mut cost = callgrind::slope(name, *few, *many)?;
        let mut verdict = table::compare(before.get(name), cost, same_compiler);
        if verdict.fails() {
            cost = cost.min(callgrind::slope(name, *few, *many)?);
            verdict = table::compare(before.get(name), cost, same_compiler);
        }
        line(name, cost, before.get(name), verdict);
        worse += u32::from(verdict.fails());
        after.set(name, cost);
    }
    if update {
        after.retain(is_path);
        after.write(&stored)?;
        println!("# wrote {}", stored.display());
        return Ok(ExitCode::SUCCESS);
    }
    // Seen against this run's own `pingpong`, so that it tells something under any compiler.
    if let Some(pingpong) = chosen.iter().find(|path| path.0 == "pingpong") {
        let honest = after.get(pingpong.0);
        let cost = callgrind::slope(GUARD.0, GUARD.2, GUARD.3)?;
        let verdict = table::compare(honest, cost, true);
        line(GUARD.0, cost, honest, verdict);
        if !verdict.fails() {
            return Err("one allocation a message more was not noticed".to_owned());
        }
    }
    if worse > 0 {
        println!(
            "# {worse} cost more. The profiles are in {}: `callgrind_annotate` shows where.\n\
             # If it is worth it: cargo bench --bench instructions -- --update",
            callgrind::profiles().display()
        );
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn line(name: &str, cost: Cost, before: Option<Cost>, verdict: Verdict) {
    let [was, was_atomics] = match before {
        Some(before) => [before.instructions, before.atomics].map(|n| format!("{n:.1}")),
        None => [(); 2].map(|()| "-".to_owned()),
    };
    println!(
        "{name}\t{:.1}\t{was}\t{:.1}\t{was_atomics}\t{verdict}",
        cost.instructions, cost.atomics
    );
}
