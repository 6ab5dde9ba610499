//! A billion messages of all kinds, in slices, and whether memory grows over them.

use std::sync::Arc;
use std::time::Duration;

use noex::Inbox;
use noex::prelude::*;

use crate::support::{Latch, Row, rss, seconds, shrunk, system};

const MESSAGES: u64 = 1_000_000_000;
/// The slices in which memory comes to rest.
const SETTLING: u64 = 10;
const SLICES: u64 = 100;
/// What the allocator may keep beyond what it had after `SETTLING` slices, in bytes.
const SLACK: u64 = 32 << 20;

/// Passes a token on, and now and then does something more expensive.
struct Node {
    next: Option<ServerRef<Node>>,
    done: Arc<Latch>,
}
struct Next(ServerRef<Node>);
struct Token(u64);
struct Ask(u64);
struct Later(Arc<Latch>);

impl GenServer for Node {
    type Args = Arc<Latch>;
    async fn init(done: Arc<Latch>, _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Node { next: None, done })
    }
}
impl HandleCast<Next> for Node {
    async fn handle_cast(&mut self, next: Next, _: &mut Context<Self>) {
        self.next = Some(next.0);
    }
}
impl HandleCall<Ask> for Node {
    type Reply = u64;
    async fn handle_call(&mut self, ask: Ask, _: &mut Context<Self>) -> u64 {
        ask.0 + 1
    }
}
impl HandleInfo<Later> for Node {
    async fn handle_info(&mut self, later: Later, _: &mut Context<Self>) {
        later.0.down();
    }
}
impl HandleCast<Token> for Node {
    async fn handle_cast(&mut self, token: Token, cx: &mut Context<Self>) {
        let Some(next) = &self.next else { return };
        if token.0 == 0 {
            self.done.down();
            return;
        }
        if token.0 % 1000 == 0 {
            // Lives on its own, calls back, and dies.
            let (me, n) = (cx.this(), token.0);
            let _ = cx.spawn(move |_: Inbox<()>| async move {
                let _ = me.call(Ask(n)).await;
            });
        }
        if token.0 % 10_000 == 0 {
            let later = Later(self.done.clone());
            let timer = cx.send_after(Duration::from_secs(60), next, later);
            cx.cancel_timer(timer);
        }
        let _ = next.cast(Token(token.0 - 1));
    }
}

/// Rings of ten with five tokens each, on servers of their own, which then end; and what fires meanwhile.
fn slice(system: &System, messages: u64) {
    const RINGS: u64 = 20;
    const TOKENS: u64 = 5;
    let done = Latch::new(RINGS * TOKENS);
    let timers = Latch::new(RINGS);
    let hops = messages / (RINGS * TOKENS);
    let mut all = Vec::new();
    for _ in 0..RINGS {
        let start = || {
            let start = system.start::<Node>(done.clone());
            start.wait().expect("a node starts")
        };
        let ring: Vec<_> = (0..10).map(|_| start()).collect();
        for (i, node) in ring.iter().enumerate() {
            let _ = node.cast(Next(ring[(i + 1) % 10].clone()));
        }
        // Now each knows its neighbour, or hears of it before it gets a token.
        for node in ring.iter().take(TOKENS as usize) {
            let _ = node.cast(Token(hops));
        }
        let soon = Duration::from_millis(5);
        system.send_after(soon, &ring[0], Later(timers.clone()));
        all.extend(ring);
    }
    done.wait();
    timers.wait();
    for node in all {
        let _ = node.stop(ExitReason::Normal).wait();
    }
}

/// Ends the program with 1 if memory grows. The extra says how much there was after a tenth and at the
/// end.
pub(crate) fn soak(schedulers: usize) -> Row {
    let system = system(schedulers);
    let messages = shrunk(MESSAGES);
    let mut settled = 0;
    let took = seconds(|| {
        for n in 1..=SLICES {
            slice(&system, messages / SLICES);
            if n == SETTLING {
                settled = rss();
            }
            let now = rss();
            if n > SETTLING && now > settled + SLACK {
                eprintln!("memory grows: {now} bytes after {settled}, in slice {n} of {SLICES}");
                std::process::exit(1);
            }
        }
    });
    let stats = system.stats();
    Row {
        extra: format!(
            "messages={} processes={} rss_settled_mib={} rss_end_mib={}",
            stats.sent,
            stats.spawned,
            settled >> 20,
            rss() >> 20
        ),
        ..Row::new(messages, took)
    }
}
