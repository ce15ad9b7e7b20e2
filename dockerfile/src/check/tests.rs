//! Cases beyond those of BuildKit's own suite, which `tests/e2e/conformance.rs` runs.

use super::*;
use crate::ignore::{Matcher, read};
use std::collections::BTreeMap;

/// What a check is run with.
#[derive(Default)]
struct Given<'g> {
    build_args: &'g [(&'g str, &'g str)],
    target: Option<&'g str>,
    ignore: Option<&'g str>,
    on_build: &'g [&'g str],
}

fn reference(text: &str) -> Result<(), String> {
    let wrong = text.is_empty() || text.ends_with([':', '@']);
    match wrong || text.chars().any(|c| c.is_ascii_uppercase()) {
        true => Err("invalid reference format".to_owned()),
        false => Ok(()),
    }
}

fn platform(text: &str) -> Result<PlatformName, String> {
    let (os, architecture) = text.split_once('/').ok_or("no platform")?;
    Ok(PlatformName {
        os: os.to_owned(),
        architecture: architecture.to_owned(),
    })
}

fn run(text: &str, given: &Given<'_>) -> CheckReport {
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let build_args: BTreeMap<_, _> = given.build_args.iter().map(pair).collect();
    let predefined = [
        ("BUILDPLATFORM", "linux/amd64"),
        ("TARGETPLATFORM", "linux/amd64"),
    ];
    let predefined: Vec<_> = predefined.iter().map(pair).collect();
    let ignore = given
        .ignore
        .map(|text| Matcher::from_lines(&read(text)).expect("valid"));
    let image = |name: &str, _: Option<&str>| match name {
        "far" => BaseImage::Unknown,
        "gone" => BaseImage::Missing("gone: not found".to_owned()),
        "arm" => BaseImage::Known(ImageFacts {
            other_platform: Some(("linux/arm64".to_owned(), "linux/amd64".to_owned())),
            ..ImageFacts::default()
        }),
        _ => BaseImage::Known(ImageFacts {
            environment: vec![pair(&("HOME", "/root"))],
            on_build: given.on_build.iter().map(|it| (*it).to_owned()).collect(),
            ..ImageFacts::default()
        }),
    };
    check(
        text,
        &CheckRequest {
            build_args: &build_args,
            predefined: &predefined,
            target: given.target,
            reach: Reach::All,
            ignore: ignore.as_ref(),
            facts: Facts {
                reference: &reference,
                platform: &platform,
                image: &image,
                replaced: &|name| name == "replaced",
            },
        },
    )
}

/// Writes warnings as `RULE first-last`, and the failure as `! message @ first-last`.
fn summary(report: &CheckReport) -> Vec<String> {
    let place = |lines: &Lines| match lines.first == lines.last {
        true => lines.first.to_string(),
        false => format!("{}-{}", lines.first, lines.last),
    };
    let warnings = report
        .findings
        .iter()
        .filter(|it| it.severity == Severity::Warning);
    let mut all: Vec<_> = warnings
        .map(|it| format!("{} {}", it.rule, place(&it.lines)))
        .collect();
    if let Some(failure) = &report.failure {
        let lines: Vec<_> = failure.lines.iter().map(place).collect();
        all.push(format!("! {} @ {}", failure.message, lines.join(" ")));
    }
    all
}

fn check_case(text: &str, expected: &[&str]) {
    check_given(text, &Given::default(), expected);
}

#[track_caller]
fn check_given(text: &str, given: &Given<'_>, expected: &[&str]) {
    assert_eq!(summary(&run(text, given)), expected, "{text}");
}

#[test]
fn errors_stop_the_checks_where_buildkit_stops() {
    check_case("", &["! the Dockerfile cannot be empty @ "]);
    check_case("# c\n\n", &["! file with no instructions @ 2"]);
    check_case("ARG a", &["! dockerfile contains no stages to build @ "]);
    check_case(
        "RUN a\nFROM b",
        &["! no build stage in current context @ 1"],
    );
    check_case(
        "FROM a\nMAINTAINER b\nCMD [1]\n",
        &["! when using JSON array syntax, arrays must be comprised of strings only @ 3"],
    );
    check_case(
        "FROM a AS B\nRUN <<E\nx\n",
        &["! unterminated heredoc @ 2-3"],
    );
    check_case(
        "FROM a AS B\nMAINTAINER --x y\nFROM c AS D",
        &[
            "StageNameCasing 1",
            "MaintainerDeprecated 2",
            "! dockerfile parse error on line 2: unknown flag: --x @ 2",
        ],
    );
    check_case(
        "# escape=`\n# escape=\\\nFROM a",
        &["! only one escape parser directive can be used @ 1"],
    );
    check_case(
        "# check=what\nFROM a",
        &["! failed to parse check options: invalid check option \"what\" @ "],
    );
}

#[test]
fn lines_of_long_instructions() {
    check_case(
        "FROM scratch\nCMD a \\\n  b\nMAINTAINER \\\n\n x\n",
        &[
            "NoEmptyContinuation 6",
            "MaintainerDeprecated 4-6",
            "JSONArgsRecommended 2-3",
        ],
    );
}

#[test]
fn bases_and_platforms() {
    check_case(
        "FROM $A",
        &[
            "InvalidDefaultArgInFrom 1",
            "UndefinedArgInFrom 1",
            "! base name ($A) should not be blank @ 1",
        ],
    );
    check_case("FROM gone", &["! gone: gone: not found @ 1"]);
    check_case("FROM arm", &["InvalidBaseImagePlatform 1"]);
    check_case(
        "FROM --platform=nonsense a",
        &["! failed to parse platform nonsense: no platform @ 1"],
    );
    check_case("FROM --platform=$BUILDPLATFORM a", &[]);
    check_case("FROM --platform=linux/$TARGETPLATFORM a", &[]);
    check_case(
        "FROM a AS b\nFROM --platform=linux/arm64 b",
        &["FromPlatformFlagConstDisallowed 2"],
    );
    let given = Given {
        target: Some("biuld"),
        ..Given::default()
    };
    check_given(
        "FROM a AS build",
        &given,
        &["! target stage \"biuld\" could not be found (did you mean build?) @ "],
    );
}

#[test]
fn variables() {
    check_case(
        "FROM a\nCOPY $HOME$X $X /\nLABEL a=$Y",
        &["UndefinedVar 2", "UndefinedVar 2", "UndefinedVar 3"],
    );
    check_case(
        "FROM a\nCOPY <<E <<'F' /\n$X\nE\n$Y\nF\n",
        &["UndefinedVar 2-6"],
    );
    check_case(
        "FROM a\nRUN --mount=type=cache,target=$X echo $Y",
        &["UndefinedVar 2"],
    );
    check_case(
        "FROM a\nARG X\nENV Y=$X Z=$Y\nUSER $Y$Z",
        &["UndefinedVar 3"],
    );
    check_case("FROM far\nCOPY $X /", &[]);
    check_case(
        "FROM a\nEXPOSE $PORT\nEXPOSE ${PORT:-80/TCP}",
        &["ExposeProtoCasing 3"],
    );
    check_case(
        "FROM a\nCOPY ${X:?needed} /",
        &["! failed to process \"${X:?needed}\": X: needed @ 2"],
    );
    check_case(
        "FROM a\nARG BUILDKIT_SBOM_SCAN_STAGE\nCOPY $BUILDKIT_SBOM_SCAN_CONTEXT /",
        &[],
    );
}

#[test]
fn stages_build_on_each_other() {
    let text = "FROM scratch AS a\nARG X=1\nSHELL [\"/x\"]\nWORKDIR /w\nCMD [\"a\"]\nFROM a\nCOPY $X /\nCMD b\nWORKDIR c\n";
    check_case(text, &[]);
    check_case(
        "FROM a AS b\nCOPY --from=c x /\nFROM a AS c\n",
        &["! cannot copy from stage \"c\", it needs to be defined before current stage \"b\" @ 2"],
    );
    check_case(
        "FROM a AS b\nCOPY --from=c x /\nFROM a AS c\nCOPY --from=b x /\n",
        &["! circular dependency detected on stage: b @ 2 4"],
    );
    check_case("FROM a\nCOPY --from=9 x /", &["! invalid stage index 9 @ "]);
    check_case(
        "FROM a\nCOPY --from=gone x /",
        &["! gone: gone: not found @ 2"],
    );
    check_case("FROM a\nCOPY --from=replaced x /", &[]);
    let of_two = Given {
        target: Some("b"),
        ..Given::default()
    };
    check_given(
        "FROM gone AS a\nFROM scratch AS b\nCMD x",
        &of_two,
        &["JSONArgsRecommended 3"],
    );
}

#[test]
fn triggers_are_checked_at_from() {
    let given = Given {
        on_build: &["COPY $NOPE /", "CMD x"],
        ..Given::default()
    };
    check_given(
        "FROM a\nRUN b",
        &given,
        &["UndefinedVar 1", "JSONArgsRecommended 1"],
    );
    check_case(
        "FROM scratch AS a\nONBUILD CMD x\nFROM a\n",
        &["JSONArgsRecommended 3"],
    );
}

#[test]
fn sources_and_modes() {
    let ignoring = Given {
        ignore: Some("*.log\nsecret"),
        ..Given::default()
    };
    check_given(
        "FROM a\nCOPY ./a.log secret/x b /\nADD https://e.example/a.log /",
        &ignoring,
        &["CopyIgnoredFile 2", "CopyIgnoredFile 2"],
    );
    check_case(
        "FROM a\nCOPY https://e.example/a /",
        &["! source can't be a URL for COPY @ 2"],
    );
    check_case(
        "FROM a\nCOPY git@e.example:a /",
        &["! source can't be a git ref for COPY @ 2"],
    );
    check_case(
        "FROM a\nADD --checksum=sha256:0 a /",
        &["! checksum requires HTTP(S) or Git sources @ 2"],
    );
    check_case(
        "FROM a\nCOPY --chmod=99999 a /",
        &[
            "! invalid chmod parameter: '99999'. it should be octal string and between 0 and 07777 @ 2",
        ],
    );
    check_case("FROM a\nCOPY --chmod=u+x a /", &[]);
    check_case(
        "FROM a\nEXPOSE 80/icmp",
        &["! invalid port: \"80/icmp\": invalid proto: icmp @ 2"],
    );
    check_case(
        "FROM a\nSTOPSIGNAL SIGNOPE",
        &["! invalid signal: SIGNOPE @ 2"],
    );
}

#[test]
fn settings_of_the_file_and_of_instructions() {
    let text = "# check=error=true\nFROM scratch\nCMD x\nMAINTAINER y\n";
    check_case(
        text,
        &[
            "MaintainerDeprecated 4",
            "JSONArgsRecommended 3",
            "! lint violation found for rules: JSONArgsRecommended, MaintainerDeprecated @ ",
        ],
    );
    check_case(
        "FROM a\n# check=skip=JSONArgsRecommended why\nCMD x\nCMD y",
        &["MultipleInstructionsDisallowed 3", "JSONArgsRecommended 4"],
    );
    check_case(
        "# check=experimental=mica\nFROM busybox",
        &["mica/UnpinnedBase 2"],
    );
}

#[test]
fn undeclared_build_arguments_are_told() {
    let given = Given {
        build_args: &[
            ("VERSOIN", "1"),
            ("USED", "2"),
            ("http_proxy", "x"),
            ("BUILDKIT_SYNTAX", "x"),
            ("TARGETPLATFORM", "linux/amd64"),
        ],
        ..Given::default()
    };
    let report = run("ARG VERSION\nFROM a\nARG USED", &given);
    let expected = [("VERSOIN".to_owned(), Some("VERSION".to_owned()))];
    assert_eq!(report.unused_arguments, expected);
}

#[test]
fn outlines() {
    let text = "ARG inherited=box\nARG unused=${inherited}\n# sfx is a suffix\nARG sfx=usy${inherited}\nFROM b${sfx} AS first\nARG FOO=123\n# BAR is a number\nARG BAR=456\nRUN --mount=type=secret,target=/a/pass,required true\nFROM scratch AS third\nARG ABC=a\n# target is it\nFROM third AS target\nCOPY --from=first /a /\nRUN --mount=type=ssh true\n";
    let given = Given {
        build_args: &[("BAR", "678")],
        target: Some("target"),
        ..Given::default()
    };
    let outline = run(text, &given).outline;
    let arguments: Vec<_> = outline
        .arguments
        .iter()
        .map(|it| format!("{} {}={}", it.lines.first, it.name, it.value))
        .collect();
    let expected = [
        "1 inherited=box",
        "4 sfx=usybox",
        "6 FOO=123",
        "8 BAR=678",
        "11 ABC=a",
    ];
    assert_eq!(arguments, expected);
    let description = |at: usize| outline.arguments[at].description.as_deref();
    assert_eq!(description(1), Some("is a suffix"));
    assert_eq!(outline.description.as_deref(), Some("is it"));
    let [secret] = outline.secrets.as_slice() else {
        panic!("{outline:?}")
    };
    assert_eq!(
        (secret.name.as_str(), secret.required, secret.lines.first),
        ("pass", true, 9)
    );
    assert_eq!(outline.ssh[0].name, "default");
}
