//! Layers as tar streams and as directories in overlayfs form. The formats are described in
//! `docs/layer-format.md`.

mod apply;
mod copy;
mod decompress;
mod diff;
mod error;
mod fold;
mod header;
mod limits;
mod pax;
mod sparse;
mod tar_reader;
mod upper;
mod whiteout;

pub(crate) use apply::{Applied, apply};
pub(crate) use copy::{copy_tree, link_tree};
pub(crate) use decompress::Decompressed;
pub use decompress::is_archive;
pub use diff::{Rewrite, Times};
pub(crate) use diff::{Tree, Written, write_tar, write_trees};
pub use error::{EntryError, FileError, LayerError, TarError};
pub use fold::{PlainTree, apply_onto};
pub use limits::{DanglingLinks, Limits, Ownership};
pub(crate) use tar_reader::TarReader;
pub(crate) use upper::Upper;
