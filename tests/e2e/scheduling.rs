//! What a build does not do again, and what it does at the same time.

use std::fs;
use std::process::{Child, Stdio};

use mica_tests::{Finished, Machine, Outcome};

/// The steps that a build did not run, and those that it did, by their text.
fn steps(finished: &Finished) -> (Vec<String>, Vec<String>) {
    let (mut cached, mut done) = (Vec::new(), Vec::new());
    let mut titles = std::collections::BTreeMap::new();
    for line in finished.stderr.lines() {
        let Some((number, text)) = line.split_once(' ') else {
            continue;
        };
        if text.starts_with('[') {
            titles.insert(number.to_owned(), text.to_owned());
        } else if text == "CACHED" {
            cached.push(titles[number].clone());
        } else if text.starts_with("DONE") && titles.contains_key(number) {
            done.push(titles[number].clone());
        }
    }
    (cached, done)
}

fn build(machine: &Machine, context: &str, options: &[&str]) -> Finished {
    let mut arguments = vec!["build", "--progress", "plain"];
    arguments.extend(options);
    let context = machine.path(context);
    arguments.push(context.to_str().expect("UTF-8"));
    let finished = machine.mica(arguments);
    finished.ok();
    finished
}

fn ran(finished: &Finished, word: &str) -> bool {
    steps(finished).1.iter().any(|step| step.contains(word))
}

/// Counts how often a step ran, whoever ran it.
const COUNTED: &str = "FROM busybox\nARG N\nRUN --mount=type=cache,target=/c echo run >> /c/log; \
    until [ -e /c/go ]; do usleep 5000; done; cat /c/log > /log\n";

/// Two processes that need the same step at the same time do it once.
pub(crate) fn same_step_in_two_builds() -> Outcome {
    let machine = Machine::with_busybox();
    machine.context("c", &[("Dockerfile", COUNTED)]);
    let start = |tag: &str| -> Child {
        let mut command = machine.command(["build", "-q", "-t", tag]);
        command.arg(machine.path("c")).stdout(Stdio::null());
        command.spawn().expect("it starts")
    };
    let (mut one, mut other) = (start("one"), start("other"));
    // The first holds the step and waits for the file; the second holds or waits.
    let cache = machine.root().join("cache/mounts");
    let log = || {
        let found = fs::read_dir(&cache).into_iter().flatten().flatten();
        found
            .map(|entry| entry.path())
            .find(|path| path.join("log").exists())
    };
    let directory = loop {
        if let Some(directory) = log() {
            break directory;
        }
        std::thread::yield_now();
    };
    fs::write(directory.join("go"), "").expect("the store is ours");
    assert!(one.wait().expect("it is ours").success());
    assert!(other.wait().expect("it is ours").success());
    assert_eq!(machine.ok(["run", "--rm", "one", "cat", "/log"]), "run");
    assert_eq!(machine.ok(["run", "--rm", "other", "cat", "/log"]), "run");
    let left = fs::read_dir(machine.root().join("cache/flights")).expect("it was made");
    assert_eq!(left.count(), 0, "no lock file stays");
    Ok(())
}

/// A build that dies lets go of its step.
pub(crate) fn step_of_a_dead_build() -> Outcome {
    let machine = Machine::with_busybox();
    machine.context("c", &[("Dockerfile", COUNTED)]);
    let mut command = machine.command(["build", "-q"]);
    let mut first = command.arg(machine.path("c")).spawn().expect("it starts");
    let cache = machine.root().join("cache/mounts");
    let directory = loop {
        let found = fs::read_dir(&cache).into_iter().flatten().flatten();
        let mut paths = found.map(|entry| entry.path());
        if let Some(path) = paths.find(|path| path.join("log").exists()) {
            break path;
        }
        std::thread::yield_now();
    };
    first.kill().expect("it is ours");
    first.wait().expect("it is ours");
    fs::write(directory.join("go"), "").expect("the store is ours");
    build(&machine, "c", &["-t", "second"]);
    assert_eq!(
        machine.ok(["run", "--rm", "second", "cat", "/log"]),
        "run\nrun"
    );
    Ok(())
}

/// A step that ran again and gave the same layer keeps every step below it.
pub(crate) fn early_cutoff() -> Outcome {
    let machine = Machine::with_busybox();
    let dockerfile = "FROM busybox AS a\nCOPY f /f\nRUN touch -d @0 /f; head -c 1 /f > /first; touch -d @0 /first\n\
        FROM busybox\nCOPY --from=a /first /first\nRUN cp /first /second\n";
    let context = machine.context("c", &[("Dockerfile", dockerfile), ("f", "xa")]);
    build(&machine, "c", &[]);
    fs::write(context.join("f"), "xb").expect("the context is ours");
    let again = build(&machine, "c", &[]);
    assert!(ran(&again, "RUN touch"), "{again}");
    assert!(
        !ran(&again, "RUN cp"),
        "what it copies is the same: {again}"
    );
    assert!(!ran(&again, "COPY --from=a"), "{again}");
    Ok(())
}

pub(crate) fn no_cache_and_filter() -> Outcome {
    let machine = Machine::with_busybox();
    let dockerfile = "FROM busybox AS a\nRUN echo a > /a\nFROM busybox AS b\nRUN echo b > /b\n\
        FROM busybox AS c\nRUN echo c > /c\nFROM scratch\nCOPY --from=a /a /\nCOPY --from=b /b /\nCOPY --from=c /c /\n";
    machine.context("c", &[("Dockerfile", dockerfile)]);
    build(&machine, "c", &[]);
    let all = |finished: &Finished| ["echo a", "echo b", "echo c"].map(|word| ran(finished, word));
    assert_eq!(all(&build(&machine, "c", &[])), [false; 3]);
    assert_eq!(all(&build(&machine, "c", &["--no-cache"])), [true; 3]);
    let filtered = build(&machine, "c", &["--no-cache-filter", "a,C"]);
    assert_eq!(all(&filtered), [true, false, true]);
    let twice = build(
        &machine,
        "c",
        &["--no-cache-filter=a", "--no-cache-filter=b"],
    );
    assert_eq!(all(&twice), [true, true, false]);
    Ok(())
}

/// `COPY --link` is the same layer over another base, and is not copied again.
pub(crate) fn linked_layers_are_rebased() -> Outcome {
    let machine = Machine::with_busybox();
    let dockerfile = |base: &str| {
        format!(
            "FROM busybox AS s\nRUN echo made > /made\n\
            FROM busybox\nRUN echo {base} > /base\nCOPY --link --chown=1:2 d /opt/d\nCOPY --link --from=s /made /opt/\nRUN cat /opt/made /base > /both\n"
        )
    };
    let context = machine.context("c", &[("Dockerfile", &dockerfile("one")), ("d/f", "f")]);
    build(&machine, "c", &["-t", "one"]);
    let layers = |tag: &str| {
        let text = machine.ok(["inspect", "-f", "{{json .RootFS.Layers}}", tag]);
        serde_json::from_str::<Vec<String>>(&text).expect("it is JSON")
    };
    let one = layers("one");
    fs::write(context.join("Dockerfile"), dockerfile("two")).expect("the context is ours");
    let again = build(&machine, "c", &["-t", "two"]);
    let two = layers("two");
    assert!(ran(&again, "echo two") && ran(&again, "RUN cat"), "{again}");
    assert!(!ran(&again, "COPY"), "{again}");
    assert_ne!(one[1], two[1], "the base changed");
    assert_eq!(one[2..4], two[2..4], "the same layers on top of it");
    let look = [
        "run",
        "--rm",
        "two",
        "sh",
        "-c",
        "cat /both; stat -c %u:%g /opt/d/f; cat /opt/d/f",
    ];
    assert_eq!(machine.ok(look), "made\ntwo\n1:2\nf");
    // Both stay whole when the other one goes.
    machine.ok(["rmi", "one"]);
    machine.ok(["builder", "prune", "-af"]);
    assert_eq!(machine.ok(look), "made\ntwo\n1:2\nf");
    Ok(())
}

/// Steps that together may need more than the limit run one after the other.
pub(crate) fn memory_bounds_parallel_steps() -> Outcome {
    let machine = Machine::with_busybox();
    let stage = |name: &str| {
        format!(
            "FROM busybox AS {name}\nRUN --mount=type=cache,id=meet,target=/c touch /c/{name}; \
             usleep 100000; ls /c > /{name}; rm /c/{name}\n"
        )
    };
    let copies = ["a", "b", "d"].map(|name| format!("COPY --from={name} /{name} /\n"));
    let stages = ["a", "b", "d"].map(stage);
    let dockerfile = format!("{}FROM busybox\n{}", stages.concat(), copies.concat());
    machine.context("c", &[("Dockerfile", &dockerfile)]);
    for options in [
        &["--max-memory", "300m", "--memory", "200m"][..],
        &["--max-parallelism", "1"],
    ] {
        let all = [options, &["-t", "x", "--no-cache"]].concat();
        build(&machine, "c", &all);
        let seen = machine.ok(["run", "--rm", "x", "cat", "/a", "/b", "/d"]);
        assert_eq!(seen, "a\nb\nd", "{options:?}: each saw only itself");
    }
    Ok(())
}
