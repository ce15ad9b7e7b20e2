//! One execution of a step among all builds of a store.
//!
//! ```text
//! <root>/cache/flights/<key>   locked by whoever runs the step, until its result is recorded
//! ```
//!
//! The lock is the kernel's: a build that is killed lets go, and the next one runs the step.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mica_store::Store;

use crate::error::ErrorKind;
use crate::key::CacheKey;

/// How often a build that waits for another one looks whether it was itself given up.
const LOOK: Duration = Duration::from_millis(10);

/// The right to run a step; given back when dropped.
#[derive(Debug)]
#[must_use = "the lock is released when this is dropped"]
pub(crate) struct Flight {
    path: PathBuf,
    _lock: File,
}

impl Flight {
    /// Waits until nobody else runs the step with this key; `None` when `given_up` says so first.
    pub(crate) fn begin(
        store: &Store,
        key: &CacheKey,
        given_up: impl Fn() -> bool,
    ) -> Result<Option<Self>, ErrorKind> {
        let directory = store.root().join("cache/flights");
        fs::create_dir_all(&directory).map_err(ErrorKind::io("create", &directory))?;
        let path = directory.join(key.0.hex());
        loop {
            let lock = File::create(&path).map_err(ErrorKind::io("create", &path))?;
            if !wait(&lock, &path, &given_up)? {
                return Ok(None);
            }
            // Whoever had the lock has removed the name: a lock on a file without one is none.
            if is_same(&lock, &path) {
                return Ok(Some(Self { path, _lock: lock }));
            }
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        // What is left is an empty file, which the next holder removes.
        let _ = fs::remove_file(&self.path);
    }
}

fn wait(lock: &File, path: &Path, given_up: impl Fn() -> bool) -> Result<bool, ErrorKind> {
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) if given_up() => return Ok(false),
            Err(TryLockError::WouldBlock) => std::thread::park_timeout(LOOK),
            Err(TryLockError::Error(source)) => return Err(ErrorKind::io("lock", path)(source)),
        }
    }
}

fn is_same(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn one_at_a_time_and_no_file_stays() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let key = CacheKey::of("run").finish();
        let inside = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let flight = Flight::begin(&store, &key, || false).unwrap();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(flight);
                    }
                });
            }
        });
        let left = fs::read_dir(store.root().join("cache/flights")).unwrap();
        assert_eq!(left.count(), 0);
        let _held = Flight::begin(&store, &key, || false).unwrap();
        assert!(Flight::begin(&store, &key, || true).unwrap().is_none());
    }
}
