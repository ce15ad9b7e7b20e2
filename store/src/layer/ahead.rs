//! Small files read ahead, on every core, before they are written one after the other.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

use rustix::fs::FileType;

use super::item::archived;
use crate::sys::{self, Attribute, Facts};

/// How many names are looked at before the first of them is written, and from how many on that is
/// worth a thread.
pub(super) const READ_AHEAD: usize = 256;
const WORTH_A_THREAD: usize = 16;

/// The largest file that is read ahead, in bytes: with [`READ_AHEAD`] it bounds the memory.
const SMALL: usize = 16 << 10;

/// A file that was read whole.
pub(super) struct SmallFile {
    pub(super) facts: Facts,
    pub(super) attributes: Vec<Attribute>,
    pub(super) content: Vec<u8>,
}

/// Reads the small files of one name each among these, on every core; `None` for all else, and for
/// what cannot be read: that is for the writer to meet in its turn, and to tell.
pub(super) fn read_ahead(directory: &OwnedFd, names: &[OsString]) -> Vec<Option<SmallFile>> {
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
