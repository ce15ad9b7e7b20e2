//! Copying selected files to their places in a layer.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use mica_store::{Entry, FileType, Follow, Metadata, Store};
use tempfile::TempDir;

use crate::context::{ContextSource, Owners, archive_limits};
use crate::copy::{Group, Resolved};
use crate::destination::Destination;
use crate::error::ErrorKind;
use crate::mode::Mode;
use crate::parallel;
use crate::provenance::Unpack;
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

/// A regular file to copy.
struct FileCopy<'e> {
    entry: &'e Entry,
    /// Its path in the image.
    target: PathBuf,
    /// Where that lies on the host.
    host: PathBuf,
}

/// How many files are handed out to the cores at a time.
const BATCH: usize = 1024;

/// Files up to this size go through memory: one read and one write cost less than what the kernel
/// does to copy between files.
const SMALL: usize = 64 << 10;

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
        if group.unpack == Unpack::Yes && self.unpack(&group.source, &selected.root)? {
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
        let mut files = Vec::with_capacity(BATCH);
        for entry in &selected.below {
            let target = target.join(selected.relative(entry));
            if entry.file_type != FileType::Regular || entry.links > 1 {
                self.copy_entry(source, entry, &target)?;
                continue;
            }
            let host = self.destination.place(&target)?;
            files.push(FileCopy {
                entry,
                target,
                host,
            });
            if files.len() == BATCH {
                self.copy_files(source, &files)?;
                files.clear();
            }
        }
        self.copy_files(source, &files)
    }

    /// Copies files of one name each on every core.
    fn copy_files(&self, source: &ContextSource, files: &[FileCopy<'_>]) -> Result<(), ErrorKind> {
        let buffer = || vec![0; SMALL];
        let copy = |buffer: &mut Vec<u8>, file: &FileCopy<'_>| self.copy_file(source, file, buffer);
        parallel::map(files, buffer, copy).map(drop)
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
            FileType::Regular => {
                let host = self.destination.place(target)?;
                let file = FileCopy {
                    entry,
                    target: target.to_owned(),
                    host,
                };
                return self.copy_files(source, &[file]);
            }
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

    /// Copies a file with its metadata. A small one is read and written at once; the bytes of a
    /// large one are copied (or cloned) by the kernel.
    fn copy_file(
        &self,
        source: &ContextSource,
        file: &FileCopy<'_>,
        buffer: &mut [u8],
    ) -> Result<(), ErrorKind> {
        let target = &file.target;
        let mut from = source.view.open(file.entry)?;
        let mut to = create(&file.host).map_err(ErrorKind::io("create", target))?;
        copy_content(&mut from, &mut to, file.entry.size, buffer)
            .map_err(ErrorKind::io("copy to", target))?;
        let metadata = self.metadata(source, file.entry)?;
        metadata
            .apply_to_file(&to)
            .map_err(ErrorKind::io("set the metadata of", target))
    }

    fn metadata(&self, source: &ContextSource, entry: &Entry) -> Result<Metadata, ErrorKind> {
        let mut metadata = match source.owners {
            Owners::Keep => source.view.metadata(entry)?,
            Owners::Root => entry.metadata(),
        };
        if source.owners == Owners::Root {
            (metadata.uid, metadata.gid) = (0, 0);
        }
        if let Some(facts) = source.facts {
            metadata.mode = facts.mode;
            metadata.modified = Some(facts.modified);
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
        mica_store::apply_onto(directory.path(), file, &archive_limits())?;
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

/// Makes a file; what is in its place goes.
fn create(host: &Path) -> std::io::Result<File> {
    match File::create_new(host) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            fs::remove_file(host)?;
            File::create_new(host)
        }
        created => created,
    }
}

fn copy_content(
    from: &mut File,
    to: &mut File,
    size: u64,
    buffer: &mut [u8],
) -> std::io::Result<()> {
    if size <= buffer.len() as u64 {
        let count = from.read(buffer)?;
        to.write_all(&buffer[..count])?;
        if count as u64 == size {
            return Ok(());
        }
    }
    std::io::copy(from, to).map(drop)
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
