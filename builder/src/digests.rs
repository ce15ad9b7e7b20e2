//! Digests of what instructions copy.
//!
//! A file is read once: its digest is remembered under device, inode, size and both times, so an
//! unchanged context costs one walk. Content, mode, owner and link target count; times do not.

use std::ffi::OsStr;
use std::fmt::Write;
use std::fs::File;
use std::io::Read;
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
const SETTLED_NANOSECONDS: i64 = 100_000_000;

/// The SHA-256 sum of a file's content. A context may have very many files.
type Sum = [u8; 32];

/// What tells that a file is still the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    /// Nanoseconds since 1970, for the 300 years around it.
    modified: i64,
    changed: i64,
}

impl Identity {
    fn of(entry: &Entry) -> Self {
        let nanoseconds = |(seconds, nanoseconds): (i64, u32)| {
            let seconds = seconds.saturating_mul(1_000_000_000);
            seconds.saturating_add(nanoseconds.into())
        };
        Self {
            device: entry.device,
            inode: entry.inode,
            size: entry.size,
            modified: nanoseconds(entry.modified),
            changed: nanoseconds(entry.changed),
        }
    }

    fn file(&self) -> (u64, u64) {
        (self.device, self.inode)
    }
}

/// The digests that are remembered of one source, sorted.
#[derive(Debug, Default, PartialEq, Eq)]
struct Known(Vec<(Identity, Sum)>);

impl Known {
    fn read(text: &str) -> Self {
        let mut known = Self(text.lines().filter_map(read_line).collect());
        known.0.sort_unstable();
        known
    }

    fn get(&self, identity: &Identity) -> Option<Sum> {
        let place = self.0.binary_search_by_key(identity, |(known, _)| *known);
        place.ok().map(|place| self.0[place].1)
    }

    /// Takes what is known now, and forgets what was known of the same files.
    fn renew(&mut self, mut seen: Vec<(Identity, Option<Sum>)>) {
        seen.sort_unstable();
        let is_seen = |file: (u64, u64)| seen.binary_search_by_key(&file, |(seen, _)| seen.file());
        self.0.retain(|(known, _)| is_seen(known.file()).is_err());
        let found = seen.into_iter();
        self.0
            .extend(found.filter_map(|(identity, sum)| Some((identity, sum?))));
        self.0.sort_unstable();
        self.0.dedup();
    }

    fn write(&self) -> String {
        let mut text = String::with_capacity(self.0.len() * 120);
        for (identity, sum) in &self.0 {
            let Identity {
                device,
                inode,
                size,
                modified,
                changed,
            } = identity;
            write!(text, "{device} {inode} {size} {modified} {changed} ")
                .expect("writing to a string cannot fail");
            text.push_str(Digest::of_sum(sum).hex());
            text.push('\n');
        }
        text
    }
}

fn read_line(line: &str) -> Option<(Identity, Sum)> {
    let mut fields = line.split(' ');
    let mut field = || fields.next();
    let identity = Identity {
        device: field()?.parse().ok()?,
        inode: field()?.parse().ok()?,
        size: field()?.parse().ok()?,
        modified: field()?.parse().ok()?,
        changed: field()?.parse().ok()?,
    };
    let digest: Digest = format!("sha256:{}", field()?).parse().ok()?;
    Some((identity, digest.sum()))
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
        let entries: Vec<&Entry> = selected.iter().flat_map(Selected::entries).collect();
        let contents = file_digests(self.engine.store, source, &entries)?;
        let mut hasher = Hasher::new();
        let mut fingerprints = Vec::with_capacity(contents.len());
        let mut content = contents.iter();
        let mut text = String::new();
        for root in selected {
            field(&mut hasher, b"source");
            for entry in root.entries() {
                field(&mut hasher, name(root, entry).as_encoded_bytes());
                let link = self.describe(&mut hasher, &mut text, source, entry)?;
                let sum = content.next().expect("there is one for each entry");
                if let Some(sum) = sum {
                    field(&mut hasher, Digest::of_sum(sum).as_str().as_bytes());
                }
                let content = sum.as_ref().or(link.as_ref());
                fingerprints.push(content.map_or(0, fingerprint));
            }
        }
        Ok((hasher.finish(), fingerprints))
    }

    /// Adds what counts of a file besides its content; returns the sum of a link's target. `text` is
    /// a buffer.
    fn describe(
        &self,
        hasher: &mut Hasher,
        text: &mut String,
        source: &ContextSource,
        entry: &Entry,
    ) -> Result<Option<Sum>, ErrorKind> {
        let owner = owner(source, entry);
        text.clear();
        let (kind, mode) = (entry.file_type, entry.mode);
        write!(text, "{kind:?} {mode:o} {} {}", owner.0, owner.1).expect("a string takes all");
        field(hasher, text.as_bytes());
        if entry.file_type != FileType::Symlink {
            return Ok(None);
        }
        let target = source.view.read_link(entry)?;
        let target = target.as_os_str().as_encoded_bytes();
        field(hasher, target);
        Ok(Some(Digest::of(target).sum()))
    }
}

impl Group {
    /// Lists the files, for those who ask later which one changed.
    pub(crate) fn files(&self) -> FileList {
        let mut list = FileList::of(&self.source.place);
        let mut contents = self.contents.iter();
        for root in &self.selected {
            for entry in root.entries() {
                let path = root.named.join(root.relative(entry));
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

/// The name that counts: a file's own last component, or a path below the source.
fn name<'e>(source: &'e Selected, entry: &'e Entry) -> &'e OsStr {
    let relative = source.relative(entry).as_os_str();
    match source.root.file_type {
        FileType::Directory => relative,
        _ => source.named.file_name().unwrap_or_default(),
    }
}

fn field(hasher: &mut Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

/// Returns the sum of each regular file; `None` for what is no regular file.
fn file_digests(
    store: &Store,
    source: &ContextSource,
    entries: &[&Entry],
) -> Result<Vec<Option<Sum>>, ErrorKind> {
    let known = match &source.identity {
        Some(identity) => Known::read(&store.records().get(KIND, identity)?.unwrap_or_default()),
        None => Known::default(),
    };
    let mut sums: Vec<Option<Sum>> = Vec::with_capacity(entries.len());
    let mut unknown = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let is_file = entry.file_type == FileType::Regular;
        let sum = known.get(&Identity::of(entry)).filter(|_| is_file);
        if sum.is_none() && is_file {
            unknown.push(index);
        }
        sums.push(sum);
    }
    if unknown.is_empty() {
        return Ok(sums);
    }
    for (index, sum) in unknown.iter().zip(read_all(source, entries, &unknown)?) {
        sums[*index] = Some(sum);
    }
    if let Some(identity) = &source.identity {
        remember(store, identity, known, entries, &sums)?;
    }
    Ok(sums)
}

/// Reads files on every core.
fn read_all(
    source: &ContextSource,
    entries: &[&Entry],
    unknown: &[usize],
) -> Result<Vec<Sum>, ErrorKind> {
    let buffer = || vec![0; 256 * 1024];
    parallel::map(unknown, buffer, |buffer, &index| {
        read_one(source, entries[index], buffer)
    })
}

fn read_one(source: &ContextSource, entry: &Entry, buffer: &mut [u8]) -> Result<Sum, ErrorKind> {
    let mut file: File = source.view.open(entry)?;
    let (mut hasher, mut read) = (Hasher::new(), 0);
    loop {
        match file
            .read(buffer)
            .map_err(ErrorKind::io("read", &entry.path))?
        {
            0 => return Ok(hasher.sum()),
            count => {
                hasher.update(&buffer[..count]);
                read += count as u64;
            }
        }
        // Most files are read at once; another call would only say that there is no more.
        if read == entry.size {
            return Ok(hasher.sum());
        }
    }
}

/// Keeps what was known of files that were not looked at, too: other steps copy those.
fn remember(
    store: &Store,
    source: &str,
    mut known: Known,
    entries: &[&Entry],
    sums: &[Option<Sum>],
) -> Result<(), ErrorKind> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |time| time.as_nanos());
    let settled = i64::try_from(now).unwrap_or(i64::MAX) - SETTLED_NANOSECONDS;
    let seen = entries.iter().zip(sums).map(|(entry, sum)| {
        let identity = Identity::of(entry);
        (identity, sum.filter(|_| identity.changed < settled))
    });
    known.renew(seen.collect());
    let text = known.write();
    drop(known);
    Ok(store.records().put(KIND, source, &text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(inode: u64, changed: i64) -> Identity {
        Identity {
            device: 1,
            inode,
            size: 5,
            modified: -7,
            changed,
        }
    }

    #[test]
    fn what_is_remembered_is_read() {
        let mut known = Known::default();
        known.renew(vec![
            (file(3, 1), Some([3; 32])),
            (file(2, 1), Some([2; 32])),
            (file(4, 1), None),
        ]);
        let read = Known::read(&known.write());
        assert_eq!(read, known);
        assert_eq!(read.get(&file(2, 1)), Some([2; 32]));
        assert_eq!(read.get(&file(2, 2)), None);
        assert_eq!(read.get(&file(4, 1)), None);
        assert_eq!(Known::read("1 2 3\nx\n"), Known::default());
    }

    #[test]
    fn a_file_is_remembered_once_and_others_stay() {
        let mut known = Known::default();
        known.renew(vec![
            (file(1, 1), Some([1; 32])),
            (file(2, 1), Some([2; 32])),
        ]);
        // The second has changed, and too lately to be remembered.
        known.renew(vec![(file(2, 9), None), (file(3, 1), Some([3; 32]))]);
        let files: Vec<_> = known.0.iter().map(|(known, _)| known.inode).collect();
        assert_eq!(files, [1, 3]);
    }
}
