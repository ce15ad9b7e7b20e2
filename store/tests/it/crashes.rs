//! Killed at any point, the store stays whole.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use mica_fixtures::{MemoryRegistry, TestImage, layer};
use mica_oci::{Compression, Platform};
use mica_store::{Collected, Store, pull};

use super::{TestStore, check_complete, make_image, name, temporaries};

/// Tells the child which store to work on; without it there is nothing to do.
const ROOT: &str = "MICA_TEST_CRASH_ROOT";

/// Times that the child is killed, each a bit later than the one before.
const KILLS: u64 = 12;

fn many_layers(seed: &str) -> TestImage {
    let layers: Vec<Vec<u8>> = (0..8)
        .map(|number| {
            let content = format!("{seed} {number}").repeat(2000);
            layer(&[
                ("etc/", b""),
                (&format!("etc/{number}"), content.as_bytes()),
            ])
        })
        .collect();
    TestImage::new(&layers, Compression::Gzip)
}

/// Pulls, builds, tags and collects until it is killed.
#[tokio::test]
#[ignore = "the child of a_killed_process_leaves_a_whole_store"]
async fn child() {
    let Some(root) = env::var_os(ROOT) else {
        return;
    };
    let store = Store::open(Path::new(&root)).unwrap();
    for round in 0.. {
        let registry = MemoryRegistry::new();
        let seed = format!("{} {round}", std::process::id());
        registry.add(&many_layers(&seed), "pulled");
        pull(&store, &registry, &name("pulled"), &Platform::host(), &())
            .await
            .unwrap();
        make_image(&store, &seed, "made");
        for entry in store.images().unwrap() {
            if entry.reference.is_none() {
                store.remove_image(&entry.target).unwrap();
            }
        }
        store.collect().unwrap();
    }
}

#[tokio::test]
async fn a_killed_process_leaves_a_whole_store() {
    let store = TestStore::new();
    for kill in 1..=KILLS {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "crashes::child", "--ignored"])
            .env(ROOT, store.root())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // No event is waited for: the kill should hit anything.
        std::thread::sleep(Duration::from_millis(25 * kill));
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert!(
            status.code().is_none(),
            "the child failed by itself: {status}"
        );
        check_complete(&store.again()).await;
    }
    assert!(
        !store.images().unwrap().is_empty(),
        "nothing was done before the kills"
    );
    store.collect().unwrap();
    // The beginnings of blobs stay for a day, for whoever pulls them next.
    assert_eq!(temporaries(&store), partials(&store));
    check_complete(&store).await;
    assert_eq!(store.collect().unwrap(), Collected::default());
}

fn partials(store: &Store) -> usize {
    let entries = std::fs::read_dir(store.root().join("tmp")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name());
    names
        .filter(|name| name.to_string_lossy().starts_with("partial-"))
        .count()
}
