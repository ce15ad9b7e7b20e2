//! A blob that comes piece by piece, and whose digest is told at the end.

use std::io::Write;

use mica_oci::{Descriptor, Digest, Hasher, MediaType, VerifyError};

use crate::error::At;
use crate::temporary::TemporaryFile;
use crate::{Store, StoreError};

/// The beginning of a blob. Dropping it removes what came.
#[derive(Debug)]
pub struct Incoming {
    store: Store,
    temporary: TemporaryFile,
    hasher: Hasher,
    offset: u64,
}

impl Store {
    /// Begins a blob of which nothing is known yet.
    pub fn incoming(&self) -> Result<Incoming, StoreError> {
        Ok(Incoming {
            store: self.clone(),
            temporary: self.temporary_file("upload")?,
            hasher: Hasher::new(),
            offset: 0,
        })
    }
}

impl Incoming {
    /// Returns a name that no other blob on its way has.
    pub fn id(&self) -> &str {
        let name = self.temporary.path().file_name();
        name.and_then(|name| name.to_str()).unwrap_or_default()
    }

    /// Returns how many bytes came.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Appends bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.temporary.path().to_owned();
        self.temporary.file().write_all(bytes).at("write", &path)?;
        self.hasher.update(bytes);
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Gives the blob its place, once its digest is the one that was told.
    ///
    /// # Errors
    /// [`StoreError::Content`] when it is another one.
    pub fn finish(self, expected: &Digest) -> Result<Descriptor, StoreError> {
        let actual = self.hasher.finish();
        if actual != *expected {
            let fault = VerifyError::Digest {
                expected: expected.clone(),
                actual,
            };
            return Err(StoreError::Content {
                digest: expected.clone(),
                source: std::io::Error::new(std::io::ErrorKind::InvalidData, fault),
            });
        }
        let place = self.store.blob_path(expected);
        self.temporary.persist(&place)?;
        let octets = MediaType::new("application/octet-stream");
        Ok(Descriptor::new(octets, expected.clone(), self.offset))
    }
}
