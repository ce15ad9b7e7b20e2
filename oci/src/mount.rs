//! Mounts as plain data: rooms emit them, only a sandbox attaches them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One mount inside a root file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// What is mounted.
    pub kind: MountKind,
    /// Where, as an absolute path inside the root file system; symbolic links in it are resolved
    /// inside that root. A missing target is created: a directory, or a file for a bound file.
    pub target: PathBuf,
    /// Whether it can be written through.
    pub access: Access,
}

/// What a mount holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountKind {
    /// A file or directory of the host, with all that is mounted below it.
    Bind {
        /// The absolute path on the host.
        source: PathBuf,
    },
    /// An empty memory file system.
    Tmpfs {
        /// The most it may hold, in bytes; half of the memory when absent.
        size: Option<u64>,
        /// The mode of its root directory.
        mode: u32,
    },
    /// A file or directory inside another file system.
    Within {
        /// The file system.
        inner: Box<MountKind>,
        /// The absolute path in it; symbolic links on the way stay inside it.
        path: PathBuf,
    },
    /// Layers stacked by overlayfs.
    Overlay {
        /// The read-only directories, topmost first; at least one.
        lower: Vec<PathBuf>,
        /// The directory that takes changes, with its work directory; absent for a read-only stack.
        upper: Option<UpperDirectory>,
    },
}

/// Where an overlay keeps its changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpperDirectory {
    /// The directory that takes changes.
    pub upper: PathBuf,
    /// An empty directory on the same file system, owned by the kernel while mounted.
    pub work: PathBuf,
    /// Whether the kernel may skip syncing (`volatile`): right for build steps, whose result is
    /// synced as a whole when it is sealed.
    pub volatile: bool,
}

/// Whether a mount or a root can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// Reads only.
    ReadOnly,
    /// Reads and writes.
    ReadWrite,
}
