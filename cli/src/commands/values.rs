//! Values of flags that are read late, so that the message names the flag as docker does.

use crate::container::sizes::ByteSize;
use crate::failure::CliError;

/// Reads a size such as `64m`, in bytes.
pub(crate) fn size(flag: &'static str, text: &str) -> Result<u64, CliError> {
    match text.parse() {
        Ok(ByteSize(bytes)) => Ok(bytes),
        Err(error) => Err(CliError::FlagValue {
            flag,
            value: text.to_owned(),
            reason: error.to_string(),
        }),
    }
}
