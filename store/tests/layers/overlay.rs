//! Views and applied layers against the kernel's overlayfs.

use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use mica_store::{Follow, Layer, Stack, View};

use crate::tree::{FIND, Tar, list_view};
use crate::{TestStore, is_root};

/// Layers that hide, replace and merge in every way, bottom first.
fn layers() -> Vec<Vec<u8>> {
    let mut bottom = Tar::new();
    bottom
        .directory("etc/", 0o750)
        .file("etc/one", b"1", 0o644)
        .file("etc/two", b"2", 0o4755);
    bottom
        .directory("opaque/", 0o700)
        .file("opaque/hidden", b"x", 0o600);
    bottom
        .directory("gone/", 0o755)
        .file("gone/file", b"x", 0o644);
    bottom
        .directory("anew/", 0o711)
        .file("anew/old", b"x", 0o644);
    bottom
        .directory("replaced/", 0o755)
        .file("replaced/by-file", b"x", 0o644);
    bottom.file("file", b"becomes a directory", 0o644);
    bottom
        .symlink("link", "etc")
        .directory("deep/a/b/c/", 0o755)
        .file("deep/a/b/c/f", b"", 0o644);
    bottom
        .file("target", b"linked", 0o640)
        .file("target-gone", b"linked, too", 0o644);
    let mut middle = Tar::new();
    middle
        .file("etc/.wh.one", b"", 0)
        .file("etc/three", b"3", 0o644);
    middle
        .directory("opaque/", 0o755)
        .file("opaque/new", b"n", 0o644)
        .hard_link("from-opaque", "opaque/hidden");
    middle
        .file("opaque/.wh..wh..opq", b"", 0)
        .file(".wh.gone", b"", 0);
    middle
        .file(".wh.anew", b"", 0)
        .directory("anew/", 0o755)
        .file("anew/new", b"n", 0o644);
    middle.file("replaced", b"now a file", 0o644);
    middle
        .directory("file/", 0o755)
        .file("file/inside", b"i", 0o644);
    middle
        .file("link/through", b"followed", 0o644)
        .hard_link("hard", "target");
    middle
        .hard_link("kept", "target-gone")
        .file(".wh.target-gone", b"", 0);
    let mut top = Tar::new();
    top.file("gone/back", b"b", 0o644)
        .file("deep/a/b/.wh.c", b"", 0);
    top.file("deep/a/b/c/new", b"n", 0o644)
        .file("etc/.wh.missing", b"", 0);
    top.directory("replaced/", 0o755)
        .file("implied/by/this", b"t", 0o644);
    vec![bottom.finish(), middle.finish(), top.finish()]
}

/// Lists an overlay mount of the layers, made in a mount namespace of its own.
fn list_mounted(directories: &[PathBuf]) -> Vec<String> {
    let lower: Vec<_> = directories
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let point = tempfile::tempdir().unwrap();
    let script = format!(
        "mount -t overlay overlay -o lowerdir='{}' '{point}' && cd '{point}' && {FIND}",
        lower.join(":"),
        point = point.path().display(),
    );
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", &script])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

fn check(stack: &Stack) {
    let mounted = list_mounted(&stack.lower_directories());
    assert_eq!(list_view(&stack.view().unwrap()), mounted);
    assert!(!mounted.is_empty());
}

#[test]
fn a_view_shows_what_an_overlay_mount_shows() {
    if !is_root("a_view_shows_what_an_overlay_mount_shows") {
        return;
    }
    let store = TestStore::new();
    let stack = store.stack(&layers());
    check(&stack);
    let names: Vec<_> = list_view(&stack.view().unwrap());
    let has = |path: &str| {
        names
            .iter()
            .any(|line| line.starts_with(&format!("{path} ")))
    };
    for path in [
        "/etc/through",
        "/hard",
        "/kept",
        "/from-opaque",
        "/gone/back",
        "/anew/new",
        "/implied/by/this",
    ] {
        assert!(has(path), "{path}: {names:#?}");
    }
    for path in [
        "/etc/one",
        "/target-gone",
        "/gone/file",
        "/anew/old",
        "/opaque/hidden",
    ] {
        assert!(!has(path), "{path}: {names:#?}");
    }
}

#[test]
fn an_opaque_root_hides_everything() {
    if !is_root("an_opaque_root_hides_everything") {
        return;
    }
    let store = TestStore::new();
    let mut top = Tar::new();
    top.directory("etc/", 0o755)
        .file("etc/only", b"o", 0o644)
        .file(".wh..wh..opq", b"", 0);
    let mut all = layers();
    all.push(top.finish());
    let stack = store.stack(&all);
    check(&stack);
    assert_eq!(list_view(&stack.view().unwrap()).len(), 2);
}

/// What the kernel writes into an upper directory, archived and applied, shows the same tree.
#[test]
fn what_overlayfs_wrote_survives_a_round_trip() {
    if !is_root("what_overlayfs_wrote_survives_a_round_trip") {
        return;
    }
    let store = TestStore::new();
    let mut stack = store.stack(&layers());
    let written = write_through_a_mount(&store, &stack);
    let mut tar = Vec::new();
    store.store.layer_tar(&written, &mut tar).unwrap();
    let mut copied = stack.clone();
    copied.push(store.store.copy_layer(&written.path).unwrap());
    let mut direct = stack.clone();
    direct.push(written);
    stack.push(store.apply(&stack, &tar).unwrap());
    check(&stack);
    check(&direct);
    check(&copied);
    let expected = list_view(&direct.view().unwrap());
    assert_eq!(list_view(&stack.view().unwrap()), expected);
    assert_eq!(list_view(&copied.view().unwrap()), expected);
}

fn write_through_a_mount(store: &TestStore, stack: &Stack) -> Layer {
    let work = tempfile::tempdir_in(store.store.root()).unwrap();
    for name in ["upper", "work", "point"] {
        fs::create_dir(work.path().join(name)).unwrap();
    }
    let lower: Vec<_> = stack
        .lower_directories()
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let options = format!(
        "lowerdir={},upperdir={root}/upper,workdir={root}/work,index=off,redirect_dir=off,metacopy=off",
        lower.join(":"),
        root = work.path().display(),
    );
    let script = format!(
        "set -e; cd '{}'; mount -t overlay overlay -o '{options}' point; cd point; \
         rm -r deep/a; mkdir -p deep/a/b; echo new > deep/a/b/n; chmod 600 etc/two; \
         rm hard; ln etc/three etc/four; mkfifo pipe; mknod null c 1 3; rm -r opaque; \
         ln -s /nowhere dangling; chown 12:34 file/inside; mv anew other || cp -a anew other",
        work.path().display(),
    );
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", &script])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let layer = store.store.copy_layer(&work.path().join("upper")).unwrap();
    assert!(layer.path.join("null").exists());
    layer
}

#[test]
fn links_are_followed_inside_the_root() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    fs::create_dir_all(root.join("a/b")).unwrap();
    fs::write(root.join("a/b/file"), b"inside").unwrap();
    fs::write(directory.path().join("outside"), b"outside").unwrap();
    for (name, target) in [
        ("absolute", "/a/b"),
        ("relative", "a/../a/b"),
        ("up", "../../../a"),
        ("loop", "loop"),
        ("escape", "../outside"),
        ("dangling", "missing/x"),
    ] {
        symlink(target, root.join(name)).unwrap();
    }
    let view = View::of_directories(&[root]).unwrap();
    let check = |path: &str, expected: Option<&str>| {
        let found = view.lookup(Path::new(path), Follow::All).unwrap();
        assert_eq!(
            found.map(|entry| entry.path),
            expected.map(PathBuf::from),
            "{path}"
        );
    };
    check("/", Some("/"));
    check("", Some("/"));
    check("../..", Some("/"));
    check("absolute/file", Some("/a/b/file"));
    check("/relative/./file", Some("/a/b/file"));
    check("up/b/../b/file", Some("/a/b/file"));
    check("a/b/file/x", None);
    check("escape", None);
    check("dangling", None);
    check("missing/..", None);
    assert!(view.lookup(Path::new("loop/x"), Follow::All).is_err());
    let link = view
        .lookup(Path::new("loop"), Follow::Parents)
        .unwrap()
        .unwrap();
    assert_eq!(view.read_link(&link).unwrap(), Path::new("loop"));
    assert!(view.open(&link).is_err(), "links are not opened");
}

#[test]
fn metadata_is_read_and_set() {
    if !is_root("metadata_is_read_and_set") {
        return;
    }
    let directory = tempfile::tempdir_in(env::temp_dir()).unwrap();
    for name in ["one", "two"] {
        fs::write(directory.path().join(name), b"x").unwrap();
    }
    let one = directory.path().join("one");
    chown(&one, Some(7), Some(8)).unwrap();
    fs::set_permissions(&one, fs::Permissions::from_mode(0o6751)).unwrap();
    let view = View::of_directories(&[directory.path().to_owned()]).unwrap();
    let read = |name: &str| {
        let entry = view.lookup(Path::new(name), Follow::All).unwrap().unwrap();
        view.metadata(&entry).unwrap()
    };
    let mut metadata = read("one");
    assert_eq!((metadata.mode, metadata.uid, metadata.gid), (0o6751, 7, 8));
    metadata
        .attributes
        .push(("user.a".into(), b"\0\n".to_vec()));
    metadata.modified = Some((-5, 123));
    metadata.apply(&directory.path().join("two")).unwrap();
    assert_eq!(read("two"), metadata);
}
