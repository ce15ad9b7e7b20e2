//! What a build tells while it runs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mica_oci::ChainId;
use serde::{Deserialize, Serialize};

use crate::explain::Miss;

/// The number of a step, different for every step of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId(pub usize);

impl StepId {
    /// Returns a new one.
    pub fn next() -> Self {
        static LAST: AtomicUsize = AtomicUsize::new(0);
        Self(LAST.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// A progress event. Events of one step come in order; steps of several stages interleave.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A step begins: `[stage 2/7] RUN make`.
    Started {
        /// The step.
        step: StepId,
        /// Its name as BuildKit shows it.
        name: String,
    },
    /// A step of the Dockerfile that has begun stands there. What the tool itself does, such as
    /// loading a file, stands nowhere.
    Sited {
        /// The step.
        step: StepId,
        /// Where it stands, and what it works with.
        site: Box<StepSite>,
    },
    /// No earlier result serves: the step runs now.
    Missed {
        /// The step.
        step: StepId,
        /// Why.
        miss: Box<Miss>,
    },
    /// A part of a step goes on, such as the transfer of a layer.
    Status {
        /// The step.
        step: StepId,
        /// How far it is.
        status: Status,
    },
    /// Output of a step's command.
    Output {
        /// The step.
        step: StepId,
        /// Which stream.
        stream: Stream,
        /// The bytes, as they came.
        bytes: Vec<u8>,
    },
    /// Something went wrong in a step, which ends next.
    Failed {
        /// The step.
        step: StepId,
        /// What.
        error: String,
    },
    /// A step ended.
    Finished {
        /// The step.
        step: StepId,
        /// How.
        outcome: Outcome,
        /// How long it took.
        elapsed: Duration,
    },
    /// A failed step's files are kept.
    Kept {
        /// The step.
        step: StepId,
        /// The name of what is kept.
        id: String,
    },
    /// A step's layer has its address. Comes at the end of the build, for every layer.
    Sealed {
        /// The step.
        step: StepId,
        /// The stack below the layer; none for nothing.
        below: Option<ChainId>,
        /// The stack that the layer ends; none for a step that made none.
        chain: Option<ChainId>,
        /// For a new layer: how long before now hashing began, and how long it took.
        hashing: Option<(Duration, Duration)>,
    },
    /// Something that the user should know and that does not stop the build.
    Warning {
        /// The text.
        text: String,
    },
}

/// Where a step stands, and what it works with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepSite {
    /// The stage's name.
    pub stage: String,
    /// The step's number in its stage, from 1.
    pub number: usize,
    /// How many steps the stage has.
    pub total: usize,
    /// The first and the last line in the Dockerfile, from 1; absent for a base image's trigger.
    pub lines: Option<(usize, usize)>,
    /// The instruction as it is written.
    pub instruction: String,
    /// Its key; absent for a base.
    pub key: Option<String>,
    /// Variables, `NAME=value`, that a command of the step sees.
    pub env: Vec<String>,
    /// The user.
    pub user: String,
    /// The working directory.
    pub directory: String,
    /// What runs a shell form.
    pub shell: Vec<String>,
}

/// How far a part of a step is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What is going on: `sha256:…`, `extracting sha256:…`.
    pub id: String,
    /// How much is done, in bytes.
    pub current: u64,
    /// How much there is, in bytes; 0 when that is not known or not counted.
    pub total: u64,
    /// Whether it has ended.
    pub done: bool,
}

impl Status {
    /// Something that is done and has no size.
    pub fn done(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            current: 0,
            total: 0,
            done: true,
        }
    }
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Its result was there already.
    Cached,
    /// It ran.
    Done,
    /// It failed; the build's error says why.
    Failed,
    /// It was stopped because another one failed.
    Canceled,
}

/// A standard stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}
