//! Debian's registry, which is distribution 2.8.

use std::io::Cursor;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use mica_oci::{BlobReader, Descriptor, Fetch, Manifest, MediaType, Push, Resolve, Tag};
use mica_registry_client::{
    Actions, Authentication, ConnectFailure, Credentials, Hint, Registry, RegistryConfig,
    RegistryError, Repository, Secret, TlsRoots,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::debian_registry::{DebianRegistry, Setup};
use crate::download::{layer, noise};
use crate::fake::quick;

fn reader(content: &[u8]) -> BlobReader {
    Box::pin(Cursor::new(content.to_vec()))
}

async fn read(repository: &Repository, descriptor: &Descriptor) -> Vec<u8> {
    let mut content = Vec::new();
    let mut reader = repository.fetch(descriptor).await.unwrap();
    reader.read_to_end(&mut content).await.unwrap();
    content
}

/// Pushes an image of one configuration and one layer, and tags it.
async fn push_image(repository: &Repository, tag: &mica_oci::Reference, blob: &[u8]) -> Descriptor {
    let config = Descriptor::of(MediaType::OCI_CONFIG, b"{}");
    repository.push(&config, reader(b"{}")).await.unwrap();
    repository.push(&layer(blob), reader(blob)).await.unwrap();
    let manifest = serde_json::to_vec(&Manifest::new(config, vec![layer(blob)])).unwrap();
    let descriptor = Descriptor::of(MediaType::OCI_MANIFEST, &manifest);
    repository
        .push(&descriptor, reader(&manifest))
        .await
        .unwrap();
    repository.tag(&descriptor, tag).await.unwrap();
    descriptor
}

#[tokio::test]
async fn an_image_goes_there_and_back() {
    let Some(server) = DebianRegistry::start("an_image_goes_there_and_back", Setup::Open) else {
        return;
    };
    let registry = Registry::new(quick()).unwrap();
    let reference = server.reference("team/app:v1");
    let repository = registry.repository(&reference, Actions::PullPush);
    let blob = noise(5 << 20);
    assert!(!repository.contains(&layer(&blob)).await.unwrap());
    let pushed = push_image(&repository, &reference, &blob).await;

    let repository = Registry::new(quick())
        .unwrap()
        .repository(&reference, Actions::Pull);
    let found = repository.resolve(&reference).await.unwrap();
    assert_eq!(found, pushed);
    let by_digest = reference.with_digest(pushed.digest.clone());
    assert_eq!(repository.resolve(&by_digest).await.unwrap(), pushed);
    let (media_type, bytes, digest) = repository.manifest(&by_digest).await.unwrap();
    assert_eq!(
        (media_type, digest),
        (MediaType::OCI_MANIFEST, pushed.digest.clone())
    );
    assert_eq!(bytes, read(&repository, &pushed).await);
    assert!(read(&repository, &layer(&blob)).await == blob);
    assert!(repository.contains(&layer(&blob)).await.unwrap());
    assert!(repository.contains(&pushed).await.unwrap());
    assert_eq!(repository.tags().await.unwrap(), ["v1"]);

    let missing = server.reference("team/app:v2");
    let error = repository.resolve(&missing).await.unwrap_err().to_string();
    assert!(
        error.ends_with("404 Not Found: manifest unknown: manifest unknown"),
        "{error}"
    );
}

#[tokio::test]
async fn a_blob_is_mounted_from_another_repository() {
    let name = "a_blob_is_mounted_from_another_repository";
    let Some(server) = DebianRegistry::start(name, Setup::Open) else {
        return;
    };
    let registry = Registry::new(quick()).unwrap();
    let base = server.reference("base");
    let blob = noise(10_000);
    push_image(&registry.repository(&base, Actions::PullPush), &base, &blob).await;
    let app = registry
        .repository(&server.reference("app"), Actions::PullPush)
        .mount_from("base");
    // Content that would be refused if it were sent: only a mount can succeed.
    app.push(&layer(&blob), reader(b"")).await.unwrap();
    assert!(read(&app, &layer(&blob)).await == blob);
    // The other repository lacks this one, so that it is sent.
    let other = noise(20_000);
    app.push(&layer(&other), reader(&other)).await.unwrap();
    assert!(read(&app, &layer(&other)).await == other);
}

fn ada(password: &str) -> Credentials {
    Credentials::Basic {
        username: "ada".to_owned(),
        password: Secret::new(password),
    }
}

#[tokio::test]
async fn a_password_is_asked_for() {
    let Some(server) = DebianRegistry::start("a_password_is_asked_for", Setup::Htpasswd) else {
        return;
    };
    let anonymous = Registry::new(quick()).unwrap();
    let host = server.address.to_string();
    let outcome = anonymous
        .check_login(&host, &ada("lovelace"))
        .await
        .unwrap();
    assert_eq!(outcome.authentication, Authentication::Basic);
    for wrong in [ada("byron"), Credentials::Anonymous] {
        let error = anonymous.check_login(&host, &wrong).await.unwrap_err();
        assert_eq!(
            (error.status(), error.hint()),
            (Some(401), Some(Hint::Login))
        );
    }

    let reference = server.reference("app:v1");
    let repository = anonymous.repository(&reference, Actions::PullPush);
    let error = repository
        .push(&layer(b"x"), reader(b"x"))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.ends_with(": unauthorized: authentication required"),
        "{error}"
    );

    let credentials = Arc::new(|host: &str| {
        assert!(host.starts_with("127.0.0.1:"), "{host}");
        ada("lovelace")
    });
    let registry = Registry::new(RegistryConfig {
        credentials,
        ..quick()
    })
    .unwrap();
    let repository = registry.repository(&reference, Actions::PullPush);
    let pushed = push_image(&repository, &reference, &noise(1_000)).await;
    assert_eq!(repository.resolve(&reference).await.unwrap(), pushed);
}

#[tokio::test]
async fn only_a_trusted_authority_is_believed() {
    let Some(server) = DebianRegistry::start("only_a_trusted_authority_is_believed", Setup::Tls)
    else {
        return;
    };
    let reference = server.reference("app:v1");
    let repository = Registry::new(quick())
        .unwrap()
        .repository(&reference, Actions::Pull);
    let error = repository.manifest(&reference).await.unwrap_err();
    let RegistryError::Connect { failure, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(*failure, ConnectFailure::UnknownAuthority);
    assert_eq!(error.hint(), Some(Hint::Certificate));
    let text = error.to_string();
    assert!(text.starts_with("GET https://127.0.0.1:"), "{text}");
    assert!(
        text.ends_with("x509: certificate signed by unknown authority"),
        "{text}"
    );

    let tls_roots = TlsRoots {
        extra_pem: server.authority(),
        ..TlsRoots::default()
    };
    let registry = Registry::new(RegistryConfig {
        tls_roots,
        ..quick()
    })
    .unwrap();
    let repository = registry.repository(&reference, Actions::PullPush);
    let blob = noise(5 << 20);
    let pushed = push_image(&repository, &reference, &blob).await;
    assert_eq!(repository.resolve(&reference).await.unwrap(), pushed);
    assert!(read(&repository, &layer(&blob)).await == blob);

    let tls_roots = TlsRoots {
        extra_pem: b"no certificate".to_vec(),
        ..TlsRoots::default()
    };
    let error = Registry::new(RegistryConfig {
        tls_roots,
        ..quick()
    })
    .unwrap_err();
    assert!(matches!(error, RegistryError::Certificates), "{error:?}");
}

/// Forwards to `target`; cuts every connection after `limit` bytes in one direction, `cuts` times.
async fn cutting_proxy(target: SocketAddr, limit: u64, cuts: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let left = Arc::new(AtomicUsize::new(cuts));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(target).await.unwrap();
            let left = left.clone();
            tokio::spawn(async move { forward(client, server, limit, &left).await });
        }
    });
    address
}

async fn forward(mut client: TcpStream, mut server: TcpStream, limit: u64, left: &AtomicUsize) {
    let (mut up, mut down) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut moved = [0; 2];
    loop {
        let (from, count) = tokio::select! {
            count = client.read(&mut up) => (0, count.unwrap_or(0)),
            count = server.read(&mut down) => (1, count.unwrap_or(0)),
        };
        moved[from] += count as u64;
        let cut = moved[from] > limit
            && left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
                .is_ok();
        if count == 0 || cut {
            return;
        }
        let written = match from {
            0 => server.write_all(&up[..count]).await,
            _ => client.write_all(&down[..count]).await,
        };
        if written.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn cuts_on_the_way_lose_nothing() {
    let Some(server) = DebianRegistry::start("cuts_on_the_way_lose_nothing", Setup::Open) else {
        return;
    };
    let blob = Arc::new(noise(12 << 20));
    let proxy = cutting_proxy(server.address, 3 << 20, 2).await;
    let reference = format!("{proxy}/app:v1").parse().unwrap();
    let registry = Registry::new(quick()).unwrap();
    let repository = registry.repository(&reference, Actions::PullPush);
    let source = blob.clone();
    let open = move |offset: u64| {
        let rest = source[offset as usize..].to_vec();
        async { Ok(Box::pin(Cursor::new(rest)) as BlobReader) }
    };
    repository.push_with(&layer(&blob), open).await.unwrap();

    let proxy = cutting_proxy(server.address, 3 << 20, 3).await;
    let reference = format!("{proxy}/app:v1").parse().unwrap();
    let repository = registry.repository(&reference, Actions::Pull);
    assert!(read(&repository, &layer(&blob)).await == *blob);
}

#[tokio::test(flavor = "multi_thread")]
async fn loopback_is_fast() {
    let Some(server) = DebianRegistry::start("loopback_is_fast", Setup::Open) else {
        return;
    };
    const SIZE: usize = 128 << 20;
    let blob = noise(1 << 20).repeat(SIZE >> 20);
    let registry = Registry::new(quick()).unwrap();
    let repository = registry.repository(&server.reference("app"), Actions::PullPush);
    let descriptor = layer(&blob);
    let content = reader(&blob);
    let start = Instant::now();
    repository.push(&descriptor, content).await.unwrap();
    let push = start.elapsed();
    let start = Instant::now();
    let mut reader = repository.fetch(&descriptor).await.unwrap();
    let moved = tokio::io::copy(&mut reader, &mut tokio::io::sink())
        .await
        .unwrap();
    let pull = start.elapsed();
    assert_eq!(moved, SIZE as u64);
    eprintln!("128 MiB over loopback: push {push:?}, pull {pull:?}");
    // An order of magnitude below what an idle machine shows: a busy one must not fail.
    assert!(pull.as_secs_f64() < 8.0, "{pull:?}");
}
