//! Save and load.

use std::fs;
use std::io::Write;

use mica_fixtures::{MemoryRegistry, gzip};
use mica_oci::{Compression, Platform};
use mica_store::{
    ArchiveError, ArchiveFormat, Image, ImageSet, Loaded, Named, StoreError, load, load_directory,
    load_file, pull, save,
};
use serde_json::json;

use super::{TestStore, check_complete, image, layers, make_image, name, temporaries};

fn saved(store: &TestStore, names: &[&str], format: ArchiveFormat) -> Vec<u8> {
    let images: Vec<_> = names
        .iter()
        .map(|text| named(text, store.find(text).unwrap()))
        .collect();
    let mut archive = Vec::new();
    save(store, &images, format, &mut archive).unwrap();
    archive
}

fn named(text: &str, image: Image) -> Named {
    Named {
        reference: Some(name(text)),
        set: ImageSet::single(image),
        annotations: Default::default(),
    }
}

fn shown(loaded: &[Loaded]) -> Vec<String> {
    let name = |one: &Loaded| {
        one.reference
            .as_ref()
            .map_or("<none>".into(), |r| r.familiar())
    };
    loaded.iter().map(name).collect()
}

fn tar_of(files: &[(&str, &[u8])], links: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = mica_fixtures::layer(files);
    archive.truncate(archive.len() - 1024); // the end, for more to come
    let mut builder = tar::Builder::new(archive);
    for (path, target) in links {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        builder.append_link(&mut header, path, target).unwrap();
    }
    builder.into_inner().unwrap()
}

#[tokio::test]
async fn what_was_saved_is_loaded_the_same() {
    let (store, registry) = (TestStore::new(), MemoryRegistry::new());
    registry.add(&image(Compression::Gzip), "pulled:1");
    let pulled = name("pulled:1");
    pull(&store.store, &registry, &pulled, &Platform::host(), &())
        .await
        .unwrap();
    let made = make_image(&store, "made here", "made");
    store
        .tag_image(&made.target, &name("host:5000/other:x"))
        .unwrap();
    let names = ["made:latest", "host:5000/other:x", "pulled:1"];
    for format in [ArchiveFormat::Docker, ArchiveFormat::Oci] {
        let archive = saved(&store, &names, format);
        assert_eq!(
            saved(&store, &names, format),
            archive,
            "the same bytes again"
        );
        let compressed = gzip(&archive);
        for input in [&archive, &compressed] {
            let other = TestStore::new();
            let loaded = load(&other, &input[..]).unwrap();
            let mut found = shown(&loaded);
            found.sort();
            assert_eq!(found, ["host:5000/other:x", "made:latest", "pulled:1"]);
            for text in names {
                let (here, there) = (store.find(text).unwrap(), other.find(text).unwrap());
                assert_eq!(here.target, there.target, "{text}");
            }
            check_complete(&other).await;
            assert_eq!(temporaries(&other), 0);
            let tar = &made.manifest.value().layers[0].digest;
            assert!(
                !other.has_blob(tar),
                "a layer that gives its tar again has no blob"
            );
        }
    }
}

#[tokio::test]
async fn files_and_directories_are_loaded_in_place() {
    let store = TestStore::new();
    make_image(&store, "text", "app");
    let archive = saved(&store, &["app:latest"], ArchiveFormat::Oci);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("app.tar");
    let layout = directory.path().join("layout");
    fs::write(&file, &archive).unwrap();
    tar::Archive::new(&archive[..]).unpack(&layout).unwrap();
    for path in [&file, &layout] {
        let other = TestStore::new();
        assert_eq!(shown(&load_file(&other, path).unwrap()), ["app:latest"]);
        check_complete(&other).await;
    }
    let empty = tempfile::tempdir().unwrap();
    let loaded = load_directory(&store, empty.path());
    assert!(matches!(loaded, Err(ArchiveError::NotAnArchive)));
}

#[tokio::test]
async fn old_docker_archives_are_loaded() {
    let [lower, upper] = layers();
    let image = mica_fixtures::TestImage::new(&[lower.clone(), upper.clone()], Compression::None);
    let manifest = json!([{
        "Config": "abc.json",
        "RepoTags": ["app:1", "app:2"],
        "Layers": ["one/layer.tar", "two/layer.tar"],
    }])
    .to_string();
    let (config, upper) = (image.config.raw(), gzip(&upper));
    let files: [(&str, &[u8]); 4] = [
        ("manifest.json", manifest.as_bytes()),
        ("abc.json", config),
        ("real/layer.tar", &lower),
        ("./two/layer.tar", &upper),
    ];
    let archive = tar_of(&files, &[("one/layer.tar", "../real/layer.tar")]);
    let store = TestStore::new();
    let loaded = load(&store, &archive[..]).unwrap();
    assert_eq!(shown(&loaded), ["app:1", "app:2"]);
    assert_eq!(loaded[0].image.id(), image.config.digest());
    check_complete(&store).await;
}

#[test]
fn archives_that_lie_are_refused_and_show_nothing() {
    let tar = layers()[0].clone();
    let image = mica_fixtures::TestImage::new(std::slice::from_ref(&tar), Compression::None);
    let manifest = |layers: &[&str]| {
        let entry = json!([{"Config": "c", "RepoTags": ["app:1"], "Layers": layers}]);
        entry.to_string().into_bytes()
    };
    let good = manifest(&["l"]);
    let config = &image.config.raw()[..];
    let other = &layers()[1][..];
    type Case<'a> = (&'a str, Vec<(&'a str, &'a [u8])>, Vec<(&'a str, &'a str)>);
    let (outside, two) = (manifest(&["../../etc/passwd"]), manifest(&["l", "l"]));
    let cases: Vec<Case<'_>> = vec![
        ("nothing in it", vec![("x", b"y")], vec![]),
        ("broken JSON", vec![("manifest.json", b"[{")], vec![]),
        ("no config", vec![("manifest.json", &good)], vec![]),
        (
            "no layer",
            vec![("manifest.json", &good), ("c", config)],
            vec![],
        ),
        (
            "another layer",
            vec![("manifest.json", &good), ("c", config), ("l", other)],
            vec![],
        ),
        (
            "one layer too many",
            vec![("manifest.json", &two), ("c", config), ("l", &tar)],
            vec![],
        ),
        (
            "a layer outside",
            vec![("manifest.json", &outside), ("c", config)],
            vec![],
        ),
        (
            "a link outside",
            vec![("manifest.json", &good), ("c", config)],
            vec![("l", "/etc/passwd")],
        ),
        (
            "a link in a circle",
            vec![("manifest.json", &good), ("c", config)],
            vec![("l", "l")],
        ),
    ];
    for (what, files, links) in cases {
        let store = TestStore::new();
        let loaded = load(&store, &tar_of(&files, &links)[..]);
        assert!(loaded.is_err(), "{what}");
        assert_eq!(super::visible(&store), [""; 0], "{what}");
        assert_eq!(temporaries(&store), 0, "{what}");
    }
}

#[test]
fn a_layer_that_changed_behind_our_back_is_not_saved() {
    let store = TestStore::new();
    let made = make_image(&store, "text", "app");
    let stack = store.stack(&made.config.value().rootfs.diff_ids).unwrap();
    let file = stack.layers[0].path.join("file");
    fs::OpenOptions::new()
        .write(true)
        .open(&file)
        .unwrap()
        .write_all(b"TEXT")
        .unwrap();
    let images = [named("app", made)];
    let result = save(&store, &images, ArchiveFormat::Docker, std::io::sink());
    let changed = matches!(
        result,
        Err(ArchiveError::Store(StoreError::LayerChanged { .. }))
    );
    assert!(changed, "{result:?}");
}
