//! `exec -d`: a process of its own starts the command and waits for it, for the command ends with
//! whoever started it.

use std::io::{self, Read};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;

use mica_isolation::{ExecTarget, Process};
use serde::{Deserialize, Serialize};

use crate::containers::Containers;
use crate::error::At;
use crate::exec::nowhere;
use crate::monitor::take_standard_input;
use crate::protocol::{self, Decoder, Event};
use crate::{ContainerId, Error, ExecOptions};

/// The name under which this program starts itself to run a command in the background.
pub(crate) const NAME: &str = "mica-exec";

/// What the background process is told, as JSON.
#[derive(Serialize, Deserialize)]
struct Order {
    pid: i32,
    cgroup: Option<std::path::PathBuf>,
    process: Process,
}

impl Containers {
    /// Runs a command in a running container, in the background; its output is dropped.
    ///
    /// # Errors
    /// As [`Containers::exec`]; [`Error::NotStarted`] with docker's exit code.
    pub fn exec_detached(&self, id: &ContainerId, options: &ExecOptions) -> Result<(), Error> {
        let (target, process) = self.prepare_exec(id, options)?;
        let order = Order {
            pid: target.pid,
            cgroup: target.cgroup,
            process,
        };
        let lost = |_: io::Error| Error::MonitorLost { id: id.to_string() };
        let (mut stream, theirs) = UnixStream::pair().at("create", "a socket pair")?;
        let mut command = Command::new("/proc/self/exe");
        command.arg0(NAME).env_clear().stdin(OwnedFd::from(theirs));
        command
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        let mut child = command.spawn().at("start", "/proc/self/exe")?;
        mica_isolation::lower_open_files(&child);
        std::thread::spawn(move || child.wait());
        drop(command);
        serde_json::to_writer(&stream, &order).map_err(|error| lost(error.into()))?;
        stream.shutdown(Shutdown::Write).map_err(lost)?;
        match protocol::receive(&mut stream, &mut Decoder::default()).map_err(lost)? {
            Some(Event::Started) => Ok(()),
            Some(Event::Failed { code, message }) => Err(Error::NotStarted { code, message }),
            _ => Err(Error::MonitorLost { id: id.to_string() }),
        }
    }
}

/// Is the background process: starts the command, tells that it runs, and waits for its end.
pub(crate) fn run() -> Result<(), Error> {
    let _ = rustix::process::setsid();
    let input = take_standard_input().at("read", "standard input")?;
    let mut stream = UnixStream::from(input);
    let mut text = Vec::new();
    stream.read_to_end(&mut text).at("read", "standard input")?;
    let damaged = |source| Error::Damaged {
        path: "standard input".into(),
        source,
    };
    let Order {
        pid,
        cgroup,
        process,
    } = serde_json::from_slice(&text).map_err(damaged)?;
    let started = mica_isolation::exec(&ExecTarget { pid, cgroup }, &process, nowhere()?);
    let answer = match &started {
        Ok(_) => Event::Started,
        Err(error) => Event::Failed {
            code: error.exit_code(),
            message: error.to_string(),
        },
    };
    protocol::send(&mut stream, &answer).at("write to", "standard input")?;
    drop(stream);
    started?.wait()?;
    Ok(())
}
