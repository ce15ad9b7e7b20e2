//! `mica/HiddenPipeFailure` and `mica/LostShellState`.

use super::shell::{Joint, ShellCommand};
use super::{Found, Place, runs};
use crate::check::rules::Rule;
use crate::instruction::{CommandForm, InstructionKind, Stage};

/// Reports downloads that are piped into a command where a failure of the download does not count.
pub(super) fn pipes<'f>(stage: &'f Stage, findings: &mut Vec<Found<'f>>) {
    let shells = stage.instructions.iter().filter_map(|it| match &it.kind {
        InstructionKind::Shell(words) => Some(words),
        _ => None,
    });
    let is_set = |words: &Vec<String>| words.iter().any(|word| word.contains("pipefail"));
    if shells.into_iter().any(is_set) {
        return;
    }
    for (instruction, run, commands) in runs(stage) {
        let sets = commands.iter().any(|it| it.has_word(&["pipefail"]));
        if sets || matches!(run.command, CommandForm::Exec(_)) {
            continue;
        }
        let download = |pair: &[ShellCommand]| {
            let fetches = matches!(pair[0].program(), "curl" | "wget");
            (fetches && pair[1].joint == Joint::Pipe).then(|| pair[0].program().to_owned())
        };
        if let Some(program) = commands.windows(2).find_map(download) {
            findings.push(Found {
                rule: Rule::HiddenPipeFailure,
                at: Place::from(instruction),
                message: format!(
                    "A failure of `{program}` goes unnoticed: only the last command of a pipe counts without `set -o pipefail`"
                ),
            });
        }
    }
}

/// Reports steps that end in a command whose effect ends with them.
pub(super) fn lost<'f>(stage: &'f Stage, findings: &mut Vec<Found<'f>>) {
    for (instruction, run, commands) in runs(stage) {
        if matches!(run.command, CommandForm::Exec(_)) {
            continue;
        }
        let Some(last) = commands.last() else {
            continue;
        };
        let instead = match last.program() {
            "cd" => "WORKDIR",
            "export" => "ENV",
            "source" | "." => "ENV, or the command in the same RUN",
            "alias" => "a script",
            _ => continue,
        };
        let program = last.program().to_owned();
        findings.push(Found {
            rule: Rule::LostShellState,
            at: Place::from(instruction),
            message: format!(
                "`{program}` at the end of a RUN has no effect on later steps: use {instead}"
            ),
        });
    }
}
