//! A blob on its way here: streamed, resumed where it broke off, verified.

use std::io;

use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt};
use mica_oci::{BlobReader, Descriptor, Verified};
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderMap, HeaderValue, RANGE};
use reqwest::{Method, StatusCode};
use tokio_util::io::StreamReader;

use crate::retry::Budget;
use crate::site::{Call, Site};
use crate::{ConnectFailure, ProtocolFault, RegistryError, RequestName};

type Body = BoxStream<'static, reqwest::Result<Bytes>>;

/// A download from a site that has the blob.
pub(crate) struct Download {
    descriptor: Descriptor,
    site: Site,
    /// Where to go on when the first site, a mirror, fails.
    origin: Option<Site>,
    budget: Budget,
    body: Option<Body>,
    /// How many bytes were handed out.
    offset: u64,
    /// How many bytes of the body were handed out before, by a server that ignores ranges.
    skip: u64,
}

impl Download {
    /// Asks a site for the blob from a byte on, and returns when it has begun to send it.
    pub(crate) async fn open(
        descriptor: Descriptor,
        offset: u64,
        site: Site,
    ) -> Result<Self, RegistryError> {
        let mut download = Self {
            descriptor,
            budget: Budget::new(site.policy),
            site,
            origin: None,
            body: None,
            offset,
            skip: 0,
        };
        loop {
            match download.connect().await {
                Ok(()) => return Ok(download),
                Err(error) if error.is_lie() && download.budget.wait(None).await => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Goes on at `origin` when the site that was opened fails.
    pub(crate) fn with_origin(self, origin: Option<Site>) -> Self {
        Self { origin, ..self }
    }

    /// Turns the download into a reader that fails at its end when the content is another.
    pub(crate) fn into_reader(self) -> BlobReader {
        let descriptor = self.descriptor.clone();
        Box::pin(Verified::new(self.into_unverified(), &descriptor))
    }

    /// Turns the download into a reader of what comes, whatever that is.
    pub(crate) fn into_unverified(self) -> BlobReader {
        let chunks = futures_util::stream::unfold(Some(self), |download| async {
            let mut download = download?;
            match download.next_chunk().await {
                Ok(None) => None,
                Ok(Some(chunk)) => Some((Ok(chunk), Some(download))),
                Err(error) => Some((Err(io::Error::other(error)), None)),
            }
        });
        Box::pin(StreamReader::new(chunks.boxed()))
    }

    async fn next_chunk(&mut self) -> Result<Option<Bytes>, RegistryError> {
        loop {
            let Some(body) = &mut self.body else {
                if !self.reconnect().await? {
                    return Ok(None);
                }
                continue;
            };
            let silence = self.site.policy.silence;
            let error = match tokio::time::timeout(silence, body.next()).await {
                Ok(Some(Ok(chunk))) => match self.accept(chunk) {
                    Some(chunk) => return Ok(Some(chunk)),
                    None => continue,
                },
                _ if self.offset >= self.descriptor.size => return Ok(None),
                // The end of the body, ahead of the end of the content.
                Ok(None) => RegistryError::unanswered(self.name(), ConnectFailure::Broken),
                Ok(Some(Err(error))) => RegistryError::connect(self.name(), error),
                Err(_) => RegistryError::unanswered(self.name(), ConnectFailure::TimedOut),
            };
            self.interrupted(error).await?;
        }
    }

    /// Counts a chunk, without what was handed out before.
    fn accept(&mut self, mut chunk: Bytes) -> Option<Bytes> {
        let known = self.skip.min(chunk.len() as u64);
        self.skip -= known;
        let chunk = chunk.split_off(known as usize);
        self.offset += chunk.len() as u64;
        self.budget.moved(chunk.len() as u64);
        (!chunk.is_empty()).then_some(chunk)
    }

    /// Waits before the next connection; fails when there were too many.
    async fn interrupted(&mut self, error: RegistryError) -> Result<(), RegistryError> {
        self.body = None;
        if self.budget.wait(None).await || self.next_site() {
            return Ok(());
        }
        Err(self.broken(error))
    }

    /// Goes on where the last connection broke off; `false` when there is no more content.
    async fn reconnect(&mut self) -> Result<bool, RegistryError> {
        loop {
            match self.connect().await {
                Ok(()) => return Ok(true),
                // Nothing past this offset: the reader's check says how much is missing.
                Err(error) if error.status() == Some(416) => return Ok(false),
                Err(error) if error.is_lie() && self.budget.wait(None).await => {}
                Err(_) if self.next_site() => {}
                Err(error) => return Err(self.broken(error)),
            }
        }
    }

    /// Leaves a mirror that has failed; `false` when there is nothing to turn to.
    fn next_site(&mut self) -> bool {
        let Some(origin) = self.origin.take() else {
            return false;
        };
        self.budget = Budget::new(origin.policy);
        self.site = origin;
        true
    }

    async fn connect(&mut self) -> Result<(), RegistryError> {
        let site = &self.site;
        let call = self.call();
        let response = site.send(&call).await?;
        let wanted = match self.offset {
            0 => &[StatusCode::OK][..],
            _ => &[StatusCode::OK, StatusCode::PARTIAL_CONTENT][..],
        };
        let response = site.expect(&call, response, wanted).await?;
        let whole = response.status() == StatusCode::OK;
        let length = content_length(response.headers());
        if whole && length.is_some_and(|length| length != self.descriptor.size) {
            return Err(site.fault(&call, ProtocolFault::Length));
        }
        self.skip = match response.status() {
            StatusCode::OK => self.offset,
            _ if starts_at(response.headers()) == Some(self.offset) => 0,
            _ => return Err(site.fault(&call, ProtocolFault::Range)),
        };
        self.body = Some(response.bytes_stream().boxed());
        Ok(())
    }

    fn call(&self) -> Call {
        let url = self.site.url(&format!("blobs/{}", self.descriptor.digest));
        let call = Call::new(Method::GET, url);
        if self.offset == 0 {
            return call;
        }
        let range = HeaderValue::from_str(&format!("bytes={}-", self.offset));
        call.header(RANGE, range.expect("digits are valid in a header"))
    }

    fn name(&self) -> Box<RequestName> {
        self.site.name(&self.call())
    }

    fn broken(&self, source: RegistryError) -> RegistryError {
        let site = &self.site;
        RegistryError::Download {
            registry: site.endpoint.name.clone(),
            repository: site.repository.clone(),
            digest: self.descriptor.digest.clone(),
            offset: self.offset,
            source: Box::new(source),
        }
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads the first byte of `Content-Range: bytes 5-9/10`.
fn starts_at(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let (start, _) = text.strip_prefix("bytes ")?.split_once('-')?;
    start.trim().parse().ok()
}
