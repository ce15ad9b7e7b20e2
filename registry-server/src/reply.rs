//! Answers, and refusals in the specification's form.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::json;

/// A body that may break off.
pub(crate) type Body = BoxBody<Bytes, std::io::Error>;

/// An answer on its way.
pub(crate) type Reply = Response<Body>;

/// Why a request is refused. Source: OCI distribution specification, "Error Codes".
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

/// The name that old clients look for.
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }

    pub(crate) fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    pub(crate) fn invalid(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", message)
    }

    /// The server's own trouble: the client is told that it is not its fault, and its kind.
    pub(crate) fn internal(error: &dyn std::error::Error) -> Self {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Self::new(status, "UNKNOWN", error.to_string())
    }

    pub(crate) fn into_reply(self) -> Reply {
        let body = json!({ "errors": [{ "code": self.code, "message": self.message }] });
        let mut reply = with_body(self.status, body.to_string());
        let json = HeaderValue::from_static("application/json");
        reply.headers_mut().insert(CONTENT_TYPE, json);
        reply
    }
}

impl From<mica_store::StoreError> for Refusal {
    fn from(error: mica_store::StoreError) -> Self {
        Self::internal(&error)
    }
}

pub(crate) fn empty(status: StatusCode) -> Reply {
    finish(status, Empty::new().map_err(never).boxed())
}

pub(crate) fn with_body(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    finish(status, Full::new(body.into()).map_err(never).boxed())
}

pub(crate) fn streamed(status: StatusCode, body: Body) -> Reply {
    finish(status, body)
}

fn never(error: Infallible) -> std::io::Error {
    match error {}
}

fn finish(status: StatusCode, body: Body) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    let version = HeaderValue::from_static("registry/2.0");
    reply.headers_mut().insert(API_VERSION, version);
    reply
}

/// Sets a header whose value is made of names, numbers and digests.
pub(crate) fn set(reply: &mut Reply, name: HeaderName, value: impl ToString) {
    if let Ok(value) = HeaderValue::from_str(&value.to_string()) {
        reply.headers_mut().insert(name, value);
    }
}
