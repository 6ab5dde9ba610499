//! Whole workloads on noex, the same as `benches/versus` runs on BEAM and the Rust actor crates: same
//! names, sizes and meaning, so that the lines can be laid side by side; and some that only noex has.
//!
//! ```text
//! cargo bench --bench workloads -- [WORKLOAD ...] [--reps N] [--schedulers N] [--shrink N]
//! ```
//!
//! prints one line for each: `noex<TAB>workload<TAB>n<TAB>median seconds<TAB>ops/s<TAB>extra`. Each
//! repetition is a process of its own, as for the peers, and is warmed up as they are. What is guarded: the
//! ratios in `docs/benchmarks.md`, which come from `benches/versus/run` (peers interleaved, one run).
//! `--shrink` divides all sizes: to try whether everything runs, not to measure.
//!
//! Those that take minutes or gigabytes run only when they are named: see [`LONG`].

mod dynamic;
mod latency;
mod machines;
mod messages;
mod processes;
mod services;
mod soak;
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
    ("scale:1000", messages::scale_3),
    ("scale:10000", messages::scale_4),
    ("scale:100000", messages::scale_5),
    ("scale:1000000", messages::scale_6),
    ("cast:server", machines::cast_server),
    ("cast:machine", machines::cast_machine),
    ("cast:machine_flip", machines::cast_machine_flip),
    ("call", services::call),
    ("call:server", services::call_from_server),
    ("call_sync", services::call_sync),
    ("latency_call", latency::call),
    ("latency_pingpong", latency::pingpong),
    ("latency_hogs", latency::hogs),
    ("latency_hogs:server", latency::hogs_server),
    ("spawn", processes::spawn),
    ("spawn:server", processes::spawn_server),
    ("spawn_keep", processes::spawn_keep),
    ("spawn_keep:server", processes::spawn_keep_server),
    ("idle", processes::idle),
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

/// Run only when named: ten million processes (3 GB), a billion messages (minutes).
const LONG: &[Workload] = &[("scale:10000000", messages::scale_7), ("soak", soak::soak)];

fn find(name: &str) -> Option<&'static Workload> {
    let mut all = WORKLOADS.iter().chain(LONG);
    all.find(|(known, _)| *known == name)
}

fn main() {
    let mut wanted = Vec::new();
    let (mut reps, mut schedulers, mut shrink) = (5, 2, 1);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--bench" => {}
            "--reps" => reps = number(args.next(), "--reps"),
            "--one" => {
                let wanted = args.next().unwrap_or_default();
                // Those before it count.
                support::shrink_by(shrink);
                if let Some((_, run)) = find(&wanted) {
                    let row = run(schedulers);
                    println!("{}\t{:.9}\t{}", row.n, row.seconds, row.extra);
                }
                return;
            }
            "--schedulers" => schedulers = number(args.next(), "--schedulers"),
            "--shrink" => shrink = number(args.next(), "--shrink") as u64,
            name => match find(name) {
                Some((name, _)) => wanted.push(*name),
                None => usage(&format!("no such workload: {name}")),
            },
        }
    }
    if wanted.is_empty() {
        wanted.extend(WORKLOADS.iter().map(|(name, _)| *name));
    }
    for name in wanted {
        let mut rows: Vec<Row> = (0..reps)
            .map(|_| in_a_fresh_process(name, schedulers, shrink))
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
fn in_a_fresh_process(name: &str, schedulers: usize, shrink: u64) -> Row {
    let me = std::env::current_exe().expect("the path of this program");
    let mut command = std::process::Command::new(me);
    let output = command
        .args(["--schedulers", &schedulers.to_string()])
        .args(["--shrink", &shrink.to_string(), "--one", name])
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
    let names = |of: &[Workload]| -> String {
        let names: Vec<&str> = of.iter().map(|(name, _)| *name).collect();
        names.join(" ")
    };
    eprintln!(
        "{what}\nusage: workloads [WORKLOAD ...] [--reps N] [--schedulers N] [--shrink N]\n\
         workloads: {}\nonly when named: {}",
        names(WORKLOADS),
        names(LONG)
    );
    std::process::exit(2);
}
