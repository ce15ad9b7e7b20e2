//! One entry of a tar stream in the making: its `ustar` header, and PAX records for the rest.

use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs as rfs;

use super::error::{Archiving, FileError};
use super::header::{self, BLOCK, Header};
use super::pax::{ATTRIBUTE, write_record, write_time};
use super::tar_reader::{EntryKind, TarEntry};
use crate::metadata::is_overlay;
use crate::sys::{self, Attribute, Facts};

/// One entry's header in the making.
pub(super) struct Item<'a> {
    /// The name in the stream.
    pub(super) name: &'a [u8],
    pub(super) entry_type: u8,
    pub(super) link: &'a [u8],
    pub(super) size: u64,
    /// Major and minor number.
    pub(super) device: (u32, u32),
    pub(super) facts: Facts,
    pub(super) attributes: Vec<Attribute>,
}

impl<'a> Item<'a> {
    /// Starts the header of an empty entry.
    pub(super) fn new(name: &'a [u8], entry_type: u8, facts: Facts) -> Self {
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

    /// Describes an open file or directory.
    pub(super) fn of_file(
        file: impl AsFd,
        name: &'a [u8],
        entry_type: u8,
    ) -> Result<Self, FileError> {
        let stat = rfs::fstat(&file).archiving("read the metadata")?;
        let mut item = Self::new(name, entry_type, Facts::of(&stat));
        if entry_type == b'0' {
            item.size = stat.st_size as u64;
        }
        item.attributes = archived(sys::attributes_of(file).archiving("read the attributes")?);
        Ok(item)
    }

    /// Makes the header, and the PAX records for what does not fit into it.
    pub(super) fn encode(&self, facts: Facts) -> Result<(Header, Vec<u8>), FileError> {
        let mut header = Header::new(self.entry_type);
        let mut records: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut record = |fits: bool, key: &str, value: &dyn Fn() -> Vec<u8>| {
            if !fits {
                records.push((key.into(), value()));
            }
        };
        record(set_name(&mut header, self.name), "path", &|| {
            self.name.into()
        });
        let fits = header.set_text(header::LINK, self.link);
        record(fits, "linkpath", &|| self.link.into());
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
            let fits = header.set_number(field, value);
            record(fits, key, &|| value.to_string().into());
        }
        // Readers that know no PAX get the second before.
        let seconds = u64::try_from(modified.0).ok();
        let fits = seconds.is_some_and(|seconds| header.set_number(header::MODIFIED, seconds));
        record(fits && modified.1 == 0, "mtime", &|| {
            write_time(modified).into()
        });
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
pub(super) fn extension(records: &[u8]) -> Vec<u8> {
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
pub(super) fn padding(size: u64) -> &'static [u8] {
    &[0; BLOCK][..size.wrapping_neg() as usize % BLOCK]
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
