//! Layers on their way out: compressed once, found again by their diff ID.

use std::fs::File;
use std::io::{self, Write};

use mica_oci::{Compression, Descriptor, DiffId, Document, Hasher, Manifest, MediaType, Verified};

use crate::blobs::copy;
use crate::compress::{BlockWriter, Codec};
use crate::error::At;
use crate::growth::Growth;
use crate::layer::{Decompressed, Rewrite};
use crate::{Image, Layer, Limits, Store, StoreError};

/// Kind of the records that say which blob a layer was compressed to: diff ID, and the codec where
/// it is not the usual one, to descriptor.
pub(crate) const COMPRESSED: &str = "compressed";

/// What is compressed.
#[derive(Clone, Copy)]
enum Source<'a> {
    /// The files of an unpacked layer.
    Files(&'a Layer),
    /// A blob of the store.
    Blob(&'a Descriptor),
}

impl Store {
    /// Returns the blob of a layer that was made here: the one made before, or a new one.
    ///
    /// # Errors
    /// [`StoreError::LayerChanged`] when the layer's files are no longer those of its diff ID.
    pub fn compressed(
        &self,
        layer: &Layer,
        diff_id: &DiffId,
        codec: Codec,
    ) -> Result<Descriptor, StoreError> {
        match self.known_blob(diff_id, codec)? {
            Some(known) => Ok(known),
            None => self.compress(diff_id, codec, Source::Files(layer), None),
        }
    }

    /// Returns the blob of a layer that was made here: from its tar blob where that was kept,
    /// otherwise from its files. What is written for it can be followed; it is given up when nobody
    /// does any more.
    pub(crate) fn compressed_by_diff_id(
        &self,
        diff_id: &DiffId,
        codec: Codec,
        growth: Option<&Growth>,
    ) -> Result<Descriptor, StoreError> {
        if let Some(known) = self.known_blob(diff_id, codec)? {
            return Ok(known);
        }
        if self.has_blob(&diff_id.0) {
            let size = self.blob_size(&diff_id.0)?;
            let tar = Descriptor::new(MediaType::OCI_LAYER, diff_id.0.clone(), size);
            return self.compress(diff_id, codec, Source::Blob(&tar), growth);
        }
        let layer = self.made_layer(diff_id)?;
        self.compress(diff_id, codec, Source::Files(&layer), growth)
    }

    /// Returns a blob of the same layer in another compression. The tar stream is verified.
    pub fn recompressed(
        &self,
        blob: &Descriptor,
        diff_id: &DiffId,
        codec: Codec,
    ) -> Result<Descriptor, StoreError> {
        match self.known_blob(diff_id, codec)? {
            Some(known) => Ok(known),
            None => self.compress(diff_id, codec, Source::Blob(blob), None),
        }
    }

    /// Writes a layer's tar stream with other times or owners into a blob, and returns that
    /// stream's diff ID.
    pub(crate) fn rewritten_blob(
        &self,
        layer: &Layer,
        rewrite: Rewrite,
        codec: Codec,
    ) -> Result<(DiffId, Descriptor), StoreError> {
        let (diff_id, descriptor) = self.write_blob(codec, None, |out| {
            Ok(self.rewritten_tar(layer, rewrite, out)?.diff_id)
        })?;
        self.note_blob(&diff_id, codec, &descriptor)?;
        Ok((diff_id, descriptor))
    }

    /// Returns what a layer was compressed to, should it have been; the blob may be gone.
    pub fn known_compressed(
        &self,
        diff_id: &DiffId,
        codec: Codec,
    ) -> Result<Option<Descriptor>, StoreError> {
        let key = format!("{}{}", diff_id.0, codec.suffix());
        let value = self.records().get(COMPRESSED, &key)?;
        Ok(value.and_then(|value| serde_json::from_str(&value).ok()))
    }

    pub(crate) fn known_blob(
        &self,
        diff_id: &DiffId,
        codec: Codec,
    ) -> Result<Option<Descriptor>, StoreError> {
        let noted = self.known_compressed(diff_id, codec)?;
        Ok(noted.filter(|known| self.has_blob(&known.digest)))
    }

    /// Notes what a layer is when it is compressed as usual; the blob may be elsewhere.
    pub fn note_compressed(&self, diff_id: &DiffId, blob: &Descriptor) -> Result<(), StoreError> {
        self.note_blob(diff_id, Codec::GZIP, blob)
    }

    fn note_blob(
        &self,
        diff_id: &DiffId,
        codec: Codec,
        blob: &Descriptor,
    ) -> Result<(), StoreError> {
        let key = format!("{}{}", diff_id.0, codec.suffix());
        let value = serde_json::json!(blob).to_string();
        self.records().put(COMPRESSED, &key, &value)
    }

    /// Returns an image's manifest as it leaves the store: layers that were made here are
    /// compressed, which is done once.
    pub fn outgoing(&self, image: &Image) -> Result<Document<Manifest>, StoreError> {
        let layers = &image.manifest.value().layers;
        let diff_ids = &image.config.value().rootfs.diff_ids;
        let outgoing = layers.iter().zip(diff_ids).map(|(layer, diff_id)| {
            if layer.media_type.layer_compression() != Some(Compression::None) {
                return Ok(layer.clone());
            }
            Ok(like(
                layer,
                self.compressed_by_diff_id(diff_id, Codec::GZIP, None)?,
            ))
        });
        let outgoing = outgoing.collect::<Result<Vec<_>, StoreError>>()?;
        Ok(with_layers(&image.manifest, outgoing))
    }

    /// Tells whether [`outgoing`](Self::outgoing) has nothing to compress.
    pub fn is_outgoing_known(&self, target: &Descriptor) -> Result<bool, StoreError> {
        let Ok(image) = self.image(target, None) else {
            return Ok(false);
        };
        let layers = &image.manifest.value().layers;
        for (layer, diff_id) in layers.iter().zip(&image.config.value().rootfs.diff_ids) {
            if layer.media_type.layer_compression() == Some(Compression::None)
                && self.known_compressed(diff_id, Codec::GZIP)?.is_none()
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn compress(
        &self,
        diff_id: &DiffId,
        codec: Codec,
        source: Source<'_>,
        growth: Option<&Growth>,
    ) -> Result<Descriptor, StoreError> {
        let (_, descriptor) = self.write_blob(codec, growth, |out| {
            let (path, actual) = match source {
                Source::Files(layer) => (layer.path.clone(), self.layer_tar(layer, out)?.diff_id),
                Source::Blob(blob) => (self.blob_path(&blob.digest), self.blob_tar(blob, out)?),
            };
            if actual == *diff_id {
                return Ok(actual);
            }
            let expected = diff_id.clone();
            Err(StoreError::LayerChanged {
                path,
                expected,
                actual,
            })
        })?;
        self.note_blob(diff_id, codec, &descriptor)?;
        Ok(descriptor)
    }

    /// Writes the tar stream that a blob holds, verified, and returns its digest.
    fn blob_tar(&self, blob: &Descriptor, out: impl Write) -> Result<DiffId, StoreError> {
        let content = |source| StoreError::Content {
            digest: blob.digest.clone(),
            source,
        };
        let verified = Verified::new(self.open_blob(&blob.digest)?, blob);
        let mut tar = Decompressed::new(verified, &Limits::default()).map_err(content)?;
        let mut out = Counting::new(out);
        copy(&mut tar, &mut out).map_err(content)?;
        tar.finish().map_err(content)?;
        Ok(DiffId(out.hasher.finish()))
    }

    /// Makes a blob of what `write` writes; returns what `write` returns, and the blob.
    pub(crate) fn write_blob(
        &self,
        codec: Codec,
        growth: Option<&Growth>,
        write: impl FnOnce(&mut BlockWriter<Counting<Followed<'_>>>) -> Result<DiffId, StoreError>,
    ) -> Result<(DiffId, Descriptor), StoreError> {
        let mut temporary = self.temporary_file("compressed")?;
        let path = temporary.path().to_owned();
        let counting = Counting::new(Followed::new(temporary.file(), growth).at("open", &path)?);
        let mut blocks = BlockWriter::new(counting, codec).at("write", &path)?;
        let diff_id = write(&mut blocks)?;
        let written = blocks.finish().at("write", &path)?;
        let (digest, size) = (written.hasher.finish(), written.size);
        temporary.persist(&self.own_blob_path(&digest))?;
        let media_type = MediaType::layer(codec.compression());
        Ok((diff_id, Descriptor::new(media_type, digest, size)))
    }
}

/// Docker's manifests list docker's media types.
pub(crate) fn like(layer: &Descriptor, outgoing: Descriptor) -> Descriptor {
    if layer.media_type != MediaType::DOCKER_LAYER {
        return outgoing;
    }
    Descriptor {
        media_type: MediaType::DOCKER_LAYER_GZIP,
        ..outgoing
    }
}

/// Keeps the very bytes when no layer differs.
pub(crate) fn with_layers(
    manifest: &Document<Manifest>,
    layers: Vec<Descriptor>,
) -> Document<Manifest> {
    if manifest.value().layers == layers {
        return manifest.clone();
    }
    let value = Manifest {
        layers,
        ..manifest.value().clone()
    };
    Document::encode(manifest.descriptor().media_type.clone(), value)
}

/// A file that may be followed while it is written.
pub(crate) struct Followed<'f> {
    file: &'f mut File,
    growth: Option<&'f Growth>,
    written: u64,
}

impl<'f> Followed<'f> {
    fn new(file: &'f mut File, growth: Option<&'f Growth>) -> io::Result<Self> {
        if let Some(growth) = growth {
            growth.opened(file.try_clone()?, 0);
        }
        Ok(Self {
            file,
            growth,
            written: 0,
        })
    }
}

impl Write for Followed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.written += count as u64;
        if let Some(growth) = self.growth {
            if !growth.is_followed() {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            growth.grown(self.written);
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A writer whose content is hashed on its way.
pub(crate) struct Counting<W> {
    out: W,
    hasher: Hasher,
    size: u64,
}

impl<W> Counting<W> {
    fn new(out: W) -> Self {
        Self {
            out,
            hasher: Hasher::new(),
            size: 0,
        }
    }
}

impl<W: Write> Write for Counting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
