//! Rules that BuildKit does not have: mistakes that build, and that cost time or space later.
//!
//! They look at the words of commands, not at what these do. What cannot be told from the words
//! is not reported. `docs/checks` has a page for each.

mod bases;
mod copies;
mod layers;
mod shell;
mod state;

use super::finding::Reporter;
use super::request::CheckRequest;
use super::rules::Rule;
use crate::instruction::{
    Dockerfile, Instruction, InstructionKind, RunInstruction, RunScript, Stage,
};
use shell::ShellCommand;
use std::collections::BTreeSet;

/// Checks all stages.
pub(super) fn check(file: &Dockerfile, request: &CheckRequest<'_>, reporter: &mut Reporter) {
    let mut findings = Vec::new();
    bases::unpinned(file, request, &mut findings);
    let shipped = shipped(file);
    for (index, stage) in file.stages.iter().enumerate() {
        copies::before_install(stage, &mut findings);
        copies::changed_after(stage, &mut findings);
        layers::update_without_install(stage, &mut findings);
        if shipped.contains(&index) {
            layers::caches(stage, &mut findings);
        }
        state::pipes(stage, &mut findings);
        state::lost(stage, &mut findings);
    }
    findings.sort_by_key(|found| found.at.lines.first);
    for found in findings {
        let settings = reporter.settings.with_comments(found.at.comments);
        reporter.report(&settings, found.rule, found.at.lines, found.message);
    }
}

/// What a rule found.
struct Found<'f> {
    rule: Rule,
    at: Place<'f>,
    message: String,
}

/// An instruction to point at.
struct Place<'f> {
    lines: super::finding::Lines,
    comments: &'f [String],
}

impl<'f> From<&'f Instruction> for Place<'f> {
    fn from(instruction: &'f Instruction) -> Self {
        Self {
            lines: instruction.span.into(),
            comments: &instruction.comments,
        }
    }
}

impl<'f> From<&'f Stage> for Place<'f> {
    fn from(stage: &'f Stage) -> Self {
        Self {
            lines: stage.span.into(),
            comments: &stage.comments,
        }
    }
}

/// Lists the stages whose layers are in the image: the last one, and what it stands on.
fn shipped(file: &Dockerfile) -> BTreeSet<usize> {
    let mut shipped = BTreeSet::new();
    let mut next = file.stages.len().checked_sub(1);
    while let Some(index) = next {
        shipped.insert(index);
        let base = &file.stages[index].base;
        let named = |stage: &Stage| stage.name.as_ref() == Some(base);
        next = file.stages[..index].iter().rposition(named);
    }
    shipped
}

/// Lists the `RUN`s of a stage with the commands of their scripts.
fn runs(stage: &Stage) -> impl Iterator<Item = (&Instruction, &RunInstruction, Vec<ShellCommand>)> {
    stage.instructions.iter().filter_map(|instruction| {
        let InstructionKind::Run(run) = &instruction.kind else {
            return None;
        };
        Some((instruction, run, commands(run)))
    })
}

/// No longer script is looked at: nobody wrote it by hand.
const LONGEST_SCRIPT: usize = 64 << 10;

fn commands(run: &RunInstruction) -> Vec<ShellCommand> {
    match run.script() {
        RunScript::Shell(text) if text.len() > LONGEST_SCRIPT => Vec::new(),
        RunScript::Exec(words) => vec![ShellCommand::of(words)],
        RunScript::Shell(text) => shell::commands(&text),
        RunScript::File { content, .. } if is_shell_script(&content) => shell::commands(&content),
        RunScript::File { .. } => Vec::new(),
    }
}

fn is_shell_script(content: &str) -> bool {
    let first = content.lines().next().unwrap_or_default();
    let program = first.rsplit(['/', ' ']).next().unwrap_or_default();
    matches!(program, "sh" | "bash" | "dash" | "ash" | "zsh")
}
