//! A failed build as errors about its Dockerfile: what happened, where, and what to do.

use std::fmt::Write;

use mica_builder::{BuildError, BuildStep, DockerfileSource, ErrorKind};
use mica_dockerfile::check::{CheckFailure, Lines};
use mica_dockerfile::{ParseError, SourceMap, Span, nearest, parse_partial};

use super::diagnostic::{Diagnostic, Told};

const FOREIGN_HINT: &str = "register an emulator for that architecture, for instance with \
    `apt-get install qemu-user-static binfmt-support`, or build on such a machine";

/// Describes a failed build.
pub(crate) fn diagnostics(error: &BuildError, dockerfile: &DockerfileSource) -> Vec<Diagnostic> {
    if let ErrorKind::Parse { errors, .. } = &error.kind {
        return parse_diagnostics(errors, dockerfile);
    }
    let span = error.span.map(|span| match named(&error.kind) {
        Some(word) => narrowed(span, word, dockerfile),
        None => span,
    });
    let message = with_causes(&error.kind);
    vec![Diagnostic {
        message: match &error.platform {
            Some(platform) => format!("failed to solve: {platform}: {message}"),
            None => format!("failed to solve: {message}"),
        },
        code: code(&error.kind),
        span,
        hint: hint(&error.kind, dockerfile),
        suggestion: None,
        told: match error.kind {
            ErrorKind::Run { .. } => Told::Place,
            _ => Told::Nothing,
        },
    }]
}

/// Describes what is wrong with a Dockerfile's text.
pub(crate) fn parse_diagnostics(
    errors: &[ParseError],
    dockerfile: &DockerfileSource,
) -> Vec<Diagnostic> {
    let map = SourceMap::new(&dockerfile.text);
    let describe = |error: &ParseError| Diagnostic {
        message: error.to_string(),
        code: error.kind.code(),
        span: Some(error.span),
        hint: error.expected(map.line(error.instruction_line).unwrap_or_default()),
        suggestion: error.suggestion.clone(),
        told: Told::Nothing,
    };
    errors.iter().map(describe).collect()
}

/// Describes why a checked Dockerfile cannot be built.
pub(crate) fn check_diagnostic(
    failure: &CheckFailure,
    dockerfile: &DockerfileSource,
) -> Diagnostic {
    let map = SourceMap::new(&dockerfile.text);
    let first = failure.lines.first().filter(|lines| lines.first > 0);
    Diagnostic {
        message: failure.message.clone(),
        code: "check",
        span: first.map(|lines| line_span(&map, *lines, &dockerfile.text)),
        ..Diagnostic::default()
    }
}

/// Says where the files of a failed step are kept, and how to look at them.
pub(crate) fn kept_hint(steps: &[BuildStep]) -> Option<String> {
    let failed = steps.iter().find(|step| step.kept.is_some())?;
    let site = failed.site.as_ref()?;
    let is_other = |step: &BuildStep| step.site.as_ref().is_some_and(|s| s.stage != site.stage);
    let name = match steps.iter().any(is_other) {
        true => format!("{}:{}", site.stage, site.number),
        false => site.number.to_string(),
    };
    Some(format!(
        "its files are kept: `mica shell @{name}` opens a shell in them, with --before in those from before the step"
    ))
}

/// The text of lines, without blanks in front and behind.
fn line_span(map: &SourceMap<'_>, lines: Lines, text: &str) -> Span {
    let start = |line: usize| {
        let before: usize = text
            .split_inclusive('\n')
            .take(line - 1)
            .map(str::len)
            .sum();
        before
    };
    let (from, to) = (start(lines.first), start(lines.last + 1));
    let inside = text.get(from..to).unwrap_or_default();
    let blanks = inside.len() - inside.trim_start().len();
    map.span(from + blanks, from + inside.trim_end().len().max(blanks))
}

/// Returns the word of the instruction that an error is about, as far as it is written there.
fn named(error: &ErrorKind) -> Option<&str> {
    match error {
        ErrorKind::SourceMissing { path, .. } => Some(path.trim_start_matches('/')),
        ErrorKind::Base { reference, .. } => reference.split([':', '@']).next(),
        ErrorKind::LaterStage { from, .. } => Some(from),
        ErrorKind::BlankBase(name) | ErrorKind::Reference { name, .. } => Some(name),
        ErrorKind::Expand(error) => Some(&error.word),
        ErrorKind::Owner { name, .. } => Some(name),
        ErrorKind::Mode(text) | ErrorKind::Pattern(text) | ErrorKind::SecretMissing(text) => {
            Some(text)
        }
        _ => None,
    }
}

/// Finds a word in an instruction; the whole one if it is not written there.
fn narrowed(span: Span, word: &str, dockerfile: &DockerfileSource) -> Span {
    let text = span.text(&dockerfile.text);
    match text.find(word) {
        Some(at) if !word.is_empty() => {
            let start = span.start + at;
            SourceMap::new(&dockerfile.text).span(start, start + word.len())
        }
        _ => span,
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            let _ = write!(text, ": {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// A word for the kind of error that stays the same from version to version.
fn code(error: &ErrorKind) -> &'static str {
    match error {
        ErrorKind::Trigger { .. } => "onbuild-trigger",
        ErrorKind::Target { .. } => "unknown-target",
        ErrorKind::LaterStage { .. } => "later-stage",
        ErrorKind::BlankBase(_) => "blank-base",
        ErrorKind::Expand(_) => "expansion",
        ErrorKind::Reference { .. } => "image-name",
        ErrorKind::Platform(_) => "platform",
        ErrorKind::Base { .. } => "base-image",
        ErrorKind::Mount(_) => "mount",
        ErrorKind::Run { .. } => "command-failed",
        ErrorKind::Start { .. } => "command-not-started",
        ErrorKind::SourceMissing {
            ignored_by: Some(_),
            ..
        } => "source-ignored",
        ErrorKind::SourceMissing { .. } => "source-missing",
        ErrorKind::NoContext => "no-context",
        ErrorKind::Owner { .. } => "owner",
        ErrorKind::Mode(_) => "mode",
        ErrorKind::SecretMissing(_) => "secret-missing",
        ErrorKind::Remote(_) => "remote-source",
        ErrorKind::NotAllowed { .. } => "not-allowed",
        ErrorKind::SshMissing(_) | ErrorKind::Ssh { .. } => "ssh",
        ErrorKind::DeviceMissing { .. } | ErrorKind::DeviceSpecification { .. } => "device",
        ErrorKind::Foreign { .. } => "foreign-platform",
        ErrorKind::Pattern(_) => "pattern",
        _ => "build",
    }
}

fn hint(error: &ErrorKind, dockerfile: &DockerfileSource) -> Option<String> {
    let near = |word: &str, known: &[String]| {
        let near = nearest(word, known.iter().map(String::as_str))?;
        Some(format!("did you mean {near}?"))
    };
    match error {
        ErrorKind::SourceMissing {
            ignored_by: Some(pattern),
            ..
        } => Some(format!(
            "the file is there, but {pattern} keeps it out of the context"
        )),
        ErrorKind::Target { target, known } => near(target, known),
        ErrorKind::Base { reference, .. } => {
            let stages = stage_names(dockerfile);
            let name = reference.split(':').next().unwrap_or(reference);
            near(name, &stages).map(|hint| format!("a stage has a name like it: {hint}"))
        }
        ErrorKind::Run {
            out_of_memory: true,
            ..
        } => Some("the step used more memory than its limit: raise --memory".into()),
        ErrorKind::NotAllowed { entitlement } => {
            Some(format!("allow it with --allow {entitlement}"))
        }
        ErrorKind::SshMissing(id) if id == "default" => {
            Some("forward an agent with --ssh default, or a key with --ssh default=FILE".into())
        }
        ErrorKind::SshMissing(id) => Some(format!("forward a key with --ssh {id}=FILE")),
        ErrorKind::Ssh {
            action: "start ssh-agent" | "run ssh-add",
            ..
        } => Some("install the OpenSSH client, or give the socket of an agent".into()),
        ErrorKind::DeviceMissing { known, .. } if known.is_empty() => {
            Some("there are no CDI specifications in /etc/cdi and /var/run/cdi".into())
        }
        ErrorKind::DeviceMissing { known, .. } => Some(format!("known: {}", known.join(", "))),
        ErrorKind::Foreign { .. } => Some(FOREIGN_HINT.into()),
        ErrorKind::Remote(error) => crate::hint::of_remote(error),
        ErrorKind::SecretMissing(id) => Some(format!("pass it with --secret id={id},src=FILE")),
        _ => None,
    }
}

fn stage_names(dockerfile: &DockerfileSource) -> Vec<String> {
    let (parsed, _) = parse_partial(&dockerfile.text);
    let names = parsed.stages.into_iter();
    names.filter_map(|stage| stage.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> DockerfileSource {
        DockerfileSource {
            name: "Dockerfile".into(),
            text: text.into(),
        }
    }

    #[test]
    fn every_parse_error_is_described() {
        let text = "FROM busybox\nRUNN true\nCOPY --frm=x a b\n";
        let errors = mica_dockerfile::parse(text).expect_err("two mistakes");
        let found = parse_diagnostics(&errors, &source(text));
        let places: Vec<_> = found
            .iter()
            .map(|it| it.span.expect("a place").text(text))
            .collect();
        assert_eq!(places, ["RUNN", "--frm=x"]);
        assert!(found[0].message.contains("did you mean RUN?"));
        assert!(
            found[1]
                .hint
                .as_deref()
                .is_some_and(|hint| hint.contains("--from"))
        );
    }

    #[test]
    fn errors_point_at_the_word() {
        let text = "FROM busybox\nCOPY a nothing /\n";
        let map = SourceMap::new(text);
        let error = BuildError {
            kind: ErrorKind::SourceMissing {
                path: "/nothing".into(),
                place: "the build context".into(),
                ignored_by: None,
            },
            span: Some(map.span(13, 29)),
            platform: None,
        };
        let found = diagnostics(&error, &source(text));
        assert_eq!(found[0].span.expect("a place").text(text), "nothing");
    }

    #[test]
    fn check_failures_point_at_their_lines() {
        let text = "FROM a\n  COPY x \\\n y\nUSER b";
        let failure = CheckFailure {
            message: "no".into(),
            lines: vec![Lines { first: 2, last: 3 }],
        };
        let found = check_diagnostic(&failure, &source(text));
        assert_eq!(found.span.expect("a place").text(text), "COPY x \\\n y");
    }
}
