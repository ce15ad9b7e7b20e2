//! What can go wrong in the store.

use std::io;
use std::path::{Path, PathBuf};

use mica_oci::{ChainId, DiffId, Digest, DocumentError};

/// An error of the store: what was attempted, and on which path, digest or name.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The system refused an operation on a file.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was attempted: a verb.
        action: &'static str,
        /// The path it was attempted on.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The store was made by another version of this program.
    #[error("the store {} has format version `{found}`, this program reads version `{}`", root.display(), crate::store::VERSION)]
    Version {
        /// The store's root.
        root: PathBuf,
        /// What the store's `version` file holds.
        found: String,
    },
    /// A store that is only read cannot be used.
    #[error("cannot use the additional store {}: {reason}", root.display())]
    Shared {
        /// Its root.
        root: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A name is in a store that is only read.
    #[error("{name} is in the additional store {}, which is only read", root.display())]
    ReadOnly {
        /// The name in docker's short form.
        name: String,
        /// That store's root.
        root: PathBuf,
    },
    /// Layers cannot be unpacked in a plain user's store.
    #[error("the layer {digest} stays packed in {}, the store of a plain user", root.display())]
    Packed {
        /// The layer's blob.
        digest: Digest,
        /// The store's root.
        root: PathBuf,
    },
    /// A blob is not in the store.
    #[error("blob {digest} is not in the store {}", root.display())]
    MissingBlob {
        /// The blob.
        digest: Digest,
        /// The store's root.
        root: PathBuf,
    },
    /// Bytes that were read are not those that were asked for, or could not be read.
    #[error("cannot read the content of {digest}")]
    Content {
        /// The digest asked for.
        digest: Digest,
        /// A [`mica_oci::VerifyError`] or the reader's own error.
        #[source]
        source: io::Error,
    },
    /// A document is longer than any real one.
    #[error("document {digest} has {size} bytes, more than the 4 MiB that are read")]
    LongDocument {
        /// The document.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// A document's JSON is broken.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// A file of the store is not the JSON it should be.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the JSON is at fault.
        #[source]
        source: serde_json::Error,
    },
    /// No image has that name.
    #[error("no such image: {name}")]
    NotFound {
        /// The name as given.
        name: String,
        /// Names that are much like it, the nearest first.
        near: Vec<String>,
    },
    /// More than one image's ID starts like that.
    #[error("image ID prefix `{prefix}` is ambiguous: {}", matches.join(", "))]
    Ambiguous {
        /// The prefix as given.
        prefix: String,
        /// The short IDs that start with it.
        matches: Vec<String>,
    },
    /// An index lists nothing for the platform asked for.
    #[error("{digest} has nothing for platform {wanted}, {}", only_for(available))]
    Platform {
        /// The index.
        digest: Digest,
        /// The platform asked for.
        wanted: String,
        /// The platforms that it has.
        available: Vec<String>,
    },
    /// A descriptor that should be of an image has some other type.
    #[error("{digest} is no image but `{media_type}`")]
    NotAnImage {
        /// The content.
        digest: Digest,
        /// Its media type.
        media_type: String,
    },
    /// A tag needs a tag: a name with a digest alone cannot be given.
    #[error("cannot tag an image with `{reference}`: the name has a digest")]
    TagWithDigest {
        /// The name as given.
        reference: String,
    },
    /// The files of a layer are no longer those that its diff ID was computed from.
    #[error("layer {} has changed: its diff ID is {actual}, it was {expected}", path.display())]
    LayerChanged {
        /// The layer's directory.
        path: PathBuf,
        /// What the layer was registered as.
        expected: DiffId,
        /// What its files give now.
        actual: DiffId,
    },
    /// A tar stream cannot be applied, or a layer not be archived.
    #[error(transparent)]
    Layer(#[from] crate::LayerError),
    /// A layer's blob cannot be unpacked.
    #[error("cannot unpack the layer {digest}")]
    Unpack {
        /// The blob.
        digest: Digest,
        /// Why.
        #[source]
        source: Box<StoreError>,
    },
    /// A layer's blob holds another tar stream than the image says.
    #[error("the layer {digest} has the diff ID {actual}, expected {expected}")]
    DiffId {
        /// The blob.
        digest: Digest,
        /// What the image's configuration says.
        expected: DiffId,
        /// What the blob holds.
        actual: DiffId,
    },
    /// A layer is not unpacked.
    #[error("the layer with diff ID {diff_id} (chain {chain}) is not unpacked")]
    MissingLayer {
        /// The layer's tar stream.
        diff_id: DiffId,
        /// The stack up to it.
        chain: ChainId,
    },
    /// A layer can be unpacked on top of registered ones only.
    #[error("the layer {} is not registered", path.display())]
    Unregistered {
        /// The layer below.
        path: PathBuf,
    },
    /// The layers below one were not unpacked; their own error says why.
    #[error("the layers below were not unpacked")]
    NoBase,
    /// There is no snapshot of that name.
    #[error("no such snapshot: {id}")]
    NoSnapshot {
        /// The name.
        id: String,
    },
    /// There is a snapshot of that name already.
    #[error("the snapshot {id} exists already")]
    SnapshotExists {
        /// The name.
        id: String,
    },
    /// Without overlayfs, what is written needs a file system that shares content between files.
    #[error("the file system of {} makes no clones of files, and overlayfs is not to be had there", tree.display())]
    NoClones {
        /// The snapshot's tree.
        tree: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The database of records failed in a way that making it anew does not mend.
    #[error("cannot use the records in {}", path.display())]
    Records {
        /// The database.
        path: PathBuf,
        /// SQLite's answer.
        #[source]
        source: rusqlite::Error,
    },
}

/// Adds what was attempted, and on which path, to a system's error.
pub(crate) trait At<T> {
    /// Turns the error into [`StoreError::Io`]; `action` is a verb.
    fn at(self, action: &'static str, path: &Path) -> Result<T, StoreError>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Io {
            action,
            path: path.to_owned(),
            source: source.into(),
        })
    }
}

fn only_for(platforms: &[String]) -> String {
    match platforms {
        [] => "nor for any other".into(),
        platforms => format!("only for: {}", platforms.join(", ")),
    }
}
