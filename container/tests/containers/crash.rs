//! Monitors that are killed.

use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, Signal};

use crate::Test;
use crate::world::{World, monitors};
use mica_container::{LogOptions, NetworkMode, Status};

pub(crate) const TESTS: &[Test] = &[
    ("a_killed_monitor_takes_its_container_along", killed),
    ("what_a_killed_monitor_left_is_reaped", reaped),
    ("a_bridge_that_nobody_removed_is_reaped", bridge_reaped),
];

/// Kills the only monitor, and waits until its container's first process is gone.
fn kill_monitor(world: &World, pid: i32) {
    let monitors = monitors(&world.path().join("run"));
    assert_eq!(monitors.len(), 1);
    let first = open(pid);
    rustix::process::kill_process(Pid::from_raw(monitors[0]).unwrap(), Signal::KILL).unwrap();
    await_end(&first);
}

fn open(pid: i32) -> OwnedFd {
    rustix::process::pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()).unwrap()
}

fn await_end(process: &OwnedFd) {
    rustix::event::poll(&mut [PollFd::new(process, PollFlags::IN)], None).unwrap();
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

/// The monitor and the sandbox's supervisor die at once: neither can remove the bridge.
fn bridge_reaped(world: &World) {
    let mut options = world.script("sleep 1000");
    options.host.network = NetworkMode::Bridge;
    let id = world.start(options);
    let pid = world.state(&id).pid;
    let first = open(pid);
    let supervisor = parent(pid);
    let monitor = monitors(&world.path().join("run"))[0];
    let kill = |pid, signal| rustix::process::kill_process(Pid::from_raw(pid).unwrap(), signal);
    kill(monitor, Signal::STOP).unwrap();
    kill(supervisor, Signal::KILL).unwrap();
    kill(monitor, Signal::KILL).unwrap();
    await_end(&first);
    let name = mica_container::bridge_name(&world.path().join("run"));
    let interface = std::path::Path::new("/sys/class/net").join(name);
    assert!(interface.exists(), "it was left behind");
    world.containers.reap().unwrap();
    assert!(!interface.exists(), "it is removed");
}

fn parent(pid: i32) -> i32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    parent.unwrap().trim().parse().unwrap()
}
