//! The records of past builds on the disk: finding, adding, removing.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use mica_oci::Digest;
use mica_store::Store;
use serde::de::DeserializeOwned;

use super::record::BuildRecord;

/// How many builds are remembered.
const MOST_BUILDS: usize = 100;

/// How many bytes the logs of all builds may have before the oldest go.
const MOST_LOG_BYTES: u64 = 256 << 20;

/// The past builds of a store.
#[derive(Clone, Debug)]
pub struct Builds {
    directory: PathBuf,
}

/// The name of a build's files, without their extension.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BuildFile(String);

/// What can go wrong with past builds.
#[derive(Debug, thiserror::Error)]
pub enum BuildsError {
    /// No build has that name.
    #[error("no build is named \"{0}\"")]
    Unknown(String),
    /// Several builds have names that begin so.
    #[error("\"{name}\" is the beginning of {count} builds' names")]
    Ambiguous {
        /// The beginning.
        name: String,
        /// How many there are.
        count: usize,
    },
    /// There is no build yet.
    #[error("there is no past build{}", .0.as_ref().map_or_else(String::new, |of| format!(" of {of}")))]
    None(Option<String>),
    /// A record cannot be read.
    #[error("cannot read the record of a build {}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where it is at fault.
        #[source]
        source: serde_json::Error,
    },
    /// A file operation failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl BuildsError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}

impl BuildFile {
    /// Names a build that begins `milliseconds` after 1970.
    pub(crate) fn new(milliseconds: u64, source: &str, id: &str) -> Self {
        Self(format!("{milliseconds:012x}-{}-{id}", source_hash(source)))
    }

    /// Tells whether this is a build of that Dockerfile and context.
    pub fn is_of(&self, source: &str) -> bool {
        self.0.split('-').nth(1) == Some(&source_hash(source))
    }

    /// Returns the build's name.
    pub fn id(&self) -> &str {
        self.0.rsplit('-').next().unwrap_or(&self.0)
    }
}

fn source_hash(source: &str) -> String {
    Digest::of(source.as_bytes()).hex()[..8].to_owned()
}

impl Builds {
    /// Returns the past builds of a store. Opens nothing yet.
    pub fn of(store: &Store) -> Self {
        Self {
            directory: store.root().join("builds"),
        }
    }

    /// Lists the builds, the latest first.
    pub fn list(&self) -> Vec<BuildFile> {
        self.names(".json")
    }

    fn names(&self, extension: &str) -> Vec<BuildFile> {
        let entries = fs::read_dir(&self.directory)
            .into_iter()
            .flatten()
            .flatten();
        let mut files: Vec<_> = entries
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let stem = name.strip_suffix(extension)?;
                Some(BuildFile(stem.to_owned()))
            })
            .collect();
        files.sort_unstable_by(|a, b| b.cmp(a));
        files
    }

    /// Reads the latest builds that `wanted` picks, as far as they can be read.
    pub(crate) fn latest<T: DeserializeOwned>(
        &self,
        most: usize,
        wanted: impl Fn(&BuildFile) -> bool,
    ) -> Vec<T> {
        let files = self.list().into_iter().filter(|file| wanted(file));
        let read = |file: BuildFile| {
            let raw = fs::read(self.record_path(&file)).ok()?;
            serde_json::from_slice(&raw).ok()
        };
        files.take(most).filter_map(read).collect()
    }

    /// Finds the build whose name begins so, also as metadata files have it: `default/default/NAME`.
    pub fn find(&self, name: &str) -> Result<BuildFile, BuildsError> {
        let id = name.rsplit('/').next().unwrap_or(name);
        let mut found = self.list();
        found.retain(|file| file.id().starts_with(id));
        match found.len() {
            0 => Err(BuildsError::Unknown(name.to_owned())),
            1 => Ok(found.remove(0)),
            count => Err(BuildsError::Ambiguous {
                name: name.to_owned(),
                count,
            }),
        }
    }

    /// Returns the last build, or the last one of a Dockerfile and context.
    pub fn last(&self, source: Option<&str>) -> Result<BuildFile, BuildsError> {
        let of = |file: &BuildFile| source.is_none_or(|source| file.is_of(source));
        let found = self.list().into_iter().find(of);
        found.ok_or_else(|| BuildsError::None(source.map(str::to_owned)))
    }

    /// Reads a build's record.
    pub fn read(&self, file: &BuildFile) -> Result<BuildRecord, BuildsError> {
        let path = self.record_path(file);
        let raw = fs::read(&path).map_err(BuildsError::io("read", &path))?;
        serde_json::from_slice(&raw).map_err(|source| BuildsError::Damaged { path, source })
    }

    /// Opens what a build's commands said; nothing when they said nothing.
    pub fn log(&self, file: &BuildFile) -> Result<Option<File>, BuildsError> {
        let path = self.log_path(file);
        match File::open(&path) {
            Ok(log) => Ok(Some(log)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(BuildsError::io("open", &path)(error)),
        }
    }

    /// Forgets a build.
    pub fn remove(&self, file: &BuildFile) -> Result<(), BuildsError> {
        for path in [self.record_path(file), self.log_path(file)] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(BuildsError::io("remove", &path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Forgets what is too old or too much, and logs of builds that were killed.
    pub fn bound(&self) -> Result<(), BuildsError> {
        let records = self.list();
        for file in records.iter().skip(MOST_BUILDS) {
            self.remove(file)?;
        }
        let mut bytes = 0;
        for file in self.names(".log") {
            let size = fs::metadata(self.log_path(&file)).map_or(0, |metadata| metadata.len());
            bytes += size;
            let abandoned = !records.contains(&file) && !self.is_running(&file);
            if abandoned || bytes > MOST_LOG_BYTES {
                self.remove(&file)?;
                bytes -= size;
            }
        }
        Ok(())
    }

    /// Forgets all builds that do not run; returns their names.
    pub fn clear(&self) -> Result<Vec<String>, BuildsError> {
        let mut removed = Vec::new();
        for file in self.list() {
            self.remove(&file)?;
            removed.push(file.id().to_owned());
        }
        self.bound()?;
        Ok(removed)
    }

    fn is_running(&self, file: &BuildFile) -> bool {
        let log = File::open(self.log_path(file));
        log.is_ok_and(|log| log.try_lock_shared().is_err())
    }

    /// Writes a record: all of it or nothing. Not synced: losing one costs nothing but itself.
    pub(crate) fn put(&self, file: &BuildFile, record: &BuildRecord) -> Result<(), BuildsError> {
        let json = serde_json::to_vec(record).expect("a record is plain JSON");
        let path = self.record_path(file);
        let temporary = path.with_extension("new");
        let written = self.create(&temporary).and_then(|mut out| {
            io::Write::write_all(&mut out, &json).map_err(BuildsError::io("write", &temporary))
        });
        written?;
        fs::rename(&temporary, &path).map_err(BuildsError::io("write", &path))
    }

    /// Makes a build's log, locked.
    pub(crate) fn create_log(&self, file: &BuildFile) -> Result<File, BuildsError> {
        let path = self.log_path(file);
        let log = self.create(&path)?;
        log.lock().map_err(BuildsError::io("lock", &path))?;
        Ok(log)
    }

    fn create(&self, path: &Path) -> Result<File, BuildsError> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        match options.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(&self.directory)
                    .map_err(BuildsError::io("create", &self.directory))?;
                options.open(path).map_err(BuildsError::io("create", path))
            }
            opened => opened.map_err(BuildsError::io("create", path)),
        }
    }

    fn record_path(&self, file: &BuildFile) -> PathBuf {
        self.directory.join(format!("{}.json", file.0))
    }

    fn log_path(&self, file: &BuildFile) -> PathBuf {
        self.directory.join(format!("{}.log", file.0))
    }
}
