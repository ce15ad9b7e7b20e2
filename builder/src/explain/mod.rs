//! Why a step ran: what decided it, kept beside its record and compared with that of an earlier
//! build.
//!
//! ```text
//! KeyBuilder ─▶ CacheKey            pure, decides reuse
//!           └─▶ Inputs ─▶ record    the same names and values, readable
//! copied files ─▶ FileList ─▶ pieces of kind "files", by content: equal ones are kept once
//! miss ─▶ Lineage: the records of the nearest earlier builds ─▶ compare ─▶ Miss
//! ```

mod compare;
mod files;
mod inputs;
mod lineage;
mod miss;

pub(crate) use files::{FileList, KeptFiles, ListedFile, fingerprint};
pub(crate) use inputs::{Below, Inputs, Value};
pub(crate) use lineage::{Asked, Lineage};
pub use miss::{Change, FileChange, FileChangeKind, FileChanges, Miss, Reason};
