//! One upload session of a registry. Source: OCI distribution specification, "Pushing blobs".

use std::io;
use std::sync::{Arc, Mutex};

use bytes::BytesMut;
use futures_util::{StreamExt, TryStreamExt, stream};
use mica_oci::{BlobReader, Descriptor, Digest};
use reqwest::header::{
    CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RANGE,
};
use reqwest::{Body, Method, Response, StatusCode, Url};
use tokio::io::AsyncReadExt;
use tokio_util::io::{ReaderStream, StreamReader};

use crate::site::{Call, Site};
use crate::{ProtocolFault, RegistryError};

/// Large enough that system calls do not count, small enough for many uploads at once.
const CHUNK: usize = 256 << 10;

/// An upload that the registry knows about.
pub(crate) struct Session<'a> {
    site: &'a Site,
    /// What names the content in errors.
    content: Digest,
    location: Url,
    /// The registry takes no smaller piece, but for the last.
    smallest_piece: u64,
}

/// Content of which requests take one piece after another.
#[derive(Clone)]
pub(crate) struct SharedReader {
    reader: Arc<tokio::sync::Mutex<BlobReader>>,
}

impl SharedReader {
    pub(crate) fn new(reader: BlobReader) -> Self {
        let reader = Arc::new(tokio::sync::Mutex::new(reader));
        Self { reader }
    }

    /// Returns the next `count` bytes as a reader of their own.
    fn piece(self, count: u64) -> BlobReader {
        let chunks = stream::try_unfold((self, count), |(shared, left)| async move {
            if left == 0 {
                return Ok(None);
            }
            let mut chunk = BytesMut::with_capacity(CHUNK);
            {
                let mut reader = shared.reader.lock().await;
                let limit = left.min(CHUNK as u64);
                let mut part = (&mut *reader).take(limit);
                while (chunk.len() as u64) < limit && part.read_buf(&mut chunk).await? > 0 {}
            }
            let rest = left - chunk.len() as u64;
            if chunk.is_empty() {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            Ok(Some((chunk.freeze(), (shared, rest))))
        });
        Box::pin(StreamReader::new(chunks.boxed()))
    }
}

/// How an upload begins.
pub(crate) enum Start<'a> {
    /// With its end: the registry took the blob from another of its repositories.
    Mounted,
    /// With a session that wants the bytes.
    Session(Session<'a>),
}

impl<'a> Session<'a> {
    /// Begins an upload, or mounts the blob from another repository where that has it.
    pub(crate) async fn start(
        site: &'a Site,
        content: &Digest,
        mount_from: Option<&str>,
    ) -> Result<Start<'a>, RegistryError> {
        let mut url = site.url("blobs/uploads/");
        if let Some(from) = mount_from {
            url.query_pairs_mut()
                .append_pair("mount", content.as_str())
                .append_pair("from", from);
        }
        let call = Call::new(Method::POST, url);
        let response = site.send(&call).await?;
        let wanted = [StatusCode::ACCEPTED, StatusCode::CREATED];
        let response = site.expect(&call, response, &wanted).await?;
        if mount_from.is_some() && response.status() == StatusCode::CREATED {
            return Ok(Start::Mounted);
        }
        let location = location(site, &call.url, response.headers());
        Ok(Start::Session(Self {
            site,
            content: content.clone(),
            location: location.ok_or_else(|| site.fault(&call, ProtocolFault::Location))?,
            smallest_piece: smallest_piece(response.headers()),
        }))
    }

    /// Takes up a session that an earlier process began.
    pub(crate) fn at(site: &'a Site, content: &Digest, location: Url) -> Self {
        Self {
            site,
            content: content.clone(),
            location,
            smallest_piece: 0,
        }
    }

    /// Returns where to go on.
    pub(crate) fn location(&self) -> &Url {
        &self.location
    }

    /// Returns how large a piece is: as large as we like, unless the registry wants more.
    pub(crate) fn piece(&self, wanted: u64) -> u64 {
        wanted.max(self.smallest_piece).max(1)
    }

    /// Sends all bytes and ends the session, in one request.
    pub(crate) async fn put(
        &self,
        descriptor: &Descriptor,
        content: BlobReader,
    ) -> Result<(), RegistryError> {
        let call = Call::new(Method::PUT, self.finishing_url(&descriptor.digest));
        let call = call.header(CONTENT_LENGTH, descriptor.size.into());
        let response = self.stream(call.clone(), content).await?;
        self.finished(&call, response).await
    }

    /// Sends the next `count` bytes, the first of which is `offset`, without ending the session.
    pub(crate) async fn patch(
        &mut self,
        offset: u64,
        count: u64,
        content: SharedReader,
    ) -> Result<(), RegistryError> {
        let last = offset + count - 1;
        let range = HeaderValue::from_str(&format!("{offset}-{last}"));
        let call = Call::new(Method::PATCH, self.location.clone())
            .header(CONTENT_RANGE, range.expect("digits are valid in a header"))
            .header(CONTENT_LENGTH, count.into());
        let content = content.piece(count);
        let response = self.stream(call.clone(), content).await?;
        let wanted = [
            StatusCode::ACCEPTED,
            StatusCode::NO_CONTENT,
            StatusCode::CREATED,
        ];
        let response = self.site.expect(&call, response, &wanted).await?;
        self.follow(&call, response.headers());
        Ok(())
    }

    /// Ends the session after the last byte.
    pub(crate) async fn complete(&self, digest: &Digest) -> Result<(), RegistryError> {
        let call = Call::new(Method::PUT, self.finishing_url(digest));
        let response = self.site.send(&call).await?;
        self.finished(&call, response).await
    }

    /// Asks how many bytes arrived; `None` when the registry has given the session up.
    pub(crate) async fn received(&mut self) -> Option<u64> {
        let call = Call::new(Method::GET, self.location.clone());
        let response = self.site.send(&call).await.ok()?;
        let known = [StatusCode::NO_CONTENT, StatusCode::ACCEPTED, StatusCode::OK];
        if !known.contains(&response.status()) {
            return None;
        }
        self.smallest_piece = smallest_piece(response.headers()).max(self.smallest_piece);
        let received = end_of_range(response.headers())?;
        self.follow(&call, response.headers());
        Some(received)
    }

    /// Tells the registry that nothing more will come. It tidies up by itself if this fails.
    pub(crate) async fn cancel(self) {
        let call = Call::new(Method::DELETE, self.location.clone());
        let _ = self.site.send(&call).await;
    }

    async fn stream(&self, call: Call, content: BlobReader) -> Result<Response, RegistryError> {
        let octets = HeaderValue::from_static("application/octet-stream");
        let call = call.header(CONTENT_TYPE, octets);
        let failure = Arc::new(Mutex::new(None));
        let sent = self
            .site
            .send_stream(&call, body(content, failure.clone()))
            .await;
        match failure.lock().expect("no panic under this lock").take() {
            None => sent,
            Some(source) => Err(self.unreadable(source)),
        }
    }

    /// Makes an error of content that cannot be read, or is another.
    pub(crate) fn unreadable(&self, source: io::Error) -> RegistryError {
        RegistryError::Content {
            registry: self.site.endpoint.name.clone(),
            repository: self.site.repository.clone(),
            digest: self.content.clone(),
            source,
        }
    }

    async fn finished(&self, call: &Call, response: Response) -> Result<(), RegistryError> {
        let wanted = [StatusCode::CREATED, StatusCode::NO_CONTENT, StatusCode::OK];
        self.site.expect(call, response, &wanted).await?;
        Ok(())
    }

    fn finishing_url(&self, digest: &Digest) -> Url {
        let mut url = self.location.clone();
        url.query_pairs_mut().append_pair("digest", digest.as_str());
        url
    }

    /// Each answer may name another place to go on at.
    fn follow(&mut self, call: &Call, headers: &HeaderMap) {
        if let Some(next) = location(self.site, &call.url, headers) {
            self.location = next;
        }
    }
}

/// Makes a body of a reader; puts the reader's error aside, as the client would hide it.
///
/// Each chunk waits for the one after it: the client stops reading at the last byte, but a reader
/// that verifies tells only after that byte, and then it must not have been sent.
fn body(content: BlobReader, failure: Arc<Mutex<Option<io::Error>>>) -> Body {
    let chunks = ReaderStream::with_capacity(content, CHUNK).map_err(move |error| {
        let kind = error.kind();
        *failure.lock().expect("no panic under this lock") = Some(error);
        io::Error::from(kind)
    });
    let delayed = stream::try_unfold((chunks, None), |(mut chunks, mut held)| async move {
        while let Some(chunk) = chunks.try_next().await? {
            if let Some(before) = held.replace(chunk) {
                return Ok(Some((before, (chunks, held))));
            }
        }
        Ok::<_, io::Error>(held.take().map(|last| (last, (chunks, None))))
    });
    Body::wrap_stream(delayed)
}

/// Reads `Location`, which may be relative. Behind a proxy that ends TLS, some registries give
/// their own address without it; following that would send a token in the clear.
fn location(site: &Site, current: &Url, headers: &HeaderMap) -> Option<Url> {
    let text = headers.get(LOCATION)?.to_str().ok()?;
    let mut url = current.join(text).ok()?;
    let base = &site.endpoint.base;
    let stripped = base.scheme() == "https" && url.scheme() == "http";
    if stripped && url.host_str() == base.host_str() {
        url.set_scheme("https").ok()?;
        url.set_port(base.port()).ok()?;
    }
    matches!(url.scheme(), "http" | "https").then_some(url)
}

/// Reads `OCI-Chunk-Min-Length`.
fn smallest_piece(headers: &HeaderMap) -> u64 {
    let value = headers.get("oci-chunk-min-length");
    let text = value.and_then(|value| value.to_str().ok());
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// Reads `Range: 0-9` as 10 bytes. An empty session is `0-0` or has none.
fn end_of_range(headers: &HeaderMap) -> Option<u64> {
    let Some(text) = headers.get(RANGE) else {
        return Some(0);
    };
    let text = text.to_str().ok()?;
    let text = text.strip_prefix("bytes=").unwrap_or(text);
    match text.split_once('-')? {
        // One byte or none: from the start is right in both cases.
        ("0", "0") => Some(0),
        ("0", last) => last.trim().parse::<u64>().ok()?.checked_add(1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_tell_what_arrived() {
        let cases = [
            (Some("0-9"), Some(10)),
            (Some("bytes=0-9"), Some(10)),
            (Some("0-0"), Some(0)),
            (None, Some(0)),
            (Some("5-9"), None),
            (Some("x"), None),
            (Some("0-18446744073709551615"), None),
        ];
        for (text, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.extend(text.map(|text| (RANGE, HeaderValue::from_static(text))));
            assert_eq!(end_of_range(&headers), expected, "{text:?}");
        }
    }
}
