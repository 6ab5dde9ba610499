//! Children of dynamic and partition supervisors that wait for their restart, and what becomes of their
//! mail. On the manual driver with many seeds.

mod dynamic;
mod supervise;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use noex::prelude::*;
use noex::{
    Backoff, ChildStatus, MailboxFate, PartitionSupervisor, PartitionSupervisorRef, StartError,
    Template,
};

use dynamic::{answer, counts, only_child, probes, shutdown, start};
use supervise::{Boom, Conduct, Life, Note, Probe, SECOND, World, in_virtual_time, ups};

const MOMENT: Duration = Duration::from_millis(1);

/// 1 s, 2 s, 4 s, ...
fn seconds() -> Backoff {
    Backoff::exponential(SECOND).jitter(0.0)
}

fn permanent(life: &Life, conduct: Conduct) -> ChildSpec {
    life.conduct("a", conduct).restart(Restart::Permanent)
}

/// Nobody comes up before that time is over, then `a` does.
#[track_caller]
fn waits(world: &World, life: &Life, time: Duration) {
    world.settle();
    world.advance(time - MOMENT);
    life.expect(world, &[]);
    world.advance(MOMENT);
    life.expect(world, &ups("a"));
}

#[test]
fn a_dynamic_child_waits_longer_from_failure_to_failure() {
    in_virtual_time(|world| {
        let life = world.life();
        let sup = start(world, DynamicSupervisor::new().intensity(100));
        let child = permanent(&life, Conduct::Good).backoff(seconds());
        let pid = answer(sup.start_child(child)).unwrap();
        life.expect(world, &ups("a"));
        for wait in [1, 2, 4] {
            world.crash("a");
            life.expect(world, &[Note::Down("a")]);
            waits(world, &life, wait * SECOND);
        }
        // One that ran for long enough begins anew.
        world.advance(60 * SECOND);
        world.crash("a");
        life.expect(world, &[Note::Down("a")]);
        waits(world, &life, SECOND);
        assert_ne!(only_child(&sup).pid, Some(pid));
        assert_eq!(world.next_deadline(), None);
    });
}

#[test]
fn a_dynamic_child_that_waits_says_so_and_is_called_off() {
    in_virtual_time(|world| {
        let life = world.life();
        let sup = start(
            world,
            DynamicSupervisor::new().backoff(seconds()).max_children(1),
        );
        let pid = answer(sup.start_child(permanent(&life, Conduct::Good))).unwrap();
        world.crash("a");
        world.settle();
        world.advance(Duration::from_millis(400));
        let left = Duration::from_millis(600);
        assert_eq!(only_child(&sup).status, ChildStatus::Waiting(left));
        assert_eq!(only_child(&sup).pid, Some(pid));
        let all = answer(sup.count_children());
        assert_eq!((all.specs, all.active, all.waiting), (1, 0, 1));
        // It takes up its place.
        assert!(
            sup.start_child(life.child("b"))
                .wait_timeout(SECOND)
                .is_err()
        );
        answer(sup.terminate_child(pid));
        assert_eq!(counts(&sup), (0, 0, 0, 0));
        assert_eq!(world.next_deadline(), None);
        life.expect(world, &[Note::Up("a"), Note::Down("a")]);
        life.expect(world, &[]);
    });
}

#[test]
fn a_dynamic_child_whose_own_backoff_is_none_does_not_wait() {
    in_virtual_time(|world| {
        let life = world.life();
        let sup = start(world, DynamicSupervisor::new().backoff(seconds()));
        answer(sup.start_child(permanent(&life, Conduct::Good).backoff(Backoff::NONE)));
        world.crash("a");
        life.expect(world, &[Note::Up("a"), Note::Down("a"), Note::Up("a")]);
    });
}

#[test]
fn attempts_that_fail_wait_as_well_and_each_counts() {
    in_virtual_time(|world| {
        let life = world.life();
        let sup = DynamicSupervisor::new().intensity(3).period(100 * SECOND);
        let sup = start(world, sup);
        let fails = Conduct::FailInits {
            from: 1,
            failures: 100,
        };
        answer(sup.start_child(permanent(&life, fails).backoff(seconds())));
        world.crash("a");
        world.settle();
        for wait in [1, 2, 4] {
            assert!(sup.is_alive());
            let left = wait * SECOND;
            assert_eq!(only_child(&sup).status, ChildStatus::Waiting(left));
            world.advance(left);
        }
        assert_eq!(sup.exit_reason(), Some(shutdown()));
    });
}

#[test]
fn a_dynamic_supervisor_that_ends_waits_for_no_backoff() {
    in_virtual_time(|world| {
        let life = world.life();
        let sup = start(world, DynamicSupervisor::new());
        answer(sup.start_child(permanent(&life, Conduct::Good).backoff(seconds())));
        world.crash("a");
        world.settle();
        let mut stopped = sup.stop(ExitReason::Normal);
        world.settle();
        assert_eq!(world.poll(&mut stopped), Some(Ok(())));
        assert_eq!(world.next_deadline(), None);
    });
}

#[test]
fn a_template_has_a_backoff_for_each_child_by_itself() {
    in_virtual_time(|world| {
        let life = world.life();
        let template = probes(&life).restart(Restart::Permanent).backoff(seconds());
        let sup = start(
            world,
            DynamicSupervisor::with_template(template).intensity(9),
        );
        let [first, second] = [(); 2].map(|()| answer(sup.start_child(Conduct::Good)).unwrap());
        life.expect(world, &[Note::Up("p"), Note::Up("p")]);
        first.cast(Boom).unwrap();
        life.expect(world, &[Note::Down("p")]);
        world.settle();
        world.advance(SECOND);
        life.expect(world, &[Note::Up("p")]);
        second.cast(Boom).unwrap();
        life.expect(world, &[Note::Down("p")]);
        world.settle();
        // The second has failed once only.
        world.advance(SECOND - MOMENT);
        life.expect(world, &[]);
        world.advance(MOMENT);
        life.expect(world, &[Note::Up("p")]);
    });
}

/// Tells what it is told, and panics at 0.
struct Log(Sender<u32>);
struct Say(u32);

impl GenServer for Log {
    type Args = Arc<Mutex<Sender<u32>>>;
    async fn init(tell: Self::Args, _: &mut Context<Self>) -> Result<Self, InitStop> {
        Ok(Log(tell.lock().unwrap().clone()))
    }
}

impl HandleCast<Say> for Log {
    async fn handle_cast(&mut self, Say(n): Say, _: &mut Context<Self>) {
        assert_ne!(n, 0, "as told");
        let _ = self.0.send(n);
    }
}

fn log(id: &str) -> (ChildSpec, Receiver<u32>) {
    let (tell, told) = channel();
    let spec = ChildSpec::server::<Log>(id, Arc::new(Mutex::new(tell)));
    (spec, told)
}

fn crash_among_mail(server: &ServerRef<Log>) {
    for n in [1, 0, 2, 3] {
        server.cast(Say(n)).unwrap();
    }
}

#[test]
fn the_mail_of_a_dynamic_child_is_kept_for_its_next_incarnation() {
    in_virtual_time(|world| {
        let sup = start(world, DynamicSupervisor::new());
        let (spec, told) = log("log");
        let kept = spec
            .restart(Restart::Permanent)
            .mailbox_fate(MailboxFate::Keep)
            .backoff(seconds());
        let pid = answer(sup.start_child(kept)).unwrap();
        crash_among_mail(&world.system.server_ref(pid).unwrap());
        world.settle();
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [1]);
        world.advance(SECOND);
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [2, 3]);
        // What is terminated leaves nothing to anybody.
        let next = only_child(&sup).pid.unwrap();
        world
            .system
            .server_ref::<Log>(next)
            .unwrap()
            .cast(Say(4))
            .unwrap();
        world.system.exit(next, ExitReason::Kill);
        world.settle();
        let queued = world.system.stats().queued;
        assert_eq!(queued, 1);
        answer(sup.terminate_child(next));
        world.settle();
        assert_eq!(world.system.stats().queued, 0);
    });
}

#[test]
fn the_mail_of_a_dynamic_child_that_is_not_restarted_is_dropped() {
    in_virtual_time(|world| {
        let sup = start(world, DynamicSupervisor::new());
        let (spec, told) = log("log");
        let pid = answer(sup.start_child(spec.mailbox_fate(MailboxFate::Keep))).unwrap();
        crash_among_mail(&world.system.server_ref(pid).unwrap());
        world.settle();
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [1]);
        assert_eq!(counts(&sup), (0, 0, 0, 0));
        assert_eq!(world.system.stats().queued, 0);
    });
}

#[test]
fn mail_of_a_dynamic_child_is_handed_over_before_its_restart() {
    in_virtual_time(|world| {
        let sup = start(world, DynamicSupervisor::new());
        let (spec, told) = log("log");
        let rescued = Arc::new(Mutex::new(Vec::new()));
        let rescue = rescued.clone();
        let fate = MailboxFate::hand_over(move |pid, message| {
            let message = message.downcast::<Say>().map(|Say(n)| n).ok();
            rescue.lock().unwrap().push((pid, message));
        });
        let spec = spec.restart(Restart::Transient).mailbox_fate(fate);
        let pid = answer(sup.start_child(spec)).unwrap();
        crash_among_mail(&world.system.server_ref(pid).unwrap());
        world.settle();
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [1]);
        assert_eq!(*rescued.lock().unwrap(), [(pid, Some(2)), (pid, Some(3))]);
        assert_eq!(counts(&sup), (1, 1, 0, 1));
    });
}

fn partitions<P: noex::ChildPid + Clone + Sync>(
    world: &World,
    template: Template<usize, P>,
) -> Result<PartitionSupervisorRef<P>, StartError> {
    let start = PartitionSupervisor::new(template)
        .partitions(2)
        .intensity(9);
    start.start(&world.system).wait_timeout(10 * SECOND)
}

#[test]
fn a_partition_made_of_a_spec_waits_and_keeps_its_mail_as_the_spec_says() {
    in_virtual_time(|world| {
        let (spec, told) = log("log");
        let spec = spec.mailbox_fate(MailboxFate::Keep).backoff(seconds());
        let parts = partitions(world, Template::spec(spec)).unwrap();
        let first = parts.at(0).unwrap();
        crash_among_mail(&world.system.server_ref(first).unwrap());
        world.settle();
        assert_eq!(parts.at(0), None);
        let all = answer(parts.count_children());
        assert_eq!((all.specs, all.active, all.waiting), (2, 1, 1));
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [1]);
        world.advance(SECOND);
        assert!(parts.at(0).is_some_and(|pid| pid != first));
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [2, 3]);
    });
}

#[test]
fn partitions_of_a_supervisor_with_a_backoff_wait() {
    in_virtual_time(|world| {
        let life = world.life();
        let probe = life.probe("a", Conduct::Good);
        let template = Template::server_with::<Probe, _>(move |_| probe.clone());
        let sup = PartitionSupervisor::new(template)
            .partitions(1)
            .backoff(seconds());
        let sup = sup.start(&world.system).wait_timeout(10 * SECOND).unwrap();
        life.expect(world, &ups("a"));
        sup.server(&0).cast(Boom).unwrap();
        life.expect(world, &[Note::Down("a")]);
        waits(world, &life, SECOND);
    });
}

#[test]
fn a_significant_spec_is_no_template() {
    in_virtual_time(|world| {
        let (spec, _told) = log("log");
        let spec = spec.restart(Restart::Transient).significant(true);
        let template = || Template::spec::<usize>(spec.clone());
        let start = DynamicSupervisor::with_template(template()).name("sup");
        let refused = start.clone().start(&world.system).wait_timeout(10 * SECOND);
        let error = StartError::SignificantInVain("log".into());
        assert_eq!(refused.unwrap_err(), error);
        assert_eq!(world.system.whereis("sup"), None);
        let branch = ChildSpec::dynamic_supervisor("branch", start);
        let tree = Supervisor::new(Strategy::OneForOne).child(branch);
        let refused = tree.start(&world.system).wait_timeout(10 * SECOND);
        let (id, error) = ("branch".into(), Box::new(error));
        assert_eq!(refused.unwrap_err(), StartError::Child { id, error });
        let partition = StartError::SignificantInVain("0".into());
        assert_eq!(partitions(world, template()).unwrap_err(), partition);
    });
}
