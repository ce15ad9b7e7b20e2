//! Bills of materials: SPDX 2.3 and CycloneDX 1.6 as JSON, the same bytes for the same image.
//!
//! Source: the SPDX specification 2.3 with its JSON schema; CycloneDX 1.6; the package URL
//! specification. `docs/decisions/0013-bills-of-materials.md` says why no crate writes them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mica_oci::{Digest, Document};
use serde_json::{Value, json};

use crate::image::Image;
use crate::packages::{Distribution, Ecosystem, Package};

/// The facts that a bill of materials is made of.
#[derive(Debug)]
pub struct Materials<'m> {
    /// The image.
    pub image: &'m Image,
    /// The packages, sorted.
    pub packages: &'m [Package],
    /// The operating system that the image says it is.
    pub distribution: Option<&'m Distribution>,
}

/// The tool's name in the documents.
const TOOL: &str = concat!("mica-", env!("CARGO_PKG_VERSION"));

impl Materials<'_> {
    /// Writes an SPDX 2.3 document.
    pub fn spdx(&self) -> Value {
        let digest = self.digest();
        let root = json!({
            "SPDXID": "SPDXRef-image",
            "name": self.image.name,
            "versionInfo": digest.as_str(),
            "downloadLocation": "NOASSERTION",
            "filesAnalyzed": false,
            "primaryPackagePurpose": "CONTAINER",
            "checksums": [{ "algorithm": "SHA256", "checksumValue": digest.hex() }],
        });
        let id = |number: usize| format!("SPDXRef-package-{number}");
        let package = |(number, package): (usize, &Package)| {
            json!({
                "SPDXID": id(number),
                "name": package.name,
                "versionInfo": package.version,
                "downloadLocation": "NOASSERTION",
                "filesAnalyzed": false,
                "licenseConcluded": "NOASSERTION",
                "licenseDeclared": license(package).unwrap_or("NOASSERTION"),
                "copyrightText": "NOASSERTION",
                "sourceInfo": format!("from /{} in layer {}", package.path, package.layer),
                "externalRefs": [{
                    "referenceCategory": "PACKAGE-MANAGER",
                    "referenceType": "purl",
                    "referenceLocator": self.url(package),
                }],
            })
        };
        let relation = |number: usize| {
            json!({
                "spdxElementId": "SPDXRef-image",
                "relationshipType": "CONTAINS",
                "relatedSpdxElement": id(number),
            })
        };
        let mut packages = vec![root];
        packages.extend(self.packages.iter().enumerate().map(package));
        let mut relations = vec![json!({
            "spdxElementId": "SPDXRef-DOCUMENT",
            "relationshipType": "DESCRIBES",
            "relatedSpdxElement": "SPDXRef-image",
        })];
        relations.extend((0..self.packages.len()).map(relation));
        json!({
            "spdxVersion": "SPDX-2.3",
            "dataLicense": "CC0-1.0",
            "SPDXID": "SPDXRef-DOCUMENT",
            "name": self.image.name,
            "documentNamespace": format!("urn:mica:sbom:{digest}"),
            "creationInfo": {
                "created": self.created(),
                "creators": [format!("Tool: {TOOL}")],
            },
            "packages": packages,
            "relationships": relations,
        })
    }

    /// Writes a CycloneDX 1.6 document.
    pub fn cyclonedx(&self) -> Value {
        let digest = self.digest();
        let component = |(number, package): (usize, &Package)| {
            let mut component = json!({
                "type": "library",
                "bom-ref": format!("package-{number}"),
                "name": package.name,
                "version": package.version,
                "purl": self.url(package),
                "properties": [
                    { "name": "mica:path", "value": format!("/{}", package.path) },
                    { "name": "mica:layer", "value": package.layer.to_string() },
                ],
            });
            if !package.license.is_empty() {
                component["licenses"] = match license(package) {
                    Some(expression) => json!([{ "expression": expression }]),
                    None => json!([{ "license": { "name": package.license } }]),
                };
            }
            component
        };
        let mut components: Vec<Value> = self.packages.iter().enumerate().map(component).collect();
        if let Some(Distribution { id, version }) = self.distribution {
            components.push(json!({
                "type": "operating-system",
                "bom-ref": "distribution",
                "name": id,
                "version": version,
            }));
        }
        json!({
            "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "serialNumber": format!("urn:uuid:{}", uuid(&digest)),
            "version": 1,
            "metadata": {
                "timestamp": self.created(),
                "tools": { "components": [{
                    "type": "application",
                    "name": "mica",
                    "version": env!("CARGO_PKG_VERSION"),
                }] },
                "component": {
                    "type": "container",
                    "bom-ref": "image",
                    "name": self.image.name,
                    "version": digest.as_str(),
                },
            },
            "components": components,
        })
    }

    /// The image's ID; of what is no image, a digest of its packages.
    fn digest(&self) -> Digest {
        match &self.image.config {
            Some(config) => config.digest().clone(),
            None => Digest::of(format!("{:?}", self.packages).as_bytes()),
        }
    }

    /// When the image was made: the time of day is no fact of the image.
    fn created(&self) -> String {
        let config = self.image.config.as_ref().map(Document::value);
        let created = config.and_then(|config| config.created);
        let seconds = created.unwrap_or(Timestamp::UNIX_EPOCH).as_second();
        let whole = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
        whole.to_string()
    }

    /// Returns the package URL.
    fn url(&self, package: &Package) -> String {
        let distribution = self
            .distribution
            .map_or("", |distribution| &distribution.id);
        let os = |usual: &str| {
            escape(if distribution.is_empty() {
                usual
            } else {
                distribution
            })
        };
        let name = &package.name;
        let (kind, path) = match package.ecosystem {
            Ecosystem::Dpkg => ("deb", format!("{}/{}", os("debian"), escape(name))),
            Ecosystem::Apk => ("apk", format!("{}/{}", os("alpine"), escape(name))),
            Ecosystem::Rpm => ("rpm", format!("{}/{}", os("fedora"), escape(name))),
            Ecosystem::Python => ("pypi", escape(&name.to_lowercase().replace('_', "-"))),
            Ecosystem::Npm => ("npm", escape(name)),
            Ecosystem::Go => ("golang", escape(name)),
            Ecosystem::Rust => ("cargo", escape(name)),
        };
        let mut qualifiers = BTreeMap::new();
        if !package.architecture.is_empty() {
            qualifiers.insert("arch", package.architecture.as_str());
        }
        // An epoch is a qualifier of rpm's, and part of the version elsewhere.
        let version = match (package.ecosystem, package.version.split_once(':')) {
            (Ecosystem::Rpm, Some((epoch, version))) => {
                qualifiers.insert("epoch", epoch);
                version
            }
            _ => &package.version,
        };
        let qualifiers: Vec<_> = qualifiers
            .iter()
            .map(|(name, value)| format!("{name}={}", escape(value)))
            .collect();
        let mark = if qualifiers.is_empty() { "" } else { "?" };
        format!(
            "pkg:{kind}/{path}@{}{mark}{}",
            escape(version),
            qualifiers.join("&")
        )
    }
}

/// Percent-encodes what is no part of a name in a package URL. Slashes part namespaces.
fn escape(text: &str) -> String {
    let plain = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'~' | b'/' | b':')
    };
    let letter = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(letter).collect()
}

/// Returns a licence that looks like an SPDX expression; others are names that mean nothing there.
fn license(package: &Package) -> Option<&str> {
    let text = package.license.trim();
    let is_word = |word: &str| {
        let word = word.trim_matches(['(', ')']);
        let fits =
            |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '+');
        !word.is_empty() && word.chars().all(fits)
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    // Identifiers and operators take turns.
    let is_operator = |word: &&str| matches!(*word, "AND" | "OR" | "WITH");
    let alternate = words
        .iter()
        .enumerate()
        .all(|(place, word)| is_operator(word) == (place % 2 == 1));
    let is_known = words.iter().step_by(2).all(|word| {
        let word = word.trim_matches(['(', ')']);
        word.contains(|letter: char| letter.is_ascii_digit())
            || matches!(word, "MIT" | "ISC" | "Zlib" | "Unlicense" | "curl")
    });
    let is_whole = words.len() % 2 == 1;
    (is_whole && alternate && is_known && words.iter().all(|word| is_word(word))).then_some(text)
}

/// Makes a UUID of a digest: version 8, RFC 9562, section 5.8.
fn uuid(digest: &Digest) -> String {
    let hex = digest.hex();
    format!(
        "{}-{}-8{}-8{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[13..16],
        &hex[17..20],
        &hex[20..32]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_expressions_are_licences() {
        for (text, expected) in [
            ("MIT", true),
            ("Apache-2.0 OR MIT", true),
            ("(GPL-2.0-only AND ISC)", true),
            ("GPLv2+ and BSD", false),
            ("BSD License", false),
            ("Apache-2.0 MIT", false),
            ("", false),
        ] {
            let package = Package {
                license: text.into(),
                ..Package::new(Ecosystem::Npm, "a", "1").unwrap()
            };
            assert_eq!(license(&package).is_some(), expected, "{text}");
        }
    }

    #[test]
    fn names_are_escaped() {
        assert_eq!(escape("@scope/name"), "%40scope/name");
        assert_eq!(escape("libstdc++6"), "libstdc%2B%2B6");
    }
}
