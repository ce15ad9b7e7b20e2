//! How read-write layers are laid over others.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Store, StoreError};

/// How a read-write layer is laid over others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Snapshotter {
    /// The kernel merges the layers and keeps what is written apart.
    #[default]
    Overlayfs,
    /// The merged tree is cloned file by file, and what was written is found by comparing.
    Reflink,
}

/// Which [`Snapshotter`] a store uses for new snapshots; one that is there keeps its own.
#[derive(Clone, Copy, Debug)]
pub enum SnapshotterChoice {
    /// This one.
    Fixed(Snapshotter),
    /// Overlayfs, where the function says that it works with what is written in the empty directory
    /// that it is given.
    Automatic(fn(&Path) -> bool),
}

impl Snapshotter {
    /// Returns the word for it: `overlayfs` or `reflink`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Overlayfs => "overlayfs",
            Self::Reflink => "reflink",
        }
    }
}

impl Default for SnapshotterChoice {
    fn default() -> Self {
        Self::Fixed(Snapshotter::default())
    }
}

impl Store {
    /// Returns how new snapshots are made. Finds it out once.
    pub fn snapshotter(&self) -> Result<Snapshotter, StoreError> {
        let (choice, found) = self.snapshotter_choice();
        let works = match (choice, found.get()) {
            (SnapshotterChoice::Fixed(snapshotter), _) => return Ok(snapshotter),
            (_, Some(found)) => return Ok(*found),
            (SnapshotterChoice::Automatic(works), None) => works,
        };
        let place = self.temporary_directory("overlay")?;
        let snapshotter = match works(place.path()) {
            true => Snapshotter::Overlayfs,
            false => Snapshotter::Reflink,
        };
        Ok(*found.get_or_init(|| snapshotter))
    }
}
