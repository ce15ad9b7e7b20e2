//! What a view shows at a path.

use std::ffi::OsStr;
use std::path::PathBuf;

use rustix::fs::Stat;

use crate::Metadata;
use crate::sys;

/// A file or directory in a [`View`](crate::View), with the metadata that `stat(2)` gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The absolute path inside the root, without symbolic links.
    pub path: PathBuf,
    /// What it is.
    pub file_type: FileType,
    /// The permission bits with set-id and sticky bits.
    pub mode: u32,
    /// The owning user.
    pub uid: u32,
    /// The owning group.
    pub gid: u32,
    /// The size in bytes; of a symbolic link, that of its target's name.
    pub size: u64,
    /// The time of the last change of content: seconds since 1970 and nanoseconds.
    pub modified: (i64, u32),
    /// The time of the last change of content or metadata.
    pub changed: (i64, u32),
    /// The device that the file lies on.
    pub device: u64,
    /// Its inode.
    pub inode: u64,
    /// How many names the inode has.
    pub links: u64,
    /// The device that a device node stands for.
    pub node: u64,
    /// The layer it comes from: 0 is the topmost.
    pub layer: usize,
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FileType {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A socket's name.
    Socket,
}

impl Entry {
    /// Returns the last component of the path; empty for the root.
    pub fn name(&self) -> &OsStr {
        self.path.file_name().unwrap_or_default()
    }

    /// Tells whether this is a directory.
    pub fn is_directory(&self) -> bool {
        self.file_type == FileType::Directory
    }

    /// Returns what is known of its metadata: all but the extended attributes.
    pub fn metadata(&self) -> Metadata {
        Metadata {
            modified: Some(self.modified),
            ..Metadata::new(self.mode, self.uid, self.gid)
        }
    }

    pub(super) fn new(path: PathBuf, layer: usize, stat: &Stat) -> Self {
        Self {
            path,
            file_type: FileType::of(stat),
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: stat.st_size as u64,
            modified: sys::modified(stat),
            changed: (stat.st_ctime, stat.st_ctime_nsec as u32),
            device: stat.st_dev,
            inode: stat.st_ino,
            links: links(stat),
            node: stat.st_rdev,
            layer,
        }
    }
}

#[cfg_attr(
    target_arch = "x86_64",
    expect(clippy::unnecessary_cast, reason = "narrower on other architectures")
)]
fn links(stat: &Stat) -> u64 {
    stat.st_nlink as u64
}

impl FileType {
    fn of(stat: &Stat) -> Self {
        match sys::file_type(stat) {
            rustix::fs::FileType::Directory => Self::Directory,
            rustix::fs::FileType::Symlink => Self::Symlink,
            rustix::fs::FileType::CharacterDevice => Self::CharacterDevice,
            rustix::fs::FileType::BlockDevice => Self::BlockDevice,
            rustix::fs::FileType::Fifo => Self::Fifo,
            rustix::fs::FileType::Socket => Self::Socket,
            _ => Self::Regular,
        }
    }
}
