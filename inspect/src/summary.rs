//! Figures of each layer: what it adds, changes and removes, and what of it is of no use.

use std::collections::HashSet;

use crate::entry::Kind;
use crate::image::Stack;
use crate::tree::{ChangeKind, EntryId};

/// The figures of one layer. Directories are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The bytes of its files' content.
    pub size: u64,
    /// Paths that are new.
    pub added: usize,
    /// Paths that were there before.
    pub changed: usize,
    /// Paths that are gone.
    pub removed: usize,
    /// The bytes of content that no path of the image leads to any more.
    pub waste: u64,
}

impl Stack<'_> {
    /// Returns the figures of each layer, bottom first.
    pub fn summaries(&self) -> Vec<Summary> {
        let visible: HashSet<EntryId> = self
            .tree
            .walk(self.tree.root())
            .filter_map(|(_, id)| self.tree.node(id).data)
            .collect();
        let layers = 0..self.changes.len();
        layers.map(|layer| self.summary(layer, &visible)).collect()
    }

    fn summary(&self, layer: usize, visible: &HashSet<EntryId>) -> Summary {
        let mut summary = Summary::default();
        for change in self.changes[layer].values() {
            let is_directory = |id: Option<EntryId>| {
                id.is_none_or(|id| self.tree.entry(id).kind == Kind::Directory)
            };
            match change.kind {
                ChangeKind::Removed if !is_directory(change.before) => summary.removed += 1,
                ChangeKind::Added if !is_directory(change.after) => summary.added += 1,
                ChangeKind::Changed if !is_directory(change.after) => summary.changed += 1,
                _ => {}
            }
        }
        let Some(index) = self.tree.index_of(layer) else {
            return summary;
        };
        for (entry, known) in index.entries.iter().enumerate() {
            summary.size = summary.size.saturating_add(known.size);
            if known.size > 0 && !visible.contains(&EntryId { layer, entry }) {
                summary.waste = summary.waste.saturating_add(known.size);
            }
        }
        summary
    }
}
