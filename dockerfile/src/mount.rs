//! `RUN --mount` and `RUN --device`: their values, read and expanded.

mod read;
#[cfg(test)]
mod tests;

use crate::csv::CsvError;
use crate::expand::ExpandError;
use crate::quote::Quoted;
use thiserror::Error;

/// A `--mount` flag as it was written; its values are known after expansion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountFlag {
    /// The flag's value: comma-separated `key=value` fields.
    pub value: String,
    /// The fields, in order: the key in lower case, and the value if there is a `=`.
    pub fields: Vec<MountField>,
}

/// A field of a `--mount` flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountField {
    /// The field as it was written.
    pub written: String,
    /// The key in lower case.
    pub key: String,
    /// The value, not expanded.
    pub value: Option<String>,
}

/// A mount of a `RUN` step.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mount {
    /// `type`; `bind` if it is not given.
    pub kind: MountKind,
    /// `from`: a stage, context or image to take the source from.
    pub from: Option<String>,
    /// `source` or `src`: a path in `from`; a secret's id.
    pub source: Option<String>,
    /// `target`, `dst` or `destination`: where to mount.
    pub target: Option<String>,
    /// `readonly`, `ro`, `readwrite`, `rw`; by default bind, secret and ssh mounts are read-only.
    pub read_only: bool,
    /// `size` of a tmpfs in bytes.
    pub size: Option<u64>,
    /// `id` of a cache, a secret or an ssh agent.
    pub id: Option<String>,
    /// `sharing` of a cache.
    pub sharing: Option<CacheSharing>,
    /// `required`: a secret or ssh agent that is missing is an error.
    pub required: bool,
    /// `env`: the variable that a secret is put into; empty for the secret's own name.
    pub env: Option<String>,
    /// `mode` of a secret, a socket or a new cache directory.
    pub mode: Option<u32>,
    /// `uid` of a secret, a socket or a new cache directory.
    pub uid: Option<u32>,
    /// `gid` of a secret, a socket or a new cache directory.
    pub gid: Option<u32>,
}

/// The types of `RUN --mount`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum MountKind {
    /// Files of the context, a stage or an image.
    #[default]
    Bind,
    /// A directory that outlives the build.
    Cache,
    /// A directory in memory.
    Tmpfs,
    /// A file or variable that never enters a layer.
    Secret,
    /// The socket of an ssh agent.
    Ssh,
}

impl MountKind {
    /// Returns the name as it is written after `type=`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Cache => "cache",
            Self::Tmpfs => "tmpfs",
            Self::Secret => "secret",
            Self::Ssh => "ssh",
        }
    }
}

/// How builds that run at once share a cache mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum CacheSharing {
    /// All use it at once.
    #[default]
    Shared,
    /// Each gets one of its own.
    Private,
    /// One waits for the other.
    Locked,
}

/// A device of a `RUN` step, e.g. `vendor.com/class=name,required`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Device {
    /// The device's name, as the container device interface writes it.
    pub name: String,
    /// Whether the step fails without it.
    pub required: bool,
}

/// What is wrong with a `--mount` or `--device` flag.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MountError {
    /// Quotes in the comma-separated value are wrong.
    #[error("failed to parse csv {what}: {problem}")]
    Csv {
        /// `mounts` or `devices`.
        what: &'static str,
        /// What is wrong.
        problem: CsvError,
    },
    /// A key that needs a value has none.
    #[error("invalid field '{0}' must be a key=value pair")]
    NoValue(String),
    /// A key that no mount has.
    #[error("unexpected key '{key}' in '{field}'{suggestion}")]
    UnknownKey {
        /// The key in lower case.
        key: String,
        /// The field as it was written.
        field: String,
        /// ` (did you mean X?)` or nothing.
        suggestion: String,
    },
    /// A key that this type of mount does not have.
    #[error("unexpected key '{key}' for mount type '{kind}'")]
    KeyForType {
        /// The key.
        key: String,
        /// The type's name.
        kind: &'static str,
    },
    /// A key that this type of mount does not allow.
    #[error("{key} not allowed for \"{kind}\" type mounts")]
    NotAllowed {
        /// The key.
        key: &'static str,
        /// The type's name.
        kind: &'static str,
    },
    /// A type that does not exist.
    #[error("unsupported mount type {}{suggestion}", Quoted(.value))]
    Type {
        /// The value given.
        value: String,
        /// ` (did you mean X?)` or nothing.
        suggestion: String,
    },
    /// A way of sharing that does not exist.
    #[error("unsupported sharing value {}{suggestion}", Quoted(.value))]
    Sharing {
        /// The value given.
        value: String,
        /// ` (did you mean X?)` or nothing.
        suggestion: String,
    },
    /// A truth value or size that can't be read.
    #[error("invalid value for {key}: {value}")]
    Value {
        /// The key.
        key: String,
        /// The value given.
        value: String,
    },
    /// A mode or id that can't be read.
    #[error("invalid value {value} for {key}")]
    Number {
        /// The key.
        key: String,
        /// The value given.
        value: String,
    },
    /// A variable in `from`.
    #[error("'from' doesn't support variable expansion, define alias stage instead")]
    VariableInFrom,
    /// `from` on a secret.
    #[error("secret mount should not have a from")]
    SecretFrom,
    /// `sharing` on a secret.
    #[error("secret mount should not define sharing")]
    SecretSharing,
    /// A secret without a name.
    #[error("invalid secret mount. one of source, target required")]
    SecretWithoutName,
    /// A secret with two names.
    #[error("both source and id can't be set")]
    SourceAndId,
    /// `sharing` on another mount than a cache.
    #[error("invalid cache sharing set for {0} mount")]
    SharingForType(&'static str),
    /// Two names of a device.
    #[error("device name already set to {0}")]
    DeviceNameTwice(String),
    /// A value could not be expanded.
    #[error(transparent)]
    Expand(#[from] ExpandError),
}
