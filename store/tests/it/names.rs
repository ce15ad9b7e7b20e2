//! Names: giving, taking, finding.

use mica_oci::{Compression, Digest, MediaType};
use mica_store::{Codec, Store, StoreError};

use super::{TestStore, image, make_image, name};

fn names(store: &Store) -> Vec<String> {
    let entries = store.images().unwrap();
    let shown = |entry: &mica_store::Tagged| match &entry.reference {
        Some(reference) => reference.familiar(),
        None => format!("<none> {}", entry.target.digest.short()),
    };
    let mut names: Vec<String> = entries.iter().map(shown).collect();
    names.sort();
    names
}

#[test]
fn a_name_that_moves_leaves_a_nameless_image() {
    let store = TestStore::new();
    let first = make_image(&store, "first", "app");
    let second = make_image(&store, "second", "app");
    let nameless = format!("<none> {}", first.target.digest.short());
    assert_eq!(names(&store), [nameless.as_str(), "app:latest"]);
    let found = store.find("app").unwrap();
    assert_eq!(found.id(), second.id());

    store.tag_image(&first.target, &name("old:1")).unwrap();
    assert_eq!(
        names(&store),
        ["app:latest", "old:1"],
        "it has a name again"
    );
    store.tag_image(&second.target, &name("old:1")).unwrap();
    store.keep_untagged(&second.target).unwrap();
    assert_eq!(names(&store), [nameless.as_str(), "app:latest", "old:1"]);

    let mut removed = store.remove_image(&second.target).unwrap();
    removed.sort();
    assert_eq!(removed, [name("app"), name("old:1")]);
    assert_eq!(store.untag(&name("app")).unwrap(), None);
    assert_eq!(names(&store), [nameless]);
}

#[test]
fn the_same_image_in_another_dress_is_no_other_image() {
    let store = TestStore::new();
    let plain = make_image(&store, "text", "app");
    let layer = store.find("app").unwrap().config.value().rootfs.diff_ids[0].clone();
    let unpacked = store.stack(std::slice::from_ref(&layer)).unwrap();
    let compressed = store
        .compressed(&unpacked.layers[0], &layer, Codec::GZIP)
        .unwrap();
    let config = plain.config.value().clone();
    let other = store.put_image(config, vec![compressed]).unwrap();
    assert_eq!(other.id(), plain.id());
    store.tag_image(&other.target, &name("app")).unwrap();
    assert_eq!(names(&store), ["app:latest"]);
}

#[test]
fn images_are_found_by_what_people_type() {
    let store = TestStore::new();
    let app = make_image(&store, "app", "user/app:v2");
    let other = make_image(&store, "other", "localhost:5000/other");
    let (id, target) = (app.id(), &app.target.digest);
    let found = [
        "user/app:v2",
        "docker.io/user/app:v2",
        id.as_str(),
        id.hex(),
        id.short(),
        &format!("sha256:{}", id.short()),
        target.as_str(),
        target.short(),
        &format!("user/app@{target}"),
    ]
    .map(|text| {
        (
            text.to_owned(),
            store.find(text).map(|image| image.id().clone()),
        )
    });
    for (text, result) in found {
        assert_eq!(
            result.unwrap_or_else(|error| panic!("{text}: {error}")),
            *id,
            "{text}"
        );
    }
    assert_eq!(store.find("localhost:5000/other").unwrap().id(), other.id());
    let absent = format!("sha256:{}", "0".repeat(64));
    for text in ["user/app", "app:v2", "", "UPPER", "nothing", "zz", &absent] {
        let result = store.find(text);
        assert!(
            matches!(result, Err(StoreError::NotFound { .. })),
            "{text}: {result:?}"
        );
    }
}

#[test]
fn a_misspelt_name_is_answered_with_near_ones() {
    let store = TestStore::new();
    for text in ["helloworld", "helloworld:v2", "python:3-slim", "debian"] {
        make_image(&store, text, text);
    }
    let cases = [
        ("helloword", &["helloworld:latest", "helloworld:v2"][..]),
        ("helloworld:v3", &["helloworld:v2", "helloworld:latest"]),
        ("pyton:3-slim", &["python:3-slim"]),
        ("zzz", &[]),
    ];
    for (text, expected) in cases {
        match store.find(text) {
            Err(StoreError::NotFound { near, .. }) => assert_eq!(near, expected, "{text}"),
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn a_prefix_of_two_ids_is_refused() {
    let store = TestStore::new();
    for number in 0..17 {
        make_image(&store, &number.to_string(), &format!("app:{number}"));
    }
    let result = (0..16).map(|digit| store.find(&format!("{digit:x}")));
    let ambiguous = result
        .filter(|r| matches!(r, Err(StoreError::Ambiguous { .. })))
        .count();
    assert!(ambiguous > 0, "17 IDs have 16 first digits");
}

#[test]
fn many_writers_lose_no_tag() {
    const EACH: usize = 20;
    let store = TestStore::new();
    let target = make_image(&store, "text", "first").target;
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let (own, target) = (store.again(), &target);
            scope.spawn(move || {
                for number in 0..EACH {
                    own.tag_image(target, &name(&format!("w{writer}:{number}")))
                        .unwrap();
                }
            });
        }
    });
    assert_eq!(names(&store).len(), 4 * EACH + 1);
}

#[test]
fn what_is_stored_is_verified() {
    let store = TestStore::new();
    let image = image(Compression::Gzip);
    let (descriptor, content) = &image.blobs[0];
    let mut other = content.to_vec();
    other[0] ^= 1;
    for wrong in [&other[..], &content[1..], &[&content[..], b"x"].concat()] {
        let result = store.put_blob(descriptor, wrong);
        assert!(
            matches!(result, Err(StoreError::Content { .. })),
            "{result:?}"
        );
        assert!(!store.has_blob(&descriptor.digest));
    }
    store.put_blob(descriptor, &content[..]).unwrap();
    store.put_blob(descriptor, &b"not even read"[..]).unwrap();
    std::fs::write(store.blob_path(image.config.digest()), b"{}").unwrap();
    let read = store.read_document::<serde_json::Value>(image.config.descriptor());
    assert!(matches!(read, Err(StoreError::Content { .. })), "{read:?}");
}

#[test]
fn tags_and_stores_that_make_no_sense_are_refused() {
    let store = TestStore::new();
    let target = make_image(&store, "text", "app").target;
    let by_digest = name("app").with_digest(Digest::of(b"x"));
    let tagged = store.tag_image(&target, &by_digest);
    assert!(matches!(tagged, Err(StoreError::TagWithDigest { .. })));
    let mut config = target.clone();
    config.media_type = MediaType::OCI_CONFIG;
    let read = store.image(&config, None);
    assert!(matches!(read, Err(StoreError::NotAnImage { .. })));
    std::fs::write(store.root().join("version"), "2\n").unwrap();
    let opened = Store::open(store.root());
    assert!(opened.unwrap_err().to_string().contains("version `2`"));
}
