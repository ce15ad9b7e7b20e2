//! What a repository does to put blobs and manifests there.

use std::io;

use bytes::Bytes;
use mica_oci::{BlobReader, ContractError, Descriptor, Digest, Growing, Verified};
use tokio::io::AsyncReadExt;

use super::Repository;
use crate::RegistryError;
use crate::journal::Journal;
use crate::manifests::{Indexed, RawManifest};
use crate::site::Site;
use crate::upload::Upload;
use crate::upload_ahead::Ahead;

/// Content up to this size is kept in memory while it is pushed, so that it can be sent again.
const SMALL: u64 = 4 << 20;
/// An upload of less is not worth a note for a later process.
const SMALLEST_NOTED: u64 = 256 << 10;

impl Repository {
    /// Pushes a blob that can be read again: `open` is called with the offset to start at.
    ///
    /// After a cut the upload goes on where the registry says, or from the start where it cannot;
    /// so does that of a process that was killed, where the configuration has a journal.
    ///
    /// # Errors
    /// [`RegistryError::Content`] when the content cannot be read or is not what `descriptor` says.
    pub async fn push_with<F, Opening>(
        &self,
        descriptor: &Descriptor,
        open: F,
    ) -> Result<(), RegistryError>
    where
        F: Fn(u64) -> Opening + Send + Sync,
        Opening: Future<Output = io::Result<BlobReader>> + Send,
    {
        let site = self.origin().await?;
        let upload = self.upload(&site, descriptor);
        if self.is_there(&upload).await? {
            self.forget_upload(descriptor);
            return Ok(());
        }
        let journal = self.journal(descriptor);
        if let Some((session, offset)) = upload.resume(journal.as_ref()).await {
            return upload.patiently(session, offset, journal, open).await;
        }
        match upload.start().await? {
            Some(session) => upload.patiently(session, 0, journal, open).await,
            None => Ok(()),
        }
    }

    /// Pushes a blob that is still being made, each piece as soon as it is there.
    pub(super) async fn push_ahead<G: Growing>(
        &self,
        content: &G,
    ) -> Result<Descriptor, ContractError> {
        let site = self.origin().await?;
        let directory = self.shared.config.upload_journal.as_ref();
        let name = format!("growing {}", self.upload_name(content.origin()));
        let growing = directory.and_then(|directory| Journal::open(directory, &name));
        let (whole, taken) = Ahead::new(&site, growing.as_ref()).send(content).await?;
        let open =
            |offset: u64| async move { content.open(offset).await.map_err(io::Error::other) };
        match taken {
            Some((session, sent)) => {
                let name = self.upload_name(&whole.digest);
                let journal = growing.map(|growing| growing.renamed(&name));
                let upload = self.upload(&site, &whole);
                upload.patiently(session, sent, journal, open).await?;
            }
            None => {
                if let Some(growing) = growing {
                    growing.close();
                }
                self.push_with(&whole, open).await?;
            }
        }
        Ok(whole)
    }

    fn journal(&self, descriptor: &Descriptor) -> Option<Journal> {
        let directory = self.shared.config.upload_journal.as_ref()?;
        let is_worth_it = descriptor.size > SMALLEST_NOTED;
        let name = self.upload_name(&descriptor.digest);
        is_worth_it
            .then(|| Journal::open(directory, &name))
            .flatten()
    }

    /// Forgets an upload of an earlier process that was killed just after its end.
    pub(super) fn forget_upload(&self, descriptor: &Descriptor) {
        if let Some(directory) = &self.shared.config.upload_journal {
            Journal::forget(directory, &self.upload_name(&descriptor.digest));
        }
    }

    fn upload_name(&self, digest: &Digest) -> String {
        format!("{}/{}@{digest}", self.registry, self.name)
    }

    pub(super) fn upload<'a>(&'a self, site: &'a Site, descriptor: &'a Descriptor) -> Upload<'a> {
        Upload {
            site,
            descriptor,
            mount_from: self.mount_from.as_deref(),
        }
    }

    /// Asks, unless [`Push::contains`] has just been told that it is not.
    async fn is_there(&self, upload: &Upload<'_>) -> Result<bool, RegistryError> {
        let known_absent = {
            let mut absent = self.memory.absent.lock().expect("no panic under this lock");
            absent.remove(&upload.descriptor.digest)
        };
        Ok(!known_absent && upload.is_there().await?)
    }

    pub(super) async fn push_blob(
        &self,
        descriptor: &Descriptor,
        content: BlobReader,
    ) -> Result<(), RegistryError> {
        let site = self.origin().await?;
        let upload = self.upload(&site, descriptor);
        if self.is_there(&upload).await? {
            return Ok(());
        }
        let Some(session) = upload.start().await? else {
            return Ok(());
        };
        if descriptor.size > SMALL {
            return upload.once(session, content).await;
        }
        let bytes = match self.buffer(descriptor, content).await {
            Ok(bytes) => bytes,
            Err(error) => return upload.abandon(session, Err(error)).await,
        };
        let open = |offset: u64| {
            let rest = bytes.slice(offset as usize..);
            async { Ok(Box::pin(io::Cursor::new(rest)) as BlobReader) }
        };
        upload.patiently(session, 0, None, open).await
    }

    pub(super) async fn push_manifest(
        &self,
        descriptor: &Descriptor,
        content: BlobReader,
    ) -> Result<(), RegistryError> {
        let site = self.origin().await?;
        let manifest = RawManifest {
            media_type: descriptor.media_type.clone(),
            bytes: self.buffer(descriptor, content).await?,
            digest: descriptor.digest.clone(),
        };
        let object = descriptor.digest.as_str();
        let (media_type, bytes) = (&manifest.media_type, &manifest.bytes);
        let indexed = site.put_manifest(object, media_type, bytes.clone()).await?;
        if indexed == Indexed::Not {
            site.note_referrer(&manifest).await?;
        }
        let mut pushed = self.memory.pushed.lock().expect("no panic under this lock");
        pushed.insert(descriptor.digest.clone(), manifest);
        Ok(())
    }

    /// Reads small content into memory and verifies it.
    async fn buffer(
        &self,
        descriptor: &Descriptor,
        content: BlobReader,
    ) -> Result<Bytes, RegistryError> {
        let unreadable = |source| RegistryError::Content {
            registry: self.registry.clone(),
            repository: self.name.clone(),
            digest: descriptor.digest.clone(),
            source,
        };
        if descriptor.size > SMALL {
            return Err(unreadable(io::ErrorKind::FileTooLarge.into()));
        }
        let mut bytes = Vec::with_capacity(descriptor.size as usize);
        let mut content = Verified::new(content, descriptor);
        content.read_to_end(&mut bytes).await.map_err(unreadable)?;
        Ok(bytes.into())
    }
}
