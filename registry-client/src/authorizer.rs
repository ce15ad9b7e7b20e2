//! What a host wants to be told about us, remembered so that it has to ask only once.

use std::collections::HashMap;
use std::sync::Arc;

use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Client, Method, Url};
use tokio::sync::{Mutex, OnceCell};

use crate::challenge::Challenge;
use crate::endpoint::{Endpoint, Endpoints};
use crate::error::RequestName;
use crate::token::{self, Lifetime, Token, TokenRequest};
use crate::{
    Authentication, CredentialSource, Credentials, ProtocolFault, RegistryError, RetryPolicy,
    Secret,
};

/// One host's challenge, our credentials for it and the tokens got with them.
pub(crate) struct Authorizer {
    source: CredentialSource,
    credentials: OnceCell<Credentials>,
    lifetime: Lifetime,
    /// Held while a token is fetched: requests that need the same one wait for it.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    challenge: Option<Challenge>,
    tokens: HashMap<String, Token>,
}

/// What the authorizer needs from its process to reach a token server.
#[derive(Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    pub(crate) client: &'a Client,
    pub(crate) endpoints: &'a Endpoints,
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) policy: RetryPolicy,
}

impl Authorizer {
    pub(crate) fn new(source: CredentialSource, lifetime: Lifetime, endpoint: &Endpoint) -> Self {
        let probed = endpoint.first_headers.as_ref();
        let challenge = probed.and_then(|(_, headers)| Challenge::of(headers));
        Self {
            source,
            credentials: OnceCell::new(),
            lifetime,
            state: Mutex::new(State {
                challenge,
                tokens: HashMap::new(),
            }),
        }
    }

    /// Returns the header for a request that needs `scopes`; none for a host that never asked.
    pub(crate) async fn header(
        &self,
        around: Surroundings<'_>,
        scopes: &[String],
    ) -> Result<Option<HeaderValue>, RegistryError> {
        let mut state = self.state.lock().await;
        let (realm, service, scope) = match state.challenge.clone() {
            None => return Ok(None),
            Some(Challenge::Basic) => return Ok(self.basic(around).await),
            Some(Challenge::Bearer {
                realm,
                service,
                scope,
            }) => (realm, service, scope),
        };
        let key = scopes.join(" ");
        if let Some(token) = state.tokens.get(&key).filter(|token| token.is_fresh()) {
            return Ok(Some(token.header.clone()));
        }
        let asked: Vec<String> = scope.into_iter().collect();
        let credentials = self.credentials(around.endpoint).await;
        let request = TokenRequest {
            client: around.client,
            policy: around.policy,
            registry: &around.endpoint.name,
            realm: safe_realm(around, &realm, credentials)?,
            service: service.as_deref(),
            scopes: if scopes.is_empty() { &asked } else { scopes },
            credentials,
            lifetime: self.lifetime,
        };
        let token = request.fetch().await?;
        let header = token.header.clone();
        state.tokens.insert(key, token);
        Ok(Some(header))
    }

    async fn basic(&self, around: Surroundings<'_>) -> Option<HeaderValue> {
        match self.credentials(around.endpoint).await {
            Credentials::Basic { username, password } => Some(token::basic(username, password)),
            Credentials::Anonymous | Credentials::IdentityToken(_) => None,
        }
    }

    /// Asks the caller once; a credential helper is a process, so on a thread that may block.
    async fn credentials(&self, endpoint: &Endpoint) -> &Credentials {
        let find = || async {
            let source = Arc::clone(&self.source);
            let name = endpoint.name.clone();
            let found = tokio::task::spawn_blocking(move || source(&name)).await;
            found.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
        };
        self.credentials.get_or_init(find).await
    }

    /// Learns from a 401. Tells whether the request is worth repeating with another header.
    pub(crate) async fn learn(&self, headers: &HeaderMap, used: Option<&HeaderValue>) -> bool {
        let Some(challenge) = Challenge::of(headers) else {
            return false;
        };
        let mut state = self.state.lock().await;
        state.tokens.retain(|_, token| Some(&token.header) != used);
        let bearer = matches!(challenge, Challenge::Bearer { .. });
        state.challenge = Some(challenge);
        used.is_none() || bearer
    }

    /// Tells how the host authenticates, and the identity token that it gave out.
    pub(crate) async fn outcome(&self) -> (Authentication, Option<Secret>) {
        let state = self.state.lock().await;
        let authentication = match state.challenge {
            None => Authentication::None,
            Some(Challenge::Basic) => Authentication::Basic,
            Some(Challenge::Bearer { .. }) => Authentication::Bearer,
        };
        let identity = state
            .tokens
            .values()
            .find_map(|token| token.identity.clone());
        (authentication, identity)
    }
}

/// Refuses to give credentials to a token server that anyone on the way can listen to, unless the
/// registry itself is spoken to like that.
fn safe_realm(
    around: Surroundings<'_>,
    realm: &str,
    credentials: &Credentials,
) -> Result<Url, RegistryError> {
    let base = &around.endpoint.base;
    let url = Url::parse(realm).ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
    let url = url.ok_or_else(|| RegistryError::Address {
        address: realm.to_owned(),
    })?;
    let name = match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (host, _) => host.unwrap_or_default().to_owned(),
    };
    let allowed = url.scheme() == "https"
        || *credentials == Credentials::Anonymous
        || around.endpoints.allows_plain_http(&url, &name)
        || (base.scheme() == "http" && base.host_str() == url.host_str());
    if allowed {
        Ok(url)
    } else {
        Err(RegistryError::Protocol {
            request: RequestName::new(&Method::GET, &around.endpoint.name, "", &url),
            fault: ProtocolFault::InsecureRealm,
        })
    }
}
