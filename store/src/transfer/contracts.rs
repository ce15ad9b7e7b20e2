//! The contracts of `mica-oci`, implemented by the store.

use std::io;
use std::pin::Pin;

use mica_oci::{
    BlobReader, ContractError, Descriptor, DiffId, Document, Fetch, Push, Reference, Resolve, Tag,
    Verified, VerifyError,
};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncSeekExt};

use super::streams::{channel, feed, produce};
use super::{Outcome, TransferError, blocking};
use crate::error::At;
use crate::growth::Growth;
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

    async fn fetch_from(
        &self,
        descriptor: &Descriptor,
        offset: u64,
    ) -> Result<BlobReader, ContractError> {
        let path = self.blob_path(&descriptor.digest);
        if !self.has_blob(&descriptor.digest) {
            let mut content = self.fetch(descriptor).await?;
            let mut start = (&mut content).take(offset);
            tokio::io::copy(&mut start, &mut tokio::io::sink()).await?;
            return Ok(content);
        }
        let mut file = tokio::fs::File::open(&path).await.at("open", &path)?;
        let sought = file.seek(io::SeekFrom::Start(offset)).await;
        sought.at("seek in", &path)?;
        Ok(Box::pin(file))
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
    written.map_err(|error| wrong_content(descriptor, error))
}

fn content_error(descriptor: &Descriptor, source: io::Error) -> TransferError {
    TransferError::Content {
        digest: descriptor.digest.clone(),
        source,
    }
}

/// Brings a blob from a source into the store: what an earlier try left is gone on with, a
/// transfer by another process is waited for, and wrong content is asked for elsewhere.
pub(super) async fn receive_from<S: Fetch>(
    store: &Store,
    source: &S,
    descriptor: &Descriptor,
    growth: Growth,
    mut progress: impl FnMut(u64),
) -> Result<Outcome, TransferError> {
    let (owned, wanted) = (store.clone(), descriptor.clone());
    let begun = blocking(move || owned.begin_partial(&wanted, growth)).await?;
    let Some(mut partial) = begun else {
        return Ok(Outcome::AlreadyThere);
    };
    loop {
        let offset = partial.offset();
        if offset < descriptor.size {
            let content = source.fetch_from(descriptor, offset).await;
            let content = content.map_err(|source| fetch_error(descriptor, source))?;
            let (sender, reader) = channel();
            let writing = blocking(move || {
                let written = partial.write(reader);
                (partial, written)
            });
            let feeding = feed(content, sender, |done| progress(offset + done));
            let (fed, (returned, written)) = tokio::join!(feeding, writing);
            // A stream that broke off is why the content is short, and says more.
            fed.map_err(|source| content_error(descriptor, source))?;
            written?;
            partial = returned;
        }
        let Err(mismatch) = blocking(move || partial.finish()).await else {
            return Ok(Outcome::Complete);
        };
        let is_wrong = matches!(mismatch.error, StoreError::Content { .. });
        // What an earlier try left may be at fault; otherwise it is the source's copy.
        partial = mismatch.partial;
        if is_wrong {
            partial.restart()?;
        }
        if !is_wrong || (offset == 0 && !source.distrust(descriptor)) {
            return Err(wrong_content(descriptor, mismatch.error));
        }
    }
}

fn wrong_content(descriptor: &Descriptor, error: StoreError) -> TransferError {
    match error {
        StoreError::Content { source, .. } => content_error(descriptor, source),
        error => error.into(),
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
    if descriptor.size > crate::blobs::DOCUMENT_LIMIT {
        return Err(StoreError::LongDocument {
            digest: descriptor.digest.clone(),
            size: descriptor.size,
        }
        .into());
    }
    loop {
        let reader = source.fetch(descriptor).await;
        let reader = reader.map_err(|source| fetch_error(descriptor, source))?;
        let mut content = Vec::new();
        let mut reader = Verified::new(reader, descriptor);
        match reader.read_to_end(&mut content).await {
            Ok(_) => return Ok(content),
            Err(error) if is_mismatch(&error) && source.distrust(descriptor) => {}
            Err(error) => return Err(content_error(descriptor, error)),
        }
    }
}

/// Tells whether a reader ended because the content is another.
fn is_mismatch(error: &io::Error) -> bool {
    let inner = error.get_ref();
    inner.is_some_and(|inner| inner.is::<VerifyError>())
}

fn fetch_error(descriptor: &Descriptor, source: ContractError) -> TransferError {
    TransferError::Fetch {
        digest: descriptor.digest.clone(),
        source,
    }
}
