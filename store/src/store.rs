//! The store's root: its layout, version and locks.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustix::fs::FlockOperation;

use crate::durable::boot_id;
use crate::error::At;
use crate::records::Database;
use crate::{LayerStorage, Limits, Snapshotter, SnapshotterChoice, StoreError};

/// The format version that this program reads and writes.
pub(crate) const VERSION: &str = "1";

pub(crate) const OCI_LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
const EMPTY_INDEX: &[u8] = br#"{"schemaVersion":2,"manifests":[]}"#;
const DIRECTORIES: [&str; 5] = ["blobs/sha256", "layers", "chains", "snapshots", "tmp"];

/// A content-addressed layer store in a directory; a cheap handle that can be cloned.
///
/// Many processes may use one store at a time. All calls block.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    boot_id: String,
    options: StoreOptions,
    database: Database,
    /// What the automatic choice came to.
    snapshotter: OnceLock<Snapshotter>,
    /// Read-only stores that are looked into as well.
    shared: Vec<Store>,
}

/// How a store is used.
#[derive(Clone, Debug, Default)]
pub struct StoreOptions {
    /// What layers are held against when they are unpacked.
    pub limits: Limits,
    /// The roots of stores that are only read: images and layers are found there, too.
    pub additional: Vec<PathBuf>,
    /// What is kept of layers.
    pub layers: LayerStorage,
    /// How many blobs move at a time.
    pub transfers: Transfers,
    /// How snapshots are made.
    pub snapshotter: SnapshotterChoice,
}

/// How many blobs move at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfers {
    /// From a registry.
    pub downloads: NonZeroUsize,
    /// To a registry, and from one to another.
    pub uploads: NonZeroUsize,
}

impl Default for Transfers {
    /// Docker's numbers: polite to registries.
    fn default() -> Self {
        let number = |number| NonZeroUsize::new(number).unwrap_or(NonZeroUsize::MIN);
        Self {
            downloads: number(3),
            uploads: number(5),
        }
    }
}

/// Keeps the collector away while it lives: held by whoever makes content.
#[derive(Debug)]
#[must_use = "the lock is released when this is dropped"]
pub struct UseLock {
    _file: File,
    _shared: Vec<File>,
}

impl Store {
    /// Opens the store at `root`, and makes it where there is none.
    ///
    /// # Errors
    /// When the directory cannot be used, or holds a store of another format version.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        Self::open_with(root, StoreOptions::default())
    }

    /// As [`open`](Self::open), with other than the usual options.
    ///
    /// # Errors
    /// When one of the additional stores is missing or of another version, too.
    pub fn open_with(root: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        let mut shared = Vec::new();
        for additional in &options.additional {
            shared.push(Self::open_shared(additional, &options)?);
        }
        let store = Self::handle(root, options, shared)?;
        if !store.check_version()? {
            store.make_layout()?;
        }
        Ok(store)
    }

    /// Makes a handle; nothing is looked at.
    pub(crate) fn handle(
        root: &Path,
        options: StoreOptions,
        shared: Vec<Self>,
    ) -> Result<Self, StoreError> {
        let root = std::path::absolute(root).at("resolve", root)?;
        Ok(Self {
            inner: Arc::new(Inner {
                root,
                boot_id: boot_id(),
                options,
                database: Database::default(),
                snapshotter: OnceLock::new(),
                shared,
            }),
        })
    }

    /// Returns the store's root, an absolute path.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// Takes the store for use: nothing is collected while the lock lives. Waits for a running
    /// collection to end.
    pub fn hold(&self) -> Result<UseLock, StoreError> {
        let file = self.lock(&self.root().join("lock"), FlockOperation::LockShared)?;
        let shared = self.hold_shared();
        Ok(UseLock {
            _file: file,
            _shared: shared,
        })
    }

    /// Takes the store for collection; `None` when somebody uses it.
    pub fn hold_alone(&self) -> Result<Option<UseLock>, StoreError> {
        let path = self.root().join("lock");
        match self.lock(&path, FlockOperation::NonBlockingLockExclusive) {
            Ok(file) => Ok(Some(UseLock {
                _file: file,
                _shared: Vec::new(),
            })),
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::WouldBlock => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Serialises writers of `index.json`.
    pub(crate) fn lock_index(&self) -> Result<UseLock, StoreError> {
        let file = self.lock(
            &self.root().join("index.lock"),
            FlockOperation::LockExclusive,
        )?;
        Ok(UseLock {
            _file: file,
            _shared: Vec::new(),
        })
    }

    /// Returns what layers are held against when they are unpacked.
    pub(crate) fn limits(&self) -> &Limits {
        &self.inner.options.limits
    }

    /// Returns the read-only stores that are looked into as well.
    pub(crate) fn shared(&self) -> &[Self] {
        &self.inner.shared
    }

    /// Returns how many blobs move at a time.
    pub fn transfers(&self) -> Transfers {
        self.inner.options.transfers
    }

    /// Returns what is kept of layers.
    pub(crate) fn layer_storage(&self) -> LayerStorage {
        self.inner.options.layers
    }

    /// Returns how snapshots are to be made, and where the outcome is kept.
    pub(crate) fn snapshotter_choice(&self) -> (SnapshotterChoice, &OnceLock<Snapshotter>) {
        (self.inner.options.snapshotter, &self.inner.snapshotter)
    }

    /// Returns the ID of the machine's boot.
    pub(crate) fn boot_id(&self) -> &str {
        &self.inner.boot_id
    }

    /// Returns this process's connection to the records.
    pub(crate) fn database(&self) -> &Database {
        &self.inner.database
    }

    /// Returns the directory of a part of the store, such as `layers`.
    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    fn lock(&self, path: &Path, operation: FlockOperation) -> Result<File, StoreError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .at("open", path)?;
        loop {
            match rustix::fs::flock(&file, operation) {
                Err(rustix::io::Errno::INTR) => {}
                result => return result.map(|()| file).at("lock", path),
            }
        }
    }

    /// Tells whether a store of our version is there.
    fn check_version(&self) -> Result<bool, StoreError> {
        let path = self.root().join("version");
        match fs::read_to_string(&path) {
            Ok(found) if found.trim() == VERSION => Ok(true),
            Ok(found) => Err(StoreError::Version {
                root: self.root().to_owned(),
                found: found.trim().to_owned(),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).at("read", &path),
        }
    }

    /// Makes whatever is missing; `version` comes last, so that its presence tells of the rest.
    fn make_layout(&self) -> Result<(), StoreError> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(self.root()).at("create", self.root())?;
        let _lock = self.lock_index()?;
        for name in DIRECTORIES {
            let path = self.root().join(name);
            builder.create(&path).at("create", &path)?;
        }
        self.write_missing("oci-layout", OCI_LAYOUT)?;
        self.write_missing("index.json", EMPTY_INDEX)?;
        self.write_missing("version", format!("{VERSION}\n").as_bytes())
    }

    fn write_missing(&self, name: &str, content: &[u8]) -> Result<(), StoreError> {
        let path = self.root().join(name);
        if path.exists() {
            return Ok(());
        }
        self.replace_file(&path, content)
    }

    /// Replaces a file as a whole, durably: temporary, fsync, rename, fsync of its directory.
    pub(crate) fn replace_file(&self, path: &Path, content: &[u8]) -> Result<(), StoreError> {
        let mut temporary = self.temporary_file("file")?;
        temporary
            .file()
            .write_all(content)
            .at("write", temporary.path())?;
        temporary.persist(path)?;
        sync_directory(path.parent().unwrap_or(self.root()))
    }
}

/// Makes the names in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> Result<(), StoreError> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .at("sync", path)
}
