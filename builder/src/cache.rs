//! The build cache: what a step with some key came to, in the store's records or an imported cache.

use std::sync::Arc;

use jiff::Timestamp;
use mica_oci::{ChainId, Descriptor, DiffId, MediaType};
use mica_store::{Layer, Store};
use serde::{Deserialize, Serialize};

use crate::engine::Engine;
use crate::error::{ErrorKind, with_causes};
use crate::event::{Event, Outcome};
use crate::exchange::{CacheSource, Import, Imports};
use crate::explain::{Inputs, KeptFiles};
use crate::key::{CacheKey, KeyBuilder};
use crate::place::{Imported, Place};
use crate::seal::{BuiltLayer, Seal, Sealed};

/// The kind of the records; the store keeps every layer that such a record names.
pub(crate) const KIND: &str = "build";

/// The result of a step. Format: `docs/cache-key.md`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StepRecord {
    /// The layers that this record needs: its own.
    pub(crate) layers: Vec<ChainId>,
    /// The stack that the step ran upon.
    pub(crate) parent: Option<ChainId>,
    /// The address of the layer.
    pub(crate) diff_id: DiffId,
    /// The layer's size as a tar stream, in bytes.
    size: u64,
    /// When the step ran.
    pub(crate) created: Option<Timestamp>,
    /// The step's text.
    pub(crate) instruction: String,
    /// The key that says which files went in, whatever key the record is kept under.
    pub(crate) key: CacheKey,
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
    pub(crate) created: Option<Timestamp>,
    /// The key that says which files went in.
    pub(crate) key: CacheKey,
    /// What its key was made of.
    pub(crate) inputs: Inputs,
    /// The files that it read.
    pub(crate) files: Vec<KeptFiles>,
}

/// What a step's layer may be put upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ground {
    /// The very stack that it was made on.
    Same,
    /// Any: nothing below decides what is in it (`--link`).
    Any,
}

impl Ground {
    /// Starts the key of an operation on top of `below`, which counts only where it decides.
    pub(crate) fn key(self, operation: &str, below: &CacheKey) -> KeyBuilder {
        match self {
            Self::Same => CacheKey::of(operation).parent(below),
            Self::Any => CacheKey::of(operation),
        }
    }

    /// Returns the key of the file system that a step with `key` gives on top of `below`.
    pub(crate) fn upon(self, below: &CacheKey, key: CacheKey) -> CacheKey {
        match self {
            // It has what is below in it already.
            Self::Same => key,
            Self::Any => {
                let stacked = CacheKey::of("upon").parent(below);
                stacked.text("layer", key.0.as_str()).finish()
            }
        }
    }
}

/// What an earlier step came to.
pub(crate) struct Found {
    /// Its layer.
    pub(crate) built: BuiltLayer,
    /// Its history text.
    pub(crate) instruction: String,
    /// The key that says which files went in.
    pub(crate) key: CacheKey,
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
            key: made.key,
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

    fn sealed(&self, chain: ChainId) -> Sealed {
        Sealed {
            chain,
            descriptor: Descriptor::new(MediaType::OCI_LAYER, self.diff_id.0.clone(), self.size),
            diff_id: self.diff_id.clone(),
            created: self.created,
        }
    }

    fn found(self, chain: ChainId, place: Place) -> Found {
        Found {
            built: BuiltLayer {
                place,
                seal: Seal::ready(self.sealed(chain)),
            },
            instruction: self.instruction,
            key: self.key,
        }
    }
}

impl Engine<'_> {
    /// Finds the layer that an earlier step with this key made.
    ///
    /// The key says that the inputs were the same; the parent's chain ID says that so was the
    /// result of the steps below, which a step that ran again may have changed.
    pub(crate) fn find(
        &self,
        key: &CacheKey,
        parent: Option<&BuiltLayer>,
        ground: Ground,
    ) -> Result<Option<Found>, ErrorKind> {
        let record = StepRecord::get(self.store, key)?;
        if record.is_none() && self.cache_sources().is_empty() {
            return Ok(None);
        }
        let parent = parent.map(|parent| parent.seal.wait()).transpose()?;
        let parent = parent.map(|sealed| sealed.chain);
        if let Some(record) = record
            && (parent == record.parent || ground == Ground::Any)
            && let Some(layer) = self.stored(key, &record, parent.as_ref())?
        {
            let chain = ChainId::extend(parent.as_ref(), &record.diff_id);
            self.note_use(key);
            return Ok(Some(record.found(chain, Place::here(layer))));
        }
        let below = (ground == Ground::Same).then_some(parent.as_ref());
        match self.imports().find(key, below) {
            Some(import) => self.imported(import, parent).map(Some),
            None => Ok(None),
        }
    }

    /// Records what was found under another key, too.
    pub(crate) fn record_as(
        &self,
        key: &CacheKey,
        found: &Found,
        parent: Option<&BuiltLayer>,
    ) -> Result<(), ErrorKind> {
        let parent = parent.map(|parent| parent.seal.wait()).transpose()?;
        let parent = parent.map(|sealed| sealed.chain);
        let sealed = found.built.seal.wait()?;
        let made = Made {
            instruction: found.instruction.clone(),
            created: sealed.created,
            key: found.key.clone(),
            inputs: Inputs::default(),
            files: Vec::new(),
        };
        StepRecord::new(&sealed, parent, made).put(self.store, key)
    }

    /// Returns the layer of a record on top of `parent`. Where it was made on other layers, its
    /// files get a second name there.
    fn stored(
        &self,
        key: &CacheKey,
        record: &StepRecord,
        parent: Option<&ChainId>,
    ) -> Result<Option<Layer>, ErrorKind> {
        let chain = ChainId::extend(parent, &record.diff_id);
        if let Some(layer) = self.store.layer(&chain)? {
            return Ok(Some(layer));
        }
        for made in record.layers.iter().filter(|made| **made != chain) {
            if let Some(layer) = self.store.layer(made)?
                && let Some(description) = &layer.description
            {
                let linked = self.store.link_layer(&layer)?;
                let linked = self.store.register(parent, linked, description)?;
                let rebased = StepRecord {
                    layers: vec![chain],
                    parent: parent.cloned(),
                    ..record.clone()
                };
                rebased.put(self.store, key)?;
                return Ok(Some(linked));
            }
        }
        Ok(None)
    }

    fn imported(&self, import: &Arc<Import>, parent: Option<ChainId>) -> Result<Found, ErrorKind> {
        let step = &import.step;
        let chain = ChainId::extend(parent.as_ref(), &step.diff_id);
        let record = StepRecord {
            layers: vec![chain.clone()],
            parent: parent.clone(),
            diff_id: step.diff_id.clone(),
            size: step.size,
            created: step.created,
            instruction: step.instruction.clone(),
            key: step.key().clone(),
            inputs: Inputs::default(),
            files: Vec::new(),
        };
        if let Some(layer) = self.store.layer(&chain)? {
            for key in &step.keys {
                record.put(self.store, key)?;
            }
            return Ok(record.found(chain, Place::here(layer)));
        }
        let place = Place::imported(Imported {
            store: self.store.clone(),
            source: Arc::clone(&import.source),
            blob: import.blob.clone(),
            parent,
            diff_id: step.diff_id.clone(),
            record: record.clone(),
            keys: step.keys.clone(),
        });
        Ok(record.found(chain, place))
    }

    /// Reads the caches of `--cache-from`, once, when the first step is not in the store.
    fn imports(&self) -> &Imports {
        self.imports.get_or_init(|| {
            let mut imports = Imports::default();
            for source in self.cache_sources() {
                self.import(source, &mut imports);
            }
            imports
        })
    }

    /// A cache that cannot be read costs time: the build goes on.
    fn import(&self, source: &Arc<dyn CacheSource>, imports: &mut Imports) {
        let name = source.name();
        let step = self.start_step(format!("importing cache manifest from {name}"));
        let start = std::time::Instant::now();
        let added = imports.add(source, &self.request.platform);
        self.host.event(Event::Finished {
            step,
            outcome: Outcome::Done,
            elapsed: start.elapsed(),
        });
        if let Err(error) = added {
            let causes = with_causes(error.as_ref());
            let text = format!("failed to import cache from {name}: {causes}");
            self.host.event(Event::Warning { text });
        }
    }
}
