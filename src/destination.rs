//! Where a message can go that is sent later: a timer's, or what a listener is told.

use crate::gen_server::{GenServer, HandleInfo, Named, Recipient, ServerRef, info_envelope};
use crate::partition_supervisor::Partition;
use crate::process::cell::CellRef;
use crate::process::pid::Pid;
use crate::sched::timers::{Envelope, Target};
use crate::system::Handle;

mod sealed {
    use crate::gen_server::Recipient;
    use crate::process::pid::Pid;
    use crate::sched::timers::Envelope;
    use crate::system::Handle;

    /// An envelope addressed to a destination.
    pub struct Letter(pub(crate) Envelope);

    /// What a destination does, out of users' sight.
    pub trait Sealed<M> {
        /// An envelope addressed to it.
        fn letter(&self, system: &Handle, message: M) -> Letter;
        /// Who it is now, if anybody.
        fn recipient(&self, system: &Handle) -> Option<Recipient<M>>;
        /// Whether nothing will ever reach it again.
        fn is_gone(&self, system: &Handle) -> bool;
        /// Who it leads to now.
        fn pid(&self, system: &Handle) -> Option<Pid>;
    }
}
pub(crate) use sealed::{Letter, Sealed};

/// Somebody a message of type `M` can be sent to later: a [`ServerRef`], a [`Recipient`], a [`Pid`],
/// a [`Named`] or [`Supervised`](crate::Supervised) server, or one that has a [`Partition`]: those are looked
/// up when the timer fires. Sealed.
pub trait Destination<M>: Sealed<M> {}
impl<M, D: Sealed<M>> Destination<M> for D {}

impl<S, M> Sealed<M> for ServerRef<S>
where
    S: HandleInfo<M>,
    M: Send + 'static,
{
    fn letter(&self, _: &Handle, message: M) -> Letter {
        // SAFETY: a fresh envelope.
        Letter(unsafe {
            Envelope::new(
                Target::Cell(self.cell().clone()),
                info_envelope::<S, M>(message),
            )
        })
    }

    fn recipient(&self, _: &Handle) -> Option<Recipient<M>> {
        Some(self.recipient())
    }

    fn is_gone(&self, _: &Handle) -> bool {
        !self.is_alive()
    }

    fn pid(&self, _: &Handle) -> Option<Pid> {
        Some(Self::pid(self))
    }
}

impl<M: Send + 'static> Sealed<M> for Recipient<M> {
    fn letter(&self, _: &Handle, message: M) -> Letter {
        let (cell, make) = self.parts();
        // SAFETY: a fresh envelope.
        Letter(unsafe { Envelope::new(Target::Cell(cell.clone()), make(message)) })
    }

    fn recipient(&self, _: &Handle) -> Option<Recipient<M>> {
        Some(self.clone())
    }

    fn is_gone(&self, _: &Handle) -> bool {
        !self.is_alive()
    }

    fn pid(&self, _: &Handle) -> Option<Pid> {
        Some(Self::pid(self))
    }
}

impl<M: Send + 'static> Sealed<M> for Pid {
    fn letter(&self, system: &Handle, message: M) -> Letter {
        let target = match system.core().find(*self) {
            Some(cell) => Target::Cell(cell),
            None => Target::Resolve(Box::new(|| None)),
        };
        // SAFETY: a fresh envelope.
        Letter(unsafe { Envelope::new(target, crate::process::envelope::any(message)) })
    }

    fn recipient(&self, system: &Handle) -> Option<Recipient<M>> {
        let cell = system.core().find(*self)?;
        // SAFETY: any process takes such envelopes.
        Some(unsafe { Recipient::new(cell, crate::process::envelope::any::<M>) })
    }

    fn is_gone(&self, system: &Handle) -> bool {
        !system.is_alive(*self)
    }

    fn pid(&self, _: &Handle) -> Option<Pid> {
        Some(*self)
    }
}

impl<S, M> Sealed<M> for Named<S>
where
    S: GenServer + HandleInfo<M>,
    M: Send + 'static,
{
    fn letter(&self, _: &Handle, message: M) -> Letter {
        let named = self.clone();
        let resolve =
            move || -> Option<CellRef> { named.resolve().map(|server| server.cell().clone()) };
        // SAFETY: a fresh envelope; what the name resolves to is checked to be an `S`.
        Letter(unsafe {
            Envelope::new(
                Target::Resolve(Box::new(resolve)),
                info_envelope::<S, M>(message),
            )
        })
    }

    fn recipient(&self, _: &Handle) -> Option<Recipient<M>> {
        Some(self.resolve()?.recipient())
    }

    fn is_gone(&self, _: &Handle) -> bool {
        // Nobody may have the name for the length of a restart: the timer goes on.
        false
    }

    fn pid(&self, _: &Handle) -> Option<Pid> {
        self.resolve().map(|server| server.pid())
    }
}

impl<S, M> Sealed<M> for Partition<S>
where
    S: GenServer + HandleInfo<M>,
    M: Send + 'static,
{
    fn letter(&self, _: &Handle, message: M) -> Letter {
        let partition = self.clone();
        let resolve =
            move || -> Option<CellRef> { partition.resolve().map(|server| server.cell().clone()) };
        // SAFETY: a fresh envelope; what a partition of `S` resolves to is an `S`.
        Letter(unsafe {
            Envelope::new(
                Target::Resolve(Box::new(resolve)),
                info_envelope::<S, M>(message),
            )
        })
    }

    fn recipient(&self, _: &Handle) -> Option<Recipient<M>> {
        Some(self.resolve()?.recipient())
    }

    fn is_gone(&self, _: &Handle) -> bool {
        // Nobody may have the partition for the length of a restart: the timer goes on.
        false
    }

    fn pid(&self, _: &Handle) -> Option<Pid> {
        self.resolve().map(|server| server.pid())
    }
}
