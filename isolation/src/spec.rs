//! What a sandbox is made of, as plain data, and what comes out of it.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use mica_oci::{Access, Mount, MountKind};
use serde::{Deserialize, Serialize};

/// Everything needed to start one sandbox. The same type serves a RUN step and a container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// The root file system: an overlay or a bound directory.
    pub root: MountKind,
    /// An existing host directory that `root` is attached to, inside the sandbox's own mount
    /// namespace only: the host never sees the mount, and it goes with the sandbox.
    pub mount_point: PathBuf,
    /// Whether the root can be written.
    pub root_access: Access,
    /// Mounts in order, after the standard ones (`/proc`, `/dev`, `/sys`, …).
    pub mounts: Vec<Mount>,
    /// The size of `/dev/shm` in bytes.
    pub shm_size: u64,
    /// What is the sandbox's own and what is shared.
    pub namespaces: Namespaces,
    /// The host name, in a UTS namespace of its own.
    pub hostname: Option<String>,
    /// A control group of its own, with limits. `None` stays in the caller's.
    pub cgroup: Option<CgroupSpec>,
    /// Kernel files that are hidden or read-only.
    pub paths: PathPolicy,
    /// The process to run as PID 1.
    pub process: Process,
}

/// A control group to create for a sandbox.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CgroupSpec {
    /// Path below each hierarchy's root, such as `mica/<container id>`.
    pub path: PathBuf,
    /// The limits to set.
    pub limits: CgroupLimits,
}

/// Limits of a control group; `None` sets none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CgroupLimits {
    /// Memory in bytes, swap included unless `memory_swap` says otherwise.
    pub memory: Option<u64>,
    /// Memory and swap together, in bytes; -1 for no limit on swap.
    pub memory_swap: Option<i64>,
    /// CPU time: a quota as a number of CPUs, such as 0.5.
    pub cpus: Option<f64>,
    /// Relative CPU weight, in cgroup v1's shares (2 to 262144).
    pub cpu_shares: Option<u64>,
    /// CPUs to run on, such as `0-1`.
    pub cpuset: Option<String>,
    /// The number of processes and threads.
    pub pids: Option<u64>,
}

/// Which namespaces are new. Mount and cgroup namespaces always are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    /// The network namespace.
    pub network: Network,
    /// The PID namespace.
    pub pid: Share,
    /// The IPC namespace.
    pub ipc: Share,
    /// The UTS namespace.
    pub uts: Share,
}

/// Where a namespace comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Share {
    /// A new one.
    Private,
    /// The caller's.
    Host,
    /// That of a running process, by its PID in the caller's PID namespace.
    Process(i32),
}

/// Where the network comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// The caller's network namespace.
    Host,
    /// That of a running process.
    Process(i32),
    /// A new one in which only loopback is up.
    None,
    /// A new one, connected to a bridge of the host.
    Bridge(BridgeAttachment),
}

/// One end of a veth pair inside the sandbox, the other on a bridge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgeAttachment {
    /// The bridge's name on the host.
    pub bridge: String,
    /// The sandbox's address.
    pub address: Ipv4Addr,
    /// The length of the network prefix.
    pub prefix: u8,
    /// The default gateway: the bridge's own address.
    pub gateway: Ipv4Addr,
    /// The MTU of both ends, in bytes.
    pub mtu: u32,
    /// The state directory of the bridge, so that a sandbox whose caller was killed can remove a
    /// bridge that nobody uses any more.
    pub state_directory: PathBuf,
    /// What becomes of the bridge then.
    pub when_idle: WhenIdle,
}

/// What becomes of a bridge that nobody is on any more. To make and remove one takes longer than
/// all else that starts a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WhenIdle {
    /// It is removed.
    Remove,
    /// It stays for the next.
    Keep,
}

/// The process to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// The command and its arguments; a command without a slash is looked up in `PATH` of `env`.
    pub args: Vec<String>,
    /// `NAME=value`. `HOME` is added from the root's `/etc/passwd` when it is absent.
    pub env: Vec<String>,
    /// An absolute path inside the root; created (0755, root) when missing.
    pub working_directory: PathBuf,
    /// `user[:group]`, names or numbers, looked up in the root's `/etc/passwd` and `/etc/group`;
    /// empty is root.
    pub user: String,
    /// Additional groups, names or numbers.
    pub additional_groups: Vec<String>,
    /// The capabilities it keeps.
    pub capabilities: Capabilities,
    /// The system call filter.
    pub seccomp: Seccomp,
    /// Whether `execve` may never gain rights (`no_new_privs`).
    pub no_new_privileges: bool,
    /// Resource limits to set.
    pub resource_limits: Vec<ResourceLimit>,
    /// Whether a terminal is made: a new session with a pseudo terminal of the sandbox's own
    /// devpts as controlling terminal and standard streams.
    pub terminal: Option<WindowSize>,
}

/// A set of capabilities, bit `n` for capability number `n` (capabilities(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities(pub u64);

/// Which system calls are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seccomp {
    /// Docker's default profile.
    Default,
    /// No filter.
    Unconfined,
}

/// One resource limit (setrlimit(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceLimit {
    /// What is limited.
    pub resource: Resource,
    /// The soft limit; `u64::MAX` is none.
    pub soft: u64,
    /// The hard limit; `u64::MAX` is none.
    pub hard: u64,
}

/// What a resource limit is about: docker's `--ulimit` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are those of setrlimit(2)")]
pub enum Resource {
    Core,
    Cpu,
    Data,
    Fsize,
    Locks,
    Memlock,
    Msgqueue,
    Nice,
    Nofile,
    Nproc,
    Rss,
    Rtprio,
    Rttime,
    Sigpending,
    Stack,
}

/// Kernel files that are hidden (`/dev/null` or an empty directory over them) or read-only.
/// Absent ones are skipped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathPolicy {
    /// Hidden paths.
    pub masked: Vec<PathBuf>,
    /// Paths mounted read-only.
    pub readonly: Vec<PathBuf>,
}

/// Rows and columns of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    /// Lines of text.
    pub rows: u16,
    /// Characters a line.
    pub columns: u16,
}

/// The standard streams of a sandbox that has no terminal.
#[derive(Debug)]
pub enum Stdio {
    /// The caller's own.
    Inherit,
    /// These, in place of standard input, output and error.
    Files {
        /// Standard input; `/dev/null` when absent.
        stdin: Option<OwnedFd>,
        /// Standard output.
        stdout: OwnedFd,
        /// Standard error.
        stderr: OwnedFd,
    },
}

/// How a sandbox ended and what it used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// How PID 1 ended.
    pub status: ExitStatus,
    /// What it used.
    pub usage: Usage,
    /// Whether the kernel killed a process of the sandbox's cgroup for its memory limit.
    pub out_of_memory: bool,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitStatus {
    /// It called `exit`.
    Exited(u8),
    /// A signal ended it.
    Signaled(i32),
}

/// What a process and its reaped children used (getrusage(2)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// CPU time in user mode.
    pub user: Duration,
    /// CPU time in the kernel.
    pub system: Duration,
    /// The largest resident set, in bytes.
    pub peak_memory: u64,
}

impl ExitStatus {
    /// Returns the code a shell shows: a signal is 128 and its number.
    pub fn code(self) -> u8 {
        match self {
            Self::Exited(code) => code,
            Self::Signaled(signal) => 128_u8.saturating_add(u8::try_from(signal).unwrap_or(0)),
        }
    }
}
