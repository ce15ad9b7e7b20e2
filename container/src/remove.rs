//! Removing containers.

use std::path::PathBuf;

use crate::containers::Containers;
use crate::control::{Conversation, StopTimeout};
use crate::error::At;
use crate::record::ContainerRecord;
use crate::{ContainerId, Error, lock};

/// How a container is removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemoveOptions {
    /// Whether a running one is killed first.
    pub force: bool,
    /// Whether its anonymous volumes go as well.
    pub volumes: bool,
}

/// What was a container and only takes space now.
#[must_use]
pub(crate) struct Discarded {
    directories: Vec<PathBuf>,
    containers: Containers,
    id: ContainerId,
    volumes: Vec<String>,
}

impl Containers {
    /// Removes a container.
    ///
    /// # Errors
    /// [`Error::CannotRemoveRunning`] without force.
    pub fn remove(&self, id: &ContainerId, options: RemoveOptions) -> Result<(), Error> {
        let record = self.record(id)?;
        if self.state(id)?.is_running() {
            if !options.force {
                return Err(Error::CannotRemoveRunning {
                    name: format!("/{}", record.name),
                });
            }
            self.kill_and_wait(id)?;
        }
        let _lock = match self.lock(id) {
            // It was to be removed at its end.
            Err(Error::NoSuchContainer { .. }) if options.force => return Ok(()),
            lock => lock?,
        };
        // Between the look and the lock it may have been started or removed.
        let record = match self.record(id) {
            Err(Error::NoSuchContainer { .. }) if options.force => return Ok(()),
            record => record?,
        };
        if self.written_state(id)?.is_running() && self.is_monitored(id)? {
            return Err(Error::CannotRemoveRunning {
                name: format!("/{}", record.name),
            });
        }
        let discarded = self.discard_with(&record, options)?;
        discarded.delete()
    }

    fn kill_and_wait(&self, id: &ContainerId) -> Result<(), Error> {
        match self.kill(id, libc::SIGKILL) {
            Ok(()) | Err(Error::NotRunning { .. } | Error::Refused { .. }) => {}
            Err(error) => return Err(error),
        }
        if let Some(mut monitor) = Conversation::start(self, id)? {
            monitor.wait(StopTimeout::Never)?;
        }
        lock::wait_until_free(&self.monitor_lock(id))
    }

    /// Removes a container that has ended with its anonymous volumes: its name is free and it is
    /// not listed any more when this returns, but what it held still takes space.
    pub(crate) fn discard(&self, record: &ContainerRecord) -> Result<Discarded, Error> {
        self.discard_with(
            record,
            RemoveOptions {
                force: false,
                volumes: true,
            },
        )
    }

    fn discard_with(
        &self,
        record: &ContainerRecord,
        options: RemoveOptions,
    ) -> Result<Discarded, Error> {
        let id = &record.id;
        self.release_name(record)?;
        let volumes = record
            .mounts
            .iter()
            .filter_map(|mount| mount.volume.as_ref());
        let anonymous = volumes.filter(|volume| volume.anonymous && options.volumes);
        let volumes = anonymous.map(|volume| volume.name.clone()).collect();
        let discarded = self
            .store()
            .root()
            .join("tmp")
            .join(format!("container-{id}"));
        let directory = self.directory(id);
        std::fs::rename(&directory, &discarded).at("remove", &directory)?;
        Ok(Discarded {
            directories: vec![discarded, self.run_directory(id)],
            containers: self.clone(),
            id: id.clone(),
            volumes,
        })
    }

    /// Removes all containers that do not run.
    ///
    /// # Errors
    /// The first failure; those before it are removed.
    pub fn prune(&self) -> Result<Vec<ContainerId>, Error> {
        let mut removed = Vec::new();
        for id in self.ids()? {
            match self.remove(
                &id,
                RemoveOptions {
                    force: false,
                    volumes: true,
                },
            ) {
                Ok(()) => removed.push(id),
                Err(Error::CannotRemoveRunning { .. } | Error::NoSuchContainer { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(removed)
    }
}

impl Discarded {
    /// Frees the space.
    pub(crate) fn delete(self) -> Result<(), Error> {
        self.containers.store().remove_snapshot(self.id.as_str())?;
        let volumes = self.containers.volumes();
        for volume in &self.volumes {
            match volumes.remove(volume) {
                Ok(()) | Err(Error::NoSuchVolume { .. } | Error::VolumeInUse { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        for directory in &self.directories {
            match std::fs::remove_dir_all(directory) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                removed => removed.at("remove", directory)?,
            }
        }
        Ok(())
    }
}
