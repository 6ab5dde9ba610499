//! A supervision tree by the book: what happens, step by step, when one process ends and nothing else
//! does. Written from OTP's manual, without a process, to be compared with what noex does.

use std::time::Duration;

use noex::{AutoShutdown, Restart, Strategy};

/// What happens to a node, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A leaf's `init` is done.
    Up(usize),
    /// A leaf's `init` fails.
    Failed(usize),
    /// A leaf's state is dropped.
    Gone(usize),
    /// A supervisor ends because of this child.
    GaveUp(usize),
}

/// What the tree is to be.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) number: usize,
    pub(crate) restart: Restart,
    pub(crate) significant: bool,
    pub(crate) backoff: bool,
    pub(crate) kind: Kind,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Leaf {
        traps: bool,
        /// Hangs in `terminate`, and is killed after so many milliseconds.
        hangs: Option<u64>,
    },
    Branch(Branch),
}

#[derive(Clone, Debug)]
pub(crate) struct Branch {
    pub(crate) strategy: Strategy,
    pub(crate) intensity: usize,
    pub(crate) period: Duration,
    pub(crate) auto_shutdown: AutoShutdown,
    pub(crate) children: Vec<Node>,
}

/// What runs of a node.
#[derive(Debug)]
enum Run {
    Down,
    Leaf,
    Branch(Tree),
}

/// A branch that runs.
#[derive(Debug)]
pub(crate) struct Tree {
    branch: Branch,
    restarts: Vec<Duration>,
    /// Those that are not forgotten.
    children: Vec<(Node, Run)>,
}

/// What goes on around the tree.
pub(crate) struct World {
    pub(crate) now: Duration,
    pub(crate) log: Vec<Step>,
    /// How many of the next `init`s of each leaf fail.
    pub(crate) failing: Vec<u32>,
}

/// What the end of a child means to its supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Verdict {
    Lives,
    /// It ends, with `Shutdown`.
    Ends,
}

struct DidNotStart;

fn start(node: &Node, world: &mut World) -> Result<Run, DidNotStart> {
    match &node.kind {
        Kind::Leaf { .. } if world.failing[node.number] > 0 => {
            world.failing[node.number] -= 1;
            world.log.push(Step::Failed(node.number));
            Err(DidNotStart)
        }
        Kind::Leaf { .. } => {
            world.log.push(Step::Up(node.number));
            Ok(Run::Leaf)
        }
        Kind::Branch(branch) => Tree::start(branch, world)
            .map(Run::Branch)
            .ok_or(DidNotStart),
    }
}

fn stop(node: &Node, run: &mut Run, world: &mut World) {
    match std::mem::replace(run, Run::Down) {
        Run::Down => {}
        Run::Leaf => world.log.push(Step::Gone(node.number)),
        Run::Branch(mut tree) => tree.stop(world),
    }
}

impl Tree {
    /// `None`: a child did not start, and those before it are stopped again.
    pub(crate) fn start(branch: &Branch, world: &mut World) -> Option<Tree> {
        let children = branch.children.iter();
        let mut tree = Tree {
            branch: branch.clone(),
            restarts: Vec::new(),
            children: children.map(|node| (node.clone(), Run::Down)).collect(),
        };
        for at in 0..tree.children.len() {
            let (node, run) = &mut tree.children[at];
            match start(node, world) {
                Ok(started) => *run = started,
                Err(DidNotStart) => {
                    tree.stop(world);
                    return None;
                }
            }
        }
        Some(tree)
    }

    pub(crate) fn stop(&mut self, world: &mut World) {
        for (node, run) in self.children.iter_mut().rev() {
            stop(node, run, world);
        }
    }

    /// The leaves that run, each with the way to it.
    pub(crate) fn leaves(&self) -> Vec<(Vec<usize>, Node)> {
        let mut leaves = Vec::new();
        for (node, run) in &self.children {
            match run {
                Run::Down => {}
                Run::Leaf => leaves.push((vec![node.number], node.clone())),
                Run::Branch(tree) => {
                    for (mut way, leaf) in tree.leaves() {
                        way.insert(0, node.number);
                        leaves.push((way, leaf));
                    }
                }
            }
        }
        leaves
    }

    fn place(&self, number: usize) -> usize {
        let mut children = self.children.iter();
        children
            .position(|(node, _)| node.number == number)
            .unwrap()
    }

    /// The leaf at the end of the way ends by itself.
    pub(crate) fn end(&mut self, way: &[usize], abnormal: bool, world: &mut World) -> Verdict {
        let place = self.place(way[0]);
        let (node, run) = &mut self.children[place];
        match run {
            Run::Branch(tree) => match tree.end(&way[1..], abnormal, world) {
                Verdict::Lives => Verdict::Lives,
                Verdict::Ends => {
                    stop(node, run, world);
                    self.ended(place, false, world)
                }
            },
            _ => {
                stop(node, run, world);
                self.ended(place, abnormal, world)
            }
        }
    }

    fn ended(&mut self, place: usize, abnormal: bool, world: &mut World) -> Verdict {
        let (number, significant, restart) = {
            let node = &self.children[place].0;
            (node.number, node.significant, node.restart)
        };
        match restart {
            Restart::Permanent => return self.recover(number, world),
            Restart::Transient if abnormal => return self.recover(number, world),
            Restart::Temporary => drop(self.children.remove(place)),
            _ => {}
        }
        let left = self
            .children
            .iter()
            .any(|(node, run)| node.significant && !matches!(run, Run::Down));
        match self.branch.auto_shutdown {
            AutoShutdown::AnySignificant if significant => Verdict::Ends,
            AutoShutdown::AllSignificant if significant && !left => Verdict::Ends,
            _ => Verdict::Lives,
        }
    }

    fn recover(&mut self, mut failed: usize, world: &mut World) -> Verdict {
        'attempt: loop {
            let period = self.branch.period;
            self.restarts.retain(|at| *at + period >= world.now);
            self.restarts.push(world.now);
            if self.restarts.len() > self.branch.intensity {
                world.log.push(Step::GaveUp(failed));
                return Verdict::Ends;
            }
            let place = self.place(failed);
            let group = match self.branch.strategy {
                Strategy::OneForAll => 0..self.children.len(),
                Strategy::RestForOne => place..self.children.len(),
                _ => place..place + 1,
            };
            for (node, run) in self.children[group.clone()].iter_mut().rev() {
                stop(node, run, world);
            }
            let (from, mut at) = (group.start, 0);
            self.children.retain(|(node, _)| {
                at += 1;
                !(group.contains(&(at - 1)) && node.restart == Restart::Temporary)
            });
            let to = match self.branch.strategy {
                Strategy::OneForAll | Strategy::RestForOne => self.children.len(),
                _ => from + 1,
            };
            for (node, run) in &mut self.children[from..to] {
                match start(node, world) {
                    Ok(started) => *run = started,
                    Err(DidNotStart) => {
                        failed = node.number;
                        continue 'attempt;
                    }
                }
            }
            return Verdict::Lives;
        }
    }
}
