//! Cases of the language beyond BuildKit's own data, each as its frontend 1.26 reads it.

use mica_dockerfile::{
    CommandForm, CopySource, Dockerfile, Escape, Expander, Healthcheck, InstructionKind, parse,
};
use std::time::Duration;

fn parsed(text: &str) -> Dockerfile {
    parse(text).unwrap_or_else(|errors| panic!("{text:?}: {errors:?}"))
}

/// Returns the instructions of the only stage.
fn kinds(text: &str) -> Vec<InstructionKind> {
    let stage = parsed(text).stages.remove(0);
    stage.instructions.into_iter().map(|it| it.kind).collect()
}

#[test]
fn odd_files() {
    let file = parsed(
        "\u{feff}#syntax=docker/dockerfile:1\r\n\r\nfrom a as B\r\nrun x \\\r\n# no\r\n\r\n  y\r\n",
    );
    assert!(file.directives.syntax.is_some());
    assert_eq!(file.stages[0].name.as_deref(), Some("b"));
    let InstructionKind::Run(run) = &file.stages[0].instructions[0].kind else {
        panic!()
    };
    assert_eq!(run.command, CommandForm::Shell("x   y".into()));
    assert_eq!(file.stages[0].instructions[0].span.last_line, 7);
    // A directive after a comment, a blank line or an instruction is a comment.
    for head in ["# x\n", "\n", "ARG a\n", "# unknown=1\n"] {
        let file = parsed(&format!("{head}# escape=`\nFROM a\n"));
        assert_eq!(file.directives.escape, Escape::Backslash, "{head:?}");
    }
}

#[test]
fn escapes_with_backticks() {
    let text = "# escape=`\nFROM a\nCOPY a\\b `\n  c:\\d\\\nENV a=b` c d=\\e\n";
    let all = kinds(text);
    let InstructionKind::Copy(copy) = &all[0] else {
        panic!()
    };
    assert_eq!(copy.sources, [CopySource::Path("a\\b".into())]);
    assert_eq!(copy.destination, "c:\\d\\");
    let InstructionKind::Env(pairs) = &all[1] else {
        panic!()
    };
    let none = |_: &str| None;
    let expander = Expander::new(Escape::Backtick, &none);
    let values: Vec<_> = pairs
        .iter()
        .map(|pair| expander.expand(&pair.value).expect("no variables").value)
        .collect();
    assert_eq!(values, ["b c", "\\e"]);
}

#[test]
fn heredocs_of_triggers() {
    let text = "FROM a\nONBUILD RUN <<-A cat <<'B C'\n\tx\n\tA\n$y\nB C\nONBUILD COPY <<d /e/\nz\nd\nUSER f\n";
    let all = kinds(text);
    let expressions: Vec<_> = all
        .iter()
        .filter_map(|kind| match kind {
            InstructionKind::Onbuild(onbuild) => Some(onbuild.expression.as_str()),
            _ => None,
        })
        .collect();
    let expected = [
        "RUN <<-A cat <<'B C'\n\tx\nA\n$y\nB C",
        "COPY <<d /e/\nz\nd",
    ];
    assert_eq!(expressions, expected);
    assert!(matches!(all[2], InstructionKind::User(_)));
    // What the image configuration keeps reads back as an instruction with its heredocs.
    let again = kinds(&format!("FROM a\n{}\n", expressions[1]));
    let InstructionKind::Copy(copy) = &again[0] else {
        panic!()
    };
    let [CopySource::Heredoc(heredoc)] = copy.sources.as_slice() else {
        panic!("{copy:?}")
    };
    assert_eq!(heredoc.text(), "z\n");
}

#[test]
fn heredocs_with_odd_delimiters() {
    let cases = [
        ("COPY <<a\"b\" /x\n1\nab\n", "ab", "1\n", false),
        ("COPY <<-a /x\n\t\t1\n\t2\n\ta\n", "a", "1\n2\n", true),
        ("COPY <<a.txt /x\n\na.txt\n", "a.txt", "\n", true),
        ("COPY 4<<a /x\na\n", "a", "", true),
    ];
    for (text, name, content, expand) in cases {
        let all = kinds(&format!("FROM a\n{text}"));
        let InstructionKind::Copy(copy) = &all[0] else {
            panic!()
        };
        let [CopySource::Heredoc(heredoc)] = copy.sources.as_slice() else {
            panic!("{text}")
        };
        let found = (heredoc.name.as_str(), &*heredoc.text(), heredoc.expand);
        assert_eq!(found, (name, content, expand), "{text}");
    }
}

#[test]
fn health_check_options() {
    let text = "FROM a\nHEALTHCHECK --interval=5m --timeout=3s --start-period=1m30s --start-interval=500ms --retries=0 CMD x || exit 1\n";
    let all = kinds(text);
    let InstructionKind::Healthcheck(Healthcheck::Command(check)) = &all[0] else {
        panic!()
    };
    let times = [
        check.interval,
        check.timeout,
        check.start_period,
        check.start_interval,
    ];
    assert_eq!(
        times.map(|it| it.as_millis()),
        [300_000, 3_000, 90_000, 500]
    );
    assert_eq!(check.retries, 0);
    assert_eq!(check.command, CommandForm::Shell("x || exit 1".into()));
    for (flag, wrong) in [
        (
            "--interval=1us",
            "Interval \"interval\" cannot be less than 1ms",
        ),
        ("--retries=-1", "--retries cannot be negative (-1)"),
        ("--timeout=1", "time: missing unit in duration \"1\""),
    ] {
        let errors = parse(&format!("FROM a\nHEALTHCHECK {flag} CMD x")).expect_err(flag);
        assert!(errors[0].to_string().ends_with(wrong), "{}", errors[0]);
    }
    let long = Duration::from_secs(3600 * 24 * 365);
    let all = kinds("FROM a\nHEALTHCHECK --interval=8760h CMD [\"a\"]");
    let InstructionKind::Healthcheck(Healthcheck::Command(check)) = &all[0] else {
        panic!()
    };
    assert_eq!(check.interval, long);
}

#[test]
fn every_modifier() {
    let variables = |name: &str| match name {
        "f" => Some("a/b.tar.gz".to_owned()),
        "e" => Some(String::new()),
        _ => None,
    };
    let cases = [
        ("${f:-x}|${e:-x}|${n:-x}", "a/b.tar.gz|x|x"),
        ("${f-x}|${e-x}|${n-x}", "a/b.tar.gz||x"),
        ("${f:+x}|${e:+x}|${n:+x}", "x||"),
        ("${f+x}|${e+x}|${n+x}", "x|x|"),
        ("${f:?x}|${f?x}|${e?x}", "a/b.tar.gz|a/b.tar.gz|"),
        ("${f#*/}|${f#*.}|${f##*.}", "b.tar.gz|tar.gz|gz"),
        ("${f%.*}|${f%%.*}|${f%/*}", "a/b.tar|a/b|a"),
        ("${f/./-}|${f//./-}|${f/b*/c}", "a/b-tar.gz|a/b-tar-gz|a/c"),
        ("${n:-${f##*/}}|${n:-$e}|${n:-\"q\"}", "b.tar.gz||q"),
        (
            "\\$f|'$f'|\"$f\"|$f.x|${f}x",
            "$f|$f|a/b.tar.gz|a/b.tar.gz.x|a/b.tar.gzx",
        ),
    ];
    let expander = Expander::new(Escape::Backslash, &variables);
    for (word, expected) in cases {
        assert_eq!(expander.expand(word).expect(word).value, expected, "{word}");
    }
    for wrong in [
        "${n:?why}",
        "${n?why}",
        "${e:?why}",
        "${",
        "${f",
        "${f:x}",
        "'a",
        "\"a",
    ] {
        assert!(expander.expand(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn flags_of_every_instruction() {
    for good in [
        "ADD --unpack --checksum=sha256:0 --keep-git-dir --link --chmod=u=rwX,go=rX --exclude=a --exclude=b c d /",
        "COPY --parents --exclude=*.txt --from=0 --link=false a/./b /",
        "RUN --device=v.example/d=x,required --network=host --security=insecure x",
        "RUN --mount=type=bind,from=a,source=/b,target=/c,rw --mount=type=cache,id=d,target=/e,sharing=private,uid=1,gid=2,mode=0700 x",
        "RUN --mount=type=secret,id=a,env=B,required=true --mount=type=ssh,id=c,target=/d,mode=0600 --mount=type=tmpfs,target=/e,size=10mb x",
        "EXPOSE 80 90-100/udp $PORT/tcp",
        "VOLUME [\"/a\", \"/b c\"]",
        "USER 1000:${GROUP:-users}",
    ] {
        parsed(&format!("FROM a\n{good}\n"));
    }
    for (bad, message) in [
        ("COPY --unpack a b", "unknown flag: --unpack"),
        ("ADD --parents a b", "unknown flag: --parents"),
        (
            "COPY --link=maybe a b",
            "expecting boolean value for flag --link, not: maybe",
        ),
        ("COPY --chown a b", "missing a value on flag: --chown"),
        (
            "COPY --chown=a --chown=b c d",
            "duplicate flag specified: --chown",
        ),
        ("RUN --network=no x", "invalid network mode \"no\""),
        ("RUN --security=none x", "security \"none\" is not valid"),
        ("USER --x y", "unknown flag: --x"),
    ] {
        let errors = parse(&format!("FROM a\n{bad}\n")).expect_err(bad);
        assert!(errors[0].to_string().contains(message), "{}", errors[0]);
    }
}
