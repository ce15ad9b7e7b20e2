//! The build engine: from a Dockerfile and a context to an image in the store.
//!
//! ```text
//! BuildRequest ─ parse ─▶ stages ─ plan ─▶ the stages that the target needs
//!    each stage on a thread of its own, as soon as someone needs it:
//!      instruction ─▶ CacheKey ─ hit ─▶ layer of an earlier build
//!                                └ miss ─▶ COPY/ADD: written straight into a layer directory
//!                                          RUN: snapshot ─▶ sandbox ─▶ rename of the upper directory
//!      the new layer is hashed behind the next instruction (see `seal`)
//!    target ─▶ config ─▶ manifest; names and outputs are the caller's
//! ```
//!
//! Rules: keys are pure functions (`docs/cache-key.md`); nothing is printed here, progress goes
//! out as [`Event`]s; a secret is in no key, record, event or layer.

mod ahead;
mod base;
mod behind;
mod builds;
mod cache;
mod context;
mod copy;
mod copy_files;
mod destination;
mod devices;
mod digests;
mod engine;
mod error;
mod event;
mod exchange;
mod explain;
mod flight;
mod history;
mod image;
mod kept;
mod key;
mod lanes;
mod ledger;
mod metadata;
mod mode;
mod mount_sources;
mod mounts;
mod narrate;
mod origin;
mod owner;
mod parallel;
mod place;
mod plan;
mod platforms;
mod provenance;
mod remote;
mod request;
mod run;
mod seal;
mod shell;
mod slots;
mod sources;
mod squash;
mod ssh;
mod stage;
mod state;
mod tree;
mod usage;
mod variables;

pub use builds::{
    BuildFile, BuildRecord, BuildStatus, BuildStep, Builds, BuildsError, Journal, Part, Span,
    Subject, trace,
};
pub use engine::Built;
pub use error::{BuildError, ErrorKind};
pub use event::{Event, Outcome, Status, StepId, StepSite, Stream};
pub use exchange::{
    CacheDestination, CacheExport, CacheSource, Content, ExchangeError, ExportFailure, ExportMode,
    LayoutCache, LayoutCacheError, ManifestForm, MountImport,
};
pub use explain::{Change, FileChange, FileChangeKind, FileChanges, Miss, Reason};
pub use kept::forget_failures;
pub use platforms::build;
pub use remote::{
    Answer, Checkout, Commit, Download, DownloadRequest, Downloads, GitPlace, GitReference,
    GitReferenceError, RemoteError, RemoteFile, Repositories, Want, redacted,
};
pub use request::{
    BaseImages, BuildRequest, CachePolicy, DockerfileSource, Entitlements, NamedContext,
    NetworkMode, Sandbox, SealedLayer, SecretSource, Squash, SshSource,
};
pub use shell::{Moment, Shell, ShellError, ShellGround, ShellRequest, open_shell};
pub use usage::{CacheEntry, CacheKind, Kept, Pruned, prune, usage};
pub use variables::predefined_arguments;
