//! What the commands about containers share: flags, streams, filters.

pub(crate) mod changes;
pub(crate) mod create_options;
pub(crate) mod create_request;
mod mount_option;
pub(crate) mod sizes;
pub(crate) mod streams;
pub(crate) mod terminal;
pub(crate) mod variables;
