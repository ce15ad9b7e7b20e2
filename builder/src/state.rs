//! What a stage has come to: its configuration, its layers and the variables in scope.

use std::collections::BTreeMap;

use mica_oci::{ContainerConfig, ImageConfig, Platform};
use mica_store::Stack;

use crate::error::ErrorKind;
use crate::explain::Below;
use crate::key::CacheKey;
use crate::seal::BuiltLayer;

/// The state after some instruction of a stage. Cheap to clone: layers are shared.
#[derive(Clone, Debug)]
pub(crate) struct StageState {
    /// The image configuration so far, with the base image's history.
    pub(crate) config: ImageConfig,
    /// The layers, bottom first.
    pub(crate) layers: Vec<BuiltLayer>,
    /// The key of the file system.
    pub(crate) key: CacheKey,
    /// What the key stands for, in words.
    pub(crate) below: Below,
    /// The variables of RUN steps and of expansion: ENV and ARG, the later one wins.
    pub(crate) variables: Variables,
    /// The arguments declared, in order, for the history of RUN steps.
    pub(crate) arguments: Vec<(String, Option<String>)>,
    /// What was done on top of the base image.
    pub(crate) steps: Vec<HistoryStep>,
    /// Where the stages that led here begin, the lowest first.
    pub(crate) starts: Vec<StageStart>,
    /// Whether CMD was given in this stage: an ENTRYPOINT then leaves it alone.
    pub(crate) command_is_own: bool,
}

/// Where a stage begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StageStart {
    /// The stage.
    pub(crate) stage: usize,
    /// How many layers are below its own.
    pub(crate) layers: usize,
}

/// A history entry to be; its time is that of its layer, or of the layer before it.
#[derive(Clone, Debug)]
pub(crate) struct HistoryStep {
    /// The text.
    pub(crate) created_by: String,
    /// The index of its layer in the stage's layers; `None` for an empty one.
    pub(crate) layer: Option<usize>,
}

/// Variables in the order in which they were first set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Variables {
    order: Vec<String>,
    values: BTreeMap<String, String>,
}

/// The search path of an image that sets none, as BuildKit has it.
pub(crate) const DEFAULT_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl StageState {
    /// The state of `FROM scratch`.
    pub(crate) fn scratch(platform: &Platform) -> Self {
        let mut config = ImageConfig::scratch(platform);
        config.config.set_env("PATH", DEFAULT_PATH);
        config.config.working_dir = "/".to_owned();
        let key = CacheKey::of("scratch").finish();
        Self::new(config, Vec::new(), key)
    }

    /// The state of a base with these layers.
    pub(crate) fn new(config: ImageConfig, layers: Vec<BuiltLayer>, key: CacheKey) -> Self {
        let variables = Variables::of(&config.config);
        Self {
            config,
            layers,
            key,
            below: Below::Scratch,
            variables,
            arguments: Vec::new(),
            steps: Vec::new(),
            starts: Vec::new(),
            command_is_own: false,
        }
    }

    /// Returns the layers as the store knows them; those that an imported cache has are fetched.
    pub(crate) fn stack(&self) -> Result<Stack, ErrorKind> {
        let mut stack = Stack::default();
        for built in &self.layers {
            let layer = built.place.layer(&stack)?;
            stack.push(layer);
        }
        Ok(stack)
    }

    /// Notes an instruction that made no layer.
    pub(crate) fn note(&mut self, created_by: String) {
        self.steps.push(HistoryStep {
            created_by,
            layer: None,
        });
    }

    /// Puts a layer on top and notes what made it.
    pub(crate) fn add_layer(&mut self, built: BuiltLayer, key: CacheKey, created_by: String) {
        self.steps.push(HistoryStep {
            created_by,
            layer: Some(self.layers.len()),
        });
        self.layers.push(built);
        self.key = key;
    }

    /// Sets a variable of the image and of the steps that follow.
    pub(crate) fn set_env(&mut self, name: &str, value: &str) {
        self.config.config.set_env(name, value);
        self.variables.set(name, value);
    }

    /// Returns the variables of a step: those of the stage, and a search path in any case.
    pub(crate) fn environment(&self) -> Vec<String> {
        let mut env = self.variables.entries();
        if self.variables.get("PATH").is_none() {
            env.insert(0, format!("PATH={DEFAULT_PATH}"));
        }
        env
    }

    /// Returns the shell that runs shell forms.
    pub(crate) fn shell(&self) -> Vec<String> {
        match &self.config.config.shell {
            Some(shell) if !shell.is_empty() => shell.clone(),
            _ => vec!["/bin/sh".to_owned(), "-c".to_owned()],
        }
    }

    /// Resolves `path` against the working directory, without symbolic links: always absolute,
    /// with no `.` or `..` and no slash at the end but for the root.
    pub(crate) fn absolute(&self, path: &str) -> String {
        let joined = match path.starts_with('/') {
            true => path.to_owned(),
            false => format!("/{}/{path}", self.config.config.working_dir),
        };
        clean(&joined)
    }
}

/// Go's `path.Clean` for absolute paths.
pub(crate) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

impl Variables {
    fn of(config: &ContainerConfig) -> Self {
        let mut variables = Self::default();
        for entry in &config.env {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            variables.set(name, value);
        }
        variables
    }

    /// Sets a variable.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        if self
            .values
            .insert(name.to_owned(), value.to_owned())
            .is_none()
        {
            self.order.push(name.to_owned());
        }
    }

    /// Returns a variable's value.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Returns all as `NAME=value`, in order.
    pub(crate) fn entries(&self) -> Vec<String> {
        self.order
            .iter()
            .map(|name| format!("{name}={}", self.values[name]))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_resolved_against_the_working_directory() {
        let mut state = StageState::scratch(&Platform::host());
        state.config.config.working_dir = "/app".into();
        let cases = [
            ("x", "/app/x"),
            (".", "/app"),
            ("/x/../y/", "/y"),
            ("../../..", "/"),
            ("a//b/./c", "/app/a/b/c"),
        ];
        for (path, expected) in cases {
            assert_eq!(state.absolute(path), expected, "{path}");
        }
    }

    #[test]
    fn the_later_variable_wins_in_the_first_ones_place() {
        let mut variables = Variables::default();
        for (name, value) in [("A", "1"), ("B", "2"), ("A", "3")] {
            variables.set(name, value);
        }
        assert_eq!(variables.entries(), ["A=3", "B=2"]);
    }
}
