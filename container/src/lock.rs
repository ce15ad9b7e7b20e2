//! Kernel locks on files (flock(2)): released when their holder dies, however it dies.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::Error;
use crate::error::At;

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: OwnedFd,
}

/// Takes a lock for itself, waiting for others; makes the file.
pub(crate) fn exclusive(path: &Path) -> Result<Lock, Error> {
    let file = open(path, OFlags::CREATE)?;
    lock(&file, FlockOperation::LockExclusive).at("lock", path)?;
    Ok(Lock { _file: file })
}

/// Takes a lock for itself unless someone has it; makes the file.
pub(crate) fn try_exclusive(path: &Path) -> Result<Option<Lock>, Error> {
    let file = open(path, OFlags::CREATE)?;
    match lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Ok(None),
        locked => locked.at("lock", path).map(|()| Some(Lock { _file: file })),
    }
}

/// Tells whether someone has the lock for itself.
pub(crate) fn is_held(path: &Path) -> Result<bool, Error> {
    let file = match open(path, OFlags::empty()) {
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Ok(false);
        }
        opened => opened?,
    };
    match lock(&file, FlockOperation::NonBlockingLockShared) {
        Err(Errno::WOULDBLOCK) => Ok(true),
        locked => locked.at("lock", path).map(|()| false),
    }
}

/// Waits until nobody has the lock for itself.
pub(crate) fn wait_until_free(path: &Path) -> Result<(), Error> {
    match open(path, OFlags::empty()) {
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(()),
        opened => lock(&opened?, FlockOperation::LockShared).at("lock", path),
    }
}

fn open(path: &Path, flags: OFlags) -> Result<OwnedFd, Error> {
    let flags = flags | OFlags::RDWR | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::from_raw_mode(0o600)).at("open", path)
}

fn lock(file: &OwnedFd, operation: FlockOperation) -> Result<(), Errno> {
    rustix::io::retry_on_intr(|| rustix::fs::flock(file, operation))
}
