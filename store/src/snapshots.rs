//! Active read-write layers on top of stacks.
//!
//! ```text
//! snapshots/<id>/  upper          what was written: the next layer
//!                  work           overlayfs's own
//!                  tree           without overlayfs: what the mount shows
//!                  origins.json   without overlayfs: what the files of `tree` were when they were made
//!                  root           an empty mount point
//!                  init           a lower layer of its own, above the stack: what the tool puts
//!                                 in, and no commit contains; of a stack that is too high, the
//!                                 topmost layers as well
//!                  snapshot.json  the stack, by layer and chain
//!                  lock           locked while a snapshot that lives as long as its maker lives
//! ```

mod changes;
mod farm;
mod file;
mod init;
mod snapshotter;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use mica_oci::{MountKind, UpperDirectory};
use rustix::fs::FlockOperation;

use changes::Taking;
use file::{FileKind, read_snapshot_file};
pub use init::{InitEntry, InitKind};
pub use snapshotter::{Snapshotter, SnapshotterChoice};

use crate::error::At;
use crate::layers::root_metadata;
use crate::squash::link_merged;
use crate::temporary::{TemporaryDirectory, Trash, random_name};
use crate::{Layer, LayerId, Rewrite, Stack, Store, StoreError, View};

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
    snapshotter: Snapshotter,
    lock: Option<File>,
}

/// What was written to a snapshot, as a directory in overlayfs form.
#[derive(Debug)]
pub struct Written {
    path: PathBuf,
    /// It was made to be looked at.
    _made: Option<TemporaryDirectory>,
}

impl AsRef<Path> for Written {
    /// Returns the directory. It is only to be read.
    fn as_ref(&self) -> &Path {
        &self.path
    }
}

impl ActiveSnapshot {
    /// Returns its name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns how it is made.
    pub fn snapshotter(&self) -> Snapshotter {
        self.snapshotter
    }

    /// Returns what was written so far. Without overlayfs it is gathered for that: clones, which
    /// take no space.
    pub fn written(&self) -> Result<Written, StoreError> {
        if self.snapshotter == Snapshotter::Overlayfs {
            let path = self.upper.clone();
            return Ok(Written { path, _made: None });
        }
        let made = self.store.temporary_directory("written")?;
        let path = made.path().join("fs");
        fs::create_dir(&path).at("create", &path)?;
        self.gather(Taking::Clone, &path)?;
        Ok(Written {
            path,
            _made: Some(made),
        })
    }

    /// Makes a layer of what was written so far; the snapshot goes on.
    pub fn copy_layer(&self) -> Result<Layer, StoreError> {
        if self.snapshotter == Snapshotter::Overlayfs {
            return self.store.copy_layer(&self.upper);
        }
        let writer = self.store.new_layer()?;
        self.gather(Taking::Clone, writer.path())?;
        writer.commit()
    }

    fn gather(&self, taking: Taking, directory: &Path) -> Result<(), StoreError> {
        let origins = farm::origins(&self.directory.join("origins.json"))?;
        let below = View::of_directories(&self.below())?;
        changes::gather(&self.tree(), &below, &origins, taking, directory)
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

    /// Returns the directories that it lies on, topmost first: the Init layer and the stack.
    pub fn below(&self) -> Vec<PathBuf> {
        let mut directories = vec![self.directory.join("init")];
        directories.extend(self.parents().lower_directories());
        directories
    }

    /// Returns the directories that together have all that it shows, topmost first.
    pub fn directories(&self) -> Vec<PathBuf> {
        match self.snapshotter {
            Snapshotter::Overlayfs => [vec![self.upper.clone()], self.below()].concat(),
            Snapshotter::Reflink => vec![self.tree()],
        }
    }

    /// Fills the tree: with second names of the layers' files where they are only read.
    fn plant(&self) -> Result<(), StoreError> {
        if self.kind == FileKind::View {
            return link_merged(&Stack::default().view()?, &self.parents, &self.tree());
        }
        let below = View::of_directories(&self.below())?;
        farm::plant(&below, &self.tree(), &self.directory.join("origins.json"))
    }

    fn tree(&self) -> PathBuf {
        self.directory.join("tree")
    }

    /// Returns the mount that shows it. Only one may be there at a time.
    pub fn mount(&self, durability: Durability) -> MountKind {
        match (self.snapshotter, self.kind) {
            (Snapshotter::Overlayfs, _) => self.overlay(durability),
            // One directory alone is mounted as it is, read-only.
            (Snapshotter::Reflink, FileKind::View) => MountKind::Overlay {
                lower: vec![self.tree()],
                upper: None,
            },
            (Snapshotter::Reflink, _) => MountKind::Bind {
                source: self.tree(),
            },
        }
    }

    fn overlay(&self, durability: Durability) -> MountKind {
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
        match (self.snapshotter, self.kind, self.parents.len()) {
            (Snapshotter::Reflink, ..) | (_, FileKind::View, MOST_LOWER) => 0,
            (.., parents) => parents.saturating_sub(beside_init),
        }
    }

    /// Writes what the mount shows as a tar stream, whether it is mounted or not.
    pub fn write_tree(&self, rewrite: Rewrite, out: impl io::Write) -> Result<(), StoreError> {
        View::of_directories(&self.directories())?.write_tree(rewrite, out)
    }

    /// Makes a layer of what was written, by renaming. It must not be mounted any more. What else
    /// the snapshot consists of goes with the second value.
    pub fn commit(self) -> Result<(Layer, CommittedSnapshot), StoreError> {
        if self.snapshotter == Snapshotter::Reflink {
            self.gather(Taking::Move, &self.upper)?;
        }
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
        snapshot.snapshotter = self.snapshotter()?;
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
        let parents = &snapshot.parents;
        let view = snapshot.parents().view()?;
        let metadata = root_metadata(&view)?;
        let own = match snapshot.snapshotter {
            Snapshotter::Overlayfs => "work",
            Snapshotter::Reflink => "tree",
        };
        for name in ["upper", "root", "init", own] {
            let path = directory.join(name);
            fs::create_dir(&path).at("create", &path)?;
            metadata.apply(&path)?;
        }
        let init_layer = directory.join("init");
        if snapshot.folded() > 0 {
            let (below, folded) = parents.split_at(parents.len() - snapshot.folded());
            let layers = below.to_vec();
            link_merged(&Stack { layers }.view()?, folded, &init_layer)?;
        }
        init::write(&init_layer, &view, init)?;
        if snapshot.snapshotter == Snapshotter::Reflink {
            snapshot.plant()?;
        }
        self.write_snapshot_file(snapshot)
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
        (snapshot.kind, snapshot.snapshotter) = (file.kind, file.snapshotter);
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
            snapshotter: Snapshotter::Overlayfs,
            lock: None,
        })
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
