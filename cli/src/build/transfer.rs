//! How far the pull of a base image is, as parts of its step.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use mica_builder::{Event, Status, StepId};
use mica_oci::Digest;
use mica_store::{Outcome, Progress, TransferEvent};

use super::progress::Display;

/// Shows a transfer as parts of a step.
pub(super) struct StepTransfer<'d> {
    display: &'d Display,
    step: StepId,
    name: String,
    sizes: Mutex<HashMap<Digest, u64>>,
}

impl<'d> StepTransfer<'d> {
    pub(super) fn new(display: &'d Display, step: StepId, name: String) -> Self {
        Self {
            display,
            step,
            name,
            sizes: Mutex::default(),
        }
    }

    fn tell(&self, status: Status) {
        let step = self.step;
        self.display.event(&Event::Status { step, status });
    }

    fn layer(&self, digest: &Digest, current: Option<u64>) -> Status {
        let sizes = self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
        let total = sizes.get(digest).copied().unwrap_or(0);
        Status {
            id: digest.to_string(),
            current: current.unwrap_or(total),
            total,
            done: current.is_none(),
        }
    }
}

impl Progress for StepTransfer<'_> {
    fn event(&self, event: TransferEvent) {
        let extracting = |digest: &Digest| format!("extracting {digest}");
        match event {
            TransferEvent::Resolved { digest } => {
                self.tell(Status::done(format!("resolve {}@{digest}", self.name)));
            }
            TransferEvent::LayerStarted { digest, size } => {
                let mut sizes = self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
                sizes.insert(digest.clone(), size);
                drop(sizes);
                self.tell(self.layer(&digest, Some(0)));
            }
            TransferEvent::Bytes { digest, done } => self.tell(self.layer(&digest, Some(done))),
            TransferEvent::Unpacking { digest } => {
                self.tell(self.layer(&digest, None));
                self.tell(Status {
                    done: false,
                    ..Status::done(extracting(&digest))
                });
            }
            TransferEvent::Done { digest, outcome } => {
                if outcome == Outcome::Complete {
                    self.tell(self.layer(&digest, None));
                    self.tell(Status::done(extracting(&digest)));
                }
            }
            TransferEvent::LayerQueued { .. } | TransferEvent::Compressing { .. } => {}
        }
    }
}
