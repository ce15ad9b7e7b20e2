//! Rules of `FROM`: its variables, its platform.

use super::evaluate::Evaluation;
use super::finding::Lines;
use super::request::CheckFailure;
use super::rules::Rule;
use super::settings::Settings;
use super::state::{Entry, State};
use crate::expand::Expansion;
use crate::instruction::Stage;
use crate::quote::Quoted;
use std::collections::BTreeSet;

const TARGET_PLATFORM: &str = "TARGETPLATFORM";

impl Evaluation<'_> {
    /// Expands the bases of all stages and finds out which stages stand on which.
    pub(super) fn stages(&mut self) -> Result<(), CheckFailure> {
        for (index, stage) in self.file.stages.iter().enumerate() {
            let settings = self.reporter.settings.with_comments(&stage.comments);
            let failed = |error: String| CheckFailure::new(error).at(stage.span);
            let base = self.expand(&stage.base, &self.globals);
            let base = base.map_err(|error| failed(error.to_string()))?;
            self.undefined_arguments(&base, stage, &settings);
            if base.value.is_empty() {
                return Err(failed(format!(
                    "base name ({}) should not be blank",
                    stage.base
                )));
            }
            let mut used = base.used;
            let platform = match &stage.platform {
                None => None,
                Some(written) => Some(self.platform(written, stage, &settings, &mut used)?),
            };
            self.entry(index, stage, base.value, platform, used);
        }
        Ok(())
    }
}

impl<'r> Evaluation<'r> {
    fn entry(
        &mut self,
        index: usize,
        stage: &'r Stage,
        base_name: String,
        platform: Option<String>,
        used: BTreeSet<String>,
    ) {
        let replaced = stage
            .name
            .as_deref()
            .is_some_and(|name| (self.request.facts.replaced)(name));
        // Unlike those of `--from`, the names here are compared as they are written.
        let base = self.names.get(base_name.as_str()).copied();
        let base = base.filter(|_| !replaced);
        let mut state = State::scratch();
        state.capture = match base {
            Some(base) => self.entries[base].state.capture.clone(),
            None => self.capture.clone(),
        };
        if !replaced {
            state.capture.used.extend(used);
        }
        let default_name = || format!("stage-{index}");
        if let Some(name) = &stage.name {
            self.names.insert(name, self.entries.len());
        }
        self.entries.push(Entry {
            stage: Some(stage),
            name: stage.name.clone().unwrap_or_else(default_name),
            base_name,
            base,
            platform,
            replaced,
            needs: Vec::new(),
            steps: Vec::new(),
            lines: Lines::from(stage.span),
            is_done: false,
            is_resolved: false,
            state,
        });
    }
}

impl Evaluation<'_> {
    fn undefined_arguments(&mut self, found: &Expansion, stage: &Stage, settings: &Settings) {
        if found.unmatched.is_empty() {
            return;
        }
        let declared: BTreeSet<&str> = self
            .capture
            .arguments
            .keys()
            .map(String::as_str)
            .chain(self.globals.names())
            .collect();
        for name in found
            .unmatched
            .iter()
            .filter(|it| !declared.contains(it.as_str()))
        {
            let hint = super::did_you_mean(name, declared.iter().copied(), "");
            let message = format!("FROM argument '{name}' is not declared{hint}");
            self.reporter
                .report(settings, Rule::UndefinedArgInFrom, stage.span, message);
        }
    }

    fn platform(
        &mut self,
        written: &str,
        stage: &Stage,
        settings: &Settings,
        used: &mut BTreeSet<String>,
    ) -> Result<String, CheckFailure> {
        let failed = |error: String| CheckFailure::new(error).at(stage.span);
        let found = self.expand(written, &self.globals);
        let found = found.map_err(|error| {
            failed(format!(
                "failed to process arguments for platform : {error}"
            ))
        })?;
        self.undefined_arguments(&found, stage, settings);
        self.redundant_platform(written, &found, stage, settings);
        self.constant_platform(&found, stage, settings);
        if found.value.is_empty() {
            let hint = self.argument_hint(&found);
            return Err(failed(format!(
                "empty platform value from expression {written}{hint}"
            )));
        }
        (self.request.facts.platform)(&found.value).map_err(|problem| {
            let hint = self.argument_hint(&found);
            failed(format!(
                "failed to parse platform {written}: {problem}{hint}"
            ))
        })?;
        used.extend(found.used);
        Ok(found.value)
    }

    /// Suggests an argument for the first unknown one that is near to any.
    fn argument_hint(&self, found: &Expansion) -> String {
        let hints = found
            .unmatched
            .iter()
            .map(|name| super::did_you_mean(name, self.globals.names(), ""));
        hints
            .into_iter()
            .find(|hint| !hint.is_empty())
            .unwrap_or_default()
    }

    fn redundant_platform(
        &mut self,
        written: &str,
        found: &Expansion,
        stage: &Stage,
        settings: &Settings,
    ) {
        let only = found.used.iter().eq([TARGET_PLATFORM]) && found.unmatched.is_empty();
        if only && self.globals.get(TARGET_PLATFORM) == Some(found.value.as_str()) {
            let message = format!(
                "Setting platform to predefined {written} in FROM is redundant as this is the default behavior"
            );
            self.reporter
                .report(settings, Rule::RedundantTargetPlatform, stage.span, message);
        }
    }

    fn constant_platform(&mut self, found: &Expansion, stage: &Stage, settings: &Settings) {
        if !found.used.is_empty() || !found.unmatched.is_empty() {
            return;
        }
        let Ok(platform) = (self.request.facts.platform)(&found.value) else {
            return;
        };
        let name = stage.name.as_deref().unwrap_or_default();
        if name.contains(&platform.os) || name.contains(&platform.architecture) {
            return;
        }
        let message = format!(
            "FROM --platform flag should not use constant value {}",
            Quoted(&found.value)
        );
        self.reporter.report(
            settings,
            Rule::FromPlatformFlagConstDisallowed,
            stage.span,
            message,
        );
    }
}
