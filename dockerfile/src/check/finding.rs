//! What the checks found, and collecting it.

use super::rules::Rule;
use super::settings::{Settings, Treatment};
use crate::source::Span;

/// A finding of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// What it found, as a sentence.
    pub message: String,
    /// The lines it is about.
    pub lines: Lines,
    /// Whether it is a warning or advice.
    pub severity: Severity,
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// BuildKit would warn of it, or the file's settings ask for it.
    Warning,
    /// A rule that BuildKit does not have; nothing fails because of it.
    Advice,
}

/// Lines of a Dockerfile, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lines {
    /// The first one; 0 where BuildKit's own place of an error stands before the file.
    pub first: usize,
    /// The last one.
    pub last: usize,
}

impl From<Span> for Lines {
    fn from(span: Span) -> Self {
        Self {
            first: span.first_line,
            last: span.last_line,
        }
    }
}

/// Takes findings, in the order in which BuildKit has them.
#[derive(Debug, Default)]
pub(crate) struct Reporter {
    pub(crate) findings: Vec<Finding>,
    /// The settings of the whole file.
    pub(crate) settings: Settings,
}

impl Reporter {
    /// Takes a finding, if the settings of its instruction want it.
    pub(crate) fn report(
        &mut self,
        settings: &Settings,
        rule: Rule,
        lines: impl Into<Lines>,
        message: String,
    ) {
        let severity = match settings.treatment(rule) {
            Treatment::Warn => Severity::Warning,
            Treatment::Advise => Severity::Advice,
            Treatment::Drop => return,
        };
        self.findings.push(Finding {
            rule,
            message,
            lines: lines.into(),
            severity,
        });
    }

    /// Takes a finding under the settings of the whole file.
    pub(crate) fn report_for_file(&mut self, rule: Rule, lines: impl Into<Lines>, message: String) {
        let settings = self.settings.clone();
        self.report(&settings, rule, lines, message);
    }

    /// Returns the error of a file whose settings let warnings fail the build, if there are any.
    pub(crate) fn violation(&self) -> Option<String> {
        let warnings = self
            .findings
            .iter()
            .filter(|finding| finding.severity == Severity::Warning);
        let mut rules: Vec<_> = warnings.map(|finding| finding.rule.name()).collect();
        rules.sort_unstable();
        rules.dedup();
        let violated = self.settings.error && !rules.is_empty();
        violated.then(|| format!("lint violation found for rules: {}", rules.join(", ")))
    }
}
