//! Runs noex and its peers side by side, and writes what came of it.
//!
//! A repetition goes through the workloads, and in each through the programs, one fresh process after the
//! other: what disturbs the machine for a while disturbs all of them. What counts is the median of the
//! repetitions; the spread is told beside it.

mod machine;
mod plots;
mod programs;
mod report;
mod results;
mod workloads;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use programs::{ALLOCATORS, Allocator, PROGRAMS, Places, Program};
use results::Results;
use workloads::{WORKLOADS, Workload};

const HELP: &str = "\
noex beside its peers, on the same workloads.

  benches/versus/run [OPTIONS]

  --only P,P         these programs (default: all; what is not installed is skipped)
  --workload W,W     these workloads (default: all); a word before a colon means all that begin with it
  --reps N           repetitions (default: 5)
  --allocators A,A   glibc, mimalloc, jemalloc: each row also under these (default: all that are installed)
  --shrink N         divide all sizes by N: to try whether everything runs
  --out DIR          where benchmarks.md and benchmarks/*.svg go (default: docs for a whole run,
                     target/versus for one with --only, --workload or --shrink)
  --from FILE        measure nothing: write the report of these results
  --list             the names of programs and workloads

A whole run takes about an hour. The results are kept in target/versus/results.tsv.";

struct Options {
    only: Vec<&'static str>,
    workloads: Vec<&'static Workload>,
    reps: usize,
    allocators: Vec<&'static str>,
    shrink: u64,
    out: Option<PathBuf>,
    from: Option<PathBuf>,
    whole: bool,
}

/// The names of a list, all of which must be known.
fn names(list: &str, known: &[&'static str]) -> Result<Vec<&'static str>, String> {
    let find = |name: &str| known.iter().copied().find(|known| *known == name);
    list.split(',')
        .map(|name| find(name).ok_or_else(|| format!("no such name: {name}")))
        .collect()
}

fn workloads(list: &str) -> Result<Vec<&'static Workload>, String> {
    let mut chosen = Vec::new();
    for name in list.split(',') {
        let prefix = format!("{name}:");
        let before = chosen.len();
        let all = WORKLOADS.iter();
        chosen.extend(all.filter(|w| w.name == name || w.name.starts_with(&prefix)));
        if chosen.len() == before {
            return Err(format!("no such workload: {name}"));
        }
    }
    Ok(chosen)
}

/// `None`: all was said already.
fn options() -> Result<Option<Options>, lexopt::Error> {
    use lexopt::prelude::*;
    let mut options = Options {
        only: PROGRAMS.to_vec(),
        workloads: WORKLOADS.iter().collect(),
        reps: 5,
        allocators: ALLOCATORS.to_vec(),
        shrink: 1,
        out: None,
        from: None,
        whole: true,
    };
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next()? {
        match arg {
            Long("only") => {
                options.only = names(&args.value()?.string()?, PROGRAMS)?;
                options.whole = false;
            }
            Long("workload") => {
                options.workloads = workloads(&args.value()?.string()?)?;
                options.whole = false;
            }
            Long("reps") => options.reps = args.value()?.parse::<usize>()?.max(1),
            Long("allocators") => {
                options.allocators = names(&args.value()?.string()?, ALLOCATORS)?;
            }
            Long("shrink") => {
                options.shrink = args.value()?.parse::<u64>()?.max(1);
                options.whole = options.whole && options.shrink == 1;
            }
            Long("out") => options.out = Some(args.value()?.into()),
            Long("from") => options.from = Some(args.value()?.into()),
            Long("list") => {
                println!("programs: {}", PROGRAMS.join(" "));
                for workload in WORKLOADS {
                    println!("{}: {}", workload.name, workload.what);
                }
                return Ok(None);
            }
            Short('h') | Long("help") => {
                println!("{HELP}");
                return Ok(None);
            }
            other => return Err(other.unexpected()),
        }
    }
    Ok(Some(options))
}

fn main() -> ExitCode {
    let done = match options() {
        Ok(None) => Ok(()),
        Ok(Some(options)) => run(&options),
        Err(error) => {
            eprintln!("versus: {error}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("versus: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    let places = Places::new();
    let scratch = places.root.join("target/versus");
    let default = if options.whole && options.from.is_none() {
        places.root.join("docs")
    } else {
        scratch.clone()
    };
    let results = match &options.from {
        Some(file) => Results::read(&read(file)?),
        None => measure(options, &places, &scratch)?,
    };
    let out = options.out.clone().unwrap_or(default);
    let written = report::write(&results, &out)?;
    eprintln!("# wrote {}", written.display());
    Ok(())
}

fn read(file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))
}

/// Writes a file, and the directories above it.
fn write(file: &Path, text: &str) -> Result<(), String> {
    let directory = file.parent().unwrap_or(file);
    std::fs::create_dir_all(directory)
        .and_then(|()| std::fs::write(file, text))
        .map_err(|error| format!("{}: {error}", file.display()))
}

fn measure(options: &Options, places: &Places, scratch: &Path) -> Result<Results, String> {
    let mut results = Results::default();
    let mut skipped = Vec::new();
    let mut programs = Vec::new();
    for name in &options.only {
        match programs::build(name, places) {
            Ok(program) => programs.push(program),
            Err(why) => {
                eprintln!("# {name} is skipped: {why}");
                skipped.push(format!("{name} ({why})"));
            }
        }
    }
    let mut allocators = Vec::new();
    for name in &options.allocators {
        match programs::allocator(name) {
            Ok(allocator) => allocators.push(allocator),
            Err(why) => {
                eprintln!("# {name} is skipped: {why}");
                skipped.push(format!("{name} ({why})"));
            }
        }
    }
    machine::facts(&mut results, places, &programs);
    let libraries = allocators.iter().filter_map(|a| a.library.as_ref());
    for library in libraries {
        let real = library.canonicalize().unwrap_or_else(|_| library.clone());
        results.fact("allocator", real.display().to_string());
    }
    if options.shrink > 1 {
        let shrunk = format!("all sizes divided by {}: no measurement", options.shrink);
        results.fact("sizes", shrunk);
    }
    if !skipped.is_empty() {
        results.fact("skipped", skipped.join(", "));
    }
    results.fact("repetitions", options.reps.to_string());
    let watch = machine::Watch::start();
    let mut failures = 0;
    for rep in 1..=options.reps {
        for workload in &options.workloads {
            failures += round(
                workload,
                &programs,
                &allocators,
                options.shrink,
                &mut results,
            );
        }
        eprintln!("# repetition {rep} of {}: {}", options.reps, watch.load());
        // An interrupted run leaves what it had.
        write(&scratch.join("results.tsv"), &results.text())?;
    }
    results.fact("load", watch.load());
    if failures > 0 {
        results.fact(
            "failures",
            format!("{failures} runs failed and are not counted"),
        );
    }
    write(&scratch.join("results.tsv"), &results.text())?;
    Ok(results)
}

/// One repetition of one workload; how many runs failed.
fn round(
    workload: &Workload,
    programs: &[Program],
    allocators: &[Allocator],
    shrink: u64,
    results: &mut Results,
) -> u32 {
    let mut failures = 0;
    for program in programs {
        let own = workload
            .variants
            .iter()
            .filter(|(owner, _)| *owner == program.name);
        let rows = std::iter::once(workload.name).chain(own.map(|(_, row)| *row));
        for row in rows {
            for allocator in allocators {
                let matters = workload.allocates && program.takes_allocators();
                if allocator.library.is_some() && !matters {
                    continue;
                }
                match program.run(row, shrink, allocator.library.as_deref()) {
                    Ok(lines) => {
                        for line in lines {
                            results.add(program.name, allocator.name, line);
                        }
                    }
                    Err(why) => {
                        failures += 1;
                        eprintln!(
                            "# {} {row} ({}) failed: {why}",
                            program.name, allocator.name
                        );
                    }
                }
            }
        }
    }
    failures
}
