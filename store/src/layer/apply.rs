//! Applying a layer's tar stream to a fresh directory in overlayfs form.
//!
//! Rules, from the OCI image specification, `layer.md`, where it says anything:
//!
//! - names are taken below the root, `..` is resolved in the text, symbolic links on the way are
//!   followed inside the root of the merged tree; what stands last is never followed;
//! - of entries with one name the last wins; a directory over a directory keeps its content;
//! - whiteouts and opaque marks hide lower layers only, wherever they stand;
//! - nothing in a stream can set the attributes that steer overlayfs.

mod hiding;

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;

use rustix::fs::{self as rfs, AtFlags, FileType, Mode};
use rustix::io::Errno;

use hiding::CopiedUp;

use super::error::{During, EntryError, LayerError, TarError};
use super::finisher::{Failed, Finisher, Unfinished};
use super::limits::{Limits, Ownership};
use super::lower::LowerLayers;
use super::sparse::SparseMap;
use super::tar_reader::{EntryKind, TarEntry, TarReader};
use super::upper::{Place, Upper, make_over_whiteout};
use super::whiteout::Marker;
use crate::metadata::is_overlay;
use crate::sys::{self, Facts};

/// Content is moved in pieces of this size.
const BUFFER: usize = 256 << 10;

/// What a tar stream held.
#[derive(Clone, Debug, Default)]
pub(crate) struct Applied {
    /// Its entries.
    pub(crate) entries: u64,
    /// The bytes of its files' content.
    pub(crate) content: u64,
    /// Whether one of them describes the root.
    pub(crate) describes_root: bool,
    /// The modes that directories are still to get, by their paths: with these nothing could be
    /// made in them now. `None` takes back an earlier one.
    pub(crate) modes: Modes,
}

/// Modes of directories, by their paths.
pub(crate) type Modes = HashMap<PathBuf, Option<u32>>;

/// Applies a plain tar stream to the empty directory `target`, on top of `lower`. Reads it to its
/// end.
pub(crate) fn apply(
    target: OwnedFd,
    lower: &dyn LowerLayers,
    stream: impl Read,
    limits: &Limits,
) -> Result<Applied, LayerError> {
    let stream = BufReader::with_capacity(BUFFER, stream);
    let reader = TarReader::new(stream, limits.clone());
    let upper = Upper::new(target, lower)
        .with_dangling(limits.dangling_links)
        .owned(limits.ownership);
    thread::scope(|scope| {
        let finisher = Finisher::new(scope);
        let apply = Apply::new(upper, lower, limits.ownership, finisher);
        apply.all(reader)
    })
}

enum Failure {
    Entry(EntryError),
    /// Of a file whose content was written before.
    Earlier(Failed),
    Tar(TarError),
}

impl From<EntryError> for Failure {
    fn from(error: EntryError) -> Self {
        Self::Entry(error)
    }
}

impl From<TarError> for Failure {
    fn from(error: TarError) -> Self {
        Self::Tar(error)
    }
}

struct Apply<'v, 's, 'e> {
    upper: Upper<'v>,
    lower: &'v dyn LowerLayers,
    /// The last parent, by its path as written: most entries share it with the one before.
    parent: Option<(PathBuf, Place<'v>)>,
    /// Files that are here only because a hard link needed them: they count as the lower layers'.
    copied_up: CopiedUp,
    root_is_opaque: bool,
    describes_root: bool,
    buffer: Vec<u8>,
    ownership: Ownership,
    modes: Modes,
    finisher: Finisher<'s, 'e>,
}

impl<'v, 's, 'e> Apply<'v, 's, 'e> {
    fn new(
        upper: Upper<'v>,
        lower: &'v dyn LowerLayers,
        ownership: Ownership,
        finisher: Finisher<'s, 'e>,
    ) -> Self {
        Self {
            upper,
            lower,
            parent: None,
            copied_up: CopiedUp::default(),
            root_is_opaque: false,
            describes_root: false,
            buffer: vec![0; BUFFER],
            ownership,
            modes: Modes::new(),
            finisher,
        }
    }

    /// Applies a whole stream.
    fn all<R: BufRead>(mut self, mut reader: TarReader<R>) -> Result<Applied, LayerError> {
        let mut last = PathBuf::new();
        let mut applied = Applied::default();
        let archive = |after: &Path, source| LayerError::Archive {
            after: after.to_owned(),
            source,
        };
        while let Some(mut entry) = reader.next_entry().map_err(|error| archive(&last, error))? {
            applied.entries += 1;
            if matches!(entry.kind, EntryKind::File(_)) {
                applied.content += reader.left();
            }
            last = OsString::from_vec(entry.name.clone()).into();
            if self.ownership == Ownership::Own {
                self.take_over(&mut entry);
            }
            self.entry(&entry, &mut reader)
                .map_err(|failure| match failure {
                    Failure::Entry(source) => LayerError::Entry {
                        name: last.clone(),
                        source,
                    },
                    Failure::Earlier((name, source)) => LayerError::Entry { name, source },
                    Failure::Tar(source) => archive(&last, source),
                })?;
        }
        reader.drain().map_err(|error| archive(&last, error))?;
        let finished = self.finisher.wait();
        finished.map_err(|(name, source)| LayerError::Entry { name, source })?;
        self.finish()
            .map_err(|source| LayerError::Entry { name: last, source })?;
        applied.describes_root = self.describes_root;
        applied.modes = self.modes;
        Ok(applied)
    }

    /// Makes an entry one that any user may have.
    fn take_over(&self, entry: &mut TarEntry) {
        (entry.facts.uid, entry.facts.gid) = sys::own_ids();
        let may_set = |name: &OsStr| {
            let bytes = name.as_bytes();
            bytes.starts_with(b"user.") || bytes.starts_with(b"system.posix_acl_")
        };
        entry.attributes.retain(|(name, _)| may_set(name));
    }

    fn entry<R: BufRead>(
        &mut self,
        entry: &TarEntry,
        reader: &mut TarReader<R>,
    ) -> Result<(), Failure> {
        if let EntryKind::Unknown(kind) = entry.kind {
            return Err(EntryError::Type(kind).into());
        }
        let Some((parent, name)) = clean(&entry.name) else {
            return Ok(self.root(entry)?);
        };
        match Marker::of(&name)? {
            Some(Marker::Ignored) => return Ok(()),
            Some(Marker::Opaque) => return Ok(self.opaque(&parent)?),
            Some(Marker::Whiteout(hidden)) => return Ok(self.whiteout(&parent, hidden)?),
            None => {}
        }
        let place = self.parent(&parent)?;
        match &entry.kind {
            EntryKind::Directory => self.directory(&place, &name, entry)?,
            EntryKind::HardLink(target) => self.hard_link(&place, &name, target)?,
            EntryKind::CharacterDevice(..) | EntryKind::BlockDevice(..)
                if self.ownership == Ownership::Own => {}
            EntryKind::File(map) => self.file(&place, &name, entry, map.as_ref(), reader)?,
            _ => self.node(&place, &name, entry)?,
        }
        Ok(())
    }

    /// Takes the metadata of an entry for the root.
    fn root(&mut self, entry: &TarEntry) -> Result<(), EntryError> {
        if entry.kind != EntryKind::Directory {
            return Err(EntryError::Root);
        }
        self.describes_root = true;
        let root = self.upper.root();
        let described = self.keep_open(PathBuf::new(), entry);
        self.describe_directory(&root, OsStr::new("."), &described)?;
        self.upper.set_time(PathBuf::new(), entry.facts.modified);
        Ok(())
    }

    /// Returns the directory of an entry, made where it is missing.
    fn parent(&mut self, path: &Path) -> Result<Place<'v>, EntryError> {
        if let Some((known, place)) = &self.parent
            && known == path
        {
            return Ok(place.clone());
        }
        let Some(mut place) = self.upper.walk(path)? else {
            return Err(EntryError::NotADirectory(path.to_owned()));
        };
        self.upper.materialise(&mut place)?;
        self.parent = Some((path.to_owned(), place.clone()));
        Ok(place)
    }

    /// Clears the place of an entry that is no directory.
    fn clear(&mut self, place: &Place<'_>, name: &OsStr) -> Result<(), EntryError> {
        self.parent = None; // it may have gone by what is removed here
        self.copied_up.remove(place, name);
        sys::remove_tree(place.handle(), name).during("replace what was there")
    }

    fn directory(
        &mut self,
        place: &Place<'_>,
        name: &OsStr,
        entry: &TarEntry,
    ) -> Result<(), EntryError> {
        match sys::make_directory(place.handle(), name) {
            Err(Errno::EXIST) => {
                let there = sys::stat(place.handle(), name).during("look at what is there")?;
                if sys::file_type(&there) != FileType::Directory {
                    // What an earlier entry of this layer replaced or hid stays hidden.
                    self.parent = None;
                    self.copied_up.remove(place, name);
                    make_over_whiteout(place.handle(), name).during("make the directory")?;
                }
            }
            made => drop(made.during("make the directory")?),
        }
        let described = self.keep_open(place.path().join(name), entry);
        self.describe_directory(place, name, &described)?;
        self.upper
            .set_time(place.path().join(name), entry.facts.modified);
        Ok(())
    }

    fn describe_directory(
        &self,
        place: &Place<'_>,
        name: &OsStr,
        (facts, attributes): &(Facts, Vec<sys::Attribute>),
    ) -> Result<(), EntryError> {
        let kind = FileType::Directory;
        sys::finish_node(place.handle(), name, kind, facts, attributes).during("set the metadata")
    }

    /// Returns a directory's metadata, such that its owner can make files in it: unlike root, who
    /// always can. What it is to be then is noted.
    fn keep_open(&mut self, path: PathBuf, entry: &TarEntry) -> (Facts, Vec<sys::Attribute>) {
        let mut facts = entry.facts;
        if self.ownership == Ownership::Own {
            let is_closed = facts.mode & 0o700 != 0o700;
            self.modes.insert(path, is_closed.then_some(facts.mode));
            facts.mode |= 0o700;
        }
        (facts, allowed(entry))
    }

    fn file<R: BufRead>(
        &mut self,
        place: &Place<'_>,
        name: &OsStr,
        entry: &TarEntry,
        map: Option<&SparseMap>,
        reader: &mut TarReader<R>,
    ) -> Result<(), Failure> {
        let file = match sys::create_file(place.handle(), name) {
            Err(Errno::EXIST) => {
                self.clear(place, name)?;
                sys::create_file(place.handle(), name)
            }
            created => created,
        };
        let file = File::from(file.during("create the file")?);
        match map {
            None => self.content(&file, reader)?,
            Some(map) => self.sparse_content(&file, map, reader)?,
        }
        let unfinished = Unfinished {
            file,
            facts: entry.facts,
            attributes: allowed(entry),
            name: OsStr::from_bytes(&entry.name).into(),
        };
        self.finisher.take(unfinished).map_err(Failure::Earlier)
    }

    fn content<R: BufRead>(
        &mut self,
        file: &File,
        reader: &mut TarReader<R>,
    ) -> Result<(), Failure> {
        loop {
            match reader.read_data(&mut self.buffer)? {
                0 => return Ok(()),
                count => write(file, &self.buffer[..count])?,
            }
        }
    }

    fn sparse_content<R: BufRead>(
        &mut self,
        file: &File,
        map: &SparseMap,
        reader: &mut TarReader<R>,
    ) -> Result<(), Failure> {
        for (offset, length) in &map.parts {
            let (mut position, end) = (*offset, offset + length);
            while position < end {
                let wanted = usize::try_from(end - position)
                    .unwrap_or(BUFFER)
                    .min(BUFFER);
                let count = reader.read_data(&mut self.buffer[..wanted])?;
                file.write_all_at(&self.buffer[..count], position)
                    .during("write the file")?;
                position += count as u64;
            }
        }
        file.set_len(map.real_size).during("write the file")?;
        Ok(())
    }

    /// Makes a symbolic link, device or pipe.
    fn node(
        &mut self,
        place: &Place<'_>,
        name: &OsStr,
        entry: &TarEntry,
    ) -> Result<(), EntryError> {
        let kind = match make_node(place, name, &entry.kind) {
            Err(Errno::EXIST) => {
                self.clear(place, name)?;
                make_node(place, name, &entry.kind)
            }
            made => made,
        };
        let kind = kind.during("create the file")?;
        sys::finish_node(place.handle(), name, kind, &entry.facts, &allowed(entry))
            .during("set the metadata")
    }

    fn hard_link(
        &mut self,
        place: &Place<'_>,
        name: &OsStr,
        target: &[u8],
    ) -> Result<(), EntryError> {
        let shown = || PathBuf::from(OsStr::from_bytes(target));
        let Some((parent, target_name)) = clean(target) else {
            return Err(EntryError::DirectoryTarget(shown()));
        };
        let Some(mut from) = self.upper.walk(&parent)? else {
            return Err(EntryError::MissingTarget(shown()));
        };
        self.bring_target(&mut from, &target_name, &shown)?;
        if from.path() == place.path() && target_name == name {
            return Ok(());
        }
        let link = || {
            let flags = AtFlags::empty();
            rfs::linkat(from.handle(), &*target_name, place.handle(), name, flags)
        };
        let linked = match link() {
            Err(Errno::EXIST) => {
                self.clear(place, name)?;
                link()
            }
            linked => linked,
        };
        linked.during("make the hard link")
    }

    /// Makes sure that the target of a hard link is in the upper directory.
    fn bring_target(
        &mut self,
        from: &mut Place<'v>,
        name: &OsStr,
        shown: &impl Fn() -> PathBuf,
    ) -> Result<(), EntryError> {
        let upper = from.upper().map(|upper| sys::find(upper, name)).transpose();
        let upper = upper.during("look up the hard link's target")?.flatten();
        let stat = match upper {
            Some(stat) => Some(stat),
            None => from
                .find_lower(name)
                .during("look up the hard link's target")?,
        };
        let stat = stat.filter(|stat| !sys::is_whiteout(stat));
        let stat = stat.ok_or_else(|| EntryError::MissingTarget(shown()))?;
        if sys::file_type(&stat) == FileType::Directory {
            return Err(EntryError::DirectoryTarget(shown()));
        }
        if upper.is_none() {
            self.upper.copy_up(from, name)?;
            self.copied_up.insert(from, name);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), EntryError> {
        if self.root_is_opaque {
            self.hide_root()?;
        }
        self.upper.finish()
    }
}

fn make_node(place: &Place<'_>, name: &OsStr, kind: &EntryKind) -> Result<FileType, Errno> {
    let (at, mode) = (place.handle(), Mode::RUSR | Mode::WUSR);
    let (kind, device) = match kind {
        EntryKind::Symlink(target) => {
            rfs::symlinkat(OsStr::from_bytes(target), at, name)?;
            return Ok(FileType::Symlink);
        }
        EntryKind::CharacterDevice(major, minor) => {
            (FileType::CharacterDevice, rfs::makedev(*major, *minor))
        }
        EntryKind::BlockDevice(major, minor) => {
            (FileType::BlockDevice, rfs::makedev(*major, *minor))
        }
        _ => (FileType::Fifo, 0),
    };
    rfs::mknodat(at, name, kind, mode, device)?;
    Ok(kind)
}

fn write(mut file: &File, bytes: &[u8]) -> Result<(), EntryError> {
    std::io::Write::write_all(&mut file, bytes).during("write the file")
}

/// Leaves out attributes that steer overlayfs, and all others that only the host may set.
fn allowed(entry: &TarEntry) -> Vec<sys::Attribute> {
    let trusted = |name: &OsStr| name.as_bytes().starts_with(b"trusted.");
    let all = entry.attributes.iter();
    all.filter(|(name, _)| !trusted(name) && !is_overlay(name))
        .cloned()
        .collect()
}

/// Resolves `.`, `..` and empty components in the text, as docker and containerd do; `None` for
/// the root. Returns the parent, and the last name.
fn clean(name: &[u8]) -> Option<(PathBuf, OsString)> {
    let mut components: Vec<&[u8]> = Vec::new();
    for component in name.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => drop(components.pop()),
            other => components.push(other),
        }
    }
    let last = components.pop()?;
    let parent = components.into_iter().map(OsStr::from_bytes).collect();
    Some((parent, OsStr::from_bytes(last).to_owned()))
}
