//! Layers as tar streams and as directories in overlayfs form. The formats are described in
//! `docs/layer-format.md`.

mod ahead;
mod apply;
mod copy;
mod decompress;
mod diff;
mod error;
mod finisher;
mod fold;
mod header;
mod item;
mod limits;
mod lower;
mod pax;
mod recorder;
mod sparse;
mod tar_reader;
mod upper;
mod whiteout;

pub use ahead::SmallFile;
pub(crate) use apply::{Applied, apply};
pub(crate) use copy::{Content, Copier, copy_node, copy_tree, link_tree};
pub use decompress::{Decompressed, is_archive};
pub use diff::{Rewrite, Times};
pub(crate) use diff::{Tree, Written, write_tar, write_trees};
pub use error::{EntryError, FileError, LayerError, TarError};
pub use fold::{PlainTree, apply_onto};
pub use item::encode_header;
pub use limits::{DanglingLinks, Limits, Ownership};
pub(crate) use lower::LowerLayers;
pub use recorder::{Put, Recorder};
pub use sparse::SparseMap;
pub use tar_reader::{EntryKind, TarEntry, TarReader};
pub(crate) use upper::Upper;
pub use whiteout::Marker;
