//! Save: images of the store into an archive, straight into a stream.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;

use mica_oci::{Descriptor, DiffId, Digest, Document, Index, MediaType, Reference, Verified};

use super::contents::blob_path;
use super::docker::DockerImage;
use super::load::IMAGE_NAME;
use super::{ArchiveError, ArchiveFormat, Named};
use crate::blobs::copy;
use crate::export::Part;
use crate::{Image, Store, StoreError};

/// The size of a tar block: everything is padded to it.
const BLOCK: u64 = 512;

/// Writes images with their names into an archive; the same images give the same bytes.
///
/// Layers that came compressed stay so, layers that were made here are written as plain tar.
///
/// # Errors
/// After an error the output is of no use.
pub fn save(
    store: &Store,
    images: &[Named],
    format: ArchiveFormat,
    out: impl Write,
) -> Result<(), ArchiveError> {
    if format == ArchiveFormat::Docker && images.iter().any(|named| named.set.index.is_some()) {
        return Err(ArchiveError::ManifestList);
    }
    let _hold = store.hold()?;
    let mut archive = ArchiveWriter {
        out,
        written: HashSet::new(),
    };
    archive.directory("blobs/")?;
    archive.directory("blobs/sha256/")?;
    for part in images.iter().flat_map(|named| named.set.parts()) {
        archive.part(store, &part)?;
    }
    let index = Document::encode(MediaType::OCI_INDEX, Index::new(entries(images)));
    archive.file("index.json", index.raw())?;
    if format == ArchiveFormat::Docker {
        let manifest = serde_json::json!(docker_images(images)).to_string();
        archive.file("manifest.json", manifest.as_bytes())?;
    }
    archive.file("oci-layout", crate::store::OCI_LAYOUT)?;
    archive.finish()
}

/// One entry a name. Docker reads the full name from containerd's annotation, podman from OCI's.
pub(crate) fn entries(images: &[Named]) -> Vec<Descriptor> {
    let entry = |named: &Named| {
        let Named { reference, set, .. } = named;
        let mut entry = set.target().clone();
        entry.annotations.extend(named.annotations.clone());
        if set.index.is_none() {
            let image = set.images.first();
            entry.platform = image.map(|image| image.config.value().platform());
        }
        if let Some(name) = reference.as_ref().map(ToString::to_string) {
            entry
                .annotations
                .insert(IMAGE_NAME.to_owned(), name.clone());
            entry
                .annotations
                .insert(Descriptor::REF_NAME.to_owned(), name);
        }
        entry
    };
    images.iter().map(entry).collect()
}

/// One entry an image, with all its names.
fn docker_images(images: &[Named]) -> Vec<DockerImage> {
    let mut entries: Vec<DockerImage> = Vec::new();
    let named = images.iter().flat_map(|Named { reference, set, .. }| {
        let images = set.images.iter();
        images.map(move |image| (reference.as_ref().map(Reference::familiar), image))
    });
    for (tag, image) in named {
        let config = blob_path(image.id());
        match entries.iter_mut().find(|entry| entry.config == config) {
            Some(entry) => {
                if let Some(tag) = tag {
                    entry.repo_tags.get_or_insert_default().push(tag);
                }
            }
            None => entries.push(docker_image(config, tag, image)),
        }
    }
    entries
}

fn docker_image(config: String, tag: Option<String>, image: &Image) -> DockerImage {
    let layers = &image.manifest.value().layers;
    let diff_ids = image.config.value().rootfs.diff_ids.iter();
    let sources: BTreeMap<_, _> = diff_ids
        .map(ToString::to_string)
        .zip(layers.iter().cloned())
        .collect();
    DockerImage {
        config,
        repo_tags: tag.map(|tag| vec![tag]),
        layers: layers
            .iter()
            .map(|layer| blob_path(&layer.digest))
            .collect(),
        layer_sources: sources,
    }
}

/// A tar stream of files that are never held in memory.
struct ArchiveWriter<W> {
    out: W,
    written: HashSet<Digest>,
}

impl<W: Write> ArchiveWriter<W> {
    /// Writes a part, unless it is in the archive.
    fn part(&mut self, store: &Store, part: &Part<'_>) -> Result<(), ArchiveError> {
        if !self.written.insert(part.digest().clone()) {
            return Ok(());
        }
        let path = blob_path(part.digest());
        match part {
            Part::Document(_, raw) => self.file(&path, raw),
            Part::Stored(blob) => {
                self.header(&path, blob.size, tar::EntryType::Regular)?;
                write_layer(store, blob, &mut self.out)?;
                self.pad(blob.size)
            }
        }
    }

    fn file(&mut self, path: &str, content: &[u8]) -> Result<(), ArchiveError> {
        let size = content.len() as u64;
        self.header(path, size, tar::EntryType::Regular)?;
        self.out.write_all(content).map_err(ArchiveError::Write)?;
        self.pad(size)
    }

    fn directory(&mut self, path: &str) -> Result<(), ArchiveError> {
        self.header(path, 0, tar::EntryType::Directory)
    }

    /// Owner 0:0 and time 0, whoever saves and whenever.
    fn header(&mut self, path: &str, size: u64, kind: tar::EntryType) -> Result<(), ArchiveError> {
        let mut header = tar::Header::new_gnu();
        header.set_path(path).map_err(ArchiveError::Write)?;
        header.set_entry_type(kind);
        header.set_mode(if kind.is_dir() { 0o755 } else { 0o644 });
        header.set_size(size);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_cksum();
        self.out
            .write_all(header.as_bytes())
            .map_err(ArchiveError::Write)
    }

    fn pad(&mut self, size: u64) -> Result<(), ArchiveError> {
        let padding = [0; BLOCK as usize];
        let length = (size.next_multiple_of(BLOCK) - size) as usize;
        self.out
            .write_all(&padding[..length])
            .map_err(ArchiveError::Write)
    }

    fn finish(mut self) -> Result<(), ArchiveError> {
        self.out
            .write_all(&[0; 2 * BLOCK as usize])
            .and_then(|()| self.out.flush())
            .map_err(ArchiveError::Write)
    }
}

/// Writes a layer's blob, or the tar stream of an unpacked layer that has none, verified.
pub(crate) fn write_layer(
    store: &Store,
    layer: &Descriptor,
    mut out: impl Write,
) -> Result<(), ArchiveError> {
    let digest = &layer.digest;
    if store.has_blob(digest) {
        let mut content = Verified::new(store.open_blob(digest)?, layer);
        copy(&mut content, &mut out).map_err(ArchiveError::Write)?;
        return Ok(());
    }
    let diff_id = DiffId(digest.clone());
    let made = store.made_layer(&diff_id)?;
    let actual = store.layer_tar(&made, &mut out)?.diff_id;
    if actual == diff_id {
        return Ok(());
    }
    Err(ArchiveError::Store(StoreError::LayerChanged {
        path: made.path,
        expected: diff_id,
        actual,
    }))
}
