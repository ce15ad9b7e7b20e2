//! Running the stages that a target needs, each on a thread of its own.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::{JoinHandle, Scope};

use jiff::Timestamp;
use mica_dockerfile::{Dockerfile, SourceMap, Span};
use mica_oci::Platform;
use mica_store::{Image, Origin, Store};

use crate::ahead::Ahead;
use crate::behind::Behind;
use crate::builds::Subject;
use crate::context::ContextSource;
use crate::error::{BuildError, ErrorKind, with_causes};
use crate::event::{Event, StepId};
use crate::exchange::{self, Imports};
use crate::explain::Lineage;
use crate::image;
use crate::lanes::Lanes;
use crate::ledger::Ledger;
use crate::plan::{Plan, copied_stage, earlier_stage, stage_name};
use crate::platforms::Shared;
use crate::request::{BaseImages, BuildRequest, NamedContext, SealedLayer};
use crate::seal::{BuiltLayer, HashingTime};
use crate::stage::StageBuild;
use crate::state::StageState;
use crate::variables::GlobalArguments;

/// What a build made.
#[derive(Clone, Debug)]
pub struct Built {
    /// The platform that it was made for.
    pub platform: Platform,
    /// The image.
    pub image: Image,
    /// How many of its layers came with the base image.
    pub base_layers: usize,
    /// The time that stands for now, where one was given (`SOURCE_DATE_EPOCH`).
    pub epoch: Option<Timestamp>,
}

/// Builds `request` for its platform.
pub(crate) fn build_one(
    store: &Store,
    request: &BuildRequest,
    host: &dyn BaseImages,
    shared: &Shared,
) -> Result<Built, BuildError> {
    let dockerfile = mica_dockerfile::parse(&request.dockerfile.text).map_err(|errors| {
        ErrorKind::Parse {
            name: request.dockerfile.name.clone(),
            errors,
        }
        .at(None)
    })?;
    let _in_use = store
        .hold()
        .map_err(|error| ErrorKind::from(error).at(None))?;
    import_mounts(store, host);
    let built = attempt(store, request, host, shared, &dockerfile, Imported::Used);
    match built {
        // What is lost elsewhere is made anew; all that was done so far is found again.
        Err(error) if is_lost(&error) => {
            let text = format!("{}: building without imported caches", error.kind);
            host.event(Event::Warning { text });
            attempt(store, request, host, shared, &dockerfile, Imported::Ignored)
        }
        built => built,
    }
}

/// Tells whether a build failed as an imported cache does not have a layer any more.
fn is_lost(error: &BuildError) -> bool {
    matches!(error.kind, ErrorKind::LostLayer { .. })
}

/// Brings cache mounts that the store does not have. One that cannot be had costs time only.
fn import_mounts(store: &Store, host: &dyn BaseImages) {
    for import in host.mount_imports() {
        if let Err(error) = exchange::fetch_mounts(store, import) {
            let text = with_causes(&error);
            host.event(Event::Warning { text });
        }
    }
}

/// Whether `--cache-from` counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Imported {
    Used,
    Ignored,
}

fn attempt(
    store: &Store,
    request: &BuildRequest,
    host: &dyn BaseImages,
    shared: &Shared,
    dockerfile: &Dockerfile,
    imported: Imported,
) -> Result<Built, BuildError> {
    let globals = GlobalArguments::new(request, dockerfile)?;
    let base =
        |index: usize| globals.expand(&dockerfile.stages[index].base, dockerfile.directives.escape);
    let renamed = |name: &str| renamed(request, name).map(str::to_owned);
    let plan = Plan::new(dockerfile, request.target.as_deref(), base, renamed)
        .map_err(|error| error.at(None))?;
    let epoch = globals.epoch().map_err(|error| error.at(None))?;
    let epoch = epoch.or(request.epoch);
    let mut engine = Engine {
        store,
        request,
        host,
        cells: dockerfile
            .stages
            .iter()
            .map(|_| StageCell::default())
            .collect(),
        dockerfile,
        globals,
        now: epoch.unwrap_or(request.now),
        epoch,
        result: plan.result.clone(),
        shared,
        context: OnceLock::new(),
        lanes: Lanes::default(),
        ahead: Ahead::default(),
        behind: Behind::default(),
        named_contexts: Mutex::new(HashMap::new()),
        sealing: Mutex::new(Vec::new()),
        layers: Mutex::new(Vec::new()),
        source: Subject::of(request, &[]).source(),
        lineage: OnceLock::new(),
        failure: Mutex::new(None),
        ledger: Ledger::default(),
        imports: match imported {
            Imported::Used => OnceLock::new(),
            Imported::Ignored => OnceLock::from(Imports::default()),
        },
        canceled: AtomicBool::new(false),
    };
    let target = std::thread::scope(|scope| {
        for &stage in &plan.needed {
            engine.demand(scope, stage);
        }
        engine.wait(scope, plan.target)
    });
    engine.finish_sealing();
    let built = match target {
        Ok(state) => engine
            .inline_steps(&plan.result)
            .and_then(|inline| image::assemble(&engine, &state, inline))
            .map_err(|error| error.at(None)),
        Err(canceled) => {
            let first = engine
                .failure
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            Err(first.unwrap_or_else(|| canceled.at(None)))
        }
    };
    let starts_over = imported == Imported::Used && built.as_ref().is_err_and(is_lost);
    let noted = engine.close_ledger(starts_over);
    engine.close_network();
    let built = built?;
    noted.map_err(|error| error.at(None))?;
    Ok(built)
}

/// What the stages of one build share.
pub(crate) struct Engine<'a> {
    pub(crate) store: &'a Store,
    pub(crate) request: &'a BuildRequest,
    pub(crate) host: &'a dyn BaseImages,
    pub(crate) dockerfile: &'a Dockerfile,
    pub(crate) globals: GlobalArguments,
    /// The time that stands for now in everything the build writes.
    pub(crate) now: Timestamp,
    /// That time, where one was given.
    pub(crate) epoch: Option<Timestamp>,
    /// The stages whose layers are the image's.
    pub(crate) result: HashSet<usize>,
    /// What builds for other platforms share with this one.
    pub(crate) shared: &'a Shared,
    /// The build context, opened by the first step that reads it.
    pub(crate) context: OnceLock<Arc<ContextSource>>,
    /// Where commands run.
    pub(crate) lanes: Lanes,
    /// What was asked of the network before its instruction came.
    pub(crate) ahead: Ahead,
    /// Where what they leave is removed.
    pub(crate) behind: Behind,
    /// The named contexts that are no images, opened by the first step that reads them.
    pub(crate) named_contexts: Mutex<HashMap<String, Arc<ContextSource>>>,
    /// What was found and done, for those who keep it.
    pub(crate) ledger: Ledger,
    /// The imported caches, read when the first step is not in the store.
    pub(crate) imports: OnceLock<Imports>,
    canceled: AtomicBool,
    cells: Vec<StageCell>,
    sealing: Mutex<Vec<JoinHandle<()>>>,
    /// The steps that made or found a layer, with what lies below.
    layers: Mutex<Vec<StepLayer>>,
    /// Which Dockerfile and context these are.
    pub(crate) source: String,
    /// Earlier builds, read by the first step that misses.
    lineage: OnceLock<Lineage>,
    failure: Mutex<Option<BuildError>>,
}

/// A step's layer: found, new, or none for a step that failed.
pub(crate) struct StepLayer {
    pub(crate) step: StepId,
    pub(crate) below: Option<BuiltLayer>,
    pub(crate) built: Option<BuiltLayer>,
    pub(crate) hashing: HashingTime,
}

/// A stage's result, to wait for.
#[derive(Default)]
struct StageCell {
    state: Mutex<CellState>,
    ready: Condvar,
}

#[derive(Default)]
enum CellState {
    #[default]
    Idle,
    Running,
    Done(Arc<StageState>),
    Failed,
}

impl Engine<'_> {
    /// Starts a stage that nobody has started yet.
    pub(crate) fn demand<'s, 'e>(&'e self, scope: &'s Scope<'s, 'e>, stage: usize) {
        let mut state = lock(&self.cells[stage].state);
        if matches!(*state, CellState::Idle) {
            *state = CellState::Running;
            scope.spawn(move || self.run(scope, stage));
        }
    }

    /// Waits for a stage, starting it when needed.
    pub(crate) fn wait<'s, 'e>(
        &'e self,
        scope: &'s Scope<'s, 'e>,
        stage: usize,
    ) -> Result<Arc<StageState>, ErrorKind> {
        self.demand(scope, stage);
        let cell = &self.cells[stage];
        let running = |state: &mut CellState| matches!(state, CellState::Idle | CellState::Running);
        let state = cell.ready.wait_while(lock(&cell.state), running);
        match &*state.unwrap_or_else(PoisonError::into_inner) {
            CellState::Done(state) => Ok(Arc::clone(state)),
            _ => Err(ErrorKind::Canceled(self.stage_name(stage))),
        }
    }

    fn run<'s, 'e>(&'e self, scope: &'s Scope<'s, 'e>, stage: usize) {
        let guard = FailOnPanic {
            cell: &self.cells[stage],
        };
        let state = match StageBuild::new(self, scope, stage).run() {
            Ok(state) => CellState::Done(Arc::new(state)),
            Err(error) => {
                self.fail(error);
                CellState::Failed
            }
        };
        *lock(&self.cells[stage].state) = state;
        drop(guard);
    }

    /// Keeps the first failure and stops the other stages at their next instruction.
    fn fail(&self, error: BuildError) {
        if !matches!(error.kind, ErrorKind::Canceled(_)) {
            lock(&self.failure).get_or_insert(error);
        }
        self.canceled.store(true, Ordering::Relaxed);
    }

    /// Tells whether another stage failed.
    pub(crate) fn is_canceled(&self) -> bool {
        self.canceled.load(Ordering::Relaxed) || self.shared.canceled.load(Ordering::Relaxed)
    }

    /// Returns the name that progress shows for a stage.
    pub(crate) fn stage_name(&self, stage: usize) -> String {
        stage_name(&self.dockerfile.stages[stage], stage)
    }

    /// Returns the first and the last line of a place in the Dockerfile, from 1.
    pub(crate) fn lines(&self, span: Span) -> (usize, usize) {
        let map = SourceMap::new(&self.request.dockerfile.text);
        let last = span.end.saturating_sub(1).max(span.start);
        (map.position(span.start).line, map.position(last).line)
    }

    /// Finds the stage that a `FROM` in stage `index` means.
    pub(crate) fn base_stage(&self, index: usize, base: &str) -> Option<usize> {
        earlier_stage(self.dockerfile, index, renamed(self.request, base)?)
    }

    /// Finds the stage that a `--from` in stage `index` means.
    pub(crate) fn copied_stage(
        &self,
        index: usize,
        from: &str,
    ) -> Result<Option<usize>, ErrorKind> {
        match renamed(self.request, from) {
            None => Ok(None),
            Some(name) => copied_stage(self.dockerfile, index, name),
        }
    }

    /// Gives the next step its number and tells that it begins.
    pub(crate) fn start_step(&self, name: String) -> StepId {
        let step = StepId::next();
        self.host.event(Event::Started { step, name });
        step
    }

    /// Tells of layers that the image will have, as soon as they are sealed.
    pub(crate) fn announce(&self, stage: usize, layers: &[BuiltLayer], origin: Origin) {
        let is_kept = self.request.squash.is_none() || origin == Origin::Base;
        if !is_kept || !self.result.contains(&stage) {
            return;
        }
        for layer in layers {
            // A layer that cannot be sealed fails the build elsewhere.
            if let Ok(sealed) = layer.seal.wait() {
                self.host.layer(SealedLayer {
                    descriptor: sealed.descriptor,
                    diff_id: sealed.diff_id,
                    origin,
                    epoch: self.epoch,
                });
            }
        }
    }

    /// Takes a thread that hashes a layer; the build ends after all of them.
    pub(crate) fn seal_behind(&self, thread: JoinHandle<()>) {
        lock(&self.sealing).push(thread);
    }

    fn finish_sealing(&self) {
        for thread in lock(&self.sealing).drain(..) {
            // A failed seal is told to those that wait for it; a panic there leaves it unset.
            let _ = thread.join();
        }
        for layer in lock(&self.layers).drain(..) {
            let chain = |built: &BuiltLayer| built.seal.wait().ok().map(|sealed| sealed.chain);
            self.host.event(Event::Sealed {
                step: layer.step,
                below: layer.below.as_ref().and_then(chain),
                chain: layer.built.as_ref().and_then(chain),
                hashing: layer.hashing.read(),
            });
        }
    }

    /// Notes a step's layer, whose address is told at the end.
    pub(crate) fn note_layer(&self, layer: StepLayer) {
        lock(&self.layers).push(layer);
    }

    /// Returns what earlier builds knew.
    pub(crate) fn lineage(&self) -> &Lineage {
        self.lineage
            .get_or_init(|| Lineage::read(self.store, &self.source))
    }

    fn close_network(&mut self) {
        if let Err(error) = self.lanes.close() {
            self.host.event(Event::Warning {
                text: format!("cannot remove the build's network: {error}"),
            });
        }
    }
}

/// Returns what a name means among the stages: itself, or what `--build-context` puts in its place;
/// `None` when that is no stage.
fn renamed<'n>(request: &'n BuildRequest, name: &'n str) -> Option<&'n str> {
    match request.named_contexts.get(name) {
        None => Some(name),
        Some(NamedContext::Stage(stage)) => Some(stage),
        Some(_) => None,
    }
}

/// Wakes those that wait for a stage, whatever became of it.
struct FailOnPanic<'c> {
    cell: &'c StageCell,
}

impl Drop for FailOnPanic<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.cell.state);
        if matches!(*state, CellState::Running) {
            *state = CellState::Failed;
        }
        drop(state);
        self.cell.ready.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
