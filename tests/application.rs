//! Applications: started in the order of their dependencies, stopped in the reverse, and what the end of
//! one means.

mod support;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use noex::prelude::*;
use noex::{
    Application, ApplicationError, ApplicationKind, ApplicationSpec, ApplicationStatus,
    Applications, Error, Event, Inbox, ProcessContext, Received, StartError,
};
use support::{DEADLINE, Gate, gate, next, on_all, on_all_built, quiet, reports, until};

const NAMES: [&str; 4] = ["store", "stock", "shop", "web"];

/// One of four applications that tell what is done to them, and do what their environment says.
struct App<const N: usize> {
    env: Env,
}

#[derive(Clone)]
struct Env {
    tell: Sender<String>,
    acts: Acts,
}

#[derive(Clone)]
enum Acts {
    Well,
    FailsToStart,
    PanicsInStart,
    FailsInPhase(&'static str),
    WaitsForEver,
    WaitsFor(Gate),
    PanicsInPrepStop,
    /// Its tree does not stop by itself.
    Stubborn,
}

impl Env {
    fn new(tell: &Sender<String>, acts: Acts) -> Self {
        Env {
            tell: tell.clone(),
            acts,
        }
    }
    fn tell(&self, what: String) {
        let _ = self.tell.send(what);
    }
}

/// The one child of each tree: registered, and ends when it is told so. A stubborn one does not end
/// with its supervisor unless that is killed.
async fn child(mut inbox: Inbox<ExitReason>, stubborn: bool) -> ExitReason {
    inbox.trap_exit(stubborn);
    loop {
        match inbox.recv().await {
            Received::Message(reason) => return reason,
            Received::Exit(exit) if exit.reason == ExitReason::Killed => return exit.reason,
            _ => {}
        }
    }
}

impl<const N: usize> Application for App<N> {
    const NAME: &'static str = NAMES[N];
    type Env = Env;

    async fn start(env: Env, cx: &ProcessContext) -> Result<(Self, Pid), StartError> {
        env.tell(format!("start {}", Self::NAME));
        let stubborn = matches!(env.acts, Acts::Stubborn);
        let worker = ChildSpec::process("child", move |inbox| child(inbox, stubborn))
            .name(Self::NAME)
            .restart(Restart::Transient)
            .shutdown(Shutdown::Infinity);
        let tree = Supervisor::new(Strategy::OneForOne)
            .intensity(0)
            .child(worker);
        let tree = tree.start_link(cx).await?;
        match &env.acts {
            Acts::FailsToStart => return Err(StartError::Init(ExitReason::Timeout)),
            Acts::PanicsInStart => panic!("in start"),
            Acts::WaitsForEver => std::future::pending().await,
            Acts::WaitsFor(gate) => gate.clone().await,
            _ => {}
        }
        Ok((App { env }, tree.pid()))
    }
    async fn start_phase(&mut self, phase: &str, _: &ProcessContext) -> Result<(), ExitReason> {
        self.env.tell(format!("{phase} {}", Self::NAME));
        match self.env.acts {
            Acts::FailsInPhase(bad) if bad == phase => Err(ExitReason::Timeout),
            _ => Ok(()),
        }
    }
    async fn prep_stop(&mut self, cx: &ProcessContext) {
        let lives = cx.system().whereis(Self::NAME).is_some();
        self.env.tell(format!("prep_stop {} {lives}", Self::NAME));
        if matches!(self.env.acts, Acts::PanicsInPrepStop) {
            panic!("in prep_stop");
        }
    }
    async fn stop(self, cx: &ProcessContext) {
        let lives = cx.system().whereis(Self::NAME).is_some();
        self.env.tell(format!("stop {} {lives}", Self::NAME));
    }
}

/// Loads the four: each of `shop` and `web` depends on the one before, `stock` on `store`.
fn load(system: &System, acts: [Acts; 4]) -> (Applications, Receiver<String>) {
    let (tell, told) = reports();
    let applications = system.applications();
    let [store, stock, shop, web] = acts.map(|acts| Env::new(&tell, acts));
    let specs = [
        ApplicationSpec::new::<App<3>>(web).depends_on("shop"),
        ApplicationSpec::new::<App<2>>(shop)
            .depends_on("stock")
            .depends_on_if_loaded("absent")
            .start_phases(["warm", "open"]),
        ApplicationSpec::new::<App<1>>(stock).depends_on_if_loaded("store"),
        ApplicationSpec::new::<App<0>>(store).description("keeps things"),
    ];
    for spec in specs {
        applications.load(spec).unwrap();
    }
    (applications, told)
}

fn well() -> [Acts; 4] {
    [Acts::Well, Acts::Well, Acts::Well, Acts::Well]
}

fn all_told(told: &Receiver<String>) -> Vec<String> {
    told.try_iter().collect()
}

fn ensure(applications: &Applications, name: &str, kind: ApplicationKind) -> Vec<Arc<str>> {
    let started = applications.ensure_all_started([name], kind);
    started.wait_timeout(DEADLINE).unwrap()
}

fn start(applications: &Applications, name: &str) -> Result<(), ApplicationError> {
    let started = applications.start(name, ApplicationKind::Temporary);
    started.wait_timeout(DEADLINE)
}

fn running(applications: &Applications) -> Vec<String> {
    let running = applications.running().into_iter();
    running.map(|info| info.name.to_string()).collect()
}

/// Ends the tree of an application: by `Shutdown`, as the intensity is zero, or `Normal` by its stop.
fn crash(system: &System, name: &str) {
    system.send(system.whereis(name).unwrap(), ExitReason::Timeout);
}

fn top(applications: &Applications, name: &str) -> Pid {
    match applications.info(name).unwrap().status {
        ApplicationStatus::Running(top) => top,
        other => panic!("{other:?}"),
    }
}

#[test]
fn dependencies_start_first_and_all_stop_in_reverse_order_with_the_system() {
    on_all(|system| {
        let (applications, told) = load(system, well());
        let order = ["store", "stock", "shop", "web"];
        let started = ensure(&applications, "web", ApplicationKind::Permanent);
        assert_eq!(started.iter().map(|n| &**n).collect::<Vec<_>>(), order);
        assert_eq!(
            all_told(&told),
            [
                "start store",
                "start stock",
                "start shop",
                "warm shop",
                "open shop",
                "start web"
            ]
        );
        assert_eq!(running(&applications), ["web", "shop", "stock", "store"]);
        // Again: nothing to do.
        assert!(ensure(&applications, "shop", ApplicationKind::Permanent).is_empty());

        system.shutdown().wait_timeout(DEADLINE).unwrap();
        let stops: Vec<String> = ["web", "shop", "stock", "store"]
            .iter()
            .flat_map(|name| {
                [
                    format!("prep_stop {name} true"),
                    format!("stop {name} false"),
                ]
            })
            .collect();
        assert_eq!(all_told(&told), stops);
        assert!(running(&applications).is_empty());
    });
}

#[test]
fn applications_stop_before_whatever_else_was_started() {
    on_all(|system| {
        let (applications, told) = load(system, well());
        ensure(&applications, "store", ApplicationKind::Permanent);
        let (tell, later) = reports();
        let witness = system.spawn(move |mut inbox: Inbox<()>| async move {
            inbox.trap_exit(true);
            let _ = tell.send(all_told(&told));
            inbox.recv().await;
            let _ = tell.send(all_told(&told));
        });
        witness.unwrap();
        assert_eq!(next(system, &later), ["start store"]);
        system.shutdown().wait_timeout(DEADLINE).unwrap();
        let before = later.recv_timeout(DEADLINE).unwrap();
        assert!(
            before.contains(&"stop store false".to_string()),
            "{before:?}"
        );
    });
}

#[test]
fn what_cannot_be_done_is_an_error_that_says_why() {
    on_all(|system| {
        let (applications, told) = load(system, well());
        let name = |name: &str| Arc::<str>::from(name);
        let twice = ApplicationSpec::new::<App<0>>(Env::new(&reports().0, Acts::Well));
        assert_eq!(
            applications.load(twice),
            Err(ApplicationError::AlreadyLoaded(name("store")))
        );
        let unknown = Err(ApplicationError::NotLoaded(name("nothing")));
        assert_eq!(start(&applications, "nothing"), unknown);
        assert_eq!(applications.unload("nothing"), unknown);
        let stop = |name: &str| applications.stop(name).wait_timeout(DEADLINE);
        assert_eq!(stop("nothing"), unknown);
        let missing =
            applications.ensure_all_started(["web", "nothing"], ApplicationKind::Permanent);
        assert_eq!(missing.wait_timeout(DEADLINE).map(drop), unknown);
        // What was started for that was stopped again.
        assert!(running(&applications).is_empty());
        all_told(&told);

        assert_eq!(
            start(&applications, "shop"),
            Err(ApplicationError::NotStarted(name("stock")))
        );
        assert_eq!(
            stop("shop"),
            Err(ApplicationError::NotStarted(name("shop")))
        );
        assert_eq!(start(&applications, "store"), Ok(()));
        assert_eq!(
            start(&applications, "store"),
            Err(ApplicationError::AlreadyStarted(name("store")))
        );
        assert_eq!(
            applications.unload("store"),
            Err(ApplicationError::Running(name("store")))
        );
        assert_eq!(stop("store"), Ok(()));
        assert_eq!(
            stop("store"),
            Err(ApplicationError::NotStarted(name("store")))
        );
        assert_eq!(applications.unload("store"), Ok(()));
        assert_eq!(applications.info("store"), None);
        // What `stock` depends on if it is loaded is not any more.
        assert_eq!(start(&applications, "stock"), Ok(()));
    });
}

#[test]
fn applications_that_depend_on_each_other_are_told_so() {
    on_all(|system| {
        let (tell, _told) = reports();
        let applications = system.applications();
        let env = || Env::new(&tell, Acts::Well);
        let specs = [
            ApplicationSpec::new::<App<0>>(env()).depends_on("shop"),
            ApplicationSpec::new::<App<1>>(env()).depends_on("store"),
            ApplicationSpec::new::<App<2>>(env()).depends_on("stock"),
        ];
        for spec in specs {
            applications.load(spec).unwrap();
        }
        let started = applications.ensure_all_started(["stock"], ApplicationKind::Permanent);
        let error = started.wait_timeout(DEADLINE).unwrap_err();
        assert_eq!(
            error.to_string(),
            "these applications depend on each other: stock -> store -> shop -> stock"
        );
    });
}

#[test]
fn a_start_that_fails_leaves_nothing_behind() {
    for (acts, error) in [
        (
            Acts::FailsToStart,
            Some(StartError::Init(ExitReason::Timeout)),
        ),
        (
            Acts::FailsInPhase("open"),
            Some(StartError::Init(ExitReason::Timeout)),
        ),
        (Acts::WaitsForEver, Some(StartError::Timeout)),
        (Acts::PanicsInStart, None),
    ] {
        on_all(|system| {
            let (tell, told) = reports();
            let applications = system.applications();
            let spec = ApplicationSpec::new::<App<2>>(Env::new(&tell, acts.clone()));
            let patience = Duration::from_millis(20);
            let spec = spec.start_phases(["warm", "open"]).start_timeout(patience);
            applications.load(spec).unwrap();
            for _ in 0..2 {
                match start(&applications, "shop") {
                    Err(ApplicationError::Start { name, error: why }) => {
                        assert_eq!(&*name, "shop");
                        match &error {
                            Some(error) => assert_eq!(why, *error),
                            None => assert!(matches!(why, StartError::Init(ExitReason::Panic(_)))),
                        }
                    }
                    other => panic!("{other:?}"),
                }
                let info = applications.info("shop").unwrap();
                assert_eq!(info.status, ApplicationStatus::Loaded);
                if error.is_some() {
                    assert_eq!(system.whereis("shop"), None);
                } else {
                    // The tree hears of the panic by its link.
                    until(system, || system.whereis("shop").is_none());
                }
            }
            let told = all_told(&told);
            assert!(
                !told.iter().any(|told| told.starts_with("stop")),
                "{told:?}"
            );
        });
    }
}

#[test]
fn if_one_of_several_does_not_start_those_started_before_it_are_stopped() {
    on_all(|system| {
        let mut acts = well();
        acts[2] = Acts::FailsInPhase("warm");
        let (applications, told) = load(system, acts);
        ensure(&applications, "store", ApplicationKind::Temporary);
        let started = applications.ensure_all_started(["web"], ApplicationKind::Permanent);
        let error = started.wait_timeout(DEADLINE).unwrap_err();
        assert!(matches!(error, ApplicationError::Start { name, .. } if &*name == "shop"));
        // `store` ran before.
        assert_eq!(running(&applications), ["store"]);
        assert_eq!(
            all_told(&told),
            [
                "start store",
                "start stock",
                "start shop",
                "warm shop",
                "prep_stop stock true",
                "stop stock false"
            ]
        );
    });
}

#[test]
fn who_asks_while_it_is_being_started_waits_for_the_same_start() {
    on_all(|system| {
        let (wait, open) = gate();
        let mut acts = well();
        acts[0] = Acts::WaitsFor(wait);
        let (applications, told) = load(system, acts);
        let first = applications.start("store", ApplicationKind::Temporary);
        let second = applications.start("store", ApplicationKind::Temporary);
        assert_eq!(next(system, &told), "start store");
        let status = applications.info("store").unwrap().status;
        assert_eq!(status, ApplicationStatus::Starting);
        // The controller is not held up by it.
        assert_eq!(
            start(&applications, "stock"),
            Err(ApplicationError::NotStarted("store".into()))
        );
        open.open();
        assert_eq!(first.wait_timeout(DEADLINE), Ok(()));
        assert_eq!(second.wait_timeout(DEADLINE), Ok(()));
        assert!(all_told(&told).is_empty());
    });
}

/// How an application is made to end in the next test.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    GivesUp,
    Normal,
    Asked,
}

#[test]
fn the_end_of_an_application_means_what_its_kind_says() {
    use ApplicationKind::{Permanent, Temporary, Transient};
    for (kind, end, takes_down) in [
        (Temporary, End::GivesUp, false),
        (Temporary, End::Normal, false),
        (Transient, End::GivesUp, true),
        (Transient, End::Normal, false),
        (Permanent, End::GivesUp, true),
        (Permanent, End::Normal, true),
        (Permanent, End::Asked, false),
        (Transient, End::Asked, false),
    ] {
        on_all(|system| {
            let (applications, told) = load(system, well());
            ensure(&applications, "shop", Temporary);
            let web = applications.start("web", kind).wait_timeout(DEADLINE);
            assert_eq!(web, Ok(()));
            all_told(&told);
            let ended = system.wait();
            match end {
                End::GivesUp => crash(system, "web"),
                End::Normal => {
                    let tree = system.server_stop(top(&applications, "web"));
                    assert!(tree, "a supervisor stops");
                }
                End::Asked => {
                    let stopped = applications.stop("web").wait_timeout(DEADLINE);
                    assert_eq!(stopped, Ok(()));
                }
            }
            if !takes_down {
                until(system, || {
                    running(&applications) == ["shop", "stock", "store"]
                });
                let stopped = system.shutdown().wait_timeout(DEADLINE);
                assert!(stopped.is_ok());
                assert!(ended.wait_timeout(DEADLINE).is_ok(), "nothing is to blame");
                return;
            }
            let cause = match ended.wait_timeout(DEADLINE) {
                Err(Error::Exited(cause)) => cause,
                other => panic!("{other:?}"),
            };
            let cause = format!("{cause:?}");
            assert!(cause.contains("web"), "{cause}");
            let told = all_told(&told);
            // It ended by itself, so there was nothing to prepare; the others were stopped in order.
            assert_eq!(
                told,
                [
                    "stop web false",
                    "prep_stop shop true",
                    "stop shop false",
                    "prep_stop stock true",
                    "stop stock false",
                    "prep_stop store true",
                    "stop store false"
                ]
            );
        });
    }
}

/// Asks the top process of a tree to stop with `Normal`.
trait StopTop {
    fn server_stop(&self, top: Pid) -> bool;
}
impl StopTop for System {
    fn server_stop(&self, top: Pid) -> bool {
        self.register("the top", top).unwrap();
        let tree = self.supervisor("the top").unwrap();
        tree.stop(ExitReason::Normal).wait_timeout(DEADLINE).is_ok()
    }
}

#[test]
fn a_tree_that_does_not_stop_in_time_is_killed_and_a_panic_in_prep_stop_stops_nothing_less() {
    on_all(|system| {
        let (tell, told) = reports();
        let applications = system.applications();
        let stubborn = ApplicationSpec::new::<App<0>>(Env::new(&tell, Acts::Stubborn));
        let stubborn = stubborn.stop_timeout(Duration::from_millis(30));
        let clumsy = ApplicationSpec::new::<App<1>>(Env::new(&tell, Acts::PanicsInPrepStop));
        applications.load(stubborn).unwrap();
        applications.load(clumsy).unwrap();
        for name in ["store", "stock"] {
            assert_eq!(start(&applications, name), Ok(()));
            let child = system.whereis(name).unwrap();
            let gone = system.monitor(child);
            let stopped = applications.stop(name).wait_timeout(DEADLINE);
            assert_eq!(stopped, Ok(()), "{name}");
            assert!(gone.wait_timeout(DEADLINE).is_ok());
        }
        let told = all_told(&told);
        assert!(
            told.contains(&"prep_stop stock true".to_string()),
            "{told:?}"
        );
    });
}

#[test]
fn an_environment_has_its_type_and_is_read_from_anywhere() {
    struct Impostor;
    impl Application for Impostor {
        const NAME: &'static str = NAMES[0];
        type Env = u8;
        async fn start(_: u8, _: &ProcessContext) -> Result<(Self, Pid), StartError> {
            Err(StartError::Ignore)
        }
    }
    struct Numbers;
    impl Application for Numbers {
        const NAME: &'static str = "numbers";
        type Env = u32;
        async fn start(n: u32, cx: &ProcessContext) -> Result<(Self, Pid), StartError> {
            let tree = Supervisor::new(Strategy::OneForOne);
            let tree = tree.name(format!("numbers {n}")).start_link(cx).await?;
            Ok((Numbers, tree.pid()))
        }
    }
    on_all(|system| {
        let (applications, _told) = load(system, well());
        assert_eq!(
            applications.env::<Numbers>(),
            Err(ApplicationError::NotLoaded("numbers".into()))
        );
        applications
            .load(ApplicationSpec::new::<Numbers>(1))
            .unwrap();
        assert_eq!(applications.env::<Numbers>(), Ok(1));
        applications.set_env::<Numbers>(2).unwrap();
        assert_eq!(applications.env::<Numbers>(), Ok(2));
        let wrong = ApplicationError::WrongType("store".into());
        assert_eq!(applications.env::<Impostor>(), Err(wrong.clone()));
        assert_eq!(applications.set_env::<Impostor>(0), Err(wrong));
        // It starts with what is set then.
        assert_eq!(start(&applications, "numbers"), Ok(()));
        assert!(system.whereis("numbers 2").is_some());
    });
}

#[test]
fn a_process_belongs_to_the_application_whose_tree_has_it() {
    on_all(|system| {
        let (applications, _told) = load(system, well());
        ensure(&applications, "shop", ApplicationKind::Temporary);
        let of = |pid| applications.of(pid).wait_timeout(DEADLINE);
        for name in ["store", "stock", "shop"] {
            assert_eq!(of(system.whereis(name).unwrap()).as_deref(), Some(name));
            assert_eq!(of(top(&applications, name)).as_deref(), Some(name));
        }
        let nobody = system.spawn(|mut inbox: Inbox<()>| async move {
            inbox.recv().await;
        });
        assert_eq!(of(nobody.unwrap().pid()), None);
    });
}

#[test]
fn a_controller_that_is_killed_takes_its_applications_along_and_the_next_starts_anew() {
    on_all(|system| {
        let (applications, told) = load(system, well());
        ensure(&applications, "stock", ApplicationKind::Temporary);
        let controller = system.whereis("application_controller").unwrap();
        let children = ["store", "stock"].map(|name| system.monitor(system.whereis(name).unwrap()));
        system.exit(controller, ExitReason::Kill);
        for child in children {
            assert!(child.wait_timeout(DEADLINE).is_ok());
        }
        until(system, || !system.is_alive(controller));
        all_told(&told);
        assert_eq!(
            ensure(&applications, "stock", ApplicationKind::Temporary).len(),
            2
        );
        assert_eq!(running(&applications), ["stock", "store"]);
    });
}

#[test]
fn what_becomes_of_applications_is_reported() {
    let (tell, heard) = reports();
    let builder = || {
        let tell = tell.clone();
        quiet().on_event(move |event: &Event| {
            let line = match event {
                Event::ApplicationStarted { .. }
                | Event::ApplicationNotStarted { .. }
                | Event::ApplicationStopped { .. } => event.to_string(),
                _ => return,
            };
            let _ = tell.send(line);
        })
    };
    on_all_built(builder, |system| {
        let mut acts = well();
        acts[1] = Acts::FailsToStart;
        let (applications, _told) = load(system, acts);
        assert_eq!(start(&applications, "store"), Ok(()));
        assert!(start(&applications, "stock").is_err());
        crash(system, "store");
        until(system, || running(&applications).is_empty());
        assert_eq!(next(system, &heard), "application store started");
        let failed = next(system, &heard);
        assert!(
            failed.starts_with("application stock did not start"),
            "{failed}"
        );
        let ended = next(system, &heard);
        assert!(ended.starts_with("application store ended: "), "{ended}");
    });
}

#[test]
fn a_start_that_comes_while_it_stops_begins_when_it_has_stopped() {
    on_all(|system| {
        let (tell, told) = reports();
        let applications = system.applications();
        let spec = ApplicationSpec::new::<App<0>>(Env::new(&tell, Acts::Well));
        applications.load(spec).unwrap();
        assert_eq!(start(&applications, "store"), Ok(()));
        let stopped = applications.stop("store");
        let started = applications.ensure_all_started(["store"], ApplicationKind::Permanent);
        assert_eq!(stopped.wait_timeout(DEADLINE), Ok(()));
        assert_eq!(started.wait_timeout(DEADLINE).unwrap().len(), 1);
        assert_eq!(running(&applications), ["store"]);
        let told = all_told(&told);
        let starts = told.iter().filter(|told| *told == "start store").count();
        assert_eq!(starts, 2, "{told:?}");
    });
}

#[test]
fn an_environment_may_be_clumsy_and_harms_only_its_own_application() {
    /// Panics when it is cloned; asks for the applications when it is dropped.
    struct Clumsy(noex::Handle);
    impl Clone for Clumsy {
        fn clone(&self) -> Self {
            panic!("on purpose");
        }
    }
    impl Drop for Clumsy {
        fn drop(&mut self) {
            assert!(self.0.applications().loaded().len() < 10);
        }
    }
    struct Odd;
    impl Application for Odd {
        const NAME: &'static str = "odd";
        type Env = Clumsy;
        async fn start(_: Clumsy, _: &ProcessContext) -> Result<(Self, Pid), StartError> {
            Err(StartError::Ignore)
        }
    }
    on_all(|system| {
        let (applications, _told) = load(system, well());
        assert_eq!(start(&applications, "store"), Ok(()));
        let odd = || ApplicationSpec::new::<Odd>(Clumsy(system.handle()));
        applications.load(odd()).unwrap();
        assert!(applications.load(odd()).is_err());
        match start(&applications, "odd") {
            Err(ApplicationError::Start { error, .. }) => {
                assert!(
                    matches!(error, StartError::Init(ExitReason::Panic(_))),
                    "{error:?}"
                );
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(running(&applications), ["store"]);
        assert_eq!(applications.unload("odd"), Ok(()));
    });
}

/// Waits for ever in its start, or panics there; its child takes its time to stop.
struct Slow;
struct SlowChild(Sender<String>);

impl Application for Slow {
    const NAME: &'static str = "slow";
    /// Whether it panics; told when the child stands, and when it is gone.
    type Env = (bool, Sender<String>);

    async fn start(env: Self::Env, cx: &ProcessContext) -> Result<(Self, Pid), StartError> {
        let (panics, tell) = env;
        let child = ChildSpec::server::<SlowChild>("child", tell.clone());
        let tree = Supervisor::new(Strategy::OneForOne).child(child);
        tree.start_link(cx).await?;
        let _ = tell.send("begun".into());
        assert!(!panics, "in start");
        std::future::pending().await
    }
}

impl GenServer for SlowChild {
    type Args = Sender<String>;
    async fn init(tell: Self::Args, cx: &mut Context<Self>) -> Result<Self, InitStop> {
        cx.trap_exit(true);
        Ok(SlowChild(tell))
    }
    async fn terminate(&mut self, _: ExitReason, cx: &mut Context<Self>) {
        cx.sleep(Duration::from_millis(20)).await;
        let _ = self.0.send("child gone".into());
    }
}

/// A builder of systems that tell what does not start, and a place to hear of it.
fn slow() -> (impl Fn() -> noex::Builder, Sender<String>, Receiver<String>) {
    let (tell, told) = reports();
    let heard = tell.clone();
    let builder = move || {
        let heard = heard.clone();
        quiet().on_event(move |event: &Event| {
            if let Event::ApplicationNotStarted { name, .. } = event {
                let _ = heard.send(format!("{name} not started"));
            }
        })
    };
    (builder, tell, told)
}

#[test]
fn a_start_is_called_off_at_the_end_of_the_system_and_its_tree_is_gone_before_that_is_told() {
    let (builder, tell, told) = slow();
    on_all_built(builder, |system| {
        let applications = system.applications();
        let spec = ApplicationSpec::new::<Slow>((false, tell.clone()));
        applications.load(spec).unwrap();
        let started = applications.start("slow", ApplicationKind::Permanent);
        assert_eq!(next(system, &told), "begun");
        let end = system.shutdown().wait_timeout(DEADLINE);
        assert_eq!(end.map_err(|error| error.to_string()), Ok(()));
        assert!(matches!(
            started.wait_timeout(DEADLINE),
            Err(ApplicationError::Call(_))
        ));
        assert_eq!(all_told(&told), ["child gone", "slow not started"]);
    });
}

#[test]
fn a_start_that_panics_has_failed_when_its_tree_is_gone() {
    let (builder, tell, told) = slow();
    on_all_built(builder, |system| {
        let applications = system.applications();
        let spec = ApplicationSpec::new::<Slow>((true, tell.clone()));
        applications.load(spec).unwrap();
        assert!(start(&applications, "slow").is_err());
        let all = ["begun", "child gone", "slow not started"];
        assert_eq!(all_told(&told), all);
    });
}

#[test]
fn a_start_is_called_off_if_the_controller_is_gone() {
    let (builder, tell, told) = slow();
    on_all_built(builder, |system| {
        let applications = system.applications();
        let spec = ApplicationSpec::new::<Slow>((false, tell.clone()));
        applications.load(spec).unwrap();
        let started = applications.start("slow", ApplicationKind::Permanent);
        assert_eq!(next(system, &told), "begun");
        let controller = system.whereis("application_controller").unwrap();
        system.exit(controller, ExitReason::Kill);
        assert!(started.wait_timeout(DEADLINE).is_err());
        assert_eq!(next(system, &told), "child gone");
    });
}

#[test]
fn a_process_belongs_to_no_application_once_the_controller_is_gone() {
    on_all(|system| {
        let mut acts = well();
        acts[0] = Acts::Stubborn;
        let (applications, _told) = load(system, acts);
        assert_eq!(start(&applications, "store"), Ok(()));
        let child = system.whereis("store").unwrap();
        let of = |pid| applications.of(pid).wait_timeout(DEADLINE);
        assert_eq!(of(child).as_deref(), Some("store"));
        let controller = system.whereis("application_controller").unwrap();
        system.exit(controller, ExitReason::Kill);
        until(system, || !system.is_alive(controller));
        // It does not end with the rest of its tree.
        assert_eq!(of(child), None);
        assert!(system.is_alive(child));
        system.exit(child, ExitReason::Kill);
    });
}

/// Stands by itself; takes its time to stop, or does not heed its parent at all.
struct Tree;

#[derive(Clone, Copy, PartialEq, Debug)]
enum Shape {
    /// A supervisor with a child.
    Plain,
    /// Beside it, a server that is linked to nobody any more.
    Unlinked,
    /// Beside it, linked, a process that heeds no exit but a kill.
    Deaf,
    /// Such a process as a child of the supervisor.
    DeafChild,
}

async fn deaf(mut inbox: Inbox<()>) {
    inbox.trap_exit(true);
    loop {
        inbox.recv().await;
    }
}

impl Application for Tree {
    const NAME: &'static str = "tree";
    type Env = (Shape, Sender<String>, Option<Gate>);

    async fn start(env: Self::Env, cx: &ProcessContext) -> Result<(Self, Pid), StartError> {
        let (shape, tell, gate) = env;
        let child = ChildSpec::server::<SlowChild>("child", tell.clone());
        let mut tree = Supervisor::new(Strategy::OneForOne).child(child);
        if shape == Shape::DeafChild {
            tree = tree.child(ChildSpec::process("deaf", deaf));
        }
        let tree = tree.start_link(cx).await?;
        match shape {
            Shape::Plain | Shape::DeafChild => {}
            Shape::Unlinked => cx.unlink(cx.start_link::<SlowChild>(tell.clone()).await?.pid()),
            Shape::Deaf => drop(cx.spawn_link(deaf)),
        }
        let _ = tell.send("stands".into());
        if let Some(gate) = gate {
            gate.await;
        }
        Ok((Tree, tree.pid()))
    }
    async fn stop(self, _: &ProcessContext) {}
}

/// A builder of systems that tell what becomes of applications, and a place to hear of it.
fn telling() -> (impl Fn() -> noex::Builder, Sender<String>, Receiver<String>) {
    let (tell, told) = reports();
    let heard = tell.clone();
    let builder = move || {
        let heard = heard.clone();
        quiet().on_event(move |event: &Event| {
            let what = match event {
                Event::ApplicationNotStarted { .. } => "not started".into(),
                Event::ApplicationStopped { reason, .. } => format!("stopped: {reason}"),
                _ => return,
            };
            let _ = heard.send(what);
        })
    };
    (builder, tell, told)
}

fn master_of(system: &System, applications: &Applications, name: &str) -> Pid {
    let top = system.process_info(top(applications, name));
    let top = top.wait_timeout(DEADLINE).expect("it lives");
    top.parent.expect("its master")
}

/// Whether nobody is left but the controller and who keeps names.
fn nobody_is_left(system: &System) -> bool {
    let controller = system.whereis("application_controller");
    system.processes().into_iter().all(|pid| {
        let info = system.process_info(pid).wait_timeout(DEADLINE);
        Some(pid) == controller || info.is_none_or(|info| info.kind.contains("registry"))
    })
}

#[test]
fn an_application_whose_master_or_supervisor_is_killed_has_stopped_when_its_tree_is_gone() {
    let (builder, tell, told) = telling();
    for shape in [Shape::Plain, Shape::Unlinked, Shape::Deaf, Shape::DeafChild] {
        for kills_master in [true, false] {
            on_all_built(&builder, |system| {
                let applications = system.applications();
                let spec = ApplicationSpec::new::<Tree>((shape, tell.clone(), None));
                let spec = match shape {
                    Shape::Deaf | Shape::DeafChild => spec.stop_timeout(Duration::from_millis(200)),
                    _ => spec,
                };
                applications.load(spec).unwrap();
                assert_eq!(start(&applications, "tree"), Ok(()));
                assert_eq!(next(system, &told), "stands");
                let victim = match kills_master {
                    true => master_of(system, &applications, "tree"),
                    false => top(&applications, "tree"),
                };
                system.exit(victim, ExitReason::Kill);
                let mut children = 0;
                let ended = loop {
                    match next(system, &told) {
                        told if told == "child gone" => children += 1,
                        other => break other,
                    }
                };
                assert_eq!(ended, "stopped: killed", "{shape:?}");
                match shape {
                    Shape::Plain => assert_eq!(children, 1),
                    Shape::Unlinked => assert_eq!(children, 2),
                    // On a slow day its time is over for all.
                    Shape::Deaf | Shape::DeafChild => {}
                }
                // Nothing comes after the news of its end.
                assert_eq!(told.try_iter().count(), 0, "{shape:?}");
                until(system, || {
                    let info = applications.info("tree").expect("it is loaded");
                    info.status == ApplicationStatus::Loaded
                });
                // Who saw to the rest may be on its way out.
                until(system, || nobody_is_left(system));
            });
        }
    }
}

#[test]
fn what_is_left_of_a_killed_supervisor_has_five_seconds_if_nothing_else_is_said() {
    let (builder, tell, told) = telling();
    for seed in 0..100 {
        let (system, _driver) = builder().virtual_clock().auto_advance().seed(seed).manual();
        let applications = system.applications();
        let spec = ApplicationSpec::new::<Tree>((Shape::DeafChild, tell.clone(), None));
        applications.load(spec).unwrap();
        assert_eq!(start(&applications, "tree"), Ok(()));
        let info = |pid| {
            let info = system.process_info(pid).wait_timeout(DEADLINE);
            info.expect("it lives")
        };
        // It is deaf once it has run.
        until(&system, || {
            let children = info(top(&applications, "tree")).links;
            children.into_iter().all(|child| info(child).trap_exit)
        });
        let killed = system.now();
        system.exit(top(&applications, "tree"), ExitReason::Kill);
        let mut all = Vec::new();
        until(&system, || {
            all.extend(told.try_iter());
            all.last().is_some_and(|last| last.starts_with("stopped"))
        });
        assert_eq!(all, ["stands", "child gone", "stopped: killed"]);
        let took = system.now() - killed;
        let (from, to) = (Duration::from_secs(5), Duration::from_secs(6));
        assert!((from..to).contains(&took), "{took:?}");
    }
}

#[test]
fn a_start_whose_master_is_killed_has_failed_when_nothing_of_it_is_left() {
    let (builder, tell, told) = telling();
    on_all_built(&builder, |system| {
        let applications = system.applications();
        let (gate, _never) = gate();
        let env = (Shape::Unlinked, tell.clone(), Some(gate));
        applications
            .load(ApplicationSpec::new::<Tree>(env))
            .unwrap();
        let started = applications.start("tree", ApplicationKind::Permanent);
        assert_eq!(next(system, &told), "stands");
        let controller = system.whereis("application_controller").unwrap();
        let info = system.process_info(controller);
        let links = info.wait_timeout(DEADLINE).expect("it lives").links;
        let [master] = links[..] else {
            panic!("one application, one master: {links:?}");
        };
        system.exit(master, ExitReason::Kill);
        let failed = started.wait_timeout(DEADLINE).unwrap_err();
        assert!(
            matches!(&failed, ApplicationError::Start { error, .. }
                if *error == StartError::Init(ExitReason::Killed)),
            "{failed:?}"
        );
        let all = ["child gone", "child gone", "not started"];
        assert_eq!(all_told(&told), all);
        // Its end is none of a running application: the system goes on.
        assert!(applications.info("tree").is_some());
    });
}

#[test]
fn who_stops_or_starts_what_is_on_its_way_out_is_answered_when_it_is_gone() {
    let (builder, tell, told) = telling();
    on_all_built(&builder, |system| {
        let applications = system.applications();
        let spec = ApplicationSpec::new::<Tree>((Shape::Unlinked, tell.clone(), None));
        applications.load(spec).unwrap();
        assert_eq!(start(&applications, "tree"), Ok(()));
        assert_eq!(next(system, &told), "stands");
        let master = master_of(system, &applications, "tree");
        system.exit(master, ExitReason::Kill);
        until(system, || !system.is_alive(master));
        // Ours is its last word before the master's end, or comes after that: told the same in both.
        let stopped = applications.stop("tree");
        let started = applications.start("tree", ApplicationKind::Temporary);
        assert_eq!(stopped.wait_timeout(DEADLINE), Ok(()));
        assert_eq!(next(system, &told), "child gone");
        assert_eq!(next(system, &told), "child gone");
        assert!(next(system, &told).starts_with("stopped: "));
        assert_eq!(started.wait_timeout(DEADLINE), Ok(()));
        assert_eq!(next(system, &told), "stands");
        assert_eq!(applications.stop("tree").wait_timeout(DEADLINE), Ok(()));
        let all = ["child gone", "child gone", "stopped: normal"];
        assert_eq!(all_told(&told), all);
    });
}

#[test]
fn a_permanent_application_whose_master_is_killed_takes_the_system_down_when_its_tree_is_gone() {
    let (builder, tell, told) = telling();
    on_all_built(&builder, |system| {
        let applications = system.applications();
        let spec = ApplicationSpec::new::<Tree>((Shape::Unlinked, tell.clone(), None));
        applications.load(spec).unwrap();
        ensure(&applications, "tree", ApplicationKind::Permanent);
        let master = master_of(system, &applications, "tree");
        system.exit(master, ExitReason::Kill);
        let end = system.wait().wait_timeout(DEADLINE);
        assert!(matches!(end, Err(Error::Exited(_))), "{end:?}");
        let down = system.shutdown().wait_timeout(DEADLINE);
        assert!(down.is_ok(), "{down:?}");
        let all = ["stands", "child gone", "child gone", "stopped: killed"];
        assert_eq!(all_told(&told), all);
    });
}

#[test]
fn who_sees_to_what_is_left_may_be_killed_too() {
    let (builder, tell, told) = telling();
    on_all_built(&builder, |system| {
        let applications = system.applications();
        let spec = ApplicationSpec::new::<Tree>((Shape::Deaf, tell.clone(), None));
        let spec = spec.stop_timeout(Duration::from_millis(500));
        applications.load(spec).unwrap();
        assert_eq!(start(&applications, "tree"), Ok(()));
        let master = master_of(system, &applications, "tree");
        let controller = system.whereis("application_controller").unwrap();
        system.exit(master, ExitReason::Kill);
        let mut helper = None;
        until(system, || {
            let info = system.process_info(controller).wait_timeout(DEADLINE);
            let links = info.expect("it lives").links.into_iter();
            helper = links.rev().find(|pid| *pid != master);
            helper.is_some()
        });
        system.exit(helper.expect("one was seen"), ExitReason::Kill);
        until(system, || {
            let info = applications.info("tree").expect("it is loaded");
            info.status == ApplicationStatus::Loaded
        });
        until(system, || nobody_is_left(system));
        // On a slow day the child's time is over as well.
        let told = all_told(&told);
        assert_eq!(told.first().map(String::as_str), Some("stands"));
        assert_eq!(told.last().map(String::as_str), Some("stopped: killed"));
    });
}

/// A whole program: its supervisor ends as its environment says.
struct Program;

#[derive(Clone, Copy, PartialEq)]
enum Course {
    /// The top of its tree ends with `Normal`.
    Done,
    Crashes,
    DoesNotStart,
    IsShutDown,
    /// What it depends on ends first.
    NeedFails,
}

impl Application for Program {
    const NAME: &'static str = "program";
    type Env = Course;

    async fn start(course: Course, cx: &ProcessContext) -> Result<(Self, Pid), StartError> {
        if course == Course::DoesNotStart {
            return Err(StartError::Init(ExitReason::Timeout));
        }
        let system = cx.system();
        let top = cx.spawn_link(move |cx: Inbox<()>| async move {
            cx.sleep(Duration::from_millis(1)).await;
            match course {
                Course::Done => ExitReason::Normal,
                Course::Crashes => ExitReason::Timeout,
                Course::IsShutDown => {
                    drop(system.shutdown());
                    std::future::pending().await
                }
                Course::NeedFails => {
                    let store = system.whereis("store").expect("what it depends on");
                    cx.send(store, ExitReason::Timeout);
                    std::future::pending().await
                }
                Course::DoesNotStart => unreachable!(),
            }
        })?;
        Ok((Program, top.pid()))
    }
}

#[test]
fn as_a_whole_program_its_exit_code_says_how_it_ended() {
    use std::process::ExitCode;
    let (tell, told) = reports();
    for (course, code) in [
        (Course::Done, ExitCode::SUCCESS),
        (Course::IsShutDown, ExitCode::SUCCESS),
        (Course::Crashes, ExitCode::FAILURE),
        (Course::DoesNotStart, ExitCode::FAILURE),
        (Course::NeedFails, ExitCode::FAILURE),
    ] {
        let (done, ended) = reports();
        let store = ApplicationSpec::new::<App<0>>(Env::new(&tell, Acts::Well));
        let program = ApplicationSpec::new::<Program>(course).depends_on("store");
        std::thread::spawn(move || done.send(program.main([store])));
        let ended = ended.recv_timeout(DEADLINE).expect("it ends");
        assert_eq!(format!("{ended:?}"), format!("{code:?}"));
        let told: Vec<String> = told.try_iter().collect();
        // What it depends on was started before it, and stopped after it; or ended by itself.
        assert_eq!(told.first().map(String::as_str), Some("start store"));
        assert!(
            told.last()
                .is_some_and(|last| last.starts_with("stop store")),
            "{told:?}"
        );
    }
}
