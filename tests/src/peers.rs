//! Real servers and base images for the tests.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::command::run;
use crate::machine::repository;
use crate::runner::Skip;

/// Says why a test is to be skipped when a program is not installed.
pub fn needs(programs: &[&str]) -> Result<(), Skip> {
    let found = |program: &&&str| {
        let paths = std::env::var("PATH").unwrap_or_default();
        let extra = format!("{paths}:/usr/sbin:/sbin");
        extra
            .split(':')
            .any(|directory| PathBuf::from(directory).join(program).is_file())
    };
    match programs.iter().find(|program| !found(program)) {
        Some(program) => Err(Skip(format!("{program} is not installed"))),
        None => Ok(()),
    }
}

/// Returns an OCI layout that holds `busybox:latest`, made once a run.
///
/// # Panics
/// When `fixtures/base-images/make.sh` fails.
pub fn base_images() -> PathBuf {
    static LAYOUT: OnceLock<PathBuf> = OnceLock::new();
    LAYOUT.get_or_init(|| make_base("busybox")).clone()
}

/// Makes a base image of `fixtures/base-images` and returns the layout's directory.
fn make_base(name: &str) -> PathBuf {
    let out = repository().join(".cache/tests").join(name);
    fs::create_dir_all(&out).expect("the checkout is ours");
    let script = repository().join("fixtures/base-images/make.sh");
    run(Command::new(script).arg(name).arg(&out)).ok();
    out
}

/// Debian's `docker-registry` on a loopback port, with its storage in a temporary directory.
#[derive(Debug)]
pub struct Registry {
    directory: TempDir,
    /// `127.0.0.1:PORT`.
    pub address: String,
}

impl Registry {
    /// Starts a registry that anybody may use.
    pub fn open() -> Result<Self, Skip> {
        Self::start(&[])
    }

    /// Starts a registry for one user.
    pub fn with_user(user: &str, password: &str) -> Result<Self, Skip> {
        Self::start(&["--htpasswd", user, password])
    }

    /// Returns where it keeps what it got.
    pub fn storage(&self) -> PathBuf {
        self.directory.path().join("storage")
    }

    /// Starts a registry that believes a token server.
    pub fn with_tokens(tokens: &TokenServer) -> Result<Self, Skip> {
        let certificate = tokens.directory.path().join("cert.pem");
        let certificate = certificate.to_str().expect("the path is UTF-8");
        Self::start(&["--token", &tokens.realm, certificate])
    }

    fn start(extra: &[&str]) -> Result<Self, Skip> {
        needs(&["docker-registry", "htpasswd", "curl"])?;
        let directory = tempfile::Builder::new().prefix("mica-registry-").tempdir();
        let directory = directory.expect("a temporary directory can be made");
        let script = repository().join("scripts/registry.sh");
        run(Command::new(script)
            .arg("start")
            .arg(directory.path())
            .args(extra))
        .ok();
        let address = fs::read_to_string(directory.path().join("address"));
        let address = address.expect("the script wrote it").trim().to_owned();
        Ok(Self { directory, address })
    }
}

impl Registry {
    /// Returns the requests since the log was cleared: `GET /v2/…`.
    ///
    /// # Panics
    /// When the log cannot be read.
    pub fn requests(&self) -> Vec<String> {
        let log = fs::read_to_string(self.directory.path().join("log"));
        let log = log.expect("the script writes it");
        let request = |line: &str| {
            let quoted = line.split('"').nth(1)?;
            let (request, _) = quoted.rsplit_once(" HTTP/")?;
            Some(request.to_owned())
        };
        log.lines().filter_map(request).collect()
    }

    /// Forgets the requests so far.
    ///
    /// # Panics
    /// When the log cannot be written.
    pub fn clear_log(&self) {
        fs::write(self.directory.path().join("log"), "").expect("the directory is ours");
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let script = repository().join("scripts/registry.sh");
        run(Command::new(script).arg("stop").arg(self.directory.path()));
    }
}

/// A token server in a process of its own; ends when dropped.
#[derive(Debug)]
pub struct TokenServer {
    directory: TempDir,
    child: Child,
    realm: String,
}

impl TokenServer {
    /// Starts one that lets anybody pull and one user push.
    pub fn start(user: &str, password: &str) -> Result<Self, Skip> {
        needs(&["python3", "openssl"])?;
        let directory = tempfile::Builder::new().prefix("mica-tokens-").tempdir();
        let directory = directory.expect("a temporary directory can be made");
        let script = repository().join("scripts/token-server.py");
        let mut command = Command::new(script);
        command.arg(directory.path()).args([user, password]);
        let started = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut child = started.expect("the script is there");
        let out = child.stdout.take().expect("standard output is a pipe");
        let mut realm = String::new();
        let read = BufReader::new(out).read_line(&mut realm);
        read.expect("a pipe can be read");
        Ok(Self {
            directory,
            child,
            realm: realm.trim().to_owned(),
        })
    }

    /// Returns the requests so far: method, account and scopes of each.
    pub fn requests(&self) -> Vec<String> {
        let log = fs::read_to_string(self.directory.path().join("requests"));
        log.unwrap_or_default().lines().map(str::to_owned).collect()
    }
}

impl Drop for TokenServer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
