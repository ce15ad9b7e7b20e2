//! Cache exchange: records and layers of a build that go elsewhere, and come from there.
//!
//! ```text
//! name ─▶ manifest ─┬─▶ config: keys ─▶ layers       read when a step is not in the store
//!                   └─▶ layers, compressed           fetched when a step needs their files
//! ```
//!
//! A layer goes out as soon as it is sealed, behind the next steps; what is there is never sent
//! again. Configuration, manifest and name come last. Format: `docs/cache-exchange.md`.

mod export;
mod format;
mod import;
mod layout;
mod mounts;
mod place;

pub(crate) use export::{Attempt, Ending, Exports, Finished, Noted};
pub use export::{CacheExport, ExportFailure, ExportMode};
pub use format::ManifestForm;
pub(crate) use format::{CacheStep, inline};
pub(crate) use import::{Import, Imports};
pub use layout::{LayoutCache, LayoutCacheError};
pub use mounts::MountImport;
pub(crate) use mounts::{directory_name as mount_directory_name, fetch as fetch_mounts};
pub use place::{CacheDestination, CacheSource, Content, ExchangeError};
