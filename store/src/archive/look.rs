//! Looking into an archive or layout where it is, without a store.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;

use mica_oci::{Compression, Descriptor, Platform, Verified};

use super::contents::{Contents, Section, blob_path, is_layout, read_start, sniff};
use super::load::candidates;
use super::{ArchiveError, ArchivedImage};
use crate::blobs::copy;
use crate::error::At;

/// An archive of images, or a directory that is an OCI layout, open for reading.
pub struct Archive {
    contents: Contents,
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Archive")
    }
}

impl Archive {
    /// Opens an archive file of docker or OCI, or a layout's directory. A plain tar file is read in
    /// place; a compressed one passes through a nameless temporary file.
    pub fn open(path: &Path) -> Result<Self, ArchiveError> {
        if path.is_dir() {
            return match is_layout(path) {
                true => Ok(Self {
                    contents: Contents::Directory(path.to_owned()),
                }),
                false => Err(ArchiveError::NotAnArchive),
            };
        }
        let mut file = File::open(path).at("open", path)?;
        let mut start = [0; 4];
        let count = read_start(&mut file, &mut start).at("read", path)?;
        let is_file = file.metadata().at("read", path)?.is_file();
        let compression = sniff(&start[..count]);
        let file = match (compression, is_file) {
            (Compression::None, true) => file,
            _ => {
                let input = io::Cursor::new(start[..count].to_vec()).chain(file);
                spool(compression, input)?
            }
        };
        let contents = Contents::of_tar(file)?;
        Ok(Self { contents })
    }

    /// Returns the images of the archive; of an index with several platforms, those for `platform`.
    pub fn images(&self, platform: &Platform) -> Result<Vec<ArchivedImage>, ArchiveError> {
        candidates(&self.contents, platform)
    }

    /// Opens a layer of one of the archive's images, as it is stored there; it fails at its end when
    /// it is not what the manifest says.
    ///
    /// # Panics
    /// When the image has no such layer.
    pub fn layer(
        &self,
        image: &ArchivedImage,
        index: usize,
    ) -> Result<impl Read + Send + use<'_>, ArchiveError> {
        let (_, blob) = self.contents.open(&image.layer_paths[index])?;
        Ok(Verified::new(blob, &image.manifest.value().layers[index]))
    }

    /// Opens a blob of a layout; it fails at its end when it is not what the descriptor says.
    pub fn blob(
        &self,
        descriptor: &Descriptor,
    ) -> Result<impl Read + Send + use<'_>, ArchiveError> {
        let (_, blob) = self.contents.open(&blob_path(&descriptor.digest))?;
        Ok(Verified::new(blob, descriptor))
    }

    /// Opens a layer that is stored as a plain tar stream, so that a reader may pass over content;
    /// `None` for a compressed one. Nothing is checked against the manifest.
    ///
    /// # Panics
    /// When the image has no such layer.
    pub fn plain_layer(
        &self,
        image: &ArchivedImage,
        index: usize,
    ) -> Result<Option<Section>, ArchiveError> {
        let mut section = self.contents.section(&image.layer_paths[index])?;
        let mut start = [0; 512];
        let count = read_start(&mut section, &mut start).map_err(ArchiveError::Read)?;
        section.rewind().map_err(ArchiveError::Read)?;
        let is_tar = count == start.len() && start[257..262] == *b"ustar";
        Ok(is_tar.then_some(section))
    }
}

/// Unpacks a stream into a file that is looked through again and again.
fn spool(compression: Compression, input: impl Read) -> Result<File, ArchiveError> {
    let mut file = tempfile::tempfile().map_err(ArchiveError::Read)?;
    let copied = match compression {
        Compression::None => copy(&mut { input }, &mut file),
        Compression::Gzip => copy(&mut flate2::read::MultiGzDecoder::new(input), &mut file),
        Compression::Zstd => {
            let mut decoder = zstd::Decoder::new(input).map_err(ArchiveError::Read)?;
            copy(&mut decoder, &mut file)
        }
    };
    copied.map_err(ArchiveError::Read)?;
    file.rewind().map_err(ArchiveError::Read)?;
    Ok(file)
}
