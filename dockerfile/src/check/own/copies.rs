//! `mica/CopyBeforeInstall` and `mica/ChangedAfterCopy`.

use super::shell::ShellCommand;
use super::{Found, Place, commands};
use crate::check::dispatch::absolute;
use crate::check::rules::Rule;
use crate::instruction::{CopySource, Instruction, InstructionKind, Stage};

/// How the whole context is named.
const WHOLE: [&str; 5] = [".", "./", "/", "*", "./*"];

/// Reports a copy of the whole context that a step which installs dependencies follows.
pub(super) fn before_install<'f>(stage: &'f Stage, findings: &mut Vec<Found<'f>>) {
    let mut copy: Option<&Instruction> = None;
    for instruction in &stage.instructions {
        match &instruction.kind {
            InstructionKind::Copy(it) if it.from.is_none() && is_whole(&it.sources) => {
                copy = copy.or(Some(instruction));
            }
            InstructionKind::Add(it) if is_whole(&it.sources) => copy = copy.or(Some(instruction)),
            InstructionKind::Run(run) => {
                let Some(install) = commands(run).iter().find_map(install) else {
                    continue;
                };
                let Some(copy) = copy.take() else { continue };
                let line = instruction.span.first_line;
                findings.push(Found {
                    rule: Rule::CopyBeforeInstall,
                    at: Place::from(copy),
                    message: format!(
                        "The whole context is copied before `{install}` (line {line}): any changed file installs everything again"
                    ),
                });
            }
            _ => {}
        }
    }
}

fn is_whole(sources: &[CopySource]) -> bool {
    sources
        .iter()
        .any(|source| matches!(source, CopySource::Path(path) if WHOLE.contains(&path.as_str())))
}

/// Programs and the verbs with which they install what a list names.
const INSTALLERS: [(&str, &[&str]); 21] = [
    ("apk", &["add"]),
    ("apt", &["install"]),
    ("apt-get", &["install"]),
    ("bun", &["install", "i"]),
    ("bundle", &["install"]),
    ("cargo", &["fetch"]),
    ("composer", &["install"]),
    ("conda", &["install"]),
    ("dnf", &["install"]),
    ("gem", &["install"]),
    ("microdnf", &["install"]),
    ("npm", &["ci", "install", "i"]),
    ("pip", &["install"]),
    ("pip3", &["install"]),
    ("pipenv", &["install", "sync"]),
    ("pnpm", &["install", "i", "fetch"]),
    ("poetry", &["install"]),
    ("uv", &["sync"]),
    ("yarn", &["install"]),
    ("yum", &["install"]),
    ("zypper", &["install"]),
];

/// Names what a command installs with, unless it installs the copied files themselves.
pub(super) fn install(command: &ShellCommand) -> Option<String> {
    let words: Vec<_> = command.words.iter().map(String::as_str).collect();
    let module = ["-m", "pip", "install"];
    if command.program().starts_with("python") && words.get(1..4) == Some(&module[..]) {
        return (!installs_files(command)).then(|| "pip install".to_owned());
    }
    if words.starts_with(&["go", "mod", "download"]) {
        return Some("go mod download".to_owned());
    }
    let (program, verb) = (command.program(), command.verb());
    let (_, verbs) = INSTALLERS.iter().find(|(known, _)| *known == program)?;
    let found = verbs.contains(&verb) && !installs_files(command);
    found.then(|| format!("{program} {verb}"))
}

/// Tells whether a command installs from a path, which must be there before.
fn installs_files(command: &ShellCommand) -> bool {
    let is_path = |word: &str| word == "." || word.starts_with("./") || word.starts_with(".[");
    command.has_word(&["-e", "--editable"]) || command.arguments().any(is_path)
}

/// Reports commands that change the owner or mode of files copied before.
pub(super) fn changed_after<'f>(stage: &'f Stage, findings: &mut Vec<Found<'f>>) {
    let mut directory = "/".to_owned();
    let mut copied: Vec<(String, usize)> = Vec::new();
    for instruction in &stage.instructions {
        let line = instruction.span.first_line;
        match &instruction.kind {
            InstructionKind::Workdir(path) => directory = absolute(&directory, path),
            InstructionKind::Copy(it) => {
                let targets = targets(&it.sources, &it.destination, &directory);
                copied.extend(targets.into_iter().map(|target| (target, line)));
            }
            InstructionKind::Add(it) => {
                let targets = targets(&it.sources, &it.destination, &directory);
                copied.extend(targets.into_iter().map(|target| (target, line)));
            }
            InstructionKind::Run(run) => {
                let commands = commands(run);
                let Some((flag, line)) = commands
                    .iter()
                    .find_map(|it| change(it, &directory, &copied))
                else {
                    continue;
                };
                findings.push(Found {
                    rule: Rule::ChangedAfterCopy,
                    at: Place::from(instruction),
                    message: format!(
                        "{flag} writes the files copied in line {line} again, into another layer: use --{flag} there"
                    ),
                });
            }
            _ => {}
        }
    }
}

/// Lists what a copy writes, as far as its words tell.
fn targets(sources: &[CopySource], destination: &str, directory: &str) -> Vec<String> {
    let into = destination.ends_with('/')
        || matches!(destination, "." | "..")
        || sources.len() > 1
        || destination == "/";
    let target = |source: &CopySource| {
        let name = match source {
            CopySource::Path(path) => path
                .trim_end_matches('/')
                .rsplit('/')
                .next()
                .unwrap_or_default(),
            CopySource::Heredoc(heredoc) => heredoc.name.as_str(),
        };
        let whole = matches!(source, CopySource::Path(path) if WHOLE.contains(&path.as_str()));
        let written = absolute(directory, destination);
        match into && !whole {
            true => absolute(&written, name),
            false => written,
        }
    };
    let all = sources.iter().map(target);
    all.filter(|path| path != "/" && !path.contains('$'))
        .collect()
}

/// Tells which flag would do what a command does to copied files, and the line of the copy.
fn change<'c>(
    command: &'c ShellCommand,
    directory: &str,
    copied: &[(String, usize)],
) -> Option<(&'c str, usize)> {
    let program = command.program();
    if !matches!(program, "chown" | "chmod") {
        return None;
    }
    let paths = command.arguments().skip(1);
    let paths = paths.map(|path| absolute(directory, path.trim_end_matches("/*")));
    let below = |inner: &str, outer: &str| {
        inner == outer
            || inner
                .strip_prefix(outer)
                .is_some_and(|rest| rest.starts_with('/'))
    };
    paths
        .filter(|path| path != "/")
        .find_map(|path| {
            let same =
                |(target, _): &&(String, usize)| below(target, &path) || below(&path, target);
            copied.iter().rev().find(same)
        })
        .map(|(_, line)| (program, *line))
}
