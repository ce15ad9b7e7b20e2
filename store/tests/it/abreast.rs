//! Layers that are unpacked before those below them are there.

use std::fs;
use std::path::Path;
use std::time::Duration;

use mica_fixtures::{Fault, MemoryRegistry, TestImage, layer};
use mica_oci::{
    BlobReader, Compression, ContractError, Descriptor, Digest, Fetch, Platform, Reference, Resolve,
};
use mica_store::pull;

use super::{TestStore, check_complete, name, temporaries};

/// As long as a broken pull is waited for, in steps of [`STEP`].
const STEPS: usize = 2_000;
const STEP: Duration = Duration::from_millis(5);

/// A registry that keeps one blob back until a file of another layer is unpacked.
struct HeldBack<'a> {
    registry: &'a MemoryRegistry,
    store: &'a TestStore,
    blob: Digest,
    until: &'static str,
}

impl Resolve for HeldBack<'_> {
    async fn resolve(&self, reference: &Reference) -> Result<Descriptor, ContractError> {
        self.registry.resolve(reference).await
    }
}

impl Fetch for HeldBack<'_> {
    async fn fetch(&self, descriptor: &Descriptor) -> Result<BlobReader, ContractError> {
        if descriptor.digest == self.blob {
            let mut steps = 0..STEPS;
            while !has_file(&self.store.root().join("tmp"), self.until) {
                steps.next().ok_or("the layer above waits for this one")?;
                tokio::time::sleep(STEP).await;
            }
        }
        self.registry.fetch(descriptor).await
    }
}

/// Tells whether a file of that name is somewhere below a directory.
fn has_file(directory: &Path, name: &str) -> bool {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| {
        let path = entry.path();
        entry.file_name() == name || (path.is_dir() && has_file(&path, name))
    })
}

/// The upper layer begins with what needs nothing of the lower one, and goes on with what does: a
/// file that is hidden, another name of a file, a parent that only the lower one describes.
fn image() -> TestImage {
    let lower = layer(&[
        ("etc/", b""),
        ("etc/name", b"one"),
        ("gone", b"x"),
        ("opt/", b""),
        ("opt/below", b"y"),
    ]);
    let mut upper = tar::Builder::new(Vec::new());
    let mut add = |path: &str, kind: tar::EntryType, content: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_size(content.len() as u64);
        upper.append_data(&mut header, path, content).unwrap();
    };
    add("etc/", tar::EntryType::Directory, b"");
    for (path, content) in [("etc/early", b"e"), (".wh.gone", b"-"), ("opt/new", b"z")] {
        add(path, tar::EntryType::Regular, content);
    }
    let mut link = tar::Header::new_ustar();
    link.set_entry_type(tar::EntryType::Link);
    link.set_size(0);
    upper
        .append_link(&mut link, "etc/again", "etc/name")
        .unwrap();
    let upper = upper.into_inner().unwrap();
    TestImage::new(&[lower, upper], Compression::Gzip)
}

#[tokio::test]
async fn a_layer_waits_only_for_what_it_needs() {
    let (store, registry) = (TestStore::new(), MemoryRegistry::new());
    let image = image();
    registry.add(&image, "app");
    let source = HeldBack {
        registry: &registry,
        store: &store,
        blob: image.blobs[0].0.digest.clone(),
        until: "early",
    };
    let pulled = pull(&store.store, &source, &name("app"), &Platform::host(), &())
        .await
        .unwrap();
    check_complete(&store).await;
    assert_eq!(temporaries(&store), 0);
    let view = store.unpack(&pulled).unwrap().view().unwrap();
    let read = |path: &str| {
        let found = view.lookup(path.as_ref(), mica_store::Follow::All).unwrap();
        found.map(|entry| std::io::read_to_string(view.open(&entry).unwrap()).unwrap())
    };
    let expected = [
        ("/etc/early", Some("e")),
        ("/etc/name", Some("one")),
        ("/etc/again", Some("one")),
        ("/gone", None),
        ("/opt/below", Some("y")),
        ("/opt/new", Some("z")),
    ];
    for (path, content) in expected {
        assert_eq!(read(path).as_deref(), content, "{path}");
    }
}

#[tokio::test]
async fn a_layer_on_a_bad_one_is_not_left_behind() {
    let (store, registry) = (TestStore::new(), MemoryRegistry::new());
    let image = image();
    let lower = image.blobs[0].0.digest.clone();
    registry.add(&image, "app");
    registry.add_fault(Fault::Corrupt(lower.clone()));
    let source = HeldBack {
        registry: &registry,
        store: &store,
        blob: lower.clone(),
        until: "early",
    };
    let refused = pull(&store.store, &source, &name("app"), &Platform::host(), &()).await;
    let text = refused.unwrap_err().to_string();
    assert!(text.contains(lower.as_str()), "{text}");
    assert!(!has_file(&store.root().join("tmp"), "early"));
    assert!(!has_file(&store.root().join("layers"), "early"));
}
