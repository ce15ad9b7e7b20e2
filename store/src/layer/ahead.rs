//! Reading ahead of what is written: small files on every core, a large one on a thread of its own.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use rustix::fs::FileType;

use super::item::archived;
use crate::sys::{self, Attribute, Facts};

/// How many names are looked at before the first of them is written, and from how many on that is
/// worth a thread.
pub(super) const READ_AHEAD: usize = 256;
const WORTH_A_THREAD: usize = 16;

/// The largest file that is read ahead, in bytes: with [`READ_AHEAD`] it bounds the memory.
const SMALL: usize = 16 << 10;

/// A file whose content is known, and small.
pub struct SmallFile {
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

/// What a large file is read in, in bytes, and how many such pieces may wait.
const PIECE: usize = 512 << 10;
const WAITING: usize = 2;

/// From this size on, in bytes, a thread that reads ahead is worth its start.
pub(super) const LARGE: u64 = 4 << 20;

/// Reads `size` bytes of a file, and gives them to `take` piece by piece while the next ones are read.
/// A file that is shorter gives [`io::ErrorKind::UnexpectedEof`].
pub(super) fn read_large<E>(
    file: &File,
    size: u64,
    mut take: impl FnMut(io::Result<&[u8]>) -> Result<(), E>,
) -> Result<(), E> {
    let (filled, pieces) = sync_channel(WAITING);
    let (used, buffers) = sync_channel(WAITING + 2);
    std::thread::scope(|scope| {
        scope.spawn(move || read_pieces(file, size, &filled, &buffers));
        for piece in pieces {
            match piece {
                Ok(piece) => {
                    take(Ok(&piece))?;
                    // One that finds no room is dropped.
                    let _ = used.try_send(piece);
                }
                Err(error) => take(Err(error))?,
            }
        }
        Ok(())
    })
}

fn read_pieces(
    mut file: &File,
    size: u64,
    filled: &SyncSender<io::Result<Vec<u8>>>,
    buffers: &Receiver<Vec<u8>>,
) {
    let mut left = size;
    while left > 0 {
        let length = left.min(PIECE as u64);
        let mut buffer = buffers.try_recv().unwrap_or_default();
        buffer.resize(length as usize, 0);
        let piece = file.read_exact(&mut buffer).map(|()| buffer);
        let last = piece.is_err();
        // After a failure nobody listens any more.
        if filled.send(piece).is_err() || last {
            return;
        }
        left -= length;
    }
}

impl SmallFile {
    /// The largest content, in bytes.
    pub const LARGEST: usize = SMALL;

    /// Takes the metadata of an open file that this content was just written to; `None` for one
    /// that is larger than [`Self::LARGEST`] or has another size.
    pub fn written(file: &File, content: &[u8]) -> io::Result<Option<Self>> {
        let stat = rustix::fs::fstat(file)?;
        if content.len() > SMALL || stat.st_size as usize != content.len() {
            return Ok(None);
        }
        Ok(Some(Self {
            facts: Facts::of(&stat),
            attributes: archived(sys::attributes_of(file)?),
            content: content.to_vec(),
        }))
    }

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
