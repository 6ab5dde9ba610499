//! The reply to `INFO`: figures about the server, as lines that people and tools read.

use std::fmt::Write;
use std::time::Duration;

use crate::resp::{Bytes, Reply};

/// The version of Redis whose manners we have, for clients that ask before they trust.
pub(crate) const REDIS_VERSION: &str = "7.0.0";

/// What there is to tell, at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stats {
    pub(crate) port: u16,
    pub(crate) uptime: Duration,
    /// Connections open now.
    pub(crate) clients: u64,
    /// Connections accepted so far.
    pub(crate) connections: u64,
    /// Commands carried out so far.
    pub(crate) commands: u64,
    pub(crate) shards: Vec<ShardStats>,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ShardStats {
    pub(crate) keys: usize,
    pub(crate) volatile: usize,
    pub(crate) expired: u64,
    pub(crate) restarts: u64,
}

type Section = (&'static str, fn(&Stats, &mut String) -> std::fmt::Result);

/// Each with the name by which it is asked for.
const SECTIONS: &[Section] = &[
    ("Server", |stats, out| {
        write!(
            out,
            "redis_version:{REDIS_VERSION}\r\nredis_mode:standalone\r\nnoex_version:{}\r\n\
             process_id:{}\r\ntcp_port:{}\r\nuptime_in_seconds:{}\r\n",
            env!("CARGO_PKG_VERSION"),
            std::process::id(),
            stats.port,
            stats.uptime.as_secs()
        )
    }),
    ("Clients", |stats, out| {
        write!(out, "connected_clients:{}\r\n", stats.clients)
    }),
    ("Stats", |stats, out| {
        write!(
            out,
            "total_connections_received:{}\r\ntotal_commands_processed:{}\r\nexpired_keys:{}\r\n",
            stats.connections,
            stats.commands,
            stats.shards.iter().map(|shard| shard.expired).sum::<u64>()
        )
    }),
    ("Replication", |_, out| {
        write!(out, "role:master\r\nconnected_slaves:0\r\n")
    }),
    ("Shards", |stats, out| {
        for (index, shard) in stats.shards.iter().enumerate() {
            let ShardStats { keys, restarts, .. } = shard;
            write!(out, "shard{index}:keys={keys},restarts={restarts}\r\n")?;
        }
        Ok(())
    }),
    ("Keyspace", |stats, out| {
        let keys: usize = stats.shards.iter().map(|shard| shard.keys).sum();
        let volatile: usize = stats.shards.iter().map(|shard| shard.volatile).sum();
        match keys {
            0 => Ok(()),
            _ => write!(out, "db0:keys={keys},expires={volatile},avg_ttl=0\r\n"),
        }
    }),
];

/// The sections named, in our order; all if none is, or one of the words for all.
pub(crate) fn info(names: &[Bytes], stats: &Stats) -> Reply {
    let asked = |section: &str| {
        names.is_empty()
            || names.iter().any(|name| {
                [section, "default", "all", "everything"]
                    .iter()
                    .any(|word| name.eq_ignore_ascii_case(word.as_bytes()))
            })
    };
    let mut out = String::new();
    for (name, write) in SECTIONS.iter().filter(|(name, _)| asked(name)) {
        if !out.is_empty() {
            out.push_str("\r\n");
        }
        out.push_str("# ");
        out.push_str(name);
        out.push_str("\r\n");
        write(stats, &mut out).expect("a String takes all that is written to it");
    }
    Reply::Text(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(names: &[&str], stats: &Stats) -> String {
        let names: Vec<_> = names
            .iter()
            .map(|name| Bytes::from(name.as_bytes()))
            .collect();
        match info(&names, stats) {
            Reply::Text(text) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn sections_are_asked_for_by_name_and_unknown_ones_are_empty() {
        let shard = ShardStats {
            keys: 3,
            volatile: 1,
            ..ShardStats::default()
        };
        let stats = Stats {
            shards: vec![shard; 2],
            clients: 4,
            ..Stats::default()
        };
        assert_eq!(
            text(&["KEYSPACE", "clients", "nosuch"], &stats),
            "# Clients\r\nconnected_clients:4\r\n\r\n\
             # Keyspace\r\ndb0:keys=6,expires=2,avg_ttl=0\r\n"
        );
        assert_eq!(text(&["nosuch"], &stats), "");
        assert_eq!(text(&[], &stats), text(&["everything", "x"], &stats));
        assert_eq!(text(&["keyspace"], &Stats::default()), "# Keyspace\r\n");
    }
}
