//! The field's words and documents.
//!
//! ```text
//! Reference ──resolve──▶ Descriptor ──fetch──▶ Document<Manifest>
//!                                               ├─ config: Descriptor ──▶ Document<ImageConfig>
//!                                               └─ layers: [Descriptor] ─▶ bytes ─▶ DiffId ─▶ ChainId
//! ```
//!
//! Plain values and the contracts that move them. This room does no I/O of its own: the store, a
//! registry, an archive and a memory fake all implement [`Fetch`], [`Push`], [`Resolve`] and [`Tag`].

mod config;
mod contracts;
mod descriptor;
mod digest;
mod document;
mod manifest;
mod media_type;
mod mount;
mod platform;
mod reference;
mod verify;

pub use config::{ContainerConfig, Healthcheck, History, ImageConfig, RootFs};
pub use contracts::{BlobReader, ContractError, Fetch, Growing, Push, Resolve, Tag};
pub use descriptor::Descriptor;
pub use digest::{ChainId, DiffId, Digest, DigestError, Hasher};
pub use document::{Document, DocumentError};
pub use manifest::{Index, Manifest};
pub use media_type::{Compression, MediaType};
pub use mount::{Access, Mount, MountKind, UpperDirectory};
pub use platform::{Platform, PlatformError};
pub use reference::{Reference, ReferenceError};
pub use verify::{Verified, VerifyError};
