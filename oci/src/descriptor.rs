//! The only way to ask for content.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Digest, MediaType, Platform};

/// Media type, digest and size of some content.
///
/// Source: OCI image specification, `descriptor.md`. Annotations are sorted, so that a document
/// holding descriptors has one encoding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the content is.
    pub media_type: MediaType,
    /// The address of the content.
    pub digest: Digest,
    /// The content's size in bytes.
    pub size: u64,
    /// Other places to fetch the content from; kept, never followed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Arbitrary properties.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The platform that the content is for, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// The type of an artifact, when this points to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<MediaType>,
}

impl Descriptor {
    /// Annotation that holds an image's name in an OCI layout's `index.json`.
    pub const REF_NAME: &str = "org.opencontainers.image.ref.name";

    /// Describes content that is known by type, digest and size alone.
    pub fn new(media_type: MediaType, digest: Digest, size: u64) -> Self {
        Self {
            media_type,
            digest,
            size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            platform: None,
            artifact_type: None,
        }
    }

    /// Annotation of an index's entry that is about another one: what it is.
    pub(crate) const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
    /// Annotation of an index's entry that is about another one: that one's digest.
    pub(crate) const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";
    /// What an attestation is, among entries that are about others.
    const ATTESTATION: &str = "attestation-manifest";

    /// Tells whether an index lists this as an attestation, as BuildKit does.
    pub fn is_attestation(&self) -> bool {
        let kind = self.annotations.get(Self::REFERENCE_TYPE);
        kind.is_some_and(|kind| kind == Self::ATTESTATION)
    }

    /// Makes the entry of an index that lists this as an attestation of an image.
    ///
    /// Source: BuildKit, `docs/attestations/attestation-storage.md`.
    pub fn attesting(mut self, image: &Digest) -> Self {
        let about = [
            (Self::REFERENCE_TYPE, Self::ATTESTATION),
            (Self::REFERENCE_DIGEST, image.as_str()),
        ];
        let about = about.map(|(name, value)| (name.to_owned(), value.to_owned()));
        self.annotations.extend(about);
        self
    }

    /// Describes `bytes`.
    pub fn of(media_type: MediaType, bytes: &[u8]) -> Self {
        Self::new(media_type, Digest::of(bytes), bytes.len() as u64)
    }
}
