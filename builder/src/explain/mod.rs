//! Why a step ran: what decided it, kept beside its record and compared with that of an earlier
//! build.
//!
//! ```text
//! KeyBuilder ─▶ CacheKey            pure, decides reuse
//!           └─▶ Inputs ─▶ record    the same names and values, readable
//! copied files ─▶ FileList ─▶ chunks of kind "files", by content: equal ones are kept once
//! ```

mod files;
mod inputs;

pub(crate) use files::{FileList, KeptFiles, ListedFile, fingerprint};
pub(crate) use inputs::{Below, Inputs, Value};
