//! Which layers are on the disk, and not in memory alone.
//!
//! ```text
//! pending/<boot ID>/<chain>   complete; perhaps only in the memory of this boot
//! chains/<chain>              complete, and on the disk
//! ```
//!
//! A layer is built upon long before anybody waits for the disk. Its link moves to `chains/` with
//! the next sync that began after it was made: one `syncfs(2)` for many layers. When the machine
//! loses power before, the next boot has another ID, and the links of the last one are garbage.
//! A name is only given to what is durable.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use mica_oci::{ChainId, Descriptor, Document, ImageConfig, Index, Manifest};

use crate::error::At;
use crate::store::sync_directory;
use crate::temporary::Trash;
use crate::{Store, StoreError};

/// Source: Linux, `Documentation/admin-guide/sysctl/kernel.rst`, "random".
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Returns the ID of this boot. Where there is none, one for this process alone: then nobody else
/// takes its links for good before they are synced.
pub(crate) fn boot_id() -> String {
    match fs::read_to_string(BOOT_ID) {
        Ok(id) if !id.trim().is_empty() => id.trim().to_owned(),
        _ => crate::temporary::random_name(),
    }
}

impl Store {
    /// Writes everything that the store's file system has in memory to the disk, by one
    /// `syncfs(2)`, and notes that the layers made before are durable.
    pub fn sync(&self) -> Result<(), StoreError> {
        let pending = self.pending_chains()?;
        let root = File::open(self.root()).at("open", self.root())?;
        rustix::fs::syncfs(&root).at("sync", self.root())?;
        for chain in &pending {
            self.promote(chain)?;
        }
        match pending.is_empty() {
            true => Ok(()),
            false => sync_directory(&self.directory("chains")),
        }
    }

    /// Makes sure that the layers of an image, or of all images of an index, are on the disk.
    pub(crate) fn make_durable(&self, target: &Descriptor) -> Result<(), StoreError> {
        match self.waits_for_sync(target)? {
            true => self.sync(),
            false => Ok(()),
        }
    }

    fn waits_for_sync(&self, target: &Descriptor) -> Result<bool, StoreError> {
        if !self.has_blob(&target.digest) {
            return Ok(false);
        }
        if target.media_type.is_index() {
            let index: Document<Index> = self.read_document(target)?;
            for child in &index.value().manifests {
                if self.waits_for_sync(child)? {
                    return Ok(true);
                }
            }
            return Ok(false);
        }
        if !target.media_type.is_manifest() {
            return Ok(false);
        }
        let manifest: Document<Manifest> = self.read_document(target)?;
        if !manifest.value().config.media_type.is_image_config() {
            // An artifact has no layers that are unpacked; its blobs were synced as they came.
            return Ok(false);
        }
        let config: Document<ImageConfig> = self.read_document(&manifest.value().config)?;
        let mut chain = None;
        for diff_id in &config.value().rootfs.diff_ids {
            let next = ChainId::extend(chain.as_ref(), diff_id);
            if self.pending_link(&next).is_symlink() {
                return Ok(true);
            }
            chain = Some(next);
        }
        Ok(false)
    }

    /// Moves a link whose layer is on the disk. One that is there and good stays: its layer is in
    /// use.
    fn promote(&self, chain: &ChainId) -> Result<(), StoreError> {
        let (from, to) = (self.pending_link(chain), self.chain_link(chain));
        let moved = match self.linked_layer(&to)? {
            Some(_) => fs::remove_file(&from),
            None => fs::rename(&from, &to),
        };
        match moved {
            // Another process did it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            moved => moved.at("move", &from),
        }
    }

    /// Returns the chains whose layers are complete but perhaps not on the disk.
    pub(crate) fn pending_chains(&self) -> Result<Vec<ChainId>, StoreError> {
        chains_in(&self.pending_directory())
    }

    /// Returns where the link of a layer is that may not be on the disk yet.
    pub(crate) fn pending_link(&self, chain: &ChainId) -> PathBuf {
        self.pending_directory().join(chain.0.hex())
    }

    pub(crate) fn pending_directory(&self) -> PathBuf {
        self.directory("pending").join(self.boot_id())
    }

    /// Removes the links of earlier boots. To be called while the store is held alone.
    pub(crate) fn remove_pending_of_earlier_boots(&self, trash: &Trash) -> Result<(), StoreError> {
        for directory in self.pending_of_earlier_boots()? {
            trash.take(&directory)?;
        }
        Ok(())
    }

    /// Returns where earlier boots left links.
    pub(crate) fn pending_of_earlier_boots(&self) -> Result<Vec<PathBuf>, StoreError> {
        let directory = self.directory("pending");
        let names = names_or_none(&directory)?.into_iter();
        let earlier = names.filter(|name| name != self.boot_id());
        Ok(earlier.map(|name| directory.join(name)).collect())
    }
}

/// How many bytes are gathered before the disk is asked to take them.
const WORTH_A_SYNC: u64 = 16 << 20;

/// A stream that is thrown away. What it was read from, files that were just written, goes to the disk
/// meanwhile, on a thread of its own, so that the [`Store::sync`] at the end finds little to do.
pub(crate) struct WriteBehind {
    /// Any file of the file system.
    on: Arc<File>,
    waiting: u64,
    sync: Option<JoinHandle<()>>,
}

impl WriteBehind {
    pub(crate) fn new(on: File) -> Self {
        Self {
            on: Arc::new(on),
            waiting: 0,
            sync: None,
        }
    }

    fn start_sync(&mut self) {
        if self.sync.as_ref().is_some_and(|sync| !sync.is_finished()) {
            return;
        }
        self.waiting = 0;
        let on = Arc::clone(&self.on);
        // A failure is met again, and told, by the sync that counts.
        self.sync = Some(std::thread::spawn(move || {
            let _ = rustix::fs::syncfs(&*on);
        }));
    }
}

impl Write for WriteBehind {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.waiting += bytes.len() as u64;
        if self.waiting >= WORTH_A_SYNC {
            self.start_sync();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lists the chains that have a link in a directory, which may be missing.
pub(crate) fn chains_in(directory: &Path) -> Result<Vec<ChainId>, StoreError> {
    let names = names_or_none(directory)?.into_iter();
    let chain = |name: String| format!("sha256:{name}").parse().ok().map(ChainId);
    Ok(names.filter_map(chain).collect())
}

/// Lists the names in a directory, sorted; none when it is missing. What is not UTF-8 is not ours.
pub(crate) fn names_or_none(directory: &Path) -> Result<Vec<String>, StoreError> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.at("read", directory)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.at("read", directory)?.file_name().into_string().ok());
    }
    names.sort_unstable();
    Ok(names)
}
