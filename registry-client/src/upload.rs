//! A blob on its way to a registry: skipped, mounted, or sent, and sent again from where it broke off.

use std::io;

use mica_oci::{BlobReader, Descriptor, Verified};
use reqwest::{Method, StatusCode};

use crate::RegistryError;
use crate::journal::Journal;
use crate::retry::Budget;
use crate::site::Site;
use crate::upload_session::{Session, SharedReader, Start};

/// A blob that is to be put into a repository.
pub(crate) struct Upload<'a> {
    pub(crate) site: &'a Site,
    pub(crate) descriptor: &'a Descriptor,
    /// A repository of the same registry that may have the blob.
    pub(crate) mount_from: Option<&'a str>,
}

/// How the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// In pieces of this many bytes, each confirmed.
    Pieces(u64),
    /// In one request: the registry does not take pieces.
    Whole,
}

impl Upload<'_> {
    /// Begins the upload; `None` when the registry mounted the blob, so that nothing is left to do.
    pub(crate) async fn start(&self) -> Result<Option<Session<'_>>, RegistryError> {
        match Session::start(self.site, &self.descriptor.digest, self.mount_from).await? {
            Start::Mounted => Ok(None),
            Start::Session(session) => Ok(Some(session)),
        }
    }

    /// Goes on with the upload of an earlier process, where the registry still knows it.
    pub(crate) async fn resume(&self, journal: Option<&Journal>) -> Option<(Session<'_>, u64)> {
        let location = journal?.session()?;
        if !self.site.endpoint.owns(&location) {
            return None;
        }
        let mut session = Session::at(self.site, &self.descriptor.digest, location);
        let received = self.received(&mut session).await?;
        Some((session, received))
    }

    /// Asks how many bytes arrived; more than there are is no start of this blob.
    async fn received(&self, session: &mut Session<'_>) -> Option<u64> {
        let received = session.received().await?;
        (received <= self.descriptor.size).then_some(received)
    }

    /// Sends content that can be read only once. A cut connection is an error.
    pub(crate) async fn once(
        &self,
        session: Session<'_>,
        content: BlobReader,
    ) -> Result<(), RegistryError> {
        let content = Box::pin(Verified::new(content, self.descriptor));
        let sent = session.put(self.descriptor, content).await;
        self.abandon(session, sent).await
    }

    /// Sends content that can be read again from any offset, until it is there.
    pub(crate) async fn patiently<F, Opening>(
        &self,
        mut session: Session<'_>,
        mut offset: u64,
        journal: Option<Journal>,
        open: F,
    ) -> Result<(), RegistryError>
    where
        F: Fn(u64) -> Opening,
        Opening: Future<Output = io::Result<BlobReader>>,
    {
        let mut budget = Budget::new(self.site.policy);
        let mut expired = false;
        let mut manner = Manner::Pieces(session.piece(self.site.shared.config.upload_chunk));
        loop {
            note(journal.as_ref(), &session);
            let sent = self.send(&mut session, offset, manner, journal.as_ref(), &open);
            let error = match sent.await {
                Ok(()) => break,
                Err(error) => error,
            };
            // A token may run out during a long upload; the next request gets a new one.
            let first_refusal =
                error.status() == Some(401) && !std::mem::replace(&mut expired, true);
            let refused = matches!(
                error.status(),
                Some(400 | 404 | 405 | 411 | 413 | 416 | 501)
            );
            // Some registries cannot go on in the middle, or take no pieces, whatever their
            // status said.
            let no_resume = refused && (offset > 0 || manner != Manner::Whole);
            let again = error.is_retryable() || first_refusal || no_resume;
            if !again || !budget.wait(None).await {
                if !error.is_retryable() {
                    close(journal);
                }
                return self.abandon(session, Err(error)).await;
            }
            if self.is_there().await? {
                break;
            }
            let received = match no_resume {
                true => None,
                false => self.received(&mut session).await,
            };
            if no_resume && offset == 0 {
                manner = Manner::Whole;
            }
            match received {
                Some(received) => {
                    budget.moved(received.saturating_sub(offset));
                    offset = received;
                }
                None => match self.start().await? {
                    Some(another) => (session, offset) = (another, 0),
                    None => break,
                },
            }
        }
        close(journal);
        Ok(())
    }

    async fn send<F, Opening>(
        &self,
        session: &mut Session<'_>,
        offset: u64,
        manner: Manner,
        journal: Option<&Journal>,
        open: &F,
    ) -> Result<(), RegistryError>
    where
        F: Fn(u64) -> Opening,
        Opening: Future<Output = io::Result<BlobReader>>,
    {
        let size = self.descriptor.size;
        if offset >= size && size > 0 {
            return session.complete(&self.descriptor.digest).await;
        }
        let opened = open(offset).await;
        let mut content = opened.map_err(|source| session.unreadable(source))?;
        if offset == 0 {
            content = Box::pin(Verified::new(content, self.descriptor));
        }
        let piece = match manner {
            Manner::Pieces(piece) => piece,
            Manner::Whole => u64::MAX,
        };
        if offset == 0 && size <= piece {
            return session.put(self.descriptor, content).await;
        }
        // Of a part only the registry can tell whether it is right, when the session is completed.
        let content = SharedReader::new(content);
        let mut from = offset;
        while from < size {
            let count = piece.min(size - from);
            session.patch(from, count, content.clone()).await?;
            from += count;
            note(journal, session);
        }
        session.complete(&self.descriptor.digest).await
    }

    /// Asks whether the blob is there.
    pub(crate) async fn is_there(&self) -> Result<bool, RegistryError> {
        let Descriptor {
            media_type, digest, ..
        } = self.descriptor;
        let call = match media_type.is_manifest() || media_type.is_index() {
            true => self.site.manifest_call(Method::HEAD, digest.as_str()),
            false => self.site.blob_call(Method::HEAD, digest),
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
}

fn note(journal: Option<&Journal>, session: &Session<'_>) {
    if let Some(journal) = journal {
        journal.note(session.location());
    }
}

fn close(journal: Option<Journal>) {
    if let Some(journal) = journal {
        journal.close();
    }
}
