//! Making a container: everything but running it.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use mica_oci::{Access, ContainerConfig};
use mica_store::{InitEntry, InitKind, SnapshotKind, Stack};

use crate::containers::Containers;
use crate::error::At;
use crate::mounts::{VolumeMount, VolumeSource};
use crate::options::split_extra_host;
use crate::record::{ContainerRecord, Durability, MountPoint, VERSION, VolumeName, write_json};
use crate::state::State;
use crate::{ContainerId, CreateOptions, Error, NetworkMode, OptionError, merge, sandbox};

impl Containers {
    /// Makes a container that can be started.
    ///
    /// # Errors
    /// [`Error::NameInUse`], [`Error::Option`], [`Error::NoCommand`]; nothing is left then, but
    /// for volumes with names.
    pub fn create(&self, options: CreateOptions) -> Result<ContainerId, Error> {
        let _hold = self.store().hold()?;
        let record = self.draft(&options)?;
        let stack = self.store().unpack(&options.image)?;
        let id = record.id.clone();
        let made = self.make(record, &options, &stack);
        if made.is_err() {
            // The first error is what counts.
            let _ = self.abandon(&id);
        }
        made.map(|()| id)
    }

    /// Checks all that can be checked before anything is made.
    fn draft(&self, options: &CreateOptions) -> Result<ContainerRecord, Error> {
        merge::check_conflicts(options)?;
        let config = merge::merge(options)?;
        let id = ContainerId::random();
        let mut host = options.host.clone();
        let mut hostname = options
            .hostname
            .clone()
            .unwrap_or_else(|| id.short().to_owned());
        if let NetworkMode::Container(name) = &host.network {
            let other = self.find(name)?;
            hostname = self.record(&other)?.hostname;
            host.network = NetworkMode::Container(other.to_string());
        } else if host.network == NetworkMode::Host && options.hostname.is_none() {
            hostname = host_name();
        }
        for entry in &host.extra_hosts {
            split_extra_host(entry)?;
        }
        let record = ContainerRecord {
            version: VERSION,
            name: self.choose_name(options.name.as_deref())?,
            id,
            created: Timestamp::now(),
            reference: options.reference.clone(),
            image: options.image.id().clone(),
            command: merge::command(&config)?,
            config,
            hostname,
            tty: options.tty,
            open_stdin: options.interactive,
            stdin_once: options.stdin_once,
            mounts: Vec::new(),
            host,
        };
        // What the options of the process say is checked now, not at the start.
        sandbox::process(&record, Vec::new(), None)?;
        Ok(record)
    }

    fn make(
        &self,
        mut record: ContainerRecord,
        options: &CreateOptions,
        stack: &Stack,
    ) -> Result<(), Error> {
        let kind = SnapshotKind::Persistent(record.id.to_string());
        let _snapshot = self.store().prepare(stack, kind, &init_entries())?;
        let hidden = self
            .containers_directory()
            .join(format!(".new-{}", record.id));
        std::fs::create_dir(&hidden).at("create the directory", &hidden)?;
        let volumes = wanted_volumes(&mut record.config, options)?;
        for volume in &volumes {
            let mount = self.mount_point(volume, stack)?;
            record.mounts.push(mount);
        }
        let durability = if record.host.auto_remove {
            Durability::Lazy
        } else {
            Durability::Synced
        };
        write_json(&hidden.join("config.json"), &record, durability)?;
        write_json(
            &hidden.join("state.json"),
            &State::created(),
            Durability::Lazy,
        )?;
        let directory = self.directory(&record.id);
        std::fs::rename(&hidden, &directory).at("create the directory", &directory)?;
        self.claim_name(&record.name, &record.id)
    }

    /// Finds or makes what is mounted for one volume.
    fn mount_point(&self, wanted: &VolumeMount, stack: &Stack) -> Result<MountPoint, Error> {
        let point = |volume, source| MountPoint {
            volume,
            source,
            target: wanted.target.clone(),
            access: wanted.access,
        };
        let (name, anonymous) = match &wanted.source {
            VolumeSource::Host(path) => {
                if !path.exists() {
                    std::fs::create_dir_all(path).at("create the directory", path)?;
                }
                return Ok(point(None, path.clone()));
            }
            VolumeSource::Named(name) => (Some(name.as_str()), false),
            VolumeSource::Anonymous => (None, true),
        };
        let volume = self.volumes().create(name, Default::default())?;
        if wanted.copy {
            self.volumes().fill(&volume, stack, &wanted.target)?;
        }
        let name = VolumeName {
            name: volume.name,
            anonymous,
        };
        Ok(point(Some(name), volume.mountpoint))
    }

    /// Removes what a failed creation left.
    fn abandon(&self, id: &ContainerId) -> Result<(), Error> {
        for directory in [
            self.directory(id),
            self.containers_directory().join(format!(".new-{id}")),
        ] {
            match std::fs::remove_dir_all(&directory) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                removed => removed.at("remove", &directory)?,
            }
        }
        Ok(self.store().remove_snapshot(id.as_str())?)
    }
}

/// The volumes of the command line, then those of the image at other places.
fn wanted_volumes(
    config: &mut ContainerConfig,
    options: &CreateOptions,
) -> Result<Vec<VolumeMount>, Error> {
    let mut volumes = options.volumes.clone();
    let mut taken: Vec<PathBuf> = Vec::new();
    let tmpfs = options.host.tmpfs.iter().map(|tmpfs| &tmpfs.target);
    for target in volumes.iter().map(|volume| &volume.target).chain(tmpfs) {
        if taken.contains(target) {
            let target = target.display().to_string();
            return Err(OptionError::DuplicateMount { target }.into());
        }
        taken.push(target.clone());
    }
    for volume in volumes
        .iter()
        .filter(|volume| volume.source == VolumeSource::Anonymous)
    {
        let target = volume.target.display().to_string();
        config
            .volumes
            .get_or_insert_default()
            .insert(target, Default::default());
    }
    for target in config
        .volumes
        .iter()
        .flatten()
        .map(|(target, _)| normalise(target))
    {
        if !taken.contains(&target) {
            volumes.push(VolumeMount {
                source: VolumeSource::Anonymous,
                target: target.clone(),
                access: Access::ReadWrite,
                copy: true,
            });
            taken.push(target);
        }
    }
    Ok(volumes)
}

fn normalise(target: &str) -> PathBuf {
    Path::new("/").join(target).components().collect()
}

fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

/// What docker's Init layer has: mount points, and what is bound over.
fn init_entries() -> Vec<InitEntry> {
    let directories = ["/dev", "/dev/pts", "/dev/shm", "/proc", "/sys", "/etc"];
    let files = [
        "/dev/console",
        "/etc/hosts",
        "/etc/hostname",
        "/etc/resolv.conf",
    ];
    let entry = |path: &str, kind| InitEntry {
        path: PathBuf::from(path),
        kind,
    };
    let mut entries: Vec<InitEntry> = directories
        .iter()
        .map(|path| entry(path, InitKind::Directory { mode: 0o755 }))
        .collect();
    entries.extend(
        files
            .iter()
            .map(|path| entry(path, InitKind::EmptyFile { mode: 0o755 })),
    );
    entries.push(entry("/etc/mtab", InitKind::Symlink("/proc/mounts".into())));
    entries
}
