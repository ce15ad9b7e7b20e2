//! Check: blobs against their digests, layers against their diff IDs, names against content.
//!
//! What is found here never stops the look at the rest; an error of the system does.

mod images;
mod layers;
mod repair;

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use mica_oci::{ChainId, Descriptor, Digest, MediaType, Verified};

use crate::blobs::copy;
use crate::durable::names_or_none;
use crate::{Store, StoreError, Tagged};

pub use repair::Repaired;

/// How closely layers are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// That they are there and described.
    Presence,
    /// That their files are those of their diff IDs. Reads every byte.
    Content,
}

/// What a check found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How many blobs were read.
    pub blobs: usize,
    /// How many unpacked layers were looked at.
    pub layers: usize,
    /// How many entries `index.json` has.
    pub images: usize,
    /// What is broken.
    pub problems: Vec<Problem>,
    /// Layers whose files cannot be compared with anything: another tool made their tar, and that
    /// is not kept. Only looked for with [`Depth::Content`].
    pub unverified: Vec<ChainId>,
    /// What processes that are gone left behind: garbage, no damage. `None` when the store is in
    /// use, so that it cannot be told from what is being made.
    pub leftovers: Option<Vec<PathBuf>>,
}

/// Something broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A blob is not what its name says, or cannot be read.
    #[error("blob {digest}: {reason}")]
    Blob {
        /// The blob.
        digest: Digest,
        /// What is wrong.
        reason: String,
    },
    /// An unpacked layer is not whole.
    #[error("layer {chain}: {reason}")]
    Layer {
        /// The stack that it ends.
        chain: ChainId,
        /// What is wrong.
        reason: String,
    },
    /// A name leads to something that is missing or broken.
    #[error("image {}: {missing}", entry.shown())]
    Image {
        /// The entry of `index.json`.
        entry: Box<Tagged>,
        /// What is not there.
        missing: Missing,
    },
}

/// What an image needs and has not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// A manifest or configuration.
    #[error("its document {0} is missing or broken")]
    Document(Digest),
    /// A layer's blob, while the layer is unpacked: it runs, but cannot be pushed or saved.
    #[error("the blob {0} of a layer is missing or broken")]
    Blob(Digest),
    /// A layer that is not unpacked and whose blob is not there.
    #[error("the layer {0} is missing or broken")]
    Layer(Digest),
    /// An index without any image that is here.
    #[error("no image of the index {0} is here")]
    Index(Digest),
}

/// What was found to be broken and is to be taken for missing.
#[derive(Debug, Default)]
pub(crate) struct Broken {
    blobs: HashSet<Digest>,
    chains: HashSet<ChainId>,
}

impl Report {
    /// Tells whether nothing is broken.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }
}

impl Tagged {
    /// Returns the name in docker's short form, or the digest of an image without a name.
    pub fn shown(&self) -> String {
        match &self.reference {
            Some(reference) => reference.familiar(),
            None => self.target.digest.to_string(),
        }
    }
}

impl Store {
    /// Looks at everything in the store. Others may use it meanwhile.
    ///
    /// # Errors
    /// When the store cannot be read; never for what is broken in it.
    pub fn check(&self, depth: Depth) -> Result<Report, StoreError> {
        let held = self.hold()?;
        let mut report = Report::default();
        let mut broken = Broken::default();
        self.check_blobs(&mut report, &mut broken)?;
        self.check_layers(depth, &mut report, &mut broken)?;
        self.check_images(&mut report, &broken)?;
        drop(held);
        report.leftovers = self.leftovers()?;
        Ok(report)
    }

    fn check_blobs(&self, report: &mut Report, broken: &mut Broken) -> Result<(), StoreError> {
        let names = names_or_none(&self.directory("blobs/sha256"))?;
        let digests: Vec<Digest> = names
            .iter()
            .filter_map(|name| format!("sha256:{name}").parse().ok())
            .collect();
        report.blobs = digests.len();
        let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
                scope.spawn(|| {
                    while let Some(digest) = digests.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if let Some(reason) = self.blob_problem(digest) {
                            let mut found = found.lock().expect("nobody panics with it");
                            found.push((digest.clone(), reason));
                        }
                    }
                });
            }
        });
        let mut found = found.into_inner().expect("nobody panics with it");
        found.sort_unstable();
        for (digest, reason) in found {
            broken.blobs.insert(digest.clone());
            report.problems.push(Problem::Blob { digest, reason });
        }
        Ok(())
    }

    /// Reads a blob to its end; says what is wrong with it.
    fn blob_problem(&self, digest: &Digest) -> Option<String> {
        let size = match self.blob_size(digest) {
            Ok(size) => size,
            // Collected meanwhile, or moved away by hand.
            Err(_) if !self.has_blob(digest) => return None,
            Err(error) => return Some(error.to_string()),
        };
        let descriptor = Descriptor::new(MediaType::OCI_LAYER, digest.clone(), size);
        let file = match self.open_blob(digest) {
            Ok(file) => file,
            Err(error) => return Some(error.to_string()),
        };
        let read = copy(&mut Verified::new(file, &descriptor), &mut io::sink());
        read.err().map(|error| error.to_string())
    }

    /// Lists what processes that are gone left behind; `None` when the store is in use.
    fn leftovers(&self) -> Result<Option<Vec<PathBuf>>, StoreError> {
        let Some(_alone) = self.hold_alone()? else {
            return Ok(None);
        };
        let mut found = self.abandoned()?;
        found.extend(self.abandoned_snapshots()?);
        found.extend(self.pending_of_earlier_boots()?);
        found.extend(self.layers_without_links()?);
        Ok(Some(found))
    }
}
