//! An index of an archive with all that it lists, which stays together in the store.

use mica_oci::{Descriptor, Digest, Document, Index, Manifest};

use super::ArchiveError;
use super::contents::{Contents, blob_path};
use super::load::read_document;
use crate::Store;

/// An index that an image was chosen from: with it come images of other platforms, and what is said
/// about them.
#[derive(Clone, Debug)]
pub(super) struct WholeIndex {
    index: Document<Index>,
    /// What it lists besides the image.
    others: Vec<Document<Manifest>>,
}

impl WholeIndex {
    /// Looks for all that an index lists besides the image `chosen`; `None` when something is not in
    /// the archive, such as the platforms that were never pulled.
    pub(super) fn find(
        contents: &Contents,
        index: Document<Index>,
        chosen: &Digest,
    ) -> Result<Option<Self>, ArchiveError> {
        let has = |blob: &Descriptor| contents.has(&blob_path(&blob.digest));
        let entries = index.value().manifests.iter();
        let mut others = Vec::new();
        for entry in entries.filter(|entry| entry.digest != *chosen) {
            if !entry.media_type.is_manifest() || !has(entry) {
                return Ok(None);
            }
            let manifest = read_document(contents, entry)?;
            if !blobs(&manifest).all(has) {
                return Ok(None);
            }
            others.push(manifest);
        }
        Ok(Some(Self { index, others }))
    }

    /// Keeps all of it but the chosen image; returns the index.
    pub(super) fn install(
        &self,
        store: &Store,
        contents: &Contents,
    ) -> Result<Descriptor, ArchiveError> {
        for manifest in &self.others {
            for blob in blobs(manifest) {
                let (_, content) = contents.open(&blob_path(&blob.digest))?;
                store.put_blob(blob, content)?;
            }
            store.put_document(manifest)?;
        }
        Ok(store.put_document(&self.index)?)
    }
}

fn blobs(manifest: &Document<Manifest>) -> impl Iterator<Item = &Descriptor> {
    let Manifest { config, layers, .. } = manifest.value();
    [config].into_iter().chain(layers)
}
