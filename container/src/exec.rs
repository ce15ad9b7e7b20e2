//! Running one more command in a running container: it joins the namespaces of the container's
//! first process, straight from the caller's process.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use mica_isolation::{Capabilities, ExecTarget, Process, Sandbox, Seccomp, Stdio, WindowSize};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::attach::{AttachStdio, write_all};
use crate::containers::{Containers, cgroup_path};
use crate::error::At;
use crate::options::check_working_directory;
use crate::protocol::CHUNK;
use crate::state::Status;
use crate::{ContainerId, Error, sandbox};

/// What `exec` is told. Absent values are the container's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecOptions {
    /// The command and its arguments.
    pub command: Vec<String>,
    /// `NAME=value`, besides the container's.
    pub env: Vec<String>,
    /// The user.
    pub user: Option<String>,
    /// The working directory.
    pub working_dir: Option<String>,
    /// The size of a terminal to make for it; `None` makes none.
    pub terminal: Option<(u16, u16)>,
    /// Whether all protection is off.
    pub privileged: bool,
}

impl ExecOptions {
    /// Runs a command as the container's first process runs, without a terminal.
    pub fn new(command: Vec<String>) -> Self {
        Self {
            command,
            ..Self::default()
        }
    }
}

/// A command that runs in a container; dropping it kills the command.
pub struct ExecSession {
    sandbox: Sandbox,
    terminal: Option<OwnedFd>,
    stdio: Option<AttachStdio>,
}

/// Controls an [`ExecSession`], from any thread.
pub struct ExecController {
    process: OwnedFd,
    terminal: Option<OwnedFd>,
}

impl Containers {
    /// Starts a command in a running container, and returns once it runs.
    ///
    /// Without a terminal the command gets `stdio` itself; with one, [`ExecSession::run`] copies.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::ExecInPaused`]; [`Error::Sandbox`] with docker's exit code.
    pub fn exec(
        &self,
        id: &ContainerId,
        options: &ExecOptions,
        stdio: AttachStdio,
    ) -> Result<ExecSession, Error> {
        let (target, process) = self.prepare_exec(id, options)?;
        let (inner, copied) = ExecSession::streams(stdio, process.terminal)?;
        let sandbox = mica_isolation::exec(&target, &process, inner)?;
        Ok(ExecSession::of(sandbox, copied))
    }

    /// Checks that the container can run a command, and says how it runs.
    pub(crate) fn prepare_exec(
        &self,
        id: &ContainerId,
        options: &ExecOptions,
    ) -> Result<(ExecTarget, Process), Error> {
        let state = self.state(id)?;
        match state.status {
            Status::Running => {}
            Status::Paused => return Err(Error::ExecInPaused { id: id.to_string() }),
            Status::Created | Status::Exited => {
                return Err(Error::NotRunning { id: id.to_string() });
            }
        }
        if options.command.is_empty() {
            return Err(Error::NoCommand);
        }
        let process = self.exec_process(id, options)?;
        Ok((
            ExecTarget {
                pid: state.pid,
                cgroup: Some(cgroup_path(id)),
            },
            process,
        ))
    }

    fn exec_process(&self, id: &ContainerId, options: &ExecOptions) -> Result<Process, Error> {
        let record = self.record(id)?;
        let terminal = options
            .terminal
            .map(|(rows, columns)| WindowSize { rows, columns });
        let mut process = sandbox::process(&record, options.command.clone(), terminal)?;
        let mut config = mica_oci::ContainerConfig {
            env: process.env,
            ..Default::default()
        };
        for (name, value) in options.env.iter().filter_map(|entry| entry.split_once('=')) {
            config.set_env(name, value);
        }
        process.env = config.env;
        if let Some(user) = &options.user {
            process.user.clone_from(user);
        }
        if let Some(directory) = options.working_dir.as_deref().filter(|d| !d.is_empty()) {
            check_working_directory(directory)?;
            process.working_directory = PathBuf::from(directory);
        }
        if options.privileged {
            process.capabilities = Capabilities::ALL;
            process.seccomp = Seccomp::Unconfined;
        }
        Ok(process)
    }
}

/// Streams that lead nowhere.
pub(crate) fn nowhere() -> Result<Stdio, Error> {
    let null = || -> Result<OwnedFd, Error> {
        let file = std::fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/null");
        Ok(file.at("open", "/dev/null")?.into())
    };
    Ok(Stdio::Files {
        stdin: None,
        stdout: null()?,
        stderr: null()?,
    })
}

impl ExecController {
    /// Tells the command's terminal the size of the client's; without a terminal nothing happens.
    ///
    /// # Errors
    /// The kernel's.
    pub fn resize(&self, size: WindowSize) -> io::Result<()> {
        match &self.terminal {
            Some(terminal) => mica_isolation::resize_terminal(terminal.as_fd(), size),
            None => Ok(()),
        }
    }

    /// Sends a signal to the command.
    ///
    /// # Errors
    /// The kernel's; `EINVAL` for a real-time signal.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        let signal = Signal::from_named_raw(signal).ok_or(Errno::INVAL)?;
        Ok(rustix::process::pidfd_send_signal(&self.process, signal)?)
    }
}

impl ExecSession {
    /// Splits a caller's streams: a process without a terminal gets them itself, one with a terminal
    /// has them copied.
    ///
    /// # Errors
    /// [`Error::Io`] when `/dev/null` cannot be opened.
    pub fn streams(
        stdio: AttachStdio,
        terminal: Option<WindowSize>,
    ) -> Result<(Stdio, Option<AttachStdio>), Error> {
        if terminal.is_some() {
            return Ok((nowhere()?, Some(stdio)));
        }
        let AttachStdio {
            stdin,
            stdout,
            stderr,
        } = stdio;
        let files = Stdio::Files {
            stdin,
            stdout,
            stderr,
        };
        Ok((files, None))
    }

    /// Takes a sandbox of somebody else's, with the streams that its terminal is copied to.
    pub fn of(mut sandbox: Sandbox, stdio: Option<AttachStdio>) -> Self {
        let terminal = sandbox.take_terminal();
        Self {
            sandbox,
            terminal,
            stdio,
        }
    }

    /// Returns a way to control the command while [`ExecSession::run`] is busy.
    ///
    /// # Errors
    /// [`Error::Io`] when there are no descriptors left.
    pub fn controller(&self) -> Result<ExecController, Error> {
        let process = self
            .sandbox
            .pidfd()
            .try_clone_to_owned()
            .at("duplicate", "a pidfd")?;
        let terminal = self.terminal.as_ref().map(OwnedFd::try_clone).transpose();
        Ok(ExecController {
            process,
            terminal: terminal.at("duplicate", "a terminal")?,
        })
    }

    /// Waits for the command's end, copies between its terminal and the client's meanwhile, and
    /// returns the exit code. There are no keys to leave with: the command would end with its
    /// client.
    ///
    /// # Errors
    /// [`Error::Io`] when an output cannot be written.
    pub fn run(self) -> Result<u8, Error> {
        if let (Some(terminal), Some(stdio)) = (self.terminal, self.stdio) {
            rustix::io::ioctl_fionbio(&terminal, true).at("set up", "a terminal")?;
            let sandbox = &self.sandbox;
            let mut copier = Copier {
                sandbox,
                terminal,
                stdio,
                outgoing: Vec::new(),
            };
            while copier.turn()? {}
        }
        Ok(self.sandbox.wait()?.status.code())
    }
}

/// Copies between a command's terminal and its client.
struct Copier<'a> {
    sandbox: &'a Sandbox,
    terminal: OwnedFd,
    stdio: AttachStdio,
    outgoing: Vec<u8>,
}

/// What a look at the terminal gave.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Some,
    Nothing,
    /// Nobody has its other side open any more.
    Closed,
}

impl Copier<'_> {
    /// Waits and copies; `false` when the command has ended and all its output is copied.
    fn turn(&mut self) -> Result<bool, Error> {
        let [process, terminal, stdin] = self.wait().at("wait for", "the command's terminal")?;
        if !terminal.is_empty() {
            self.flush();
        }
        let mut shown = self.show()?;
        if !stdin.is_empty() {
            self.type_in();
        }
        // Output that a dead command left is all there: it is read to its end.
        while !process.is_empty() && shown == Shown::Some {
            shown = self.show()?;
        }
        Ok(process.is_empty() && shown != Shown::Closed)
    }

    fn wait(&self) -> io::Result<[PollFlags; 3]> {
        let mut flags = PollFlags::IN;
        flags.set(PollFlags::OUT, !self.outgoing.is_empty());
        let mut waited = vec![
            PollFd::from_borrowed_fd(self.sandbox.pidfd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.terminal.as_fd(), flags),
        ];
        if let Some(stdin) = self
            .stdio
            .stdin
            .as_ref()
            .filter(|_| self.outgoing.is_empty())
        {
            waited.push(PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN));
        }
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut waited, None))?;
        let events = |index: usize| {
            waited
                .get(index)
                .map_or(PollFlags::empty(), PollFd::revents)
        };
        Ok([events(0), events(1), events(2)])
    }

    /// Writes what was typed.
    fn flush(&mut self) {
        match rustix::io::write(&self.terminal, &self.outgoing) {
            Ok(count) => drop(self.outgoing.drain(..count)),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.outgoing.clear(),
        }
    }

    fn type_in(&mut self) {
        let Some(stdin) = &self.stdio.stdin else {
            return;
        };
        let mut buffer = [0; CHUNK];
        match rustix::io::read(stdin, &mut buffer) {
            Err(Errno::INTR | Errno::AGAIN) => {}
            Ok(count) if count > 0 => {
                self.outgoing.extend_from_slice(&buffer[..count]);
                self.flush();
            }
            _ => self.stdio.stdin = None,
        }
    }

    /// Shows output, if there is some.
    fn show(&mut self) -> Result<Shown, Error> {
        let mut buffer = [0; CHUNK];
        match rustix::io::read(&self.terminal, &mut buffer) {
            Ok(count) if count > 0 => {
                write_all(&self.stdio.stdout, &buffer[..count]).map(|()| Shown::Some)
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(Shown::Nothing),
            _ => Ok(Shown::Closed),
        }
    }
}
