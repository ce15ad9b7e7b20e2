//! `snapshot.json`: what a snapshot is, and what it lies on.

use std::fs;
use std::io;
use std::path::Path;

use mica_oci::ChainId;
use serde::{Deserialize, Serialize};

use super::{ActiveSnapshot, Snapshotter};
use crate::error::At;
use crate::{LayerId, Store, StoreError};

/// The version of `snapshot.json` that is read and written.
const VERSION: u32 = 1;

/// `snapshot.json`.
#[derive(Serialize, Deserialize)]
pub(super) struct SnapshotFile {
    pub(super) version: u32,
    pub(super) kind: FileKind,
    #[serde(default)]
    pub(super) snapshotter: Snapshotter,
    /// Bottom first.
    pub(super) parents: Vec<Parent>,
}

#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum FileKind {
    Ephemeral,
    Persistent,
    View,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Parent {
    pub(super) layer: LayerId,
    /// Absent for a layer that was not registered yet.
    pub(super) chain: Option<ChainId>,
}

impl Store {
    /// Written last: without it the snapshot is not there. Not synced: one sync of the store
    /// comes later.
    pub(super) fn write_snapshot_file(&self, snapshot: &ActiveSnapshot) -> Result<(), StoreError> {
        let parents = snapshot.parents.iter().map(|layer| Parent {
            layer: layer.id.clone(),
            chain: layer.chain.clone(),
        });
        let file = SnapshotFile {
            version: VERSION,
            kind: snapshot.kind,
            snapshotter: snapshot.snapshotter,
            parents: parents.collect(),
        };
        let path = snapshot.directory.join("snapshot.json");
        let temporary = snapshot.directory.join("snapshot.json.new");
        fs::write(&temporary, serde_json::json!(file).to_string()).at("write", &temporary)?;
        fs::rename(&temporary, &path).at("write", &path)
    }

    /// Reads every snapshot's file; `None` for one that was not made to its end.
    pub(super) fn snapshot_files(&self) -> Result<Vec<(String, Option<SnapshotFile>)>, StoreError> {
        let directory = self.directory("snapshots");
        let mut files = Vec::new();
        for entry in fs::read_dir(&directory).at("read", &directory)? {
            let entry = entry.at("read", &directory)?;
            let file = read_snapshot_file(&entry.path().join("snapshot.json"))?;
            // What is not UTF-8 is not ours.
            files.extend(entry.file_name().into_string().ok().map(|id| (id, file)));
        }
        Ok(files)
    }
}

pub(super) fn read_snapshot_file(path: &Path) -> Result<Option<SnapshotFile>, StoreError> {
    match fs::read(path) {
        Ok(raw) => serde_json::from_slice(&raw)
            .map(Some)
            .map_err(|source| StoreError::Damaged {
                path: path.to_owned(),
                source,
            }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).at("read", path),
    }
}
