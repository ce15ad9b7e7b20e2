//! A root file system of busybox alone, and running commands in it.

use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use mica_isolation::{
    CgroupLimits, CgroupSpec, Exit, ExitStatus, Namespaces, Network, PathPolicy, Process, Sandbox,
    SandboxSpec, Stdio, spawn,
};
use mica_oci::{Access, MountKind, UpperDirectory};
use tempfile::TempDir;

use crate::Skip;

const BUSYBOX: &str = "/bin/busybox";

const APPLETS: &[&str] = &[
    "awk", "cat", "chroot", "date", "dd", "echo", "env", "false", "grep", "hostname", "id", "ip",
    "kill", "ln", "ls", "mkdir", "mknod", "mount", "nc", "ping", "ps", "pwd", "readlink", "rm",
    "sh", "sleep", "stat", "stty", "test", "touch", "true", "tty", "ulimit", "umask", "unshare",
    "wc",
];

/// Says whether the tests can run here at all.
pub(crate) fn require() -> Result<(), Skip> {
    if !rustix::process::geteuid().is_root() {
        return Err(Skip("needs root".to_string()));
    }
    if !Path::new(BUSYBOX).exists() {
        return Err(Skip(format!("needs {BUSYBOX} (package busybox-static)")));
    }
    Ok(())
}

/// A root file system in a directory that goes with it.
pub(crate) struct Image {
    directory: TempDir,
}

/// What a command wrote and how it ended.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) exit: Exit,
}

impl Image {
    pub(crate) fn new() -> Self {
        let image = Self {
            directory: TempDir::new().expect("a temporary directory"),
        };
        for name in [
            "lower/bin",
            "lower/etc",
            "lower/tmp",
            "upper",
            "work",
            "root",
        ] {
            std::fs::create_dir_all(image.path(name)).expect("a directory");
        }
        std::fs::copy(BUSYBOX, image.path("lower/bin/busybox")).expect("busybox");
        for applet in APPLETS {
            symlink("busybox", image.path("lower/bin").join(applet)).expect("a link");
        }
        image.write(
            "lower/etc/passwd",
            "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:\n",
        );
        image.write(
            "lower/etc/group",
            "root:x:0:\naudio:x:29:app\napp:x:1001:\n",
        );
        image
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(path, text).expect("a file");
    }

    pub(crate) fn write_with_mode(&self, name: &str, text: &str, mode: u32) {
        self.write(name, text);
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(self.path(name), permissions).expect("a mode");
    }

    /// A sandbox of this image with an overlay, all namespaces and no network.
    pub(crate) fn spec(&self, args: &[&str]) -> SandboxSpec {
        let upper = UpperDirectory {
            upper: self.path("upper"),
            work: self.path("work"),
            volatile: false,
        };
        SandboxSpec {
            root: MountKind::Overlay {
                lower: vec![self.path("lower")],
                upper: Some(upper),
            },
            mount_point: self.path("root"),
            root_access: Access::ReadWrite,
            mounts: Vec::new(),
            shm_size: 64 << 20,
            namespaces: Namespaces::private(Network::None),
            hostname: None,
            cgroup: None,
            paths: PathPolicy::default_profile(),
            process: Process::new(args.iter().copied()),
        }
    }

    /// Runs a shell script in a default sandbox.
    pub(crate) fn shell(&self, script: &str) -> Output {
        run(&self.spec(&["sh", "-c", script]))
    }

    /// A cgroup that no other test has.
    pub(crate) fn cgroup(&self, limits: CgroupLimits) -> CgroupSpec {
        let unique = self
            .directory
            .path()
            .file_name()
            .expect("a name")
            .to_string_lossy();
        CgroupSpec {
            path: Path::new("mica-test").join(unique.trim_start_matches('.')),
            limits,
        }
    }
}

/// Starts a sandbox whose output can be read.
pub(crate) fn start(spec: &SandboxSpec) -> (Sandbox, std::io::PipeReader, std::io::PipeReader) {
    let (stdout, stdout_write) = std::io::pipe().expect("a pipe");
    let (stderr, stderr_write) = std::io::pipe().expect("a pipe");
    let files = Stdio::Files {
        stdin: None,
        stdout: OwnedFd::from(stdout_write),
        stderr: OwnedFd::from(stderr_write),
    };
    (spawn(spec, files).expect("a sandbox"), stdout, stderr)
}

/// Runs a sandbox to its end.
pub(crate) fn run(spec: &SandboxSpec) -> Output {
    let (sandbox, stdout, stderr) = start(spec);
    finish(sandbox, stdout, stderr)
}

pub(crate) fn finish(
    sandbox: Sandbox,
    mut stdout: std::io::PipeReader,
    mut stderr: std::io::PipeReader,
) -> Output {
    let (mut out, mut err) = (String::new(), String::new());
    stdout.read_to_string(&mut out).expect("output");
    stderr.read_to_string(&mut err).expect("errors");
    Output {
        stdout: out,
        stderr: err,
        exit: sandbox.wait().expect("an exit"),
    }
}

impl Output {
    /// Returns the output of a command that succeeded.
    #[track_caller]
    pub(crate) fn success(&self) -> &str {
        assert_eq!(self.exit.status, ExitStatus::Exited(0), "{self:?}");
        self.stdout.trim_end()
    }
}

/// Reads a line from a pipe, byte by byte, so that what follows stays in it.
pub(crate) fn read_line(reader: &mut impl std::io::Read) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while reader.read(&mut byte).expect("a byte") == 1 && byte != *b"\n" {
        line.push(byte[0]);
    }
    String::from_utf8(line).expect("UTF-8")
}
