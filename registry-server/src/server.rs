//! Connections: accepted, secured, authenticated, answered.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{HeaderValue, WWW_AUTHENTICATE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use mica_store::Store;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::mirror::{Mirrored, Upstream};
use crate::published::PublishedManifests;
use crate::reply::{Refusal, Reply, empty};
use crate::route::{NoRoute, Route, decoded};
use crate::uploads::Uploads;
use crate::{Access, ServeConfig, ServeError, TlsIdentity};

/// A client that does not even send its request's head in that time is let go.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long requests that are being answered may take after the end was asked for.
const DRAIN: Duration = Duration::from_secs(10);

/// A server that listens.
pub struct Server<U> {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    service: Arc<Service<U>>,
}

/// What the answers come from.
pub(crate) struct Service<U> {
    pub(crate) store: Store,
    pub(crate) config: ServeConfig,
    pub(crate) published: PublishedManifests,
    pub(crate) uploads: Uploads,
    pub(crate) mirrored: Mirrored<U>,
}

impl<U: Upstream> Server<U> {
    /// Listens on an address, such as `127.0.0.1:5000`; port 0 is any free one.
    pub async fn bind(
        address: &str,
        store: Store,
        config: ServeConfig,
        upstream: U,
    ) -> Result<Self, ServeError> {
        let tls = config.tls.as_ref().map(acceptor).transpose()?;
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|source| ServeError::Listen {
            address: address.to_owned(),
            source,
        })?;
        let service = Service {
            store,
            config,
            published: PublishedManifests::default(),
            uploads: Uploads::default(),
            mirrored: Mirrored::new(upstream),
        };
        Ok(Self {
            listener,
            tls,
            service: Arc::new(service),
        })
    }

    /// Returns the address that is listened on.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until `end`, and then lets requests that are being answered come to their end.
    pub async fn run(self, end: impl Future<Output = ()>) {
        let mut end = pin!(end);
        let graceful = GracefulShutdown::new();
        loop {
            tokio::select! {
                () = &mut end => break,
                accepted = self.listener.accept() => {
                    let Ok((stream, _)) = accepted else {
                        // Out of file descriptors, most likely: others will end meanwhile.
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    };
                    let watcher = graceful.watcher();
                    let (service, tls) = (self.service.clone(), self.tls.clone());
                    tokio::spawn(async move { serve(service, tls, stream, watcher).await });
                }
            }
        }
        drop(self.listener);
        let _ = tokio::time::timeout(DRAIN, graceful.shutdown()).await;
    }
}

async fn serve<U: Upstream>(
    service: Arc<Service<U>>,
    tls: Option<TlsAcceptor>,
    stream: TcpStream,
    watcher: hyper_util::server::graceful::Watcher,
) {
    let _ = stream.set_nodelay(true);
    let answer = service_fn(move |request: Request<Incoming>| {
        let service = service.clone();
        async move { Ok::<_, Infallible>(service.answer(request).await) }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT);
    match tls {
        None => {
            let mut plain = http1::Builder::new();
            plain
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT);
            let connection = plain.serve_connection(TokioIo::new(stream), answer);
            // A client that goes away is no error of ours.
            let _ = watcher.watch(connection).await;
        }
        Some(acceptor) => {
            let secured = tokio::time::timeout(HEAD_TIMEOUT, acceptor.accept(stream)).await;
            if let Ok(Ok(stream)) = secured {
                let connection = builder.serve_connection(TokioIo::new(stream), answer);
                let _ = watcher.watch(connection).await;
            }
        }
    }
}

impl<U: Upstream> Service<U> {
    async fn answer(&self, request: Request<Incoming>) -> Reply {
        let is_head = request.method() == Method::HEAD;
        if !self.is_admitted(&request) {
            return challenge();
        }
        match self.route(request).await {
            Ok(reply) => reply,
            // HEAD has no body, and hyper sends none; the status says it all.
            Err(refusal) if is_head => empty(refusal.status),
            Err(refusal) => refusal.into_reply(),
        }
    }

    fn is_admitted(&self, request: &Request<Incoming>) -> bool {
        let Some(users) = &self.config.users else {
            return true;
        };
        tokio::task::block_in_place(|| users.admits(request.headers()))
    }

    async fn route(&self, request: Request<Incoming>) -> Result<Reply, Refusal> {
        let route = Route::of(&decoded(request.uri().path())).map_err(|why| match why {
            NoRoute::Unknown => Refusal::not_found("NOT_FOUND", "there is no such end point"),
            NoRoute::Digest => Refusal::invalid("DIGEST_INVALID", "the digest is not valid"),
        })?;
        if let Some(name) = route.repository() {
            crate::names::reference(name, "latest")?;
        }
        self.check_access(request.method(), &route)?;
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let method = request.method().clone();
        match route {
            Route::Base if is_read => Ok(crate::reply::with_body(StatusCode::OK, "{}")),
            Route::Catalog if is_read => self.catalog(&request),
            Route::Tags(name) if is_read => self.tags(&name, &request).await,
            Route::Referrers(_, digest) if is_read => self.referrers(&digest, &request),
            Route::Manifest(name, object) => self.manifest(&name, &object, request).await,
            Route::Blob(name, digest) if is_read => self.blob(&name, &digest, &request).await,
            Route::Uploads(name) if method == Method::POST => {
                self.start_upload(&name, request).await
            }
            Route::Upload(name, id) => self.upload(&name, &id, request).await,
            _ => Err(Refusal::unsupported(
                "this end point does not take the method",
            )),
        }
    }

    fn check_access(&self, method: &Method, route: &Route) -> Result<(), Refusal> {
        let needed = match (method, route) {
            (&Method::GET | &Method::HEAD, Route::Upload(..)) => Access::Push,
            (&Method::GET | &Method::HEAD, _) => Access::Read,
            // A client may give up its own upload.
            (&Method::DELETE, Route::Upload(..)) => Access::Push,
            (&Method::DELETE, _) => Access::Delete,
            _ => Access::Push,
        };
        if needed <= self.config.access {
            return Ok(());
        }
        Err(Refusal::unsupported(match needed {
            Access::Delete => "this registry does not let anybody delete: `--allow-delete`",
            _ => "this registry is read-only: `--allow-push`",
        }))
    }
}

fn challenge() -> Reply {
    let status = StatusCode::UNAUTHORIZED;
    let refusal = Refusal::new(status, "UNAUTHORIZED", "authentication required");
    let mut reply = refusal.into_reply();
    let basic = HeaderValue::from_static("Basic realm=\"mica\"");
    reply.headers_mut().insert(WWW_AUTHENTICATE, basic);
    reply
}

fn acceptor(identity: &TlsIdentity) -> Result<TlsAcceptor, ServeError> {
    let failed = |reason: String| ServeError::Tls { reason };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&identity.certificates).collect();
    let chain = chain.map_err(|error| failed(error.to_string()))?;
    let key = PrivateKeyDer::from_pem_slice(&identity.key);
    let key = key.map_err(|error| failed(error.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key);
    let mut config = config.map_err(|error| failed(error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

impl<U> std::fmt::Debug for Server<U> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Server({:?})", self.listener)
    }
}
