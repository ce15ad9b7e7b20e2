//! What `mica build` is made of: finding the context, the program around the engine, showing it.

mod arguments;
mod cache_options;
mod cache_registry;
mod context;
mod host;
mod output;
mod progress;
mod report;

pub(crate) use arguments::{named_contexts, request};
pub(crate) use cache_options::Caches;
pub(crate) use context::open as open_context;
pub(crate) use host::{Host, Pull};
pub(crate) use output::Output;
pub(crate) use progress::{Display, Style};
pub(crate) use report::{BuildFailure, report};
