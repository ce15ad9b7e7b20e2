//! Repositories by name: Docker Hub's search, and the catalogue of other registries.

use reqwest::{Method, Url};
use serde::Deserialize;

use crate::manifests::LARGEST_LIST;
use crate::site::{Call, Site};
use crate::{MirrorScheme, ProtocolFault, Registry, RegistryError};

/// A repository that fits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Found {
    /// The repository, without the registry.
    pub name: String,
    /// What it holds, where the registry says so.
    pub description: Option<String>,
    /// How many like it.
    pub star_count: u64,
    /// Whether the registry's owner keeps it.
    pub is_official: bool,
}

/// Where Docker Hub is searched.
const HUB_INDEX: &str = "index.docker.io";

impl Registry {
    /// Searches a registry, named as in a reference, for repositories.
    ///
    /// Docker's search API is asked first; where there is none, the catalogue is filtered.
    ///
    /// # Errors
    /// Where the registry offers neither.
    pub async fn search(
        &self,
        registry: &str,
        term: &str,
        limit: usize,
    ) -> Result<Vec<Found>, RegistryError> {
        let host = match registry {
            "docker.io" => HUB_INDEX,
            host => host,
        };
        let site = self.site_of(host, Vec::new()).await?;
        match site.search(term, limit).await {
            Err(error) if registry != "docker.io" && error.status().is_some() => {
                let names = self.catalog(registry).await?;
                let fitting = names.into_iter().filter(|name| name.contains(term));
                let found = fitting.map(|name| Found {
                    name,
                    ..Found::default()
                });
                Ok(found.take(limit).collect())
            }
            found => found,
        }
    }

    /// Lists all repositories of a registry.
    pub async fn catalog(&self, registry: &str) -> Result<Vec<String>, RegistryError> {
        #[derive(Deserialize)]
        struct Page {
            repositories: Option<Vec<String>>,
        }
        let scope = "registry:catalog:*".to_owned();
        let site = self.site_of(registry, vec![scope]).await?;
        let names = |page: Page| page.repositories.unwrap_or_default();
        site.list("_catalog", names).await
    }

    async fn site_of(&self, host: &str, scopes: Vec<String>) -> Result<Site, RegistryError> {
        let shared = self.shared.clone();
        let endpoints = &shared.endpoints;
        let endpoint = endpoints
            .get(&shared.transport, host, MirrorScheme::Probed)
            .await?;
        Ok(Site {
            authorizer: shared.authorizer(&endpoint),
            endpoint,
            repository: String::new(),
            scopes: scopes.into(),
            policy: shared.config.retry,
            shared: self.shared.clone(),
        })
    }
}

impl Site {
    async fn search(&self, term: &str, limit: usize) -> Result<Vec<Found>, RegistryError> {
        #[derive(Deserialize)]
        struct Answer {
            results: Vec<Found>,
        }
        let mut url: Url = self.endpoint.base.clone();
        url.set_path("/v1/search");
        url.query_pairs_mut()
            .append_pair("q", term)
            .append_pair("n", &limit.to_string());
        let call = Call::new(Method::GET, url);
        let (_, body) = self.read(&call, LARGEST_LIST, ProtocolFault::List).await?;
        let answer: Answer =
            serde_json::from_slice(&body).map_err(|_| self.fault(&call, ProtocolFault::List))?;
        Ok(answer.results)
    }
}
