//! Layers that are described while they are written.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

use mica_store::{LayerDescription, LayerWriter, Metadata, Put, Recorder, SmallFile};
use rustix::fs::{XattrFlags, lsetxattr};

use crate::TestStore;

const TIME: (i64, u32) = (1_000_000_000, 7);

/// What the directories of the tests have in the end.
fn directory() -> Metadata {
    Metadata {
        modified: Some(TIME),
        ..Metadata::new(0o755, 0, 0)
    }
}

fn put_directory(layer: &LayerWriter, path: &str) -> Put {
    let host = layer.path().join(path);
    DirBuilder::new().mode(0o700).create(host).unwrap();
    Put::Directory(path.into(), directory())
}

fn put_file(layer: &LayerWriter, path: &str, content: &[u8]) -> Put {
    let host = layer.path().join(path);
    fs::write(&host, content).unwrap();
    lsetxattr(&host, "user.note", b"kept", XattrFlags::empty()).unwrap();
    let file = File::open(&host).unwrap();
    match SmallFile::written(&file, content).unwrap() {
        Some(small) => Put::File(path.into(), small),
        None => Put::Other(path.into()),
    }
}

/// Records what `write` puts into a layer, then gives the directories their metadata. Returns what
/// was learnt and what reading the layer says.
fn record(
    directories: &[&str],
    write: impl FnOnce(&LayerWriter) -> Vec<Put>,
) -> (Option<LayerDescription>, LayerDescription) {
    let store = TestStore::new();
    let writer = store.store.new_layer().unwrap();
    let recorder = Recorder::start(writer.path()).unwrap();
    // One after the other, as batches come.
    for put in write(&writer) {
        recorder.put(vec![put]);
    }
    for path in directories.iter().rev() {
        directory().apply(&writer.path().join(path)).unwrap();
    }
    let recorded = recorder.finish();
    let layer = writer.commit().unwrap();
    (recorded, store.store.describe(&layer).unwrap())
}

#[test]
fn what_is_recorded_is_what_reading_gives() {
    let directories = ["a", "a/deep", "a-b", "empty"];
    let (recorded, read) = record(&directories, |layer| {
        let long = format!("a/deep/{}", "n".repeat(200));
        let mut puts = vec![
            put_directory(layer, "a"),
            put_directory(layer, "a/deep"),
            put_file(layer, &long, b""),
            put_file(layer, "a/large", &vec![7; SmallFile::LARGEST + 1]),
            put_file(layer, "a/small", b"content"),
            put_directory(layer, "a-b"),
            put_directory(layer, "empty"),
        ];
        symlink("a/small", layer.path().join("link")).unwrap();
        puts.push(Put::Other(PathBuf::from("link")));
        puts
    });
    assert_eq!(recorded, Some(read));
}

#[test]
fn nothing_is_said_of_what_is_not_in_order() {
    let (recorded, _) = record(&[], |layer| {
        vec![put_file(layer, "b", b"b"), put_file(layer, "a", b"a")]
    });
    assert_eq!(recorded, None);
    // A file that is replaced later.
    let (recorded, _) = record(&[], |layer| {
        vec![put_file(layer, "a", b"1"), put_file(layer, "a", b"2")]
    });
    assert_eq!(recorded, None);
}

#[test]
fn nothing_is_said_when_a_directory_came_out_otherwise() {
    // Its metadata was never set.
    let (recorded, _) = record(&[], |layer| vec![put_directory(layer, "a")]);
    assert_eq!(recorded, None);
    let (recorded, _) = record(&["a"], |layer| {
        let put = put_directory(layer, "a");
        lsetxattr(
            layer.path().join(Path::new("a")),
            "user.late",
            b"x",
            XattrFlags::empty(),
        )
        .unwrap();
        vec![put]
    });
    assert_eq!(recorded, None);
}
