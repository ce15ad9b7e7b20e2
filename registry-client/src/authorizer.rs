//! What a host wants to be told about us, remembered so that it has to ask only once.

use std::collections::HashMap;
use std::sync::Arc;

use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use tokio::sync::Mutex;

use crate::challenge::Challenge;
use crate::endpoint::{Endpoint, Endpoints};
use crate::error::RequestName;
use crate::token::{self, Lifetime, Token, TokenRequest};
use crate::token_cache::{TokenCache, TokenKey};
use crate::transport::Transport;
use crate::{
    Authentication, CredentialSource, Credentials, ProtocolFault, RegistryError, RetryPolicy,
    Secret,
};

/// One host's challenge, our credentials for it and the tokens got with them.
pub(crate) struct Authorizer {
    source: CredentialSource,
    /// By repository: a host may know us under several names.
    credentials: Mutex<HashMap<String, Credentials>>,
    cache: Option<TokenCache>,
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
    pub(crate) transport: &'a Transport,
    /// The repository; empty when the host itself is meant.
    pub(crate) repository: &'a str,
    pub(crate) endpoints: &'a Endpoints,
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) policy: RetryPolicy,
}

impl Authorizer {
    pub(crate) fn new(
        source: CredentialSource,
        lifetime: Lifetime,
        cache: Option<TokenCache>,
        endpoint: &Endpoint,
    ) -> Self {
        let probed = endpoint.first_headers.as_ref();
        let challenge = probed.and_then(|(_, headers)| Challenge::of(headers));
        Self {
            source,
            credentials: Mutex::default(),
            cache,
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
        let credentials = self.credentials(around).await;
        let cached = self.cached(around, &realm, &key, &credentials);
        let token = match cached {
            Some(token) => token,
            None => {
                let asked: Vec<String> = scope.into_iter().collect();
                let url = safe_realm(around, &realm, &credentials)?;
                let clients = around.transport.for_host(&name_of(&url))?;
                let request = TokenRequest {
                    client: &clients.token,
                    policy: around.policy,
                    registry: &around.endpoint.name,
                    realm: url,
                    service: service.as_deref(),
                    scopes: if scopes.is_empty() { &asked } else { scopes },
                    credentials: &credentials,
                    lifetime: self.lifetime,
                };
                let token = request.fetch().await?;
                if let Some(cache) = &self.cache {
                    let cache_key = cache_key(around, &realm, &key, &credentials);
                    cache.put(&cache_key, &token.bearer(), token.lives());
                }
                token
            }
        };
        let header = token.header.clone();
        state.tokens.insert(key, token);
        Ok(Some(header))
    }

    fn cached(
        &self,
        around: Surroundings<'_>,
        realm: &str,
        scopes: &str,
        credentials: &Credentials,
    ) -> Option<Token> {
        let cache = self.cache.as_ref()?;
        let (bearer, lives) = cache.get(&cache_key(around, realm, scopes, credentials))?;
        Token::from_cache(&bearer, lives)
    }

    async fn basic(&self, around: Surroundings<'_>) -> Option<HeaderValue> {
        match self.credentials(around).await {
            Credentials::Basic { username, password } => Some(token::basic(&username, &password)),
            Credentials::Anonymous | Credentials::IdentityToken(_) => None,
        }
    }

    /// Asks the caller once a repository; a credential helper is a process, so on a thread that
    /// may block.
    async fn credentials(&self, around: Surroundings<'_>) -> Credentials {
        let mut known = self.credentials.lock().await;
        if let Some(credentials) = known.get(around.repository) {
            return credentials.clone();
        }
        let source = Arc::clone(&self.source);
        let name = match around.repository {
            "" => around.endpoint.name.clone(),
            repository => format!("{}/{repository}", around.endpoint.name),
        };
        let found = tokio::task::spawn_blocking(move || source(&name)).await;
        let found = found.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        known.insert(around.repository.to_owned(), found.clone());
        found
    }

    /// Learns from a 401. Tells whether the request is worth repeating with another header.
    ///
    /// A host, or what stands before it, may refuse a token without a word about how to get another:
    /// what it said before counts.
    pub(crate) async fn learn(
        &self,
        endpoint: &Endpoint,
        headers: &HeaderMap,
        used: Option<&HeaderValue>,
    ) -> bool {
        let mut state = self.state.lock().await;
        state.tokens.retain(|_, token| Some(&token.header) != used);
        if let (Some(cache), Some(used)) = (&self.cache, used) {
            cache.remove_token(&endpoint.name, used);
        }
        state.challenge = Challenge::of(headers).or_else(|| state.challenge.take());
        match state.challenge {
            Some(Challenge::Bearer { .. }) => true,
            Some(Challenge::Basic) => used.is_none(),
            None => false,
        }
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

/// Names the host of a URL as a reference does.
fn name_of(url: &Url) -> String {
    match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (host, _) => host.unwrap_or_default().to_owned(),
    }
}

fn cache_key<'a>(
    around: Surroundings<'a>,
    realm: &'a str,
    scopes: &'a str,
    credentials: &'a Credentials,
) -> TokenKey<'a> {
    TokenKey {
        registry: &around.endpoint.name,
        realm,
        scopes,
        credentials,
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
    let name = name_of(&url);
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
