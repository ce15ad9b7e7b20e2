//! A blob on its way in: kept under its digest in `tmp/`, so that whoever comes next goes on.
//!
//! ```text
//! tmp/partial-<hex>   locked by the process that receives it; others wait for its end
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use mica_oci::{Descriptor, Hasher, VerifyError};
use rustix::fs::FlockOperation;

use crate::error::At;
use crate::growth::Growth;
use crate::temporary::{PARTIAL, is_same};
use crate::{Store, StoreError};

/// Bytes that are read at a time.
const CHUNK: usize = 256 << 10;

/// The beginning of a blob, locked for this process.
#[derive(Debug)]
pub(super) struct Partial {
    store: Store,
    descriptor: Descriptor,
    file: File,
    path: PathBuf,
    hasher: Hasher,
    offset: u64,
    /// More came than the descriptor says.
    is_too_long: bool,
    growth: Growth,
}

/// Content that was not what its descriptor says; the partial can be filled anew.
pub(super) struct Mismatch {
    pub(super) partial: Partial,
    pub(super) error: StoreError,
}

impl Store {
    /// Opens what is here of a blob, and waits for another process that receives it. `None` when
    /// the whole blob is here.
    pub(super) fn begin_partial(
        &self,
        descriptor: &Descriptor,
        growth: Growth,
    ) -> Result<Option<Partial>, StoreError> {
        let name = format!("{PARTIAL}{}", descriptor.digest.hex());
        let path = self.directory("tmp").join(name);
        loop {
            if self.has_blob(&descriptor.digest) {
                growth.whole();
                return Ok(None);
            }
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            let file = options.mode(0o600).open(&path).at("open", &path)?;
            lock(&file).at("lock", &path)?;
            // Who had it before may have given it its place, or removed it.
            if is_same(&file, &path) && !self.has_blob(&descriptor.digest) {
                let mut partial = Partial {
                    store: self.clone(),
                    descriptor: descriptor.clone(),
                    file,
                    path,
                    hasher: Hasher::new(),
                    offset: 0,
                    is_too_long: false,
                    growth,
                };
                partial.read_back()?;
                let file = partial.file.try_clone().at("open", &partial.path)?;
                partial.growth.opened(file, partial.offset);
                return Ok(Some(partial));
            }
        }
    }
}

impl Partial {
    /// Returns how many bytes are here.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Appends what comes. After an error what came before it stays.
    pub(super) fn write(&mut self, mut content: impl Read) -> Result<(), StoreError> {
        let mut buffer = vec![0; CHUNK];
        loop {
            let count = match content.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(self.content_error(source)),
            };
            if self.offset + count as u64 > self.descriptor.size {
                self.is_too_long = true;
                return Ok(());
            }
            let bytes = &buffer[..count];
            self.file.write_all(bytes).at("write", &self.path)?;
            self.hasher.update(bytes);
            self.offset += count as u64;
            self.growth.grown(self.offset);
        }
    }

    /// Checks the whole, syncs it and gives it its place.
    pub(super) fn finish(self) -> Result<(), Box<Mismatch>> {
        match self.check().and_then(|()| self.persist()) {
            Ok(()) => {
                self.growth.whole();
                Ok(())
            }
            Err(error) => Err(Box::new(Mismatch {
                partial: self,
                error,
            })),
        }
    }

    /// Forgets what is here.
    pub(super) fn restart(&mut self) -> Result<(), StoreError> {
        self.growth.void();
        self.file.set_len(0).at("truncate", &self.path)?;
        self.file.rewind().at("rewind", &self.path)?;
        self.hasher = Hasher::new();
        self.offset = 0;
        self.is_too_long = false;
        Ok(())
    }

    fn read_back(&mut self) -> Result<(), StoreError> {
        let mut buffer = vec![0; CHUNK];
        loop {
            match self.file.read(&mut buffer).at("read", &self.path)? {
                0 => break,
                count => {
                    self.hasher.update(&buffer[..count]);
                    self.offset += count as u64;
                }
            }
        }
        if self.offset > self.descriptor.size {
            return self.restart();
        }
        self.file
            .seek(SeekFrom::Start(self.offset))
            .map(drop)
            .at("seek in", &self.path)
    }

    fn check(&self) -> Result<(), StoreError> {
        let Descriptor { digest, size, .. } = self.descriptor.clone();
        let seen = self.offset;
        let fault = match self.hasher.clone().finish() {
            _ if self.is_too_long => VerifyError::Long { digest, size },
            _ if seen < size => VerifyError::Short { digest, seen, size },
            actual if actual != digest => VerifyError::Digest {
                expected: digest,
                actual,
            },
            _ => return Ok(()),
        };
        Err(self.content_error(io::Error::new(io::ErrorKind::InvalidData, fault)))
    }

    fn persist(&self) -> Result<(), StoreError> {
        self.file.sync_all().at("sync", &self.path)?;
        let place = self.store.own_blob_path(&self.descriptor.digest);
        fs::rename(&self.path, &place).at("rename to", &place)
    }

    fn content_error(&self, source: io::Error) -> StoreError {
        StoreError::Content {
            digest: self.descriptor.digest.clone(),
            source,
        }
    }
}

impl Drop for Partial {
    /// An empty file is of no use to anybody. The lock is still ours here.
    fn drop(&mut self) {
        if self.offset == 0 && is_same(&self.file, &self.path) {
            // What cannot be removed is the collector's.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn lock(file: &File) -> io::Result<()> {
    loop {
        match rustix::fs::flock(file, FlockOperation::LockExclusive) {
            Err(rustix::io::Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}
