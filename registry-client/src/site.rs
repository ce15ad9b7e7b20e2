//! One repository at one endpoint, and the only way to ask it for something.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use mica_oci::Digest;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Body, Method, Response, StatusCode, Url};

use crate::authorizer::{Authorizer, Surroundings};
use crate::endpoint::Endpoint;
use crate::error::RequestName;
use crate::registry::Shared;
use crate::retry::{self, Budget};
use crate::{ConnectFailure, ProtocolFault, RegistryError, RegistryReply, RetryPolicy};

/// One repository at one endpoint.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) shared: Arc<Shared>,
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) authorizer: Arc<Authorizer>,
    /// The repository's name at this endpoint; empty when the endpoint itself is meant.
    pub(crate) repository: String,
    /// What a token must allow.
    pub(crate) scopes: Arc<[String]>,
    pub(crate) policy: RetryPolicy,
}

/// A request that can be sent again.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Call {
    pub(crate) fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    pub(crate) fn body(mut self, body: Bytes) -> Self {
        self.body = body;
        self
    }
}

/// No error message of a registry is longer.
const LONGEST_REPLY: usize = 64 << 10;

impl Site {
    /// Makes the URL of something in this repository: `manifests/latest`.
    pub(crate) fn url(&self, path: &str) -> Url {
        let relative = match self.repository.as_str() {
            "" => path.to_owned(),
            repository => format!("{repository}/{path}"),
        };
        let url = self.endpoint.base.join(&relative);
        url.expect("names and digests were checked, so they are valid in a URL")
    }

    /// Makes a request about a blob.
    pub(crate) fn blob_call(&self, method: Method, digest: &Digest) -> Call {
        Call::new(method, self.url(&format!("blobs/{digest}")))
    }

    /// Sends a request: with what the host wants to be told about us, again while it is busy.
    ///
    /// Returns every answer that is final, also a refusal: see [`Site::expect`].
    pub(crate) async fn send(&self, call: &Call) -> Result<Response, RegistryError> {
        let used = self.authorization(call).await?;
        let response = self.send_patiently(call, used.as_ref()).await?;
        if !self.learn(&response, used.as_ref()).await {
            return Ok(response);
        }
        match self.authorization(call).await? {
            None => Ok(response),
            Some(header) => self.send_patiently(call, Some(&header)).await,
        }
    }

    /// Sends a body that cannot be sent again. A 401 is learnt from, but it is for the caller to
    /// open the body once more.
    pub(crate) async fn send_stream(
        &self,
        call: &Call,
        body: Body,
    ) -> Result<Response, RegistryError> {
        let used = self.authorization(call).await?;
        let request = self.request(call, used.as_ref()).body(body);
        let sent = request.send().await;
        let response = sent.map_err(|error| RegistryError::connect(self.name(call), error))?;
        self.learn(&response, used.as_ref()).await;
        Ok(response)
    }

    async fn authorization(&self, call: &Call) -> Result<Option<HeaderValue>, RegistryError> {
        if !self.endpoint.owns(&call.url) {
            return Ok(None);
        }
        let around = Surroundings {
            transport: &self.shared.transport,
            repository: &self.repository,
            endpoints: &self.shared.endpoints,
            endpoint: &self.endpoint,
            policy: self.policy,
        };
        self.authorizer.header(around, &self.scopes).await
    }

    async fn learn(&self, response: &Response, used: Option<&HeaderValue>) -> bool {
        response.status() == StatusCode::UNAUTHORIZED
            && self.endpoint.owns(response.url())
            && self
                .authorizer
                .learn(&self.endpoint, response.headers(), used)
                .await
    }

    async fn send_patiently(
        &self,
        call: &Call,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, RegistryError> {
        let mut budget = Budget::new(self.policy);
        loop {
            let outcome = self.send_once(call, authorization).await;
            let asked = match &outcome {
                Ok(response) if !retry::is_passing(response.status()) => return outcome,
                Ok(response) => retry::retry_after(response.headers()),
                Err(error) if !self.may_pass(error) => return outcome,
                Err(_) => None,
            };
            if !budget.wait(asked).await {
                return outcome;
            }
        }
    }

    /// A host that never answered is taken to be down or misspelt: the user is told at once.
    fn may_pass(&self, error: &RegistryError) -> bool {
        error.is_retryable() && self.endpoint.has_answered()
    }

    async fn send_once(
        &self,
        call: &Call,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, RegistryError> {
        let request = match (call.body.is_empty(), &call.method) {
            (true, &Method::GET | &Method::HEAD) => self.request(call, authorization),
            // Registries want the length of an empty body too.
            (true, _) => self.request(call, authorization).header(CONTENT_LENGTH, 0),
            (false, _) => self.request(call, authorization).body(call.body.clone()),
        };
        let sent = tokio::time::timeout(self.policy.silence, request.send()).await;
        let sent = sent.map_err(|_| self.silent(call))?;
        let response = sent.map_err(|error| RegistryError::connect(self.name(call), error))?;
        self.endpoint.note_answer();
        self.shared
            .note_rate_limit(&self.endpoint.name, response.headers());
        Ok(response)
    }

    fn request(&self, call: &Call, authorization: Option<&HeaderValue>) -> reqwest::RequestBuilder {
        let client = &self.endpoint.clients.registry;
        let request = client
            .request(call.method.clone(), call.url.clone())
            .headers(call.headers.clone());
        match authorization {
            Some(header) => request.header(AUTHORIZATION, header),
            None => request,
        }
    }

    /// Notes that a mirror cannot be reached, so that it is asked no more.
    pub(crate) fn note_failure(&self, error: RegistryError) -> RegistryError {
        if let RegistryError::Connect { .. } = error {
            self.endpoint.note_dead();
        }
        error
    }

    /// Passes an answer with a wanted status; makes any other an error with the registry's words.
    pub(crate) async fn expect(
        &self,
        call: &Call,
        response: Response,
        wanted: &[StatusCode],
    ) -> Result<Response, RegistryError> {
        let status = response.status();
        if wanted.contains(&status) {
            return Ok(response);
        }
        let body = read_body(response, LONGEST_REPLY).await;
        let body = body.ok().flatten().unwrap_or_default();
        Err(RegistryError::Status {
            request: self.name(call),
            status,
            reply: RegistryReply::read(status, &body),
        })
    }

    /// Sends a request and reads a whole answer of at most `limit` bytes; `fault` when it is longer.
    pub(crate) async fn read(
        &self,
        call: &Call,
        limit: usize,
        fault: ProtocolFault,
    ) -> Result<(HeaderMap, Bytes), RegistryError> {
        let mut budget = Budget::new(self.policy);
        loop {
            let response = self.send(call).await?;
            let response = self.expect(call, response, &[StatusCode::OK]).await?;
            let headers = response.headers().clone();
            let body = tokio::time::timeout(self.policy.silence, read_body(response, limit));
            let error = match body.await {
                Ok(Ok(Some(body))) => return Ok((headers, body.into())),
                Ok(Ok(None)) => return Err(self.fault(call, fault)),
                Ok(Err(error)) => RegistryError::connect(self.name(call), error),
                Err(_) => self.silent(call),
            };
            if !budget.wait(None).await {
                return Err(error);
            }
        }
    }

    pub(crate) fn fault(&self, call: &Call, fault: ProtocolFault) -> RegistryError {
        RegistryError::Protocol {
            request: self.name(call),
            fault,
        }
    }

    pub(crate) fn silent(&self, call: &Call) -> RegistryError {
        RegistryError::unanswered(self.name(call), ConnectFailure::TimedOut)
    }

    pub(crate) fn name(&self, call: &Call) -> Box<RequestName> {
        RequestName::new(
            &call.method,
            &self.endpoint.name,
            &self.repository,
            &call.url,
        )
    }
}

/// Reads a body; `None` when it is longer than `limit` bytes.
pub(crate) async fn read_body(
    response: Response,
    limit: usize,
) -> reqwest::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    let mut stream = response.bytes_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk?;
        if body.len() + chunk.len() > limit {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}
