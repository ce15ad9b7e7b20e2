//! Files of any server, by the same client that speaks to registries.

use std::io::Write;

use futures_util::StreamExt;
use reqwest::header::{
    AUTHORIZATION, ETAG, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    LAST_MODIFIED,
};
use reqwest::{Method, Url};

use crate::{ConnectFailure, Registry, RegistryError, RequestName};

/// A request for a file.
#[derive(Clone, Copy, Debug)]
pub struct FileRequest<'r> {
    /// The address: `http` or `https`, with a login where it needs one.
    pub url: &'r str,
    /// Whether only the headers are asked for.
    pub method: FileMethod,
    /// `If-None-Match`.
    pub etag: Option<&'r str>,
    /// `If-Modified-Since`.
    pub modified_since: Option<&'r str>,
    /// `Authorization`; not sent on to another host by a redirect.
    pub authorization: Option<&'r str>,
}

/// How a file is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileMethod {
    /// The headers alone.
    Head,
    /// The content.
    Get,
}

/// What a server answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileAnswer {
    /// The HTTP status.
    pub status: u16,
    /// `ETag`.
    pub etag: Option<String>,
    /// `Last-Modified`.
    pub last_modified: Option<String>,
}

impl Registry {
    /// Asks a server for a file; the body of a successful answer goes to `content` as it comes.
    ///
    /// # Errors
    /// When no complete answer came, or `content` does not take it. A status is no error.
    pub async fn file(
        &self,
        request: &FileRequest<'_>,
        content: &mut dyn Write,
    ) -> Result<FileAnswer, RegistryError> {
        let url: Url = request.url.parse().map_err(|_| RegistryError::Address {
            address: "(download)".to_owned(),
        })?;
        let method = match request.method {
            FileMethod::Head => Method::HEAD,
            FileMethod::Get => Method::GET,
        };
        let host = url.host_str().unwrap_or_default();
        let name = RequestName::new(&method, host, "", &url);
        let silence = self.shared.config.retry.silence;
        let client = self.shared.transport.for_files();
        let sent = client.request(method, url).headers(headers(request)?);
        let timed_out = || RegistryError::unanswered(name.clone(), ConnectFailure::TimedOut);
        let response = tokio::time::timeout(silence, sent.send()).await;
        let response = response
            .map_err(|_| timed_out())?
            .map_err(|error| RegistryError::connect(name.clone(), error))?;
        let answer = FileAnswer {
            status: response.status().as_u16(),
            etag: text(response.headers(), &ETAG),
            last_modified: text(response.headers(), &LAST_MODIFIED),
        };
        if !response.status().is_success() || request.method == FileMethod::Head {
            return Ok(answer);
        }
        let mut body = response.bytes_stream();
        while let Some(chunk) = tokio::time::timeout(silence, body.next())
            .await
            .map_err(|_| timed_out())?
        {
            let chunk = chunk.map_err(|error| RegistryError::connect(name.clone(), error))?;
            content
                .write_all(&chunk)
                .map_err(|source| RegistryError::Keep {
                    request: name.clone(),
                    source,
                })?;
        }
        Ok(answer)
    }
}

fn headers(request: &FileRequest<'_>) -> Result<HeaderMap, RegistryError> {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        (IF_NONE_MATCH, request.etag),
        (IF_MODIFIED_SINCE, request.modified_since),
        (AUTHORIZATION, request.authorization),
    ] {
        let Some(value) = value else { continue };
        // The value may be a secret, so it is not shown.
        let value = HeaderValue::from_str(value).map_err(|_| RegistryError::Address {
            address: format!("(the {name} header)"),
        })?;
        headers.insert(name, value);
    }
    Ok(headers)
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}
