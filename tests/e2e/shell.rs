//! `mica shell`: the state before and after a step.

use std::fs;

use mica_tests::{Machine, Outcome};

const DOCKERFILE: &str = "FROM busybox AS one\nENV WHO=me\nWORKDIR /work\nRUN chmod 777 .\nUSER 7:8\n\
    RUN echo a > a\nFROM busybox\nCOPY --from=one /work/a /a\nRUN echo half > /half; exit 4\n";

pub(crate) fn before_and_after() -> Outcome {
    let machine = Machine::with_busybox();
    let context = machine.context("c", &[("Dockerfile", DOCKERFILE)]);
    let context = context.to_str().expect("UTF-8");
    machine
        .mica(["build", "--progress", "plain", context])
        .fails(1, &["mica shell @stage-1:3"]);
    let shell = |step: &str, command: &str| machine.ok(["shell", step, "--", "sh", "-c", command]);
    // The failed step left what it wrote until it failed.
    assert_eq!(shell("@stage-1:3", "cat /half /a"), "half\na");
    let before = ["shell", "--before", "@Dockerfile:9", "--", "ls"];
    assert_eq!(machine.ok(before.iter().chain(&["/a"])), "/a");
    let half = machine.mica(before.iter().chain(&["/half"]));
    half.fails(1, &["No such file"]);
    // Variables, user and directory are the step's.
    assert_eq!(
        shell("@one:4", "echo $WHO; id -u; id -g; pwd; cat a"),
        "me\n7\n8\n/work\na"
    );
    // What is written goes with the shell, and its exit code is passed on.
    let ended = machine.mica(["shell", "@one:4", "--", "sh", "-c", "touch x; exit 5"]);
    assert_eq!(ended.code, 5, "{ended}");
    assert_eq!(shell("@one:4", "ls"), "a");
    let id = machine.ok(["builds", "-q"]);
    let base = format!("{id}@one:1");
    assert_eq!(
        machine.ok(["shell", "--network", "none", &base, "--", "id", "-u"]),
        "0"
    );
    machine
        .mica(["shell", "@one:9"])
        .fails(1, &["no step \"one:9\"", "@one:4"]);
    machine.mica(["shell", "one"]).fails(1, &["[BUILD]@STEP"]);
    Ok(())
}

/// A step that fails again replaces what was kept of it, and prune removes all.
pub(crate) fn kept_until_pruned() -> Outcome {
    let machine = Machine::with_busybox();
    let layers = || {
        fs::read_dir(machine.root().join("layers"))
            .expect("a store")
            .count()
    };
    let bases = layers();
    let context = machine.context(
        "c",
        &[("Dockerfile", "FROM busybox\nRUN echo 1 > /n; exit 1\n")],
    );
    let path = context.to_str().expect("UTF-8");
    for number in 1..=3 {
        let text = format!("FROM busybox\nRUN echo {number} > /n; exit 1\n");
        fs::write(context.join("Dockerfile"), text).expect("the context is ours");
        machine
            .mica(["build", "-q", path])
            .fails(1, &["exit code: 1"]);
        assert_eq!(
            machine.ok(["shell", "@2", "--", "cat", "/n"]),
            number.to_string()
        );
    }
    let before = layers();
    assert!(before <= bases + 2, "the base, and one failure: {before}");
    for number in 0..8 {
        let other = machine.context(
            &format!("c{number}"),
            &[("Dockerfile", "FROM busybox\nRUN touch /x; exit 1\n")],
        );
        machine
            .mica(["build", "-q", other.to_str().expect("UTF-8")])
            .fails(1, &["exit code: 1"]);
    }
    assert!(
        layers() <= bases + 6,
        "five failures are kept: {}",
        layers()
    );
    machine.ok(["builder", "prune", "-f"]);
    assert!(layers() <= bases + 1, "{}", layers());
    machine
        .mica(["shell", "@2", "--", "true"])
        .fails(1, &["not there any more"]);
    Ok(())
}
