//! `mica build --check` and its relatives, and how errors about a Dockerfile are told.

use std::path::Path;

use mica_tests::{Machine, Outcome};

fn path(path: &Path) -> &str {
    path.to_str().expect("the path is UTF-8")
}

fn dockerfile(machine: &Machine, name: &str, text: &str) -> String {
    path(&machine.context(name, &[("Dockerfile", text)])).to_owned()
}

pub(crate) fn text_and_exit_codes() -> Outcome {
    let machine = Machine::new();
    let clean = dockerfile(&machine, "clean", "FROM scratch\nCMD [\"/x\"]\n");
    let found = machine.ok(["build", "--check", &clean]);
    assert_eq!(found, "Check complete, no warnings found.");
    let warned = dockerfile(&machine, "warned", "FROM scratch\nCMD x\n");
    let finished = machine.mica(["build", "--check", &warned]);
    finished.fails(1, &[]);
    let expected = "Check complete, 1 warning has been found!\n\n\
        WARNING: JSONArgsRecommended - https://docs.docker.com/go/dockerfile/rule/json-args-recommended/\n\
        JSON arguments recommended for CMD to prevent unintended behavior related to OS signals\n\
        Dockerfile:2\n--------------------\n   1 |     FROM scratch\n   2 | >>> CMD x\n   3 |     \n--------------------\n";
    assert_eq!(finished.stdout, expected);
    machine.ok(["build", "--call=check,ignorestatus=true", &warned]);
    machine
        .mica(["build", "--call=check,format=json", &warned])
        .fails(1, &["\"ruleName\": \"JSONArgsRecommended\""]);
    machine
        .mica(["build", "--call=chek", &warned])
        .fails(1, &["did you mean check?"]);
    let wrong = dockerfile(&machine, "wrong", "FROM scratch AS A\nRUNN x\n");
    machine.mica(["build", "--check", &wrong]).fails(
        1,
        &[
            "StageNameCasing",
            "unknown instruction: RUNN",
            "Dockerfile:2:1",
        ],
    );
    let advised = dockerfile(&machine, "advised", "FROM scratch\nRUN apt-get update\n");
    let found = machine.ok(["build", "--check", &advised]);
    assert!(
        found.starts_with("Check complete, no warnings found."),
        "{found}"
    );
    assert!(
        found.contains("ADVICE: mica/UpdateWithoutInstall"),
        "{found}"
    );
    let json = machine.ok(["build", "--call=check,format=json", &advised]);
    assert!(json.contains("\"warnings\": null"), "{json}");
    Ok(())
}

pub(crate) fn outline_and_targets() -> Outcome {
    let machine = Machine::new();
    let context = dockerfile(
        &machine,
        "outline",
        "# base is the base\nFROM scratch AS base\n# VERSION of the thing\nARG VERSION=1\nRUN --mount=type=secret,id=token,required x\nFROM base AS final\n",
    );
    let targets = machine.ok(["build", "--call=targets", &context]);
    assert_eq!(
        targets,
        "TARGET          DESCRIPTION\nbase            is the base\nfinal (default) "
    );
    let outline = machine.ok([
        "build",
        "--call",
        "outline",
        "--build-arg",
        "VERSION=2",
        &context,
    ]);
    assert_eq!(
        outline,
        "TARGET: final\n\nBUILD ARG   VALUE   DESCRIPTION\nVERSION     2       of the thing\n\nSECRET   REQUIRED\ntoken    true"
    );
    let json = machine.ok([
        "build",
        "--call=outline,format=json",
        "--target=base",
        &context,
    ]);
    for part in [
        "\"name\": \"base\"",
        "\"description\": \"is the base\"",
        "\"line\": 5",
    ] {
        assert!(json.contains(part), "{json}");
    }
    Ok(())
}

pub(crate) fn warnings_of_a_build() -> Outcome {
    let machine = Machine::with_busybox();
    let context = dockerfile(&machine, "warned", "FROM busybox AS B\nENV A=$B\n");
    let finished = machine.mica(["build", "--build-arg", "VERSOIN=1", &context]);
    finished.ok();
    for words in [
        " 2 warnings found (use --check to expand):",
        " - StageNameCasing: Stage name 'B' should be lowercase (line 1)",
        " - UndefinedVar: Usage of undefined variable '$B' (line 2)",
        "build argument VERSOIN is declared by no ARG",
    ] {
        assert!(finished.stderr.contains(words), "{finished}");
    }
    let quiet = machine.mica(["build", "-q", &context]);
    quiet.ok();
    assert!(!quiet.stderr.contains("warnings found"), "{quiet}");
    let strict = "BUILDKIT_DOCKERFILE_CHECK=error=true";
    machine
        .mica(["build", "--build-arg", strict, &context])
        .fails(
            1,
            &["lint violation found for rules: StageNameCasing, UndefinedVar"],
        );
    Ok(())
}

pub(crate) fn error_formats() -> Outcome {
    let machine = Machine::new();
    let context = dockerfile(
        &machine,
        "wrong",
        "FROM scratch\nRUNN x\nCOPY --form=a b c\n",
    );
    let finished = machine.mica(["build", "--error-format", "json", &context]);
    finished.fails(1, &[]);
    let lines: Vec<_> = finished.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{finished}");
    for part in [
        "\"file\":\"Dockerfile\"",
        "\"line\":2",
        "\"column\":1",
        "\"code\":\"unknown-instruction\"",
        "\"hint\":\"did you mean RUN?\"",
    ] {
        assert!(lines[0].contains(part), "{finished}");
    }
    let mut command = machine.command(["build", &context]);
    command.env("GITHUB_ACTIONS", "true");
    command.current_dir(machine.path("."));
    let annotated = mica_tests::run(&mut command);
    annotated.fails(
        1,
        &[
            "::error file=wrong/Dockerfile,line=2,col=1::",
            "::error file=wrong/Dockerfile,line=3,col=6::",
            "did you mean from?",
        ],
    );
    Ok(())
}

pub(crate) fn explained_paths() -> Outcome {
    let machine = Machine::new();
    let context = machine.context(
        "ignoring",
        &[
            ("Dockerfile", "FROM scratch\nCOPY a.log /\n"),
            (".dockerignore", "# logs\n*.log\n!keep.log\n"),
            ("a.log", ""),
        ],
    );
    let explain = |asked: &str| machine.ok(["build", "--explain-ignore", asked, path(&context)]);
    assert_eq!(explain("a.log"), "a.log: ignored by .dockerignore:2: *.log");
    assert_eq!(
        explain("keep.log"),
        "keep.log: included by .dockerignore:3: !keep.log"
    );
    assert_eq!(
        explain("./b"),
        "b: included (no pattern of .dockerignore matches it)"
    );
    machine.mica(["build", path(&context)]).fails(
        1,
        &[
            "`*.log` (.dockerignore:2) keeps it out of the context",
            "Dockerfile:2:6",
        ],
    );
    Ok(())
}

pub(crate) fn frontends() -> Outcome {
    let machine = Machine::new();
    for known in [
        "docker/dockerfile:1",
        "docker.io/docker/dockerfile-upstream:master-labs",
    ] {
        let text = format!("# syntax={known}\nFROM scratch\nLABEL a=b\n");
        let context = dockerfile(&machine, "known", &text);
        machine.ok(["build", "-q", &context]);
    }
    let context = dockerfile(
        &machine,
        "unknown",
        "# syntax=example.com/own\nFROM scratch\n",
    );
    machine
        .mica(["build", &context])
        .fails(1, &["unknown frontend example.com/own", "Dockerfile:1:1"]);
    Ok(())
}
