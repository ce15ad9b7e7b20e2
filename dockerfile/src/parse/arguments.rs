//! Instructions that are lists of words or pairs: ARG, ENV, LABEL, EXPOSE, VOLUME and the like.

use super::flags::FlagValues;
use super::{Failure, description};
use crate::error::ErrorKind;
use crate::instruction::{ArgInstruction, Argument, Delimiter, KeyValue};
use crate::tree::Node;

/// Reads the single argument of an instruction.
pub(super) fn one(node: &Node, name: &'static str) -> Result<String, Failure> {
    let [argument] = node.arguments.as_slice() else {
        return Err(ErrorKind::ExactlyOneArgument(name).into());
    };
    FlagValues::read(&node.flags, &[])?;
    Ok(argument.clone())
}

/// Reads STOPSIGNAL, whose flags are not looked at.
pub(super) fn signal(node: &Node) -> Result<String, Failure> {
    match node.arguments.as_slice() {
        [argument] => Ok(argument.clone()),
        _ => Err(ErrorKind::ExactlyOneArgument("STOPSIGNAL").into()),
    }
}

/// Reads one argument or more.
pub(super) fn some(node: &Node, name: &'static str) -> Result<Vec<String>, Failure> {
    if node.arguments.is_empty() {
        return Err(ErrorKind::AtLeastOneArgument(name).into());
    }
    FlagValues::read(&node.flags, &[])?;
    Ok(node.arguments.clone())
}

/// Reads VOLUME; blanks around a path are trimmed.
pub(super) fn volumes(node: &Node) -> Result<Vec<String>, Failure> {
    let volumes = some(node, "VOLUME")?;
    let trimmed: Vec<_> = volumes
        .iter()
        .map(|volume| volume.trim().to_owned())
        .collect();
    if trimmed.iter().any(String::is_empty) {
        return Err(ErrorKind::EmptyVolume.into());
    }
    Ok(trimmed)
}

/// Reads ENV or LABEL.
pub(super) fn pairs(node: &Node, name: &'static str) -> Result<Vec<KeyValue>, Failure> {
    FlagValues::read(&node.flags, &[])?;
    if node.arguments.is_empty() {
        return Err(ErrorKind::AtLeastOneArgument(name).into());
    }
    let mut pairs = Vec::with_capacity(node.arguments.len() / 3);
    for triple in node.arguments.chunks_exact(3) {
        if triple[0].is_empty() {
            return Err(ErrorKind::BlankName(name).into());
        }
        let delimiter = if triple[2] == "=" {
            Delimiter::Equals
        } else {
            Delimiter::Blank
        };
        pairs.push(KeyValue {
            name: triple[0].clone(),
            value: triple[1].clone(),
            delimiter,
        });
    }
    Ok(pairs)
}

/// Reads ARG, whose flags are not looked at.
pub(super) fn arg(node: &Node) -> Result<ArgInstruction, Failure> {
    if node.arguments.is_empty() {
        return Err(ErrorKind::AtLeastOneArgument("ARG").into());
    }
    let argument = |word: &String| {
        let (name, value) = match word.split_once('=') {
            Some(("", _)) => return Err(ErrorKind::BlankName("ARG")),
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word.as_str(), None),
        };
        let description = description(&node.comments, name);
        Ok(Argument {
            name: name.to_owned(),
            value,
            description,
        })
    };
    let arguments = node
        .arguments
        .iter()
        .map(argument)
        .collect::<Result<_, _>>()?;
    Ok(ArgInstruction { arguments })
}
