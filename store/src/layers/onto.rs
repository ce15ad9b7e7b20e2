//! Unpacking an image into a directory that is no part of the store.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use mica_oci::{ChainId, Descriptor, DiffId, Hasher, Verified};

use crate::error::At;
use crate::layer::{Decompressed, LayerError, PlainTree};
use crate::{Image, Layer, Limits, Store, StoreError};

/// Bytes that travel at a time.
const CHUNK: usize = 256 << 10;

impl Store {
    /// Applies an image's layers to a directory, which must be there. What else is in it stays.
    ///
    /// # Errors
    /// When a layer is not there, or not what its digest and diff ID say: then nothing of that
    /// layer is in the directory.
    pub fn unpack_onto(
        &self,
        image: &Image,
        directory: &Path,
        limits: &Limits,
    ) -> Result<(), StoreError> {
        let _held = self.hold()?;
        let mut tree = PlainTree::new(directory, limits);
        let mut chain = None;
        let descriptors = &image.manifest.value().layers;
        for (index, diff_id) in image.config.value().rootfs.diff_ids.iter().enumerate() {
            let next = ChainId::extend(chain.as_ref(), diff_id);
            match (self.layer(&next)?, descriptors.get(index)) {
                (Some(layer), _) if self.can_read(&layer) => {
                    self.apply_tar_of(&layer, &mut tree)?;
                }
                (_, Some(descriptor)) => {
                    self.apply_blob(descriptor, diff_id, limits, &mut tree)?;
                }
                (_, None) => {
                    let (diff_id, chain) = (diff_id.clone(), next);
                    return Err(StoreError::MissingLayer { diff_id, chain });
                }
            }
            chain = Some(next);
        }
        tree.finish()
    }

    /// A plain user cannot read all files of a layer that root unpacked.
    fn can_read(&self, layer: &Layer) -> bool {
        rustix::process::geteuid().is_root() && layer.path.is_dir()
    }

    fn apply_tar_of(&self, layer: &Layer, tree: &mut PlainTree<'_>) -> Result<(), StoreError> {
        let (reader, writer) = io::pipe().at("make a pipe for", &layer.path)?;
        std::thread::scope(|scope| {
            let writing = scope.spawn(move || {
                let mut out = BufWriter::with_capacity(CHUNK, writer);
                self.layer_tar(layer, &mut out)?;
                out.flush().at("write the tar of", &layer.path)
            });
            let applied = tree.apply(reader, || Ok(()));
            let written = writing
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            // A reader that gave up is why nothing more could be written.
            applied.map(drop).and(written)
        })
    }

    fn apply_blob(
        &self,
        descriptor: &Descriptor,
        diff_id: &DiffId,
        limits: &Limits,
        tree: &mut PlainTree<'_>,
    ) -> Result<(), StoreError> {
        let named = |source| StoreError::Unpack {
            digest: descriptor.digest.clone(),
            source: Box::new(source),
        };
        let blob: Verified<File> = Verified::new(self.open_blob(&descriptor.digest)?, descriptor);
        let stream = Decompressed::new(blob, limits);
        let stream = stream.map_err(|source| {
            let source = crate::TarError::Read(source);
            let after = std::path::PathBuf::new();
            named(LayerError::Archive { after, source }.into())
        })?;
        let hasher = RefCell::new(Hasher::new());
        let hashed = Hashed {
            stream,
            hasher: &hasher,
        };
        let applied = tree.apply(hashed, || {
            let actual = DiffId(hasher.replace(Hasher::new()).finish());
            match actual == *diff_id {
                true => Ok(()),
                false => Err(StoreError::DiffId {
                    digest: descriptor.digest.clone(),
                    expected: diff_id.clone(),
                    actual,
                }),
            }
        });
        applied.map(drop).map_err(|error| match error {
            error @ StoreError::DiffId { .. } => error,
            error => named(error),
        })
    }
}

/// An uncompressed stream that is hashed on its way.
struct Hashed<'h, R: Read> {
    stream: Decompressed<R>,
    hasher: &'h RefCell<Hasher>,
}

impl<R: Read> Read for Hashed<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        self.hasher.borrow_mut().update(&buffer[..count]);
        if count == 0 && !buffer.is_empty() {
            // The checks of the blob come at its end.
            self.stream.finish()?;
        }
        Ok(count)
    }
}
