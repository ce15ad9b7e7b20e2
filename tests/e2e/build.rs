//! `mica build`.

use std::fs;

use mica_tests::{Finished, Machine, Outcome};

fn rebuild(machine: &Machine, tag: &str) -> Finished {
    let context = machine.path(&format!("context-{tag}"));
    let finished = machine.mica([
        "build",
        "--progress",
        "plain",
        "-t",
        tag,
        context.to_str().expect("UTF-8"),
    ]);
    finished.ok();
    finished
}

fn cached(finished: &Finished) -> usize {
    finished
        .stderr
        .lines()
        .filter(|line| line.ends_with(" CACHED"))
        .count()
}

const APP: &str = "FROM busybox\nWORKDIR /app\nADD . /app\nRUN cat app.txt > /built\nEXPOSE 80\n\
    ENV NAME World\nCMD [\"cat\", \"/built\"]\n";

/// The fixture's own Dockerfile, with a stand-in for `pip`: the shape of the image.
pub(crate) fn helloworld_steps() -> Outcome {
    let machine = Machine::with_busybox();
    machine.build("app", APP, &[("app.txt", "hello\n")]);
    let config: serde_json::Value =
        serde_json::from_str(&machine.ok(["inspect", "--format", "{{json .Config}}", "app"]))
            .expect("it is JSON");
    assert_eq!(config["WorkingDir"], "/app");
    assert_eq!(config["ExposedPorts"], serde_json::json!({"80/tcp": {}}));
    assert_eq!(config["Cmd"], serde_json::json!(["cat", "/built"]));
    let env = config["Env"].as_array().expect("a list");
    assert!(env.contains(&"NAME=World".into()), "{env:?}");
    let history = machine.ok([
        "history",
        "--no-trunc",
        "--format",
        "{{.CreatedBy}}|{{.Size}}",
        "app",
    ]);
    let lines: Vec<&str> = history.lines().collect();
    assert!(
        lines[0].starts_with("CMD [\"cat\" \"/built\"]|0B"),
        "{history}"
    );
    assert!(lines[1].starts_with("ENV NAME=World|0B"), "{history}");
    assert!(lines[2].starts_with("EXPOSE [80/tcp]|0B"), "{history}");
    assert!(
        lines[3].starts_with("RUN /bin/sh -c cat app.txt > /built # buildkit|"),
        "{history}"
    );
    assert!(lines[4].starts_with("ADD . /app # buildkit|"), "{history}");
    assert!(lines[5].starts_with("WORKDIR /app|0B"), "{history}");
    assert_eq!(machine.ok(["run", "--rm", "app"]), "hello");
    Ok(())
}

pub(crate) fn second_build_reuses_everything() -> Outcome {
    let machine = Machine::with_busybox();
    machine.build("app", APP, &[("app.txt", "hello\n")]);
    let first = machine.ok(["inspect", "--format", "{{.Id}}", "app"]);
    let again = rebuild(&machine, "app");
    assert_eq!(cached(&again), 3, "{again}");
    assert_eq!(machine.ok(["inspect", "--format", "{{.Id}}", "app"]), first);
    // Times do not count, content does.
    let file = machine.path("context-app/app.txt");
    fs::write(&file, "hello\n").expect("the context is ours");
    assert_eq!(cached(&rebuild(&machine, "app")), 3);
    Ok(())
}

pub(crate) fn one_changed_file() -> Outcome {
    let machine = Machine::with_busybox();
    let dockerfile = "FROM busybox\nCOPY a /a\nRUN cat /a > /x\nCOPY b /b\nRUN cat /b > /y\n";
    machine.build("app", dockerfile, &[("a", "1"), ("b", "1")]);
    fs::write(machine.path("context-app/b"), "2").expect("the context is ours");
    let again = rebuild(&machine, "app");
    assert_eq!(cached(&again), 2, "only what depends on b runs: {again}");
    assert_eq!(machine.ok(["run", "--rm", "app", "cat", "/x", "/y"]), "12");
    Ok(())
}

/// A RUN step cannot reach out: its processes, host name, devices and rights are its own.
pub(crate) fn sandbox_is_closed() -> Outcome {
    let machine = Machine::with_busybox();
    let script = "RUN set -e; test $$ = 1; test \"$(hostname)\" = buildkitsandbox; \
        test \"$(ls /proc | grep -c '^[0-9]')\" -le 4; \
        ! mount -t tmpfs none /mnt 2>/dev/null; ! mknod /dev/x b 8 0 2>/dev/null; \
        ! unshare -m true 2>/dev/null; grep -q 'Seccomp:.2' /proc/1/status; \
        grep -q 'CapEff:.00000000a80425fb' /proc/1/status; \
        test -z \"$(cat /proc/kcore 2>/dev/null | head -c 1)\"; \
        test \"$(stat -c %a /dev)\" = 755; echo x > /dev/null; test -c /dev/urandom; \
        test ! -e /dev/vda; ip link | grep -q eth0";
    machine.build("closed", &format!("FROM busybox\n{script}\n"), &[]);
    Ok(())
}

pub(crate) fn multi_stage() -> Outcome {
    let machine = Machine::with_busybox();
    let dockerfile = "ARG BASE=busybox\nFROM $BASE AS one\nRUN mkdir /out && echo one > /out/f\n\
        FROM busybox AS unused\nRUN false\n\
        FROM one AS two\nRUN echo two >> /out/f\n\
        FROM scratch\nCOPY --from=two /out/ /\n";
    let built = machine.build("multi", dockerfile, &[]);
    assert!(!built.stderr.contains("unused"), "{built}");
    let layers = machine.ok(["inspect", "--format", "{{len .RootFS.Layers}}", "multi"]);
    assert_eq!(layers, "1");
    machine.build("check", "FROM busybox\nCOPY --from=multi /f /f\nRUN test \"$(cat /f | tr '\\n' ' ')\" = 'one two '\n", &[]);
    Ok(())
}

pub(crate) fn copy_rules() -> Outcome {
    let machine = Machine::with_busybox();
    let dockerfile = "FROM busybox\nRUN mkdir -p /data/real && ln -s real /data/link && chmod 700 /data/real\n\
        COPY d /data/link\nCOPY --chown=3:4 --chmod=640 f *.txt /into/\nCOPY f /data\nCOPY f /new/name\n\
        RUN set -e; test \"$(stat -c '%a' /data/real)\" = 700; test -f /data/real/x; test -f /data/real/s/y; \
        test \"$(stat -c '%u:%g %a' /into/f)\" = '3:4 640'; test -f /into/a.txt; test -f /into/b.txt; \
        test -f /data/f; test -f /new/name; test \"$(stat -c '%u' /data/f)\" = 0\n";
    let files = [
        ("d/x", "x"),
        ("d/s/y", "y"),
        ("f", "f"),
        ("a.txt", "a"),
        ("b.txt", "b"),
    ];
    machine.build("rules", dockerfile, &files);
    Ok(())
}

pub(crate) fn ignore_file() -> Outcome {
    let machine = Machine::with_busybox();
    let files = [
        (".dockerignore", "*.log\nsub\n!sub/keep\n"),
        ("a.log", ""),
        ("a", ""),
        ("sub/keep", ""),
        ("sub/drop", ""),
    ];
    machine.build("ignored", "FROM busybox\nCOPY . /c\nRUN cd /c && test \"$(find . -type f | sort | tr '\\n' ' ')\" = './.dockerignore ./Dockerfile ./a ./sub/keep '\n", &files);
    let context = machine.context(
        "missing",
        &[
            (".dockerignore", "# notes\n*.log\n"),
            ("a.log", ""),
            ("Dockerfile", "FROM busybox\nCOPY a.log /\n"),
        ],
    );
    machine
        .mica(["build", context.to_str().expect("UTF-8")])
        .fails(1, &["a.log", ".dockerignore:2", "Dockerfile:2"]);
    Ok(())
}

pub(crate) fn heredocs() -> Outcome {
    let machine = Machine::with_busybox();
    let dockerfile = "FROM busybox\nENV WHO=you\nCOPY <<one <<\"two\" /h/\nhello $WHO\none\nhello $WHO\ntwo\n\
        RUN <<EOF\nset -e\ntest \"$(cat /h/one)\" = 'hello you'\ntest \"$(cat /h/two)\" = 'hello $WHO'\nEOF\n\
        RUN <<EOF\n#!/bin/sh\necho script > /made\nEOF\nRUN test \"$(cat /made)\" = script\n";
    machine.build("heredocs", dockerfile, &[]);
    Ok(())
}

/// A secret is in no byte of the store, and in nothing that was printed.
pub(crate) fn secrets_leave_no_trace() -> Outcome {
    let machine = Machine::with_busybox();
    let secret = format!("s3cr3t-{}", std::process::id());
    let context = machine.context("secret", &[("Dockerfile", "FROM busybox\nRUN --mount=type=secret,id=key test -s /run/secrets/key && cut -c1-2 /run/secrets/key\nRUN --mount=type=secret,id=key,env=KEY test -n \"$KEY\" && test ! -e /run/secrets\n")]);
    fs::write(machine.path("key"), &secret).expect("the directory is ours");
    let option = format!("id=key,src={}", machine.path("key").display());
    let built = machine.mica([
        "build",
        "--progress",
        "plain",
        "--secret",
        &option,
        "-t",
        "secret",
        context.to_str().expect("UTF-8"),
    ]);
    built.ok();
    assert!(!built.stderr.contains(&secret) && !built.stdout.contains(&secret));
    let grep = mica_tests::run(
        std::process::Command::new("grep")
            .args(["-rlF", &secret])
            .arg(machine.root())
            .arg(machine.path("run")),
    );
    assert_eq!(grep.stdout, "", "{grep}");
    Ok(())
}

pub(crate) fn cache_mounts() -> Outcome {
    let machine = Machine::with_busybox();
    let dockerfile = |n: u32| {
        format!(
            "FROM busybox\nRUN --mount=type=cache,target=/cache echo {n} >> /cache/log && cp /cache/log /log\n"
        )
    };
    machine.build("cache", &dockerfile(1), &[]);
    machine.build("cache", &dockerfile(2), &[]);
    assert_eq!(
        machine
            .ok([
                "run",
                "--rm",
                "cache",
                "sh",
                "-c",
                "cat /log; ls -d /cache 2>&1; true"
            ])
            .lines()
            .take(2)
            .collect::<Vec<_>>(),
        ["1", "2"]
    );
    Ok(())
}

/// What the tool itself puts into a step is in no layer.
pub(crate) fn no_tools_in_layers() -> Outcome {
    let machine = Machine::with_busybox();
    machine.build(
        "clean",
        "FROM busybox\nRUN touch /only && cat /etc/resolv.conf /etc/hosts > /dev/null\n",
        &[],
    );
    let archive = machine.path("clean.tar");
    machine.ok(["save", "-o", archive.to_str().expect("UTF-8"), "clean"]);
    let list = mica_tests::run(std::process::Command::new("sh").arg("-c").arg(
        "mkdir x && tar -xf clean.tar -C x && for l in $(python3 -c 'import json;print(json.load(open(\"x/manifest.json\"))[0][\"Layers\"][-1])'); do tar -tf x/$l; done",
    ).current_dir(machine.path("")));
    assert_eq!(list.ok(), "only", "{list}");
    Ok(())
}

/// Independent stages run side by side: each waits for a file that the other one makes.
pub(crate) fn parallel_stages() -> Outcome {
    let machine = Machine::with_busybox();
    let wait = "until [ -e /c/$OTHER ]; do usleep 10000; done";
    let stage = |own: &str, other: &str| {
        format!(
            "FROM busybox AS {own}\nRUN --mount=type=cache,id=meet,target=/c OTHER={other}; touch /c/{own}; {wait}; touch /{own}\n"
        )
    };
    let dockerfile = format!(
        "{}{}FROM scratch\nCOPY --from=a /a /\nCOPY --from=b /b /\n",
        stage("a", "b"),
        stage("b", "a")
    );
    machine.build("parallel", &dockerfile, &[]);
    Ok(())
}
