//! Who has which name: `containers/names/<name>` is a symbolic link to the holder's ID.
//!
//! `config.json` has the name as well, and decides: a link whose target is not there, or has
//! another name, is left from a crash and may be replaced. Links change under `names.lock`.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use crate::containers::Containers;
use crate::error::At;
use crate::id::random_name;
use crate::lock;
use crate::mounts::is_name;
use crate::record::{ContainerRecord, Durability, write_json};
use crate::{ContainerId, Error};

impl Containers {
    /// Returns the container that has a name.
    pub(crate) fn holder_of_name(&self, name: &str) -> Result<Option<ContainerId>, Error> {
        if !is_name(name) {
            return Ok(None);
        }
        let link = self.names_directory().join(name);
        let target = match std::fs::read_link(&link) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            target => target.at("read", &link)?,
        };
        let Some(id) = target.to_str().and_then(ContainerId::from_text) else {
            return Ok(None);
        };
        match self.record(&id) {
            Ok(record) => Ok((record.name == name).then_some(id)),
            Err(Error::NoSuchContainer { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Chooses a name that is free: the wanted one or a made-up one.
    ///
    /// The container must be made with it and then take it with [`Containers::claim_name`].
    pub(crate) fn choose_name(&self, wanted: Option<&str>) -> Result<String, Error> {
        if let Some(name) = wanted {
            let name = name.trim_start_matches('/');
            self.check_free(name)?;
            return Ok(name.to_owned());
        }
        let mut attempt = 0;
        loop {
            let name = random_name(attempt);
            if self.holder_of_name(&name)?.is_none() {
                return Ok(name);
            }
            attempt += 1;
        }
    }

    fn check_free(&self, name: &str) -> Result<(), Error> {
        if !is_name(name) {
            return Err(Error::InvalidName {
                name: name.to_owned(),
            });
        }
        match self.holder_of_name(name)? {
            None => Ok(()),
            Some(id) => Err(Error::NameInUse {
                name: name.to_owned(),
                id: id.to_string(),
            }),
        }
    }

    /// Gives a name to a container, unless another one took it meanwhile.
    pub(crate) fn claim_name(&self, name: &str, id: &ContainerId) -> Result<(), Error> {
        let _lock = lock::exclusive(&self.names_lock())?;
        self.claim_name_locked(name, id)
    }

    fn claim_name_locked(&self, name: &str, id: &ContainerId) -> Result<(), Error> {
        match self.holder_of_name(name)? {
            Some(holder) if holder != *id => {
                return Err(Error::NameInUse {
                    name: name.to_owned(),
                    id: holder.to_string(),
                });
            }
            _ => self.forget_name(name)?,
        }
        let link = self.names_directory().join(name);
        symlink(id.as_str(), &link).at("create the link", &link)
    }

    /// Frees the name of a container that is removed.
    pub(crate) fn release_name(&self, record: &ContainerRecord) -> Result<(), Error> {
        let _lock = lock::exclusive(&self.names_lock())?;
        match self.holder_of_name(&record.name)? {
            Some(holder) if holder == record.id => self.forget_name(&record.name),
            _ => Ok(()),
        }
    }

    /// Gives a container another name.
    ///
    /// # Errors
    /// [`Error::NameInUse`], [`Error::InvalidName`].
    pub fn rename(&self, id: &ContainerId, name: &str) -> Result<(), Error> {
        let name = name.trim_start_matches('/');
        let _container = self.lock(id)?;
        let mut record = self.record(id)?;
        let _names = lock::exclusive(&self.names_lock())?;
        self.check_free(name)?;
        let link = self.names_directory().join(name);
        self.forget_name(name)?;
        symlink(id.as_str(), &link).at("create the link", &link)?;
        let former = std::mem::replace(&mut record.name, name.to_owned());
        write_json(
            &self.directory(id).join("config.json"),
            &record,
            Durability::Synced,
        )?;
        self.forget_name(&former)
    }

    fn forget_name(&self, name: &str) -> Result<(), Error> {
        let link = self.names_directory().join(name);
        match std::fs::remove_file(&link) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            removed => removed.at("remove", &link),
        }
    }

    fn names_lock(&self) -> PathBuf {
        self.containers_directory().join("names.lock")
    }
}
