//! What a build tells while it runs.

use std::time::Duration;

/// The number of a step, in the order in which steps became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId(pub usize);

/// A progress event. Events of one step come in order; steps of several stages interleave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A step begins: `[stage 2/7] RUN make`.
    Started {
        /// The step.
        step: StepId,
        /// Its name as BuildKit shows it.
        name: String,
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
    /// A step ended.
    Finished {
        /// The step.
        step: StepId,
        /// How.
        outcome: Outcome,
        /// How long it took.
        elapsed: Duration,
    },
    /// Something that the user should know and that does not stop the build.
    Warning {
        /// The text.
        text: String,
    },
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its result was there already.
    Cached,
    /// It ran.
    Done,
    /// It failed; the build's error says why.
    Failed,
}

/// A standard stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}
