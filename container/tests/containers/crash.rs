//! Monitors that are killed.

use rustix::process::{Pid, Signal};

use crate::Test;
use crate::world::{World, monitors};
use mica_container::{LogOptions, NetworkMode, Status};

pub(crate) const TESTS: &[Test] = &[
    ("a_killed_monitor_takes_its_container_along", killed),
    ("what_a_killed_monitor_left_is_reaped", reaped),
];

/// Kills the only monitor, and waits until its container's first process is gone.
fn kill_monitor(world: &World, pid: i32) {
    let monitors = monitors(&world.path().join("run"));
    assert_eq!(monitors.len(), 1);
    let process = Pid::from_raw(pid).unwrap();
    let first = rustix::process::pidfd_open(process, rustix::process::PidfdFlags::empty()).unwrap();
    rustix::process::kill_process(Pid::from_raw(monitors[0]).unwrap(), Signal::KILL).unwrap();
    let mut waited = [rustix::event::PollFd::new(
        &first,
        rustix::event::PollFlags::IN,
    )];
    rustix::event::poll(&mut waited, None).unwrap();
}

fn killed(world: &World) {
    let mut options = world.script("echo before; sleep 1000");
    options.host.network = NetworkMode::Bridge;
    let id = world.start(options);
    world.wait_for_line(&id, "before");
    kill_monitor(world, world.state(&id).pid);
    let state = world.state(&id);
    assert_eq!(
        (state.status, state.exit_code, state.pid),
        (Status::Exited, 137, 0)
    );
    assert_eq!(world.containers.wait(&id).unwrap(), 137);
    assert_eq!(world.log(&id, &LogOptions::default()), "before\n");
    // It starts again, and ends as usual.
    world.containers.start(&id, None).unwrap();
    world.containers.kill(&id, libc::SIGKILL).unwrap();
    assert_eq!(world.containers.wait(&id).unwrap(), 137);
}

fn reaped(world: &World) {
    let mut options = world.script("echo ready; sleep 1000");
    options.host.auto_remove = true;
    let id = world.start(options);
    world.wait_for_line(&id, "ready");
    kill_monitor(world, world.state(&id).pid);
    world.containers.reap().unwrap();
    assert!(world.containers.ids().unwrap().is_empty());
    let cgroup = mica_isolation::Cgroup::open(&std::path::Path::new("mica").join(id.as_str()));
    assert!(cgroup.is_err(), "its cgroup is left");
}
