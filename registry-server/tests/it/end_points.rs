//! What all end points have in common.

use mica_oci::Digest;
use mica_registry_server::{Access, Htpasswd, NoUpstream};
use reqwest::{Method, StatusCode};

use crate::world::{World, header, start, world};

/// All end points of the specification, of a repository, and the methods that each has.
fn end_points(name: &str) -> Vec<(String, &'static [Method])> {
    const READ: &[Method] = &[Method::GET, Method::HEAD];
    let digest = Digest::of(b"content");
    let of = |path: String, methods| (format!("/v2/{name}/{path}"), methods);
    vec![
        of(format!("blobs/{digest}"), READ),
        of(
            "manifests/v1".to_owned(),
            &[Method::GET, Method::HEAD, Method::PUT, Method::DELETE],
        ),
        of("blobs/uploads/".to_owned(), &[Method::POST]),
        of(
            "blobs/uploads/id".to_owned(),
            &[
                Method::GET,
                Method::HEAD,
                Method::PATCH,
                Method::PUT,
                Method::DELETE,
            ],
        ),
        of("tags/list".to_owned(), READ),
        of(format!("referrers/{digest}"), READ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_none_is_invalid() {
    let world = world().await;
    for name in ["Upper/case", "a//b", "-a", "a/b_"] {
        for (path, methods) in end_points(name) {
            for method in methods.iter().filter(|method| **method != Method::HEAD) {
                let request = world.request(method.clone(), &path);
                world.refuses(request, 400, "NAME_INVALID").await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_methods_are_unsupported() {
    let world = world().await;
    let all = [
        Method::GET,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
    ];
    let mut points = end_points("team/app");
    points.push(("/v2/".to_owned(), &[Method::GET]));
    points.push(("/v2/_catalog".to_owned(), &[Method::GET]));
    // A session is looked for first.
    let (id, location) = ("blobs/uploads/id", session(&world).await);
    for (path, methods) in points {
        let path = if path.ends_with(id) { &location } else { &path };
        for method in all.iter().filter(|method| !methods.contains(method)) {
            let request = world.request(method.clone(), path);
            world.refuses(request, 405, "UNSUPPORTED").await;
        }
    }
}

async fn session(world: &World) -> String {
    let reply = world
        .send(Method::POST, "/v2/team/app/blobs/uploads/")
        .await;
    header(&reply, "location").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_let_in_without_a_name() {
    let hash = bcrypt::hash("open sesame", 4).unwrap();
    let users = Htpasswd::parse(&format!("ada:{hash}")).unwrap();
    let world = start(Access::Delete, Some(users), NoUpstream).await;
    let mut points = end_points("team/app");
    points.push(("/v2/".to_owned(), &[Method::GET]));
    points.push(("/v2/_catalog".to_owned(), &[Method::GET]));
    for (path, methods) in points {
        for method in methods {
            let reply = world.send(method.clone(), &path).await;
            assert_eq!(reply.status(), StatusCode::UNAUTHORIZED, "{method} {path}");
            let challenge = header(&reply, "www-authenticate");
            assert!(challenge.starts_with("Basic realm="), "{challenge}");
            assert_eq!(
                header(&reply, "docker-distribution-api-version"),
                "registry/2.0"
            );
            if *method != Method::HEAD {
                world
                    .refuses(world.request(method.clone(), &path), 401, "UNAUTHORIZED")
                    .await;
            }
        }
    }
}
