//! A docker daemon of a test's own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::command::run;
use crate::machine::Machine;
use crate::peers::needs;
use crate::runner::Skip;

/// The client that belongs to Debian's daemon; another one may come first in `PATH`.
const CLIENT: &str = "/usr/bin/docker";

/// A docker daemon without networks, in directories of a machine; it ends with the value.
#[derive(Debug)]
pub struct DockerDaemon {
    child: Child,
    socket: String,
    exec_root: PathBuf,
}

impl DockerDaemon {
    /// Starts a daemon and waits until it answers.
    ///
    /// # Panics
    /// When it does not.
    pub fn start(machine: &Machine) -> Result<Self, Skip> {
        Self::with_driver(machine, "vfs")
    }

    /// As [`start`](Self::start), with another storage driver.
    pub fn with_driver(machine: &Machine, driver: &str) -> Result<Self, Skip> {
        needs(&["dockerd", "containerd"])?;
        if !Path::new(CLIENT).is_file() {
            return Err(Skip(format!("{CLIENT} is not installed")));
        }
        let socket = format!("unix://{}", machine.path("docker.sock").display());
        let mut command = Command::new("dockerd");
        command.args([
            "--bridge=none",
            "--iptables=false",
            "--ip6tables=false",
            "-H",
            &socket,
        ]);
        command.arg("--data-root").arg(machine.path("docker-data"));
        command.arg("--exec-root").arg(machine.path("docker-exec"));
        command.arg("--pidfile").arg(machine.path("docker.pid"));
        command
            .args(["--storage-driver", driver])
            .stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("dockerd starts");
        let exec_root = machine.path("docker-exec");
        let daemon = Self {
            child,
            socket,
            exec_root,
        };
        let answers = || run(&mut daemon.docker(&["version"])).code == 0;
        let ready = (0..600).any(|_| {
            let ready = answers();
            if !ready {
                std::thread::park_timeout(std::time::Duration::from_millis(50));
            }
            ready
        });
        assert!(ready, "dockerd does not answer");
        Ok(daemon)
    }

    /// Prepares a command of the daemon's client; builds are BuildKit's.
    pub fn docker(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(CLIENT);
        command.args(["-H", &self.socket]).args(arguments);
        command.env("DOCKER_BUILDKIT", "1");
        command
    }

    /// Prepares a command of the client of the containerd that the daemon started for itself.
    pub fn containerd(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("ctr");
        let socket = self.exec_root.join("containerd/containerd.sock");
        command.arg("--address").arg(socket).args(arguments);
        command
    }
}

impl Drop for DockerDaemon {
    fn drop(&mut self) {
        run(Command::new("kill").arg(self.child.id().to_string()));
        let _ = self.child.wait();
    }
}
