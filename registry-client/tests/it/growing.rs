//! Pushes of what is still being made.

use std::io::Cursor;
use std::time::Duration;

use mica_oci::{BlobReader, ContractError, Descriptor, Digest, Growing, Push};
use mica_registry_client::{Actions, RegistryConfig, RegistryError};
use tokio::sync::watch;

use crate::download::{layer, noise};
use crate::fake::{Fake, Reply, Request, quick};

const PIECE: usize = 1 << 20;

/// Content of which three pieces and a half are there at first, and all when the registry has been
/// sent so many requests with content.
struct Made {
    content: Vec<u8>,
    origin: Digest,
    sent: watch::Receiver<usize>,
    wanted: usize,
}

impl Growing for Made {
    fn origin(&self) -> &Digest {
        &self.origin
    }

    async fn wait_for(&self, length: u64) -> Result<Option<Descriptor>, ContractError> {
        if length <= (3 * PIECE + PIECE / 2) as u64 {
            return Ok(None);
        }
        let mut sent = self.sent.clone();
        let enough = sent.wait_for(|sent| *sent >= self.wanted);
        tokio::time::timeout(Duration::from_secs(60), enough).await??;
        Ok(Some(layer(&self.content)))
    }

    async fn open(&self, offset: u64) -> Result<BlobReader, ContractError> {
        let rest = self.content[usize::try_from(offset)?..].to_vec();
        Ok(Box::pin(Cursor::new(rest)))
    }
}

/// Pushes content that is whole after `wanted` requests, to a registry that answers with `script`.
async fn push(
    wanted: usize,
    script: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static,
) -> (Result<Descriptor, ContractError>, Fake, Vec<u8>) {
    let (count, sent) = watch::channel(0);
    let fake = Fake::start(move |request| {
        let reply = script(request).unwrap_or_else(|| accept(request));
        if matches!(request.method.as_str(), "PATCH" | "PUT") {
            count.send_modify(|count| *count += 1);
        }
        reply
    })
    .await;
    let content = noise(5 * PIECE + 17);
    let made = Made {
        origin: Digest::of(b"files"),
        content: content.clone(),
        sent,
        wanted,
    };
    let config = RegistryConfig {
        upload_chunk: PIECE as u64,
        ..quick()
    };
    let repository = fake.repository_with(config, Actions::PullPush);
    // Spawned, as a caller may: the future must be Send.
    let pushing = tokio::spawn(async move { repository.push_growing(&made).await });
    (pushing.await.unwrap(), fake, content)
}

fn accept(request: &Request) -> Reply {
    match request.method.as_str() {
        "HEAD" => Reply::new(404),
        "POST" => Reply::new(202).header("Location", "/upload/0"),
        "PATCH" => Reply::new(202).header("Location", format!("/upload/{}", request.earlier + 1)),
        "PUT" => Reply::new(201),
        "DELETE" => Reply::new(204),
        _ => Reply::new(404),
    }
}

fn methods(fake: &Fake) -> Vec<String> {
    fake.log()
        .into_iter()
        .map(|request| request.method)
        .collect()
}

fn bodies(fake: &Fake, method: &str) -> Vec<u8> {
    let log = fake.log().into_iter();
    log.filter(|request| request.method == method)
        .flat_map(|request| request.body)
        .collect()
}

#[tokio::test]
async fn pieces_go_before_the_end_is_made() {
    let (pushed, fake, content) = push(3, |_| None).await;
    assert_eq!(pushed.unwrap(), layer(&content));
    let expected = [
        "POST", "PATCH", "PATCH", "PATCH", "PATCH", "PATCH", "PATCH", "PUT",
    ];
    assert_eq!(methods(&fake), expected);
    assert!(bodies(&fake, "PATCH") == content);
    let digest = layer(&content).digest.to_string().replace(':', "%3A");
    assert!(fake.lines().last().unwrap().ends_with(&digest));
}

#[tokio::test]
async fn a_cut_piece_goes_on_where_the_registry_says() {
    let (pushed, fake, content) = push(4, |request| match request.method.as_str() {
        "PATCH"
            if request
                .header("content-range")
                .starts_with(&format!("{PIECE}-")) =>
        {
            Some(Reply::hang_up_after(PIECE / 2))
        }
        "GET" => Some(
            Reply::new(204)
                .header("Location", "/upload/again")
                .header("Range", format!("0-{}", PIECE + PIECE / 2 - 1)),
        ),
        _ => None,
    })
    .await;
    assert_eq!(pushed.unwrap(), layer(&content));
    let next = PIECE + PIECE / 2;
    let ranges: Vec<_> = fake.log();
    let after = ranges
        .iter()
        .find(|request| request.path == "/upload/again" && request.method == "PATCH");
    let range = format!("{next}-{}", next + PIECE - 1);
    assert_eq!(after.unwrap().header("content-range"), range);
}

#[tokio::test]
async fn a_refusal_on_the_way_is_asked_again() {
    let second = format!("{PIECE}-");
    let (pushed, fake, content) = push(4, move |request| match request.method.as_str() {
        "PATCH" if request.header("content-range").starts_with(&second) => {
            (request.earlier == 0).then(|| Reply::new(401))
        }
        "GET" => Some(
            Reply::new(204)
                .header("Location", request.path.clone())
                .header("Range", format!("0-{}", PIECE - 1)),
        ),
        _ => None,
    })
    .await;
    assert_eq!(pushed.unwrap(), layer(&content));
    let begun = methods(&fake).iter().filter(|it| *it == "POST").count();
    assert_eq!(begun, 1, "{:?}", fake.lines());
}

#[tokio::test]
async fn a_registry_without_pieces_gets_all_at_the_end() {
    let (pushed, fake, content) = push(1, |request| {
        (request.method == "PATCH").then(|| Reply::new(405))
    })
    .await;
    assert_eq!(pushed.unwrap(), layer(&content));
    assert!(
        fake.log().last().unwrap().body == content,
        "{:?}",
        fake.lines()
    );
}

#[tokio::test]
async fn a_refusal_does_not_wait_for_the_end() {
    // It never is whole: no request with content comes.
    let (pushed, _, _) = push(1, |request| {
        (request.method == "POST").then(|| Reply::new(403))
    })
    .await;
    let error = pushed.unwrap_err();
    let error = error.downcast_ref::<RegistryError>().unwrap();
    assert_eq!(error.status(), Some(403), "{error}");
}
