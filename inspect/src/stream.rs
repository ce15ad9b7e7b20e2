//! One pass through a layer's tar stream, file content included.

use std::io::{self, BufReader, Read};

use mica_store::{Decompressed, EntryKind, Limits, SparseMap, TarEntry, TarError, TarReader};

/// Bytes that are read at a time.
pub(crate) const BUFFER: usize = 256 << 10;

/// A layer's entries, in order.
pub(crate) struct LayerStream<R: Read> {
    reader: TarReader<BufReader<Decompressed<R>>>,
    ordinal: u32,
}

/// The content of one file, holes read as zeros. Nothing for what is no file.
pub(crate) struct Content<'s, R: Read> {
    reader: &'s mut TarReader<BufReader<Decompressed<R>>>,
    map: Option<SparseMap>,
    position: u64,
    size: u64,
}

impl<R: Read> LayerStream<R> {
    /// Starts to read a layer, plain or compressed.
    pub(crate) fn new(blob: R) -> Result<Self, TarError> {
        let limits = Limits::default();
        let stream = BufReader::with_capacity(BUFFER, Decompressed::new(blob, &limits)?);
        Ok(Self {
            reader: TarReader::new(stream, limits),
            ordinal: 0,
        })
    }

    /// Returns the next entry, its place in the stream and its content.
    pub(crate) fn next(&mut self) -> Result<Option<(TarEntry, u32, Content<'_, R>)>, TarError> {
        let Some(mut entry) = self.reader.next_entry()? else {
            return Ok(None);
        };
        let ordinal = self.ordinal;
        self.ordinal += 1;
        let map = match &mut entry.kind {
            EntryKind::File(map) => map.take(),
            _ => None,
        };
        let is_file = matches!(entry.kind, EntryKind::File(_));
        let size = match &map {
            Some(map) => map.real_size,
            None if is_file => self.reader.left(),
            None => 0,
        };
        let content = Content {
            reader: &mut self.reader,
            map,
            position: 0,
            size,
        };
        Ok(Some((entry, ordinal, content)))
    }

    /// Reads to the end of the blob: its digest is checked there.
    pub(crate) fn finish(self) -> Result<(), TarError> {
        self.reader.drain()
    }
}

impl<R: Read> Content<'_, R> {
    /// Returns the size in bytes, holes included.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Returns how many bytes are holes.
    pub(crate) fn holes(&self) -> u64 {
        let stored = |map: &SparseMap| map.parts.iter().map(|(_, length)| length).sum::<u64>();
        self.map.as_ref().map_or(0, |map| self.size - stored(map))
    }

    /// Returns how many bytes follow before the next change between data and hole, and whether they
    /// are data.
    fn run(&self) -> (u64, bool) {
        let Some(map) = &self.map else {
            return (self.size - self.position, true);
        };
        for (offset, length) in &map.parts {
            if self.position < *offset {
                return (offset - self.position, false);
            }
            if self.position < offset + length {
                return (offset + length - self.position, true);
            }
        }
        (self.size - self.position, false)
    }
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (length, is_data) = self.run();
        let wanted = buffer
            .len()
            .min(usize::try_from(length).unwrap_or(usize::MAX));
        let buffer = &mut buffer[..wanted];
        let count = match is_data {
            true => self.reader.read_data(buffer).map_err(io::Error::other)?,
            false => {
                buffer.fill(0);
                wanted
            }
        };
        self.position += count as u64;
        Ok(count)
    }
}
