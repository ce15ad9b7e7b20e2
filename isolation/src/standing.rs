//! Mounts of the host itself, without a sandbox: they stay until somebody takes them away.

use std::path::Path;

use mica_oci::MountKind;
use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use crate::error::{At, Error, Step};
use crate::root;

/// Attaches a mount to a directory of the host.
///
/// # Errors
/// [`Error`] with the step that failed; without the right to mount, with `EPERM` in it.
pub fn mount(kind: &MountKind, target: &Path) -> Result<(), Error> {
    root::mount_root(kind, target).map(drop)
}

/// Detaches what is mounted at a directory of the host; tells whether anything was.
///
/// # Errors
/// [`Error`], when the mount is in use or may not be taken away.
pub fn unmount(target: &Path) -> Result<bool, Error> {
    match rustix::mount::unmount(target, UnmountFlags::NOFOLLOW) {
        Err(Errno::INVAL | Errno::NOENT) => Ok(false),
        unmounted => unmounted.at_path(Step::Unmount, target).map(|()| true),
    }
}
