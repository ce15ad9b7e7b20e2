//! What goes wrong is said with its place, and with docker's exit code.

use mica_tests::{Machine, Outcome, Registry};

pub(crate) fn build_errors() -> Outcome {
    let machine = Machine::with_busybox();
    let cases: [(&str, &str, &[&str]); 8] = [
        (
            "unknown-instruction",
            "FROM busybox\nRUNN true\n",
            &[
                "Dockerfile:2",
                "unknown instruction: RUNN",
                "did you mean RUN?",
                "^^^^",
            ],
        ),
        (
            "unknown-flag",
            "FROM busybox\nCOPY --form=1 a b\n",
            &["Dockerfile:2", "unknown flag: --form", "did you mean from?"],
        ),
        (
            "failing-run",
            "FROM busybox\nRUN echo before; \\\n  echo last words >&2; exit 42\n",
            &["Dockerfile:2", "exit code: 42", "last words", "^"],
        ),
        (
            "missing-source",
            "FROM busybox\nCOPY nothing /\n",
            &["Dockerfile:2", "/nothing", "not found"],
        ),
        (
            "no-stage",
            "RUN true\n",
            &["Dockerfile:1", "no build stage"],
        ),
        ("empty", "", &["empty"]),
        (
            "bad-user",
            "FROM busybox\nUSER nobody-here\nRUN true\n",
            &["nobody-here", "Dockerfile:3"],
        ),
        (
            "no-command",
            "FROM busybox\nRUN [\"/nope\"]\n",
            &["/nope", "Dockerfile:2"],
        ),
    ];
    for (name, dockerfile, words) in cases {
        let context = machine.context(name, &[("Dockerfile", dockerfile)]);
        machine
            .mica(["build", context.to_str().expect("UTF-8")])
            .fails(1, words);
    }
    let empty = machine.context("none", &[]);
    machine
        .mica(["build", empty.to_str().expect("UTF-8")])
        .fails(1, &["Dockerfile", "No such file"]);
    machine
        .mica(["build", "/does/not/exist"])
        .fails(1, &["/does/not/exist"]);
    let context = machine.context("target", &[("Dockerfile", "FROM busybox AS base\n")]);
    machine
        .mica([
            "build",
            "--target",
            "bsae",
            context.to_str().expect("UTF-8"),
        ])
        .fails(1, &["bsae", "base"]);
    Ok(())
}

pub(crate) fn command_line_errors() -> Outcome {
    let machine = Machine::new();
    machine
        .mica(["build", "--no-cahce", "."])
        .fails(125, &["--no-cahce", "--no-cache"]);
    machine.mica(["imagse"]).fails(1, &["imagse", "images"]);
    // What all commands have in common comes after what is the command's own.
    let help = machine.ok(["ls", "--help"]);
    assert!(help.find("--platform") < help.find("--root"), "{help}");
    Ok(())
}

pub(crate) fn run_errors() -> Outcome {
    let machine = Machine::with_busybox();
    machine
        .mica(["run", "--rm", "127.0.0.1:1/nothing"])
        .fails(125, &["127.0.0.1:1", "refused"]);
    machine
        .mica(["run", "-p", "x:80", "busybox"])
        .fails(125, &["x:80"]);
    machine
        .mica(["stop", "nobody"])
        .fails(1, &["No such container: nobody"]);
    machine
        .mica(["logs", "nobody"])
        .fails(1, &["No such container: nobody"]);
    machine
        .mica(["run", "--net", "container:nobody", "busybox"])
        .fails(125, &["nobody"]);
    Ok(())
}

pub(crate) fn registry_errors() -> Outcome {
    let registry = Registry::open()?;
    let machine = Machine::with_busybox();
    let address = &registry.address;
    machine
        .mica(["pull", &format!("{address}/none:v9")])
        .fails(1, &["none", "manifest unknown"]);
    machine
        .mica(["pull", "127.0.0.1:1/a"])
        .fails(1, &["127.0.0.1:1", "refused"]);
    machine
        .mica(["push", "no/such:image"])
        .fails(1, &["no/such"]);
    machine.mica(["pull", "BAD/Name"]).fails(1, &["lowercase"]);
    machine
        .mica(["pull", &format!("docker://{address}/none")])
        .fails(1, &["hint: names have no scheme: leave `docker://` out"]);
    let local = format!("{address}/local:1");
    machine.ok(["tag", "busybox", &local]);
    machine
        .mica(["manifest", "inspect", &local])
        .fails(1, &["manifest unknown", &format!("`mica inspect {local}`")]);
    machine
        .mica(["pull", "no-such-host.invalid/a"])
        .fails(1, &["no-such-host.invalid"]);
    Ok(())
}
