//! Pushes on a bad day.

use std::io::Cursor;
use std::sync::{Arc, Mutex};

use mica_oci::{BlobReader, Descriptor, MediaType, Push, Tag, VerifyError};
use mica_registry_client::{Actions, RegistryError};

use crate::download::{layer, noise};
use crate::fake::{Fake, Reply, Request};

fn reader(content: &[u8]) -> BlobReader {
    Box::pin(Cursor::new(content.to_vec()))
}

const LARGE: usize = 6 << 20;

/// Answers as a registry that has nothing yet and accepts everything.
fn accept(request: &Request) -> Reply {
    let path = request.path.split('?').next().unwrap();
    match (request.method.as_str(), path) {
        ("HEAD", _) => Reply::new(404),
        ("POST", "/v2/app/blobs/uploads/") => {
            Reply::new(202).header("Location", "/upload/1?_state=a%2Fb")
        }
        ("PUT", _) => Reply::new(201),
        ("DELETE", _) => Reply::new(204),
        _ => Reply::new(404),
    }
}

#[tokio::test]
async fn a_blob_is_sent_in_one_request() {
    for size in [0, 1_000, LARGE] {
        let content = noise(size);
        let blob = layer(&content);
        let fake = Fake::start(accept).await;
        let repository = fake.repository(Actions::PullPush);
        repository.push(&blob, reader(&content)).await.unwrap();
        let log = fake.log();
        let digest = blob.digest.to_string().replace(':', "%3A");
        let expected = [
            format!("HEAD /v2/app/blobs/{}", blob.digest),
            "POST /v2/app/blobs/uploads/".to_owned(),
            format!("PUT /upload/1?_state=a%2Fb&digest={digest}"),
        ];
        assert_eq!(fake.lines(), expected);
        assert_eq!(log[1].header("content-length"), "0");
        assert_eq!(log[2].header("content-length"), size.to_string());
        assert_eq!(log[2].header("content-type"), "application/octet-stream");
        assert!(log[2].body == content);
    }
}

#[tokio::test]
async fn what_is_there_is_not_sent() {
    let fake = Fake::start(|_| Reply::new(200)).await;
    let repository = fake.repository(Actions::PullPush);
    repository.push(&layer(b"x"), reader(b"x")).await.unwrap();
    assert_eq!(fake.log().len(), 1);

    // A blob that was just found missing is not asked for again.
    let fake = Fake::start(accept).await;
    let repository = fake.repository(Actions::PullPush);
    assert!(!repository.contains(&layer(b"x")).await.unwrap());
    repository.push(&layer(b"x"), reader(b"x")).await.unwrap();
    let heads = fake
        .log()
        .iter()
        .filter(|request| request.method == "HEAD")
        .count();
    assert_eq!(heads, 1);
}

#[tokio::test]
async fn a_mount_is_tried_and_a_refusal_is_an_upload() {
    for mounted in [true, false] {
        let fake = Fake::start(move |request| match request.method.as_str() {
            "POST" if mounted => Reply::new(201).header("Location", "/v2/app/blobs/x"),
            "POST" => Reply::new(202).header("Location", "/upload/1"),
            _ => accept(request),
        })
        .await;
        let repository = fake
            .repository(Actions::PullPush)
            .mount_from("library/base");
        let blob = layer(b"x");
        repository.push(&blob, reader(b"x")).await.unwrap();
        let digest = blob.digest.to_string().replace(':', "%3A");
        let mount = format!("/v2/app/blobs/uploads/?mount={digest}&from=library%2Fbase");
        assert_eq!(fake.log()[1].path, mount);
        assert_eq!(fake.log().len(), if mounted { 2 } else { 3 });
    }
}

#[tokio::test]
async fn locations_may_be_of_any_form() {
    for form in ["relative", "/rooted?x=1", "http://ADDRESS/full/path"] {
        let (fake, location) = (Arc::new(Mutex::new(String::new())), form);
        let address = fake.clone();
        let server = Fake::start(move |request| match request.method.as_str() {
            "POST" => {
                let location = location.replace("ADDRESS", &address.lock().unwrap());
                Reply::new(202).header("Location", location)
            }
            _ => accept(request),
        })
        .await;
        *fake.lock().unwrap() = server.address.to_string();
        let repository = server.repository(Actions::PullPush);
        repository.push(&layer(b"x"), reader(b"x")).await.unwrap();
        let put = server.log()[2].path.clone();
        let expected = match form {
            "relative" => "/v2/app/blobs/uploads/relative?digest=",
            "/rooted?x=1" => "/rooted?x=1&digest=",
            _ => "/full/path?digest=",
        };
        assert!(put.starts_with(expected), "{put}");
    }
}

/// A registry that keeps what came before the cut.
async fn forgetful(content: Arc<Vec<u8>>, resumable: bool) -> Fake {
    Fake::start(move |request| match request.method.as_str() {
        "PUT" if request.earlier == 0 && request.header("content-length") != "0" => {
            Reply::hang_up_after(content.len() / 2)
        }
        "GET" if request.path.starts_with("/upload/1") && resumable => Reply::new(204)
            .header("Location", "/upload/2")
            .header("Range", format!("0-{}", content.len() / 2 - 1)),
        "PATCH" => Reply::new(202).header("Location", "/upload/3"),
        _ => accept(request),
    })
    .await
}

#[tokio::test]
async fn a_cut_upload_goes_on_where_the_registry_says() {
    let content = Arc::new(noise(LARGE));
    let blob = layer(&content);
    let fake = forgetful(content.clone(), true).await;
    let repository = fake.repository(Actions::PullPush);
    let source = content.clone();
    let open = move |offset: u64| {
        let rest = source[offset as usize..].to_vec();
        async { Ok(Box::pin(Cursor::new(rest)) as BlobReader) }
    };
    // Spawned, as a caller may: the future must be Send.
    let pushed = blob.clone();
    let push = tokio::spawn(async move { repository.push_with(&pushed, open).await });
    push.await.unwrap().unwrap();
    let log = fake.log();
    let patch = log
        .iter()
        .find(|request| request.method == "PATCH")
        .expect("a resume");
    assert_eq!(patch.path, "/upload/2");
    assert_eq!(
        patch.header("content-range"),
        format!("{}-{}", LARGE / 2, LARGE - 1)
    );
    assert!(patch.body == content[LARGE / 2..]);
    assert!(
        log.last().unwrap().path.starts_with("/upload/3?digest="),
        "{:?}",
        fake.lines()
    );
}

#[tokio::test]
async fn a_cut_upload_starts_again_where_it_cannot_go_on() {
    let content = Arc::new(noise(1_000));
    let fake = forgetful(content.clone(), false).await;
    let repository = fake.repository(Actions::PullPush);
    // Small content is kept, so that also a stream that can be read once is sent again.
    repository
        .push(&layer(&content), reader(&content))
        .await
        .unwrap();
    let log = fake.log();
    assert_eq!(
        log.iter()
            .filter(|request| request.method == "POST")
            .count(),
        2
    );
    assert!(log.last().unwrap().body == *content);
}

#[tokio::test]
async fn a_registry_that_resumes_wrongly_gets_all_again() {
    let content = Arc::new(noise(1_000));
    let fake = Fake::start(move |request| match request.method.as_str() {
        "PUT" if request.earlier == 0 => Reply::hang_up_after(500),
        "GET" if request.path.starts_with("/upload/1") => Reply::new(204).header("Range", "0-499"),
        "PATCH" => Reply::new(416),
        _ => accept(request),
    })
    .await;
    let repository = fake.repository(Actions::PullPush);
    repository
        .push(&layer(&content), reader(&content))
        .await
        .unwrap();
    let log = fake.log();
    let count = |method: &str| {
        log.iter()
            .filter(|request| request.method == method)
            .count()
    };
    assert_eq!(
        (count("PATCH"), count("POST"), count("PUT")),
        (1, 2, 2),
        "{:?}",
        fake.lines()
    );
    assert!(log.last().unwrap().body == *content);
}

#[tokio::test]
async fn a_cut_upload_of_a_single_stream_is_a_retryable_error() {
    let content = noise(LARGE);
    let fake = forgetful(Arc::new(content.clone()), true).await;
    let repository = fake.repository(Actions::PullPush);
    let error = repository
        .push(&layer(&content), reader(&content))
        .await
        .unwrap_err();
    let error = error.downcast_ref::<RegistryError>().unwrap();
    assert!(error.is_retryable(), "{error:?}");
    assert!(
        error.to_string().starts_with("PUT http://127.0.0.1:"),
        "{error}"
    );
}

#[tokio::test]
async fn other_content_is_not_pushed() {
    for size in [1_000, LARGE] {
        let content = noise(size);
        let blob = layer(&content);
        let mut wrong = content.clone();
        wrong[size - 1] ^= 1;
        let fake = Fake::start(accept).await;
        let repository = fake.repository(Actions::PullPush);
        for bad in [&wrong[..], &content[..size - 1]] {
            let error = repository.push(&blob, reader(bad)).await.unwrap_err();
            let error = error.downcast_ref::<RegistryError>().unwrap();
            let RegistryError::Content { source, .. } = error else {
                panic!("{error:?}");
            };
            assert!(
                source
                    .get_ref()
                    .is_some_and(|inner| inner.is::<VerifyError>()),
                "{source}"
            );
        }
    }
}

#[tokio::test]
async fn refusals_are_named_and_not_repeated() {
    let denied =
        r#"{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}"#;
    let fake = Fake::start(move |request| match request.method.as_str() {
        "POST" => Reply::new(403).body(denied),
        _ => accept(request),
    })
    .await;
    let repository = fake.repository(Actions::PullPush);
    let error = repository
        .push(&layer(b"x"), reader(b"x"))
        .await
        .unwrap_err();
    let expected = format!(
        "POST http://{}/v2/app/blobs/uploads/: 403 Forbidden: denied: \
        requested access to the resource is denied",
        fake.address
    );
    assert_eq!(error.to_string(), expected);
    assert_eq!(fake.log().len(), 2);
}

#[tokio::test]
async fn manifests_go_by_digest_then_by_tag() {
    let manifest = br#"{"schemaVersion":2,"layers":[]}"#;
    let descriptor = Descriptor::of(MediaType::DOCKER_MANIFEST, manifest);
    let fake = Fake::start(|request| match request.earlier {
        0 => Reply::new(503),
        _ => accept(request),
    })
    .await;
    let repository = fake.repository(Actions::PullPush);
    repository
        .push(&descriptor, reader(manifest))
        .await
        .unwrap();
    repository
        .tag(&descriptor, &fake.reference("app:v1"))
        .await
        .unwrap();
    let by_digest = format!("PUT /v2/app/manifests/{}", descriptor.digest);
    let by_tag = "PUT /v2/app/manifests/v1".to_owned();
    assert_eq!(
        fake.lines(),
        [by_digest.clone(), by_digest, by_tag.clone(), by_tag]
    );
    for request in fake.log() {
        assert_eq!(
            request.header("content-type"),
            MediaType::DOCKER_MANIFEST.as_str()
        );
        assert_eq!(request.body, manifest);
    }
}
