//! Layers on their way out: compressed once, found again by their diff ID.

use std::fs::File;
use std::io::{self, Write};

use mica_oci::{Descriptor, DiffId, Hasher, MediaType, Verified};

use crate::blobs::copy;
use crate::compress::GzipWriter;
use crate::error::At;
use crate::{Layer, Store, StoreError};

/// Kind of the records that say which blob a layer was compressed to: diff ID to descriptor.
pub(crate) const COMPRESSED: &str = "compressed";

impl Store {
    /// Returns the gzip blob of a layer that was made here: the one made before, or a new one.
    ///
    /// # Errors
    /// [`StoreError::LayerChanged`] when the layer's files are no longer those of its diff ID.
    pub fn compressed(&self, layer: &Layer, diff_id: &DiffId) -> Result<Descriptor, StoreError> {
        match self.known_compressed(diff_id)? {
            Some(known) if self.has_blob(&known.digest) => Ok(known),
            _ => self.compress(diff_id, |out| {
                let actual = self.layer_tar(layer, out)?.diff_id;
                if actual == *diff_id {
                    return Ok(());
                }
                Err(StoreError::LayerChanged {
                    path: layer.path.clone(),
                    expected: diff_id.clone(),
                    actual,
                })
            }),
        }
    }

    /// Returns the gzip blob of a layer, made from its tar blob where that was kept, otherwise
    /// from its files.
    pub(crate) fn compressed_by_diff_id(&self, diff_id: &DiffId) -> Result<Descriptor, StoreError> {
        match self.known_compressed(diff_id)? {
            Some(known) if self.has_blob(&known.digest) => Ok(known),
            _ if self.has_blob(&diff_id.0) => self.compress(diff_id, |out| {
                let size = self.blob_size(&diff_id.0)?;
                let tar = Descriptor::new(MediaType::OCI_LAYER, diff_id.0.clone(), size);
                let mut content = Verified::new(self.open_blob(&diff_id.0)?, &tar);
                let copied = copy(&mut content, out).map(drop);
                copied.map_err(|source| StoreError::Content {
                    digest: diff_id.0.clone(),
                    source,
                })
            }),
            _ => self.compressed(&self.made_layer(diff_id)?, diff_id),
        }
    }

    /// Returns what a layer was compressed to, should it have been; the blob may be gone.
    pub fn known_compressed(&self, diff_id: &DiffId) -> Result<Option<Descriptor>, StoreError> {
        let value = self.records().get(COMPRESSED, diff_id.0.as_str())?;
        Ok(value.and_then(|value| serde_json::from_str(&value).ok()))
    }

    /// Notes what a layer is when it is compressed; the blob may be elsewhere.
    pub fn note_compressed(&self, diff_id: &DiffId, blob: &Descriptor) -> Result<(), StoreError> {
        let value = serde_json::json!(blob).to_string();
        self.records().put(COMPRESSED, diff_id.0.as_str(), &value)
    }

    fn compress(
        &self,
        diff_id: &DiffId,
        write_tar: impl FnOnce(&mut GzipWriter<Counting<'_>>) -> Result<(), StoreError>,
    ) -> Result<Descriptor, StoreError> {
        let mut temporary = self.temporary_file("compressed")?;
        let path = temporary.path().to_owned();
        let counting = Counting::new(temporary.file());
        let mut gzip = GzipWriter::new(counting).at("write", &path)?;
        write_tar(&mut gzip)?;
        let written = gzip.finish().at("write", &path)?;
        let (digest, size) = (written.hasher.finish(), written.size);
        temporary.persist(&self.blob_path(&digest))?;
        let descriptor = Descriptor::new(MediaType::OCI_LAYER_GZIP, digest, size);
        self.note_compressed(diff_id, &descriptor)?;
        Ok(descriptor)
    }
}

/// A file whose content is hashed on its way.
struct Counting<'a> {
    file: &'a mut File,
    hasher: Hasher,
    size: u64,
}

impl<'a> Counting<'a> {
    fn new(file: &'a mut File) -> Self {
        Self {
            file,
            hasher: Hasher::new(),
            size: 0,
        }
    }
}

impl Write for Counting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
