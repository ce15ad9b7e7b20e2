//! Checking credentials before they are stored.

use std::sync::Arc;

use reqwest::{Method, StatusCode};

use crate::authorizer::Authorizer;
use crate::site::{Call, Site};
use crate::token::Lifetime;
use crate::{Credentials, MirrorScheme, Registry, RegistryError, Secret};

/// How a registry authenticates its users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// It does not: any credentials are as good as none.
    None,
    /// By user name and password with every request.
    Basic,
    /// By a token server.
    Bearer,
}

/// The result of a successful login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginOutcome {
    /// How the registry authenticates.
    pub authentication: Authentication,
    /// What to store instead of the password, when the token server gave one.
    pub identity_token: Option<Secret>,
}

impl Registry {
    /// Checks credentials at a registry, named as in a reference (`docker.io`).
    ///
    /// # Errors
    /// [`RegistryError::Status`] with status 401 when they are wrong.
    pub async fn check_login(
        &self,
        host: &str,
        credentials: &Credentials,
    ) -> Result<LoginOutcome, RegistryError> {
        let shared = self.shared.clone();
        let endpoint = shared
            .endpoints
            .get(&shared.transport, host, MirrorScheme::Probed)
            .await?;
        let given = credentials.clone();
        let source = Arc::new(move |_: &str| given.clone());
        let site = Site {
            authorizer: Arc::new(Authorizer::new(source, Lifetime::Offline, None, &endpoint)),
            endpoint,
            repository: String::new(),
            scopes: Arc::from([]),
            policy: shared.config.retry,
            shared: self.shared.clone(),
        };
        let call = Call::new(Method::GET, site.endpoint.base.clone());
        let response = site.send(&call).await?;
        site.expect(&call, response, &[StatusCode::OK]).await?;
        let (authentication, identity_token) = site.authorizer.outcome().await;
        Ok(LoginOutcome {
            authentication,
            identity_token,
        })
    }
}
