//! The tar stream of a layer, hashed while the layer is written: what went into it is not read
//! again.
//!
//! Whoever writes the layer says what was put into it, in the order of the stream. A header says what
//! the file system says of the file, so the stream is the one that reading the finished layer gives. When
//! the order is another one, or a directory came out otherwise than announced, nothing is known, and the
//! layer has to be read.

use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use rustix::fs as rfs;

use super::ahead::SmallFile;
use super::diff::{Rewrite, Writer, Written};
use super::item::{Item, archived};
use crate::durable::WriteBehind;
use crate::sys::{self, Attribute, Facts};
use crate::{LayerDescription, Metadata, StoreError};

/// Something that was put into a layer, with its path relative to the layer's root.
pub enum Put {
    /// A directory, with what it will have in the end.
    Directory(PathBuf, Metadata),
    /// A file of one name.
    File(PathBuf, SmallFile),
    /// Anything of one name that is no directory; it is read.
    Other(PathBuf),
}

/// Hashes the tar stream of a layer in the making, on a thread of its own.
pub struct Recorder {
    puts: SyncSender<Vec<Put>>,
    thread: JoinHandle<Option<Finished>>,
}

/// What the thread comes to.
struct Finished {
    root: File,
    written: Written,
    directories: Vec<Announced>,
}

/// A directory whose header was written before the directory was finished.
struct Announced {
    path: PathBuf,
    facts: Facts,
    attributes: Vec<Attribute>,
}

impl Recorder {
    /// Starts with an empty layer directory.
    ///
    /// # Errors
    /// When the directory cannot be opened.
    pub fn start(directory: &Path) -> Result<Self, StoreError> {
        use crate::error::At;
        let root = File::open(directory).at("open", directory)?;
        let (puts, received) = sync_channel(1);
        let thread = std::thread::spawn(move || Recording::new(root)?.run(&received));
        Ok(Self { puts, thread })
    }

    /// Takes what was put into the layer next.
    pub fn put(&self, puts: Vec<Put>) {
        // The thread has ended early when the order was wrong: then nothing is wanted any more.
        let _ = self.puts.send(puts);
    }

    /// Returns what the stream is, once all is written and every directory has its metadata;
    /// `None` when it is not known.
    pub fn finish(self) -> Option<LayerDescription> {
        drop(self.puts);
        let finished = self.thread.join().ok()??;
        let as_announced = |directory: &Announced| directory.holds(&finished.root);
        let known = finished.directories.iter().all(as_announced);
        known.then(|| finished.written.into())
    }
}

impl Announced {
    fn new(path: &Path, metadata: Metadata) -> Option<Self> {
        Some(Self {
            path: path.to_owned(),
            facts: Facts {
                mode: metadata.mode,
                uid: metadata.uid,
                gid: metadata.gid,
                modified: metadata.modified?,
            },
            attributes: archived(metadata.attributes),
        })
    }

    fn holds(&self, root: &File) -> bool {
        let found = || {
            let directory = sys::open_directory_beneath(root, &self.path)?;
            let facts = Facts::of(&rfs::fstat(&directory)?);
            let opaque = sys::is_opaque(&directory);
            Ok::<_, rustix::io::Errno>((facts, archived(sys::attributes_of(directory)?), opaque))
        };
        let expected = (self.facts, self.attributes.clone(), false);
        found().is_ok_and(|found| found == expected)
    }
}

/// The thread's side.
struct Recording {
    root: File,
    writer: Writer<WriteBehind>,
    directories: Vec<Announced>,
    last: PathBuf,
}

impl Recording {
    fn new(root: File) -> Option<Self> {
        let behind = WriteBehind::new(root.try_clone().ok()?);
        Some(Self {
            root,
            writer: Writer::new(Rewrite::default(), behind),
            directories: Vec::new(),
            last: PathBuf::new(),
        })
    }

    fn run(mut self, received: &Receiver<Vec<Put>>) -> Option<Finished> {
        for puts in received {
            for put in puts {
                self.record(put)?;
            }
        }
        Some(Finished {
            root: self.root,
            written: self.writer.finish().ok()?,
            directories: self.directories,
        })
    }

    /// Writes what belongs to the next path; `None` when that is not known.
    fn record(&mut self, put: Put) -> Option<()> {
        let (Put::Directory(path, _) | Put::File(path, _) | Put::Other(path)) = &put;
        // Paths compare component by component, as the stream is sorted.
        if *path <= self.last {
            return None;
        }
        self.last.clone_from(path);
        match put {
            Put::Directory(path, metadata) => self.directory(&path, metadata),
            Put::File(path, file) => {
                let name = path.as_os_str().as_bytes();
                self.writer.small_file(&file, name).ok()
            }
            Put::Other(path) => self.other(&path),
        }
    }

    fn directory(&mut self, path: &Path, metadata: Metadata) -> Option<()> {
        let announced = Announced::new(path, metadata)?;
        let name = [path.as_os_str().as_bytes(), b"/"].concat();
        let mut item = Item::new(&name, b'5', announced.facts);
        item.attributes.clone_from(&announced.attributes);
        self.writer.header(&item).ok()?;
        self.directories.push(announced);
        Some(())
    }

    fn other(&mut self, path: &Path) -> Option<()> {
        let parent = path.parent().unwrap_or(Path::new(""));
        let parent = sys::open_directory_beneath(&self.root, parent).ok()?;
        let mut name = path.as_os_str().as_bytes().to_vec();
        self.writer
            .child(&parent, path.file_name()?, &mut name)
            .ok()
    }
}
