//! Transfer: pull and push over the contracts, and the contracts of the store itself.
//!
//! *Children before parents, tag last.* A transfer that ends early, in whatever way, leaves
//! nothing visible but complete blobs and layers, and the next one goes on from there.

mod contracts;
mod graph;
mod growing;
mod join;
mod partial;
mod pull;
mod push;
mod streams;

use std::io;

use mica_oci::{ContractError, Descriptor, DiffId, Digest, Fetch};

use crate::growth::Growth;
use crate::{Image, Store, StoreError};

pub use contracts::fetch_document;
pub use graph::{Selection, copy_graph, select};
pub use join::join_platforms;
pub use pull::pull;
pub use push::{LayerForm, publish, push, push_layer, push_set};

/// Who wants to know how far a transfer is. Called from the transfer's own task; must not block.
pub trait Progress: Sync {
    /// Takes note of an event.
    fn event(&self, event: TransferEvent);
}

/// Ignores all events.
impl Progress for () {
    fn event(&self, _event: TransferEvent) {}
}

/// A step of a transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransferEvent {
    /// The name was resolved; for many platforms at once, to an index.
    Resolved {
        /// The digest of what the name stands for.
        digest: Digest,
    },
    /// A layer is looked at; each is, in order, before anything is moved.
    LayerQueued {
        /// The layer as it is in the image's manifest.
        digest: Digest,
    },
    /// A layer starts to move.
    LayerStarted {
        /// The layer's blob.
        digest: Digest,
        /// How many bytes will move.
        size: u64,
    },
    /// More of a layer was moved.
    Bytes {
        /// The layer's blob.
        digest: Digest,
        /// How many bytes were moved, in all.
        done: u64,
    },
    /// A layer is compressed; it is sent meanwhile.
    Compressing {
        /// The layer as it is in the image's manifest.
        digest: Digest,
    },
    /// A layer is unpacked.
    Unpacking {
        /// The layer's blob.
        digest: Digest,
    },
    /// A layer is where it should be.
    Done {
        /// The layer's blob.
        digest: Digest,
        /// Whether anything was to be done.
        outcome: Outcome,
    },
}

/// How a layer came to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was there before.
    AlreadyThere,
    /// It was moved, unpacked or both.
    Complete,
}

/// Why a pull or a push failed.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The source knows no such name, or could not be asked.
    #[error("cannot resolve {reference}")]
    Resolve {
        /// The name.
        reference: String,
        /// The source's answer.
        #[source]
        source: ContractError,
    },
    /// The source does not hand out some content.
    #[error("cannot fetch {digest}")]
    Fetch {
        /// The content.
        digest: Digest,
        /// The source's answer.
        #[source]
        source: ContractError,
    },
    /// A stream of content broke off, or was not what was asked for.
    #[error("cannot read the content of {digest}")]
    Content {
        /// The content.
        digest: Digest,
        /// What the stream ended in.
        #[source]
        source: io::Error,
    },
    /// The destination does not take some content.
    #[error("cannot push {digest} to {destination}")]
    Push {
        /// The content.
        digest: Digest,
        /// The name that it was meant for.
        destination: String,
        /// The destination's answer.
        #[source]
        source: ContractError,
    },
    /// The destination of a copy does not take some content.
    #[error("cannot copy {digest}")]
    Put {
        /// The content.
        digest: Digest,
        /// The destination's or the source's answer.
        #[source]
        source: ContractError,
    },
    /// The destination does not give the name.
    #[error("cannot tag {digest} as {reference}")]
    Tag {
        /// The manifest.
        digest: Digest,
        /// The name.
        reference: String,
        /// The destination's answer.
        #[source]
        source: ContractError,
    },
    /// Manifest and configuration do not fit together.
    #[error("image {manifest} has {layers} layers but {diff_ids} diff IDs")]
    LayerCount {
        /// The manifest.
        manifest: Digest,
        /// How many layers the manifest lists.
        layers: usize,
        /// How many layers the configuration lists.
        diff_ids: usize,
    },
}

/// Brings one blob from a source into the store; several callers, in this process or in others,
/// fetch it once.
pub async fn fetch_blob<S: Fetch>(
    store: &Store,
    source: &S,
    descriptor: &Descriptor,
) -> Result<Outcome, TransferError> {
    contracts::receive_from(store, source, descriptor, Growth::default(), |_| ()).await
}

/// Runs what blocks where it may.
async fn blocking<T: Send + 'static>(action: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(action).await {
        Ok(result) => result,
        // The runtime ends only with us, so this is the action's own panic.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Checks that an image has as many layers as diff IDs, and tells of each, in order, before
/// anything is moved.
fn queue_layers<'i>(
    image: &'i Image,
    progress: &dyn Progress,
) -> Result<(&'i [Descriptor], &'i [DiffId]), TransferError> {
    let layers = &image.manifest.value().layers;
    let diff_ids = &image.config.value().rootfs.diff_ids;
    if layers.len() != diff_ids.len() {
        return Err(TransferError::LayerCount {
            manifest: image.target.digest.clone(),
            layers: layers.len(),
            diff_ids: diff_ids.len(),
        });
    }
    for layer in layers {
        progress.event(TransferEvent::LayerQueued {
            digest: layer.digest.clone(),
        });
    }
    Ok((layers, diff_ids))
}
