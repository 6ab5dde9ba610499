//! The event bus through the public API.

mod support;

use std::sync::Arc;
use std::time::Duration;

use noex::prelude::*;
use noex::services::{
    BusError, EventBus, EventBusRef, PublishError, Published, SubscriptionId, TopicError,
};
use noex::{CallError, Inbox, MailboxPolicy, Overflow, Received, Recipient, SpawnOptions, System};

use support::{DEADLINE, Gate, end_of, gate, next, on_all, reports, until};

fn bus(system: &System) -> EventBusRef<u32> {
    let start = EventBus::new().start(system);
    start.wait_timeout(DEADLINE).expect("a bus")
}

fn subscribe<E: Send + Sync + 'static>(
    bus: &EventBusRef<E>,
    pattern: &str,
    to: &Recipient<Published<E>>,
) -> SubscriptionId {
    let subscription = bus.subscribe(pattern, to.clone());
    subscription.wait_timeout(DEADLINE).expect("a subscription")
}

fn count(bus: &EventBusRef<u32>) -> usize {
    let count = bus.subscription_count();
    count.wait_timeout(DEADLINE).expect("a count")
}

/// A process that reports the topic and the payload of each event.
fn listener(
    system: &System,
) -> (
    Recipient<Published<u32>>,
    std::sync::mpsc::Receiver<(String, u32)>,
) {
    let (send, heard) = reports();
    let process = system
        .spawn(move |mut cx: Inbox<Published<u32>>| async move {
            loop {
                if let Received::Message(event) = cx.recv().await {
                    let _ = send.send((event.topic().to_owned(), *event));
                }
            }
        })
        .expect("a process");
    (process, heard)
}

#[test]
fn events_reach_those_whose_pattern_matches() {
    on_all(|system| {
        let bus = bus(system);
        let (process, heard) = listener(system);
        subscribe(&bus, "orders.*.paid", &process);
        for (topic, n) in [
            ("orders.eu.paid", 1),
            ("orders.eu.shipped", 2),
            ("orders.paid", 3),
            ("orders.us.paid", 4),
        ] {
            bus.publish(topic, n).unwrap();
        }
        assert_eq!(next(system, &heard), ("orders.eu.paid".into(), 1));
        assert_eq!(next(system, &heard), ("orders.us.paid".into(), 4));
        // All that was published has been distributed by the time this is answered.
        assert_eq!(count(&bus), 1);
        assert!(heard.try_recv().is_err());
    });
}

#[test]
fn each_subscription_gets_one_delivery_in_the_order_of_publishing() {
    on_all(|system| {
        let bus = bus(system);
        let (process, heard) = listener(system);
        subscribe(&bus, "a.b", &process);
        subscribe(&bus, "a.*", &process);
        subscribe(&bus, "*", &process);
        subscribe(&bus, "b", &process);
        for n in 1..=3 {
            let delivery = bus.publish_sync("a.b", n).wait_timeout(DEADLINE).unwrap();
            assert_eq!((delivery.delivered, delivery.refused), (3, 0));
        }
        let all: Vec<u32> = heard.try_iter().map(|(_, n)| n).collect();
        assert_eq!(all, [1, 1, 1, 2, 2, 2, 3, 3, 3]);
    });
}

#[test]
fn a_slow_subscriber_keeps_no_other_waiting() {
    on_all(|system| {
        let bus = bus(system);
        let (slow, quick) = (reports(), reports());
        let (wait, open) = gate();
        let stuck = system
            .spawn(move |mut cx: Inbox<Published<u32>>| async move {
                wait.await;
                while let Received::Message(event) = cx.recv().await {
                    let _ = slow.0.send(*event);
                }
            })
            .unwrap();
        subscribe(&bus, "*", &stuck);
        let subscription = bus.subscribe_fn("*", move |event| {
            let _ = quick.0.send(**event);
        });
        subscription.wait_timeout(DEADLINE).unwrap();
        bus.publish("a", 1).unwrap();
        assert_eq!(next(system, &quick.1), 1);
        assert!(slow.1.try_recv().is_err());
        open.open();
        assert_eq!(next(system, &slow.1), 1);
    });
}

#[test]
fn publish_sync_waits_until_all_have_handled_the_event() {
    on_all(|system| {
        let bus = bus(system);
        let (wait, open) = gate();
        let (send, handled) = reports();
        let process = system
            .spawn(move |mut cx: Inbox<Published<u32>>| async move {
                let event = cx.recv().await;
                wait.await;
                let _ = send.send("process");
                drop(event);
            })
            .unwrap();
        subscribe(&bus, "a", &process);
        let (send, seen) = reports();
        let closure = bus.subscribe_fn("a", move |_| send.send(()).unwrap());
        closure.wait_timeout(DEADLINE).unwrap();
        let mut publish = Box::pin(bus.publish_sync_within("a", 1, None));
        next(system, &seen);
        assert!(poll_once(&mut publish).is_none(), "one is not done");
        open.open();
        let delivery = (*std::pin::Pin::into_inner(publish)).wait_timeout(DEADLINE);
        assert_eq!(delivery.unwrap().delivered, 2);
        assert_eq!(handled.try_recv(), Ok("process"));
    });
}

/// The output, if it is there.
fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::Pin::new(future).poll(&mut cx) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

#[test]
fn publish_sync_does_not_wait_for_the_dead() {
    on_all(|system| {
        let bus = bus(system);
        let deaf = system
            .spawn(move |_cx: Inbox<Published<u32>>| Gate::default())
            .unwrap();
        subscribe(&bus, "a", &deaf);
        let fragile = bus.subscribe_fn("a", |_| panic!("no"));
        fragile.wait_timeout(DEADLINE).unwrap();
        let publish = bus.publish_sync_within("a", 1, None);
        let late = bus.publish_sync_within("a", 2, Duration::from_millis(20));
        assert_eq!(
            late.wait_timeout(DEADLINE),
            Err(BusError::Call(CallError::Timeout))
        );
        system.exit(deaf.pid(), ExitReason::Kill);
        assert_eq!(publish.wait_timeout(DEADLINE).unwrap().delivered, 2);
        let nobody = bus.publish_sync("b", 3).wait_timeout(DEADLINE).unwrap();
        assert_eq!(nobody.delivered, 0);
    });
}

#[test]
fn an_acknowledged_payload_can_be_kept() {
    on_all(|system| {
        let bus = bus(system);
        let (send, kept) = reports::<Arc<u32>>();
        let keeper = system
            .spawn(move |mut cx: Inbox<Published<u32>>| async move {
                while let Received::Message(event) = cx.recv().await {
                    let _ = send.send(event.acknowledge());
                }
            })
            .unwrap();
        subscribe(&bus, "*", &keeper);
        bus.publish_sync("a", 7).wait_timeout(DEADLINE).unwrap();
        assert_eq!(*next(system, &kept), 7);
    });
}

#[test]
fn what_was_published_before_unsubscribing_arrives_and_nothing_after() {
    on_all(|system| {
        let bus = bus(system);
        let (process, heard) = listener(system);
        let (send, called) = reports();
        let to_process = subscribe(&bus, "a", &process);
        let to_closure = bus.subscribe_fn("a", move |event| send.send(**event).unwrap());
        let to_closure = to_closure.wait_timeout(DEADLINE).unwrap();
        bus.publish("a", 1).unwrap();
        for subscription in [to_process, to_closure] {
            let was = |bus: &EventBusRef<u32>| bus.unsubscribe(subscription);
            assert_eq!(was(&bus).wait_timeout(DEADLINE), Ok(true));
            assert_eq!(was(&bus).wait_timeout(DEADLINE), Ok(false));
        }
        let after = bus.publish_sync("a", 2).wait_timeout(DEADLINE).unwrap();
        assert_eq!(after.delivered, 0);
        assert_eq!(next(system, &heard).1, 1);
        assert_eq!(next(system, &called), 1);
        // The closure goes with its process.
        until(system, || {
            called.try_recv() == Err(std::sync::mpsc::TryRecvError::Disconnected)
        });
        bus.stop(ExitReason::Normal).wait_timeout(DEADLINE).unwrap();
        assert!(bus.unsubscribe(to_process).wait_timeout(DEADLINE).is_err());
    });
}

#[test]
fn a_subscriber_that_dies_is_forgotten() {
    on_all(|system| {
        let bus = bus(system);
        let (process, _heard) = listener(system);
        let (other, heard) = listener(system);
        subscribe(&bus, "a", &process);
        subscribe(&bus, "b.*", &process);
        subscribe(&bus, "a", &other);
        let closure = bus.subscribe_fn("c", |_| panic!("no"));
        closure.wait_timeout(DEADLINE).unwrap();
        assert_eq!(count(&bus), 4);
        system.exit(process.pid(), ExitReason::Kill);
        bus.publish("c", 0).unwrap();
        until(system, || count(&bus) == 1);
        let topics = bus.topics().wait_timeout(DEADLINE).unwrap();
        assert_eq!(topics, [("a".to_owned(), 1)]);
        bus.publish("a", 5).unwrap();
        assert_eq!(next(system, &heard).1, 5);
        // One that is dead already is forgotten, too.
        subscribe(&bus, "a", &process);
        until(system, || count(&bus) == 1);
    });
}

#[test]
fn counts_and_topics_tell_who_listens_to_what() {
    on_all(|system| {
        let bus = bus(system);
        let (process, _heard) = listener(system);
        for pattern in ["a.*", "a.b", "a.b", "*"] {
            subscribe(&bus, pattern, &process);
        }
        let of = |topic: &str| bus.subscriptions_of(topic).wait_timeout(DEADLINE).unwrap();
        assert_eq!((of("a.b"), of("a.c"), of("c"), of("a.*")), (4, 2, 1, 0));
        let topics = bus.topics().wait_timeout(DEADLINE).unwrap();
        let expected = [("*", 1), ("a.*", 1), ("a.b", 2)];
        assert_eq!(topics, expected.map(|(p, n)| (p.to_owned(), n)));
    });
}

#[test]
fn what_is_no_topic_is_refused_and_comes_back() {
    on_all(|system| {
        let bus = bus(system);
        let refused = bus.publish("a.*", 9);
        assert_eq!(refused, Err(PublishError::Topic(TopicError::Wildcard, 9)));
        let empty = bus.publish_sync("a..b", 9).wait_timeout(DEADLINE);
        assert_eq!(empty, Err(BusError::Topic(TopicError::EmptySegment)));
        let bad = bus.subscribe_fn("a*", |_| {}).wait_timeout(DEADLINE);
        assert_eq!(bad, Err(BusError::Topic(TopicError::Wildcard)));
        assert_eq!(count(&bus), 0);
    });
}

#[test]
fn full_mailboxes_are_told_of() {
    on_all(|system| {
        let reject = |capacity| MailboxPolicy::Bounded {
            capacity,
            overflow: Overflow::Reject,
        };
        let start = EventBus::new().mailbox(reject(100)).start(system);
        let bus = start.wait_timeout(DEADLINE).unwrap();
        let (wait, open) = gate();
        let process = system
            .spawn_with(
                SpawnOptions::new().mailbox(reject(1)),
                move |mut cx: Inbox<Published<u32>>| async move {
                    wait.await;
                    while let Received::Message(event) = cx.recv().await {
                        drop(event);
                    }
                },
            )
            .unwrap();
        subscribe(&bus, "*", &process);
        bus.publish("a", 1).unwrap();
        let delivery = bus.publish_sync("a", 2).wait_timeout(DEADLINE).unwrap();
        assert_eq!((delivery.delivered, delivery.refused), (0, 1));
        open.open();
    });
    // The bus's own, without anybody who takes from it.
    let (system, _driver) = support::quiet().manual();
    let bounded = MailboxPolicy::Bounded {
        capacity: 1,
        overflow: Overflow::Reject,
    };
    let start = EventBus::new().mailbox(bounded).start(&system);
    let bus = start.wait_timeout(DEADLINE).unwrap();
    bus.publish("a", 1).unwrap();
    assert_eq!(bus.publish("a", 2), Err(PublishError::Overloaded(2)));
}

#[test]
fn a_supervised_bus_is_found_by_its_name_and_starts_anew() {
    on_all(|system| {
        let spec = EventBus::<u32>::new().name("bus").child_spec("bus");
        Supervisor::new(Strategy::RestForOne)
            .child(spec)
            .start(system)
            .wait_timeout(DEADLINE)
            .unwrap();
        let bus = EventBusRef::<u32>::named(system, "bus");
        let (process, heard) = listener(system);
        let (send, called) = reports();
        let old = subscribe(&bus, "a", &process);
        let closure = bus.subscribe_fn("a", move |_| send.send(()).unwrap());
        closure.wait_timeout(DEADLINE).unwrap();
        let first = bus.pid().unwrap();
        system.exit(first, ExitReason::Kill);
        until(system, || bus.pid().is_some_and(|pid| pid != first));
        assert_eq!(count(&bus), 0);
        // The closures of the old one have gone with it.
        until(system, || {
            called.try_recv() == Err(std::sync::mpsc::TryRecvError::Disconnected)
        });
        subscribe(&bus, "a", &process);
        assert_eq!(bus.unsubscribe(old).wait_timeout(DEADLINE), Ok(false));
        bus.publish("a", 3).unwrap();
        assert_eq!(next(system, &heard).1, 3);
    });
}

struct Ledger {
    events: Vec<(String, u32)>,
}
struct Events;

impl GenServer for Ledger {
    type Args = EventBusRef<u32>;
    async fn init(bus: Self::Args, cx: &mut Context<Self>) -> Result<Self, InitStop> {
        let subscription = bus.subscribe("ledger.*", cx.this().recipient());
        subscription.await.map_err(ExitReason::error)?;
        Ok(Ledger { events: Vec::new() })
    }
}
impl HandleInfo<Published<u32>> for Ledger {
    async fn handle_info(&mut self, event: Published<u32>, _: &mut Context<Self>) {
        self.events.push((event.topic().to_owned(), *event));
    }
}
impl HandleCall<Events> for Ledger {
    type Reply = Vec<(String, u32)>;
    async fn handle_call(&mut self, _: Events, _: &mut Context<Self>) -> Self::Reply {
        self.events.clone()
    }
}

#[test]
fn a_server_subscribes_in_its_init() {
    on_all(|system| {
        let bus = bus(system);
        let start = system.start::<Ledger>(bus.clone());
        let ledger = start.wait_timeout(DEADLINE).unwrap();
        let sync = bus.publish_sync("ledger.in", 4);
        sync.wait_timeout(DEADLINE).unwrap();
        let events = ledger.call(Events).wait_timeout(DEADLINE).unwrap();
        assert_eq!(events, [("ledger.in".to_owned(), 4)]);
        let (closed, _) = listener(system);
        bus.stop(ExitReason::Normal).wait_timeout(DEADLINE).unwrap();
        assert!(!bus.is_alive());
        let gone = bus.subscribe("a", closed.clone()).wait_timeout(DEADLINE);
        assert_eq!(
            gone,
            Err(BusError::Call(CallError::Exited(ExitReason::Normal)))
        );
        system.exit(closed.pid(), ExitReason::Kill);
        assert_eq!(end_of(system, &closed), ExitReason::Killed);
    });
}
