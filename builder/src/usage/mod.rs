//! What the build cache holds, and what of it goes.
//!
//! | kind | what | where |
//! | --- | --- | --- |
//! | `regular` | a step's layer, with all records that lead to it | `mica.db`, `layers/` |
//! | `exec.cachemount` | the directory of a cache mount | `cache/mounts/` |
//! | `source.git.checkout` | a repository that was built from | `cache/git/` |
//! | `source.http` | a file that was downloaded | `cache/downloads/` |
//! | `source.local` | digests of a context's files | `mica.db` |

mod entries;
mod prune;

pub use entries::{CacheEntry, CacheKind, usage};
pub use prune::{Kept, Pruned, prune};
