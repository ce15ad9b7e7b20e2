//! Push: compress what was never compressed, send what is not there, manifest and tag last.

use std::io::Cursor;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use mica_oci::{
    BlobReader, Compression, ContractError, Descriptor, DiffId, Document, Index, Push, Reference,
    Tag, Verified,
};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{self, UnboundedReceiver};

use super::graph::copy_graph;
use super::streams::CountedSource;
use super::{Outcome, Progress, TransferError, TransferEvent, blocking, growing};
use crate::compressed::{like, with_layers};
use crate::{Codec, Image, ImageSet, Store, UseLock};

/// In which form layers go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerForm {
    /// Plain ones compressed, while they are sent.
    Compressed,
    /// As the manifest lists them.
    AsListed,
}

/// What the steps of one push share.
struct Pushing<'a, D> {
    form: LayerForm,
    store: &'a Store,
    destination: &'a D,
    reference: &'a Reference,
    progress: &'a dyn Progress,
    hold: Arc<UseLock>,
    compressions: Semaphore,
}

/// Layers that are compressed at a time: each is compressed on all processors.
const COMPRESSIONS: usize = 2;

/// Pushes what a name of the store stands for: an image, or an index with all its images. First go
/// layers and configurations that the destination lacks, then manifests, then the name. Returns
/// what that then stands for.
///
/// Layers that came from a registry go as they came. Layers that were made here go compressed,
/// which is done once; the manifest that is pushed then differs from the store's. A reference
/// with a digest and no tag gives no name. What of an index goes says [`Store::whole_set`]; one that
/// lists artifacts goes as it is.
pub async fn push<D: Push + Tag>(
    store: &Store,
    target: &Descriptor,
    destination: &D,
    reference: &Reference,
    progress: &dyn Progress,
) -> Result<Descriptor, TransferError> {
    let (owned, wanted) = (store.clone(), target.clone());
    let set = blocking(move || owned.whole_set(&wanted)).await?;
    let form = LayerForm::Compressed;
    let pushing = Pushing::new(store, destination, reference, progress, form).await?;
    let target = match set.artifacts.is_empty() {
        true => pushing.set(&set).await?,
        false => pushing.graph(target).await?,
    };
    pushing.finish(&set.images, &target).await?;
    Ok(target)
}

/// As [`push`], to a place that is no repository: the store does not note where the images went.
pub async fn publish<D: Push + Tag>(
    store: &Store,
    set: &ImageSet,
    destination: &D,
    reference: &Reference,
    progress: &dyn Progress,
) -> Result<Descriptor, TransferError> {
    let form = LayerForm::Compressed;
    let pushing = Pushing::new(store, destination, reference, progress, form).await?;
    let target = pushing.set(set).await?;
    pushing.name(&target).await?;
    Ok(target)
}

/// Keeps the very bytes when no manifest differs.
fn with_manifests(index: &Document<Index>, manifests: Vec<Descriptor>) -> Document<Index> {
    let mut value = index.value().clone();
    for (entry, manifest) in value.manifests.iter_mut().zip(manifests) {
        entry.digest = manifest.digest;
        entry.size = manifest.size;
    }
    if value == *index.value() {
        return index.clone();
    }
    Document::encode(index.descriptor().media_type.clone(), value)
}

/// Pushes an image, or an index with all its images, in the very form it has; the name comes last.
pub async fn push_set<D: Push + Tag>(
    store: &Store,
    set: &ImageSet,
    destination: &D,
    reference: &Reference,
    progress: &dyn Progress,
) -> Result<Descriptor, TransferError> {
    let form = LayerForm::AsListed;
    let pushing = Pushing::new(store, destination, reference, progress, form).await?;
    let target = pushing.set(set).await?;
    pushing.finish(&set.images, &target).await?;
    Ok(target)
}

/// Pushes one layer ahead of its image, as [`push`] does or in the very form it has.
pub async fn push_layer<D: Push + Tag>(
    store: &Store,
    (layer, diff_id): (&Descriptor, &DiffId),
    form: LayerForm,
    destination: &D,
    reference: &Reference,
) -> Result<(), TransferError> {
    let pushing = Pushing::new(store, destination, reference, &(), form).await?;
    match form {
        LayerForm::Compressed => {
            let pushed = pushing.layer(layer.clone(), diff_id.clone()).await;
            pushed.map(drop)
        }
        LayerForm::AsListed => pushing.send(layer).await,
    }
}

impl<'a, D: Push + Tag> Pushing<'a, D> {
    async fn new(
        store: &'a Store,
        destination: &'a D,
        reference: &'a Reference,
        progress: &'a dyn Progress,
        form: LayerForm,
    ) -> Result<Self, TransferError> {
        let owned = store.clone();
        Ok(Self {
            form,
            store,
            destination,
            reference,
            progress,
            hold: Arc::new(blocking(move || owned.hold()).await?),
            compressions: Semaphore::new(COMPRESSIONS),
        })
    }

    /// Brings images there, and their index where there is one; returns what is to be named.
    async fn set(&self, set: &ImageSet) -> Result<Descriptor, TransferError> {
        let mut manifests = Vec::with_capacity(set.images.len());
        for image in &set.images {
            manifests.push(self.image(image).await?);
        }
        let Some(index) = &set.index else {
            return Ok(manifests.remove(0));
        };
        for artifact in &set.artifacts {
            self.graph(artifact.descriptor()).await?;
        }
        let index = with_manifests(index, manifests);
        self.document(&index).await?;
        Ok(index.descriptor().clone())
    }

    /// Brings a manifest or index there as it is: artifacts name images by their digests.
    async fn graph(&self, root: &Descriptor) -> Result<Descriptor, TransferError> {
        let at_once = self.store.transfers().uploads;
        copy_graph(self.store, self.destination, root, at_once, self.progress).await?;
        Ok(root.clone())
    }

    /// Brings an image there, without a name.
    async fn image(&self, image: &Image) -> Result<Descriptor, TransferError> {
        let (listed, diff_ids) = super::queue_layers(image, self.progress)?;
        let both: Vec<_> = listed
            .iter()
            .cloned()
            .zip(diff_ids.iter().cloned())
            .collect();
        if let Some(manifest) = self.known_manifest(image, &both).await?
            && self.is_there(&manifest).await?
        {
            // A registry takes no manifest before what it lists. Naming it again shows whether one may.
            for layer in listed {
                self.done(layer, Outcome::AlreadyThere);
            }
            return Ok(manifest);
        }
        let layers = self.layers(both).await?;
        let manifest = with_layers(&image.manifest, layers);
        self.document(&image.config).await?;
        self.document(&manifest).await?;
        Ok(manifest.descriptor().clone())
    }

    /// Gives the name, where there is a tag.
    async fn name(&self, target: &Descriptor) -> Result<(), TransferError> {
        match self.reference.tag() {
            Some(_) => self.tag(target).await,
            None => Ok(()),
        }
    }

    /// Gives the name, and notes where the images went.
    async fn finish(&self, images: &[Image], target: &Descriptor) -> Result<(), TransferError> {
        self.name(target).await?;
        let (store, reference) = (self.store.clone(), self.reference.clone());
        let ids: Vec<_> = images.iter().map(|image| image.id().clone()).collect();
        let digest = target.digest.clone();
        let noted = blocking(move || {
            let mut ids = ids.iter();
            ids.try_for_each(|id| store.add_repository_digest(id, &reference, &digest))
        });
        Ok(noted.await?)
    }

    /// Returns the manifest that the image goes with, where no layer has to be compressed to tell.
    async fn known_manifest(
        &self,
        image: &Image,
        layers: &[(Descriptor, DiffId)],
    ) -> Result<Option<Descriptor>, TransferError> {
        let mut outgoing = Vec::with_capacity(layers.len());
        for (layer, diff_id) in layers {
            match self.known(layer, diff_id).await? {
                Some(known) => outgoing.push(like(layer, known)),
                None => return Ok(None),
            }
        }
        let manifest = with_layers(&image.manifest, outgoing);
        Ok(Some(manifest.descriptor().clone()))
    }

    async fn layers(
        &self,
        layers: Vec<(Descriptor, DiffId)>,
    ) -> Result<Vec<Descriptor>, TransferError> {
        stream::iter(layers)
            .map(|(layer, diff_id)| self.layer(layer, diff_id))
            .buffered(self.store.transfers().uploads.get())
            .try_collect()
            .await
    }

    /// Brings one layer there; returns it as it is there.
    async fn layer(&self, layer: Descriptor, diff_id: DiffId) -> Result<Descriptor, TransferError> {
        if let Some(outgoing) = self.known(&layer, &diff_id).await?
            && self.is_there(&outgoing).await?
        {
            self.done(&layer, Outcome::AlreadyThere);
            return Ok(like(&layer, outgoing));
        }
        if self.is_compressed_first(&layer) {
            let outgoing = self.compress(&layer, diff_id).await?;
            return Ok(like(&layer, outgoing));
        }
        self.send(&layer).await?;
        Ok(layer)
    }

    /// Returns what a layer goes as, where that is known without compressing it.
    async fn known(
        &self,
        layer: &Descriptor,
        diff_id: &DiffId,
    ) -> Result<Option<Descriptor>, TransferError> {
        if !self.is_compressed_first(layer) {
            return Ok(Some(layer.clone()));
        }
        let (store, diff_id) = (self.store.clone(), diff_id.clone());
        Ok(blocking(move || store.known_compressed(&diff_id, Codec::GZIP)).await?)
    }

    fn is_compressed_first(&self, layer: &Descriptor) -> bool {
        let is_plain = layer.media_type.layer_compression() == Some(Compression::None);
        self.form == LayerForm::Compressed && is_plain
    }

    /// Sends a layer while it is compressed; events name it as the image's manifest does. Returns
    /// what it was compressed to.
    async fn compress(
        &self,
        layer: &Descriptor,
        diff_id: DiffId,
    ) -> Result<Descriptor, TransferError> {
        let digest = layer.digest.clone();
        self.progress.event(TransferEvent::Compressing { digest });
        let (told, heard) = mpsc::unbounded_channel();
        let (growing, make) = growing::compress(self.store, diff_id, told);
        let hold = Arc::clone(&self.hold);
        let making = async {
            // The semaphore is never closed.
            let _turn = self.compressions.acquire().await;
            let made = blocking(move || (make(), hold)).await.0?;
            let (digest, size) = (layer.digest.clone(), made.size);
            self.progress
                .event(TransferEvent::LayerStarted { digest, size });
            Ok(made)
        };
        let pushing = async {
            let pushed = self.destination.push_growing(&growing).await;
            let failed = growing.has_failed();
            drop(growing);
            (pushed, failed)
        };
        let (made, (pushed, failed), ()) =
            tokio::join!(making, pushing, self.tell_bytes(layer, heard));
        match (made, pushed) {
            (made, Ok(pushed)) => {
                self.done(layer, Outcome::Complete);
                made.map(|_: Descriptor| pushed)
            }
            (Err(error), Err(_)) if failed => Err(error),
            (_, Err(source)) => Err(self.error(layer, source)),
        }
    }

    async fn tell_bytes(&self, layer: &Descriptor, mut heard: UnboundedReceiver<u64>) {
        while let Some(done) = heard.recv().await {
            let digest = layer.digest.clone();
            self.progress.event(TransferEvent::Bytes { digest, done });
        }
    }

    /// Sends a layer as it is, unless it is there.
    async fn send(&self, layer: &Descriptor) -> Result<(), TransferError> {
        if self.is_there(layer).await? {
            self.done(layer, Outcome::AlreadyThere);
            return Ok(());
        }
        let (digest, size) = (layer.digest.clone(), layer.size);
        self.progress
            .event(TransferEvent::LayerStarted { digest, size });
        let (told, heard) = mpsc::unbounded_channel();
        let counted = CountedSource::new(self.store, told);
        let pushing = async {
            let pushed = self.destination.push_from(layer, &counted).await;
            drop(counted);
            pushed.map_err(|source| self.error(layer, source))
        };
        let (pushed, ()) = tokio::join!(pushing, self.tell_bytes(layer, heard));
        pushed?;
        self.done(layer, Outcome::Complete);
        Ok(())
    }

    fn done(&self, layer: &Descriptor, outcome: Outcome) {
        let digest = layer.digest.clone();
        self.progress.event(TransferEvent::Done { digest, outcome });
    }

    async fn document<T>(&self, document: &Document<T>) -> Result<(), TransferError> {
        let (descriptor, raw) = (document.descriptor().clone(), document.raw().clone());
        if self.is_there(&descriptor).await? {
            return Ok(());
        }
        let content = Verified::new(Cursor::new(raw), &descriptor);
        self.push(&descriptor, Box::pin(content)).await
    }

    async fn is_there(&self, descriptor: &Descriptor) -> Result<bool, TransferError> {
        let answer = self.destination.contains(descriptor).await;
        answer.map_err(|source| self.error(descriptor, source))
    }

    async fn push(
        &self,
        descriptor: &Descriptor,
        content: BlobReader,
    ) -> Result<(), TransferError> {
        let answer = self.destination.push(descriptor, content).await;
        answer.map_err(|source| self.error(descriptor, source))
    }

    async fn tag(&self, target: &Descriptor) -> Result<(), TransferError> {
        let answer = self.destination.tag(target, self.reference).await;
        answer.map_err(|source| TransferError::Tag {
            digest: target.digest.clone(),
            reference: self.reference.to_string(),
            source,
        })
    }

    fn error(&self, descriptor: &Descriptor, source: ContractError) -> TransferError {
        TransferError::Push {
            digest: descriptor.digest.clone(),
            destination: self.reference.to_string(),
            source,
        }
    }
}
