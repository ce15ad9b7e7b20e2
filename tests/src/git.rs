//! A git repository behind a real `git daemon` on loopback.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::command::run;
use crate::peers::needs;
use crate::runner::Skip;

/// How long the daemon may take to listen.
const GRACE: Duration = Duration::from_secs(20);

/// A daemon that serves the repositories of a directory; it ends with the value.
#[derive(Debug)]
pub struct GitServer {
    /// `git://127.0.0.1:PORT`.
    pub url: String,
    directory: TempDir,
    daemon: Child,
}

impl GitServer {
    /// Starts a daemon without repositories.
    ///
    /// # Panics
    /// When it does not listen in time.
    pub fn start() -> Result<Self, Skip> {
        needs(&["git"])?;
        let directory = tempfile::Builder::new().prefix("mica-git-").tempdir();
        let directory = directory.expect("a temporary directory can be made");
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = free.expect("a port is free");
        // Started by `git daemon` it would outlive its parent.
        let programs = run(Command::new("git").arg("--exec-path")).ok().to_owned();
        let program = Path::new(&programs).join("git-daemon");
        if !program.is_file() {
            return Err(Skip("git-daemon is not installed".into()));
        }
        let mut command = Command::new(program);
        command.args(["--reuseaddr", "--export-all", "--listen=127.0.0.1"]);
        command.arg(format!("--port={}", address.port()));
        command.arg(format!("--base-path={}", directory.path().display()));
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null());
        let daemon = quiet.stderr(Stdio::null()).spawn();
        let server = Self {
            url: format!("git://{address}"),
            directory,
            daemon: daemon.expect("git starts"),
        };
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(start.elapsed() < GRACE, "git daemon does not listen");
            std::thread::park_timeout(Duration::from_millis(5));
        }
        Ok(server)
    }

    /// Returns where a repository is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Makes an empty repository.
    pub fn make(&self, name: &str) {
        let path = self.path(name);
        fs::create_dir(&path).expect("the directory is ours");
        git(&path, &["init", "--quiet", "--initial-branch=main"]);
    }

    /// Writes files, commits them, and returns the commit.
    ///
    /// # Panics
    /// When the files cannot be written.
    pub fn commit(&self, name: &str, files: &[(&str, &str)]) -> String {
        let path = self.path(name);
        for (file, text) in files {
            let file = path.join(file);
            fs::create_dir_all(file.parent().expect("a file has a parent")).expect("it is ours");
            fs::write(file, text).expect("the directory is ours");
        }
        git(&path, &["add", "--all"]);
        git(&path, &["commit", "--quiet", "--message", "a commit"]);
        git(&path, &["rev-parse", "HEAD"])
    }

    /// Runs git in a repository and returns what it printed.
    pub fn git(&self, name: &str, words: &[&str]) -> String {
        git(&self.path(name), words)
    }
}

impl Drop for GitServer {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

fn git(directory: &Path, words: &[&str]) -> String {
    let mut command = Command::new("git");
    command.arg("-C").arg(directory).args(words);
    command
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1");
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "test");
        command.env(format!("GIT_{role}_EMAIL"), "test@example.com");
        command.env(format!("GIT_{role}_DATE"), "2020-01-02T03:04:05Z");
    }
    run(&mut command).ok().to_owned()
}
