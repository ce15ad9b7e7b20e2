//! Which bridge the containers of a run root are on, and how long it stays.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use mica_isolation::network::{Bridge, Lease};
use mica_oci::Digest;

use crate::Error;
use crate::containers::Containers;

/// The run root of the one store that a machine has by default.
const DEFAULT_RUNROOT: &str = "/run/mica";

impl Containers {
    /// Removes this run root's bridge if no container is on it.
    ///
    /// That of the default run root stays when its last container ends, as docker's does: to make
    /// and remove it takes longer than all else that starts a container. Those of other run roots
    /// go by themselves.
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
        Ok(Bridge::ensure(&name(self.runroot()), &self.network_directory())?.lease()?)
    }

    /// Frees an address; the process is to end after this.
    pub(crate) fn release_address(&self, lease: Lease) -> Result<(), Error> {
        if self.keeps_bridge() {
            // The kernel frees what the lease locks; only its own end would take the bridge along.
            std::mem::forget(lease);
            return Ok(());
        }
        Ok(lease.close()?)
    }

    /// Tells whether the bridge stays when nobody is on it.
    pub(crate) fn keeps_bridge(&self) -> bool {
        self.runroot() == Path::new(DEFAULT_RUNROOT)
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
