//! What can go wrong with containers, in docker's words where docker has words for it.

use std::io;
use std::path::{Path, PathBuf};

use mica_store::StoreError;

use crate::OptionError;

/// An error of the container room: what was attempted, and on which container or path.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No container has that name or ID.
    #[error("No such container: {name}")]
    NoSuchContainer {
        /// The name as given.
        name: String,
    },
    /// More than one container's ID starts like that.
    #[error("Multiple IDs found with provided prefix: {prefix}")]
    Ambiguous {
        /// The prefix as given.
        prefix: String,
    },
    /// The name belongs to another container.
    #[error(
        "Conflict. The container name \"/{name}\" is already in use by container \"{id}\". \
         You have to remove (or rename) that container to be able to reuse that name."
    )]
    NameInUse {
        /// The name.
        name: String,
        /// Its holder.
        id: String,
    },
    /// The name has a character that names do not have.
    #[error("Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")]
    InvalidName {
        /// The name as given.
        name: String,
    },
    /// An option's value is wrong, or options do not go together.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// Neither the image nor the command line says what to run.
    #[error("no command specified")]
    NoCommand,
    /// Only a running container can do what was asked.
    #[error("container {id} is not running")]
    NotRunning {
        /// The container.
        id: String,
    },
    /// A paused container cannot do what was asked.
    #[error("Container {id} is paused, unpause the container before exec")]
    ExecInPaused {
        /// The container.
        id: String,
    },
    /// A paused container cannot be attached to or started.
    #[error("cannot {action} a paused container, try unpause instead")]
    Paused {
        /// What was asked: a verb.
        action: &'static str,
    },
    /// A running container is removed by force only.
    #[error(
        "cannot remove container \"{name}\": container is running: \
         stop the container before removing or force remove"
    )]
    CannotRemoveRunning {
        /// The container's name.
        name: String,
    },
    /// The container whose network is to be shared does not run.
    #[error("cannot join network of a non running container: {id}")]
    NetworkOfStopped {
        /// The other container.
        id: String,
    },
    /// The monitor refused, or failed at, what was asked.
    #[error("{message}")]
    Refused {
        /// The monitor's words.
        message: String,
    },
    /// The container could not be started.
    #[error("{message}")]
    NotStarted {
        /// Docker's exit code: 125, 126 or 127.
        code: u8,
        /// What failed.
        message: String,
    },
    /// The monitor ended before it told how the container ended.
    #[error("the monitor of container {id} ended unexpectedly")]
    MonitorLost {
        /// The container.
        id: String,
    },
    /// A host address cannot be listened on.
    #[error("Bind for {address} failed: {reason}")]
    PortUnavailable {
        /// Address and port.
        address: String,
        /// Docker's words for an address in use, the kernel's for all else.
        reason: String,
    },
    /// No volume has that name.
    #[error("get {name}: no such volume")]
    NoSuchVolume {
        /// The name as given.
        name: String,
    },
    /// A container still uses the volume.
    #[error("remove {name}: volume is in use - [{}]", users.join(", "))]
    VolumeInUse {
        /// The volume.
        name: String,
        /// The containers that use it.
        users: Vec<String>,
    },
    /// A path inside the container does not exist.
    #[error("Could not find the file {path} in container {id}")]
    NoSuchPath {
        /// The path as given.
        path: String,
        /// The container.
        id: String,
    },
    /// The system refused an operation on a file.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was attempted: a verb.
        action: &'static str,
        /// The path it was attempted on.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A state file is not what it should be.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the JSON is at fault.
        #[source]
        source: serde_json::Error,
    },
    /// A state file was written by another version of this program.
    #[error("{} has format version {found}, this program reads version {}", path.display(), crate::record::VERSION)]
    Version {
        /// The file.
        path: PathBuf,
        /// The version it has.
        found: u32,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The sandbox failed.
    #[error("{0}")]
    Sandbox(mica_isolation::Error),
}

impl Error {
    /// Returns the exit code that docker's `run` and `exec` have for this error.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotStarted { code, .. } => *code,
            Self::Sandbox(error) => error.exit_code(),
            _ => 125,
        }
    }
}

impl From<mica_isolation::Error> for Error {
    fn from(error: mica_isolation::Error) -> Self {
        Self::Sandbox(error)
    }
}

/// Adds what was attempted, and on which path, to a system's error.
pub(crate) trait At<T> {
    /// Turns the error into [`Error::Io`]; `action` is a verb.
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T, Error>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T, Error> {
        self.map_err(|source| Error::Io {
            action,
            path: path.as_ref().to_owned(),
            source: source.into(),
        })
    }
}
