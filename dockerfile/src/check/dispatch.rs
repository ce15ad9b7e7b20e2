//! Each instruction of each stage in turn, with the variables it sees.

use super::evaluate::Evaluation;
use super::files::Files;
use super::finding::Lines;
use super::outline::{CapturedArgument, OutlineArgument};
use super::request::{CheckFailure, Reach};
use super::rules::Rule;
use super::state::{Context, State, Step};
use crate::expand::{ExpandError, Expansion};
use crate::ignore::clean;
use crate::instruction::{ArgInstruction, CommandForm, Delimiter, InstructionKind, KeyValue};
use crate::names_a_secret;
use crate::port::{ExposedPort, PortError};
use crate::quote::Quoted;
use crate::signal::is_signal;
use std::collections::BTreeSet;

/// Arguments of BuildKit that are no variables.
const NO_VARIABLES: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

impl Evaluation<'_> {
    /// Looks at the instructions of the wanted stages.
    pub(super) fn dispatch(&mut self, wanted: &BTreeSet<usize>) -> Result<(), CheckFailure> {
        for entry in self
            .entries
            .iter_mut()
            .filter(|entry| entry.stage.is_none())
        {
            entry.is_done = true;
        }
        for &index in wanted {
            let entry = &self.entries[index];
            let elsewhere = entry.replaced && self.request.reach == Reach::Target;
            if entry.is_done || elsewhere {
                self.entries[index].is_done = true;
                continue;
            }
            self.start(index);
            for step in std::mem::take(&mut self.entries[index].steps) {
                self.instruction(index, &step)
                    .map_err(|failure| failure.at(step.lines))?;
            }
        }
        Ok(())
    }

    fn start(&mut self, index: usize) {
        if let Some(base) = self.entries[index].base {
            let capture = std::mem::take(&mut self.entries[index].state.capture);
            self.entries[index].state = State {
                capture,
                ..State::on_top_of(&self.entries[base].state)
            };
        }
        self.entries[index].is_done = true;
    }

    fn instruction(&mut self, index: usize, step: &Step<'_>) -> Result<(), CheckFailure> {
        let instruction = step.instruction.get();
        let settings = self.reporter.settings.with_comments(&instruction.comments);
        let context = Context {
            settings: &settings,
            lines: step.lines,
            keyword: &instruction.keyword,
        };
        match &instruction.kind {
            InstructionKind::Env(pairs) => self.env(index, &context, pairs),
            InstructionKind::Label(pairs) => self.pairs(index, &context, pairs).map(|_| ()),
            InstructionKind::Arg(arg) => self.arg(index, &context, arg),
            InstructionKind::Copy(copy) => {
                let flags = [copy.chown.as_ref(), copy.chmod.as_ref()];
                let words = flags.into_iter().flatten().chain(&copy.exclude);
                self.words(index, &context, words)?;
                self.check_mode(copy.chmod.as_deref(), index)?;
                self.check_order(index, step.from, copy.from.as_deref())?;
                let files = Files {
                    name: "Copy",
                    sources: &copy.sources,
                    destination: &copy.destination,
                    in_context: copy.from.is_none(),
                    checksum: None,
                };
                self.files(index, &context, &files)
            }
            InstructionKind::Add(add) => {
                let flags = [&add.chown, &add.chmod, &add.checksum];
                let words = flags.into_iter().flatten().chain(&add.exclude);
                self.words(index, &context, words)?;
                self.check_mode(add.chmod.as_deref(), index)?;
                let files = Files {
                    name: "Add",
                    sources: &add.sources,
                    destination: &add.destination,
                    in_context: true,
                    checksum: add.checksum.as_deref(),
                };
                self.files(index, &context, &files)
            }
            InstructionKind::Run(run) => self.mounts(index, &context, run),
            other => self.metadata(index, &context, other),
        }
    }

    fn metadata(
        &mut self,
        index: usize,
        context: &Context<'_>,
        kind: &InstructionKind,
    ) -> Result<(), CheckFailure> {
        match kind {
            InstructionKind::Workdir(path) => self.workdir(index, context, path)?,
            InstructionKind::User(user) => drop(self.word(index, context, user)?),
            InstructionKind::Volume(paths) => {
                let paths = self.words(index, context, paths)?;
                if paths.iter().any(String::is_empty) {
                    let message = "VOLUME specified can not be an empty string";
                    return Err(CheckFailure::new(message));
                }
            }
            InstructionKind::Stopsignal(signal) => {
                let signal = self.word(index, context, signal)?;
                if !is_signal(&signal) {
                    return Err(CheckFailure::new(format!("invalid signal: {signal}")));
                }
            }
            InstructionKind::Expose(words) => self.expose(index, context, words)?,
            InstructionKind::Shell(_) => self.entries[index].state.has_shell = true,
            InstructionKind::Onbuild(onbuild) => {
                let triggers = &mut self.entries[index].state.on_build;
                triggers.push(onbuild.expression.clone());
            }
            InstructionKind::Cmd(form) => self.command(index, context, form, Which::Command),
            InstructionKind::Entrypoint(form) => {
                self.command(index, context, form, Which::Entrypoint);
            }
            InstructionKind::Healthcheck(_) => self.used_once(index, context, Which::Healthcheck),
            _ => {}
        }
        Ok(())
    }

    /// Expands a word and reports the variables in it that nothing sets.
    pub(super) fn word(
        &mut self,
        index: usize,
        context: &Context<'_>,
        word: &str,
    ) -> Result<String, CheckFailure> {
        let expanded = self.expanded(index, context, word);
        expanded.map_err(|error| CheckFailure::new(error.to_string()))
    }

    pub(super) fn expanded(
        &mut self,
        index: usize,
        context: &Context<'_>,
        word: &str,
    ) -> Result<String, ExpandError> {
        let found = self.expand(word, &self.entries[index].state.environment)?;
        self.undefined(index, context, &found);
        Ok(found.value)
    }

    fn words<'w>(
        &mut self,
        index: usize,
        context: &Context<'_>,
        words: impl IntoIterator<Item = &'w String>,
    ) -> Result<Vec<String>, CheckFailure> {
        words
            .into_iter()
            .map(|word| self.word(index, context, word))
            .collect()
    }

    pub(super) fn undefined(&mut self, index: usize, context: &Context<'_>, found: &Expansion) {
        let state = &self.entries[index].state;
        if !state.is_known {
            return;
        }
        let unknown = |name: &&String| {
            !state.declared.contains(name.as_str()) && !NO_VARIABLES.contains(&name.as_str())
        };
        for name in found.unmatched.iter().filter(unknown) {
            let hint = super::did_you_mean(name, state.environment.names(), "$");
            let message = format!("Usage of undefined variable '${name}'{hint}");
            self.reporter
                .report(context.settings, Rule::UndefinedVar, context.lines, message);
        }
    }

    fn pairs(
        &mut self,
        index: usize,
        context: &Context<'_>,
        pairs: &[KeyValue],
    ) -> Result<Vec<(String, String)>, CheckFailure> {
        let mut expanded = Vec::with_capacity(pairs.len());
        for pair in pairs {
            let name = self.word(index, context, &pair.name)?;
            expanded.push((name, self.word(index, context, &pair.value)?));
        }
        let keyword = context.keyword;
        for _ in pairs.iter().filter(|it| it.delimiter == Delimiter::Blank) {
            let message = format!(
                "\"{keyword} key=value\" should be used instead of legacy \"{keyword} key value\" format"
            );
            self.reporter.report(
                context.settings,
                Rule::LegacyKeyValueFormat,
                context.lines,
                message,
            );
        }
        Ok(expanded)
    }

    fn env(
        &mut self,
        index: usize,
        context: &Context<'_>,
        pairs: &[KeyValue],
    ) -> Result<(), CheckFailure> {
        for (name, value) in self.pairs(index, context, pairs)? {
            self.secret(context, "ENV", &name);
            self.entries[index].state.environment.set(&name, &value);
        }
        Ok(())
    }

    fn secret(&mut self, context: &Context<'_>, instruction: &str, name: &str) {
        if names_a_secret(name) {
            let message = format!(
                "Do not use ARG or ENV instructions for sensitive data ({instruction} {})",
                Quoted(name)
            );
            self.reporter.report(
                context.settings,
                Rule::SecretsUsedInArgOrEnv,
                context.lines,
                message,
            );
        }
    }

    fn arg(
        &mut self,
        index: usize,
        context: &Context<'_>,
        instruction: &ArgInstruction,
    ) -> Result<(), CheckFailure> {
        for argument in &instruction.arguments {
            let name = &argument.name;
            self.secret(context, "ARG", name);
            let given = self.request.build_args.get(name).cloned();
            let inherited = given.is_none() && argument.value.is_none();
            let global = self.globals.get(name).map(str::to_owned);
            let value = match (given, &argument.value) {
                (Some(given), _) => Some(given),
                (None, Some(default)) => Some(self.word(index, context, default)?),
                (None, None) => global.clone(),
            };
            let state = &mut self.entries[index].state;
            if let Some(value) = value
                .as_ref()
                .filter(|_| !NO_VARIABLES.contains(&name.as_str()))
            {
                state.environment.set(name, value);
            }
            if !(inherited && global.is_some()) {
                let argument = OutlineArgument {
                    name: name.clone(),
                    value: value.unwrap_or_default(),
                    description: argument.description.clone(),
                    lines: context.lines,
                };
                let needs = BTreeSet::new();
                let captured = CapturedArgument { argument, needs };
                state.capture.arguments.insert(name.clone(), captured);
            }
            state.capture.used.insert(name.clone());
            state.declared.insert(name.clone());
        }
        Ok(())
    }

    fn workdir(
        &mut self,
        index: usize,
        context: &Context<'_>,
        path: &str,
    ) -> Result<(), CheckFailure> {
        let path = self.word(index, context, path)?;
        let state = &mut self.entries[index].state;
        if !state.sets_directory && !path.starts_with('/') {
            let message = format!(
                "Relative workdir {} can have unexpected results if the base image changes",
                Quoted(&path)
            );
            self.reporter.report(
                context.settings,
                Rule::WorkdirRelativePath,
                context.lines,
                message,
            );
        }
        state.sets_directory = true;
        state.working_directory = absolute(&state.working_directory, &path);
        Ok(())
    }

    fn expose(
        &mut self,
        index: usize,
        context: &Context<'_>,
        words: &[String],
    ) -> Result<(), CheckFailure> {
        let mut sorted: Vec<_> = words.iter().collect();
        sorted.sort();
        for word in sorted {
            let found = self.expand(word, &self.entries[index].state.environment);
            let found = found.map_err(|error| CheckFailure::new(error.to_string()))?;
            for port in &found.words {
                self.exposed(context, port)?;
            }
        }
        Ok(())
    }

    fn exposed(&mut self, context: &Context<'_>, word: &str) -> Result<(), CheckFailure> {
        let read = ExposedPort::parse(word);
        let is_word = !matches!(read, Err(PortError::Word { .. }));
        if is_word && ExposedPort::has_capitals(word) {
            let message =
                format!("Defined protocol '{word}' in EXPOSE instruction should be lowercase");
            self.reporter.report(
                context.settings,
                Rule::ExposeProtoCasing,
                context.lines,
                message,
            );
        }
        if is_word && ExposedPort::has_host(word) {
            let message = format!(
                "EXPOSE instruction should not define an IP address or host-port mapping, found '{word}'"
            );
            self.reporter.report(
                context.settings,
                Rule::ExposeInvalidFormat,
                context.lines,
                message,
            );
        }
        read.map(|_| ())
            .map_err(|error| CheckFailure::new(error.to_string()))
    }

    fn command(&mut self, index: usize, context: &Context<'_>, form: &CommandForm, which: Which) {
        self.used_once(index, context, which);
        let is_shell = matches!(form, CommandForm::Shell(_));
        if is_shell && !self.entries[index].state.has_shell {
            let message = format!(
                "JSON arguments recommended for {} to prevent unintended behavior related to OS signals",
                context.keyword
            );
            self.reporter.report(
                context.settings,
                Rule::JsonArgsRecommended,
                context.lines,
                message,
            );
        }
    }

    /// Reports the instruction before this one, which is the one that has no effect.
    fn used_once(&mut self, index: usize, context: &Context<'_>, which: Which) {
        let last = &mut self.entries[index].state.last;
        let place = match which {
            Which::Command => &mut last.command,
            Which::Entrypoint => &mut last.entrypoint,
            Which::Healthcheck => &mut last.healthcheck,
        };
        if let Some(before) = place.replace(context.lines) {
            let message = format!(
                "Multiple {} instructions should not be used in the same stage because only the last one will be used",
                context.keyword
            );
            let rule = Rule::MultipleInstructionsDisallowed;
            self.reporter
                .report(context.settings, rule, before, message);
        }
    }

    fn check_mode(&self, mode: Option<&str>, index: usize) -> Result<(), CheckFailure> {
        let Some(mode) = mode else { return Ok(()) };
        let expanded = self.expand(mode, &self.entries[index].state.environment);
        let mode = expanded
            .map_err(|error| CheckFailure::new(error.to_string()))?
            .value;
        let number = u32::from_str_radix(&mode, 8);
        let is_number = mode.starts_with(|c: char| c.is_ascii_digit());
        if number.as_ref().is_ok_and(|mode| *mode > 0o7777) || (is_number && number.is_err()) {
            return Err(CheckFailure::new(format!(
                "invalid chmod parameter: '{mode}'. it should be octal string and between 0 and 07777"
            )));
        }
        Ok(())
    }

    /// Reads the mounts of a RUN with their variables expanded.
    fn mounts(
        &mut self,
        index: usize,
        context: &Context<'_>,
        run: &crate::instruction::RunInstruction,
    ) -> Result<(), CheckFailure> {
        for flag in &run.mounts {
            let mount = flag.resolve(|word| self.expanded(index, context, word));
            let mount = mount.map_err(|error| CheckFailure::new(error.to_string()))?;
            let lines: Lines = context.lines;
            self.entries[index].state.capture.mount(&mount, lines);
        }
        Ok(())
    }
}

/// Instructions of which only the last one counts.
#[derive(Debug, Clone, Copy)]
enum Which {
    Command,
    Entrypoint,
    Healthcheck,
}

/// Resolves a path against a directory; both without links.
pub(super) fn absolute(directory: &str, path: &str) -> String {
    match path.starts_with('/') {
        true => clean(path),
        false => clean(&format!("/{directory}/{path}")),
    }
}
