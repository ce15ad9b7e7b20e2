//! Archives: what `save` writes and `load` reads.
//!
//! ```text
//! docker ≥ 25, written here   manifest.json + oci-layout index.json blobs/sha256/<hex>
//! OCI, written here           oci-layout index.json blobs/sha256/<hex>
//! docker < 25, read only      manifest.json <hex>.json <id>/layer.tar (or links between them)
//! ```
//!
//! An archive is looked through twice, so one that comes through a pipe is kept in a temporary
//! file. Paths in it are names to look up in its own table of contents, never paths of the host.

mod contents;
mod docker;
mod install;
mod load;
mod look;
mod save;
mod whole;

use std::collections::BTreeMap;
use std::io;

use mica_oci::{Digest, ReferenceError};

use crate::{Image, ImageSet, StoreError};
use mica_oci::Reference;

pub use contents::Section;
pub use install::ArchivedImage;

pub(crate) use contents::Contents;
pub(crate) use load::IMAGE_NAME;
pub use load::{load, load_directory, load_file};
pub use look::Archive;
pub use save::save;
pub(crate) use save::{entries, write_layer};

/// What kind of archive to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArchiveFormat {
    /// What `docker save` writes since version 25: also a valid OCI layout. Older ones load it.
    Docker,
    /// An OCI image layout in a tar file.
    Oci,
}

/// An image, or an index with its images, that is to be saved under a name.
#[derive(Clone, Debug)]
pub struct Named {
    /// The name.
    pub reference: Option<Reference>,
    /// What is saved.
    pub set: ImageSet,
    /// Annotations of its entry in `index.json`.
    pub annotations: BTreeMap<String, String>,
}

/// An image that was loaded, under one of its names.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The name that the archive gave it.
    pub reference: Option<Reference>,
    /// The image.
    pub image: Image,
}

/// Why an archive could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The archive's own bytes cannot be read.
    #[error("cannot read the archive")]
    Read(#[source] io::Error),
    /// The archive cannot be written.
    #[error("cannot write the archive")]
    Write(#[source] io::Error),
    /// Docker's table of images has no place for an index.
    #[error("docker exporter does not currently support exporting manifest lists")]
    ManifestList,
    /// It is no tar stream, or one of its headers is broken.
    #[error("not an image archive: it is no tar stream, or a damaged one")]
    NotTar,
    /// There is no image in it.
    #[error("not an image archive: it has neither manifest.json nor index.json")]
    NotAnArchive,
    /// Something that its documents name is missing.
    #[error("the archive has no `{path}`")]
    Missing {
        /// The path inside the archive.
        path: String,
    },
    /// A document is longer than any real one.
    #[error("`{path}` in the archive has {size} bytes, more than the 4 MiB that are read")]
    LongDocument {
        /// The path inside the archive.
        path: String,
        /// Its size in bytes.
        size: u64,
    },
    /// A document's JSON is broken.
    #[error("cannot parse `{path}` in the archive")]
    Parse {
        /// The path inside the archive.
        path: String,
        /// Where the JSON is at fault.
        #[source]
        source: serde_json::Error,
    },
    /// An image's name in it is none.
    #[error("the archive names an image `{name}`")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        #[source]
        source: ReferenceError,
    },
    /// Layers and configuration do not fit together.
    #[error("image {config} has {layers} layers but {diff_ids} diff IDs")]
    LayerCount {
        /// The configuration.
        config: Digest,
        /// How many layers the archive lists.
        layers: usize,
        /// How many layers the configuration lists.
        diff_ids: usize,
    },
}
