//! Names: whether all that they lead to is there.

use mica_oci::{ChainId, Compression, Descriptor, Digest, Document, ImageConfig, Index, Manifest};
use serde::de::DeserializeOwned;

use super::{Broken, Missing, Problem, Report};
use crate::{Store, StoreError};

impl Store {
    pub(super) fn check_images(
        &self,
        report: &mut Report,
        broken: &Broken,
    ) -> Result<(), StoreError> {
        for entry in self.own_images()? {
            report.images += 1;
            for missing in self.missing(&entry.target, broken) {
                report.problems.push(Problem::Image {
                    entry: Box::new(entry.clone()),
                    missing,
                });
            }
        }
        Ok(())
    }

    /// Lists what an image needs and has not.
    pub(super) fn missing(&self, target: &Descriptor, broken: &Broken) -> Vec<Missing> {
        if target.media_type.is_index() {
            return self.missing_of_index(target, broken);
        }
        let Some(manifest) = self.whole::<Manifest>(target, broken) else {
            return vec![Missing::Document(target.digest.clone())];
        };
        if !target.media_type.is_manifest() {
            return Vec::new();
        }
        let config = &manifest.value().config;
        if !config.media_type.is_image_config() {
            return self.missing_of_artifact(manifest.value(), broken);
        }
        let Some(config) = self.whole::<ImageConfig>(config, broken) else {
            return vec![Missing::Document(config.digest.clone())];
        };
        let mut missing = Vec::new();
        let mut chain = None;
        for (index, diff_id) in config.value().rootfs.diff_ids.iter().enumerate() {
            let next = ChainId::extend(chain.as_ref(), diff_id);
            let Some(descriptor) = manifest.value().layers.get(index) else {
                missing.push(Missing::Layer(diff_id.0.clone()));
                break;
            };
            missing.extend(self.missing_layer(&next, descriptor, broken));
            chain = Some(next);
        }
        missing
    }

    /// An artifact's blobs are all that it has.
    fn missing_of_artifact(&self, manifest: &Manifest, broken: &Broken) -> Vec<Missing> {
        let blobs = [&manifest.config].into_iter().chain(&manifest.layers);
        let lost = blobs.filter(|blob| !self.is_whole(&blob.digest, broken));
        lost.map(|blob| Missing::Document(blob.digest.clone()))
            .collect()
    }

    fn missing_layer(
        &self,
        chain: &ChainId,
        descriptor: &Descriptor,
        broken: &Broken,
    ) -> Option<Missing> {
        let digest = descriptor.digest.clone();
        let has_blob = self.is_whole(&digest, broken);
        let is_unpacked =
            !broken.chains.contains(chain) && self.layer(chain).is_ok_and(|layer| layer.is_some());
        // A plain tar is made again from its files.
        let is_tar = descriptor.media_type.layer_compression() == Some(Compression::None);
        match (has_blob, is_unpacked) {
            (true, _) => None,
            (false, true) if is_tar => None,
            (false, true) => Some(Missing::Blob(digest)),
            (false, false) => Some(Missing::Layer(digest)),
        }
    }

    /// Only some of an index's platforms may ever have been here.
    fn missing_of_index(&self, target: &Descriptor, broken: &Broken) -> Vec<Missing> {
        let Some(index) = self.whole::<Index>(target, broken) else {
            return vec![Missing::Document(target.digest.clone())];
        };
        let children = index.value().manifests.iter();
        let here: Vec<_> = children
            .filter(|child| self.has_blob(&child.digest))
            .collect();
        match here.is_empty() {
            true => vec![Missing::Index(target.digest.clone())],
            false => here
                .into_iter()
                .flat_map(|child| self.missing(child, broken))
                .collect(),
        }
    }

    fn whole<T: DeserializeOwned>(
        &self,
        descriptor: &Descriptor,
        broken: &Broken,
    ) -> Option<Document<T>> {
        match self.is_whole(&descriptor.digest, broken) {
            true => self.read_document(descriptor).ok(),
            false => None,
        }
    }

    fn is_whole(&self, digest: &Digest, broken: &Broken) -> bool {
        self.has_blob(digest) && !broken.blobs.contains(digest)
    }
}
