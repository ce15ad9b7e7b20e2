//! What a file has beside its content.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

use crate::StoreError;
use crate::error::At;
use crate::sys::{self, Attribute, Facts};

/// Owner, mode, time and extended attributes of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// The permission bits with set-id and sticky bits, without the file type.
    pub mode: u32,
    /// The owning user.
    pub uid: u32,
    /// The owning group.
    pub gid: u32,
    /// The time of the last change of content: seconds since 1970 and nanoseconds; `None` leaves
    /// the time as it comes.
    pub modified: Option<(i64, u32)>,
    /// Extended attributes, sorted by name; never those of overlayfs itself.
    pub attributes: Vec<(OsString, Vec<u8>)>,
}

impl Metadata {
    /// Metadata without a time or attributes.
    pub fn new(mode: u32, uid: u32, gid: u32) -> Self {
        Self {
            mode,
            uid,
            gid,
            modified: None,
            attributes: Vec::new(),
        }
    }

    /// Gives a file or directory of the host this metadata; symbolic links are not followed.
    ///
    /// The owner is set before mode and attributes, because a change of owner clears set-id bits
    /// and capabilities.
    pub fn apply(&self, path: &Path) -> Result<(), StoreError> {
        let (parent, name) = split(path);
        let parent = sys::open_root(parent).at("open", parent)?;
        let stat = sys::stat(&parent, name).at("read the metadata of", path)?;
        let kind = sys::file_type(&stat);
        let facts = Facts {
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            modified: self.modified.unwrap_or(sys::modified(&stat)),
        };
        sys::finish_node(&parent, name, kind, &facts, &self.attributes)
            .at("set the metadata of", path)
    }

    /// Gives an open regular file this metadata, as [`Metadata::apply`] does.
    pub fn apply_to_file(&self, file: &File) -> std::io::Result<()> {
        let modified = match self.modified {
            Some(modified) => modified,
            None => sys::modified(&rustix::fs::fstat(file)?),
        };
        let facts = Facts {
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            modified,
        };
        Ok(sys::finish_file(file, &facts, &self.attributes)?)
    }
}

fn split(path: &Path) -> (&Path, &OsStr) {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) if parent.as_os_str().is_empty() => (Path::new("."), name),
        (Some(parent), Some(name)) => (parent, name),
        _ => (path, OsStr::new(".")),
    }
}

/// What an open directory has beside its content, without overlayfs's own.
pub(crate) struct Description {
    facts: Facts,
    attributes: Vec<Attribute>,
}

impl Description {
    pub(crate) fn of(directory: &OwnedFd) -> Result<Self, Errno> {
        Ok(Self {
            facts: Facts::of(&rustix::fs::fstat(directory)?),
            attributes: without_overlay(sys::attributes_of(directory)?),
        })
    }

    /// Gives a directory the same. To be called when nothing more is written into it.
    pub(crate) fn apply(&self, directory: &OwnedFd) -> Result<(), Errno> {
        let (here, kind) = (OsStr::new("."), FileType::Directory);
        sys::finish_node(directory, here, kind, &self.facts, &self.attributes)
    }
}

/// Drops the attributes by which overlayfs keeps its books: of a mount that made them, not of the
/// file.
pub(crate) fn without_overlay(mut attributes: Vec<Attribute>) -> Vec<Attribute> {
    attributes.retain(|(name, _)| !is_overlay(name));
    attributes
}

/// Tells whether an attribute steers an overlay mount, with `userxattr` or without.
pub(crate) fn is_overlay(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}

/// Opens a regular file beneath a directory.
pub(crate) fn open_regular(root: &OwnedFd, path: &Path) -> std::io::Result<File> {
    let file = File::from(sys::open_beneath(
        root,
        path,
        OFlags::RDONLY | OFlags::NONBLOCK,
    )?);
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(std::io::ErrorKind::InvalidInput.into()),
    }
}
