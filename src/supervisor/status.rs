//! What a supervisor shows of itself: to `sys`, and to the report of its own crash. OTP: the state in
//! `sys:get_status/1` of a `supervisor`.
//!
//! Nothing is kept for it, and what is looked at when somebody asks does not grow with the number of
//! children: they are counted anyway, and the first few are shown.

use std::fmt;
use std::time::Duration;

use super::backoff::Backoff;
use super::handle::{ChildCounts, ChildStatus};
use super::spec::ChildKind;
use super::strategy::{AutoShutdown, Restarts, Strategy};
use crate::hooks::Brief;
use crate::sched::worker::here;
use crate::sync::Arc;

/// How many children are shown one by one.
pub(crate) const MOST_CHILDREN: usize = 20;

/// A supervisor as it is shown.
pub(crate) struct Shown<'a> {
    pub(crate) kind: &'static str,
    pub(crate) strategy: Strategy,
    pub(crate) restarts: &'a Restarts,
    pub(crate) auto_shutdown: AutoShutdown,
    pub(crate) backoff: Option<Backoff>,
    /// `usize::MAX`: any number.
    pub(crate) max_children: usize,
    pub(crate) counts: ChildCounts,
    /// As many of the first as there are, up to [`MOST_CHILDREN`].
    pub(crate) children: Vec<ShownChild>,
    pub(crate) now: Duration,
}

/// One child as it is shown.
pub(crate) struct ShownChild {
    /// `None`: it is known by its process only.
    pub(crate) id: Option<Arc<str>>,
    pub(crate) kind: ChildKind,
    /// Its process, or its latest, where `status` does not tell.
    pub(crate) pid: Option<crate::Pid>,
    pub(crate) status: ChildStatus,
}

/// The time for whoever is shown: it runs.
pub(crate) fn now() -> Duration {
    let now = here().map(|worker| worker.core().clock.now());
    Duration::from_nanos(now.unwrap_or_default())
}

impl fmt::Debug for ShownChild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(id) = &self.id {
            write!(f, "{:?} ", Brief(id))?;
        }
        match self.pid {
            Some(pid) if self.status != ChildStatus::Running(pid) => write!(f, "{pid} ")?,
            _ => {}
        }
        write!(f, "{:?} {:?}", self.kind, self.status)
    }
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ChildCounts {
            specs,
            active,
            waiting,
            supervisors,
            workers,
        } = self.counts;
        let mut shown = f.debug_struct(self.kind);
        shown.field("strategy", &self.strategy);
        shown.field("intensity", &self.restarts.intensity());
        shown.field("period", &self.restarts.period());
        shown.field("restarts", &self.restarts.within(self.now));
        if self.auto_shutdown != AutoShutdown::Never {
            shown.field("auto_shutdown", &self.auto_shutdown);
        }
        if let Some(backoff) = &self.backoff {
            shown.field("backoff", backoff);
        }
        if self.max_children != usize::MAX {
            shown.field("max_children", &self.max_children);
        }
        shown
            .field("specs", &specs)
            .field("active", &active)
            .field("waiting", &waiting)
            .field("supervisors", &supervisors)
            .field("workers", &workers)
            .field("children", &self.children);
        match specs.saturating_sub(self.children.len()) {
            0 => shown.finish(),
            more => shown.field("more", &more).finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(restarts: &Restarts, specs: usize, children: Vec<ShownChild>) -> Shown<'_> {
        let counts = ChildCounts {
            specs,
            active: 1,
            workers: specs,
            ..ChildCounts::default()
        };
        Shown {
            kind: "Supervisor",
            strategy: Strategy::OneForOne,
            restarts,
            auto_shutdown: AutoShutdown::Never,
            backoff: None,
            max_children: usize::MAX,
            counts,
            children,
            now: Duration::from_secs(7),
        }
    }

    #[test]
    fn it_tells_what_is_allowed_what_has_been_used_of_it_and_how_the_children_stand() {
        let mut restarts = Restarts::new(3, Duration::from_secs(5));
        for at in [1, 2, 6] {
            assert!(restarts.record(Duration::from_secs(at)));
        }
        let pid = crate::Pid::local(1, 5, 1);
        let child = |id: Option<&str>, pid, status| ShownChild {
            id: id.map(Arc::from),
            kind: ChildKind::Worker,
            pid,
            status,
        };
        let children = vec![
            child(Some("store"), None, ChildStatus::Running(pid)),
            child(None, Some(pid), ChildStatus::Running(pid)),
            child(None, Some(pid), ChildStatus::Restarting),
        ];
        let text = format!("{:?}", shown(&restarts, 9, children));
        assert_eq!(
            text,
            format!(
                "Supervisor {{ strategy: OneForOne, intensity: 3, period: 5s, restarts: 2, specs: 9, \
                 active: 1, waiting: 0, supervisors: 0, workers: 9, children: [\"store\" Worker \
                 Running({pid}), Worker Running({pid}), {pid} Worker Restarting], more: 6 }}"
            )
        );
    }

    #[test]
    fn what_is_set_beyond_the_defaults_is_shown_and_nothing_else() {
        let restarts = Restarts::new(0, Duration::ZERO);
        let mut all = shown(&restarts, 0, Vec::new());
        let plain = format!("{all:?}");
        for name in ["auto_shutdown", "backoff", "max_children", "more"] {
            assert!(!plain.contains(name), "{plain}");
        }
        all.auto_shutdown = AutoShutdown::AnySignificant;
        all.backoff = Some(Backoff::NONE);
        all.max_children = 7;
        let told = format!("{all:?}");
        for what in [
            "auto_shutdown: AnySignificant",
            "backoff: Backoff",
            "max_children: 7",
        ] {
            assert!(told.contains(what), "{told}");
        }
    }
}
