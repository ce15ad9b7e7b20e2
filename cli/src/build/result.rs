//! The results of `--call` as BuildKit prints them, as text and as JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mica_builder::DockerfileSource;
use mica_dockerfile::check::{CheckFailure, CheckReport, Finding, Lines, Outline, Severity};
use mica_dockerfile::{Dockerfile, Stage};
use serde_json::{Map, Value, json};

use super::excerpt::excerpt;
use crate::printer::Table;

/// What a list of targets calls the last stage, if that has no name.
const DEFAULT: &str = "(default)";

/// Returns the warnings of a report, or the advice, by line.
pub(crate) fn findings(report: &CheckReport, severity: Severity) -> Vec<&Finding> {
    let all = report.findings.iter();
    let mut found: Vec<_> = all.filter(|finding| finding.severity == severity).collect();
    found.sort_by_key(|finding| finding.lines.first);
    found
}

/// Writes the result of the checks for people.
pub(crate) fn check_text(report: &CheckReport, dockerfile: &DockerfileSource) -> String {
    let warnings = findings(report, Severity::Warning);
    let advice = findings(report, Severity::Advice);
    let mut out = match warnings.len() {
        0 => String::new(),
        1 => "Check complete, 1 warning has been found!\n".to_owned(),
        count => format!("Check complete, {count} warnings have been found!\n"),
    };
    for warning in &warnings {
        out.push_str(&finding_text("WARNING", warning, dockerfile));
    }
    if report.failure.is_none() && warnings.is_empty() {
        out.push_str("Check complete, no warnings found.\n");
    }
    for finding in advice {
        out.push_str(&finding_text("ADVICE", finding, dockerfile));
    }
    out
}

fn finding_text(kind: &str, finding: &Finding, dockerfile: &DockerfileSource) -> String {
    let url = finding.rule.url();
    let url = url.map(|url| format!(" - {url}")).unwrap_or_default();
    let place = excerpt(&dockerfile.name, &dockerfile.text, finding.lines);
    format!(
        "\n{kind}: {}{url}\n{}\n{place}",
        finding.rule, finding.message
    )
}

/// Writes the result of the checks as JSON.
pub(crate) fn check_json(report: &CheckReport, dockerfile: &DockerfileSource) -> Value {
    let warnings = findings(report, Severity::Warning);
    let warnings: Vec<_> = warnings.into_iter().map(warning).collect();
    let mut out = Map::new();
    let none = warnings.is_empty();
    out.insert(
        "warnings".into(),
        if none { Value::Null } else { warnings.into() },
    );
    let name = dockerfile
        .name
        .rsplit('/')
        .next()
        .unwrap_or(&dockerfile.name);
    let source = json!({
        "filename": name,
        "data": STANDARD.encode(&dockerfile.text),
        "language": "Dockerfile",
    });
    out.insert("sources".into(), json!([source]));
    if let Some(failure) = &report.failure {
        let error = json!({"message": failure.message, "location": failure_location(failure)});
        out.insert("buildError".into(), error);
    }
    Value::Object(out)
}

fn warning(finding: &Finding) -> Value {
    let mut out = Map::new();
    out.insert("ruleName".into(), finding.rule.name().into());
    out.insert("description".into(), finding.rule.description().into());
    if let Some(url) = finding.rule.url() {
        out.insert("url".into(), url.into());
    }
    out.insert("detail".into(), finding.message.as_str().into());
    out.insert("location".into(), location([finding.lines]));
    Value::Object(out)
}

fn failure_location(failure: &CheckFailure) -> Value {
    if failure.lines.is_empty() {
        return json!({});
    }
    location(failure.lines.iter().copied())
}

/// Writes a place as BuildKit does: a range for each line, and what is zero left out.
fn location(lines: impl IntoIterator<Item = Lines>) -> Value {
    let all = lines.into_iter().flat_map(|lines| lines.first..=lines.last);
    let mut all: Vec<_> = all.collect();
    all.sort_unstable();
    all.dedup();
    let position = |line: usize| {
        if line == 0 {
            json!({})
        } else {
            json!({"line": line})
        }
    };
    let ranges = all.into_iter();
    let ranges = ranges.map(|line| json!({"start": position(line), "end": position(line)}));
    json!({"ranges": ranges.collect::<Vec<_>>()})
}

/// Writes what a target takes for people.
pub(crate) fn outline_text(outline: &Outline) -> String {
    let mut out = String::new();
    if outline.name.is_some() || outline.description.is_some() {
        let name = outline.name.as_deref().unwrap_or(DEFAULT);
        let mut table = Table::with_padding(1);
        table.row(&format!("TARGET:\t{name}"));
        if let Some(description) = &outline.description {
            table.row(&format!("DESCRIPTION:\t{description}"));
        }
        out += &(table.render() + "\n");
    }
    if !outline.arguments.is_empty() {
        let mut table = Table::with_padding(3);
        table.row("BUILD ARG\tVALUE\tDESCRIPTION");
        for argument in &outline.arguments {
            let description = argument.description.as_deref().unwrap_or_default();
            table.row(&format!(
                "{}\t{}\t{description}",
                argument.name, argument.value
            ));
        }
        out += &(table.render() + "\n");
    }
    for (title, mounts) in [("SECRET", &outline.secrets), ("SSH", &outline.ssh)] {
        if mounts.is_empty() {
            continue;
        }
        let mut table = Table::with_padding(3);
        table.row(&format!("{title}\tREQUIRED"));
        for mount in mounts {
            let required = if mount.required { "true" } else { "" };
            table.row(&format!("{}\t{required}", mount.name));
        }
        out += &(table.render() + "\n");
    }
    out
}

/// Writes what a target takes as JSON.
pub(crate) fn outline_json(outline: &Outline, dockerfile: &DockerfileSource) -> Value {
    let mut out = Map::new();
    let mut text = |key: &str, value: &Option<String>| {
        if let Some(value) = value {
            out.insert(key.into(), value.as_str().into());
        }
    };
    text("name", &outline.name);
    text("description", &outline.description);
    let arguments = outline.arguments.iter().map(|argument| {
        let mut out = Map::new();
        out.insert("name".into(), argument.name.as_str().into());
        if let Some(description) = &argument.description {
            out.insert("description".into(), description.as_str().into());
        }
        if !argument.value.is_empty() {
            out.insert("value".into(), argument.value.as_str().into());
        }
        out.insert("location".into(), location([argument.lines]));
        Value::Object(out)
    });
    let arguments: Vec<_> = arguments.collect();
    if !arguments.is_empty() {
        out.insert("args".into(), arguments.into());
    }
    for (key, mounts) in [("secrets", &outline.secrets), ("ssh", &outline.ssh)] {
        let mounts = mounts.iter().map(|mount| {
            let mut out = Map::new();
            out.insert("name".into(), mount.name.as_str().into());
            if mount.required {
                out.insert("required".into(), true.into());
            }
            out.insert("location".into(), location([mount.lines]));
            Value::Object(out)
        });
        let mounts: Vec<_> = mounts.collect();
        if !mounts.is_empty() {
            out.insert(key.into(), mounts.into());
        }
    }
    out.insert("sources".into(), json!([STANDARD.encode(&dockerfile.text)]));
    Value::Object(out)
}

/// Writes the stages for people.
pub(crate) fn targets_text(dockerfile: &Dockerfile) -> String {
    let mut table = Table::with_padding(1);
    table.row("TARGET\tDESCRIPTION");
    let last = dockerfile.stages.len().saturating_sub(1);
    for (index, stage) in dockerfile.stages.iter().enumerate() {
        let name = match (&stage.name, index == last) {
            (None, true) => DEFAULT.to_owned(),
            (Some(name), true) => format!("{name} {DEFAULT}"),
            (name, false) => name.clone().unwrap_or_default(),
        };
        let description = stage.description.as_deref().unwrap_or_default();
        table.row(&format!("{name}\t{description}"));
    }
    table.render()
}

/// Writes the stages as JSON.
pub(crate) fn targets_json(dockerfile: &Dockerfile, source: &DockerfileSource) -> Value {
    let last = dockerfile.stages.len().saturating_sub(1);
    let stages = dockerfile.stages.iter().enumerate();
    let targets: Vec<_> = stages
        .map(|(index, stage)| target(stage, index == last))
        .collect();
    json!({"targets": targets, "sources": [STANDARD.encode(&source.text)]})
}

fn target(stage: &Stage, is_default: bool) -> Value {
    let mut out = Map::new();
    if let Some(name) = &stage.name {
        out.insert("name".into(), name.as_str().into());
    }
    if is_default {
        out.insert("default".into(), true.into());
    }
    if let Some(description) = &stage.description {
        out.insert("description".into(), description.as_str().into());
    }
    out.insert("base".into(), stage.base.as_str().into());
    if let Some(platform) = &stage.platform {
        out.insert("platform".into(), platform.as_str().into());
    }
    out.insert("location".into(), location([stage.span.into()]));
    Value::Object(out)
}
