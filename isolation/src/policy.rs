//! Defaults: docker's, for what a caller does not say.

use std::path::PathBuf;

use crate::spec::{Capabilities, Namespaces, Network, PathPolicy, Process, Seccomp, Share};

/// What docker hides: files that tell of the host or that act on it.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// What docker makes read-only.
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

impl PathPolicy {
    /// Returns docker's masked and read-only paths.
    pub fn default_profile() -> Self {
        Self {
            masked: MASKED.iter().map(PathBuf::from).collect(),
            readonly: READ_ONLY.iter().map(PathBuf::from).collect(),
        }
    }
}

impl Process {
    /// Returns a process that runs a command as root in `/`, with docker's default `PATH`,
    /// capabilities and filter, and without a terminal.
    pub fn new<Arguments>(args: Arguments) -> Self
    where
        Arguments: IntoIterator,
        Arguments::Item: Into<String>,
    {
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        Self {
            args: args.into_iter().map(Into::into).collect(),
            env: vec![path.to_string()],
            working_directory: PathBuf::from("/"),
            user: String::new(),
            additional_groups: Vec::new(),
            capabilities: Capabilities::DEFAULT,
            seccomp: Seccomp::Default,
            no_new_privileges: false,
            resource_limits: Vec::new(),
            terminal: None,
        }
    }
}

impl Namespaces {
    /// Returns new namespaces of every kind around the given network.
    pub fn private(network: Network) -> Self {
        Self {
            network,
            pid: Share::Private,
            ipc: Share::Private,
            uts: Share::Private,
        }
    }
}
