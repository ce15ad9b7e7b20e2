//! The shared isolation core. Knows nothing of images.
//!
//! ```text
//! caller (any threads)                     fresh single-threaded process        PID 1 of the sandbox
//! spawn(spec) ── exec /proc/self/exe ────▶ reads the spec
//!                                          clone3(new namespaces) ────────────▶ waits
//!   cgroup, veth, id maps  ◀── pid ─────── exits
//!   "go" ────────────────────────────────────────────────────────────────────▶ mounts, pivot_root,
//!                                                                              drops rights, execve
//!   Sandbox ◀─────────────────────────────── "started", or the failed step with path and errno
//! ```
//!
//! The binary that uses this crate must call [`run_child_if_requested`] first thing in `main`.

mod attach;
mod capabilities;
pub mod cgroup;
mod error;
mod heap;
mod init;
mod lane;
mod lane_supervisor;
mod launch;
mod message;
mod mounts;
pub mod network;
mod open_files;
mod policy;
mod probe;
mod process;
mod root;
mod seccomp;
mod seccomp_filter;
mod seccomp_profile;
mod spec;
mod standing;
mod supervisor;
mod sys;
mod terminal;
mod user;

pub use cgroup::Cgroup;
pub use error::{Error, Step};
pub use heap::return_large_buffers;
pub use lane::{Lane, LaneSandbox};
pub use launch::{ExecTarget, Sandbox, exec, spawn};
pub use open_files::{lower_open_files, raise_open_files};
pub use probe::{CgroupReport, HostReport, Obstacle, Rung, RungReport, probe};
pub use root::takes_overlay;
pub use spec::{
    BridgeAttachment, Capabilities, CgroupLimits, CgroupSpec, Exit, ExitStatus, Namespaces,
    Network, PathPolicy, Process, Resource, ResourceLimit, SandboxSpec, Seccomp, Share, Stdio,
    Usage, WhenIdle, WindowSize,
};
pub use standing::{mount, unmount};
pub use supervisor::{keep_inherited_files, run_child_if_requested};
pub use terminal::resize_terminal;
