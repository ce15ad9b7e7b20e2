//! `mica builder du`, `mica builder prune` and the limit that is kept after builds.

use std::fs;

use mica_tests::{Machine, Outcome, run};

/// Two layers of a megabyte that the image `app` has, one that no image has, and a cache mount.
fn machine() -> Machine {
    let machine = Machine::with_busybox();
    let big = |name: &str| format!("head -c 1000000 /dev/zero > /{name}");
    let dockerfile = format!(
        "FROM busybox AS other\nRUN --mount=type=cache,id=m,target=/c echo x > /c/f && {}\n\
         FROM busybox\nRUN {}\nCOPY . /ctx\nCOPY --from=other /bin/busybox /b\n",
        big("private"),
        big("own"),
    );
    machine.build("app", &dockerfile, &[("f", "text")]);
    machine
}

fn du(machine: &Machine, filter: &[&str]) -> Vec<serde_json::Value> {
    let mut arguments = vec!["builder", "du", "--format", "json"];
    for filter in filter {
        arguments.extend(["--filter", filter]);
    }
    let text = machine.ok(arguments);
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("it is JSON"))
        .collect()
}

pub(crate) fn usage() -> Outcome {
    let machine = machine();
    let all = du(&machine, &[]);
    let kinds = |kind: &str| all.iter().filter(|entry| entry["Type"] == kind).count();
    assert_eq!(
        (
            kinds("regular"),
            kinds("exec.cachemount"),
            kinds("source.local")
        ),
        (4, 1, 2),
        "{all:#?}"
    );
    let count = |filter: &[&str]| du(&machine, filter).len();
    assert_eq!(count(&["shared", "type=regular"]), 3);
    assert_eq!(count(&["private,type=regular"]), 1);
    assert_eq!(count(&["description~=head -c"]), 2);
    assert_eq!(count(&["until=1h"]), 0);
    assert_eq!(count(&["until=0"]), all.len());
    assert_eq!(count(&["inuse"]), 0);
    let id = all[0]["ID"].as_str().expect("a text");
    assert_eq!(count(&[&format!("id={id}")]), 1);
    assert_eq!(count(&[&format!("id!={id}")]), all.len() - 1);
    machine
        .mica(["builder", "du", "--filter", "colour=red"])
        .fails(1, &["colour=red"]);
    let table = machine.ok(["buildx", "du"]);
    let lines: Vec<&str> = table.lines().collect();
    assert!(
        lines[0].starts_with("ID ") && lines[0].contains("RECLAIMABLE"),
        "{table}"
    );
    assert!(
        lines[0].contains("SIZE") && lines[0].ends_with("LAST ACCESSED"),
        "{table}"
    );
    assert!(
        table.contains("\nTotal: ") && table.contains("\nReclaimable: "),
        "{table}"
    );
    let verbose = machine.ok(["builder", "du", "--verbose"]);
    for word in ["ID: ", "Shared: ", "Description: ", "Type: ", "Last used: "] {
        assert!(verbose.contains(word), "{verbose}");
    }
    Ok(())
}

pub(crate) fn prune() -> Outcome {
    let machine = machine();
    let count = || du(&machine, &[]).len();
    let before = count();
    machine.ok(["builder", "prune", "-f", "--filter", "until=1h"]);
    assert_eq!(count(), before, "all of it is new");
    let mounts = machine.ok(["builder", "prune", "-f", "--filter", "type=exec.cachemount"]);
    assert!(mounts.contains("Total reclaimed space: 2B"), "{mounts}");
    assert_eq!(count(), before - 1);
    // What the image has is kept; the layer of the other stage goes.
    let pruned = machine.ok(["builder", "prune", "-f"]);
    assert!(
        pruned.starts_with("Deleted build cache objects:\n"),
        "{pruned}"
    );
    assert!(pruned.contains("Total reclaimed space: 1MB"), "{pruned}");
    assert_eq!(count(), 3);
    let context = machine.path("context-app");
    let context = context.to_str().expect("UTF-8");
    let again = machine.mica(["build", "--progress", "plain", "-t", "app", context]);
    let cached = again
        .stderr
        .lines()
        .filter(|line| line.ends_with(" CACHED"));
    assert_eq!(cached.count(), 3, "{again}");
    machine.ok(["builder", "prune", "-af"]);
    assert_eq!(count(), 0);
    assert_eq!(machine.ok(["run", "--rm", "app", "cat", "/ctx/f"]), "text");
    let nothing = machine.ok(["builder", "prune", "-af"]);
    assert_eq!(nothing, "Total reclaimed space: 0B");
    Ok(())
}

/// The oldest go first, down to the limit of the flag.
pub(crate) fn keep_storage() -> Outcome {
    let machine = Machine::with_busybox();
    for n in 0..4 {
        let dockerfile = format!("FROM busybox\nRUN head -c 1000000 /dev/zero > /f{n}\n");
        machine.build(&format!("i{n}"), &dockerfile, &[]);
        machine.ok(["rmi", &format!("i{n}")]);
    }
    let total = || -> u64 {
        let entries = du(&machine, &["type=regular"]);
        entries
            .iter()
            .map(|entry| entry["Size"].as_u64().expect("a number"))
            .sum()
    };
    assert_eq!(total(), 4_000_000);
    machine.ok(["builder", "prune", "-af", "--keep-storage", "10m"]);
    assert_eq!(total(), 4_000_000);
    machine.ok(["builder", "prune", "-af", "--reserved-space", "3500000"]);
    assert_eq!(total(), 3_000_000);
    machine.ok(["builder", "prune", "-af", "--max-used-space", "1500000"]);
    assert_eq!(total(), 1_000_000);
    Ok(())
}

/// A limit of the configuration is kept after each build.
pub(crate) fn configured_limit() -> Outcome {
    let machine = Machine::with_busybox();
    let config = machine.context(
        "config",
        &[(
            "mica/config.json",
            r#"{"build": {"cache": {"max-used-space": "2500000"}}}"#,
        )],
    );
    for n in 0..5 {
        let dockerfile = format!("FROM busybox\nRUN head -c 1000000 /dev/zero > /f{n}\n");
        let context = machine.context("c", &[("Dockerfile", &dockerfile)]);
        let mut build = machine.command(["build", "-q"]);
        build.arg(context).env("XDG_CONFIG_HOME", &config);
        run(&mut build).ok();
    }
    let total: u64 = du(&machine, &[])
        .iter()
        .map(|entry| entry["Size"].as_u64().expect("a number"))
        .sum();
    assert!(total > 0 && total <= 2_500_000, "{total}");
    fs::write(
        config.join("mica/config.json"),
        r#"{"build": {"cache": {"keep-duration": "soon"}}}"#,
    )
    .expect("the directory is ours");
    let mut build = machine.command(["build", "-q"]);
    build.arg(machine.path("c")).env("XDG_CONFIG_HOME", &config);
    run(&mut build).fails(1, &["config.json", "soon"]);
    Ok(())
}
