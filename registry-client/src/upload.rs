//! A blob on its way to a registry: skipped, mounted, or sent, and sent again from where it broke off.

use std::io;

use mica_oci::{BlobReader, Descriptor, Verified};
use reqwest::{Method, StatusCode};

use crate::RegistryError;
use crate::retry::Budget;
use crate::site::{Call, Site};
use crate::upload_session::{Session, Start};

/// A blob that is to be put into a repository.
pub(crate) struct Upload<'a> {
    pub(crate) site: &'a Site,
    pub(crate) descriptor: &'a Descriptor,
    /// A repository of the same registry that may have the blob.
    pub(crate) mount_from: Option<&'a str>,
}

impl Upload<'_> {
    /// Begins the upload; `None` when the registry mounted the blob, so that nothing is left to do.
    pub(crate) async fn start(&self) -> Result<Option<Session<'_>>, RegistryError> {
        match Session::start(self.site, self.descriptor, self.mount_from).await? {
            Start::Mounted => Ok(None),
            Start::Session(session) => Ok(Some(session)),
        }
    }

    /// Sends content that can be read only once. A cut connection is an error.
    pub(crate) async fn once(
        &self,
        session: Session<'_>,
        content: BlobReader,
    ) -> Result<(), RegistryError> {
        let content = Box::pin(Verified::new(content, self.descriptor));
        let sent = session.put(content).await;
        self.abandon(session, sent).await
    }

    /// Sends content that can be read again from any offset, until it is there.
    pub(crate) async fn patiently<F, Opening>(
        &self,
        first: Session<'_>,
        open: F,
    ) -> Result<(), RegistryError>
    where
        F: Fn(u64) -> Opening,
        Opening: Future<Output = io::Result<BlobReader>>,
    {
        let mut budget = Budget::new(self.site.policy);
        let (mut session, mut offset, mut expired) = (first, 0, false);
        loop {
            let error = match self.send(&mut session, offset, &open).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            // A token may run out during a long upload; the next request gets a new one.
            let first_refusal =
                error.status() == Some(401) && !std::mem::replace(&mut expired, true);
            // Some registries cannot go on in the middle, whatever their status said.
            let no_resume = offset > 0 && matches!(error.status(), Some(400 | 404 | 405 | 416));
            let again = error.is_retryable() || first_refusal || no_resume;
            if !again || !budget.wait(None).await {
                return self.abandon(session, Err(error)).await;
            }
            if self.is_there().await? {
                return Ok(());
            }
            let received = match no_resume {
                true => None,
                false => session.received().await,
            };
            match received {
                Some(received) => {
                    budget.moved(received.saturating_sub(offset));
                    offset = received;
                }
                None => match self.start().await? {
                    Some(another) => (session, offset) = (another, 0),
                    None => return Ok(()),
                },
            }
        }
    }

    async fn send<F, Opening>(
        &self,
        session: &mut Session<'_>,
        offset: u64,
        open: &F,
    ) -> Result<(), RegistryError>
    where
        F: Fn(u64) -> Opening,
        Opening: Future<Output = io::Result<BlobReader>>,
    {
        if offset == 0 {
            let content = open(0).await.map_err(|source| self.unreadable(source))?;
            let content = Box::pin(Verified::new(content, self.descriptor));
            return session.put(content).await;
        }
        if offset < self.descriptor.size {
            // Only a part is read, so the check is the registry's when the session is completed.
            let content = open(offset)
                .await
                .map_err(|source| self.unreadable(source))?;
            session.patch(offset, content).await?;
        }
        session.complete().await
    }

    /// Asks whether the blob is there.
    pub(crate) async fn is_there(&self) -> Result<bool, RegistryError> {
        let Descriptor {
            media_type, digest, ..
        } = self.descriptor;
        let call = match media_type.is_manifest() || media_type.is_index() {
            true => self.site.manifest_call(Method::HEAD, digest.as_str()),
            false => Call::new(Method::HEAD, self.site.url(&format!("blobs/{digest}"))),
        };
        let response = self.site.send(&call).await?;
        let wanted = [StatusCode::OK, StatusCode::NOT_FOUND];
        let response = self.site.expect(&call, response, &wanted).await?;
        Ok(response.status() == StatusCode::OK)
    }

    /// Gives a session back to the registry when the content itself is at fault.
    pub(crate) async fn abandon(
        &self,
        session: Session<'_>,
        result: Result<(), RegistryError>,
    ) -> Result<(), RegistryError> {
        if let Err(RegistryError::Content { .. }) = result {
            session.cancel().await;
        }
        result
    }

    fn unreadable(&self, source: io::Error) -> RegistryError {
        RegistryError::Content {
            registry: self.site.endpoint.name.clone(),
            repository: self.site.repository.clone(),
            digest: self.descriptor.digest.clone(),
            source,
        }
    }
}
