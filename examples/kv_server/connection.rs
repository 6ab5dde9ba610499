//! A connection: one process for each client, from its first byte to its last.
//!
//! ```text
//!   wait for bytes ─▶ read ─▶ parse all requests ─▶ ask the shards ─▶ write all replies
//!        ▲   ▲                      at once            at once            at once │
//!        │   └ messages of channels                                              │
//!        └───────────────────────────────────────────────────────────────────────┘
//! ```
//! What the client sends while its requests are carried out stays in the socket: a client that does
//! not read its replies is not read from either, and costs no more than the requests of one read.
//!
//! Requests that concern others than the shards (`PUBLISH`, `SUBSCRIBE`, ..) wait until those before
//! them are answered, so that whoever reads a message finds what was set before it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures_lite::future::or;
use noex::{CallError, Inbox, MonitorRef, Received};

use crate::batch::{Batch, Replies};
use crate::hub::{Backlog, Change, Delivery, Publish, Subscriber};
use crate::info::info;
use crate::resp::{Bytes, Parser, Proto, Reply};
use crate::server::{REPLY, Server, Shards, shard_error};
use crate::session::{Action, Session};
use crate::shard::{Apply, Crash, Figures};
use crate::socket::Socket;

/// From how many bytes on replies are written although more are to come.
const PART: usize = 256 * 1024;
/// How large an output buffer is kept.
const KEPT: usize = 16 * 1024;
/// How long, and for how many reads, we listen to a client that we hang up on.
const LINGER: (Duration, usize) = (Duration::from_secs(1), 256);

/// Why a connection ends.
enum End {
    /// The client hung up or is out of reach.
    Gone,
    /// We hang up; what the client shall know is written.
    Close,
}

impl From<io::Error> for End {
    // Resets and the like: there is nobody to tell.
    fn from(_: io::Error) -> Self {
        End::Gone
    }
}

pub(crate) struct Connection {
    inbox: Inbox<Delivery>,
    socket: Socket,
    server: Arc<Server>,
    session: Session,
    parser: Parser,
    batch: Batch,
    shards: Shards,
    out: Vec<u8>,
    backlog: Arc<Backlog>,
    /// How much of the backlog is in `out`.
    delivered: usize,
    /// While subscribed.
    hub: Option<MonitorRef>,
}

/// Counts a client while it lives, however it ends.
pub(crate) struct Counted {
    server: Arc<Server>,
    id: i64,
}

impl Counted {
    pub(crate) fn new(server: Arc<Server>) -> Counted {
        let counters = &server.counters;
        counters.clients.fetch_add(1, Relaxed);
        let id = counters.connections.fetch_add(1, Relaxed) + 1;
        Counted { server, id }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.server.counters.clients.fetch_sub(1, Relaxed);
    }
}

/// The process of one client.
pub(crate) async fn serve(inbox: Inbox<Delivery>, socket: Socket, client: Counted) {
    let server = client.server.clone();
    let mut connection = Connection {
        inbox,
        socket,
        session: Session::new(client.id, server.settings.clone()),
        parser: Parser::new(server.settings.limits.clone()),
        batch: Batch::default(),
        shards: Shards::default(),
        out: Vec::new(),
        backlog: Arc::default(),
        delivered: 0,
        hub: None,
        server,
    };
    let end = connection.run().await;
    if matches!(end, Err(End::Close)) {
        connection.hang_up().await;
    }
}

impl Connection {
    async fn run(&mut self) -> Result<(), End> {
        loop {
            self.wait().await?;
            loop {
                let space = self.parser.space();
                let room = space.len();
                let Some(count) = self.socket.read(space)? else {
                    break;
                };
                if count == 0 {
                    return Err(End::Gone);
                }
                self.parser.filled(count);
                self.take_in().await?;
                if count < room {
                    break;
                }
                // There is more, perhaps without end.
                self.inbox.yield_now().await;
            }
        }
    }

    /// Waits until the client has sent something. Meanwhile passes on messages of channels.
    async fn wait(&mut self) -> Result<(), End> {
        while self.hub.is_some() {
            self.deliver()?;
            self.flush().await?;
            let mail = async { Some(self.inbox.recv().await) };
            let bytes = async {
                self.socket.readable().await;
                None
            };
            match or(mail, bytes).await {
                Some(received) => self.receive(received)?,
                None => return Ok(()),
            }
        }
        self.socket.readable().await;
        Ok(())
    }

    /// Carries out all requests that have arrived, and writes the replies.
    async fn take_in(&mut self) -> Result<(), End> {
        loop {
            let action = match self.parser.next_request() {
                Ok(None) => break,
                Ok(Some(request)) => self.session.handle(&request),
                Err(error) => Action::Close(Some(error.reply())),
            };
            let proto = self.session.proto();
            match action {
                Action::Reply(reply) => self.batch.ready(reply, proto),
                Action::Ask(route) => self.batch.ask(route, proto),
                other => {
                    self.carry_out().await?;
                    self.act(other, proto).await?;
                }
            }
        }
        self.carry_out().await?;
        self.flush().await
    }

    /// Has the shards do what they are asked for by the batch, and appends the replies.
    async fn carry_out(&mut self) -> Result<(), End> {
        if self.batch.len() == 0 {
            return Ok(());
        }
        let commands = self.batch.len() as u64;
        self.server.counters.commands.fetch_add(commands, Relaxed);
        // All are sent before the first reply is waited for.
        let mut calls = Vec::new();
        let mut replies = Replies::default();
        for (shard, ops) in self.batch.take_ops() {
            match self.shards.get(&self.server, shard, &self.inbox).await {
                Ok(server) => calls.push((shard, server.call_with(Apply(ops), REPLY))),
                Err(error) => replies.put(shard, Err(shard_error(shard, &error))),
            }
        }
        for (shard, call) in calls {
            let answer = call.await;
            replies.put(shard, answer.map_err(|error| shard_error(shard, &error)));
        }
        for (proto, reply) in self.batch.answers(replies) {
            reply.encode(proto, &mut self.out);
            if self.out.len() >= PART {
                self.socket.write_all(&self.out).await?;
                self.out.clear();
            }
        }
        Ok(())
    }

    /// Does what concerns others than the shards, and appends the replies.
    async fn act(&mut self, action: Action, proto: Proto) -> Result<(), End> {
        self.server.counters.commands.fetch_add(1, Relaxed);
        let replies = match action {
            Action::Publish { channel, message } => {
                let count = self.publish(Delivery { channel, message }).await;
                // To ourselves, too.
                self.deliver()?;
                vec![count]
            }
            Action::Channels {
                leave,
                join,
                replies,
            } => {
                self.change(leave, join).await?;
                replies
            }
            Action::Info(sections) => vec![self.info(&sections).await],
            Action::Panic(shard) => vec![self.crash(shard).await],
            Action::Close(reply) => {
                if let Some(reply) = reply {
                    reply.encode(proto, &mut self.out);
                }
                self.flush().await?;
                return Err(End::Close);
            }
            Action::Reply(reply) => vec![reply],
            Action::Ask(route) => {
                self.batch.ask(route, proto);
                return Ok(());
            }
        };
        for reply in replies {
            reply.encode(proto, &mut self.out);
        }
        Ok(())
    }

    async fn publish(&mut self, delivery: Delivery) -> Reply {
        match self.server.hub.call_with(Publish(delivery), REPLY).await {
            Ok(count) => Reply::Int(count),
            Err(error) => hub_error(&error),
        }
    }

    /// Leaves and joins channels. A connection that cannot ends: it would wait in vain.
    async fn change(&mut self, leave: Vec<Bytes>, join: Vec<Bytes>) -> Result<(), End> {
        if leave.is_empty() && join.is_empty() {
            return Ok(());
        }
        let Some(hub) = self.server.hub.resolve() else {
            return Err(End::Close);
        };
        if self.hub.is_none() {
            self.hub = Some(self.inbox.monitor(hub.pid()));
        }
        let who = Subscriber {
            to: self.inbox.this(),
            backlog: self.backlog.clone(),
        };
        let change = Change { who, leave, join };
        if hub.call_with(change, REPLY).await.is_err() {
            return Err(End::Close);
        }
        // What was sent to the channels left was sent before the reply is.
        self.deliver()?;
        if self.session.channels().next().is_none() {
            if let Some(monitor) = self.hub.take() {
                self.inbox.demonitor(monitor);
            }
        }
        Ok(())
    }

    /// Appends the messages that have come.
    fn deliver(&mut self) -> Result<(), End> {
        while self.out.len() < PART {
            let Some(received) = self.inbox.try_recv() else {
                break;
            };
            self.receive(received)?;
        }
        Ok(())
    }

    fn receive(&mut self, received: Received<Delivery>) -> Result<(), End> {
        match received {
            Received::Message(delivery) => {
                self.delivered += delivery.cost();
                let Delivery { channel, message } = delivery;
                Reply::message(channel, message).encode(self.session.proto(), &mut self.out);
                Ok(())
            }
            // The hub, and with it our subscriptions.
            Received::Down(_) => Err(End::Close),
            _ => Ok(()),
        }
    }

    async fn info(&mut self, sections: &[Bytes]) -> Reply {
        let mut figures = Vec::new();
        for shard in 0..self.server.settings.shards {
            let call = match self.shards.get(&self.server, shard, &self.inbox).await {
                Ok(server) => server.call_with(Figures, REPLY).await,
                Err(error) => Err(error),
            };
            // One that cannot say has nothing.
            figures.push(call.unwrap_or_default());
        }
        info(sections, &self.server.stats(figures))
    }

    async fn crash(&mut self, shard: usize) -> Reply {
        let answer = match self.shards.get(&self.server, shard, &self.inbox).await {
            Ok(server) => server.call_with(Crash, REPLY).await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(()) => Reply::OK,
            Err(error) => shard_error(shard, &error),
        }
    }

    /// Writes what is to be written.
    async fn flush(&mut self) -> Result<(), End> {
        if self.out.is_empty() {
            return Ok(());
        }
        self.socket.write_all(&self.out).await?;
        self.out.clear();
        self.out.shrink_to(KEPT);
        self.backlog.shrink(std::mem::take(&mut self.delivered));
        Ok(())
    }

    /// Ends the connection so that the client gets all we wrote. Closing at once would not do: if
    /// anything it sent is unread, its system throws away what it has not read yet.
    async fn hang_up(&mut self) {
        if self.socket.finish().is_err() {
            return;
        }
        let (time, reads) = LINGER;
        let to_the_end = async {
            // Not in this future: every connection would carry it from the start.
            let mut scrap = vec![0; 4096];
            for _ in 0..reads {
                match self.socket.read(&mut scrap) {
                    Ok(Some(0)) | Err(_) => break,
                    Ok(Some(_)) => {}
                    Ok(None) => self.socket.readable().await,
                }
            }
        };
        or(to_the_end, self.inbox.sleep(time)).await;
    }
}

fn hub_error(error: &CallError) -> Reply {
    Reply::Error(
        format!("ERR publishing failed: {error}")
            .into_bytes()
            .into(),
    )
}
