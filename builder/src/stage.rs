//! Interpreting one stage, instruction by instruction.

use std::sync::{Arc, Mutex};
use std::thread::Scope;
use std::time::Instant;

use mica_dockerfile::{Escape, Instruction, InstructionKind, Stage};
use mica_oci::Platform;
use mica_store::{Layer, Origin};

use crate::cache::Ground;
use crate::engine::{Engine, StepLayer};
use crate::error::{BuildError, ErrorKind, with_causes};
use crate::event::{Event, Outcome, StepId};
use crate::exchange::Noted;
use crate::explain::{Below, FileList, Inputs};
use crate::flight::Flight;
use crate::key::CacheKey;
use crate::narrate::Current;
use crate::origin::{OriginKey, StepKeys};
use crate::request::CachePolicy;
use crate::seal::{BuiltLayer, HashingTime, Sealing};
use crate::state::{StageStart, StageState};

/// One stage being built.
pub(crate) struct StageBuild<'s, 'e> {
    pub(crate) engine: &'e Engine<'e>,
    pub(crate) scope: &'s Scope<'s, 'e>,
    pub(crate) stage: usize,
    /// Where the stage is just now.
    pub(crate) current: Mutex<Current>,
}

/// A step that makes a layer: what it is called and what decides its result.
pub(crate) struct Step<'i> {
    /// The name that progress shows.
    pub(crate) name: String,
    /// The history's text.
    pub(crate) created_by: String,
    /// The key, and what it was made of.
    pub(crate) key: (CacheKey, Inputs),
    /// Lists the files that count; called when the step has to run.
    pub(crate) files: Box<dyn Fn() -> Vec<FileList> + 'i>,
    /// Another key, by the origin of what is copied (see `origin`).
    pub(crate) origin: Option<OriginKey>,
    /// What the layer may be put upon.
    pub(crate) ground: Ground,
}

impl<'s, 'e> StageBuild<'s, 'e> {
    /// Prepares the build of a stage.
    pub(crate) fn new(engine: &'e Engine<'e>, scope: &'s Scope<'s, 'e>, stage: usize) -> Self {
        Self {
            engine,
            scope,
            stage,
            current: Mutex::default(),
        }
    }
}

impl Step<'_> {
    fn keys(&self) -> StepKeys {
        StepKeys {
            files: self.key.0.clone(),
            origin: self.origin.clone(),
        }
    }
}

impl StageBuild<'_, '_> {
    /// Builds the stage from its base to its last instruction.
    pub(crate) fn run(&self) -> Result<StageState, BuildError> {
        let stage = self.source();
        self.ask_ahead();
        let mut state = self.base().map_err(|error| error.at(Some(stage.span)))?;
        state.starts.push(StageStart {
            stage: self.stage,
            layers: state.layers.len(),
        });
        if state.starts.len() == 1 {
            self.engine
                .announce(self.stage, &state.layers, Origin::Base);
        }
        let triggers = self
            .triggers(&mut state)
            .map_err(|error| error.at(Some(stage.span)))?;
        // As BuildKit counts: a base that is an image is a step, another stage or nothing is none.
        let mut number = usize::from(self.has_image_base()?);
        let total = number
            + triggers
                .iter()
                .chain(&stage.instructions)
                .filter(|i| makes_layer(i))
                .count();
        let own = stage
            .instructions
            .iter()
            .map(|instruction| (instruction, Some(instruction.span)));
        for (instruction, span) in triggers.iter().map(|trigger| (trigger, None)).chain(own) {
            let at = |error: ErrorKind| error.at(span.or(Some(stage.span)));
            if self.engine.is_canceled() {
                return Err(at(ErrorKind::Canceled(self.engine.stage_name(self.stage))));
            }
            if makes_layer(instruction) {
                number += 1;
                self.stand(number, total, span, &instruction.source);
                let prefix = self.prefix(number, total);
                self.layer(&mut state, instruction, &prefix).map_err(at)?;
            } else {
                self.metadata(&mut state, &instruction.kind).map_err(at)?;
            }
        }
        Ok(state)
    }

    pub(crate) fn source(&self) -> &Stage {
        &self.engine.dockerfile.stages[self.stage]
    }

    /// The character that escapes in this Dockerfile.
    pub(crate) fn escape(&self) -> Escape {
        self.engine.dockerfile.directives.escape
    }

    /// `[2/7]`, or `[name 2/7]` where there are several stages.
    pub(crate) fn prefix(&self, number: usize, total: usize) -> String {
        let mut words = Vec::new();
        if self.engine.shared.platforms > 1 {
            // A stage for another platform than the target's is named by its own.
            let platform = self.platform(self.source());
            let target = || self.engine.request.platform.clone();
            words.push(platform.unwrap_or_else(|_| target()).to_string());
        }
        if self.engine.dockerfile.stages.len() > 1 {
            words.push(self.engine.stage_name(self.stage));
        }
        words.push(format!("{number}/{total}"));
        format!("[{}]", words.join(" "))
    }

    fn layer(
        &self,
        state: &mut StageState,
        instruction: &Instruction,
        prefix: &str,
    ) -> Result<(), ErrorKind> {
        match &instruction.kind {
            InstructionKind::Run(run) => self.run_command(state, instruction, run, prefix),
            InstructionKind::Copy(copy) => self.copy(state, &copy.into(), instruction, prefix),
            InstructionKind::Add(add) => self.copy(state, &add.into(), instruction, prefix),
            InstructionKind::Workdir(path) => self.workdir(state, path, prefix),
            _ => unreachable!("only these make layers"),
        }
    }

    pub(crate) fn platform(&self, stage: &Stage) -> Result<Platform, ErrorKind> {
        match &stage.platform {
            None => Ok(self.engine.request.platform.clone()),
            Some(text) => Ok(self.engine.globals.expand(text, self.escape())?.parse()?),
        }
    }

    /// Runs a step, or takes what an earlier build made of it, and puts its layer on top.
    pub(crate) fn step(
        &self,
        state: &mut StageState,
        step: Step<'_>,
        execute: impl FnOnce(&StageState, StepId) -> Result<Layer, ErrorKind>,
    ) -> Result<(), ErrorKind> {
        let id = self.engine.start_step(step.name.clone());
        self.tell_site(id, state, Some(&step.key.0));
        let hashing = HashingTime::default();
        let built = self.timed(id, || {
            if let Some(built) = self.reuse(state, &step)? {
                return Ok((built, Outcome::Cached));
            }
            let flight = self.flight(&step.key.0)?;
            // Who had the flight before may have recorded just this.
            if let Some(built) = self.reuse(state, &step)? {
                return Ok((built, Outcome::Cached));
            }
            let inputs = step.key.1.clone().on(&state.below, &state.arguments);
            let files = (step.files)();
            self.explain(id, &step.key.0, &inputs, &files)?;
            let layer = execute(state, id)?;
            let (built, thread) = Sealing {
                store: self.engine.store.clone(),
                parent: state.layers.last().cloned(),
                layer,
                keys: step.keys(),
                instruction: step.created_by.clone(),
                inputs,
                files,
                created: self.engine.now,
                flight,
                hashing: hashing.clone(),
            }
            .start();
            self.engine.seal_behind(thread);
            Ok((built, Outcome::Done))
        });
        self.engine.note_layer(StepLayer {
            step: id,
            below: state.layers.last().cloned(),
            built: built.as_ref().ok().cloned(),
            hashing,
        });
        let built = built?;
        let (engine, stage, layer) = (self.engine, self.stage, built.clone());
        self.scope
            .spawn(move || engine.announce(stage, &[layer], Origin::Made));
        self.note(state, &built, step.keys(), &step.created_by);
        let key = step.ground.upon(&state.key, step.key.0);
        state.add_layer(built, key, step.created_by);
        state.below = Below::Step(step.name);
        Ok(())
    }

    /// Takes what an earlier build made of a step with this key by origin, if there is any.
    pub(crate) fn step_by_origin(
        &self,
        state: &mut StageState,
        name: &str,
        origin: &OriginKey,
        ground: Ground,
    ) -> Result<bool, ErrorKind> {
        let Some(key) = origin.peek().filter(|_| self.may_reuse()) else {
            return Ok(false);
        };
        let below = state.layers.last();
        let Some(found) = self.engine.find(&key, below, ground)? else {
            return Ok(false);
        };
        let id = self.engine.start_step(name.to_owned());
        self.tell_site(id, state, Some(&found.key));
        let built = self.timed(id, || Ok((found.built, Outcome::Cached)))?;
        self.engine.note_layer(StepLayer {
            step: id,
            below: state.layers.last().cloned(),
            built: Some(built.clone()),
            hashing: HashingTime::default(),
        });
        let keys = StepKeys {
            files: found.key.clone(),
            origin: Some(origin.clone()),
        };
        self.note(state, &built, keys, &found.instruction);
        let key = ground.upon(&state.key, found.key);
        state.add_layer(built, key, found.instruction);
        state.below = Below::Step(name.to_owned());
        Ok(true)
    }

    fn reuse(&self, state: &StageState, step: &Step<'_>) -> Result<Option<BuiltLayer>, ErrorKind> {
        if !self.may_reuse() {
            return Ok(None);
        }
        let below = state.layers.last();
        let Some(found) = self.engine.find(&step.key.0, below, step.ground)? else {
            return Ok(None);
        };
        if let Some(origin) = step.origin.as_ref().and_then(OriginKey::peek) {
            self.engine.record_as(&origin, &found, below)?;
        }
        Ok(Some(found.built))
    }

    /// Waits until no other build runs the step. A build that may not reuse has nothing to wait for.
    fn flight(&self, key: &CacheKey) -> Result<Option<Flight>, ErrorKind> {
        if !self.may_reuse() {
            return Ok(None);
        }
        let flight = Flight::begin(self.engine.store, key, || self.engine.is_canceled())?;
        match flight {
            Some(flight) => Ok(Some(flight)),
            None => Err(ErrorKind::Canceled(self.engine.stage_name(self.stage))),
        }
    }

    /// Tells those who export the cache of a step.
    fn note(&self, state: &StageState, built: &BuiltLayer, keys: StepKeys, text: &str) {
        self.engine.note(Noted {
            stage: self.stage,
            keys,
            parent: state.layers.last().map(|parent| parent.seal.clone()),
            place: built.place.clone(),
            seal: built.seal.clone(),
            instruction: text.to_owned(),
        });
    }

    /// Tells whether results of earlier builds may be used in this stage.
    pub(crate) fn may_reuse(&self) -> bool {
        match &self.engine.request.cache {
            CachePolicy::Use => true,
            CachePolicy::Ignore => false,
            CachePolicy::IgnoreStages(stages) => {
                let name = self.engine.stage_name(self.stage);
                !stages.iter().any(|stage| stage.eq_ignore_ascii_case(&name))
            }
        }
    }

    pub(crate) fn timed<T>(
        &self,
        step: StepId,
        work: impl FnOnce() -> Result<(T, Outcome), ErrorKind>,
    ) -> Result<T, ErrorKind> {
        let start = Instant::now();
        let result = work();
        let outcome = match &result {
            Ok((_, outcome)) => *outcome,
            Err(ErrorKind::Canceled(_)) => Outcome::Canceled,
            Err(error) => {
                let error = with_causes(error);
                self.engine.host.event(Event::Failed { step, error });
                Outcome::Failed
            }
        };
        self.engine.host.event(Event::Finished {
            step,
            outcome,
            elapsed: start.elapsed(),
        });
        result.map(|(value, _)| value)
    }

    /// Waits for another stage.
    pub(crate) fn other_stage(&self, index: usize) -> Result<Arc<StageState>, ErrorKind> {
        self.engine.wait(self.scope, index)
    }
}

/// Tells whether an instruction makes a layer.
pub(crate) fn makes_layer(instruction: &Instruction) -> bool {
    matches!(
        instruction.kind,
        InstructionKind::Add(_)
            | InstructionKind::Copy(_)
            | InstructionKind::Run(_)
            | InstructionKind::Workdir(_)
    )
}
