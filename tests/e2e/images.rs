//! `mica images`, `inspect`, `history`, `tag`, `rmi`.

use std::process::Command;

use mica_tests::{Machine, Outcome, mica, needs, run};

pub(crate) fn listing() -> Outcome {
    let machine = Machine::with_busybox();
    let table = machine.ok(["images"]);
    let header: Vec<&str> = table
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    assert_eq!(
        header,
        ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]
    );
    assert!(
        table
            .lines()
            .nth(1)
            .is_some_and(|line| line.starts_with("busybox      latest")),
        "{table}"
    );
    let id = machine.ok(["images", "-q"]);
    assert_eq!(id.len(), 12, "{id}");
    let full = machine.ok(["images", "-q", "--no-trunc"]);
    assert!(full.starts_with(&format!("sha256:{id}")), "{full}");
    let line = machine.ok(["images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"]);
    assert_eq!(line, format!("busybox:latest {id}"));
    Ok(())
}

pub(crate) fn inspect_formats() -> Outcome {
    let machine = Machine::with_busybox();
    let all: serde_json::Value =
        serde_json::from_str(&machine.ok(["inspect", "busybox"])).expect("it is JSON");
    let image = &all[0];
    for key in [
        "Id",
        "RepoTags",
        "Created",
        "Config",
        "Architecture",
        "Os",
        "Size",
        "RootFS",
    ] {
        assert!(!image[key].is_null(), "{key} is missing in {image}");
    }
    assert_eq!(image["RepoTags"][0], "busybox:latest");
    let cases = [
        ("{{.Os}}/{{.Architecture}}", "linux/amd64"),
        ("{{json .RepoTags}}", "[\"busybox:latest\"]"),
        ("{{index .RepoTags 0}}", "busybox:latest"),
        ("{{join .RepoTags \",\"}}", "busybox:latest"),
        ("{{range .Config.Cmd}}<{{.}}>{{end}}", "<sh>"),
        ("{{if .Config.User}}user{{else}}root{{end}}", "root"),
        ("{{printf \"%s %d\" .Os (len .RootFS.Layers)}}", "linux 1"),
        ("{{.Config.ExposedPorts}}{{.Config.Shell}}", "map[][]"),
        (
            "{{.Config.Healthcheck}} {{.Config.StopSignal}}{{.Variant}}",
            "<nil> ",
        ),
    ];
    for (format, expected) in cases {
        if std::env::consts::ARCH != "x86_64" && expected.contains("amd64") {
            continue;
        }
        assert_eq!(
            machine.ok(["inspect", "--format", format, "busybox"]),
            expected,
            "{format}"
        );
    }
    machine.mica(["inspect", "nothing"]).fails(1, &["nothing"]);
    machine
        .mica(["inspect", "--format", "{{.Nope", "busybox"])
        .fails(1, &["template parsing error"]);
    Ok(())
}

pub(crate) fn history() -> Outcome {
    let machine = Machine::with_busybox();
    machine.build("h", "FROM busybox\nENV A=1\nRUN echo x > /x\n", &[]);
    let table = machine.ok(["history", "h"]);
    let header: Vec<&str> = table
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    assert_eq!(
        header,
        ["IMAGE", "CREATED", "CREATED", "BY", "SIZE", "COMMENT"]
    );
    assert!(
        table
            .lines()
            .nth(1)
            .is_some_and(|line| line.contains("RUN /bin/sh -c echo x > /x")),
        "{table}"
    );
    assert!(
        table
            .lines()
            .nth(2)
            .is_some_and(|line| line.contains("ENV A=1")),
        "{table}"
    );
    Ok(())
}

/// An image's history may hold what changes a terminal.
pub(crate) fn history_in_a_terminal() -> Outcome {
    needs(&["script"])?;
    let machine = Machine::with_busybox();
    machine.build("red", "FROM busybox\nRUN : '\u{1b}[31m'\n", &[]);
    let piped = machine.ok(["history", "--no-trunc", "red"]);
    assert!(piped.contains("\u{1b}[31m"), "{piped:?}");
    for command in ["history", "layers"] {
        let line = format!(
            "{} --root {} --runroot {} {command} --no-trunc red",
            mica().display(),
            machine.root().display(),
            machine.path("run").display()
        );
        let shown = run(Command::new("script").args(["-qec", &line, "/dev/null"]));
        assert!(!shown.ok().contains('\u{1b}'), "{shown}");
        assert!(shown.stdout.contains("?[31m"), "{shown}");
    }
    Ok(())
}

pub(crate) fn tags_and_removal() -> Outcome {
    let machine = Machine::with_busybox();
    machine.ok(["tag", "busybox", "user/box:v1"]);
    let untagged = machine.ok(["rmi", "busybox"]);
    assert_eq!(untagged, "Untagged: busybox:latest");
    let id = machine.ok(["images", "-q"]);
    let deleted = machine.ok(["rmi", "user/box:v1"]);
    assert!(deleted.starts_with("Untagged: user/box:v1"), "{deleted}");
    assert!(
        deleted.contains(&format!("Deleted: sha256:{id}")),
        "{deleted}"
    );
    assert_eq!(machine.ok(["images", "-q"]), "");
    machine.mica(["rmi", "busybox"]).fails(1, &["busybox"]);
    machine.mica(["tag", "nothing", "x"]).fails(1, &["nothing"]);
    Ok(())
}
