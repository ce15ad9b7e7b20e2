//! Names, manifests and lists.

use mica_oci::{Digest, MediaType, Resolve};
use mica_registry_client::{Actions, Hint, RegistryError};

use crate::fake::{Fake, Reply};

const MANIFEST: &str = r#"{"schemaVersion":2,"layers":[]}"#;
const KIND: &str = "application/vnd.oci.image.manifest.v1+json";

fn full(digest: &Digest) -> Reply {
    Reply::new(200)
        .header("Content-Type", format!("{KIND}; charset=utf-8"))
        .header("Docker-Content-Digest", digest)
        .body(MANIFEST)
}

#[tokio::test]
async fn head_is_enough_where_it_tells_all() {
    let digest = Digest::of(MANIFEST.as_bytes());
    let announced = digest.clone();
    let fake = Fake::start(move |_| full(&announced)).await;
    let repository = fake.repository(Actions::Pull);
    let found = repository.resolve(&fake.reference("app:v1")).await.unwrap();
    assert_eq!((found.digest, found.size), (digest, MANIFEST.len() as u64));
    assert_eq!(found.media_type, MediaType::OCI_MANIFEST);
    assert_eq!(fake.lines(), ["HEAD /v2/app/manifests/v1"]);
    let accept = fake.log()[0].header("accept").to_owned();
    for kind in [
        MediaType::OCI_INDEX,
        MediaType::DOCKER_INDEX,
        MediaType::DOCKER_MANIFEST,
    ] {
        assert!(accept.contains(kind.as_str()), "{accept}");
    }
}

#[tokio::test]
async fn get_tells_what_head_does_not() {
    let plain = |_: &_| {
        Reply::new(200)
            .header("Content-Type", "application/json")
            .body(MANIFEST)
    };
    let refusing = |request: &crate::fake::Request| match request.method.as_str() {
        "HEAD" => Reply::new(405),
        _ => Reply::new(200).body(MANIFEST),
    };
    for fake in [Fake::start(plain).await, Fake::start(refusing).await] {
        let repository = fake.repository(Actions::Pull);
        let found = repository.resolve(&fake.reference("app:v1")).await.unwrap();
        assert_eq!(found.digest, Digest::of(MANIFEST.as_bytes()));
        assert_eq!(found.media_type, MediaType::OCI_MANIFEST);
        assert_eq!(fake.log().len(), 2);
    }
}

#[tokio::test]
async fn a_wrong_digest_is_refused() {
    let fake = Fake::start(|_| full(&Digest::of(b"other"))).await;
    let repository = fake.repository(Actions::Pull);
    let by_tag = fake.reference("app:v1");
    let by_digest = fake.reference("app").with_digest(Digest::of(b"third"));
    for reference in [by_tag, by_digest] {
        let error = repository.manifest(&reference).await.unwrap_err();
        assert!(matches!(error, RegistryError::Digest { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn what_is_unknown_is_named() {
    let unknown = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
    let fake = Fake::start(move |_| Reply::new(404).body(unknown)).await;
    let repository = fake.repository(Actions::Pull);
    let error = repository
        .resolve(&fake.reference("app:v1"))
        .await
        .unwrap_err();
    let expected = format!(
        "GET http://{}/v2/app/manifests/v1: 404 Not Found: manifest unknown: manifest unknown",
        fake.address
    );
    assert_eq!(error.to_string(), expected);
    let error = error.downcast_ref::<RegistryError>().unwrap();
    assert_eq!(
        (error.hint(), error.status()),
        (Some(Hint::Name), Some(404))
    );

    let other = repository
        .resolve(&fake.reference("other:v1"))
        .await
        .unwrap_err();
    assert!(
        other.to_string().contains("is not in the repository"),
        "{other}"
    );
}

#[tokio::test]
async fn a_cut_or_endless_manifest() {
    let cut = Fake::start(|request| match request.earlier {
        0 => Reply::new(200).body(MANIFEST).cut_at(5),
        _ => Reply::new(200).body(MANIFEST),
    })
    .await;
    let repository = cut.repository(Actions::Pull);
    let (_, bytes, _) = repository.manifest(&cut.reference("app:v1")).await.unwrap();
    assert_eq!(&bytes[..], MANIFEST.as_bytes());

    let large = Fake::start(|_| Reply::new(200).body(vec![b' '; (4 << 20) + 1])).await;
    let repository = large.repository(Actions::Pull);
    let error = repository
        .manifest(&large.reference("app:v1"))
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("the manifest is larger than 4 MiB"),
        "{error}"
    );
}

#[tokio::test]
async fn tags_come_page_by_page() {
    let fake = Fake::start(|request| match request.path.as_str() {
        "/v2/app/tags/list" => Reply::new(200)
            .header("Link", r#"</v2/app/tags/list?last=b>; rel="next""#)
            .body(r#"{"name":"app","tags":["a","b"]}"#),
        "/v2/app/tags/list?last=b" => Reply::new(200).body(r#"{"name":"app","tags":["c"]}"#),
        _ => Reply::new(404),
    })
    .await;
    let tags = fake.repository(Actions::Pull).tags().await.unwrap();
    assert_eq!(tags, ["a", "b", "c"]);

    let empty = Fake::start(|_| Reply::new(200).body(r#"{"name":"app","tags":null}"#)).await;
    assert!(
        empty
            .repository(Actions::Pull)
            .tags()
            .await
            .unwrap()
            .is_empty()
    );
}
