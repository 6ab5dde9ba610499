//! How long a supervisor of tasks gives its tasks to end, on the manual driver with many seeds.

mod supervise;

use std::future::pending;
use std::time::Duration;

use noex::prelude::*;
use noex::{TaskContext, TaskSupervisor, TaskSupervisorRef};

use supervise::{SECOND, World, in_virtual_time};

fn start(world: &World) -> TaskSupervisorRef {
    let start = TaskSupervisor::new().start(&world.system);
    start.wait_timeout(10 * SECOND).unwrap()
}

/// A task that does not end when it is told to.
fn stubborn(world: &World, tasks: &TaskSupervisorRef, shutdown: Shutdown) -> Pid {
    let child =
        tasks.start_child_with(Restart::Temporary, shutdown, |cx: TaskContext| async move {
            cx.trap_exit(true);
            pending::<()>().await;
        });
    let pid = child.wait_timeout(10 * SECOND).unwrap();
    world.settle();
    pid
}

const MOMENT: Duration = Duration::from_millis(1);

#[test]
fn a_task_that_was_told_to_end_gets_no_more_time_when_its_supervisor_stops_too() {
    in_virtual_time(|world| {
        let tasks = start(world);
        let five = Shutdown::Timeout(5 * SECOND);
        let (told, other) = (stubborn(world, &tasks, five), stubborn(world, &tasks, five));
        let mut terminated = tasks.terminate_child(told);
        world.settle();
        world.advance(3 * SECOND);
        let mut stopped = tasks.stop(ExitReason::Normal);
        world.settle();
        world.advance(2 * SECOND - MOMENT);
        assert!(world.system.is_alive(told));
        world.advance(MOMENT);
        assert!(!world.system.is_alive(told), "its five seconds are over");
        assert!(world.system.is_alive(other), "it has three more");
        // Who asked for it hears of it at once.
        assert_eq!(world.poll(&mut terminated), Some(Ok(true)));
        assert_eq!(world.poll(&mut stopped), None);
        world.advance(3 * SECOND);
        assert!(!world.system.is_alive(other));
        assert_eq!(world.poll(&mut stopped), Some(Ok(())));
        assert_eq!(world.next_deadline(), None);
    });
}

#[test]
fn a_task_that_was_killed_is_not_waited_for_again_by_a_supervisor_that_stops() {
    in_virtual_time(|world| {
        let tasks = start(world);
        let told = stubborn(world, &tasks, Shutdown::Infinity);
        let mut terminated = tasks.terminate_child(told);
        let mut stopped = tasks.stop(ExitReason::Normal);
        world.advance(1000 * SECOND);
        assert!(world.system.is_alive(told), "it has all the time it likes");
        world.system.exit(told, ExitReason::Kill);
        world.settle();
        assert_eq!(world.poll(&mut terminated), Some(Ok(true)));
        assert_eq!(world.poll(&mut stopped), Some(Ok(())));
    });
}

#[test]
fn a_task_that_ends_in_time_leaves_no_timer() {
    in_virtual_time(|world| {
        let tasks = start(world);
        let task = tasks.start_child(|_| pending::<()>());
        let pid = task.wait_timeout(10 * SECOND).unwrap();
        let ended = tasks.terminate_child(pid);
        assert_eq!(ended.wait_timeout(10 * SECOND), Ok(true));
        assert_eq!(world.next_deadline(), None);
    });
}
