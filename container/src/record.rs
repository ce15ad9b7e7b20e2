//! What a container is to be: `config.json`, written once at its creation (and by `rename`).

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use mica_oci::{Access, ContainerConfig, Digest};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::At;
use crate::{ContainerId, Error, HostSettings};

/// The version of the format of `config.json` and `state.json`.
pub(crate) const VERSION: u32 = 1;

/// A container's definition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// The version of the format.
    pub version: u32,
    /// The ID.
    pub id: ContainerId,
    /// The name, without a slash.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// The image's name as the user gave it.
    pub reference: String,
    /// The image's ID.
    pub image: Digest,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// The image's configuration with what the command line changed.
    pub config: ContainerConfig,
    /// The host name.
    pub hostname: String,
    /// Whether the process gets a terminal.
    pub tty: bool,
    /// Whether standard input is kept open.
    pub open_stdin: bool,
    /// Whether standard input closes with the first client that leaves.
    pub stdin_once: bool,
    /// What is mounted, besides what every container has.
    pub mounts: Vec<MountPoint>,
    /// How it is tied to the host.
    pub host: HostSettings,
}

/// One mount of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountPoint {
    /// The volume; `None` is a bound path of the host.
    pub volume: Option<VolumeName>,
    /// The host's path.
    pub source: PathBuf,
    /// The path inside the container.
    pub target: PathBuf,
    /// Whether it can be written.
    pub access: Access,
}

/// A volume as a container uses it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeName {
    /// Its name.
    pub name: String,
    /// Whether it was made for this container alone, and goes with it.
    pub anonymous: bool,
}

impl ContainerRecord {
    /// Returns the labels.
    pub fn labels(&self) -> BTreeMap<String, String> {
        self.config.labels.clone().unwrap_or_default()
    }

    /// Returns the path that is executed, and its arguments.
    pub(crate) fn split_command(&self) -> (&str, &[String]) {
        match self.command.split_first() {
            Some((path, args)) => (path, args),
            None => ("", &[]),
        }
    }
}

/// Whether a file must outlive a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// It must.
    Synced,
    /// Its loss means no more than an unknown exit code, or a container that was to go anyway.
    Lazy,
}

/// Reads a JSON file with a `version`; `None` when there is none.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let text = match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        read => read.at("read", path)?,
    };
    let damaged = |source| Error::Damaged {
        path: path.to_owned(),
        source,
    };
    let Versioned { version: found } = serde_json::from_slice(&text).map_err(damaged)?;
    if found != VERSION {
        return Err(Error::Version {
            path: path.to_owned(),
            found,
        });
    }
    serde_json::from_slice(&text).map(Some).map_err(damaged)
}

/// Writes a JSON file: readers see the old one or the new one.
pub(crate) fn write_json<T: Serialize>(
    path: &Path,
    value: &T,
    durability: Durability,
) -> Result<(), Error> {
    let text = serde_json::to_vec_pretty(value).map_err(|source| Error::Damaged {
        path: path.to_owned(),
        source,
    })?;
    write_file(path, &text, durability)
}

/// Writes a file: readers see the old one or the new one.
pub(crate) fn write_file(path: &Path, text: &[u8], durability: Durability) -> Result<(), Error> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::Builder::new()
        .prefix(".new-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(directory)
        .at("create a file in", directory)?;
    file.write_all(text).at("write", path)?;
    if durability == Durability::Synced {
        file.as_file().sync_all().at("sync", path)?;
    }
    file.persist(path)
        .map_err(|error| error.error)
        .at("replace", path)?;
    Ok(())
}
