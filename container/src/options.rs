//! What a container is made from: the image and what the command line says.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::str::FromStr;

use mica_isolation::{CgroupLimits, Resource, ResourceLimit};
use mica_store::Image;
use serde::{Deserialize, Serialize};

use crate::{PortMapping, TmpfsMount, VolumeMount};

/// What `create` and `run` are told. Absent values are the image's.
#[derive(Clone, Debug)]
pub struct CreateOptions {
    /// The image.
    pub image: Image,
    /// The image's name as the user gave it; shown by `ps`.
    pub reference: String,
    /// The container's name; made up when absent.
    pub name: Option<String>,
    /// What follows the image on the command line; replaces the image's `CMD` unless empty.
    pub args: Vec<String>,
    /// Replaces the image's `ENTRYPOINT` and drops its `CMD`; `[""]` and `[]` reset it.
    pub entrypoint: Option<Vec<String>>,
    /// `NAME=value`, complete: the command line's lookups in its own environment are done.
    pub env: Vec<String>,
    /// Replaces the image's working directory.
    pub working_dir: Option<String>,
    /// Replaces the image's user.
    pub user: Option<String>,
    /// The host name; the short ID when absent.
    pub hostname: Option<String>,
    /// Whether the process gets a terminal.
    pub tty: bool,
    /// Whether standard input is kept open.
    pub interactive: bool,
    /// Whether standard input closes with the first client that leaves: `run -i` without `-d`.
    pub stdin_once: bool,
    /// `-v`: volumes and bound paths, besides the volumes that the image asks for.
    pub volumes: Vec<VolumeMount>,
    /// `NAME=value` labels, besides the image's.
    pub labels: Vec<(String, String)>,
    /// Ports such as `80/tcp` to list, besides the image's.
    pub expose: Vec<String>,
    /// Replaces the image's stop signal.
    pub stop_signal: Option<String>,
    /// Replaces the image's time between stop signal and SIGKILL, in seconds; -1 waits for ever.
    pub stop_timeout: Option<i64>,
    /// How it is tied to the host.
    pub host: HostSettings,
}

impl CreateOptions {
    /// Makes options that leave all to the image.
    pub fn new(image: Image, reference: impl Into<String>) -> Self {
        Self {
            image,
            reference: reference.into(),
            name: None,
            args: Vec::new(),
            entrypoint: None,
            env: Vec::new(),
            working_dir: None,
            user: None,
            hostname: None,
            tty: false,
            interactive: false,
            stdin_once: false,
            volumes: Vec::new(),
            labels: Vec::new(),
            expose: Vec::new(),
            stop_signal: None,
            stop_timeout: None,
            host: HostSettings::default(),
        }
    }
}

/// How a container is tied to its host; docker's `HostConfig`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostSettings {
    /// The network.
    pub network: NetworkMode,
    /// Published ports.
    pub ports: Vec<PortMapping>,
    /// Whether all exposed ports are published, on ports that are free.
    pub publish_all: bool,
    /// Limits of the control group.
    pub limits: CgroupLimits,
    /// Whether the root file system is read-only.
    pub read_only: bool,
    /// Capabilities to add to the default ones.
    pub cap_add: Vec<String>,
    /// Capabilities to take from the default ones.
    pub cap_drop: Vec<String>,
    /// Whether all protection is off.
    pub privileged: bool,
    /// `seccomp=unconfined`, `no-new-privileges`.
    pub security_options: Vec<String>,
    /// The size of `/dev/shm` in bytes.
    pub shm_size: u64,
    /// Resource limits.
    pub resource_limits: Vec<ResourceLimit>,
    /// Memory file systems.
    pub tmpfs: Vec<TmpfsMount>,
    /// `name:address` lines for `/etc/hosts`; the address `host-gateway` is the bridge's own.
    pub extra_hosts: Vec<String>,
    /// Name servers, in place of the host's.
    pub dns: Vec<String>,
    /// Search domains, in place of the host's.
    pub dns_search: Vec<String>,
    /// Resolver options, in place of the host's.
    pub dns_options: Vec<String>,
    /// Additional groups.
    pub group_add: Vec<String>,
    /// Whether the container is removed when it ends.
    pub auto_remove: bool,
}

/// Docker's default size of `/dev/shm`.
const SHARED_MEMORY: u64 = 64 << 20;

impl Default for HostSettings {
    fn default() -> Self {
        Self {
            network: NetworkMode::Bridge,
            ports: Vec::new(),
            publish_all: false,
            limits: CgroupLimits::default(),
            read_only: false,
            cap_add: Vec::new(),
            cap_drop: Vec::new(),
            privileged: false,
            security_options: Vec::new(),
            shm_size: SHARED_MEMORY,
            resource_limits: Vec::new(),
            tmpfs: Vec::new(),
            extra_hosts: Vec::new(),
            dns: Vec::new(),
            dns_search: Vec::new(),
            dns_options: Vec::new(),
            group_add: Vec::new(),
            auto_remove: false,
        }
    }
}

/// A container's network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetworkMode {
    /// An address of its own on this run root's bridge.
    Bridge,
    /// The host's network.
    Host,
    /// Loopback only.
    None,
    /// That of another container, by name or ID; by full ID once the container is made.
    Container(String),
}

impl FromStr for NetworkMode {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "bridge" | "default" => Ok(Self::Bridge),
            "host" => Ok(Self::Host),
            "none" => Ok(Self::None),
            _ => match text.strip_prefix("container:") {
                Some("") => Err(OptionError::ContainerNetwork),
                Some(container) => Ok(Self::Container(container.to_owned())),
                None => Err(OptionError::NoSuchNetwork {
                    name: text.to_owned(),
                }),
            },
        }
    }
}

impl fmt::Display for NetworkMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bridge => f.write_str("bridge"),
            Self::Host => f.write_str("host"),
            Self::None => f.write_str("none"),
            Self::Container(container) => write!(f, "container:{container}"),
        }
    }
}

/// Says what is wrong with an option's value.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum OptionError {
    /// Not a port mapping.
    #[error("invalid port specification: {text:?}: {reason}")]
    Port {
        /// The text as given.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Not a volume.
    #[error("invalid volume specification: '{text}': {reason}")]
    Volume {
        /// The text as given.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Not a memory file system.
    #[error("invalid tmpfs option {text:?}")]
    Tmpfs {
        /// The text as given.
        text: String,
    },
    /// Two mounts at one place.
    #[error("Duplicate mount point: {target}")]
    DuplicateMount {
        /// The place.
        target: String,
    },
    /// A volume's name has a character that names do not have.
    #[error(
        "create {name}: {name:?} includes invalid characters for a local volume name, only \
         \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, \
         use absolute path"
    )]
    VolumeName {
        /// The name as given.
        name: String,
    },
    /// `container:` without a container.
    #[error("invalid container format container:<name|id>")]
    ContainerNetwork,
    /// There are no networks besides the built-in ones.
    #[error("network {name} not found")]
    NoSuchNetwork {
        /// The name as given.
        name: String,
    },
    /// Options that do not go together.
    #[error("conflicting options: {what}")]
    Conflict {
        /// Which.
        what: &'static str,
    },
    /// A security option that is not known.
    #[error("invalid --security-opt {text:?}")]
    Security {
        /// The text as given.
        text: String,
    },
    /// Not a resource limit.
    #[error("invalid ulimit argument: {text}")]
    ResourceLimit {
        /// The text as given.
        text: String,
    },
    /// Not a signal.
    #[error("invalid signal: {text}")]
    Signal {
        /// The text as given.
        text: String,
    },
    /// Not a `name:address` pair.
    #[error("bad format for add-host: {text:?}")]
    ExtraHost {
        /// The text as given.
        text: String,
    },
    /// Not a working directory.
    #[error("the working directory '{text}' is invalid, it needs to be an absolute path")]
    WorkingDirectory {
        /// The text as given.
        text: String,
    },
    /// Not a sequence of keys.
    #[error("invalid detach keys ({text}): unknown key")]
    DetachKeys {
        /// The text as given.
        text: String,
    },
    /// Not an instruction that a commit can apply.
    #[error("{instruction} is not a valid change command")]
    Change {
        /// The instruction.
        instruction: String,
    },
}

/// Reads docker's `--ulimit`: `name=soft[:hard]`, -1 for no limit.
///
/// # Errors
/// [`OptionError::ResourceLimit`].
pub fn parse_resource_limit(text: &str) -> Result<ResourceLimit, OptionError> {
    let error = || OptionError::ResourceLimit {
        text: text.to_owned(),
    };
    let (name, values) = text.split_once('=').ok_or_else(error)?;
    let resource: Resource = serde_json::from_value(name.into()).map_err(|_| error())?;
    let value = |text: &str| match text {
        "-1" | "unlimited" => Some(u64::MAX),
        _ => text.parse().ok(),
    };
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let (soft, hard) = (
        value(soft).ok_or_else(error)?,
        value(hard).ok_or_else(error)?,
    );
    if soft > hard {
        return Err(error());
    }
    Ok(ResourceLimit {
        resource,
        soft,
        hard,
    })
}

/// Splits docker's `--add-host`: `name:address` or `name=address`.
///
/// # Errors
/// [`OptionError::ExtraHost`].
pub(crate) fn split_extra_host(text: &str) -> Result<(&str, &str), OptionError> {
    let split = text.split_once('=').or_else(|| text.split_once(':'));
    let valid = |address: &str| {
        let bare = address.trim_start_matches('[').trim_end_matches(']');
        address == "host-gateway"
            || bare.parse::<Ipv4Addr>().is_ok()
            || bare.parse::<std::net::Ipv6Addr>().is_ok()
    };
    match split {
        Some((name, address)) if !name.is_empty() && valid(address) => Ok((name, address)),
        _ => Err(OptionError::ExtraHost {
            text: text.to_owned(),
        }),
    }
}

/// Checks that a path can be a working directory.
pub(crate) fn check_working_directory(text: &str) -> Result<(), OptionError> {
    match text.is_empty() || PathBuf::from(text).is_absolute() {
        true => Ok(()),
        false => Err(OptionError::WorkingDirectory {
            text: text.to_owned(),
        }),
    }
}
