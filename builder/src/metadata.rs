//! The instructions that change the configuration alone.

use std::collections::BTreeMap;

use mica_dockerfile::{
    ArgInstruction, CommandForm, ExposedPort, Healthcheck, InstructionKind, KeyValue, expand_words,
    is_signal,
};
use mica_oci::ContainerConfig;
use serde_json::Map;

use crate::error::ErrorKind;
use crate::history;
use crate::stage::StageBuild;
use crate::state::StageState;
use crate::variables::expand;

impl StageBuild<'_, '_> {
    /// Applies an instruction that makes no layer.
    pub(crate) fn metadata(
        &self,
        state: &mut StageState,
        kind: &InstructionKind,
    ) -> Result<(), ErrorKind> {
        match kind {
            InstructionKind::Env(pairs) => self.env(state, pairs),
            InstructionKind::Label(pairs) => self.label(state, pairs),
            InstructionKind::Arg(argument) => self.arg(state, argument),
            InstructionKind::Cmd(form) => {
                cmd(state, form);
                Ok(())
            }
            InstructionKind::Entrypoint(form) => {
                entrypoint(state, form);
                Ok(())
            }
            InstructionKind::Expose(words) => self.expose(state, words),
            InstructionKind::User(user) => self.user(state, user),
            InstructionKind::Volume(paths) => self.volume(state, paths),
            InstructionKind::Stopsignal(signal) => self.stop_signal(state, signal),
            InstructionKind::Healthcheck(check) => {
                healthcheck(state, check);
                Ok(())
            }
            InstructionKind::Shell(shell) => {
                state.config.config.shell = Some(shell.clone());
                state.note(format!("SHELL [{}]", shell.join(" ")));
                Ok(())
            }
            InstructionKind::Onbuild(trigger) => {
                state
                    .config
                    .config
                    .on_build
                    .push(trigger.expression.clone());
                state.note(format!("ONBUILD {}", trigger.expression));
                Ok(())
            }
            InstructionKind::Maintainer(author) => {
                state.config.author = Some(author.clone());
                state.note(format!("MAINTAINER {author}"));
                Ok(())
            }
            InstructionKind::Add(_)
            | InstructionKind::Copy(_)
            | InstructionKind::Run(_)
            | InstructionKind::Workdir(_) => unreachable!("these make layers"),
        }
    }

    fn pairs(
        &self,
        state: &StageState,
        pairs: &[KeyValue],
    ) -> Result<Vec<(String, String)>, ErrorKind> {
        let expand = |word: &str| expand(word, &state.variables, self.escape());
        pairs
            .iter()
            .map(|pair| Ok((expand(&pair.name)?, expand(&pair.value)?)))
            .collect()
    }

    fn env(&self, state: &mut StageState, pairs: &[KeyValue]) -> Result<(), ErrorKind> {
        let pairs = self.pairs(state, pairs)?;
        for (name, value) in &pairs {
            state.set_env(name, value);
        }
        state.note(format!("ENV {}", joined(&pairs)));
        Ok(())
    }

    fn label(&self, state: &mut StageState, pairs: &[KeyValue]) -> Result<(), ErrorKind> {
        let pairs = self.pairs(state, pairs)?;
        state.note(format!("LABEL {}", joined(&pairs)));
        state
            .config
            .config
            .labels
            .get_or_insert_default()
            .extend(pairs);
        Ok(())
    }

    /// ARG: the value given on the command line, the default, or that of the global argument.
    fn arg(&self, state: &mut StageState, instruction: &ArgInstruction) -> Result<(), ErrorKind> {
        let mut shown = Vec::new();
        for argument in &instruction.arguments {
            let name = expand(&argument.name, &state.variables, self.escape())?;
            let value = match (self.engine.request.build_args.get(&name), &argument.value) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => Some(expand(default, &state.variables, self.escape())?),
                (None, None) => self.engine.globals.get(&name).map(str::to_owned),
            };
            shown.push(match &value {
                Some(value) => format!("{name}={value}"),
                None => name.clone(),
            });
            if let Some(value) = &value {
                state.variables.set(&name, value);
            }
            state.arguments.retain(|(declared, _)| *declared != name);
            state.arguments.push((name, value));
        }
        state.note(format!("ARG {}", shown.join(" ")));
        Ok(())
    }

    fn expose(&self, state: &mut StageState, words: &[String]) -> Result<(), ErrorKind> {
        let lookup = |name: &str| state.variables.get(name).map(str::to_owned);
        let mut ports = Vec::new();
        for word in words {
            for expanded in expand_words(word, &lookup, self.escape())? {
                let port = ExposedPort::parse(&expanded)
                    .map_err(|error| value("EXPOSE", &error.to_string()))?;
                ports.extend(port.names());
            }
        }
        ports.sort();
        ports.dedup();
        state.note(format!("EXPOSE [{}]", ports.join(" ")));
        let all = state.config.config.exposed_ports.get_or_insert_default();
        all.extend(ports.into_iter().map(|port| (port, Map::new())));
        Ok(())
    }

    fn user(&self, state: &mut StageState, user: &str) -> Result<(), ErrorKind> {
        let user = expand(user, &state.variables, self.escape())?;
        state.note(format!("USER {user}"));
        state.config.config.user = user;
        Ok(())
    }

    fn volume(&self, state: &mut StageState, paths: &[String]) -> Result<(), ErrorKind> {
        let expand = |path: &String| expand(path, &state.variables, self.escape());
        let paths = paths.iter().map(expand).collect::<Result<Vec<_>, _>>()?;
        if paths.iter().any(String::is_empty) {
            return Err(value(
                "VOLUME",
                "the specified volume can not be an empty string",
            ));
        }
        state.note(format!("VOLUME [{}]", paths.join(" ")));
        let volumes = state.config.config.volumes.get_or_insert_default();
        volumes.extend(paths.into_iter().map(|path| (path, Map::new())));
        Ok(())
    }

    fn stop_signal(&self, state: &mut StageState, signal: &str) -> Result<(), ErrorKind> {
        let signal = expand(signal, &state.variables, self.escape())?;
        if !is_signal(&signal) {
            return Err(value("STOPSIGNAL", &format!("invalid signal: {signal}")));
        }
        state.note(format!("STOPSIGNAL {signal}"));
        state.config.config.stop_signal = Some(signal);
        Ok(())
    }
}

fn value(instruction: &'static str, problem: &str) -> ErrorKind {
    ErrorKind::Value {
        instruction,
        problem: problem.to_owned(),
    }
}

fn joined(pairs: &[(String, String)]) -> String {
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join(" ")
}

/// A command's words, shell forms handed to the stage's shell.
pub(crate) fn words(state: &StageState, form: &CommandForm) -> Vec<String> {
    match form {
        CommandForm::Exec(words) => words.clone(),
        CommandForm::Shell(text) => {
            let mut words = state.shell();
            words.push(text.clone());
            words
        }
    }
}

fn cmd(state: &mut StageState, form: &CommandForm) {
    let words = words(state, form);
    state.note(format!("CMD {}", history::quoted_list(&words)));
    state.config.config.cmd = Some(words);
    state.config.config.args_escaped = true;
    state.command_is_own = true;
}

/// ENTRYPOINT drops a command that was inherited: it was meant for another entrypoint.
fn entrypoint(state: &mut StageState, form: &CommandForm) {
    let words = words(state, form);
    state.note(format!("ENTRYPOINT {}", history::quoted_list(&words)));
    state.config.config.entrypoint = Some(words);
    if !state.command_is_own {
        state.config.config.cmd = None;
    }
}

fn healthcheck(state: &mut StageState, check: &Healthcheck) {
    let nanoseconds = |d: std::time::Duration| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX);
    let config = match check {
        Healthcheck::None => mica_oci::Healthcheck {
            test: vec!["NONE".into()],
            ..Default::default()
        },
        Healthcheck::Command(command) => mica_oci::Healthcheck {
            test: match &command.command {
                CommandForm::Shell(text) => vec!["CMD-SHELL".into(), text.clone()],
                CommandForm::Exec(words) => std::iter::once("CMD".to_owned())
                    .chain(words.iter().cloned())
                    .collect(),
            },
            interval: nanoseconds(command.interval),
            timeout: nanoseconds(command.timeout),
            start_period: nanoseconds(command.start_period),
            start_interval: nanoseconds(command.start_interval),
            retries: i64::from(command.retries),
        },
    };
    state.note(history::healthcheck(check, &config.test));
    state.config.config.healthcheck = Some(config);
}

/// Adds the labels of the command line; they show in no history.
pub(crate) fn add_labels(config: &mut ContainerConfig, labels: &BTreeMap<String, String>) {
    if !labels.is_empty() {
        config.labels.get_or_insert_default().extend(labels.clone());
    }
}
