//! The content-addressed layer store.
//!
//! ```text
//! <root>/  oci-layout index.json blobs/sha256/<hex>      a valid OCI image layout
//!          layers/<layer id>/{fs,layer.json}             unpacked layers in overlayfs form
//!          chains/<chain id> -> ../layers/<layer id>     complete layers that are on the disk
//!          pending/<boot id>/<chain id> -> …             complete layers that may be in memory only
//!          snapshots/<id>/                               active read-write layers
//!          tmp/                                          unlocked names in here are garbage
//!          mica.db                                       records: losing them costs time, never data
//!          lock index.lock version
//! ```
//!
//! Rules: content is verified before it is renamed to its place; a tag is written after all that
//! it needs; `lock` is held shared by whoever makes content and exclusively by the collector. What
//! is not in this store may be in others that are only read (`shared.rs`).

mod archive;
mod blobs;
mod check;
mod collect;
mod compress;
mod compressed;
mod durable;
mod error;
mod export;
mod find;
mod growth;
mod images;
mod import;
mod incoming;
mod layer;
mod layers;
mod layout;
mod metadata;
mod packed;
mod records;
mod retention;
mod shared;
mod snapshots;
mod squash;
mod stacks;
mod store;
mod sys;
mod temporary;
mod transfer;
mod tree;
mod usage;
mod view;

pub use archive::{
    Archive, ArchiveError, ArchiveFormat, ArchivedImage, Loaded, Named, Section, load,
    load_directory, load_file, save,
};
pub use check::{Depth, Missing, Problem, Repaired, Report};
pub use collect::Collected;
pub use compress::{Codec, LevelError};
pub use error::StoreError;
pub use export::{ExistingLayers, ExportForm, ImageSet, MediaTypes, Origin, Outgoing};
pub use images::{Image, Tagged, choose};
pub use incoming::Incoming;
pub use layer::{
    DanglingLinks, Decompressed, EntryError, EntryKind, FileError, LayerError, Limits, Marker,
    Ownership, PlainTree, Put, Recorder, Rewrite, SmallFile, SparseMap, TarEntry, TarError,
    TarReader, Times, apply_onto, encode_header, is_archive,
};
pub use layers::{
    Layer, LayerDescription, LayerId, LayerIdError, LayerWriter, Stack, directory_tar,
};
pub use layout::{Layout, save_layout, write_layout_archive};
pub use metadata::Metadata;
pub use packed::LayerStorage;
pub use records::{RecordUse, Records};
pub use snapshots::{
    ActiveSnapshot, CommittedSnapshot, Durability, InitEntry, InitKind, SnapshotKind, Snapshotter,
    SnapshotterChoice, Written,
};
pub use store::{Store, StoreOptions, Transfers, UseLock};
pub use sys::{Attribute, Facts, Time, is_whiteout_mark};
pub use transfer::{
    LayerForm, Outcome, Progress, Selection, TransferError, TransferEvent, copy_graph, fetch_blob,
    fetch_document, join_platforms, publish, pull, push, push_layer, push_set, select,
};
pub use tree::concatenate_trees;
pub use usage::{CacheUsage, ImageUsage, Usage};
pub use view::{Entry, FileType, Follow, View};
