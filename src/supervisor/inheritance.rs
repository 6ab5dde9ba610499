//! What becomes of the mail that a child leaves, and how it gets from one incarnation to the next.

use std::fmt;
use std::future::{Future, poll_fn, ready};
use std::mem::take;
use std::pin::Pin;
use std::task::Poll;

use super::starter::Starter;
use crate::error::StartError;
use crate::exit::{Quiet, catch};
use crate::gen_server::AnyMessage;
use crate::hooks::Event;
use crate::process::estate::Heir;
use crate::process::pid::Pid;
use crate::process::spawn::Unborn;
use crate::sched::core::CoreRef;
use crate::sync::{Arc, Mutex};

type Hook = dyn Fn(Pid, AnyMessage) + Send + Sync;

/// What becomes of the messages that a child has not handled when it is restarted. (OTP: they are
/// dropped.)
///
/// | in the mailbox lies | `Drop` | `Keep` | `HandOver` |
/// |---|---|---|---|
/// | a cast; a message by `send`, to a reference or to the pid | dropped | kept | handed over |
/// | a call | fails at once | fails at once | fails at once |
/// | an `Exit`, a `Down`, a timer's message, what `continue_with` asked for | dropped | dropped | dropped |
///
/// The message whose handler ran is never among them, whatever ended the child. Messages that the old
/// incarnation's reference or pid is sent after its end are undelivered, as always.
///
/// It is about restarts: by strategy, also when the child was stopped with its group, and through all
/// failed attempts and waits. What a child leaves that is not restarted (it was terminated, ended in a
/// way that is not restarted, or its supervisor ends) is dropped and counted as undelivered, and
/// [`Builder::on_dead_letter`](crate::Builder::on_dead_letter) is told.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum MailboxFate {
    /// They are dropped, counted as undelivered, and shown to
    /// [`Builder::on_dead_letter`](crate::Builder::on_dead_letter). The default.
    #[default]
    Drop,
    /// The next incarnation gets them, in their order, after its `init` and ahead of all new ones. Until
    /// then they count as queued. They may for a while exceed the bound of its mailbox.
    ///
    /// The next incarnation must be a server of the same type, or a process that receives messages of
    /// the same type by itself; of several processes that a start function starts the first such one
    /// gets them. If there is none they are dropped. What a selective receive had taken out and passed
    /// over is not kept; nor are the events that a state machine has postponed: it has handled them in
    /// that way, and they belong to its state, which is gone.
    Keep,
    /// This function is given each of them, in their order, before the next incarnation is started,
    /// with the pid of the incarnation that left it. They count as undelivered. It runs in the
    /// supervisor's turn, so it should be short; a panic in it is reported and costs that message.
    HandOver(Arc<Hook>),
}

impl MailboxFate {
    /// [`HandOver`](Self::HandOver) to `hook`.
    ///
    /// ```
    /// use noex::MailboxFate;
    ///
    /// let (rescued, messages) = std::sync::mpsc::channel();
    /// let rescued = std::sync::Mutex::new(rescued);
    /// let fate = MailboxFate::hand_over(move |_, message| {
    ///     if let (Ok(order), Ok(rescued)) = (message.downcast::<u64>(), rescued.lock()) {
    ///         let _ = rescued.send(order);
    ///     }
    /// });
    /// # let _ = (fate, messages);
    /// ```
    pub fn hand_over(hook: impl Fn(Pid, AnyMessage) + Send + Sync + 'static) -> Self {
        MailboxFate::HandOver(Arc::new(hook))
    }
}

impl MailboxFate {
    /// Whether the same becomes of the mail.
    pub(crate) fn is_same(&self, other: &MailboxFate) -> bool {
        match (self, other) {
            (MailboxFate::Drop, MailboxFate::Drop) | (MailboxFate::Keep, MailboxFate::Keep) => true,
            (MailboxFate::HandOver(hook), MailboxFate::HandOver(other)) => Arc::ptr_eq(hook, other),
            _ => false,
        }
    }
}

impl fmt::Debug for MailboxFate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MailboxFate::Drop => "Drop",
            MailboxFate::Keep => "Keep",
            MailboxFate::HandOver(_) => "HandOver",
        })
    }
}

/// How many messages are handed over before others get their turn.
const SLICE: usize = 256;

/// What an attempt to start a child has from earlier incarnations and failed attempts, and what its
/// own processes will leave.
#[derive(Clone, Default)]
pub(crate) struct Inheritance(Arc<Mutex<Parts>>);

#[derive(Default)]
struct Parts {
    /// Processes of this attempt leave something, too.
    goes_on: bool,
    old: Vec<Heir>,
    new: Vec<Heir>,
}

impl Inheritance {
    fn new(fate: &MailboxFate, old: Vec<Heir>) -> Self {
        let goes_on = !matches!(fate, MailboxFate::Drop);
        Inheritance(Arc::new(Mutex::new(Parts {
            goes_on,
            old,
            new: Vec::new(),
        })))
    }

    /// Waits until all that is left is here, and does with it what is to be done before the start.
    async fn settle(&self, core: CoreRef, fate: &MailboxFate) {
        poll_fn(|task| {
            let parts = self.0.lock();
            let mut all = parts.old.iter();
            if all.all(|heir| heir.poll_complete(task.waker()).is_ready()) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        let hook = match fate {
            MailboxFate::Keep => return,
            MailboxFate::Drop => None,
            MailboxFate::HandOver(hook) => Some(hook),
        };
        let old = take(&mut self.0.lock().old);
        let Some(hook) = hook else { return };
        for heir in old {
            let mut handed = 0;
            while let Some(message) = heir.take() {
                let pid = heir.pid();
                if let Err(reason) = catch(|| hook(pid, message)) {
                    core.hooks.event(&Event::PanicWhileEnding { pid, reason });
                }
                handed += 1;
                if handed % SLICE == 0 {
                    give_way().await;
                }
            }
        }
    }

    /// A process of this attempt is about to be started.
    pub(crate) fn prepare(&self, unborn: &mut Unborn) {
        let mut parts = self.0.lock();
        for heir in &parts.old {
            heir.give_to(unborn);
        }
        if parts.goes_on {
            let heir = Heir::of(unborn);
            parts.new.push(heir);
        }
    }

    /// The attempt succeeded with this process: what it will leave. The rest is nobody's.
    pub(crate) fn of(&self, child: Pid) -> Vec<Heir> {
        let mut heirs = take(&mut self.0.lock().new);
        heirs.retain(|heir| heir.pid() == child);
        self.renounce();
        heirs
    }

    /// The attempt failed: all there is, for the next.
    pub(crate) fn all(&self) -> Vec<Heir> {
        let parts = take(&mut *self.0.lock());
        let mut all: Vec<Heir> = parts.old.into_iter().chain(parts.new).collect();
        all.retain(|heir| !heir.is_spent());
        all
    }

    /// There is no next.
    pub(crate) fn renounce(&self) {
        // Dropped outside the lock: user code.
        drop(self.all());
    }
}

/// An attempt to start something, under way.
type Attempt<R> = Pin<Box<dyn Future<Output = Result<R, StartError>> + Send>>;

/// Begins an attempt to start a child: its start function runs when what earlier incarnations left is
/// seen to. What its processes will leave; `None`: nothing.
pub(crate) fn begin<R: Send + 'static>(
    core: &CoreRef,
    fate: &MailboxFate,
    heirs: Vec<Heir>,
    starter: Starter,
    start: impl FnOnce(Starter) -> Attempt<R> + Send + 'static,
) -> (Quiet<Attempt<R>>, Option<Inheritance>) {
    if heirs.is_empty() && matches!(fate, MailboxFate::Drop) {
        // OTP: a start function that crashes has returned `{error, {'EXIT', Reason}}`.
        let future: Attempt<R> = catch(|| start(starter))
            .unwrap_or_else(|reason| Box::pin(ready(Err(StartError::Init(reason)))));
        return (future.into(), None);
    }
    let inheritance = Inheritance::new(fate, heirs);
    let starter = starter.inheriting(Some(inheritance.clone()));
    let (mail, core, fate) = (inheritance.clone(), core.clone(), Quiet::new(fate.clone()));
    let future: Attempt<R> = Box::pin(async move {
        mail.settle(core, &fate).await;
        start(starter).await
    });
    (future.into(), Some(inheritance))
}

async fn give_way() {
    let mut gave = false;
    poll_fn(|task| {
        if gave {
            return Poll::Ready(());
        }
        gave = true;
        task.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
