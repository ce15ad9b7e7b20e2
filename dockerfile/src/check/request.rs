//! What the checks are asked for, and the facts that they cannot know themselves.

use super::finding::{Finding, Lines};
use super::outline::Outline;
use crate::ignore::Matcher;
use std::collections::BTreeMap;

/// What to check, and with which settings.
pub struct CheckRequest<'r> {
    /// `--build-arg`.
    pub build_args: &'r BTreeMap<String, String>,
    /// The arguments that are there without being declared, such as `TARGETPLATFORM`, with what
    /// `--build-arg` makes of them.
    pub predefined: &'r [(String, String)],
    /// `--target`: the name or number of a stage.
    pub target: Option<&'r str>,
    /// Which stages are looked at.
    pub reach: Reach,
    /// The ignore file of the context.
    pub ignore: Option<&'r Matcher>,
    /// What others know.
    pub facts: Facts<'r>,
}

/// Which stages are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// All of them, if no target is named.
    All,
    /// The target and what it needs.
    Target,
}

/// Facts about names and images, from the rooms that know them.
#[derive(Clone, Copy)]
pub struct Facts<'r> {
    /// Tells whether a text is the name of an image; if not, what is wrong with it.
    pub reference: &'r dyn Fn(&str) -> Result<(), String>,
    /// Reads a platform; if it is none, what is wrong with it.
    pub platform: &'r dyn Fn(&str) -> Result<PlatformName, String>,
    /// Finds an image of a name for a platform, or for the target's.
    pub image: &'r dyn Fn(&str, Option<&str>) -> BaseImage,
    /// Tells whether `--build-context` gives a name another meaning.
    pub replaced: &'r dyn Fn(&str) -> bool,
}

/// A platform in normal form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlatformName {
    /// The operating system.
    pub os: String,
    /// The architecture.
    pub architecture: String,
}

/// What is known of a base image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaseImage {
    /// Its configuration.
    Known(ImageFacts),
    /// Nothing: it cannot be asked for here. What depends on it is not checked.
    Unknown,
    /// There is no such image, and why.
    Missing(String),
}

/// What the checks need to know of an image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageFacts {
    /// Its environment.
    pub environment: Vec<(String, String)>,
    /// Whether it sets a shell.
    pub has_shell: bool,
    /// Its working directory.
    pub working_directory: String,
    /// Its triggers.
    pub on_build: Vec<String>,
    /// The platform it is for and the one wanted, as text, if they differ.
    pub other_platform: Option<(String, String)>,
}

/// The result of the checks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckReport {
    /// What was found, in BuildKit's order.
    pub findings: Vec<Finding>,
    /// Why the file cannot be built, if it cannot.
    pub failure: Option<CheckFailure>,
    /// What the target takes.
    pub outline: Outline,
    /// Whether the settings let a warning fail the build.
    pub is_strict: bool,
    /// Build arguments that nothing declares, with the declared one that may be meant.
    pub unused_arguments: Vec<(String, Option<String>)>,
}

/// Why a file cannot be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckFailure {
    /// BuildKit's message.
    pub message: String,
    /// The instructions it is about; none if it is about the whole file.
    pub lines: Vec<Lines>,
}

impl CheckFailure {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            lines: Vec::new(),
        }
    }

    /// Adds the place of an instruction.
    pub(super) fn at(mut self, lines: impl Into<Lines>) -> Self {
        let lines = lines.into();
        if !self.lines.contains(&lines) {
            self.lines.push(lines);
        }
        self
    }
}
