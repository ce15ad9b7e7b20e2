//! What differs between two trees of files, and between two configurations.

use std::collections::BTreeMap;

use mica_oci::{Document, ImageConfig};
use serde_json::Value;

use crate::entry::{Entry, Kind};
use crate::image::Image;
use crate::tree::{ChangeKind, NodeId, Tree};

/// A path that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDifference {
    /// The path, without a slash in front.
    pub path: Vec<u8>,
    /// Whether it is new, gone or different.
    pub kind: ChangeKind,
    /// In what it is different.
    pub aspects: Vec<Aspect>,
    /// It in the first tree.
    pub before: Option<NodeId>,
    /// It in the second tree.
    pub after: Option<NodeId>,
}

/// In what a file is different.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aspect {
    /// It is another kind of file.
    Type,
    /// The content of a file, or the numbers of a device.
    Content,
    /// The target of a symbolic link.
    Link,
    /// The permission bits.
    Mode,
    /// User or group.
    Owner,
    /// Extended attributes.
    Xattrs,
}

impl Aspect {
    /// Returns the word for it in data.
    pub fn word(self) -> &'static str {
        match self {
            Self::Type => "type",
            Self::Content => "content",
            Self::Link => "link",
            Self::Mode => "mode",
            Self::Owner => "owner",
            Self::Xattrs => "xattrs",
        }
    }
}

/// A field, step or package that differs; absent where it is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What it is called.
    pub name: String,
    /// Its value in the first image.
    pub before: Option<String>,
    /// Its value in the second image.
    pub after: Option<String>,
}

/// Compares two trees; times are not looked at. In the order of the paths.
pub fn compare_files(before: &Tree<'_>, after: &Tree<'_>) -> Vec<FileDifference> {
    let mut both: BTreeMap<Vec<u8>, (Option<NodeId>, Option<NodeId>)> = BTreeMap::new();
    for (path, id) in before.walk(before.root()).skip(1) {
        both.entry(path).or_default().0 = Some(id);
    }
    for (path, id) in after.walk(after.root()).skip(1) {
        both.entry(path).or_default().1 = Some(id);
    }
    let difference = |(path, (one, other)): (Vec<u8>, (Option<NodeId>, Option<NodeId>))| {
        let aspects = match (one, other) {
            (Some(one), Some(other)) => aspects(before, one, after, other),
            _ => Vec::new(),
        };
        let kind = match (one, other) {
            (None, _) => ChangeKind::Added,
            (_, None) => ChangeKind::Removed,
            _ if aspects.is_empty() => return None,
            _ => ChangeKind::Changed,
        };
        Some(FileDifference {
            path,
            kind,
            aspects,
            before: one,
            after: other,
        })
    };
    both.into_iter().filter_map(difference).collect()
}

fn aspects(before: &Tree<'_>, one: NodeId, after: &Tree<'_>, other: NodeId) -> Vec<Aspect> {
    let (one_kind, other_kind) = (before.kind(one), after.kind(other));
    if one_kind != other_kind {
        return vec![Aspect::Type];
    }
    let (one, other) = (before.data(one), after.data(other));
    let facts = |entry: Option<&Entry>| {
        entry.map_or((0o755, 0, 0), |entry| (entry.mode, entry.uid, entry.gid))
    };
    let ((mode, uid, gid), (other_mode, other_uid, other_gid)) = (facts(one), facts(other));
    let attributes = |entry: Option<&Entry>| {
        let mut attributes = entry.map_or(Vec::new(), |entry| entry.attributes.to_vec());
        attributes.sort();
        attributes
    };
    let mut aspects = Vec::new();
    if let (Some(one), Some(other)) = (one, other) {
        let is_link = one_kind == Kind::Symlink;
        if is_link && one.link != other.link {
            aspects.push(Aspect::Link);
        }
        let bytes = |entry: &Entry| (entry.size, entry.sha256, entry.device);
        if !is_link && bytes(one) != bytes(other) {
            aspects.push(Aspect::Content);
        }
    }
    // The rights of a symbolic link mean nothing.
    if mode != other_mode && one_kind != Kind::Symlink {
        aspects.push(Aspect::Mode);
    }
    if (uid, gid) != (other_uid, other_gid) {
        aspects.push(Aspect::Owner);
    }
    if attributes(one) != attributes(other) {
        aspects.push(Aspect::Xattrs);
    }
    aspects
}

/// Compares the configurations of two images, field by field.
pub fn compare_config(before: &Image, after: &Image) -> Vec<Difference> {
    let fields = |image: &Image| {
        let config = image.config.as_ref().map(Document::value);
        config.map(config_fields).unwrap_or_default()
    };
    compare_maps(&fields(before), &fields(after))
}

/// The fields of a configuration that say how it is run, one line each.
fn config_fields(config: &ImageConfig) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    let platform = config.platform().to_string();
    fields.insert("Platform".to_owned(), platform);
    if let Some(author) = &config.author {
        fields.insert("Author".to_owned(), author.clone());
    }
    let run = serde_json::to_value(&config.config).unwrap_or_default();
    for (name, value) in run.as_object().into_iter().flatten() {
        match (name.as_str(), value) {
            ("Env", Value::Array(variables)) => {
                for variable in variables.iter().filter_map(Value::as_str) {
                    let (key, value) = variable.split_once('=').unwrap_or((variable, ""));
                    fields.insert(format!("Env {key}"), value.to_owned());
                }
            }
            ("Labels" | "ExposedPorts" | "Volumes", Value::Object(entries)) => {
                for (key, value) in entries {
                    let value = value.as_str().unwrap_or_default();
                    fields.insert(format!("{name} {key}"), value.to_owned());
                }
            }
            (_, Value::String(text)) => drop(fields.insert(name.clone(), text.clone())),
            (_, value) => drop(fields.insert(name.clone(), value.to_string())),
        }
    }
    fields
}

/// Compares two tables: what is in one alone, and what has another value.
pub fn compare_maps(
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) -> Vec<Difference> {
    let names: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let difference = |name: &String| Difference {
        name: name.clone(),
        before: before.get(name).cloned(),
        after: after.get(name).cloned(),
    };
    let all = names.into_iter().map(difference);
    all.filter(|difference| difference.before != difference.after)
        .collect()
}

/// Compares what was done to make two images: the steps after those that both begin with and before
/// those that both end with, the first image's first.
pub fn compare_history(before: &Image, after: &Image) -> Vec<Difference> {
    let steps = |image: &Image| {
        let config = image.config.as_ref().map(Document::value);
        let history = config.map(|config| config.history.iter().map(crate::instruction));
        history.into_iter().flatten().collect::<Vec<_>>()
    };
    let (before, after) = (steps(before), steps(after));
    let same = |pair: &(&String, &String)| pair.0 == pair.1;
    let start = before.iter().zip(&after).take_while(same).count();
    let (before, after) = (&before[start..], &after[start..]);
    let end = before.iter().rev().zip(after.iter().rev());
    let end = end.take_while(same).count();
    let step = |number: usize| format!("step {}", start + number + 1);
    let gone = before[..before.len() - end].iter().enumerate();
    let gone = gone.map(|(number, text)| Difference {
        name: step(number),
        before: Some(text.clone()),
        after: None,
    });
    let new = after[..after.len() - end].iter().enumerate();
    let new = new.map(|(number, text)| Difference {
        name: step(number),
        before: None,
        after: Some(text.clone()),
    });
    gone.chain(new).collect()
}
