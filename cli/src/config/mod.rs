//! The one place that reads the environment, the home directory and configuration files.

mod auth_file;
mod aws;
mod credentials;
mod environment;
mod helper;
mod settings;

pub(crate) use auth_file::server_key;
pub(crate) use aws::credentials;
pub(crate) use credentials::{Kept, find, forget, keep};
pub(crate) use environment::{Directories, Environment};
pub(crate) use settings::{CacheSettings, Settings};
