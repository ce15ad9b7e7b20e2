//! The checks around a build, and the methods of `--call` that build nothing.

use mica_dockerfile::check::{CheckReport, Finding, Lines, Reach, Severity};
use mica_dockerfile::parse;

use super::call::{Call, Format, Method, Status};
use super::checker::{Ask, Checker};
use super::diagnostic::{ErrorFormat, Reporting};
use super::report::{check_diagnostic, parse_diagnostics};
use super::result;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};

/// What a build shows besides its progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Warnings {
    /// Warnings of the checks.
    Shown,
    /// Nothing: `--quiet`.
    Hidden,
}

/// Does what a call other than `build` asks for.
pub(crate) fn call(call: Call, checker: &Checker<'_>, reporting: &Reporting<'_>) -> Outcome {
    match call.method {
        Method::Targets => targets(call, reporting),
        Method::Outline => outline(call, checker, reporting),
        Method::Check | Method::Build => check(call, checker, reporting),
    }
}

fn check(call: Call, checker: &Checker<'_>, reporting: &Reporting<'_>) -> Outcome {
    let report = checker.check(Reach::All);
    let printer = reporting.printer;
    match call.format {
        Format::Json => {
            let value = result::check_json(&report, reporting.dockerfile);
            printer.data(format!("{value:#}\n"))?;
        }
        Format::Text => printer.data(result::check_text(&report, reporting.dockerfile))?,
    }
    reporting.annotate(&report.findings);
    unused_arguments(&report, reporting);
    if report.failure.is_some() {
        return Err(failure(&report, reporting));
    }
    let warned = !result::findings(&report, Severity::Warning).is_empty();
    match warned && call.status == Status::Counts {
        true => Ok(Exit::Failure),
        false => Ok(Exit::Success),
    }
}

fn outline(call: Call, checker: &Checker<'_>, reporting: &Reporting<'_>) -> Outcome {
    let report = checker.check(Reach::Target);
    let strict = report.is_strict && !result::findings(&report, Severity::Warning).is_empty();
    if report.failure.is_some() && !strict {
        return Err(failure(&report, reporting));
    }
    let text = match call.format {
        Format::Json => format!(
            "{:#}\n",
            result::outline_json(&report.outline, reporting.dockerfile)
        ),
        Format::Text => result::outline_text(&report.outline),
    };
    reporting.printer.data(text)?;
    Ok(Exit::Success)
}

fn targets(call: Call, reporting: &Reporting<'_>) -> Outcome {
    let dockerfile = parse(&reporting.dockerfile.text)
        .map_err(|errors| reporting.failure(&parse_diagnostics(&errors, reporting.dockerfile)))?;
    let text = match call.format {
        Format::Json => format!(
            "{:#}\n",
            result::targets_json(&dockerfile, reporting.dockerfile)
        ),
        Format::Text => result::targets_text(&dockerfile),
    };
    reporting.printer.data(text)?;
    Ok(Exit::Success)
}

/// Makes the failure of a report: of the text's errors, all are told.
fn failure(report: &CheckReport, reporting: &Reporting<'_>) -> Failure {
    let source = reporting.dockerfile;
    match (parse(&source.text), &report.failure) {
        (Err(errors), _) => reporting.failure(&parse_diagnostics(&errors, source)),
        (Ok(_), Some(failure)) => reporting.failure(&[check_diagnostic(failure, source)]),
        (Ok(_), None) => reporting.failure(&[]),
    }
}

/// Builds, with the checks: those that may fail a build go before it, and what they warn of is
/// shown after it.
pub(crate) fn checked<T>(
    checker: &Checker<'_>,
    reporting: &Reporting<'_>,
    warnings: Warnings,
    build: impl FnOnce() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut report = checker.check(Reach::Target);
    if report.is_strict {
        let asking = Checker {
            ask: Ask::Registry,
            ..*checker
        };
        report = asking.check(Reach::Target);
        if !result::findings(&report, Severity::Warning).is_empty() && report.failure.is_some() {
            show(&report, reporting, warnings);
            return Err(failure(&report, reporting));
        }
    }
    let built = build();
    // The base images are there by now, and with them their variables.
    show(&checker.check(Reach::Target), reporting, warnings);
    built
}

/// Shows what a build warns of, as docker does.
fn show(report: &CheckReport, reporting: &Reporting<'_>, warnings: Warnings) {
    let found = result::findings(report, Severity::Warning);
    if warnings == Warnings::Hidden {
        return;
    }
    let owned: Vec<Finding> = found.iter().map(|&finding| finding.clone()).collect();
    reporting.annotate(&owned);
    unused_arguments(report, reporting);
    if reporting.format == ErrorFormat::Json {
        for finding in found {
            let line = reporting.warning_json(finding).to_string();
            reporting.printer.message(line);
        }
        return;
    }
    let count = match found.len() {
        0 => return,
        1 => "1 warning found".to_owned(),
        count => format!("{count} warnings found"),
    };
    let printer = reporting.printer;
    printer.message(format!("\n {count} (use --check to expand):"));
    for finding in found {
        let Lines { first, .. } = finding.lines;
        printer.message(format!(
            " - {}: {} (line {first})",
            finding.rule, finding.message
        ));
    }
}

/// Warns of build arguments that nothing declares: a typo there is silent otherwise.
fn unused_arguments(report: &CheckReport, reporting: &Reporting<'_>) {
    for (name, near) in &report.unused_arguments {
        let near = near.as_ref();
        let hint = near.map(|near| format!(" (did you mean {near}?)"));
        reporting.printer.warning(&format!(
            "build argument {name} is declared by no ARG and was not consumed{}",
            hint.unwrap_or_default()
        ));
    }
}
