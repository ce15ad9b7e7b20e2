//! Comparing what decided a step with what decided an earlier one.

use std::collections::BTreeMap;

use mica_dockerfile::names_a_secret;
use mica_store::Store;

use super::files::{KIND, ListedFile, read_piece};
use super::{
    Below, Change, FileChange, FileChangeKind, FileChanges, FileList, Inputs, KeptFiles, Reason,
    Value,
};
use crate::error::ErrorKind;

/// How many changed files are kept by name.
const KEPT_CHANGES: usize = 200;

/// One side of a comparison.
pub(crate) struct Side<'s, Files> {
    /// The instruction as it is written.
    pub(crate) instruction: &'s str,
    /// What its key was made of.
    pub(crate) inputs: &'s Inputs,
    /// The files that it reads.
    pub(crate) files: &'s [Files],
}

/// Returns what changed, in the order of the key.
pub(crate) fn compare(
    store: &Store,
    old: &Side<'_, KeptFiles>,
    new: &Side<'_, FileList>,
) -> Result<Vec<Reason>, ErrorKind> {
    let mut reasons = Vec::new();
    reasons.extend(below(old.inputs, new.inputs));
    if old.instruction != new.instruction {
        reasons.push(Reason::Instruction {
            old: old.instruction.to_owned(),
            new: new.instruction.to_owned(),
        });
    }
    for name in names(old.inputs, new.inputs) {
        let (before, after) = (old.inputs.get(name), new.inputs.get(name));
        if before == after {
            continue;
        }
        match name {
            "parent" | "command" | "instruction" => {}
            "environment" => reasons.extend(environment(old.inputs, new.inputs)),
            "sources" | "mounts" => {
                let files = files(store, old.files, new.files)?;
                // With equal files it is something else about them.
                if files.is_empty() {
                    reasons.push(Reason::Input(change(name, before, after)));
                }
                reasons.extend(files);
            }
            name => reasons.push(Reason::Input(change(name, before, after))),
        }
    }
    Ok(reasons)
}

fn names<'i>(old: &'i Inputs, new: &'i Inputs) -> Vec<&'i str> {
    let mut names: Vec<&str> = new.values.iter().map(|(name, _)| name.as_str()).collect();
    for (name, _) in &old.values {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    names
}

fn below(old: &Inputs, new: &Inputs) -> Option<Reason> {
    if old.get("parent") == new.get("parent") {
        return None;
    }
    Some(match (&old.below, &new.below) {
        (Below::Image(old_name, old), Below::Image(new_name, new)) => Reason::Base {
            old: (old_name.clone(), old.clone()),
            new: (new_name.clone(), new.clone()),
        },
        (_, below) => Reason::Below {
            step: below.to_string(),
        },
    })
}

fn change(name: &str, old: Option<&Value>, new: Option<&Value>) -> Change {
    let shown = |value: Option<&Value>| {
        let elements = value?.elements();
        (!elements.is_empty()).then(|| elements.join(" "))
    };
    Change {
        name: title(name).to_owned(),
        old: shown(old),
        new: shown(new),
    }
}

/// What an input is called where people read it.
fn title(name: &str) -> &str {
    match name {
        "owner" => "--chown",
        "mode" => "--chmod",
        "directory" => "working directory",
        "script" => "the script",
        "sources" => "the sources",
        "mounts" => "the mounts",
        name => name,
    }
}

/// Compares variables one by one, build arguments first: they are what people turn.
fn environment(old: &Inputs, new: &Inputs) -> Vec<Reason> {
    let (before, after) = (variables(old), variables(new));
    let mut arguments = Vec::new();
    let mut others = Vec::new();
    let names: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
    for &name in names {
        let (old_value, new_value) = (before.get(name), after.get(name));
        if old_value == new_value {
            continue;
        }
        let shown = |value: Option<&&str>| {
            let value = value?;
            Some(if names_a_secret(name) { "***" } else { value }.to_owned())
        };
        let change = Change {
            name: name.to_owned(),
            old: shown(old_value),
            new: shown(new_value),
        };
        let declared = |inputs: &Inputs| inputs.arguments.iter().any(|known| known == name);
        match declared(old) || declared(new) {
            true => arguments.push(Reason::Argument(change)),
            false => others.push(Reason::Variable(change)),
        }
    }
    arguments.append(&mut others);
    arguments
}

fn variables(inputs: &Inputs) -> BTreeMap<&str, &str> {
    let entries = inputs.get("environment").map_or(&[][..], Value::elements);
    entries
        .iter()
        .map(|entry| entry.split_once('=').unwrap_or((entry, "")))
        .collect()
}

/// Compares lists source by source.
fn files(store: &Store, old: &[KeptFiles], new: &[FileList]) -> Result<Vec<Reason>, ErrorKind> {
    let mut reasons = Vec::new();
    let none = (KeptFiles::default(), FileList::default());
    for index in 0..old.len().max(new.len()) {
        let before = old.get(index).unwrap_or(&none.0);
        let after = new.get(index).unwrap_or(&none.1);
        let mut changes = changed_files(store, before, after)?;
        if changes.is_empty() {
            continue;
        }
        let changed = changes.len();
        changes.truncate(KEPT_CHANGES);
        let place = if after.place.is_empty() {
            &before.place
        } else {
            &after.place
        };
        reasons.push(Reason::Files(FileChanges {
            place: place.clone(),
            total: after.total,
            changed,
            files: changes,
        }));
    }
    Ok(reasons)
}

/// Only pieces that one of the lists has alone are looked at.
fn changed_files(
    store: &Store,
    old: &KeptFiles,
    new: &FileList,
) -> Result<Vec<FileChange>, ErrorKind> {
    let keys = new.keys();
    let gone: Vec<&String> = old
        .pieces
        .iter()
        .filter(|key| !keys.contains(key))
        .collect();
    let mut before: BTreeMap<String, ListedFile> = BTreeMap::new();
    for piece in store.records().get_many(KIND, &gone)?.into_iter().flatten() {
        before.extend(
            read_piece(&piece)
                .into_iter()
                .map(|file| (file.path.clone(), file)),
        );
    }
    let mut changes = Vec::new();
    let known: std::collections::HashSet<&String> = old.pieces.iter().collect();
    for (_, piece) in keys
        .iter()
        .zip(&new.pieces)
        .filter(|(key, _)| !known.contains(key))
    {
        for file in read_piece(piece) {
            let kind = match before.remove(&file.path) {
                None => Some(FileChangeKind::Added),
                Some(former) => difference(&former, &file),
            };
            changes.extend(kind.map(|change| FileChange {
                path: file.path,
                change,
            }));
        }
    }
    changes.extend(before.into_keys().map(|path| FileChange {
        path,
        change: FileChangeKind::Removed,
    }));
    changes.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(changes)
}

fn difference(old: &ListedFile, new: &ListedFile) -> Option<FileChangeKind> {
    if old.kind != new.kind {
        return Some(FileChangeKind::Type(
            type_name(old.kind).to_owned(),
            type_name(new.kind).to_owned(),
        ));
    }
    if old.content != new.content {
        return Some(FileChangeKind::Content);
    }
    if old.mode != new.mode {
        let octal = |mode: u32| format!("{mode:o}");
        return Some(FileChangeKind::Mode(octal(old.mode), octal(new.mode)));
    }
    if old.owner != new.owner {
        let shown = |(user, group): (u32, u32)| format!("{user}:{group}");
        return Some(FileChangeKind::Owner(shown(old.owner), shown(new.owner)));
    }
    None
}

fn type_name(letter: char) -> &'static str {
    match letter {
        'f' => "file",
        'd' => "directory",
        'l' => "symbolic link",
        'c' => "character device",
        'b' => "block device",
        'p' => "named pipe",
        _ => "socket",
    }
}
