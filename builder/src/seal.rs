//! Sealing layers off the critical path.
//!
//! A new layer can be built upon at once: its directory never moves. Behind the next step it is
//! turned into a tar stream, hashed, registered under its chain ID and recorded in the cache.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use mica_oci::{ChainId, Descriptor, DiffId, MediaType};
use mica_store::{Layer, Store};

use crate::cache::{Made, StepRecord};
use crate::error::{ErrorKind, with_causes};
use crate::explain::{FileList, Inputs};
use crate::flight::Flight;
use crate::origin::StepKeys;
use crate::place::Place;

/// A layer of a stage, sealed or about to be.
#[derive(Clone, Debug)]
pub(crate) struct BuiltLayer {
    /// Where it is.
    pub(crate) place: Place,
    /// What is known of it once it is sealed.
    pub(crate) seal: Seal,
}

/// What a sealed layer is.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    /// The address of the stack up to this layer.
    pub(crate) chain: ChainId,
    /// The address of the layer.
    pub(crate) diff_id: DiffId,
    /// How a manifest names it.
    pub(crate) descriptor: Descriptor,
    /// When it was made; `None` for a base image's.
    pub(crate) created: Option<Timestamp>,
}

/// A [`Sealed`] to wait for.
#[derive(Clone, Debug)]
pub(crate) struct Seal(Arc<(Mutex<Option<Outcome>>, Condvar)>);

/// What sealing came to; a failure is told to every layer above, so it is a text.
type Outcome = Result<Sealed, String>;

impl Seal {
    /// A seal that is known already.
    pub(crate) fn ready(sealed: Sealed) -> Self {
        Self(Arc::new((Mutex::new(Some(Ok(sealed))), Condvar::new())))
    }

    /// Returns what is known already.
    pub(crate) fn peek(&self) -> Option<Sealed> {
        let slot = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        slot.as_ref()
            .and_then(|result| result.as_ref().ok())
            .cloned()
    }

    fn pending() -> Self {
        Self(Arc::new((Mutex::new(None), Condvar::new())))
    }

    fn set(&self, result: Outcome) {
        let (slot, ready) = &*self.0;
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        ready.notify_all();
    }

    /// Waits until the layer is sealed.
    pub(crate) fn wait(&self) -> Result<Sealed, ErrorKind> {
        let (slot, ready) = &*self.0;
        let guard = slot.lock().unwrap_or_else(PoisonError::into_inner);
        let guard = ready
            .wait_while(guard, |result| result.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        match guard
            .as_ref()
            .expect("the wait ends when there is a result")
        {
            Ok(sealed) => Ok(sealed.clone()),
            Err(problem) => Err(ErrorKind::Seal(problem.clone())),
        }
    }
}

/// When a layer was hashed, once it was.
#[derive(Clone, Debug, Default)]
pub(crate) struct HashingTime(Arc<OnceLock<(Instant, Duration)>>);

impl HashingTime {
    /// Returns how long before now hashing began, and how long it took.
    pub(crate) fn read(&self) -> Option<(Duration, Duration)> {
        let (start, elapsed) = self.0.get()?;
        Some((start.elapsed(), *elapsed))
    }
}

/// What is needed to seal a new layer.
pub(crate) struct Sealing {
    /// The store.
    pub(crate) store: Store,
    /// The layer below, when there is one.
    pub(crate) parent: Option<BuiltLayer>,
    /// The new layer.
    pub(crate) layer: Layer,
    /// What the step is found by.
    pub(crate) keys: StepKeys,
    /// The step's text, for those who ask why a later build missed.
    pub(crate) instruction: String,
    /// What the key was made of.
    pub(crate) inputs: Inputs,
    /// The files that the step read.
    pub(crate) files: Vec<FileList>,
    /// When the step ran.
    pub(crate) created: Timestamp,
    /// Keeps other builds from running the step until it is recorded.
    pub(crate) flight: Option<Flight>,
    /// Takes the time of hashing.
    pub(crate) hashing: HashingTime,
}

impl Sealing {
    /// Starts sealing on a thread of its own.
    pub(crate) fn start(self) -> (BuiltLayer, JoinHandle<()>) {
        let seal = Seal::pending();
        let built = BuiltLayer {
            place: Place::here(self.layer.clone()),
            seal: seal.clone(),
        };
        let thread = std::thread::spawn(move || {
            let result = catch_unwind(AssertUnwindSafe(|| self.run()));
            let result = result.unwrap_or_else(|_| Err(ErrorKind::Seal("it panicked".into())));
            seal.set(result.map_err(|error| with_causes(&error)));
        });
        (built, thread)
    }

    fn run(self) -> Result<Sealed, ErrorKind> {
        let start = Instant::now();
        let description = match self.layer.description.clone() {
            Some(known) => known,
            None => self.store.describe_new(&self.layer)?,
        };
        // Set once: a layer is sealed once.
        let _ = self.hashing.0.set((start, start.elapsed()));
        let parent = self.parent.map(|parent| parent.seal.wait()).transpose()?;
        let parent = parent.map(|sealed| sealed.chain);
        self.store
            .register(parent.as_ref(), self.layer, &description)?;
        let chain = ChainId::extend(parent.as_ref(), &description.diff_id);
        let descriptor = Descriptor::new(
            MediaType::OCI_LAYER,
            description.diff_id.0.clone(),
            description.size,
        );
        let sealed = Sealed {
            chain,
            diff_id: description.diff_id,
            descriptor,
            created: Some(self.created),
        };
        let kept = self.files.into_iter().map(|list| list.keep(&self.store));
        let made = Made {
            instruction: self.instruction,
            created: Some(self.created),
            key: self.keys.files.clone(),
            inputs: self.inputs,
            files: kept.collect::<Result<_, _>>()?,
        };
        let record = StepRecord::new(&sealed, parent, made);
        for key in &self.keys.wait()? {
            record.put(&self.store, key)?;
        }
        drop(self.flight);
        Ok(sealed)
    }
}
