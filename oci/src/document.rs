//! Parsed JSON that keeps the bytes it came from.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Descriptor, Digest, MediaType};

/// A parsed manifest, index or configuration with its raw bytes.
///
/// A digest is always that of the raw bytes, never of re-encoded JSON: a registry's document may
/// hold fields, spacing and an order that no encoder here would reproduce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document<T> {
    raw: Bytes,
    value: T,
    descriptor: Descriptor,
}

/// Says why bytes are not the document they were taken for.
#[derive(Debug, thiserror::Error)]
#[error("cannot parse {media_type} {digest}")]
pub struct DocumentError {
    /// What the bytes were taken for.
    pub media_type: MediaType,
    /// The digest of the bytes.
    pub digest: Digest,
    /// Where the JSON is at fault.
    #[source]
    pub source: serde_json::Error,
}

impl<T: DeserializeOwned> Document<T> {
    /// Parses `raw` as `media_type`.
    pub fn parse(media_type: MediaType, raw: impl Into<Bytes>) -> Result<Self, DocumentError> {
        let raw = raw.into();
        let descriptor = Descriptor::of(media_type, &raw);
        match serde_json::from_slice(&raw) {
            Ok(value) => Ok(Self {
                raw,
                value,
                descriptor,
            }),
            Err(source) => Err(DocumentError {
                media_type: descriptor.media_type,
                digest: descriptor.digest,
                source,
            }),
        }
    }
}

impl<T: Serialize> Document<T> {
    /// Encodes a new document.
    ///
    /// # Panics
    /// When `value` cannot be JSON, which none of this crate's documents can bring about.
    pub fn encode(media_type: MediaType, value: T) -> Self {
        let raw = Bytes::from(serde_json::to_vec(&value).expect("documents are plain JSON values"));
        let descriptor = Descriptor::of(media_type, &raw);
        Self {
            raw,
            value,
            descriptor,
        }
    }
}

impl<T> Document<T> {
    /// Returns the bytes as they were received or encoded.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// Returns the parsed value.
    pub fn value(&self) -> &T {
        &self.value
    }

    /// Takes the parsed value, leaving the bytes behind.
    pub fn into_value(self) -> T {
        self.value
    }

    /// Returns media type, digest and size of the raw bytes.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// Returns the digest of the raw bytes.
    pub fn digest(&self) -> &Digest {
        &self.descriptor.digest
    }
}
