//! The caller's side: starting a supervisor and holding on to what it runs.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command};

use rustix::fs::{Mode, OFlags};

use crate::attach;
use crate::cgroup::Cgroup;
use crate::error::{At, Error, Step};
use crate::message::{Channel, Reply, Request};
use crate::open_files::lower_open_files;
use crate::spec::{Exit, Process, SandboxSpec, Stdio};
use crate::sys::{self, Reach};

/// The name under which this program starts itself as the supervisor of a sandbox.
pub(crate) const SUPERVISOR_NAME: &str = "mica-sandbox";

/// A running sandbox that a process is to join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecTarget {
    /// A process of it, by its PID in the caller's PID namespace.
    pub pid: i32,
    /// Its cgroup, as in [`crate::CgroupSpec::path`].
    pub cgroup: Option<PathBuf>,
}

/// A running process and all that belongs to it. Dropping it kills the process and removes
/// everything, as [`Sandbox::wait`] does after its end.
#[derive(Debug)]
pub struct Sandbox {
    pid: i32,
    pidfd: OwnedFd,
    terminal: Option<OwnedFd>,
    supervisor: Supervisor,
}

/// The supervising child process and the way to talk to it. Dropping it closes the way, upon
/// which the child kills what it supervises, cleans up and ends; then it is reaped.
#[derive(Debug)]
pub(crate) struct Supervisor {
    channel: Option<Channel>,
    child: Child,
    cgroup: Option<PathBuf>,
}

/// Starts a sandbox and returns once its command runs (`execve` succeeded).
///
/// The sandbox ends with the calling process, however that ends; the calling thread may end.
///
/// # Errors
///
/// [`Error::Setup`] with the first step that failed, or [`Error::Command`]; nothing is left then.
pub fn spawn(spec: &SandboxSpec, stdio: Stdio) -> Result<Sandbox, Error> {
    let cgroup = spec.cgroup.as_ref().map(|cgroup| cgroup.path.clone());
    start(&Request::Spawn(Box::new(spec.clone())), stdio, cgroup)
}

/// Starts a process in a running sandbox: in all its namespaces, its root and its cgroup.
///
/// # Errors
///
/// As [`spawn`]; [`Step::OpenProcess`] when the sandbox has ended.
pub fn exec(target: &ExecTarget, process: &Process, stdio: Stdio) -> Result<Sandbox, Error> {
    let request = Request::Exec {
        pid: target.pid,
        cgroup: target.cgroup.clone(),
        process: process.clone(),
    };
    // The cgroup is the sandbox's, not this process': it is not removed with it.
    start(&request, stdio, None)
}

fn start(request: &Request, stdio: Stdio, cgroup: Option<PathBuf>) -> Result<Sandbox, Error> {
    let (mut supervisor, stdin) = Supervisor::start(stdio)?;
    supervisor.cgroup = cgroup;
    let stdin: Vec<BorrowedFd<'_>> = stdin.iter().map(AsFd::as_fd).collect();
    supervisor.send(request, &stdin)?;
    let (pid, descriptors) = supervisor.receive_started()?;
    let mut descriptors = descriptors.into_iter();
    let pidfd = descriptors
        .next()
        .ok_or_else(lost)
        .at(Step::ExchangeMessages)?;
    Ok(Sandbox {
        pid,
        pidfd,
        terminal: descriptors.next(),
        supervisor,
    })
}

/// Prepares this program as a supervisor. Its standard input is the channel; that of the sandbox
/// goes through the channel. Nothing needs to run between fork and exec, so no memory is copied.
fn supervisor_command(channel: Channel, stdio: Stdio) -> Result<(Option<OwnedFd>, Command), Error> {
    let program = sealed_program();
    let path = match &program {
        Some(program) => format!("/proc/self/fd/{}", program.as_raw_fd()),
        None => "/proc/self/exe".to_string(),
    };
    let mut command = Command::new(path);
    command
        .arg0(SUPERVISOR_NAME)
        .env_clear()
        .stdin(OwnedFd::from(channel));
    let stdin = match stdio {
        Stdio::Inherit => Some(
            rustix::stdio::stdin()
                .try_clone_to_owned()
                .at(Step::StartSupervisor)?,
        ),
        Stdio::Files {
            stdin,
            stdout,
            stderr,
        } => {
            command.stdout(stdout).stderr(stderr);
            stdin
        }
    };
    Ok((stdin, command))
}

/// Opens this program through a read-only mount of its own, made once.
///
/// A sandbox' root can make a process of the sandbox execute `/proc/self/exe` while that still is
/// this program, and then open it for writing from outside. Through this mount the kernel refuses
/// that. Where it may not be made, the sandbox has no right to write the program either.
fn sealed_program() -> Option<&'static OwnedFd> {
    static PROGRAM: std::sync::OnceLock<Option<OwnedFd>> = std::sync::OnceLock::new();
    let open = || -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let program = rustix::fs::open("/proc/self/exe", flags, Mode::empty())?;
        let mount = attach::clone_tree(program.as_fd())?;
        sys::set_mount_read_only(mount.as_fd(), Reach::One)?;
        Ok(mount)
    };
    PROGRAM.get_or_init(|| open().ok()).as_ref()
}

impl Sandbox {
    /// Returns the PID of the first process in the caller's PID namespace.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Takes the master of the terminal, if one was asked for and was not taken before. `execve`
    /// closes it.
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    /// Sends a signal to the first process.
    ///
    /// # Errors
    ///
    /// The kernel's; `ESRCH` when the process has ended.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        sys::send_signal(self.pidfd.as_fd(), signal)
    }

    /// Returns a descriptor that becomes readable when the first process ends.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Waits for the end of the first process. All that belonged to the sandbox is removed then.
    ///
    /// # Errors
    ///
    /// [`Error::Setup`] with [`Step::WaitForExit`] when the supervisor was killed; the sandbox is
    /// dead in that case too.
    pub fn wait(self) -> Result<Exit, Error> {
        self.supervisor.receive_ended()
    }
}

impl Supervisor {
    /// Starts this program as a supervisor; returns the sandbox's standard input, which is to go
    /// with the first request.
    pub(crate) fn start(stdio: Stdio) -> Result<(Self, Option<OwnedFd>), Error> {
        let (ours, theirs) = Channel::pair().at(Step::StartSupervisor)?;
        let (stdin, command) = supervisor_command(theirs, stdio)?;
        let child = { command }.spawn().at(Step::StartSupervisor)?;
        lower_open_files(&child);
        let supervisor = Self {
            channel: Some(ours),
            child,
            cgroup: None,
        };
        Ok((supervisor, stdin))
    }

    /// Sends a request with descriptors.
    pub(crate) fn send(
        &self,
        request: &Request,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), Error> {
        let sent = self.channel()?.send(request, descriptors);
        sent.at(Step::ExchangeMessages)
    }

    fn channel(&self) -> Result<&Channel, Error> {
        self.channel
            .as_ref()
            .ok_or_else(lost)
            .at(Step::ExchangeMessages)
    }

    /// Receives a reply that is no failure.
    pub(crate) fn receive(&self) -> Result<(Reply, Vec<OwnedFd>), Error> {
        let reply = self.channel()?.receive().at(Step::ExchangeMessages)?;
        match reply.ok_or_else(lost).at(Step::ExchangeMessages)? {
            (Reply::Failed(failure), _) => Err(failure.into()),
            reply => Ok(reply),
        }
    }

    /// Receives the PID of what was started, and the descriptors that belong to it.
    pub(crate) fn receive_started(&self) -> Result<(i32, Vec<OwnedFd>), Error> {
        match self.receive()? {
            (Reply::Started { pid }, descriptors) => Ok((pid, descriptors)),
            _ => Err(lost()).at(Step::ExchangeMessages),
        }
    }

    /// Receives the end of what was started.
    pub(crate) fn receive_ended(&self) -> Result<Exit, Error> {
        match self.receive() {
            Ok((Reply::Ended(exit), _)) => Ok(exit),
            Ok(_) => Err(lost()).at(Step::WaitForExit),
            Err(Error::Setup { source, .. }) => Err(source).at(Step::WaitForExit),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if let Some(channel) = self.channel.take() {
            // Told so, and not just left, the supervisor knows that this process lives and cleans
            // up its part itself. A supervisor that ended already is fine.
            let _ = channel.send(&Request::Stop, &[]);
        }
        let ended = self.child.wait();
        // A supervisor that was killed took its sandbox along, but could not clean up.
        if !ended.is_ok_and(|status| status.success())
            && let Some(path) = &self.cgroup
            && let Ok(cgroup) = Cgroup::open(path)
        {
            let _ = cgroup.kill_all().and_then(|()| cgroup.remove());
        }
    }
}

pub(crate) fn lost() -> io::Error {
    io::Error::from_raw_os_error(libc::EPIPE)
}
