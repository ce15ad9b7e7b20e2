//! RUN: a command in an ephemeral sandbox, whose changes become a layer.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use mica_dockerfile::{Instruction, RunInstruction, RunNetwork, RunScript, RunSecurity};
use mica_isolation::{
    Capabilities, CgroupLimits, CgroupSpec, Exit, Namespaces, Network, PathPolicy, Process,
    SandboxSpec, Seccomp,
};
use mica_oci::{Access, Mount, MountKind, Platform};
use mica_store::{ActiveSnapshot, Durability, Layer, SnapshotKind};

use crate::cache::Ground;
use crate::copy::Group;
use crate::devices::{self, DeviceEdits};
use crate::error::ErrorKind;
use crate::event::{Event, StepId, Stream};
use crate::explain::Inputs;
use crate::history;
use crate::kept;
use crate::key::CacheKey;
use crate::lanes::NetworkLane;
use crate::mounts::{RunMounts, StepFiles};
use crate::request::{BuildRequest, NetworkMode, Sandbox};
use crate::stage::{StageBuild, Step};
use crate::state::StageState;
use crate::variables::proxies;

/// The host name of steps, as BuildKit has it: builds that ask for it find what they expect.
pub(crate) const HOSTNAME: &str = "buildkitsandbox";

/// Returns the host name of steps.
pub(crate) fn hostname(request: &BuildRequest) -> &str {
    request
        .build_args
        .get("BUILDKIT_SANDBOX_HOSTNAME")
        .map_or(HOSTNAME, String::as_str)
}

/// `ENOEXEC`: the kernel knows no way to execute a file (execve(2)).
const NO_EXECUTABLE: i32 = 8;

/// How much of a failed command's output its error shows, in bytes.
const OUTPUT_TAIL: usize = 4096;

/// A RUN instruction with everything about it resolved.
struct Command {
    words: Vec<String>,
    /// What is shown for the command: all its words, as BuildKit shows them.
    shown: String,
    /// A script to bind into the sandbox: name and content.
    script: Option<(String, String)>,
    network: NetworkMode,
    security: RunSecurity,
    mounts: RunMounts,
    devices: DeviceEdits,
}

impl StageBuild<'_, '_> {
    /// Runs a RUN instruction, or reuses what an earlier build made of it.
    pub(crate) fn run_command(
        &self,
        state: &mut StageState,
        instruction: &Instruction,
        run: &RunInstruction,
        prefix: &str,
    ) -> Result<(), ErrorKind> {
        let command = self.command(state, run)?;
        let step = Step {
            name: format!("{prefix} {}", instruction.source),
            created_by: history::run(&shown_arguments(state), &command.words),
            key: run_key(state, &command),
            files: Box::new(|| command.mounts.groups().iter().map(Group::files).collect()),
            origin: None,
            ground: Ground::Same,
        };
        self.step(state, step, |state, id| self.execute(state, &command, id))
    }

    fn command(&self, state: &StageState, run: &RunInstruction) -> Result<Command, ErrorKind> {
        let allowed = &self.engine.request.entitlements;
        let (words, script) = match run.script() {
            RunScript::Exec(words) => (words.clone(), None),
            RunScript::Shell(text) => (in_shell(state, &text), None),
            RunScript::File { name, content } => {
                let path = format!("/dev/pipes/{name}");
                (in_shell(state, &path), Some((name, content)))
            }
        };
        let network = match run.network {
            RunNetwork::Default => self.engine.request.sandbox.network,
            RunNetwork::None => NetworkMode::None,
            RunNetwork::Host => NetworkMode::Host,
        };
        if network == NetworkMode::Host && !allowed.host_network {
            return Err(not_allowed("network.host"));
        }
        if run.security == RunSecurity::Insecure && !allowed.insecure {
            return Err(not_allowed("security.insecure"));
        }
        Ok(Command {
            shown: words.join(" "),
            words,
            script,
            network,
            security: run.security,
            mounts: self.run_mounts(state, run)?,
            devices: devices::find(&run.devices, allowed)?,
        })
    }

    fn execute(
        &self,
        state: &StageState,
        command: &Command,
        step: StepId,
    ) -> Result<Layer, ErrorKind> {
        let stack = state.stack()?;
        let _slot = self.engine.shared.slots.take();
        let script = command.script.as_ref();
        let files = StepFiles::new(self.engine.request, command.network, script)?;
        let mut mounts = files.mounts();
        let prepared = command.mounts.prepare(self)?;
        mounts.extend(command.devices.mounts.iter().cloned());
        mounts.extend(prepared.mounts.iter().cloned());
        let init = crate::mounts::init_entries(&mounts, &prepared);
        let snapshot = self
            .engine
            .store
            .prepare(&stack, SnapshotKind::Ephemeral, &init)?;
        let spec = self.sandbox(state, command, &snapshot, mounts);
        let settings = &self.engine.request.sandbox;
        let mut lane = self.engine.lanes.take(settings, command.network)?;
        let (exit, output) = self.supervise(state, &mut lane, &spec, &command.shown, step)?;
        if command.security == RunSecurity::Sandbox {
            // With all capabilities a step may have changed the network for those after it.
            self.engine.lanes.give_back(lane);
        }
        if exit.status.code() != 0 {
            self.keep_failure(state, step, snapshot)?;
            return Err(ErrorKind::Run {
                command: command.shown.clone(),
                code: exit.status.code(),
                out_of_memory: exit.out_of_memory,
                output,
            });
        }
        let (layer, committed) = snapshot.commit()?;
        self.engine.behind.drop((committed, files));
        Ok(layer)
    }

    /// Keeps the files of a failed step, to look at them later.
    fn keep_failure(
        &self,
        state: &StageState,
        step: StepId,
        snapshot: ActiveSnapshot,
    ) -> Result<(), ErrorKind> {
        let (layer, committed) = snapshot.commit()?;
        self.engine.behind.drop(committed);
        let site = self.site(state, None);
        let engine = self.engine;
        let id = kept::keep(engine.store, &engine.source, &site, &state.stack()?, &layer)?;
        engine.host.event(Event::Kept { step, id });
        Ok(())
    }

    /// Starts the sandbox, passes its output on, and waits for its end.
    fn supervise(
        &self,
        state: &StageState,
        lane: &mut NetworkLane,
        spec: &SandboxSpec,
        shown: &str,
        step: StepId,
    ) -> Result<(Exit, String), ErrorKind> {
        let (stdout, stdout_writer) = pipe()?;
        let (stderr, stderr_writer) = pipe()?;
        let failed = |source| self.not_started(&state.config.platform(), shown, source);
        let sandbox = lane.lane.spawn(spec, &stdout_writer, &stderr_writer);
        let sandbox = sandbox.map_err(failed)?;
        drop((stdout_writer, stderr_writer));
        let tail = std::sync::Mutex::new(Vec::new());
        let exit = std::thread::scope(|scope| {
            let forward = |stream, from| self.forward(step, stream, from, &tail);
            let errors = scope.spawn(move || forward(Stream::Stderr, stderr));
            let forward = |stream, from| self.forward(step, stream, from, &tail);
            forward(Stream::Stdout, stdout);
            // Both ends are at end of file only when every process of the sandbox is gone or let
            // go of them; the output is complete from here on.
            let _ = errors.join();
            sandbox.wait()
        });
        let tail = tail
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok((
            exit.map_err(failed)?,
            String::from_utf8_lossy(&tail).into_owned(),
        ))
    }

    /// A command for another kind of processor fails to start in its own way.
    fn not_started(
        &self,
        platform: &Platform,
        shown: &str,
        source: mica_isolation::Error,
    ) -> ErrorKind {
        let build_platform = &self.engine.request.build_platform;
        let is_foreign = platform.architecture != build_platform.architecture;
        match source {
            mica_isolation::Error::Command { source, .. }
                if is_foreign && source.raw_os_error() == Some(NO_EXECUTABLE) =>
            {
                ErrorKind::Foreign {
                    command: shown.to_owned(),
                    platform: platform.to_string(),
                }
            }
            source => ErrorKind::Start {
                command: shown.to_owned(),
                source,
            },
        }
    }

    fn forward(
        &self,
        step: StepId,
        stream: Stream,
        from: OwnedFd,
        tail: &std::sync::Mutex<Vec<u8>>,
    ) {
        let mut from = File::from(from);
        let mut buffer = vec![0; 32 * 1024];
        while let Ok(count) = from.read(&mut buffer) {
            if count == 0 {
                break;
            }
            let bytes = buffer[..count].to_vec();
            if let Ok(mut tail) = tail.lock() {
                tail.extend_from_slice(&bytes);
                let excess = tail.len().saturating_sub(OUTPUT_TAIL);
                tail.drain(..excess);
            }
            self.engine.host.event(Event::Output {
                step,
                stream,
                bytes,
            });
        }
    }

    fn sandbox(
        &self,
        state: &StageState,
        command: &Command,
        snapshot: &ActiveSnapshot,
        mounts: Vec<Mount>,
    ) -> SandboxSpec {
        let settings = &self.engine.request.sandbox;
        let insecure = command.security == RunSecurity::Insecure;
        let has_cgroup =
            settings.limits != CgroupLimits::default() || settings.cgroup_parent.is_some();
        let cgroup = has_cgroup.then(|| CgroupSpec {
            path: cgroup_parent(settings).join(format!("build-{}", snapshot.id())),
            limits: settings.limits.clone(),
        });
        SandboxSpec {
            root: snapshot.mount(Durability::Volatile),
            mount_point: snapshot.root().to_owned(),
            root_access: Access::ReadWrite,
            mounts,
            shm_size: settings.shm_size,
            // The network is the lane's.
            namespaces: Namespaces::private(Network::Host),
            hostname: Some(hostname(self.engine.request).to_owned()),
            cgroup,
            paths: if insecure {
                PathPolicy::default()
            } else {
                PathPolicy::default_profile()
            },
            process: self.process(state, command, insecure),
        }
    }

    fn process(&self, state: &StageState, command: &Command, insecure: bool) -> Process {
        let settings = &self.engine.request.sandbox;
        let mut env = state.environment();
        if state.variables.get("HOSTNAME").is_none() {
            env.push(format!("HOSTNAME={}", hostname(self.engine.request)));
        }
        env.extend(proxies(self.engine.request));
        env.extend(command.mounts.environment());
        env.extend(command.devices.environment.iter().cloned());
        env.extend(StepFiles::trust(settings));
        Process {
            args: command.words.clone(),
            env,
            working_directory: state.absolute(".").into(),
            user: state.config.config.user.clone(),
            additional_groups: Vec::new(),
            capabilities: if insecure {
                Capabilities::ALL
            } else {
                Capabilities::DEFAULT
            },
            seccomp: if insecure {
                Seccomp::Unconfined
            } else {
                Seccomp::Default
            },
            no_new_privileges: false,
            resource_limits: settings.resource_limits.clone(),
            terminal: None,
        }
    }
}

fn in_shell(state: &StageState, text: &str) -> Vec<String> {
    let mut words = state.shell();
    words.push(text.to_owned());
    words
}

/// The arguments that a history text names: those that have a value.
fn shown_arguments(state: &StageState) -> Vec<(String, String)> {
    let value = |name: &String, own: &Option<String>| {
        state
            .variables
            .get(name)
            .map(str::to_owned)
            .or_else(|| own.clone())
    };
    let shown = state.arguments.iter();
    shown
        .filter_map(|(name, own)| Some((name.clone(), value(name, own)?)))
        .collect()
}

/// What decides the result of a RUN step. Proxies, secrets' values and the CA bundle do not.
fn run_key(state: &StageState, command: &Command) -> (CacheKey, Inputs) {
    let script = command.script.as_ref().map(|(_, content)| content.as_str());
    let environment = state.environment();
    CacheKey::of("run")
        .parent(&state.key)
        .text("platform", &state.config.platform().to_string())
        .list("command", command.words.iter().map(String::as_str))
        .list("script", script)
        .list("environment", environment.iter().map(String::as_str))
        .text("directory", &state.absolute("."))
        .text("user", &state.config.config.user)
        .text("network", &format!("{:?}", command.network))
        .text("security", &format!("{:?}", command.security))
        .list("mounts", command.mounts.inputs().iter().map(String::as_str))
        .list("devices", command.devices.names.iter().map(String::as_str))
        .finish_with_inputs()
}

fn not_allowed(entitlement: &str) -> ErrorKind {
    ErrorKind::NotAllowed {
        entitlement: entitlement.to_owned(),
    }
}

/// Where the steps' cgroups are made: an absolute parent counts from each hierarchy's root.
fn cgroup_parent(settings: &Sandbox) -> PathBuf {
    match &settings.cgroup_parent {
        Some(parent) => parent.strip_prefix("/").unwrap_or(parent).to_owned(),
        None => PathBuf::from("mica"),
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd), ErrorKind> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|error| ErrorKind::io("create", "a pipe")(error.into()))
}

/// A bind mount.
pub(crate) fn bind(
    source: impl Into<PathBuf>,
    target: impl Into<PathBuf>,
    access: Access,
) -> Mount {
    Mount {
        kind: MountKind::Bind {
            source: source.into(),
        },
        target: target.into(),
        access,
    }
}
