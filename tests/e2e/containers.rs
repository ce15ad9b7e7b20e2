//! `mica run`, `exec`, `ps`, `logs`, `stop`, `rm`.

use std::process::Stdio;

use mica_tests::{Machine, Outcome};

pub(crate) fn background() -> Outcome {
    let machine = Machine::with_busybox();
    let id = machine.ok(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    assert_eq!(id.len(), 64, "{id}");
    let table = machine.ok(["ps"]);
    let header: Vec<&str> = table
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    assert_eq!(
        header,
        [
            "CONTAINER",
            "ID",
            "IMAGE",
            "COMMAND",
            "CREATED",
            "STATUS",
            "PORTS",
            "NAMES"
        ]
    );
    let line = table.lines().nth(1).unwrap_or_default();
    assert!(
        line.starts_with(&id[..12]) && line.contains("\"sleep 1000\"") && line.ends_with("box"),
        "{table}"
    );
    let pid = machine.ok(["inspect", "--format", "{{.State.Pid}}", "box"]);
    assert!(std::path::Path::new("/proc").join(&pid).exists(), "{pid}");
    assert_eq!(
        machine.ok([
            "inspect",
            "--format",
            "{{.State.Status}} {{.Name}}",
            &id[..12]
        ]),
        "running /box"
    );
    machine
        .mica(["run", "-d", "--name", "box", "busybox"])
        .fails(125, &["box", "in use"]);
    assert_eq!(machine.ok(["stop", "-t", "0", "box"]), "box");
    assert_eq!(machine.ok(["ps", "-q"]), "");
    assert_eq!(machine.ok(["ps", "-aq"]), id[..12]);
    assert_eq!(
        machine.ok([
            "inspect",
            "--format",
            "{{.State.Status}} {{.State.ExitCode}}",
            "box"
        ]),
        "exited 137"
    );
    assert_eq!(machine.ok(["rm", "box"]), "box");
    machine
        .mica(["rm", "box"])
        .fails(1, &["No such container", "box"]);
    Ok(())
}

pub(crate) fn foreground() -> Outcome {
    let machine = Machine::with_busybox();
    let run = machine.mica([
        "run",
        "--rm",
        "busybox",
        "sh",
        "-c",
        "echo out; echo err >&2; exit 7",
    ]);
    run.fails(7, &[]);
    assert_eq!(
        (run.stdout.as_str(), run.stderr.as_str()),
        ("out\n", "err\n")
    );
    let input = machine.mica_with_input(["run", "--rm", "-i", "busybox", "cat"], b"through\n");
    assert_eq!(input.ok(), "through");
    assert_eq!(machine.ok(["ps", "-aq"]), "", "--rm leaves nothing");
    let host = machine.ok(["run", "--rm", "busybox", "hostname"]);
    assert_eq!(host.len(), 12, "{host}");
    Ok(())
}

pub(crate) fn environment_and_directory() -> Outcome {
    let machine = Machine::with_busybox();
    machine.build(
        "env",
        "FROM busybox\nENV A=image B=image\nWORKDIR /w\n",
        &[],
    );
    let out = machine.ok([
        "run",
        "--rm",
        "-e",
        "B=cli",
        "-e",
        "C=new",
        "env",
        "sh",
        "-c",
        "echo $A $B $C $PWD $HOME",
    ]);
    assert_eq!(out, "image cli new /w /root");
    assert_eq!(
        machine.ok(["run", "--rm", "-w", "/made/here", "env", "pwd"]),
        "/made/here"
    );
    assert_eq!(
        machine.ok([
            "run",
            "--rm",
            "-u",
            "1000:1001",
            "env",
            "sh",
            "-c",
            "id -u; id -g"
        ]),
        "1000\n1001"
    );
    assert_eq!(
        machine.ok(["run", "--rm", "--entrypoint", "echo", "env", "a", "b"]),
        "a b"
    );
    assert_eq!(
        machine.ok(["run", "--rm", "-h", "name", "env", "hostname"]),
        "name"
    );
    Ok(())
}

pub(crate) fn volumes() -> Outcome {
    let machine = Machine::with_busybox();
    let host = machine.context("shared", &[("in", "from the host\n")]);
    let bind = format!("{}:/data", host.display());
    assert_eq!(
        machine.ok([
            "run",
            "--rm",
            "-v",
            &bind,
            "busybox",
            "sh",
            "-c",
            "cat /data/in; echo back > /data/out"
        ]),
        "from the host"
    );
    assert_eq!(
        std::fs::read_to_string(host.join("out")).expect("it was written"),
        "back\n"
    );
    let readonly = machine.mica([
        "run",
        "--rm",
        "-v",
        &format!("{bind}:ro"),
        "busybox",
        "touch",
        "/data/no",
    ]);
    readonly.fails(1, &["Read-only"]);
    machine.build(
        "vol",
        "FROM busybox\nRUN mkdir /v && echo seeded > /v/f\n",
        &[],
    );
    assert_eq!(
        machine.ok([
            "run",
            "--rm",
            "-v",
            "named:/v",
            "vol",
            "sh",
            "-c",
            "cat /v/f; echo more >> /v/f"
        ]),
        "seeded"
    );
    assert_eq!(
        machine.ok(["run", "--rm", "-v", "named:/v", "vol", "cat", "/v/f"]),
        "seeded\nmore"
    );
    Ok(())
}

pub(crate) fn exec() -> Outcome {
    let machine = Machine::with_busybox();
    let id = machine.ok(["run", "-d", "-e", "A=1", "busybox", "sleep", "1000"]);
    assert_eq!(machine.ok(["exec", &id, "hostname"]), id[..12]);
    assert_eq!(
        machine.ok(["exec", "-e", "B=2", &id, "sh", "-c", "echo $A $B"]),
        "1 2"
    );
    assert!(machine.ok(["exec", &id, "ps"]).contains("sleep 1000"));
    machine
        .mica(["exec", &id, "sh", "-c", "exit 9"])
        .fails(9, &[]);
    machine
        .mica(["exec", &id, "nothing"])
        .fails(127, &["nothing"]);
    machine
        .mica(["exec", &id, "/etc/passwd"])
        .fails(126, &["/etc/passwd"]);
    let confined = machine.ok([
        "exec",
        &id,
        "grep",
        "-E",
        "^(CapEff|Seccomp):",
        "/proc/self/status",
    ]);
    assert_eq!(confined, "CapEff:\t00000000a80425fb\nSeccomp:\t2");
    assert_eq!(
        machine
            .mica_with_input(["exec", "-i", &id, "cat"], b"piped")
            .ok(),
        "piped"
    );
    machine
        .mica(["exec", "nobody", "true"])
        .fails(1, &["No such container"]);
    Ok(())
}

pub(crate) fn logs_follow() -> Outcome {
    let machine = Machine::with_busybox();
    let id = machine.ok([
        "run",
        "-d",
        "busybox",
        "sh",
        "-c",
        "echo one; echo two >&2; read x < /gate; echo three",
    ]);
    // The container waits for nobody: /gate does not exist, so the shell goes on at once.
    machine.ok(["wait", &id]);
    let logs = machine.mica(["logs", &id]);
    assert_eq!(logs.ok(), "one\nthree");
    assert!(logs.stderr.starts_with("two\n"), "{logs}");
    let plain = machine.ok([
        "run",
        "-d",
        "busybox",
        "sh",
        "-c",
        "echo one; echo two; echo three",
    ]);
    machine.ok(["wait", &plain]);
    assert_eq!(machine.ok(["logs", "--tail", "2", &plain]), "two\nthree");
    let slow = machine.ok([
        "run",
        "-d",
        "busybox",
        "sh",
        "-c",
        "for i in 1 2 3; do echo $i; sleep 0.2; done",
    ]);
    assert_eq!(machine.ok(["logs", "-f", &slow]), "1\n2\n3");
    Ok(())
}

pub(crate) fn stop_and_restart() -> Outcome {
    let machine = Machine::with_busybox();
    let script = "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done";
    let id = machine.ok(["run", "-d", "busybox", "sh", "-c", script]);
    let mut follow = machine
        .command(["logs", "-f", &id])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut line = String::new();
    let stdout = follow.stdout.take().expect("it is a pipe");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line)
        .expect("it is a pipe");
    assert_eq!(line, "up\n");
    machine.ok(["stop", &id]);
    follow.wait().expect("it is ours");
    assert_eq!(
        machine.ok(["inspect", "--format", "{{.State.ExitCode}}", &id]),
        "3"
    );
    machine.ok(["start", &id]);
    assert_eq!(
        machine.ok(["inspect", "--format", "{{.State.Running}}", &id]),
        "true"
    );
    machine.ok(["kill", &id]);
    assert_eq!(machine.ok(["wait", &id]), "137");
    assert_eq!(machine.ok(["logs", &id]).matches("up").count(), 2);
    Ok(())
}

pub(crate) fn exit_codes() -> Outcome {
    let machine = Machine::with_busybox();
    machine.ok(["run", "--rm", "busybox", "true"]);
    machine
        .mica(["run", "--rm", "busybox", "false"])
        .fails(1, &[]);
    machine
        .mica(["run", "--rm", "busybox", "nothing"])
        .fails(127, &["nothing", "not found"]);
    machine
        .mica(["run", "--rm", "busybox", "/etc"])
        .fails(126, &["/etc", "ermission denied"]);
    machine
        .mica([
            "run",
            "--rm",
            "busybox",
            "sh",
            "-c",
            "(sh -c 'kill -9 $PPID'; sleep 9) & wait $!; exit $?",
        ])
        .fails(137, &[]);
    machine
        .mica(["run", "--nope", "busybox"])
        .fails(125, &["--nope"]);
    assert_eq!(
        machine.ok(["ps", "-aq"]),
        "",
        "failed starts leave nothing with --rm"
    );
    Ok(())
}
