//! The one place that reads the environment, the home directory and configuration files.

mod auth_file;
mod aws;
mod credentials;
mod environment;
mod helper;
mod registries;
mod settings;

pub(crate) use auth_file::server_key;
pub(crate) use aws::credentials;
pub(crate) use credentials::{Kept, find, find_with_place, forget, keep, places};
pub(crate) use environment::{Directories, Environment};
pub(crate) use registries::Registries;
pub(crate) use settings::{CacheSettings, Settings, proxies, token_cache};
