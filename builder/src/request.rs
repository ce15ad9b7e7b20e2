//! What a build is asked for, as plain data.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use mica_isolation::{CgroupLimits, ResourceLimit, WhenIdle};
use mica_oci::{Descriptor, DiffId, Platform, Reference};
use mica_store::{Image, Origin};

use crate::event::{Event, StepId};
use crate::exchange::{CacheExport, CacheSource, MountImport};
use crate::remote::{Download, GitReference};

/// Everything that decides a build's result, and how steps are run.
#[derive(Clone, Debug)]
pub struct BuildRequest {
    /// The Dockerfile.
    pub dockerfile: DockerfileSource,
    /// The directory that `COPY` and `ADD` read from; absent for a Dockerfile alone.
    pub context: Option<PathBuf>,
    /// The text of the ignore file with its name, when there is one.
    pub ignore: Option<DockerfileSource>,
    /// `--build-context`: other sources that `FROM` and `--from` may name.
    pub named_contexts: BTreeMap<String, NamedContext>,
    /// `--build-arg`.
    pub build_args: BTreeMap<String, String>,
    /// `--label`: added to the image's labels.
    pub labels: BTreeMap<String, String>,
    /// `--target`: a stage's name or number; the last stage when absent.
    pub target: Option<String>,
    /// What the image is to run on.
    pub platform: Platform,
    /// What the build itself runs on.
    pub build_platform: Platform,
    /// Whether results of earlier builds are used.
    pub cache: CachePolicy,
    /// Whether the image's configuration keeps the records of its steps: `--cache-to type=inline`.
    pub inline_cache: bool,
    /// `--secret`, by id.
    pub secrets: BTreeMap<String, SecretSource>,
    /// `--ssh`, by id.
    pub ssh: BTreeMap<String, SshSource>,
    /// `--allow`: what steps may ask for that goes beyond the sandbox.
    pub entitlements: Entitlements,
    /// How RUN steps are confined and connected.
    pub sandbox: Sandbox,
    /// The time that stands for now in everything the build writes.
    pub now: Timestamp,
    /// A time that was given for that (`SOURCE_DATE_EPOCH`): nothing in the configuration is later.
    pub epoch: Option<Timestamp>,
    /// `--squash`: which of the image's own layers become one.
    pub squash: Option<Squash>,
}

/// Which of an image's own layers become one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Squash {
    /// All that the base image does not have.
    All,
    /// Those from a stage, or from a numbered step of the target, on.
    From(String),
}

/// A layer of the image that is being built; no more is going to change in it.
#[derive(Clone, Debug)]
pub struct SealedLayer {
    /// How a manifest names it.
    pub descriptor: Descriptor,
    /// Its tar stream.
    pub diff_id: DiffId,
    /// Whether the base image brought it.
    pub origin: Origin,
    /// The time that stands for now, where one was given.
    pub epoch: Option<Timestamp>,
}

/// A file of instructions or patterns.
#[derive(Clone, Debug)]
pub struct DockerfileSource {
    /// Its name as the user knows it, for messages.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// A source of files or of a base, named by `--build-context`.
#[derive(Clone, Debug)]
pub enum NamedContext {
    /// A directory.
    Directory(PathBuf),
    /// An image.
    Image(Box<Image>),
    /// A git repository, fetched when a step asks for it.
    Git(Box<GitReference>),
    /// A file or an archive over HTTP, fetched when a step asks for it.
    Url(String),
    /// A stage of the Dockerfile itself.
    Stage(String),
}

/// Whether results of earlier builds are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CachePolicy {
    /// All of them.
    Use,
    /// None: `--no-cache`.
    Ignore,
    /// None for these stages: `--no-cache-filter`.
    IgnoreStages(BTreeSet<String>),
}

/// Where a secret comes from.
#[derive(Clone, Debug)]
pub enum SecretSource {
    /// The content of a file.
    File(PathBuf),
    /// This very value, taken from the environment by the caller.
    Value(Vec<u8>),
}

/// Where the keys of a `--mount=type=ssh` are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SshSource {
    /// At the socket of an agent.
    Agent(PathBuf),
    /// In files, which an agent of the build's own takes for as long as a step runs.
    Keys(Vec<PathBuf>),
}

/// What steps may ask for that goes beyond the sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entitlements {
    /// `network.host`: the host's network.
    pub host_network: bool,
    /// `security.insecure`: all privileges.
    pub insecure: bool,
    /// `device`: any device.
    pub all_devices: bool,
    /// `device=NAME`: these devices.
    pub devices: BTreeSet<String>,
}

/// How RUN steps are confined and connected.
#[derive(Clone, Debug)]
pub struct Sandbox {
    /// Where run state lives: `/run/mica`.
    pub runroot: PathBuf,
    /// The bridge that steps are connected to.
    pub bridge: String,
    /// What becomes of the bridge after the build.
    pub bridge_when_idle: WhenIdle,
    /// The network of steps that ask for none in particular.
    pub network: NetworkMode,
    /// `/etc/resolv.conf` of a step, as text.
    pub resolv_conf: String,
    /// The same for a step in the host's network, where the host's own name servers answer.
    pub host_resolv_conf: String,
    /// `--add-host`: address by name.
    pub hosts: BTreeMap<String, String>,
    /// A bundle of certificate authorities in PEM that steps trust; it leaves no trace.
    pub ca_bundle: Option<PathBuf>,
    /// The size of `/dev/shm` in bytes.
    pub shm_size: u64,
    /// `--ulimit`.
    pub resource_limits: Vec<ResourceLimit>,
    /// Limits on memory and CPU of each step.
    pub limits: CgroupLimits,
    /// `--cgroup-parent`: the cgroup that those of the steps are made in.
    pub cgroup_parent: Option<PathBuf>,
    /// How many steps may run at once.
    pub parallelism: usize,
    /// How much memory steps that run at once may need together, in bytes.
    pub memory: Option<u64>,
}

/// The network of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkMode {
    /// A network namespace on the build's bridge.
    Bridge,
    /// The host's network.
    Host,
    /// Only loopback.
    None,
}

/// What a build asks of the program around it.
pub trait BaseImages: Download {
    /// Finds an image in the store or pulls it. What a transfer does is told of `step`.
    fn image(
        &self,
        step: StepId,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<Image, Box<dyn std::error::Error + Send + Sync>>;

    /// Takes a progress event.
    fn event(&self, event: Event);

    /// Takes a layer that the image will have, while the build goes on.
    fn layer(&self, layer: SealedLayer);

    /// Returns where caches are imported from, the most wanted first.
    fn cache_sources(&self) -> &[Arc<dyn CacheSource>] {
        &[]
    }

    /// Returns which cache mounts are imported before the build.
    fn mount_imports(&self) -> &[MountImport] {
        &[]
    }

    /// Returns where the build's cache is exported to.
    fn cache_exports(&self) -> &[CacheExport] {
        &[]
    }
}
