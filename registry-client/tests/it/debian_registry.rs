//! Debian's `docker-registry` on a free port of loopback, with a storage of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use mica_oci::Reference;
use tempfile::TempDir;

/// A running registry; killed and removed when dropped.
pub(crate) struct DebianRegistry {
    pub(crate) address: SocketAddr,
    directory: TempDir,
    process: Child,
}

/// What a registry is set up with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setup {
    Open,
    /// The user `ada` with the password `lovelace`.
    Htpasswd,
    /// A certificate of an own authority: see [`DebianRegistry::authority`].
    Tls,
}

impl DebianRegistry {
    /// Starts a registry; `None`, with a line on stderr, where its programs are missing.
    pub(crate) fn start(test: &str, setup: Setup) -> Option<Self> {
        let needed: &[&str] = match setup {
            Setup::Open => &["docker-registry"],
            Setup::Htpasswd => &["docker-registry", "htpasswd"],
            Setup::Tls => &["docker-registry", "openssl"],
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        for program in needed {
            if !std::env::split_paths(&path).any(|folder| folder.join(program).exists()) {
                eprintln!("skipped: {test}: {program} is not installed");
                return None;
            }
        }
        // The port is free a moment before; another process may take it, so there are more tries.
        (0..5).find_map(|_| Self::try_start(setup))
    }

    fn try_start(setup: Setup) -> Option<Self> {
        let directory = TempDir::new().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let config = directory.path().join("config.yml");
        fs::write(&config, configuration(directory.path(), address, setup)).unwrap();
        let mut process = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let listening = lines.any(|line| line.is_ok_and(|line| line.contains("listening on")));
        // The pipe must be read on, or the registry stops when it is full.
        std::thread::spawn(move || lines.for_each(drop));
        let registry = Self {
            address,
            directory,
            process,
        };
        listening.then_some(registry)
    }

    pub(crate) fn reference(&self, rest: &str) -> Reference {
        format!("{}/{rest}", self.address).parse().unwrap()
    }

    /// The certificate of the authority that signed the registry's, PEM.
    pub(crate) fn authority(&self) -> Vec<u8> {
        fs::read(self.directory.path().join("ca.crt")).unwrap()
    }
}

impl Drop for DebianRegistry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn configuration(directory: &Path, address: SocketAddr, setup: Setup) -> String {
    let path = directory.display();
    let base = format!(
        "version: 0.1\nlog: {{level: info, accesslog: {{disabled: true}}}}\n\
         storage: {{filesystem: {{rootdirectory: {path}/data}}}}\n"
    );
    match setup {
        Setup::Open => format!("{base}http: {{addr: '{address}'}}\n"),
        Setup::Htpasswd => {
            let users = output("htpasswd", &["-Bbn", "ada", "lovelace"], directory);
            fs::write(directory.join("htpasswd"), users).unwrap();
            format!(
                "{base}http: {{addr: '{address}'}}\n\
                 auth: {{htpasswd: {{realm: test, path: {path}/htpasswd}}}}\n"
            )
        }
        Setup::Tls => {
            certificates(directory);
            let tls = format!("{{certificate: {path}/host.crt, key: {path}/host.key}}");
            format!("{base}http: {{addr: '{address}', tls: {tls}}}\n")
        }
    }
}

/// Makes an authority and a certificate for 127.0.0.1 that it signed.
fn certificates(directory: &Path) {
    let new = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2";
    let authority = format!("{new} -subj /CN=test-authority -keyout ca.key -out ca.crt");
    let host = format!(
        "{new} -subj /CN=registry -keyout host.key -out host.crt -CA ca.crt -CAkey ca.key \
         -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE"
    );
    for arguments in [authority, host] {
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        output("openssl", &arguments, directory);
    }
}

fn output(program: &str, arguments: &[&str], directory: &Path) -> Vec<u8> {
    let mut command = Command::new(program);
    let output = command
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{program}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}
