mod errors;

use super::*;
use crate::{
    AddInstruction, Argument, CommandForm, CopyInstruction, CopySource, Delimiter, Healthcheck,
    HealthcheckCommand, KeyValue, RunInstruction, RunNetwork, RunScript, RunSecurity, Warning,
};
use std::time::Duration;

fn parsed(text: &str) -> Dockerfile {
    parse(text).unwrap_or_else(|errors| panic!("{text:?}: {errors:?}"))
}

/// Parses an instruction below a `FROM`.
fn instruction_of(text: &str) -> Instruction {
    let mut dockerfile = parsed(&format!("FROM scratch\n{text}"));
    dockerfile.stages.remove(0).instructions.remove(0)
}

fn kind_of(text: &str) -> InstructionKind {
    instruction_of(text).kind
}

fn run_of(text: &str) -> RunInstruction {
    match kind_of(text) {
        InstructionKind::Run(run) => run,
        other => panic!("{other:?}"),
    }
}

fn path(path: &str) -> CopySource {
    CopySource::Path(path.to_owned())
}

fn texts(items: &[&str]) -> Vec<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}

#[test]
fn stages_and_global_arguments() {
    let file = parsed(concat!(
        "# syntax=docker/dockerfile:1\n# version of go\nARG version=1 other\n",
        "# build the builder\nFROM --platform=$BUILDPLATFORM golang:$version as Build\nRUN x\n",
        "FROM build\nfrom scratch AS out\n",
    ));
    assert_eq!(
        file.directives.syntax.expect("a syntax").value,
        "docker/dockerfile:1"
    );
    let argument = |name: &str, value: Option<&str>, description: Option<&str>| Argument {
        name: name.to_owned(),
        value: value.map(str::to_owned),
        description: description.map(str::to_owned),
    };
    let arguments = &file.meta_args[0].value.arguments;
    assert_eq!(arguments[0], argument("version", Some("1"), Some("of go")));
    assert_eq!(arguments[1], argument("other", None, None));
    let first = &file.stages[0];
    assert_eq!(first.name.as_deref(), Some("build"));
    assert_eq!(first.written_name.as_deref(), Some("Build"));
    assert_eq!(first.as_keyword.as_deref(), Some("as"));
    assert_eq!(first.base, "golang:$version");
    assert_eq!(first.platform.as_deref(), Some("$BUILDPLATFORM"));
    assert_eq!(first.description.as_deref(), Some("the builder"));
    assert_eq!((first.span.first_line, first.instructions.len()), (5, 1));
    assert_eq!(file.stages[2].keyword, "from");
}

#[test]
fn stage_references() {
    let file = parsed("FROM a AS one\nFROM b\nFROM c AS two");
    for (reference, index) in [
        ("ONE", Some(0)),
        ("1", Some(1)),
        ("two", Some(2)),
        ("3", None),
    ] {
        assert_eq!(file.stage_index(reference), index, "{reference}");
    }
}

#[test]
fn copies() {
    assert_eq!(
        kind_of(
            "COPY --from=b --chown=1:2 --chmod=u+x --link --parents --exclude=x --exclude=y a c /d/"
        ),
        InstructionKind::Copy(CopyInstruction {
            sources: vec![path("a"), path("c")],
            destination: "/d/".into(),
            from: Some("b".into()),
            chown: Some("1:2".into()),
            chmod: Some("u+x".into()),
            link: true,
            parents: true,
            exclude: texts(&["x", "y"]),
        })
    );
    assert_eq!(
        kind_of(
            "ADD --keep-git-dir=false --checksum=sha256:0 --unpack --link=false [\"a b\", \"/\"]"
        ),
        InstructionKind::Add(AddInstruction {
            sources: vec![path("a b")],
            destination: "/".into(),
            keep_git_dir: Some(false),
            checksum: Some("sha256:0".into()),
            unpack: Some(true),
            ..AddInstruction::default()
        })
    );
}

#[test]
fn inline_files() {
    let text = "COPY <<a x <<-\"b\" /d/\n1\n$x\na\n\t2\n\tb\n";
    let InstructionKind::Copy(copy) = kind_of(text) else {
        panic!("no copy")
    };
    let [
        CopySource::Heredoc(first),
        CopySource::Path(second),
        CopySource::Heredoc(third),
    ] = copy.sources.as_slice()
    else {
        panic!("{:?}", copy.sources)
    };
    assert_eq!(
        (first.text().as_ref(), first.expand, second.as_str()),
        ("1\n$x\n", true, "x")
    );
    assert_eq!(
        (third.text().as_ref(), third.content.as_str(), third.expand),
        ("2\n", "\t2\n", false)
    );
    assert_eq!(instruction_of(text).span.last_line, 7);
    assert_eq!(instruction_of(text).source, "COPY <<a x <<-\"b\" /d/");
}

#[test]
fn runs() {
    let run = run_of(
        "RUN --mount=type=cache,target=/c --mount=target=/t --network=none --security=insecure --device=a/b=c,required true",
    );
    assert_eq!(run.command, CommandForm::Shell("true".into()));
    assert_eq!(
        (run.network, run.security),
        (RunNetwork::None, RunSecurity::Insecure)
    );
    assert_eq!(run.mounts.len(), 2);
    assert_eq!(
        (run.devices[0].name.as_str(), run.devices[0].required),
        ("a/b=c", true)
    );
    assert_eq!(
        run.flags_used,
        ["mount", "mount", "network", "security", "device"]
    );
    assert_eq!(run_of("RUN").command, CommandForm::Shell(String::new()));
    assert_eq!(
        run_of("run --mount=from=a,target=b x").mounts[0].from(),
        Some("a")
    );
}

#[test]
fn scripts() {
    let shell = |text: &str| RunScript::Shell(text.to_owned());
    let cases = [
        ("RUN a \\\n  b", shell("a   b")),
        ("RUN [\"a\", \"b\"]", RunScript::Exec(texts(&["a", "b"]))),
        ("RUN ['a']", shell("['a']")),
        ("RUN <<EOF\na\n\tb\nEOF", shell("a\n\tb\n")),
        ("RUN <<-EOF\n\ta\n\t\tb\n\tEOF", shell("a\nb\n")),
        (
            "RUN <<'EOF' cat > x\n$a\nEOF",
            shell("<<'EOF' cat > x\n$a\nEOF"),
        ),
        (
            "RUN cat <<a <<b\n1\na\n2\nb",
            shell("cat <<a <<b\n1\na\n2\nb"),
        ),
        (
            "RUN <<py\n#!/usr/bin/python\nx\npy",
            RunScript::File {
                name: "py".into(),
                content: "#!/usr/bin/python\nx\n".into(),
            },
        ),
        (
            "RUN [\"cat\", \"<<EOF\"]",
            RunScript::Exec(texts(&["cat", "<<EOF"])),
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(run_of(text).script(), expected, "{text:?}");
    }
}

#[test]
fn pairs_and_lists() {
    let pair = |name: &str, value: &str, delimiter| KeyValue {
        name: name.to_owned(),
        value: value.to_owned(),
        delimiter,
    };
    let cases = [
        (
            "ENV a=1 b=\"x y\"",
            InstructionKind::Env(vec![
                pair("a", "1", Delimiter::Equals),
                pair("b", "\"x y\"", Delimiter::Equals),
            ]),
        ),
        (
            "LABEL a  b c",
            InstructionKind::Label(vec![pair("a", "b c", Delimiter::Blank)]),
        ),
        (
            "EXPOSE 80 $P/udp",
            InstructionKind::Expose(texts(&["80", "$P/udp"])),
        ),
        (
            "VOLUME [\" /a \", \"/b\"]",
            InstructionKind::Volume(texts(&["/a", "/b"])),
        ),
        ("USER a:b", InstructionKind::User("a:b".into())),
        ("WORKDIR a b", InstructionKind::Workdir("a b".into())),
        ("STOPSIGNAL 9", InstructionKind::Stopsignal("9".into())),
        (
            "MAINTAINER a <b>",
            InstructionKind::Maintainer("a <b>".into()),
        ),
        (
            "SHELL [\"a\", \"-c\"]",
            InstructionKind::Shell(texts(&["a", "-c"])),
        ),
        (
            "CMD []",
            InstructionKind::Cmd(CommandForm::Exec(Vec::new())),
        ),
        (
            "ENTRYPOINT a  b",
            InstructionKind::Entrypoint(CommandForm::Shell("a  b".into())),
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(kind_of(text), expected, "{text}");
    }
}

#[test]
fn health_checks() {
    assert_eq!(
        kind_of("HEALTHCHECK none"),
        InstructionKind::Healthcheck(Healthcheck::None)
    );
    let expected = Healthcheck::Command(HealthcheckCommand {
        command: CommandForm::Exec(texts(&["a"])),
        interval: Duration::from_secs(5),
        timeout: Duration::from_millis(300),
        start_period: Duration::ZERO,
        start_interval: Duration::from_secs(90),
        retries: 3,
    });
    let text = "HEALTHCHECK --interval=5s --timeout=300ms --start-period=0s --start-interval=1m30s --retries=3 CMD [\"a\"]";
    assert_eq!(kind_of(text), InstructionKind::Healthcheck(expected));
}

#[test]
fn triggers() {
    let InstructionKind::Onbuild(onbuild) = kind_of("onbuild  COPY <<a /\n1\na\n") else {
        panic!("no trigger")
    };
    assert_eq!(onbuild.expression, "COPY <<a /\n1\na");
    let InstructionKind::Copy(copy) = onbuild.instruction.kind else {
        panic!("no copy")
    };
    assert!(matches!(copy.sources.as_slice(), [CopySource::Heredoc(_)]));
}

#[test]
fn texts_for_history() {
    let instruction = instruction_of("\trun a \\\n # no\n\n b \n");
    assert_eq!(
        (instruction.source.as_str(), instruction.keyword.as_str()),
        ("run a  b", "run")
    );
    assert_eq!(instruction.name(), "RUN");
    let file = parsed("FROM a\nRUN b \\\n\n c\n");
    let [Warning::EmptyContinuation { span }] = file.warnings.as_slice() else {
        panic!("none")
    };
    assert_eq!((span.first_line, span.last_line), (2, 4));
}
