//! State machines beside OTP's: random scripts, run on `gen_statem` and recorded
//! (`tests/otp/gen_statem/`), are run here on virtual time, and the same must happen. Where there is
//! an Erlang (with NOEX_REQUIRE_ERLANG=1 there must be) they are run on that again, too. Scenarios of a
//! rule each are in `otp.rs`.
//!
//! ```text
//! script 17                      starts in state a
//! send 35 cast 3                 at 35 ms, event 3
//! on b postpone insert:cast:9    what the next callback, of whatever kind, comes to
//! on keep state:after:50:4 x:update:5 event:at:120:6 y:cancel
//! ```
//! A callback of `enter` does the timeouts alone, and `b` is `keep` to it. After the last `on` all is
//! `keep`.

mod support;

#[path = "otp/installed.rs"]
mod installed;

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use noex::prelude::*;
use noex::{Enter, EventType, GenStateMachine, Initial, Machine, MachineContext, Next, ReplyTo};
use support::{DEADLINE, quiet, reports};

const SCRIPTS: &str = include_str!("otp/gen_statem/scripts.txt");
const TRACES: &str = include_str!("otp/gen_statem/traces.txt");

#[derive(Clone, Debug, Default)]
struct Script {
    sends: Vec<(u64, String, u32)>,
    ons: Vec<String>,
}

/// The sections of a file, by the names in their first lines.
fn sections(text: &str) -> BTreeMap<u32, Vec<&str>> {
    let mut sections: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
    let mut name = None;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        match (line.strip_prefix("script "), name) {
            (Some(number), _) => name = Some(number.parse().expect("a number")),
            (None, Some(name)) => sections.entry(name).or_default().push(line),
            (None, None) => panic!("before the first script: {line}"),
        }
    }
    sections
}

fn parse(lines: &[&str]) -> Script {
    let mut script = Script::default();
    for line in lines {
        match line.split_once(' ') {
            Some(("send", rest)) => {
                let words: Vec<&str> = rest.split(' ').collect();
                let (at, id) = (words[0].parse(), words[2].parse());
                let send = (at.expect("ms"), words[1].to_owned(), id.expect("an id"));
                script.sends.push(send);
            }
            Some(("on", rest)) => script.ons.push(rest.to_owned()),
            _ => panic!("no such line: {line}"),
        }
    }
    script
}

/// Plays a script.
struct Player {
    ons: std::vec::IntoIter<String>,
    tell: Sender<String>,
    instants: Instants,
    /// Calls are never answered.
    calls: Vec<ReplyTo<()>>,
}

/// When timers were due, and whether that was past.
type Instants = Arc<Mutex<Vec<(u64, bool)>>>;

enum Event {
    N(u32),
    Call(u32, ReplyTo<()>),
}

type Args = (Vec<String>, Sender<String>, Instants);

/// What actions are done to: a `Next` or an `Enter`.
trait Act: Sized {
    fn setting(self, kind: &str, what: Setting, event: Event) -> Self;
    fn insert(self, event_type: &str, id: u32) -> Self;
}

enum Setting {
    After(Duration),
    At(Duration),
    Update,
    Cancel,
}

macro_rules! setting {
    () => {
        fn setting(self, kind: &str, what: Setting, event: Event) -> Self {
            let name = if kind == "x" { 'x' } else { 'y' };
            match (kind, what) {
                ("state", Setting::After(d)) => self.state_timeout(d, event),
                ("state", Setting::At(d)) => self.state_timeout_at(d, event),
                ("state", Setting::Update) => self.update_state_timeout(event),
                ("state", Setting::Cancel) => self.cancel_state_timeout(),
                ("event", Setting::After(d)) => self.event_timeout(d, event),
                ("event", Setting::At(d)) => self.event_timeout_at(d, event),
                ("event", Setting::Update) => self.update_event_timeout(event),
                ("event", Setting::Cancel) => self.cancel_event_timeout(),
                (_, Setting::After(d)) => self.timeout(name, d, event),
                (_, Setting::At(d)) => self.timeout_at(name, d, event),
                (_, Setting::Update) => self.update_timeout(name, event),
                (_, Setting::Cancel) => self.cancel_timeout(name),
            }
        }
    };
}

impl Act for Next<Player> {
    setting!();
    fn insert(self, event_type: &str, id: u32) -> Self {
        match event_type {
            "internal" => self.next_event(Event::N(id)),
            "cast" => self.next_event_as(EventType::Cast, Event::N(id)),
            _ => self.next_event_as(EventType::Info, Event::N(id)),
        }
    }
}

impl Act for Enter<Player> {
    setting!();
    fn insert(self, _: &str, _: u32) -> Self {
        self
    }
}

impl Player {
    fn next_on(&mut self) -> String {
        self.ons.next().unwrap_or("keep".into())
    }

    fn act<A: Act>(&self, mut to: A, on: &str, cx: &MachineContext<Self>) -> A {
        let now = u64::try_from(cx.system().now().as_millis()).expect("small");
        for action in on.split(' ').skip(1) {
            let words: Vec<&str> = action.split(':').collect();
            let number = |n: usize| words[n].parse::<u32>().expect("a number");
            let time = || Duration::from_millis(number(2).into());
            let due = |at: u64| {
                let mut instants = self.instants.lock().expect("nobody panics here");
                instants.push((at.max(now), at <= now));
            };
            to = match words[..] {
                ["postpone"] => to,
                ["insert", event_type, _] => to.insert(event_type, number(2)),
                [kind, "after", _, _] => {
                    if number(2) > 0 {
                        due(now + u64::from(number(2)));
                    }
                    to.setting(kind, Setting::After(time()), Event::N(number(3)))
                }
                [kind, "at", _, _] => {
                    due(u64::from(number(2)));
                    to.setting(kind, Setting::At(time()), Event::N(number(3)))
                }
                [kind, "update", _] => to.setting(kind, Setting::Update, Event::N(number(2))),
                [kind, "cancel"] => to.setting(kind, Setting::Cancel, Event::N(0)),
                _ => panic!("no such action: {action}"),
            };
        }
        to
    }
}

impl GenStateMachine for Player {
    type Args = Args;
    type State = String;
    type Event = Event;
    type Timeout = char;

    async fn init(
        (ons, tell, instants): Args,
        _: &mut MachineContext<Self>,
    ) -> Result<Initial<Self>, InitStop> {
        let player = Player {
            ons: ons.into_iter(),
            tell,
            instants,
            calls: Vec::new(),
        };
        Ok(Initial::new(player, "a".into()))
    }

    async fn enter(
        &mut self,
        old: &String,
        state: &String,
        cx: &mut MachineContext<Self>,
    ) -> Enter<Self> {
        let _ = self.tell.send(format!("enter {old} {state}"));
        let on = self.next_on();
        let to = match on.split(' ').next() {
            Some("repeat") => Enter::repeat_state(),
            Some("stop") => Enter::stop(ExitReason::Normal),
            _ => Enter::keep_state(),
        };
        self.act(to, &on, cx)
    }

    async fn handle_event(
        &mut self,
        state: &String,
        event: Event,
        cx: &mut MachineContext<Self>,
    ) -> Next<Self> {
        let event_type = match cx.event_type().expect("an event") {
            EventType::Call => "call".into(),
            EventType::Cast => "cast".into(),
            EventType::Info => "info".into(),
            EventType::Internal => "internal".into(),
            EventType::EventTimeout => "event".into(),
            EventType::StateTimeout => "state".into(),
            EventType::Timeout(name) => name.to_string(),
            other => format!("{other:?}"),
        };
        let (Event::N(id) | Event::Call(id, _)) = &event;
        let _ = self.tell.send(format!("event {event_type} {id} {state}"));
        let on = self.next_on();
        let to = match on.split(' ').next() {
            Some("repeat") => Next::repeat_state(),
            Some("stop") => Next::stop(ExitReason::Normal),
            Some("keep") | None => Next::keep_state(),
            Some(state) => Next::state(state.to_owned()),
        };
        let next = self.act(to, &on, cx);
        if on.split(' ').any(|word| word == "postpone") {
            return next.postpone(event);
        }
        if let Event::Call(_, reply) = event {
            self.calls.push(reply);
        }
        next
    }

    async fn terminate(&mut self, _: ExitReason, state: &String, _: &mut MachineContext<Self>) {
        let _ = self.tell.send(format!("terminate {state}"));
    }
}

/// What happens, and when timers were due.
fn play(script: &Script, seed: u64) -> (Vec<String>, Vec<(u64, bool)>) {
    let (system, driver) = quiet().virtual_clock().auto_advance().seed(seed).manual();
    let (tell, told) = reports();
    let instants = Instants::default();
    let args = (script.ons.clone(), tell, instants.clone());
    let machine = system
        .start::<Machine<Player>>(args)
        .wait()
        .expect("started");
    let mut calls = Vec::new();
    for (at, event_type, id) in &script.sends {
        let id = *id;
        driver.advance(Duration::from_millis(*at).saturating_sub(system.now()));
        match event_type.as_str() {
            "cast" => machine.cast(Event::N(id)).expect("unbounded"),
            "info" => machine.send(Event::N(id)).expect("unbounded"),
            _ => calls.push(machine.request(move |reply| Event::Call(id, reply))),
        }
        driver.run_until_idle();
    }
    driver.advance(Duration::from_millis(800).saturating_sub(system.now()));
    let stopped = machine.stop(ExitReason::Normal).wait_timeout(DEADLINE);
    assert_eq!(stopped, Ok(()));
    let instants = instants.lock().expect("nobody panics here").clone();
    (told.try_iter().collect(), instants)
}

#[test]
fn the_same_happens_as_on_otp() {
    let scripts = sections(SCRIPTS);
    let traces = sections(TRACES);
    assert!(traces.len() >= 300, "only {} traces", traces.len());
    for (number, trace) in &traces {
        let script = parse(&scripts[number]);
        for seed in 0..3 {
            let (seen, _) = play(&script, seed);
            assert_eq!(seen, *trace, "script {number}: {script:?}");
        }
    }
}

#[test]
fn the_recorded_traces_are_what_this_otp_does() {
    if !installed::erlang() {
        return;
    }
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/otp/gen_statem");
    let check = std::process::Command::new("escript")
        .args(["record.escript", "check", "scripts.txt", "traces.txt"])
        .current_dir(dir)
        .output()
        .expect("escript is a part of Erlang");
    let said = String::from_utf8_lossy(&check.stdout);
    println!("{said}");
    let complaints = String::from_utf8_lossy(&check.stderr);
    assert!(check.status.success(), "{said}{complaints}");
}

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
    fn one_of<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len() as u64) as usize]
    }
}

fn random_script(rng: &mut Rng) -> Script {
    let mut script = Script::default();
    let mut id = 0;
    let mut fresh = || {
        id += 1;
        id
    };
    let mut at = 0;
    for _ in 0..5 + rng.below(5) {
        at += 12 + rng.below(80);
        let event_type = rng.one_of(&["cast", "info", "call"]).to_owned();
        script.sends.push((at, event_type, fresh()));
    }
    for _ in 0..8 + rng.below(14) {
        let mut on = vec![
            rng.one_of(&["keep", "keep", "keep", "a", "b", "c", "b", "repeat"])
                .to_owned(),
        ];
        if rng.below(60) == 0 {
            on = vec!["stop".to_owned()];
        }
        if rng.below(3) == 0 {
            on.push("postpone".into());
        }
        for _ in 0..rng.below(7).saturating_sub(4) {
            let event_type = rng.one_of(&["internal", "cast", "info"]);
            on.push(format!("insert:{event_type}:{}", fresh()));
        }
        for _ in 0..rng.below(6).saturating_sub(2) {
            let kind = rng.one_of(&["state", "event", "x", "y"]);
            let id = fresh();
            let time = 15 + rng.below(120);
            on.push(match rng.below(9) {
                0 => format!("{kind}:cancel"),
                1 | 2 => format!("{kind}:update:{id}"),
                3 | 4 => format!("{kind}:after:0:{id}"),
                5 => format!("{kind}:at:{}:{id}", 1 + rng.below(500)),
                _ => format!("{kind}:after:{time}:{id}"),
            });
        }
        script.ons.push(on.join(" "));
    }
    script
}

/// Whether what happens does not depend on a few milliseconds, which real time does not promise.
fn is_robust(script: &Script, due: &[(u64, bool)]) -> bool {
    let sends = script.sends.iter().map(|send| send.0);
    let timers = due.iter().filter(|(_, past)| !past).map(|(at, _)| *at);
    let mut instants: Vec<u64> = sends.chain(timers).collect();
    instants.sort_unstable();
    // Of two timers that are due at once OTP does not say which is first.
    let mut past: Vec<u64> = due
        .iter()
        .filter(|(_, past)| *past)
        .map(|(at, _)| *at)
        .collect();
    let pasts = past.len();
    past.dedup();
    past.len() == pasts && instants.windows(2).all(|pair| pair[1] - pair[0] >= 10)
}

/// Makes `scripts.txt`; then record what OTP does (`tests/otp/gen_statem/record.escript`).
#[test]
#[ignore = "makes the scripts anew"]
fn make_scripts() {
    use std::fmt::Write;
    let mut text =
        String::from("# Made by `cargo test --test gen_state_machine_otp -- --ignored`.\n");
    let (mut made, mut seed) = (0, 0);
    while made < 480 {
        let script = random_script(&mut Rng(seed));
        seed += 1;
        let (trace, due) = play(&script, 0);
        // Some that set no timer at all are enough.
        if trace.len() < 10 || !is_robust(&script, &due) || due.is_empty() && seed % 8 != 0 {
            continue;
        }
        let _ = writeln!(text, "script {made}");
        for (at, event_type, id) in &script.sends {
            let _ = writeln!(text, "send {at} {event_type} {id}");
        }
        for on in &script.ons {
            let _ = writeln!(text, "on {on}");
        }
        made += 1;
    }
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/otp/gen_statem/scripts.txt"
    );
    std::fs::write(path, text).expect("a writable tree");
}
