//! What a build found and did: exported to other places, and noted as used.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use mica_oci::Platform;

use crate::cache::KIND;
use crate::engine::Engine;
use crate::error::{ErrorKind, with_causes};
use crate::event::{Event, Outcome, StepId, Stream};
use crate::exchange::{
    Attempt, CacheExport, CacheSource, CacheStep, Ending, ExportFailure, Exports, Finished, Noted,
};
use crate::key::CacheKey;
use crate::request::BaseImages;

/// The steps of a build that others want to know of.
#[derive(Default)]
pub(crate) struct Ledger {
    attempt: Attempt,
    used: Mutex<Vec<CacheKey>>,
    inline: Mutex<Vec<Noted>>,
}

impl Engine<'_> {
    /// Returns where caches are imported from.
    pub(crate) fn cache_sources(&self) -> &[Arc<dyn CacheSource>] {
        self.host.cache_sources()
    }

    /// Takes a step that was done or found.
    pub(crate) fn note(&self, noted: Noted) {
        let exports = &self.shared.exports;
        exports.note(&self.ledger.attempt, &noted, &self.result);
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
        let steps = steps.map(Noted::step).collect::<Result<Vec<_>, _>>()?;
        Ok(Some(steps))
    }

    /// Notes what was used; what a build that starts over noted for exports is taken back.
    pub(crate) fn close_ledger(&self, starts_over: bool) -> Result<(), ErrorKind> {
        if starts_over {
            self.ledger.attempt.withdraw();
        }
        let used = std::mem::take(&mut *lock(&self.ledger.used));
        let used: Vec<&str> = used.iter().map(|key| key.0.as_str()).collect();
        if !used.is_empty() {
            self.store.records().note_use(KIND, &used)?;
        }
        Ok(())
    }
}

/// Finishes the exports of a build for all its platforms, each shown as a step with a line for each
/// layer.
pub(crate) fn finish_exports(
    exports: Exports,
    host: &dyn BaseImages,
    ending: Ending,
    platform: &Platform,
) -> Result<(), ErrorKind> {
    exports.finish(ending, platform, |export, run| report(host, export, run))
}

fn report(
    host: &dyn BaseImages,
    export: &CacheExport,
    run: &mut dyn FnMut() -> Finished,
) -> Result<(), ErrorKind> {
    let step = StepId::next();
    host.event(Event::Started {
        step,
        name: export.title.clone(),
    });
    let start = Instant::now();
    let (lines, result) = run();
    for line in lines {
        host.event(Event::Output {
            step,
            stream: Stream::Stderr,
            bytes: format!("{line}\n").into_bytes(),
        });
    }
    host.event(Event::Finished {
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
            host.event(Event::Warning { text });
            Ok(())
        }
        (result, _) => result,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
