//! A table of contents: names inside an archive or layout, and how to read what they name.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use mica_oci::{Compression, Digest};
use serde::de::DeserializeOwned;
use tar::EntryType;

use super::ArchiveError;
use crate::blobs::DOCUMENT_LIMIT;

/// Links that lead to links: more than any writer makes.
const MOST_LINKS: usize = 8;

/// Where an archive's files are.
#[derive(Debug)]
pub(crate) enum Contents {
    /// In a plain tar file.
    Tar {
        /// The tar file.
        file: File,
        /// What it holds, by normalised path.
        entries: HashMap<String, Entry>,
    },
    /// In a directory that is an OCI layout.
    Directory(PathBuf),
}

/// What a path of a tar file leads to.
#[derive(Debug)]
pub(crate) enum Entry {
    /// Bytes of the tar file.
    File { offset: u64, size: u64 },
    /// Another path, normalised.
    Link(String),
}

/// What the reader says about a broken header quotes its bytes, which are no text for people.
fn broken(error: io::Error) -> ArchiveError {
    match error.kind() {
        io::ErrorKind::Other => ArchiveError::NotTar,
        _ => ArchiveError::Read(error),
    }
}

impl Contents {
    /// Reads the headers of a plain tar file.
    pub(crate) fn of_tar(mut file: File) -> Result<Self, ArchiveError> {
        let mut entries = HashMap::new();
        file.seek(SeekFrom::Start(0)).map_err(ArchiveError::Read)?;
        let mut archive = tar::Archive::new(&file);
        for entry in archive.entries_with_seek().map_err(ArchiveError::Read)? {
            let entry = entry.map_err(broken)?;
            if let Some((path, entry)) = read_header(&entry) {
                entries.insert(path, entry);
            }
        }
        Ok(Self::Tar { file, entries })
    }

    /// Tells whether there is a file of that name.
    pub(super) fn has(&self, path: &str) -> bool {
        match self {
            Self::Tar { entries, .. } => find(entries, path).is_some(),
            Self::Directory(root) => root.join(path).is_file(),
        }
    }

    /// Returns where the tar file has a file, and its size.
    pub(crate) fn place(&self, path: &str) -> Result<(u64, u64), ArchiveError> {
        let found = match self {
            Self::Tar { entries, .. } => find(entries, path),
            Self::Directory(_) => None,
        };
        found.ok_or_else(|| ArchiveError::Missing {
            path: path.to_owned(),
        })
    }

    /// Opens a file; returns its size as well.
    pub(super) fn open(
        &self,
        path: &str,
    ) -> Result<(u64, Box<dyn Read + Send + '_>), ArchiveError> {
        let missing = || ArchiveError::Missing {
            path: path.to_owned(),
        };
        match self {
            Self::Tar { .. } => {
                let section = self.section(path)?;
                let size = section.end - section.start;
                Ok((size, Box::new(BufReader::with_capacity(256 << 10, section))))
            }
            Self::Directory(root) => {
                let file = File::open(root.join(path)).map_err(|error| match error.kind() {
                    io::ErrorKind::NotFound => missing(),
                    _ => ArchiveError::Read(error),
                })?;
                let size = file.metadata().map_err(ArchiveError::Read)?.len();
                Ok((size, Box::new(file)))
            }
        }
    }

    /// Opens a file as a part of the one that it is in.
    pub(super) fn section(&self, path: &str) -> Result<Section, ArchiveError> {
        let missing = || ArchiveError::Missing {
            path: path.to_owned(),
        };
        let (file, start, size) = match self {
            Self::Tar { file, entries } => {
                let (offset, size) = find(entries, path).ok_or_else(missing)?;
                (file.try_clone(), offset, size)
            }
            Self::Directory(root) => {
                let file = File::open(root.join(path)).map_err(ArchiveError::Read)?;
                let size = file.metadata().map_err(ArchiveError::Read)?.len();
                (Ok(file), 0, size)
            }
        };
        Ok(Section {
            file: file.map_err(ArchiveError::Read)?,
            start,
            offset: start,
            end: start + size,
        })
    }

    /// Reads a document of at most 4 MiB.
    pub(super) fn read(&self, path: &str) -> Result<Vec<u8>, ArchiveError> {
        let (size, reader) = self.open(path)?;
        if size > DOCUMENT_LIMIT {
            return Err(ArchiveError::LongDocument {
                path: path.to_owned(),
                size,
            });
        }
        let mut content = Vec::new();
        let read = reader.take(DOCUMENT_LIMIT).read_to_end(&mut content);
        read.map(|_| content).map_err(ArchiveError::Read)
    }

    /// Reads and parses a document.
    pub(crate) fn parse<T: DeserializeOwned>(&self, path: &str) -> Result<T, ArchiveError> {
        let raw = self.read(path)?;
        serde_json::from_slice(&raw).map_err(|source| ArchiveError::Parse {
            path: path.to_owned(),
            source,
        })
    }
}

/// Returns where an OCI layout keeps a blob.
pub(super) fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Tells from its first bytes how a file is compressed.
pub(super) fn sniff(start: &[u8]) -> Compression {
    match start {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        _ => Compression::None,
    }
}

/// Reads as much as there is, up to the buffer's length.
pub(super) fn read_start(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn read_header(entry: &tar::Entry<'_, impl Read>) -> Option<(String, Entry)> {
    let path = normalise(&[], std::str::from_utf8(&entry.path_bytes()).ok()?)?;
    let link = entry.link_name_bytes();
    let link = link
        .as_deref()
        .and_then(|link| std::str::from_utf8(link).ok());
    let found = match entry.header().entry_type() {
        EntryType::Regular | EntryType::Continuous => Entry::File {
            offset: entry.raw_file_position(),
            size: entry.size(),
        },
        EntryType::Link => Entry::Link(normalise(&[], link?)?),
        EntryType::Symlink => {
            let target = link.filter(|target| !target.starts_with('/'))?;
            let parent: Vec<&str> = path.split('/').collect();
            Entry::Link(normalise(&parent[..parent.len() - 1], target)?)
        }
        _ => return None,
    };
    Some((path, found))
}

/// Returns the path from the archive's root; `None` when it leads out of there.
fn normalise(parent: &[&str], path: &str) -> Option<String> {
    let mut parts = parent.to_vec();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn find(entries: &HashMap<String, Entry>, path: &str) -> Option<(u64, u64)> {
    let mut path = normalise(&[], path)?;
    for _ in 0..MOST_LINKS {
        match entries.get(&path)? {
            Entry::File { offset, size } => return Some((*offset, *size)),
            Entry::Link(target) => path.clone_from(target),
        }
    }
    None
}

/// A part of a file, read without moving the file's own position.
#[derive(Debug)]
pub struct Section {
    file: File,
    start: u64,
    offset: u64,
    end: u64,
}

impl Seek for Section {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => self.start.checked_add(offset),
            SeekFrom::Current(offset) => self.offset.checked_add_signed(offset),
            SeekFrom::End(offset) => self.end.checked_add_signed(offset),
        };
        let target = target.filter(|target| (self.start..=self.end).contains(target));
        self.offset = target.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(self.offset - self.start)
    }
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(self.end - self.offset).unwrap_or(usize::MAX);
        let length = buffer.len().min(rest);
        let count = self.file.read_at(&mut buffer[..length], self.offset)?;
        if count == 0 && length > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.offset += count as u64;
        Ok(count)
    }
}

/// Tells whether a directory looks like an OCI layout.
pub(super) fn is_layout(directory: &Path) -> bool {
    directory.join("index.json").is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        let cases = [
            ("", "a/b", Some("a/b")),
            ("", "./a//b/.", Some("a/b")),
            ("", "/etc/passwd", Some("etc/passwd")),
            ("", "../a", None),
            ("", "a/../../b", None),
            ("x", "../y/layer.tar", Some("y/layer.tar")),
            ("x", "../../y", None),
        ];
        for (parent, path, expected) in cases {
            let parent: Vec<&str> = parent.split('/').filter(|part| !part.is_empty()).collect();
            assert_eq!(normalise(&parent, path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn links_in_a_circle_lead_nowhere() {
        let link = |target: &str| Entry::Link(target.to_owned());
        let entries = HashMap::from([
            ("a".to_owned(), link("b")),
            ("b".to_owned(), link("a")),
            ("c".to_owned(), link("d")),
            (
                "d".to_owned(),
                Entry::File {
                    offset: 512,
                    size: 3,
                },
            ),
        ]);
        for (path, expected) in [("a", None), ("c", Some((512, 3))), ("./d", Some((512, 3)))] {
            assert_eq!(find(&entries, path), expected, "{path}");
        }
    }
}
