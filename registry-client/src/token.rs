//! Fetching a bearer token. Source: distribution's token and OAuth 2 specifications.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Method, RequestBuilder, StatusCode, Url};
use serde::Deserialize;

use crate::error::RequestName;
use crate::retry::{self, Budget};
use crate::site::read_body;
use crate::{Credentials, ProtocolFault, RegistryError, RegistryReply, RetryPolicy, Secret};

/// The name that token servers know this client by.
const CLIENT_ID: &str = "mica";
/// No token is this long; more would be an attack on our memory.
const LONGEST_ANSWER: usize = 1 << 20;

/// A token with the time until which it is worth sending.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    /// The whole `Authorization` header.
    pub(crate) header: HeaderValue,
    /// The identity token that may come with it.
    pub(crate) identity: Option<Secret>,
    expires: Instant,
}

impl Token {
    /// Makes a token of what another process was given.
    pub(crate) fn from_cache(bearer: &Secret, lives: Duration) -> Option<Self> {
        Some(Self {
            header: sensitive(&format!("Bearer {}", bearer.expose()))?,
            identity: None,
            expires: Instant::now() + lives,
        })
    }

    pub(crate) fn is_fresh(&self) -> bool {
        Instant::now() < self.expires
    }

    /// Returns the token without the name of its scheme.
    pub(crate) fn bearer(&self) -> Secret {
        let header = self.header.to_str().unwrap_or_default();
        Secret::new(header.strip_prefix("Bearer ").unwrap_or_default())
    }

    /// Returns how long the token is worth sending.
    pub(crate) fn lives(&self) -> Duration {
        self.expires.saturating_duration_since(Instant::now())
    }
}

/// Whether a token that outlives the session is asked for, as a login does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifetime {
    Session,
    Offline,
}

/// What is needed to fetch a token.
pub(crate) struct TokenRequest<'a> {
    pub(crate) client: &'a Client,
    pub(crate) policy: RetryPolicy,
    /// The registry that asked for it, for messages.
    pub(crate) registry: &'a str,
    pub(crate) realm: Url,
    pub(crate) service: Option<&'a str>,
    pub(crate) scopes: &'a [String],
    pub(crate) credentials: &'a Credentials,
    pub(crate) lifetime: Lifetime,
}

impl TokenRequest<'_> {
    /// Fetches the token; repeats while the server is busy.
    pub(crate) async fn fetch(&self) -> Result<Token, RegistryError> {
        let mut budget = Budget::new(self.policy);
        loop {
            let (error, asked) = match self.send().await {
                Ok((StatusCode::OK, _, body)) => return self.read(&body),
                Ok((status, asked, body)) => (self.refused(status, &body), asked),
                Err(error) => (RegistryError::connect(self.name(), error), None),
            };
            if !error.is_retryable() || !budget.wait(asked).await {
                return Err(error);
            }
        }
    }

    async fn send(&self) -> reqwest::Result<(StatusCode, Option<Duration>, Vec<u8>)> {
        let request = match self.credentials {
            Credentials::IdentityToken(token) => self.post(token),
            Credentials::Basic { username, password } => self
                .get(Some(username))
                .header(AUTHORIZATION, basic(username, password)),
            Credentials::Anonymous => self.get(None),
        };
        let response = request.timeout(self.policy.silence).send().await?;
        let asked = retry::retry_after(response.headers());
        let status = response.status();
        let body = read_body(response, LONGEST_ANSWER).await?;
        Ok((status, asked, body.unwrap_or_default()))
    }

    fn get(&self, account: Option<&str>) -> RequestBuilder {
        let mut url = self.realm.clone();
        {
            let mut query = url.query_pairs_mut();
            query.extend_pairs(self.service.map(|service| ("service", service)));
            query.extend_pairs(self.scopes.iter().map(|scope| ("scope", scope)));
            query.extend_pairs(account.map(|account| ("account", account)));
            if self.lifetime == Lifetime::Offline {
                query.extend_pairs([("offline_token", "true"), ("client_id", CLIENT_ID)]);
            }
        }
        if url.query() == Some("") {
            url.set_query(None);
        }
        self.client.get(url)
    }

    fn post(&self, token: &Secret) -> RequestBuilder {
        // A URL's query is form-encoded, so a scratch URL encodes the form.
        let mut form = self.realm.clone();
        form.set_query(None);
        form.query_pairs_mut()
            .append_pair("grant_type", "refresh_token")
            .append_pair("client_id", CLIENT_ID)
            .extend_pairs(self.service.map(|service| ("service", service)))
            .append_pair("scope", &self.scopes.join(" "))
            .append_pair("refresh_token", token.expose());
        self.client
            .post(self.realm.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form.query().unwrap_or_default().to_owned())
    }

    fn read(&self, body: &[u8]) -> Result<Token, RegistryError> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            token: String,
            #[serde(default)]
            access_token: String,
            #[serde(default)]
            expires_in: Option<u64>,
            #[serde(default)]
            refresh_token: Option<String>,
        }
        let answer: Answer = serde_json::from_slice(body).map_err(|_| self.no_token())?;
        let token = match answer.token.as_str() {
            "" => answer.access_token,
            _ => answer.token,
        };
        if token.is_empty() {
            return Err(self.no_token());
        }
        let header = sensitive(&format!("Bearer {token}")).ok_or_else(|| self.no_token())?;
        Ok(Token {
            header,
            identity: answer
                .refresh_token
                .filter(|t| !t.is_empty())
                .map(Secret::new),
            expires: Instant::now() + usable(answer.expires_in),
        })
    }

    fn no_token(&self) -> RegistryError {
        RegistryError::Protocol {
            request: self.name(),
            fault: ProtocolFault::Token,
        }
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> RegistryError {
        RegistryError::Status {
            request: self.name(),
            status,
            reply: RegistryReply::read(status, body),
        }
    }

    fn name(&self) -> Box<RequestName> {
        let method = match self.credentials {
            Credentials::IdentityToken(_) => Method::POST,
            _ => Method::GET,
        };
        RequestName::new(&method, self.registry, "", &self.realm)
    }
}

/// How long a token is sent: a little less than it lives, as the request takes time too.
fn usable(expires_in: Option<u64>) -> Duration {
    // The specification's default, which also is its smallest value.
    const DEFAULT: u64 = 60;
    const LONGEST: u64 = 24 * 3600;
    let lives = expires_in
        .filter(|&seconds| seconds > 0)
        .unwrap_or(DEFAULT)
        .min(LONGEST);
    Duration::from_secs(lives - (lives / 2).min(10))
}

/// Makes the header of RFC 7617.
pub(crate) fn basic(username: &str, password: &Secret) -> HeaderValue {
    let pair = STANDARD.encode(format!("{username}:{}", password.expose()));
    sensitive(&format!("Basic {pair}")).expect("base64 is valid in a header")
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut header = HeaderValue::from_str(text).ok()?;
    header.set_sensitive(true);
    Some(header)
}
