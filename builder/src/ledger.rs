//! What a build found and did: exported to other places, and noted as used.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use mica_store::Store;

use crate::cache::KIND;
use crate::engine::Engine;
use crate::error::{ErrorKind, with_causes};
use crate::event::{Event, Outcome, Stream};
use crate::exchange::{
    CacheExport, CacheSource, CacheStep, Ending, ExportFailure, Exports, Finished, Noted,
};
use crate::key::CacheKey;

/// The steps of a build that others want to know of.
pub(crate) struct Ledger {
    exports: Mutex<Option<Exports>>,
    used: Mutex<Vec<CacheKey>>,
    inline: Mutex<Vec<Noted>>,
}

impl Ledger {
    /// Starts the ledger of a build; `result` are the stages whose layers are the image's.
    pub(crate) fn new(store: &Store, exports: &[CacheExport], result: &HashSet<usize>) -> Self {
        Self {
            exports: Mutex::new(Some(Exports::start(store, exports, result))),
            used: Mutex::default(),
            inline: Mutex::default(),
        }
    }
}

impl Engine<'_> {
    /// Returns where caches are imported from.
    pub(crate) fn cache_sources(&self) -> &[Arc<dyn CacheSource>] {
        self.host.cache_sources()
    }

    /// Takes a step that was done or found.
    pub(crate) fn note(&self, noted: Noted) {
        if let Some(exports) = &*lock(&self.ledger.exports) {
            exports.note(&noted);
        }
        if self.request.inline_cache {
            lock(&self.ledger.inline).push(noted);
        }
    }

    /// Takes a record that was used, so that others are removed before it.
    pub(crate) fn note_use(&self, key: &CacheKey) {
        lock(&self.ledger.used).push(key.clone());
    }

    /// Returns what an inline cache holds, where one is asked for.
    pub(crate) fn inline_steps(
        &self,
        result: &HashSet<usize>,
    ) -> Result<Option<Vec<CacheStep>>, ErrorKind> {
        if !self.request.inline_cache {
            return Ok(None);
        }
        let noted = lock(&self.ledger.inline);
        let steps = noted.iter().filter(|noted| result.contains(&noted.stage));
        let mut steps = steps.map(Noted::step).collect::<Result<Vec<_>, _>>()?;
        // Stages run side by side; the image is the same whichever was first.
        steps.sort_by(|one, other| one.key().0.as_str().cmp(other.key().0.as_str()));
        Ok(Some(steps))
    }

    /// Notes what was used and finishes the exports.
    pub(crate) fn close_ledger(&self, is_complete: bool) -> Result<(), ErrorKind> {
        let used = std::mem::take(&mut *lock(&self.ledger.used));
        let used: Vec<&str> = used.iter().map(|key| key.0.as_str()).collect();
        if !used.is_empty() {
            self.store.records().note_use(KIND, &used)?;
        }
        let Some(exports) = lock(&self.ledger.exports).take() else {
            return Ok(());
        };
        let ending = match is_complete {
            true => Ending::Complete,
            false => Ending::Failed,
        };
        let platform = &self.request.platform;
        exports.finish(ending, platform, |export, run| self.report(export, run))
    }

    /// Shows an export as a step of the build, with a line for each layer.
    fn report(
        &self,
        export: &CacheExport,
        run: &mut dyn FnMut() -> Finished,
    ) -> Result<(), ErrorKind> {
        let step = self.start_step(export.title.clone());
        let start = Instant::now();
        let (lines, result) = run();
        for line in lines {
            self.host.event(Event::Output {
                step,
                stream: Stream::Stderr,
                bytes: format!("{line}\n").into_bytes(),
            });
        }
        self.host.event(Event::Finished {
            step,
            outcome: match result {
                Ok(()) => Outcome::Done,
                Err(_) => Outcome::Failed,
            },
            elapsed: start.elapsed(),
        });
        match (result, export.failure) {
            (Err(error), ExportFailure::Warns) => {
                let text = with_causes(&error);
                self.host.event(Event::Warning { text });
                Ok(())
            }
            (result, _) => result,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
