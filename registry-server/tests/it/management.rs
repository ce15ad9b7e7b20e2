//! "Content management", where it is enabled.

use reqwest::{Method, StatusCode};

use crate::world::{image, start, world};
use mica_registry_server::{Access, NoUpstream};

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_is_deleted_alone() {
    let world = world().await;
    let image = image("x");
    for tag in ["v1", "v2"] {
        world.push_image("team/app", tag, &image).await;
    }
    let path = "/v2/team/app/manifests/v1";
    let deleted = world.send(Method::DELETE, path).await;
    assert_eq!(deleted.status(), StatusCode::ACCEPTED);
    world
        .refuses(world.request(Method::GET, path), 404, "MANIFEST_UNKNOWN")
        .await;
    world
        .refuses(world.request(Method::DELETE, path), 404, "MANIFEST_UNKNOWN")
        .await;
    let other = world.get("/v2/team/app/manifests/v2").await;
    assert_eq!(other.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_is_deleted_with_its_tags() {
    let world = world().await;
    let image = image("x");
    world.push_image("team/app", "v1", &image).await;
    let path = format!("/v2/team/app/manifests/{}", image.manifest.digest());
    let deleted = world.send(Method::DELETE, &path).await;
    assert_eq!(deleted.status(), StatusCode::ACCEPTED);
    let tag = world.request(Method::GET, "/v2/team/app/manifests/v1");
    world.refuses(tag, 404, "MANIFEST_UNKNOWN").await;
    world
        .refuses(
            world.request(Method::DELETE, &path),
            404,
            "MANIFEST_UNKNOWN",
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_names_nothing_is_not_deleted() {
    let world = world().await;
    world.push_image("team/app", "v1", &image("x")).await;
    for (path, status, code) in [
        ("/v2/team/app/manifests/.NO_TAG", 404, "MANIFEST_UNKNOWN"),
        ("/v2/team/app/manifests/sha256:1", 400, "DIGEST_INVALID"),
        ("/v2/team/app/blobs/sha256:1", 400, "DIGEST_INVALID"),
    ] {
        world
            .refuses(world.request(Method::DELETE, path), status, code)
            .await;
    }
    // Blobs are the store's, which removes those that no image needs.
    let blob = format!("/v2/team/app/blobs/{}", image("x").config.digest());
    world
        .refuses(world.request(Method::DELETE, &blob), 405, "UNSUPPORTED")
        .await;
    assert_eq!(world.get(&blob).await.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_push_may_not_delete() {
    let world = start(Access::Push, None, NoUpstream).await;
    world.push_image("team/app", "v1", &image("x")).await;
    let path = "/v2/team/app/manifests/v1";
    world
        .refuses(world.request(Method::DELETE, path), 405, "UNSUPPORTED")
        .await;
    let blob = format!("/v2/team/app/blobs/{}", image("x").config.digest());
    world
        .refuses(world.request(Method::DELETE, &blob), 405, "UNSUPPORTED")
        .await;
}
