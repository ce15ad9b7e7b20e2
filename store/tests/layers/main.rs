//! Layers from outside: tar streams, directories in overlayfs form, views, snapshots.

mod conformance;
mod hostile;
mod overlay;
mod place;
mod random_trees;
mod recorded;
mod round_trip;
mod snapshots;
mod tree;

use std::fs;
use std::path::PathBuf;

use mica_oci::{Descriptor, DiffId, MediaType};
use mica_store::{Layer, Limits, Stack, Store, StoreError, apply_onto};
use tempfile::TempDir;

/// A store in a directory that goes away with it.
struct TestStore {
    store: Store,
    _directory: TempDir,
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

    fn apply(&self, parent: &Stack, tar: &[u8]) -> Result<Layer, StoreError> {
        let descriptor = Descriptor::of(MediaType::OCI_LAYER, tar);
        let diff_id = DiffId(descriptor.digest.clone());
        self.store.apply_layer(parent, &diff_id, &descriptor, tar)
    }

    /// Applies one layer after the other.
    fn stack(&self, layers: &[Vec<u8>]) -> Stack {
        let mut stack = Stack::default();
        for tar in layers {
            let layer = self.apply(&stack, tar).unwrap();
            stack.push(layer);
        }
        stack
    }
}

/// Tells whether the test may make devices and trusted attributes; says so if not.
fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skipped(test, "needs root");
    }
    root
}

#[expect(clippy::print_stderr, reason = "a test that cannot run says so")]
fn skipped(test: &str, reason: &str) {
    eprintln!("skipped: {test}: {reason}");
}

#[test]
fn an_error_names_the_entry_and_leaves_nothing() {
    let store = TestStore::new();
    let mut tar = tree::Tar::new();
    tar.file("a", b"1", 0o644).hard_link("b", "missing");
    let error = store.apply(&Stack::default(), &tar.finish()).unwrap_err();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    assert!(text.contains("`b`") && text.contains("`missing`"), "{text}");
    for part in ["layers", "chains", "tmp"] {
        let left = fs::read_dir(store.store.root().join(part)).unwrap().count();
        assert_eq!(left, 0, "{part}");
    }
}

#[test]
fn a_blob_that_is_not_what_it_should_be_is_refused() {
    let store = TestStore::new();
    let good = tree::Tar::new().file("a", b"1", 0o644).finish();
    let other = tree::Tar::new().file("a", b"2", 0o644).finish();
    let (of_good, of_other) = (
        Descriptor::of(MediaType::OCI_LAYER, &good),
        Descriptor::of(MediaType::OCI_LAYER, &other),
    );
    let none = Stack::default();
    let right = DiffId(of_good.digest.clone());
    let wrong_blob = store.store.apply_layer(&none, &right, &of_good, &other[..]);
    assert!(
        matches!(wrong_blob, Err(StoreError::Unpack { .. })),
        "{wrong_blob:?}"
    );
    let wrong_layer = store
        .store
        .apply_layer(&none, &right, &of_other, &other[..]);
    assert!(
        matches!(wrong_layer, Err(StoreError::DiffId { .. })),
        "{wrong_layer:?}"
    );
    let longer = [&good[..], &[0; 512]].concat();
    let too_long = store
        .store
        .apply_layer(&none, &right, &of_good, &longer[..]);
    assert!(
        matches!(too_long, Err(StoreError::Unpack { .. })),
        "{too_long:?}"
    );
    assert!(store.store.stack(std::slice::from_ref(&right)).is_err());
    store
        .store
        .apply_layer(&none, &right, &of_good, &good[..])
        .unwrap();
    assert_eq!(store.store.stack(&[right]).unwrap().layers.len(), 1);
}

#[test]
fn limits_hold() {
    let mut tar = tree::Tar::new();
    for index in 0..20 {
        tar.file(&format!("file-{index}"), &[0; 4096], 0o644);
    }
    tar.attribute("x", "user.large", &[7; 3000]);
    let tar = tar.finish();
    let defaults = Limits::default;
    let cases = [
        (defaults(), true),
        (
            Limits {
                entries: 20,
                ..defaults()
            },
            false,
        ),
        (
            Limits {
                name_length: 5,
                ..defaults()
            },
            false,
        ),
        (
            Limits {
                header_extension: 2048,
                ..defaults()
            },
            false,
        ),
        (
            Limits {
                attributes: 3000,
                ..defaults()
            },
            false,
        ),
        (
            Limits {
                stream: Some(tar.len() as u64),
                ..defaults()
            },
            true,
        ),
        (
            Limits {
                stream: Some(tar.len() as u64 - 1),
                ..defaults()
            },
            false,
        ),
        (
            Limits {
                expansion: Some(1),
                ..defaults()
            },
            true,
        ),
    ];
    for (limits, good) in cases {
        let directory = tempfile::tempdir().unwrap();
        let applied = apply_onto(directory.path(), &tar[..], &limits);
        assert_eq!(applied.is_ok(), good, "{limits:?}: {applied:?}");
        let left = fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(left, if good { 21 } else { 0 }, "{limits:?}");
    }
}

#[test]
fn expansion_is_limited() {
    let tar = tree::Tar::new()
        .file("zeros", &vec![0; 32 << 20], 0o644)
        .finish();
    let packed = zstd::encode_all(&tar[..], 1).unwrap();
    for (expansion, good) in [(None, true), (Some(100_000), true), (Some(100), false)] {
        let directory = tempfile::tempdir().unwrap();
        let limits = Limits {
            expansion,
            free_expansion: 16 << 20,
            ..Limits::default()
        };
        let applied = apply_onto(directory.path(), &packed[..], &limits);
        assert_eq!(applied.is_ok(), good, "{expansion:?}: {applied:?}");
    }
}

#[test]
fn the_first_to_register_wins() {
    let store = TestStore::new();
    let mut layers = Vec::new();
    for _ in 0..2 {
        let writer = store.store.new_layer().unwrap();
        let path: PathBuf = writer.path().join("same");
        fs::write(&path, b"same").unwrap();
        let time = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
        fs::File::open(&path).unwrap().set_times(time).unwrap();
        layers.push(writer.commit().unwrap());
    }
    let descriptions = layers
        .iter()
        .map(|layer| store.store.describe(layer).unwrap());
    let descriptions: Vec<_> = descriptions.collect();
    assert_eq!(descriptions[0], descriptions[1]);
    let first = store
        .store
        .register(None, layers[0].clone(), &descriptions[0])
        .unwrap();
    let second = store
        .store
        .register(None, layers[1].clone(), &descriptions[1])
        .unwrap();
    assert_eq!((first.id.clone(), &second), (layers[0].id.clone(), &first));
    assert!(layers[1].path.join("same").exists(), "it may be in use");
    assert_eq!(
        store.store.layer(&first.chain.clone().unwrap()).unwrap(),
        Some(first)
    );
}

#[test]
fn dropped_writers_leave_nothing() {
    let store = TestStore::new();
    let path = {
        let writer = store.store.new_layer().unwrap();
        fs::write(writer.path().join("x"), b"x").unwrap();
        writer.path().to_owned()
    };
    assert!(!path.exists());
}

/// A crash of the machine may leave a link whose layer never reached the disk.
#[test]
fn a_link_that_leads_to_nothing_is_mended() {
    let store = TestStore::new();
    let tar = tree::Tar::new().file("a", b"1", 0o644).finish();
    let layer = store.apply(&Stack::default(), &tar).unwrap();
    let chain = layer.chain.clone().unwrap();
    fs::remove_dir_all(layer.path.parent().unwrap()).unwrap();
    assert_eq!(store.store.layer(&chain).unwrap(), None);
    let again = store.apply(&Stack::default(), &tar).unwrap();
    assert!(again.path.join("a").exists());
    assert_eq!(store.store.layer(&chain).unwrap(), Some(again));
}
