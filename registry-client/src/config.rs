//! What a caller decides about registries, as plain data.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use crate::{CredentialSource, Credentials, RateLimit, RetryPolicy, Rule, Secret};

/// How registries are reached.
#[derive(Clone)]
pub struct RegistryConfig {
    /// Who asks, by registry.
    pub credentials: CredentialSource,
    /// Where names lead to; the longest prefix counts.
    pub rules: Vec<Rule>,
    /// Names, as `docker.io/library/tool`, and what they stand for when something is pulled.
    pub aliases: BTreeMap<String, String>,
    /// How single hosts are spoken to with TLS.
    pub hosts: HostSource,
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
    /// Where tokens are kept for other processes: a file that only its owner can read.
    pub token_cache: Option<PathBuf>,
    /// Where uploads that a later process may go on with are noted: a directory.
    pub upload_journal: Option<PathBuf>,
    /// A blob that is larger goes in pieces of this many bytes, each confirmed.
    pub upload_chunk: u64,
    /// Told when a registry says that few requests are left.
    pub on_rate_limit: RateLimitObserver,
}

/// Finds how a host, as in a reference, is spoken to with TLS. Called once a host, when it is
/// first needed.
pub type HostSource = Arc<dyn Fn(&str) -> HostTls + Send + Sync>;

/// Is told of limits that are near.
pub type RateLimitObserver = Arc<dyn Fn(&RateLimit) + Send + Sync>;

/// How one host is spoken to with TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostTls {
    /// Certificate authorities that are trusted for this host besides the usual ones, PEM.
    pub authorities: Vec<u8>,
    /// Who we are, for a host that asks for a certificate.
    pub identity: Option<Identity>,
    /// Whether the host must show a certificate that we trust.
    pub verification: Verification,
}

/// A client certificate with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The certificate and those that signed it, PEM.
    pub certificate: Vec<u8>,
    /// The private key, PEM.
    pub key: Secret,
}

/// Whether a host's certificate is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verification {
    /// It is.
    #[default]
    Full,
    /// It is not: the configuration says that this host is not secure.
    None,
}

/// 16 MiB: a cut loses little, and requests do not count.
const UPLOAD_CHUNK: u64 = 16 << 20;

impl Default for RegistryConfig {
    /// Anonymous, no mirrors, plain HTTP to loopback only, the system's certificates.
    fn default() -> Self {
        Self {
            credentials: Arc::new(|_| Credentials::Anonymous),
            rules: Vec::new(),
            aliases: BTreeMap::new(),
            hosts: Arc::new(|_| HostTls::default()),
            plain_http: PlainHttp::LoopbackOnly,
            tls_roots: TlsRoots::default(),
            proxies: Proxies::default(),
            retry: RetryPolicy::default(),
            user_agent: concat!("mica/", env!("CARGO_PKG_VERSION")).to_owned(),
            token_cache: None,
            upload_journal: None,
            upload_chunk: UPLOAD_CHUNK,
            on_rate_limit: Arc::new(|_| ()),
        }
    }
}

impl fmt::Debug for RegistryConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryConfig")
            .field("rules", &self.rules)
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
    /// Reading, writing and deleting.
    Delete,
}

/// Which registries may be spoken to without TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlainHttp {
    /// `localhost`, `127.0.0.0/8` and `::1`, as in docker.
    LoopbackOnly,
    /// Those, and these: hosts with their port, as in a reference, or networks (`10.0.0.0/8`).
    /// TLS is tried first there, and no certificate is looked at, as in docker.
    Hosts(BTreeSet<String>),
}

impl PlainHttp {
    /// Tells whether a host, as in a reference, is listed.
    pub fn lists(&self, name: &str) -> bool {
        let Self::Hosts(hosts) = self else {
            return false;
        };
        let host = match name.rsplit_once(':') {
            Some((host, port)) if port.parse::<u16>().is_ok() => host,
            _ => name,
        };
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let address = bare.parse::<IpAddr>().ok();
        hosts.iter().any(|entry| match entry.split_once('/') {
            None => entry == name || entry == host && !entry.contains(':'),
            Some((network, length)) => address.is_some_and(|address| {
                let network = network.parse::<IpAddr>();
                let length = length.parse::<u32>();
                matches!((network, length), (Ok(network), Ok(length))
                    if is_in_network(address, network, length))
            }),
        })
    }
}

fn is_in_network(address: IpAddr, network: IpAddr, length: u32) -> bool {
    let (address, network, bits) = match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => (
            u128::from(address.to_bits()),
            u128::from(network.to_bits()),
            32,
        ),
        (IpAddr::V6(address), IpAddr::V6(network)) => (address.to_bits(), network.to_bits(), 128),
        _ => return false,
    };
    let shift = bits - length.min(bits);
    (address ^ network).checked_shr(shift).unwrap_or(0) == 0
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
    /// What it is asked for.
    pub pull_from: PullFrom,
}

/// What a mirror is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PullFrom {
    /// Everything.
    #[default]
    All,
    /// What is named by a digest.
    DigestOnly,
    /// What is named by a tag.
    TagOnly,
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
            pull_from: PullFrom::All,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_networks_are_listed() {
        let entries = [
            "plain:5000",
            "bare",
            "10.1.0.0/16",
            "fd00::/8",
            "0.0.0.0/0x",
        ];
        let listed = PlainHttp::Hosts(entries.map(str::to_owned).into());
        let cases = [
            ("plain:5000", true),
            ("plain", false),
            ("bare", true),
            ("bare:80", true),
            ("10.1.2.3:5000", true),
            ("10.2.0.1", false),
            ("[fd00::1]:5000", true),
            ("[fe80::1]", false),
        ];
        for (name, expected) in cases {
            assert_eq!(listed.lists(name), expected, "{name}");
        }
    }

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
