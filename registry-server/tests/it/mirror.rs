//! Another registry behind the server.

use mica_fixtures::{Call, Fault, MemoryRegistry};
use mica_oci::{ContractError, Reference};
use mica_registry_server::{Access, Upstream};
use reqwest::StatusCode;

use crate::world::{World, image, start};

/// A registry in memory as the one that is mirrored.
#[derive(Clone)]
struct Memory(MemoryRegistry);

impl Upstream for Memory {
    type Repository = MemoryRegistry;

    fn reference(&self, name: &str, tag: &str) -> Option<Reference> {
        format!("hub.example/{name}:{tag}").parse().ok()
    }

    fn repository(&self, _reference: &Reference) -> MemoryRegistry {
        self.0.clone()
    }

    fn status(&self, error: &ContractError) -> Option<u16> {
        error.to_string().contains("has no").then_some(404)
    }
}

async fn pull(world: &World, tag: &str, image: &mica_fixtures::TestImage) -> StatusCode {
    let reply = world.get(&format!("/v2/team/app/manifests/{tag}")).await;
    if reply.status() != StatusCode::OK {
        return reply.status();
    }
    let (_, blobs) = image.blobs.split_last().unwrap();
    let one = |index: usize| world.get_blob(&blobs[index % blobs.len()].0.digest);
    // Several clients ask for the same at a time.
    let all: Vec<_> = (0..blobs.len() * 4).map(one).collect();
    for (index, reply) in futures_util::future::join_all(all)
        .await
        .into_iter()
        .enumerate()
    {
        assert_eq!(reply.status(), StatusCode::OK);
        assert!(reply.bytes().await.unwrap() == blobs[index % blobs.len()].1);
    }
    StatusCode::OK
}

impl World {
    async fn get_blob(&self, digest: &mica_oci::Digest) -> reqwest::Response {
        self.get(&format!("/v2/team/app/blobs/{digest}")).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_fetched_once_and_kept() {
    let hub = MemoryRegistry::new();
    let image = image("x");
    hub.add(&image, "hub.example/team/app:v1");
    let world = start(Access::Read, None, Memory(hub.clone())).await;
    assert_eq!(pull(&world, "v1", &image).await, StatusCode::OK);
    for (descriptor, _) in &image.blobs {
        let fetch = Call::Fetch(descriptor.digest.clone());
        let fetched = hub.calls().iter().filter(|call| **call == fetch).count();
        assert_eq!(fetched, 1, "{descriptor:?}");
    }
    // The whole image is one of the store's now, and outlives the registry.
    let kept = world.store.find("hub.example/team/app:v1").unwrap();
    assert_eq!(kept.id(), image.config.digest());
    for number in hub.calls().len()..hub.calls().len() + 20 {
        hub.add_fault(Fault::RefuseCall(number));
    }
    assert_eq!(pull(&world, "v1", &image).await, StatusCode::OK);
    assert_eq!(pull(&world, "v2", &image).await, StatusCode::BAD_GATEWAY);
    hub.clear_faults();
    assert_eq!(pull(&world, "v2", &image).await, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_tag_is_seen() {
    let hub = MemoryRegistry::new();
    let (old, new) = (image("old"), image("new"));
    hub.add(&old, "hub.example/team/app:v1");
    let world = start(Access::Read, None, Memory(hub.clone())).await;
    assert_eq!(pull(&world, "v1", &old).await, StatusCode::OK);
    hub.add(&new, "hub.example/team/app:v1");
    assert_eq!(pull(&world, "v1", &new).await, StatusCode::OK);
    let kept = world.store.find("hub.example/team/app:v1").unwrap();
    assert_eq!(kept.id(), new.config.digest());
}
