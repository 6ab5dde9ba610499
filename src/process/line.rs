//! Where a process comes from: a list shared by all children of one parent, so that starting one costs
//! the same however deep the tree, and a million siblings keep one list.

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

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Pid> + '_ {
        let first = self.0.as_deref();
        std::iter::successors(first, |generation| generation.before.0.as_deref())
            .map(|generation| generation.pid)
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
        assert!(Line::default().is_empty());
        let parent = Line::of(pid(2), Line::of(pid(1), Line::default()));
        let child = Line::of(pid(3), parent.clone());
        let other = Line::of(pid(4), parent);
        assert!(child.iter().eq([pid(3), pid(2), pid(1)]));
        drop(child);
        assert!(other.iter().eq([pid(4), pid(2), pid(1)]));
    }

    #[test]
    fn a_million_generations_end_without_a_stack() {
        let line = (0..1_000_000).fold(Line::default(), |line, id| Line::of(pid(id), line));
        drop(line);
    }
}
