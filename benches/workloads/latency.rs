//! How long one round takes: of calls, of ping-pong among others, and of calls while every scheduler
//! thread is held by a hog.

use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use noex::prelude::*;

use crate::services::{Inc, Server};
use crate::support::{Row, shrunk, shrunk_time, system};

/// Ten minutes, in nanoseconds: what takes longer is no longer distinguished.
const LONGEST: u64 = 600_000_000_000;

/// Times one round after another. A clock reading, some 25 ns, is part of each.
struct Laps {
    histogram: Histogram<u64>,
    left: u64,
    end: Option<Instant>,
    pace: Duration,
    begun: Option<Instant>,
    first: Option<Instant>,
}

impl Laps {
    fn new(rounds: u64) -> Laps {
        Laps {
            // To three digits, and made at once, so that no lap pays for it.
            histogram: Histogram::new_with_bounds(1, LONGEST, 3).expect("sensible bounds"),
            left: rounds,
            end: None,
            pace: Duration::ZERO,
            begun: None,
            first: None,
        }
    }

    /// As many rounds as there is time for, of which one was to begin at each `pace`: one that takes longer
    /// counts for those that could not begin meanwhile, too, else the worst would hide itself.
    fn paced(time: Duration, pace: Duration) -> Laps {
        Laps {
            end: Some(Instant::now() + time),
            pace,
            ..Laps::new(u64::MAX)
        }
    }

    /// A round begins; nothing is recorded of what was before.
    fn begin(&mut self) {
        let now = Instant::now();
        self.begun = Some(now);
        self.first.get_or_insert(now);
    }

    /// A round is over, if one had begun, and the next begins. `false`: that was the last.
    fn lap(&mut self) -> bool {
        let now = Instant::now();
        if let Some(begun) = self.begun {
            let took = ((now - begun).as_nanos() as u64).min(LONGEST);
            // An interval of zero corrects nothing.
            let pace = self.pace.as_nanos() as u64;
            let _ = self.histogram.record_correct(took, pace);
            self.left -= 1;
        }
        self.begun = Some(now);
        self.first.get_or_insert(now);
        self.left > 0 && self.end.is_none_or(|end| now < end)
    }

    fn row(&self) -> Row {
        let seconds = match (self.first, self.begun) {
            (Some(first), Some(last)) => (last - first).as_secs_f64(),
            _ => 0.0,
        };
        let at = |q| self.histogram.value_at_quantile(q);
        Row {
            extra: format!(
                "p50_ns={} p90_ns={} p99_ns={} p999_ns={} p9999_ns={} max_ns={}",
                at(0.5),
                at(0.9),
                at(0.99),
                at(0.999),
                at(0.9999),
                self.histogram.max()
            ),
            ..Row::new(self.histogram.len(), seconds)
        }
    }
}

fn calls(system: &System, mut laps: Laps) -> Laps {
    let server = system.start::<Server>(()).wait().expect("a server starts");
    let (tell, told) = channel();
    let client = move |_: noex::Inbox<()>| async move {
        let mut v = 0;
        laps.begin();
        loop {
            v = server.call(Inc(v)).await.expect("a reply");
            if !laps.lap() {
                break;
            }
        }
        let _ = tell.send(laps);
    };
    system.spawn(client).expect("a client starts");
    told.recv().expect("the client finishes")
}

/// A client process calls a server.
pub(crate) fn call(schedulers: usize) -> Row {
    let system = system(schedulers);
    calls(&system, Laps::new(shrunk(20_000)));
    calls(&system, Laps::new(shrunk(200_000))).row()
}

/// Hands back what comes; one with laps counts its rounds with them.
struct Player {
    peer: Option<ServerRef<Player>>,
    laps: Option<(Laps, Sender<Laps>)>,
}
struct Meet(ServerRef<Player>);
struct Ball(#[allow(dead_code)] u64);

impl GenServer for Player {
    type Args = Option<(Laps, Sender<Laps>)>;
    async fn init(laps: Self::Args, _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Player { peer: None, laps })
    }
}
impl HandleCast<Meet> for Player {
    async fn handle_cast(&mut self, meet: Meet, _: &mut Context<Self>) {
        self.peer = Some(meet.0);
    }
}
impl HandleCast<Ball> for Player {
    async fn handle_cast(&mut self, ball: Ball, _: &mut Context<Self>) {
        if let Some((laps, _)) = &mut self.laps {
            if !laps.lap() {
                if let Some((laps, tell)) = self.laps.take() {
                    let _ = tell.send(laps);
                }
                return;
            }
        }
        if let Some(peer) = &self.peer {
            let _ = peer.cast(ball);
        }
    }
}

fn play(system: &System, laps: <Player as GenServer>::Args) {
    let start = |laps| {
        let start = system.start::<Player>(laps);
        start.wait().expect("a player starts")
    };
    let (one, other) = (start(laps), start(None));
    let _ = one.cast(Meet(other.clone()));
    let _ = other.cast(Meet(one.clone()));
    let _ = one.cast(Ball(0));
}

/// The round trips of one pair, while a hundred others play for ever.
pub(crate) fn pingpong(schedulers: usize) -> Row {
    let system = system(schedulers);
    (0..100).for_each(|_| play(&system, None));
    let (tell, told) = channel();
    play(&system, Some((Laps::new(shrunk(20_000)), tell)));
    told.recv().expect("the probe finishes").row()
}

/// Holds its thread so long at a time.
fn spin(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// Sends itself messages each of which takes long: it holds its thread until its budget is used up.
struct Hog;
struct Hold(Duration);

impl GenServer for Hog {
    type Args = Duration;
    async fn init(hold: Duration, cx: &mut Context<Self>) -> Result<Self, InitStop> {
        let _ = cx.this().cast(Hold(hold));
        Ok(Hog)
    }
}
impl HandleCast<Hold> for Hog {
    async fn handle_cast(&mut self, hold: Hold, cx: &mut Context<Self>) {
        spin(hold.0);
        let _ = cx.this().cast(hold);
    }
}

/// Calls by a thread outside, one a millisecond, while as many hogs as there are scheduler threads hold
/// theirs.
fn among_hogs(schedulers: usize, hog: impl Fn(&System)) -> Row {
    let system = system(schedulers);
    let server = system.start::<Server>(()).wait().expect("a server starts");
    let call = || {
        let call = server.call_with(Inc(0), None);
        call.wait().expect("a reply");
    };
    (0..shrunk(5_000)).for_each(|_| call());
    (0..schedulers).for_each(|_| hog(&system));
    let pace = Duration::from_millis(1);
    let mut laps = Laps::paced(shrunk_time(Duration::from_secs(3)), pace);
    loop {
        std::thread::sleep(pace);
        laps.begin();
        call();
        if !laps.lap() {
            return laps.row();
        }
    }
}

/// Each for a tenth of a second at a time, and between two times others get their turn.
pub(crate) fn hogs(schedulers: usize) -> Row {
    let hold = shrunk_time(Duration::from_millis(100));
    among_hogs(schedulers, |system| {
        let hog = move |cx: noex::Inbox<()>| async move {
            loop {
                spin(hold);
                cx.yield_now().await;
            }
        };
        system.spawn(hog).expect("a hog starts");
    })
}

/// Each by messages of ten milliseconds that never end.
pub(crate) fn hogs_server(schedulers: usize) -> Row {
    let hold = shrunk_time(Duration::from_millis(10));
    among_hogs(schedulers, |system| drop(system.start::<Hog>(hold)))
}
