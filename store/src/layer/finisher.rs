//! Files that have their content get owner, attributes, mode and times from a thread of its own,
//! while the next ones are written: that is half of the system calls of a small file.

use std::fs::File;
use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

use super::error::{During, EntryError};
use crate::sys::{self, Attribute, Facts};

/// Files that travel at a time; each is an open one.
const BATCH: usize = 16;

/// Batches on the way.
const DEPTH: usize = 2;

/// A file with its content.
pub(super) struct Unfinished {
    pub(super) file: File,
    pub(super) facts: Facts,
    pub(super) attributes: Vec<Attribute>,
    /// The name of its entry.
    pub(super) name: PathBuf,
}

/// The name of an entry that could not be finished, and why.
pub(super) type Failed = (PathBuf, EntryError);

/// Takes files; its thread starts when there are enough for one.
pub(super) struct Finisher<'s, 'e> {
    scope: &'s Scope<'s, 'e>,
    batch: Vec<Unfinished>,
    worker: Option<Worker<'s>>,
}

struct Worker<'s> {
    batches: SyncSender<Vec<Unfinished>>,
    thread: ScopedJoinHandle<'s, Result<(), Failed>>,
}

impl<'s, 'e> Finisher<'s, 'e> {
    pub(super) fn new(scope: &'s Scope<'s, 'e>) -> Self {
        Self {
            scope,
            batch: Vec::with_capacity(BATCH),
            worker: None,
        }
    }

    /// Takes a file. An error may be that of an earlier one.
    pub(super) fn take(&mut self, file: Unfinished) -> Result<(), Failed> {
        self.batch.push(file);
        if self.batch.len() < BATCH {
            return Ok(());
        }
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH));
        let scope = self.scope;
        let worker = self.worker.get_or_insert_with(|| Worker::start(scope));
        match worker.batches.send(batch) {
            Ok(()) => Ok(()),
            // The thread ends early only with an error.
            Err(_) => self.wait(),
        }
    }

    /// Finishes all that were taken.
    pub(super) fn wait(&mut self) -> Result<(), Failed> {
        let rest = finish(std::mem::take(&mut self.batch));
        let Some(Worker { batches, thread }) = self.worker.take() else {
            return rest;
        };
        drop(batches);
        let earlier = thread.join();
        earlier.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        rest
    }
}

impl<'s> Worker<'s> {
    fn start<'e>(scope: &'s Scope<'s, 'e>) -> Self {
        let (batches, taken) = sync_channel(DEPTH);
        let thread = scope.spawn(move || taken.into_iter().try_for_each(finish));
        Self { batches, thread }
    }
}

fn finish(batch: Vec<Unfinished>) -> Result<(), Failed> {
    batch.into_iter().try_for_each(|unfinished| {
        let Unfinished {
            file,
            facts,
            attributes,
            name,
        } = unfinished;
        let finished = sys::finish_file(&file, &facts, &attributes).during("set the metadata");
        finished.map_err(|error| (name, error))
    })
}
