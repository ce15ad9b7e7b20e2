//! Where a layer of a stage is: in the store, or still where a cache was imported from.

use std::sync::{Arc, Mutex, PoisonError};

use mica_oci::{ChainId, Descriptor, DiffId};
use mica_store::{Layer, Stack, Store};

use crate::cache::StepRecord;
use crate::error::ErrorKind;
use crate::exchange::CacheSource;
use crate::key::CacheKey;

/// A layer that is there, or is fetched when somebody needs its files.
#[derive(Clone, Debug)]
pub(crate) struct Place(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    layer: Mutex<Option<Layer>>,
    imported: Option<Imported>,
}

/// Where a layer is.
#[derive(Debug)]
pub(crate) enum Whereabouts {
    /// In the store.
    Here(Layer),
    /// As this blob in an imported cache.
    Elsewhere(Arc<dyn CacheSource>, Descriptor),
}

/// A layer that an imported cache has.
#[derive(Debug)]
pub(crate) struct Imported {
    /// The store that it is fetched into.
    pub(crate) store: Store,
    /// Where its blob is.
    pub(crate) source: Arc<dyn CacheSource>,
    /// The blob.
    pub(crate) blob: Descriptor,
    /// The stack below it.
    pub(crate) parent: Option<ChainId>,
    /// What it is when it is unpacked.
    pub(crate) diff_id: DiffId,
    /// What is recorded once it is there.
    pub(crate) record: StepRecord,
    /// Under these keys.
    pub(crate) keys: Vec<CacheKey>,
}

impl Place {
    /// A layer of the store.
    pub(crate) fn here(layer: Layer) -> Self {
        Self(Arc::new(Inner {
            layer: Mutex::new(Some(layer)),
            imported: None,
        }))
    }

    /// A layer that is elsewhere.
    pub(crate) fn imported(imported: Imported) -> Self {
        Self(Arc::new(Inner {
            layer: Mutex::new(None),
            imported: Some(imported),
        }))
    }

    /// Returns the layer on top of `below`, fetching it where it is not there yet.
    pub(crate) fn layer(&self, below: &Stack) -> Result<Layer, ErrorKind> {
        let mut slot = self.0.layer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(layer) = &*slot {
            return Ok(layer.clone());
        }
        let imported = self.0.imported.as_ref();
        let imported = imported.expect("a layer is in the store or elsewhere");
        let layer = imported.fetch(below)?;
        Ok(slot.insert(layer).clone())
    }

    /// Returns where the layer is now.
    pub(crate) fn whereabouts(&self) -> Whereabouts {
        let slot = self.0.layer.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*slot, &self.0.imported) {
            (Some(layer), _) => Whereabouts::Here(layer.clone()),
            (None, Some(imported)) => {
                Whereabouts::Elsewhere(Arc::clone(&imported.source), imported.blob.clone())
            }
            (None, None) => unreachable!("a layer is in the store or elsewhere"),
        }
    }
}

impl Imported {
    fn fetch(&self, below: &Stack) -> Result<Layer, ErrorKind> {
        let lost = |source| ErrorKind::LostLayer {
            digest: self.blob.digest.clone(),
            place: self.source.name(),
            source,
        };
        let blob = self.source.fetch(&self.blob).map_err(lost)?;
        let below = self.registered(below)?;
        let layer = self
            .store
            .apply_layer(&below, &self.diff_id, &self.blob, blob)
            .map_err(|error| lost(error.into()))?;
        self.store.note_compressed(&self.diff_id, &self.blob)?;
        for key in &self.keys {
            self.record.put(&self.store, key)?;
        }
        Ok(layer)
    }

    /// The same stack, with the names that its topmost layer was given since it was made.
    fn registered(&self, below: &Stack) -> Result<Stack, ErrorKind> {
        let mut stack = below.clone();
        if let (Some(top), Some(chain)) = (stack.layers.last_mut(), &self.parent)
            && let Some(known) = self.store.layer(chain)?
        {
            *top = known;
        }
        Ok(stack)
    }
}
