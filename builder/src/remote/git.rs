//! Git repositories, by the `git` program (`docs/decisions/0008-git-program.md`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mica_oci::Digest;
use mica_store::Store;
use tempfile::TempDir;

use super::secrets::read_secret;
use super::{GitReference, RemoteError, redacted};
use crate::request::SecretSource;

/// Repositories that are fetched into the store's cache.
#[derive(Clone, Copy)]
pub struct Repositories<'r> {
    /// Where the repositories are kept.
    pub store: &'r Store,
    /// Where `GIT_AUTH_TOKEN[.host]` and `GIT_AUTH_HEADER[.host]` may be.
    pub secrets: &'r BTreeMap<String, SecretSource>,
    /// The socket of an agent for addresses over ssh; the environment's when absent.
    pub agent: Option<&'r Path>,
}

/// A commit that a reference leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Where it is, and what is wanted of it.
    pub source: GitReference,
    /// The commit's hash.
    pub hash: String,
    /// The full name that led there, such as `refs/heads/main`.
    name: Option<String>,
}

/// The files of a commit, removed when dropped.
#[derive(Debug)]
pub struct Checkout {
    /// The directory that was asked for.
    pub root: PathBuf,
    _directory: TempDir,
}

impl Repositories<'_> {
    /// Finds the commit that a reference leads to. A full hash is one already; for anything else the
    /// server is asked.
    pub fn resolve(&self, source: &GitReference) -> Result<Commit, RemoteError> {
        let is_commit = |text: &&String| (7..=64).contains(&text.len()) && is_hex(text);
        if let Some(checksum) = source.checksum.as_ref().filter(|text| !is_commit(text)) {
            return Err(RemoteError::CommitChecksum(checksum.clone()));
        }
        let commit = match source.reference.as_deref() {
            Some(hash) if is_hash(hash) => Commit {
                source: source.clone(),
                hash: hash.to_owned(),
                name: None,
            },
            Some(short) if source.checksum.as_deref() == Some(short) => {
                self.find_short(source, short)?
            }
            Some(name) => self.look_up(source, name)?,
            None => self.default_branch(source)?,
        };
        match &source.checksum {
            Some(checksum) if !commit.hash.starts_with(checksum) => {
                Err(RemoteError::CommitMismatch {
                    reference: source.to_string(),
                    expected: checksum.clone(),
                    found: commit.hash,
                })
            }
            _ => Ok(commit),
        }
    }

    /// Fetches a commit and writes its files, with `.git` where `keep_git_dir` says so.
    pub fn checkout(&self, commit: &Commit, keep_git_dir: bool) -> Result<Checkout, RemoteError> {
        let source = &commit.source;
        let (bare, _lock) = self.bare(source)?;
        self.fetch(&bare, commit)?;
        let parent = self.store.root().join("tmp");
        let directory = tempfile::Builder::new()
            .prefix("git-")
            .tempdir_in(&parent)
            .map_err(RemoteError::io("create a directory in", &parent))?;
        let tree = directory.path().join("tree");
        fs::create_dir(&tree).map_err(RemoteError::io("create", &tree))?;
        self.write_files(&bare, commit, &tree)?;
        let whole = source
            .subdirectory
            .as_deref()
            .is_none_or(|path| path.trim_matches(['/', '.']).is_empty());
        if !(keep_git_dir && whole) {
            remove_git_directories(&tree)?;
        }
        let root = match &source.subdirectory {
            Some(path) if !whole => {
                subdirectory(&tree, path).ok_or_else(|| RemoteError::NoSubdirectory {
                    reference: source.to_string(),
                    path: path.clone(),
                })?
            }
            _ => tree,
        };
        Ok(Checkout {
            root,
            _directory: directory,
        })
    }

    fn look_up(&self, source: &GitReference, name: &str) -> Result<Commit, RemoteError> {
        let peeled = format!("{name}^{{}}");
        let words = ["ls-remote", &source.remote, name, &peeled];
        let listed = self.git(source, None, "look up a reference of", &words)?;
        let found = best(&listed, name).ok_or_else(|| RemoteError::NoReference {
            remote: redacted(&source.remote),
            name: name.to_owned(),
        })?;
        Ok(Commit {
            source: source.clone(),
            hash: found.0,
            name: Some(found.1),
        })
    }

    fn default_branch(&self, source: &GitReference) -> Result<Commit, RemoteError> {
        let words = ["ls-remote", "--symref", &source.remote, "HEAD"];
        let listed = self.git(source, None, "look up the default branch of", &words)?;
        let mut lines = listed.lines().filter_map(|line| line.split_once('\t'));
        let hash = lines
            .clone()
            .find(|(hash, name)| *name == "HEAD" && is_hash(hash));
        let branch = lines.find_map(|(target, _)| target.strip_prefix("ref: "));
        let (hash, _) = hash.ok_or_else(|| RemoteError::NoReference {
            remote: redacted(&source.remote),
            name: "HEAD".to_owned(),
        })?;
        Ok(Commit {
            source: source.clone(),
            hash: hash.to_owned(),
            name: Some(branch.unwrap_or("HEAD").to_owned()),
        })
    }

    /// The first digits of a hash: servers are not asked by them, so everything is fetched.
    fn find_short(&self, source: &GitReference, short: &str) -> Result<Commit, RemoteError> {
        let (bare, _lock) = self.bare(source)?;
        let word = format!("{short}^{{commit}}");
        let words = ["rev-parse", "--verify", "--quiet", &word];
        let known = self.git(source, Some(&bare), "look up a commit of", &words);
        let found = match known {
            Ok(found) => Some(found),
            Err(_) => {
                self.fetch_everything(&bare, source)?;
                self.git(source, Some(&bare), "look up a commit of", &words)
                    .ok()
            }
        };
        let hash = found.ok_or_else(|| RemoteError::NoReference {
            remote: redacted(&source.remote),
            name: short.to_owned(),
        })?;
        Ok(Commit {
            source: source.clone(),
            hash: hash.trim().to_owned(),
            name: None,
        })
    }

    /// Returns the cached repository of a remote, made when it is missing, and its lock.
    fn bare(&self, source: &GitReference) -> Result<(PathBuf, fs::File), RemoteError> {
        let directory = self.store.root().join("cache/git");
        fs::create_dir_all(&directory).map_err(RemoteError::io("create", &directory))?;
        let name = Digest::of(source.remote.as_bytes()).hex()[..32].to_owned();
        let path = directory.join(format!("{name}.lock"));
        let lock = fs::File::create(&path).map_err(RemoteError::io("create", &path))?;
        lock.lock().map_err(RemoteError::io("lock", &path))?;
        let bare = directory.join(name);
        if !bare.join("HEAD").exists() {
            let target = bare.to_string_lossy();
            let words = ["init", "--quiet", "--bare", &target];
            self.git(source, None, "make a repository for", &words)?;
            let words = ["config", "uploadpack.allowAnySHA1InWant", "true"];
            self.git(source, Some(&bare), "make a repository for", &words)?;
        }
        Ok((bare, lock))
    }

    /// Brings a commit into the cached repository, without its history where the server can.
    fn fetch(&self, bare: &Path, commit: &Commit) -> Result<(), RemoteError> {
        let source = &commit.source;
        let object = format!("{}^{{commit}}", commit.hash);
        let has = || {
            let words = ["cat-file", "-e", &object];
            self.git(source, Some(bare), "look at", &words).is_ok()
        };
        let wanted = match commit.name.as_deref() {
            Some(name) if name.starts_with("refs/") => format!("+{name}:{name}"),
            _ => commit.hash.clone(),
        };
        // A name may have moved since, and a server may not give out a hash.
        let refresh = commit.name.is_some() || !has();
        if refresh {
            let words = [
                "fetch",
                "--quiet",
                "--depth=1",
                "--no-tags",
                "--force",
                &source.remote,
                &wanted,
            ];
            // A server that cannot cut the history off is asked for all of it.
            if self.git(source, Some(bare), "fetch", &words).is_err() || !has() {
                self.fetch_everything(bare, source)?;
            }
        }
        match has() {
            true => Ok(()),
            false => Err(RemoteError::NoReference {
                remote: redacted(&source.remote),
                name: commit.hash.clone(),
            }),
        }
    }

    fn fetch_everything(&self, bare: &Path, source: &GitReference) -> Result<(), RemoteError> {
        let all = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"];
        let mut words = vec!["fetch", "--quiet", "--force"];
        if bare.join("shallow").exists() {
            words.push("--unshallow");
        }
        words.push(&source.remote);
        words.extend(all);
        self.git(source, Some(bare), "fetch", &words).map(drop)
    }

    /// Writes a commit's files, with its submodules.
    fn write_files(&self, bare: &Path, commit: &Commit, tree: &Path) -> Result<(), RemoteError> {
        let source = &commit.source;
        let run = |words: &[&str]| self.git(source, Some(&tree.join(".git")), "check out", words);
        let origin = format!("file://{}", bare.display());
        let target = tree.to_string_lossy();
        let made = ["init", "--quiet", &target];
        self.git(source, None, "check out", &made)?;
        let wanted = match commit.name.as_deref() {
            Some(name) if name.starts_with("refs/") => format!("+{name}:{name}"),
            _ => commit.hash.clone(),
        };
        let from = ["fetch", "--quiet", "-u", "--depth=1", "--no-tags", &origin];
        run(&[&from[..], &[&wanted]].concat())?;
        // The name may lead further by now: what was promised is the commit.
        if run(&["cat-file", "-e", &format!("{}^{{commit}}", commit.hash)]).is_err() {
            run(&[&from[..], &[&commit.hash]].concat())?;
        }
        run(&["remote", "add", "origin", &redacted(&source.remote)])?;
        let work_tree = format!("--work-tree={target}");
        run(&[&work_tree, "checkout", "--quiet", "--detach", &commit.hash])?;
        if !source.skip_submodules && tree.join(".gitmodules").exists() {
            self.add_submodules(source, tree)?;
        }
        run(&["reflog", "expire", "--all", "--expire=now"])?;
        let time = run(&["log", "-1", "--format=%ct", &commit.hash])?;
        let time = time.trim().parse().unwrap_or(0);
        set_times(tree, time).map_err(RemoteError::io("set the times of", tree))
    }

    /// Submodules with relative addresses lie beside the repository itself.
    fn add_submodules(&self, source: &GitReference, tree: &Path) -> Result<(), RemoteError> {
        let place = tree.to_string_lossy();
        let run = |words: &[&str]| {
            let words = [&["-C", &*place], words].concat();
            self.git(source, None, "fetch the submodules of", &words)
        };
        run(&["remote", "set-url", "origin", &source.remote])?;
        let update = ["submodule", "update", "--quiet", "--init", "--recursive"];
        let shallow = run(&[&update[..], &["--depth=1"]].concat());
        if shallow.is_err() {
            run(&update)?;
        }
        run(&["remote", "set-url", "origin", &redacted(&source.remote)]).map(drop)
    }

    /// Runs git with none of the user's or system's settings, which could change the result.
    fn git(
        &self,
        source: &GitReference,
        directory: Option<&Path>,
        action: &'static str,
        words: &[&str],
    ) -> Result<String, RemoteError> {
        let mut command = Command::new("git");
        if let Some(directory) = directory {
            command.arg("--git-dir").arg(directory);
        }
        command.args(words).stdin(Stdio::null());
        command
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null");
        command.env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C");
        command.env(
            "GIT_SSH_COMMAND",
            "ssh -o BatchMode=yes -o StrictHostKeyChecking=accept-new",
        );
        for name in [
            "GIT_DIR",
            "GIT_WORK_TREE",
            "GIT_INDEX_FILE",
            "GIT_OBJECT_DIRECTORY",
        ] {
            command.env_remove(name);
        }
        if let Some(agent) = self.agent {
            command.env("SSH_AUTH_SOCK", agent);
        }
        self.configure(source, &mut command)?;
        let output = command.output().map_err(|error| RemoteError::NoGit {
            remote: redacted(&source.remote),
            source: error,
        })?;
        if !output.status.success() {
            let name = words
                .iter()
                .find(|word| !word.starts_with('-') && !word.starts_with('/'));
            return Err(RemoteError::Git {
                action,
                remote: redacted(&source.remote),
                command: name.unwrap_or(&"").to_string(),
                output: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            });
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Settings go through the environment: a login shall not show in the list of processes.
    fn configure(&self, source: &GitReference, command: &mut Command) -> Result<(), RemoteError> {
        let mut settings = vec![
            ("init.defaultBranch".to_owned(), "master".to_owned()),
            ("advice.detachedHead".to_owned(), "false".to_owned()),
            ("protocol.ext.allow".to_owned(), "never".to_owned()),
            // Repositories in the cache belong to whoever runs this.
            ("safe.directory".to_owned(), "*".to_owned()),
        ];
        if let Some((scope, header)) = self.login(source)? {
            settings.push((
                format!("http.{scope}.extraheader"),
                format!("Authorization: {header}"),
            ));
        }
        command.env("GIT_CONFIG_COUNT", settings.len().to_string());
        for (index, (key, value)) in settings.iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{index}"), key);
            command.env(format!("GIT_CONFIG_VALUE_{index}"), value);
        }
        Ok(())
    }

    fn login(&self, source: &GitReference) -> Result<Option<(String, String)>, RemoteError> {
        let Some((scope, host)) = source.http_scope() else {
            return Ok(None);
        };
        let names = [format!(".{host}"), String::new()];
        for suffix in &names {
            if let Some(header) = read_secret(self.secrets, &format!("GIT_AUTH_HEADER{suffix}"))? {
                return Ok(Some((scope, header)));
            }
            if let Some(token) = read_secret(self.secrets, &format!("GIT_AUTH_TOKEN{suffix}"))? {
                let encoded = STANDARD.encode(format!("x-access-token:{token}"));
                return Ok(Some((scope, format!("basic {encoded}"))));
            }
        }
        Ok(None)
    }
}

/// Chooses among the lines of `ls-remote` as `git checkout` does: a full name, a branch, a tag. An
/// annotated tag stands for its commit.
fn best(listed: &str, name: &str) -> Option<(String, String)> {
    let lines: Vec<(&str, &str)> = listed
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .collect();
    let bare = |prefix: &str| name.strip_prefix(prefix).unwrap_or(name).to_owned();
    let candidates = [
        format!("refs/{}", bare("refs/")),
        format!("refs/heads/{}", bare("refs/heads/")),
        format!("refs/tags/{}", bare("refs/tags/")),
    ];
    candidates.into_iter().find_map(|full| {
        let find = |wanted: &str| lines.iter().find(|(_, name)| *name == wanted);
        let (hash, _) = find(&format!("{full}^{{}}")).or_else(|| find(&full))?;
        Some(((*hash).to_owned(), full))
    })
}

fn is_hex(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// SHA-1 or SHA-256 in full.
fn is_hash(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && is_hex(text)
}

/// Finds a directory of a checkout; links in a repository may not lead out of it.
fn subdirectory(tree: &Path, path: &str) -> Option<PathBuf> {
    let top = tree.canonicalize().ok()?;
    let inside = crate::state::clean(&format!("/{path}"));
    let found = top
        .join(inside.trim_start_matches('/'))
        .canonicalize()
        .ok()?;
    (found.starts_with(&top) && found.is_dir()).then_some(found)
}

/// Removes `.git` of a checkout and of its submodules.
fn remove_git_directories(tree: &Path) -> Result<(), RemoteError> {
    let failed = |error| RemoteError::io("remove .git from", tree)(error);
    fn walk(directory: &Path) -> std::io::Result<()> {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let is_directory = entry.file_type()?.is_dir();
            match (entry.file_name() == ".git", is_directory) {
                (true, true) => fs::remove_dir_all(entry.path())?,
                (true, false) => fs::remove_file(entry.path())?,
                (false, true) => walk(&entry.path())?,
                _ => {}
            }
        }
        Ok(())
    }
    walk(tree).map_err(failed)
}

/// Gives everything the commit's time, so that a checkout is the same whenever it is made.
fn set_times(path: &Path, seconds: i64) -> std::io::Result<()> {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            set_times(&entry?.path(), seconds)?;
        }
    }
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_goes_before_a_tag_and_a_full_name_before_both() {
        let listed = "1\trefs/heads/x\n2\trefs/tags/x\n3\trefs/tags/x^{}\n4\trefs/tags/v\n";
        let cases = [
            ("x", Some(("1", "refs/heads/x"))),
            ("refs/tags/x", Some(("3", "refs/tags/x"))),
            ("tags/x", Some(("3", "refs/tags/x"))),
            ("v", Some(("4", "refs/tags/v"))),
            ("refs/heads/v", None),
        ];
        for (name, expected) in cases {
            let found = best(listed, name);
            let found = found
                .as_ref()
                .map(|(hash, name)| (hash.as_str(), name.as_str()));
            assert_eq!(found, expected, "{name}");
        }
    }
}
