//! The last lines of each step, for the report of a failure.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use mica_builder::{Event, Outcome, StepId};

use super::lines::{Lines, line_time};

/// How many lines a report shows.
const LINES: usize = 20;

/// The last lines of the steps that run, and of those that failed.
#[derive(Debug, Default)]
pub(super) struct Tails {
    running: BTreeMap<StepId, Tail>,
    failed: Vec<Tail>,
}

/// The last lines of a step.
#[derive(Debug)]
pub(super) struct Tail {
    /// The step's name.
    pub(super) name: String,
    /// The lines, with seconds in front.
    pub(super) lines: VecDeque<String>,
    start: Instant,
    open: Lines,
}

impl Tails {
    /// Takes what the build tells.
    pub(super) fn event(&mut self, event: &Event) {
        match event {
            Event::Started { step, name } => {
                let tail = Tail {
                    name: name.clone(),
                    lines: VecDeque::new(),
                    start: Instant::now(),
                    open: Lines::default(),
                };
                self.running.insert(*step, tail);
            }
            Event::Output { step, bytes, .. } => {
                if let Some(tail) = self.running.get_mut(step) {
                    let lines = tail.open.push(bytes);
                    tail.extend(lines);
                }
            }
            Event::Finished { step, outcome, .. } => {
                if let Some(mut tail) = self.running.remove(step)
                    && *outcome == Outcome::Failed
                {
                    let rest = tail.open.finish();
                    tail.extend(rest);
                    self.failed.push(tail);
                }
            }
            _ => {}
        }
    }

    /// Returns the steps that failed.
    pub(super) fn failed(&self) -> &[Tail] {
        &self.failed
    }
}

impl Tail {
    fn extend(&mut self, lines: impl IntoIterator<Item = String>) {
        let time = line_time(self.start.elapsed().as_secs_f64());
        for line in lines {
            self.lines.push_back(format!("{time} {line}"));
            if self.lines.len() > LINES {
                self.lines.pop_front();
            }
        }
    }
}
