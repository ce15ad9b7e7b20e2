//! Blobs on a bad day.

use std::sync::Arc;

use mica_oci::{Descriptor, Fetch, MediaType, VerifyError};
use mica_registry_client::{Actions, ConnectFailure, Hint, RegistryError};
use tokio::io::AsyncReadExt;

use crate::fake::{Fake, Reply, Request};

/// Bytes that differ from place to place, so that a resume at a wrong offset shows.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut next = || {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 33) as u8
    };
    (0..length).map(|_| next()).collect()
}

pub(crate) fn layer(content: &[u8]) -> Descriptor {
    Descriptor::of(MediaType::OCI_LAYER_GZIP, content)
}

/// Serves a blob, with `Range` where `ranges` says so.
fn serve(content: &[u8], request: &Request, ranges: bool) -> Reply {
    let range = request.header("range").strip_prefix("bytes=");
    let start = range.and_then(|range| range.strip_suffix('-')?.parse::<usize>().ok());
    match start.filter(|_| ranges) {
        None => Reply::new(200).body(content),
        Some(start) if start >= content.len() => Reply::new(416),
        Some(start) => {
            let range = format!("bytes {start}-{}/{}", content.len() - 1, content.len());
            Reply::new(206)
                .header("Content-Range", range)
                .body(&content[start..])
        }
    }
}

/// Fetches a blob from a server with this script.
async fn fetch(
    descriptor: &Descriptor,
    script: impl Fn(&Request) -> Reply + Send + Sync + 'static,
) -> (
    Fake,
    Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>>,
) {
    let fake = Fake::start(script).await;
    let result = read(&fake, descriptor).await;
    (fake, result)
}

async fn read(
    fake: &Fake,
    descriptor: &Descriptor,
) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
    let mut content = Vec::new();
    let mut reader = fake.repository(Actions::Pull).fetch(descriptor).await?;
    tokio::io::copy(&mut reader, &mut content).await?;
    Ok(content)
}

#[tokio::test]
async fn a_cut_download_goes_on_where_it_stopped() {
    let content = Arc::new(noise(300_000));
    let blob = layer(&content);
    for ranges in [true, false] {
        let served = content.clone();
        let (fake, result) = fetch(&blob, move |request| {
            let reply = serve(&served, request, ranges);
            // Cut twice, at odd places; a server without ranges starts again at the beginning.
            match request.earlier {
                0 => reply.cut_at(70_001),
                1 => reply.cut_at(120_003),
                _ => reply,
            }
        })
        .await;
        assert!(result.unwrap() == *content, "ranges: {ranges}");
        let asked: Vec<_> = fake
            .log()
            .iter()
            .map(|r| r.header("range").to_owned())
            .collect();
        let second = if ranges {
            "bytes=190004-"
        } else {
            "bytes=120003-"
        };
        assert_eq!(asked, ["", "bytes=70001-", second]);
    }
}

#[tokio::test]
async fn a_download_that_never_moves_on_ends() {
    let content = noise(10_000);
    let blob = layer(&content);
    let (fake, result) = fetch(&blob, move |request| {
        serve(&content, request, true).cut_at(0)
    })
    .await;
    assert_eq!(fake.log().len(), 4);
    // The same for an answer that is announced with another length.
    let (fake_empty, empty) = fetch(&blob, |_| Reply::new(200)).await;
    assert_eq!(fake_empty.log().len(), 4);
    let error = empty.unwrap_err().to_string();
    assert!(error.contains("another length"), "{error}");
    let error = result.unwrap_err().to_string();
    assert!(error.contains("broke off at byte 0"), "{error}");
    assert!(error.contains(&format!("{}/app", fake.address)), "{error}");
}

#[tokio::test]
async fn other_content_is_refused() {
    let content = noise(5_000);
    let blob = layer(&content);
    let mut wrong = content.clone();
    wrong[4_999] ^= 1;
    let mut longer = content.clone();
    longer.push(0);
    let (_fake, result) = fetch(&blob, move |request| serve(&wrong, request, true)).await;
    let error = result.unwrap_err();
    let error = error.downcast_ref::<std::io::Error>().expect("a reader's");
    let verify = error.get_ref().and_then(|inner| inner.downcast_ref());
    let text = verify.map(VerifyError::to_string).unwrap_or_default();
    assert!(text.contains("has digest"), "{text:?}");
    for served in [content[..4_000].to_vec(), longer] {
        let (_fake, result) = fetch(&blob, move |request| serve(&served, request, true)).await;
        let error = result.unwrap_err().to_string();
        assert!(error.contains("another length"), "{error}");
    }
}

#[tokio::test]
async fn a_wrong_range_is_refused() {
    let content = noise(5_000);
    let blob = layer(&content);
    let (_fake, result) = fetch(&blob, move |request| match request.earlier {
        0 => Reply::new(200).body(&content[..]).cut_at(100),
        _ => Reply::new(206)
            .header("Content-Range", "bytes 0-4999/5000")
            .body(&content[..]),
    })
    .await;
    let error = format!("{:?}", result.unwrap_err());
    assert!(error.contains("Range"), "{error}");
}

#[tokio::test]
async fn a_busy_registry_is_asked_again() {
    let content = Arc::new(noise(1_000));
    let blob = layer(&content);
    for status in [429, 500, 502, 503, 504] {
        let served = content.clone();
        let (fake, result) = fetch(&blob, move |request| match request.earlier {
            0 | 1 => Reply::new(status).header("Retry-After", 0),
            _ => serve(&served, request, true),
        })
        .await;
        assert!(result.unwrap() == *content, "{status}");
        assert_eq!(fake.log().len(), 3, "{status}");
    }
}

#[tokio::test]
async fn a_registry_that_wants_too_long_a_wait_is_given_up() {
    let blob = layer(b"x");
    let busy = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}"#;
    let (fake, result) = fetch(&blob, move |_| {
        Reply::new(429).header("Retry-After", 3600).body(busy)
    })
    .await;
    assert_eq!(fake.log().len(), 1);
    let error = result.unwrap_err();
    let error = error.downcast_ref::<RegistryError>().unwrap();
    assert!(error.is_retryable());
    let expected = format!(
        "GET http://{}/v2/app/blobs/{}: 429 Too Many Requests: toomanyrequests: slow down",
        fake.address, blob.digest
    );
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn a_redirect_to_another_host_takes_no_credentials_along() {
    let content = Arc::new(noise(2_000));
    let blob = layer(&content);
    let served = content.clone();
    let store = Fake::start(move |request| match request.earlier {
        0 => serve(&served, request, true).cut_at(500),
        _ => serve(&served, request, true),
    })
    .await;
    let target = format!("http://{}/bucket/object?signature=abc", store.address);
    let registry = Fake::start(move |request| match request.header("authorization") {
        "" => Reply::new(401).header("WWW-Authenticate", "Basic realm=\"r\""),
        _ => Reply::new(307).header("Location", &target),
    })
    .await;
    let repository = crate::authentication::with_basic(&registry, "ada", "pw");
    let mut reader = repository.fetch(&blob).await.unwrap();
    let mut read = Vec::new();
    reader.read_to_end(&mut read).await.unwrap();
    assert!(read == *content);
    let asked = store.log();
    assert_eq!(asked.len(), 2);
    for request in &asked {
        assert!(
            !request.headers.contains_key("authorization"),
            "{request:?}"
        );
    }
    assert_eq!(asked[1].header("range"), "bytes=500-");
}

#[tokio::test]
async fn nobody_there_is_told_at_once() {
    let address = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let registry = mica_registry_client::Registry::new(crate::fake::quick()).unwrap();
    let reference = format!("{address}/app").parse().unwrap();
    let repository = registry.repository(&reference, Actions::Pull);
    let error = repository.manifest(&reference).await.unwrap_err();
    let RegistryError::Connect { failure, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(*failure, ConnectFailure::Refused);
    assert_eq!(error.hint(), Some(Hint::Unreachable));
    assert_eq!(
        error.to_string(),
        format!("GET http://{address}/v2/: connection refused")
    );
}
