//! Nothing outlives who asked for it.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio as ProcessStdio};

use mica_isolation::network::Bridge;
use mica_isolation::{
    Cgroup, CgroupLimits, ExitStatus, Namespaces, Network, Sandbox, Stdio, WhenIdle, spawn,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::fixture::{Image, finish, read_line, start};
use crate::network::{bridge_name, exists};
use crate::{Skip, Test};

pub(crate) const TESTS: &[Test] = &[
    (
        "a_killed_caller_leaves_nothing",
        a_killed_caller_leaves_nothing,
    ),
    (
        "a_killed_supervisor_takes_the_sandbox_along",
        a_killed_supervisor_takes_the_sandbox_along,
    ),
    ("a_dropped_sandbox_is_gone", a_dropped_sandbox_is_gone),
    (
        "a_sandbox_outlives_the_thread_that_started_it",
        a_sandbox_outlives_its_thread,
    ),
];

/// The argument with which this program starts a sandbox and waits to be killed.
pub(crate) const HOLD: &str = "--hold-a-sandbox";

/// Starts a sandbox with all that can be left behind, says its PID and what else there is, and
/// waits for ever.
pub(crate) fn hold(state: &Path) -> ! {
    let image = Image::new();
    let bridge = Bridge::ensure(&bridge_name("k"), state, WhenIdle::Remove).expect("a bridge");
    let lease = bridge.lease().expect("an address");
    let mut spec = image.spec(&["sh", "-c", "sleep 1000 & sleep 1000"]);
    spec.cgroup = Some(image.cgroup(CgroupLimits::default()));
    spec.namespaces = Namespaces::private(Network::Bridge(lease.attachment()));
    let sandbox = spawn(&spec, Stdio::Inherit).expect("a sandbox");
    println!("{}", sandbox.pid());
    println!("{}", bridge_name("k"));
    println!("{}", spec.cgroup.expect("given").path.display());
    println!("{}", image.path("").display());
    sandbox.wait().expect("an end that does not come");
    unreachable!("the sandbox does not end by itself")
}

fn a_killed_caller_leaves_nothing() -> Result<(), Skip> {
    let state = tempfile::TempDir::new().expect("a directory");
    let program = std::env::current_exe().expect("this program");
    let mut caller = Command::new(program)
        .arg(HOLD)
        .arg(state.path())
        .stdout(ProcessStdio::piped())
        .spawn()
        .expect("a process");
    let mut output = caller.stdout.take().expect("piped");
    let pid: i32 = read_line(&mut output).parse().expect("a PID");
    let bridge = read_line(&mut output);
    let cgroup = read_line(&mut output);
    let directory = read_line(&mut output);
    let watched = [open(pid), open(parent(pid))];
    assert!(exists(&bridge));
    caller.kill().expect("a killed process");
    caller.wait().expect("an end");
    watched.iter().for_each(await_end);
    assert!(
        Cgroup::open(cgroup.as_ref()).is_err(),
        "cgroup {cgroup} is left"
    );
    assert!(!exists(&bridge), "bridge {bridge} is left");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    assert!(!mounts.contains(&directory), "{mounts}");
    // Nobody holds the pipe any more either.
    output
        .read_to_end(&mut Vec::new())
        .expect("the end of the output");
    std::fs::remove_dir_all(directory).expect("a removed directory");
    Ok(())
}

fn open(pid: i32) -> std::os::fd::OwnedFd {
    let pid = Pid::from_raw(pid).expect("a PID");
    pidfd_open(pid, PidfdFlags::empty()).expect("a running process")
}

fn parent(pid: i32) -> i32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a status");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("PPid:"))
        .expect("a parent");
    line.trim().parse().expect("a PID")
}

fn await_end(process: &std::os::fd::OwnedFd) {
    let limit = Timespec {
        tv_sec: 20,
        tv_nsec: 0,
    };
    let ended = poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&limit)).expect("an answer");
    assert_eq!(ended, 1, "a process lives on");
}

fn sleeper(image: &Image) -> (Sandbox, std::path::PathBuf) {
    let mut spec = image.spec(&["sh", "-c", "sleep 1000 & sleep 1000"]);
    let cgroup = image.cgroup(CgroupLimits::default());
    spec.cgroup = Some(cgroup.clone());
    let (sandbox, ..) = start(&spec);
    (sandbox, cgroup.path)
}

fn a_killed_supervisor_takes_the_sandbox_along() -> Result<(), Skip> {
    let image = Image::new();
    let (sandbox, cgroup) = sleeper(&image);
    let process = open(sandbox.pid());
    let supervisor = Pid::from_raw(parent(sandbox.pid())).expect("a PID");
    kill_process(supervisor, Signal::KILL).expect("a killed process");
    await_end(&process);
    let text = sandbox
        .wait()
        .expect_err("no supervisor to tell")
        .to_string();
    assert!(
        text.starts_with("cannot learn how the sandbox ended: "),
        "{text}"
    );
    assert!(Cgroup::open(&cgroup).is_err());
    Ok(())
}

fn a_dropped_sandbox_is_gone() -> Result<(), Skip> {
    let image = Image::new();
    let (sandbox, cgroup) = sleeper(&image);
    let process = open(sandbox.pid());
    drop(sandbox);
    await_end(&process);
    assert!(Cgroup::open(&cgroup).is_err());
    Ok(())
}

fn a_sandbox_outlives_its_thread() -> Result<(), Skip> {
    let image = Image::new();
    let spec = image.spec(&[
        "sh",
        "-c",
        "trap 'exit 6' TERM; echo ready; while :; do sleep 1; done",
    ]);
    let thread = std::thread::spawn(move || start(&spec));
    let (sandbox, mut stdout, stderr) = thread.join().expect("a sandbox");
    assert_eq!(read_line(&mut stdout), "ready");
    sandbox.signal(15).expect("a signal");
    assert_eq!(
        finish(sandbox, stdout, stderr).exit.status,
        ExitStatus::Exited(6)
    );
    Ok(())
}
