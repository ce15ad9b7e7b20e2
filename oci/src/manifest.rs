//! Manifests and indexes of both families.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Descriptor, Digest, MediaType};

/// An image manifest: one configuration and its layers, bottom first.
///
/// Source: OCI image specification, `manifest.md`; Docker image manifest V2, schema 2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// The type of this very document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<MediaType>,
    /// The type of an artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<MediaType>,
    /// The image configuration.
    pub config: Descriptor,
    /// The layers, bottom first.
    pub layers: Vec<Descriptor>,
    /// The manifest that this one is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Arbitrary properties.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Manifest {
    /// Makes an OCI manifest.
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(MediaType::OCI_MANIFEST),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }
}

/// An image index or Docker manifest list: manifests, most often one a platform.
///
/// Source: OCI image specification, `image-index.md`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// The type of this very document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<MediaType>,
    /// The type of an artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<MediaType>,
    /// What the index lists.
    pub manifests: Vec<Descriptor>,
    /// The manifest that this one is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Arbitrary properties.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Index {
    /// Makes an OCI index.
    pub fn new(manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(MediaType::OCI_INDEX),
            artifact_type: None,
            manifests,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    /// Returns what the index lists as attestations of an image; those of no image that it lists are
    /// among them.
    ///
    /// Source: BuildKit, `docs/attestations/attestation-storage.md`.
    pub fn attestations_of<'i>(
        &'i self,
        image: &'i Digest,
    ) -> impl Iterator<Item = &'i Descriptor> {
        let is_of_another = |entry: &Descriptor| {
            let of = entry.annotations.get(Descriptor::REFERENCE_DIGEST);
            of.is_some_and(|of| {
                let mut listed = self.manifests.iter().map(|entry| entry.digest.as_str());
                of != image.as_str() && listed.any(|digest| digest == of)
            })
        };
        let entries = self.manifests.iter();
        entries.filter(move |entry| entry.is_attestation() && !is_of_another(entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attestations_are_told_by_what_they_are_about() {
        let [one, other, gone] = ["one", "other", "gone"].map(|text| Digest::of(text.as_bytes()));
        let manifest =
            |digest: &Digest| Descriptor::new(MediaType::OCI_MANIFEST, digest.clone(), 1);
        let about =
            |image: &Digest| manifest(&Digest::of(image.as_str().as_bytes())).attesting(image);
        let (of_one, of_other, of_none) = (about(&one), about(&other), about(&gone));
        let mut entries = vec![manifest(&one), manifest(&other)];
        entries.extend([of_one.clone(), of_other.clone(), of_none.clone()]);
        let index = Index::new(entries);
        assert!(index.attestations_of(&one).eq([&of_one, &of_none]));
        assert!(index.attestations_of(&other).eq([&of_other, &of_none]));
    }
}
