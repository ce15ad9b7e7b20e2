//! Secrets in an image: in the files of every layer, hidden and removed ones too, in the history, in
//! the configuration and in the attestations.
//!
//! Looked for are values that somebody declared, private keys, tokens of known services, and values
//! that look random where a secret's name stands before them. What is found is never shown whole.

mod attestations;
mod patterns;
mod scan;

use std::io::{self, Read};

use mica_oci::{Digest, Document};

use crate::InspectError;
use crate::entry::shown;
use crate::image::Image;
use crate::read::Flow;
use crate::stream::BUFFER;

use patterns::{assignments, is_settings_file};
use scan::Scanner;

/// Text files with settings are looked into up to this size.
const SETTINGS: u64 = 1 << 20;

/// As many findings are kept: a hostile file can hold millions.
const MOST_FINDINGS: usize = 10_000;

/// A value that must not be in an image.
#[derive(Clone, PartialEq, Eq)]
pub struct DeclaredSecret {
    /// What it is called.
    pub name: String,
    /// The value. Blanks around it do not count.
    pub value: Vec<u8>,
}

impl std::fmt::Debug for DeclaredSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DeclaredSecret({})", self.name)
    }
}

/// A secret that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leak {
    /// What it is, such as `private key`, or `declared secret NAME`.
    pub what: String,
    /// Where it is.
    pub place: Place,
    /// Its first characters, for those who look for it; nothing of a declared value.
    pub excerpt: String,
}

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a file of a layer.
    File {
        /// The layer.
        layer: usize,
        /// The path, from the root.
        path: String,
        /// Offset in bytes.
        offset: u64,
        /// Whether somebody who starts a container sees the file.
        visibility: Visibility,
    },
    /// In a step of the history, counted from 0.
    History {
        /// The step.
        step: usize,
    },
    /// In the configuration or the manifest.
    Document {
        /// Which of them, and the field.
        field: String,
    },
    /// In an attestation, such as a build's provenance.
    Attestation {
        /// Its manifest.
        digest: Digest,
        /// Which statement or annotation, and the field.
        field: String,
    },
}

/// Whether a file is among the merged ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// It is.
    Visible,
    /// A later layer removed or replaced it; whoever has the image can still read it.
    Hidden,
}

impl Image {
    /// Looks for secrets everywhere in the image.
    ///
    /// # Errors
    /// When a layer or an attestation cannot be read.
    pub fn leaks(&self, declared: &[DeclaredSecret]) -> Result<Vec<Leak>, InspectError> {
        let scanner = Scanner::new(declared);
        let mut leaks = self.document_leaks(&scanner);
        self.attestation_leaks(&scanner, &mut leaks)?;
        let stack = self.full_stack()?;
        let nodes = stack.tree.walk(stack.tree.root());
        let visible: std::collections::HashSet<_> = nodes
            .filter_map(|(_, id)| stack.tree.node(id).data)
            .collect();
        for layer in 0..self.layers.len() {
            let entries = &self.index(layer)?.entries;
            self.visit(layer, |entry, content| {
                let path = &entries[entry].path;
                let id = crate::EntryId { layer, entry };
                let visibility = match visible.contains(&id) {
                    true => Visibility::Visible,
                    false => Visibility::Hidden,
                };
                for (what, offset, excerpt) in file_leaks(&scanner, path, content)? {
                    let path = shown(path);
                    let place = Place::File {
                        layer,
                        path,
                        offset,
                        visibility,
                    };
                    leaks.push(Leak {
                        what,
                        place,
                        excerpt,
                    });
                }
                Ok(match leaks.len() < MOST_FINDINGS {
                    true => Flow::Continue,
                    false => Flow::Stop,
                })
            })?;
        }
        Ok(leaks)
    }

    fn document_leaks(&self, scanner: &Scanner) -> Vec<Leak> {
        let mut leaks = Vec::new();
        let config = self.config.as_ref().map(Document::value);
        let steps = config.map(|config| config.history.iter().enumerate());
        for (number, step) in steps.into_iter().flatten() {
            let texts = [&step.created_by, &step.comment, &step.author];
            for text in texts.into_iter().flatten() {
                text_leaks(scanner, text, &Place::History { step: number }, &mut leaks);
            }
        }
        let run = config.map(|config| serde_json::to_value(&config.config).unwrap_or_default());
        if let Some(run) = run {
            let place = |field| Place::Document { field };
            value_leaks(scanner, &run, "config", &place, &mut leaks);
        }
        let manifest = self.manifest.as_ref().map(Document::value);
        for (name, value) in manifest.iter().flat_map(|manifest| &manifest.annotations) {
            let field = format!("annotation {name}");
            text_leaks(scanner, value, &Place::Document { field }, &mut leaks);
        }
        leaks
    }
}

type Found = (String, u64, String);

fn file_leaks(scanner: &Scanner, path: &[u8], content: &mut dyn Read) -> io::Result<Vec<Found>> {
    if !is_settings_file(path) {
        return scanner.stream(content, BUFFER);
    }
    let mut text = Vec::new();
    (&mut *content).take(SETTINGS).read_to_end(&mut text)?;
    let mut found = scanner.stream(&mut (&text[..]).chain(content), BUFFER)?;
    for (at, name, value) in assignments(&String::from_utf8_lossy(&text)) {
        found.push((format!("value of {name}"), at as u64, excerpt(&value)));
    }
    Ok(found)
}

/// Looks at all texts of a document's part.
fn value_leaks(
    scanner: &Scanner,
    value: &serde_json::Value,
    field: &str,
    place: &dyn Fn(String) -> Place,
    out: &mut Vec<Leak>,
) {
    use serde_json::Value;
    match value {
        Value::String(text) => text_leaks(scanner, text, &place(field.to_owned()), out),
        Value::Array(values) => {
            for (number, value) in values.iter().enumerate() {
                value_leaks(scanner, value, &format!("{field}[{number}]"), place, out);
            }
        }
        Value::Object(values) => {
            for (name, value) in values {
                let field = format!("{field}.{name}");
                // A label's name is what stands before its value.
                if let Value::String(text) = value {
                    text_leaks(scanner, &format!("{name}={text}"), &place(field), out);
                } else {
                    value_leaks(scanner, value, &field, place, out);
                }
            }
        }
        _ => {}
    }
}

fn text_leaks(scanner: &Scanner, text: &str, place: &Place, out: &mut Vec<Leak>) {
    let found = scanner.stream(&mut text.as_bytes(), BUFFER);
    let found = found.expect("memory can be read");
    let known = found.len();
    let place = || place.clone();
    out.extend(found.into_iter().map(|(what, _, excerpt)| Leak {
        what,
        place: place(),
        excerpt,
    }));
    if known == 0 {
        out.extend(assignments(text).into_iter().map(|(_, name, value)| Leak {
            what: format!("value of {name}"),
            place: place(),
            excerpt: excerpt(&value),
        }));
    }
}

/// Shows so much of a value that it can be found, and no more.
fn excerpt(value: &str) -> String {
    let shown: String = value.chars().take(4).collect();
    format!("{shown}…")
}
