//! Mirrors: asked first, never pushed to, and no reason to fail.

use mica_oci::{Fetch, Push, Resolve};
use mica_registry_client::{
    Actions, ConnectFailure, Registry, RegistryConfig, RegistryError, Rule,
};
use tokio::io::AsyncReadExt;

use crate::download::{layer, noise};
use crate::fake::{Fake, Reply, quick};

/// A registry client for which `mirrors` stand before `origin`.
fn registry(origin: &Fake, mirrors: &[String]) -> Registry {
    let mirrors = mirrors
        .iter()
        .map(|mirror| mirror.parse().unwrap())
        .collect();
    let rule = Rule {
        prefix: origin.address.to_string(),
        mirrors,
        ..Rule::default()
    };
    let config = RegistryConfig {
        rules: vec![rule],
        ..quick()
    };
    Registry::new(config).unwrap()
}

fn dead() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

#[tokio::test]
async fn the_first_mirror_that_has_it_serves() {
    let origin = Fake::start(|_| Reply::new(404)).await;
    let empty = Fake::start(|_| Reply::new(404)).await;
    let full = Fake::start(|_| Reply::new(200).body("layer")).await;
    let mirrors = [
        dead(),
        empty.address.to_string(),
        format!("http://{}/hub", full.address),
    ];
    let registry = registry(&origin, &mirrors);
    let blob = layer(b"layer");

    let pull = registry.repository(&origin.reference("app"), Actions::Pull);
    let mut content = String::new();
    pull.fetch(&blob)
        .await
        .unwrap()
        .read_to_string(&mut content)
        .await
        .unwrap();
    assert_eq!(content, "layer");
    assert_eq!(
        full.lines(),
        [format!("GET /v2/hub/app/blobs/{}", blob.digest)]
    );
    assert_eq!((empty.log().len(), origin.log().len()), (1, 0));

    let push = registry.repository(&origin.reference("app"), Actions::PullPush);
    assert!(!push.contains(&blob).await.unwrap());
    assert_eq!(origin.log().len(), 1);
}

#[tokio::test]
async fn a_mirror_that_breaks_off_is_replaced_in_the_middle() {
    let content = noise(50_000);
    let (whole, part) = (content.clone(), content.clone());
    let mirror = Fake::start(move |_| Reply::new(200).body(&part[..]).cut_at(20_000)).await;
    let origin = Fake::start(move |_| Reply::new(200).body(&whole[..])).await;
    let registry = registry(&origin, &[mirror.address.to_string()]);
    let repository = registry.repository(&origin.reference("app"), Actions::Pull);
    let mut read = Vec::new();
    let mut reader = repository.fetch(&layer(&content)).await.unwrap();
    reader.read_to_end(&mut read).await.unwrap();
    assert!(read == content);
    assert_eq!(origin.log()[0].header("range"), "bytes=20000-");
}

#[tokio::test]
async fn a_mirrors_wrong_manifest_is_not_believed() {
    let manifest = r#"{"schemaVersion":2,"layers":[]}"#;
    let mirror = Fake::start(|_| Reply::new(200).body(r#"{"layers":[1]}"#)).await;
    let origin = Fake::start(move |_| Reply::new(200).body(manifest)).await;
    let registry = registry(&origin, &[mirror.address.to_string()]);
    let repository = registry.repository(&origin.reference("app"), Actions::Pull);
    let digest = mica_oci::Digest::of(manifest.as_bytes());
    let reference = origin.reference("app").with_digest(digest.clone());
    let (_, bytes, actual) = repository.manifest(&reference).await.unwrap();
    assert_eq!((&bytes[..], actual), (manifest.as_bytes(), digest));
}

#[tokio::test]
async fn errors_tell_of_both() {
    let unknown = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
    let origin = Fake::start(move |_| Reply::new(404).body(unknown)).await;
    // It speaks no TLS, and the configuration insists.
    let mirror = format!("https://{}", origin.address);
    let registry = registry(&origin, &[mirror]);
    let reference = origin.reference("app:v1");
    let repository = registry.repository(&reference, Actions::Pull);
    let error = repository.resolve(&reference).await.unwrap_err();
    let error = error.downcast_ref::<RegistryError>().unwrap();
    assert_eq!(error.status(), Some(404));
    let RegistryError::Mirrors { mirror, source, .. } = error else {
        panic!("{error:?}");
    };
    let RegistryError::Connect { failure, .. } = **mirror else {
        panic!("{mirror:?}");
    };
    assert_eq!(failure, ConnectFailure::PlainHttp);
    assert!(
        source
            .to_string()
            .ends_with("manifest unknown: manifest unknown"),
        "{source}"
    );
}
