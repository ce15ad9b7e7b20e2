//! Writing a layer directory in overlayfs form as a tar stream, the same bytes every time.
//!
//! Entries come parents first, sorted bytewise by name in each directory, without the root. What
//! a `ustar` header holds stands there alone; PAX records carry the rest, sorted by key.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use mica_oci::{DiffId, Hasher};
use rustix::fs::{self as rfs, FileType, Stat};

use super::ahead::{LARGE, READ_AHEAD, SmallFile, read_ahead, read_large};
use super::error::{Archiving, FileError, LayerError};
use super::header::BLOCK;
use super::item::{Item, archived, extension, padding};
use super::whiteout::{OPAQUE, whiteout_of};
use crate::sys::{self, Facts, Time};
use crate::view::{Child, MergedDirectory};

/// Bytes that are gathered before they are hashed and written.
const BUFFER: usize = 256 << 10;

/// What was written.
pub(crate) struct Written {
    pub(crate) diff_id: DiffId,
    /// Bytes of the stream.
    pub(crate) size: u64,
    /// Bytes of the files' content.
    pub(crate) content: u64,
    /// Entries, without the headers that extend one.
    pub(crate) entries: u64,
}

/// What a tar stream says otherwise than the files it is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// The times of files.
    pub times: Times,
    /// User and group that all files belong to.
    pub owner: Option<(u32, u32)>,
}

/// The times of files in a tar stream, in seconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Times {
    /// Those of the files.
    #[default]
    Keep,
    /// This one for files that are younger.
    Latest(i64),
    /// This one for all.
    All(i64),
}

impl Rewrite {
    fn apply(&self, facts: Facts) -> Facts {
        let (uid, gid) = self.owner.unwrap_or((facts.uid, facts.gid));
        Facts {
            mode: facts.mode,
            uid,
            gid,
            modified: self.times.apply(facts.modified),
        }
    }
}

impl Times {
    fn apply(self, time: Time) -> Time {
        match self {
            Self::Latest(latest) if time > (latest, 0) => (latest, 0),
            Self::Keep | Self::Latest(_) => time,
            Self::All(one) => (one, 0),
        }
    }
}

/// Writes the tar stream of a layer directory to `out`, and hashes it on its way.
pub(crate) fn write_tar(
    root: &OwnedFd,
    rewrite: Rewrite,
    out: impl Write,
) -> Result<Written, LayerError> {
    let mut writer = Writer::new(rewrite, out);
    writer.directory(root, &mut Vec::new())?;
    writer.finish()
}

/// A merged tree of layers on its way into a tar stream.
pub(crate) struct Tree<'a> {
    /// The folder that it stands in; empty for none.
    pub(crate) folder: &'a str,
    pub(crate) root: &'a MergedDirectory,
    pub(crate) rewrite: Rewrite,
}

/// Writes merged trees, which have no whiteouts, one after the other.
pub(crate) fn write_trees(trees: &[Tree<'_>], out: impl Write) -> Result<(), LayerError> {
    let mut writer = Writer::new(Rewrite::default(), out);
    for tree in trees {
        writer.rewrite = tree.rewrite;
        writer.links.clear();
        let mut path = Vec::new();
        if !tree.folder.is_empty() {
            path.extend_from_slice(tree.folder.as_bytes());
            path.push(b'/');
            writer.header(&Item::new(&path, b'5', FOLDER))?;
        }
        writer.merged(tree.root, &mut path)?;
    }
    writer.finish().map(drop)
}

/// A folder that stands for no directory of an image.
const FOLDER: Facts = Facts {
    mode: 0o755,
    uid: 0,
    gid: 0,
    modified: (0, 0),
};

pub(super) struct Writer<W> {
    out: Output<W>,
    rewrite: Rewrite,
    /// The first name of each inode that has more than one.
    links: HashMap<(u64, u64), Vec<u8>>,
    content: u64,
    entries: u64,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(rewrite: Rewrite, out: W) -> Self {
        Self {
            out: Output::new(out),
            rewrite,
            links: HashMap::new(),
            content: 0,
            entries: 0,
        }
    }

    pub(super) fn finish(mut self) -> Result<Written, LayerError> {
        self.out
            .append(&[0; 2 * BLOCK])
            .map_err(LayerError::Write)?;
        self.out.flush().map_err(LayerError::Write)?;
        Ok(Written {
            diff_id: DiffId(self.out.hasher.finish()),
            size: self.out.size,
            content: self.content,
            entries: self.entries,
        })
    }

    /// As [`directory`](Self::directory) for what several layers hold together.
    fn merged(
        &mut self,
        directory: &MergedDirectory,
        path: &mut Vec<u8>,
    ) -> Result<(), LayerError> {
        let found = directory.list().archiving("read the directory");
        for (name, _, stat) in found.map_err(|error| at(path, error))? {
            let length = path.len();
            path.extend_from_slice(name.as_bytes());
            self.merged_child(directory, &name, &stat, path)?;
            path.truncate(length);
        }
        Ok(())
    }

    fn merged_child(
        &mut self,
        parent: &MergedDirectory,
        name: &OsStr,
        stat: &Stat,
        path: &mut Vec<u8>,
    ) -> Result<(), LayerError> {
        let kind = sys::file_type(stat);
        if kind == FileType::Socket {
            return Ok(());
        }
        if kind != FileType::Directory {
            let holder = parent.find_at(name).archiving("look up the file");
            let holder = holder.map_err(|error| at(path, error))?;
            return match holder {
                Some(holder) => self.node(holder, name, path, kind, stat),
                None => Err(at(path, FileError::Changed)),
            };
        }
        let opened = parent.child(name).archiving("open the directory");
        let Child::Directory(directory) = opened.map_err(|error| at(path, error))? else {
            return Err(at(path, FileError::Changed));
        };
        path.push(b'/');
        if let Some((_, top)) = directory.top() {
            let mut item = Item::of_file(top, path, b'5').map_err(|error| at(path, error))?;
            item.name = path;
            self.header(&item)?;
        }
        self.merged(&directory, path)
    }

    /// Writes what a directory holds. `path` is its name with a slash at its end, and the same
    /// again afterwards.
    fn directory(&mut self, directory: &OwnedFd, path: &mut Vec<u8>) -> Result<(), LayerError> {
        let names = sys::names(directory).archiving("read the directory");
        let names = names.map_err(|error| at(path, error))?;
        for names in names.chunks(READ_AHEAD) {
            for (name, small) in names.iter().zip(read_ahead(directory, names)) {
                let length = path.len();
                path.extend_from_slice(name.as_bytes());
                match small {
                    Some(small) => self.small_file(&small, path)?,
                    None => self.child(directory, name, path)?,
                }
                path.truncate(length);
            }
        }
        Ok(())
    }

    /// Writes a file that was read already.
    pub(super) fn small_file(&mut self, small: &SmallFile, path: &[u8]) -> Result<(), LayerError> {
        let mut item = Item::new(path, b'0', small.facts);
        item.size = small.content.len() as u64;
        item.attributes.clone_from(&small.attributes);
        self.header(&item)?;
        self.content += item.size;
        self.out
            .append(&small.content)
            .and_then(|()| self.out.append(padding(item.size)))
            .map_err(LayerError::Write)
    }

    pub(super) fn child(
        &mut self,
        parent: &OwnedFd,
        name: &OsStr,
        path: &mut Vec<u8>,
    ) -> Result<(), LayerError> {
        let stat = sys::stat(parent, name).archiving("read the metadata");
        let stat = stat.map_err(|error| at(path, error))?;
        match sys::file_type(&stat) {
            FileType::Directory => self.subdirectory(parent, name, path),
            FileType::Socket => Ok(()), // means nothing without the process behind it
            _ if sys::is_whiteout(&stat) => self.whiteout(path, name),
            kind => self.node(parent, name, path, kind, &stat),
        }
    }

    fn subdirectory(
        &mut self,
        parent: &OwnedFd,
        name: &OsStr,
        path: &mut Vec<u8>,
    ) -> Result<(), LayerError> {
        let opened = sys::open_directory(parent, name).archiving("open the directory");
        let directory = opened.map_err(|error| at(path, error))?;
        path.push(b'/');
        let mut item = Item::of_file(&directory, path, b'5').map_err(|error| at(path, error))?;
        item.name = path;
        self.header(&item)?;
        if sys::is_opaque(&directory) {
            let name = [path.as_slice(), OPAQUE.as_bytes()].concat();
            self.marker(&name)?;
        }
        self.directory(&directory, path)
    }

    fn whiteout(&mut self, path: &[u8], name: &OsStr) -> Result<(), LayerError> {
        let parent = &path[..path.len() - name.len()];
        self.marker(&[parent, whiteout_of(name).as_bytes()].concat())
    }

    /// Writes an empty file that stands for something that is not there. It has no metadata: what
    /// overlayfs gave its own mark differs from run to run.
    fn marker(&mut self, name: &[u8]) -> Result<(), LayerError> {
        let facts = Facts {
            mode: 0,
            uid: 0,
            gid: 0,
            modified: (0, 0),
        };
        self.header(&Item::new(name, b'0', facts))
    }

    fn node(
        &mut self,
        parent: &OwnedFd,
        name: &OsStr,
        path: &[u8],
        kind: FileType,
        stat: &Stat,
    ) -> Result<(), LayerError> {
        if stat.st_nlink > 1 {
            let first = self.links.entry((stat.st_dev, stat.st_ino));
            if let std::collections::hash_map::Entry::Occupied(first) = &first {
                let link = first.get().clone();
                let mut item = Item::new(path, b'1', Facts::of(stat));
                item.link = &link;
                return self.header(&item);
            }
            first.or_insert_with(|| path.to_vec());
        }
        if kind == FileType::RegularFile {
            return self.file(parent, name, path);
        }
        let mut target = Vec::new();
        let mut item = Item::new(path, b'6', Facts::of(stat));
        item.device = (rfs::major(stat.st_rdev), rfs::minor(stat.st_rdev));
        let attributes = sys::attributes(parent, name).archiving("read the attributes");
        item.attributes = archived(attributes.map_err(|error| at(path, error))?);
        match kind {
            FileType::Symlink => {
                let read = sys::read_link(parent, name).archiving("read the link");
                let read = read.map_err(|error| at(path, error))?;
                target.extend_from_slice(read.as_os_str().as_bytes());
                (item.entry_type, item.device) = (b'2', (0, 0));
            }
            FileType::CharacterDevice => item.entry_type = b'3',
            FileType::BlockDevice => item.entry_type = b'4',
            _ => item.device = (0, 0),
        }
        item.link = &target;
        self.header(&item)
    }

    fn file(&mut self, parent: &OwnedFd, name: &OsStr, path: &[u8]) -> Result<(), LayerError> {
        let opened = sys::open_file(parent, name).archiving("open the file");
        let file = opened.map_err(|error| at(path, error))?;
        let item = Item::of_file(&file, path, b'0').map_err(|error| at(path, error))?;
        self.header(&item)?;
        self.content += item.size;
        self.file_content(&File::from(file), path, item.size)
    }

    fn file_content(&mut self, mut file: &File, path: &[u8], size: u64) -> Result<(), LayerError> {
        if size >= LARGE {
            read_large(file, size, |piece| match piece {
                Ok(piece) => self.out.pass(piece).map_err(LayerError::Write),
                Err(error) => Err(at(path, unreadable(error))),
            })?;
            return self.out.append(padding(size)).map_err(LayerError::Write);
        }
        let mut left = size;
        while left > 0 {
            let free = self.out.free().map_err(LayerError::Write)?;
            let wanted = free.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let count = match file.read(&mut free[..wanted]) {
                Ok(0) => return Err(at(path, FileError::Changed)),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                result => result
                    .archiving("read the file")
                    .map_err(|error| at(path, error))?,
            };
            self.out.filled += count;
            left -= count as u64;
        }
        self.out.append(padding(size)).map_err(LayerError::Write)
    }

    pub(super) fn header(&mut self, item: &Item<'_>) -> Result<(), LayerError> {
        self.entries += 1;
        let facts = self.rewrite.apply(item.facts);
        let (header, records) = item.encode(facts).map_err(|error| at(item.name, error))?;
        for part in [&extension(&records)[..], &header.0] {
            self.out.append(part).map_err(LayerError::Write)?;
        }
        Ok(())
    }
}

fn unreadable(error: std::io::Error) -> FileError {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => FileError::Changed,
        _ => FileError::System {
            action: "read the file",
            source: error,
        },
    }
}

fn at(path: &[u8], source: FileError) -> LayerError {
    LayerError::File {
        path: Path::new(OsStr::from_bytes(path)).to_owned(),
        source,
    }
}

/// A buffer that files are read straight into, hashed and written when full.
struct Output<W> {
    out: W,
    hasher: Hasher,
    buffer: Box<[u8]>,
    filled: usize,
    size: u64,
}

impl<W: Write> Output<W> {
    fn new(out: W) -> Self {
        Self {
            out,
            hasher: Hasher::new(),
            buffer: vec![0; BUFFER].into(),
            filled: 0,
            size: 0,
        }
    }

    fn append(&mut self, mut bytes: &[u8]) -> std::io::Result<()> {
        while !bytes.is_empty() {
            let free = self.free()?;
            let count = free.len().min(bytes.len());
            free[..count].copy_from_slice(&bytes[..count]);
            self.filled += count;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Hashes and writes bytes that are too many to be gathered.
    fn pass(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.flush()?;
        self.hasher.update(bytes);
        self.out.write_all(bytes)?;
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Returns the free part of the buffer, never empty; `filled` counts what is put there.
    fn free(&mut self) -> std::io::Result<&mut [u8]> {
        if self.filled == self.buffer.len() {
            self.flush()?;
        }
        Ok(&mut self.buffer[self.filled..])
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let bytes = &self.buffer[..self.filled];
        self.hasher.update(bytes);
        self.out.write_all(bytes)?;
        self.size += self.filled as u64;
        self.filled = 0;
        Ok(())
    }
}
