//! Stores of plain users: layers stay packed, because only root can make files of other owners.
//!
//! Each layer's blob is kept, an uncompressed one, too. It is checked once against its digest and
//! its diff ID, and unpacked into a plain directory when somebody asks for the files.

use std::io::{self, BufReader, Read, Write};

use mica_oci::{Descriptor, DiffId, Hasher, Verified};

use crate::compress::Codec;
use crate::layer::{Decompressed, LayerError, TarReader};
use crate::{Store, StoreError};

/// Bytes that travel at a time.
const CHUNK: usize = 256 << 10;

/// What is kept of layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LayerStorage {
    /// Their files, ready to be mounted.
    #[default]
    Unpacked,
    /// Their blobs alone.
    Packed,
}

impl Store {
    /// Puts a layer's blob into the store, and checks that it holds the tar of `diff_id`.
    ///
    /// # Errors
    /// When it is not what `descriptor` and `diff_id` say. A blob of another tar stays as garbage.
    pub(crate) fn keep_packed(
        &self,
        diff_id: &DiffId,
        descriptor: &Descriptor,
        blob: impl Read,
    ) -> Result<(), StoreError> {
        if self.has_blob(&descriptor.digest) {
            return Ok(());
        }
        self.put_blob(descriptor, blob)?;
        self.check_packed(diff_id, descriptor)
    }

    /// Checks that the blob of a layer holds the tar of its diff ID.
    pub(crate) fn check_packed(
        &self,
        diff_id: &DiffId,
        descriptor: &Descriptor,
    ) -> Result<(), StoreError> {
        let verified = Verified::new(self.open_blob(&descriptor.digest)?, descriptor);
        let copied = self.copy_tar(verified, &mut io::sink());
        let actual = copied.map_err(|source| StoreError::Unpack {
            digest: descriptor.digest.clone(),
            source: Box::new(source),
        })?;
        if actual == *diff_id {
            return Ok(());
        }
        Err(StoreError::DiffId {
            digest: descriptor.digest.clone(),
            expected: diff_id.clone(),
            actual,
        })
    }

    /// Makes a layer's blob of a tar stream that nothing is known of.
    pub(crate) fn pack_unknown(
        &self,
        stream: impl Read,
    ) -> Result<(DiffId, Descriptor), StoreError> {
        let (diff_id, descriptor) =
            self.write_blob(Codec::GZIP, None, |out| self.copy_tar(stream, out))?;
        self.note_compressed(&diff_id, &descriptor)?;
        Ok((diff_id, descriptor))
    }

    /// Copies the tar that a stream holds, entry by entry, with all limits on layers.
    fn copy_tar(&self, stream: impl Read, out: &mut impl Write) -> Result<DiffId, StoreError> {
        let mut last = Vec::new();
        let mut hasher = Hasher::new();
        let copied = Decompressed::new(stream, self.limits()).map(|stream| Copied {
            stream,
            out,
            hasher: &mut hasher,
        });
        let read = copied.map_err(crate::TarError::Read).and_then(|copied| {
            let buffered = BufReader::with_capacity(CHUNK, copied);
            let mut reader = TarReader::new(buffered, self.limits().clone());
            while let Some(entry) = reader.next_entry()? {
                last = entry.name;
            }
            reader.drain()
        });
        read.map_err(|source| {
            let after = std::ffi::OsString::from(String::from_utf8_lossy(&last).into_owned());
            LayerError::Archive {
                after: after.into(),
                source,
            }
        })?;
        Ok(DiffId(hasher.finish()))
    }

    /// Fails in a store that has no unpacked layers.
    pub(crate) fn check_unpacks(&self, descriptor: &Descriptor) -> Result<(), StoreError> {
        match self.layer_storage() {
            LayerStorage::Unpacked => Ok(()),
            LayerStorage::Packed => Err(StoreError::Packed {
                digest: descriptor.digest.clone(),
                root: self.root().to_owned(),
            }),
        }
    }
}

/// An uncompressed stream that is hashed and written on its way.
struct Copied<'h, R: Read, W> {
    stream: Decompressed<R>,
    out: &'h mut W,
    hasher: &'h mut Hasher,
}

impl<R: Read, W: Write> Read for Copied<'_, R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.out.write_all(&buffer[..count])?;
        if count == 0 && !buffer.is_empty() {
            // The checks of the blob come at its end.
            self.stream.finish()?;
        }
        Ok(count)
    }
}
