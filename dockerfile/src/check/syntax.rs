//! Rules that look at single instructions as they are written, and at all of them together.

use super::finding::Reporter;
use super::rules::Rule;
use super::settings::Settings;
use crate::instruction::{Stage, Warning};
use crate::quote::Quoted;
use crate::source::Span;
use crate::tree::Node;
use std::collections::BTreeSet;

/// Names of stages that mean something else.
const RESERVED: [&str; 2] = ["context", "scratch"];

/// Reports blank lines inside continued instructions.
pub(super) fn continuations(warnings: &[Warning], reporter: &mut Reporter) {
    for Warning::EmptyContinuation { span } in warnings {
        let last = Span {
            first_line: span.last_line,
            ..*span
        };
        let message = "Empty continuation line".to_owned();
        reporter.report_for_file(Rule::NoEmptyContinuation, last, message);
    }
}

/// Checks an instruction as it is written; a wrong one, too.
pub(super) fn node(node: &Node, reporter: &mut Reporter) {
    let settings = reporter.settings.with_comments(&node.comments);
    match node.keyword.to_ascii_lowercase().as_str() {
        "maintainer" => {
            let message = "Maintainer instruction is deprecated in favor of using label";
            reporter.report(
                &settings,
                Rule::MaintainerDeprecated,
                node.span,
                message.to_owned(),
            );
        }
        "from" => from_casing(node, &settings, reporter),
        _ => {}
    }
}

/// Checks the comment above an instruction that could be read.
pub(super) fn description(node: &Node, reporter: &mut Reporter) {
    let names: Vec<_> = match node.keyword.to_ascii_lowercase().as_str() {
        "from" => node
            .arguments
            .get(2)
            .map(|name| name.to_lowercase())
            .into_iter()
            .collect(),
        "arg" => {
            let name = |word: &String| word.split('=').next().unwrap_or_default().to_owned();
            node.arguments.iter().map(name).collect()
        }
        _ => return,
    };
    let (Some(comment), Some(first)) = (node.comments.last(), names.first()) else {
        return;
    };
    let described = comment.split(' ').next().unwrap_or_default();
    if names.iter().any(|name| name == described) {
        return;
    }
    let example = if names.len() > 1 { "<arg_key>" } else { first };
    let message = format!(
        "Comment for {} should follow the format: `# {example} <description>`",
        node.keyword.to_ascii_uppercase()
    );
    let settings = reporter.settings.with_comments(&node.comments);
    reporter.report(
        &settings,
        Rule::InvalidDefinitionDescription,
        node.span,
        message,
    );
}

fn from_casing(node: &Node, settings: &Settings, reporter: &mut Reporter) {
    if let [_, _, name] = node.arguments.as_slice()
        && *name != name.to_lowercase()
    {
        let message = format!("Stage name '{name}' should be lowercase");
        reporter.report(settings, Rule::StageNameCasing, node.span, message);
    }
    let keyword = &node.keyword;
    let Some(word) = node.arguments.get(1).filter(|_| node.arguments.len() >= 3) else {
        return;
    };
    let same = match case(keyword) {
        Some(Case::Lower) => *word == word.to_lowercase(),
        Some(Case::Upper) => *word == word.to_uppercase(),
        None => true,
    };
    if !same {
        let message = format!("'{word}' and '{keyword}' keywords' casing do not match");
        reporter.report(settings, Rule::FromAsCasing, node.span, message);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Lower,
    Upper,
}

/// Returns the case of a keyword; nothing if it is mixed.
fn case(keyword: &str) -> Option<Case> {
    if keyword == keyword.to_lowercase() {
        Some(Case::Lower)
    } else if keyword == keyword.to_uppercase() {
        Some(Case::Upper)
    } else {
        None
    }
}

/// Reports names of stages that are reserved or used twice.
pub(super) fn stage_names(stages: &[Stage], reporter: &mut Reporter) {
    let mut seen = BTreeSet::new();
    for stage in stages {
        let Some(name) = &stage.name else { continue };
        if RESERVED.contains(&name.as_str()) {
            let message = format!(
                "Stage name should not use the same name as reserved stage {}",
                Quoted(name)
            );
            reporter.report_for_file(Rule::ReservedStageName, stage.span, message);
        }
        if !seen.insert(name) {
            let message = format!(
                "Duplicate stage name {}, stage names should be unique",
                Quoted(name)
            );
            reporter.report_for_file(Rule::DuplicateStageName, stage.span, message);
        }
    }
}

/// Reports instructions in another case than most; a draw counts as capitals.
pub(super) fn instruction_casing(stages: &[Stage], reporter: &mut Reporter) {
    let keywords = || {
        stages.iter().flat_map(|stage| {
            let own = stage.instructions.iter();
            std::iter::once((&stage.keyword, stage.span))
                .chain(own.map(|instruction| (&instruction.keyword, instruction.span)))
        })
    };
    let count = |wanted| {
        keywords()
            .filter(|(word, _)| case(word) == Some(wanted))
            .count()
    };
    let lower = count(Case::Lower) > count(Case::Upper);
    for (keyword, span) in keywords() {
        let (wanted, name) = if lower {
            (keyword.to_lowercase(), "lowercase")
        } else {
            (keyword.to_uppercase(), "uppercase")
        };
        if *keyword != wanted {
            let message = format!(
                "Command '{keyword}' should match the case of the command majority ({name})"
            );
            reporter.report_for_file(Rule::ConsistentInstructionCasing, span, message);
        }
    }
}
