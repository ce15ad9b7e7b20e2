//! Active read-write layers on top of stacks.
//!
//! ```text
//! snapshots/<id>/  upper          what was written: the next layer
//!                  work           overlayfs's own
//!                  root           an empty mount point
//!                  init           a lower layer of its own, above the stack: what the tool puts
//!                                 in, and no commit contains; of a stack that is too high, the
//!                                 topmost layers as well
//!                  snapshot.json  the stack, by layer and chain
//!                  lock           locked while a snapshot that lives as long as its maker lives
//! ```

mod init;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use mica_oci::{ChainId, MountKind, UpperDirectory};
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

pub use init::{InitEntry, InitKind};

use crate::error::At;
use crate::layers::root_metadata;
use crate::squash::link_merged;
use crate::temporary::{Trash, random_name};
use crate::{Layer, LayerId, Rewrite, Stack, Store, StoreError, View};

/// The version of `snapshot.json` that is read and written.
const VERSION: u32 = 1;

/// As many lower directories as overlayfs takes (Linux, `fs/overlayfs/ovl_entry.h`, `OVL_MAX_STACK`).
const MOST_LOWER: usize = 500;

/// How long a snapshot lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotKind {
    /// As long as its [`ActiveSnapshot`], or the process.
    Ephemeral,
    /// Until it is removed; the name is one path component, such as a container's ID.
    Persistent(String),
    /// As a persistent one, and nothing can be written to it.
    View(String),
}

/// Whether what is written to a mount survives a crash of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It need not: the kernel skips all syncing.
    Volatile,
    /// As on any file system.
    Durable,
}

/// A read-write layer on top of a stack, in use. An ephemeral one is removed when this is dropped.
#[derive(Debug)]
pub struct ActiveSnapshot {
    store: Store,
    id: String,
    directory: PathBuf,
    upper: PathBuf,
    root: PathBuf,
    parents: Vec<Layer>,
    kind: FileKind,
    lock: Option<File>,
}

/// `snapshot.json`.
#[derive(Serialize, Deserialize)]
struct SnapshotFile {
    version: u32,
    kind: FileKind,
    /// Bottom first.
    parents: Vec<Parent>,
}

#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum FileKind {
    Ephemeral,
    Persistent,
    View,
}

#[derive(Serialize, Deserialize)]
struct Parent {
    layer: LayerId,
    /// Absent for a layer that was not registered yet.
    chain: Option<ChainId>,
}

impl ActiveSnapshot {
    /// Returns its name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the directory that takes what is written.
    pub fn upper(&self) -> &Path {
        &self.upper
    }

    /// Returns an empty directory to mount it at.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the layers that it lies on, without the Init layer.
    pub fn parents(&self) -> Stack {
        Stack {
            layers: self.parents.clone(),
        }
    }

    /// Returns the mount that shows it. Only one may be there at a time.
    pub fn mount(&self, durability: Durability) -> MountKind {
        let layers = &self.parents[..self.parents.len() - self.folded()];
        let mut lower: Vec<PathBuf> = layers.iter().rev().map(|it| it.path.clone()).collect();
        if self.kind != FileKind::View || self.folded() > 0 {
            lower.insert(0, self.directory.join("init"));
        }
        let upper = (self.kind != FileKind::View).then(|| UpperDirectory {
            upper: self.upper.clone(),
            work: self.directory.join("work"),
            volatile: durability == Durability::Volatile,
        });
        MountKind::Overlay { lower, upper }
    }

    /// Returns how many of the topmost layers are in the Init layer, because overlayfs would not
    /// take so many.
    fn folded(&self) -> usize {
        let beside_init = MOST_LOWER - 1;
        match (self.kind, self.parents.len()) {
            (FileKind::View, MOST_LOWER) => 0,
            (_, parents) => parents.saturating_sub(beside_init),
        }
    }

    /// Writes what the mount shows as a tar stream, whether it is mounted or not.
    pub fn write_tree(&self, rewrite: Rewrite, out: impl io::Write) -> Result<(), StoreError> {
        let mut directories = vec![self.upper.clone(), self.directory.join("init")];
        directories.extend(self.parents().lower_directories());
        View::of_directories(&directories)?.write_tree(rewrite, out)
    }

    /// Tells whether nothing was written.
    pub fn is_unchanged(&self) -> Result<bool, StoreError> {
        let mut entries = fs::read_dir(&self.upper).at("read", &self.upper)?;
        Ok(entries.next().is_none())
    }

    /// Makes a layer of what was written, by a rename. It must not be mounted any more. What else
    /// the snapshot consists of goes with the second value.
    pub fn commit(self) -> Result<(Layer, CommittedSnapshot), StoreError> {
        let layer = self.store.take_layer(&self.upper)?;
        Ok((layer, CommittedSnapshot { snapshot: self }))
    }
}

/// A snapshot whose layer was taken. Dropping it removes its directories, which nobody needs to
/// wait for.
#[derive(Debug)]
pub struct CommittedSnapshot {
    snapshot: ActiveSnapshot,
}

impl Drop for CommittedSnapshot {
    fn drop(&mut self) {
        self.snapshot.lock = None;
        // What cannot be removed now is the collector's.
        let _ = self.snapshot.store.discard(&self.snapshot.directory);
    }
}

impl Drop for ActiveSnapshot {
    fn drop(&mut self) {
        if self.lock.is_some() {
            // What cannot be removed now is unlocked by our end, and the collector's.
            let _ = self.store.discard(&self.directory);
        }
    }
}

impl Store {
    /// Makes a snapshot on top of a stack.
    ///
    /// The Init layer gets those of `init` for which the stack has nothing.
    ///
    /// # Errors
    /// [`StoreError::SnapshotExists`] when a persistent one has that name already.
    pub fn prepare(
        &self,
        parent: &Stack,
        kind: SnapshotKind,
        init: &[InitEntry],
    ) -> Result<ActiveSnapshot, StoreError> {
        let (id, kind) = match kind {
            SnapshotKind::Ephemeral => (random_name(), FileKind::Ephemeral),
            SnapshotKind::Persistent(id) => (id, FileKind::Persistent),
            SnapshotKind::View(id) => (id, FileKind::View),
        };
        let mut snapshot = self.snapshot(&id, kind)?;
        snapshot.parents = parent.layers.clone();
        let made = self.make_snapshot(&mut snapshot, init);
        match made {
            Ok(()) => Ok(snapshot),
            // The directory is somebody else's.
            Err(error @ StoreError::SnapshotExists { .. }) => Err(error),
            Err(error) => {
                let _ = self.discard(&snapshot.directory);
                Err(error)
            }
        }
    }

    fn make_snapshot(
        &self,
        snapshot: &mut ActiveSnapshot,
        init: &[InitEntry],
    ) -> Result<(), StoreError> {
        let directory = &snapshot.directory;
        match DirBuilder::new().mode(0o700).create(directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let id = snapshot.id.clone();
                return Err(StoreError::SnapshotExists { id });
            }
            result => result.at("create", directory)?,
        }
        if snapshot.kind == FileKind::Ephemeral {
            snapshot.lock = Some(lock(directory)?);
        }
        let view = snapshot.parents().view()?;
        let metadata = root_metadata(&view)?;
        for name in ["upper", "work", "root", "init"] {
            let path = directory.join(name);
            fs::create_dir(&path).at("create", &path)?;
            metadata.apply(&path)?;
        }
        let (below, folded) = snapshot
            .parents
            .split_at(snapshot.parents.len() - snapshot.folded());
        if !folded.is_empty() {
            let layers = below.to_vec();
            link_merged(&Stack { layers }.view()?, folded, &directory.join("init"))?;
        }
        init::write(&directory.join("init"), &view, init)?;
        self.write_snapshot_file(snapshot)
    }

    /// Written last: without it the snapshot is not there. Not synced: one sync of the store
    /// comes later.
    fn write_snapshot_file(&self, snapshot: &ActiveSnapshot) -> Result<(), StoreError> {
        let parents = snapshot.parents.iter().map(|layer| Parent {
            layer: layer.id.clone(),
            chain: layer.chain.clone(),
        });
        let file = SnapshotFile {
            version: VERSION,
            kind: snapshot.kind,
            parents: parents.collect(),
        };
        let path = snapshot.directory.join("snapshot.json");
        let temporary = snapshot.directory.join("snapshot.json.new");
        fs::write(&temporary, serde_json::json!(file).to_string()).at("write", &temporary)?;
        fs::rename(&temporary, &path).at("write", &path)
    }

    /// Opens a persistent snapshot. A mark that an unclean volatile mount left is removed: the
    /// kernel refuses another mount until that is done.
    ///
    /// # Errors
    /// [`StoreError::NoSnapshot`] when there is none of that name.
    pub fn open_snapshot(&self, id: &str) -> Result<ActiveSnapshot, StoreError> {
        let mut snapshot = self.snapshot(id, FileKind::Persistent)?;
        let path = snapshot.directory.join("snapshot.json");
        let file = read_snapshot_file(&path)?
            .ok_or_else(|| StoreError::NoSnapshot { id: id.to_owned() })?;
        snapshot.kind = file.kind;
        for parent in file.parents {
            snapshot.parents.push(self.layer_by_id(parent.layer)?);
        }
        // Linux, Documentation/filesystems/overlayfs.rst, "Volatile mount".
        let mark = snapshot.directory.join("work/work/incompat");
        match fs::remove_dir_all(&mark) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at("remove", &mark),
            _ => Ok(snapshot),
        }
    }

    /// Removes a snapshot with all that was written. It is no error when there is none.
    pub fn remove_snapshot(&self, id: &str) -> Result<(), StoreError> {
        self.discard(&self.snapshot(id, FileKind::Persistent)?.directory)
    }

    /// Lists the snapshots that stay until they are removed.
    pub fn snapshots(&self) -> Result<Vec<String>, StoreError> {
        let mut ids = Vec::new();
        for (id, file) in self.snapshot_files()? {
            if file.is_some_and(|file| file.kind != FileKind::Ephemeral) {
                ids.push(id);
            }
        }
        ids.sort_unstable();
        Ok(ids)
    }

    /// Returns the layers that snapshots lie on.
    pub fn snapshot_layers(&self) -> Result<Vec<LayerId>, StoreError> {
        let files = self
            .snapshot_files()?
            .into_iter()
            .filter_map(|(_, file)| file);
        let parents = files.flat_map(|file| file.parents);
        Ok(parents.map(|parent| parent.layer).collect())
    }

    /// Removes the snapshots of makers that are gone. Nobody may be making one meanwhile: the
    /// store is held alone.
    pub(crate) fn remove_abandoned_snapshots(&self, trash: &Trash) -> Result<(), StoreError> {
        for directory in self.abandoned_snapshots()? {
            trash.take(&directory)?;
        }
        Ok(())
    }

    /// Returns the snapshots whose makers are gone, as far as nobody is making one.
    pub(crate) fn abandoned_snapshots(&self) -> Result<Vec<PathBuf>, StoreError> {
        let mut abandoned = Vec::new();
        for (id, file) in self.snapshot_files()? {
            let directory = self.snapshot(&id, FileKind::Ephemeral)?.directory.clone();
            let stays = file.is_some_and(|file| file.kind != FileKind::Ephemeral);
            if !stays && !is_locked(&directory) {
                abandoned.push(directory);
            }
        }
        Ok(abandoned)
    }

    /// Reads every snapshot's file; `None` for one that was not made to its end.
    fn snapshot_files(&self) -> Result<Vec<(String, Option<SnapshotFile>)>, StoreError> {
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

    fn snapshot(&self, id: &str, kind: FileKind) -> Result<ActiveSnapshot, StoreError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        if id.is_empty() || id.starts_with('.') || !id.bytes().all(plain) {
            return Err(StoreError::NoSnapshot { id: id.to_owned() });
        }
        let directory = self.directory("snapshots").join(id);
        Ok(ActiveSnapshot {
            store: self.clone(),
            id: id.to_owned(),
            upper: directory.join("upper"),
            root: directory.join("root"),
            directory,
            parents: Vec::new(),
            kind,
            lock: None,
        })
    }
}

fn read_snapshot_file(path: &Path) -> Result<Option<SnapshotFile>, StoreError> {
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

fn lock(directory: &Path) -> Result<File, StoreError> {
    let path = directory.join("lock");
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path);
    let file = file.at("create", &path)?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).at("lock", &path)?;
    Ok(file)
}

fn is_locked(directory: &Path) -> bool {
    File::open(directory.join("lock")).is_ok_and(|file| {
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err()
    })
}
