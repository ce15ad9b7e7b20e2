//! Cache keys: pure functions of what decides a step's result. See `docs/cache-key.md`.

use std::fmt;

use mica_oci::{Digest, Hasher};
use serde::{Deserialize, Serialize};

use crate::explain::{Inputs, Value};

/// Changes whenever the meaning of a key changes, so that old records are never taken for new.
pub(crate) const VERSION: &str = "mica-cache-key-3";

/// The key of a file system state: of a base, or of a step on top of its parent.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct CacheKey(pub(crate) Digest);

impl CacheKey {
    /// Starts the key of an operation such as `run` or `copy`.
    pub(crate) fn of(operation: &str) -> KeyBuilder {
        let mut builder = KeyBuilder {
            hasher: Hasher::new(),
            inputs: Inputs {
                operation: operation.to_owned(),
                ..Inputs::default()
            },
        };
        builder.field(b"version");
        builder.field(VERSION.as_bytes());
        builder.field(b"operation");
        builder.field(operation.as_bytes());
        builder
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Collects the named inputs of a key. Every field carries its length, so no two lists of inputs
/// have the same bytes. What enters the key is kept in words, too, so that a miss can be explained.
pub(crate) struct KeyBuilder {
    hasher: Hasher,
    inputs: Inputs,
}

impl KeyBuilder {
    /// Adds a text input.
    pub(crate) fn text(mut self, name: &str, value: &str) -> Self {
        self.field(name.as_bytes());
        self.field(value.as_bytes());
        self.keep(name, Value::Text(value.to_owned()));
        self
    }

    /// Adds the parent's key; a step without one says so.
    pub(crate) fn parent(self, parent: &CacheKey) -> Self {
        self.text("parent", parent.0.as_str())
    }

    /// Adds a list of texts.
    pub(crate) fn list<'t>(
        mut self,
        name: &str,
        values: impl IntoIterator<Item = &'t str>,
    ) -> Self {
        let values: Vec<_> = values.into_iter().collect();
        self.field(name.as_bytes());
        self.hasher.update(&(values.len() as u64).to_le_bytes());
        for value in &values {
            self.field(value.as_bytes());
        }
        let kept = values.into_iter().map(str::to_owned).collect();
        self.keep(name, Value::List(kept));
        self
    }

    /// Returns the key.
    pub(crate) fn finish(self) -> CacheKey {
        self.finish_with_inputs().0
    }

    /// Returns the key and what it was made of.
    pub(crate) fn finish_with_inputs(self) -> (CacheKey, Inputs) {
        (CacheKey(self.hasher.finish()), self.inputs)
    }

    fn keep(&mut self, name: &str, value: Value) {
        self.inputs.values.push((name.to_owned(), value));
    }

    fn field(&mut self, bytes: &[u8]) {
        self.hasher.update(&(bytes.len() as u64).to_le_bytes());
        self.hasher.update(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_tell_inputs_apart() {
        let base = || CacheKey::of("run");
        let keys = [
            base().finish(),
            base().text("a", "b").finish(),
            base().text("ab", "").finish(),
            base().text("", "ab").finish(),
            base().list("a", ["b"]).finish(),
            base().list("a", ["b", ""]).finish(),
            base().list("a", ["", "b"]).finish(),
            CacheKey::of("copy").finish(),
        ];
        for (i, a) in keys.iter().enumerate() {
            for b in &keys[i + 1..] {
                assert_ne!(a, b);
            }
        }
        assert_eq!(base().text("a", "b").finish(), keys[1]);
    }
}
