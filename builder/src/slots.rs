//! How many commands run at once: a number of places, and the memory that they share.

use std::fs;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::request::Sandbox;

/// What a step is taken to need where `--memory` does not say it, in bytes. Compilers and package
/// managers stay below it most of the time.
const USUAL_NEED: u64 = 256 << 20;

/// The limits on steps that run at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// How many may run.
    pub(crate) places: usize,
    /// How much memory they may need together, in bytes; the host's free memory counts in any case.
    pub(crate) memory: Option<u64>,
    /// The memory limit of each step, in bytes.
    pub(crate) need: Option<u64>,
}

impl Limits {
    /// Reads the limits of a build.
    pub(crate) fn of(sandbox: &Sandbox) -> Self {
        Self {
            places: sandbox.parallelism,
            memory: sandbox.memory,
            need: sandbox.limits.memory,
        }
    }
}

/// A counter of free places and memory.
pub(crate) struct Slots {
    limits: Limits,
    available: fn() -> Option<u64>,
    running: Mutex<usize>,
    freed: Condvar,
}

/// A place, given back when dropped.
pub(crate) struct Slot<'s>(&'s Slots);

impl Slots {
    pub(crate) fn new(limits: Limits) -> Self {
        Self::with_memory(limits, available_memory)
    }

    fn with_memory(limits: Limits, available: fn() -> Option<u64>) -> Self {
        Self {
            limits,
            available,
            running: Mutex::new(0),
            freed: Condvar::new(),
        }
    }

    /// Waits for a place. The first step always gets one: a limit that is too low for a single
    /// step makes a build slow, it does not stop it.
    pub(crate) fn take(&self) -> Slot<'_> {
        let full = |running: &mut usize| !self.admits(*running);
        let running = self.freed.wait_while(self.lock(), full);
        *running.unwrap_or_else(PoisonError::into_inner) += 1;
        Slot(self)
    }

    fn admits(&self, running: usize) -> bool {
        let Limits {
            places,
            memory,
            need,
        } = self.limits;
        let need = need.unwrap_or(USUAL_NEED);
        let taken = need.saturating_mul(running as u64 + 1);
        let within = memory.is_none_or(|memory| taken <= memory);
        // A step without a limit may need as little as nothing, so only what is free now counts.
        let free = || (self.available)().is_none_or(|free| free >= need);
        running == 0 || (running < places && within && free())
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        *self.0.lock() -= 1;
        self.0.freed.notify_all();
    }
}

/// What the host has available, in bytes. Source: proc_meminfo(5).
fn available_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn most(
        places: usize,
        memory: Option<u64>,
        need: Option<u64>,
        free: fn() -> Option<u64>,
    ) -> usize {
        let limits = Limits {
            places,
            memory,
            need,
        };
        let slots = Slots::with_memory(limits, free);
        (0..100)
            .find(|&running| !slots.admits(running))
            .unwrap_or(100)
    }

    #[test]
    fn places_and_memory_bound_what_runs() {
        const MEBI: u64 = 1 << 20;
        let plenty = || Some(u64::MAX);
        assert_eq!(most(4, None, None, plenty), 4);
        assert_eq!(most(0, None, None, plenty), 1);
        assert_eq!(most(4, Some(600 * MEBI), Some(200 * MEBI), plenty), 3);
        assert_eq!(most(4, Some(600 * MEBI), None, plenty), 2);
        assert_eq!(most(4, Some(1), None, plenty), 1);
        assert_eq!(most(4, None, None, || Some(100 * MEBI)), 1);
        assert_eq!(most(4, None, Some(50 * MEBI), || Some(100 * MEBI)), 4);
        assert!(available_memory().is_some_and(|free| free > 0));
    }
}
