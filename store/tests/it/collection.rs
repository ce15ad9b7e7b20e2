//! Garbage collection.

use std::fs;

use mica_fixtures::MemoryRegistry;
use mica_oci::{ChainId, Compression, Platform, Reference};
use mica_store::{Collected, Image, Store, pull, push};
use serde_json::json;

use super::{TestStore, check_complete, image, make_image, name, temporaries, visible};

fn chain(image: &Image) -> ChainId {
    image.config.value().chain_id().unwrap()
}

async fn pulled(store: &Store, reference: &Reference) -> Image {
    let registry = MemoryRegistry::new();
    registry.add(&image(Compression::Gzip), &reference.to_string());
    pull(store, &registry, reference, &Platform::host(), &())
        .await
        .unwrap()
}

#[tokio::test]
async fn what_a_name_leads_to_stays() {
    let store = TestStore::new();
    let image = pulled(&store, &name("app")).await;
    let made = make_image(&store, "text", "made");
    push(
        &store.store,
        &made.target,
        &MemoryRegistry::new(),
        &name("made"),
        &(),
    )
    .await
    .unwrap();
    store.keep_untagged(&made.target).unwrap();
    let before = visible(&store);
    assert_eq!(store.collect().unwrap(), Collected::default());
    assert_eq!(visible(&store), before);
    check_complete(&store).await;

    store.untag(&name("app")).unwrap();
    let collected = store.collect().unwrap();
    assert_eq!(
        collected.blobs.len(),
        4,
        "a manifest, a configuration, two layers"
    );
    assert_eq!(collected.layers.len(), 2);
    assert!(collected.bytes > 2048);
    assert!(store.layer(&chain(&image)).unwrap().is_none());
    assert_eq!(store.repository_digests(image.id()).unwrap(), [""; 0]);
    assert_eq!(store.repository_digests(made.id()).unwrap().len(), 1);
    check_complete(&store).await;

    store.remove_image(&made.target).unwrap();
    store.collect().unwrap();
    assert_eq!(visible(&store), [""; 0]);
    assert_eq!(temporaries(&store), 0);
}

#[tokio::test]
async fn builds_keep_their_layers() {
    let store = TestStore::new();
    let image = pulled(&store, &name("app")).await;
    let value = json!({"layers": [chain(&image)], "more": true}).to_string();
    store.records().put("build", "key", &value).unwrap();
    store.records().put("build", "broken", "no JSON").unwrap();
    store.untag(&name("app")).unwrap();
    let collected = store.collect().unwrap();
    assert_eq!(collected.layers, [], "a chain keeps its parents");
    assert_eq!(collected.blobs.len(), 4);
    store.records().remove_all("build").unwrap();
    assert_eq!(store.collect().unwrap().layers.len(), 2);
}

#[test]
fn nobody_is_collected_while_they_work() {
    let store = TestStore::new();
    let image = make_image(&store, "text", "app");
    store.remove_image(&image.target).unwrap();
    let before = visible(&store);
    {
        let _hold = store.again().hold().unwrap();
        assert!(store.collect().unwrap().skipped);
        assert_eq!(visible(&store), before);
    }
    assert!(!store.collect().unwrap().skipped);
    assert_eq!(visible(&store), [""; 0]);
}

#[test]
fn temporaries_of_the_dead_go_and_those_of_the_living_stay() {
    let store = TestStore::new();
    let layer = store.new_layer().unwrap();
    let dead = store.root().join("tmp/layer-dead");
    fs::create_dir(&dead).unwrap();
    fs::write(dead.join("file"), b"x").unwrap();
    fs::write(store.root().join("tmp/blob-dead"), b"x").unwrap();
    store.collect().unwrap();
    assert!(layer.path().exists());
    assert_eq!(temporaries(&store), 1);
}

#[test]
fn nothing_is_removed_when_a_root_cannot_be_read() {
    let store = TestStore::new();
    let kept = make_image(&store, "kept", "kept");
    let lost = make_image(&store, "lost", "lost");
    store.untag(&name("lost")).unwrap();
    fs::remove_file(store.blob_path(kept.id())).unwrap();
    assert!(store.collect().is_err());
    assert!(store.has_blob(lost.id()));
}
