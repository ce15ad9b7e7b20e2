//! What a caller decides about registries, as plain data.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use crate::{CredentialSource, Credentials, RetryPolicy};

/// How registries are reached.
#[derive(Clone)]
pub struct RegistryConfig {
    /// Who asks, by registry.
    pub credentials: CredentialSource,
    /// Where else to pull from, by registry as in a reference, best first. Never pushed to.
    pub mirrors: BTreeMap<String, Vec<Mirror>>,
    /// Which registries may be spoken to without TLS.
    pub plain_http: PlainHttp,
    /// Which certificate authorities are trusted.
    pub tls_roots: TlsRoots,
    /// Which proxies are used. Loopback addresses are always reached directly.
    pub proxies: Proxies,
    /// How often and how long a failing request is repeated.
    pub retry: RetryPolicy,
    /// The `User-Agent` header.
    pub user_agent: String,
}

impl Default for RegistryConfig {
    /// Anonymous, no mirrors, plain HTTP to loopback only, the system's certificates.
    fn default() -> Self {
        Self {
            credentials: Arc::new(|_| Credentials::Anonymous),
            mirrors: BTreeMap::new(),
            plain_http: PlainHttp::LoopbackOnly,
            tls_roots: TlsRoots::default(),
            proxies: Proxies::default(),
            retry: RetryPolicy::default(),
            user_agent: concat!("mica/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

impl fmt::Debug for RegistryConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryConfig")
            .field("mirrors", &self.mirrors)
            .field("plain_http", &self.plain_http)
            .field("retry", &self.retry)
            .field("user_agent", &self.user_agent)
            .finish_non_exhaustive()
    }
}

/// What a repository is opened for; the scope that tokens are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actions {
    /// Reading. Mirrors are tried first.
    Pull,
    /// Reading and writing. Mirrors are left out, so that what was written is what is read.
    PullPush,
}

/// Which registries may be spoken to without TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlainHttp {
    /// `localhost`, `127.0.0.0/8` and `::1`, as in docker.
    LoopbackOnly,
    /// Those, and these hosts (with their port, as in a reference), where TLS is tried first.
    Hosts(BTreeSet<String>),
}

/// Which certificate authorities are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsRoots {
    /// PEM bundles: the first that can be read is the system's. Read on the first TLS handshake.
    pub bundles: Vec<PathBuf>,
    /// More certificates, PEM, trusted besides the bundle's.
    pub extra_pem: Vec<u8>,
}

/// Where distributions keep their bundle: Debian, Fedora, openSUSE, Alpine, in that order.
const SYSTEM_BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

impl Default for TlsRoots {
    /// The bundle of the distribution. `SSL_CERT_FILE` replaces [`TlsRoots::bundles`]: the caller's part.
    fn default() -> Self {
        Self {
            bundles: SYSTEM_BUNDLES.map(PathBuf::from).to_vec(),
            extra_pem: Vec::new(),
        }
    }
}

/// Proxies, with the meaning of the variables `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    /// The URL of the proxy for `http://`.
    pub http: Option<String>,
    /// The URL of the proxy for `https://`.
    pub https: Option<String>,
    /// Hosts reached directly: names, domains, addresses and networks, separated by commas.
    pub no_proxy: Option<String>,
}

/// A place that holds the same repositories as a registry.
///
/// Parsed from `[http://|https://]HOST[:PORT][/PREFIX]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// The host, with its port.
    pub host: String,
    /// What comes before the repository's name there: empty, or `prefix/`.
    pub prefix: String,
    /// How the mirror is spoken to.
    pub scheme: MirrorScheme,
}

/// How a mirror is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MirrorScheme {
    /// As any registry of that name: TLS, unless [`PlainHttp`] allows otherwise.
    Probed,
    /// Without TLS: the configuration says `http://`.
    Http,
    /// With TLS.
    Https,
}

/// Says why a text is no mirror.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a mirror: expected [http://|https://]HOST[:PORT][/PREFIX]")]
pub struct MirrorError(String);

impl FromStr for Mirror {
    type Err = MirrorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (scheme, rest) = match text.split_once("://") {
            None => (MirrorScheme::Probed, text),
            Some(("http", rest)) => (MirrorScheme::Http, rest),
            Some(("https", rest)) => (MirrorScheme::Https, rest),
            Some(_) => return Err(MirrorError(text.to_owned())),
        };
        let (host, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_matches('/');
        let foreign = |character: char| character.is_whitespace() || "?#@".contains(character);
        if host.is_empty() || rest.contains(foreign) {
            return Err(MirrorError(text.to_owned()));
        }
        Ok(Self {
            host: host.to_owned(),
            prefix: match prefix {
                "" => String::new(),
                prefix => format!("{prefix}/"),
            },
            scheme,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_are_parsed() {
        let cases = [
            (
                "127.0.0.1:5000",
                Some(("127.0.0.1:5000", "", MirrorScheme::Probed)),
            ),
            (
                "http://cache:5000/",
                Some(("cache:5000", "", MirrorScheme::Http)),
            ),
            (
                "https://cache.example/hub",
                Some(("cache.example", "hub/", MirrorScheme::Https)),
            ),
            (
                "cache.example/a/b/",
                Some(("cache.example", "a/b/", MirrorScheme::Probed)),
            ),
            ("", None),
            ("http://", None),
            ("ftp://cache", None),
            ("https://user:password@cache", None),
            ("cache?x=y", None),
        ];
        for (text, expected) in cases {
            let parsed = text.parse::<Mirror>().ok();
            let parsed = parsed.as_ref();
            let seen = parsed.map(|m| (m.host.as_str(), m.prefix.as_str(), m.scheme));
            assert_eq!(seen, expected, "{text}");
        }
    }
}
