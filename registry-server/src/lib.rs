//! The store as an OCI registry, and as a mirror of another one.
//!
//! ```text
//! connection ─▶ authentication ─▶ route ─┬─ manifests   read, put, delete
//!   (TLS)         (htpasswd)             ├─ blobs       read, ranges
//!                                        ├─ uploads     sessions, mounts
//!                                        └─ lists       tags, catalogue, referrers
//! ```
//!
//! Repository `NAME` of the server is image `NAME` of the store, as docker would write it out. No
//! copy is made: blobs come from the store's files, and layers that were made here are compressed
//! once. What is pushed is a blob of the store when its session ends, and an image when its
//! manifest comes. Source: OCI distribution specification 1.1.

mod authentication;
mod blobs;
mod config;
mod lists;
mod manifests;
mod mirror;
mod names;
mod published;
mod reply;
mod route;
mod server;
mod uploads;

pub use authentication::{Htpasswd, HtpasswdError};
pub use config::{Access, ServeConfig, ServeError, TlsIdentity};
pub use mirror::{NoUpstream, Upstream};
pub use server::Server;
