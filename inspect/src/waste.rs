//! What of an image could be left out, layer by layer, with what to do about it.

mod caches;
mod dockerfile;

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::InspectError;
use crate::entry::Kind;
use crate::file_history::What;
use crate::image::{Image, Stack};
use crate::tree::EntryId;

pub use dockerfile::{DockerfileError, lines_of_layers};

/// Why bytes are wasted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WasteKind {
    /// A later layer removes what this one wrote.
    Removed,
    /// A layer writes a file again with other rights or another owner.
    Metadata,
    /// A layer writes a file again just as it was.
    Rewritten,
    /// A later layer gives the file other content.
    Overwritten,
    /// The same content is there under several names.
    Duplicate,
    /// A package manager's cache, or temporary files.
    Cache,
}

impl WasteKind {
    /// Returns the word for it in data.
    pub fn word(self) -> &'static str {
        match self {
            Self::Removed => "removed",
            Self::Metadata => "metadata",
            Self::Rewritten => "rewritten",
            Self::Overwritten => "overwritten",
            Self::Duplicate => "duplicate",
            Self::Cache => "cache",
        }
    }

    /// Returns what to do about it.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Removed => "remove the files in the instruction that makes them",
            Self::Metadata => {
                "set owner and rights where the files are made: COPY --chown, --chmod"
            }
            Self::Rewritten => "do not write the files again",
            Self::Overwritten => "write the files once, in their last form",
            Self::Duplicate => "keep one copy, and link to it",
            Self::Cache => "keep the cache out of the layer: RUN --mount=type=cache",
        }
    }
}

/// Wasted bytes with one reason and one cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Why they are wasted.
    pub kind: WasteKind,
    /// The layer whose instruction should change.
    pub layer: usize,
    /// The layer that has the bytes.
    pub wasted_in: usize,
    /// The bytes that the change would save.
    pub bytes: u64,
    /// The files, the largest first: path and bytes saved.
    pub files: Vec<(Box<[u8]>, u64)>,
    /// What a cache is of.
    pub cache: Option<&'static str>,
}

/// A file that was written again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Churn {
    /// The path.
    pub path: Box<[u8]>,
    /// How many layers wrote it.
    pub count: usize,
    /// The bytes of all of them.
    pub bytes: u64,
}

/// Paths, and the bytes saved.
type Files = Vec<(Box<[u8]>, u64)>;

/// Files of a finding by reason, the layer to change, the layer with the bytes, and the cache.
type Groups = BTreeMap<(WasteKind, usize, usize, Option<&'static str>), Files>;

impl Image {
    /// Looks for waste; the most expensive comes first.
    ///
    /// # Errors
    /// When a layer cannot be read.
    pub fn waste(&self, stack: &Stack<'_>) -> Result<Vec<Finding>, InspectError> {
        let mut groups = Groups::new();
        hidden(stack, &mut groups);
        let counted = caches(stack, &mut groups);
        duplicates(stack, &counted, &mut groups);
        let finding = |((kind, layer, wasted_in, cache), mut files): (_, Files)| {
            files.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
            Finding {
                kind,
                layer,
                wasted_in,
                bytes: files.iter().map(|(_, bytes)| bytes).sum(),
                files,
                cache,
            }
        };
        let mut findings: Vec<Finding> = groups.into_iter().map(finding).collect();
        findings.retain(|finding| finding.bytes > 0);
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.bytes));
        Ok(findings)
    }
}

/// What a later layer removes, replaces or writes again.
fn hidden(stack: &Stack<'_>, groups: &mut Groups) {
    // Another name of a file keeps its content alive.
    let visible = visible(stack);
    let mut counted: HashSet<EntryId> = HashSet::new();
    for (layer, changes) in stack.changes.iter().enumerate() {
        for (path, change) in changes {
            let Some(before) = change.before else {
                continue;
            };
            let entry = stack.tree.entry(before);
            if entry.kind != Kind::File || entry.size == 0 || visible.contains(&before) {
                continue;
            }
            let (kind, to_change) = match stack.what(change) {
                What::Removed | What::Replaced => (WasteKind::Removed, before.layer),
                What::Metadata => (WasteKind::Metadata, layer),
                What::Rewritten => (WasteKind::Rewritten, layer),
                What::Modified => (WasteKind::Overwritten, layer),
                What::Added => continue,
            };
            if counted.insert(before) {
                let key = (kind, to_change, before.layer, None);
                let files = groups.entry(key).or_default();
                files.push((path.clone(), entry.size));
            }
        }
    }
}

fn visible(stack: &Stack<'_>) -> HashSet<EntryId> {
    let nodes = stack.tree.walk(stack.tree.root());
    nodes
        .filter_map(|(_, id)| stack.tree.node(id).data)
        .collect()
}

/// Caches that are still there; returns what was counted.
fn caches(stack: &Stack<'_>, groups: &mut Groups) -> HashSet<EntryId> {
    let mut counted = HashSet::new();
    for (path, id) in stack.tree.walk(stack.tree.root()) {
        let Some((data, entry)) = stack.tree.node(id).data.zip(stack.tree.data(id)) else {
            continue;
        };
        let cache = caches::cache_of(&path).filter(|_| entry.kind == Kind::File && entry.size > 0);
        if let Some(cache) = cache
            && counted.insert(data)
        {
            let key = (WasteKind::Cache, data.layer, data.layer, Some(cache));
            let files = groups.entry(key).or_default();
            files.push((path.into(), entry.size));
        }
    }
    counted
}

/// Files with the same content, each an own copy. Small ones are common and cost nothing.
fn duplicates(stack: &Stack<'_>, counted: &HashSet<EntryId>, groups: &mut Groups) {
    const SMALLEST: u64 = 4096;
    let mut known: HashMap<[u8; 32], EntryId> = HashMap::new();
    for (path, id) in stack.tree.walk(stack.tree.root()) {
        let Some((data, entry)) = stack.tree.node(id).data.zip(stack.tree.data(id)) else {
            continue;
        };
        if entry.kind != Kind::File || entry.size < SMALLEST || counted.contains(&data) {
            continue;
        }
        let Some(sha256) = entry.sha256 else {
            continue;
        };
        let first = *known.entry(sha256).or_insert(data);
        if first != data {
            let layer = data.layer.max(first.layer);
            let key = (WasteKind::Duplicate, layer, data.layer, None);
            let files = groups.entry(key).or_default();
            files.push((path.into(), entry.size));
        }
    }
}

impl Stack<'_> {
    /// Returns the files that more than one layer wrote, those with the most bytes first.
    pub fn churn(&self) -> Vec<Churn> {
        let mut writes: BTreeMap<&[u8], (usize, u64)> = BTreeMap::new();
        for (layer, changes) in self.changes.iter().enumerate() {
            for (path, change) in changes {
                let Some(after) = change.after.filter(|after| after.layer == layer) else {
                    continue;
                };
                let entry = self.tree.entry(after);
                if entry.kind == Kind::File {
                    let known = writes.entry(path).or_default();
                    *known = (known.0 + 1, known.1 + entry.size);
                }
            }
        }
        let again = writes
            .into_iter()
            .filter(|(_, (count, bytes))| *count > 1 && *bytes > 0);
        let mut churn: Vec<Churn> = again
            .map(|(path, (count, bytes))| Churn {
                path: path.into(),
                count,
                bytes,
            })
            .collect();
        churn.sort_by_key(|churn| std::cmp::Reverse(churn.bytes));
        churn
    }
}
