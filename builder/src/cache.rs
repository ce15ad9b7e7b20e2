//! The build cache: what a step with some key came to, in the store's records.

use jiff::Timestamp;
use mica_oci::{ChainId, Descriptor, DiffId, MediaType};
use mica_store::Store;
use serde::{Deserialize, Serialize};

use crate::error::ErrorKind;
use crate::explain::{Inputs, KeptFiles};
use crate::key::CacheKey;
use crate::seal::{BuiltLayer, Seal, Sealed};

/// The kind of the records; the store keeps every layer that such a record names.
const KIND: &str = "build";

/// The result of a step. Format: `docs/cache-key.md`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StepRecord {
    /// The layers that this record needs: its own.
    layers: Vec<ChainId>,
    /// The stack that the step ran upon.
    parent: Option<ChainId>,
    /// The address of the layer.
    diff_id: DiffId,
    /// The layer's size as a tar stream, in bytes.
    size: u64,
    /// When the step ran.
    created: Timestamp,
    /// The step's text.
    instruction: String,
    /// What the key was made of, for those who ask why a later build missed.
    #[serde(default)]
    pub(crate) inputs: Inputs,
    /// The files that the step read; while the record is there, collection keeps their lists.
    #[serde(default)]
    pub(crate) files: Vec<KeptFiles>,
}

/// How a layer came to be.
pub(crate) struct Made {
    /// The step's text.
    pub(crate) instruction: String,
    /// When the step ran.
    pub(crate) created: Timestamp,
    /// What its key was made of.
    pub(crate) inputs: Inputs,
    /// The files that it read.
    pub(crate) files: Vec<KeptFiles>,
}

impl StepRecord {
    /// Makes the record of a sealed layer.
    pub(crate) fn new(sealed: &Sealed, parent: Option<ChainId>, made: Made) -> Self {
        Self {
            layers: vec![sealed.chain.clone()],
            parent,
            diff_id: sealed.diff_id.clone(),
            size: sealed.descriptor.size,
            created: made.created,
            instruction: made.instruction,
            inputs: made.inputs,
            files: made.files,
        }
    }

    /// Writes the record.
    pub(crate) fn put(&self, store: &Store, key: &CacheKey) -> Result<(), ErrorKind> {
        let value = serde_json::to_string(self).expect("a record is plain JSON");
        Ok(store.records().put(KIND, key.0.as_str(), &value)?)
    }

    /// Returns the record of a key.
    pub(crate) fn get(store: &Store, key: &CacheKey) -> Result<Option<Self>, ErrorKind> {
        let value = store.records().get(KIND, key.0.as_str())?;
        // A record that cannot be read is a miss: losing one costs time, never data.
        Ok(value.and_then(|value| serde_json::from_str(&value).ok()))
    }
}

/// Finds the layer that an earlier step with this key made on top of the very same stack.
///
/// The key says that the inputs were the same; the parent's chain ID says that so was the result
/// of the steps below, which a step that ran again may have changed.
pub(crate) fn find(
    store: &Store,
    key: &CacheKey,
    parent: Option<&BuiltLayer>,
) -> Result<Option<BuiltLayer>, ErrorKind> {
    let Some(record) = StepRecord::get(store, key)? else {
        return Ok(None);
    };
    let parent = parent.map(|parent| parent.seal.wait()).transpose()?;
    let parent = parent.map(|sealed| sealed.chain);
    if parent != record.parent {
        return Ok(None);
    }
    let chain = ChainId::extend(parent.as_ref(), &record.diff_id);
    let Some(layer) = store.layer(&chain)? else {
        return Ok(None);
    };
    let sealed = Sealed {
        chain,
        descriptor: Descriptor::new(MediaType::OCI_LAYER, record.diff_id.0.clone(), record.size),
        diff_id: record.diff_id,
        created: Some(record.created),
    };
    Ok(Some(BuiltLayer {
        layer,
        seal: Seal::ready(sealed),
    }))
}
