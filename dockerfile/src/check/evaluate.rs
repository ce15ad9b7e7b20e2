//! From stages to findings: bases, the target, what depends on what, and each stage in turn.

use super::environment::Environment;
use super::finding::{Lines, Reporter};
use super::outline::{Capture, CapturedArgument, Outline, OutlineArgument};
use super::request::{BaseImage, CheckFailure, CheckRequest, ImageFacts, Reach};
use super::rules::Rule;
use super::state::{Entry, Source, State, Step};
use crate::expand::{ExpandError, Expander, Expansion};
use crate::instruction::{Dockerfile, Instruction, InstructionKind};
use crate::parse::parse;
use crate::quote::Quoted;
use std::collections::{BTreeMap, BTreeSet};

/// The name of the empty base.
const SCRATCH: &str = "scratch";

/// A file being checked.
pub(super) struct Evaluation<'r> {
    pub(super) request: &'r CheckRequest<'r>,
    pub(super) file: &'r Dockerfile,
    pub(super) reporter: &'r mut Reporter,
    /// The arguments that `FROM` may use.
    pub(super) globals: Environment,
    pub(super) capture: Capture,
    pub(super) entries: Vec<Entry<'r>>,
    /// The last stage of each name.
    pub(super) names: BTreeMap<&'r str, usize>,
    pub(super) outline: Outline,
}

impl<'r> Evaluation<'r> {
    pub(super) fn new(
        request: &'r CheckRequest<'r>,
        file: &'r Dockerfile,
        reporter: &'r mut Reporter,
    ) -> Self {
        Self {
            request,
            file,
            reporter,
            globals: Environment::of(request.predefined),
            capture: Capture::default(),
            entries: Vec::new(),
            names: BTreeMap::new(),
            outline: Outline::default(),
        }
    }

    /// Looks at everything; fails with what BuildKit would fail with first.
    pub(super) fn run(&mut self) -> Result<(), CheckFailure> {
        self.default_bases();
        let (globals, arguments) = self.meta_arguments(self.request.build_args)?;
        self.globals = globals;
        self.capture.arguments = arguments;
        self.stages()?;
        let target = self.target()?;
        self.graph()?;
        let wanted = self.resolve(target)?;
        self.dispatch(&wanted)?;
        self.describe(target);
        Ok(())
    }

    /// Expands a word with a set of variables.
    pub(super) fn expand(
        &self,
        word: &str,
        variables: &Environment,
    ) -> Result<Expansion, ExpandError> {
        let lookup = |name: &str| variables.get(name).map(str::to_owned);
        Expander::new(self.file.directives.escape, &lookup).expand(word)
    }

    /// Reports bases that have no valid name when no build argument is given.
    fn default_bases(&mut self) {
        let Ok((defaults, _)) = self.meta_arguments(&BTreeMap::new()) else {
            return;
        };
        for stage in &self.file.stages {
            let Ok(base) = self.expand(&stage.base, &defaults) else {
                return;
            };
            if (self.request.facts.reference)(&base.value).is_err() {
                let message = format!(
                    "Default value for ARG {} results in empty or invalid base image name",
                    stage.base
                );
                self.reporter
                    .report_for_file(Rule::InvalidDefaultArgInFrom, stage.span, message);
            }
        }
    }

    /// Reads the `ARG`s before the first `FROM`.
    fn meta_arguments(
        &self,
        given: &BTreeMap<String, String>,
    ) -> Result<(Environment, BTreeMap<String, CapturedArgument>), CheckFailure> {
        let mut variables = Environment::of(self.request.predefined);
        let mut captured: BTreeMap<String, CapturedArgument> = BTreeMap::new();
        for meta in &self.file.meta_args {
            for argument in &meta.value.arguments {
                let name = &argument.name;
                let mut needs = BTreeSet::new();
                let value = match (given.get(name), &argument.value) {
                    (Some(given), _) => Some(given.clone()),
                    (None, Some(default)) => {
                        let found = self
                            .expand(default, &variables)
                            .map_err(|error| CheckFailure::new(error.to_string()).at(meta.span))?;
                        needs = found.used;
                        if needs.remove(name) {
                            let old = captured.get(name).map(|it| it.needs.clone());
                            needs.extend(old.unwrap_or_default());
                        }
                        Some(found.value)
                    }
                    (None, None) => None,
                };
                if let Some(value) = &value {
                    variables.set(name, value);
                }
                let argument = OutlineArgument {
                    name: name.clone(),
                    value: value.unwrap_or_default(),
                    description: argument.description.clone(),
                    lines: meta.span.into(),
                };
                captured.insert(name.clone(), CapturedArgument { argument, needs });
            }
        }
        Ok((variables, captured))
    }

    /// Finds the stage that a reference names, by name or number.
    fn target(&self) -> Result<usize, CheckFailure> {
        let Some(name) = self.request.target else {
            return Ok(self.file.stages.len() - 1);
        };
        self.named(name).ok_or_else(|| {
            let names = self.entries.iter().map(|entry| entry.name.as_str());
            let hint = super::did_you_mean(name, names, "");
            CheckFailure::new(format!(
                "target stage {} could not be found{hint}",
                Quoted(name)
            ))
        })
    }

    /// Finds the last stage of a name, in any case.
    pub(super) fn named(&self, name: &str) -> Option<usize> {
        self.names.get(name.to_lowercase().as_str()).copied()
    }

    /// Finds out which stages the instructions copy from.
    fn graph(&mut self) -> Result<(), CheckFailure> {
        for index in 0..self.file.stages.len() {
            let stage = &self.file.stages[index];
            for instruction in &stage.instructions {
                let source = Source::File(instruction);
                let lines = Lines::from(instruction.span);
                let step = self.step(source, lines, index)?;
                self.entries[index].steps.push(step);
            }
        }
        self.circles()
    }

    /// Makes a step of an instruction of stage `index`.
    fn step(
        &mut self,
        instruction: Source<'r>,
        lines: Lines,
        index: usize,
    ) -> Result<Step<'r>, CheckFailure> {
        let mut from = None;
        match &instruction.get().kind {
            InstructionKind::Copy(copy) => {
                if let Some(name) = &copy.from {
                    let source = self.copied(name, lines)?;
                    from = Some(source);
                    self.entries[index].needs.push((source, lines));
                }
            }
            InstructionKind::Run(run) => {
                let names: Vec<_> = run.mounts.iter().filter_map(|it| it.from()).collect();
                let names: Vec<_> = names.into_iter().map(str::to_owned).collect();
                for name in names {
                    let source = self.mounted(&name, lines);
                    self.entries[index].needs.push((source, lines));
                }
            }
            _ => {}
        }
        Ok(Step {
            instruction,
            from,
            lines,
        })
    }

    /// Finds what `COPY --from` names: a stage, or an image that is added to the entries.
    fn copied(&mut self, name: &str, lines: Lines) -> Result<usize, CheckFailure> {
        let none = Environment::default();
        let expanded = self.expand(name, &none);
        let expanded = expanded.map_err(|error| CheckFailure::new(error.to_string()))?;
        if expanded.value != name {
            return Err(CheckFailure::new(
                "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround",
            ));
        }
        match name.parse::<i64>() {
            Ok(number) => {
                let index = usize::try_from(number).ok();
                index
                    .filter(|index| *index < self.entries.len())
                    .ok_or_else(|| CheckFailure::new(format!("invalid stage index {number}")))
            }
            Err(_) => Ok(self.mounted(name, lines)),
        }
    }

    fn mounted(&mut self, name: &str, lines: Lines) -> usize {
        if let Some(index) = self.named(name) {
            return index;
        }
        self.entries.push(Entry {
            stage: None,
            name: String::new(),
            base_name: name.to_owned(),
            base: None,
            platform: None,
            replaced: (self.request.facts.replaced)(name),
            needs: Vec::new(),
            steps: Vec::new(),
            lines,
            is_done: false,
            is_resolved: false,
            state: State::scratch(),
        });
        self.entries.len() - 1
    }

    /// Fails if a stage copies from one that copies from it.
    fn circles(&self) -> Result<(), CheckFailure> {
        let mut done = BTreeSet::new();
        for index in 0..self.entries.len() {
            if let Some(lines) = self.circle(index, &mut done) {
                let message = format!(
                    "circular dependency detected on stage: {}",
                    self.entries[index].name
                );
                let failure = CheckFailure::new(message);
                return Err(lines.into_iter().fold(failure, CheckFailure::at));
            }
        }
        Ok(())
    }

    /// Follows what a stage needs, and returns the lines of a way that leads back to itself.
    fn circle(&self, start: usize, done: &mut BTreeSet<usize>) -> Option<Vec<Lines>> {
        if !done.insert(start) {
            return None;
        }
        let mut on_path = BTreeSet::from([start]);
        // A stage, its next need, and the lines that led to it.
        let mut path: Vec<(usize, usize, Option<Lines>)> = vec![(start, 0, None)];
        while let Some((index, next, _)) = path.last_mut() {
            let Some(&(need, lines)) = self.entries[*index].needs.get(*next) else {
                on_path.remove(index);
                path.pop();
                continue;
            };
            *next += 1;
            if on_path.contains(&need) {
                let way = path.iter().filter_map(|(_, _, lines)| *lines);
                return Some(way.chain([lines]).collect());
            }
            if done.insert(need) {
                on_path.insert(need);
                path.push((need, 0, Some(lines)));
            }
        }
        None
    }

    /// Tells which entries are looked at: what the target needs, or all of them.
    fn reachable(&self, target: usize) -> BTreeSet<usize> {
        if self.request.reach == Reach::All && self.request.target.is_none() {
            return (0..self.entries.len()).collect();
        }
        let mut reachable = BTreeSet::new();
        let mut open = vec![target];
        while let Some(index) = open.pop() {
            if reachable.insert(index) {
                let entry = &self.entries[index];
                open.extend(entry.base);
                open.extend(entry.needs.iter().map(|(need, _)| *need));
            }
        }
        reachable
    }

    /// Asks for base images and takes over triggers, until those bring nothing new.
    fn resolve(&mut self, target: usize) -> Result<BTreeSet<usize>, CheckFailure> {
        loop {
            let wanted = self.reachable(target);
            for &index in &wanted {
                self.base_image(index)?;
            }
            let before = self.reachable(target).len();
            for &index in &wanted {
                self.triggers(index)?;
            }
            if self.reachable(target).len() == before {
                return Ok(wanted);
            }
        }
    }

    /// Asks for the base image of an entry that has no stage below it.
    fn base_image(&mut self, index: usize) -> Result<(), CheckFailure> {
        let entry = &mut self.entries[index];
        if entry.base.is_some() || std::mem::replace(&mut entry.is_resolved, true) {
            return Ok(());
        }
        let (name, lines) = (entry.base_name.clone(), entry.lines);
        if name == SCRATCH && !entry.replaced {
            return Ok(());
        }
        let facts = self.request.facts;
        if entry.replaced || (facts.replaced)(&name) {
            entry.state.is_known = false;
            return Ok(());
        }
        let failed = |message: String| CheckFailure::new(message).at(lines);
        (facts.reference)(&name).map_err(|problem| {
            failed(format!(
                "failed to parse stage name {}: {problem}",
                Quoted(&name)
            ))
        })?;
        match (facts.image)(&name, entry.platform.as_deref()) {
            BaseImage::Known(image) => self.known_base(index, &name, image),
            BaseImage::Unknown => entry.state.is_known = false,
            BaseImage::Missing(problem) => return Err(failed(format!("{name}: {problem}"))),
        }
        Ok(())
    }

    fn known_base(&mut self, index: usize, name: &str, image: ImageFacts) {
        let entry = &mut self.entries[index];
        for (variable, value) in &image.environment {
            entry.state.environment.set(variable, value);
        }
        entry.state.has_shell = image.has_shell;
        if !image.working_directory.is_empty() {
            entry.state.working_directory = image.working_directory;
        }
        entry.state.on_build = image.on_build;
        if let Some((actual, expected)) = image.other_platform {
            let message = format!(
                "Base image {name} was pulled with platform {}, expected {} for current build",
                Quoted(&actual),
                Quoted(&expected)
            );
            let lines = entry.lines;
            self.reporter
                .report_for_file(Rule::InvalidBaseImagePlatform, lines, message);
        }
    }

    /// Puts the triggers of the base in front of a stage's own instructions.
    fn triggers(&mut self, index: usize) -> Result<(), CheckFailure> {
        let base = self.entries[index].base;
        let triggers: Vec<String> = match base {
            None => std::mem::take(&mut self.entries[index].state.on_build),
            Some(base) => {
                let first = !std::mem::replace(&mut self.entries[index].is_resolved, true);
                let stage = self.entries[base].stage.filter(|_| first);
                let own = stage.into_iter().flat_map(|stage| &stage.instructions);
                own.filter_map(trigger).collect()
            }
        };
        let lines = self.entries[index].lines;
        let mut steps = Vec::new();
        for trigger in triggers {
            let text = format!("FROM scratch\n{trigger}\n");
            let parsed = parse(&text).map_err(|errors| {
                let first = errors.first().map(ToString::to_string);
                CheckFailure::new(first.unwrap_or_default()).at(lines)
            })?;
            for instruction in parsed.stages.into_iter().flat_map(|it| it.instructions) {
                let source = Source::Trigger(Box::new(instruction));
                steps.push(self.step(source, lines, index)?);
            }
        }
        self.entries[index].steps.splice(0..0, steps);
        Ok(())
    }

    /// Collects what the target takes.
    fn describe(&mut self, target: usize) {
        let mut outline = Outline::default();
        let mut seen = BTreeSet::new();
        let mut open = vec![target];
        while let Some(index) = open.pop() {
            if !seen.insert(index) {
                continue;
            }
            let entry = &self.entries[index];
            outline.add(&entry.state.capture);
            open.extend(entry.needs.iter().rev().map(|(need, _)| *need));
            open.extend(entry.base);
        }
        let stage = self.entries[target].stage;
        outline.name = stage.and_then(|stage| stage.name.clone());
        outline.description = stage.and_then(|stage| stage.description.clone());
        outline.sort();
        self.outline = outline;
    }
}

fn trigger(instruction: &Instruction) -> Option<String> {
    match &instruction.kind {
        InstructionKind::Onbuild(onbuild) => Some(onbuild.expression.clone()),
        _ => None,
    }
}
