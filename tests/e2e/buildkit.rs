//! The same Dockerfiles built by mica and by docker's BuildKit: configuration, history and files.

use std::fs;
use std::path::Path;

use mica_tests::{DockerDaemon, Machine, Outcome, run};
use serde_json::Value;

/// Files that every context has.
const FILES: [(&str, &str); 7] = [
    ("a.txt", "a\n"),
    ("b.txt", "b\n"),
    ("dir/one", "1\n"),
    ("dir/sub/two", "2\n"),
    ("skipped.log", "log\n"),
    (".dockerignore", "*.log\nDockerfile\n"),
    ("run.sh", "#!/bin/sh\necho run\n"),
];

/// What is built, with its name.
const DOCKERFILES: [(&str, &str); 14] = [
    (
        "copies",
        "FROM busybox\nCOPY a.txt /x/\nCOPY dir /d\nCOPY *.txt /t/\nCOPY a.txt b.txt dir /all/\nCOPY . /c\n",
    ),
    (
        "owners",
        "FROM busybox\nRUN echo 'app:x:1000:1001::/:/bin/sh' >> /etc/passwd && echo 'team:x:77:' >> /etc/group\n\
        COPY --chown=app:team a.txt /o/a\nCOPY --chown=5 b.txt /o/b\nCOPY --chown=app dir /o/dir\nADD --chown=9:10 run.sh /o/new/\n",
    ),
    (
        "links",
        "FROM busybox\nRUN mkdir /real && ln -s real /link && ln -s nowhere /broken\nCOPY a.txt /link/\nCOPY b.txt /broken/b\nCOPY dir /link\n",
    ),
    (
        "config",
        "FROM busybox\nENV A=1 B=\"two words\"\nENV C=$A-${D:-default}\nLABEL one=1 two=\"a b\"\nEXPOSE 80 53/udp 8000-8002\n\
        VOLUME /data [\"/more\"]\nVOLUME [\"/json\", \"/list\"]\nUSER 1000:1000\nWORKDIR /app\nWORKDIR sub\nSTOPSIGNAL SIGUSR1\n\
        ENTRYPOINT [\"/entry\"]\nCMD [\"x\", \"$A\"]\n",
    ),
    (
        "shells",
        "FROM busybox\nSHELL [\"/bin/sh\", \"-ec\"]\nRUN false || echo no > /f\nCMD echo $HOME\nENTRYPOINT exec top\n",
    ),
    (
        "arguments",
        "ARG BASE=busybox\nFROM $BASE\nARG A=1\nARG B\nARG UNUSED=x\nRUN echo $A$B > /ab\nENV A=2\nRUN echo $A > /a\n",
    ),
    (
        "stages",
        "FROM busybox AS one\nRUN mkdir -p /out/d && echo 1 > /out/d/f && chmod 600 /out/d/f && chown 3:4 /out/d && ln /out/d/f /out/hard\n\
        FROM scratch AS two\nCOPY --from=one /out /\nFROM busybox\nCOPY --from=two / /two/\nCOPY --from=0 /out/d/f /\n",
    ),
    (
        "workdir",
        "FROM busybox\nUSER 7:8\nWORKDIR /made/by/workdir\nRUN id -u > /tmp/id && id -g >> /tmp/id\n",
    ),
    (
        "onbuild",
        "FROM busybox\nONBUILD RUN echo later > /later\nONBUILD COPY . /src\n",
    ),
    (
        "health",
        "FROM busybox\nHEALTHCHECK --interval=5s --timeout=3s --retries=2 CMD true\nFROM busybox\nHEALTHCHECK NONE\n",
    ),
    (
        "maintainer",
        "FROM busybox\nMAINTAINER Some One <some@example.com>\nRUN touch /m\n",
    ),
    (
        "replacing",
        "FROM busybox\nRUN mkdir /r && echo old > /r/f && echo gone > /r/g\nCOPY a.txt /r/f\nRUN rm /r/g && chmod 711 /r\nCOPY dir /r/\n",
    ),
    (
        "modes",
        "FROM busybox\nRUN umask 077; mkdir /m; echo x > /m/x; chmod 4755 /m/x; mkdir -m 1777 /m/t; mkfifo /m/fifo\nCOPY run.sh /m/\n",
    ),
    (
        "inherit",
        "FROM busybox AS base\nENV P=1\nCMD [\"base\"]\nENTRYPOINT [\"e\"]\nLABEL l=base\nFROM base\nENV Q=$P\nENTRYPOINT [\"f\"]\nLABEL m=top\n",
    ),
];

/// Lists every file of an image with type, mode, owner, target and content.
const LIST: &str = "find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /etc/hosts -o -path /etc/hostname \
    -o -path /etc/resolv.conf -o -path /.dockerenv \\) -prune -o -print | sort | while read -r f; do \
    test \"$f\" = / && continue; stat -c '%N %F %a %u:%g' \"$f\"; test -L \"$f\" || { test -f \"$f\" && md5sum \"$f\"; }; done; true";

fn build_with_mica(machine: &Machine, context: &Path, tag: &str) {
    let context = context.to_str().expect("UTF-8");
    machine.ok([
        "build",
        "-q",
        "--network",
        "none",
        "--build-arg",
        "B=given",
        "-t",
        tag,
        context,
    ]);
}

/// Builds with docker and brings the image back.
fn build_with_docker(machine: &Machine, docker: &DockerDaemon, context: &Path, tag: &str) {
    let mut build = docker.docker(&[
        "build",
        "-q",
        "--network",
        "none",
        "--build-arg",
        "B=given",
        "-t",
        tag,
    ]);
    run(build.arg(context)).ok();
    let archive = machine.path("from-docker.tar");
    run(docker.docker(&["save", "-o"]).arg(&archive).arg(tag)).ok();
    machine.ok(["load", "-q", "-i", archive.to_str().expect("UTF-8")]);
}

/// What an image's configuration says, less what differs between versions of BuildKit.
fn config(machine: &Machine, tag: &str) -> Value {
    let text = machine.ok(["inspect", "--format", "{{json .Config}}", tag]);
    let mut config: Value = serde_json::from_str(&text).expect("it is JSON");
    let fields = config.as_object_mut().expect("an object");
    // What there was before a container is made of it: docker's daemon fills these in.
    for name in [
        "Hostname",
        "Domainname",
        "Image",
        "AttachStdin",
        "AttachStdout",
        "AttachStderr",
        "Tty",
        "OpenStdin",
        "StdinOnce",
    ] {
        fields.remove(name);
    }
    fields.retain(|_, value| {
        !value.is_null() && *value != serde_json::json!([]) && *value != serde_json::json!({})
    });
    config
}

/// The history, less what Debian's BuildKit, which is older, leaves out of its texts.
fn history(machine: &Machine, tag: &str) -> Vec<String> {
    let format = "{{.CreatedBy}}";
    let text = machine.ok(["history", "--no-trunc", "--format", format, tag]);
    let left_out = ["EXPOSE ", "HEALTHCHECK ", "ONBUILD "];
    text.lines()
        .filter(|line| !left_out.iter().any(|start| line.starts_with(start)))
        .map(|line| match line.strip_prefix("ARG ") {
            Some(argument) => format!("ARG {}", argument.split('=').next().unwrap_or_default()),
            None => without_owner(line),
        })
        .collect()
}

fn without_owner(line: &str) -> String {
    let words: Vec<&str> = line
        .split(' ')
        .filter(|word| !word.starts_with("--chown="))
        .collect();
    words.join(" ")
}

fn tree(machine: &Machine, tag: &str) -> String {
    machine.ok([
        "run",
        "--rm",
        "--network",
        "none",
        "--user",
        "0",
        "--workdir",
        "/",
        "--entrypoint",
        "/bin/sh",
        tag,
        "-c",
        LIST,
    ])
}

pub(crate) fn same_images() -> Outcome {
    let machine = Machine::with_busybox();
    let docker = DockerDaemon::start(&machine)?;
    let archive = machine.path("busybox.tar");
    machine.ok(["save", "-o", archive.to_str().expect("UTF-8"), "busybox"]);
    run(docker.docker(&["load", "-q", "-i"]).arg(&archive)).ok();
    let mut differences = Vec::new();
    for (name, dockerfile) in DOCKERFILES {
        let context = machine.context(name, &FILES);
        fs::write(context.join("Dockerfile"), dockerfile).expect("the context is ours");
        let (ours, theirs) = (format!("ours-{name}"), format!("theirs-{name}"));
        build_with_mica(&machine, &context, &ours);
        build_with_docker(&machine, &docker, &context, &theirs);
        let pairs = [
            (
                "config",
                config(&machine, &ours).to_string(),
                config(&machine, &theirs).to_string(),
            ),
            (
                "history",
                history(&machine, &ours).join("\n"),
                history(&machine, &theirs).join("\n"),
            ),
            ("tree", tree(&machine, &ours), tree(&machine, &theirs)),
        ];
        for (what, ours, theirs) in pairs {
            if ours != theirs {
                differences.push(format!("{name} {what}\n{}", difference(&ours, &theirs)));
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    // What a layer's description was learnt from is what its files give.
    machine.ok(["system", "check", "--full"]);
    Ok(())
}

/// The lines that only one of two texts has.
fn difference(ours: &str, theirs: &str) -> String {
    let only = |mark: char, one: &str, other: &str| {
        let lines = one
            .lines()
            .filter(|line| !other.lines().any(|known| known == *line));
        lines
            .map(|line| format!("{mark} {line}\n"))
            .collect::<String>()
    };
    only('-', ours, theirs) + &only('+', theirs, ours)
}
