//! `--metadata-file` and `--iidfile`.

use std::fs;
use std::path::Path;

use mica_builder::Built;
use mica_oci::Digest;
use serde_json::{Map, Value, json};

use super::deliver::Delivered;
use super::flags::OutputArgs;
use crate::failure::CliError;

/// Writes the files that were asked for, and returns the image's ID: the digest of its
/// configuration, or of the index of several platforms.
pub(crate) fn write_results(
    args: &OutputArgs,
    built: &[Built],
    delivered: Option<&Delivered>,
    build: &str,
) -> Result<Digest, CliError> {
    let id = match delivered {
        Some(delivered) => match &delivered.config {
            Some(config) => config.digest.clone(),
            None => delivered.descriptor.digest.clone(),
        },
        None => built[0].image.id().clone(),
    };
    if let Some(path) = &args.iidfile {
        write(path, id.as_str())?;
    }
    if let Some(path) = &args.metadata_file {
        let text = serde_json::to_string_pretty(&metadata(delivered, build));
        write(path, &text.expect("it is plain JSON"))?;
    }
    Ok(id)
}

/// buildx's keys, sorted. A build's reference names builder and node, too; there is one.
fn metadata(delivered: Option<&Delivered>, build: &str) -> Value {
    let mut keys = Map::new();
    let reference = format!("default/default/{build}");
    keys.insert("buildx.build.ref".into(), json!(reference));
    let Some(delivered) = delivered else {
        return Value::Object(keys);
    };
    if let Some(config) = &delivered.config {
        keys.insert("containerimage.config.digest".into(), json!(config.digest));
    }
    let descriptor = &delivered.descriptor;
    keys.insert("containerimage.descriptor".into(), json!(descriptor));
    keys.insert("containerimage.digest".into(), json!(descriptor.digest));
    if !delivered.names.is_empty() {
        let names: Vec<_> = delivered.names.iter().map(ToString::to_string).collect();
        keys.insert("image.name".into(), json!(names.join(",")));
    }
    Value::Object(keys)
}

fn write(path: &Path, text: &str) -> Result<(), CliError> {
    fs::write(path, text).map_err(|source| CliError::File {
        action: "write",
        path: path.to_owned(),
        source,
    })
}
