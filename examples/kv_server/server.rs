//! What all processes of the server share: who is where under which name, and the counters.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use noex::{CallError, Handle, Named, ProcessContext, ServerRef};

use crate::hub::Hub;
use crate::info::{ShardStats, Stats};
use crate::resp::Reply;
use crate::session::Settings;
use crate::shard::Shard;

/// How long a command waits for a shard that is being restarted.
const RESTART: Duration = Duration::from_secs(2);

/// How long it waits for the reply. Not shorter: a shard may have a million keys to drop first.
pub(crate) const REPLY: Duration = Duration::from_secs(30);

pub(crate) struct Server {
    pub(crate) settings: Arc<Settings>,
    pub(crate) hub: Named<Hub>,
    pub(crate) counters: Counters,
    shards: Vec<Named<Shard>>,
    since: Instant,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Also the id of the last one.
    pub(crate) connections: AtomicI64,
    pub(crate) clients: AtomicU64,
    pub(crate) commands: AtomicU64,
    /// How often each shard was started.
    pub(crate) starts: Vec<Arc<AtomicU64>>,
}

/// The name of a shard.
pub(crate) fn shard_name(index: usize) -> String {
    format!("shard-{index}")
}

/// The name of the hub.
pub(crate) const HUB: &str = "hub";

impl Server {
    pub(crate) fn new(system: &Handle, settings: Settings) -> Server {
        let shards = 0..settings.shards;
        Server {
            hub: system.server(HUB),
            counters: Counters {
                starts: shards.clone().map(|_| Arc::default()).collect(),
                ..Counters::default()
            },
            shards: shards
                .map(|shard| system.server(shard_name(shard)))
                .collect(),
            settings: Arc::new(settings),
            since: Instant::now(),
        }
    }

    /// The figures for `INFO`, with what the shards said about themselves.
    pub(crate) fn stats(&self, shards: Vec<ShardStats>) -> Stats {
        let Counters {
            connections,
            clients,
            commands,
            starts,
        } = &self.counters;
        let with_restarts = |(shard, starts): (ShardStats, &Arc<AtomicU64>)| ShardStats {
            restarts: starts.load(Relaxed).saturating_sub(1),
            ..shard
        };
        Stats {
            port: self.settings.port,
            uptime: self.since.elapsed(),
            clients: clients.load(Relaxed),
            connections: connections.load(Relaxed).unsigned_abs(),
            commands: commands.load(Relaxed),
            shards: shards.into_iter().zip(starts).map(with_restarts).collect(),
        }
    }
}

/// One connection's references to the shards. Sending by reference needs no look-up; only one that
/// leads to a dead shard is looked up again by name.
#[derive(Default)]
pub(crate) struct Shards(Vec<Option<ServerRef<Shard>>>);

impl Shards {
    /// The shard, alive a moment ago. If it is being restarted this waits.
    ///
    /// # Errors
    /// It was not restarted in time. Nothing has reached it.
    pub(crate) async fn get(
        &mut self,
        server: &Server,
        index: usize,
        cx: &ProcessContext,
    ) -> Result<&ServerRef<Shard>, CallError> {
        if self.0.len() <= index {
            self.0.resize(server.shards.len(), None);
        }
        let alive =
            |shard: &Option<ServerRef<Shard>>| shard.as_ref().is_some_and(|shard| shard.is_alive());
        if !alive(&self.0[index]) {
            self.0[index] = find(&server.shards[index], cx).await;
        }
        self.0[index].as_ref().ok_or(CallError::NoProc)
    }
}

async fn find(name: &Named<Shard>, cx: &ProcessContext) -> Option<ServerRef<Shard>> {
    let began = Instant::now();
    loop {
        if let Some(shard) = name.resolve() {
            return Some(shard);
        }
        if began.elapsed() > RESTART {
            return None;
        }
        // Names cannot be waited for, and a restart takes microseconds.
        cx.sleep(Duration::from_millis(1)).await;
    }
}

/// What a client is told when a shard gave no reply.
pub(crate) fn shard_error(shard: usize, error: &CallError) -> Reply {
    let text = match error {
        CallError::NoProc => format!("ERR shard {shard} is not running"),
        CallError::Exited(reason) => format!("ERR shard {shard} crashed: {reason}"),
        CallError::Timeout => format!("ERR shard {shard} did not answer in time"),
        other => format!("ERR shard {shard} gave no reply: {other}"),
    };
    Reply::Error(text.into_bytes().into())
}
