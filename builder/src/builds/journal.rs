//! Writing down a build while it runs.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use mica_oci::{Digest, Reference};
use mica_store::Store;

use super::record::{BuildRecord, BuildStatus, BuildStep, Part, Span, VERSION};
use super::shelf::{BuildFile, Builds, BuildsError};
use crate::event::{Event, Outcome, Status, StepId};
use crate::request::BuildRequest;

/// What is built, in the user's words.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// The names that the image is to get.
    pub tags: Vec<String>,
    /// The context's directory, or how the user named it.
    pub context: String,
    /// The Dockerfile's name.
    pub dockerfile: String,
    /// `--target`.
    pub target: Option<String>,
}

impl Subject {
    /// Says what a request is to build, under which names.
    pub fn of(request: &BuildRequest, tags: &[Reference]) -> Self {
        let context = request.context.as_ref();
        Self {
            tags: tags.iter().map(Reference::familiar).collect(),
            context: context.map_or_else(|| "-".into(), |path| path.display().to_string()),
            dockerfile: request.dockerfile.name.clone(),
            target: request.target.clone(),
        }
    }

    /// Returns what stands for Dockerfile and context: builds of one source are compared.
    pub fn source(&self) -> String {
        format!("{}\n{}", self.context, self.dockerfile)
    }
}

/// Collects what a build tells, and writes it down at the end. What commands say is written at
/// once, so that it does not fill the memory.
#[derive(Debug)]
pub struct Journal {
    builds: Builds,
    file: BuildFile,
    started: Timestamp,
    clock: Instant,
    subject: Subject,
    steps: Vec<BuildStep>,
    indices: BTreeMap<StepId, usize>,
    log: Option<BufWriter<File>>,
    /// The first thing that could not be written; the build does not depend on it.
    trouble: Option<BuildsError>,
}

impl Journal {
    /// Opens the journal of a build that begins now. Nothing is written yet.
    pub fn new(store: &Store, subject: Subject) -> Self {
        let started = Timestamp::now();
        let milliseconds = u64::try_from(started.as_millisecond()).unwrap_or(0);
        let id = new_id(started);
        Self {
            builds: Builds::of(store),
            file: BuildFile::new(milliseconds, &subject.source(), &id),
            started,
            clock: Instant::now(),
            subject,
            steps: Vec::new(),
            indices: BTreeMap::new(),
            log: None,
            trouble: None,
        }
    }

    /// Returns the build's name.
    pub fn id(&self) -> &str {
        self.file.id()
    }

    /// Takes what the build tells.
    pub fn event(&mut self, event: &Event) {
        match event {
            Event::Started { step, name } => self.start(*step, name),
            Event::Output { step, bytes, .. } => self.output(*step, bytes),
            Event::Warning { .. } => {}
            Event::Sited { step, site } => {
                self.with(*step, |known, _| known.site = Some((**site).clone()));
            }
            Event::Missed { step, miss } => {
                self.with(*step, |known, _| known.miss = Some((**miss).clone()));
            }
            Event::Status { step, status } => {
                self.with(*step, |known, now| part(known, status, now))
            }
            Event::Failed { step, error } => {
                self.with(*step, |known, _| known.error = Some(error.clone()));
            }
            Event::Kept { step, id } => {
                self.with(*step, |known, _| known.kept = Some(id.clone()));
            }
            Event::Finished {
                step,
                outcome,
                elapsed,
            } => self.with(*step, |known, _| {
                known.outcome = *outcome;
                known.time.elapsed = microseconds(*elapsed);
            }),
            Event::Sealed {
                step,
                below,
                chain,
                hashing,
            } => self.with(*step, |known, now| {
                known.below.clone_from(below);
                known.chain.clone_from(chain);
                known.hashing = hashing.map(|(ago, elapsed)| Span {
                    start: now.saturating_sub(microseconds(ago)),
                    elapsed: microseconds(elapsed),
                });
            }),
        }
    }

    fn with(&mut self, step: StepId, change: impl FnOnce(&mut BuildStep, u64)) {
        let now = microseconds(self.clock.elapsed());
        if let Some(known) = self.indices.get(&step) {
            change(&mut self.steps[*known], now);
        }
    }

    fn start(&mut self, step: StepId, name: &str) {
        let number = self.steps.len() + 1;
        self.indices.insert(step, self.steps.len());
        self.steps.push(BuildStep {
            number,
            name: name.to_owned(),
            site: None,
            // Until it is known better: what never ends was stopped.
            outcome: Outcome::Canceled,
            time: Span {
                start: microseconds(self.clock.elapsed()),
                elapsed: 0,
            },
            miss: None,
            error: None,
            below: None,
            chain: None,
            kept: None,
            hashing: None,
            parts: Vec::new(),
        });
    }

    /// Each piece of output has a line of its own in front: number of the step, microseconds,
    /// length in bytes.
    fn output(&mut self, step: StepId, bytes: &[u8]) {
        let Some(index) = self.indices.get(&step) else {
            return;
        };
        let number = index + 1;
        let now = microseconds(self.clock.elapsed());
        if self.log.is_none() && self.trouble.is_none() {
            match self.builds.create_log(&self.file) {
                Ok(log) => self.log = Some(BufWriter::new(log)),
                Err(error) => self.trouble = Some(error),
            }
        }
        if let Some(log) = &mut self.log {
            let written = writeln!(log, "{number} {now} {}", bytes.len())
                .and_then(|()| log.write_all(bytes))
                .and_then(|()| log.flush());
            if let Err(error) = written {
                self.trouble = Some(BuildsError::io("write", std::path::Path::new("the log"))(
                    error,
                ));
                self.log = None;
            }
        }
    }

    /// Returns the steps so far.
    pub fn steps(&self) -> &[BuildStep] {
        &self.steps
    }

    /// Writes the record, and forgets builds that are too old.
    ///
    /// # Errors
    /// When something could not be written; then the build is not remembered, or not all of it.
    pub fn finish(self, result: Result<String, String>) -> Result<(), BuildsError> {
        let (image, error) = match result {
            Ok(image) => (Some(image), None),
            Err(error) => (None, Some(error)),
        };
        let status = match error {
            None => BuildStatus::Completed,
            Some(_) => BuildStatus::Error,
        };
        let record = BuildRecord {
            version: VERSION,
            id: self.file.id().to_owned(),
            tags: self.subject.tags,
            context: self.subject.context,
            dockerfile: self.subject.dockerfile,
            target: self.subject.target,
            started: self.started,
            elapsed: microseconds(self.clock.elapsed()),
            status,
            image,
            error,
            steps: self.steps,
        };
        self.builds.put(&self.file, &record)?;
        self.builds.bound()?;
        self.trouble.map_or(Ok(()), Err)
    }
}

fn part(step: &mut BuildStep, status: &Status, now: u64) {
    let known = step.parts.iter_mut().find(|part| part.id == status.id);
    match known {
        Some(part) => {
            part.time.elapsed = now.saturating_sub(part.time.start);
            part.bytes = part.bytes.max(status.current);
        }
        None => step.parts.push(Part {
            id: status.id.clone(),
            time: Span {
                start: now,
                elapsed: 0,
            },
            bytes: status.current,
        }),
    }
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Twelve hexadecimal digits that no other build of this machine has.
fn new_id(started: Timestamp) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let text = format!("{} {} {count}", started.as_nanosecond(), std::process::id());
    Digest::of(text.as_bytes()).short().to_owned()
}
