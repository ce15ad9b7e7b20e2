//! Repair: what is broken is dropped, what can be made again is made again.

use std::fmt;

use mica_oci::{
    ChainId, Compression, Descriptor, Digest, Document, ImageConfig, Manifest, MediaType, Reference,
};

use super::{Broken, Missing, Problem, Report};
use crate::{Image, LayerStorage, Store, StoreError, Tagged};

/// Something that a repair did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repaired {
    /// A broken blob was removed.
    DroppedBlob(Digest),
    /// A broken unpacked layer was removed.
    DroppedLayer(ChainId),
    /// Layers of an image were unpacked again from their blobs.
    Unpacked(Option<Reference>, Digest),
    /// A manifest was written that names the tar of a layer's files in place of a lost blob.
    Rewritten(Option<Reference>, Digest),
    /// A name was removed, because what it leads to is lost.
    DroppedImage(Option<Reference>, Digest),
}

impl fmt::Display for Repaired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |reference: &Option<Reference>, digest: &Digest| {
            reference
                .as_ref()
                .map_or_else(|| digest.to_string(), Reference::familiar)
        };
        match self {
            Self::DroppedBlob(digest) => write!(f, "removed blob {digest}"),
            Self::DroppedLayer(chain) => write!(f, "removed layer {chain}"),
            Self::Unpacked(reference, digest) => {
                write!(f, "unpacked layers of {} again", name(reference, digest))
            }
            Self::Rewritten(reference, digest) => write!(
                f,
                "gave {} a new manifest, {digest}: a layer's blob is lost, its files are not",
                name(reference, digest)
            ),
            Self::DroppedImage(reference, digest) => {
                write!(
                    f,
                    "removed image {}: its content is lost",
                    name(reference, digest)
                )
            }
        }
    }
}

impl Store {
    /// Removes the broken blobs and layers of a report; images that need them are incomplete
    /// then.
    pub fn drop_broken(&self, report: &Report) -> Result<Vec<Repaired>, StoreError> {
        let _held = self.hold()?;
        let trash = self.trash()?;
        let mut done = Vec::new();
        for problem in &report.problems {
            match problem {
                Problem::Blob { digest, .. } => {
                    trash.take(&self.own_blob_path(digest))?;
                    done.push(Repaired::DroppedBlob(digest.clone()));
                }
                Problem::Layer { chain, .. } => {
                    // Its directory may be mounted somewhere; it goes when it is collected.
                    trash.take(&self.chain_link(chain))?;
                    trash.take(&self.pending_link(chain))?;
                    done.push(Repaired::DroppedLayer(chain.clone()));
                }
                Problem::Image { .. } => {}
            }
        }
        trash.empty()?;
        Ok(done)
    }

    /// Lists the images that need something which is not there.
    pub fn incomplete(&self) -> Result<Vec<Tagged>, StoreError> {
        let mut found = self.own_images()?;
        found.retain(|entry| !self.missing(&entry.target, &Broken::default()).is_empty());
        Ok(found)
    }

    /// Makes images whole from what is in the store, and removes the names of those that cannot
    /// be: layers are unpacked from blobs; where only a blob is lost, a manifest that names the
    /// tar of the layer's files takes the place of the former one.
    pub fn repair(&self) -> Result<Vec<Repaired>, StoreError> {
        let _held = self.hold()?;
        let mut done = Vec::new();
        for entry in self.own_images()? {
            let missing = self.missing(&entry.target, &Broken::default());
            let name = entry.reference.clone();
            let digest = entry.target.digest.clone();
            if missing.is_empty() {
                if self.unpack_missing(&entry)? {
                    done.push(Repaired::Unpacked(name, digest));
                }
            } else if let Some(target) = self.rewritten(&entry, &missing)? {
                self.retarget(&entry, &target)?;
                done.push(Repaired::Rewritten(name, target.digest));
            } else {
                self.drop_entry(&entry)?;
                done.push(Repaired::DroppedImage(name, digest));
            }
        }
        Ok(done)
    }

    /// Unpacks the layers of an image that are not; tells whether there were any. An image for
    /// other platforms alone is left as it is.
    fn unpack_missing(&self, entry: &Tagged) -> Result<bool, StoreError> {
        if self.layer_storage() == LayerStorage::Packed {
            return Ok(false);
        }
        let Ok(image) = self.image(&entry.target, None) else {
            return Ok(false);
        };
        let diff_ids = &image.config.value().rootfs.diff_ids;
        if self.stack(diff_ids).is_ok() {
            return Ok(false);
        }
        self.unpack(&image)?;
        self.make_durable(&image.target)?;
        Ok(true)
    }

    /// Makes a manifest that needs none of the lost blobs; `None` where that cannot be.
    fn rewritten(
        &self,
        entry: &Tagged,
        missing: &[Missing],
    ) -> Result<Option<Descriptor>, StoreError> {
        let only_blobs = missing
            .iter()
            .all(|missing| matches!(missing, Missing::Blob(_)));
        if !only_blobs || !entry.target.media_type.is_manifest() {
            return Ok(None);
        }
        let image = self.image(&entry.target, None)?;
        let mut value = image.manifest.value().clone();
        for (index, chain) in chains(&image.config).into_iter().enumerate() {
            let descriptor = &mut value.layers[index];
            let lost = missing.contains(&Missing::Blob(descriptor.digest.clone()));
            if !lost {
                continue;
            }
            match self.tar_descriptor(&image, index, &chain)? {
                Some(tar) => *descriptor = tar,
                None => return Ok(None),
            }
        }
        let media_type = image.manifest.descriptor().media_type.clone();
        let manifest: Document<Manifest> = Document::encode(media_type, value);
        self.put_document(&manifest).map(Some)
    }

    /// Describes the tar of a layer's files, where it is the one that the diff ID says.
    fn tar_descriptor(
        &self,
        image: &Image,
        index: usize,
        chain: &ChainId,
    ) -> Result<Option<Descriptor>, StoreError> {
        let Some(layer) = self.layer(chain)? else {
            return Ok(None);
        };
        let actual = self.describe(&layer)?;
        if actual.diff_id != image.config.value().rootfs.diff_ids[index] {
            return Ok(None);
        }
        let docker = image.manifest.value().layers[index]
            .media_type
            .as_str()
            .starts_with("application/vnd.docker.");
        let media_type = match docker {
            true => MediaType::DOCKER_LAYER,
            false => MediaType::layer(Compression::None),
        };
        let digest = actual.diff_id.0;
        Ok(Some(Descriptor::new(media_type, digest, actual.size)))
    }

    fn retarget(&self, entry: &Tagged, target: &Descriptor) -> Result<(), StoreError> {
        match &entry.reference {
            Some(reference) => self.tag_image(target, reference),
            None => {
                self.keep_untagged(target)?;
                self.drop_entry(entry)
            }
        }
    }

    fn drop_entry(&self, entry: &Tagged) -> Result<(), StoreError> {
        match &entry.reference {
            Some(reference) => self.untag(reference).map(drop),
            None => self.remove_untagged(&entry.target),
        }
    }
}

fn chains(config: &Document<ImageConfig>) -> Vec<ChainId> {
    let mut chains: Vec<ChainId> = Vec::new();
    for diff_id in &config.value().rootfs.diff_ids {
        chains.push(ChainId::extend(chains.last(), diff_id));
    }
    chains
}
