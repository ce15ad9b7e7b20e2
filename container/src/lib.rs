//! Containers: made of an image, started behind a monitor of their own, and committed to images.
//!
//! ```text
//! <root>/containers/<id>/     config.json      what it is to be
//!                             state.json       how it was last seen
//!                             hosts hostname resolv.conf
//!                             <id>-json.log    docker's json-file format
//!                             lock             held while it is started, renamed or removed
//!        containers/names/<name> -> <id>
//!        volumes/<name>/      _data volume.json
//!        snapshots/<id>/      the store's: its read-write layer and its Init layer
//! <runroot>/containers/<id>/  monitor.lock     held by its monitor as long as that lives
//!                             attach.sock      where its monitor listens
//! <runroot>/network/          the bridge's state
//! ```
//!
//! There is no daemon: each running container has a process of its own, its monitor, and every
//! other process works on the files above and talks to monitors.
//!
//! A program that uses this crate must call [`mica_isolation::run_child_if_requested`] and
//! [`run_monitor_if_requested`] first thing in `main`.

mod attach;
mod bridge;
mod changes;
mod commit;
mod containers;
mod control;
mod copy;
mod copy_in;
mod create;
mod duration;
mod error;
mod etc_files;
mod exec;
mod exec_detached;
mod export;
mod id;
mod inspect;
mod listing;
mod lock;
mod logs;
mod merge;
mod monitor;
mod mounts;
mod names;
mod options;
mod ports;
mod protocol;
mod record;
mod remove;
mod sandbox;
mod signal;
mod socket;
mod start;
mod state;
mod top;
mod volumes;

pub use attach::{AttachEnd, AttachStdio, Attachment, Controller, DetachKeys};
pub use bridge::{name as bridge_name, when_idle as bridge_when_idle};
pub use changes::{Change, ChangeKind};
pub use commit::{CommitOptions, ConfigChange};
pub use containers::Containers;
pub use control::{StopOptions, StopTimeout};
pub use copy::ContainerFiles;
pub use duration::human_duration;
pub use error::Error;
pub use exec::{ExecController, ExecOptions, ExecSession};
pub use id::ContainerId;
pub use inspect::Size;
pub use listing::{Sizes, Summary};
pub use logs::{LogOptions, LogStream};
pub use monitor::run_monitor_if_requested;
pub use mounts::{TmpfsMount, VolumeMount, VolumeSource};
pub use options::{CreateOptions, HostSettings, NetworkMode, OptionError, parse_resource_limit};
pub use ports::{PortMapping, Protocol, PublishedPort};
pub use protocol::Streams;
pub use record::{ContainerRecord, MountPoint, VolumeName};
pub use remove::RemoveOptions;
pub use signal::parse_signal;
pub use state::{Address, State, Status};
pub use top::ProcessInfo;
pub use volumes::{Prune, Volume, Volumes};
