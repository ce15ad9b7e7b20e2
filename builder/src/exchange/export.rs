//! Writing a build's cache elsewhere, behind the steps that follow.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use mica_oci::{Descriptor, DiffId, Platform};
use mica_store::{Codec, ExistingLayers, Store};

use super::format::{CacheConfig, CacheStep, ManifestForm};
use super::place::{CacheDestination, Content, ExchangeError};
use crate::error::ErrorKind;
use crate::key::CacheKey;
use crate::origin::StepKeys;
use crate::place::{Place, Whereabouts};
use crate::seal::Seal;

/// Where a build's cache goes, and how.
#[derive(Clone, Debug)]
pub struct CacheExport {
    /// What progress calls it, such as `exporting cache to registry`.
    pub title: String,
    /// The place.
    pub destination: Arc<dyn CacheDestination>,
    /// Which steps go there.
    pub mode: ExportMode,
    /// The form of the document that leads to them.
    pub form: ManifestForm,
    /// What a failure does to the build.
    pub failure: ExportFailure,
    /// The IDs of the cache mounts that go there as well.
    pub mounts: Vec<String>,
    /// How layers that were made here are compressed.
    pub codec: Codec,
    /// What becomes of layers that came compressed otherwise.
    pub existing: ExistingLayers,
    /// How many layers are sent at a time.
    pub uploads: NonZeroUsize,
}

impl CacheExport {
    /// Layers that are sent at a time, where nothing else is asked for: registries answer slowly, and
    /// a processor compresses meanwhile.
    pub const UPLOADS: NonZeroUsize = NonZeroUsize::new(3).unwrap();
}

/// Which steps are exported: `mode=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportMode {
    /// Those whose layers are the image's.
    Min,
    /// All, those of intermediate stages too.
    Max,
}

/// What a failed export does: `ignore-error=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFailure {
    /// The build fails.
    Fails,
    /// The build warns.
    Warns,
}

/// A step that was done, or found done.
#[derive(Clone)]
pub(crate) struct Noted {
    /// The stage that it belongs to.
    pub(crate) stage: usize,
    /// What it is found by.
    pub(crate) keys: StepKeys,
    /// What it ran upon.
    pub(crate) parent: Option<Seal>,
    /// Its layer.
    pub(crate) place: Place,
    /// What is known of the layer once it is sealed.
    pub(crate) seal: Seal,
    /// Its history text.
    pub(crate) instruction: String,
}

impl Noted {
    /// Waits for the layer and describes the step, without saying where the layer's blob is.
    pub(crate) fn step(&self) -> Result<CacheStep, ErrorKind> {
        let parent = self.parent.as_ref().map(Seal::wait).transpose()?;
        let sealed = self.seal.wait()?;
        Ok(CacheStep {
            keys: self.keys.wait()?,
            parent: parent.map(|parent| parent.chain),
            diff_id: sealed.diff_id,
            size: sealed.descriptor.size,
            created: sealed.created,
            instruction: self.instruction.clone(),
            layer: None,
        })
    }
}

/// The exports of a build for all its platforms, on threads of their own.
pub(crate) struct Exports(Vec<Running>);

/// One attempt at a build. What it noted counts unless it is taken back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attempt(Arc<AtomicBool>);

impl Attempt {
    /// Takes back everything that was noted for this attempt.
    pub(crate) fn withdraw(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_withdrawn(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

struct Running {
    store: Store,
    export: CacheExport,
    queue: Mutex<Queue>,
    threads: Vec<JoinHandle<Vec<Sent>>>,
}

/// The way to the threads, until the build ends.
struct Queue {
    next: usize,
    sender: Option<Sender<Waiting>>,
}

/// A step that waits for a thread, with its number.
struct Waiting {
    number: usize,
    attempt: Attempt,
    noted: Noted,
}

/// A step on its way: what it came to, and whether its layer was sent.
struct Sent {
    number: usize,
    attempt: Attempt,
    result: Result<(CacheStep, Travel), ErrorKind>,
}

/// The layers that are on their way to one place: two platforms may have the same at once.
#[derive(Default)]
struct Flights(Mutex<HashMap<DiffId, Arc<Mutex<()>>>>);

impl Flights {
    fn of(&self, layer: &DiffId) -> Arc<Mutex<()>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(layer.clone()).or_default())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Travel {
    WasThere,
    WasSent,
}

/// How a build ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It has a result: what is exported replaces what was there.
    Complete,
    /// It failed: what it did is added to what is there.
    Failed,
}

impl Exports {
    /// Starts the exports.
    pub(crate) fn start(store: &Store, exports: &[CacheExport]) -> Self {
        let start = |export: &CacheExport| {
            let (sender, receiver) = mpsc::channel();
            let shared = Arc::new((Mutex::new(receiver), Flights::default()));
            let spawn = |_| {
                let (store, export) = (store.clone(), export.clone());
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || send_all(&store, &export, &shared.0, &shared.1))
            };
            Running {
                store: store.clone(),
                export: export.clone(),
                queue: Mutex::new(Queue {
                    next: 0,
                    sender: Some(sender),
                }),
                threads: (0..export.uploads.get()).map(spawn).collect(),
            }
        };
        Self(exports.iter().map(start).collect())
    }

    /// Takes a step of an attempt; its layer is sent as soon as it is sealed. `result` are the stages
    /// whose layers are the image's.
    pub(crate) fn note(&self, attempt: &Attempt, noted: &Noted, result: &HashSet<usize>) {
        for running in &self.0 {
            if running.export.mode == ExportMode::Min && !result.contains(&noted.stage) {
                continue;
            }
            let mut queue = running.queue.lock().unwrap_or_else(PoisonError::into_inner);
            let number = queue.next;
            queue.next += 1;
            if let Some(sender) = &queue.sender {
                // The threads end after the sender only.
                let _ = sender.send(Waiting {
                    number,
                    attempt: attempt.clone(),
                    noted: noted.clone(),
                });
            }
        }
    }

    /// Waits for the layers and writes what leads to them. `report` tells of each export, with a
    /// line for each layer.
    pub(crate) fn finish(
        self,
        ending: Ending,
        platform: &Platform,
        mut report: impl FnMut(&CacheExport, &mut dyn FnMut() -> Finished) -> Result<(), ErrorKind>,
    ) -> Result<(), ErrorKind> {
        let mut outcome = Ok(());
        for running in self.0 {
            let export = running.export.clone();
            let mut running = Some(running);
            let mut run = || match running.take() {
                Some(running) => running.finish(ending, platform),
                None => (Vec::new(), Ok(())),
            };
            outcome = outcome.and(report(&export, &mut run));
        }
        outcome
    }
}

/// What an export says, and how it ended.
pub(crate) type Finished = (Vec<String>, Result<(), ErrorKind>);

impl Running {
    fn finish(self, ending: Ending, platform: &Platform) -> Finished {
        let queue = self.queue.into_inner();
        drop(queue.unwrap_or_else(PoisonError::into_inner).sender);
        let threads = self.threads.into_iter();
        let mut sent: Vec<Sent> = threads
            .flat_map(|thread| thread.join().expect("exporting does not panic"))
            .collect();
        sent.retain(|sent| !sent.attempt.is_withdrawn());
        sent.sort_by_key(|sent| sent.number);
        let mut lines = Vec::new();
        let steps = sent.into_iter().map(|sent| sent.result);
        let steps = steps.collect::<Result<Vec<_>, _>>();
        let written = steps.and_then(|steps| {
            let (steps, told) = once(steps);
            lines.extend(told);
            let sent = write(&self.store, &self.export, steps, ending, platform);
            let sent = sent.map_err(|source| self.export.failed(source))?;
            lines.extend((sent > 0).then(|| format!("writing {sent} chunks of cache mounts done")));
            Ok(())
        });
        (lines, written)
    }
}

impl CacheExport {
    fn failed(&self, source: ExchangeError) -> ErrorKind {
        ErrorKind::CacheExport {
            place: self.destination.name(),
            source,
        }
    }
}

/// Leaves out what a step of another platform or stage came to as well; returns the steps, and a
/// line for each layer.
fn once(steps: Vec<(CacheStep, Travel)>) -> (Vec<CacheStep>, Vec<String>) {
    let mut kept: Vec<CacheStep> = Vec::with_capacity(steps.len());
    let mut lines = Vec::new();
    for (step, travel) in steps {
        let same = |other: &CacheStep| other.keys == step.keys && other.parent == step.parent;
        if !kept.iter().any(same) {
            lines.extend(line(&step, travel));
            kept.push(step);
        }
    }
    (kept, lines)
}

fn line(step: &CacheStep, travel: Travel) -> Option<String> {
    let layer = step.layer.as_ref()?;
    Some(match travel {
        Travel::WasThere => format!("layer {} exists", layer.digest),
        Travel::WasSent => format!("writing layer {} {}B done", layer.digest, layer.size),
    })
}

fn send_all(
    store: &Store,
    export: &CacheExport,
    steps: &Mutex<Receiver<Waiting>>,
    flights: &Flights,
) -> Vec<Sent> {
    let mut sent = Vec::new();
    loop {
        let next = steps.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(waiting) = next else {
            return sent;
        };
        // After a failed step nothing is lost by going on: each layer stands for itself.
        sent.push(Sent {
            number: waiting.number,
            result: send(store, export, &waiting.noted, flights),
            attempt: waiting.attempt,
        });
    }
}

fn send(
    store: &Store,
    export: &CacheExport,
    noted: &Noted,
    flights: &Flights,
) -> Result<(CacheStep, Travel), ErrorKind> {
    let step = noted.step()?;
    let flight = flights.of(&step.diff_id);
    let _alone = flight.lock().unwrap_or_else(PoisonError::into_inner);
    let destination = export.destination.as_ref();
    let is_there = |blob: &Descriptor| destination.contains(blob).map_err(|e| export.failed(e));
    let done = |blob: Descriptor, travel| {
        let layer = Some(blob);
        Ok((
            CacheStep {
                layer,
                ..step.clone()
            },
            travel,
        ))
    };
    let blob = match noted.place.whereabouts() {
        Whereabouts::Elsewhere(source, blob) => {
            if is_there(&blob)? {
                return done(blob, Travel::WasThere);
            }
            let content = source.fetch(&blob).map_err(|e| export.failed(e))?;
            store.put_blob(&blob, content)?;
            let is_kept = blob.media_type.layer_compression() == Some(export.codec.compression());
            match export.existing {
                ExistingLayers::Convert if !is_kept => {
                    store.recompressed(&blob, &step.diff_id, export.codec)?
                }
                _ => blob,
            }
        }
        Whereabouts::Here(layer) => {
            if let Some(known) = store.known_compressed(&step.diff_id, export.codec)?
                && is_there(&known)?
            {
                return done(known, Travel::WasThere);
            }
            let blob = store.compressed(&layer, &step.diff_id, export.codec)?;
            if is_there(&blob)? {
                return done(blob, Travel::WasThere);
            }
            blob
        }
    };
    let path = store.blob_path(&blob.digest);
    destination
        .push(&blob, Content::File(&path))
        .map_err(|e| export.failed(e))?;
    done(blob, Travel::WasSent)
}

/// Writes cache mounts, configuration, manifest and name, in this order. Returns how many chunks of
/// mounts were sent.
fn write(
    store: &Store,
    export: &CacheExport,
    mut steps: Vec<CacheStep>,
    ending: Ending,
    platform: &Platform,
) -> Result<usize, ExchangeError> {
    let destination = export.destination.as_ref();
    if ending == Ending::Failed {
        if steps.is_empty() {
            return Ok(0);
        }
        // What cannot be read is not worth keeping.
        let former = super::import::read(destination, platform).unwrap_or_default();
        let own: HashSet<CacheKey> = steps.iter().flat_map(|step| step.keys.clone()).collect();
        let is_new = |step: &CacheStep| !step.keys.iter().any(|key| own.contains(key));
        steps.extend(former.into_iter().filter(is_new));
    }
    let (mounts, sent) = super::mounts::export(store, destination, &export.mounts)?;
    let mut config = CacheConfig::new(steps);
    config.mounts = mounts;
    let (config, (top, raw)) = config.documents(export.form);
    if !destination.contains(config.descriptor())? {
        destination.push(config.descriptor(), Content::Bytes(config.raw()))?;
    }
    destination.push(&top, Content::Bytes(&raw))?;
    destination.tag(&top)?;
    Ok(sent)
}
