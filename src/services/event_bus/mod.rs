//! Events published to topics, delivered to whoever subscribed to a matching pattern.
//!
//! ```text
//!  publisher ──publish("orders.eu.paid")──▶ bus ──▶ Recipient<Published<E>>   a server, a process
//!                                            │
//!                                            └────▶ a process of its own ──▶ closure
//! ```
//! Topics are segments with dots between. In a pattern `*` is a segment: alone it is every topic, in
//! the middle any one segment, at the end one or more segments. So `user.*` is `user.a` and `user.a.b`,
//! not `user`.
//!
//! # Rules
//! - The bus runs no subscriber's code: it delivers to mailboxes. A closure runs in a process of its own,
//!   so a slow one keeps neither the bus nor another subscriber waiting.
//! - What one publisher publishes reaches each subscriber in that order.
//! - Each subscription gets one delivery: a process that subscribed twice to what matches gets two.
//! - A subscriber that dies is forgotten. A closure that panics ends its process and so its subscription,
//!   as a handler of OTP's `gen_event` that crashes is removed; the others go on.
//! - The bus keeps no events: who subscribes later has missed them.
//! - A bus that is restarted has no subscriptions. Put what subscribes after it under
//!   [`Strategy::RestForOne`](crate::Strategy::RestForOne), and subscribe in `init`.

mod topics;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::time::Duration;

pub use self::topics::TopicError;
use self::topics::{Trie, check_pattern, check_topic};
use super::handle::{Common, Request, service};
use crate::sync::{Arc, Mutex};
use crate::{
    Call, CallError, Context, Down, GenServer, HandleCall, HandleCast, HandleRequest, Inbox,
    InitStop, MailboxPolicy, MonitorRef, Pid, Received, Recipient, ReplyTo,
};

/// Builds an event bus whose events carry an `E`.
///
/// ```
/// use noex::prelude::*;
/// use noex::services::EventBus;
///
/// let system = System::new()?;
/// let bus = EventBus::<u64>::new().start(&system).wait()?;
/// let (send, paid) = std::sync::mpsc::channel();
/// bus.subscribe_fn("orders.*.paid", move |event| {
///     let _ = send.send((event.topic().to_owned(), **event));
/// })
/// .wait()
/// .unwrap();
/// bus.publish("orders.eu.shipped", 1).unwrap();
/// bus.publish("orders.eu.paid", 2).unwrap();
/// assert_eq!(paid.recv(), Ok(("orders.eu.paid".to_owned(), 2)));
/// # Ok::<(), noex::Error>(())
/// ```
pub struct EventBus<E> {
    common: Common,
    event: PhantomData<fn(E)>,
}

impl<E> Clone for EventBus<E> {
    fn clone(&self) -> Self {
        EventBus {
            common: self.common.clone(),
            event: PhantomData,
        }
    }
}

impl<E> fmt::Debug for EventBus<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventBus")
            .field("common", &self.common)
            .finish()
    }
}

impl<E: Send + Sync + 'static> Default for EventBus<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E: Send + Sync + 'static> EventBus<E> {
    /// A bus without a name, with an unbounded mailbox.
    pub fn new() -> Self {
        EventBus {
            common: Common::default(),
            event: PhantomData,
        }
    }

    /// How many events (and other requests) may wait to be distributed. With
    /// [`Overflow::Reject`](crate::Overflow::Reject) publishers hear of a full bus. Default:
    /// [`MailboxPolicy::Unbounded`].
    pub fn mailbox(mut self, mailbox: MailboxPolicy) -> Self {
        self.common.mailbox = Some(mailbox);
        self
    }

    fn args(&self) {}
}

service! {
    /// A handle on an event bus: cheap to clone, does not keep the bus running.
    EventBusRef, EventBus, Bus, [E: Send + Sync + 'static], [E]
}

/// Names one subscription of one bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionId {
    // The bus that gave it: after a restart the numbers begin anew.
    bus: Pid,
    number: u64,
}

/// Why a subscription was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BusError {
    /// What was given is no pattern.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// The system has no room for the closure's process.
    #[error("the system starts no more processes")]
    Refused,
    /// The bus gave no answer.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// Why an event was not published; the payload comes back.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError<E> {
    /// What was given is no topic.
    #[error("not a topic")]
    Topic(#[source] TopicError, E),
    /// The mailbox of the bus is bounded, full, and rejects.
    #[error("the bus's mailbox is full")]
    Overloaded(E),
}

// Not derived: a payload need not be `Debug` for its publisher to `unwrap`.
impl<E> fmt::Debug for PublishError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PublishError::Topic(error, _) => f.debug_tuple("Topic").field(error).finish(),
            PublishError::Overloaded(_) => f.write_str("Overloaded"),
        }
    }
}

/// What became of an event: [`EventBusRef::publish_sync`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivery {
    /// How many subscriptions it went to. All have handled it, or died.
    pub delivered: usize,
    /// How many matched, but have a bounded mailbox that had no room.
    pub refused: usize,
}

/// An event, as a subscriber gets it: topic and payload, shared with the other subscribers.
///
/// It dereferences to the payload. Dropping it (and its clones) tells whoever waits in
/// [`publish_sync`](EventBusRef::publish_sync) that it was handled; a server's handler does that by
/// returning. To keep the payload longer, take it out with [`acknowledge`](Self::acknowledge).
pub struct Published<E> {
    topic: Arc<str>,
    payload: Arc<E>,
    acknowledgement: Option<Arc<Acknowledgement>>,
}

impl<E> Published<E> {
    /// The topic it was published to.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The payload, for as long as the subscriber likes; the event counts as handled.
    pub fn acknowledge(self) -> Arc<E> {
        self.payload
    }
}

impl<E> Deref for Published<E> {
    type Target = E;
    fn deref(&self) -> &E {
        &self.payload
    }
}

impl<E> Clone for Published<E> {
    fn clone(&self) -> Self {
        Published {
            topic: self.topic.clone(),
            payload: self.payload.clone(),
            acknowledgement: self.acknowledgement.clone(),
        }
    }
}

impl<E: fmt::Debug> fmt::Debug for Published<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Published")
            .field("topic", &self.topic)
            .field("payload", &self.payload)
            .finish()
    }
}

/// Answers the publisher once the last delivery of its event is gone, however it went: handled, or lost
/// with a subscriber. So nobody need watch subscribers for that, and no publisher waits for the dead.
struct Acknowledgement {
    pending: Mutex<Answer>,
}

struct Answer {
    reply: Option<ReplyTo<Result<Delivery, BusError>>>,
    delivery: Delivery,
}

impl Acknowledgement {
    fn new(reply: ReplyTo<Result<Delivery, BusError>>) -> Arc<Self> {
        Arc::new(Acknowledgement {
            pending: Mutex::new(Answer {
                reply: Some(reply),
                delivery: Delivery::default(),
            }),
        })
    }
}

impl Drop for Acknowledgement {
    fn drop(&mut self) {
        let answer = self.pending.get_mut();
        if let Some(reply) = answer.reply.take() {
            reply.reply(Ok(answer.delivery));
        }
    }
}

impl<E: Send + Sync + 'static> EventBusRef<E> {
    /// Has what is published to topics that match `pattern` sent to `subscriber`, from the moment this
    /// is answered until it dies or [`unsubscribe`](Self::unsubscribe)s.
    ///
    /// # Errors
    /// [`BusError::Topic`]: it is no pattern. [`BusError::Call`].
    pub fn subscribe(
        &self,
        pattern: &str,
        subscriber: Recipient<Published<E>>,
    ) -> Request<SubscriptionId, BusError> {
        self.add(pattern, Subscriber::Process(subscriber))
    }

    /// Has `handle` called with what is published to topics that match `pattern`, one event at a time,
    /// in a process of its own. The process ends with the subscription, or with the bus, once it has
    /// handled what it was sent.
    ///
    /// A panic in `handle` ends the subscription; it is reported as every panic of a process is.
    ///
    /// # Errors
    /// As for [`subscribe`](Self::subscribe), and [`BusError::Refused`].
    pub fn subscribe_fn(
        &self,
        pattern: &str,
        handle: impl FnMut(&Published<E>) + Send + 'static,
    ) -> Request<SubscriptionId, BusError> {
        self.add(pattern, Subscriber::Closure(Box::new(handle)))
    }

    fn add(&self, pattern: &str, subscriber: Subscriber<E>) -> Request<SubscriptionId, BusError> {
        match check_pattern(pattern) {
            Ok(()) => Request::sent(self.reach.call(Subscribe {
                pattern: pattern.into(),
                subscriber,
            })),
            Err(error) => Request::wrong(error.into()),
        }
    }

    /// Ends a subscription; whether there was one. What is published after the answer is not delivered
    /// to it; what was published before is.
    ///
    /// # Errors
    /// As for every call. A bus that is gone has no subscriptions either.
    pub fn unsubscribe(&self, subscription: SubscriptionId) -> Call<bool> {
        self.reach.call(Unsubscribe(subscription))
    }

    /// Sends an event to all subscribers whose pattern matches, and waits for nothing. With no bus
    /// there it is dropped, and counted as undelivered, as with every cast.
    ///
    /// # Errors
    /// [`PublishError`]; the payload comes back.
    pub fn publish(&self, topic: &str, payload: E) -> Result<(), PublishError<E>> {
        if let Err(error) = check_topic(topic) {
            return Err(PublishError::Topic(error, payload));
        }
        let topic = topic.into();
        self.reach
            .cast(Publish { topic, payload })
            .map_err(|refused| PublishError::Overloaded(refused.0.payload))
    }

    /// Publishes, and waits until all subscribers have handled the event, or died: until each has
    /// dropped (or [acknowledged](Published::acknowledge)) it.
    ///
    /// A subscriber that waits in here for its own event waits until the timeout.
    ///
    /// # Errors
    /// [`BusError::Topic`]: it is no topic. [`BusError::Call`]: among them
    /// [`CallError::Timeout`], when a subscriber has not handled the event within 5 s; they have it
    /// all the same.
    pub fn publish_sync(&self, topic: &str, payload: E) -> Request<Delivery, BusError> {
        self.publish_sync_within(topic, payload, Some(Duration::from_secs(5)))
    }

    /// As [`publish_sync`](Self::publish_sync), with a timeout of its own; `None`: no timeout.
    ///
    /// # Errors
    /// As for [`publish_sync`](Self::publish_sync).
    pub fn publish_sync_within(
        &self,
        topic: &str,
        payload: E,
        timeout: impl Into<Option<Duration>>,
    ) -> Request<Delivery, BusError> {
        match check_topic(topic) {
            Ok(()) => {
                let publish = Publish {
                    topic: topic.into(),
                    payload,
                };
                Request::sent(self.reach.call_with(publish, timeout.into()))
            }
            Err(error) => Request::wrong(error.into()),
        }
    }

    /// How many subscriptions there are.
    ///
    /// # Errors
    /// As for every call.
    pub fn subscription_count(&self) -> Call<usize> {
        self.reach.call(Count)
    }

    /// How many subscriptions an event published to `topic` would go to; none if it is no topic.
    ///
    /// # Errors
    /// As for every call.
    pub fn subscriptions_of(&self, topic: &str) -> Call<usize> {
        self.reach.call(CountOf(topic.into()))
    }

    /// The patterns that have subscriptions, sorted, and how many each has.
    ///
    /// # Errors
    /// As for every call.
    pub fn topics(&self) -> Call<Vec<(String, usize)>> {
        self.reach.call(Topics)
    }
}

type Closure<E> = Box<dyn FnMut(&Published<E>) + Send>;

enum Subscriber<E> {
    Process(Recipient<Published<E>>),
    Closure(Closure<E>),
}

/// What the process of a closure is sent.
enum ToClosure<E> {
    Event(Published<E>),
    End,
}

enum Outlet<E> {
    Process(Recipient<Published<E>>),
    Closure(Recipient<ToClosure<E>>),
}

impl<E: Send + Sync + 'static> Outlet<E> {
    fn pid(&self) -> Pid {
        match self {
            Outlet::Process(process) => process.pid(),
            Outlet::Closure(process) => process.pid(),
        }
    }

    /// `false`: its mailbox rejects it.
    fn send(&self, event: Published<E>) -> bool {
        match self {
            Outlet::Process(process) => process.send(event).is_ok(),
            Outlet::Closure(process) => process.send(ToClosure::Event(event)).is_ok(),
        }
    }
}

struct Subscription<E> {
    pattern: Arc<str>,
    outlet: Outlet<E>,
}

/// The process: who subscribed to what.
#[doc(hidden)]
pub struct Bus<E> {
    trie: Trie,
    subscriptions: HashMap<u64, Subscription<E>>,
    /// The one monitor of each subscriber, and its subscriptions.
    subscribers: HashMap<Pid, (MonitorRef, BTreeSet<u64>)>,
    last: u64,
}

impl<E: Send + Sync + 'static> Bus<E> {
    fn publish(&self, event: &Published<E>) -> Delivery {
        let mut delivery = Delivery::default();
        for number in self.trie.find(&event.topic) {
            match self.subscriptions.get(&number) {
                Some(subscription) if subscription.outlet.send(event.clone()) => {
                    delivery.delivered += 1;
                }
                _ => delivery.refused += 1,
            }
        }
        delivery
    }

    fn remove(&mut self, number: u64, cx: &Context<Self>) -> bool {
        let Some(subscription) = self.subscriptions.remove(&number) else {
            return false;
        };
        self.trie.remove(&subscription.pattern, number);
        let pid = subscription.outlet.pid();
        if let Some((monitor, numbers)) = self.subscribers.get_mut(&pid) {
            numbers.remove(&number);
            if numbers.is_empty() {
                cx.demonitor(*monitor);
                self.subscribers.remove(&pid);
            }
        }
        match subscription.outlet {
            Outlet::Closure(process) if process.is_alive() => {
                // Its mailbox is unbounded.
                let _ = process.send(ToClosure::End);
            }
            _ => {}
        }
        true
    }
}

impl<E: Send + Sync + 'static> GenServer for Bus<E> {
    type Args = ();

    async fn init(_: (), _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Bus {
            trie: Trie::default(),
            subscriptions: HashMap::new(),
            subscribers: HashMap::new(),
            last: 0,
        })
    }

    async fn handle_down(&mut self, down: Down, cx: &mut Context<Self>) {
        let Some((_, numbers)) = self.subscribers.remove(&down.pid) else {
            return;
        };
        for number in numbers {
            self.remove(number, cx);
        }
    }
}

/// Runs a closure in the process of its own: until told to end, or until the bus ends.
async fn run_closure<E: Send + Sync + 'static>(
    mut inbox: Inbox<ToClosure<E>>,
    bus: Pid,
    mut handle: Closure<E>,
) {
    let monitor = inbox.monitor(bus);
    loop {
        match inbox.recv().await {
            Received::Message(ToClosure::Event(event)) => handle(&event),
            Received::Message(ToClosure::End) => return,
            Received::Down(down) if down.monitor == monitor => return,
            _ => {}
        }
    }
}

struct Subscribe<E> {
    pattern: Arc<str>,
    subscriber: Subscriber<E>,
}

impl<E: Send + Sync + 'static> HandleCall<Subscribe<E>> for Bus<E> {
    type Reply = Result<SubscriptionId, BusError>;

    async fn handle_call(&mut self, m: Subscribe<E>, cx: &mut Context<Self>) -> Self::Reply {
        let bus = cx.pid();
        let outlet = match m.subscriber {
            Subscriber::Process(process) => Outlet::Process(process),
            Subscriber::Closure(handle) => Outlet::Closure(
                cx.spawn(move |inbox| run_closure(inbox, bus, handle))
                    .map_err(|_| BusError::Refused)?,
            ),
        };
        self.last += 1;
        let number = self.last;
        let pid = outlet.pid();
        // A subscriber that is dead already is removed by the notice of that.
        let (_, numbers) = self
            .subscribers
            .entry(pid)
            .or_insert_with(|| (cx.monitor(pid), BTreeSet::new()));
        numbers.insert(number);
        self.trie.insert(&m.pattern, number);
        let pattern = m.pattern;
        self.subscriptions
            .insert(number, Subscription { pattern, outlet });
        Ok(SubscriptionId { bus, number })
    }
}

struct Unsubscribe(SubscriptionId);

impl<E: Send + Sync + 'static> HandleCall<Unsubscribe> for Bus<E> {
    type Reply = bool;

    async fn handle_call(&mut self, Unsubscribe(id): Unsubscribe, cx: &mut Context<Self>) -> bool {
        id.bus == cx.pid() && self.remove(id.number, cx)
    }
}

struct Publish<E> {
    topic: Arc<str>,
    payload: E,
}

impl<E: Send + Sync + 'static> HandleCast<Publish<E>> for Bus<E> {
    async fn handle_cast(&mut self, m: Publish<E>, _: &mut Context<Self>) {
        self.publish(&Published {
            topic: m.topic,
            payload: Arc::new(m.payload),
            acknowledgement: None,
        });
    }
}

impl<E: Send + Sync + 'static> HandleRequest<Publish<E>> for Bus<E> {
    type Reply = Result<Delivery, BusError>;

    async fn handle_request(
        &mut self,
        m: Publish<E>,
        reply: ReplyTo<Self::Reply>,
        _: &mut Context<Self>,
    ) {
        let acknowledgement = Acknowledgement::new(reply);
        let event = Published {
            topic: m.topic,
            payload: Arc::new(m.payload),
            acknowledgement: Some(acknowledgement.clone()),
        };
        let delivery = self.publish(&event);
        // The handler's own hold is the last to go if nobody subscribed, or all were quick.
        acknowledgement.pending.lock().delivery = delivery;
    }
}

struct Count;

impl<E: Send + Sync + 'static> HandleCall<Count> for Bus<E> {
    type Reply = usize;

    async fn handle_call(&mut self, _: Count, _: &mut Context<Self>) -> usize {
        self.subscriptions.len()
    }
}

struct CountOf(Box<str>);

impl<E: Send + Sync + 'static> HandleCall<CountOf> for Bus<E> {
    type Reply = usize;

    async fn handle_call(&mut self, CountOf(topic): CountOf, _: &mut Context<Self>) -> usize {
        check_topic(&topic).map_or(0, |()| self.trie.find(&topic).len())
    }
}

struct Topics;

impl<E: Send + Sync + 'static> HandleCall<Topics> for Bus<E> {
    type Reply = Vec<(String, usize)>;

    async fn handle_call(&mut self, _: Topics, _: &mut Context<Self>) -> Self::Reply {
        let mut topics: BTreeMap<&str, usize> = BTreeMap::new();
        for subscription in self.subscriptions.values() {
            *topics.entry(&subscription.pattern).or_default() += 1;
        }
        let owned = |(pattern, count): (&str, usize)| (pattern.to_owned(), count);
        topics.into_iter().map(owned).collect()
    }
}
