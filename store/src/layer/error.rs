//! What can go wrong with a layer's tar stream and its files.

use std::io;
use std::path::PathBuf;

/// An error while a tar stream is applied or a layer is archived.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The tar stream itself is broken, or goes over a limit.
    #[error("cannot read the layer's tar stream{}", after_entry(after))]
    Archive {
        /// The last entry that was read; empty for none.
        after: PathBuf,
        /// What is wrong.
        #[source]
        source: TarError,
    },
    /// An entry cannot be applied.
    #[error("cannot apply the layer's entry `{}`", name.display())]
    Entry {
        /// The entry's name as it stands in the stream.
        name: PathBuf,
        /// What is wrong.
        #[source]
        source: EntryError,
    },
    /// A file of a layer cannot be put into a tar stream.
    #[error("cannot archive `{}`", path.display())]
    File {
        /// Its path inside the layer.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: FileError,
    },
    /// The tar stream cannot be written.
    #[error("cannot write a layer's tar stream")]
    Write(#[source] io::Error),
}

fn after_entry(name: &std::path::Path) -> String {
    match name.as_os_str().is_empty() {
        true => String::new(),
        false => format!(" after the entry `{}`", name.display()),
    }
}

/// Why a tar stream cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The stream below failed: a disk, a network, a decompressor or a check of a digest.
    #[error("the stream cannot be read")]
    Read(#[from] io::Error),
    /// The stream ends inside an entry.
    #[error("the stream ends early")]
    Truncated,
    /// A header's check sum does not fit.
    #[error("a header has a wrong check sum")]
    Checksum,
    /// A number is none, or is out of range.
    #[error("a header's {field} is no valid number")]
    Number {
        /// The header field.
        field: &'static str,
    },
    /// A PAX extended header does not follow POSIX.1-2001, `pax`, "Extended header".
    #[error("a PAX extended header is malformed")]
    Extension,
    /// The map of a sparse file contradicts itself.
    #[error("a sparse file's map is malformed")]
    SparseMap,
    /// A name holds a NUL byte.
    #[error("a name has a NUL byte")]
    NulInName,
    /// The stream goes over one of the [`Limits`](crate::Limits).
    #[error("{what} is over the limit of {limit}")]
    Limit {
        /// What is too large or too many.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
}

/// Why an entry cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// The system refused.
    #[error("cannot {action}")]
    System {
        /// What was attempted.
        action: &'static str,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Something on the way to the entry is no directory.
    #[error("`{}` is not a directory", .0.display())]
    NotADirectory(PathBuf),
    /// Symbolic links on the way to the entry lead in a circle.
    #[error("too many levels of symbolic links")]
    Loop,
    /// A symbolic link on the way to the entry leads nowhere, and may not.
    #[error("a symbolic link on the way leads to `{}`, which does not exist", .0.display())]
    DanglingLink(PathBuf),
    /// With all symbolic links resolved the path is longer than any that can be used.
    #[error("the path is too long")]
    LongPath,
    /// The target of a hard link is not there (yet).
    #[error("the hard link's target `{}` does not exist", .0.display())]
    MissingTarget(PathBuf),
    /// The target of a hard link is a directory.
    #[error("the hard link's target `{}` is a directory", .0.display())]
    DirectoryTarget(PathBuf),
    /// A whiteout names no file of its directory.
    #[error("the whiteout names no file")]
    Whiteout,
    /// Only a directory can stand for the root.
    #[error("the entry would replace the root directory")]
    Root,
    /// The entry's type is none of a file system.
    #[error("entry type {} is not supported", .0.escape_ascii())]
    Type(u8),
}

/// Why a file cannot be archived.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused.
    #[error("cannot {action}")]
    System {
        /// What was attempted.
        action: &'static str,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The file became shorter while it was read.
    #[error("the file changed while it was read")]
    Changed,
    /// A PAX record cannot hold that name: it has a `=`.
    #[error("the extended attribute `{0}` cannot stand in a tar stream")]
    AttributeName(String),
}

/// Says what was attempted with an entry when the system refused.
pub(crate) trait During<T> {
    /// Adds the action, a verb with its object.
    fn during(self, action: &'static str) -> Result<T, EntryError>;
}

impl<T, S: Into<io::Error>> During<T> for Result<T, S> {
    fn during(self, action: &'static str) -> Result<T, EntryError> {
        self.map_err(|source| EntryError::System {
            action,
            source: source.into(),
        })
    }
}

/// Says what was attempted with a file to archive when the system refused.
pub(crate) trait Archiving<T> {
    /// Adds the action, a verb with its object.
    fn archiving(self, action: &'static str) -> Result<T, FileError>;
}

impl<T, S: Into<io::Error>> Archiving<T> for Result<T, S> {
    fn archiving(self, action: &'static str) -> Result<T, FileError> {
        self.map_err(|source| FileError::System {
            action,
            source: source.into(),
        })
    }
}
