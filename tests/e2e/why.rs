//! `mica why` and `mica builds`.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use mica_tests::{Machine, Outcome};
use serde_json::Value;

const DOCKERFILE: &str = "FROM busybox AS one\nARG V=1\nCOPY src /src\nRUN echo $V > /v\n\
    FROM busybox\nARG NPM_TOKEN\nENV MODE=a\nRUN echo $MODE > /m\nCOPY --from=one /v /v\n";

/// Builds once more, and returns the first line below each step of `mica why`.
fn reasons(machine: &Machine, arguments: &[&str]) -> Vec<String> {
    let context = machine.path("c").display().to_string();
    let mut words = vec!["build", "--progress", "none", "-t", "x"];
    words.extend(arguments);
    words.push(&context);
    machine.ok(words);
    let why = machine.ok(["why", "--context", &context, "--format", "json"]);
    let why: Value = serde_json::from_str(&why).expect("it is JSON");
    let steps = why["steps"].as_array().expect("a list").iter();
    let mut found: Vec<_> = steps
        .filter(|step| step["step"] != 1)
        .map(|step| {
            let reason = step["reason"].as_str().unwrap_or(match &step["cached"] {
                Value::Bool(true) => "cached",
                _ => "new",
            });
            format!(
                "{} {}: {reason}",
                step["stage"].as_str().expect("text"),
                step["step"]
            )
        })
        .collect();
    found.sort();
    found
}

pub(crate) fn every_input() -> Outcome {
    let machine = Machine::with_busybox();
    let files = [
        ("Dockerfile", DOCKERFILE),
        ("src/a", "1"),
        ("src/b", "2"),
        ("src/d/c", "3"),
    ];
    let context = machine.context("c", &files);
    let new = [
        "one 2: new",
        "one 3: new",
        "stage-1 2: new",
        "stage-1 3: new",
    ];
    assert_eq!(reasons(&machine, &[]), new);
    let cached = [
        "one 2: cached",
        "one 3: cached",
        "stage-1 2: cached",
        "stage-1 3: cached",
    ];
    assert_eq!(reasons(&machine, &[]), cached);
    let argument = reasons(&machine, &["--build-arg", "V=2"]);
    assert_eq!(
        argument[1],
        "one 3: build argument V changed: \"1\" → \"2\""
    );
    assert!(
        argument[3].contains("1 of 1 file changed in stage \"one\": v (content)"),
        "{argument:?}"
    );
    let token = reasons(&machine, &["--build-arg", "NPM_TOKEN=hunter2"]);
    assert_eq!(
        token[2],
        "stage-1 2: build argument NPM_TOKEN changed: (not set) → \"***\""
    );

    fs::write(context.join("src/a"), "5").expect("the context is ours");
    fs::write(context.join("src/new"), "").expect("the context is ours");
    fs::remove_file(context.join("src/d/c")).expect("the context is ours");
    fs::set_permissions(context.join("src/b"), fs::Permissions::from_mode(0o755))
        .expect("the context is ours");
    let changed = reasons(&machine, &[]);
    assert_eq!(
        changed[0],
        "one 2: 4 of 5 files changed in the build context: src/a (content), \
            src/b (mode 644 → 755), src/d/c (removed) and 1 more"
    );
    assert_eq!(
        changed[1],
        "one 3: parent step changed: [one 2/3] COPY src /src"
    );
    let why = machine.ok([
        "why",
        "--context",
        context.to_str().expect("UTF-8"),
        "Dockerfile:3",
    ]);
    for line in [
        "src/a (content)",
        "src/d/c (removed)",
        "src/new (added)",
        "compared with build",
    ] {
        assert!(why.contains(line), "{why}");
    }
    Ok(())
}

pub(crate) fn edited_dockerfile() -> Outcome {
    let machine = Machine::with_busybox();
    let context = machine.context("c", &[("Dockerfile", DOCKERFILE), ("src/a", "1")]);
    reasons(&machine, &[]);
    let text = DOCKERFILE
        .replace("MODE=a", "MODE=b")
        .replace("echo $V >", "echo -n $V >");
    fs::write(context.join("Dockerfile"), text).expect("the context is ours");
    let changed = reasons(&machine, &[]);
    assert_eq!(
        changed[1],
        "one 3: instruction changed: RUN echo $V > /v → RUN echo -n $V > /v"
    );
    assert_eq!(
        changed[2],
        "stage-1 2: variable MODE changed: \"a\" → \"b\""
    );
    let forced = reasons(&machine, &["--no-cache-filter", "one"]);
    assert_eq!(forced[0], "one 2: --no-cache-filter one");
    Ok(())
}

pub(crate) fn another_base() -> Outcome {
    let machine = Machine::with_busybox();
    machine.build("base", "FROM busybox\nRUN touch /one\n", &[]);
    let context = machine.context("c", &[("Dockerfile", "FROM base\nRUN true\n")]);
    let context = context.to_str().expect("UTF-8");
    machine.ok(["build", "-q", context]);
    machine.build("base", "FROM busybox\nRUN touch /two\n", &[]);
    machine.ok(["build", "-q", context]);
    let why = machine.ok(["why", "--context", context, "2"]);
    assert!(
        why.contains("not cached: base image docker.io/library/base:latest changed: sha256:"),
        "{why}"
    );
    machine
        .mica(["why", "--context", context, "7"])
        .fails(1, &["has no step \"7\""]);
    Ok(())
}

/// One file of many: what is kept of the others is not written again.
pub(crate) fn many_files() -> Outcome {
    let machine = Machine::with_busybox();
    let context = machine.context(
        "c",
        &[
            ("Dockerfile", "FROM scratch\nCOPY src /\n"),
            ("src/00000", ""),
        ],
    );
    for number in 0..600 {
        fs::write(context.join(format!("src/{number:05}")), number.to_string())
            .expect("the context is ours");
    }
    let path = context.to_str().expect("UTF-8");
    machine.ok(["build", "-q", path]);
    fs::write(context.join("src/00400"), "changed").expect("the context is ours");
    machine.ok(["build", "-q", path]);
    let why = machine.ok(["why", "--context", path]);
    assert!(
        why.contains("1 of 601 files changed in the build context: src/00400 (content)"),
        "{why}"
    );
    Ok(())
}

pub(crate) fn past_builds() -> Outcome {
    let machine = Machine::with_busybox();
    machine.build("app", "FROM busybox\nRUN echo said; printf rest\n", &[]);
    let context = machine.context("bad", &[("Dockerfile", "FROM busybox\nRUN exit 9\n")]);
    machine
        .mica(["build", "-q", context.to_str().expect("UTF-8")])
        .fails(1, &["exit code: 9"]);
    let list = machine.ok(["builds"]);
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), 3, "{list}");
    assert!(lines[0].starts_with("BUILD ID"), "{list}");
    assert!(
        lines[1].contains("bad") && lines[1].contains("Error"),
        "{list}"
    );
    assert!(
        lines[2].contains("app:latest") && lines[2].contains("Completed"),
        "{list}"
    );
    let ids = machine.ok(["builds", "ls", "-q"]);
    let id = ids.lines().nth(1).expect("two builds");
    let logs = machine.ok(["builds", "logs", id]);
    assert!(
        logs.contains("[2/2] RUN echo said; printf rest\n#4 "),
        "{logs}"
    );
    assert!(
        logs.contains(" said\n#4 ") && logs.contains(" rest\n#4 DONE "),
        "{logs}"
    );
    let inspected: Value =
        serde_json::from_str(&machine.ok(["builds", "inspect", &id[..6]])).expect("it is JSON");
    assert_eq!(inspected["id"], id);
    assert_eq!(inspected["total_steps"], 1);
    let file = machine.path("trace.json");
    machine.ok(["builds", "trace", id, "-o", file.to_str().expect("UTF-8")]);
    let trace: Value =
        serde_json::from_slice(&fs::read(&file).expect("it was written")).expect("it is JSON");
    let events = trace["traceEvents"].as_array().expect("a list");
    let named = |name: &str| {
        events
            .iter()
            .any(|event| event["name"] == name && event["ph"] == "X")
    };
    assert!(named("[2/2] RUN echo said; printf rest"), "{trace}");
    assert!(named("hashing [2/2] RUN echo said; printf rest"), "{trace}");
    assert_eq!(machine.ok(["buildx", "history", "ls", "-q"]), ids);
    assert_eq!(machine.ok(["builds", "rm", id]), id);
    machine
        .mica(["builds", "logs", id])
        .fails(1, &["no build is named"]);
    machine.ok(["builds", "prune", "-f"]);
    assert_eq!(machine.ok(["builds", "-q"]), "");
    Ok(())
}
