//! `--attest`, `--provenance` and `--sbom`: taken where they ask for nothing.

use crate::failure::CliError;

/// Fails when attestations are asked for: there are none yet.
pub(super) fn check(
    attest: &[String],
    provenance: Option<&str>,
    sbom: Option<&str>,
) -> Result<(), CliError> {
    for text in attest {
        let disabled = text.split(',').any(|field| field == "disabled=true");
        if !disabled {
            return Err(unsupported("--attest", text));
        }
    }
    for (flag, value) in [("--provenance", provenance), ("--sbom", sbom)] {
        if let Some(value) = value
            && !matches!(value, "false" | "0" | "disabled=true")
        {
            return Err(unsupported(flag, value));
        }
    }
    Ok(())
}

fn unsupported(flag: &'static str, value: &str) -> CliError {
    CliError::FlagValue {
        flag,
        value: value.to_owned(),
        reason: "attestations are not supported yet".to_owned(),
    }
}
