//! Pull and push against a registry in memory.

use std::error::Error as _;
use std::sync::Mutex;

use mica_fixtures::{Call, Fault, MemoryRegistry, TestImage, index};
use mica_oci::{
    BlobReader, Compression, ContractError, Descriptor, Digest, Growing, MediaType, Platform, Push,
    Reference, Resolve, Tag,
};
use mica_store::{
    LayerForm, Outcome, Progress, TransferError, TransferEvent, pull, push, push_layer,
};

use super::{TestStore, check_complete, image, layers, make_image, name, temporaries, visible};

#[derive(Default)]
struct Events(Mutex<Vec<TransferEvent>>);

impl Progress for Events {
    fn event(&self, event: TransferEvent) {
        self.0.lock().unwrap().push(event);
    }
}

impl Events {
    fn outcomes(&self) -> Vec<Outcome> {
        let events = self.0.lock().unwrap();
        let outcome = |event: &TransferEvent| match event {
            TransferEvent::Done { outcome, .. } => Some(*outcome),
            _ => None,
        };
        events.iter().filter_map(outcome).collect()
    }
}

async fn pull_app(store: &TestStore, registry: &MemoryRegistry) -> Result<(), TransferError> {
    let pulled = pull(store, registry, &name("app"), &Platform::host(), &()).await;
    pulled.map(drop)
}

#[tokio::test]
async fn what_was_pulled_is_complete_and_not_fetched_again() {
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let (store, registry) = (TestStore::new(), MemoryRegistry::new());
        let image = image(compression);
        registry.add(&image, "app");
        let events = Events::default();
        let platform = Platform::host();
        let pulled = pull(&store.store, &registry, &name("app"), &platform, &events)
            .await
            .unwrap();
        assert_eq!(pulled.id(), image.config.digest());
        assert_eq!(pulled.manifest.raw(), image.manifest.raw());
        assert_eq!(events.outcomes(), [Outcome::Complete; 2]);
        check_complete(&store).await;
        assert_eq!(temporaries(&store), 0);

        let (before, calls) = (visible(&store), registry.calls().len());
        let events = Events::default();
        pull(&store.store, &registry, &name("app"), &platform, &events)
            .await
            .unwrap();
        let again = &registry.calls()[calls..];
        assert_eq!(
            again,
            [Call::Resolve(name("app").to_string())],
            "{compression:?}"
        );
        assert_eq!(events.outcomes(), [Outcome::AlreadyThere; 2]);
        assert_eq!(visible(&store), before);
    }
}

#[tokio::test]
async fn bad_content_is_refused_and_shows_nothing() {
    let image = image(Compression::Gzip);
    for (descriptor, _) in &image.blobs {
        let digest = &descriptor.digest;
        for fault in [Fault::Truncate, Fault::Corrupt, Fault::Break] {
            let (store, registry) = (TestStore::new(), MemoryRegistry::new());
            registry.add(&image, "app");
            registry.add_fault(fault(digest.clone()));
            let error = pull_app(&store, &registry).await.unwrap_err();
            let text = error.to_string();
            assert!(text.contains(digest.as_str()), "{text} names no {digest}");
            assert!(error.source().is_some(), "{text}");
            assert!(!store.has_blob(digest));
            assert_eq!(store.images().unwrap(), []);
            registry.clear_faults();
            pull_app(&store, &registry).await.unwrap();
            check_complete(&store).await;
        }
    }
}

#[tokio::test]
async fn a_wrong_diff_id_is_refused() {
    let (store, registry) = (TestStore::new(), MemoryRegistry::new());
    let good = image(Compression::Gzip);
    let other = TestImage::new(
        &[layers()[0].clone(), layers()[0].clone()],
        Compression::Gzip,
    );
    // The configuration of one image with the layers of another.
    let mut manifest = good.manifest.value().clone();
    manifest.config = other.config.descriptor().clone();
    let manifest = mica_oci::Document::encode(MediaType::OCI_MANIFEST, manifest);
    registry.add(&good, "good");
    registry.add(&other, "other");
    registry.add_blob(manifest.digest(), manifest.raw().clone());
    registry.set_tag("app", manifest.descriptor());
    assert!(pull_app(&store, &registry).await.is_err());
    assert_eq!(store.images().unwrap(), []);
    let packed = TestStore::packed();
    assert!(pull_app(&packed, &registry).await.is_err());
    assert_eq!(packed.images().unwrap(), []);
    registry.add(&good, "app");
    pull_app(&packed, &registry).await.unwrap();
    assert_eq!(packed.images().unwrap().len(), 1);
}

#[tokio::test]
async fn a_pull_refused_at_any_call_goes_on_from_there() {
    let image = image(Compression::Gzip);
    let calls = {
        let (store, registry) = (TestStore::new(), MemoryRegistry::new());
        registry.add(&image, "app");
        pull_app(&store, &registry).await.unwrap();
        registry.calls().len()
    };
    assert_eq!(calls, 5, "a name, a manifest, a configuration, two layers");
    for call in 0..calls {
        let (store, registry) = (TestStore::new(), MemoryRegistry::new());
        registry.add(&image, "app");
        registry.add_fault(Fault::RefuseCall(call));
        assert!(pull_app(&store, &registry).await.is_err(), "call {call}");
        assert_eq!(store.images().unwrap(), []);
        pull_app(&store, &registry).await.unwrap();
        check_complete(&store).await;
    }
}

#[tokio::test]
async fn of_an_index_the_platform_is_chosen_and_its_digest_is_remembered() {
    let (store, registry) = (TestStore::new(), MemoryRegistry::new());
    let [arm, riscv] = ["linux/arm64", "linux/riscv64"].map(|text| {
        let platform = text.parse().unwrap();
        TestImage::for_platform(&platform, &layers(), Compression::Gzip)
    });
    registry.add(&arm, "arm");
    registry.add(&riscv, "riscv");
    let index = index(&[&arm, &riscv]);
    registry.add_blob(index.digest(), index.raw().clone());
    registry.set_tag("app", index.descriptor());

    let missing: Platform = "linux/s390x".parse().unwrap();
    let error = pull(&store.store, &registry, &name("app"), &missing, &())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("linux/riscv64"), "{error}");

    let wanted = "linux/riscv64".parse().unwrap();
    let pulled = pull(&store.store, &registry, &name("app"), &wanted, &())
        .await
        .unwrap();
    assert_eq!(pulled.id(), riscv.config.digest());
    assert_eq!(
        store.resolve_tag(&name("app")).unwrap(),
        Some(pulled.target.clone())
    );
    let by_digest = name("app").with_digest(index.digest().clone());
    assert_eq!(
        store.repository_digests(pulled.id()).unwrap(),
        [by_digest.familiar()]
    );
    assert_eq!(store.find(&by_digest.familiar()).unwrap().id(), pulled.id());
}

#[tokio::test]
async fn a_pull_by_digest_gives_no_tag() {
    let (store, registry) = (TestStore::new(), MemoryRegistry::new());
    let image = image(Compression::Gzip);
    let reference = name("app").with_digest(image.manifest.digest().clone());
    registry.add(&image, &reference.to_string());
    pull(&store.store, &registry, &reference, &Platform::host(), &())
        .await
        .unwrap();
    let entries = store.images().unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].reference, None);
    assert_eq!(store.resolve(&reference).await.unwrap(), entries[0].target);
}

#[tokio::test]
async fn what_was_pulled_is_pushed_as_it_came() {
    let store = TestStore::new();
    let (from, to) = (MemoryRegistry::new(), MemoryRegistry::new());
    let image = image(Compression::Gzip);
    from.add(&image, "app");
    pull_app(&store, &from).await.unwrap();
    let found = store.find("app").unwrap();
    let target = push(&store.store, &found.target, &to, &name("host:1/b:c"), &())
        .await
        .unwrap();
    assert_eq!(target.digest, *image.manifest.digest());
    assert_eq!(to.target(&name("host:1/b:c")), Some(target));
    assert_eq!(to.digests(), from.digests());
}

#[tokio::test]
async fn what_was_made_here_is_compressed_once_and_pulls_back_the_same() {
    let store = TestStore::new();
    let made = make_image(&store, &"text ".repeat(1 << 18), "app");
    let (first, second) = (MemoryRegistry::new(), MemoryRegistry::new());
    let events = Events::default();
    let target = push(&store.store, &made.target, &first, &name("app"), &events)
        .await
        .unwrap();
    let compressing = |event: &TransferEvent| matches!(event, TransferEvent::Compressing { .. });
    assert!(events.0.lock().unwrap().iter().any(compressing));
    let manifest = first.blob(&target.digest).unwrap();
    let manifest: mica_oci::Manifest = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest.layers[0].media_type, MediaType::OCI_LAYER_GZIP);
    assert!(manifest.layers[0].size < made.manifest.value().layers[0].size / 10);

    let again = push(&store.store, &made.target, &first, &name("app"), &events)
        .await
        .unwrap();
    assert_eq!(again, target);
    assert_eq!(
        events.outcomes(),
        [Outcome::Complete, Outcome::AlreadyThere]
    );
    std::fs::remove_file(store.root().join("mica.db")).unwrap();
    let elsewhere = push(&store.again(), &made.target, &second, &name("app"), &())
        .await
        .unwrap();
    assert_eq!(elsewhere, target, "compression is deterministic");

    let other = TestStore::new();
    pull_app(&other, &first).await.unwrap();
    assert_eq!(other.find("app").unwrap().id(), made.id());
    check_complete(&other).await;
}

/// A registry that notes what it was sent while it was made.
struct Early {
    registry: MemoryRegistry,
    origins: Mutex<Vec<Digest>>,
}

impl Push for Early {
    async fn contains(&self, descriptor: &Descriptor) -> Result<bool, ContractError> {
        self.registry.contains(descriptor).await
    }

    async fn push(&self, blob: &Descriptor, content: BlobReader) -> Result<(), ContractError> {
        self.registry.push(blob, content).await
    }

    async fn push_growing<G: Growing>(&self, content: &G) -> Result<Descriptor, ContractError> {
        self.origins.lock().unwrap().push(content.origin().clone());
        self.registry.push_growing(content).await
    }
}

impl Tag for Early {
    async fn tag(&self, target: &Descriptor, name: &Reference) -> Result<(), ContractError> {
        self.registry.tag(target, name).await
    }
}

#[tokio::test]
async fn a_layer_goes_ahead_of_its_image_while_it_is_compressed() {
    let store = TestStore::new();
    let made = make_image(&store, &"text ".repeat(1 << 18), "app");
    let layer = &made.manifest.value().layers[0];
    let diff_id = &made.config.value().rootfs.diff_ids[0];
    let registry = Early {
        registry: MemoryRegistry::new(),
        origins: Mutex::default(),
    };
    let (form, app) = (LayerForm::Compressed, name("app"));
    push_layer(&store, (layer, diff_id), form, &registry, &app)
        .await
        .unwrap();
    let origins = registry.origins.lock().unwrap().clone();
    assert_eq!(origins, std::slice::from_ref(&diff_id.0));
    let outgoing = store.outgoing(&made).unwrap();
    let blob = &outgoing.value().layers[0];
    assert_eq!(blob.media_type, MediaType::OCI_LAYER_GZIP);
    assert!(registry.contains(blob).await.unwrap());
}

#[tokio::test]
async fn a_push_tags_last_and_succeeds_when_tried_again() {
    let store = TestStore::new();
    let made = make_image(&store, "text", "app");
    let calls = {
        let registry = MemoryRegistry::new();
        push(&store.store, &made.target, &registry, &name("app"), &())
            .await
            .unwrap();
        let calls = registry.calls();
        assert!(matches!(calls.last(), Some(Call::Tag(_))));
        let config = Call::Push(made.config.digest().clone());
        let position = |call: &Call| calls.iter().position(|other| other == call).unwrap();
        assert_eq!(
            position(&config),
            calls.len() - 4,
            "config, then manifest: {calls:?}"
        );
        calls.len()
    };
    for call in 0..calls {
        let registry = MemoryRegistry::new();
        registry.add_fault(Fault::RefuseCall(call));
        let pushed = push(&store.store, &made.target, &registry, &name("app"), &()).await;
        assert!(pushed.is_err(), "call {call}");
        assert_eq!(registry.target(&name("app")), None);
        push(&store.store, &made.target, &registry, &name("app"), &())
            .await
            .unwrap();
        assert!(registry.target(&name("app")).is_some());
    }
}
