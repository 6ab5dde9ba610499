//! Where a process comes from: a list shared by all children of one parent, so that starting one costs
//! the same however deep the tree, and a million siblings keep one list. So it is with those who asked
//! for a task.

use super::pid::Pid;
use crate::sync::Arc;

/// A process, its parent, the parent's parent, and so on; or nobody.
#[derive(Clone, Default)]
pub(crate) struct Line(Option<Arc<Generation>>);

struct Generation {
    pid: Pid,
    before: Line,
}

impl Line {
    /// The line of a process that comes from `before`.
    pub(crate) fn of(pid: Pid, before: Line) -> Self {
        Line(Some(Arc::new(Generation { pid, before })))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Pid> + '_ {
        let first = self.0.as_deref();
        std::iter::successors(first, |generation| generation.before.0.as_deref())
            .map(|generation| generation.pid)
    }
}

/// What one process keeps: the line it comes from, and, once it has handed that on, itself before it.
/// One word, as most processes have no use for either.
#[derive(Default)]
pub(crate) struct Lineage(Line);

impl Lineage {
    pub(crate) fn new(line: Line) -> Self {
        Lineage(line)
    }

    /// The line of what comes from the process that keeps this, whose pid is given.
    pub(crate) fn hand_on(&mut self, me: Pid) -> Line {
        if self.0.iter().next() != Some(me) {
            self.0 = Line::of(me, std::mem::take(&mut self.0));
        }
        self.0.clone()
    }

    /// The line the process comes from, whose pid is given. (It does not come from itself.)
    pub(crate) fn iter(&self, me: Pid) -> impl Iterator<Item = Pid> + '_ {
        self.0.iter().skip_while(move |pid| *pid == me)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // One after the other: a line may be longer than the stack is deep.
        let mut next = self.0.take();
        while let Some(mut generation) = next.and_then(Arc::into_inner) {
            next = generation.before.0.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pid(id: u32) -> Pid {
        Pid::local(1, id, 1)
    }

    #[test]
    fn a_line_is_walked_from_the_youngest_and_shared() {
        assert_eq!(Line::default().iter().next(), None);
        let parent = Line::of(pid(2), Line::of(pid(1), Line::default()));
        let child = Line::of(pid(3), parent.clone());
        let other = Line::of(pid(4), parent);
        assert!(child.iter().eq([pid(3), pid(2), pid(1)]));
        drop(child);
        assert!(other.iter().eq([pid(4), pid(2), pid(1)]));
    }

    #[test]
    fn a_lineage_is_the_same_before_and_after_it_was_handed_on() {
        let mut first = Lineage::default();
        assert_eq!(first.iter(pid(1)).next(), None);
        let mut second = Lineage::new(first.hand_on(pid(1)));
        assert_eq!(first.iter(pid(1)).next(), None);
        assert!(second.iter(pid(2)).eq([pid(1)]));
        for _ in 0..2 {
            let third = Lineage::new(second.hand_on(pid(2)));
            assert!(third.iter(pid(3)).eq([pid(2), pid(1)]));
            assert!(second.iter(pid(2)).eq([pid(1)]));
        }
    }

    #[test]
    fn a_million_generations_end_without_a_stack() {
        let line = (0..1_000_000).fold(Line::default(), |line, id| Line::of(pid(id), line));
        drop(line);
    }
}
