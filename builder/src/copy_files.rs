//! Copying selected files to their places in a layer.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use mica_store::{
    Entry, FileType, Follow, LayerDescription, Metadata, Put, Recorder, SmallFile, Store,
};
use rustix::fs::{self as rfs, AtFlags, Mode, OFlags};
use rustix::io::Errno;
use tempfile::TempDir;

use crate::context::{ContextSource, Owners, archive_limits};
use crate::copy::{Group, Resolved};
use crate::destination::Destination;
use crate::error::ErrorKind;
use crate::mode;
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
    mode: Option<mode::Mode>,
    /// Where a file with several names was copied to first.
    links: HashMap<(u64, u64), PathBuf>,
    /// Takes what is put into the layer; absent while nobody asks, or once the layer has to be read.
    recorder: Option<Recorder>,
}

/// A regular file to copy.
struct FileCopy<'e> {
    entry: &'e Entry,
    /// Its path in the image.
    target: PathBuf,
    /// Where that lies on the host.
    host: PathBuf,
}

/// What is copied at a time, in the order of the layer's tar stream.
#[derive(Default)]
struct Batch<'e> {
    files: Vec<FileCopy<'e>>,
    order: Vec<Copied>,
    /// The size of the small ones among the files.
    bytes: u64,
}

impl Batch<'_> {
    fn is_full(&self) -> bool {
        self.files.len() >= BATCH || self.bytes >= BATCH_BYTES
    }
}

/// A part of a batch.
enum Copied {
    /// The next of the files.
    File,
    /// It is there already.
    Done(Put),
}

/// What a thread keeps from file to file.
struct Worker {
    buffer: Vec<u8>,
    /// The directory that the last file went into: the next one mostly goes there, too.
    directory: Option<(PathBuf, OwnedFd)>,
}

impl Worker {
    fn new() -> Self {
        Self {
            buffer: vec![0; SMALL],
            directory: None,
        }
    }

    /// Makes a file; what is in its place goes.
    fn create(&mut self, host: &Path, mode: u32) -> std::io::Result<File> {
        let parent = host.parent().unwrap_or(host);
        let directory = match self.directory.take() {
            Some((path, directory)) if path == parent => directory,
            _ => rfs::open(
                parent,
                OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
            )?,
        };
        let (_, directory) = self.directory.insert((parent.to_owned(), directory));
        let name = host.file_name().unwrap_or_default();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        // The mode that it will have, where the umask lets it: then it need not be changed.
        let mode = Mode::from_raw_mode(mode & 0o777);
        let create = || rfs::openat(&*directory, name, flags, mode);
        let created = match create() {
            Err(Errno::EXIST) => {
                rfs::unlinkat(&*directory, name, AtFlags::empty())?;
                create()
            }
            created => created,
        };
        Ok(created?.into())
    }
}

/// How many files, and how many bytes in small ones, are handed out to the cores at a time. What is
/// small is kept until it is recorded.
const BATCH: usize = 2048;
const BATCH_BYTES: u64 = 4 << 20;

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
            recorder: None,
        }
    }

    /// Learns the layer's description while copying into it; nothing is in it yet.
    pub(crate) fn recorded(mut self, layer: &Path) -> Result<Self, ErrorKind> {
        self.recorder = Some(Recorder::start(layer)?);
        Ok(self)
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
        let mut batch = Batch::default();
        self.copy_entry(&group.source, &selected.root, parent.join(name), &mut batch)?;
        self.copy_batch(&group.source, &mut batch)
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
        let mut batch = Batch::default();
        for entry in &selected.below {
            let target = target.join(selected.relative(entry));
            self.copy_entry(source, entry, target, &mut batch)?;
            if batch.is_full() {
                self.copy_batch(source, &mut batch)?;
            }
        }
        self.copy_batch(source, &mut batch)
    }

    /// Copies the files of a batch on every core, and empties it.
    fn copy_batch(
        &mut self,
        source: &ContextSource,
        batch: &mut Batch<'_>,
    ) -> Result<(), ErrorKind> {
        let copy = |worker: &mut Worker, file: &FileCopy<'_>| self.copy_file(source, file, worker);
        let mut copied = parallel::map(&batch.files, Worker::new, copy)?.into_iter();
        batch.bytes = 0;
        let mut files = batch.files.drain(..);
        let puts = batch.order.drain(..).filter_map(|part| match part {
            Copied::Done(put) => Some(put),
            Copied::File => {
                let path = relative(&files.next()?.target);
                Some(match copied.next()? {
                    Some(content) => Put::File(path, content),
                    None => Put::Other(path),
                })
            }
        });
        if let Some(recorder) = &self.recorder {
            recorder.put(puts.collect());
        }
        Ok(())
    }

    /// Returns the directories that had to be made since the last call.
    fn new_directories(&mut self) -> impl Iterator<Item = Put> {
        let new = self.destination.take_new().into_iter();
        new.map(|(path, metadata)| Put::Directory(relative(&path), metadata))
    }

    /// Copies what is no plain file, and adds a plain file to the batch.
    fn copy_entry<'e>(
        &mut self,
        source: &ContextSource,
        entry: &'e Entry,
        target: PathBuf,
        batch: &mut Batch<'e>,
    ) -> Result<(), ErrorKind> {
        batch.order.extend(self.new_directories().map(Copied::Done));
        if let Some(first) = self.first_name(entry, &target) {
            // It may still be in the batch.
            self.copy_batch(source, batch)?;
            let host = self.destination.clear(&target)?;
            return fs::hard_link(first, host).map_err(ErrorKind::io("link", &target));
        }
        match entry.file_type {
            FileType::Socket => return Ok(()), // means nothing without the process behind it
            FileType::Directory => {
                let metadata = self.metadata(source, entry)?;
                self.destination.copied_directory(&target, metadata)?;
            }
            FileType::Regular => {
                let host = self.destination.place(&target)?;
                batch.order.push(Copied::File);
                if entry.size <= SmallFile::LARGEST as u64 {
                    batch.bytes += entry.size;
                }
                batch.files.push(FileCopy {
                    entry,
                    target,
                    host,
                });
            }
            _ => {
                self.copy_special(source, entry, &target)?;
                let put = Put::Other(relative(&target));
                batch.order.push(Copied::Done(put));
            }
        }
        Ok(())
    }

    /// Copies a symbolic link, a device or a named pipe.
    fn copy_special(
        &mut self,
        source: &ContextSource,
        entry: &Entry,
        target: &Path,
    ) -> Result<(), ErrorKind> {
        let host = match entry.file_type {
            FileType::Symlink => self
                .destination
                .symlink(&source.view.read_link(entry)?, target)?,
            _ => {
                let host = self.destination.clear(target)?;
                make_node(entry, &host)?;
                host
            }
        };
        Ok(self.metadata(source, entry)?.apply(&host)?)
    }

    /// Returns where another name of the same file was copied to.
    fn first_name(&mut self, entry: &Entry, target: &Path) -> Option<PathBuf> {
        if entry.links < 2 || entry.is_directory() {
            return None;
        }
        // What has a second name cannot be told while it has one.
        self.recorder = None;
        let first = self.links.get(&(entry.device, entry.inode)).cloned();
        if first.is_none() {
            self.links
                .insert((entry.device, entry.inode), self.destination.host(target));
        }
        first
    }

    /// Copies a file with its metadata. A small one is read and written at once, and returned for the
    /// record; the bytes of a large one are copied (or cloned) by the kernel.
    fn copy_file(
        &self,
        source: &ContextSource,
        file: &FileCopy<'_>,
        worker: &mut Worker,
    ) -> Result<Option<SmallFile>, ErrorKind> {
        let target = &file.target;
        let mut from = source.view.open(file.entry)?;
        let metadata = self.metadata(source, file.entry)?;
        let created = worker.create(&file.host, metadata.mode);
        let mut to = created.map_err(ErrorKind::io("create", target))?;
        let content = copy_content(&mut from, &mut to, file.entry.size, &mut worker.buffer)
            .map_err(ErrorKind::io("copy to", target))?;
        metadata
            .apply_to_file(&to)
            .map_err(ErrorKind::io("set the metadata of", target))?;
        match (content, &self.recorder) {
            (Some(content), Some(_)) => SmallFile::written(&to, content)
                .map_err(ErrorKind::io("read the metadata of", target)),
            _ => Ok(None),
        }
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

    /// Sets the directories' metadata. Returns what is known of the layer when it was recorded.
    pub(crate) fn finish(mut self) -> Result<Option<LayerDescription>, ErrorKind> {
        let rest = self.new_directories().collect();
        if let Some(recorder) = &self.recorder {
            recorder.put(rest);
        }
        self.destination.finish()?;
        Ok(self.recorder.and_then(Recorder::finish))
    }
}

/// Returns the content where it went through the buffer as a whole.
fn copy_content<'b>(
    from: &mut File,
    to: &mut File,
    size: u64,
    buffer: &'b mut [u8],
) -> std::io::Result<Option<&'b [u8]>> {
    if size <= buffer.len() as u64 {
        let count = from.read(buffer)?;
        to.write_all(&buffer[..count])?;
        if count as u64 == size {
            return Ok(Some(&buffer[..count]));
        }
    }
    std::io::copy(from, to).map(|_| None)
}

/// A path of the image as the layer has it.
fn relative(path: &Path) -> PathBuf {
    path.strip_prefix("/").unwrap_or(path).to_owned()
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
