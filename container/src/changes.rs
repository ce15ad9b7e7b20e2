//! What a container changed of its image's files: `docker diff`.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use mica_store::{Follow, View, is_whiteout_mark};

use crate::containers::Containers;
use crate::error::At;
use crate::{ContainerId, Error};

/// One changed path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// The absolute path inside the container.
    pub path: PathBuf,
    /// What became of it.
    pub kind: ChangeKind,
}

/// What became of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// Its content or metadata is different; of a directory, something in it is.
    Changed,
    /// It is gone.
    Deleted,
}

impl ChangeKind {
    /// Returns docker's letter: `A`, `C` or `D`.
    pub fn letter(self) -> char {
        match self {
            Self::Added => 'A',
            Self::Changed => 'C',
            Self::Deleted => 'D',
        }
    }
}

impl Containers {
    /// Returns what a container changed, by path.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Store`].
    pub fn changes(&self, id: &ContainerId) -> Result<Vec<Change>, Error> {
        let snapshot = self.store().open_snapshot(id.as_str())?;
        let mut walk = Walk {
            below: View::of_directories(&snapshot.below())?,
            changes: Vec::new(),
        };
        walk.directory(snapshot.written()?.as_ref(), Path::new("/"))?;
        walk.changes.sort();
        Ok(walk.changes)
    }
}

/// A walk through a read-write layer.
struct Walk {
    below: View,
    changes: Vec<Change>,
}

impl Walk {
    fn directory(&mut self, host: &Path, path: &Path) -> Result<(), Error> {
        let mut names = BTreeSet::new();
        for entry in std::fs::read_dir(host).at("read", host)? {
            let name = entry.at("read", host)?.file_name();
            self.entry(&host.join(&name), &path.join(&name))?;
            names.insert(name);
        }
        if is_opaque(host) {
            self.hidden(path, &names)?;
        }
        Ok(())
    }

    fn entry(&mut self, host: &Path, path: &Path) -> Result<(), Error> {
        let metadata = match std::fs::symlink_metadata(host) {
            // A running container removes files as it likes.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            metadata => metadata.at("inspect", host)?,
        };
        if is_whiteout_mark(metadata.mode(), metadata.rdev()) {
            self.changes.push(Change {
                path: path.to_owned(),
                kind: ChangeKind::Deleted,
            });
            return Ok(());
        }
        let kind = match self.below.lookup(path, Follow::Parents)? {
            Some(_) => ChangeKind::Changed,
            None => ChangeKind::Added,
        };
        self.changes.push(Change {
            path: path.to_owned(),
            kind,
        });
        if metadata.is_dir() {
            self.directory(host, path)
        } else {
            Ok(())
        }
    }

    /// What an opaque directory hides, unless it has something of that name itself.
    fn hidden(&mut self, path: &Path, names: &BTreeSet<OsString>) -> Result<(), Error> {
        let Some(below) = self.below.lookup(path, Follow::Parents)? else {
            return Ok(());
        };
        if !below.is_directory() {
            return Ok(());
        }
        for child in self.below.read_dir(&below)? {
            if !names.contains(child.name()) {
                let path = path.join(child.name());
                self.changes.push(Change {
                    path,
                    kind: ChangeKind::Deleted,
                });
            }
        }
        Ok(())
    }
}

fn is_opaque(directory: &Path) -> bool {
    let mut value = [0_u8; 1];
    let read = rustix::fs::lgetxattr(directory, "trusted.overlay.opaque", &mut value);
    read == Ok(1) && value == *b"y"
}
