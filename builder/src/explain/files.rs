//! Which files a step copied, kept in small pieces.
//!
//! A list is cut where the hash of a path says so. So a changed, added or removed file changes the
//! piece that it is in, and at most the next one; all others are stored once, whoever refers to
//! them.

use std::fmt::Write;

use mica_oci::Digest;
use mica_store::Store;
use serde::{Deserialize, Serialize};

use crate::error::ErrorKind;

/// The kind of the records that hold pieces.
pub(crate) const KIND: &str = "files";

/// A path whose hash ends in this many zero bits ends a piece: one in 256 does.
const CUT_MASK: u64 = 0xff;

/// No piece is longer, whatever the hashes say.
const LONGEST_PIECE: usize = 2048;

/// A file as a list tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListedFile {
    /// Its path in the source.
    pub(crate) path: String,
    /// `f`, `d`, `l` or another letter for its type.
    pub(crate) kind: char,
    /// The permission bits.
    pub(crate) mode: u32,
    /// User and group.
    pub(crate) owner: (u32, u32),
    /// The first 8 bytes of the digest of its content, or of its link target.
    pub(crate) content: u64,
}

/// The files of one source, in pieces that are ready to be stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FileList {
    pub(crate) place: String,
    pub(crate) total: usize,
    pub(crate) pieces: Vec<String>,
    /// The piece that grows.
    open: String,
    open_files: usize,
    last: Option<ListedFile>,
}

/// A list that is stored: what a step's record keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptFiles {
    /// Where the files came from, in words.
    pub(crate) place: String,
    /// How many there are.
    pub(crate) total: usize,
    /// The keys of the pieces, in order.
    pub(crate) pieces: Vec<String>,
}

impl FileList {
    /// Starts the list of a place, such as `the build context`.
    pub(crate) fn of(place: &str) -> Self {
        Self {
            place: place.to_owned(),
            ..Self::default()
        }
    }

    /// Adds a file. The order is that of the walk, the same each time.
    pub(crate) fn push(&mut self, file: ListedFile) {
        self.write_line(&file);
        self.total += 1;
        self.open_files += 1;
        let cut = hash(file.path.as_bytes()) & CUT_MASK == 0;
        self.last = Some(file);
        if cut || self.open_files == LONGEST_PIECE {
            self.close_piece();
        }
    }

    /// One line: how much of the path is that of the line above, the facts (`=` for those of the
    /// line above), the content, the rest of the path.
    fn write_line(&mut self, file: &ListedFile) {
        let (shared, same) = match &self.last {
            Some(last) => (
                shared_prefix(&last.path, &file.path),
                (last.kind, last.mode, last.owner) == (file.kind, file.mode, file.owner),
            ),
            None => (0, false),
        };
        let facts = match same {
            true => "=".to_owned(),
            false => format!(
                "{}{:o}:{}:{}",
                file.kind, file.mode, file.owner.0, file.owner.1
            ),
        };
        let rest = file.path[shared..]
            .replace('\\', "\\\\")
            .replace('\n', "\\n");
        writeln!(self.open, "{shared} {facts} {:016x} {rest}", file.content)
            .expect("writing to a string cannot fail");
    }

    /// Ends the list.
    pub(crate) fn finished(mut self) -> Self {
        if self.open_files > 0 {
            self.close_piece();
        }
        self
    }

    fn close_piece(&mut self) {
        self.pieces.push(std::mem::take(&mut self.open));
        self.open_files = 0;
        self.last = None;
    }

    /// Returns the keys of the pieces of a finished list.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.pieces.iter().map(|piece| key(piece)).collect()
    }

    /// Stores the pieces of a finished list that are not there yet.
    pub(crate) fn keep(self, store: &Store) -> Result<KeptFiles, ErrorKind> {
        let keys = self.keys();
        let known = store.records().contains(KIND, &keys)?;
        let new: Vec<(&str, &str)> = keys
            .iter()
            .zip(&self.pieces)
            .zip(known)
            .filter(|(_, known)| !known)
            .map(|((key, piece), _)| (key.as_str(), piece.as_str()))
            .collect();
        if !new.is_empty() {
            store.records().put_many(KIND, &new)?;
        }
        Ok(KeptFiles {
            place: self.place,
            total: self.total,
            pieces: keys,
        })
    }
}

/// The first 8 bytes of a sum: enough to tell a file's versions apart.
pub(crate) fn fingerprint(sum: &[u8; 32]) -> u64 {
    let (first, _) = sum.split_first_chunk().expect("32 are more than 8");
    u64::from_be_bytes(*first)
}

/// FNV-1a: stable and quick, and nobody gains by bending it.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// A piece is found under the first half of its digest.
fn key(piece: &str) -> String {
    Digest::of(piece.as_bytes()).hex()[..32].to_owned()
}

/// How many bytes two paths share at their beginning, in whole characters.
fn shared_prefix(a: &str, b: &str) -> usize {
    let same = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    (0..=same)
        .rev()
        .find(|&length| b.is_char_boundary(length))
        .unwrap_or(0)
}

/// Reads a piece.
pub(crate) fn read_piece(text: &str) -> Vec<ListedFile> {
    let mut files: Vec<ListedFile> = Vec::new();
    for line in text.lines() {
        // What cannot be read explains nothing, and decides nothing either.
        let Some(file) = read_line(line, files.last()) else {
            break;
        };
        files.push(file);
    }
    files
}

fn read_line(line: &str, last: Option<&ListedFile>) -> Option<ListedFile> {
    let mut fields = line.splitn(4, ' ');
    let shared: usize = fields.next()?.parse().ok()?;
    let facts = fields.next()?;
    let content = u64::from_str_radix(fields.next()?, 16).ok()?;
    let rest = unescaped(fields.next()?);
    let path = match last {
        Some(last) => format!("{}{rest}", last.path.get(..shared)?),
        None => rest,
    };
    let (kind, mode, owner) = match (facts, last) {
        ("=", Some(last)) => (last.kind, last.mode, last.owner),
        (facts, _) => {
            let mut parts = facts.get(1..)?.split(':');
            let mode = u32::from_str_radix(parts.next()?, 8).ok()?;
            let owner = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            (facts.chars().next()?, mode, owner)
        }
    };
    Some(ListedFile {
        path,
        kind,
        mode,
        owner,
        content,
    })
}

fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, character == '\\') {
            (_, false) => out.push(character),
            _ => match characters.next() {
                Some('n') => out.push('\n'),
                Some(escaped) => out.push(escaped),
                None => {}
            },
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, content: u64) -> ListedFile {
        ListedFile {
            path: path.into(),
            kind: 'f',
            mode: 0o644,
            owner: (0, 0),
            content,
        }
    }

    fn list(files: &[ListedFile]) -> FileList {
        let mut list = FileList::of("here");
        files.iter().cloned().for_each(|file| list.push(file));
        list.finished()
    }

    #[test]
    fn what_is_written_is_read() {
        let mut odd = file("ä/b\\n\n c", 7);
        odd.kind = 'l';
        odd.mode = 0o777;
        odd.owner = (5, 6);
        let files = [
            file("a/x", 1),
            file("a/y", u64::MAX),
            odd,
            file("ä/b", 2),
            file("å", 3),
        ];
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let kept = list(&files).keep(&store).unwrap();
        assert_eq!(kept.total, files.len());
        let pieces = store.records().get_many(KIND, &kept.pieces).unwrap();
        let read: Vec<_> = pieces
            .iter()
            .flat_map(|piece| read_piece(piece.as_deref().unwrap()))
            .collect();
        assert_eq!(read, files);
    }

    #[test]
    fn one_change_touches_few_pieces() {
        let mut files: Vec<_> = (0..20_000)
            .map(|n| file(&format!("src/{}/{n}.txt", n / 100), n))
            .collect();
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let before = list(&files).keep(&store).unwrap();
        assert!((20..200).contains(&before.pieces.len()));
        files[7_000].content = 1;
        files.remove(15_000);
        let after = list(&files).keep(&store).unwrap();
        let new = |key: &&String| !before.pieces.contains(key);
        assert!(after.pieces.iter().filter(new).count() <= 4);
        let kept = store.records().keys(KIND).unwrap().len();
        assert!(
            kept <= before.pieces.len() + 4,
            "equal pieces are kept once"
        );
    }
}
