//! A shell in the state before or after a step of a past build, failed ones included.
//!
//! It runs as the step ran, on a snapshot of its own that goes with it. Mounts of the step are not
//! there: their sources may be gone, and a secret is not kept.

use std::fs;

use mica_isolation::network::{Bridge, Lease};
use mica_isolation::{
    Capabilities, Namespaces, Network, PathPolicy, Process, SandboxSpec, Seccomp, Stdio, WindowSize,
};
use mica_oci::{Access, ChainId, Mount};
use mica_store::{
    ActiveSnapshot, Durability, InitEntry, InitKind, SnapshotKind, Stack, Store, UseLock,
};
use tempfile::TempDir;

use crate::builds::BuildStep;
use crate::error::ErrorKind;
use crate::event::{Outcome, StepSite};
use crate::kept;
use crate::request::{NetworkMode, Sandbox};
use crate::run::{HOSTNAME, bind};

/// Which state of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before it ran.
    Before,
    /// After it ran, or failed.
    After,
}

/// What to run, and how.
#[derive(Clone, Debug)]
pub struct ShellRequest {
    /// Which state.
    pub moment: Moment,
    /// The command and its arguments; the step's shell when it is empty.
    pub command: Vec<String>,
    /// `NAME=value`, besides the step's.
    pub env: Vec<String>,
    /// In place of the step's user.
    pub user: Option<String>,
    /// In place of the step's working directory.
    pub directory: Option<String>,
    /// The size of a terminal to make for it.
    pub terminal: Option<WindowSize>,
    /// The network and the other settings of a step.
    pub sandbox: Sandbox,
}

/// A running shell and what it stands on; all that it writes goes when this is dropped.
#[derive(Debug)]
pub struct Shell {
    /// The sandbox.
    pub sandbox: mica_isolation::Sandbox,
    /// What has to stay until it ends.
    pub ground: ShellGround,
}

/// What a shell stands on. Dropped after the sandbox has ended.
#[derive(Debug)]
pub struct ShellGround {
    _snapshot: ActiveSnapshot,
    _files: TempDir,
    _network: Option<(Lease, Bridge)>,
    _in_use: UseLock,
}

/// Why there is no shell.
#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    /// It is no step of the Dockerfile.
    #[error("\"{0}\" is no step of the Dockerfile")]
    NoStep(String),
    /// The step failed without leaving files: it was a COPY, say.
    #[error("nothing is kept of the failed step \"{0}\"")]
    NothingKept(String),
    /// The files were removed since.
    #[error("the files of step \"{0}\" are not there any more")]
    Gone(String),
    /// It could not be opened.
    #[error(transparent)]
    Build(#[from] ErrorKind),
}

/// Opens a shell in the state of a step.
///
/// # Errors
/// [`ShellError::Gone`] when the files were removed; otherwise those of a step.
pub fn open_shell(
    store: &Store,
    step: &BuildStep,
    request: &ShellRequest,
    stdio: Stdio,
) -> Result<Shell, ShellError> {
    let Some(site) = &step.site else {
        return Err(ShellError::NoStep(step.name.clone()));
    };
    let in_use = store.hold().map_err(ErrorKind::from)?;
    let stack = stack(store, step, request.moment)?;
    let (files, mounts) = name_service(&request.sandbox)?;
    let snapshot = store
        .prepare(&stack, SnapshotKind::Ephemeral, &mount_points(&mounts))
        .map_err(ErrorKind::from)?;
    let network = network(&request.sandbox)?;
    let attached = match (&network, request.sandbox.network) {
        (Some((lease, _)), _) => Network::Bridge(lease.attachment()),
        (None, NetworkMode::Host) => Network::Host,
        (None, _) => Network::None,
    };
    let process = process(site, request);
    let command = process.args.join(" ");
    let spec = SandboxSpec {
        root: snapshot.mount(Durability::Volatile),
        mount_point: snapshot.root().to_owned(),
        root_access: Access::ReadWrite,
        mounts,
        shm_size: request.sandbox.shm_size,
        namespaces: Namespaces::private(attached),
        hostname: Some(HOSTNAME.to_owned()),
        cgroup: None,
        paths: PathPolicy::default_profile(),
        process,
    };
    let sandbox = mica_isolation::spawn(&spec, stdio)
        .map_err(|source| ErrorKind::Start { command, source })?;
    Ok(Shell {
        sandbox,
        ground: ShellGround {
            _snapshot: snapshot,
            _files: files,
            _network: network,
            _in_use: in_use,
        },
    })
}

/// Finds the layers of a state.
fn stack(store: &Store, step: &BuildStep, moment: Moment) -> Result<Stack, ShellError> {
    let gone = || ShellError::Gone(step.name.clone());
    let of_chain = |chain: Option<&ChainId>| match chain {
        None => Ok(Stack::default()),
        Some(chain) => {
            let found = store.stack_of_chain(chain).map_err(ErrorKind::from)?;
            found.ok_or_else(gone)
        }
    };
    match (moment, step.outcome, &step.kept) {
        (Moment::Before, ..) => of_chain(step.below.as_ref()),
        (Moment::After, Outcome::Failed | Outcome::Canceled, Some(kept)) => {
            kept::stack(store, kept)?.ok_or_else(gone)
        }
        (Moment::After, Outcome::Failed | Outcome::Canceled, None) => {
            Err(ShellError::NothingKept(step.name.clone()))
        }
        // A layer that was never sealed has no address.
        (Moment::After, ..) if step.chain.is_none() && step.is_counted() => Err(gone()),
        (Moment::After, ..) => of_chain(step.chain.as_ref()),
    }
}

fn process(site: &StepSite, request: &ShellRequest) -> Process {
    let mut env = site.env.clone();
    for entry in &request.env {
        let name = entry.split('=').next().unwrap_or(entry);
        env.retain(|known| known.split('=').next() != Some(name));
        env.push(entry.clone());
    }
    let named = |name: &str| {
        env.iter()
            .any(|entry| entry.split('=').next() == Some(name))
    };
    if request.terminal.is_some() && !named("TERM") {
        env.push("TERM=xterm".into());
    }
    let shell = || {
        site.shell
            .first()
            .cloned()
            .unwrap_or_else(|| "/bin/sh".into())
    };
    let args = match request.command.is_empty() {
        true => vec![shell()],
        false => request.command.clone(),
    };
    let directory = request.directory.as_ref().unwrap_or(&site.directory);
    Process {
        args,
        env,
        working_directory: directory.into(),
        user: request.user.clone().unwrap_or_else(|| site.user.clone()),
        additional_groups: Vec::new(),
        capabilities: Capabilities::DEFAULT,
        seccomp: Seccomp::Default,
        no_new_privileges: false,
        resource_limits: request.sandbox.resource_limits.clone(),
        terminal: request.terminal,
    }
}

/// Writes the files of the name service, and says where they are mounted.
fn name_service(settings: &Sandbox) -> Result<(TempDir, Vec<Mount>), ErrorKind> {
    let runroot = &settings.runroot;
    fs::create_dir_all(runroot).map_err(ErrorKind::io("create", runroot))?;
    let directory = tempfile::Builder::new()
        .prefix("shell-")
        .tempdir_in(runroot)
        .map_err(ErrorKind::io("create a directory in", runroot))?;
    let texts = [
        ("resolv.conf", settings.resolv_conf.clone()),
        (
            "hosts",
            format!("127.0.0.1\tlocalhost {HOSTNAME}\n::1\tlocalhost\n"),
        ),
        ("hostname", format!("{HOSTNAME}\n")),
    ];
    let mut mounts = Vec::new();
    for (name, text) in texts {
        let path = directory.path().join(name);
        fs::write(&path, text).map_err(ErrorKind::io("write", &path))?;
        mounts.push(bind(path, format!("/etc/{name}"), Access::ReadOnly));
    }
    Ok((directory, mounts))
}

fn mount_points(mounts: &[Mount]) -> Vec<InitEntry> {
    let directories = ["/dev", "/proc", "/sys"].map(|path| InitEntry {
        path: path.into(),
        kind: InitKind::Directory { mode: 0o755 },
    });
    let files = mounts.iter().map(|mount| InitEntry {
        path: mount.target.clone(),
        kind: InitKind::EmptyFile { mode: 0o644 },
    });
    directories.into_iter().chain(files).collect()
}

fn network(settings: &Sandbox) -> Result<Option<(Lease, Bridge)>, ErrorKind> {
    if settings.network != NetworkMode::Bridge {
        return Ok(None);
    }
    let state = settings.runroot.join("network");
    fs::create_dir_all(&state).map_err(ErrorKind::io("create", &state))?;
    let bridge = Bridge::ensure(&settings.bridge, &state, settings.bridge_when_idle)
        .map_err(ErrorKind::Network)?;
    let lease = bridge.lease().map_err(ErrorKind::Network)?;
    Ok(Some((lease, bridge)))
}
