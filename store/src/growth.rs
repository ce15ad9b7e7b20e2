//! A blob that is read while it is being written.
//!
//! ```text
//! registry ─▶ tmp/partial-<hex> ─▶ verified, renamed         the writer tells how far it is
//!                     └──────────▶ Follower ─▶ decompress ─▶ diff ID ─▶ files
//!
//! files ─▶ compress ─▶ tmp/compressed-… ─▶ synced, renamed
//!                            └───────────▶ Follower ─▶ registry
//! ```
//!
//! A follower sees the end only after the whole blob is right and has its place. When anything
//! goes wrong with the writer the follower fails, and whoever has it starts over from the blob.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// How far a blob is.
#[derive(Debug, Default)]
struct State {
    /// Where it grows, once there is anything.
    file: Option<Arc<File>>,
    /// How many bytes are there.
    length: u64,
    end: Option<End>,
}

/// How the writing ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The blob is whole and right.
    Whole,
    /// What was followed is of no use.
    Void,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// The writer's end. Dropped without [`whole`](Self::whole) it fails the follower.
#[derive(Debug, Default)]
pub(crate) struct Growth(Arc<Shared>);

/// A reader that waits for what is not there yet.
#[derive(Clone, Debug)]
pub(crate) struct Follower {
    shared: Arc<Shared>,
    position: u64,
}

impl Growth {
    /// Returns a reader from the start.
    pub(crate) fn follower(&self) -> Follower {
        Follower {
            shared: Arc::clone(&self.0),
            position: 0,
        }
    }

    /// Tells where the blob grows, and how much of it is there.
    pub(crate) fn opened(&self, file: File, length: u64) {
        let mut state = self.0.lock();
        state.file = Some(Arc::new(file));
        state.length = length;
        self.0.changed.notify_all();
    }

    /// Tells how many bytes are there.
    pub(crate) fn grown(&self, length: u64) {
        self.0.lock().length = length;
        self.0.changed.notify_all();
    }

    /// Tells that what was there is no longer.
    pub(crate) fn void(&self) {
        self.0.end(End::Void);
    }

    /// Tells whether anybody follows still.
    pub(crate) fn is_followed(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Tells that the blob is whole.
    pub(crate) fn whole(&self) {
        self.0.end(End::Whole);
    }
}

impl Drop for Growth {
    fn drop(&mut self) {
        self.0.end(End::Void);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nobody panics with it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first end counts.
    fn end(&self, end: End) {
        self.lock().end.get_or_insert(end);
        self.changed.notify_all();
    }

    /// Waits for something to read at `position`; `None` at the end of a whole blob.
    fn wait(&self, position: u64) -> io::Result<Option<(Arc<File>, u64)>> {
        let mut state = self.lock();
        loop {
            if state.end == Some(End::Void) {
                return Err(broken_off());
            }
            match &state.file {
                Some(file) if position < state.length => {
                    return Ok(Some((Arc::clone(file), state.length)));
                }
                Some(_) if state.end.is_some() => return Ok(None),
                // It was there before: there is nothing to follow.
                None if state.end.is_some() => return Err(io::ErrorKind::NotFound.into()),
                _ => {}
            }
            let woken = self.changed.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Follower {
    /// Returns another reader, which begins at a byte.
    pub(crate) fn at(&self, position: u64) -> Self {
        let shared = Arc::clone(&self.shared);
        Self { shared, position }
    }

    /// Waits until so many bytes are there, or all of them; tells whether it is all.
    pub(crate) fn wait_for(&self, length: u64) -> io::Result<bool> {
        let mut state = self.shared.lock();
        loop {
            match state.end {
                Some(End::Void) => return Err(broken_off()),
                Some(End::Whole) => return Ok(true),
                None if state.length >= length => return Ok(false),
                None => {}
            }
            let woken = self.shared.changed.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Tells whether the writer failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.shared.lock().end == Some(End::Void)
    }
}

fn broken_off() -> io::Error {
    io::Error::other("the blob was not written in one go")
}

impl Read for Follower {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some((file, length)) = self.shared.wait(self.position)? else {
            return Ok(0);
        };
        let most = usize::try_from(length - self.position).unwrap_or(usize::MAX);
        let count = buffer.len().min(most);
        let count = file.read_at(&mut buffer[..count], self.position)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.position += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_follower_sees_the_end_of_what_is_whole() {
        let growth = Growth::default();
        let mut follower = growth.follower();
        let reading = std::thread::spawn(move || {
            let mut all = Vec::new();
            follower.read_to_end(&mut all).map(|_| all)
        });
        let mut file = tempfile::tempfile().unwrap();
        growth.opened(file.try_clone().unwrap(), 0);
        for length in 1..=3 {
            file.write_all(b"x").unwrap();
            growth.grown(length);
        }
        growth.whole();
        assert_eq!(reading.join().unwrap().unwrap(), b"xxx");
    }

    #[test]
    fn a_follower_fails_with_the_writer() {
        for restarted in [false, true] {
            let growth = Growth::default();
            let mut follower = growth.follower();
            growth.opened(tempfile::tempfile().unwrap(), 0);
            if restarted {
                growth.void();
                growth.whole();
            }
            drop(growth);
            assert!(follower.read(&mut [0; 4]).is_err(), "{restarted}");
        }
        let stored = Growth::default();
        let mut follower = stored.follower();
        stored.whole();
        assert!(follower.read(&mut [0; 4]).is_err(), "nothing to follow");
    }
}
