//! ADD and COPY.

use super::Failure;
use super::flags::{FlagKind, FlagValues};
use crate::error::ErrorKind;
use crate::heredoc;
use crate::instruction::{AddInstruction, CopyInstruction, CopySource, Heredoc};
use crate::tree::{Form, Node};
use std::collections::HashMap;

const ADD_FLAGS: &[(&str, FlagKind)] = &[
    ("checksum", FlagKind::Text),
    ("chmod", FlagKind::Text),
    ("chown", FlagKind::Text),
    ("exclude", FlagKind::List),
    ("keep-git-dir", FlagKind::Switch),
    ("link", FlagKind::Switch),
    ("unpack", FlagKind::Switch),
];

const COPY_FLAGS: &[(&str, FlagKind)] = &[
    ("chmod", FlagKind::Text),
    ("chown", FlagKind::Text),
    ("exclude", FlagKind::List),
    ("from", FlagKind::Text),
    ("link", FlagKind::Switch),
    ("parents", FlagKind::Switch),
];

pub(super) fn add(node: &Node, heredocs: &[Heredoc]) -> Result<AddInstruction, Failure> {
    check_number(node, "ADD")?;
    let mut flags = FlagValues::read(&node.flags, ADD_FLAGS)?;
    let (sources, destination) = sources_and_destination(node, heredocs, "ADD")?;
    Ok(AddInstruction {
        sources,
        destination,
        chown: flags.text("chown"),
        chmod: flags.text("chmod"),
        link: flags.switch("link").unwrap_or(false),
        keep_git_dir: flags.switch("keep-git-dir"),
        checksum: flags.text("checksum"),
        exclude: flags.list("exclude"),
        unpack: flags.switch("unpack"),
    })
}

pub(super) fn copy(node: &Node, heredocs: &[Heredoc]) -> Result<CopyInstruction, Failure> {
    check_number(node, "COPY")?;
    let mut flags = FlagValues::read(&node.flags, COPY_FLAGS)?;
    let (sources, destination) = sources_and_destination(node, heredocs, "COPY")?;
    Ok(CopyInstruction {
        sources,
        destination,
        from: flags.text("from"),
        chown: flags.text("chown"),
        chmod: flags.text("chmod"),
        link: flags.switch("link").unwrap_or(false),
        parents: flags.switch("parents").unwrap_or(false),
        exclude: flags.list("exclude"),
    })
}

fn check_number(node: &Node, name: &'static str) -> Result<(), ErrorKind> {
    if node.arguments.len() < 2 {
        Err(ErrorKind::NoDestination(name))
    } else {
        Ok(())
    }
}

fn sources_and_destination(
    node: &Node,
    heredocs: &[Heredoc],
    name: &'static str,
) -> Result<(Vec<CopySource>, String), ErrorKind> {
    let Some((destination, sources)) = node.arguments.split_last() else {
        return Err(ErrorKind::NoDestination(name));
    };
    if node.form == Form::Plain && heredoc::is_only_heredoc(destination) {
        return Err(ErrorKind::HeredocDestination(name));
    }
    let files = inline_files(node, heredocs);
    let source = |word: &String| match inline_file(word, &files) {
        Some(heredoc) => CopySource::Heredoc(heredoc.clone()),
        None => CopySource::Path(word.clone()),
    };
    Ok((sources.iter().map(source).collect(), destination.clone()))
}

/// Lists the heredocs by name; of two with one name, the later content counts. A JSON array names
/// paths only.
fn inline_files<'h>(node: &Node, heredocs: &'h [Heredoc]) -> HashMap<&'h str, &'h Heredoc> {
    match node.form {
        Form::Json => HashMap::new(),
        Form::Plain => heredocs.iter().map(|it| (it.name.as_str(), it)).collect(),
    }
}

/// Finds the heredoc that a source stands for.
fn inline_file<'h>(word: &str, files: &HashMap<&str, &'h Heredoc>) -> Option<&'h Heredoc> {
    if files.is_empty() {
        return None;
    }
    files.get(heredoc::head(word).ok()??.name.as_str()).copied()
}
