//! A failed build as a person reads it: what happened, where, and what to do.

use std::fmt::Write;

use mica_builder::{BuildError, DockerfileSource, ErrorKind};
use mica_dockerfile::{ParseError, SourceMap, Span, nearest};

/// How many lines before and after the place are shown.
const CONTEXT: usize = 1;

/// A report in parts, for the printer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// One line: what happened.
    pub(crate) title: String,
    /// The places in the Dockerfile, and output of a failed command.
    pub(crate) body: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
}

/// A failed build as an error: the report is its text.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct BuildFailure {
    text: String,
}

impl BuildFailure {
    /// Makes the error of a report.
    pub(crate) fn new(report: &Report) -> Self {
        Self {
            text: format!("{}\n{}", report.title, report.body)
                .trim_end()
                .to_owned(),
        }
    }
}

/// Describes a failed build.
pub(crate) fn report(error: &BuildError, dockerfile: &DockerfileSource) -> Report {
    if let ErrorKind::Parse { errors, .. } = &error.kind {
        return parse_report(errors, dockerfile);
    }
    let mut body = String::new();
    if let ErrorKind::Run { output, .. } = &error.kind {
        for line in output.trim_end().lines() {
            let _ = writeln!(body, " > {line}");
        }
    }
    if let Some(span) = error.span {
        body.push_str(&place(dockerfile, span));
    }
    Report {
        title: with_causes(&error.kind),
        body,
        hint: hint(&error.kind),
    }
}

fn parse_report(errors: &[ParseError], dockerfile: &DockerfileSource) -> Report {
    let mut body = String::new();
    for error in errors.iter().skip(1) {
        let _ = write!(body, "{error}\n{}", place(dockerfile, error.span));
    }
    let Some(first) = errors.first() else {
        return Report::default();
    };
    let body = place(dockerfile, first.span) + &body;
    Report {
        title: first.to_string(),
        body,
        hint: None,
    }
}

/// `Dockerfile:2:5`, the lines around it and carets below the place.
fn place(dockerfile: &DockerfileSource, span: Span) -> String {
    let map = SourceMap::new(&dockerfile.text);
    let start = map.position(span.start);
    let mut out = format!("{}:{}:{}\n", dockerfile.name, start.line, start.column);
    for line in map.excerpt(span, CONTEXT) {
        let _ = writeln!(out, "{:>4} | {}", line.number, line.text);
        if let Some(carets) = line.carets() {
            let _ = writeln!(out, "     | {carets}");
        }
    }
    out
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

fn hint(error: &ErrorKind) -> Option<String> {
    match error {
        ErrorKind::SourceMissing {
            ignored_by: Some(pattern),
            ..
        } => Some(format!(
            "the file is there, but {pattern} keeps it out of the context"
        )),
        ErrorKind::Target { target, known } => {
            let near = nearest(target, known.iter().map(String::as_str))?;
            Some(format!("did you mean {near}?"))
        }
        ErrorKind::Run {
            out_of_memory: true,
            ..
        } => Some("the step used more memory than its limit: raise --memory".into()),
        ErrorKind::SecretMissing(id) => Some(format!("pass it with --secret id={id},src=FILE")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_points_at_the_place() {
        let text = "FROM busybox\nRUNN true\n";
        let dockerfile = DockerfileSource {
            name: "Dockerfile".into(),
            text: text.into(),
        };
        let errors = mica_dockerfile::parse(text).expect_err("RUNN is no instruction");
        let error = BuildError {
            kind: ErrorKind::Parse {
                name: "Dockerfile".into(),
                errors,
            },
            span: None,
        };
        let report = report(&error, &dockerfile);
        assert!(
            report
                .title
                .contains("unknown instruction: RUNN (did you mean RUN?)")
        );
        assert!(
            report
                .body
                .contains("Dockerfile:2:1\n   1 | FROM busybox\n   2 | RUNN true\n     | ^^^^"),
            "{}",
            report.body
        );
    }
}
