//! Where layers come from. All that is asked of a source is to open a layer as it is stored there.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use mica_oci::{Descriptor, DiffId, Fetch, Verified};
use mica_store::{Archive, ArchiveError, ArchivedImage, Section, Store, directory_tar};
use tokio::runtime::Runtime;
use tokio_util::io::SyncIoBridge;

use crate::InspectError;

/// The bytes of one layer.
pub(crate) trait Source: Send + Sync {
    /// Opens the layer from its beginning; the reader fails at its end when it is not what was
    /// asked for.
    fn open(&self) -> Result<Box<dyn Read + Send + '_>, InspectError>;

    /// Opens the layer so that content can be passed over; `None` where all has to be read. Nothing
    /// of it is checked.
    fn open_plain(&self) -> Result<Option<Section>, InspectError> {
        Ok(None)
    }
}

/// What an index lists as attestations of an image, and where they and their statements are.
pub(crate) struct Attestations {
    pub(crate) manifests: Vec<Descriptor>,
    pub(crate) source: Box<SourceOf>,
}

/// Says where a blob is.
type SourceOf = dyn Fn(&Descriptor) -> Box<dyn Source> + Send + Sync;

/// A layer of an archive or layout.
pub(crate) struct ArchiveLayer {
    pub(crate) archive: Arc<Archive>,
    pub(crate) image: Arc<ArchivedImage>,
    pub(crate) index: usize,
    pub(crate) path: PathBuf,
}

impl Source for ArchiveLayer {
    fn open(&self) -> Result<Box<dyn Read + Send + '_>, InspectError> {
        let layer = self.archive.layer(&self.image, self.index);
        Ok(Box::new(layer.map_err(|source| self.error(source))?))
    }

    fn open_plain(&self) -> Result<Option<Section>, InspectError> {
        let layer = self.archive.plain_layer(&self.image, self.index);
        layer.map_err(|source| self.error(source))
    }
}

impl ArchiveLayer {
    fn error(&self, source: ArchiveError) -> InspectError {
        InspectError::Archive {
            path: self.path.clone(),
            source,
        }
    }
}

/// A blob of a layout.
pub(crate) struct ArchiveBlob {
    pub(crate) archive: Arc<Archive>,
    pub(crate) descriptor: Descriptor,
    pub(crate) path: PathBuf,
}

impl Source for ArchiveBlob {
    fn open(&self) -> Result<Box<dyn Read + Send + '_>, InspectError> {
        let blob = self.archive.blob(&self.descriptor);
        let blob = blob.map_err(|source| InspectError::Archive {
            path: self.path.clone(),
            source,
        })?;
        Ok(Box::new(blob))
    }
}

/// A layer or another blob of the store: its blob, or the files that it was unpacked to.
pub(crate) struct StoreLayer {
    pub(crate) store: Store,
    pub(crate) descriptor: Descriptor,
}

impl Source for StoreLayer {
    fn open(&self) -> Result<Box<dyn Read + Send + '_>, InspectError> {
        let digest = &self.descriptor.digest;
        if self.store.has_blob(digest) {
            let path = self.store.blob_path(digest);
            let file = std::fs::File::open(&path).map_err(|source| InspectError::File {
                action: "open",
                path,
                source,
            })?;
            return Ok(Box::new(Verified::new(file, &self.descriptor)));
        }
        let layer = self.store.made_layer(&DiffId(digest.clone()))?;
        let tar = DirectoryLayer { path: layer.path };
        Ok(Box::new(Verified::new(tar.stream()?, &self.descriptor)))
    }
}

/// A layer or another blob that has to be fetched, such as a registry's.
pub(crate) struct FetchedLayer<F> {
    pub(crate) from: Arc<F>,
    pub(crate) descriptor: Descriptor,
    pub(crate) runtime: Arc<Runtime>,
}

impl<F: Fetch + Send> Source for FetchedLayer<F> {
    fn open(&self) -> Result<Box<dyn Read + Send + '_>, InspectError> {
        let fetched = self.runtime.block_on(self.from.fetch(&self.descriptor));
        let reader = fetched.map_err(|source| InspectError::Fetch {
            digest: self.descriptor.digest.clone(),
            source,
        })?;
        let handle = self.runtime.handle().clone();
        Ok(Box::new(SyncIoBridge::new_with_handle(reader, handle)))
    }
}

/// A directory: any tree of files, or a layer in overlayfs form.
pub(crate) struct DirectoryLayer<P> {
    pub(crate) path: P,
}

impl<P: AsRef<Path>> DirectoryLayer<P> {
    fn stream(&self) -> Result<TarOfDirectory, InspectError> {
        let (reader, writer) = io::pipe()?;
        let path = self.path.as_ref().to_owned();
        let thread = thread::spawn(move || {
            let written = directory_tar(&path, writer);
            written.map(drop).map_err(io::Error::other)
        });
        Ok(TarOfDirectory {
            reader,
            thread: Some(thread),
        })
    }
}

impl<P: AsRef<Path> + Send + Sync> Source for DirectoryLayer<P> {
    fn open(&self) -> Result<Box<dyn Read + Send + '_>, InspectError> {
        Ok(Box::new(self.stream()?))
    }
}

/// The tar stream that another thread writes. Its failure is the reader's, in place of the end.
struct TarOfDirectory {
    reader: io::PipeReader,
    thread: Option<thread::JoinHandle<io::Result<()>>>,
}

impl Read for TarOfDirectory {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        if count > 0 || buffer.is_empty() {
            return Ok(count);
        }
        match self.thread.take().map(thread::JoinHandle::join) {
            Some(Ok(written)) => written.map(|()| 0),
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Ok(0),
        }
    }
}
