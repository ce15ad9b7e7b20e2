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

mod entry;
mod error;
mod extract;
mod file_history;
mod image;
mod index;
mod index_file;
mod instruction;
mod open;
mod read;
mod select;
mod source;
mod stream;
mod summary;
mod tree;

pub use entry::{Entry, Kind, shown};
pub use error::{InspectError, PathError};
pub use extract::{Ownership, file_name};
pub use file_history::{Touch, What};
pub use image::{Image, Layer, Stack};
pub use index::LayerIndex;
pub use index_file::IndexCache;
pub use instruction::instruction;
pub use read::Flow;
pub use select::{Case, Filter, FilterError, ModeTest, Pattern, SizeTest};
pub use summary::Summary;
pub use tree::{Change, ChangeKind, Changes, EntryId, Follow, Node, NodeId, Scope, Tree};
