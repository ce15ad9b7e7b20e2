//! Copying selected files to their places in a layer.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use mica_store::{Entry, FileType, Follow, Metadata, Store};
use tempfile::TempDir;

use crate::context::{ContextSource, Owners};
use crate::copy::{Group, Resolved};
use crate::destination::Destination;
use crate::error::ErrorKind;
use crate::mode::Mode;
use crate::sources::{Selected, Wildcards};

/// Puts sources into a layer, with the owner and mode that the instruction asks for.
pub(crate) struct Copier<'c> {
    store: &'c Store,
    destination: Destination,
    owner: Option<(u32, u32)>,
    resolved: &'c Resolved,
    /// The mode to give; absent while an archive's own modes count.
    mode: Option<Mode>,
    /// Where a file with several names was copied to first.
    links: HashMap<(u64, u64), PathBuf>,
}

impl<'c> Copier<'c> {
    /// Starts copying.
    pub(crate) fn new(
        store: &'c Store,
        destination: Destination,
        owner: Option<(u32, u32)>,
        resolved: &'c Resolved,
    ) -> Self {
        Self {
            store,
            destination,
            owner,
            mode: resolved.mode.clone(),
            resolved,
            links: HashMap::new(),
        }
    }

    /// With `--parents`, a destination written as a directory is there even when a pattern matched
    /// nothing.
    pub(crate) fn prepare(&mut self) -> Result<(), ErrorKind> {
        if self.resolved.parents && self.resolved.into_directory {
            self.destination
                .directory(Path::new(&self.resolved.destination))?;
        }
        Ok(())
    }

    /// Copies one source. A directory's content goes into the destination; a file gets the
    /// destination's name, or its own inside a directory.
    pub(crate) fn copy(&mut self, group: &Group, selected: &Selected) -> Result<(), ErrorKind> {
        if self.resolved.parents {
            self.copy_parents(group, selected)?;
        }
        let target = self.target(group, selected)?;
        if selected.root.file_type == FileType::Directory {
            return self.copy_directory(&group.source, selected, &target);
        }
        if self.resolved.unpack && self.unpack(&group.source, &selected.root)? {
            return Ok(());
        }
        let parent = target.parent().unwrap_or(Path::new("/"));
        let parent = self.destination.directory(parent)?;
        let name = target
            .file_name()
            .ok_or_else(|| ErrorKind::IsDirectory(target.clone()))?;
        self.copy_entry(&group.source, &selected.root, &parent.join(name))
    }

    /// Finds the path that a source is copied to.
    fn target(&self, group: &Group, selected: &Selected) -> Result<PathBuf, ErrorKind> {
        let destination = PathBuf::from(&self.resolved.destination);
        let is_directory = selected.root.file_type == FileType::Directory;
        if self.resolved.parents {
            return Ok(destination.join(group.below_pivot(selected)));
        }
        let existing = self.destination.lookup(&destination)?;
        let into = self.resolved.into_directory
            || existing
                .as_ref()
                .is_some_and(|entry| entry.file_type == FileType::Directory);
        match (is_directory, into) {
            (true, _) | (false, false) => Ok(existing.map_or(destination, |entry| entry.path)),
            (false, true) => Ok(destination.join(selected.named.file_name().unwrap_or_default())),
        }
    }

    /// With `--parents`: makes the directories between the pivot and the source as the source has
    /// them.
    fn copy_parents(&mut self, group: &Group, selected: &Selected) -> Result<(), ErrorKind> {
        let mut target = self
            .destination
            .directory(Path::new(&self.resolved.destination))?;
        let below = group.below_pivot(selected);
        let above = selected.named.components().count() - below.components().count();
        let mut from: PathBuf = selected.named.components().take(above).collect();
        let directories = match selected.root.file_type {
            FileType::Directory => Some(below),
            _ => below.parent(),
        };
        for component in directories.unwrap_or(Path::new("")) {
            from.push(component);
            target.push(component);
            if self.destination.lookup(&target)?.is_none()
                && let Some(entry) = group.source.view.lookup(&from, Follow::All)?
            {
                let metadata = self.metadata(&group.source, &entry)?;
                self.destination.copied_directory(&target, metadata)?;
            }
        }
        Ok(())
    }

    fn copy_directory(
        &mut self,
        source: &ContextSource,
        selected: &Selected,
        target: &Path,
    ) -> Result<(), ErrorKind> {
        let target = self.destination.directory(target)?;
        for item in &selected.items {
            self.copy_entry(source, &item.entry, &target.join(&item.relative))?;
        }
        Ok(())
    }

    fn copy_entry(
        &mut self,
        source: &ContextSource,
        entry: &Entry,
        target: &Path,
    ) -> Result<(), ErrorKind> {
        let metadata = self.metadata(source, entry)?;
        if entry.file_type == FileType::Directory {
            return self.destination.copied_directory(target, metadata);
        }
        if let Some(first) = self.first_name(entry, target) {
            let host = self.destination.clear(target)?;
            return fs::hard_link(first, host).map_err(ErrorKind::io("link", target));
        }
        let host = match entry.file_type {
            FileType::Symlink => self
                .destination
                .symlink(&source.view.read_link(entry)?, target)?,
            FileType::Regular => self.copy_file(source, entry, target)?,
            FileType::Socket => return Ok(()),
            _ => {
                let host = self.destination.clear(target)?;
                make_node(entry, &host)?;
                host
            }
        };
        Ok(metadata.apply(&host)?)
    }

    /// Returns where another name of the same file was copied to.
    fn first_name(&mut self, entry: &Entry, target: &Path) -> Option<PathBuf> {
        if entry.links < 2 {
            return None;
        }
        let first = self.links.get(&(entry.device, entry.inode)).cloned();
        if first.is_none() {
            self.links
                .insert((entry.device, entry.inode), self.destination.host(target));
        }
        first
    }

    /// The kernel copies (or clones) the bytes; they never pass through here.
    fn copy_file(
        &self,
        source: &ContextSource,
        entry: &Entry,
        target: &Path,
    ) -> Result<PathBuf, ErrorKind> {
        let mut from = source.view.open(entry)?;
        let host = self.destination.clear(target)?;
        let mut to = File::create_new(&host).map_err(ErrorKind::io("create", target))?;
        std::io::copy(&mut from, &mut to).map_err(ErrorKind::io("copy to", target))?;
        Ok(host)
    }

    fn metadata(&self, source: &ContextSource, entry: &Entry) -> Result<Metadata, ErrorKind> {
        let mut metadata = source.view.metadata(entry)?;
        if source.owners == Owners::Root {
            (metadata.uid, metadata.gid) = (0, 0);
            metadata.attributes.clear();
        }
        if let Some((uid, gid)) = self.owner {
            (metadata.uid, metadata.gid) = (uid, gid);
        }
        if let Some(mode) = &self.mode
            && entry.file_type != FileType::Symlink
        {
            metadata.mode = mode.apply(metadata.mode, entry.file_type == FileType::Directory);
        }
        Ok(metadata)
    }

    /// Unpacks a local archive into the destination; returns false for what is no archive.
    fn unpack(&mut self, source: &ContextSource, entry: &Entry) -> Result<bool, ErrorKind> {
        let mut file = source.view.open(entry)?;
        if !mica_store::is_archive(&mut file).map_err(ErrorKind::io("read", &entry.path))? {
            return Ok(false);
        }
        let directory = temporary_directory(self.store)?;
        mica_store::apply_onto(directory.path(), file, &mica_store::Limits::default())?;
        let unpacked = ContextSource::written(directory.path(), Owners::Keep)?;
        let everything = mica_dockerfile::ignore::Matcher::default();
        let mode = self.mode.take();
        self.destination.made.mode = 0o755;
        for selected in unpacked.select("/", &everything, Wildcards::Single)? {
            let target = PathBuf::from(&self.resolved.destination);
            self.copy_directory(&unpacked, &selected, &target)?;
        }
        self.mode = mode;
        Ok(true)
    }

    /// Sets the directories' metadata.
    pub(crate) fn finish(self) -> Result<(), ErrorKind> {
        self.destination.finish()
    }
}

/// Makes a device node or a named pipe like another one.
fn make_node(entry: &Entry, host: &Path) -> Result<(), ErrorKind> {
    let kind = match entry.file_type {
        FileType::CharacterDevice => rustix::fs::FileType::CharacterDevice,
        FileType::BlockDevice => rustix::fs::FileType::BlockDevice,
        _ => rustix::fs::FileType::Fifo,
    };
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, host, kind, mode, entry.node)
        .map_err(|error| ErrorKind::io("create", &entry.path)(error.into()))
}

/// Makes a directory in the store's `tmp/`. Collection leaves it alone: the build holds the store.
pub(crate) fn temporary_directory(store: &Store) -> Result<TempDir, ErrorKind> {
    let parent = store.root().join("tmp");
    let made = tempfile::Builder::new()
        .prefix("build-")
        .tempdir_in(&parent);
    made.map_err(ErrorKind::io("create a directory in", &parent))
}
