//! Cgroup limits that hold, pausing, figures.

use std::io::Read as _;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use mica_isolation::{Cgroup, CgroupLimits, ExitStatus};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_setfl};

use crate::fixture::{Image, finish, read_line, run, start};
use crate::{Skip, Test};

pub(crate) const TESTS: &[Test] = &[
    ("memory_is_limited", memory_is_limited),
    ("processes_are_limited", processes_are_limited),
    ("cpu_is_limited", cpu_is_limited),
    (
        "the_cgroup_is_shown_and_removed",
        the_cgroup_is_shown_and_removed,
    ),
    ("a_cgroup_is_paused", a_cgroup_is_paused),
    ("all_processes_are_killed", all_processes_are_killed),
    ("an_impossible_limit_fails", an_impossible_limit_fails),
];

/// Skips where a limit cannot be set: on a host whose hierarchies lack the controller.
fn require(controller: &str) -> Result<(), Skip> {
    let report = mica_isolation::probe().cgroups;
    match report.controllers.iter().any(|name| name == controller) {
        true => Ok(()),
        false => Err(Skip(format!(
            "no cgroup hierarchy has the {controller} controller"
        ))),
    }
}

fn memory_is_limited() -> Result<(), Skip> {
    require("memory")?;
    let image = Image::new();
    let hog = "awk 'BEGIN { s = \"xxxxxxxx\"; while (1) s = s s }'";
    let mut spec = image.spec(&["sh", "-c", &format!("{hog}; echo $?")]);
    spec.cgroup = Some(image.cgroup(CgroupLimits {
        memory: Some(32 << 20),
        ..Default::default()
    }));
    let output = run(&spec);
    assert_eq!(output.success(), "137");
    assert!(output.exit.out_of_memory);
    spec.process.args = ["sh", "-c", "true"].map(str::to_string).into();
    assert!(!run(&spec).exit.out_of_memory);
    Ok(())
}

fn processes_are_limited() -> Result<(), Skip> {
    require("pids")?;
    let image = Image::new();
    let script = "for i in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done";
    let mut spec = image.spec(&["sh", "-c", script]);
    spec.cgroup = Some(image.cgroup(CgroupLimits {
        pids: Some(5),
        ..Default::default()
    }));
    let output = run(&spec);
    assert!(output.stderr.contains("can't fork"), "{output:?}");
    Ok(())
}

fn cpu_is_limited() -> Result<(), Skip> {
    require("cpu")?;
    let image = Image::new();
    let mut spec = image.spec(&["sh", "-c", "while :; do :; done"]);
    let cgroup = image.cgroup(CgroupLimits {
        cpus: Some(0.2),
        ..Default::default()
    });
    spec.cgroup = Some(cgroup.clone());
    let started = Instant::now();
    let (sandbox, stdout, stderr) = start(&spec);
    // It does not end by itself: this is how long it is let run.
    readable_within(sandbox.pidfd(), Duration::from_secs(1));
    let used = Cgroup::open(&cgroup.path)
        .and_then(|cgroup| cgroup.stats())
        .expect("figures")
        .cpu;
    let share = used.as_secs_f64() / started.elapsed().as_secs_f64();
    assert!(share < 0.35, "{share} CPUs used");
    sandbox.signal(9).expect("a signal");
    finish(sandbox, stdout, stderr);
    Ok(())
}

/// Waits until there is something to read or the end, and returns 1, or 0 when the time is over.
fn readable_within(file: impl AsFd, duration: Duration) -> usize {
    let limit = Timespec::try_from(duration).expect("a short time");
    poll(&mut [PollFd::new(&file, PollFlags::IN)], Some(&limit)).expect("an answer")
}

fn the_cgroup_is_shown_and_removed() -> Result<(), Skip> {
    require("memory")?;
    let image = Image::new();
    let script = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2> /dev/null \
                  || cat /sys/fs/cgroup/memory.max; grep -c -v ':/$' /proc/self/cgroup";
    let mut spec = image.spec(&["sh", "-c", script]);
    let cgroup = image.cgroup(CgroupLimits {
        memory: Some(64 << 20),
        ..Default::default()
    });
    spec.cgroup = Some(cgroup.clone());
    // `grep` counts no line: every path is the root of the namespace.
    let output = run(&spec);
    assert_eq!(output.stdout, "67108864\n0\n", "{output:?}");
    assert!(Cgroup::open(&cgroup.path).is_err());
    Ok(())
}

fn a_cgroup_is_paused() -> Result<(), Skip> {
    let image = Image::new();
    let mut spec = image.spec(&["sh", "-c", "while :; do echo x; done"]);
    let cgroup = image.cgroup(CgroupLimits::default());
    spec.cgroup = Some(cgroup.clone());
    let (sandbox, mut stdout, stderr) = start(&spec);
    assert_eq!(read_line(&mut stdout), "x");
    let cgroup = Cgroup::open(&cgroup.path).expect("the cgroup");
    assert_eq!(cgroup.processes().expect("processes"), [sandbox.pid()]);
    cgroup.freeze().expect("a frozen cgroup");
    fcntl_setfl(&stdout, OFlags::NONBLOCK).expect("a flag");
    while stdout.read(&mut [0; 4096]).is_ok() {}
    assert_eq!(
        readable_within(&stdout, Duration::from_millis(300)),
        0,
        "it writes on"
    );
    cgroup.thaw().expect("a thawed cgroup");
    assert_eq!(
        readable_within(&stdout, Duration::from_secs(20)),
        1,
        "it does not write on"
    );
    fcntl_setfl(&stdout, OFlags::empty()).expect("a flag");
    cgroup.kill_all().expect("an empty cgroup");
    assert_eq!(
        finish(sandbox, stdout, stderr).exit.status,
        ExitStatus::Signaled(9)
    );
    Ok(())
}

fn all_processes_are_killed() -> Result<(), Skip> {
    let image = Image::new();
    let mut spec = image.spec(&[
        "sh",
        "-c",
        "sleep 1000 & sleep 1000 & echo ready; exec sleep 1000",
    ]);
    spec.namespaces.pid = mica_isolation::Share::Host;
    let cgroup = image.cgroup(CgroupLimits::default());
    spec.cgroup = Some(cgroup.clone());
    let (sandbox, mut stdout, stderr) = start(&spec);
    assert_eq!(read_line(&mut stdout), "ready");
    let open = Cgroup::open(&cgroup.path).expect("the cgroup");
    assert_eq!(open.processes().expect("processes").len(), 3);
    // With the host's PID namespace the end of the first process is not that of the others.
    drop(sandbox);
    assert!(Cgroup::open(&cgroup.path).is_err());
    drop((stdout, stderr));
    Ok(())
}

fn an_impossible_limit_fails() -> Result<(), Skip> {
    require("cpuset")?;
    let image = Image::new();
    let mut spec = image.spec(&["true"]);
    let limits = CgroupLimits {
        cpuset: Some("9999".to_string()),
        ..Default::default()
    };
    spec.cgroup = Some(image.cgroup(limits));
    let error =
        mica_isolation::spawn(&spec, mica_isolation::Stdio::Inherit).expect_err("a failure");
    let text = error.to_string();
    assert!(text.starts_with("cannot write the cgroup file /"), "{text}");
    assert!(text.contains("cpuset.cpus: "), "{text}");
    assert!(Cgroup::open(&spec.cgroup.expect("given").path).is_err());
    Ok(())
}
