//! An index of an archive with all that it lists, which stays together in the store.

use mica_oci::{Descriptor, Digest, Document, Index, Manifest};

use super::ArchiveError;
use super::contents::{Contents, blob_path};
use super::load::read_document;
use crate::Store;

/// Keeps an index with all that it lists besides the image `chosen`, which is in the store: images of
/// other platforms, and what is said about them. Returns the index; `None`, and nothing is kept,
/// when something is not in the archive, such as the platforms that were never pulled.
pub(super) fn install_whole(
    store: &Store,
    contents: &Contents,
    index: &Document<Index>,
    chosen: &Digest,
) -> Result<Option<Descriptor>, ArchiveError> {
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
    for manifest in &others {
        for blob in blobs(manifest) {
            let (_, content) = contents.open(&blob_path(&blob.digest))?;
            store.put_blob(blob, content)?;
        }
        store.put_document(manifest)?;
    }
    Ok(Some(store.put_document(index)?))
}

fn blobs(manifest: &Document<Manifest>) -> impl Iterator<Item = &Descriptor> {
    let Manifest { config, layers, .. } = manifest.value();
    [config].into_iter().chain(layers)
}
