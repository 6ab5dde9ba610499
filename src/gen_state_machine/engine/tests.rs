//! The engine by itself: stories of one rule each, and a comparison with a transcript of OTP's own
//! loop on random input.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::timeouts::{Setting, When};
use super::*;

type E = u32;
type N = &'static str;
type Id = TimeoutId<N>;
/// Timers are known by their numbers.
type Machine = Engine<char, E, N, u64>;

const ZERO: When = When::After(Duration::ZERO);
const SOON: When = When::After(Duration::from_millis(5));

fn keep() -> Change<char, E, N> {
    Change::new(None, None)
}

fn to(state: char) -> Change<char, E, N> {
    Change {
        state: Some(state),
        ..keep()
    }
}

impl Change<char, E, N> {
    fn postpone(mut self, event: E) -> Self {
        self.postponed = Some((EventType::Cast, event));
        self
    }
    fn insert(mut self, event: E) -> Self {
        self.inserted.push((EventType::Internal, event));
        self
    }
    fn set(mut self, id: Id, setting: Setting<E>) -> Self {
        self.timeouts.push((id, setting));
        self
    }
}

/// Commits, and starts the timers.
fn commit(machine: &mut Machine, change: Change<char, E, N>) -> Vec<Command<N, u64>> {
    let commands = machine.commit(change);
    for command in &commands {
        if let Command::Start { id, number, .. } = command {
            machine.armed(id, *number, *number);
        }
    }
    commands
}

/// Takes the events that are next, each of which changes nothing.
fn rest(machine: &mut Machine) -> Vec<E> {
    let mut events = Vec::new();
    while let Some((_, event)) = machine.next() {
        events.push(event);
        let _ = commit(machine, keep());
    }
    events
}

fn cast(machine: &mut Machine, event: E) {
    machine.receive((EventType::Cast, event));
    assert_eq!(machine.next(), Some((EventType::Cast, event)));
}

#[test]
fn postponed_events_wait_for_a_change_and_come_before_the_queue_and_after_inserted_ones() {
    let mut machine = Machine::new('a');
    for event in [1, 2] {
        cast(&mut machine, event);
        let _ = commit(&mut machine, keep().postpone(event));
        assert_eq!(machine.next(), None);
    }
    cast(&mut machine, 3);
    let _ = commit(&mut machine, keep().insert(4));
    assert_eq!(machine.next(), Some((EventType::Internal, 4)));
    let _ = commit(&mut machine, to('b').insert(5).insert(6).postpone(4));
    assert_eq!(*machine.state(), 'b');
    assert_eq!(rest(&mut machine), [5, 6, 1, 2, 4]);
}

#[test]
fn a_change_of_state_takes_the_state_timeout_back_and_keeps_those_with_names() {
    let mut machine = Machine::new('a');
    cast(&mut machine, 1);
    let started = commit(
        &mut machine,
        keep()
            .set(TimeoutId::State, Setting::Start(SOON, 31))
            .set(TimeoutId::Named("n"), Setting::Start(SOON, 32)),
    );
    assert_eq!(started.len(), 2);
    cast(&mut machine, 2);
    assert_eq!(commit(&mut machine, keep()), []);
    cast(&mut machine, 3);
    assert_eq!(commit(&mut machine, to('b')), [Command::Stop(1)]);
    assert!(!machine.fired(TimeoutId::State, 1));
    assert!(machine.fired(TimeoutId::Named("n"), 2));
    assert_eq!(machine.next(), Some((EventType::Timeout("n"), 32)));
    assert_eq!(machine.timers().count(), 0);
}

#[test]
fn any_event_takes_the_event_timeout_back_before_it_may_start_it_again() {
    let mut machine = Machine::new('a');
    cast(&mut machine, 1);
    let again = || keep().set(TimeoutId::Event, Setting::Start(SOON, 31));
    let _ = commit(&mut machine, again());
    cast(&mut machine, 2);
    let start = Command::Start {
        id: TimeoutId::Event,
        number: 2,
        when: SOON,
    };
    assert_eq!(commit(&mut machine, again()), [Command::Stop(1), start]);
    assert!(!machine.fired(TimeoutId::Event, 1));
    assert!(machine.fired(TimeoutId::Event, 2));
    assert!(!machine.fired(TimeoutId::Event, 2));
}

#[test]
fn a_zero_timeout_is_next_when_nothing_is_queued_and_an_event_timeout_only_if_nothing_was() {
    let mut machine = Machine::new('a');
    cast(&mut machine, 1);
    let zero = |event| Setting::Start(ZERO, event);
    let _ = commit(
        &mut machine,
        keep()
            .set(TimeoutId::Named("n"), zero(31))
            .set(TimeoutId::Event, zero(32))
            .set(TimeoutId::State, zero(33))
            .insert(2),
    );
    assert_eq!(rest(&mut machine), [2, 31, 33]);
    cast(&mut machine, 3);
    let _ = commit(&mut machine, keep().set(TimeoutId::Event, zero(34)));
    assert_eq!(machine.next(), Some((EventType::EventTimeout, 34)));
}

#[test]
fn an_update_is_of_the_event_alone_unless_nothing_runs() {
    let mut machine = Machine::new('a');
    let n = || TimeoutId::Named("n");
    cast(&mut machine, 1);
    let _ = commit(&mut machine, keep().set(n(), Setting::Start(SOON, 31)));
    cast(&mut machine, 2);
    let update = keep().set(n(), Setting::Update(32));
    assert_eq!(commit(&mut machine, update), []);
    assert!(machine.fired(n(), 1));
    assert_eq!(rest(&mut machine), [32]);
    cast(&mut machine, 3);
    let update = keep().set(n(), Setting::Update(33));
    assert_eq!(commit(&mut machine, update), []);
    assert_eq!(rest(&mut machine), [33]);
}

#[test]
fn an_update_keeps_the_place_of_a_zero_timeout_and_a_new_start_does_not() {
    let mut machine = Machine::new('a');
    let zero = |event| Setting::Start(ZERO, event);
    cast(&mut machine, 1);
    let _ = commit(
        &mut machine,
        keep()
            .set(TimeoutId::Named("u"), zero(31))
            .set(TimeoutId::Named("s"), zero(32))
            .set(TimeoutId::Named("x"), zero(33))
            .insert(2),
    );
    assert_eq!(machine.next(), Some((EventType::Internal, 2)));
    let _ = commit(
        &mut machine,
        keep()
            .set(TimeoutId::Named("u"), Setting::Update(34))
            .set(TimeoutId::Named("s"), zero(35)),
    );
    assert_eq!(rest(&mut machine), [34, 33, 35]);
}

#[test]
fn what_is_left_at_the_end_is_kept_and_the_state_is_the_one_it_ends_in() {
    let mut machine = Machine::new('a');
    cast(&mut machine, 1);
    machine.end(Some('b'), Some((EventType::Cast, 1)));
    assert_eq!(*machine.state(), 'b');
    assert_eq!(machine.postponed, [(EventType::Cast, 1)]);
}

// A transcript of `gen_statem`'s loop (OTP 25), with its lists, newest first where OTP's are.

/// `{TimerRef, TimeoutMsg}`; `None` is OTP's 0.
type Timer = (Option<u64>, E);

struct Otp {
    state: char,
    events: Vec<Typed<E, N>>,
    postponed: Vec<Typed<E, N>>,
    timers: BTreeMap<Id, Timer>,
    t0q: Vec<Id>,
    refs: u64,
    /// What was started since it was last looked at.
    started: Vec<(Id, u64)>,
}

impl Otp {
    fn cancel_timer(&mut self, id: &Id) {
        if let Some((None, _)) = self.timers.remove(id) {
            self.t0q.retain(|other| other != id);
        }
    }

    /// `loop_state_transition` up to `loop_done`.
    fn transition(&mut self, change: &Change<char, E, N>) {
        if let Some(event) = &change.postponed {
            self.postponed.insert(0, *event);
        }
        if let Some(state) = change.state {
            self.state = state;
            let mut events: Vec<_> = self.postponed.drain(..).rev().collect();
            events.append(&mut self.events);
            self.events = events;
            self.cancel_timer(&TimeoutId::State);
        }
        self.cancel_timer(&TimeoutId::Event);
        let mut seen: Vec<&Id> = Vec::new();
        let mut timeout_events: Vec<Id> = Vec::new();
        for (id, setting) in change.timeouts.iter().rev() {
            if seen.contains(&id) {
                continue;
            }
            seen.push(id);
            match setting {
                Setting::Cancel => self.cancel_timer(id),
                Setting::Update(event) => match self.timers.get_mut(id) {
                    Some((_, old)) => *old = *event,
                    None => {
                        self.timers.insert(id.clone(), (None, *event));
                        timeout_events.insert(0, id.clone());
                    }
                },
                Setting::Start(when, event) => {
                    self.cancel_timer(id);
                    let timer = if *when == ZERO {
                        timeout_events.insert(0, id.clone());
                        None
                    } else {
                        self.refs += 1;
                        self.started.push((id.clone(), self.refs));
                        Some(self.refs)
                    };
                    self.timers.insert(id.clone(), (timer, *event));
                }
            }
        }
        self.t0q.append(&mut timeout_events);
        let mut events = change.inserted.clone();
        events.append(&mut self.events);
        self.events = events;
    }

    /// `loop_done`.
    fn next(&mut self) -> Option<Typed<E, N>> {
        if !self.events.is_empty() {
            return Some(self.events.remove(0));
        }
        let id = self.t0q.first()?.clone();
        let (_, event) = self.timers[&id];
        self.cancel_timer(&id);
        Some((id.into(), event))
    }

    /// `loop_receive`, of a timer's message.
    fn timer(&mut self, id: &Id, timer: u64) -> bool {
        match self.timers.get(id) {
            Some((Some(known), event)) if *known == timer => {
                self.events.push((id.clone().into(), *event));
                self.timers.remove(id);
                true
            }
            _ => false,
        }
    }
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
}

fn random_change(
    rng: &mut Rng,
    state: char,
    current: &Typed<E, N>,
    fresh: &mut E,
) -> Change<char, E, N> {
    let mut new = || {
        *fresh += 1;
        *fresh
    };
    let mut change = keep();
    if rng.below(3) == 0 {
        let other = ['a', 'b', 'c'][rng.below(3) as usize];
        change.state = (other != state).then_some(other);
    }
    if rng.below(3) == 0 {
        change.postponed = Some(*current);
    }
    // Few enough for the queue to run dry.
    for _ in 0..rng.below(8).saturating_sub(5) {
        change = change.insert(new());
    }
    for _ in 0..rng.below(6).saturating_sub(2) {
        let id = [
            TimeoutId::Event,
            TimeoutId::State,
            TimeoutId::Named("x"),
            TimeoutId::Named("y"),
        ][rng.below(4) as usize]
            .clone();
        let setting = match rng.below(5) {
            0 => Setting::Cancel,
            1 => Setting::Update(new()),
            2 => Setting::Start(ZERO, new()),
            _ => Setting::Start(SOON, new()),
        };
        change = change.set(id, setting);
    }
    change
}

#[test]
fn on_random_input_it_does_as_otps_loop_does() {
    let (mut handled, mut stale, mut zeros) = (0, 0, 0);
    for seed in 0..2_000 {
        let mut rng = Rng(seed);
        let mut machine = Machine::new('a');
        let mut otp = Otp {
            state: 'a',
            events: Vec::new(),
            postponed: Vec::new(),
            timers: BTreeMap::new(),
            t0q: Vec::new(),
            refs: 0,
            started: Vec::new(),
        };
        let mut fresh = 0;
        // All timers ever started, stopped ones too: their messages may be in the mailbox.
        let mut timers: Vec<(Id, u64, u64)> = Vec::new();
        for _ in 0..60 {
            if !timers.is_empty() && rng.below(2) == 0 {
                let n = rng.below(timers.len() as u64) as usize;
                let (id, number, otps) = timers.swap_remove(n);
                let fires = machine.fired(id.clone(), number);
                assert_eq!(fires, otp.timer(&id, otps), "seed {seed}");
                stale += u32::from(!fires);
            } else {
                fresh += 1;
                machine.receive((EventType::Cast, fresh));
                otp.events.push((EventType::Cast, fresh));
            }
            for _ in 0..200 {
                let next = machine.next();
                assert_eq!(next, otp.next(), "seed {seed}");
                let Some(event) = next else {
                    break;
                };
                handled += 1;
                zeros += u32::from(!otp.t0q.is_empty());
                let change = random_change(&mut rng, *machine.state(), &event, &mut fresh);
                otp.transition(&change);
                let commands = commit(&mut machine, change);
                assert_eq!(*machine.state(), otp.state, "seed {seed}");
                let mut starts = 0;
                for command in &commands {
                    if let Command::Start { id, number, .. } = command {
                        let (_, otps) = otp
                            .started
                            .iter()
                            .find(|(started, _)| started == id)
                            .unwrap_or_else(|| panic!("seed {seed}: {id:?} is not started"));
                        timers.push((id.clone(), *number, *otps));
                        starts += 1;
                    }
                }
                assert_eq!(starts, otp.started.len(), "seed {seed}");
                otp.started.clear();
                let running = otp.timers.values().filter(|timer| timer.0.is_some());
                assert_eq!(machine.timers().count(), running.count(), "seed {seed}");
            }
        }
    }
    assert!(
        handled > 100_000 && stale > 1_000 && zeros > 1_000,
        "it was tried: {handled}, {stale}, {zeros}"
    );
}
