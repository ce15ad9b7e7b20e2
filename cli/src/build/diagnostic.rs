//! Errors and warnings about a Dockerfile, for people, as JSON and as annotations.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use mica_builder::DockerfileSource;
use mica_dockerfile::check::{Finding, Lines, Severity};
use mica_dockerfile::{SourceMap, Span};
use serde_json::{Value, json};

use crate::failure::{CliError, Failure};
use crate::printer::Printer;

/// How errors are written: `--error-format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum ErrorFormat {
    /// For people.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

/// An error about a Dockerfile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Diagnostic {
    /// What happened.
    pub(crate) message: String,
    /// A word for its kind.
    pub(crate) code: &'static str,
    /// The text it is about.
    pub(crate) span: Option<Span>,
    /// What to do about it.
    pub(crate) hint: Option<String>,
    /// The word that may be meant; the message names it, too.
    pub(crate) suggestion: Option<String>,
    /// What of it is shown already.
    pub(crate) told: Told,
}

/// What of an error is shown before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Told {
    /// Nothing.
    #[default]
    Nothing,
    /// Its place in the Dockerfile, with the last lines of the step that failed there.
    Place,
}

/// A failed build as an error: all there is to say is its text.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct BuildFailure {
    text: String,
}

/// Where and how what is wrong with a Dockerfile is told.
pub(crate) struct Reporting<'r> {
    /// The Dockerfile.
    pub(crate) dockerfile: &'r DockerfileSource,
    /// Where the Dockerfile lies, if it is a file.
    pub(crate) path: Option<&'r Path>,
    /// How errors are written.
    pub(crate) format: ErrorFormat,
    /// Whether GitHub reads along.
    pub(crate) annotate: bool,
    /// The terminal.
    pub(crate) printer: Printer,
}

/// How many lines before and after the place are shown.
const CONTEXT: usize = 1;

impl Reporting<'_> {
    /// Makes the failure of errors. What is not for people is written here and now.
    pub(crate) fn failure(&self, diagnostics: &[Diagnostic]) -> Failure {
        if self.annotate {
            for diagnostic in diagnostics {
                self.printer.message(self.error_annotation(diagnostic));
            }
        }
        if self.format == ErrorFormat::Json {
            for diagnostic in diagnostics {
                self.printer
                    .message(self.error_json(diagnostic).to_string());
            }
            return Failure::from(CliError::Reported);
        }
        let text = self.text(diagnostics);
        let hint = match diagnostics {
            [only] => only.hint.clone(),
            _ => None,
        };
        Failure::from(BuildFailure { text }).or_hint(|| hint)
    }

    fn text(&self, diagnostics: &[Diagnostic]) -> String {
        let mut out = String::new();
        for diagnostic in diagnostics {
            // Writing to a text cannot fail.
            let _ = writeln!(out, "{}", diagnostic.message);
            if let Some(span) = diagnostic.span.filter(|_| diagnostic.told == Told::Nothing) {
                out.push_str(&place(self.dockerfile, span));
            }
            if let Some(hint) = diagnostic.hint.as_ref().filter(|_| diagnostics.len() > 1) {
                let _ = writeln!(out, "hint: {hint}");
            }
        }
        out.trim_end().to_owned()
    }

    fn error_json(&self, diagnostic: &Diagnostic) -> Value {
        let map = SourceMap::new(&self.dockerfile.text);
        let start = diagnostic.span.map(|span| map.position(span.start));
        let end = diagnostic.span.map(|span| map.position(span.end));
        json!({
            "severity": "error",
            "file": self.dockerfile.name,
            "line": start.map(|it| it.line),
            "column": start.map(|it| it.column),
            "end": end.map(|it| json!({"line": it.line, "column": it.column})),
            "message": diagnostic.message,
            "hint": diagnostic.suggestion.as_ref().map_or_else(
                || diagnostic.hint.clone(),
                |word| Some(format!("did you mean {word}?")),
            ),
            "code": diagnostic.code,
        })
    }

    fn error_annotation(&self, diagnostic: &Diagnostic) -> String {
        let map = SourceMap::new(&self.dockerfile.text);
        let place = diagnostic.span.map(|span| {
            let position = map.position(span.start);
            format!(",line={},col={}", position.line, position.column)
        });
        let hint = diagnostic.hint.as_ref();
        let hint = hint.map(|hint| format!("\nhint: {hint}"));
        let text = format!("{}{}", diagnostic.message, hint.unwrap_or_default());
        self.annotation("error", &place.unwrap_or_default(), &text)
    }

    fn annotation(&self, kind: &str, place: &str, text: &str) -> String {
        let file = escaped_property(&self.file());
        format!("::{kind} file={file}{place}::{}", escaped(text))
    }

    /// Returns the Dockerfile's path from where the command runs: GitHub wants it so.
    fn file(&self) -> String {
        let from_here = self.path.and_then(|path| {
            let here = PathBuf::from(".").canonicalize().ok()?;
            let path = path.canonicalize().ok()?;
            let below = path.strip_prefix(here).ok()?;
            Some(below.display().to_string())
        });
        from_here.unwrap_or_else(|| self.dockerfile.name.clone())
    }

    /// Annotates findings, if GitHub reads along.
    pub(crate) fn annotate(&self, findings: &[Finding]) {
        for finding in findings.iter().filter(|_| self.annotate) {
            let Lines { first, last } = finding.lines;
            let kind = match finding.severity {
                Severity::Warning => "warning",
                Severity::Advice => "notice",
            };
            let title = escaped_property(finding.rule.name());
            let place = format!(",line={first},endLine={last},title={title}");
            let line = self.annotation(kind, &place, &finding.message);
            self.printer.message(line);
        }
    }

    /// Writes a warning as JSON.
    pub(crate) fn warning_json(&self, finding: &Finding) -> Value {
        json!({
            "severity": "warning",
            "file": self.dockerfile.name,
            "line": finding.lines.first,
            "column": 1,
            "end": {"line": finding.lines.last},
            "message": finding.message,
            "hint": Value::Null,
            "code": finding.rule.name(),
        })
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

/// Escapes the text of a workflow command. Source: GitHub's workflow commands.
fn escaped(text: &str) -> String {
    let text = text.replace('%', "%25");
    text.replace('\r', "%0D").replace('\n', "%0A")
}

fn escaped_property(text: &str) -> String {
    escaped(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::printer::Colors;

    const TEXT: &str = "FROM busybox\nRUNN true\n";

    fn diagnostic() -> Diagnostic {
        Diagnostic {
            message: "no: 100 %\nnever".into(),
            code: "unknown-instruction",
            span: Some(SourceMap::new(TEXT).span(13, 17)),
            hint: Some("did you mean RUN?".into()),
            suggestion: None,
            told: Told::Nothing,
        }
    }

    fn check(expected: &str, write: impl Fn(&Reporting<'_>) -> String) {
        let dockerfile = DockerfileSource {
            name: "Dockerfile".into(),
            text: TEXT.into(),
        };
        let reporting = Reporting {
            dockerfile: &dockerfile,
            path: None,
            format: ErrorFormat::Text,
            annotate: false,
            printer: Printer::new(Colors::Never),
        };
        assert_eq!(write(&reporting), expected);
    }

    #[test]
    fn errors_are_written_in_three_ways() {
        check(
            "no: 100 %\nnever\nDockerfile:2:1\n   1 | FROM busybox\n   2 | RUNN true\n     | ^^^^\n   3 |",
            |reporting| reporting.text(&[diagnostic()]),
        );
        check(
            "::error file=Dockerfile,line=2,col=1::no: 100 %25%0Anever%0Ahint: did you mean RUN?",
            |reporting| reporting.error_annotation(&diagnostic()),
        );
        check(
            r#"{"severity":"error","file":"Dockerfile","line":2,"column":1,"end":{"line":2,"column":5},"message":"no: 100 %\nnever","hint":"did you mean RUN?","code":"unknown-instruction"}"#,
            |reporting| reporting.error_json(&diagnostic()).to_string(),
        );
    }
}
