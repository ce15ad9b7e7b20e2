//! From a registry's name to the address that is asked.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Client, Method, StatusCode, Url};
use tokio::sync::OnceCell;

use crate::error::RequestName;
use crate::site;
use crate::transport::{Clients, Transport};
use crate::{ConnectFailure, MirrorScheme, PlainHttp, RegistryError};

/// Where a registry is, found out once a process.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// The registry's name, by which it has credentials: `docker.io`, `localhost:5000`.
    pub(crate) name: String,
    /// The address of the API with a slash at the end: `https://registry-1.docker.io/v2/`.
    pub(crate) base: Url,
    /// The clients that reach it.
    pub(crate) clients: Arc<Clients>,
    /// What the probe was answered, for the challenge that may be in it.
    pub(crate) first_headers: Option<(StatusCode, HeaderMap)>,
    answered: AtomicBool,
    dead: AtomicBool,
}

impl Endpoint {
    fn new(
        name: &str,
        clients: &Arc<Clients>,
        base: Url,
        probe: Option<(StatusCode, HeaderMap)>,
    ) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            base,
            clients: clients.clone(),
            answered: AtomicBool::new(probe.is_some()),
            first_headers: probe,
            dead: AtomicBool::new(false),
        })
    }

    /// Notes that the registry answered: a later failure to connect is worth another try.
    pub(crate) fn note_answer(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }

    pub(crate) fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// Notes that a mirror cannot be reached, so that it is asked no more.
    pub(crate) fn note_dead(&self) {
        self.dead.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// Tells whether a URL is of this registry, so that it may see the `Authorization`.
    pub(crate) fn owns(&self, url: &Url) -> bool {
        url.origin() == self.base.origin()
    }
}

type Cell = Arc<OnceCell<Arc<Endpoint>>>;

/// All endpoints of the process.
#[derive(Debug)]
pub(crate) struct Endpoints {
    plain_http: PlainHttp,
    known: Mutex<HashMap<(String, MirrorScheme), Cell>>,
}

impl Endpoints {
    pub(crate) fn new(plain_http: PlainHttp) -> Self {
        Self {
            plain_http,
            known: Mutex::default(),
        }
    }

    /// Returns the endpoint of a registry; probes it when plain HTTP comes into question.
    pub(crate) async fn get(
        &self,
        transport: &Transport,
        name: &str,
        scheme: MirrorScheme,
    ) -> Result<Arc<Endpoint>, RegistryError> {
        let cell = {
            let mut known = self.known.lock().expect("no panic under this lock");
            known.entry((name.to_owned(), scheme)).or_default().clone()
        };
        let endpoint = cell.get_or_try_init(|| self.find(transport, name, scheme));
        endpoint.await.cloned()
    }

    async fn find(
        &self,
        transport: &Transport,
        name: &str,
        scheme: MirrorScheme,
    ) -> Result<Arc<Endpoint>, RegistryError> {
        let clients = &transport.for_host(name)?;
        let host = match name {
            "docker.io" | "index.docker.io" => "registry-1.docker.io",
            host => host,
        };
        let https = address("https", host)?;
        let http = address("http", host)?;
        match scheme {
            MirrorScheme::Https => Ok(Endpoint::new(name, clients, https, None)),
            MirrorScheme::Http => Ok(Endpoint::new(name, clients, http, None)),
            MirrorScheme::Probed if is_loopback(&https) => {
                probe_loopback(clients, name, http, https).await
            }
            MirrorScheme::Probed if self.allows_plain_http(&https, name) => {
                probe_listed(clients, name, http, https).await
            }
            MirrorScheme::Probed => Ok(Endpoint::new(name, clients, https, None)),
        }
    }

    /// Tells whether a host may be spoken to without TLS.
    pub(crate) fn allows_plain_http(&self, url: &Url, name: &str) -> bool {
        is_loopback(url) || self.plain_http.lists(name)
    }
}

fn address(scheme: &str, host: &str) -> Result<Url, RegistryError> {
    let url = Url::parse(&format!("{scheme}://{host}/v2/")).ok();
    let plain = |url: &Url| url.path() == "/v2/" && url.username().is_empty();
    url.filter(plain).ok_or_else(|| RegistryError::Address {
        address: host.to_owned(),
    })
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => host == "localhost",
    }
}

/// Loopback cannot be listened to by others, so the cheaper way is tried first. A server that
/// speaks TLS answers plain HTTP with 400 (Go, nginx) or with no HTTP at all.
async fn probe_loopback(
    clients: &Arc<Clients>,
    name: &str,
    http: Url,
    https: Url,
) -> Result<Arc<Endpoint>, RegistryError> {
    match probe(&clients.registry, &http).await {
        Ok((StatusCode::BAD_REQUEST, _)) => Ok(Endpoint::new(name, clients, https, None)),
        Ok(answer) => Ok(Endpoint::new(name, clients, http, Some(answer))),
        Err(error) if ConnectFailure::of(&error) == ConnectFailure::Broken => {
            Ok(Endpoint::new(name, clients, https, None))
        }
        Err(error) => Err(unreachable(name, &http, error)),
    }
}

/// For a host that the user listed: TLS first, plain HTTP when there is none.
async fn probe_listed(
    clients: &Arc<Clients>,
    name: &str,
    http: Url,
    https: Url,
) -> Result<Arc<Endpoint>, RegistryError> {
    let failed = match probe(&clients.registry, &https).await {
        Ok(answer) => return Ok(Endpoint::new(name, clients, https, Some(answer))),
        Err(error) => error,
    };
    match probe(&clients.registry, &http).await {
        Ok((StatusCode::BAD_REQUEST, _)) | Err(_) => Err(unreachable(name, &https, failed)),
        Ok(answer) => Ok(Endpoint::new(name, clients, http, Some(answer))),
    }
}

async fn probe(client: &Client, base: &Url) -> Result<(StatusCode, HeaderMap), reqwest::Error> {
    const TIMEOUT: Duration = Duration::from_secs(15);
    let request = client.get(base.clone()).timeout(TIMEOUT);
    let response = request.send().await?;
    let answer = (response.status(), response.headers().clone());
    // Read to the end, so that the connection can be used again.
    let _ = site::read_body(response, 4096).await;
    Ok(answer)
}

fn unreachable(name: &str, url: &Url, source: reqwest::Error) -> RegistryError {
    RegistryError::connect(RequestName::new(&Method::GET, name, "", url), source)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn only_loopback_and_listed_hosts_may_be_plain() {
        let listed = BTreeSet::from(["plain.example:5000".to_owned()]);
        let endpoints = Endpoints::new(PlainHttp::Hosts(listed));
        let cases = [
            ("localhost:5000", true),
            ("127.0.0.1", true),
            ("127.9.9.9:1", true),
            ("[::1]:5000", true),
            ("plain.example:5000", true),
            ("plain.example", false),
            ("plain.example:1", false),
            ("localhost.example", false),
            ("128.0.0.1", false),
            ("registry.example", false),
        ];
        for (name, expected) in cases {
            let url = address("https", name).unwrap();
            assert_eq!(endpoints.allows_plain_http(&url, name), expected, "{name}");
        }
        for bad in ["", "a b", "user@host", "host/path"] {
            assert!(address("https", bad).is_err(), "{bad}");
        }
    }
}
