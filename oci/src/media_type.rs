//! Media types of both families, OCI's and Docker's.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The type of a blob. Compared and kept as written.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MediaType(Cow<'static, str>);

/// How a layer's tar stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// The tar stream as it is.
    None,
    /// RFC 1952, also of several members.
    Gzip,
    /// RFC 8878, also of several frames.
    Zstd,
}

impl MediaType {
    /// An OCI image manifest.
    pub const OCI_MANIFEST: Self = Self::known("application/vnd.oci.image.manifest.v1+json");
    /// An OCI image index.
    pub const OCI_INDEX: Self = Self::known("application/vnd.oci.image.index.v1+json");
    /// An OCI image configuration.
    pub const OCI_CONFIG: Self = Self::known("application/vnd.oci.image.config.v1+json");
    /// An OCI layer, not compressed.
    pub const OCI_LAYER: Self = Self::known("application/vnd.oci.image.layer.v1.tar");
    /// An OCI layer, gzip.
    pub const OCI_LAYER_GZIP: Self = Self::known("application/vnd.oci.image.layer.v1.tar+gzip");
    /// An OCI layer, zstd.
    pub const OCI_LAYER_ZSTD: Self = Self::known("application/vnd.oci.image.layer.v1.tar+zstd");
    /// A Docker image manifest, version 2, schema 2.
    pub const DOCKER_MANIFEST: Self =
        Self::known("application/vnd.docker.distribution.manifest.v2+json");
    /// A Docker manifest list.
    pub const DOCKER_INDEX: Self =
        Self::known("application/vnd.docker.distribution.manifest.list.v2+json");
    /// A Docker image configuration.
    pub const DOCKER_CONFIG: Self = Self::known("application/vnd.docker.container.image.v1+json");
    /// A Docker layer, gzip.
    pub const DOCKER_LAYER_GZIP: Self =
        Self::known("application/vnd.docker.image.rootfs.diff.tar.gzip");
    /// A Docker layer, zstd: containerd's and BuildKit's name for it.
    pub const DOCKER_LAYER_ZSTD: Self =
        Self::known("application/vnd.docker.image.rootfs.diff.tar.zstd");
    /// A Docker layer, not compressed.
    pub const DOCKER_LAYER: Self = Self::known("application/vnd.docker.image.rootfs.diff.tar");

    const fn known(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }

    /// Wraps any media type.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Cow::Owned(text.into()))
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Tells whether this is an image manifest of either family.
    pub fn is_manifest(&self) -> bool {
        *self == Self::OCI_MANIFEST || *self == Self::DOCKER_MANIFEST
    }

    /// Tells whether this is an index or manifest list.
    pub fn is_index(&self) -> bool {
        *self == Self::OCI_INDEX || *self == Self::DOCKER_INDEX
    }

    /// Tells whether this is an image's configuration, of either family.
    pub fn is_image_config(&self) -> bool {
        *self == Self::OCI_CONFIG || *self == Self::DOCKER_CONFIG
    }

    /// Returns how the layer is compressed; `None` when this is no layer that can be unpacked.
    pub fn layer_compression(&self) -> Option<Compression> {
        let text = self.as_str();
        let layer = text.starts_with("application/vnd.oci.image.layer.")
            || text.starts_with("application/vnd.docker.image.rootfs.");
        if !layer {
            return None;
        }
        match text.rsplit(['.', '+']).next()? {
            "tar" => Some(Compression::None),
            "gzip" => Some(Compression::Gzip),
            "zstd" => Some(Compression::Zstd),
            _ => None,
        }
    }

    /// Returns the OCI layer type for a compression.
    pub fn layer(compression: Compression) -> Self {
        match compression {
            Compression::None => Self::OCI_LAYER,
            Compression::Gzip => Self::OCI_LAYER_GZIP,
            Compression::Zstd => Self::OCI_LAYER_ZSTD,
        }
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compression_is_read_off_the_type() {
        let cases = [
            (MediaType::OCI_LAYER, Some(Compression::None)),
            (MediaType::OCI_LAYER_GZIP, Some(Compression::Gzip)),
            (MediaType::OCI_LAYER_ZSTD, Some(Compression::Zstd)),
            (MediaType::DOCKER_LAYER_GZIP, Some(Compression::Gzip)),
            (MediaType::DOCKER_LAYER, Some(Compression::None)),
            (MediaType::OCI_CONFIG, None),
            (
                MediaType::new("application/vnd.oci.image.layer.v1.tar+lzma"),
                None,
            ),
        ];
        for (media_type, expected) in cases {
            assert_eq!(media_type.layer_compression(), expected, "{media_type}");
        }
    }
}
