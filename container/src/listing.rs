//! What `ps` shows.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use mica_oci::Digest;

use crate::containers::Containers;
use crate::error::At;
use crate::record::ContainerRecord;
use crate::state::{State, Status};
use crate::{ContainerId, Error, human_duration};

/// One line of `ps`.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The ID.
    pub id: ContainerId,
    /// The name, without a slash.
    pub name: String,
    /// The image's ID.
    pub image: Digest,
    /// The image's name as the user gave it.
    pub reference: String,
    /// The whole command in one line.
    pub command: String,
    /// When it was made.
    pub created: Timestamp,
    /// How it is.
    pub state: State,
    /// Docker's words for that: `Up 3 seconds`.
    pub status: String,
    /// Ports: `0.0.0.0:4000->80/tcp, 81/tcp`.
    pub ports: String,
    /// The labels.
    pub labels: BTreeMap<String, String>,
    /// Volume names and bound paths.
    pub mounts: Vec<String>,
    /// The network mode.
    pub network: String,
}

/// What a container takes on disk, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Its own files.
    pub read_write: u64,
    /// Its own files and the image's.
    pub root: u64,
}

impl Containers {
    /// Returns all containers, the newest first.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Damaged`].
    pub fn list(&self) -> Result<Vec<Summary>, Error> {
        let mut list = Vec::new();
        for id in self.ids()? {
            match self.summary(&id) {
                // Removed meanwhile.
                Err(Error::NoSuchContainer { .. }) => {}
                summary => list.push(summary?),
            }
        }
        list.sort_by_key(|summary: &Summary| std::cmp::Reverse(summary.created));
        Ok(list)
    }

    /// Returns one container's line.
    ///
    /// # Errors
    /// As [`Containers::record`].
    pub fn summary(&self, id: &ContainerId) -> Result<Summary, Error> {
        let record = self.record(id)?;
        let state = self.state(id)?;
        Ok(Summary {
            command: command_line(&record.command),
            status: status(&state, Timestamp::now()),
            ports: ports(&record, &state),
            labels: record.labels(),
            mounts: mounts(&record),
            network: record.host.network.to_string(),
            id: record.id,
            name: record.name,
            image: record.image,
            reference: record.reference,
            created: record.created,
            state,
        })
    }

    /// Returns the containers that are made of an image.
    ///
    /// # Errors
    /// As [`Containers::list`].
    pub fn using_image(&self, image: &Digest) -> Result<Vec<ContainerId>, Error> {
        let mut users = Vec::new();
        for id in self.ids()? {
            match self.record(&id) {
                Err(Error::NoSuchContainer { .. }) => {}
                record => users.extend((record?.image == *image).then_some(id)),
            }
        }
        Ok(users)
    }

    /// Measures what a container takes on disk.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Store`].
    pub fn sizes(&self, id: &ContainerId) -> Result<Sizes, Error> {
        let snapshot = self.store().open_snapshot(id.as_str())?;
        let read_write = directory_size(snapshot.written()?.as_ref())?;
        let parents = snapshot.parents();
        let sizes = parents
            .layers
            .iter()
            .map(|layer| layer.description.as_ref().map_or(0, |known| known.content));
        Ok(Sizes {
            read_write,
            root: read_write + sizes.sum::<u64>(),
        })
    }
}

/// Adds up the sizes of all files below a directory.
pub(crate) fn directory_size(directory: &std::path::Path) -> Result<u64, Error> {
    let mut total = 0;
    let mut waiting = vec![directory.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(&directory).at("read", &directory)? {
            let path = entry.at("read", &directory)?.path();
            let metadata = match std::fs::symlink_metadata(&path) {
                // A running container removes files as it likes.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                metadata => metadata.at("inspect", &path)?,
            };
            match metadata.is_dir() {
                true => waiting.push(path),
                false if metadata.is_file() => total += metadata.len(),
                false => {}
            }
        }
    }
    Ok(total)
}

/// The command in one line, arguments with blanks quoted, as docker shows it.
fn command_line(command: &[String]) -> String {
    let quoted = command.iter().enumerate().map(|(index, argument)| {
        match index > 0 && argument.contains(' ') {
            true => format!("'{argument}'"),
            false => argument.clone(),
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// Docker's words for a state.
pub(crate) fn status(state: &State, now: Timestamp) -> String {
    let since = |time: Option<Timestamp>| {
        let elapsed = time.map(|time| now.duration_since(time).unsigned_abs());
        human_duration(elapsed.unwrap_or(Duration::ZERO))
    };
    match state.status {
        Status::Created => "Created".to_owned(),
        Status::Running => format!("Up {}", since(state.started)),
        Status::Paused => format!("Up {} (Paused)", since(state.started)),
        Status::Exited => format!("Exited ({}) {} ago", state.exit_code, since(state.finished)),
    }
}

/// Published ports with their addresses, then those that are only exposed; nothing once stopped.
fn ports(record: &ContainerRecord, state: &State) -> String {
    if !state.is_running() {
        return String::new();
    }
    let key = |port: &crate::PublishedPort| format!("{}/{}", port.container_port, port.protocol);
    let mut texts: Vec<String> = state
        .ports
        .iter()
        .map(|port| format!("{port}->{}", key(port)))
        .collect();
    let exposed = record
        .config
        .exposed_ports
        .iter()
        .flatten()
        .map(|(key, _)| key);
    let is_published = |wanted: &String| state.ports.iter().any(|port| key(port) == **wanted);
    texts.extend(exposed.filter(|key| !is_published(key)).cloned());
    texts.join(", ")
}

fn mounts(record: &ContainerRecord) -> Vec<String> {
    let name = |mount: &crate::MountPoint| match &mount.volume {
        Some(volume) => volume.name.clone(),
        None => mount.source.display().to_string(),
    };
    record.mounts.iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_docker_s_words() {
        let start = Timestamp::from_second(1_000).unwrap();
        let now = Timestamp::from_second(1_180).unwrap();
        let check = |status_word: Status, code: u8, expected: &str| {
            let state = State {
                status: status_word,
                exit_code: code,
                started: Some(start),
                finished: Some(start),
                ..State::created()
            };
            assert_eq!(status(&state, now), expected);
        };
        check(Status::Created, 0, "Created");
        check(Status::Running, 0, "Up 3 minutes");
        check(Status::Paused, 0, "Up 3 minutes (Paused)");
        check(Status::Exited, 3, "Exited (3) 3 minutes ago");
    }

    #[test]
    fn commands_are_one_line() {
        let command = ["sh", "-c", "echo hi; sleep 1"].map(str::to_owned);
        assert_eq!(command_line(&command), "sh -c 'echo hi; sleep 1'");
    }
}
