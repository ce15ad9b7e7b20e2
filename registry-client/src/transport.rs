//! The HTTP clients: TLS by rustls with ring, certificates read on the first handshake.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, NoProxy, Proxy};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use crate::{
    HostSource, HostTls, Identity, PlainHttp, Proxies, RegistryConfig, RegistryError, TlsRoots,
    Verification,
};

/// A host that does not even answer the SYN is down; docker waits 30 s, which is long for a mirror.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// What we sent stays unacknowledged this long only when the path is gone.
const UNACKNOWLEDGED: Duration = Duration::from_secs(60);

/// All HTTP clients of the process: one pair for most hosts, and one for each host that has its
/// own view of certificates.
pub(crate) struct Transport {
    tls_roots: TlsRoots,
    proxies: Proxies,
    user_agent: String,
    plain_http: PlainHttp,
    hosts: HostSource,
    usual: Arc<Clients>,
    special: Mutex<HashMap<String, Arc<Clients>>>,
}

/// The HTTP clients, which share everything but their view of redirects.
#[derive(Debug)]
pub(crate) struct Clients {
    /// For registries: follows redirects, without `Authorization` to another origin.
    pub(crate) registry: Client,
    /// For token servers: follows none, as the body of a request may be a credential.
    pub(crate) token: Client,
}

impl Transport {
    pub(crate) fn new(config: &RegistryConfig) -> Result<Self, RegistryError> {
        let (roots, proxies) = (&config.tls_roots, &config.proxies);
        let tls = HostTls::default();
        Ok(Self {
            usual: Arc::new(Clients::new(&tls, roots, proxies, &config.user_agent)?),
            tls_roots: roots.clone(),
            proxies: proxies.clone(),
            user_agent: config.user_agent.clone(),
            plain_http: config.plain_http.clone(),
            hosts: config.hosts.clone(),
            special: Mutex::default(),
        })
    }

    /// Returns the client for servers that are no registries: what is configured for those says
    /// nothing about them.
    pub(crate) fn for_files(&self) -> &Client {
        &self.usual.registry
    }

    /// Returns the clients for a host, named as in a reference.
    pub(crate) fn for_host(&self, host: &str) -> Result<Arc<Clients>, RegistryError> {
        let known = |special: &HashMap<String, Arc<Clients>>| special.get(host).cloned();
        if let Some(clients) = known(&self.special.lock().expect("no panic under this lock")) {
            return Ok(clients);
        }
        let mut tls = (self.hosts)(host);
        if self.plain_http.lists(host) {
            tls.verification = Verification::None;
        }
        let clients = match tls == HostTls::default() {
            true => self.usual.clone(),
            false => {
                let (roots, proxies) = (&self.tls_roots, &self.proxies);
                Arc::new(Clients::new(&tls, roots, proxies, &self.user_agent)?)
            }
        };
        let mut special = self.special.lock().expect("no panic under this lock");
        special.insert(host.to_owned(), clients.clone());
        Ok(clients)
    }
}

impl Clients {
    fn new(
        host: &HostTls,
        roots: &TlsRoots,
        own_proxies: &Proxies,
        user_agent: &str,
    ) -> Result<Self, RegistryError> {
        let tls = tls_config(host, roots)?;
        let proxies = proxies(own_proxies)?;
        let build = |policy: Policy| {
            let builder = ClientBuilder::new()
                .user_agent(user_agent)
                .tls_backend_preconfigured(tls.clone())
                .redirect(policy)
                .referer(false)
                .tcp_nodelay(true)
                .tcp_user_timeout(UNACKNOWLEDGED)
                .connect_timeout(CONNECT_TIMEOUT)
                .no_proxy();
            let builder = proxies.iter().cloned().fold(builder, ClientBuilder::proxy);
            builder.build().map_err(client_error)
        };
        Ok(Self {
            registry: build(Policy::limited(10))?,
            token: build(Policy::none())?,
        })
    }
}

fn client_error(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> RegistryError {
    RegistryError::Client {
        source: source.into(),
    }
}

fn proxies(proxies: &Proxies) -> Result<Vec<Proxy>, RegistryError> {
    const LOOPBACK: &str = "localhost,127.0.0.0/8,::1";
    let direct = match &proxies.no_proxy {
        Some(hosts) => format!("{hosts},{LOOPBACK}"),
        None => LOOPBACK.to_owned(),
    };
    let make = |url: &Option<String>, proxy: fn(&str) -> reqwest::Result<Proxy>| {
        let url = url.as_deref().filter(|url| !url.is_empty())?;
        let proxy = proxy(url).map(|proxy| proxy.no_proxy(NoProxy::from_string(&direct)));
        // The address may hold a password, so it is not shown.
        Some(proxy.map_err(|_| RegistryError::Address {
            address: "(proxy)".to_owned(),
        }))
    };
    let http = make(&proxies.http, |url| Proxy::http(url));
    let https = make(&proxies.https, |url| Proxy::https(url));
    http.into_iter().chain(https).collect()
}

fn tls_config(host: &HostTls, roots: &TlsRoots) -> Result<ClientConfig, RegistryError> {
    let provider = Arc::new(ring::default_provider());
    let mut roots = roots.clone();
    roots.extra_pem.push(b'\n');
    roots.extra_pem.extend_from_slice(&host.authorities);
    let verifier = Arc::new(match host.verification {
        Verification::Full => Verifier::trusting(&roots, provider.clone())?,
        Verification::None => Verifier::anybody(provider.clone()),
    });
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(client_error)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match &host.identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let (chain, key) = read_identity(identity)?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|_| RegistryError::Certificates)?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

type KeyPair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn read_identity(identity: &Identity) -> Result<KeyPair, RegistryError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&identity.certificate).collect();
    let key = PrivateKeyDer::from_pem_slice(identity.key.expose().as_bytes());
    match (chain, key) {
        (Ok(chain), Ok(key)) if !chain.is_empty() => Ok((chain, key)),
        _ => Err(RegistryError::Certificates),
    }
}

/// Checks the certificates of servers. The usual verifier is made when it is first needed: parsing
/// some 150 certificates takes milliseconds, and a registry on loopback needs none of them.
#[derive(Debug)]
struct Verifier {
    /// None believes anybody: only for hosts that the configuration calls insecure.
    roots: Option<TlsRoots>,
    provider: Arc<CryptoProvider>,
    usual: OnceLock<Result<Arc<WebPkiServerVerifier>, rustls::Error>>,
}

impl Verifier {
    fn trusting(roots: &TlsRoots, provider: Arc<CryptoProvider>) -> Result<Self, RegistryError> {
        let extra: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&roots.extra_pem).collect();
        let given = !roots.extra_pem.trim_ascii().is_empty();
        match extra {
            Ok(extra) if extra.is_empty() && given => Err(RegistryError::Certificates),
            Err(_) => Err(RegistryError::Certificates),
            Ok(_) => Ok(Self {
                roots: Some(roots.clone()),
                ..Self::anybody(provider)
            }),
        }
    }

    fn anybody(provider: Arc<CryptoProvider>) -> Self {
        Self {
            roots: None,
            provider,
            usual: OnceLock::new(),
        }
    }

    fn usual(&self, roots: &TlsRoots) -> Result<&WebPkiServerVerifier, rustls::Error> {
        let verifier = self.usual.get_or_init(|| {
            let roots = Arc::new(load(roots));
            WebPkiServerVerifier::builder_with_provider(roots, self.provider.clone())
                .build()
                .map_err(|error| rustls::Error::General(format!("no root certificates: {error}")))
        });
        verifier.as_deref().map_err(Clone::clone)
    }
}

/// Certificates that cannot be parsed are left out, as distributions' bundles hold odd ones.
fn load(roots: &TlsRoots) -> RootCertStore {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(trusted(roots));
    store
}

/// Reads the certificates that are trusted.
fn trusted(roots: &TlsRoots) -> Vec<CertificateDer<'static>> {
    let mut bundles = roots.bundles.iter();
    let system = bundles.find_map(|path| std::fs::read(path).ok());
    let all = [system.unwrap_or_default(), roots.extra_pem.clone()];
    let read = |pem: &Vec<u8>| {
        CertificateDer::pem_slice_iter(pem)
            .flatten()
            .collect::<Vec<_>>()
    };
    all.iter().flat_map(read).collect()
}

fn is_trusted(roots: &TlsRoots, certificate: &CertificateDer<'_>) -> bool {
    let trusted = trusted(roots);
    trusted
        .iter()
        .any(|known| known.as_ref() == certificate.as_ref())
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(roots) = &self.roots else {
            return Ok(ServerCertVerified::assertion());
        };
        let verifier = self.usual(roots)?;
        let verified =
            verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            // A certificate that may sign others is none for a server, but it is what people make
            // for a registry of their own, and they trust that very one.
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(_)))
                if is_trusted(roots, end_entity) =>
            {
                let parsed = ParsedCertificate::try_from(end_entity)?;
                verify_server_name(&parsed, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}
