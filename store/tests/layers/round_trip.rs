//! Directory to tar stream and back.

use std::ffi::OsStr;
use std::fs::{self, File, FileTimes};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, lchown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use mica_store::{Stack, Store};
use rustix::fs::{CWD, FileType, Mode, XattrFlags, lsetxattr, makedev, mknodat};

use crate::tree::list_host;
use crate::{TestStore, is_root};

/// Writes one of everything, in overlayfs form.
fn populate(root: &Path, order: impl Fn(&mut Vec<&'static str>)) {
    let mut names = vec!["b", "a", "c.d", "c", "a-b", "Z"];
    order(&mut names);
    for name in names {
        fs::create_dir(root.join(name)).unwrap();
        fs::write(root.join(name).join("file"), name).unwrap();
    }
    let long = root.join("l".repeat(200)).join("m".repeat(200));
    fs::create_dir_all(&long).unwrap();
    fs::write(long.join("n".repeat(255)), b"long").unwrap();
    fs::write(root.join(OsStr::from_bytes(b"not-utf8-\xff")), b"bytes").unwrap();
    symlink("t".repeat(150), root.join("long-link")).unwrap();
    symlink("/etc/passwd", root.join("link")).unwrap();
    fs::hard_link(root.join("a/file"), root.join("c/same")).unwrap();
    fs::hard_link(root.join("link"), root.join("link-again")).unwrap();
    let sparse = File::create(root.join("sparse")).unwrap();
    sparse.write_all_at(b"end", (4 << 20) + 5).unwrap();
    fs::write(root.join("block"), [7; 512]).unwrap();
    let special = [
        ("null", FileType::CharacterDevice, makedev(1, 3)),
        ("disk", FileType::BlockDevice, makedev(259, 70000)),
        ("pipe", FileType::Fifo, 0),
        ("whiteout", FileType::CharacterDevice, 0),
    ];
    for (name, kind, device) in special {
        mknodat(
            CWD,
            root.join(name),
            kind,
            Mode::from_raw_mode(0o640),
            device,
        )
        .unwrap();
    }
    let set = |name: &str, attribute: &str, value: &[u8]| {
        lsetxattr(root.join(name), attribute, value, XattrFlags::empty()).unwrap();
    };
    set("b", "trusted.overlay.opaque", b"y");
    set("c", "user.note", b"\0=\n\xff");
    set(
        "c/file",
        "security.capability",
        b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    );
    lchown(root.join("link"), Some(5), Some(6)).unwrap();
    lchown(root.join("a/file"), Some(4_000_000_000), Some(3_000_000)).unwrap();
    fs::set_permissions(root.join("a/file"), fs::Permissions::from_mode(0o6755)).unwrap();
    set_times(root);
}

/// Gives everything a time of its own kind: whole, with nanoseconds, before 1970.
fn set_times(directory: &Path) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let length = path.as_os_str().len() as u64;
        let time = match length % 3 {
            0 => UNIX_EPOCH + Duration::from_secs(length),
            1 => UNIX_EPOCH + Duration::new(1_600_000_000, 1),
            _ => UNIX_EPOCH - Duration::from_millis(1500),
        };
        let stat = fs::symlink_metadata(&path).unwrap();
        if stat.is_dir() {
            set_times(&path);
        }
        if stat.is_dir() || stat.is_file() {
            let times = FileTimes::new().set_modified(time);
            File::open(&path).unwrap().set_times(times).unwrap();
        } else {
            let timespec = rustix::fs::Timespec {
                tv_sec: 9,
                tv_nsec: 8,
            };
            let times = rustix::fs::Timestamps {
                last_access: timespec,
                last_modification: timespec,
            };
            let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
            rustix::fs::utimensat(CWD, &path, &times, flags).unwrap();
        }
    }
}

fn made(store: &Store, order: impl Fn(&mut Vec<&'static str>)) -> mica_store::Layer {
    let writer = store.new_layer().unwrap();
    // Same length of path for the same times.
    populate(writer.path(), order);
    writer.commit().unwrap()
}

/// The whiteouts' and opaque marks' own metadata is not archived; a whiteout of nothing is not
/// made.
fn comparable(root: &Path) -> Vec<String> {
    let mut lines = list_host(root);
    lines.retain(|line| !line.starts_with("/whiteout "));
    lines
}

#[test]
fn a_tree_survives_tar_and_back() {
    if !is_root("a_tree_survives_tar_and_back") {
        return;
    }
    let store = TestStore::new();
    let layer = made(&store.store, |_| {});
    let mut tar = Vec::new();
    let description = store.store.layer_tar(&layer, &mut tar).unwrap();
    assert_eq!(description, store.store.describe(&layer).unwrap());
    assert_eq!(description.size, tar.len() as u64);
    let applied = store.apply(&Stack::default(), &tar).unwrap();
    assert_eq!(comparable(&applied.path), comparable(&layer.path));
    assert_eq!(
        applied.description.as_ref().map(|it| it.entries),
        Some(description.entries)
    );
    let copied = store.store.copy_layer(&layer.path).unwrap();
    assert_eq!(list_host(&copied.path), list_host(&layer.path));
    let again = store.store.describe(&copied).unwrap();
    assert_eq!(again, description);
}

#[test]
fn neither_order_nor_place_shapes_the_stream() {
    if !is_root("neither_order_nor_place_shapes_the_stream") {
        return;
    }
    let store = TestStore::new();
    let mut digests = Vec::new();
    for turn in 0..3 {
        let layer = made(&store.store, |names| match turn {
            0 => {}
            1 => names.reverse(),
            _ => names.rotate_left(2),
        });
        digests.push(store.store.describe(&layer).unwrap().diff_id);
    }
    assert!(
        digests.windows(2).all(|pair| pair[0] == pair[1]),
        "{digests:?}"
    );
}

#[test]
fn names_stand_in_the_stream_as_tools_expect_them() {
    if !is_root("names_stand_in_the_stream_as_tools_expect_them") {
        return;
    }
    let store = TestStore::new();
    let layer = made(&store.store, |_| {});
    let _socket = UnixListener::bind(layer.path.join("socket")).unwrap();
    let mut tar = Vec::new();
    store.store.layer_tar(&layer, &mut tar).unwrap();
    let mut names = Vec::new();
    for entry in tar::Archive::new(&tar[..]).entries().unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.header().username_bytes(), Some(&b""[..]));
        names.push(entry.path_bytes().escape_ascii().to_string());
    }
    let expected = [
        "Z/",
        "Z/file",
        "a-b/",
        "a-b/file",
        "a/",
        "a/file",
        "b/",
        "b/.wh..wh..opq",
    ];
    let mut sorted = names.clone();
    sorted.retain(|name| expected.contains(&name.as_str()));
    assert_eq!(
        sorted,
        [
            "Z/",
            "Z/file",
            "a/",
            "a/file",
            "a-b/",
            "a-b/file",
            "b/",
            "b/.wh..wh..opq"
        ]
    );
    let has = |name: &str| names.iter().any(|known| known == name);
    assert!(
        has(".wh.whiteout") && has("not-utf8-\\xff") && has("pipe"),
        "{names:?}"
    );
    assert!(!has("socket") && !has("./") && !has(""), "{names:?}");
}
