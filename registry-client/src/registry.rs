//! All registries, as one process sees them.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex};

use mica_oci::Reference;
use reqwest::header::HeaderMap;

use crate::authorizer::Authorizer;
use crate::endpoint::{Endpoint, Endpoints};
use crate::repository::Repository;
use crate::token::Lifetime;
use crate::token_cache::TokenCache;
use crate::transport::Transport;
use crate::{Actions, RateLimit, RegistryConfig, RegistryError};

/// All registries: connections, tokens and what was found out about hosts, shared by all clones.
#[derive(Clone)]
pub struct Registry {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) config: RegistryConfig,
    pub(crate) transport: Transport,
    pub(crate) endpoints: Endpoints,
    authorizers: Mutex<HashMap<String, Arc<Authorizer>>>,
    /// Registries whose limit was told of.
    limits_told: Mutex<HashSet<String>>,
}

impl Registry {
    /// Sets up the client. Nothing is sent, and no certificate is read yet.
    ///
    /// # Errors
    /// [`RegistryError::Certificates`] and [`RegistryError::Address`] for a bad configuration.
    pub fn new(config: RegistryConfig) -> Result<Self, RegistryError> {
        let shared = Shared {
            transport: Transport::new(&config)?,
            endpoints: Endpoints::new(config.plain_http.clone()),
            authorizers: Mutex::default(),
            limits_told: Mutex::default(),
            config,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Opens the repository that a reference is in. Nothing is sent yet.
    pub fn repository(&self, reference: &Reference, actions: Actions) -> Repository {
        Repository::new(self.shared.clone(), reference, actions)
    }
}

impl Shared {
    /// Tells, once a registry, that few requests are left.
    pub(crate) fn note_rate_limit(&self, registry: &str, headers: &HeaderMap) {
        let limit = RateLimit::of(registry, headers).filter(RateLimit::is_near);
        let Some(limit) = limit else { return };
        let mut told = self.limits_told.lock().expect("no panic under this lock");
        if told.insert(registry.to_owned()) {
            (self.config.on_rate_limit)(&limit);
        }
    }

    /// Returns the host's authorizer, one for all its repositories.
    pub(crate) fn authorizer(&self, endpoint: &Endpoint) -> Arc<Authorizer> {
        let mut all = self.authorizers.lock().expect("no panic under this lock");
        let key = endpoint.base.to_string();
        let make = || {
            let source = self.config.credentials.clone();
            let cache = self.config.token_cache.as_deref().map(TokenCache::new);
            Arc::new(Authorizer::new(source, Lifetime::Session, cache, endpoint))
        };
        all.entry(key).or_insert_with(make).clone()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = &self.shared.config;
        f.debug_struct("Registry")
            .field("config", config)
            .finish_non_exhaustive()
    }
}
