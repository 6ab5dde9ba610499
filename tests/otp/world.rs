//! What a scenario's actors share: the log of what happened, who is who, and words for reasons.

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use noex::{
    CallError, ChildError, Event, ExitReason, Pid, ServerRef, StartError, Task, TaskError, Term,
    TermKind,
};

use super::actor::Server;
use super::scenario::Scenario;
use crate::support::Gate;

/// One thing that happened to somebody.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) label: String,
    pub(crate) event: String,
    /// Whether a `wait` has had it.
    used: bool,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) log: Vec<Entry>,
    labels: HashMap<Pid, String>,
    /// By label, and by name: the latest incarnation.
    pids: HashMap<String, Pid>,
    incarnations: HashMap<String, usize>,
    /// How those ended whom nobody knows (yet).
    ended: HashMap<Pid, ExitReason>,
    /// How many of each name have begun that do not know their own pid.
    entered: HashMap<String, usize>,
    servers: HashMap<Pid, ServerRef<Server>>,
    /// References to actors of other kinds.
    others: HashMap<Pid, Arc<dyn Any + Send + Sync>>,
    /// Tasks that are waited for, by name, until somebody has what they gave.
    tasks: HashMap<String, Task<String>>,
    /// How often each handler was made.
    handlers: HashMap<String, usize>,
    gates: HashMap<String, Gate>,
    done: HashSet<u64>,
}

pub(crate) struct World {
    pub(crate) scenario: Arc<Scenario>,
    state: Mutex<State>,
    changed: Condvar,
}

impl World {
    pub(crate) fn new(scenario: &Arc<Scenario>) -> Arc<Self> {
        Arc::new(World {
            scenario: scenario.clone(),
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic holds it")
    }

    fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let result = change(&mut self.state());
        self.changed.notify_all();
        result
    }

    /// Blocks until it holds; `false`: it never did.
    pub(crate) fn wait_until(&self, end: Instant, holds: &dyn Fn(&State) -> bool) -> bool {
        let mut state = self.state();
        while !holds(&state) {
            let left = end.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                return false;
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .expect("no panic holds it")
                .0;
        }
        true
    }

    pub(crate) fn log(&self, label: &str, event: impl Into<String>) {
        self.change(|state| state.note(label, event.into()));
    }

    pub(crate) fn done(&self, number: u64) {
        self.change(|state| state.done.insert(number));
    }

    /// Makes `pid` known as the next incarnation of `name`, unless it is known.
    pub(crate) fn born(&self, pid: Pid, name: &str) -> (String, usize) {
        self.change(|state| {
            if let Some(label) = state.labels.get(&pid) {
                let number = label
                    .split_once('#')
                    .map_or(1, |(_, n)| n.parse().expect("ours"));
                return (label.clone(), number);
            }
            let number = state.incarnations.entry(name.to_string()).or_default();
            *number += 1;
            let number = *number;
            let label = incarnation(name, number);
            state.labels.insert(pid, label.clone());
            state.pids.insert(name.to_string(), pid);
            state.pids.insert(label.clone(), pid);
            if let Some(reason) = state.ended.get(&pid).cloned() {
                state.note_end(&label, &reason);
            }
            (label, number)
        })
    }

    /// Who the next incarnation of `name` is, for code that does not know its pid; that is made known
    /// by [`born`](Self::born).
    pub(crate) fn enters(&self, name: &str) -> (String, usize) {
        self.change(|state| {
            let number = state.entered.entry(name.to_string()).or_default();
            *number += 1;
            (incarnation(name, *number), *number)
        })
    }

    pub(crate) fn keep_task(&self, name: &str, task: Task<String>) {
        if let Some(pid) = task.pid() {
            self.born(pid, name);
        }
        // What it replaces is not dropped under the lock.
        let _before = self.change(|state| state.tasks.insert(name.to_string(), task));
    }

    pub(crate) fn take_task(&self, name: &str) -> Option<Task<String>> {
        self.change(|state| state.tasks.remove(name))
    }

    pub(crate) fn serves(&self, pid: Pid, server: ServerRef<Server>) {
        self.change(|state| state.servers.insert(pid, server));
    }

    pub(crate) fn server(&self, pid: Pid) -> Option<ServerRef<Server>> {
        self.state().servers.get(&pid).cloned()
    }

    /// Keeps a reference to an actor that is no [`Server`].
    pub(crate) fn leads_to<R: Send + Sync + 'static>(&self, pid: Pid, reference: R) {
        let reference: Arc<dyn Any + Send + Sync> = Arc::new(reference);
        self.change(|state| state.others.insert(pid, reference));
    }

    pub(crate) fn reference<R: Clone + 'static>(&self, pid: Pid) -> Option<R> {
        self.state().others.get(&pid)?.downcast_ref().cloned()
    }

    /// Labels the next handler of that name, which is no process.
    pub(crate) fn made(&self, handler: &str) -> (String, usize) {
        let mut state = self.state();
        let number = state.handlers.entry(handler.to_string()).or_default();
        *number += 1;
        match *number {
            1 => (handler.to_string(), 1),
            number => (format!("{handler}#{number}"), number),
        }
    }

    /// Hears how processes end: the system's event hook.
    /// And who has been started by a supervisor and does not say so itself.
    pub(crate) fn hear(&self, event: &Event) {
        if let Event::ChildStarted { child, pid, .. } = event {
            if self
                .scenario
                .actors
                .get(&**child)
                .is_some_and(|it| !it.speaks())
            {
                self.born(*pid, child);
            }
        }
        if let Event::Exited { pid, reason, .. } = event {
            self.change(|state| {
                state.ended.insert(*pid, reason.clone());
                if let Some(label) = state.labels.get(pid).cloned() {
                    state.note_end(&label, reason);
                }
            });
        }
    }

    pub(crate) fn gate(&self, name: &str) -> Gate {
        self.state()
            .gates
            .entry(name.to_string())
            .or_default()
            .clone()
    }

    pub(crate) fn label(&self, pid: Pid) -> String {
        self.state().label(pid)
    }

    pub(crate) fn text(&self, reason: &ExitReason) -> String {
        self.state().text(reason)
    }

    pub(crate) fn start_error(&self, error: &StartError) -> String {
        format!("error {}", self.state().start_error(error)).replace("error ignore", "ignore")
    }

    pub(crate) fn child_error(&self, error: &ChildError) -> String {
        match error {
            ChildError::NotFound => "error not_found".to_string(),
            ChildError::AlreadyStarted(pid) => {
                format!("error already_started:{}", self.label(*pid))
            }
            ChildError::AlreadyPresent => "error already_present".to_string(),
            ChildError::Running => "error running".to_string(),
            ChildError::Restarting => "error restarting".to_string(),
            ChildError::MaxChildren => "error max_children".to_string(),
            ChildError::Call(error) => self.failure(error),
            ChildError::Start(error) => self.start_error(error),
            other => format!("failed {other:?}"),
        }
    }
}

impl World {
    /// What a request that failed says: in Erlang an exit, here an `Err`.
    pub(crate) fn failure(&self, error: &CallError) -> String {
        match error {
            CallError::NoProc => "failed noproc".to_string(),
            CallError::Timeout => "failed timeout".to_string(),
            CallError::Exited(why) => format!("failed {}", self.text(why)),
            CallError::Cycle(_) => "failed cycle".to_string(),
            other => format!("failed {other:?}"),
        }
    }

    /// Why a task gave no value.
    pub(crate) fn task_failure(&self, error: &TaskError) -> String {
        match error {
            TaskError::Exited(why) => format!("failed {}", self.text(why)),
            TaskError::Timeout => "failed timeout".to_string(),
            TaskError::NotOwner(_) => "failed not_owner".to_string(),
            TaskError::MaxChildren => "failed max_children".to_string(),
            TaskError::Call(error) => self.failure(error),
            other => format!("failed {other:?}"),
        }
    }
}

/// The label of the `number`th process of a name.
fn incarnation(name: &str, number: usize) -> String {
    match number {
        1 => name.to_string(),
        _ => format!("{name}#{number}"),
    }
}

impl State {
    fn note(&mut self, label: &str, event: String) {
        self.log.push(Entry {
            label: label.to_string(),
            event,
            used: false,
        });
    }

    fn note_end(&mut self, label: &str, reason: &ExitReason) {
        let event = format!("ended {}", self.text(reason));
        self.note(label, event);
    }

    pub(crate) fn is_done(&self, number: u64) -> bool {
        self.done.contains(&number)
    }

    pub(crate) fn has_ended(&self, pid: Pid) -> bool {
        self.ended.contains_key(&pid)
    }

    pub(crate) fn pid(&self, name: &str) -> Option<Pid> {
        self.pids.get(name).copied()
    }

    pub(crate) fn known(&self) -> Vec<Pid> {
        self.labels.keys().copied().collect()
    }

    pub(crate) fn label(&self, pid: Pid) -> String {
        let label = self.labels.get(&pid);
        label.map_or("somebody".to_string(), String::clone)
    }

    pub(crate) fn seen(&self, label: &str, event: &str) -> Option<usize> {
        let mut entries = self.log.iter();
        entries.position(|e| !e.used && e.label == label && e.event == event)
    }

    pub(crate) fn take(&mut self, label: &str, event: &str) {
        if let Some(place) = self.seen(label, event) {
            self.log[place].used = true;
        }
    }

    fn text(&self, reason: &ExitReason) -> String {
        match reason {
            ExitReason::Normal => "normal".to_string(),
            ExitReason::Shutdown(None) => "shutdown".to_string(),
            ExitReason::Shutdown(Some(why)) => match why.kind() {
                TermKind::Atom(why) => format!("shutdown:{why}"),
                _ => format!("shutdown:{why}"),
            },
            ExitReason::Kill => "kill".to_string(),
            ExitReason::Killed => "killed".to_string(),
            ExitReason::NoProc => "noproc".to_string(),
            ExitReason::NoConnection => "noconnection".to_string(),
            ExitReason::Timeout => "timeout".to_string(),
            ExitReason::Panic(panic) => format!("crash:{}", panic.message()),
            ExitReason::Error(_) => match reason.downcast_ref::<StartError>() {
                Some(error) => self.start_error(error),
                None => reason
                    .downcast_ref::<Why>()
                    .map_or_else(|| format!("{reason:#}"), |why| why.0.clone()),
            },
            other => format!("{other:?}"),
        }
    }

    fn start_error(&self, error: &StartError) -> String {
        match error {
            StartError::AlreadyStarted(pid) => format!("already_started:{}", self.label(*pid)),
            StartError::Ignore => "ignore".to_string(),
            StartError::Init(reason) => self.text(reason),
            StartError::Child { id, error } => {
                format!(
                    "shutdown:failed_to_start_child:{id}:{}",
                    self.start_error(error)
                )
            }
            StartError::DuplicateChild(id) => format!("duplicate_child_name:{id}"),
            StartError::SignificantInVain(_) => "significant_in_vain".to_string(),
            StartError::SignificantPermanent(_) => "significant_permanent".to_string(),
            other => format!("{other:?}"),
        }
    }
}

/// A reason that is an application's own: in Erlang an atom.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Why(String);

/// The reason that `text` means.
pub(crate) fn reason(text: &str) -> ExitReason {
    match text {
        "normal" => ExitReason::Normal,
        "shutdown" => ExitReason::Shutdown(None),
        "kill" => ExitReason::Kill,
        "killed" => ExitReason::Killed,
        "noproc" => ExitReason::NoProc,
        "noconnection" => ExitReason::NoConnection,
        "timeout" => ExitReason::Timeout,
        _ => match text.strip_prefix("shutdown:") {
            Some(why) => ExitReason::shutdown(Term::atom(why)),
            None => ExitReason::error(Why(text.to_string())),
        },
    }
}
