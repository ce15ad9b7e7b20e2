//! What a machine that loses power leaves: nothing that was not synced may be taken for whole.

use std::fs;

use mica_store::Store;

use super::{TestStore, make_image, name};

/// Makes a layer, and registers it without giving a name to an image of it.
fn registered(store: &Store, content: &str) -> mica_oci::ChainId {
    let _hold = store.hold().unwrap();
    let writer = store.new_layer().unwrap();
    fs::write(writer.path().join("file"), content).unwrap();
    let layer = writer.commit().unwrap();
    let description = store.describe(&layer).unwrap();
    let layer = store.register(None, layer, &description).unwrap();
    layer.chain.unwrap()
}

fn pending(store: &Store) -> usize {
    let boots = fs::read_dir(store.root().join("pending")).unwrap();
    boots
        .map(|boot| fs::read_dir(boot.unwrap().path()).unwrap().count())
        .sum()
}

/// What another boot finds: its ID differs.
fn boot_again(store: &TestStore) -> Store {
    for boot in fs::read_dir(store.root().join("pending")).unwrap() {
        let boot = boot.unwrap().path();
        fs::rename(&boot, boot.with_file_name("an-earlier-boot")).unwrap();
    }
    store.again()
}

#[test]
fn a_layer_that_was_not_synced_is_not_taken_for_whole_after_a_power_cut() {
    let store = TestStore::new();
    let lost = registered(&store, "lost");
    assert!(store.layer(&lost).unwrap().is_some(), "it is there at once");
    assert!(store.again().layer(&lost).unwrap().is_some());
    let after = boot_again(&store);
    assert_eq!(after.layer(&lost).unwrap(), None);
    after.collect().unwrap();
    assert_eq!(pending(&after), 0);
    assert_eq!(
        fs::read_dir(store.root().join("layers")).unwrap().count(),
        0
    );
}

#[test]
fn one_sync_is_for_all_layers_made_before() {
    let store = TestStore::new();
    let (one, two) = (registered(&store, "one"), registered(&store, "two"));
    assert_eq!(pending(&store), 2);
    store.sync().unwrap();
    assert_eq!(pending(&store), 0);
    let after = boot_again(&store);
    assert!(after.layer(&one).unwrap().is_some());
    assert!(after.layer(&two).unwrap().is_some());
}

#[test]
fn a_name_is_given_to_what_is_on_the_disk_only() {
    let store = TestStore::new();
    let image = make_image(&store, "text", "app");
    assert_eq!(pending(&store), 0);
    let chain = image.config.value().chain_id().unwrap();
    let after = boot_again(&store);
    assert!(after.layer(&chain).unwrap().is_some());
    assert!(after.resolve_tag(&name("app")).unwrap().is_some());
}
