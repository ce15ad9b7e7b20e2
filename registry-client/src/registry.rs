//! All registries, as one process sees them.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use mica_oci::Reference;

use crate::authorizer::Authorizer;
use crate::endpoint::{Endpoint, Endpoints};
use crate::repository::Repository;
use crate::token::Lifetime;
use crate::transport::Transport;
use crate::{Actions, RegistryConfig, RegistryError};

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
    /// Returns the host's authorizer, one for all its repositories.
    pub(crate) fn authorizer(&self, endpoint: &Endpoint) -> Arc<Authorizer> {
        let mut all = self.authorizers.lock().expect("no panic under this lock");
        let key = endpoint.base.to_string();
        let make = || {
            let source = self.config.credentials.clone();
            Arc::new(Authorizer::new(source, Lifetime::Session, endpoint))
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
