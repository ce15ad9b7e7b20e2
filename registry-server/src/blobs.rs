//! Blobs, whole and in ranges. Source: OCI distribution specification, "Pulling blobs"; RFC 9110,
//! section 14.

use std::ops::Range;

use futures_util::TryStreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, RANGE};
use hyper::{Method, Request, StatusCode};
use mica_oci::Digest;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use crate::manifests::CONTENT_DIGEST;
use crate::mirror::Upstream;
use crate::reply::{Refusal, Reply, empty, set, streamed};
use crate::server::Service;

/// Large enough that system calls do not count, small enough for many clients at once.
const CHUNK: usize = 256 << 10;

impl<U: Upstream> Service<U> {
    pub(crate) async fn blob(
        &self,
        name: &str,
        digest: &Digest,
        request: &Request<Incoming>,
    ) -> Result<Reply, Refusal> {
        let _held = tokio::task::block_in_place(|| self.store.hold())?;
        self.mirrored.blob(&self.store, name, digest).await?;
        let Some(size) = self.store.find_blob(digest)? else {
            let message = format!("blob unknown to registry: {name} has no {digest}");
            return Err(Refusal::not_found("BLOB_UNKNOWN", message));
        };
        let range = match asked_range(request.headers(), size) {
            Asked::Whole => None,
            Asked::Part(range) => Some(range),
            Asked::Outside => {
                let status = StatusCode::RANGE_NOT_SATISFIABLE;
                let refusal = Refusal::new(status, "RANGE_INVALID", "the range is outside");
                let mut reply = refusal.into_reply();
                set(&mut reply, CONTENT_RANGE, format!("bytes */{size}"));
                return Ok(reply);
            }
        };
        let status = match range {
            None => StatusCode::OK,
            Some(_) => StatusCode::PARTIAL_CONTENT,
        };
        let part = range.clone().unwrap_or(0..size);
        let mut reply = match *request.method() {
            Method::HEAD => empty(status),
            _ => self.stream(digest, part.clone(), status).await?,
        };
        set(&mut reply, CONTENT_TYPE, "application/octet-stream");
        set(&mut reply, CONTENT_LENGTH, part.end - part.start);
        set(&mut reply, ACCEPT_RANGES, "bytes");
        set(&mut reply, CONTENT_DIGEST, digest);
        if range.is_some() {
            let last = part.end - 1;
            set(
                &mut reply,
                CONTENT_RANGE,
                format!("bytes {}-{last}/{size}", part.start),
            );
        }
        Ok(reply)
    }

    /// An open file outlives the removal of its name, so nothing is held while a client reads.
    async fn stream(
        &self,
        digest: &Digest,
        part: Range<u64>,
        status: StatusCode,
    ) -> Result<Reply, Refusal> {
        let path = self.store.blob_path(digest);
        let opened = tokio::fs::File::open(&path).await;
        let mut file = opened.map_err(|error| Refusal::internal(&error))?;
        let sought = file.seek(std::io::SeekFrom::Start(part.start)).await;
        sought.map_err(|error| Refusal::internal(&error))?;
        let bytes = ReaderStream::with_capacity(file.take(part.end - part.start), CHUNK);
        let body = StreamBody::new(bytes.map_ok(Frame::data));
        Ok(streamed(status, BodyExt::boxed(body)))
    }
}

/// Which part a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Asked {
    Whole,
    Part(Range<u64>),
    Outside,
}

/// Reads `bytes=5-9`, `bytes=5-` or `bytes=-5`; several ranges, and other units, are the whole.
fn asked_range(headers: &HeaderMap, size: u64) -> Asked {
    let text = headers.get(RANGE).and_then(|value| value.to_str().ok());
    let Some(spec) = text.and_then(|text| text.strip_prefix("bytes=")) else {
        return Asked::Whole;
    };
    let number = |text: &str| text.trim().parse::<u64>();
    let range = match spec.split_once('-') {
        Some(("", last)) => number(last).map(|count| size.saturating_sub(count)..size),
        Some((first, "")) => number(first).map(|first| first..size),
        Some((first, last)) => match (number(first), number(last)) {
            (Ok(first), Ok(last)) if first <= last => Ok(first..size.min(last.saturating_add(1))),
            _ => return Asked::Whole,
        },
        None => return Asked::Whole,
    };
    match range {
        Ok(range) if range.start < range.end => Asked::Part(range),
        Ok(_) => Asked::Outside,
        Err(_) => Asked::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    #[test]
    fn ranges_are_those_of_http() {
        let cases = [
            (None, Asked::Whole),
            (Some("bytes=0-"), Asked::Part(0..10)),
            (Some("bytes=2-4"), Asked::Part(2..5)),
            (Some("bytes=2-99"), Asked::Part(2..10)),
            (Some("bytes=-3"), Asked::Part(7..10)),
            (Some("bytes=10-"), Asked::Outside),
            (Some("bytes=4-2"), Asked::Whole),
            (Some("bytes=1-2,4-5"), Asked::Whole),
            (Some("lines=1-2"), Asked::Whole),
            (Some("bytes=x-"), Asked::Whole),
        ];
        for (text, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.extend(text.map(|text| (RANGE, HeaderValue::from_static(text))));
            assert_eq!(asked_range(&headers, 10), expected, "{text:?}");
        }
    }
}
