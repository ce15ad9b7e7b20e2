//! The record of a build.

use jiff::Timestamp;
use mica_oci::ChainId;
use serde::{Deserialize, Serialize};

use crate::event::{Outcome, StepSite};
use crate::explain::Miss;

/// The version of the records that are written.
pub(crate) const VERSION: u32 = 1;

/// What a build did.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BuildRecord {
    /// The version of this format.
    pub version: u32,
    /// The build's name: 12 hexadecimal digits.
    pub id: String,
    /// The names that the image got or was to get.
    pub tags: Vec<String>,
    /// The context's directory, or how the user named it.
    pub context: String,
    /// The Dockerfile's name.
    pub dockerfile: String,
    /// `--target`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// When it began.
    pub started: Timestamp,
    /// How long it took, in microseconds.
    pub elapsed: u64,
    /// How it ended.
    pub status: BuildStatus,
    /// The image's ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The steps, in the order in which they began.
    pub steps: Vec<BuildStep>,
}

/// How a build ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BuildStatus {
    /// There is an image.
    Completed,
    /// Something failed.
    Error,
}

/// A time since the build began, and a duration, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// When it began.
    pub start: u64,
    /// How long it took.
    pub elapsed: u64,
}

/// A step of a build.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BuildStep {
    /// The number that progress showed.
    pub number: usize,
    /// The name that progress showed.
    pub name: String,
    /// Where it stands; absent for what the tool itself did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<StepSite>,
    /// How it ended.
    pub outcome: Outcome,
    /// When it ran.
    pub time: Span,
    /// Why it ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub miss: Option<Miss>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The stack that it stood on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below: Option<ChainId>,
    /// The stack that it gave; absent when it made none, or it never got an address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<ChainId>,
    /// What is kept of a failed step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<String>,
    /// When its layer was hashed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hashing: Option<Span>,
    /// What went on in it, such as transfers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
}

/// A part of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// What went on.
    pub id: String,
    /// When.
    pub time: Span,
    /// How many bytes it moved.
    pub bytes: u64,
}

impl BuildRecord {
    /// Returns how many steps of the Dockerfile were reused, and how many there were.
    pub fn cached(&self) -> (usize, usize) {
        let steps = self.steps.iter().filter(|step| step.is_counted());
        let cached = |step: &&BuildStep| step.outcome == Outcome::Cached;
        (steps.clone().filter(cached).count(), steps.count())
    }

    /// Returns the step that failed first.
    pub fn failed(&self) -> Option<&BuildStep> {
        self.steps
            .iter()
            .find(|step| step.outcome == Outcome::Failed)
    }
}

impl BuildStep {
    /// Tells whether this is a step of the Dockerfile that has a key.
    pub fn is_counted(&self) -> bool {
        self.site.as_ref().is_some_and(|site| site.key.is_some())
    }
}
