//! What an index knows of a tar entry.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use mica_oci::Digest;
use mica_store::{Attribute, EntryError, EntryKind, Facts, Marker, TarEntry, Time};

/// What an entry makes, or hides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A regular file.
    File,
    /// Another name of a file.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
    /// The name is removed.
    Whiteout,
    /// The directory hides what lower layers have in it.
    Opaque,
}

impl Kind {
    /// All kinds; the place of one is its number in an index file.
    pub(crate) const ALL: [Self; 9] = [
        Self::File,
        Self::HardLink,
        Self::Symlink,
        Self::CharacterDevice,
        Self::BlockDevice,
        Self::Directory,
        Self::Fifo,
        Self::Whiteout,
        Self::Opaque,
    ];

    /// Returns the word for it in data: `file`, `dir`, `symlink`, `char`, `block`, `fifo`, and
    /// `hardlink`, `whiteout` or `opaque` where a layer is looked at by itself.
    pub fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::HardLink => "hardlink",
            Self::Symlink => "symlink",
            Self::CharacterDevice => "char",
            Self::BlockDevice => "block",
            Self::Directory => "dir",
            Self::Fifo => "fifo",
            Self::Whiteout => "whiteout",
            Self::Opaque => "opaque",
        }
    }

    /// Returns the letter that `ls -l` shows.
    pub fn letter(self) -> char {
        match self {
            Self::File | Self::HardLink => '-',
            Self::Symlink => 'l',
            Self::CharacterDevice => 'c',
            Self::BlockDevice => 'b',
            Self::Directory => 'd',
            Self::Fifo => 'p',
            Self::Whiteout | Self::Opaque => 'w',
        }
    }
}

/// One entry of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The path below the root, its components clean, without a slash at either end; of a marker,
    /// the path that it is about. Any bytes but NUL.
    pub path: Box<[u8]>,
    /// What the entry makes.
    pub kind: Kind,
    /// The permission bits, with set-user-ID, set-group-ID and sticky.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The time of the last change.
    pub modified: Time,
    /// Bytes of the content, holes included; zero for all but files.
    pub size: u64,
    /// The target of a link as it stands in the stream.
    pub link: Box<[u8]>,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// SHA-256 of a file's content; absent when its holes are too large to be hashed.
    pub(crate) sha256: Option<[u8; 32]>,
    /// Extended attributes.
    pub attributes: Box<[Attribute]>,
    /// The place in the tar stream, counted in entries.
    pub(crate) ordinal: u32,
}

impl Entry {
    /// Describes a tar entry; `None` for what AUFS wrote for itself.
    ///
    /// # Errors
    /// [`EntryError`] for what no layer can hold.
    pub(crate) fn of(entry: &TarEntry, ordinal: u32) -> Result<Option<Self>, EntryError> {
        let path = clean(&entry.name);
        let (parent, name) = split(&path);
        let (path, marker) = match Marker::of(OsStr::from_bytes(name))? {
            None => (path.clone(), None),
            Some(Marker::Ignored) => return Ok(None),
            Some(Marker::Opaque) => (parent.to_vec(), Some(Kind::Opaque)),
            Some(Marker::Whiteout(hidden)) => {
                (join(parent, hidden.as_bytes()), Some(Kind::Whiteout))
            }
        };
        if path.is_empty() && marker.is_none() && entry.kind != EntryKind::Directory {
            return Err(EntryError::Root);
        }
        let (kind, link, device) = match &entry.kind {
            EntryKind::File(_) => (Kind::File, &b""[..], (0, 0)),
            EntryKind::HardLink(target) => (Kind::HardLink, &target[..], (0, 0)),
            EntryKind::Symlink(target) => (Kind::Symlink, &target[..], (0, 0)),
            EntryKind::CharacterDevice(major, minor) => {
                (Kind::CharacterDevice, &b""[..], (*major, *minor))
            }
            EntryKind::BlockDevice(major, minor) => (Kind::BlockDevice, &b""[..], (*major, *minor)),
            EntryKind::Directory => (Kind::Directory, &b""[..], (0, 0)),
            EntryKind::Fifo => (Kind::Fifo, &b""[..], (0, 0)),
            EntryKind::Unknown(other) => return Err(EntryError::Type(*other)),
        };
        Ok(Some(Self {
            path: path.into(),
            kind: marker.unwrap_or(kind),
            mode: entry.facts.mode,
            uid: entry.facts.uid,
            gid: entry.facts.gid,
            modified: entry.facts.modified,
            size: 0,
            link: link.into(),
            device,
            sha256: None,
            attributes: entry.attributes.clone().into(),
            ordinal,
        }))
    }

    /// Returns the digest of a file's content.
    pub fn digest(&self) -> Option<Digest> {
        self.sha256.as_ref().map(Digest::of_sum)
    }

    /// Tells whether two entries have the same content: bytes of a file, target of a link, numbers
    /// of a device.
    pub fn has_content_of(&self, other: &Self) -> bool {
        let bytes = |entry: &Self| (entry.kind == Kind::File).then_some((entry.size, entry.sha256));
        self.kind == other.kind
            && self.device == other.device
            && self.link == other.link
            && bytes(self) == bytes(other)
    }

    /// Tells whether two entries have the same owner, mode and attributes.
    pub fn has_metadata_of(&self, other: &Self) -> bool {
        let facts = |entry: &Self| (entry.mode, entry.uid, entry.gid);
        facts(self) == facts(other) && self.attributes == other.attributes
    }

    /// Makes the tar entry of this one under another name, as a file system would have it.
    pub(crate) fn as_tar(&self, name: Vec<u8>) -> TarEntry {
        let kind = match self.kind {
            Kind::File => EntryKind::File(None),
            Kind::HardLink => EntryKind::HardLink(self.link.to_vec()),
            Kind::Symlink => EntryKind::Symlink(self.link.to_vec()),
            Kind::CharacterDevice => EntryKind::CharacterDevice(self.device.0, self.device.1),
            Kind::BlockDevice => EntryKind::BlockDevice(self.device.0, self.device.1),
            Kind::Directory | Kind::Whiteout | Kind::Opaque => EntryKind::Directory,
            Kind::Fifo => EntryKind::Fifo,
        };
        TarEntry {
            name,
            kind,
            facts: Facts {
                mode: self.mode,
                uid: self.uid,
                gid: self.gid,
                modified: self.modified,
            },
            attributes: self.attributes.to_vec(),
        }
    }
}

/// Resolves `.`, `..` and empty components in the text, as the store does when it unpacks.
pub(crate) fn clean(name: &[u8]) -> Vec<u8> {
    let mut components: Vec<&[u8]> = Vec::new();
    for component in name.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => drop(components.pop()),
            other => components.push(other),
        }
    }
    components.join(&b'/')
}

/// Splits a clean path into its parent and its last name.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// Joins a clean path and a name.
pub(crate) fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    match parent {
        b"" => name.to_vec(),
        parent => [parent, b"/", name].concat(),
    }
}

/// Shows a path of an image: from the root, bytes that are no UTF-8 replaced.
pub fn shown(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    ["/", text.trim_start_matches('/')].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cleaned() {
        let cases: [(&[u8], &[u8]); 6] = [
            (b"./a//b/", b"a/b"),
            (b"/a", b"a"),
            (b"../../a", b"a"),
            (b"a/../b", b"b"),
            (b"./", b""),
            (b"\xff/.\xfe", b"\xff/.\xfe"),
        ];
        for (name, expected) in cases {
            assert_eq!(clean(name), expected, "{}", name.escape_ascii());
        }
        assert_eq!(split(b"a/b/c"), (&b"a/b"[..], &b"c"[..]));
        assert_eq!(split(b"c"), (&b""[..], &b"c"[..]));
        assert_eq!(shown(b"a\xff"), "/a\u{fffd}");
    }
}
