//! The contracts of `mica-oci`, implemented by the store.

use std::io;
use std::pin::Pin;

use mica_oci::{
    BlobReader, ContractError, Descriptor, DiffId, Document, Fetch, Push, Reference, Resolve, Tag,
    Verified,
};
use serde::de::DeserializeOwned;
use tokio::io::AsyncRead;

use super::streams::{channel, feed, produce};
use super::{TransferError, blocking};
use crate::error::At;
use crate::{Layer, Store, StoreError};

/// Hands out blobs, and the tar stream of layers that were made here and have no blob.
impl Fetch for Store {
    async fn fetch(&self, descriptor: &Descriptor) -> Result<BlobReader, ContractError> {
        if self.has_blob(&descriptor.digest) {
            let path = self.blob_path(&descriptor.digest);
            let file = tokio::fs::File::open(&path).await.at("open", &path)?;
            return Ok(Box::pin(Verified::new(file, descriptor)));
        }
        let (store, diff_id) = (self.clone(), DiffId(descriptor.digest.clone()));
        let layer = blocking(move || store.made_layer(&diff_id)).await?;
        Ok(layer_stream(self.clone(), layer, descriptor))
    }
}

impl Push for Store {
    async fn contains(&self, descriptor: &Descriptor) -> Result<bool, ContractError> {
        Ok(self.has_blob(&descriptor.digest))
    }

    async fn push(
        &self,
        descriptor: &Descriptor,
        content: BlobReader,
    ) -> Result<(), ContractError> {
        Ok(receive(self, descriptor, content, |_| ()).await?)
    }
}

impl Resolve for Store {
    async fn resolve(&self, reference: &Reference) -> Result<Descriptor, ContractError> {
        let (store, reference) = (self.clone(), reference.clone());
        let found = blocking(move || {
            let name = reference.familiar();
            store
                .find_reference(&reference)?
                .ok_or_else(|| StoreError::NotFound {
                    name,
                    near: Vec::new(),
                })
        });
        Ok(found.await?)
    }
}

impl Tag for Store {
    async fn tag(
        &self,
        descriptor: &Descriptor,
        reference: &Reference,
    ) -> Result<(), ContractError> {
        let (store, reference) = (self.clone(), reference.clone());
        let descriptor = descriptor.clone();
        Ok(blocking(move || store.tag_image(&descriptor, &reference)).await?)
    }
}

impl Store {
    /// Finds an unpacked layer by its diff ID, on whatever parents.
    ///
    /// # Errors
    /// [`StoreError::MissingBlob`] when there is none.
    pub fn made_layer(&self, diff_id: &DiffId) -> Result<Layer, StoreError> {
        let mut chains = Vec::new();
        for store in self.and_shared() {
            chains.extend(store.chains()?);
        }
        for chain in chains {
            if let Some(layer) = self.layer(&chain)?
                && layer
                    .description
                    .as_ref()
                    .is_some_and(|known| known.diff_id == *diff_id)
            {
                return Ok(layer);
            }
        }
        Err(StoreError::MissingBlob {
            digest: diff_id.0.clone(),
            root: self.root().to_owned(),
        })
    }
}

/// Streams a layer's tar; verified, because a layer that was tampered with gives another one.
pub(super) fn layer_stream(store: Store, layer: Layer, descriptor: &Descriptor) -> BlobReader {
    let stream = produce(move |out| store.layer_tar(&layer, out).map(drop));
    Box::pin(Verified::new(stream, descriptor))
}

/// Puts a stream into the store as a blob, verified.
pub(super) async fn receive(
    store: &Store,
    descriptor: &Descriptor,
    content: Pin<Box<dyn AsyncRead + Send>>,
    progress: impl FnMut(u64),
) -> Result<(), TransferError> {
    let (sender, reader) = channel();
    let (store, expected) = (store.clone(), descriptor.clone());
    let writing = blocking(move || store.put_blob(&expected, reader));
    let (fed, written) = tokio::join!(feed(content, sender, progress), writing);
    // A stream that broke off is why the content is short, and says more.
    fed.map_err(|source| content_error(descriptor, source))?;
    written.map_err(|error| match error {
        StoreError::Content { source, .. } => content_error(descriptor, source),
        error => error.into(),
    })
}

fn content_error(descriptor: &Descriptor, source: io::Error) -> TransferError {
    TransferError::Content {
        digest: descriptor.digest.clone(),
        source,
    }
}

/// Reads a document of at most 4 MiB from a source, verified.
///
/// # Errors
/// [`TransferError::Fetch`], [`TransferError::Content`]; [`StoreError::Document`] when it is none.
pub async fn fetch_document<S: Fetch, T: DeserializeOwned>(
    source: &S,
    descriptor: &Descriptor,
) -> Result<Document<T>, TransferError> {
    let raw = fetch_bytes(source, descriptor).await?;
    let document = Document::parse(descriptor.media_type.clone(), raw);
    Ok(document.map_err(StoreError::from)?)
}

pub(crate) async fn fetch_bytes<S: Fetch>(
    source: &S,
    descriptor: &Descriptor,
) -> Result<Vec<u8>, TransferError> {
    use tokio::io::AsyncReadExt;
    if descriptor.size > crate::blobs::DOCUMENT_LIMIT {
        return Err(StoreError::LongDocument {
            digest: descriptor.digest.clone(),
            size: descriptor.size,
        }
        .into());
    }
    let reader = open(source, descriptor).await?;
    let mut content = Vec::new();
    Verified::new(reader, descriptor)
        .read_to_end(&mut content)
        .await
        .map_err(|error| content_error(descriptor, error))?;
    Ok(content)
}

/// Opens content at a source.
pub(super) async fn open<S: Fetch>(
    source: &S,
    descriptor: &Descriptor,
) -> Result<BlobReader, TransferError> {
    source
        .fetch(descriptor)
        .await
        .map_err(|source| TransferError::Fetch {
            digest: descriptor.digest.clone(),
            source,
        })
}
