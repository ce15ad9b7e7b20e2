//! Logins for remote sources, among the build's secrets.

use std::collections::BTreeMap;
use std::fs;

use super::RemoteError;
use crate::request::SecretSource;

/// Reads a secret; `None` for one that was not given.
pub(super) fn read_secret(
    secrets: &BTreeMap<String, SecretSource>,
    id: &str,
) -> Result<Option<String>, RemoteError> {
    let value = match secrets.get(id) {
        None => return Ok(None),
        Some(SecretSource::Value(value)) => value.clone(),
        Some(SecretSource::File(path)) => fs::read(path).map_err(|source| RemoteError::Secret {
            id: id.to_owned(),
            source,
        })?,
    };
    Ok(Some(String::from_utf8_lossy(&value).trim_end().to_owned()))
}
