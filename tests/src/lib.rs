//! What the end-to-end tests share: a machine of their own to run `mica` on, and the runner.
//!
//! A [`Machine`] is a pair of temporary directories for store and run state; two of them never
//! meet. Dropping one removes its containers and fails the test if anything is left behind.

mod command;
mod docker;
mod forward;
mod git;
mod host;
mod machine;
mod peers;
mod proxy;
mod python;
mod runner;
mod s3;
mod serving;
#[cfg(target_arch = "x86_64")]
mod tracer;
mod tree;
mod web;

pub use command::{Finished, run, run_with_input};
pub use docker::DockerDaemon;
pub use forward::ForwardProxy;
pub use git::GitServer;
pub use host::{host_leftovers, settles_to};
pub use machine::{Machine, mica, repository};
pub use peers::{Registry, TokenServer, base_images, needs};
pub use proxy::{NetworkFault, Proxy};
pub use python::python_environment;
pub use runner::{Outcome, Skip, Test, run_tests};
pub use s3::S3Server;
pub use serving::Serving;
#[cfg(target_arch = "x86_64")]
pub use tracer::{Fault, Traced, trace};
pub use tree::{list_overlay, list_tree, make_rich_tree};
pub use web::{Page, WebServer};
