//! How a container is: `state.json`, and what the monitor's lock adds to it.
//!
//! The monitor holds `<runroot>/containers/<id>/monitor.lock` as long as it lives. A state that
//! says "running" without a holder of the lock is that of a monitor that was killed, or of the
//! time before a reboot: the container has ended, for it ends with its monitor.

use std::net::Ipv4Addr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::PublishedPort;
use crate::record::VERSION;

/// The last known state of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The version of the format.
    pub version: u32,
    /// What it does.
    pub status: Status,
    /// The PID of its first process on the host; 0 when it does not run.
    pub pid: i32,
    /// How it ended last; 0 before that.
    pub exit_code: u8,
    /// Whether a process of it was killed for its memory limit.
    pub oom_killed: bool,
    /// Why it could not be started, or how its monitor failed; mostly empty.
    pub error: String,
    /// When it was started last.
    pub started: Option<Timestamp>,
    /// When it ended last.
    pub finished: Option<Timestamp>,
    /// Its address on the bridge while it runs.
    pub address: Option<Address>,
    /// The ports that are published while it runs.
    pub ports: Vec<PublishedPort>,
}

/// What a container does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It was never started.
    Created,
    /// It runs.
    Running,
    /// It runs, but its processes are frozen.
    Paused,
    /// It has ended.
    Exited,
}

/// An address on a bridge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The container's own.
    pub address: Ipv4Addr,
    /// The length of the network prefix.
    pub prefix: u8,
    /// The bridge's.
    pub gateway: Ipv4Addr,
}

/// The exit code of a container whose end nobody saw: it was killed.
const KILLED: u8 = 137;

impl State {
    /// The state of a new container.
    pub(crate) fn created() -> Self {
        Self {
            version: VERSION,
            status: Status::Created,
            pid: 0,
            exit_code: 0,
            oom_killed: false,
            error: String::new(),
            started: None,
            finished: None,
            address: None,
            ports: Vec::new(),
        }
    }

    /// The state of a container that runs as `pid` since now.
    pub(crate) fn running(pid: i32) -> Self {
        Self {
            status: Status::Running,
            pid,
            started: Some(Timestamp::now()),
            ..Self::created()
        }
    }

    /// The state after the end, now.
    pub(crate) fn exited(&self, exit_code: u8) -> Self {
        Self {
            status: Status::Exited,
            pid: 0,
            exit_code,
            finished: Some(Timestamp::now()),
            address: None,
            ports: Vec::new(),
            ..self.clone()
        }
    }

    /// The state after the monitor was lost.
    pub(crate) fn abandoned(&self) -> Self {
        let error = "the container's monitor ended unexpectedly".to_owned();
        Self {
            error,
            ..self.exited(KILLED)
        }
    }

    /// Tells whether it runs, paused or not.
    pub fn is_running(&self) -> bool {
        matches!(self.status, Status::Running | Status::Paused)
    }
}

impl Status {
    /// Returns docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Exited => "exited",
        }
    }
}
