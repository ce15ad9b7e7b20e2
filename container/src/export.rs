//! A container's whole file system as a tar stream.

use std::io::Write;

use mica_store::Rewrite;

use crate::containers::Containers;
use crate::{ContainerId, Error};

impl Containers {
    /// Writes what a container's root shows: its image, what the tool put there, and its own
    /// changes. Of volumes and other mounts there are the mount points. A running container is
    /// paused meanwhile.
    ///
    /// # Errors
    /// [`Error::Store`], also when `out` does not take the stream.
    pub fn export(&self, id: &ContainerId, out: impl Write) -> Result<(), Error> {
        let _hold = self.store().hold()?;
        let snapshot = self.store().open_snapshot(id.as_str())?;
        self.while_paused(id, || Ok(snapshot.write_tree(Rewrite::default(), out)?))
    }
}
