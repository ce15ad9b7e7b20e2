//! Which layers touched a path.

use crate::entry::clean;
use crate::image::Stack;
use crate::tree::{Change, ChangeKind};

/// What one layer did to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    /// The layer, counted from the bottom.
    pub layer: usize,
    /// What it did.
    pub change: Change,
    /// How it matters to the path's content.
    pub what: What,
}

/// What a layer did to a path, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Put it here.
    Added,
    /// Gave it other content.
    Modified,
    /// Wrote it again with the same content and other metadata.
    Metadata,
    /// Wrote it again as it was.
    Rewritten,
    /// Made it something else, such as a directory.
    Replaced,
    /// Took it away.
    Removed,
}

impl What {
    /// Returns the word for it in data.
    pub fn word(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Modified => "modified",
            Self::Metadata => "metadata",
            Self::Rewritten => "rewritten",
            Self::Replaced => "replaced",
            Self::Removed => "removed",
        }
    }
}

impl Stack<'_> {
    /// Returns what each layer that touched a path did to it, bottom first. The path is taken as it
    /// is: a link in it is not followed.
    pub fn history_of(&self, path: &[u8]) -> Vec<Touch> {
        let path = clean(path);
        let layers = self.changes.iter().enumerate();
        let touch = |(layer, changes): (usize, &crate::Changes)| {
            let change = *changes.get(&*path)?;
            let what = self.what(&change);
            Some(Touch {
                layer,
                change,
                what,
            })
        };
        layers.filter_map(touch).collect()
    }

    /// Puts a change into one word.
    pub fn what(&self, change: &Change) -> What {
        let (before, after) = (change.before, change.after);
        match (change.kind, before, after) {
            (ChangeKind::Added, ..) => What::Added,
            (ChangeKind::Removed, ..) => What::Removed,
            (ChangeKind::Changed, Some(before), Some(after)) => {
                let (before, after) = (self.tree.entry(before), self.tree.entry(after));
                let same_content = before.has_content_of(after);
                match (same_content, before.has_metadata_of(after)) {
                    _ if before.kind != after.kind => What::Replaced,
                    (false, _) => What::Modified,
                    (true, false) => What::Metadata,
                    (true, true) => What::Rewritten,
                }
            }
            (ChangeKind::Changed, ..) => What::Metadata,
        }
    }
}
