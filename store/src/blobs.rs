//! Blobs: bytes at the place that their digest gives.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::PathBuf;

use mica_oci::{Descriptor, Digest, Document, Verified};
use serde::de::DeserializeOwned;

use crate::error::At;
use crate::{Store, StoreError};

/// The longest document that is read into memory. Registries refuse manifests above this size.
pub(crate) const DOCUMENT_LIMIT: u64 = 4 << 20;

impl Store {
    /// Tells whether a blob is in the store.
    pub fn has_blob(&self, digest: &Digest) -> bool {
        let mut paths = self.and_shared().map(|store| store.own_blob_path(digest));
        paths.any(|path| path.exists())
    }

    /// Returns the size of a blob in bytes; `None` when it is not in the store.
    pub fn find_blob(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        let path = self.blob_path(digest);
        match fs::metadata(&path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).at("read", &path),
        }
    }

    /// Returns where a blob is, or would be.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        let own = self.own_blob_path(digest);
        if self.shared().is_empty() || own.exists() {
            return own;
        }
        let mut shared = self.shared().iter().map(|it| it.own_blob_path(digest));
        shared.find(|path| path.exists()).unwrap_or(own)
    }

    /// Returns where a blob is in this store itself, or would be.
    pub(crate) fn own_blob_path(&self, digest: &Digest) -> PathBuf {
        self.root().join("blobs/sha256").join(digest.hex())
    }

    /// Puts a document's raw bytes into the store.
    pub fn put_document<T>(&self, document: &Document<T>) -> Result<Descriptor, StoreError> {
        self.put_blob(document.descriptor(), document.raw().as_ref())?;
        Ok(document.descriptor().clone())
    }

    /// Puts a blob into the store: verified, synced, then visible. Without an error it is there,
    /// whoever put it there.
    ///
    /// # Errors
    /// [`StoreError::Content`] when the bytes are not those described; nothing is visible then.
    pub fn put_blob(&self, descriptor: &Descriptor, content: impl Read) -> Result<(), StoreError> {
        if self.has_blob(&descriptor.digest) {
            return Ok(());
        }
        self.write_blob_file(descriptor, content)
    }

    pub(crate) fn write_blob_file(
        &self,
        descriptor: &Descriptor,
        content: impl Read,
    ) -> Result<(), StoreError> {
        let mut temporary = self.temporary_file("blob")?;
        let mut content = Verified::new(content, descriptor);
        copy(&mut content, temporary.file()).map_err(|source| StoreError::Content {
            digest: descriptor.digest.clone(),
            source,
        })?;
        temporary.persist(&self.own_blob_path(&descriptor.digest))
    }

    /// Opens a blob. What is read from it is not verified.
    pub(crate) fn open_blob(&self, digest: &Digest) -> Result<File, StoreError> {
        let path = self.blob_path(digest);
        match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(StoreError::MissingBlob {
                digest: digest.clone(),
                root: self.root().to_owned(),
            }),
            opened => opened.at("open", &path),
        }
    }

    /// Reads a document of at most 4 MiB, verified.
    pub fn read_document<T: DeserializeOwned>(
        &self,
        descriptor: &Descriptor,
    ) -> Result<Document<T>, StoreError> {
        let raw = self.read_blob(descriptor)?;
        Ok(Document::parse(descriptor.media_type.clone(), raw)?)
    }

    /// Reads a small blob, verified.
    pub(crate) fn read_blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>, StoreError> {
        if descriptor.size > DOCUMENT_LIMIT {
            return Err(StoreError::LongDocument {
                digest: descriptor.digest.clone(),
                size: descriptor.size,
            });
        }
        let mut raw = Vec::with_capacity(descriptor.size as usize);
        Verified::new(self.open_blob(&descriptor.digest)?, descriptor)
            .read_to_end(&mut raw)
            .map_err(|source| StoreError::Content {
                digest: descriptor.digest.clone(),
                source,
            })?;
        Ok(raw)
    }

    /// Returns the size of a blob in bytes.
    pub(crate) fn blob_size(&self, digest: &Digest) -> Result<u64, StoreError> {
        let path = self.blob_path(digest);
        Ok(fs::metadata(&path).at("read", &path)?.len())
    }
}

/// Copies to the end with a buffer large enough that system calls do not count.
pub(crate) fn copy(from: &mut impl Read, to: &mut impl io::Write) -> io::Result<u64> {
    let mut buffer = vec![0; 256 << 10];
    let mut total = 0;
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(count) => {
                to.write_all(&buffer[..count])?;
                total += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
