//! Save into a directory that is an OCI image layout.

use std::fs::{self, File};
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use mica_oci::{Digest, Document, Index, MediaType};

use super::save::{entries, write_layer};
use super::{ArchiveError, Named};
use crate::error::At;
use crate::images::name_of;
use crate::store::OCI_LAYOUT;
use crate::temporary::random_name;
use crate::{Image, Store, StoreError};

/// Adds images to an OCI image layout, which is made where there is none. A name that is there
/// already leads to the new image; `index.json` comes last.
pub fn save_layout(store: &Store, images: &[Named], directory: &Path) -> Result<(), ArchiveError> {
    let _hold = store.hold()?;
    let layout = Layout(directory);
    let blobs = directory.join("blobs/sha256");
    fs::create_dir_all(&blobs).at("create", &blobs)?;
    for named in images {
        for image in &named.set.images {
            layout.image(store, image)?;
        }
        if let Some(index) = &named.set.index {
            layout.document(index.digest(), index.raw())?;
        }
    }
    layout.replace(&directory.join("oci-layout"), OCI_LAYOUT)?;
    layout.list(images)
}

/// A directory with blobs and an index.
struct Layout<'a>(&'a Path);

impl Layout<'_> {
    fn image(&self, store: &Store, image: &Image) -> Result<(), ArchiveError> {
        for layer in &image.manifest.value().layers {
            let path = self.blob(&layer.digest);
            if !path.exists() {
                self.write(&path, |out| write_layer(store, layer, out))?;
            }
        }
        self.document(image.config.digest(), image.config.raw())?;
        self.document(image.manifest.digest(), image.manifest.raw())
    }

    fn document(&self, digest: &Digest, raw: &[u8]) -> Result<(), ArchiveError> {
        self.replace(&self.blob(digest), raw)
    }

    fn list(&self, images: &[Named]) -> Result<(), ArchiveError> {
        let path = self.0.join("index.json");
        let mut index = match fs::read(&path) {
            Ok(raw) => serde_json::from_slice(&raw).map_err(|source| StoreError::Damaged {
                path: path.clone(),
                source,
            })?,
            Err(error) if error.kind() == ErrorKind::NotFound => Index::new(Vec::new()),
            Err(error) => return Err(error).at("read", &path).map_err(ArchiveError::from),
        };
        for new in entries(images) {
            let same = |known: &mica_oci::Descriptor| match name_of(&new) {
                Some(name) => name_of(known) == Some(name),
                None => known.digest == new.digest && name_of(known).is_none(),
            };
            index.manifests.retain(|known| !same(known));
            index.manifests.push(new);
        }
        let document = Document::encode(MediaType::OCI_INDEX, index);
        self.replace(&path, document.raw())
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        self.0.join("blobs/sha256").join(digest.hex())
    }

    fn replace(&self, path: &Path, content: &[u8]) -> Result<(), ArchiveError> {
        self.write(path, |out| {
            out.write_all(content).map_err(ArchiveError::Write)
        })
    }

    /// Writes a file that appears when it is whole.
    fn write(
        &self,
        path: &Path,
        write: impl FnOnce(&mut BufWriter<File>) -> Result<(), ArchiveError>,
    ) -> Result<(), ArchiveError> {
        let temporary = self.0.join(format!(".{}", random_name()));
        let file = File::create(&temporary).at("create", &temporary)?;
        let mut out = BufWriter::new(file);
        let written = write(&mut out).and_then(|()| out.flush().map_err(ArchiveError::Write));
        let written = written.and_then(|()| Ok(fs::rename(&temporary, path).at("create", path)?));
        if written.is_err() {
            // The first error is the one that matters.
            let _ = fs::remove_file(&temporary);
        }
        written
    }
}
