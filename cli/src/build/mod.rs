//! What `mica build` is made of: finding the context, the program around the engine, the checks,
//! and showing all of it.

mod arguments;
mod cache_filter;
mod cache_options;
mod cache_registry;
mod cache_s3;
mod call;
mod checked;
mod checker;
mod context;
mod definition;
mod diagnostic;
mod epoch;
mod excerpt;
mod explain;
mod frontend;
mod host;
mod metadata;
mod named;
mod output;
mod past;
mod progress;
mod remote_context;
mod report;
mod result;
mod sandbox;
mod ssh;
mod style;
mod transfer;

pub(crate) use arguments::{platforms, request, secrets, tags};
pub(crate) use cache_filter::{CacheFilter, duration};
pub(crate) use cache_options::Caches;
pub(crate) use cache_s3::S3CacheError;
pub(crate) use call::{Call, Method};
pub(crate) use checked::{Warnings, call, checked};
pub(crate) use checker::{Ask, Checker};
pub(crate) use context::{Context, Remotes, open as open_context};
pub(crate) use definition::{end, tell as tell_definition};
pub(crate) use diagnostic::{ErrorFormat, Reporting};
pub(crate) use explain::explain_ignore;
pub(crate) use frontend::unknown_frontend;
pub(crate) use host::{Host, Pull};
pub(crate) use named::named_contexts;
pub(crate) use output::{
    Attesting, Bases, Delivery, Goal, Origin, OutputArgs, Shipping, deliver_all,
};
pub(crate) use past::{print_log, shell_sandbox, source};
pub(crate) use progress::{Display, Style};
pub(crate) use remote_context::Fetcher;
pub(crate) use report::diagnostics;
pub(crate) use ssh::ssh;
pub(crate) use style::choose as choose_style;
