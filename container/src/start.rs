//! Starting a container: the caller's side of its monitor.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::attach::Attachment;
use crate::containers::Containers;
use crate::error::At;
use crate::monitor::MONITOR_NAME;
use crate::protocol::{self, Decoder, Event, Request};
use crate::state::Status;
use crate::{ContainerId, Error, RemoveOptions, Streams};

/// This program, whatever became of its path meanwhile.
const PROGRAM: &str = "/proc/self/exe";

impl Containers {
    /// Starts a container and returns once its command runs, connected to the streams that are
    /// asked for. One that runs already is connected to, or left alone.
    ///
    /// # Errors
    /// [`Error::NotStarted`] with docker's exit code; a container that is removed at its end is
    /// removed then as well.
    pub fn start(
        &self,
        id: &ContainerId,
        streams: Option<Streams>,
    ) -> Result<Option<Attachment>, Error> {
        let lock = self.lock(id)?;
        match self.state(id)?.status {
            Status::Paused => return Err(Error::Paused { action: "start" }),
            Status::Running => {
                drop(lock);
                return streams.map(|streams| self.attach(id, streams)).transpose();
            }
            Status::Created | Status::Exited => {}
        }
        let started = self.start_monitor(id, streams.unwrap_or_default());
        drop(lock);
        match started {
            Ok((stream, decoder)) => {
                let attachment = || Attachment::new(self, id, stream, decoder);
                streams.is_some().then(attachment).transpose()
            }
            Err(error) => {
                self.remove_failed(id)?;
                Err(error)
            }
        }
    }

    fn start_monitor(
        &self,
        id: &ContainerId,
        streams: Streams,
    ) -> Result<(UnixStream, Decoder), Error> {
        let (mut stream, theirs) = UnixStream::pair().at("start", PROGRAM)?;
        let arguments = [self.store().root().as_os_str(), self.runroot().as_os_str()];
        let child = Command::new(PROGRAM)
            .arg0(MONITOR_NAME)
            .args(arguments)
            .arg(id.as_str())
            .args(self.store().additional_roots())
            .env_clear()
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let mut child = child.at("start", PROGRAM)?;
        mica_isolation::lower_open_files(&child);
        // A caller that lives on has no use for its exit status, but should not keep a zombie.
        std::thread::spawn(move || child.wait());
        let lost = |_: io::Error| Error::MonitorLost { id: id.to_string() };
        protocol::send(&mut stream, &Request::Attach(streams)).map_err(lost)?;
        let mut decoder = Decoder::default();
        match protocol::receive(&mut stream, &mut decoder).map_err(lost)? {
            Some(Event::Started) => Ok((stream, decoder)),
            Some(Event::Failed { code, message }) => Err(Error::NotStarted { code, message }),
            _ => Err(Error::MonitorLost { id: id.to_string() }),
        }
    }

    fn remove_failed(&self, id: &ContainerId) -> Result<(), Error> {
        match self.record(id) {
            Ok(record) if record.host.auto_remove => self.remove(
                id,
                RemoveOptions {
                    force: false,
                    volumes: true,
                },
            ),
            Err(Error::NoSuchContainer { .. }) | Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
