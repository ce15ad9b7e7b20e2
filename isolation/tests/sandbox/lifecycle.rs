//! Starting, ending, failing, joining.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::Instant;

use mica_isolation::{
    Error, ExecTarget, ExitStatus, Process, SandboxSpec, Share, Stdio, Step, exec, spawn,
};
use mica_oci::{Access, Mount, MountKind};

use crate::fixture::{Image, finish, read_line, run, start};
use crate::{Skip, Test};

pub(crate) const TESTS: &[Test] = &[
    ("exit_codes_are_reported", exit_codes_are_reported),
    ("signals_are_reported", signals_are_reported),
    ("namespaces_are_new", namespaces_are_new),
    (
        "namespaces_are_shared_when_asked",
        namespaces_are_shared_when_asked,
    ),
    ("a_missing_command_is_127", a_missing_command_is_127),
    (
        "a_command_that_may_not_run_is_126",
        a_command_that_may_not_run_is_126,
    ),
    (
        "a_failing_step_names_its_path",
        a_failing_step_names_its_path,
    ),
    ("signals_start_out_as_default", signals_start_out_as_default),
    (
        "only_the_standard_streams_are_open",
        only_the_standard_streams_are_open,
    ),
    ("exec_joins", exec_joins),
    ("exec_fails_after_the_end", exec_fails_after_the_end),
    ("starting_is_quick", starting_is_quick),
];

fn exit_codes_are_reported() -> Result<(), Skip> {
    let image = Image::new();
    for code in [0, 1, 42, 255] {
        let output = image.shell(&format!("exit {code}"));
        assert_eq!(output.exit.status, ExitStatus::Exited(code));
        assert_eq!(output.exit.status.code(), code);
        assert!(output.exit.usage.peak_memory > 0, "{output:?}");
    }
    Ok(())
}

fn signals_are_reported() -> Result<(), Skip> {
    let image = Image::new();
    let (sandbox, stdout, stderr) = start(&image.spec(&["sleep", "1000"]));
    sandbox.signal(9).expect("a signal");
    let output = finish(sandbox, stdout, stderr);
    assert_eq!(output.exit.status, ExitStatus::Signaled(9));
    assert_eq!(output.exit.status.code(), 137);
    // PID 1 has no default action but may handle the signal.
    let (sandbox, mut stdout, stderr) = start(&image.spec(&[
        "sh",
        "-c",
        "trap 'exit 5' TERM; echo ready; while :; do sleep 1; done",
    ]));
    assert_eq!(read_line(&mut stdout), "ready");
    sandbox.signal(15).expect("a signal");
    assert_eq!(
        finish(sandbox, stdout, stderr).exit.status,
        ExitStatus::Exited(5)
    );
    Ok(())
}

const KINDS: [&str; 6] = ["mnt", "pid", "net", "ipc", "uts", "cgroup"];

fn namespaces(image: &Image, spec: &SandboxSpec) -> Vec<String> {
    let script = KINDS
        .map(|kind| format!("readlink /proc/self/ns/{kind}"))
        .join("; ");
    let mut spec = spec.clone();
    spec.process = Process::new(["sh", "-c", &script]);
    spec.mount_point = image.path("root");
    run(&spec).success().lines().map(str::to_string).collect()
}

fn host_namespaces() -> Vec<String> {
    let link = |kind| std::fs::read_link(format!("/proc/self/ns/{kind}")).expect("a link");
    KINDS
        .iter()
        .map(|kind| link(kind).to_string_lossy().into_owned())
        .collect()
}

fn namespaces_are_new() -> Result<(), Skip> {
    let image = Image::new();
    let inside = namespaces(&image, &image.spec(&[]));
    assert_eq!(inside.len(), KINDS.len());
    for (inside, outside) in inside.iter().zip(host_namespaces()) {
        assert_ne!(*inside, outside);
    }
    assert_eq!(image.shell("echo $$").success(), "1");
    assert_eq!(image.shell("mount | grep -c ' / '").success(), "1");
    Ok(())
}

fn namespaces_are_shared_when_asked() -> Result<(), Skip> {
    let image = Image::new();
    let mut spec = image.spec(&[]);
    spec.namespaces.network = mica_isolation::Network::Host;
    spec.namespaces.pid = Share::Host;
    spec.namespaces.ipc = Share::Host;
    spec.namespaces.uts = Share::Host;
    assert_eq!(namespaces(&image, &spec)[1..5], host_namespaces()[1..5]);

    let other = Image::new();
    let (sandbox, stdout, stderr) = start(&other.spec(&["sleep", "1000"]));
    let mut spec = image.spec(&[]);
    spec.namespaces.network = mica_isolation::Network::Process(sandbox.pid());
    spec.namespaces.pid = Share::Process(sandbox.pid());
    spec.namespaces.ipc = Share::Process(sandbox.pid());
    spec.namespaces.uts = Share::Process(sandbox.pid());
    let joined = namespaces(&image, &spec);
    let link = |kind| std::fs::read_link(format!("/proc/{}/ns/{kind}", sandbox.pid()));
    for (kind, joined) in KINDS.iter().zip(joined).skip(1).take(4) {
        assert_eq!(link(kind).expect("a link"), Path::new(&joined), "{kind}");
    }
    sandbox.signal(9).expect("a signal");
    finish(sandbox, stdout, stderr);
    Ok(())
}

#[track_caller]
fn check_failure(spec: &SandboxSpec, code: u8, text: &str) -> Error {
    let error = spawn(spec, Stdio::Inherit).expect_err("a failure");
    assert_eq!(
        (error.exit_code(), error.to_string().as_str()),
        (code, text)
    );
    error
}

fn a_missing_command_is_127() -> Result<(), Skip> {
    let image = Image::new();
    let missing = "exec: \"no-such\": executable file not found in $PATH";
    check_failure(&image.spec(&["no-such", "-x"]), 127, missing);
    let missing = "exec: \"/no/such\": no such file or directory";
    check_failure(&image.spec(&["/no/such"]), 127, missing);
    Ok(())
}

fn a_command_that_may_not_run_is_126() -> Result<(), Skip> {
    let image = Image::new();
    image.write_with_mode("lower/bin/plain", "text", 0o644);
    image.write_with_mode("lower/bin/garbage", "text", 0o755);
    check_failure(
        &image.spec(&["plain"]),
        126,
        "exec: \"plain\": permission denied",
    );
    check_failure(
        &image.spec(&["/etc"]),
        126,
        "exec: \"/etc\": permission denied",
    );
    check_failure(
        &image.spec(&["garbage"]),
        126,
        "exec: \"garbage\": exec format error",
    );
    Ok(())
}

fn a_failing_step_names_its_path() -> Result<(), Skip> {
    let image = Image::new();
    let mut spec = image.spec(&["true"]);
    spec.mounts = vec![Mount {
        kind: MountKind::Bind {
            source: "/no/such/source".into(),
        },
        target: "/data".into(),
        access: Access::ReadWrite,
    }];
    let text = "cannot open the bind mount's source /no/such/source: \
                No such file or directory (os error 2)";
    let error = check_failure(&spec, 125, text);
    assert!(matches!(
        error,
        Error::Setup {
            step: Step::OpenBindSource,
            path: Some(_),
            ..
        }
    ));

    let mut spec = image.spec(&["true"]);
    spec.mounts = vec![Mount {
        kind: MountKind::Tmpfs {
            size: None,
            mode: 0o755,
        },
        target: "/etc/passwd".into(),
        access: Access::ReadWrite,
    }];
    check_failure(
        &spec,
        125,
        "cannot create the mount point /etc/passwd: Not a directory (os error 20)",
    );

    let mut spec = image.spec(&["true"]);
    spec.process.user = "nobody".to_string();
    let text = "unable to find user nobody: no matching entries in passwd file";
    check_failure(&spec, 125, text);
    Ok(())
}

fn signals_start_out_as_default() -> Result<(), Skip> {
    let image = Image::new();
    let output = run(&image.spec(&["grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"]));
    let expected = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000";
    assert_eq!(output.success(), expected);
    Ok(())
}

fn only_the_standard_streams_are_open() -> Result<(), Skip> {
    let image = Image::new();
    // `ls` itself opens the directory.
    assert_eq!(image.shell("ls /proc/self/fd").success(), "0\n1\n2\n3");
    Ok(())
}

fn exec_joins() -> Result<(), Skip> {
    let image = Image::new();
    let mut spec = image.spec(&["sh", "-c", "touch /tmp/mark; echo ready; sleep 1000"]);
    spec.hostname = Some("inner".to_string());
    spec.cgroup = Some(image.cgroup(Default::default()));
    let (sandbox, mut stdout, stderr) = start(&spec);
    assert_eq!(read_line(&mut stdout), "ready");
    let cgroup = spec.cgroup.as_ref().map(|cgroup| cgroup.path.clone());
    let target = ExecTarget {
        pid: sandbox.pid(),
        cgroup,
    };
    let script = "for n in mnt pid net ipc uts cgroup; do \
                  test $(readlink /proc/self/ns/$n) = $(readlink /proc/1/ns/$n) || exit 1; done";
    let process = Process::new(["sh", "-c", script]);
    let joined = exec(&target, &process, Stdio::Inherit).expect("a process");
    assert_eq!(
        joined.wait().expect("an exit").status,
        ExitStatus::Exited(0)
    );
    let script = "hostname; ls /tmp; cat /proc/self/cgroup | grep -v :/$; id -u; echo $HOME; pwd; \
                  exit 3";
    let mut process = Process::new(["sh", "-c", script]);
    process.user = "app".to_string();
    process.working_directory = "/tmp/made".into();
    let (read, write) = std::io::pipe().expect("a pipe");
    let files = Stdio::Files {
        stdin: None,
        stdout: write.into(),
        stderr: std::io::stderr()
            .as_fd()
            .try_clone_to_owned()
            .expect("a copy"),
    };
    let joined = exec(&target, &process, files).expect("a process");
    let text = std::io::read_to_string(read).expect("output");
    assert_eq!(text, "inner\nmade\nmark\n1000\n/home/app\n/tmp/made\n");
    assert_eq!(
        joined.wait().expect("an exit").status,
        ExitStatus::Exited(3)
    );
    // The sandbox goes on.
    sandbox.signal(9).expect("a signal");
    assert_eq!(
        finish(sandbox, stdout, stderr).exit.status,
        ExitStatus::Signaled(9)
    );
    Ok(())
}

fn exec_fails_after_the_end() -> Result<(), Skip> {
    let image = Image::new();
    let (sandbox, stdout, stderr) = start(&image.spec(&["true"]));
    let target = ExecTarget {
        pid: sandbox.pid(),
        cgroup: None,
    };
    finish(sandbox, stdout, stderr);
    let error = exec(&target, &Process::new(["true"]), Stdio::Inherit).expect_err("a failure");
    let text = format!(
        "cannot open the process {}: No such process (os error 3)",
        target.pid
    );
    assert_eq!(error.to_string(), text);
    Ok(())
}

/// Prints the figure; fails only when starting is slower by far than it should ever be.
fn starting_is_quick() -> Result<(), Skip> {
    let image = Image::new();
    let mut spec = image.spec(&["true"]);
    let measure = |spec: &SandboxSpec| {
        let mut times: Vec<_> = (0..20)
            .map(|_| {
                let start = Instant::now();
                let sandbox = spawn(spec, Stdio::Inherit).expect("a sandbox");
                sandbox.wait().expect("an exit");
                start.elapsed()
            })
            .collect();
        times.sort();
        times[times.len() / 2]
    };
    let plain = measure(&spec);
    spec.cgroup = Some(image.cgroup(Default::default()));
    let with_cgroup = measure(&spec);
    println!(
        "     spawn and wait for true: {plain:?}, with a cgroup: {with_cgroup:?} (median of 20)"
    );
    assert!(plain.as_millis() < 500, "{plain:?}");
    Ok(())
}
