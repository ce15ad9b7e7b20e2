//! Names in `tmp/`: a temporary is locked by its maker, and garbage as soon as it is not.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;

use crate::error::At;
use crate::{Store, StoreError};

/// How the names of beginnings of blobs start; what follows is the digest.
pub(crate) const PARTIAL: &str = "partial-";

/// A download that was broken off is gone on with for this long; then it is garbage.
const STALE: Duration = Duration::from_secs(24 * 3600);

/// A file in `tmp/` that is removed when dropped, unless it was given its place.
#[derive(Debug)]
pub(crate) struct TemporaryFile {
    file: File,
    path: Abandoned,
}

/// A directory in `tmp/` that is removed with its content when dropped, unless it was given its
/// place.
#[derive(Debug)]
pub(crate) struct TemporaryDirectory {
    path: Abandoned,
    _lock: File,
}

/// What was moved out of sight to be removed; it goes at the latest when this is dropped.
#[derive(Debug)]
pub(crate) struct Trash {
    directory: TemporaryDirectory,
    next: std::cell::Cell<usize>,
}

/// A path that is removed when dropped; empty once it was moved away.
#[derive(Debug)]
struct Abandoned(PathBuf);

impl Store {
    /// Makes an empty file in `tmp/`, open for reading and writing.
    pub(crate) fn temporary_file(&self, prefix: &str) -> Result<TemporaryFile, StoreError> {
        self.make_temporary(prefix, |path| {
            OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)
                .map(Some)
        })
        .map(|(path, file)| TemporaryFile { file, path })
    }

    /// Makes an empty directory in `tmp/`, mode 0700.
    pub(crate) fn temporary_directory(
        &self,
        prefix: &str,
    ) -> Result<TemporaryDirectory, StoreError> {
        self.make_temporary(prefix, |path| {
            fs::DirBuilder::new().mode(0o700).create(path)?;
            match File::open(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                opened => opened.map(Some),
            }
        })
        .map(|(path, lock)| TemporaryDirectory { path, _lock: lock })
    }

    /// Makes a place for what is to be removed; a crash before that leaves garbage in `tmp/` only.
    pub(crate) fn trash(&self) -> Result<Trash, StoreError> {
        Ok(Trash {
            directory: self.temporary_directory("trash")?,
            next: std::cell::Cell::new(0),
        })
    }

    /// Moves something of the store out of sight and removes it there. It is no error when it is
    /// gone already.
    pub(crate) fn discard(&self, path: &Path) -> Result<(), StoreError> {
        let trash = self.trash()?;
        trash.take(path)?;
        trash.empty()
    }

    /// Removes the temporaries of makers that are gone.
    pub(crate) fn remove_abandoned(&self) -> Result<(), StoreError> {
        for (path, _lock) in self.lock_abandoned()? {
            remove(&path).at("remove", &path)?;
        }
        Ok(())
    }

    /// Lists the temporaries of makers that are gone.
    pub(crate) fn abandoned(&self) -> Result<Vec<PathBuf>, StoreError> {
        let locked = self.lock_abandoned()?.into_iter();
        Ok(locked.map(|(path, _)| path).collect())
    }

    /// Takes the temporaries of makers that are gone.
    fn lock_abandoned(&self) -> Result<Vec<(PathBuf, File)>, StoreError> {
        let directory = self.directory("tmp");
        let mut found = Vec::new();
        for entry in fs::read_dir(&directory).at("read", &directory)? {
            let path = entry.at("read", &directory)?.path();
            let Ok(file) = open_without_following(&path) else {
                continue; // its maker removed it, or it is nothing that we make
            };
            if try_lock(&file) && !is_wanted(&file, &path) {
                found.push((path, file));
            }
        }
        Ok(found)
    }

    /// A collector may lock and remove a new name before its maker has opened or locked it: then the
    /// name is gone (`None`), or leads elsewhere, and another one is made.
    fn make_temporary(
        &self,
        prefix: &str,
        make: impl Fn(&Path) -> io::Result<Option<File>>,
    ) -> Result<(Abandoned, File), StoreError> {
        loop {
            let name = format!("{prefix}-{}", random_name());
            let path = Abandoned(self.directory("tmp").join(name));
            let file = match make(&path.0) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    std::mem::forget(path); // somebody else's
                    continue;
                }
                made => made.at("create", &path.0)?,
            };
            if let Some(file) = file
                && try_lock(&file)
                && is_same(&file, &path.0)
            {
                return Ok((path, file));
            }
        }
    }
}

impl TemporaryFile {
    /// Returns the open file.
    pub(crate) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Returns where the file is for now.
    pub(crate) fn path(&self) -> &Path {
        &self.path.0
    }

    /// Syncs the file and gives it its place, replacing what is there.
    pub(crate) fn persist(self, place: &Path) -> Result<(), StoreError> {
        self.file.sync_all().at("sync", &self.path.0)?;
        self.path.moved_to(place)
    }
}

impl Trash {
    /// Moves something here, by a rename. It is no error when it is gone already.
    pub(crate) fn take(&self, path: &Path) -> Result<(), StoreError> {
        let place = self.directory.path().join(self.next.get().to_string());
        self.next.set(self.next.get() + 1);
        match fs::rename(path, &place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            renamed => renamed.at("remove", path),
        }
    }

    /// Removes everything, however long that takes.
    pub(crate) fn empty(self) -> Result<(), StoreError> {
        let path = self.directory.path();
        remove(path).at("remove", path)
    }
}

impl TemporaryDirectory {
    /// Returns where the directory is for now.
    pub(crate) fn path(&self) -> &Path {
        &self.path.0
    }

    /// Gives the directory its place, which must be free. Nothing is synced.
    pub(crate) fn persist(self, place: &Path) -> Result<(), StoreError> {
        self.path.moved_to(place)
    }
}

impl Abandoned {
    fn moved_to(mut self, place: &Path) -> Result<(), StoreError> {
        fs::rename(&self.0, place).at("rename to", place)?;
        self.0 = PathBuf::new();
        Ok(())
    }
}

impl Drop for Abandoned {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty() {
            // What cannot be removed now is unlocked by our end, and the collector's.
            let _ = remove(&self.0);
        }
    }
}

/// Returns 16 random hexadecimal digits for a name.
pub(crate) fn random_name() -> String {
    let mut bytes = [0u8; 8];
    let mut filled = 0;
    while filled < bytes.len() {
        // The system's generator fails only when interrupted, for so few bytes.
        filled +=
            rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())
                .unwrap_or(0);
    }
    hex::encode(bytes)
}

fn try_lock(file: &File) -> bool {
    rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive).is_ok()
}

/// Tells whether a file is the beginning of a blob that somebody may go on with.
fn is_wanted(file: &File, path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let age = file.metadata().and_then(|metadata| metadata.modified());
    let age = age.ok().and_then(|modified| modified.elapsed().ok());
    name.is_some_and(|name| name.starts_with(PARTIAL)) && age.is_none_or(|age| age < STALE)
}

/// Tells whether an open file is the one that a path leads to.
pub(crate) fn is_same(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

fn open_without_following(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
