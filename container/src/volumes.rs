//! Volumes: directories of the host that outlive containers.
//!
//! ```text
//! <root>/volumes/<name>/_data         the content
//!                       volume.json   when it was made, and its labels
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use mica_store::Stack;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::containers::Containers;
use crate::copy::copy_tree;
use crate::error::At;
use crate::id::random_hex;
use crate::mounts::is_name;
use crate::record::{Durability, VERSION, read_json, write_json};
use crate::{Error, OptionError};

/// The volumes of a store.
pub struct Volumes {
    containers: Containers,
}

/// One volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// Where its content is on the host.
    pub mountpoint: PathBuf,
    /// When it was made.
    pub created: Timestamp,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Whether its name was made up for a container.
    pub anonymous: bool,
}

#[derive(Serialize, Deserialize)]
struct Record {
    version: u32,
    created: Timestamp,
    labels: BTreeMap<String, String>,
    anonymous: bool,
}

impl Containers {
    /// Returns the volumes.
    pub fn volumes(&self) -> Volumes {
        Volumes {
            containers: self.clone(),
        }
    }
}

impl Volumes {
    /// Makes a volume; one that exists is returned as it is. Without a name one is made up.
    ///
    /// # Errors
    /// [`Error::Option`] for a name that is none.
    pub fn create(
        &self,
        name: Option<&str>,
        labels: BTreeMap<String, String>,
    ) -> Result<Volume, Error> {
        let anonymous = name.is_none();
        let name = name.map_or_else(random_hex, str::to_owned);
        if !is_name(&name) {
            return Err(OptionError::VolumeName { name }.into());
        }
        if let Some(volume) = self.read(&name)? {
            return Ok(volume);
        }
        let directory = self.directory().join(&name);
        let data = directory.join("_data");
        std::fs::create_dir_all(&data).at("create the directory", &data)?;
        let record = Record {
            version: VERSION,
            created: Timestamp::now(),
            labels,
            anonymous,
        };
        let durability = if anonymous {
            Durability::Lazy
        } else {
            Durability::Synced
        };
        write_json(&directory.join("volume.json"), &record, durability)?;
        self.get(&name)
    }

    /// Returns a volume.
    ///
    /// # Errors
    /// [`Error::NoSuchVolume`].
    pub fn get(&self, name: &str) -> Result<Volume, Error> {
        let none = || Error::NoSuchVolume {
            name: name.to_owned(),
        };
        if !is_name(name) {
            return Err(none());
        }
        self.read(name)?.ok_or_else(none)
    }

    /// Returns all volumes, by name.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Damaged`].
    pub fn list(&self) -> Result<Vec<Volume>, Error> {
        let directory = self.directory();
        let entries = match std::fs::read_dir(&directory) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.at("read", &directory)?,
        };
        let mut volumes = Vec::new();
        for entry in entries {
            let name = entry.at("read", &directory)?.file_name();
            if let Some(name) = name.to_str().filter(|name| is_name(name)) {
                volumes.extend(self.read(name)?);
            }
        }
        volumes.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(volumes)
    }

    /// Removes a volume that no container uses.
    ///
    /// # Errors
    /// [`Error::NoSuchVolume`], [`Error::VolumeInUse`].
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        self.get(name)?;
        let users = self.users(name)?;
        if !users.is_empty() {
            return Err(Error::VolumeInUse {
                name: name.to_owned(),
                users,
            });
        }
        self.delete(name)
    }

    /// Removes the anonymous volumes that no container uses, or all such volumes.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn prune(&self, which: Prune) -> Result<Vec<String>, Error> {
        let mut removed = Vec::new();
        for volume in self.list()? {
            if (volume.anonymous || which == Prune::All) && self.users(&volume.name)?.is_empty() {
                self.delete(&volume.name)?;
                removed.push(volume.name);
            }
        }
        Ok(removed)
    }

    /// Fills an empty volume with what an image has at a path, as docker does.
    pub(crate) fn fill(&self, volume: &Volume, stack: &Stack, path: &Path) -> Result<(), Error> {
        let data = &volume.mountpoint;
        let mut content = std::fs::read_dir(data).at("read", data)?;
        match content.next() {
            Some(_) => Ok(()),
            None => copy_tree(&stack.view()?, path, data),
        }
    }

    fn read(&self, name: &str) -> Result<Option<Volume>, Error> {
        let directory = self.directory().join(name);
        let record: Option<Record> = read_json(&directory.join("volume.json"))?;
        Ok(record.map(|record| Volume {
            name: name.to_owned(),
            mountpoint: directory.join("_data"),
            created: record.created,
            labels: record.labels,
            anonymous: record.anonymous,
        }))
    }

    /// Returns the containers that use a volume.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn users(&self, name: &str) -> Result<Vec<String>, Error> {
        let mut users = Vec::new();
        for id in self.containers.ids()? {
            let record = match self.containers.record(&id) {
                Err(Error::NoSuchContainer { .. }) => continue,
                record => record?,
            };
            let mut volumes = record
                .mounts
                .iter()
                .filter_map(|mount| mount.volume.as_ref());
            if volumes.any(|volume| volume.name == name) {
                users.push(id.to_string());
            }
        }
        Ok(users)
    }

    pub(crate) fn delete(&self, name: &str) -> Result<(), Error> {
        let directory = self.directory().join(name);
        // Without its record it is no volume any more, however much of it is left.
        let record = directory.join("volume.json");
        std::fs::remove_file(&record).at("remove", &record)?;
        std::fs::remove_dir_all(&directory).at("remove", &directory)
    }

    fn directory(&self) -> PathBuf {
        self.containers.store().root().join("volumes")
    }
}

/// Which unused volumes a [`Volumes::prune`] removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prune {
    /// Those whose names were made up.
    Anonymous,
    /// All of them.
    All,
}

impl Volume {
    /// Adds up the sizes of all its files, in bytes.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn size(&self) -> Result<u64, Error> {
        crate::listing::directory_size(&self.mountpoint)
    }

    /// Returns the volume in the shape of docker's `volume inspect`.
    pub fn inspect(&self) -> Value {
        json!({
            "CreatedAt": format!("{:.0}", self.created),
            "Driver": "local",
            "Labels": self.labels,
            "Mountpoint": self.mountpoint,
            "Name": self.name,
            "Options": null,
            "Scope": "local",
        })
    }
}
