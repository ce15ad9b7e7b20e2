//! Telling where a stage is, and why a step has to run.

use std::sync::{MutexGuard, PoisonError};

use mica_dockerfile::Span;
use mica_oci::Reference;

use crate::error::ErrorKind;
use crate::event::{Event, StepId, StepSite};
use crate::explain::{Asked, FileList, Inputs, Miss};
use crate::key::CacheKey;
use crate::request::CachePolicy;
use crate::stage::StageBuild;
use crate::state::StageState;

/// The instruction that a stage is at.
#[derive(Default)]
pub(crate) struct Current {
    /// Where it stands.
    pub(crate) site: StepSite,
    /// The step whose image is being looked for.
    pub(crate) step: Option<StepId>,
}

impl StageBuild<'_, '_> {
    /// Returns where the stage is.
    pub(crate) fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes where the stage is.
    pub(crate) fn stand(&self, number: usize, total: usize, span: Option<Span>, text: &str) {
        let lines = span.map(|span| self.engine.lines(span));
        self.current().site = StepSite {
            stage: self.engine.stage_name(self.stage),
            number,
            total,
            lines,
            instruction: text.to_owned(),
            ..StepSite::default()
        };
    }

    /// Returns where the stage is, with what a command would work with there.
    pub(crate) fn site(&self, state: &StageState, key: Option<&CacheKey>) -> StepSite {
        StepSite {
            key: key.map(ToString::to_string),
            env: state.environment(),
            user: state.config.config.user.clone(),
            directory: state.absolute("."),
            shell: state.shell(),
            ..self.current().site.clone()
        }
    }

    /// Tells where a step stands.
    pub(crate) fn tell_site(&self, step: StepId, state: &StageState, key: Option<&CacheKey>) {
        let site = Box::new(self.site(state, key));
        self.engine.host.event(Event::Sited { step, site });
    }

    /// An image's name in full, as BuildKit shows it; that of a named context as it is written.
    pub(crate) fn shown_image(&self, name: &str) -> String {
        let replaced = self.engine.request.named_contexts.contains_key(name);
        match name.parse::<Reference>() {
            Ok(reference) if !replaced => reference.to_string(),
            _ => name.to_owned(),
        }
    }

    /// Tells why a step has to run, where there is something to compare with.
    pub(crate) fn explain(
        &self,
        step: StepId,
        key: &CacheKey,
        inputs: &Inputs,
        files: &[FileList],
    ) -> Result<(), ErrorKind> {
        let miss = match self.forbidden() {
            Some(flag) => Some(Miss::disabled(flag)),
            None => {
                let site = self.current().site.clone();
                let asked = Asked {
                    stage: &site.stage,
                    number: site.number,
                    instruction: &site.instruction,
                    key,
                    inputs,
                    files,
                };
                let lineage = self.engine.lineage();
                lineage.explain(self.engine.store, &asked)?
            }
        };
        if let Some(miss) = miss {
            let miss = Box::new(miss);
            self.engine.host.event(Event::Missed { step, miss });
        }
        Ok(())
    }

    /// The flag that forbids reuse in this stage.
    fn forbidden(&self) -> Option<String> {
        match &self.engine.request.cache {
            CachePolicy::Ignore => Some("--no-cache".into()),
            CachePolicy::IgnoreStages(_) if !self.may_reuse() => {
                let stage = self.engine.stage_name(self.stage);
                Some(format!("--no-cache-filter {stage}"))
            }
            _ => None,
        }
    }
}
