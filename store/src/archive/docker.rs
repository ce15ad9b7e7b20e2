//! `manifest.json`: docker's own table of the images in an archive.

use std::collections::BTreeMap;

use mica_oci::{
    Compression, Descriptor, Digest, Document, Hasher, ImageConfig, Manifest, MediaType, Reference,
};
use serde::{Deserialize, Serialize};

use super::ArchiveError;
use super::contents::{Contents, read_start, sniff};
use super::install::{ArchivedImage, check_layer_count};
use crate::StoreError;
use crate::blobs::copy;

/// An entry of `manifest.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DockerImage {
    /// The path of the configuration.
    pub(super) config: String,
    /// The image's names; `null` for none.
    pub(super) repo_tags: Option<Vec<String>>,
    /// The paths of the layers, bottom first.
    #[serde(default)]
    pub(super) layers: Vec<String>,
    /// The layers' descriptors by diff ID; written since docker 25.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) layer_sources: BTreeMap<String, Descriptor>,
}

impl DockerImage {
    /// Returns the image's names.
    pub(super) fn references(&self) -> Result<Vec<Reference>, ArchiveError> {
        let names = self.repo_tags.iter().flatten();
        let parse = |name: &String| {
            name.parse().map_err(|source| ArchiveError::Name {
                name: name.clone(),
                source,
            })
        };
        names.map(parse).collect()
    }

    /// Describes the image as OCI does: the archive itself has no manifest for it.
    pub(super) fn candidate(&self, contents: &Contents) -> Result<ArchivedImage, ArchiveError> {
        let raw = contents.read(&self.config)?;
        let config = Document::<ImageConfig>::parse(MediaType::OCI_CONFIG, raw);
        let config = config.map_err(StoreError::from)?;
        check_layer_count(&config, self.layers.len())?;
        let diff_ids = &config.value().rootfs.diff_ids;
        let mut layers = Vec::new();
        for (path, diff_id) in self.layers.iter().zip(diff_ids) {
            layers.push(describe(contents, path, &diff_id.0)?);
        }
        let manifest = Manifest::new(config.descriptor().clone(), layers);
        Ok(ArchivedImage {
            references: self.references()?,
            manifest: Document::encode(MediaType::OCI_MANIFEST, manifest),
            config,
            attestations: Vec::new(),
            index: None,
            layer_paths: self.layers.clone(),
        })
    }
}

/// A tar file's digest is the layer's diff ID; a compressed one has to be read for it.
fn describe(contents: &Contents, path: &str, diff_id: &Digest) -> Result<Descriptor, ArchiveError> {
    let (size, mut reader) = contents.open(path)?;
    let mut start = [0; 4];
    let count = read_start(&mut reader, &mut start).map_err(ArchiveError::Read)?;
    let compression = sniff(&start[..count]);
    let media_type = MediaType::layer(compression);
    if compression == Compression::None {
        return Ok(Descriptor::new(media_type, diff_id.clone(), size));
    }
    let mut hasher = Hasher::new();
    hasher.update(&start[..count]);
    copy(&mut reader, &mut hasher).map_err(ArchiveError::Read)?;
    Ok(Descriptor::new(media_type, hasher.finish(), size))
}
