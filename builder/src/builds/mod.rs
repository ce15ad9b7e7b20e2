//! Past builds: what each one did, and what its commands said.
//!
//! ```text
//! <root>/builds/<started>-<source>-<id>.json   what was built, and each step; written at the end
//!               <started>-<source>-<id>.log    what the commands said; written as it comes, locked
//!                                              while the build runs
//! ```
//!
//! `started` is in milliseconds since 1970 as 12 hexadecimal digits, so names sort by time; `source`
//! stands for Dockerfile and context. Format: `docs/store-layout.md`. Nothing here is needed to
//! build: whatever cannot be read is as if it were not there.

mod journal;
mod record;
mod shelf;
mod trace;

pub use journal::{Journal, Subject};
pub use record::{BuildRecord, BuildStatus, BuildStep, Part, Span};
pub use shelf::{BuildFile, Builds, BuildsError};
pub use trace::trace;
