//! Digests of what instructions copy.
//!
//! A file is read once: its digest is remembered under device, inode, size and both times, so an
//! unchanged context costs one walk. Content, mode, owner and link target count; times do not.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use mica_dockerfile::ignore::Matcher;
use mica_oci::{Digest, Hasher};
use mica_store::{Entry, FileType, Store};

use crate::context::{ContextSource, Owners};
use crate::copy::Group;
use crate::error::ErrorKind;
use crate::explain::{FileList, ListedFile, fingerprint};
use crate::parallel;
use crate::provenance::Unpack;
use crate::sources::{Selected, Wildcards};
use crate::stage::StageBuild;

/// The kind of the records: one a source, with a line a file.
pub(crate) const KIND: &str = "digests";

/// A file that changed this recently may change again without its times showing it: the clock of
/// a file system ticks as slowly as every 10 ms.
const SETTLED_NANOSECONDS: i128 = 100_000_000;

/// What tells that a file is still the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: i128,
    changed: i128,
}

impl Identity {
    fn of(entry: &Entry) -> Self {
        let nanoseconds = |(seconds, nanoseconds): (i64, u32)| {
            i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds)
        };
        Self {
            device: entry.device,
            inode: entry.inode,
            size: entry.size,
            modified: nanoseconds(entry.modified),
            changed: nanoseconds(entry.changed),
        }
    }

    fn read(line: &str) -> Option<(Self, Digest)> {
        let mut fields = line.split(' ');
        let mut number = || fields.next()?.parse::<i128>().ok();
        let (device, inode, size) = (number()?, number()?, number()?);
        let (modified, changed) = (number()?, number()?);
        let digest = format!("sha256:{}", fields.next()?).parse().ok()?;
        let identity = Self {
            device: u64::try_from(device).ok()?,
            inode: u64::try_from(inode).ok()?,
            size: u64::try_from(size).ok()?,
            modified,
            changed,
        };
        Some((identity, digest))
    }

    fn write(&self, digest: &Digest, out: &mut String) {
        use std::fmt::Write;
        let Self {
            device,
            inode,
            size,
            modified,
            changed,
        } = self;
        let hex = digest.hex();
        writeln!(out, "{device} {inode} {size} {modified} {changed} {hex}")
            .expect("writing to a string cannot fail");
    }
}

impl StageBuild<'_, '_> {
    /// Digests one path of a source, for what mounts it.
    pub(crate) fn tree_digest(
        &self,
        source: &Arc<ContextSource>,
        path: &str,
    ) -> Result<(Digest, Group), ErrorKind> {
        let selected = source.select(path, &Matcher::default(), Wildcards::None)?;
        let (digest, contents) = self.selection_digest(source, &selected)?;
        let group = Group {
            source: Arc::clone(source),
            selected,
            unpack: Unpack::No,
            pivot: 0,
            contents,
        };
        Ok((digest, group))
    }

    /// Digests what was selected of a source: names, types, modes, owners, link targets, content.
    /// Returns a fingerprint of each file's content or link target, too.
    pub(crate) fn selection_digest(
        &self,
        source: &ContextSource,
        selected: &[Selected],
    ) -> Result<(Digest, Vec<u64>), ErrorKind> {
        let entries: Vec<&Entry> = selected.iter().flat_map(all_entries).collect();
        let contents = file_digests(self.engine.store, source, &entries)?;
        let mut hasher = Hasher::new();
        let mut fingerprints = Vec::with_capacity(contents.len());
        let mut content = contents.iter();
        for root in selected {
            field(&mut hasher, b"source");
            for (name, entry) in names(root).zip(all_entries(root)) {
                field(&mut hasher, name.as_encoded_bytes());
                let link = self.describe(&mut hasher, source, entry)?;
                let digest = content.next().expect("there is one for each entry");
                if let Some(digest) = digest {
                    field(&mut hasher, digest.as_str().as_bytes());
                }
                let content = digest.as_ref().or(link.as_ref());
                fingerprints.push(content.map_or(0, fingerprint));
            }
        }
        Ok((hasher.finish(), fingerprints))
    }

    /// Adds what counts of a file besides its content; returns the digest of a link's target.
    fn describe(
        &self,
        hasher: &mut Hasher,
        source: &ContextSource,
        entry: &Entry,
    ) -> Result<Option<Digest>, ErrorKind> {
        let owner = owner(source, entry);
        let facts = format!(
            "{:?} {:o} {} {}",
            entry.file_type, entry.mode, owner.0, owner.1
        );
        field(hasher, facts.as_bytes());
        if entry.file_type != FileType::Symlink {
            return Ok(None);
        }
        let target = source.view.read_link(entry)?;
        let target = target.as_os_str().as_encoded_bytes();
        field(hasher, target);
        Ok(Some(Digest::of(target)))
    }
}

impl Group {
    /// Lists the files, for those who ask later which one changed.
    pub(crate) fn files(&self) -> FileList {
        let mut list = FileList::of(&self.source.place);
        let mut contents = self.contents.iter();
        for root in &self.selected {
            let below = root.items.iter().map(|item| item.relative.as_path());
            let paths = std::iter::once(Path::new("")).chain(below);
            for (relative, entry) in paths.zip(all_entries(root)) {
                let path = root.named.join(relative);
                list.push(ListedFile {
                    path: path.to_string_lossy().trim_matches('/').to_owned(),
                    kind: letter(entry.file_type),
                    mode: entry.mode,
                    owner: owner(&self.source, entry),
                    content: contents.next().copied().unwrap_or(0),
                });
            }
        }
        list.finished()
    }
}

/// The letter that lists use for a type: that of `ls -l`, `f` for a regular file.
fn letter(file_type: FileType) -> char {
    match file_type {
        FileType::Regular => 'f',
        FileType::Directory => 'd',
        FileType::Symlink => 'l',
        FileType::CharacterDevice => 'c',
        FileType::BlockDevice => 'b',
        FileType::Fifo => 'p',
        FileType::Socket => 's',
    }
}

fn owner(source: &ContextSource, entry: &Entry) -> (u32, u32) {
    match source.owners {
        Owners::Keep => (entry.uid, entry.gid),
        Owners::Root => (0, 0),
    }
}

fn all_entries(selected: &Selected) -> impl Iterator<Item = &Entry> {
    std::iter::once(&selected.root).chain(selected.items.iter().map(|item| &item.entry))
}

/// The names that count: a source's own last component, and paths below it.
fn names(selected: &Selected) -> impl Iterator<Item = &std::ffi::OsStr> {
    let own = match selected.root.file_type {
        FileType::Directory => std::ffi::OsStr::new(""),
        _ => selected.named.file_name().unwrap_or_default(),
    };
    std::iter::once(own).chain(selected.items.iter().map(|item| item.relative.as_os_str()))
}

fn field(hasher: &mut Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

/// Returns the digest of each regular file; `None` for what is no regular file.
fn file_digests(
    store: &Store,
    source: &ContextSource,
    entries: &[&Entry],
) -> Result<Vec<Option<Digest>>, ErrorKind> {
    let known = match &source.identity {
        Some(identity) => remembered(store, identity)?,
        None => HashMap::new(),
    };
    let mut digests: Vec<Option<Digest>> = Vec::with_capacity(entries.len());
    let mut unknown = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let digest = known.get(&Identity::of(entry)).cloned();
        if digest.is_none() && entry.file_type == FileType::Regular {
            unknown.push(index);
        }
        digests.push(digest.filter(|_| entry.file_type == FileType::Regular));
    }
    if unknown.is_empty() {
        return Ok(digests);
    }
    for (index, digest) in read_all(source, entries, &unknown)? {
        digests[index] = Some(digest);
    }
    if let Some(identity) = &source.identity {
        remember(store, identity, known, entries, &digests)?;
    }
    Ok(digests)
}

/// Reads files on every core.
fn read_all(
    source: &ContextSource,
    entries: &[&Entry],
    unknown: &[usize],
) -> Result<Vec<(usize, Digest)>, ErrorKind> {
    let buffer = || vec![0; 256 * 1024];
    parallel::map(unknown, buffer, |buffer, &index| {
        Ok((index, read_one(source, entries[index], buffer)?))
    })
}

fn read_one(source: &ContextSource, entry: &Entry, buffer: &mut [u8]) -> Result<Digest, ErrorKind> {
    let mut file: File = source.view.open(entry)?;
    let (mut hasher, mut read) = (Hasher::new(), 0);
    loop {
        match file
            .read(buffer)
            .map_err(ErrorKind::io("read", &entry.path))?
        {
            0 => return Ok(hasher.finish()),
            count => {
                hasher.update(&buffer[..count]);
                read += count as u64;
            }
        }
        // Most files are read at once; another call would only say that there is no more.
        if read == entry.size {
            return Ok(hasher.finish());
        }
    }
}

fn remembered(store: &Store, source: &str) -> Result<HashMap<Identity, Digest>, ErrorKind> {
    let text = store.records().get(KIND, source)?.unwrap_or_default();
    Ok(text.lines().filter_map(Identity::read).collect())
}

/// Keeps what was known of files that were not looked at, too: other steps copy those.
fn remember(
    store: &Store,
    source: &str,
    mut known: HashMap<Identity, Digest>,
    entries: &[&Entry],
    digests: &[Option<Digest>],
) -> Result<(), ErrorKind> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_nanos());
    let settled = i128::try_from(now).unwrap_or(i128::MAX) - SETTLED_NANOSECONDS;
    let inodes: std::collections::HashSet<_> =
        entries.iter().map(|e| (e.device, e.inode)).collect();
    known.retain(|identity, _| !inodes.contains(&(identity.device, identity.inode)));
    for (entry, digest) in entries.iter().zip(digests) {
        let identity = Identity::of(entry);
        if let Some(digest) = digest
            && identity.changed < settled
        {
            known.insert(identity, digest.clone());
        }
    }
    let mut text = String::with_capacity(known.len() * 128);
    for (identity, digest) in &known {
        identity.write(digest, &mut text);
    }
    Ok(store.records().put(KIND, source, &text)?)
}
