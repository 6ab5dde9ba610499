//! Templates of a dynamic supervisor, and what users' code in them may do. On one scheduler
//! thread, on four, and on the manual driver with many seeds.

mod dynamic;
mod supervise;

use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use noex::prelude::*;
use noex::{ChildError, ChildKind, ChildStatus, Inbox, StartError, Starter, Template};

use supervise::{SECOND, everywhere};

use dynamic::{Idle, answer, counts, fails, only_child, shutdown, start};

#[test]
fn a_template_gives_typed_references_to_children_with_their_own_arguments() {
    struct Account(String, u32);
    impl GenServer for Account {
        type Args = (String, u32);
        async fn init(
            (owner, sum): (String, u32),
            _: &mut Context<Self>,
        ) -> Result<Self, InitStop> {
            Ok(Account(owner, sum))
        }
    }
    struct Show;
    impl HandleCall<Show> for Account {
        type Reply = (String, u32);
        async fn handle_call(&mut self, _: Show, _: &mut Context<Self>) -> (String, u32) {
            (self.0.clone(), self.1)
        }
    }
    impl HandleCast<u32> for Account {
        async fn handle_cast(&mut self, sum: u32, _: &mut Context<Self>) {
            self.1 = self.1.checked_add(sum).unwrap();
        }
    }
    everywhere(|world| {
        let show =
            |account: &ServerRef<Account>| account.call(Show).wait_timeout(10 * SECOND).unwrap();
        let template = Template::server::<Account>().restart(Restart::Transient);
        let sup = start(world, DynamicSupervisor::with_template(template));
        let joe = answer(sup.start_child(("joe".into(), 10))).unwrap();
        let ann = answer(sup.start_child(("ann".into(), 20))).unwrap();
        ann.cast(5).unwrap();
        assert_eq!(show(&joe), ("joe".into(), 10));
        assert_eq!(show(&ann), ("ann".into(), 25));

        // A restart begins with the arguments of that child.
        ann.cast(u32::MAX).unwrap();
        world.wait_for_end(ann.pid());
        let mut ann_again = None;
        world.until(|| {
            ann_again = answer(sup.which_children())
                .into_iter()
                .filter_map(|child| match child.status {
                    ChildStatus::Running(pid) if pid != joe.pid() => Some(pid),
                    _ => None,
                })
                .find_map(|pid| world.system.server_ref::<Account>(pid));
            ann_again.is_some()
        });
        assert_eq!(show(&ann_again.unwrap()), ("ann".into(), 20));

        let fixed = Template::server_with::<Account, _>(|owner: &str| (owner.to_owned(), 7));
        let sup = start(world, DynamicSupervisor::with_template(fixed));
        let bob = answer(sup.start_child("bob")).unwrap();
        assert_eq!(show(&bob), ("bob".into(), 7));
    });
}

#[test]
fn templates_make_processes_workers_supervisors_and_copies_of_a_spec() {
    everywhere(|world| {
        let life = world.life();
        let (send, got) = std::sync::mpsc::channel();
        let send = Arc::new(Mutex::new(send));
        let echo = Template::process(move |mut inbox: Inbox<u32>, add: u32| {
            let send = send.clone();
            async move {
                while let noex::Received::Message(n) = inbox.recv().await {
                    let _ = send.lock().unwrap().send(n + add);
                }
            }
        });
        let sup = start(world, DynamicSupervisor::with_template(echo));
        let echo = answer(sup.start_child(40)).unwrap();
        echo.send(2).unwrap();
        assert_eq!(world.next(&got), 42);

        let worker = Template::worker(|starter: Starter, name: &'static str| async move {
            let options = starter.options().name(name);
            starter.start_link_with::<Idle>((), options).await
        });
        let sup = start(world, DynamicSupervisor::with_template(worker));
        let named = answer(sup.start_child("named")).unwrap();
        assert_eq!(world.pid("named"), named.pid());
        let taken = StartError::AlreadyStarted(named.pid());
        assert_eq!(fails(sup.start_child("named")), ChildError::Start(taken));

        let shared = life.child("inside");
        let branch = Template::supervisor(move |()| {
            Supervisor::new(Strategy::OneForOne).child(shared.clone())
        });
        assert_eq!(branch.kind(), ChildKind::Supervisor);
        let sup = start(world, DynamicSupervisor::with_template(branch));
        let branch = answer(sup.start_child(())).unwrap();
        assert_eq!(world.running(&branch), ["inside"]);

        let nested = Template::dynamic_supervisor(|max| DynamicSupervisor::new().max_children(max));
        let sup = start(world, DynamicSupervisor::with_template(nested));
        let nested = answer(sup.start_child(1)).unwrap();
        answer(nested.start_child(life.child("leaf"))).unwrap();
        let full = fails(nested.start_child(life.child("leaf")));
        assert_eq!(full, ChildError::MaxChildren);
        assert_eq!(counts(&sup), (1, 1, 1, 0));

        let copies = Template::spec(ChildSpec::server::<Idle>("idle", ()));
        let sup = start(world, DynamicSupervisor::with_template(copies));
        let first = answer(sup.start_child(())).unwrap();
        let second = answer(sup.start_child(())).unwrap();
        assert_ne!(first, second);
        assert!(world.system.server_ref::<Idle>(second).is_some());
    });
}

#[test]
fn what_panics_in_a_start_function_or_a_clone_is_a_failed_start() {
    struct Brittle(Arc<AtomicIsize>);
    impl Clone for Brittle {
        fn clone(&self) -> Self {
            let left = self.0.fetch_sub(1, SeqCst);
            assert!(left > 0, "no more clones");
            Brittle(self.0.clone())
        }
    }
    everywhere(|world| {
        let panics = |start: fn()| {
            Template::worker(move |starter: Starter, ()| {
                start();
                async move {
                    starter.start_link::<Idle>(()).await?;
                    panic!("in the future")
                }
            })
        };
        let template: Template<(), ServerRef<Idle>> = panics(|| panic!("in the function"));
        let sup = start(world, DynamicSupervisor::with_template(template));
        let ChildError::Start(StartError::Init(reason)) = fails(sup.start_child(())) else {
            panic!("it fails to start")
        };
        assert!(reason.to_string().contains("in the function"), "{reason}");

        let template: Template<(), ServerRef<Idle>> = panics(|| {});
        let sup = start(world, DynamicSupervisor::with_template(template));
        let before = world.system.processes().len();
        let ChildError::Start(StartError::Init(reason)) = fails(sup.start_child(())) else {
            panic!("it fails to start")
        };
        assert!(reason.to_string().contains("in the future"), "{reason}");
        assert_eq!(
            world.system.processes().len(),
            before,
            "what it started is gone"
        );

        let brittle = |clones| Brittle(Arc::new(AtomicIsize::new(clones)));
        let template = Template::server_with::<Idle, _>(|_: Brittle| ());
        let template = template.restart(Restart::Permanent);
        let sup = start(
            world,
            DynamicSupervisor::with_template(template).intensity(3),
        );
        let error = fails(sup.start_child(brittle(0)));
        assert!(
            matches!(error, ChildError::Start(StartError::Init(_))),
            "{error:?}"
        );
        // One clone to keep, and one for a restart: the next is a restart that fails.
        let child = answer(sup.start_child(brittle(2))).unwrap();
        world.system.exit(child.pid(), ExitReason::Kill);
        let again = |old| {
            let mut new = None;
            world.until(|| {
                new = only_child(&sup).pid.filter(|pid| *pid != old);
                new.is_some()
            });
            new.unwrap()
        };
        let second = again(child.pid());
        world.system.exit(second, ExitReason::Kill);
        world.until(|| sup.exit_reason() == Some(shutdown()));
    });
}

#[test]
fn arguments_that_panic_when_dropped_harm_nobody() {
    struct Bomb(Arc<AtomicUsize>);
    impl Clone for Bomb {
        fn clone(&self) -> Self {
            Bomb(self.0.clone())
        }
    }
    impl Drop for Bomb {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
            panic!("as it does");
        }
    }
    everywhere(|world| {
        let dropped = Arc::new(AtomicUsize::new(0));
        let template = Template::server_with::<Idle, _>(|bomb: Bomb| std::mem::forget(bomb));
        let template = template.restart(Restart::Transient);
        let sup = start(
            world,
            DynamicSupervisor::with_template(template).max_children(2),
        );
        let first = answer(sup.start_child(Bomb(dropped.clone()))).unwrap();
        let second = answer(sup.start_child(Bomb(dropped.clone()))).unwrap();
        // Refused, with its arguments dropped; then terminated; then ended by itself.
        let refused = fails(sup.start_child(Bomb(dropped.clone())));
        assert_eq!(refused, ChildError::MaxChildren);
        assert_eq!(dropped.load(SeqCst), 1);
        answer(sup.terminate_child(first.pid()));
        assert_eq!(dropped.load(SeqCst), 2);
        let ended = second.stop(ExitReason::Normal).wait_timeout(10 * SECOND);
        assert_eq!(ended, Ok(()));
        world.until(|| counts(&sup).0 == 0);
        assert_eq!(dropped.load(SeqCst), 3);
        // And those it still has at its end.
        answer(sup.start_child(Bomb(dropped.clone()))).unwrap();
        let stopped = sup.stop(ExitReason::Normal).wait_timeout(10 * SECOND);
        assert_eq!(stopped, Ok(()));
        assert_eq!(dropped.load(SeqCst), 4);
    });
}
