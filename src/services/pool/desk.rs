//! Who has which worker and who waits for one: pure. It is told what happened, and says what is to be
//! done.
//!
//! ```text
//!            up                grant                     check in
//!   ABSENT ──────▶ FREE ─────────────────▶ LENT ─────────────────▶ FREE, or to the next in the queue
//!     ▲              │ down                 │ down
//!     └──────────────┴──────────────────────┘
//! ```
//! A place is for a worker. Those of the pool's size are there for good: a worker that ends is started
//! again by the supervisor, in its place. Extra ones, up to the overflow, come when somebody waits and go
//! when nobody does.
//!
//! # Invariants
//! 1. Somebody waits only while no worker is free.
//! 2. A loan is one grant: ended once, by its return, its borrower's end or its worker's. What comes for a
//!    loan that has ended is nothing.
//! 3. There are at most `overflow` extra places.
//! 4. Exactly the borrowers that have something or wait for something are watched.
//! 5. Nobody is lent a worker that is known to be dead: who saw it die may give it back before the pool
//!    hears of that.
//! 6. Somebody waits only while there is a place: of a worker that is there, that comes, or that its
//!    supervisor starts again. So nobody waits for nothing.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use crate::{ExitReason, Pid, StartError};

/// What a decision depends on besides what happened before.
pub(super) trait Outside {
    /// The time.
    fn now(&self) -> Duration;
    /// Whether a worker lives. That it does not may be seen before it is heard of.
    fn is_alive(&self, worker: Pid) -> bool;
}

/// A place for a worker.
pub(super) type Place = u64;
/// One grant.
pub(super) type Loan = u64;

#[derive(Debug)]
struct Seat {
    /// Who works there now.
    worker: Option<Pid>,
    loan: Option<Loan>,
    extra: bool,
}

/// Somebody who waits, with what is needed to answer, `T`.
#[derive(Debug)]
struct Waiter<T> {
    to: T,
    borrower: Option<Pid>,
    deadline: Option<Duration>,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Order<T> {
    /// Lend the worker of `place`.
    Grant { to: T, place: Place, loan: Loan },
    /// There are too many waiting already.
    Refuse(T),
    /// There is no worker, and this is what became of the one that was to come.
    Fail { to: T, why: StartError },
    /// Start a worker in a new extra place.
    Start(Place),
    /// Stop the worker of an extra place, which is gone.
    Stop(Place),
    /// Monitor a borrower.
    Watch(Pid),
    /// No longer.
    Unwatch(Pid),
}

#[derive(Debug)]
pub(super) struct Desk<T> {
    places: BTreeMap<Place, Seat>,
    /// Free workers, the last used at the end: it goes first, as it is the warmest.
    free: Vec<Place>,
    loans: BTreeMap<Loan, (Place, Option<Pid>)>,
    queue: VecDeque<Waiter<T>>,
    /// How many loans and places in the queue each borrower has.
    borrowers: HashMap<Pid, usize>,
    orders: Vec<Order<T>>,
    size: usize,
    overflow: usize,
    max_waiting: usize,
    last: u64,
}

/// How the pool does.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Figures {
    pub(super) workers: usize,
    pub(super) free: usize,
    pub(super) lent: usize,
    pub(super) extra: usize,
    pub(super) waiting: usize,
}

impl<T> Desk<T> {
    /// With places 0 to `size` - 1, whose workers are not there yet.
    pub(super) fn new(size: usize, overflow: usize, max_waiting: usize) -> Self {
        let places = (0..size as u64).map(|place| (place, Seat::new(false)));
        Desk {
            places: places.collect(),
            free: Vec::new(),
            loans: BTreeMap::new(),
            queue: VecDeque::new(),
            borrowers: HashMap::new(),
            orders: Vec::new(),
            size,
            overflow,
            max_waiting,
            last: size as u64,
        }
    }

    /// What is to be done, in this order, because of all that happened since this was asked.
    #[must_use = "what is not done now is never done"]
    pub(super) fn orders(&mut self) -> Vec<Order<T>> {
        std::mem::take(&mut self.orders)
    }

    /// Somebody wants a worker by `deadline`.
    pub(super) fn check_out(
        &mut self,
        to: T,
        borrower: Option<Pid>,
        deadline: Option<Duration>,
        outside: &impl Outside,
    ) {
        let waiter = Waiter {
            to,
            borrower,
            deadline,
        };
        while let Some(place) = self.free.pop() {
            if self.is_fit(place, outside) {
                self.watch(borrower);
                return self.grant(waiter, place);
            }
        }
        self.give_up(outside.now());
        // Extra workers that come, or can be had, are for the first in the queue.
        let coming = self.coming() + usize::from(self.extras() < self.overflow);
        // Without any place nobody may wait at all.
        if self.size + self.overflow == 0
            || self.queue.len() >= self.max_waiting.saturating_add(coming)
        {
            return self.orders.push(Order::Refuse(waiter.to));
        }
        self.watch(borrower);
        self.queue.push_back(waiter);
        self.start_extra();
    }

    /// A loan has ended.
    pub(super) fn check_in(&mut self, loan: Loan, outside: &impl Outside) {
        let Some((place, borrower)) = self.loans.get(&loan).copied() else {
            return;
        };
        if !self.is_fit(place, outside) {
            return;
        }
        self.loans.remove(&loan);
        self.unwatch(borrower);
        if let Some(seat) = self.places.get_mut(&place) {
            seat.loan = None;
        }
        self.serve(place, outside);
    }

    /// A worker has been started in `place`. `false`: there is no such place any more.
    #[must_use = "`false` leaves it to the caller to stop the worker"]
    pub(super) fn up(&mut self, place: Place, worker: Pid, outside: &impl Outside) -> bool {
        let Some(before) = self.places.get(&place).map(|seat| seat.worker) else {
            return false;
        };
        if let Some(before) = before {
            // It is dead, though that was not heard yet.
            self.clear(place, before);
        }
        if let Some(seat) = self.places.get_mut(&place) {
            seat.worker = Some(worker);
        }
        self.serve(place, outside);
        true
    }

    /// A worker has ended. One that was replaced already is nothing.
    pub(super) fn down(&mut self, place: Place, worker: Pid, why: ExitReason) {
        let Some(was_lent) = self.clear(place, worker) else {
            return;
        };
        if self.places.get(&place).is_some_and(|seat| seat.extra) {
            self.places.remove(&place);
            match was_lent {
                true => self.start_extra(),
                // One that ended before anybody had it is not tried again at once.
                false => self.fail(StartError::Init(why)),
            }
        }
    }

    /// Takes a worker from its place; whether it was lent. `None`: it was not there.
    fn clear(&mut self, place: Place, worker: Pid) -> Option<bool> {
        let seat = self.places.get_mut(&place)?;
        if seat.worker != Some(worker) {
            return None;
        }
        seat.worker = None;
        let Some(loan) = seat.loan.take() else {
            self.free.retain(|free| *free != place);
            return Some(false);
        };
        if let Some((_, borrower)) = self.loans.remove(&loan) {
            self.unwatch(borrower);
        }
        Some(true)
    }

    /// A worker was not started. That of a place for good is its supervisor's to try again; an extra one
    /// is not tried again until somebody else asks, and costs who waits for it its place in the queue if
    /// no other worker can come.
    pub(super) fn not_up(&mut self, place: Place, why: StartError) {
        let seat = self.places.get(&place);
        if seat.is_some_and(|seat| seat.extra && seat.worker.is_none()) {
            self.places.remove(&place);
            self.fail(why);
        }
    }

    /// A watched borrower has ended: what it had comes back, and it waits no longer.
    pub(super) fn borrower_down(&mut self, borrower: Pid, outside: &impl Outside) {
        if self.borrowers.remove(&borrower).is_none() {
            return;
        }
        self.queue
            .retain(|waiter| waiter.borrower != Some(borrower));
        let had = self.loans.iter();
        let had: Vec<Loan> = had
            .filter(|(_, (_, by))| *by == Some(borrower))
            .map(|(loan, _)| *loan)
            .collect();
        for loan in had {
            self.check_in(loan, outside);
        }
    }

    pub(super) fn figures(&mut self, now: Duration) -> Figures {
        let (late, waiting): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.queue)
            .into_iter()
            .partition(|waiter| waiter.is_late(now));
        self.queue = waiting;
        for waiter in late {
            self.unwatch(waiter.borrower);
        }
        let workers = self.places.values();
        Figures {
            workers: workers.filter(|seat| seat.worker.is_some()).count(),
            free: self.free.len(),
            lent: self.loans.len(),
            extra: self.extras(),
            waiting: self.queue.len(),
        }
    }

    /// Whether there is a living worker in a place; one that is dead is treated as if that had been
    /// heard of.
    fn is_fit(&mut self, place: Place, outside: &impl Outside) -> bool {
        let worker = self.places.get(&place).and_then(|seat| seat.worker);
        match worker {
            Some(worker) if outside.is_alive(worker) => true,
            Some(worker) => {
                self.down(place, worker, ExitReason::NoProc);
                false
            }
            None => false,
        }
    }

    /// How many extra places there are.
    fn extras(&self) -> usize {
        // Those for good are never removed.
        self.places.len() - self.size
    }

    /// How many extra workers are being started.
    fn coming(&self) -> usize {
        let extra = self.places.values().filter(|seat| seat.extra);
        extra.filter(|seat| seat.worker.is_none()).count()
    }

    /// Forgets those at the head of the queue who have stopped waiting. (Those further back are met
    /// when they get there.)
    fn give_up(&mut self, now: Duration) {
        while self.queue.front().is_some_and(|waiter| waiter.is_late(now)) {
            if let Some(waiter) = self.queue.pop_front() {
                self.unwatch(waiter.borrower);
            }
        }
    }

    fn grant(&mut self, waiter: Waiter<T>, place: Place) {
        self.last += 1;
        let loan = self.last;
        self.loans.insert(loan, (place, waiter.borrower));
        if let Some(seat) = self.places.get_mut(&place) {
            seat.loan = Some(loan);
        }
        let to = waiter.to;
        self.orders.push(Order::Grant { to, place, loan });
    }

    /// A worker is free: for who has waited longest, or until it is wanted; an extra one goes.
    fn serve(&mut self, place: Place, outside: &impl Outside) {
        if !self.is_fit(place, outside) {
            return;
        }
        self.give_up(outside.now());
        if let Some(waiter) = self.queue.pop_front() {
            return self.grant(waiter, place);
        }
        if self.places.get(&place).is_some_and(|seat| seat.extra) {
            self.places.remove(&place);
            return self.orders.push(Order::Stop(place));
        }
        self.free.push(place);
    }

    /// Has an extra worker started if more wait than are being started already.
    fn start_extra(&mut self) {
        if self.coming() < self.queue.len() && self.extras() < self.overflow {
            self.last += 1;
            self.places.insert(self.last, Seat::new(true));
            self.orders.push(Order::Start(self.last));
        }
    }

    /// A worker that was to come does not. If there is no other, who has waited longest hears of it, and
    /// another is tried for the next: each is worth a start.
    fn fail(&mut self, why: StartError) {
        if !self.places.is_empty() {
            return;
        }
        if let Some(waiter) = self.queue.pop_front() {
            self.unwatch(waiter.borrower);
            let to = waiter.to;
            self.orders.push(Order::Fail { to, why });
        }
        self.start_extra();
    }

    fn watch(&mut self, borrower: Option<Pid>) {
        let Some(borrower) = borrower else { return };
        let count = self.borrowers.entry(borrower).or_default();
        *count += 1;
        if *count == 1 {
            self.orders.push(Order::Watch(borrower));
        }
    }

    fn unwatch(&mut self, borrower: Option<Pid>) {
        let Some(borrower) = borrower else { return };
        // One that has ended is not watched any more.
        let Some(count) = self.borrowers.get_mut(&borrower) else {
            return;
        };
        *count -= 1;
        if *count == 0 {
            self.borrowers.remove(&borrower);
            self.orders.push(Order::Unwatch(borrower));
        }
    }
}

impl<T> Waiter<T> {
    fn is_late(&self, now: Duration) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }
}

impl Seat {
    fn new(extra: bool) -> Self {
        Seat {
            worker: None,
            loan: None,
            extra,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);
    const THEN: At = At(NOW);

    /// All workers live, except the one of 666.
    struct At(Duration);

    impl Outside for At {
        fn now(&self) -> Duration {
            self.0
        }
        fn is_alive(&self, worker: Pid) -> bool {
            worker.id() != 666
        }
    }

    fn pid(id: u32) -> Pid {
        Pid::local(1, id, 1)
    }

    /// A desk whose workers, 100 in place 0 and so on, are there.
    fn desk(size: usize, overflow: usize, max_waiting: usize) -> Desk<&'static str> {
        let mut desk = Desk::new(size, overflow, max_waiting);
        for place in 0..size as u64 {
            assert!(desk.up(place, pid(100 + place as u32), &THEN));
        }
        assert_eq!(desk.orders(), []);
        desk
    }

    fn check_out(desk: &mut Desk<&'static str>, to: &'static str) -> Vec<Order<&'static str>> {
        desk.check_out(to, None, None, &THEN);
        desk.orders()
    }

    /// The place and the loan of a grant, and to whom.
    #[track_caller]
    fn granted(orders: &[Order<&'static str>]) -> (&'static str, Place, Loan) {
        match orders {
            [Order::Grant { to, place, loan }] => (to, *place, *loan),
            other => panic!("no grant: {other:?}"),
        }
    }

    #[test]
    fn who_waited_longest_is_next() {
        let mut desk = desk(1, 0, 9);
        let (_, _, loan) = granted(&check_out(&mut desk, "a"));
        assert_eq!(check_out(&mut desk, "b"), []);
        assert_eq!(check_out(&mut desk, "c"), []);
        desk.check_in(loan, &THEN);
        assert_eq!(granted(&desk.orders()).0, "b");
        // Again for a loan that has ended: nothing.
        desk.check_in(loan, &THEN);
        assert_eq!(desk.orders(), []);
        assert_eq!(desk.figures(NOW).waiting, 1);
    }

    #[test]
    fn the_worker_used_last_is_lent_first() {
        let mut desk = desk(3, 0, 0);
        let (_, first, loan) = granted(&check_out(&mut desk, "a"));
        let _ = check_out(&mut desk, "b");
        desk.check_in(loan, &THEN);
        assert_eq!(granted(&check_out(&mut desk, "c")).1, first);
    }

    #[test]
    fn too_many_are_refused() {
        let mut desk = desk(1, 0, 1);
        let _ = check_out(&mut desk, "a");
        assert_eq!(check_out(&mut desk, "b"), []);
        assert_eq!(check_out(&mut desk, "c"), [Order::Refuse("c")]);
    }

    #[test]
    fn who_gave_up_gets_nothing_and_takes_no_room() {
        let mut desk = desk(1, 0, 1);
        let (_, _, loan) = granted(&check_out(&mut desk, "a"));
        desk.check_out(
            "b",
            Some(pid(7)),
            Some(NOW),
            &At(NOW - Duration::from_secs(1)),
        );
        assert_eq!(desk.orders(), [Order::Watch(pid(7))]);
        assert_eq!(desk.figures(NOW).waiting, 0);
        assert_eq!(desk.orders(), [Order::Unwatch(pid(7))]);
        assert_eq!(check_out(&mut desk, "c"), []);
        desk.check_in(loan, &THEN);
        assert_eq!(granted(&desk.orders()).0, "c");
    }

    #[test]
    fn an_extra_worker_comes_for_who_waits_and_goes_when_nobody_does() {
        let mut desk = desk(1, 1, 0);
        let _ = check_out(&mut desk, "a");
        let extra = match check_out(&mut desk, "b")[..] {
            [Order::Start(extra)] => extra,
            ref other => panic!("{other:?}"),
        };
        assert_eq!(check_out(&mut desk, "c"), [Order::Refuse("c")]);
        assert!(desk.up(extra, pid(50), &THEN));
        let (to, place, loan) = granted(&desk.orders());
        assert_eq!((to, place), ("b", extra));
        desk.check_in(loan, &THEN);
        assert_eq!(desk.orders(), [Order::Stop(extra)]);
        desk.down(extra, pid(50), ExitReason::Normal);
        assert_eq!(desk.orders(), []);
        assert_eq!(desk.figures(NOW).extra, 0);
    }

    #[test]
    fn an_extra_worker_that_came_for_nobody_goes_again() {
        let mut desk = desk(1, 1, 0);
        let (_, _, loan) = granted(&check_out(&mut desk, "a"));
        let orders = check_out(&mut desk, "b");
        let [Order::Start(extra)] = orders[..] else {
            panic!("{orders:?}")
        };
        desk.check_in(loan, &THEN);
        assert_eq!(granted(&desk.orders()).0, "b");
        assert!(desk.up(extra, pid(50), &THEN));
        assert_eq!(desk.orders(), [Order::Stop(extra)]);
    }

    #[test]
    fn an_extra_worker_that_fails_is_tried_again_when_somebody_asks() {
        let mut desk = desk(1, 1, 9);
        let _ = check_out(&mut desk, "a");
        let orders = check_out(&mut desk, "b");
        let [Order::Start(extra)] = orders[..] else {
            panic!("{orders:?}")
        };
        desk.not_up(extra, StartError::Refused);
        assert_eq!(desk.orders(), []);
        assert!(!desk.up(extra, pid(50), &THEN), "its place is gone");
        assert!(matches!(check_out(&mut desk, "c")[..], [Order::Start(_)]));
        // The one that was there for good is not forgotten for a failed start.
        desk.not_up(0, StartError::Refused);
        assert_eq!(desk.figures(NOW).workers, 1);
    }

    /// The place that is to be filled.
    #[track_caller]
    fn started(orders: &[Order<&'static str>]) -> Place {
        match orders {
            [Order::Start(place)] => *place,
            other => panic!("no start: {other:?}"),
        }
    }

    #[test]
    fn who_waits_for_the_only_worker_that_could_come_hears_that_it_does_not() {
        let mut desk: Desk<&str> = Desk::new(0, 1, 9);
        desk.check_out("a", Some(pid(7)), None, &THEN);
        let orders = desk.orders();
        assert_eq!(orders[0], Order::Watch(pid(7)));
        let extra = started(&orders[1..]);
        assert_eq!(check_out(&mut desk, "b"), []);
        let why = StartError::Refused;
        desk.not_up(extra, why.clone());
        // For the next it is tried once more.
        let [
            Order::Unwatch(_),
            Order::Fail { to: "a", why: told },
            Order::Start(second),
        ] = &desk.orders()[..]
        else {
            panic!("nobody was told");
        };
        assert_eq!(*told, why);
        assert!(desk.up(*second, pid(50), &THEN));
        assert_eq!(granted(&desk.orders()).0, "b");
        assert_eq!(desk.figures(NOW).waiting, 0);
    }

    #[test]
    fn one_that_ended_before_anybody_had_it_is_one_that_did_not_start() {
        let mut desk: Desk<&str> = Desk::new(0, 1, 9);
        let extra = started(&check_out(&mut desk, "a"));
        assert!(desk.up(extra, pid(666), &THEN));
        let why = StartError::Init(ExitReason::NoProc);
        assert_eq!(desk.orders(), [Order::Fail { to: "a", why }]);
        desk.down(extra, pid(666), ExitReason::Kill);
        assert_eq!(desk.orders(), []);
    }

    #[test]
    fn who_can_have_another_worker_waits_for_that() {
        let mut desk: Desk<&str> = Desk::new(0, 2, 9);
        let first = started(&check_out(&mut desk, "a"));
        assert!(desk.up(first, pid(50), &THEN));
        let (_, _, loan) = granted(&desk.orders());
        let second = started(&check_out(&mut desk, "b"));
        desk.not_up(second, StartError::Refused);
        assert_eq!(desk.orders(), [], "the first may come back");
        desk.check_in(loan, &THEN);
        assert_eq!(granted(&desk.orders()).0, "b");
        // It ends: another is tried, and if that fails, there is none.
        assert_eq!(check_out(&mut desk, "c"), [Order::Start(second + 2)]);
        desk.not_up(second + 2, StartError::Refused);
        desk.down(first, pid(50), ExitReason::Kill);
        let third = started(&desk.orders());
        desk.not_up(third, StartError::Timeout);
        let why = StartError::Timeout;
        assert_eq!(desk.orders(), [Order::Fail { to: "c", why }]);
    }

    #[test]
    fn a_desk_without_places_refuses_everybody() {
        let mut desk: Desk<&str> = Desk::new(0, 0, 9);
        assert_eq!(check_out(&mut desk, "a"), [Order::Refuse("a")]);
    }

    #[test]
    fn a_worker_that_ends_is_lent_again_once_it_is_replaced() {
        let mut desk = desk(1, 0, 9);
        let (_, place, loan) = granted(&check_out(&mut desk, "a"));
        desk.down(place, pid(100), ExitReason::Normal);
        assert_eq!(check_out(&mut desk, "b"), []);
        assert!(desk.up(place, pid(101), &THEN));
        let (to, _, second) = granted(&desk.orders());
        assert_eq!(to, "b");
        // The first borrower's return is not the second's.
        desk.check_in(loan, &THEN);
        assert_eq!(desk.figures(NOW).lent, 1);
        desk.check_in(second, &THEN);
        assert_eq!(desk.figures(NOW).free, 1);
    }

    #[test]
    fn a_replacement_that_is_heard_of_before_the_end_is_one_worker_all_the_same() {
        for lent in [false, true] {
            let mut desk = desk(1, 0, 9);
            if lent {
                let _ = check_out(&mut desk, "a");
            }
            assert!(desk.up(0, pid(101), &THEN));
            desk.down(0, pid(100), ExitReason::Normal);
            let figures = desk.figures(NOW);
            assert_eq!((figures.workers, figures.free, figures.lent), (1, 1, 0));
        }
    }

    #[test]
    fn a_free_worker_that_ends_is_not_lent() {
        let mut desk = desk(1, 0, 9);
        desk.down(0, pid(100), ExitReason::Normal);
        assert_eq!(check_out(&mut desk, "a"), []);
        assert_eq!(desk.figures(NOW).workers, 0);
    }

    #[test]
    fn a_borrower_that_ends_gives_back_all_and_waits_no_longer() {
        let mut desk = desk(2, 0, 9);
        let borrower = Some(pid(7));
        for to in ["a", "b", "c"] {
            desk.check_out(to, borrower, None, &THEN);
        }
        let orders = desk.orders();
        assert_eq!(orders[0], Order::Watch(pid(7)));
        assert_eq!(orders.len(), 3, "watched once, and two grants: {orders:?}");
        desk.check_out("d", Some(pid(8)), None, &THEN);
        let _ = desk.orders();
        desk.borrower_down(pid(7), &THEN);
        assert_eq!(granted(&desk.orders()).0, "d");
        let figures = desk.figures(NOW);
        assert_eq!((figures.free, figures.lent, figures.waiting), (1, 1, 0));
    }

    #[test]
    fn a_borrower_is_watched_while_it_has_something() {
        let mut desk = desk(2, 0, 9);
        let mut loans = Vec::new();
        for to in ["a", "b"] {
            desk.check_out(to, Some(pid(7)), None, &THEN);
            loans.extend(desk.orders().into_iter().filter_map(|order| match order {
                Order::Grant { loan, .. } => Some(loan),
                _ => None,
            }));
        }
        desk.check_in(loans[0], &THEN);
        assert_eq!(desk.orders(), []);
        desk.check_in(loans[1], &THEN);
        assert_eq!(desk.orders(), [Order::Unwatch(pid(7))]);
    }

    #[test]
    fn a_worker_whose_end_was_not_heard_of_is_not_lent() {
        // Given back by who saw it die.
        let mut desk: Desk<&str> = Desk::new(2, 0, 9);
        assert!(desk.up(0, pid(100), &THEN));
        let (_, place, loan) = granted(&check_out(&mut desk, "a"));
        assert_eq!(check_out(&mut desk, "b"), []);
        desk.places.get_mut(&place).unwrap().worker = Some(pid(666));
        desk.check_in(loan, &THEN);
        assert_eq!(desk.orders(), []);
        let figures = desk.figures(NOW);
        assert_eq!((figures.workers, figures.lent, figures.waiting), (0, 0, 1));
        // An extra one is replaced for who waits, as it would be if its end had been heard of.
        let mut extra: Desk<&str> = Desk::new(0, 1, 9);
        let orders = check_out(&mut extra, "a");
        let [Order::Start(place)] = orders[..] else {
            panic!("{orders:?}")
        };
        assert!(extra.up(place, pid(100), &THEN));
        let (_, _, loan) = granted(&extra.orders());
        assert_eq!(check_out(&mut extra, "b"), []);
        extra.places.get_mut(&place).unwrap().worker = Some(pid(666));
        extra.check_in(loan, &THEN);
        assert!(matches!(extra.orders()[..], [Order::Start(_)]));
        // Died while it was free.
        assert!(desk.up(0, pid(101), &THEN));
        assert_eq!(granted(&desk.orders()).0, "b");
        assert!(desk.up(1, pid(102), &THEN));
        desk.places.get_mut(&1).unwrap().worker = Some(pid(666));
        assert_eq!(check_out(&mut desk, "c"), []);
        desk.down(1, pid(666), ExitReason::Normal);
        assert_eq!(desk.figures(NOW).workers, 1);
    }
}
