//! Who is subscribed to what: the one server that `PUBLISH` goes through, so that all subscribers of
//! a channel see its messages in the same order.
//!
//! # Slow readers
//! A subscriber gets its messages by its mailbox and writes them to its socket as fast as the client
//! reads. The hub never waits for it. What is on its way to it is bounded twice: by the bound of its
//! mailbox, in messages ([`MAILBOX`]), and by its [`Backlog`], in bytes, which is what Redis calls
//! `client-output-buffer-limit pubsub`. A subscriber beyond either is disconnected, as Redis does:
//! it would otherwise have to be told that messages are missing, and the protocol has no word
//! for that.
//!
//! # Deaths
//! The hub monitors its subscribers and forgets those that end. They monitor the hub: should it
//! crash, they disconnect, because a client that comes back subscribes again, and one that is left
//! connected would wait for messages in vain.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use noex::prelude::*;
use noex::{Down, MailboxPolicy, MonitorRef, Overflow, Recipient, Term};

use crate::resp::Bytes;

/// The mailbox of a connection. A full one rejects: that is how the hub learns of it.
pub(crate) const MAILBOX: MailboxPolicy = MailboxPolicy::Bounded {
    capacity: 64 * 1024,
    overflow: Overflow::Reject,
};

/// What a short message costs beside its bytes, about.
const OVERHEAD: usize = 64;

/// A message for a subscriber.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) channel: Bytes,
    pub(crate) message: Bytes,
}

impl Delivery {
    pub(crate) fn cost(&self) -> usize {
        self.channel.len() + self.message.len() + OVERHEAD
    }
}

/// How many bytes are on their way to one subscriber, from the hub to the socket.
#[derive(Debug, Default)]
pub(crate) struct Backlog(AtomicUsize);

impl Backlog {
    // Relaxed, both: a count that orders nothing.
    fn grow(&self, bytes: usize) -> usize {
        self.0.fetch_add(bytes, Relaxed) + bytes
    }

    /// So many bytes were written to the socket.
    pub(crate) fn shrink(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Relaxed);
    }
}

/// A connection, as the hub reaches it.
#[derive(Debug, Clone)]
pub(crate) struct Subscriber {
    pub(crate) to: Recipient<Delivery>,
    pub(crate) backlog: Arc<Backlog>,
}

struct Member {
    subscriber: Subscriber,
    monitor: MonitorRef,
    channels: HashSet<Bytes>,
}

pub(crate) struct Hub {
    /// The most bytes on their way to one subscriber.
    limit: usize,
    members: HashMap<Pid, Member>,
    /// Never an empty one.
    channels: HashMap<Bytes, HashMap<Pid, Subscriber>>,
}

/// Leaves some channels and joins others. When it is answered no message of the former comes any
/// more, and every message of the latter does.
pub(crate) struct Change {
    pub(crate) who: Subscriber,
    pub(crate) leave: Vec<Bytes>,
    pub(crate) join: Vec<Bytes>,
}

/// Sends a message to the subscribers of its channel; how many there are.
pub(crate) struct Publish(pub(crate) Delivery);

impl GenServer for Hub {
    type Args = usize;

    async fn init(limit: usize, _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Hub {
            limit,
            members: HashMap::new(),
            channels: HashMap::new(),
        })
    }

    async fn handle_down(&mut self, down: Down, _: &mut Context<Self>) {
        self.forget(down.pid);
    }
}

impl HandleCall<Change> for Hub {
    type Reply = ();

    async fn handle_call(&mut self, change: Change, cx: &mut Context<Self>) {
        let Change { who, leave, join } = change;
        let pid = who.to.pid();
        let member = self.members.entry(pid).or_insert_with(|| Member {
            subscriber: who,
            monitor: cx.monitor(pid),
            channels: HashSet::new(),
        });
        for channel in leave {
            if member.channels.remove(&channel) {
                remove(&mut self.channels, &channel, pid);
            }
        }
        for channel in join {
            let subscribers = self.channels.entry(channel.clone()).or_default();
            subscribers.insert(pid, member.subscriber.clone());
            member.channels.insert(channel);
        }
        if member.channels.is_empty() {
            cx.demonitor(member.monitor);
            self.members.remove(&pid);
        }
    }
}

impl HandleCall<Publish> for Hub {
    type Reply = i64;

    async fn handle_call(&mut self, Publish(delivery): Publish, cx: &mut Context<Self>) -> i64 {
        let Some(subscribers) = self.channels.get(&delivery.channel) else {
            return 0;
        };
        cx.consume(u32::try_from(subscribers.len()).unwrap_or(u32::MAX));
        let mut too_slow = Vec::new();
        for (&pid, Subscriber { to, backlog }) in subscribers {
            let fits = backlog.grow(delivery.cost()) <= self.limit;
            if !fits || to.send(delivery.clone()).is_err() {
                too_slow.push(pid);
            }
        }
        let count = subscribers.len() as i64;
        for pid in too_slow {
            eprintln!("kv_server: {pid} reads its messages too slowly and is disconnected");
            let why = Term::atom("client_output_buffer_limit");
            cx.exit(pid, ExitReason::Shutdown(Some(why)));
            self.forget(pid);
        }
        count
    }
}

impl Hub {
    fn forget(&mut self, pid: Pid) {
        if let Some(member) = self.members.remove(&pid) {
            for channel in &member.channels {
                remove(&mut self.channels, channel, pid);
            }
        }
    }
}

fn remove(channels: &mut HashMap<Bytes, HashMap<Pid, Subscriber>>, channel: &Bytes, pid: Pid) {
    if let Some(subscribers) = channels.get_mut(channel) {
        subscribers.remove(&pid);
        if subscribers.is_empty() {
            channels.remove(channel);
        }
    }
}
