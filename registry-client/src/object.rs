//! Objects of an object store (S3), by addresses that carry their own signature.

use std::future::Future;
use std::io;

use futures_util::{StreamExt, TryStreamExt};
use mica_oci::BlobReader;
use reqwest::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Body, Method, Response, StatusCode, Url};
use tokio_util::io::{ReaderStream, StreamReader};

use crate::retry::{Budget, is_passing, retry_after};
use crate::{Registry, RegistryError, RegistryReply, RequestName};

/// What is sent at a time.
const CHUNK: usize = 256 << 10;
/// The longest error that is read.
const LONGEST_REPLY: usize = 64 << 10;

/// A request to an object store. The address says who asks: it is shown without its query.
#[derive(Clone, Debug)]
pub struct ObjectRequest {
    method: Method,
    url: Url,
    headers: HeaderMap,
}

impl ObjectRequest {
    /// Asks whether an object is there, by a signed address for `HEAD`.
    pub fn head(url: Url) -> Self {
        Self::new(Method::HEAD, url)
    }

    /// Asks for an object, by a signed address for `GET`.
    pub fn get(url: Url) -> Self {
        Self::new(Method::GET, url)
    }

    /// Makes an object, by a signed address for `PUT`.
    pub fn put(url: Url) -> Self {
        Self::new(Method::PUT, url)
    }

    fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
        }
    }

    /// Adds a header that the signature covers.
    ///
    /// # Errors
    /// [`RegistryError::Address`] for a value that no header can have.
    pub fn header(mut self, name: &'static str, value: &str) -> Result<Self, RegistryError> {
        let value = HeaderValue::from_str(value).map_err(|_| RegistryError::Address {
            address: format!("(the {name} header)"),
        })?;
        self.headers.insert(HeaderName::from_static(name), value);
        Ok(self)
    }

    fn name(&self) -> Box<RequestName> {
        let host = self.url.host_str().unwrap_or_default();
        RequestName::new(&self.method, host, "", &self.url)
    }
}

impl Registry {
    /// Returns the headers of an object; `None` when there is none.
    pub async fn object_headers(
        &self,
        request: &ObjectRequest,
    ) -> Result<Option<HeaderMap>, RegistryError> {
        let answer = self.ask_object(request, async || Ok(None)).await?;
        Ok(answer.map(|response| response.headers().clone()))
    }

    /// Opens an object; `None` when there is none. The content is not verified.
    pub async fn object(
        &self,
        request: &ObjectRequest,
    ) -> Result<Option<BlobReader>, RegistryError> {
        let answer = self.ask_object(request, async || Ok(None)).await?;
        let silence = self.shared.config.retry.silence;
        Ok(answer.map(|response| -> BlobReader {
            let chunks = response.bytes_stream().map_err(io::Error::other).boxed();
            let waited = futures_util::stream::unfold(chunks, move |mut chunks| async move {
                let next = tokio::time::timeout(silence, chunks.next()).await;
                let next = next.unwrap_or_else(|_| Some(Err(io::ErrorKind::TimedOut.into())));
                next.map(|chunk| (chunk, chunks))
            });
            Box::pin(StreamReader::new(waited.boxed()))
        }))
    }

    /// Makes an object of `length` bytes; `open` opens them, again for each attempt.
    ///
    /// # Errors
    /// The store's own words, after the attempts of the retry policy.
    pub async fn put_object<F, Opening>(
        &self,
        request: &ObjectRequest,
        length: u64,
        open: F,
    ) -> Result<(), RegistryError>
    where
        F: Fn() -> Opening,
        Opening: Future<Output = io::Result<BlobReader>>,
    {
        let open = async || Ok(Some((length, open().await?)));
        match self.ask_object(request, open).await? {
            Some(_) => Ok(()),
            None => Err(RegistryError::Status {
                request: request.name(),
                status: StatusCode::NOT_FOUND,
                reply: RegistryReply::default(),
            }),
        }
    }

    /// Sends a request until there is an answer; `None` when there is no such object.
    async fn ask_object<F, Opening>(
        &self,
        request: &ObjectRequest,
        open: F,
    ) -> Result<Option<Response>, RegistryError>
    where
        F: Fn() -> Opening,
        Opening: Future<Output = io::Result<Option<(u64, BlobReader)>>>,
    {
        let mut budget = Budget::new(self.shared.config.retry);
        loop {
            let content = open().await.map_err(|source| RegistryError::Keep {
                request: request.name(),
                source,
            })?;
            let (error, asked) = match self.send_object(request, content).await {
                Ok(response) if response.status().is_success() => return Ok(Some(response)),
                Ok(response) => {
                    let asked = retry_after(response.headers());
                    let status = response.status();
                    let reply = read_reply(response).await;
                    if status == StatusCode::NOT_FOUND && reply.code != "NoSuchBucket" {
                        return Ok(None);
                    }
                    let request = request.name();
                    let error = RegistryError::Status {
                        request,
                        status,
                        reply,
                    };
                    (error, is_passing(status).then_some(asked))
                }
                Err(error) => {
                    let passes = error.is_retryable();
                    (error, passes.then_some(None))
                }
            };
            match asked {
                Some(asked) if budget.wait(asked).await => {}
                _ => return Err(error),
            }
        }
    }

    async fn send_object(
        &self,
        request: &ObjectRequest,
        content: Option<(u64, BlobReader)>,
    ) -> Result<Response, RegistryError> {
        let client = self.shared.transport.for_files().clone();
        let mut sent = client
            .request(request.method.clone(), request.url.clone())
            .headers(request.headers.clone());
        if let Some((length, content)) = content {
            // Object stores refuse a body of unknown length.
            sent = sent.header(CONTENT_LENGTH, length);
            sent = sent.body(match length {
                0 => Body::default(),
                _ => Body::wrap_stream(ReaderStream::with_capacity(content, CHUNK)),
            });
        }
        let answer = sent.send().await;
        answer.map_err(|error| RegistryError::connect(request.name(), error))
    }
}

async fn read_reply(response: Response) -> RegistryReply {
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(Ok(chunk)) = chunks.next().await {
        body.extend_from_slice(&chunk);
        if body.len() > LONGEST_REPLY {
            break;
        }
    }
    let text = String::from_utf8_lossy(&body);
    RegistryReply {
        code: element(&text, "Code"),
        message: element(&text, "Message"),
    }
}

/// Reads an element of an S3 error: `<Code>NoSuchBucket</Code>`; empty when there is none.
fn element(xml: &str, name: &str) -> String {
    let inner = xml
        .split_once(&format!("<{name}>"))
        .and_then(|(_, rest)| rest.split_once(&format!("</{name}>")));
    let text = inner.map_or("", |(text, _)| text);
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_store_is_read() {
        let xml = "<?xml version=\"1.0\"?>\n<Error><Code>SlowDown</Code><Message>Please\nreduce</Message></Error>";
        assert_eq!(element(xml, "Code"), "SlowDown");
        assert_eq!(element(xml, "Message"), "Please reduce");
        assert_eq!(element("<html>", "Code"), "");
        assert_eq!(element("<Code>cut", "Code"), "");
    }
}
