//! A cache in a registry: `type=registry`.

use std::fmt;
use std::io::{Read, SeekFrom};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use mica_builder::{CacheDestination, CacheSource, Content, ExchangeError};
use mica_oci::{BlobReader, Descriptor, Fetch, MediaType, Push, Reference, Tag};
use mica_registry_client::{Actions, Registry, Repository};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::runtime::Runtime;

use crate::failure::{CliError, Failure};
use crate::session::Session;

/// The way to registries that all caches of a build share, made for the first.
#[derive(Debug, Default)]
pub(crate) struct Connection(Mutex<Option<(Registry, Arc<Runtime>)>>);

impl Connection {
    /// Returns the client and its threads.
    pub(crate) fn get(&self, session: &Session) -> Result<(Registry, Arc<Runtime>), Failure> {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = &*slot {
            return Ok(connection.clone());
        }
        let runtime = Runtime::new().map_err(|source| CliError::File {
            action: "start the threads of a transfer, with",
            path: "/proc/self".into(),
            source,
        })?;
        Ok(slot
            .insert((session.registry()?, Arc::new(runtime)))
            .clone())
    }
}

/// A cache under a reference.
pub(crate) struct RegistryCache {
    reference: Reference,
    repository: Repository,
    runtime: Arc<Runtime>,
}

impl RegistryCache {
    /// The cache under a reference. Nothing is asked for yet.
    pub(crate) fn new(
        session: &Session,
        connection: &Connection,
        reference: Reference,
        actions: Actions,
    ) -> Result<Self, Failure> {
        let (registry, runtime) = connection.get(session)?;
        Ok(Self {
            repository: registry.repository(&reference, actions),
            reference,
            runtime,
        })
    }
}

impl fmt::Debug for RegistryCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RegistryCache({})", self.reference)
    }
}

impl CacheSource for RegistryCache {
    fn name(&self) -> String {
        self.reference.to_string()
    }

    fn root(&self) -> Result<Option<(MediaType, Vec<u8>)>, ExchangeError> {
        let read = self.repository.manifest(&self.reference);
        match self.runtime.block_on(read) {
            Ok((media_type, raw, _)) => Ok(Some((media_type, raw.to_vec()))),
            Err(error) if error.status() == Some(404) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn fetch(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>, ExchangeError> {
        let content = self.runtime.block_on(self.repository.fetch(descriptor))?;
        Ok(Box::new(Blocking::new(content, Arc::clone(&self.runtime))))
    }
}

/// A stream for threads that may wait.
pub(crate) struct Blocking {
    content: BlobReader,
    runtime: Arc<Runtime>,
}

impl Blocking {
    /// Reads `content` on the threads of `runtime`.
    pub(crate) fn new(content: BlobReader, runtime: Arc<Runtime>) -> Self {
        Self { content, runtime }
    }
}

impl Read for Blocking {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.runtime.block_on(self.content.read(buffer))
    }
}

impl CacheDestination for RegistryCache {
    fn contains(&self, descriptor: &Descriptor) -> Result<bool, ExchangeError> {
        self.runtime.block_on(self.repository.contains(descriptor))
    }

    fn push(&self, descriptor: &Descriptor, content: Content<'_>) -> Result<(), ExchangeError> {
        match content {
            Content::Bytes(bytes) => {
                let content = Box::pin(std::io::Cursor::new(bytes.to_vec()));
                self.runtime
                    .block_on(self.repository.push(descriptor, content))
            }
            Content::File(path) => {
                let path = path.to_owned();
                let open = move |offset| open_at(path.clone(), offset);
                let pushed = self.repository.push_with(descriptor, open);
                Ok(self.runtime.block_on(pushed)?)
            }
        }
    }

    fn tag(&self, descriptor: &Descriptor) -> Result<(), ExchangeError> {
        let tagged = Tag::tag(&self.repository, descriptor, &self.reference);
        self.runtime.block_on(tagged)
    }
}

/// Opens a file at an offset: an upload that broke off goes on from there.
pub(crate) async fn open_at(path: PathBuf, offset: u64) -> std::io::Result<BlobReader> {
    let mut file = tokio::fs::File::open(&path).await?;
    file.seek(SeekFrom::Start(offset)).await?;
    Ok(Box::pin(file))
}
