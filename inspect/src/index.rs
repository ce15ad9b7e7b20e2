//! An index of a layer: all that its tar headers say, and the digest of every file.

use std::io::{self, Read};

use mica_oci::Hasher;
use mica_store::TarError;

use crate::entry::{Entry, Kind, shown};
use crate::stream::{BUFFER, Content, LayerStream};

/// The most bytes of names, links and attributes that an index holds in memory. The largest real
/// layers have a tenth of it.
const MOST_TEXT: u64 = 256 << 20;

/// Holes up to this size are hashed: a sparse file can claim exabytes.
const MOST_HOLES: u64 = 1 << 30;

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
        let mut text = 0;
        let mut buffer = vec![0; BUFFER];
        while let Some((entry, ordinal, content)) = stream.next()? {
            text += 64 + entry.name.len() as u64;
            let attributes = entry.attributes.iter();
            text += attributes
                .map(|(n, v)| (n.len() + v.len()) as u64)
                .sum::<u64>();
            match Entry::of(&entry, ordinal) {
                Ok(Some(mut known)) => {
                    text += known.link.len() as u64;
                    describe(&mut known, content, &mut buffer)?;
                    index.entries.push(known);
                }
                Ok(None) => {}
                Err(error) => index
                    .problems
                    .push(format!("{}: {error}", shown(&entry.name))),
            }
            if text > MOST_TEXT {
                return Err(TarError::Limit {
                    what: "the size of all names and attributes",
                    limit: MOST_TEXT,
                });
            }
        }
        stream.finish()?;
        Ok(index)
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
    let mut sha256 = [0; 32];
    hex::decode_to_slice(hasher.finish().hex(), &mut sha256).expect("a digest is hexadecimal");
    entry.sha256 = Some(sha256);
    Ok(())
}

/// Takes the reader's error out of the one that [`Read`] has for it.
pub(crate) fn tar_error(error: io::Error) -> TarError {
    match error.downcast::<TarError>() {
        Ok(error) => error,
        Err(error) => TarError::Read(error),
    }
}
