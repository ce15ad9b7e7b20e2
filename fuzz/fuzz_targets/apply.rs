//! Layers from outside: any bytes are a tar stream, over a small tree.
#![no_main]

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use mica_store::{Limits, apply_onto, directory_tar};

/// A place of the run's own.
static PLACE: LazyLock<tempfile::TempDir> =
    LazyLock::new(|| tempfile::tempdir().expect("a temporary directory can be made"));

/// What the stream is applied over: something to hide, to link to and to go astray by.
fn lower(root: &Path) {
    fs::create_dir_all(root.join("d/e")).expect("the directory is ours");
    fs::write(root.join("d/e/f"), "below").expect("the directory is ours");
    fs::write(root.join("f"), "file").expect("the directory is ours");
    std::os::unix::fs::symlink("../outside", root.join("l")).expect("the directory is ours");
    std::os::unix::fs::symlink("d", root.join("m")).expect("the directory is ours");
}

fn tar_of(root: &Path) -> Vec<u8> {
    let mut tar = Vec::new();
    let made = directory_tar(root, &mut tar);
    made.expect("what was applied can be archived");
    tar
}

fuzz_target!(|stream: &[u8]| {
    let limits = Limits {
        stream: Some(4 << 20),
        ..Limits::default()
    };
    let place = tempfile::tempdir_in(PLACE.path()).expect("the directory is ours");
    let (root, again) = (place.path().join("root"), place.path().join("again"));
    for directory in [&root, &again, &place.path().join("outside")] {
        fs::create_dir(directory).expect("the directory is ours");
    }
    lower(&root);
    let before = tar_of(&root);
    match apply_onto(&root, stream, &limits) {
        Err(_) => assert!(tar_of(&root) == before, "a refused stream changes nothing"),
        Ok(_) => {
            let tar = tar_of(&root);
            apply_onto(&again, &tar[..], &Limits::default()).expect("our own tar is taken");
            assert!(tar_of(&again) == tar, "tree to tar to tree");
        }
    }
    let outside = fs::read_dir(place.path().join("outside")).expect("it is there");
    assert_eq!(outside.count(), 0, "nothing outside the root is touched");
    assert_eq!(fs::read_dir(place.path()).expect("it is there").count(), 3);
});
