//! An index of a layer: all that its tar headers say, and the digest of every file.

use std::io::{self, BufReader, Read, Seek};

use mica_oci::Hasher;
use mica_store::{EntryKind, Limits, TarEntry, TarError, TarReader};

use crate::entry::{Entry, Kind, shown};
use crate::stream::{BUFFER, Content, LayerStream};

/// The most bytes of names, links and attributes that an index holds in memory. The largest real
/// layers have a tenth of it.
const MOST_TEXT: u64 = 256 << 20;

/// Holes up to this size are hashed: a sparse file can claim exabytes.
const MOST_HOLES: u64 = 1 << 30;

/// Bytes read at a time where content is passed over: most headers stand alone.
const OUTLINE_BUFFER: usize = 16 << 10;

/// What a layer holds, in the order of its stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerIndex {
    /// The entries.
    pub entries: Vec<Entry>,
    /// Entries that no layer can hold, with the reason; nothing else is known of them.
    pub problems: Vec<String>,
}

impl LayerIndex {
    /// Reads a layer to its end, plain or compressed. Memory grows with the number of entries, not
    /// with their content.
    ///
    /// # Errors
    /// [`TarError`], also when `blob` fails at its end because it is not what was asked for.
    pub fn build(blob: impl Read) -> Result<Self, TarError> {
        let mut stream = LayerStream::new(blob)?;
        let mut index = Self::default();
        let (mut text, mut buffer) = (0, vec![0; BUFFER]);
        while let Some((entry, ordinal, content)) = stream.next()? {
            let describe = |known: &mut Entry| describe(known, content, &mut buffer);
            index.add(&entry, ordinal, &mut text, describe)?;
        }
        stream.finish()?;
        Ok(index)
    }

    /// Reads the headers of a plain layer and passes over content: no file has a digest, and nothing
    /// is checked against the layer's own.
    pub(crate) fn outline(layer: impl Read + Seek) -> Result<Self, TarError> {
        let input = BufReader::with_capacity(OUTLINE_BUFFER, layer);
        let mut reader = TarReader::new(input, Limits::default());
        let mut index = Self::default();
        let mut text = 0;
        for ordinal in 0.. {
            let Some(entry) = reader.next_entry()? else {
                break;
            };
            let size = match &entry.kind {
                EntryKind::File(Some(map)) => map.real_size,
                EntryKind::File(None) => reader.left(),
                _ => 0,
            };
            index.add(&entry, ordinal, &mut text, |known| {
                known.size = if known.kind == Kind::File { size } else { 0 };
                Ok(())
            })?;
            reader.seek_over()?;
        }
        Ok(index)
    }

    /// Adds an entry, and counts the bytes of texts; `describe` fills in what the content says.
    fn add(
        &mut self,
        entry: &TarEntry,
        ordinal: u32,
        text: &mut u64,
        describe: impl FnOnce(&mut Entry) -> Result<(), TarError>,
    ) -> Result<(), TarError> {
        *text += 64 + entry.name.len() as u64;
        let attributes = entry.attributes.iter();
        *text += attributes
            .map(|(name, value)| (name.len() + value.len()) as u64)
            .sum::<u64>();
        match Entry::of(entry, ordinal) {
            Ok(Some(mut known)) => {
                *text += known.link.len() as u64;
                describe(&mut known)?;
                self.entries.push(known);
            }
            Ok(None) => {}
            Err(error) => self
                .problems
                .push(format!("{}: {error}", shown(&entry.name))),
        }
        match *text > MOST_TEXT {
            true => Err(TarError::Limit {
                what: "the size of all names and attributes",
                limit: MOST_TEXT,
            }),
            false => Ok(()),
        }
    }

    /// Returns the bytes of all files' content.
    pub fn size(&self) -> u64 {
        self.entries
            .iter()
            .fold(0, |sum, entry| sum.saturating_add(entry.size))
    }
}

fn describe<R: Read>(
    entry: &mut Entry,
    mut content: Content<'_, R>,
    buffer: &mut [u8],
) -> Result<(), TarError> {
    if entry.kind != Kind::File {
        return Ok(());
    }
    entry.size = content.size();
    if content.holes() > MOST_HOLES {
        return Ok(());
    }
    let mut hasher = Hasher::new();
    loop {
        match content.read(buffer).map_err(tar_error)? {
            0 => break,
            count => hasher.update(&buffer[..count]),
        }
    }
    entry.sha256 = Some(hasher.sum());
    Ok(())
}

/// Takes the reader's error out of the one that [`Read`] has for it.
pub(crate) fn tar_error(error: io::Error) -> TarError {
    match error.downcast::<TarError>() {
        Ok(error) => error,
        Err(error) => TarError::Read(error),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn layer() -> Vec<u8> {
        let mut out = tar::Builder::new(Vec::new());
        let long = "long/".repeat(40) + "name";
        let files = [
            ("empty", 0),
            ("small", 3),
            ("block", 512),
            ("large", 300_000),
            (&*long, 5),
            (".wh.gone", 0),
        ];
        for (name, size) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(size);
            header.set_mode(0o640);
            let content = io::repeat(7).take(size);
            out.append_data(&mut header, name, content).unwrap();
        }
        out.into_inner().unwrap()
    }

    #[test]
    fn an_outline_lacks_nothing_but_digests() {
        let layer = layer();
        let mut index = LayerIndex::build(&layer[..]).unwrap();
        let outline = LayerIndex::outline(Cursor::new(&layer)).unwrap();
        assert!(index.entries.iter().any(|entry| entry.sha256.is_some()));
        for entry in &mut index.entries {
            entry.sha256 = None;
        }
        assert_eq!(outline, index);
    }

    #[test]
    fn an_outline_of_half_a_layer_is_an_error() {
        let layer = layer();
        for length in [100, 700, 5_000] {
            let cut = LayerIndex::outline(Cursor::new(&layer[..length]));
            assert!(cut.is_err(), "{length}: {cut:?}");
        }
    }
}
