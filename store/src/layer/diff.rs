//! Writing a layer directory in overlayfs form as a tar stream, the same bytes every time.
//!
//! Entries come parents first, sorted bytewise by name in each directory, without the root. What
//! a `ustar` header holds stands there alone; PAX records carry the rest, sorted by key.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use mica_oci::{DiffId, Hasher};
use rustix::fs::{self as rfs, FileType, Stat};

use super::error::{Archiving, FileError, LayerError};
use super::header::{self, BLOCK, Header};
use super::pax::{ATTRIBUTE, write_record, write_time};
use super::tar_reader::{EntryKind, TarEntry};
use super::whiteout::{OPAQUE, whiteout_of};
use crate::metadata::is_overlay;
use crate::sys::{self, Attribute, Facts, Time};
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

/// How many names are looked at before the first of them is written, and from how many on that is
/// worth a thread.
const READ_AHEAD: usize = 256;
const WORTH_A_THREAD: usize = 16;

/// The largest file that is read ahead, in bytes: with [`READ_AHEAD`] it bounds the memory.
const SMALL: usize = 16 << 10;

/// A file that was read whole.
struct SmallFile {
    facts: Facts,
    attributes: Vec<Attribute>,
    content: Vec<u8>,
}

struct Writer<W> {
    out: Output<W>,
    rewrite: Rewrite,
    /// The first name of each inode that has more than one.
    links: HashMap<(u64, u64), Vec<u8>>,
    content: u64,
    entries: u64,
}

/// One entry's header in the making.
struct Item<'a> {
    /// The name in the stream.
    name: &'a [u8],
    entry_type: u8,
    link: &'a [u8],
    size: u64,
    /// Major and minor number.
    device: (u32, u32),
    facts: Facts,
    attributes: Vec<Attribute>,
}

impl<W: Write> Writer<W> {
    fn new(rewrite: Rewrite, out: W) -> Self {
        Self {
            out: Output::new(out),
            rewrite,
            links: HashMap::new(),
            content: 0,
            entries: 0,
        }
    }

    fn finish(mut self) -> Result<Written, LayerError> {
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
            let mut item = item(top, path, b'5').map_err(|error| at(path, error))?;
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
    fn small_file(&mut self, small: &SmallFile, path: &[u8]) -> Result<(), LayerError> {
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

    fn child(
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
        let mut item = item(&directory, path, b'5').map_err(|error| at(path, error))?;
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
        let item = item(&file, path, b'0').map_err(|error| at(path, error))?;
        self.header(&item)?;
        self.content += item.size;
        self.file_content(&File::from(file), path, item.size)
    }

    fn file_content(&mut self, mut file: &File, path: &[u8], size: u64) -> Result<(), LayerError> {
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

    fn header(&mut self, item: &Item<'_>) -> Result<(), LayerError> {
        self.entries += 1;
        let facts = self.rewrite.apply(item.facts);
        let (header, records) = item.encode(facts).map_err(|error| at(item.name, error))?;
        for part in [&extension(&records)[..], &header.0] {
            self.out.append(part).map_err(LayerError::Write)?;
        }
        Ok(())
    }
}

impl<'a> Item<'a> {
    fn new(name: &'a [u8], entry_type: u8, facts: Facts) -> Self {
        Self {
            name,
            entry_type,
            link: b"",
            size: 0,
            device: (0, 0),
            facts,
            attributes: Vec::new(),
        }
    }

    /// Makes the header, and the PAX records for what does not fit into it.
    fn encode(&self, facts: Facts) -> Result<(Header, Vec<u8>), FileError> {
        let mut header = Header::new(self.entry_type);
        let mut records: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut record = |fits: bool, key: &str, value: Vec<u8>| {
            if !fits {
                records.push((key.into(), value));
            }
        };
        record(set_name(&mut header, self.name), "path", self.name.to_vec());
        record(
            header.set_text(header::LINK, self.link),
            "linkpath",
            self.link.to_vec(),
        );
        let Facts {
            mode,
            uid,
            gid,
            modified,
        } = facts;
        header.set_number(header::MODE, mode.into());
        let numbers = [
            (header::UID, "uid", u64::from(uid)),
            (header::GID, "gid", u64::from(gid)),
            (header::SIZE, "size", self.size),
        ];
        for (field, key, value) in numbers {
            record(
                header.set_number(field, value),
                key,
                value.to_string().into(),
            );
        }
        // Readers that know no PAX get the second before.
        let seconds = u64::try_from(modified.0).ok();
        let fits = seconds.is_some_and(|seconds| header.set_number(header::MODIFIED, seconds));
        record(
            fits && modified.1 == 0,
            "mtime",
            write_time(modified).into(),
        );
        header.set_number(header::MAJOR, self.device.0.into());
        header.set_number(header::MINOR, self.device.1.into());
        header.seal();
        for (name, value) in &self.attributes {
            if name.as_bytes().contains(&b'=') {
                let name = name.to_string_lossy().into_owned();
                return Err(FileError::AttributeName(name));
            }
            records.push(([ATTRIBUTE, name.as_bytes()].concat(), value.clone()));
        }
        records.sort_unstable();
        let mut data = Vec::new();
        for (key, value) in records {
            write_record(&mut data, &key, &value);
        }
        Ok((header, data))
    }
}

/// Encodes the header of an entry whose content, should there be any, has `size` bytes: PAX records
/// for what a `ustar` header has no room for, then the header. A file's content and its padding
/// to 512 bytes follow.
///
/// # Errors
/// [`FileError::AttributeName`].
pub fn encode_header(entry: &TarEntry, size: u64) -> Result<Vec<u8>, FileError> {
    let (entry_type, link, device) = match &entry.kind {
        EntryKind::File(_) => (b'0', &b""[..], (0, 0)),
        EntryKind::HardLink(target) => (b'1', &target[..], (0, 0)),
        EntryKind::Symlink(target) => (b'2', &target[..], (0, 0)),
        EntryKind::CharacterDevice(major, minor) => (b'3', &b""[..], (*major, *minor)),
        EntryKind::BlockDevice(major, minor) => (b'4', &b""[..], (*major, *minor)),
        EntryKind::Directory => (b'5', &b""[..], (0, 0)),
        EntryKind::Fifo => (b'6', &b""[..], (0, 0)),
        EntryKind::Unknown(other) => (*other, &b""[..], (0, 0)),
    };
    let mut item = Item::new(&entry.name, entry_type, entry.facts);
    (item.link, item.device, item.size) = (link, device, size);
    item.attributes.clone_from(&entry.attributes);
    let (header, records) = item.encode(item.facts)?;
    Ok([extension(&records), header.0.to_vec()].concat())
}

/// Makes the entry that holds PAX records; nothing for none.
fn extension(records: &[u8]) -> Vec<u8> {
    if records.is_empty() {
        return Vec::new();
    }
    let mut header = Header::new(b'x');
    header.set_text(header::NAME, b"PaxHeaders/");
    header.set_number(header::SIZE, records.len() as u64);
    header.seal();
    [&header.0[..], records, padding(records.len() as u64)].concat()
}

/// What fills the last block of so many bytes.
fn padding(size: u64) -> &'static [u8] {
    &[0; BLOCK][..size.wrapping_neg() as usize % BLOCK]
}

/// Reads the small files of one name each among these, on every core; `None` for all else, and for
/// what cannot be read: that is for the writer to meet in its turn, and to tell.
fn read_ahead(directory: &OwnedFd, names: &[OsString]) -> Vec<Option<SmallFile>> {
    let read = |names: &[OsString]| -> Vec<_> {
        names
            .iter()
            .map(|name| SmallFile::read(directory, name))
            .collect()
    };
    if names.len() < WORTH_A_THREAD {
        return read(names);
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut shares = names.chunks(names.len().div_ceil(cores));
    std::thread::scope(|scope| {
        let first = shares.next().unwrap_or_default();
        let others: Vec<_> = shares
            .map(|share| scope.spawn(move || read(share)))
            .collect();
        let mut found = read(first);
        for other in others {
            found.extend(other.join().expect("reading does not panic"));
        }
        found
    })
}

impl SmallFile {
    fn read(directory: &OwnedFd, name: &OsStr) -> Option<Self> {
        let stat = sys::stat(directory, name).ok()?;
        let small = sys::file_type(&stat) == FileType::RegularFile
            && stat.st_nlink == 1
            && stat.st_size as usize <= SMALL;
        if !small {
            return None;
        }
        let mut file = File::from(sys::open_file(directory, name).ok()?);
        let mut content = vec![0; stat.st_size as usize];
        file.read_exact(&mut content).ok()?;
        Some(Self {
            facts: Facts::of(&stat),
            attributes: archived(sys::attributes_of(&file).ok()?),
            content,
        })
    }
}

/// Writes a name, split at a slash when it is long; tells whether it fits.
fn set_name(header: &mut Header, name: &[u8]) -> bool {
    if header.set_text(header::NAME, name) {
        return true;
    }
    // The name proper takes 100 bytes, the prefix 155; the slash between is not written. Cut
    // short it serves readers that know no PAX.
    let latest = name.len().saturating_sub(1).min(header::PREFIX.len());
    let earliest = name.len().saturating_sub(header::NAME.len() + 1);
    let slash = (earliest.max(1)..=latest).find(|index| name[*index] == b'/');
    let Some(slash) = slash else {
        header.set_text(header::NAME, &name[..header::NAME.len()]);
        return false;
    };
    header.set_text(header::PREFIX, &name[..slash])
        && header.set_text(header::NAME, &name[slash + 1..])
}

/// Describes an open file or directory.
fn item<'a>(file: impl AsFd, name: &'a [u8], entry_type: u8) -> Result<Item<'a>, FileError> {
    let stat = rfs::fstat(&file).archiving("read the metadata")?;
    let mut item = Item::new(name, entry_type, Facts::of(&stat));
    if entry_type == b'0' {
        item.size = stat.st_size as u64;
    }
    item.attributes = archived(sys::attributes_of(file).archiving("read the attributes")?);
    Ok(item)
}

/// Keeps the attributes that belong to the image: capabilities, access control lists and users'
/// own; not labels and marks of this host.
pub(super) fn archived(mut attributes: Vec<Attribute>) -> Vec<Attribute> {
    attributes.retain(|(name, _)| {
        let bytes = name.as_bytes();
        let kept = bytes == b"security.capability"
            || bytes.starts_with(b"user.")
            || bytes.starts_with(b"system.posix_acl_");
        kept && !is_overlay(name)
    });
    attributes
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
