//! The one HTTP client: TLS by rustls with ring, certificates read on the first handshake.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, NoProxy, Proxy};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::{Proxies, RegistryConfig, RegistryError, TlsRoots};

/// A host that does not even answer the SYN is down; docker waits 30 s, which is long for a mirror.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// What we sent stays unacknowledged this long only when the path is gone.
const UNACKNOWLEDGED: Duration = Duration::from_secs(60);

/// The HTTP clients, which share everything but their view of redirects.
pub(crate) struct Transport {
    /// For registries: follows redirects, without `Authorization` to another origin.
    pub(crate) registry: Client,
    /// For token servers: follows none, as the body of a request may be a credential.
    pub(crate) token: Client,
}

impl Transport {
    pub(crate) fn new(config: &RegistryConfig) -> Result<Self, RegistryError> {
        let tls = tls_config(&config.tls_roots)?;
        let proxies = proxies(&config.proxies)?;
        let build = |policy: Policy| {
            let builder = ClientBuilder::new()
                .user_agent(&config.user_agent)
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

fn tls_config(roots: &TlsRoots) -> Result<ClientConfig, RegistryError> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(LazyVerifier::new(roots, provider.clone())?);
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(client_error)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// The usual verifier, made when it is first needed: parsing some 150 certificates takes
/// milliseconds, and a registry on loopback needs none of them.
#[derive(Debug)]
struct LazyVerifier {
    roots: TlsRoots,
    provider: Arc<CryptoProvider>,
    verifier: OnceLock<Result<Arc<WebPkiServerVerifier>, rustls::Error>>,
}

impl LazyVerifier {
    fn new(roots: &TlsRoots, provider: Arc<CryptoProvider>) -> Result<Self, RegistryError> {
        let extra: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&roots.extra_pem).collect();
        let given = !roots.extra_pem.trim_ascii().is_empty();
        match extra {
            Ok(extra) if extra.is_empty() && given => Err(RegistryError::Certificates),
            Err(_) => Err(RegistryError::Certificates),
            Ok(_) => Ok(Self {
                roots: roots.clone(),
                provider,
                verifier: OnceLock::new(),
            }),
        }
    }

    fn get(&self) -> Result<&WebPkiServerVerifier, rustls::Error> {
        let verifier = self.verifier.get_or_init(|| {
            let roots = Arc::new(load(&self.roots));
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
    let system = roots
        .bundles
        .iter()
        .find_map(|path| std::fs::read(path).ok());
    for pem in [system.unwrap_or_default(), roots.extra_pem.clone()] {
        store.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
    }
    store
}

impl ServerCertVerifier for LazyVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verifier = self.get()?;
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
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
