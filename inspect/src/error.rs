//! What can go wrong when an image is looked into.

use std::io;
use std::path::PathBuf;

use mica_oci::{ContractError, Digest};
use mica_store::{ArchiveError, StoreError, TarError, TransferError};

/// An error of this room: what was attempted, and on which image, layer or path.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The archive cannot be read.
    #[error("cannot look into {}", path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: ArchiveError,
    },
    /// A document of the image cannot be fetched.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// A layer or another blob cannot be fetched.
    #[error("cannot fetch the blob {digest}")]
    Fetch {
        /// The blob.
        digest: Digest,
        /// What the other side said.
        #[source]
        source: ContractError,
    },
    /// A layer's tar stream is broken.
    #[error("cannot read layer {layer}")]
    Layer {
        /// The layer: its number and short digest.
        layer: String,
        /// What is wrong.
        #[source]
        source: TarError,
    },
    /// An attestation cannot be read.
    #[error("cannot read the attestation {digest}")]
    Attestation {
        /// Its manifest.
        digest: Digest,
        /// What is wrong.
        #[source]
        source: io::Error,
    },
    /// The archive holds several images.
    #[error("{} holds {} images: {}", path.display(), names.len(), names.join(", "))]
    SeveralImages {
        /// The archive.
        path: PathBuf,
        /// Their names.
        names: Vec<String>,
    },
    /// The archive does not hold that image.
    #[error("{} has no image `{name}`, only: {}", path.display(), names.join(", "))]
    NoSuchImage {
        /// The archive.
        path: PathBuf,
        /// The name as given.
        name: String,
        /// Their names.
        names: Vec<String>,
    },
    /// The archive holds no image.
    #[error("{} holds no image", path.display())]
    NoImage {
        /// The archive.
        path: PathBuf,
    },
    /// No layer of the image is so called.
    #[error("{image} has no layer `{layer}`: it has {count}")]
    NoSuchLayer {
        /// The image.
        image: String,
        /// What was given.
        layer: String,
        /// How many it has.
        count: usize,
    },
    /// Several layers start with that digest.
    #[error("`{layer}` stands for more than one layer of {image}")]
    AmbiguousLayer {
        /// The image.
        image: String,
        /// What was given.
        layer: String,
    },
    /// A path cannot be found in the image.
    #[error("{image}: {path}: {why}")]
    Path {
        /// The image.
        image: String,
        /// The path.
        path: String,
        /// Why.
        why: PathError,
    },
    /// A file of the host cannot be used.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was attempted: a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The output cannot be written.
    #[error(transparent)]
    Output(#[from] io::Error),
}

/// Why a path leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// There is nothing.
    #[error("no such file or directory")]
    Missing,
    /// Something on the way is no directory.
    #[error("not a directory")]
    NotADirectory,
    /// It is a directory.
    #[error("is a directory")]
    Directory,
    /// It is neither a file nor a link to one.
    #[error("not a regular file")]
    NotAFile,
    /// Symbolic links lead in a circle.
    #[error("too many levels of symbolic links")]
    Loop,
}
