//! A store and a run directory of a test's own.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::command::{Finished, run, run_with_input};

/// Returns the checkout's top folder.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ has a parent")
        .to_owned()
}

/// Returns the binary under test: `MICA_BIN`, or the release build of this checkout.
///
/// # Panics
/// When it has not been built.
pub fn mica() -> PathBuf {
    let built = || {
        let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
        let target = target.unwrap_or_else(|| repository().join("target"));
        target.join(format!(
            "{}-unknown-linux-gnu/release/mica",
            std::env::consts::ARCH
        ))
    };
    let path = std::env::var_os("MICA_BIN").map_or_else(built, PathBuf::from);
    assert!(
        path.is_file(),
        "{} is missing: cargo build --release",
        path.display()
    );
    path
}

/// How long what ends behind a command's answer may take.
const GRACE: Duration = Duration::from_secs(10);

/// A store and a run directory that go when the value does.
#[derive(Debug)]
pub struct Machine {
    directory: TempDir,
}

impl Machine {
    /// Makes an empty one.
    ///
    /// # Panics
    /// When there is no room for temporary directories.
    #[expect(clippy::new_without_default, reason = "it makes directories")]
    pub fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("mica-test-").tempdir();
        let machine = Self {
            directory: directory.expect("a temporary directory can be made"),
        };
        fs::create_dir(machine.path("home")).expect("the directory is ours");
        machine
    }

    /// Makes one that has `busybox:latest`.
    pub fn with_busybox() -> Self {
        let machine = Self::new();
        let layout = crate::peers::base_images();
        machine.ok([
            "load",
            "-q",
            "-i",
            layout.to_str().expect("the path is UTF-8"),
        ]);
        machine
    }

    /// Returns a path inside the machine's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Returns the store's root.
    pub fn root(&self) -> PathBuf {
        self.path("root")
    }

    /// Writes files below a new context directory and returns it. A name that ends with a slash
    /// is a directory.
    ///
    /// # Panics
    /// When they cannot be written.
    pub fn context(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let directory = self.path(name);
        fs::create_dir_all(&directory).expect("the directory is ours");
        for (name, text) in files {
            let path = directory.join(name);
            let parent = path.parent().expect("a file has a parent");
            fs::create_dir_all(parent).expect("the directory is ours");
            if !name.ends_with('/') {
                fs::write(&path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            }
        }
        directory
    }

    /// Prepares a `mica` command on this machine's store.
    pub fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(mica());
        command
            .arg("--root")
            .arg(self.root())
            .arg("--runroot")
            .arg(self.path("run"));
        command.args(arguments);
        command
            .env("HOME", self.path("home"))
            .env_remove("DOCKER_CONFIG");
        command
    }

    /// Runs `mica` on this machine's store.
    pub fn mica<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Finished {
        run(&mut self.command(arguments))
    }

    /// Runs `mica` with `input` on standard input.
    pub fn mica_with_input<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
        input: &[u8],
    ) -> Finished {
        run_with_input(&mut self.command(arguments), input)
    }

    /// Runs `mica`, which must succeed, and returns what it printed.
    #[track_caller]
    pub fn ok<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> String {
        self.mica(arguments).ok().to_owned()
    }

    /// Builds an image from a Dockerfile and files; the build must succeed.
    #[track_caller]
    pub fn build(&self, tag: &str, dockerfile: &str, files: &[(&str, &str)]) -> Finished {
        let context = self.context(&format!("context-{}", tag.replace([':', '/'], "-")), files);
        fs::write(context.join("Dockerfile"), dockerfile).expect("the context is ours");
        let context = context.to_str().expect("the path is UTF-8").to_owned();
        let finished = self.mica(["build", "--progress", "plain", "-t", tag, &context]);
        finished.ok();
        finished
    }

    /// Returns what is left on the host after a moment: what tears down behind a command's answer,
    /// or after a killed process, gets the time to end.
    pub fn settled_leftovers(&self) -> Vec<String> {
        let start = Instant::now();
        loop {
            let found = self.leftovers();
            if found.is_empty() || start.elapsed() > GRACE {
                return found;
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// Returns what is left of this machine on the host: mounts, processes, cgroups.
    pub fn leftovers(&self) -> Vec<String> {
        let marker = self
            .directory
            .path()
            .to_str()
            .expect("the path is UTF-8")
            .to_owned();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mut found: Vec<String> = mounts
            .lines()
            .filter(|line| line.contains(&marker))
            .map(|l| format!("mount {l}"))
            .collect();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            if line.contains(&marker) {
                found.push(format!("process {} {line}", entry.file_name().display()));
            }
        }
        found
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if self.root().exists() {
            // It also puts in order what a test left that killed commands.
            let all = self.mica(["ps", "-aq"]);
            let ids: Vec<&str> = all.stdout.lines().collect();
            if !ids.is_empty() {
                let mut arguments = vec!["rm", "-f", "-v"];
                arguments.extend(ids);
                self.mica(arguments);
            }
        }
        let found = self.settled_leftovers();
        if !std::thread::panicking() {
            assert!(found.is_empty(), "left behind: {found:#?}");
        }
    }
}
