//! How far a pull or a push is: bars on a terminal, lines elsewhere.

use std::collections::HashMap;
use std::sync::Mutex;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use mica_oci::Digest;
use mica_store::{Outcome, Progress, TransferEvent};

use crate::printer::Printer;

/// Which way content moves; decides the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From a registry.
    Pull,
    /// To a registry.
    Push,
}

/// Whether anything is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verbosity {
    /// As much as the output can show.
    Normal,
    /// Nothing: `-q`.
    Quiet,
}

/// Shows a transfer.
#[derive(Debug)]
pub(crate) struct TransferProgress {
    direction: Direction,
    output: Output,
    resolved: Mutex<Option<Digest>>,
}

#[derive(Debug)]
enum Output {
    None,
    Lines(Printer),
    Bars {
        all: MultiProgress,
        layers: Mutex<HashMap<Digest, ProgressBar>>,
    },
}

const MOVING: &str = "{prefix}: {msg} [{bar:40}] {decimal_bytes}/{decimal_total_bytes}";
const STATE: &str = "{prefix}: {msg}";

impl TransferProgress {
    /// Chooses how to show a transfer.
    pub(crate) fn new(printer: Printer, direction: Direction, verbosity: Verbosity) -> Self {
        let output = match verbosity {
            Verbosity::Quiet => Output::None,
            Verbosity::Normal if printer.is_terminal() => Output::Bars {
                all: MultiProgress::with_draw_target(printer.draw_target()),
                layers: Mutex::default(),
            },
            Verbosity::Normal => Output::Lines(printer),
        };
        Self {
            direction,
            output,
            resolved: Mutex::new(None),
        }
    }

    /// Returns what the name stands for, once that is known.
    pub(crate) fn resolved(&self) -> Option<Digest> {
        self.resolved.lock().ok()?.clone()
    }

    fn state(&self, digest: &Digest, state: &str, visibility: Visibility) {
        match &self.output {
            Output::None => {}
            Output::Lines(printer) if visibility == Visibility::Everywhere => {
                // The transfer does not depend on anybody reading about it.
                let _ = printer.line(format!("{}: {state}", digest.short()));
            }
            Output::Lines(_) => {}
            Output::Bars { all, layers } => {
                if let Ok(mut layers) = layers.lock() {
                    let bar = bar(all, &mut layers, digest);
                    bar.set_style(style(STATE));
                    bar.set_message(state.to_owned());
                }
            }
        }
    }

    fn moving(&self, digest: &Digest, change: impl FnOnce(&ProgressBar)) {
        if let Output::Bars { all, layers } = &self.output
            && let Ok(mut layers) = layers.lock()
        {
            change(bar(all, &mut layers, digest));
        }
    }

    fn started(&self, digest: &Digest, size: u64) {
        let message = match self.direction {
            Direction::Pull => "Downloading",
            Direction::Push => "Pushing",
        };
        self.moving(digest, |bar| {
            bar.set_length(size);
            bar.set_style(style(MOVING));
            bar.set_message(message);
        });
    }

    fn done(&self, digest: &Digest, outcome: Outcome) {
        let state = match (self.direction, outcome) {
            (Direction::Pull, Outcome::AlreadyThere) => "Already exists",
            (Direction::Pull, Outcome::Complete) => "Pull complete",
            (Direction::Push, Outcome::AlreadyThere) => "Layer already exists",
            (Direction::Push, Outcome::Complete) => "Pushed",
        };
        self.state(digest, state, Visibility::Everywhere);
        self.moving(digest, ProgressBar::abandon);
    }
}

/// Whether a state is worth a line of its own where lines cannot be redrawn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Visibility {
    Everywhere,
    Terminal,
}

impl Progress for TransferProgress {
    fn event(&self, event: TransferEvent) {
        match event {
            TransferEvent::Resolved { digest } => {
                if let Ok(mut resolved) = self.resolved.lock() {
                    *resolved = Some(digest);
                }
            }
            TransferEvent::LayerQueued { digest } => {
                let state = match self.direction {
                    Direction::Pull => "Pulling fs layer",
                    Direction::Push => "Preparing",
                };
                self.state(&digest, state, Visibility::Everywhere);
            }
            TransferEvent::LayerStarted { digest, size } => self.started(&digest, size),
            TransferEvent::Bytes { digest, done } => {
                self.moving(&digest, |bar| bar.set_position(done));
            }
            TransferEvent::Compressing { digest } => {
                self.state(&digest, "Compressing", Visibility::Terminal);
            }
            TransferEvent::Unpacking { digest } => {
                self.state(&digest, "Extracting", Visibility::Terminal);
            }
            TransferEvent::Done { digest, outcome } => self.done(&digest, outcome),
        }
    }
}

fn bar<'b>(
    all: &MultiProgress,
    layers: &'b mut HashMap<Digest, ProgressBar>,
    digest: &Digest,
) -> &'b ProgressBar {
    layers.entry(digest.clone()).or_insert_with(|| {
        let bar = all.add(ProgressBar::new(0).with_style(style(STATE)));
        bar.set_prefix(digest.short().to_owned());
        bar
    })
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template);
    style
        .expect("the templates are this file's own")
        .progress_chars("=> ")
}
