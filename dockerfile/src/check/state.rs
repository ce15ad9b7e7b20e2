//! A stage while it is looked at.

use super::environment::Environment;
use super::finding::Lines;
use super::outline::Capture;
use super::settings::Settings;
use crate::instruction::{Instruction, Stage};
use std::collections::BTreeSet;

/// A stage, or an image that an instruction copies from.
#[derive(Debug)]
pub(super) struct Entry<'r> {
    /// The stage; nothing for an image.
    pub(super) stage: Option<&'r Stage>,
    /// Its name, or `stage-0` and so on.
    pub(super) name: String,
    /// The expanded name of its base.
    pub(super) base_name: String,
    /// The stage that it is based on.
    pub(super) base: Option<usize>,
    /// The expanded `--platform`.
    pub(super) platform: Option<String>,
    /// Whether `--build-context` stands for the stage.
    pub(super) replaced: bool,
    /// The stages that its instructions copy from, with the lines that say so.
    pub(super) needs: Vec<(usize, Lines)>,
    /// Its instructions, those of triggers first.
    pub(super) steps: Vec<Step<'r>>,
    /// Where its `FROM`, or the instruction that names the image, stands.
    pub(super) lines: Lines,
    /// Whether its instructions were looked at.
    pub(super) is_done: bool,
    /// Whether its base image was asked for.
    pub(super) is_resolved: bool,
    /// What its instructions have come to.
    pub(super) state: State,
}

/// An instruction, and the stage that its `--from` names.
#[derive(Debug, Clone)]
pub(super) struct Step<'r> {
    pub(super) instruction: Source<'r>,
    pub(super) from: Option<usize>,
    pub(super) lines: Lines,
}

/// An instruction of the file or of a trigger.
#[derive(Debug, Clone)]
pub(super) enum Source<'r> {
    File(&'r Instruction),
    Trigger(Box<Instruction>),
}

impl Source<'_> {
    pub(super) fn get(&self) -> &Instruction {
        match self {
            Self::File(instruction) => instruction,
            Self::Trigger(instruction) => instruction,
        }
    }
}

/// What the instructions of a stage have come to.
#[derive(Debug, Clone)]
pub(super) struct State {
    /// The variables.
    pub(super) environment: Environment,
    /// Whether all variables are known: those of the base image may not be.
    pub(super) is_known: bool,
    /// The declared arguments.
    pub(super) declared: BTreeSet<String>,
    /// Whether a shell is set.
    pub(super) has_shell: bool,
    /// The working directory.
    pub(super) working_directory: String,
    /// Whether the file itself sets a working directory.
    pub(super) sets_directory: bool,
    /// Triggers for the stages on top.
    pub(super) on_build: Vec<String>,
    /// What it uses.
    pub(super) capture: Capture,
    /// The instructions of which only the last one counts.
    pub(super) last: Last,
}

/// Where the last instructions stand of which only the last one counts.
#[derive(Debug, Clone, Default)]
pub(super) struct Last {
    pub(super) command: Option<Lines>,
    pub(super) entrypoint: Option<Lines>,
    pub(super) healthcheck: Option<Lines>,
}

/// The search path of a base that sets none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl State {
    /// The state of `FROM scratch`.
    pub(super) fn scratch() -> Self {
        Self {
            environment: Environment::of(&[("PATH".to_owned(), DEFAULT_PATH.to_owned())]),
            is_known: true,
            declared: BTreeSet::new(),
            has_shell: false,
            working_directory: "/".to_owned(),
            sets_directory: false,
            on_build: Vec::new(),
            capture: Capture::default(),
            last: Last::default(),
        }
    }

    /// The state of a stage on top of another one; triggers and what only the last one counts of
    /// do not carry over.
    pub(super) fn on_top_of(base: &Self) -> Self {
        Self {
            on_build: Vec::new(),
            last: Last::default(),
            capture: Capture::default(),
            ..base.clone()
        }
    }
}

/// What an instruction is looked at with.
pub(super) struct Context<'s> {
    pub(super) settings: &'s Settings,
    pub(super) lines: Lines,
    /// The keyword as it was written.
    pub(super) keyword: &'s str,
}
