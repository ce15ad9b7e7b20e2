//! Pull: resolve, choose the platform, fetch and unpack, tag.
//!
//! ```text
//! download │ layer 1 ═══╗ layer 2 ═══ layer 3 ═══ …     three at a time, verified into blobs/
//! unpack   │  layer 1 ══╩═ layer 2 ═══ layer 3 ══ …     several at a time, registered in order
//! ```
//!
//! A layer is decompressed, hashed and unpacked while it comes: see `growth.rs`. It waits for those
//! below when it needs something of them, such as the target of a hard link, and is registered
//! when all of it is verified. Should it not come in one go it is unpacked from its blob.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use mica_oci::{
    ChainId, Descriptor, DiffId, Document, Fetch, ImageConfig, Index, Manifest, Platform,
    Reference, Resolve,
};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use super::contracts::{fetch_document, receive_from};
use super::{Outcome, Progress, TransferError, TransferEvent, blocking};
use crate::growth::{Follower, Growth};
use crate::images::choose;
use crate::layers::Base;
use crate::{Image, Layer, LayerStorage, Stack, Store, StoreError, UseLock};

/// What the steps of one pull share.
struct Pull<'a, S> {
    store: &'a Store,
    source: &'a S,
    progress: &'a dyn Progress,
    /// Shared with the threads that work on, should the pull be given up.
    hold: Arc<UseLock>,
}

/// A layer that is in the store as a blob.
struct Downloaded {
    descriptor: Descriptor,
    diff_id: DiffId,
    outcome: Outcome,
}

/// Layers that are unpacked at a time, however many processors there are: each takes some memory.
const MOST_ABREAST: usize = 4;

/// A layer that is to be unpacked.
struct Coming {
    descriptor: Descriptor,
    diff_id: DiffId,
    chain: ChainId,
    follower: Follower,
}

/// What becomes of a layer.
enum Start {
    /// It is in the store.
    Known(Layer),
    /// It is kept as it comes.
    Packed,
    /// It is unpacked while it comes.
    Following(Following),
}

/// The unpacking of a layer that still comes.
struct Following {
    /// Where it waits for the layers below, until they are there.
    base: Option<oneshot::Sender<Stack>>,
    unpacked: JoinHandle<Result<Layer, StoreError>>,
}

/// Pulls an image into the store: blobs, unpacked layers, name.
///
/// What is there already is not fetched. Of an index, the manifest for `platform` is kept. A
/// name with a digest gives no tag: the image is kept without a name, and found by that digest.
///
/// # Errors
/// When anything is missing or not what its digest says; then no name has changed. What arrived
/// complete stays for the next try, until it is collected.
pub async fn pull<S: Fetch + Resolve>(
    store: &Store,
    source: &S,
    reference: &Reference,
    platform: &Platform,
    progress: &dyn Progress,
) -> Result<Image, TransferError> {
    let owned = store.clone();
    let pull = Pull {
        store,
        source,
        progress,
        hold: Arc::new(blocking(move || owned.hold()).await?),
    };
    let resolved = pull.resolve(reference).await?;
    let manifest = pull.manifest(&resolved, platform).await?;
    let config: Document<ImageConfig> = pull.document(&manifest.value().config).await?;
    let image = Image {
        target: manifest.descriptor().clone(),
        manifest,
        config,
    };
    pull.layers(&image).await?;
    let (store, reference, done) = (store.clone(), reference.clone(), image.clone());
    let sealed = blocking(move || {
        seal(&store, &done, &reference, &resolved)?;
        // A pull that was killed left what this one has in its place.
        store.remove_abandoned()
    });
    sealed.await?;
    Ok(image)
}

impl<S: Fetch + Resolve> Pull<'_, S> {
    async fn resolve(&self, reference: &Reference) -> Result<Descriptor, TransferError> {
        let resolved = self.source.resolve(reference).await;
        let resolved = resolved.map_err(|source| TransferError::Resolve {
            reference: reference.to_string(),
            source,
        })?;
        self.progress.event(TransferEvent::Resolved {
            digest: resolved.digest.clone(),
        });
        Ok(resolved)
    }

    async fn manifest(
        &self,
        resolved: &Descriptor,
        platform: &Platform,
    ) -> Result<Document<Manifest>, TransferError> {
        let mut target = resolved.clone();
        while target.media_type.is_index() {
            let index: Document<Index> = self.document(&target).await?;
            target = choose(&index, platform)?;
        }
        if target.media_type.is_manifest() {
            return self.document(&target).await;
        }
        Err(TransferError::Store(StoreError::NotAnImage {
            digest: target.digest,
            media_type: target.media_type.to_string(),
        }))
    }

    /// Reads a document from the store, or else from the source.
    async fn document<T>(&self, descriptor: &Descriptor) -> Result<Document<T>, TransferError>
    where
        T: serde::de::DeserializeOwned + Send + 'static,
    {
        if self.store.has_blob(&descriptor.digest) {
            let (store, descriptor) = (self.store.clone(), descriptor.clone());
            return Ok(blocking(move || store.read_document(&descriptor)).await?);
        }
        fetch_document(self.source, descriptor).await
    }

    async fn layers(&self, image: &Image) -> Result<(), TransferError> {
        let (layers, diff_ids) = super::queue_layers(image, self.progress)?;
        let (sender, downloaded) = mpsc::unbounded_channel();
        let (mut coming, mut to_unpack) = (Vec::new(), Vec::new());
        let mut last = None;
        for (descriptor, diff_id) in layers.iter().zip(diff_ids) {
            let growth = Growth::default();
            let chain = ChainId::extend(last.as_ref(), diff_id);
            to_unpack.push(Coming {
                descriptor: descriptor.clone(),
                diff_id: diff_id.clone(),
                chain: chain.clone(),
                follower: growth.follower(),
            });
            coming.push((descriptor.clone(), diff_id.clone(), growth));
            last = Some(chain);
        }
        let mut ahead = VecDeque::new();
        let stop = Notify::new();
        let downloads = async {
            tokio::select! {
                downloads = self.download_all(coming, sender) => downloads,
                () = stop.notified() => Ok(()),
            }
        };
        let unpacking = async {
            let unpacked = self.unpack_all(to_unpack, &mut ahead, downloaded).await;
            stop.notify_one();
            unpacked
        };
        // None is dropped: nothing works on in the background after an error.
        let (downloads, unpacked) = tokio::join!(downloads, unpacking);
        for start in ahead {
            if let Start::Following(Following { base, unpacked }) = start {
                drop(base);
                let _ = unpacked.await;
            }
        }
        unpacked.and(downloads)
    }

    /// Downloads while [`unpack_all`](Self::unpack_all) follows; reports in order.
    async fn download_all(
        &self,
        layers: Vec<(Descriptor, DiffId, Growth)>,
        done: UnboundedSender<Downloaded>,
    ) -> Result<(), TransferError> {
        stream::iter(layers)
            .map(|(descriptor, diff_id, growth)| self.download(descriptor, diff_id, growth))
            .buffered(self.store.transfers().downloads.get())
            .try_for_each(|layer| {
                // Who unpacks is gone only after an error, which ends this as well.
                let _ = done.send(layer);
                std::future::ready(Ok(()))
            })
            .await
    }

    async fn download(
        &self,
        descriptor: Descriptor,
        diff_id: DiffId,
        growth: Growth,
    ) -> Result<Downloaded, TransferError> {
        let digest = &descriptor.digest;
        let mut outcome = Outcome::AlreadyThere;
        if !self.store.has_blob(digest) {
            self.progress.event(TransferEvent::LayerStarted {
                digest: digest.clone(),
                size: descriptor.size,
            });
            let told = |done| {
                let digest = digest.clone();
                self.progress.event(TransferEvent::Bytes { digest, done });
            };
            outcome = receive_from(self.store, self.source, &descriptor, growth, told).await?;
        }
        Ok(Downloaded {
            descriptor,
            diff_id,
            outcome,
        })
    }

    /// Unpacks the layers while they come, some of them `ahead` of those below.
    async fn unpack_all(
        &self,
        layers: Vec<Coming>,
        ahead: &mut VecDeque<Start>,
        mut downloaded: UnboundedReceiver<Downloaded>,
    ) -> Result<(), TransferError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let abreast = cores.clamp(2, MOST_ABREAST);
        let mut layers = layers.into_iter();
        let mut stack = Stack::default();
        loop {
            for layer in layers.by_ref().take(abreast - ahead.len()) {
                ahead.push_back(self.start(layer)?);
            }
            let Some(mut start) = ahead.pop_front() else {
                return Ok(());
            };
            if let Start::Following(Following { base, .. }) = &mut start {
                // One that failed does not wait for it.
                let _ = base.take().map(|base| base.send(stack.clone()));
            }
            let Some(mut layer) = downloaded.recv().await else {
                // The download failed, and says why.
                ahead.push_front(start);
                return Ok(());
            };
            let unpacked = match start {
                Start::Known(known) => known,
                Start::Packed => {
                    self.check_packed(layer).await?;
                    continue;
                }
                Start::Following(following) => {
                    layer.outcome = Outcome::Complete;
                    self.unpack(&stack, &layer, following).await?
                }
            };
            self.progress.event(TransferEvent::Done {
                digest: layer.descriptor.digest,
                outcome: layer.outcome,
            });
            stack.push(unpacked);
        }
    }

    /// Starts to unpack a layer that still comes, if there is need.
    fn start(&self, layer: Coming) -> Result<Start, StoreError> {
        if let Some(known) = self.store.layer(&layer.chain)? {
            return Ok(Start::Known(known));
        }
        if self.store.layer_storage() == LayerStorage::Packed {
            return Ok(Start::Packed);
        }
        let (store, hold) = (self.store.clone(), Arc::clone(&self.hold));
        let (base, coming) = oneshot::channel();
        let unpacked = tokio::task::spawn_blocking(move || {
            let _hold = hold;
            let Coming {
                descriptor,
                diff_id,
                follower,
                ..
            } = layer;
            store.apply_verified(&Base::coming(coming), &diff_id, &descriptor, follower)
        });
        let base = Some(base);
        Ok(Start::Following(Following { base, unpacked }))
    }

    /// Checks what a store keeps that unpacks nothing.
    async fn check_packed(&self, layer: Downloaded) -> Result<(), TransferError> {
        let (store, hold) = (self.store.clone(), Arc::clone(&self.hold));
        let Downloaded {
            descriptor,
            diff_id,
            outcome,
        } = layer;
        let digest = descriptor.digest.clone();
        if outcome == Outcome::Complete {
            let checked = blocking(move || {
                let _hold = hold;
                store.check_packed(&diff_id, &descriptor)
            });
            checked.await?;
        }
        self.progress.event(TransferEvent::Done { digest, outcome });
        Ok(())
    }

    /// Waits for a layer that was unpacked while it came, and unpacks it from its blob otherwise.
    async fn unpack(
        &self,
        parent: &Stack,
        layer: &Downloaded,
        following: Following,
    ) -> Result<Layer, TransferError> {
        self.progress.event(TransferEvent::Unpacking {
            digest: layer.descriptor.digest.clone(),
        });
        if let Ok(Ok(followed)) = following.unpacked.await {
            return Ok(followed);
        }
        let (store, hold, parent) = (self.store.clone(), Arc::clone(&self.hold), parent.clone());
        let (diff_id, descriptor) = (layer.diff_id.clone(), layer.descriptor.clone());
        let applied = blocking(move || {
            let _hold = hold;
            let blob: File = store.open_blob(&descriptor.digest)?;
            store.apply_layer(&parent, &diff_id, &descriptor, blob)
        });
        Ok(applied.await?)
    }
}

/// Makes the image durable, then visible.
fn seal(
    store: &Store,
    image: &Image,
    reference: &Reference,
    resolved: &Descriptor,
) -> Result<(), StoreError> {
    store.put_document(&image.config)?;
    store.put_document(&image.manifest)?;
    store.add_repository_digest(image.id(), reference, &resolved.digest)?;
    match reference.digest() {
        Some(_) => store.keep_untagged(&image.target),
        None => store.tag_image(&image.target, reference),
    }
}
