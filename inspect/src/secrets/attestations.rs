//! Secrets in what is said about an image: provenance, bills of materials.

use std::io::{self, Read};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mica_oci::{Descriptor, Digest, Manifest};
use serde_json::Value;

use super::scan::Scanner;
use super::{Leak, MOST_FINDINGS, Place, text_leaks, value_leaks};
use crate::InspectError;
use crate::image::Image;
use crate::source::Attestations;
use crate::stream::BUFFER;

/// Manifests and statements are parsed up to this size; in longer statements the fields are not told
/// apart.
const DOCUMENT: u64 = 4 << 20;

impl Image {
    /// Looks into all attestations: their annotations and statements.
    pub(super) fn attestation_leaks(
        &self,
        scanner: &Scanner,
        leaks: &mut Vec<Leak>,
    ) -> Result<(), InspectError> {
        let Some(attestations) = &self.attestations else {
            return Ok(());
        };
        for descriptor in &attestations.manifests {
            if leaks.len() < MOST_FINDINGS {
                manifest_leaks(scanner, attestations, descriptor, leaks)?;
            }
        }
        Ok(())
    }
}

fn manifest_leaks(
    scanner: &Scanner,
    attestations: &Attestations,
    descriptor: &Descriptor,
    leaks: &mut Vec<Leak>,
) -> Result<(), InspectError> {
    let digest = &descriptor.digest;
    let failed = |source| InspectError::Attestation {
        digest: digest.clone(),
        source,
    };
    let mut raw = Vec::new();
    let source = (attestations.source)(descriptor);
    let read = source.open()?.take(DOCUMENT + 1).read_to_end(&mut raw);
    read.map_err(failed)?;
    let manifest = serde_json::from_slice::<Manifest>(&raw);
    let manifest = manifest.map_err(|error| failed(error.into()))?;
    annotation_leaks(scanner, digest, "", &manifest.annotations, leaks);
    for (number, layer) in manifest.layers.iter().enumerate() {
        let statement = format!("statement {number}");
        annotation_leaks(
            scanner,
            digest,
            &format!("{statement}: "),
            &layer.annotations,
            leaks,
        );
        let source = (attestations.source)(layer);
        let scanned = statement_leaks(scanner, digest, &statement, &mut source.open()?, leaks);
        scanned.map_err(failed)?;
    }
    Ok(())
}

fn annotation_leaks(
    scanner: &Scanner,
    digest: &Digest,
    of: &str,
    annotations: &std::collections::BTreeMap<String, String>,
    leaks: &mut Vec<Leak>,
) {
    for (name, value) in annotations {
        let place = place(digest, format!("{of}annotation {name}"));
        text_leaks(scanner, value, &place, leaks);
    }
}

fn place(digest: &Digest, field: String) -> Place {
    Place::Attestation {
        digest: digest.clone(),
        field,
    }
}

/// Reads a statement to its end: its digest is checked there.
fn statement_leaks(
    scanner: &Scanner,
    digest: &Digest,
    statement: &str,
    content: &mut dyn Read,
    leaks: &mut Vec<Leak>,
) -> io::Result<()> {
    let mut start = Vec::new();
    (&mut *content).take(DOCUMENT + 1).read_to_end(&mut start)?;
    let value = match start.len() as u64 > DOCUMENT {
        true => None,
        false => serde_json::from_slice::<Value>(&start).ok(),
    };
    if let Some(mut value) = value {
        decode(&mut value);
        let place = |field| place(digest, format!("{statement}: {field}"));
        value_leaks(scanner, &value, "$", &place, leaks);
        return Ok(());
    }
    for (what, offset, excerpt) in scanner.stream(&mut start.chain(content), BUFFER)? {
        let place = place(digest, format!("{statement}: byte {offset}"));
        leaks.push(Leak {
            what,
            place,
            excerpt,
        });
    }
    Ok(())
}

/// Puts the text behind its base64: BuildKit's provenance has the Dockerfile so, signed envelopes
/// all of their statement.
fn decode(value: &mut Value) {
    match value {
        Value::String(text) => {
            let decoded = STANDARD.decode(&*text).ok().map(String::from_utf8);
            if let Some(Ok(decoded)) = decoded {
                text.push('\n');
                text.push_str(&decoded);
            }
        }
        Value::Array(values) => values.iter_mut().for_each(decode),
        Value::Object(values) => values.values_mut().for_each(decode),
        _ => {}
    }
}
