//! Looking into images: without unpacking them, and without a daemon.
//!
//! ```text
//! store, archive, layout, registry, directory ─▶ Image ─▶ LayerIndex of each layer ─▶ Stack
//!                                                 │          (kept by digest)          ├ Tree: the merged files
//!                                                 ▼                                    └ Changes of each layer
//!                                          content, layer by layer
//! ```
//!
//! Rules: a layer is read in one pass, and nothing of its content is kept in memory; what an image
//! holds is hostile; paths are resolved in the tree, never on the host.

mod compare;
mod efficiency;
mod entry;
mod error;
mod extract;
mod file_history;
mod gate;
mod image;
mod index;
mod index_file;
mod instruction;
mod open;
mod packages;
mod read;
mod sbom;
mod secrets;
mod select;
mod source;
mod stream;
mod summary;
mod tree;
mod treemap;
mod waste;

pub use compare::{
    Aspect, Difference, FileDifference, compare_config, compare_files, compare_history,
    compare_maps,
};
pub use efficiency::{Efficiency, InefficientPath};
pub use entry::{Entry, Kind, shown};
pub use error::{InspectError, PathError};
pub use extract::{Ownership, file_name};
pub use file_history::{Touch, What};
pub use gate::{Bytes, Gate, GateError, Part, Verdict};
pub use image::{Image, Layer, Stack};
pub use index::LayerIndex;
pub use index_file::IndexCache;
pub use instruction::instruction;
pub use packages::{Distribution, Ecosystem, Package};
pub use read::Flow;
pub use sbom::Materials;
pub use secrets::{DeclaredSecret, Leak, Place, Visibility};
pub use select::{Case, Filter, FilterError, ModeTest, Pattern, SizeTest};
pub use summary::Summary;
pub use tree::{Change, ChangeKind, Changes, EntryId, Follow, Node, NodeId, Scope, Tree};
pub use treemap::{Rectangle, treemap};
pub use waste::{Churn, DockerfileError, Finding, WasteKind, lines_of_layers};
