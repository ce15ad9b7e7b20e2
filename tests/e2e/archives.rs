//! `mica save` and `mica load`.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use mica_tests::{Machine, Outcome, needs, run};

fn saved(machine: &Machine, format: &str) -> PathBuf {
    machine.build(
        "saved",
        "FROM busybox\nRUN echo kept > /f && ln /f /g\nCMD [\"cat\", \"/g\"]\n",
        &[],
    );
    let path = machine.path("saved.tar");
    machine.ok([
        "save",
        "--format",
        format,
        "-o",
        path.to_str().expect("UTF-8"),
        "saved",
    ]);
    path
}

pub(crate) fn save_and_load() -> Outcome {
    let machine = Machine::with_busybox();
    for format in ["docker-archive", "oci-archive"] {
        let archive = saved(&machine, format);
        let other = Machine::new();
        let loaded = other.ok(["load", "-i", archive.to_str().expect("UTF-8")]);
        assert_eq!(loaded, "Loaded image: saved:latest", "{format}");
        assert_eq!(other.ok(["run", "--rm", "saved"]), "kept");
        let bytes = std::fs::read(&archive).expect("it was saved");
        let piped = Machine::new();
        piped.mica_with_input(["load"], &bytes).ok();
        assert_eq!(
            piped.ok(["inspect", "-f", "{{.Id}}", "saved"]),
            machine.ok(["inspect", "-f", "{{.Id}}", "saved"])
        );
        let broken = Machine::new();
        broken
            .mica_with_input(["load"], &bytes[..bytes.len() / 2])
            .fails(1, &[]);
        assert_eq!(
            broken.ok(["images", "-aq"]),
            "",
            "nothing of a truncated archive is visible"
        );
    }
    Ok(())
}

pub(crate) fn podman_loads() -> Outcome {
    needs(&["podman"])?;
    let machine = Machine::with_busybox();
    for format in ["docker-archive", "oci-archive"] {
        let archive = saved(&machine, format);
        let storage = machine.path(&format!("podman-{format}"));
        let mut podman = Command::new("podman");
        podman
            .arg("--root")
            .arg(storage.join("root"))
            .arg("--runroot")
            .arg(storage.join("run"));
        podman
            .args(["--storage-driver", "vfs", "load", "-q", "-i"])
            .arg(&archive);
        let loaded = run(&mut podman);
        assert!(loaded.ok().contains("saved:latest"), "{loaded}");
    }
    Ok(())
}

/// A docker daemon without networks, in directories of its own.
struct Daemon {
    child: Child,
    socket: String,
}

impl Daemon {
    fn start(machine: &Machine) -> Self {
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
            .args(["--storage-driver", "vfs"])
            .stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("dockerd starts");
        let daemon = Self { child, socket };
        let answers = || {
            daemon
                .docker(&["version"])
                .status()
                .is_ok_and(|status| status.success())
        };
        let ready = (0..600).any(|_| {
            let ready = answers();
            if !ready {
                std::thread::park_timeout(std::time::Duration::from_millis(50));
            }
            ready
        });
        assert!(ready, "dockerd does not answer");
        daemon
    }

    fn docker(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.args(["-H", &self.socket]).args(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        run(Command::new("kill").arg(self.child.id().to_string()));
        let _ = self.child.wait();
    }
}

pub(crate) fn docker_loads() -> Outcome {
    needs(&["dockerd", "docker"])?;
    let machine = Machine::with_busybox();
    let archive = saved(&machine, "docker-archive");
    let daemon = Daemon::start(&machine);
    let loaded = run(daemon.docker(&["load", "-i"]).arg(&archive));
    assert!(
        loaded.ok().contains("Loaded image: saved:latest"),
        "{loaded}"
    );
    let back = machine.path("back.tar");
    run(daemon.docker(&["save", "-o"]).arg(&back).arg("saved")).ok();
    let other = Machine::new();
    other.ok(["load", "-q", "-i", back.to_str().expect("UTF-8")]);
    assert_eq!(other.ok(["run", "--rm", "saved"]), "kept");
    Ok(())
}
