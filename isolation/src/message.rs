//! The messages between the caller, the supervisor and PID 1, and the socket they go through.
//!
//! ```text
//! caller ── Request [stdin] ─────────────▶ supervisor ── "go" byte ──▶ PID 1
//! caller ◀─ Reply::Started [pidfd, pty] ── supervisor ◀─ Progress ──── PID 1
//!           or Reply::Failed                             end of file: execve succeeded
//! caller ◀─ Reply::Ended ───────────────── supervisor
//!        ── Request::Stop, or end of file ▶           the sandbox is dropped, or the caller died
//! ```
//!
//! A lane's supervisor answers Request::OpenLane with Reply::Ready; after that, each
//! Request::Spawn goes as above, one after another, with the sandbox's output and error instead
//! of its input.
//!
//! On the wire a message is its length (four bytes, little endian, to which the descriptors are
//! attached) and its JSON.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Step};
use crate::spec::{Exit, Network, Process, SandboxSpec};

/// What the caller asks its supervisor for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Start a sandbox. Its standard streams that are not inherited go with it.
    Spawn(Box<SandboxSpec>),
    /// Start a process in a running one. Its standard input goes with it.
    Exec {
        /// A process of that sandbox.
        pid: i32,
        /// Its cgroup, below each hierarchy's root.
        cgroup: Option<PathBuf>,
        /// What to run.
        process: Process,
    },
    /// Become a lane with this network.
    OpenLane(Network),
    /// Kill what runs; end, if nothing does.
    Stop,
}

/// What the supervisor answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// `execve` succeeded. The pidfd goes with it, and the terminal's master if there is one.
    Started {
        /// The PID in the supervisor's, that is the caller's, PID namespace.
        pid: i32,
    },
    /// The lane is open.
    Ready,
    /// Nothing was started, and nothing is left.
    Failed(Failure),
    /// The process ended and all that belonged to it is removed.
    Ended(Exit),
}

/// What PID 1 says before `execve`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Progress {
    /// The master of the terminal goes with it.
    Terminal,
    /// The set-up failed.
    Failed(Failure),
}

/// An [`Error`] on its way between processes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Failure {
    /// [`Error::Setup`].
    Setup {
        step: Step,
        path: Option<PathBuf>,
        errno: i32,
    },
    /// [`Error::Command`].
    Command { command: String, errno: i32 },
    /// [`Error::UnknownUser`].
    UnknownUser { user: String },
    /// [`Error::UnknownGroup`].
    UnknownGroup { group: String },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        // Errors that are not the kernel's (such as a string with a NUL) have no number.
        let errno = |source: io::Error| source.raw_os_error().unwrap_or(libc::EINVAL);
        match error {
            Error::Setup { step, path, source } => Self::Setup {
                step,
                path,
                errno: errno(source),
            },
            Error::Command { command, source } => Self::Command {
                command,
                errno: errno(source),
            },
            Error::UnknownUser { user } => Self::UnknownUser { user },
            Error::UnknownGroup { group } => Self::UnknownGroup { group },
            Error::UnknownCapability { .. }
            | Error::NoFreeSubnet { .. }
            | Error::NoFreeAddress { .. } => {
                unreachable!("only the caller's side names capabilities and allots addresses")
            }
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let source = io::Error::from_raw_os_error;
        match failure {
            Failure::Setup { step, path, errno } => Self::Setup {
                step,
                path,
                source: source(errno),
            },
            Failure::Command { command, errno } => Self::Command {
                command,
                source: source(errno),
            },
            Failure::UnknownUser { user } => Self::UnknownUser { user },
            Failure::UnknownGroup { group } => Self::UnknownGroup { group },
        }
    }
}

/// One end of a socket for messages with descriptors.
#[derive(Debug)]
pub(crate) struct Channel(UnixStream);

/// The most descriptors a message carries: pidfd and terminal.
const MOST_DESCRIPTORS: usize = 2;

impl Channel {
    /// Creates two connected ends, both closed by `execve`.
    pub(crate) fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = UnixStream::pair()?;
        Ok((Self(one), Self(other)))
    }

    /// Sends a message and descriptors.
    pub(crate) fn send<T: Serialize>(
        &self,
        message: &T,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let body = serde_json::to_vec(message)?;
        let length = u32::try_from(body.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(descriptors));
        }
        let header = length.to_le_bytes();
        sendmsg(
            &self.0,
            &[IoSlice::new(&header)],
            &mut control,
            SendFlags::NOSIGNAL,
        )?;
        (&self.0).write_all(&body)
    }

    /// Receives a message and its descriptors, which `execve` closes; `None` when the other end is
    /// closed.
    pub(crate) fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let mut header = [0; 4];
        let mut descriptors = Vec::new();
        let count = self.receive_header(&mut header, &mut descriptors)?;
        if count == 0 {
            return Ok(None);
        }
        (&self.0).read_exact(&mut header[count..])?;
        let mut body = vec![0; u32::from_le_bytes(header) as usize];
        (&self.0).read_exact(&mut body)?;
        Ok(Some((serde_json::from_slice(&body)?, descriptors)))
    }

    fn receive_header(
        &self,
        header: &mut [u8; 4],
        descriptors: &mut Vec<OwnedFd>,
    ) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::io::retry_on_intr(|| {
            let mut slices = [IoSliceMut::new(header)];
            recvmsg(&self.0, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)
        });
        let count = match received {
            Ok(received) => received.bytes,
            Err(rustix::io::Errno::CONNRESET) => 0,
            Err(error) => return Err(error.into()),
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                descriptors.extend(fds);
            }
        }
        Ok(count)
    }

    /// Tells the other end to go on.
    pub(crate) fn send_go(&self) -> io::Result<()> {
        rustix::net::send(&self.0, &[1], SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Waits for the other end's "go"; an error when it is closed instead.
    pub(crate) fn wait_for_go(&self) -> io::Result<()> {
        (&self.0).read_exact(&mut [0])
    }
}

impl From<OwnedFd> for Channel {
    fn from(socket: OwnedFd) -> Self {
        Self(socket.into())
    }
}

impl From<Channel> for OwnedFd {
    fn from(channel: Channel) -> Self {
        channel.0.into()
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
