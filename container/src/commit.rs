//! Making an image of a container.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mica_oci::{
    ContainerConfig, Descriptor, Healthcheck, History, ImageConfig, MediaType, Reference,
};
use mica_store::{Image, Layer};
use serde_json::Map;

use crate::containers::Containers;
use crate::record::ContainerRecord;
use crate::state::Status;
use crate::{ContainerId, Error};

/// What `commit` is told.
#[derive(Clone, Debug, Default)]
pub struct CommitOptions {
    /// The new image's name; without one it has only its ID.
    pub reference: Option<Reference>,
    /// Who made it.
    pub author: Option<String>,
    /// A remark in its history.
    pub message: Option<String>,
    /// Changes of the configuration, in order.
    pub changes: Vec<ConfigChange>,
    /// Whether a running container goes on while its files are copied.
    pub no_pause: bool,
}

/// One change of an image's configuration: the instructions that docker's `--change` takes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the Dockerfile's instructions")]
pub enum ConfigChange {
    Cmd(Vec<String>),
    Entrypoint(Vec<String>),
    Env {
        name: String,
        value: String,
    },
    /// `80/tcp`.
    Expose(String),
    Label {
        name: String,
        value: String,
    },
    User(String),
    Volume(String),
    WorkingDir(String),
    OnBuild(String),
    StopSignal(String),
    Healthcheck(Healthcheck),
}

impl Containers {
    /// Makes an image: the container's image with its read-write layer on top.
    ///
    /// What the Init layer holds is in no read-write layer, and so in no image. Neither is the
    /// content of volumes; their mount points are, as empty directories.
    ///
    /// # Errors
    /// [`Error::Store`]; [`Error::Sandbox`] when the container cannot be paused.
    pub fn commit(&self, id: &ContainerId, options: &CommitOptions) -> Result<Image, Error> {
        let record = self.record(id)?;
        let _hold = self.store().hold()?;
        let layer = self.copy_files(id, options)?;
        let description = self.store().describe(&layer)?;
        let snapshot = self.store().open_snapshot(id.as_str())?;
        let base = self.base_image(&record)?;
        let chain = base.config.value().chain_id();
        drop(snapshot);
        self.store().register(chain.as_ref(), layer, &description)?;
        let config = image_config(&base, &record, options, &description.diff_id);
        let mut layers = base.manifest.value().layers.clone();
        let digest = description.diff_id.0.clone();
        layers.push(Descriptor::new(
            MediaType::OCI_LAYER,
            digest,
            description.size,
        ));
        let image = self.store().put_image(config, layers)?;
        match &options.reference {
            Some(reference) => self.store().tag_image(&image.target, reference)?,
            None => self.store().keep_untagged(&image.target)?,
        }
        Ok(image)
    }

    /// Copies the read-write layer, with the container's processes frozen meanwhile.
    fn copy_files(&self, id: &ContainerId, options: &CommitOptions) -> Result<Layer, Error> {
        let snapshot = self.store().open_snapshot(id.as_str())?;
        let copy = || Ok(snapshot.copy_layer()?);
        match options.no_pause {
            true => copy(),
            false => self.while_paused(id, copy),
        }
    }

    /// Does something while a container's processes, if it has any, are frozen.
    pub(crate) fn while_paused<T>(
        &self,
        id: &ContainerId,
        action: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let is_running = self.state(id)?.status == Status::Running;
        let paused = is_running && self.pause(id).is_ok();
        let done = action();
        if paused {
            match self.unpause(id) {
                // It was killed meanwhile.
                Ok(()) | Err(Error::NotRunning { .. } | Error::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        done
    }

    fn base_image(&self, record: &ContainerRecord) -> Result<Image, Error> {
        Ok(self.store().find(record.image.as_str())?)
    }
}

fn image_config(
    base: &Image,
    record: &ContainerRecord,
    options: &CommitOptions,
    diff_id: &mica_oci::DiffId,
) -> ImageConfig {
    let now = Timestamp::now();
    let mut config = base.config.value().clone();
    config.created = Some(now);
    config.author.clone_from(&options.author);
    config.config = record.config.clone();
    for change in &options.changes {
        change.apply(&mut config.config);
    }
    config.rootfs.diff_ids.push(diff_id.clone());
    config.history.push(History {
        created: Some(now),
        created_by: Some(record.command.join(" ")),
        author: options.author.clone(),
        comment: options.message.clone(),
        empty_layer: false,
    });
    config
}

impl ConfigChange {
    /// Makes the change.
    pub fn apply(&self, config: &mut ContainerConfig) {
        match self.clone() {
            ConfigChange::Cmd(command) => config.cmd = Some(command),
            ConfigChange::Entrypoint(command) => config.entrypoint = Some(command),
            ConfigChange::Env { name, value } => config.set_env(&name, &value),
            ConfigChange::Expose(port) => {
                config
                    .exposed_ports
                    .get_or_insert_with(BTreeMap::new)
                    .insert(port, Map::new());
            }
            ConfigChange::Label { name, value } => {
                config
                    .labels
                    .get_or_insert_with(BTreeMap::new)
                    .insert(name, value);
            }
            ConfigChange::User(user) => config.user = user,
            ConfigChange::Volume(path) => {
                config
                    .volumes
                    .get_or_insert_with(BTreeMap::new)
                    .insert(path, Map::new());
            }
            ConfigChange::WorkingDir(path) => config.working_dir = path,
            ConfigChange::OnBuild(instruction) => config.on_build.push(instruction),
            ConfigChange::StopSignal(signal) => config.stop_signal = Some(signal),
            ConfigChange::Healthcheck(check) => config.healthcheck = Some(check),
        }
    }
}
