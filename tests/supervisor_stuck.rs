//! Children whose code does not return: reported, and nobody else's trouble. On threads only: on a
//! manual system such a child holds its driver.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::mpsc::Receiver;
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use noex::prelude::*;
use noex::{
    ChildError, ChildStatus, Event, Inbox, Received, ShutdownError, StartError, TaskSupervisor,
    Template,
};

use support::{DEADLINE, next, until};

/// Spins while it is told to.
#[derive(Clone, Default)]
struct Spell {
    began: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
}

impl Spell {
    fn spin(&self) {
        self.began.store(true, SeqCst);
        while !self.over.load(SeqCst) {
            std::thread::yield_now();
        }
    }
    fn end(&self) {
        self.over.store(true, SeqCst);
    }
}

/// Ends the spell even if the test fails, so that its thread ends.
struct EndOnDrop(Spell);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end();
    }
}

struct Spinner;
struct Spin(Spell);

impl GenServer for Spinner {
    type Args = Option<Spell>;
    async fn init(spell: Option<Spell>, cx: &mut Context<Self>) -> Result<Self, InitStop> {
        cx.trap_exit(true);
        if let Some(spell) = spell {
            spell.spin();
        }
        Ok(Spinner)
    }
}

impl HandleCast<Spin> for Spinner {
    async fn handle_cast(&mut self, Spin(spell): Spin, _: &mut Context<Self>) {
        spell.spin();
    }
}

fn system() -> (System, Receiver<Event>) {
    let (send, events) = mpsc::channel();
    let send = Mutex::new(send);
    let system = System::builder()
        .schedulers(3)
        .long_handler(Duration::from_millis(20))
        .on_event(move |event| {
            let _ = send.lock().unwrap().send(event.clone());
        })
        .build()
        .unwrap();
    (system, events)
}

/// A child that ends when it gets a message, and counts its starts.
fn fragile(starts: &Arc<AtomicU32>) -> ChildSpec {
    let starts = starts.clone();
    ChildSpec::process("fragile", move |mut inbox: Inbox<()>| {
        starts.fetch_add(1, SeqCst);
        async move { while !matches!(inbox.recv().await, Received::Message(())) {} }
    })
    .name("fragile")
}

fn start(system: &System, children: impl IntoIterator<Item = ChildSpec>) -> SupervisorRef {
    let supervisor = Supervisor::new(Strategy::OneForOne).children(children);
    supervisor.start(system).wait_timeout(DEADLINE).unwrap()
}

fn status(sup: &SupervisorRef, id: &str) -> Option<ChildStatus> {
    let children = sup.which_children().wait_timeout(DEADLINE).unwrap();
    let child = children.into_iter().find(|child| &*child.id == id);
    child.map(|child| child.status)
}

/// Waits for the report of a child that is stuck, and of the handler that it is in.
fn stuck(system: &System, events: &Receiver<Event>) -> (Pid, Pid, String) {
    loop {
        if let Event::Stuck {
            pid,
            supervisor,
            child,
        } = next(system, events)
        {
            return (pid, supervisor, child.to_string());
        }
    }
}

#[test]
fn a_child_that_spins_is_reported_and_its_supervisor_serves_others() {
    let (system, events) = system();
    let starts = Arc::default();
    let spinner = ChildSpec::server::<Spinner>("spinner", None)
        .name("spinner")
        .shutdown(Shutdown::Timeout(Duration::from_millis(50)));
    let sup = start(&system, [spinner, fragile(&starts)]);
    let spell = EndOnDrop(Spell::default());
    let server = system.server::<Spinner>("spinner").resolve().unwrap();
    server.cast(Spin(spell.0.clone())).unwrap();
    until(&system, || spell.0.began.load(SeqCst));
    loop {
        if let Event::LongHandler { pid, message, .. } = next(&system, &events) {
            assert_eq!(pid, server.pid());
            assert!(message.unwrap().ends_with("Spin"), "{message:?}");
            break;
        }
    }
    let terminated = sup.terminate_child("spinner");
    let restarted = sup.restart_child("spinner");
    // Others are restarted, started and answered meanwhile.
    system.send(system.whereis("fragile").unwrap(), ());
    until(&system, || starts.load(SeqCst) == 2);
    let report = stuck(&system, &events);
    assert_eq!(report, (server.pid(), sup.pid(), "spinner".into()));
    assert_eq!(status(&sup, "spinner"), Some(ChildStatus::Stuck));
    // Not dead before it is: its name is not free, and nobody takes its place.
    assert_eq!(system.whereis("spinner"), Some(server.pid()));
    assert!(server.is_alive());
    let again = sup.start_child(ChildSpec::server::<Spinner>("other", None).name("spinner"));
    let taken = StartError::AlreadyStarted(server.pid());
    assert_eq!(again.wait_timeout(DEADLINE), Err(ChildError::Start(taken)));
    spell.0.end();
    assert_eq!(terminated.wait_timeout(DEADLINE), Ok(()));
    assert_eq!(server.exit_reason(), Some(ExitReason::Killed));
    let new = restarted.wait_timeout(DEADLINE).unwrap();
    assert_eq!(new, system.whereis("spinner"));
    system.shutdown().wait_timeout(DEADLINE).unwrap();
    assert!(
        !events
            .try_iter()
            .any(|event| matches!(event, Event::Stuck { .. }))
    );
}

#[test]
fn a_child_that_spins_in_its_init_can_be_given_up_as_soon_as_it_returns() {
    let (system, events) = system();
    let starts = Arc::default();
    let sup = start(&system, [fragile(&starts)]);
    let spell = EndOnDrop(Spell::default());
    let spinner = ChildSpec::server::<Spinner>("spinner", Some(spell.0.clone()))
        .shutdown(Shutdown::BrutalKill);
    let started = sup.start_child(spinner);
    until(&system, || spell.0.began.load(SeqCst));
    assert_eq!(status(&sup, "spinner"), Some(ChildStatus::Starting));
    let terminated = sup.terminate_child("spinner");
    let (_, supervisor, child) = stuck(&system, &events);
    assert_eq!((supervisor, &*child), (sup.pid(), "spinner"));
    system.send(system.whereis("fragile").unwrap(), ());
    until(&system, || starts.load(SeqCst) == 2);
    spell.0.end();
    assert_eq!(terminated.wait_timeout(DEADLINE), Ok(()));
    assert!(matches!(
        started.wait_timeout(DEADLINE),
        Err(ChildError::Start(_))
    ));
    assert_eq!(status(&sup, "spinner"), None);
    system.shutdown().wait_timeout(DEADLINE).unwrap();
}

#[test]
fn a_supervisor_that_ends_reports_a_child_that_is_stuck_and_waits_for_it() {
    let (system, events) = system();
    let starts = Arc::default();
    let spinner = ChildSpec::server::<Spinner>("spinner", None)
        .name("spinner")
        .shutdown(Shutdown::Timeout(Duration::from_millis(50)));
    let sup = start(&system, [fragile(&starts), spinner]);
    let spell = EndOnDrop(Spell::default());
    let server = system.server::<Spinner>("spinner").resolve().unwrap();
    server.cast(Spin(spell.0.clone())).unwrap();
    until(&system, || spell.0.began.load(SeqCst));
    let stopped = sup.stop(ExitReason::Normal);
    let report = stuck(&system, &events);
    assert_eq!(report, (server.pid(), sup.pid(), "spinner".into()));
    assert!(sup.is_alive());
    assert!(system.whereis("fragile").is_some(), "its turn has not come");
    spell.0.end();
    stopped.wait_timeout(DEADLINE).unwrap();
    assert!(!server.is_alive());
    system.shutdown().wait_timeout(DEADLINE).unwrap();
}

#[test]
fn the_end_of_a_system_names_the_child_that_is_stuck() {
    let (system, events) = system();
    let spinner = ChildSpec::server::<Spinner>("spinner", None).name("spinner");
    let sup = start(&system, [spinner.shutdown(Shutdown::BrutalKill)]);
    let spell = EndOnDrop(Spell::default());
    let server = system.server::<Spinner>("spinner").resolve().unwrap();
    server.cast(Spin(spell.0.clone())).unwrap();
    until(&system, || spell.0.began.load(SeqCst));
    loop {
        if let Event::LongHandler { .. } = next(&system, &events) {
            break;
        }
    }
    let end = system.shutdown_within(Duration::from_millis(100));
    let error = end.wait_timeout(DEADLINE).unwrap_err();
    let noex::Error::Shutdown(ShutdownError::Stuck(pids)) = error else {
        panic!("{error:?}")
    };
    // The supervisor was killed, which it could be.
    assert_eq!(pids, [server.pid()]);
    assert!(!sup.is_alive());
}

fn dynamic(system: &System) -> DynamicSupervisorRef {
    let start = DynamicSupervisor::new().start(system);
    start.wait_timeout(DEADLINE).unwrap()
}

fn only_status<A: Send + 'static, P: noex::ChildPid>(
    sup: &DynamicSupervisorRef<A, P>,
) -> Option<(Option<Pid>, ChildStatus)> {
    let children = sup.which_children().wait_timeout(DEADLINE).unwrap();
    assert!(children.len() <= 1, "{children:?}");
    children.first().map(|child| (child.pid, child.status))
}

/// Has a server spin, and waits until it does.
fn spin(system: &System, server: &ServerRef<Spinner>) -> EndOnDrop {
    let spell = EndOnDrop(Spell::default());
    server.cast(Spin(spell.0.clone())).unwrap();
    until(system, || spell.0.began.load(SeqCst));
    spell
}

#[test]
fn a_dynamic_supervisor_reports_a_child_that_spins_and_serves_others() {
    let (system, events) = system();
    let sup = dynamic(&system);
    let spinner = ChildSpec::server::<Spinner>("spinner", None)
        .restart(Restart::Permanent)
        .shutdown(Shutdown::Timeout(Duration::from_millis(50)));
    let pid = sup.start_child(spinner).wait_timeout(DEADLINE).unwrap();
    let pid = pid.expect("never ignored");
    let spell = spin(&system, &system.server_ref(pid).unwrap());
    let terminated = sup.terminate_child(pid);
    until(&system, || {
        only_status(&sup).unwrap().1 != ChildStatus::Running(pid)
    });
    let other = ChildSpec::server::<Spinner>("other", None);
    let other = sup.start_child(other).wait_timeout(DEADLINE).unwrap();
    assert!(other.is_some_and(|other| system.is_alive(other)));
    let ended = sup.terminate_child(other.unwrap());
    assert_eq!(ended.wait_timeout(DEADLINE), Ok(()));
    assert_eq!(stuck(&system, &events), (pid, sup.pid(), "spinner".into()));
    assert_eq!(only_status(&sup), Some((Some(pid), ChildStatus::Stuck)));
    assert!(system.is_alive(pid));
    spell.0.end();
    assert_eq!(terminated.wait_timeout(DEADLINE), Ok(()));
    assert_eq!(only_status(&sup), None);
    system.shutdown().wait_timeout(DEADLINE).unwrap();
}

#[test]
fn a_dynamic_supervisor_reports_a_start_that_spins_when_it_is_given_up() {
    let (system, events) = system();
    let sup = dynamic(&system);
    let spell = EndOnDrop(Spell::default());
    let spinner = ChildSpec::server::<Spinner>("spinner", Some(spell.0.clone()))
        .shutdown(Shutdown::BrutalKill);
    let started = sup.start_child(spinner);
    until(&system, || spell.0.began.load(SeqCst));
    let (pid, status) = only_status(&sup).unwrap();
    assert_eq!(status, ChildStatus::Starting);
    let terminated = sup.terminate_child(pid.expect("it has begun"));
    let (stuck, supervisor, child) = stuck(&system, &events);
    // Nothing is kept of a temporary child, so its pid has to do.
    assert_eq!((Some(stuck), supervisor), (pid, sup.pid()));
    assert_eq!(child, stuck.to_string());
    assert_eq!(only_status(&sup), Some((pid, ChildStatus::Stuck)));
    spell.0.end();
    assert_eq!(terminated.wait_timeout(DEADLINE), Ok(()));
    assert!(started.wait_timeout(DEADLINE).is_err());
    system.shutdown().wait_timeout(DEADLINE).unwrap();
}

#[test]
fn a_dynamic_supervisor_that_ends_reports_who_is_stuck_and_waits_for_it() {
    let (system, events) = system();
    let template =
        Template::server::<Spinner>().shutdown(Shutdown::Timeout(Duration::from_millis(50)));
    let sup = DynamicSupervisor::with_template(template).start(&system);
    let sup = sup.wait_timeout(DEADLINE).unwrap();
    let [told, untold] = [(); 2].map(|()| {
        let child = sup.start_child(None).wait_timeout(DEADLINE).unwrap();
        child.expect("never ignored")
    });
    let spells = [&told, &untold].map(|server| spin(&system, server));
    let terminated = sup.terminate_child(told.pid());
    let stopped = sup.stop(ExitReason::Normal);
    let mut all = [(); 2].map(|()| stuck(&system, &events));
    all.sort();
    let what = std::any::type_name::<Spinner>().to_string();
    let mut expected = [told.pid(), untold.pid()].map(|pid| (pid, sup.pid(), what.clone()));
    expected.sort();
    assert_eq!(all, expected);
    assert!(sup.is_alive());
    spells.iter().for_each(|spell| spell.0.end());
    stopped.wait_timeout(DEADLINE).unwrap();
    assert!(!told.is_alive() && !untold.is_alive());
    // As before: the end of the supervisor is the answer.
    assert!(terminated.wait_timeout(DEADLINE).is_err());
    system.shutdown().wait_timeout(DEADLINE).unwrap();
}

#[test]
fn a_supervisor_of_tasks_reports_a_task_that_spins_and_serves_others() {
    let (system, events) = system();
    let tasks = TaskSupervisor::new().start(&system);
    let tasks = tasks.wait_timeout(DEADLINE).unwrap();
    let spins = || {
        let spell = EndOnDrop(Spell::default());
        let spins = spell.0.clone();
        let how = Shutdown::Timeout(Duration::from_millis(50));
        let child = tasks.start_child_with(Restart::Temporary, how, move |mut cx| {
            let spins = spins.clone();
            async move {
                cx.trap_exit(true);
                spins.spin();
                cx.recv().await;
            }
        });
        let pid = child.wait_timeout(DEADLINE).unwrap();
        until(&system, || spell.0.began.load(SeqCst));
        (spell, pid)
    };
    let (spell, pid) = spins();
    let terminated = tasks.terminate_child(pid);
    let other = tasks.async_nolink(|_| async { 42 }).wait_timeout(DEADLINE);
    assert_eq!(other.unwrap().wait_timeout(DEADLINE), Ok(42));
    assert_eq!(stuck(&system, &events), (pid, tasks.pid(), pid.to_string()));
    spell.0.end();
    assert_eq!(terminated.wait_timeout(DEADLINE), Ok(true));

    let (spell, pid) = spins();
    let stopped = tasks.stop(ExitReason::Normal);
    assert_eq!(stuck(&system, &events), (pid, tasks.pid(), pid.to_string()));
    assert!(tasks.is_alive());
    spell.0.end();
    stopped.wait_timeout(DEADLINE).unwrap();
    system.shutdown().wait_timeout(DEADLINE).unwrap();
}
