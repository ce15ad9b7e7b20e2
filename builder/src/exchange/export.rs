//! Writing a build's cache elsewhere, behind the steps that follow.

use std::collections::HashSet;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use mica_oci::{Descriptor, Platform};
use mica_store::Store;

use super::format::{CacheConfig, CacheStep, ManifestForm};
use super::place::{CacheDestination, Content, ExchangeError};
use crate::error::ErrorKind;
use crate::key::CacheKey;
use crate::place::{Place, Whereabouts};
use crate::seal::Seal;

/// Layers that are sent at a time: registries answer slowly, and a processor compresses meanwhile.
const UPLOADS: usize = 3;

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
#[derive(Clone, Debug)]
pub(crate) struct Noted {
    /// The stage that it belongs to.
    pub(crate) stage: usize,
    /// What it is found by.
    pub(crate) keys: Vec<CacheKey>,
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
            keys: self.keys.clone(),
            parent: parent.map(|parent| parent.chain),
            diff_id: sealed.diff_id,
            size: sealed.descriptor.size,
            created: sealed.created,
            instruction: self.instruction.clone(),
            layer: None,
        })
    }
}

/// The exports of one build, on threads of their own.
pub(crate) struct Exports(Vec<Running>);

struct Running {
    store: Store,
    export: CacheExport,
    /// The stages whose steps go there; all when there is none.
    stages: Option<HashSet<usize>>,
    queue: Mutex<Queue>,
    threads: Vec<JoinHandle<Vec<Sent>>>,
}

/// The way to the threads, until the build ends.
struct Queue {
    next: usize,
    sender: Option<Sender<(usize, Noted)>>,
}

/// A step on its way, by its number: what it came to, and whether its layer was sent.
type Sent = (usize, Result<(CacheStep, Travel), ErrorKind>);

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
    /// Starts the exports. `result` are the stages whose layers are the image's.
    pub(crate) fn start(store: &Store, exports: &[CacheExport], result: &HashSet<usize>) -> Self {
        let start = |export: &CacheExport| {
            let (sender, receiver) = mpsc::channel();
            let receiver = Arc::new(Mutex::new(receiver));
            let spawn = |_| {
                let (store, export) = (store.clone(), export.clone());
                let receiver = Arc::clone(&receiver);
                std::thread::spawn(move || send_all(&store, &export, &receiver))
            };
            Running {
                store: store.clone(),
                export: export.clone(),
                stages: (export.mode == ExportMode::Min).then(|| result.clone()),
                queue: Mutex::new(Queue {
                    next: 0,
                    sender: Some(sender),
                }),
                threads: (0..UPLOADS).map(spawn).collect(),
            }
        };
        Self(exports.iter().map(start).collect())
    }

    /// Takes a step; its layer is sent as soon as it is sealed.
    pub(crate) fn note(&self, noted: &Noted) {
        for running in &self.0 {
            let wanted = running.stages.as_ref();
            if wanted.is_some_and(|stages| !stages.contains(&noted.stage)) {
                continue;
            }
            let mut queue = running.queue.lock().unwrap_or_else(PoisonError::into_inner);
            let number = queue.next;
            queue.next += 1;
            if let Some(sender) = &queue.sender {
                // The threads end after the sender only.
                let _ = sender.send((number, noted.clone()));
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
        sent.sort_by_key(|(number, _)| *number);
        let mut lines = Vec::new();
        let steps = sent
            .into_iter()
            .map(|(_, step)| step)
            .collect::<Result<Vec<_>, _>>();
        let written = steps.and_then(|steps| {
            lines.extend(steps.iter().filter_map(line));
            let steps = steps.into_iter().map(|(step, _)| step).collect();
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

fn line((step, travel): &(CacheStep, Travel)) -> Option<String> {
    let layer = step.layer.as_ref()?;
    Some(match travel {
        Travel::WasThere => format!("layer {} exists", layer.digest),
        Travel::WasSent => format!("writing layer {} {}B done", layer.digest, layer.size),
    })
}

fn send_all(
    store: &Store,
    export: &CacheExport,
    steps: &Mutex<Receiver<(usize, Noted)>>,
) -> Vec<Sent> {
    let mut sent = Vec::new();
    loop {
        let next = steps.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((number, noted)) = next else {
            return sent;
        };
        // After a failed step nothing is lost by going on: each layer stands for itself.
        sent.push((number, send(store, export, &noted)));
    }
}

fn send(
    store: &Store,
    export: &CacheExport,
    noted: &Noted,
) -> Result<(CacheStep, Travel), ErrorKind> {
    let step = noted.step()?;
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
            blob
        }
        Whereabouts::Here(layer) => {
            if let Some(known) = store.known_compressed(&step.diff_id)?
                && is_there(&known)?
            {
                return done(known, Travel::WasThere);
            }
            let blob = store.compressed(&layer, &step.diff_id)?;
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
