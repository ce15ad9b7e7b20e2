//! Bringing an archive's image into the store.

use std::fs::File;
use std::io::{self, Read, Write};

use mica_oci::{
    ChainId, Compression, Descriptor, Document, ImageConfig, Index, Manifest, Reference,
};

use super::contents::Contents;
use super::whole::install_whole;
use super::{ArchiveError, Loaded};
use crate::{Decompressed, Image, Layer, LayerStorage, Stack, Store};

/// An image as an archive has it.
#[derive(Clone, Debug)]
pub struct ArchivedImage {
    /// The names that the archive gives it.
    pub references: Vec<Reference>,
    /// Its manifest; made up where docker's old archives have none.
    pub manifest: Document<Manifest>,
    /// Its configuration.
    pub config: Document<ImageConfig>,
    /// What the indexes that led to it list as attestations of it.
    pub attestations: Vec<Descriptor>,
    /// The index that it was chosen from.
    pub(super) index: Option<Document<Index>>,
    /// Where the archive has the manifest's layers.
    pub(super) layer_paths: Vec<String>,
}

/// Fails unless the image has as many layers as diff IDs.
pub(super) fn check_layer_count(
    config: &Document<ImageConfig>,
    layers: usize,
) -> Result<(), ArchiveError> {
    let diff_ids = config.value().rootfs.diff_ids.len();
    if layers == diff_ids {
        return Ok(());
    }
    Err(ArchiveError::LayerCount {
        config: config.digest().clone(),
        layers,
        diff_ids,
    })
}

impl ArchivedImage {
    /// Unpacks the layers, keeps blobs and documents, and gives the names; those come last.
    pub(super) fn install(
        self,
        store: &Store,
        contents: &Contents,
    ) -> Result<Vec<Loaded>, ArchiveError> {
        self.install_layers(store, contents)?;
        store.put_document(&self.config)?;
        store.put_document(&self.manifest)?;
        let image = Image {
            target: self.manifest.descriptor().clone(),
            manifest: self.manifest,
            config: self.config,
        };
        let chosen = &image.target;
        let whole = self
            .index
            .map(|index| install_whole(store, contents, &index, &chosen.digest));
        let target = whole.transpose()?.flatten();
        let target = target.unwrap_or_else(|| chosen.clone());
        if self.references.is_empty() {
            store.keep_untagged(&target)?;
            return Ok(vec![Loaded {
                reference: None,
                image,
            }]);
        }
        let mut loaded = Vec::new();
        for reference in self.references {
            store.tag_image(&target, &reference)?;
            loaded.push(Loaded {
                reference: Some(reference),
                image: image.clone(),
            });
        }
        Ok(loaded)
    }

    fn install_layers(&self, store: &Store, contents: &Contents) -> Result<(), ArchiveError> {
        let (mut stack, mut chain) = (Stack::default(), None);
        let layers = self.manifest.value().layers.iter().zip(&self.layer_paths);
        let diff_ids = &self.config.value().rootfs.diff_ids;
        if store.layer_storage() == LayerStorage::Packed {
            for ((descriptor, path), diff_id) in layers.zip(diff_ids) {
                let (_, blob) = contents.open(path)?;
                store.keep_packed(diff_id, descriptor, blob)?;
            }
            return Ok(());
        }
        for ((descriptor, path), diff_id) in layers.zip(diff_ids) {
            let next = ChainId::extend(chain.as_ref(), diff_id);
            let (layer, kept) = match store.layer(&next)? {
                Some(layer) => (layer, None),
                None => {
                    let (_, content) = contents.open(path)?;
                    let mut kept = store.temporary_file("blob")?;
                    let file = kept.file();
                    let blob = Keeping { content, file };
                    let layer = store.apply_layer(&stack, diff_id, descriptor, blob)?;
                    (layer, Some(kept))
                }
            };
            let (_, original) = contents.open(path)?;
            if needs_blob(store, &layer, descriptor, original)? {
                match kept {
                    Some(kept) => kept.persist(&store.own_blob_path(&descriptor.digest))?,
                    None => {
                        let (_, blob) = contents.open(path)?;
                        store.put_blob(descriptor, blob)?;
                    }
                }
            }
            stack.push(layer);
            chain = Some(next);
        }
        Ok(())
    }
}

/// A reader whose content is written down: what was read to its end without an error is verified.
struct Keeping<'f, R> {
    content: R,
    file: &'f mut File,
}

impl<R: Read> Read for Keeping<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.content.read(buffer)?;
        self.file.write_all(&buffer[..count])?;
        Ok(count)
    }
}

/// A tar stream that the unpacked layer gives again, byte by byte, need not be kept beside it.
fn needs_blob(
    store: &Store,
    layer: &Layer,
    descriptor: &Descriptor,
    original: impl Read,
) -> Result<bool, ArchiveError> {
    if store.has_blob(&descriptor.digest) {
        return Ok(false);
    }
    if descriptor.media_type.layer_compression() != Some(Compression::None) {
        return Ok(true);
    }
    let mut original = Original {
        tar: Decompressed::new(original, store.limits()).map_err(ArchiveError::Read)?,
        buffer: Vec::new(),
    };
    let again = store.layer_tar(layer, &mut original);
    Ok(again.is_err() || !original.is_at_end().map_err(ArchiveError::Read)?)
}

/// Takes the very bytes of a tar stream, and refuses any other: most differ in their first header.
struct Original<R: Read> {
    tar: Decompressed<R>,
    buffer: Vec<u8>,
}

impl<R: Read> Original<R> {
    fn is_at_end(&mut self) -> io::Result<bool> {
        Ok(self.tar.read(&mut [0])? == 0)
    }
}

impl<R: Read> Write for Original<R> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.resize(bytes.len(), 0);
        self.tar.read_exact(&mut self.buffer)?;
        match self.buffer == bytes {
            true => Ok(bytes.len()),
            false => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
