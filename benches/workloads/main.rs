//! Whole workloads on noex, the same as `../shared/peers` runs on BEAM and the Rust actor crates: same
//! names, sizes and meaning, so that the lines can be laid side by side.
//!
//! ```text
//! cargo bench --bench workloads -- [WORKLOAD ...] [--reps N] [--schedulers N]
//! ```
//!
//! prints one line for each: `noex<TAB>workload<TAB>n<TAB>median seconds<TAB>ops/s<TAB>extra`. Each
//! repetition is a process of its own, as for the peers, and is warmed up as they are. What is guarded: the ratios in
//! `docs/design/performance.md`, which come from `benches/compare` (peers interleaved, one run).

mod dynamic;
mod messages;
mod processes;
mod services;
mod support;
mod tables;

use support::Row;

type Workload = (&'static str, fn(usize) -> Row);

const WORKLOADS: &[Workload] = &[
    ("pingpong", messages::pingpong),
    ("pingpong_pairs", messages::pingpong_pairs),
    ("ring", messages::ring),
    ("ring_many", messages::ring_many),
    ("fanin", messages::fanin),
    ("fanout", messages::fanout),
    ("call", services::call),
    ("call:server", services::call_from_server),
    ("call_sync", services::call_sync),
    ("spawn", processes::spawn),
    ("spawn:server", processes::spawn_server),
    ("spawn_keep", processes::spawn_keep),
    ("spawn_keep:server", processes::spawn_keep_server),
    ("dynamic_start", dynamic::dynamic_start),
    ("dynamic_start:one", dynamic::dynamic_start_one),
    ("dynamic_start:spec", dynamic::dynamic_start_spec),
    ("dynamic_start:permanent", dynamic::dynamic_start_permanent),
    ("supervise", services::supervise),
    ("supervise:err", services::supervise_err),
    ("registry_lookup", services::registry_lookup),
    ("ets_read", tables::ets_read),
    ("ets_write", tables::ets_write),
    ("ets_mixed", tables::ets_mixed),
    ("timers", services::timers),
];

fn main() {
    let mut wanted = Vec::new();
    let (mut reps, mut schedulers) = (5, 2);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--bench" => {}
            "--reps" => reps = number(args.next(), "--reps"),
            "--one" => {
                let wanted = args.next().unwrap_or_default();
                if let Some((_, run)) = WORKLOADS.iter().find(|(name, _)| *name == wanted) {
                    let row = run(schedulers);
                    println!("{}\t{}\t{}", row.n, row.seconds, row.extra);
                }
                return;
            }
            "--schedulers" => schedulers = number(args.next(), "--schedulers"),
            name if WORKLOADS.iter().any(|(known, _)| known == &name) => wanted.push(arg),
            other => usage(&format!("no such workload: {other}")),
        }
    }
    for (name, _) in WORKLOADS {
        if !wanted.is_empty() && !wanted.iter().any(|w| w == name) {
            continue;
        }
        let mut rows: Vec<Row> = (0..reps)
            .map(|_| in_a_fresh_process(name, schedulers))
            .collect();
        rows.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        let (least, most) = (rows[0].seconds, rows[reps - 1].seconds);
        let row = &rows[reps / 2];
        let ops = row.n as f64 / row.seconds;
        let extra = if row.extra.is_empty() {
            String::new()
        } else {
            format!("{}; ", row.extra)
        };
        println!(
            "noex\t{name}\t{}\t{:.6}\t{ops:.0}\t{extra}min_s={least:.6} max_s={most:.6} reps={reps}",
            row.n, row.seconds
        );
    }
}

/// Runs one repetition. What one leaves behind (recycled memory, warm caches) is not the next one's.
fn in_a_fresh_process(name: &str, schedulers: usize) -> Row {
    let me = std::env::current_exe().expect("the path of this program");
    let mut command = std::process::Command::new(me);
    let output = command
        .args(["--schedulers", &schedulers.to_string(), "--one", name])
        .output();
    let output = output.expect("this program runs again");
    let line = String::from_utf8_lossy(&output.stdout);
    let mut fields = line.trim_end_matches('\n').split('\t');
    let row = (|| {
        let n = fields.next()?.parse().ok()?;
        let seconds = fields.next()?.parse().ok()?;
        Some(Row {
            extra: fields.next()?.to_owned(),
            ..Row::new(n, seconds)
        })
    })();
    row.unwrap_or_else(|| {
        eprintln!(
            "{name} failed: {}{}",
            line,
            String::from_utf8_lossy(&output.stderr)
        );
        std::process::exit(1);
    })
}

fn number(arg: Option<String>, option: &str) -> usize {
    match arg.and_then(|arg| arg.parse().ok()) {
        Some(n) if n > 0 => n,
        _ => usage(&format!("{option} takes a number of at least 1")),
    }
}

fn usage(what: &str) -> ! {
    let names: Vec<&str> = WORKLOADS.iter().map(|(name, _)| *name).collect();
    eprintln!(
        "{what}\nusage: workloads [WORKLOAD ...] [--reps N] [--schedulers N]\nworkloads: {}",
        names.join(" ")
    );
    std::process::exit(2);
}
