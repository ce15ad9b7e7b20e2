//! The containers of a store: where their files are, and how one is found.

use std::path::{Path, PathBuf};

use mica_isolation::WhenIdle;
use mica_store::Store;

use crate::bridge::when_idle;
use crate::error::At;
use crate::id::is_hex;
use crate::lock::{self, Lock};
use crate::record::{ContainerRecord, Durability, read_json, write_json};
use crate::state::State;
use crate::{ContainerId, Error};

/// The containers of one store and one run root. Any number of processes may work on them.
#[derive(Clone)]
pub struct Containers {
    store: Store,
    runroot: PathBuf,
}

impl Containers {
    /// Opens the containers of a store; `runroot` holds what is gone after a boot.
    ///
    /// # Errors
    /// [`Error::Io`] when their directories cannot be made.
    pub fn open(store: Store, runroot: &Path) -> Result<Self, Error> {
        let containers = Self {
            store,
            runroot: runroot.to_owned(),
        };
        let names = containers.names_directory();
        std::fs::create_dir_all(&names).at("create the directory", &names)?;
        Ok(containers)
    }

    /// Returns the store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Returns the root of the run state.
    pub fn runroot(&self) -> &Path {
        &self.runroot
    }

    /// Finds a container by its name, its ID or the beginning of its ID.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`], [`Error::Ambiguous`].
    pub fn find(&self, name: &str) -> Result<ContainerId, Error> {
        let none = || Error::NoSuchContainer {
            name: name.to_owned(),
        };
        if let Some(id) = ContainerId::from_text(name)
            && self.directory(&id).is_dir()
        {
            return Ok(id);
        }
        if let Some(id) = self.holder_of_name(name.trim_start_matches('/'))? {
            return Ok(id);
        }
        if name.is_empty() || !is_hex(name) {
            return Err(none());
        }
        let mut found = self.ids()?;
        found.retain(|id| id.as_str().starts_with(name));
        match found.len() {
            0 => Err(none()),
            1 => Ok(found.remove(0)),
            _ => Err(Error::Ambiguous {
                prefix: name.to_owned(),
            }),
        }
    }

    /// Returns the IDs of all containers, in no order.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn ids(&self) -> Result<Vec<ContainerId>, Error> {
        let directory = self.containers_directory();
        let mut ids = Vec::new();
        for entry in std::fs::read_dir(&directory).at("read", &directory)? {
            let name = entry.at("read", &directory)?.file_name();
            ids.extend(name.to_str().and_then(ContainerId::from_text));
        }
        Ok(ids)
    }

    /// Returns what a container was made to be.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`]; [`Error::Damaged`], [`Error::Version`].
    pub fn record(&self, id: &ContainerId) -> Result<ContainerRecord, Error> {
        let record = read_json(&self.directory(id).join("config.json"))?;
        record.ok_or_else(|| Error::NoSuchContainer {
            name: id.to_string(),
        })
    }

    /// Returns how a container is.
    ///
    /// # Errors
    /// As [`Containers::record`].
    pub fn state(&self, id: &ContainerId) -> Result<State, Error> {
        let state = self.written_state(id)?;
        if !state.is_running() || self.is_monitored(id)? {
            return Ok(state);
        }
        // Its monitor may have ended well between the two looks.
        let state = self.written_state(id)?;
        if state.is_running() {
            self.settle(id, state)
        } else {
            Ok(state)
        }
    }

    /// Writes down the end of a container whose monitor was killed, and ends what is left of it.
    fn settle(&self, id: &ContainerId, state: State) -> Result<State, Error> {
        let abandoned = state.abandoned();
        // Who changes the container right now, such as a start, knows better.
        let Some(_lock) = lock::try_exclusive(&self.operation_lock(id))? else {
            return Ok(abandoned);
        };
        let state = self.written_state(id)?;
        if !state.is_running() || self.is_monitored(id)? {
            return Ok(state);
        }
        if let Ok(cgroup) = mica_isolation::Cgroup::open(&cgroup_path(id)) {
            cgroup.kill_all()?;
            cgroup.remove()?;
        }
        self.write_state(id, &abandoned)?;
        Ok(abandoned)
    }

    /// Brings everything in order that monitors and builds left when they were killed.
    ///
    /// # Errors
    /// The first failure; the rest was tried.
    pub fn reap(&self) -> Result<(), Error> {
        let mut outcome = Ok(());
        for id in self.ids()? {
            outcome = outcome.and(self.reap_one(&id));
        }
        if when_idle(&self.runroot) == WhenIdle::Remove {
            outcome = outcome.and(self.release_network());
        }
        outcome
    }

    fn reap_one(&self, id: &ContainerId) -> Result<(), Error> {
        let (state, record) = match (self.state(id), self.record(id)) {
            (Err(Error::NoSuchContainer { .. }), _) | (_, Err(Error::NoSuchContainer { .. })) => {
                return Ok(());
            }
            (state, record) => (state?, record?),
        };
        let ended = state.status == crate::Status::Exited;
        match ended && record.host.auto_remove && !self.is_monitored(id)? {
            true => self.remove(
                id,
                crate::RemoveOptions {
                    force: false,
                    volumes: true,
                },
            ),
            false => Ok(()),
        }
    }

    pub(crate) fn written_state(&self, id: &ContainerId) -> Result<State, Error> {
        let state = read_json(&self.directory(id).join("state.json"))?;
        state.ok_or_else(|| Error::NoSuchContainer {
            name: id.to_string(),
        })
    }

    pub(crate) fn write_state(&self, id: &ContainerId, state: &State) -> Result<(), Error> {
        write_json(
            &self.directory(id).join("state.json"),
            state,
            Durability::Lazy,
        )
    }

    pub(crate) fn is_monitored(&self, id: &ContainerId) -> Result<bool, Error> {
        lock::is_held(&self.monitor_lock(id))
    }

    /// Locks a container against other changes: start, remove, rename.
    pub(crate) fn lock(&self, id: &ContainerId) -> Result<Lock, Error> {
        match lock::exclusive(&self.operation_lock(id)) {
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Err(Error::NoSuchContainer {
                    name: id.to_string(),
                })
            }
            locked => locked,
        }
    }

    pub(crate) fn containers_directory(&self) -> PathBuf {
        self.store.root().join("containers")
    }

    pub(crate) fn names_directory(&self) -> PathBuf {
        self.containers_directory().join("names")
    }

    /// Returns where a container's files are.
    pub fn directory(&self, id: &ContainerId) -> PathBuf {
        self.containers_directory().join(id.as_str())
    }

    /// Returns where a container's log is.
    pub fn log_path(&self, id: &ContainerId) -> PathBuf {
        self.directory(id).join(format!("{id}-json.log"))
    }

    pub(crate) fn run_directory(&self, id: &ContainerId) -> PathBuf {
        self.runroot.join("containers").join(id.as_str())
    }

    pub(crate) fn monitor_lock(&self, id: &ContainerId) -> PathBuf {
        self.run_directory(id).join("monitor.lock")
    }

    pub(crate) fn attach_socket(&self, id: &ContainerId) -> PathBuf {
        self.run_directory(id).join("attach.sock")
    }

    fn operation_lock(&self, id: &ContainerId) -> PathBuf {
        self.directory(id).join("lock")
    }
}

/// Returns the path of a container's control group below each hierarchy.
pub(crate) fn cgroup_path(id: &ContainerId) -> PathBuf {
    Path::new("mica").join(id.as_str())
}
