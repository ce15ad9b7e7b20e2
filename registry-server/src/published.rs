//! Images as they leave the store: with compressed layers.

use std::collections::HashMap;
use std::sync::Mutex;

use bytes::Bytes;
use mica_oci::{Descriptor, Digest, MediaType};
use mica_store::{Store, StoreError, Tagged};

/// A manifest or index that is handed out.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    pub(crate) media_type: MediaType,
    pub(crate) digest: Digest,
    pub(crate) raw: Bytes,
}

/// Manifests that were handed out and are no blobs of the store.
#[derive(Debug, Default)]
pub(crate) struct PublishedManifests {
    made: Mutex<HashMap<Digest, Published>>,
}

impl PublishedManifests {
    /// Returns what a name's target is handed out as. Layers that were made here are compressed
    /// now, unless they were before.
    pub(crate) fn publish(
        &self,
        store: &Store,
        target: &Descriptor,
    ) -> Result<Published, StoreError> {
        if target.media_type.is_manifest()
            && let Ok(image) = store.image(target, None)
        {
            let manifest = store.outgoing(&image)?;
            let published = Published {
                media_type: manifest.descriptor().media_type.clone(),
                digest: manifest.digest().clone(),
                raw: manifest.raw().clone(),
            };
            if published.digest != target.digest {
                let mut made = self.made.lock().expect("no panic under this lock");
                made.insert(published.digest.clone(), published.clone());
            }
            return Ok(published);
        }
        self.as_it_is(store, target)
    }

    fn as_it_is(&self, store: &Store, target: &Descriptor) -> Result<Published, StoreError> {
        let document = store.read_document::<serde::de::IgnoredAny>(target)?;
        Ok(Published {
            media_type: target.media_type.clone(),
            digest: target.digest.clone(),
            raw: document.raw().clone(),
        })
    }

    /// Finds a manifest by its digest: one that was made for a client, or one of the store.
    pub(crate) fn find(
        &self,
        store: &Store,
        digest: &Digest,
    ) -> Result<Option<Published>, StoreError> {
        let made = |all: &HashMap<Digest, Published>| all.get(digest).cloned();
        if let Some(found) = made(&self.made.lock().expect("no panic under this lock")) {
            return Ok(Some(found));
        }
        if let Some(found) = read(store, digest)? {
            return Ok(Some(found));
        }
        // A client may have been told of it before this server was started.
        let source = self.source(store, digest)?;
        source
            .map(|target| self.publish(store, &target))
            .transpose()
    }

    /// Returns the store's own manifest or index of what is handed out under a digest.
    pub(crate) fn source(
        &self,
        store: &Store,
        digest: &Digest,
    ) -> Result<Option<Descriptor>, StoreError> {
        for Tagged { target, .. } in store.images()? {
            let is_it = target.digest == *digest
                || target.media_type.is_manifest()
                    && store.is_outgoing_known(&target)?
                    && self.publish(store, &target)?.digest == *digest;
            if is_it {
                return Ok(Some(target));
            }
        }
        Ok(None)
    }
}

/// No manifest is longer.
const LONGEST: u64 = 4 << 20;

/// Reads a blob that is a manifest.
pub(crate) fn read(store: &Store, digest: &Digest) -> Result<Option<Published>, StoreError> {
    let Some(size) = store.find_blob(digest)?.filter(|size| *size <= LONGEST) else {
        return Ok(None);
    };
    let unknown = Descriptor::new(MediaType::OCI_MANIFEST, digest.clone(), size);
    let Ok(document) = store.read_document::<Shape>(&unknown) else {
        return Ok(None);
    };
    let media_type = match document.value() {
        Shape {
            media_type: Some(own),
            ..
        } => own.clone(),
        Shape {
            manifests: Some(_), ..
        } => MediaType::OCI_INDEX,
        Shape {
            config: Some(_),
            layers: Some(_),
            ..
        } => MediaType::OCI_MANIFEST,
        _ => return Ok(None),
    };
    Ok(Some(Published {
        media_type,
        digest: digest.clone(),
        raw: document.raw().clone(),
    }))
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    media_type: Option<MediaType>,
    manifests: Option<serde::de::IgnoredAny>,
    config: Option<serde::de::IgnoredAny>,
    layers: Option<serde::de::IgnoredAny>,
}
