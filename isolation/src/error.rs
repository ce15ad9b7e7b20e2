//! What can go wrong, and at which step.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Why a sandbox could not be started, or its end not be learnt.
///
/// The text names the step, the path and the kernel's answer in one line, as `docker` does; it is
/// complete in itself, so no source is offered beside it.
#[derive(Debug)]
pub enum Error {
    /// A step of the set-up failed.
    Setup {
        /// What was attempted.
        step: Step,
        /// On which path, where there is one.
        path: Option<PathBuf>,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The set-up succeeded, but the command could not be executed.
    Command {
        /// The command as given.
        command: String,
        /// The kernel's answer; `NotFound` for a command that is not in `PATH`.
        source: io::Error,
    },
    /// The root's `/etc/passwd` has no such user.
    UnknownUser {
        /// The user as given.
        user: String,
    },
    /// The root's `/etc/group` has no such group.
    UnknownGroup {
        /// The group as given.
        group: String,
    },
    /// No capability has this name.
    UnknownCapability {
        /// The name as given.
        name: String,
    },
    /// No subnet is left that does not collide with a network of the host.
    NoFreeSubnet {
        /// The bridge that wanted one.
        bridge: String,
    },
    /// All addresses of a bridge's subnet are in use.
    NoFreeAddress {
        /// The bridge.
        bridge: String,
    },
}

/// One thing that is done to set a sandbox up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each step's text says what it is")]
pub enum Step {
    StartSupervisor,
    ExchangeMessages,
    OpenProcess,
    JoinNamespace,
    CreateNamespaces,
    FindCgroups,
    CreateCgroup,
    ReadCgroup,
    WriteCgroup,
    JoinCgroup,
    RemoveCgroup,
    OpenNetlink,
    CreateBridge,
    RemoveBridge,
    CreateTranslation,
    ReadRoutes,
    EnableForwarding,
    ReadState,
    WriteState,
    ConnectToBridge,
    ConfigureNetwork,
    MakeMountsPrivate,
    CreateMountPoint,
    OpenBindSource,
    Mount(String),
    Unmount,
    CreateDevice,
    ChangeRoot,
    MaskPath,
    MakeReadOnly,
    SetHostname,
    OpenTerminal,
    SetStandardStreams,
    CreateWorkingDirectory,
    EnterWorkingDirectory,
    ReadUserDatabase,
    SetResourceLimit,
    SetUser,
    SetCapabilities,
    SetNoNewPrivileges,
    InstallSeccompFilter,
    CloseFiles,
    WaitForExit,
}

impl Error {
    /// Returns docker's exit code for a command that did not start: 127 when it was not found,
    /// 126 when it could not be executed, 125 for everything else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Command { source, .. } if source.kind() == io::ErrorKind::NotFound => 127,
            Self::Command { .. } => 126,
            _ => 125,
        }
    }
}

impl std::error::Error for Error {}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Setup {
                step,
                path: Some(path),
                source,
            } => {
                write!(f, "cannot {step} {}: {source}", path.display())
            }
            Self::Setup {
                step,
                path: None,
                source,
            } => write!(f, "cannot {step}: {source}"),
            Self::Command { command, source } => write_command(f, command, source),
            Self::UnknownUser { user } => {
                write!(
                    f,
                    "unable to find user {user}: no matching entries in passwd file"
                )
            }
            Self::UnknownGroup { group } => {
                write!(
                    f,
                    "unable to find group {group}: no matching entries in group file"
                )
            }
            Self::UnknownCapability { name } => write!(f, "unknown capability {name:?}"),
            Self::NoFreeSubnet { bridge } => {
                write!(
                    f,
                    "no free subnet for bridge {bridge}: all candidates collide with routes of the host"
                )
            }
            Self::NoFreeAddress { bridge } => {
                write!(f, "no free address on bridge {bridge}")
            }
        }
    }
}

/// Says what docker says about a command that cannot be executed.
fn write_command(
    f: &mut std::fmt::Formatter<'_>,
    command: &str,
    source: &io::Error,
) -> std::fmt::Result {
    let reason = match source.raw_os_error() {
        Some(libc::ENOENT) if !command.contains('/') => "executable file not found in $PATH",
        Some(libc::ENOENT) => "no such file or directory",
        Some(libc::EACCES) => "permission denied",
        Some(libc::ENOEXEC) => "exec format error",
        Some(libc::EISDIR) => "is a directory",
        _ => return write!(f, "exec: {command:?}: {source}"),
    };
    write!(f, "exec: {command:?}: {reason}")
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Mount(what) => return write!(f, "mount {what} on"),
            Self::StartSupervisor => "start the sandbox's supervisor",
            Self::ExchangeMessages => "exchange messages with the sandbox",
            Self::OpenProcess => "open the process",
            Self::JoinNamespace => "join the namespace",
            Self::CreateNamespaces => "create the namespaces",
            Self::FindCgroups => "find the cgroup hierarchies in",
            Self::CreateCgroup => "create the cgroup",
            Self::ReadCgroup => "read the cgroup file",
            Self::WriteCgroup => "write the cgroup file",
            Self::JoinCgroup => "join the cgroup",
            Self::RemoveCgroup => "remove the cgroup",
            Self::OpenNetlink => "open a netlink socket",
            Self::CreateBridge => "create the bridge",
            Self::RemoveBridge => "remove the bridge",
            Self::CreateTranslation => "create the address translation (nftables) of bridge",
            Self::ReadRoutes => "read the host's routes",
            Self::EnableForwarding => "enable forwarding in",
            Self::ReadState => "read the network's state",
            Self::WriteState => "write the network's state",
            Self::ConnectToBridge => "connect to the bridge",
            Self::ConfigureNetwork => "configure the network interface",
            Self::MakeMountsPrivate => "make the mounts private",
            Self::CreateMountPoint => "create the mount point",
            Self::OpenBindSource => "open the bind mount's source",
            Self::Unmount => "unmount",
            Self::CreateDevice => "create the device",
            Self::ChangeRoot => "change the root to",
            Self::MaskPath => "mask",
            Self::MakeReadOnly => "make read-only",
            Self::SetHostname => "set the host name",
            Self::OpenTerminal => "open a terminal",
            Self::SetStandardStreams => "set the standard streams",
            Self::CreateWorkingDirectory => "create the working directory",
            Self::EnterWorkingDirectory => "enter the working directory",
            Self::ReadUserDatabase => "read",
            Self::SetResourceLimit => "set the resource limit",
            Self::SetUser => "change the user",
            Self::SetCapabilities => "set the capabilities",
            Self::SetNoNewPrivileges => "set no_new_privs",
            Self::InstallSeccompFilter => "install the seccomp filter",
            Self::CloseFiles => "close the inherited files",
            Self::WaitForExit => "learn how the sandbox ended",
        })
    }
}

/// Turns the kernel's answer into an [`Error`] that says what was attempted.
pub(crate) trait At<T> {
    /// Names the step.
    fn at(self, step: Step) -> Result<T, Error>;
    /// Names the step and the path.
    fn at_path(self, step: Step, path: impl AsRef<Path>) -> Result<T, Error>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, step: Step) -> Result<T, Error> {
        self.map_err(|source| Error::Setup {
            step,
            path: None,
            source: source.into(),
        })
    }

    fn at_path(self, step: Step, path: impl AsRef<Path>) -> Result<T, Error> {
        self.map_err(|source| Error::Setup {
            step,
            path: Some(path.as_ref().to_path_buf()),
            source: source.into(),
        })
    }
}
