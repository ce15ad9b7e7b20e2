//! Reading a tar stream entry by entry, within limits.
//!
//! Takes what `ustar`, PAX and GNU tar write: long names and links, large and negative numbers,
//! sub-second times, extended attributes, and sparse files of all four formats.

use std::io::{BufRead, BufReader, Read, Seek};

use super::error::TarError;
use super::header::{self, BLOCK, Header};
use super::limits::Limits;
use super::pax::{Extension, digits};
use super::sparse::SparseMap;
use crate::sys::{Attribute, Facts};

/// An entry's header, with all that extends it.
#[derive(Debug)]
pub struct TarEntry {
    /// The name as it stands in the stream.
    pub name: Vec<u8>,
    /// What the entry makes.
    pub kind: EntryKind,
    /// Owner, mode and time.
    pub facts: Facts,
    /// Extended attributes, in the stream's order.
    pub attributes: Vec<Attribute>,
}

/// What an entry makes.
#[derive(Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file; its content follows.
    File(Option<SparseMap>),
    /// Another name of the file with the name given.
    HardLink(Vec<u8>),
    /// A symbolic link, with its target.
    Symlink(Vec<u8>),
    /// A character device: major and minor number.
    CharacterDevice(u32, u32),
    /// A block device: major and minor number.
    BlockDevice(u32, u32),
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
    /// A type that is none of a file system.
    Unknown(u8),
}

/// Reads entries; between two of them, the content of the former.
#[derive(Debug)]
pub struct TarReader<R> {
    input: R,
    limits: Limits,
    entries: u64,
    /// Bytes of the current entry that were not read yet, and the padding after them.
    left: u64,
    padding: u64,
}

impl<R: Read + Seek> TarReader<BufReader<R>> {
    /// Passes over what is left of the current file's content without reading it.
    pub fn seek_over(&mut self) -> Result<(), TarError> {
        let Some(over) = self.left.checked_sub(1) else {
            return Ok(());
        };
        let over = i64::try_from(over).map_err(|_| TarError::Truncated)?;
        self.input.seek_relative(over)?;
        self.left = 1;
        // The last byte is read: only that tells whether it is there.
        self.read_data(&mut [0]).map(drop)
    }
}

impl<R: BufRead> TarReader<R> {
    /// Starts at the beginning of a plain tar stream.
    pub fn new(input: R, limits: Limits) -> Self {
        Self {
            input,
            limits,
            entries: 0,
            left: 0,
            padding: 0,
        }
    }

    /// Returns the next entry; `None` at the end of the archive.
    pub fn next_entry(&mut self) -> Result<Option<TarEntry>, TarError> {
        let mut extension = Extension::default();
        let (mut long_name, mut long_link) = (None, None);
        loop {
            self.skip_data()?;
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            match header.entry_type() {
                b'x' => {
                    let data = self.metadata()?;
                    extension = Extension::default();
                    extension.parse(&data)?;
                }
                b'g' => drop(self.metadata()?), // of the archive, as git writes: not of a file
                b'L' => long_name = Some(until_nul(self.metadata()?)),
                b'K' => long_link = Some(until_nul(self.metadata()?)),
                _ => {
                    extension.path = extension.path.or(long_name);
                    extension.link = extension.link.or(long_link);
                    return self.entry(&header, extension).map(Some);
                }
            }
        }
    }

    /// Returns how many bytes of the current entry's content were not read yet.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Reads on in the current file's content; 0 at its end.
    pub fn read_data(&mut self, buffer: &mut [u8]) -> Result<usize, TarError> {
        let wanted = buffer
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(0);
        }
        let count = read(&mut self.input, &mut buffer[..wanted])?;
        if count == 0 {
            return Err(TarError::Truncated);
        }
        self.left -= count as u64;
        Ok(count)
    }

    /// Reads what stands behind the archive: the stream's own checks come at its end.
    pub fn drain(mut self) -> Result<(), TarError> {
        loop {
            match self.input.fill_buf() {
                Ok([]) => return Ok(()),
                Ok(bytes) => {
                    let count = bytes.len();
                    self.input.consume(count);
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reads a header and notes what data follows; `None` at the end. Two zero blocks end an
    /// archive; the end of the stream does as well, as in all tools.
    fn header(&mut self) -> Result<Option<Header>, TarError> {
        let Some(mut header) = self.block()? else {
            return Ok(None);
        };
        if header.is_zero() {
            match self.block()? {
                Some(second) if !second.is_zero() => header = second,
                _ => return Ok(None),
            }
            // One zero block alone is damage.
            return Err(header.verify().err().unwrap_or(TarError::Checksum));
        }
        header.verify()?;
        self.set_data(header.size(header::SIZE, "size")?);
        Ok(Some(header))
    }

    fn block(&mut self) -> Result<Option<Header>, TarError> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match read(&mut self.input, &mut block[filled..])? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(TarError::Truncated),
                count => filled += count,
            }
        }
        Ok(Some(Header(block)))
    }

    fn set_data(&mut self, size: u64) {
        self.left = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    /// Skips to the next header. The last entry's padding may be missing.
    fn skip_data(&mut self) -> Result<(), TarError> {
        let mut buffer = [0; 4096];
        while self.read_data(&mut buffer)? > 0 {}
        let mut padding = std::mem::take(&mut self.padding) as usize;
        while padding > 0 {
            match read(&mut self.input, &mut buffer[..padding])? {
                0 => return Ok(()),
                count => padding -= count,
            }
        }
        Ok(())
    }

    /// Reads the data of a header that extends another one.
    fn metadata(&mut self) -> Result<Vec<u8>, TarError> {
        within(
            "an extended header",
            self.left,
            self.limits.header_extension,
        )?;
        let mut data = vec![0; self.left as usize];
        let mut filled = 0;
        while filled < data.len() {
            filled += self.read_data(&mut data[filled..])?;
        }
        Ok(data)
    }

    fn entry(&mut self, header: &Header, mut extension: Extension) -> Result<TarEntry, TarError> {
        self.entries += 1;
        within("the number of entries", self.entries, self.limits.entries)?;
        let attributes = std::mem::take(&mut extension.attributes);
        let bytes = attributes
            .iter()
            .map(|(name, value)| name.len() + value.len());
        within(
            "the size of extended attributes",
            bytes.sum::<usize>() as u64,
            self.limits.attributes,
        )?;
        if let Some(size) = extension.size {
            self.set_data(size);
        }
        let facts = facts(header, &extension)?;
        let name = extension.path.take().unwrap_or_else(|| header.name());
        let name = extension.sparse.name.take().unwrap_or(name);
        let link = extension.link.take();
        let link = link.unwrap_or_else(|| header.text(header::LINK).to_vec());
        for text in [&name, &link] {
            within(
                "the length of a name",
                text.len() as u64,
                self.limits.name_length,
            )?;
        }
        let kind = self.kind(header, &name, link, &extension)?;
        if !matches!(kind, EntryKind::File(_) | EntryKind::Unknown(_)) {
            // As in Go's archive/tar: whatever size these state, they have no content.
            self.set_data(0);
        }
        Ok(TarEntry {
            name,
            kind,
            facts,
            attributes,
        })
    }

    fn kind(
        &mut self,
        header: &Header,
        name: &[u8],
        link: Vec<u8>,
        extension: &Extension,
    ) -> Result<EntryKind, TarError> {
        Ok(match header.entry_type() {
            // Before POSIX a directory was a file with a slash at its end.
            0 | b'0' if name.ends_with(b"/") => EntryKind::Directory,
            0 | b'0' | b'7' => EntryKind::File(self.sparse_map(extension)?),
            b'S' => EntryKind::File(Some(self.old_sparse_map(header)?)),
            b'1' => EntryKind::HardLink(link),
            b'2' => EntryKind::Symlink(link),
            b'3' => {
                let (major, minor) = device(header)?;
                EntryKind::CharacterDevice(major, minor)
            }
            b'4' => {
                let (major, minor) = device(header)?;
                EntryKind::BlockDevice(major, minor)
            }
            b'5' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            other => EntryKind::Unknown(other),
        })
    }

    /// Makes the map of PAX's sparse formats; in 1.0 it stands before the data.
    fn sparse_map(&mut self, extension: &Extension) -> Result<Option<SparseMap>, TarError> {
        let sparse = &extension.sparse;
        let Some(real_size) = sparse.real_size else {
            return Ok(None);
        };
        if sparse.major != Some(1) {
            return SparseMap::new(&sparse.map, real_size, self.left).map(Some);
        }
        let (mut text, mut numbers) = (Vec::new(), Vec::new());
        let is_complete = |numbers: &[u64]| {
            let count = numbers.first().map(|count| count.saturating_mul(2));
            count.is_some_and(|count| numbers.len() as u64 > count)
        };
        let mut blocks = 0;
        while !is_complete(&numbers) {
            blocks += BLOCK as u64;
            within("a sparse map", blocks, self.limits.header_extension)?;
            self.map_block(&mut text)?;
            while let Some(end) = text.iter().position(|byte| *byte == b'\n')
                && !is_complete(&numbers)
            {
                numbers.push(digits(&text[..end]).ok_or(TarError::SparseMap)?);
                text.drain(..=end);
            }
        }
        SparseMap::new(&numbers[1..], real_size, self.left).map(Some)
    }

    /// Reads one more block of the map that stands before a file's data.
    fn map_block(&mut self, text: &mut Vec<u8>) -> Result<(), TarError> {
        let start = text.len();
        text.resize(start + BLOCK, 0);
        let mut filled = start;
        while filled < text.len() {
            match self.read_data(&mut text[filled..])? {
                0 => return Err(TarError::SparseMap),
                count => filled += count,
            }
        }
        Ok(())
    }

    /// Reads GNU tar's old map: four parts in the header, 21 in each block that extends it.
    fn old_sparse_map(&mut self, header: &Header) -> Result<SparseMap, TarError> {
        if !header.is_gnu() {
            return Err(TarError::SparseMap);
        }
        let mut numbers = Vec::new();
        sparse_numbers(header, 386, 4, &mut numbers)?;
        let mut more = header.0[482] != 0;
        while more {
            within(
                "a sparse map",
                numbers.len() as u64 * 12,
                self.limits.header_extension,
            )?;
            let block = self.block()?.ok_or(TarError::Truncated)?;
            sparse_numbers(&block, 0, 21, &mut numbers)?;
            more = block.0[504] != 0;
        }
        let real_size = header.size(483..495, "real size")?;
        SparseMap::new(&numbers, real_size, self.left)
    }
}

fn sparse_numbers(
    block: &Header,
    start: usize,
    count: usize,
    numbers: &mut Vec<u64>,
) -> Result<(), TarError> {
    for index in 0..count {
        let offset = start + index * 24;
        if block.0[offset] == 0 {
            break; // unused
        }
        numbers.push(block.size(offset..offset + 12, "sparse offset")?);
        numbers.push(block.size(offset + 12..offset + 24, "sparse length")?);
    }
    Ok(())
}

fn facts(header: &Header, extension: &Extension) -> Result<Facts, TarError> {
    let modified = match extension.modified {
        Some(time) => time,
        None => (header.number(header::MODIFIED, "time")?, 0),
    };
    Ok(Facts {
        // Some writers put the file type into the mode.
        mode: (header.number(header::MODE, "mode")? & 0o7777) as u32,
        uid: id(header, header::UID, "user ID", extension.uid)?,
        gid: id(header, header::GID, "group ID", extension.gid)?,
        modified,
    })
}

fn id(
    header: &Header,
    place: std::ops::Range<usize>,
    field: &'static str,
    extended: Option<u32>,
) -> Result<u32, TarError> {
    if let Some(id) = extended {
        return Ok(id);
    }
    // The highest one means "leave it as it is" to chown(2).
    let id = u32::try_from(header.number(place, field)?)
        .ok()
        .filter(|id| *id != u32::MAX);
    id.ok_or(TarError::Number { field })
}

fn device(header: &Header) -> Result<(u32, u32), TarError> {
    let number = |place, field| {
        u32::try_from(header.number(place, field)?).map_err(|_| TarError::Number { field })
    };
    Ok((
        number(header::MAJOR, "major number")?,
        number(header::MINOR, "minor number")?,
    ))
}

fn until_nul(mut data: Vec<u8>) -> Vec<u8> {
    let end = data.iter().position(|byte| *byte == 0);
    data.truncate(end.unwrap_or(data.len()));
    data
}

fn within(what: &'static str, value: u64, limit: u64) -> Result<(), TarError> {
    match value <= limit {
        true => Ok(()),
        false => Err(TarError::Limit { what, limit }),
    }
}

fn read(input: &mut impl Read, buffer: &mut [u8]) -> Result<usize, TarError> {
    loop {
        match input.read(buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            result => return Ok(result?),
        }
    }
}
