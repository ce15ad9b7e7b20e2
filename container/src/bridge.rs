//! Which bridge the containers of a run root are on, and how long it stays.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use mica_isolation::WhenIdle;
use mica_isolation::network::{Bridge, Lease};
use mica_oci::Digest;

use crate::Error;
use crate::containers::Containers;

/// The run root of the one store that a machine has by default.
const DEFAULT_RUNROOT: &str = "/run/mica";

impl Containers {
    /// Removes this run root's bridge if nobody is on it.
    ///
    /// # Errors
    /// [`Error::Sandbox`].
    pub fn release_network(&self) -> Result<(), Error> {
        Ok(Bridge::release_if_idle(
            &name(self.runroot()),
            &self.network_directory(),
        )?)
    }

    /// Takes an address on this run root's bridge, which is made if it is missing.
    pub(crate) fn lease_address(&self) -> Result<Lease, Error> {
        let (name, when_idle) = (name(self.runroot()), when_idle(self.runroot()));
        Ok(Bridge::ensure(&name, &self.network_directory(), when_idle)?.lease()?)
    }

    fn network_directory(&self) -> PathBuf {
        self.runroot().join("network")
    }
}

/// Returns the name of a run root's bridge, which build steps are on as well: two run roots never
/// share one. At most 15 bytes, as interface names are.
pub fn name(runroot: &Path) -> String {
    if runroot == Path::new(DEFAULT_RUNROOT) {
        return "mica0".to_owned();
    }
    format!(
        "mica-{}",
        &Digest::of(runroot.as_os_str().as_bytes()).hex()[..8]
    )
}

/// Tells what becomes of a run root's bridge when nobody is on it: that of the default run root
/// stays, as docker's does; those of others go by themselves.
pub fn when_idle(runroot: &Path) -> WhenIdle {
    match runroot == Path::new(DEFAULT_RUNROOT) {
        true => WhenIdle::Keep,
        false => WhenIdle::Remove,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_roots_have_bridges_of_their_own() {
        assert_eq!(name(Path::new("/run/mica")), "mica0");
        let (one, other) = (name(Path::new("/a")), name(Path::new("/b")));
        assert!(one != other && one.len() <= 15, "{one} {other}");
    }
}
