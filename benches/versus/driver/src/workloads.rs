//! What is run, and how a figure of it is read.

/// How the line of a workload is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `n` operations in so many seconds.
    Throughput,
    /// Bytes of memory, in the extra: `rss_bytes_per_process`.
    Memory,
    /// Quantiles, in the extra.
    Latency,
    /// Messages among more and more processes: read as nanoseconds a message.
    Scale,
    /// CPU seconds, and in the extra wake-ups, of a program that has nothing to do.
    Idle,
}

/// A workload.
#[derive(Debug)]
pub struct Workload {
    pub name: &'static str,
    pub kind: Kind,
    /// What is done, and what is counted.
    pub what: &'static str,
    /// Whether the allocator has to do with it.
    pub allocates: bool,
    /// Rows of it that one program alone has: program, row.
    pub variants: &'static [(&'static str, &'static str)],
}

const fn throughput(name: &'static str, what: &'static str) -> Workload {
    Workload {
        name,
        kind: Kind::Throughput,
        what,
        allocates: true,
        variants: &[],
    }
}

const fn scale(name: &'static str) -> Workload {
    Workload {
        name,
        kind: Kind::Scale,
        what: "as `fanout`, among so many processes; messages, both ways",
        allocates: false,
        variants: &[],
    }
}

const fn latency(name: &'static str, what: &'static str) -> Workload {
    Workload {
        name,
        kind: Kind::Latency,
        what,
        allocates: false,
        variants: &[],
    }
}

pub const WORKLOADS: &[Workload] = &[
    Workload {
        variants: &[("actix", "pingpong:2t")],
        ..throughput(
            "pingpong",
            "2 processes, 1,000,000 round trips; messages, both ways",
        )
    },
    throughput(
        "pingpong_pairs",
        "1,000 pairs, 1,000 round trips each; messages, both ways",
    ),
    throughput("ring", "1,000 processes, one token, 1,000 laps; hops"),
    throughput("ring_many", "1,000 processes, 1,000 tokens, 10 laps; hops"),
    Workload {
        variants: &[("kameo", "fanin:bounded64")],
        ..throughput(
            "fanin",
            "8 producers cast 250,000 each to one counter, then a call reads the sum; casts",
        )
    },
    throughput(
        "fanout",
        "one process casts to each of 100,000 idle ones, each answers, 10 rounds; messages, both ways",
    ),
    Workload {
        variants: &[("noex", "call:server"), ("actix", "call:2t")],
        ..throughput("call", "a process calls another 500,000 times; calls")
    },
    throughput(
        "call_sync",
        "a thread outside the runtime calls a process 100,000 times; calls",
    ),
    Workload {
        variants: &[("noex", "spawn:server"), ("tokio", "spawn:bare_task")],
        ..throughput(
            "spawn",
            "1,000,000 processes, with mailbox and pid, that end at once; processes",
        )
    },
    Workload {
        variants: &[("noex", "supervise:err"), ("actix", "supervise:stop")],
        ..throughput(
            "supervise",
            "a supervisor restarts a child that crashes 20,000 times by a panic (`:err`: by an error; BEAM: by `exit/1`, 1,000 times); restarts",
        )
    },
    Workload {
        allocates: false,
        ..throughput(
            "registry_lookup",
            "5,000,000 look-ups among 10,000 names by 2 threads or processes; look-ups",
        )
    },
    Workload {
        allocates: false,
        ..throughput(
            "ets_read",
            "10,000,000 reads of a table of 100,000 numbers by 2 threads or processes; reads",
        )
    },
    throughput("ets_write", "2,000,000 inserts into such a table; inserts"),
    throughput(
        "timers",
        "1,000,000 timers of 1 to 1,000 ms, every other one cancelled; timers a CPU second",
    ),
    Workload {
        kind: Kind::Memory,
        variants: &[("noex", "spawn_keep:server")],
        ..throughput(
            "spawn_keep",
            "1,000,000 idle processes, each of which has handled a message; resident bytes of each",
        )
    },
    latency(
        "latency_call",
        "a process calls another 200,000 times; each call",
    ),
    latency(
        "latency_pingpong",
        "one pair among a hundred others that never rest, 20,000 round trips; each round trip",
    ),
    latency(
        "latency_hogs",
        "a thread outside calls a process every millisecond, while as many processes as there are scheduler threads hold theirs for 100 ms at a time; each call",
    ),
    scale("scale:1000"),
    scale("scale:10000"),
    scale("scale:100000"),
    scale("scale:1000000"),
    scale("scale:10000000"),
    Workload {
        kind: Kind::Idle,
        ..latency(
            "idle",
            "10,000 processes that have nothing to do, for 3 seconds; CPU time and wake-ups",
        )
    },
];

/// The kind of a row: of a variant, that of what it varies.
pub fn kind_of(row: &str) -> Option<Kind> {
    let by_name = |name: &str| WORKLOADS.iter().find(|workload| workload.name == name);
    let base = row.split(':').next().unwrap_or(row);
    by_name(row).or_else(|| by_name(base)).map(|w| w.kind)
}
