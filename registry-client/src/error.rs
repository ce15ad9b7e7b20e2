//! What can go wrong between here and a registry, with everything needed to say so.

use std::error::Error;
use std::{fmt, io};

use mica_oci::Digest;
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;

use crate::{ConnectFailure, retry};

/// Which request an error is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestName {
    /// The HTTP method.
    pub method: Method,
    /// The registry, as in a reference.
    pub registry: String,
    /// The repository; empty for a request that is about none.
    pub repository: String,
    /// Scheme, host and path, without credentials and query.
    pub url: String,
}

impl RequestName {
    pub(crate) fn new(method: &Method, registry: &str, repository: &str, url: &Url) -> Box<Self> {
        let origin = url.origin().ascii_serialization();
        Box::new(Self {
            method: method.clone(),
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            url: format!("{origin}{}", url.path()),
        })
    }
}

impl fmt::Display for RequestName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.url)
    }
}

/// What a registry said about a failure: the first of its `errors`.
///
/// Source: OCI distribution specification, "Error Codes".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryReply {
    /// The code, such as `MANIFEST_UNKNOWN`; empty when there was none.
    pub code: String,
    /// The message; empty when there was none.
    pub message: String,
}

impl RegistryReply {
    /// Reads an error body; with none, says what the status means in docker's words.
    pub(crate) fn read(status: StatusCode, body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Body {
            errors: Vec<Item>,
        }
        #[derive(Deserialize)]
        struct Item {
            code: serde_json::Value,
            #[serde(default)]
            message: Option<String>,
        }
        let body: Option<Body> = serde_json::from_slice(body).ok();
        match body.and_then(|body| body.errors.into_iter().next()) {
            Some(Item { code, message }) => Self {
                code: code
                    .as_str()
                    .map_or_else(|| code.to_string(), str::to_owned),
                message: message.map(printable).unwrap_or_default(),
            },
            None => Self::usual(status),
        }
    }

    fn usual(status: StatusCode) -> Self {
        let (code, message) = match status {
            StatusCode::UNAUTHORIZED => ("UNAUTHORIZED", "authentication required"),
            StatusCode::FORBIDDEN => ("DENIED", "requested access to the resource is denied"),
            StatusCode::TOO_MANY_REQUESTS => ("TOOMANYREQUESTS", "too many requests"),
            _ => ("", ""),
        };
        Self {
            code: code.to_owned(),
            message: message.to_owned(),
        }
    }
}

/// A registry's text goes to a terminal: one line of bounded length, no control characters.
fn printable(text: String) -> String {
    const LONGEST: usize = 1000;
    let blank = |character: char| {
        if character.is_control() {
            ' '
        } else {
            character
        }
    };
    text.chars().take(LONGEST).map(blank).collect()
}

/// In docker's manner: `: manifest unknown: manifest unknown`.
impl fmt::Display for RegistryReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [
            self.code.to_lowercase().replace('_', " "),
            self.message.clone(),
        ] {
            if !part.is_empty() {
                write!(f, ": {part}")?;
            }
        }
        Ok(())
    }
}

/// How a registry broke the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProtocolFault {
    /// The token server's answer holds no token.
    Token,
    /// The token server is to be reached without TLS, which would give the credentials away.
    InsecureRealm,
    /// An upload has no usable `Location`.
    Location,
    /// The answer to a ranged request is another range.
    Range,
    /// A blob is announced with another length than its descriptor says.
    Length,
    /// The content was another before.
    WrongContent,
    /// A manifest is larger than any registry accepts.
    ManifestSize,
    /// A manifest has no media type, in no header and not in itself.
    MediaType,
    /// A list is not the JSON it should be.
    List,
}

impl fmt::Display for ProtocolFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token => "the token server's answer holds no token",
            Self::InsecureRealm => "the token server would get the credentials without TLS",
            Self::Location => "the registry's answer has no usable upload location",
            Self::Range => "the registry sent another range than asked for",
            Self::Length => "the registry announced another length than the descriptor says",
            Self::WrongContent => "the registry sent other content than its digest says",
            Self::ManifestSize => "the manifest is larger than 4 MiB",
            Self::MediaType => "the manifest has no media type",
            Self::List => "the registry's list is not valid JSON",
        })
    }
}

/// An error of a registry, of the way to it, or of what is to be sent there.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The registry answered with a status that means failure.
    #[error("{request}: {status}{reply}")]
    Status {
        /// What was asked.
        request: Box<RequestName>,
        /// The HTTP status.
        status: StatusCode,
        /// The registry's own words.
        reply: RegistryReply,
    },
    /// No answer came.
    #[error("{request}: {failure}")]
    Connect {
        /// What was asked.
        request: Box<RequestName>,
        /// Why no answer came.
        failure: ConnectFailure,
        /// The transport's error; none when the connection ended early or stayed silent.
        #[source]
        source: Option<reqwest::Error>,
    },
    /// What was sent could not be kept.
    #[error("cannot keep the answer to {request}")]
    Keep {
        /// What was asked.
        request: Box<RequestName>,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The answer is not what the protocol asks for.
    #[error("{request}: {fault}")]
    Protocol {
        /// What was asked.
        request: Box<RequestName>,
        /// What is wrong with the answer.
        fault: ProtocolFault,
    },
    /// A manifest is not the one that was asked for, or not the one that the registry says it is.
    #[error("{request}: manifest has digest {actual}, expected {expected}")]
    Digest {
        /// What was asked.
        request: Box<RequestName>,
        /// The digest asked for or announced.
        expected: Digest,
        /// The digest of what came.
        actual: Digest,
    },
    /// A download broke off too often.
    #[error("download of {digest} from {registry}/{repository} broke off at byte {offset}")]
    Download {
        /// The registry.
        registry: String,
        /// The repository.
        repository: String,
        /// What was downloaded.
        digest: Digest,
        /// How many bytes had come.
        offset: u64,
        /// The last failure.
        #[source]
        source: Box<RegistryError>,
    },
    /// What was to be sent could not be read, or is not what its descriptor says.
    #[error("cannot read {digest} to push it to {registry}/{repository}")]
    Content {
        /// The registry.
        registry: String,
        /// The repository.
        repository: String,
        /// What was to be sent.
        digest: Digest,
        /// The reader's error; holds a [`mica_oci::VerifyError`] when the content is another.
        #[source]
        source: io::Error,
    },
    /// Neither a mirror nor the registry itself has it.
    #[error("no mirror of {registry} has it ({mirror}), nor does the registry")]
    Mirrors {
        /// The registry.
        registry: String,
        /// What the last mirror said.
        mirror: Box<RegistryError>,
        /// What the registry said.
        #[source]
        source: Box<RegistryError>,
    },
    /// The user forbids such names.
    #[error("{name} is blocked in {source_file}")]
    Blocked {
        /// The registry and the repository.
        name: String,
        /// The file that says so.
        source_file: String,
    },
    /// A reference of another repository was given to this one.
    #[error("`{reference}` is not in the repository {registry}/{repository}")]
    OtherRepository {
        /// The reference given.
        reference: String,
        /// The registry of this repository.
        registry: String,
        /// The name of this repository.
        repository: String,
    },
    /// The host or a proxy is no valid address.
    #[error("`{address}` is not a valid address of a registry or proxy")]
    Address {
        /// What was given.
        address: String,
    },
    /// The certificates given hold none.
    #[error("the extra certificates are not valid PEM")]
    Certificates,
    /// The HTTP client cannot be set up.
    #[error("cannot set up the HTTP client")]
    Client {
        /// The cause.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

/// What a user can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// Log in, or with other credentials.
    Login,
    /// Trust the registry's certificate authority.
    Certificate,
    /// Show the registry a certificate of one's own.
    ClientCertificate,
    /// Allow plain HTTP for this registry.
    PlainHttp,
    /// Check the name of the host, repository or tag.
    Name,
    /// Check the proxy's address, user and password.
    Proxy,
    /// Check that the registry runs and can be reached.
    Unreachable,
}

impl RegistryError {
    /// Names a transport's error. Its own text would repeat the URL, with the query.
    pub(crate) fn connect(request: Box<RequestName>, source: reqwest::Error) -> Self {
        Self::Connect {
            request,
            failure: ConnectFailure::of(&source),
            source: Some(source.without_url()),
        }
    }

    /// Names a failure that the transport itself did not notice.
    pub(crate) fn unanswered(request: Box<RequestName>, failure: ConnectFailure) -> Self {
        Self::Connect {
            request,
            failure,
            source: None,
        }
    }

    /// Returns what a user can do about it, where that is known.
    pub fn hint(&self) -> Option<Hint> {
        match self {
            Self::Status { status, .. } => match status.as_u16() {
                401 | 403 => Some(Hint::Login),
                407 => Some(Hint::Proxy),
                404 => Some(Hint::Name),
                _ => None,
            },
            Self::Connect { failure, .. } => Some(match failure {
                ConnectFailure::NoSuchHost => Hint::Name,
                ConnectFailure::ClientCertificate => Hint::ClientCertificate,
                ConnectFailure::PlainHttp => Hint::PlainHttp,
                ConnectFailure::Proxy => Hint::Proxy,
                ConnectFailure::UnknownAuthority | ConnectFailure::BadCertificate => {
                    Hint::Certificate
                }
                ConnectFailure::Refused | ConnectFailure::TimedOut | ConnectFailure::Broken => {
                    Hint::Unreachable
                }
            }),
            Self::Download { source, .. } | Self::Mirrors { source, .. } => source.hint(),
            _ => None,
        }
    }

    /// Returns the HTTP status of the registry's refusal.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(status.as_u16()),
            Self::Download { source, .. } | Self::Mirrors { source, .. } => source.status(),
            _ => None,
        }
    }

    /// Tells whether an answer contradicted itself, as those of a faulty proxy do.
    pub(crate) fn is_lie(&self) -> bool {
        let Self::Protocol { fault, .. } = self else {
            return false;
        };
        matches!(fault, ProtocolFault::Length | ProtocolFault::Range)
    }

    /// Tells whether the same action may succeed later: the connection broke off, or the registry
    /// was busy. An interrupted push of a stream that cannot be read again ends in such an error.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Status { status, .. } => retry::is_passing(*status),
            Self::Connect { failure, .. } => failure.is_passing(),
            Self::Download { source, .. } | Self::Mirrors { source, .. } => source.is_retryable(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_read_in_dockers_manner() {
        let cases: [(u16, &str, &str); 7] = [
            (
                404,
                r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#,
                ": manifest unknown: manifest unknown",
            ),
            (
                401,
                r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required","detail":[]}]}"#,
                ": unauthorized: authentication required",
            ),
            (401, "", ": unauthorized: authentication required"),
            (
                403,
                "<html>",
                ": denied: requested access to the resource is denied",
            ),
            (500, "{}", ""),
            (400, r#"{"errors":[{"code":7}]}"#, ": 7"),
            (
                400,
                r#"{"errors":[{"code":"X","message":"a\u001b[31mb"}]}"#,
                ": x: a [31mb",
            ),
        ];
        for (status, body, expected) in cases {
            let status = StatusCode::from_u16(status).unwrap();
            let reply = RegistryReply::read(status, body.as_bytes());
            assert_eq!(reply.to_string(), expected, "{status} {body}");
        }
    }

    #[test]
    fn names_hold_no_query() {
        let url = Url::parse("https://user:pass@host.example/v2/a/blobs/x?_state=secret").unwrap();
        let name = RequestName::new(&Method::PUT, "host.example", "a", &url);
        assert_eq!(name.to_string(), "PUT https://host.example/v2/a/blobs/x");
    }
}
