//! The store from outside: transfers, archives, names, collection.

mod abreast;
mod archives;
mod checking;
mod collection;
mod crashes;
mod durability;
mod names;
mod packed;
mod transfers;

use std::fs;

use mica_oci::{
    ChainId, Compression, Descriptor, Fetch, History, ImageConfig, MediaType, Platform, Reference,
};
use mica_store::{Image, LayerStorage, Store, StoreOptions};

/// A store in a directory that goes away with it.
struct TestStore {
    store: Store,
    _directory: tempfile::TempDir,
}

impl TestStore {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("root")).unwrap();
        Self {
            store,
            _directory: directory,
        }
    }

    /// Makes one that unpacks no layers.
    fn packed() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = StoreOptions {
            layers: LayerStorage::Packed,
            ..StoreOptions::default()
        };
        let store = Store::open_with(&directory.path().join("root"), options).unwrap();
        Self {
            store,
            _directory: directory,
        }
    }

    /// Opens the store as another process would.
    fn again(&self) -> Store {
        Store::open(self.store.root()).unwrap()
    }
}

impl std::ops::Deref for TestStore {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

fn name(text: &str) -> Reference {
    text.parse().unwrap()
}

/// Two layers, the upper one with a whiteout.
fn layers() -> [Vec<u8>; 2] {
    [
        mica_fixtures::layer(&[("etc/", b""), ("etc/name", b"one"), ("gone", b"x")]),
        mica_fixtures::layer(&[("etc/", b""), ("etc/name", b"two"), (".wh.gone", b"")]),
    ]
}

fn image(compression: Compression) -> mica_fixtures::TestImage {
    mica_fixtures::TestImage::new(&layers(), compression)
}

/// An image with one layer that was made in the store, as a build does.
fn make_image(store: &Store, content: &str, reference: &str) -> Image {
    let _hold = store.hold().unwrap();
    let writer = store.new_layer().unwrap();
    fs::write(writer.path().join("file"), content).unwrap();
    let layer = writer.commit().unwrap();
    let description = store.describe(&layer).unwrap();
    store.register(None, layer, &description).unwrap();
    let mut config = ImageConfig::scratch(&Platform::host());
    config.rootfs.diff_ids.push(description.diff_id.clone());
    config.history.push(History::default());
    let digest = description.diff_id.0.clone();
    let layer = Descriptor::new(MediaType::OCI_LAYER, digest, description.size);
    let image = store.put_image(config, vec![layer]).unwrap();
    store.tag_image(&image.target, &name(reference)).unwrap();
    image
}

/// Every tag leads to content that is complete and right: all blobs read to their verified end,
/// all layers unpacked.
async fn check_complete(store: &Store) {
    for entry in store.images().unwrap() {
        let image = store.image(&entry.target, None).unwrap();
        for layer in &image.manifest.value().layers {
            let mut reader = store.fetch(layer).await.unwrap();
            tokio::io::copy(&mut reader, &mut tokio::io::sink())
                .await
                .unwrap();
        }
        let diff_ids = &image.config.value().rootfs.diff_ids;
        for depth in 1..=diff_ids.len() {
            let chain = ChainId::of(&diff_ids[..depth]).unwrap();
            assert!(
                store.layer(&chain).unwrap().is_some(),
                "{chain} is not unpacked"
            );
        }
    }
}

/// What the store shows: names, blobs and chains. Temporaries are nothing that shows.
fn visible(store: &Store) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for directory in ["blobs/sha256", "chains", "layers"] {
        for entry in fs::read_dir(store.root().join(directory)).unwrap() {
            all.push(format!(
                "{directory}/{}",
                entry.unwrap().file_name().display()
            ));
        }
    }
    all.extend(
        store
            .images()
            .unwrap()
            .iter()
            .map(|entry| format!("{entry:?}")),
    );
    all.sort();
    all
}

fn temporaries(store: &Store) -> usize {
    fs::read_dir(store.root().join("tmp")).unwrap().count()
}
