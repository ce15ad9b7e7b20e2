//! Copy: a graph of content from any source to any destination, children before parents.

use std::num::NonZeroUsize;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use mica_oci::{Descriptor, Document, Fetch, Index, Platform, Push, Reference, Resolve};
use serde::Deserialize;
use tokio::sync::mpsc;

use super::contracts::fetch_bytes;
use super::streams::CountedSource;
use super::{Outcome, Progress, TransferError, TransferEvent};
use crate::images::choose;

/// Indexes in indexes: deeper than any real one, and an end for one that goes in a circle.
const DEEPEST: usize = 8;

/// Which part of an index is copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All of it, so that its digest stays.
    All,
    /// The manifest for one platform.
    Platform(Platform),
}

/// What a manifest or index leads to.
#[derive(Debug, Deserialize)]
struct Links {
    #[serde(default)]
    manifests: Vec<Descriptor>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    blobs: Vec<Descriptor>,
}

/// Finds what a name stands for at a source; of an index, what the selection says.
pub async fn select<S: Fetch + Resolve>(
    source: &S,
    reference: &Reference,
    selection: &Selection,
) -> Result<Descriptor, TransferError> {
    let resolved = source.resolve(reference).await;
    let mut target = resolved.map_err(|source| TransferError::Resolve {
        reference: reference.to_string(),
        source,
    })?;
    while let Selection::Platform(platform) = selection
        && target.media_type.is_index()
    {
        let raw = fetch_bytes(source, &target).await?;
        let index: Document<Index> =
            Document::parse(target.media_type.clone(), raw).map_err(crate::StoreError::from)?;
        target = choose(&index, platform)?;
    }
    Ok(target)
}

/// Copies a manifest or index with all it leads to, byte for byte, `at_once` blobs at a time. What the
/// destination has is not moved. Nothing is tagged.
///
/// # Errors
/// When anything is missing or refused. What arrived stays there.
pub async fn copy_graph<S: Fetch, D: Push>(
    source: &S,
    destination: &D,
    target: &Descriptor,
    at_once: NonZeroUsize,
    progress: &dyn Progress,
) -> Result<Outcome, TransferError> {
    let copy = Copy {
        source,
        destination,
        at_once,
        progress,
    };
    copy.node(target.clone(), DEEPEST).await
}

struct Copy<'a, S, D> {
    source: &'a S,
    destination: &'a D,
    at_once: NonZeroUsize,
    progress: &'a dyn Progress,
}

impl<S: Fetch, D: Push> Copy<'_, S, D> {
    /// Copies a manifest or index. Where it is, its children are.
    async fn node(&self, target: Descriptor, depth: usize) -> Result<Outcome, TransferError> {
        if self.is_there(&target).await? {
            return Ok(Outcome::AlreadyThere);
        }
        let raw = fetch_bytes(self.source, &target).await?;
        let links: Document<Links> =
            Document::parse(target.media_type.clone(), raw).map_err(crate::StoreError::from)?;
        let raw = links.raw().clone();
        let links = links.into_value();
        for child in links.manifests {
            if depth > 0 {
                Box::pin(self.node(child, depth - 1)).await?;
            }
        }
        let blobs = links
            .config
            .into_iter()
            .chain(links.layers)
            .chain(links.blobs);
        let blobs: Vec<_> = blobs.filter(is_distributable).collect();
        for blob in &blobs {
            self.progress.event(TransferEvent::LayerQueued {
                digest: blob.digest.clone(),
            });
        }
        stream::iter(blobs)
            .map(|blob| self.blob(blob))
            .buffer_unordered(self.at_once.get())
            .try_collect::<()>()
            .await?;
        let content = Box::pin(std::io::Cursor::new(raw));
        let pushed = self.destination.push(&target, content).await;
        pushed.map_err(|source| push_error(&target, source))?;
        Ok(Outcome::Complete)
    }

    async fn blob(&self, blob: Descriptor) -> Result<(), TransferError> {
        let digest = blob.digest.clone();
        let mut outcome = Outcome::AlreadyThere;
        if !self.is_there(&blob).await? {
            outcome = Outcome::Complete;
            self.progress.event(TransferEvent::LayerStarted {
                digest: digest.clone(),
                size: blob.size,
            });
            let (told, mut heard) = mpsc::unbounded_channel();
            let counted = CountedSource::new(self.source, told);
            let pushing = async {
                let pushed = self.destination.push_from(&blob, &counted).await;
                drop(counted);
                pushed.map_err(|source| push_error(&blob, source))
            };
            let telling = async {
                while let Some(done) = heard.recv().await {
                    let digest = digest.clone();
                    self.progress.event(TransferEvent::Bytes { digest, done });
                }
                Ok(())
            };
            tokio::try_join!(pushing, telling)?;
        }
        self.progress.event(TransferEvent::Done { digest, outcome });
        Ok(())
    }

    async fn is_there(&self, descriptor: &Descriptor) -> Result<bool, TransferError> {
        let answer = self.destination.contains(descriptor).await;
        answer.map_err(|source| push_error(descriptor, source))
    }
}

fn push_error(descriptor: &Descriptor, source: mica_oci::ContractError) -> TransferError {
    TransferError::Put {
        digest: descriptor.digest.clone(),
        source,
    }
}

/// Layers that only their maker may hand out stay where their URLs say.
fn is_distributable(blob: &Descriptor) -> bool {
    let text = blob.media_type.as_str();
    !text.contains(".foreign.") && !text.contains(".nondistributable.")
}
