//! What is mounted into a RUN step: the files every step gets, and `--mount`.

use std::collections::HashSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mica_dockerfile::{Mount as Declared, MountKind as DeclaredKind, RunInstruction};
use mica_oci::{Access, Mount, MountKind};
use mica_store::{InitEntry, InitKind};
use tempfile::TempDir;

use crate::context::ContextSource;
use crate::copy::Group;
use crate::error::ErrorKind;
use crate::request::{BuildRequest, NetworkMode, Sandbox, SecretSource};
use crate::run::{bind, hostname};
use crate::ssh::Agent;
use crate::stage::StageBuild;
use crate::state::StageState;
use crate::variables::expand;

/// Where a step finds the trusted certificates. `/dev` is a memory file system of the step's own,
/// so the mount point is in no layer.
const TRUST: &str = "/dev/mica-ca-bundle.pem";

/// The variables by which programs are told which certificates to trust.
const TRUST_VARIABLES: [&str; 8] = [
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "NODE_EXTRA_CA_CERTS",
    "GIT_SSL_CAINFO",
    "AWS_CA_BUNDLE",
    "CARGO_HTTP_CAINFO",
];

/// The variable by which programs find an agent.
const AGENT_VARIABLE: &str = "SSH_AUTH_SOCK";

/// The files that every step gets: name service and, where asked for, a script and certificates.
pub(crate) struct StepFiles {
    directory: TempDir,
    script: Option<String>,
    ca_bundle: Option<PathBuf>,
}

impl StepFiles {
    /// Writes the files of a step.
    pub(crate) fn new(
        request: &BuildRequest,
        network: NetworkMode,
        script: Option<&(String, String)>,
    ) -> Result<Self, ErrorKind> {
        let settings = &request.sandbox;
        let hostname = hostname(request);
        let runroot = &settings.runroot;
        fs::create_dir_all(runroot).map_err(ErrorKind::io("create", runroot))?;
        let directory = tempfile::Builder::new()
            .prefix("step-")
            .tempdir_in(runroot)
            .map_err(ErrorKind::io("create a directory in", runroot))?;
        let files = Self {
            directory,
            script: script.map(|(name, _)| name.clone()),
            ca_bundle: settings.ca_bundle.clone(),
        };
        let resolv_conf = match network {
            NetworkMode::Host => &settings.host_resolv_conf,
            NetworkMode::Bridge | NetworkMode::None => &settings.resolv_conf,
        };
        files.write("resolv.conf", resolv_conf, 0o644)?;
        files.write("hosts", &hosts(settings, hostname), 0o644)?;
        files.write("hostname", &format!("{hostname}\n"), 0o644)?;
        if let Some((_, content)) = script {
            files.write("script", content, 0o755)?;
        }
        Ok(files)
    }

    fn write(&self, name: &str, text: &str, mode: u32) -> Result<(), ErrorKind> {
        let path = self.directory.path().join(name);
        fs::write(&path, text).map_err(ErrorKind::io("write", &path))?;
        let permissions = Permissions::from_mode(mode);
        fs::set_permissions(&path, permissions).map_err(ErrorKind::io("change the mode of", &path))
    }

    /// Returns the mounts that bring the files in.
    pub(crate) fn mounts(&self) -> Vec<Mount> {
        let file = |name: &str| self.directory.path().join(name);
        let mut mounts = vec![
            bind(file("resolv.conf"), "/etc/resolv.conf", Access::ReadOnly),
            bind(file("hosts"), "/etc/hosts", Access::ReadOnly),
            bind(file("hostname"), "/etc/hostname", Access::ReadOnly),
        ];
        if let Some(name) = &self.script {
            mounts.push(bind(
                file("script"),
                format!("/dev/pipes/{name}"),
                Access::ReadOnly,
            ));
        }
        if let Some(bundle) = &self.ca_bundle {
            mounts.push(bind(bundle, TRUST, Access::ReadOnly));
        }
        mounts
    }

    /// Returns the variables that make programs trust the bundle.
    pub(crate) fn trust(settings: &Sandbox) -> Vec<String> {
        match &settings.ca_bundle {
            None => Vec::new(),
            Some(_) => TRUST_VARIABLES
                .iter()
                .map(|name| format!("{name}={TRUST}"))
                .collect(),
        }
    }
}

fn hosts(settings: &Sandbox, hostname: &str) -> String {
    let mut text =
        format!("127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    for (name, address) in &settings.hosts {
        text.push_str(&format!("{address}\t{name}\n"));
    }
    text
}

/// The mount points that the Init layer has to provide, so that no layer ever holds them.
pub(crate) fn init_entries(mounts: &[Mount], parts: &Prepared) -> Vec<InitEntry> {
    let directory = |path: &str| InitEntry {
        path: path.into(),
        kind: InitKind::Directory { mode: 0o755 },
    };
    let mut entries: Vec<_> = ["/dev", "/proc", "/sys"]
        .into_iter()
        .map(directory)
        .collect();
    for mount in mounts
        .iter()
        .filter(|mount| !mount.target.starts_with("/dev"))
    {
        let is_file = match &mount.kind {
            MountKind::Bind { source } => !source.is_dir(),
            _ => parts.files.contains(&mount.target),
        };
        let kind = match is_file {
            true => InitKind::EmptyFile { mode: 0o644 },
            false => InitKind::Directory { mode: 0o755 },
        };
        entries.push(InitEntry {
            path: mount.target.clone(),
            kind,
        });
    }
    entries
}

/// The `--mount` flags of an instruction, with their values expanded.
pub(crate) struct RunMounts {
    mounts: Vec<(Declared, PathBuf)>,
    inputs: Vec<String>,
    groups: Vec<Group>,
    environment: Vec<String>,
}

impl StageBuild<'_, '_> {
    /// Reads the `--mount` flags of an instruction and what they put into its key.
    pub(crate) fn run_mounts(
        &self,
        state: &StageState,
        run: &RunInstruction,
    ) -> Result<RunMounts, ErrorKind> {
        let mut mounts = RunMounts {
            mounts: Vec::new(),
            inputs: Vec::new(),
            groups: Vec::new(),
            environment: Vec::new(),
        };
        let mut agents = Vec::new();
        for flag in &run.mounts {
            let expand = |word: &str| match expand(word, &state.variables, self.escape()) {
                Ok(value) => Ok(value),
                Err(ErrorKind::Expand(error)) => Err(error),
                Err(_) => unreachable!("expansion fails in one way only"),
            };
            let mount = flag.resolve(expand)?;
            let target = target(state, &mount, agents.len())?;
            let (input, group) = self.mount_input(&mount, &target)?;
            mounts.inputs.push(input);
            mounts.groups.extend(group);
            if let Some(entry) = self.secret_variable(&mount)? {
                mounts.environment.push(entry);
            }
            if mount.kind == DeclaredKind::Ssh {
                agents.push(target.display().to_string());
            }
            mounts.mounts.push((mount, target));
        }
        // The first agent is the one that programs find.
        if let Some(socket) = agents.first()
            && state.variables.get(AGENT_VARIABLE).is_none()
        {
            mounts
                .environment
                .push(format!("{AGENT_VARIABLE}={socket}"));
        }
        Ok(mounts)
    }

    /// What a mount contributes to the key: files count by content, secrets and caches by name.
    fn mount_input(
        &self,
        mount: &Declared,
        target: &Path,
    ) -> Result<(String, Option<Group>), ErrorKind> {
        let (content, group) = match mount.kind {
            DeclaredKind::Bind => {
                let source = self.mount_source(mount)?;
                let path = mount.source.as_deref().unwrap_or("/");
                let (digest, group) = self.tree_digest(&source, path)?;
                (digest.to_string(), Some(group))
            }
            _ => (String::new(), None),
        };
        let input = format!(
            "{} target={} id={:?} source={:?} from={:?} ro={} size={:?} mode={:?} uid={:?} gid={:?} env={:?} required={} {content}",
            mount.kind.name(),
            target.display(),
            mount.id,
            mount.source,
            mount.from,
            mount.read_only,
            mount.size,
            mount.mode,
            mount.uid,
            mount.gid,
            mount.env,
            mount.required,
        );
        Ok((input, group))
    }

    /// Opens what a mount shows.
    pub(crate) fn mount_source(&self, mount: &Declared) -> Result<Arc<ContextSource>, ErrorKind> {
        match &mount.from {
            Some(from) => self.open_source(from),
            None => self.engine.open_context(),
        }
    }

    fn secret(&self, mount: &Declared) -> Result<Option<Vec<u8>>, ErrorKind> {
        let id = secret_id(mount);
        match self.engine.request.secrets.get(&id) {
            Some(SecretSource::Value(value)) => Ok(Some(value.clone())),
            Some(SecretSource::File(path)) => Ok(Some(
                fs::read(path).map_err(ErrorKind::io("read the secret", path))?,
            )),
            None if mount.required => Err(ErrorKind::SecretMissing(id)),
            None => Ok(None),
        }
    }

    fn secret_variable(&self, mount: &Declared) -> Result<Option<String>, ErrorKind> {
        let (DeclaredKind::Secret, Some(name)) = (mount.kind, &mount.env) else {
            return Ok(None);
        };
        let name = if name.is_empty() {
            secret_id(mount)
        } else {
            name.clone()
        };
        let value = self.secret(mount)?;
        Ok(value.map(|value| format!("{name}={}", String::from_utf8_lossy(&value))))
    }
}

fn secret_id(mount: &Declared) -> String {
    let base = |path: &String| path.rsplit('/').next().unwrap_or(path).to_owned();
    let id = mount.id.clone().or_else(|| mount.source.clone());
    id.or_else(|| mount.target.as_ref().map(base))
        .unwrap_or_default()
}

fn target(state: &StageState, mount: &Declared, agents: usize) -> Result<PathBuf, ErrorKind> {
    let target = match (&mount.target, mount.kind) {
        (Some(target), _) => state.absolute(target),
        (None, DeclaredKind::Secret) => format!("/run/secrets/{}", secret_id(mount)),
        (None, DeclaredKind::Ssh) => format!("/run/buildkit/ssh_agent.{agents}"),
        (None, _) => {
            let problem = "--mount needs a target".to_owned();
            return Err(ErrorKind::Value {
                instruction: "RUN",
                problem,
            });
        }
    };
    if target == "/" {
        let problem = format!(
            "invalid mount target {:?}",
            mount.target.as_deref().unwrap_or("/")
        );
        return Err(ErrorKind::Value {
            instruction: "RUN",
            problem,
        });
    }
    Ok(target.into())
}

/// Mounts ready for a sandbox, with the temporary files and locks behind them.
#[derive(Default)]
pub(crate) struct Prepared {
    pub(crate) mounts: Vec<Mount>,
    /// Before the directories, as their sockets are in those.
    pub(crate) agents: Vec<Agent>,
    /// The targets of mounts that are files, where the host has no such file.
    pub(crate) files: HashSet<PathBuf>,
    pub(crate) directories: Vec<TempDir>,
    pub(crate) locks: Vec<fs::File>,
}

impl RunMounts {
    /// Returns what the mounts put into the step's key.
    pub(crate) fn inputs(&self) -> &[String] {
        &self.inputs
    }

    /// Returns the files that bind mounts show.
    pub(crate) fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Returns the variables that hold secrets.
    pub(crate) fn environment(&self) -> Vec<String> {
        self.environment.clone()
    }

    /// Makes what the mounts need on the host.
    pub(crate) fn prepare(&self, stage: &StageBuild<'_, '_>) -> Result<Prepared, ErrorKind> {
        let mut prepared = Prepared::default();
        for (mount, target) in &self.mounts {
            match mount.kind {
                DeclaredKind::Tmpfs => prepared.mounts.push(tmpfs(mount, target)),
                DeclaredKind::Bind => stage.bind_mount(mount, target, &mut prepared)?,
                DeclaredKind::Cache => stage.cache_mount(mount, target, &mut prepared)?,
                DeclaredKind::Secret => stage.secret_mount(mount, target, &mut prepared)?,
                DeclaredKind::Ssh => stage.ssh_mount(mount, target, &mut prepared)?,
            }
        }
        Ok(prepared)
    }
}

fn tmpfs(mount: &Declared, target: &Path) -> Mount {
    let kind = MountKind::Tmpfs {
        size: mount.size,
        mode: 0o1777,
    };
    Mount {
        kind,
        target: target.to_owned(),
        access: Access::ReadWrite,
    }
}

/// How a mount may be used.
pub(crate) fn access(mount: &Declared) -> Access {
    if mount.read_only {
        Access::ReadOnly
    } else {
        Access::ReadWrite
    }
}

impl StageBuild<'_, '_> {
    /// `type=secret`: a file in memory that goes with the step.
    fn secret_mount(
        &self,
        mount: &Declared,
        target: &Path,
        prepared: &mut Prepared,
    ) -> Result<(), ErrorKind> {
        if mount.env.is_some() && mount.target.is_none() {
            return Ok(());
        }
        let Some(value) = self.secret(mount)? else {
            return Ok(());
        };
        let directory = self.scratch_directory("secret-")?;
        let path = directory.path().join("secret");
        fs::write(&path, value).map_err(ErrorKind::io("write", &path))?;
        let mode = Permissions::from_mode(mount.mode.unwrap_or(0o400));
        fs::set_permissions(&path, mode).map_err(ErrorKind::io("change the mode of", &path))?;
        chown(
            &path,
            Some(mount.uid.unwrap_or(0)),
            Some(mount.gid.unwrap_or(0)),
        )
        .map_err(ErrorKind::io("change the owner of", &path))?;
        prepared.mounts.push(bind(path, target, access(mount)));
        prepared.directories.push(directory);
        Ok(())
    }

    /// Makes a directory in the run state, for what goes with a step.
    pub(crate) fn scratch_directory(&self, prefix: &str) -> Result<TempDir, ErrorKind> {
        let root = &self.engine.request.sandbox.runroot;
        tempfile::Builder::new()
            .prefix(prefix)
            .tempdir_in(root)
            .map_err(ErrorKind::io("create a directory in", root))
    }
}
