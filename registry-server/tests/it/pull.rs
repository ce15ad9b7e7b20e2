//! "Pull".

use mica_oci::Digest;
use reqwest::{Method, StatusCode};

use crate::world::{header, image, start, world};
use mica_registry_server::{Access, Htpasswd, NoUpstream};

#[tokio::test(flavor = "multi_thread")]
async fn the_base_answers() {
    let world = world().await;
    for path in ["/v2/", "/v2"] {
        assert_eq!(world.get(path).await.status(), StatusCode::OK);
    }
    world
        .refuses(world.request(Method::GET, "/v1/"), 404, "NOT_FOUND")
        .await;
    world
        .refuses(world.request(Method::POST, "/v2/"), 405, "UNSUPPORTED")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_are_read_by_tag_and_by_digest() {
    let world = world().await;
    let image = image("x");
    world.push_image("team/app", "v1", &image).await;
    let digest = image.manifest.digest();
    for object in ["v1", digest.as_str()] {
        let path = format!("/v2/team/app/manifests/{object}");
        for method in [Method::GET, Method::HEAD] {
            let reply = world.send(method.clone(), &path).await;
            assert_eq!(reply.status(), StatusCode::OK, "{method} {path}");
            assert_eq!(header(&reply, "docker-content-digest"), digest.as_str());
            let media_type = image.manifest.descriptor().media_type.as_str();
            assert_eq!(header(&reply, "content-type"), media_type);
            let length = image.manifest.raw().len().to_string();
            assert_eq!(header(&reply, "content-length"), length);
            let body = reply.bytes().await.unwrap();
            let expected = if method == Method::GET {
                &image.manifest.raw()[..]
            } else {
                b""
            };
            assert_eq!(&body[..], expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_manifests_are_not_found() {
    let world = world().await;
    let digest = Digest::of(b"nothing");
    for object in ["v9", digest.as_str(), ".NO_TAG"] {
        let path = format!("/v2/team/none/manifests/{object}");
        world
            .refuses(world.request(Method::GET, &path), 404, "MANIFEST_UNKNOWN")
            .await;
        let head = world.send(Method::HEAD, &path).await;
        assert_eq!(head.status(), StatusCode::NOT_FOUND);
    }
    let bad = "/v2/team/none/manifests/sha256:nonsense";
    world
        .refuses(world.request(Method::GET, bad), 400, "DIGEST_INVALID")
        .await;
    let bad = "/v2/Upper/Case/manifests/latest";
    world
        .refuses(world.request(Method::GET, bad), 400, "NAME_INVALID")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_are_read_whole_and_in_ranges() {
    let world = world().await;
    let content: Vec<u8> = (0..600_000u32).map(|n| (n % 251) as u8).collect();
    world.push_blob("a", &content).await;
    let digest = Digest::of(&content);
    let path = format!("/v2/a/blobs/{digest}");
    let whole = world.get(&path).await;
    assert_eq!(whole.status(), StatusCode::OK);
    assert_eq!(header(&whole, "docker-content-digest"), digest.as_str());
    assert!(whole.bytes().await.unwrap() == content);
    let head = world.send(Method::HEAD, &path).await;
    assert_eq!(
        (head.status(), header(&head, "content-length")),
        (StatusCode::OK, "600000")
    );
    let cases = [
        ("bytes=5-9", 206, "bytes 5-9/600000", 5..10),
        (
            "bytes=599990-",
            206,
            "bytes 599990-599999/600000",
            599_990..600_000,
        ),
        (
            "bytes=-3",
            206,
            "bytes 599997-599999/600000",
            599_997..600_000,
        ),
        ("bytes=600000-", 416, "bytes */600000", 0..0),
    ];
    for (range, status, announced, part) in cases {
        let request = world.request(Method::GET, &path).header("Range", range);
        let reply = request.send().await.unwrap();
        assert_eq!(reply.status().as_u16(), status, "{range}");
        assert_eq!(header(&reply, "content-range"), announced);
        if status == 206 {
            assert!(reply.bytes().await.unwrap() == content[part]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_blobs_are_not_found() {
    let world = world().await;
    let path = format!("/v2/a/blobs/{}", Digest::of(b"nothing"));
    world
        .refuses(world.request(Method::GET, &path), 404, "BLOB_UNKNOWN")
        .await;
    let head = world.send(Method::HEAD, &path).await;
    assert_eq!(head.status(), StatusCode::NOT_FOUND);
    let bad = "/v2/a/blobs/sha256:1";
    world
        .refuses(world.request(Method::GET, bad), 400, "DIGEST_INVALID")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_must_say_who_they_are() {
    // "open sesame"
    let hash = bcrypt::hash("open sesame", 4).unwrap();
    let users = Htpasswd::parse(&format!("ada:{hash}")).unwrap();
    let world = start(Access::Read, Some(users), NoUpstream).await;
    let anonymous = world.get("/v2/").await;
    assert_eq!(anonymous.status(), StatusCode::UNAUTHORIZED);
    assert!(header(&anonymous, "www-authenticate").starts_with("Basic realm="));
    for (password, status) in [("open sesame", 200), ("guess", 401)] {
        let request = world.request(Method::GET, "/v2/");
        let reply = request
            .basic_auth("ada", Some(password))
            .send()
            .await
            .unwrap();
        assert_eq!(reply.status().as_u16(), status);
    }
}
