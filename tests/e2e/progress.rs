//! What `mica build` shows while it runs.

use mica_tests::{Finished, Machine, Outcome};
use serde_json::Value;

const DOCKERFILE: &str =
    "FROM busybox\nARG V=1\nCOPY f /f\nRUN echo out; echo err >&2; echo $V > /v\n";

fn build(machine: &Machine, style: &str, arguments: &[&str]) -> Finished {
    let context = machine.path("c").display().to_string();
    let mut words = vec!["build", "--progress", style, "-t", "x"];
    words.extend(arguments);
    words.push(&context);
    machine.mica(words)
}

/// Replaces times, sizes and digests: what stays is the same each time.
fn shape(text: &str) -> Vec<String> {
    let word = |word: &str| -> String {
        let number = word.trim_end_matches('s').parse::<f64>().is_ok() && word.contains('.');
        match () {
            () if number => "T".into(),
            () if word.starts_with("sha256:") => "DIGEST".into(),
            () => word.to_owned(),
        }
    };
    let line = |line: &str| line.split(' ').map(word).collect::<Vec<_>>().join(" ");
    text.lines().map(line).collect()
}

pub(crate) fn plain_lines() -> Outcome {
    let machine = Machine::with_busybox();
    machine.context("c", &[("Dockerfile", DOCKERFILE), ("f", "1")]);
    let first = build(&machine, "plain", &[]);
    first.ok();
    let lines = shape(&first.stderr);
    assert_eq!(
        lines[..9],
        [
            "#1 [internal] load build definition from Dockerfile",
            "#1 transferring dockerfile: 72B done",
            "#1 DONE T",
            "",
            "#2 [internal] load .dockerignore",
            "#2 transferring context: 0B done",
            "#2 DONE T",
            "",
            "#3 [1/3] FROM docker.io/library/busybox:latest",
        ],
        "{first}"
    );
    for line in [
        "#4 [2/3] COPY f /f",
        "#5 [3/3] RUN echo out; echo err >&2; echo $V > /v",
        "#5 T out",
        "#5 T err",
        "#5 DONE T",
        "#6 exporting to image",
        "#6 writing image DIGEST done",
        "#6 naming to docker.io/library/x:latest done",
        "0 of 2 steps cached, 2 ran, T",
    ] {
        assert!(lines.iter().any(|known| known == line), "{line}: {first}");
    }
    let again = build(&machine, "plain", &["--build-arg", "V=2"]);
    let lines = shape(again.stderr.as_str());
    for line in [
        "#4 CACHED",
        "#5 not cached: build argument V changed: \"1\" → \"2\"",
        "1 of 2 steps cached, 1 ran, T",
    ] {
        assert!(lines.iter().any(|known| known == line), "{line}: {again}");
    }
    Ok(())
}

pub(crate) fn failure() -> Outcome {
    let machine = Machine::with_busybox();
    let text = "FROM busybox\nRUN echo one; \\\n  exit 3\nRUN true\n";
    machine.context("c", &[("Dockerfile", text)]);
    let failed = build(&machine, "plain", &[]);
    failed.fails(1, &["did not complete successfully: exit code: 3"]);
    let lines = shape(&failed.stderr).join("\n");
    let block = "------\n > [2/3] RUN echo one;   exit 3:\nT one\n------\nDockerfile:2\n\
        --------------------\n   1 |     FROM busybox\n   2 | >>> RUN echo one; \\\n     |     ^^^^^^^^^^^^^^^\n   3 | >>>   exit 3\n   \
        4 |     RUN true\n--------------------\n\
        error: failed to solve: process \"/bin/sh -c echo one;   exit 3\" did not complete successfully: exit code: 3\n\
        hint: its files are kept: `mica shell @2` opens";
    assert!(lines.contains(block), "{failed}");
    Ok(())
}

/// Each line is one of BuildKit's status objects, and every vertex that starts ends.
pub(crate) fn raw_json() -> Outcome {
    let machine = Machine::with_busybox();
    machine.context("c", &[("Dockerfile", DOCKERFILE), ("f", "1")]);
    let built = build(&machine, "rawjson", &[]);
    built.ok();
    let lines: Vec<Value> = built
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect();
    let vertexes: Vec<&Value> = lines
        .iter()
        .filter_map(|line| line.get("vertexes"))
        .collect();
    let named = |name: &str| {
        let of = |list: &&&Value| list[0]["name"] == name;
        vertexes.iter().filter(of).count()
    };
    assert_eq!(named("[2/3] COPY f /f"), 2, "{built}");
    let ended = vertexes
        .iter()
        .filter(|list| list[0]["completed"].is_string());
    assert_eq!(ended.count() * 2, vertexes.len());
    let logs: Vec<&Value> = lines.iter().filter_map(|line| line.get("logs")).collect();
    let said: Vec<_> = logs
        .iter()
        .map(|list| (&list[0]["stream"], &list[0]["data"]))
        .collect();
    // `out` and `err` in base64; the two streams may come in either order.
    assert!(said.contains(&(&1.into(), &"b3V0Cg==".into())), "{built}");
    assert!(said.contains(&(&2.into(), &"ZXJyCg==".into())), "{built}");
    Ok(())
}

pub(crate) fn quiet_and_none() -> Outcome {
    let machine = Machine::with_busybox();
    machine.context("c", &[("Dockerfile", DOCKERFILE), ("f", "1")]);
    let none = build(&machine, "none", &[]);
    assert_eq!((none.ok(), none.stderr.as_str()), ("", ""));
    let quiet = build(&machine, "quiet", &[]);
    let id = machine.ok(["inspect", "--format", "{{.Id}}", "x"]);
    assert_eq!((quiet.ok(), quiet.stderr.as_str()), (id.as_str(), ""));
    build(&machine, "plain", &["-q"]).fails(1, &["progress=plain and quiet cannot be used"]);
    build(&machine, "tty", &[]).fails(1, &["standard error is no terminal"]);
    let context = machine.path("c").display().to_string();
    let mut command = machine.command(["build", "-t", "x", &context]);
    command.env("BUILDKIT_PROGRESS", "rawjson");
    let raw = mica_tests::run(&mut command);
    assert!(raw.stderr.starts_with("{\"vertexes\":"), "{raw}");
    command.env("BUILDKIT_PROGRESS", "fancy");
    mica_tests::run(&mut command).fails(1, &["BUILDKIT_PROGRESS", "rawjson or tty"]);
    Ok(())
}
