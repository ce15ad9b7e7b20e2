//! Check and repair.

use std::fs;

use mica_fixtures::MemoryRegistry;
use mica_oci::{ChainId, Compression, Digest, Platform};
use mica_store::{Depth, Image, Missing, Problem, Repaired, Store, pull};

use super::{TestStore, check_complete, image, make_image, name};

async fn pulled(store: &Store) -> Image {
    let registry = MemoryRegistry::new();
    registry.add(&image(Compression::Gzip), "app");
    pull(store, &registry, &name("app"), &Platform::host(), &())
        .await
        .unwrap()
}

fn blob(image: &Image, layer: usize) -> Digest {
    image.manifest.value().layers[layer].digest.clone()
}

fn chain(image: &Image) -> ChainId {
    image.config.value().chain_id().unwrap()
}

/// Flips a bit in the middle of a file.
fn damage(path: &std::path::Path) {
    let mut content = fs::read(path).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    fs::write(path, content).unwrap();
}

#[tokio::test]
async fn a_whole_store_has_no_problems() {
    let store = TestStore::new();
    pulled(&store).await;
    make_image(&store, "text", "made");
    for depth in [Depth::Presence, Depth::Content] {
        let report = store.check(depth).unwrap();
        assert!(report.is_clean(), "{report:?}");
        assert_eq!((report.layers, report.images), (3, 2));
        assert_eq!(report.blobs, 6, "two images' documents, two layers");
        assert_eq!(report.unverified, []);
        assert_eq!(report.leftovers, Some(Vec::new()));
    }
}

#[tokio::test]
async fn a_damaged_layer_blob_is_named_and_its_files_are_kept() {
    let store = TestStore::new();
    let image = pulled(&store).await;
    let lost = blob(&image, 1);
    damage(&store.blob_path(&lost));
    let report = store.check(Depth::Presence).unwrap();
    assert!(
        matches!(&report.problems[0], Problem::Blob { digest, .. } if *digest == lost),
        "{report:?}"
    );
    assert!(
        matches!(&report.problems[1], Problem::Image { missing: Missing::Blob(digest), .. } if *digest == lost),
        "{report:?}"
    );
    assert_eq!(report.problems.len(), 2);
    let dropped = store.drop_broken(&report).unwrap();
    assert_eq!(dropped, [Repaired::DroppedBlob(lost)]);
    assert_eq!(store.incomplete().unwrap().len(), 1);
    // Our tar of these files is another one than the fixture's: the image cannot be kept whole.
    let done = store.repair().unwrap();
    assert!(
        matches!(
            &done[..],
            [Repaired::Rewritten(..)] | [Repaired::DroppedImage(..)]
        ),
        "{done:?}"
    );
    assert!(store.check(Depth::Content).unwrap().is_clean());
    check_complete(&store).await;
}

#[tokio::test]
async fn a_layer_that_was_made_here_outlives_its_compressed_blob() {
    let store = TestStore::new();
    let made = make_image(&store, "text", "made");
    let registry = MemoryRegistry::new();
    mica_store::push(&store.store, &made.target, &registry, &name("made"), &())
        .await
        .unwrap();
    store.untag(&name("made")).unwrap();
    store.keep_untagged(&made.target).unwrap();
    let pulled = pull(
        &store.store,
        &registry,
        &name("made"),
        &Platform::host(),
        &(),
    )
    .await
    .unwrap();
    fs::remove_file(store.blob_path(&blob(&pulled, 0))).unwrap();
    let done = store.repair().unwrap();
    assert!(matches!(&done[..], [Repaired::Rewritten(..)]), "{done:?}");
    let kept = store.find("made").unwrap();
    assert_eq!(kept.id(), pulled.id());
    check_complete(&store).await;
}

#[tokio::test]
async fn a_broken_layer_is_unpacked_again_from_its_blob() {
    let store = TestStore::new();
    let image = pulled(&store).await;
    let layer = store.layer(&chain(&image)).unwrap().unwrap();
    fs::write(layer.path.join("etc/name"), b"six").unwrap();
    assert!(store.check(Depth::Presence).unwrap().is_clean());
    let report = store.check(Depth::Content).unwrap();
    assert!(
        matches!(&report.problems[..], [Problem::Layer { chain: found, .. }] if *found == chain(&image)),
        "{report:?}"
    );
    assert_eq!(
        store.drop_broken(&report).unwrap(),
        [Repaired::DroppedLayer(chain(&image))]
    );
    assert!(matches!(
        &store.repair().unwrap()[..],
        [Repaired::Unpacked(..)]
    ));
    assert!(store.check(Depth::Content).unwrap().is_clean());
    check_complete(&store).await;
}

#[tokio::test]
async fn what_cannot_be_mended_is_dropped_and_nothing_else() {
    let store = TestStore::new();
    let image = pulled(&store).await;
    make_image(&store, "text", "made");
    fs::remove_file(store.blob_path(image.id())).unwrap();
    let report = store.check(Depth::Presence).unwrap();
    assert!(
        matches!(
            &report.problems[..],
            [Problem::Image {
                missing: Missing::Document(_),
                ..
            }]
        ),
        "{report:?}"
    );
    let done = store.repair().unwrap();
    assert!(
        matches!(&done[..], [Repaired::DroppedImage(..)]),
        "{done:?}"
    );
    assert!(store.find("app").is_err());
    assert!(store.find("made").is_ok());
    assert!(store.check(Depth::Content).unwrap().is_clean());
}

#[test]
fn leftovers_are_told_but_are_no_damage() {
    let store = TestStore::new();
    make_image(&store, "text", "made");
    let dead = store.root().join("tmp/blob-dead");
    fs::write(&dead, b"x").unwrap();
    let orphan = store.root().join("layers/orphan");
    fs::create_dir(&orphan).unwrap();
    let report = store.check(Depth::Presence).unwrap();
    assert!(report.is_clean());
    assert_eq!(report.leftovers, Some(vec![dead.clone(), orphan.clone()]));
    let held = store.again().hold().unwrap();
    assert_eq!(store.check(Depth::Presence).unwrap().leftovers, None);
    drop(held);
    store.collect().unwrap();
    assert!(!dead.exists() && !orphan.exists());
}
