//! Writing into a layer directory what belongs on top of other layers.
//!
//! No mount: paths are resolved in the merged view of the layers below and of what was written so
//! far. A directory that a lower layer has is repeated with that one's metadata, so that the merged
//! file system shows it unchanged.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

use mica_store::{Entry, FileType, Follow, Metadata, View};

use crate::error::ErrorKind;

/// The layer being written.
pub(crate) struct Destination {
    /// The layer's own directory.
    directory: PathBuf,
    /// The layers below, and the layer itself on top.
    merged: View,
    /// Mode and owner of directories that have to be made on the way.
    pub(crate) made: Metadata,
    /// Directories that are in the layer, with whether a lower layer has them, too.
    known: HashMap<PathBuf, Below>,
    /// Metadata to set once nothing more is written into a directory.
    finish: BTreeMap<PathBuf, Metadata>,
    /// The directories that were made and not asked for yet.
    new: Vec<PathBuf>,
}

/// How many symbolic links in a row are followed: as many as Linux does.
const MOST_LINKS: usize = 40;

/// Whether something lies under a path of the layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Below {
    /// Some lower layer has it.
    Something,
    /// No lower layer has it, so nothing can be in the way inside.
    Nothing,
}

impl Destination {
    /// Starts to write into `directory`, on top of `lower` (topmost first).
    pub(crate) fn new(directory: &Path, lower: &[PathBuf]) -> Result<Self, ErrorKind> {
        let mut directories = vec![directory.to_owned()];
        directories.extend_from_slice(lower);
        Ok(Self {
            directory: directory.to_owned(),
            merged: View::of_directories(&directories)?,
            made: Metadata::new(0o755, 0, 0),
            known: HashMap::new(),
            finish: BTreeMap::new(),
            new: Vec::new(),
        })
    }

    /// Returns what is at a path, symbolic links followed.
    pub(crate) fn lookup(&self, path: &Path) -> Result<Option<Entry>, ErrorKind> {
        Ok(self.merged.lookup(path, Follow::All)?)
    }

    /// Returns the merged view of the layers below and what was written so far.
    pub(crate) fn merged(&self) -> &View {
        &self.merged
    }

    /// Makes a directory and those above it where they are missing; returns its path with all
    /// symbolic links resolved.
    pub(crate) fn directory(&mut self, path: &Path) -> Result<PathBuf, ErrorKind> {
        self.follow(path, 0)
    }

    fn follow(&mut self, path: &Path, links: usize) -> Result<PathBuf, ErrorKind> {
        let mut resolved = PathBuf::from("/");
        for component in path.iter().filter(|component| *component != "/") {
            resolved = match component.to_str() {
                Some(".") => resolved,
                Some("..") => resolved.parent().unwrap_or(&resolved).to_owned(),
                _ => self.child(&resolved, component, links)?,
            };
        }
        Ok(resolved)
    }

    fn child(&mut self, parent: &Path, name: &OsStr, links: usize) -> Result<PathBuf, ErrorKind> {
        let path = parent.join(name);
        if self.known.contains_key(&path) {
            return Ok(path);
        }
        match self.lookup(&path)? {
            Some(entry) if entry.file_type == FileType::Directory => {
                let resolved = entry.path.clone();
                self.repeat(&resolved)?;
                Ok(resolved)
            }
            Some(_) => Err(ErrorKind::NotDirectory(path)),
            None => match self.merged.lookup(&path, Follow::Parents)? {
                Some(link) if links < MOST_LINKS => {
                    // A link to nowhere: its target is made, as a copy through it would.
                    let target = parent.join(self.merged.read_link(&link)?);
                    self.follow(&target, links + 1)
                }
                Some(_) => Err(ErrorKind::NotDirectory(path)),
                None => {
                    self.repeat(parent)?;
                    self.make(&path, self.made.clone(), Below::Nothing)?;
                    Ok(path)
                }
            },
        }
    }

    /// Brings an existing directory, and those above it, into the layer.
    fn repeat(&mut self, path: &Path) -> Result<(), ErrorKind> {
        if path == Path::new("/") || self.known.contains_key(path) {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            self.repeat(parent)?;
        }
        let entry = self
            .lookup(path)?
            .ok_or_else(|| ErrorKind::NotDirectory(path.to_owned()))?;
        let metadata = self.merged.metadata(&entry)?;
        self.make(path, metadata, Below::Something)
    }

    fn make(&mut self, path: &Path, metadata: Metadata, below: Below) -> Result<(), ErrorKind> {
        let host = self.host(path);
        match DirBuilder::new().mode(0o700).create(&host) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(ErrorKind::io("create", path)(error));
            }
            _ => {}
        }
        self.known.insert(path.to_owned(), below);
        self.finish.insert(path.to_owned(), metadata);
        self.new.push(path.to_owned());
        Ok(())
    }

    /// Returns the directories that were made since the last call, in that order, with what they will
    /// have in the end as far as that is known now.
    pub(crate) fn take_new(&mut self) -> Vec<(PathBuf, Metadata)> {
        let new = std::mem::take(&mut self.new).into_iter();
        let finish = &self.finish;
        new.filter_map(|path| Some((path.clone(), finish.get(&path)?.clone())))
            .collect()
    }

    /// Makes or takes over a directory that is copied, with its metadata; its parent is there.
    pub(crate) fn copied_directory(
        &mut self,
        path: &Path,
        metadata: Metadata,
    ) -> Result<(), ErrorKind> {
        let parent = path.parent().and_then(|parent| self.known.get(parent));
        let existing = match parent {
            Some(Below::Nothing) if !self.known.contains_key(path) => None,
            _ => self.merged.lookup(path, Follow::Parents)?,
        };
        match existing {
            Some(entry) if entry.file_type != FileType::Directory => {
                Err(ErrorKind::NotDirectory(path.to_owned()))
            }

            Some(_) if self.known.contains_key(path) => {
                self.finish.insert(path.to_owned(), metadata);
                Ok(())
            }
            Some(_) => self.make(path, metadata, Below::Something),
            None => self.make(path, metadata, Below::Nothing),
        }
    }

    /// Returns where a file goes on the host; a directory is in the way.
    pub(crate) fn place(&self, path: &Path) -> Result<PathBuf, ErrorKind> {
        let below = path.parent().and_then(|parent| self.known.get(parent));
        if below != Some(&Below::Nothing)
            && let Some(entry) = self.merged.lookup(path, Follow::Parents)?
            && entry.file_type == FileType::Directory
        {
            return Err(ErrorKind::IsDirectory(path.to_owned()));
        }
        Ok(self.host(path))
    }

    /// Clears the place of a file: what the layer has there goes.
    pub(crate) fn clear(&self, path: &Path) -> Result<PathBuf, ErrorKind> {
        let host = self.place(path)?;
        match fs::remove_file(&host) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(ErrorKind::io("replace", path)(error))
            }
            _ => Ok(host),
        }
    }

    /// Makes a symbolic link.
    pub(crate) fn symlink(&self, target: &Path, path: &Path) -> Result<PathBuf, ErrorKind> {
        let host = self.clear(path)?;
        symlink(target, &host).map_err(ErrorKind::io("create", path))?;
        Ok(host)
    }

    /// Sets the directories' metadata, the innermost first. To be called last.
    pub(crate) fn finish(self) -> Result<(), ErrorKind> {
        // In reverse order a directory comes after all that is below it.
        for (path, metadata) in self.finish.iter().rev() {
            metadata.apply(&self.host(path))?;
        }
        Ok(())
    }

    /// Where a resolved path of the image lies in the layer.
    pub(crate) fn host(&self, path: &Path) -> PathBuf {
        self.directory.join(path.strip_prefix("/").unwrap_or(path))
    }
}
