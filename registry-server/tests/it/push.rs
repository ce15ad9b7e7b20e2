//! "Push".

use mica_fixtures::{TestImage, index};
use mica_oci::{Compression, Digest, Document, MediaType};
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::world::{World, artifact, header, image, start, world};
use mica_registry_server::{Access, NoUpstream};

const UPLOADS: &str = "/v2/team/app/blobs/uploads/";

async fn session(world: &World) -> String {
    let reply = world.send(Method::POST, UPLOADS).await;
    assert_eq!(reply.status(), StatusCode::ACCEPTED);
    header(&reply, "location").to_owned()
}

async fn is_there(world: &World, content: &[u8]) -> bool {
    let path = format!("/v2/team/app/blobs/{}", Digest::of(content));
    let reply = world.get(&path).await;
    reply.status() == StatusCode::OK && reply.bytes().await.unwrap() == content
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_is_put_after_a_post() {
    let world = world().await;
    for content in [&b"some content"[..], b""] {
        let location = session(&world).await;
        let digest = Digest::of(content);
        let put = world.request(Method::PUT, &format!("{location}?digest={digest}"));
        let reply = put.body(content).send().await.unwrap();
        assert_eq!(reply.status(), StatusCode::CREATED);
        let blob = format!("/v2/team/app/blobs/{digest}");
        assert_eq!(header(&reply, "location"), blob);
        assert!(is_there(&world, content).await);
        // The session is over.
        world
            .refuses(
                world.request(Method::GET, &location),
                404,
                "BLOB_UPLOAD_UNKNOWN",
            )
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_is_posted_whole() {
    let world = world().await;
    world.push_blob("team/app", b"at once").await;
    assert!(is_there(&world, b"at once").await);
    let path = format!("{UPLOADS}?digest={}", Digest::of(b"other"));
    let wrong = world.request(Method::POST, &path).body("content");
    world.refuses(wrong, 400, "DIGEST_INVALID").await;
    let none = world.request(Method::POST, &format!("{UPLOADS}?digest=sha256:1"));
    world.refuses(none, 400, "DIGEST_INVALID").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_comes_in_pieces_in_their_order() {
    let world = world().await;
    let content = b"first second third";
    let location = session(&world).await;
    let patch = |range: &str, piece: &'static [u8]| {
        let request = world.request(Method::PATCH, &location);
        request.header("Content-Range", range).body(piece).send()
    };
    let reply = patch("0-5", b"first ").await.unwrap();
    assert_eq!(reply.status(), StatusCode::ACCEPTED);
    assert_eq!(header(&reply, "range"), "0-5");
    let early = patch("13-17", b"third").await.unwrap();
    assert_eq!(early.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(header(&early, "range"), "0-5");
    for range in ["0-5", "first", "6", ""] {
        let wrong = patch(range, b"first ").await.unwrap();
        assert_eq!(wrong.status(), StatusCode::RANGE_NOT_SATISFIABLE, "{range}");
    }
    let short = world
        .request(Method::PATCH, &location)
        .header("Content-Range", "6-99")
        .body("short");
    world.refuses(short, 400, "SIZE_INVALID").await;
    let second = patch("6-12", b"second ").await.unwrap();
    assert_eq!(second.status(), StatusCode::ACCEPTED);
    let status = world.get(&location).await;
    assert_eq!(status.status(), StatusCode::NO_CONTENT);
    assert_eq!(header(&status, "range"), "0-12");
    assert!(header(&status, "location").contains("/blobs/uploads/"));
    // The last piece may come with the end.
    let digest = Digest::of(content);
    let put = |range: &str| {
        let put = world.request(Method::PUT, &format!("{location}?digest={digest}"));
        put.header("Content-Range", range).body("third").send()
    };
    let late = put("14-18").await.unwrap();
    assert_eq!(late.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    let reply = put("13-17").await.unwrap();
    assert_eq!(reply.status(), StatusCode::CREATED);
    assert!(is_there(&world, content).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_piece_may_come_without_a_range() {
    let world = world().await;
    let location = session(&world).await;
    let patch = world.request(Method::PATCH, &location).body("streamed");
    assert_eq!(patch.send().await.unwrap().status(), StatusCode::ACCEPTED);
    let digest = Digest::of(b"streamed");
    let reply = world
        .send(Method::PUT, &format!("{location}?digest={digest}"))
        .await;
    assert_eq!(reply.status(), StatusCode::CREATED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_with_the_right_digest_or_not_at_all() {
    let world = world().await;
    let location = session(&world).await;
    let digest = Digest::of(b"other");
    let wrong = world.request(Method::PUT, &format!("{location}?digest={digest}"));
    world
        .refuses(wrong.body("content"), 400, "DIGEST_INVALID")
        .await;
    assert!(!is_there(&world, b"content").await);
    let location = session(&world).await;
    world
        .refuses(world.request(Method::PUT, &location), 400, "DIGEST_INVALID")
        .await;
    let cancelled = world.send(Method::DELETE, &location).await;
    assert_eq!(cancelled.status(), StatusCode::NO_CONTENT);
    for method in [Method::GET, Method::PATCH, Method::DELETE] {
        world
            .refuses(world.request(method, &location), 404, "BLOB_UPLOAD_UNKNOWN")
            .await;
    }
    // A session is one of its repository.
    let other = session(&world).await.replace("team/app", "team/other");
    world
        .refuses(
            world.request(Method::PATCH, &other),
            404,
            "BLOB_UPLOAD_UNKNOWN",
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_is_mounted_or_asked_for() {
    let world = world().await;
    world.push_blob("base", b"layer").await;
    let mount = |digest: Digest| format!("{UPLOADS}?mount={digest}&from=base");
    let reply = world.send(Method::POST, &mount(Digest::of(b"layer"))).await;
    assert_eq!(reply.status(), StatusCode::CREATED);
    let blob = format!("/v2/team/app/blobs/{}", Digest::of(b"layer"));
    assert_eq!(header(&reply, "location"), blob);
    let alone = format!("{UPLOADS}?mount={}", Digest::of(b"layer"));
    let reply = world.send(Method::POST, &alone).await;
    assert_eq!(reply.status(), StatusCode::CREATED);
    let unfit = [
        mount(Digest::of(b"nothing")),
        format!("{UPLOADS}?mount={}", Digest::of(b"nothing")),
        format!("{UPLOADS}?mount=sha256:1&from=base"),
    ];
    for path in unfit {
        let reply = world.send(Method::POST, &path).await;
        assert_eq!(reply.status(), StatusCode::ACCEPTED, "{path}");
        assert!(header(&reply, "location").contains("/blobs/uploads/"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_bounded() {
    const MOST: usize = 512;
    let world = world().await;
    let mut first = None;
    for _ in 0..MOST {
        first.get_or_insert(session(&world).await);
    }
    let post = || world.request(Method::POST, UPLOADS);
    world.refuses(post(), 429, "TOOMANYREQUESTS").await;
    world.send(Method::DELETE, &first.unwrap()).await;
    session(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_needs_no_layers() {
    let world = world().await;
    let image = TestImage::new(&[], Compression::Gzip);
    world.push_image("team/app", "v1", &image).await;
    let reply = world.get("/v2/team/app/manifests/v1").await;
    assert_eq!(reply.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_becomes_an_image_of_the_store() {
    let world = world().await;
    let image = image("x");
    world.push_image("team/app", "v1", &image).await;
    let found = world.store.find("team/app:v1").unwrap();
    assert_eq!(found.id(), image.config.digest());
    assert_eq!(world.store.unpack(&found).unwrap().layers.len(), 2);
    let digest = image.manifest.digest();
    let reply = world
        .put_manifest("team/app", digest.as_str(), &image.manifest)
        .await;
    assert_eq!(reply.status(), StatusCode::CREATED);
    assert_eq!(header(&reply, "docker-content-digest"), digest.as_str());
    let location = format!("/v2/team/app/manifests/{digest}");
    assert_eq!(header(&reply, "location"), location);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_comes_after_its_manifests() {
    let world = world().await;
    let (one, two) = (image("x"), image("y"));
    let index = index(&[&one, &two]);
    let early = world.put_manifest("team/app", "all", &index).await;
    assert_eq!(early.status(), StatusCode::NOT_FOUND);
    for image in [&one, &two] {
        world
            .push_image("team/app", image.manifest.digest().as_str(), image)
            .await;
    }
    let reply = world.put_manifest("team/app", "all", &index).await;
    assert_eq!(reply.status(), StatusCode::CREATED);
    // Its manifests are no images without a name now.
    let entries = world.store.images().unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].target.digest, *index.digest());
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_that_are_none_are_refused() {
    let world = world().await;
    let image = image("x");
    let put = |object: &str, kind: &'static str, body: Vec<u8>| {
        let path = format!("/v2/team/app/manifests/{object}");
        world
            .request(Method::PUT, &path)
            .header("Content-Type", kind)
            .body(body)
    };
    const KIND: &str = "application/vnd.oci.image.manifest.v1+json";
    let raw = image.manifest.raw().to_vec();
    world
        .refuses(put("v1", KIND, raw.clone()), 404, "MANIFEST_BLOB_UNKNOWN")
        .await;
    world.push_image("team/app", "v0", &image).await;
    world
        .refuses(put("v1", KIND, b"{".to_vec()), 400, "MANIFEST_INVALID")
        .await;
    world
        .refuses(
            put("v1", "text/plain", raw.clone()),
            400,
            "MANIFEST_INVALID",
        )
        .await;
    let none = json!({ "schemaVersion": 2 }).to_string().into_bytes();
    world
        .refuses(put("v1", KIND, none), 400, "MANIFEST_INVALID")
        .await;
    let other = Digest::of(b"other").to_string();
    world
        .refuses(put(&other, KIND, raw.clone()), 400, "DIGEST_INVALID")
        .await;
    world
        .refuses(put(".bad", KIND, raw), 400, "TAG_INVALID")
        .await;
    let long = vec![b' '; (4 << 20) + 1];
    let reply = put("v1", KIND, long).send().await.unwrap();
    assert_eq!(reply.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subject_is_confirmed_even_where_it_is_missing() {
    let world = world().await;
    let image = image("x");
    let (manifest, _) = artifact("application/x-signature", Some(image.manifest.descriptor()));
    world.push_blob("team/app", b"{}").await;
    let reply = world
        .put_manifest("team/app", manifest.digest().as_str(), &manifest)
        .await;
    assert_eq!(reply.status(), StatusCode::CREATED);
    assert_eq!(
        header(&reply, "oci-subject"),
        image.manifest.digest().as_str()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_registry_takes_nothing() {
    let world = start(Access::Read, None, NoUpstream).await;
    let manifest: Document<serde_json::Value> =
        Document::encode(MediaType::OCI_MANIFEST, json!({}));
    let put = world.put_manifest("a", "v1", &manifest).await;
    assert_eq!(put.status(), StatusCode::METHOD_NOT_ALLOWED);
    world
        .refuses(world.request(Method::POST, UPLOADS), 405, "UNSUPPORTED")
        .await;
    let delete = world.request(Method::DELETE, "/v2/a/manifests/v1");
    world.refuses(delete, 405, "UNSUPPORTED").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_upload_keeps_what_came() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let world = world().await;
    let location = session(&world).await;
    let mut stream = tokio::net::TcpStream::connect(&world.address)
        .await
        .unwrap();
    let head = format!("PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nbegin");
    stream.write_all(head.as_bytes()).await.unwrap();
    // The server has read to the end of the stream when it closes its own side.
    stream.shutdown().await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    assert!(
        reply.contains(" 400 ") && reply.contains("BLOB_UPLOAD_INVALID"),
        "{reply}"
    );
    let status = world.get(&location).await;
    assert_eq!(status.status(), StatusCode::NO_CONTENT);
    assert_eq!(header(&status, "range"), "0-4");
}
