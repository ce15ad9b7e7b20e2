//! Snapshots: prepare, mount, commit, abandon.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use mica_oci::MountKind;
use mica_store::{
    ActiveSnapshot, Durability, InitEntry, InitKind, SnapshotKind, Stack, StoreError,
};

use crate::tree::{Tar, list_host};
use crate::{TestStore, is_root};

fn init() -> Vec<InitEntry> {
    let entry = |path: &str, kind| InitEntry {
        path: path.into(),
        kind,
    };
    vec![
        entry("/etc/hosts", InitKind::EmptyFile { mode: 0o644 }),
        entry("/etc/resolv.conf", InitKind::EmptyFile { mode: 0o644 }),
        entry("/dev/pts", InitKind::Directory { mode: 0o755 }),
        entry("/etc/mtab", InitKind::Symlink("/proc/mounts".into())),
        entry("/etc/mtab", InitKind::Symlink("/never".into())),
    ]
}

fn base() -> Vec<u8> {
    let mut tar = Tar::new();
    tar.directory("./", 0o751)
        .directory("etc/", 0o750)
        .file("etc/hosts", b"own", 0o600);
    tar.symlink("etc/resolv.conf", "../run/resolv.conf");
    tar.finish()
}

fn lower(snapshot: &ActiveSnapshot) -> Vec<PathBuf> {
    match snapshot.mount(Durability::Volatile) {
        MountKind::Overlay {
            lower,
            upper: Some(upper),
        } => {
            assert!(upper.volatile && upper.upper == upper_of(snapshot));
            lower
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_init_layer_holds_what_the_stack_has_not() {
    if !is_root("the_init_layer_holds_what_the_stack_has_not") {
        return;
    }
    let store = TestStore::new();
    let stack = store.stack(&[base()]);
    let snapshot = store
        .store
        .prepare(&stack, SnapshotKind::Ephemeral, &init())
        .unwrap();
    let lower = lower(&snapshot);
    assert_eq!(lower[1..], stack.lower_directories());
    let lines = list_host(&lower[0]);
    let names: Vec<_> = lines
        .iter()
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "/dev",
            "/dev/pts",
            "/etc",
            "/etc/mtab",
            "/run",
            "/run/resolv.conf"
        ]
    );
    assert!(
        lines[2].starts_with("/etc 40750 0:0 1600000000.000000000"),
        "{lines:#?}"
    );
    assert_eq!(
        fs::read_link(lower[0].join("etc/mtab")).unwrap(),
        Path::new("/proc/mounts")
    );
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(
        (mode(&upper_of(&snapshot)), mode(&lower[0])),
        (0o751, 0o751)
    );
}

#[test]
fn an_empty_stack_has_the_init_layer_below() {
    let store = TestStore::new();
    let snapshot = store
        .store
        .prepare(&Stack::default(), SnapshotKind::Ephemeral, &[])
        .unwrap();
    assert_eq!(lower(&snapshot).len(), 1);
}

#[test]
fn commit_makes_a_layer_of_what_was_written() {
    if !is_root("commit_makes_a_layer_of_what_was_written") {
        return;
    }
    let store = TestStore::new();
    let mut stack = store.stack(&[base()]);
    let snapshot = store
        .store
        .prepare(&stack, SnapshotKind::Ephemeral, &init())
        .unwrap();
    run_in(
        &snapshot,
        Durability::Volatile,
        "echo new > etc/new; rm etc/hosts; chmod 700 etc",
    );
    let (layer, committed) = snapshot.commit().unwrap();
    drop(committed);
    assert!(
        fs::read_dir(store.store.root().join("snapshots"))
            .unwrap()
            .next()
            .is_none()
    );
    let description = store.store.describe(&layer).unwrap();
    let chain = stack.layers[0].chain.clone();
    stack.push(
        store
            .store
            .register(chain.as_ref(), layer, &description)
            .unwrap(),
    );
    let view = stack.view().unwrap();
    let find = |path: &str| {
        view.lookup(Path::new(path), mica_store::Follow::All)
            .unwrap()
    };
    assert!(find("etc/new").is_some() && find("etc/hosts").is_none() && find("dev").is_none());
    assert_eq!(find("etc").map(|entry| entry.mode), Some(0o700));
    assert_eq!(find("/").map(|entry| entry.mode), Some(0o751));
    let diff_ids: Vec<_> = stack
        .layers
        .iter()
        .map(|layer| layer.description.clone().unwrap().diff_id)
        .collect();
    assert_eq!(store.store.stack(&diff_ids).unwrap(), stack);
}

#[test]
fn dropped_snapshots_go_and_persistent_ones_stay() {
    let store = TestStore::new();
    let none = Stack::default();
    drop(
        store
            .store
            .prepare(&none, SnapshotKind::Ephemeral, &[])
            .unwrap(),
    );
    let persistent = || SnapshotKind::Persistent("box".to_owned());
    drop(store.store.prepare(&none, persistent(), &[]).unwrap());
    assert_eq!(store.store.snapshots().unwrap(), ["box"]);
    let again = store.store.prepare(&none, persistent(), &[]);
    assert!(
        matches!(again, Err(StoreError::SnapshotExists { .. })),
        "{again:?}"
    );
    assert_eq!(store.store.open_snapshot("box").unwrap().id(), "box");
    store.store.remove_snapshot("box").unwrap();
    for id in ["box", "", "..", "a/b"] {
        let opened = store.store.open_snapshot(id);
        assert!(
            matches!(opened, Err(StoreError::NoSnapshot { .. })),
            "{id}: {opened:?}"
        );
    }
    assert!(
        fs::read_dir(store.store.root().join("snapshots"))
            .unwrap()
            .next()
            .is_none()
    );
}

/// A volatile mount that was not unmounted is refused by the kernel until its mark is removed.
#[test]
fn an_unclean_volatile_mount_can_be_opened_again() {
    if !is_root("an_unclean_volatile_mount_can_be_opened_again") {
        return;
    }
    let store = TestStore::new();
    let stack = store.stack(&[base()]);
    let kind = SnapshotKind::Persistent("box".to_owned());
    let snapshot = store.store.prepare(&stack, kind, &init()).unwrap();
    run_in(&snapshot, Durability::Volatile, "echo 1 > one");
    let mark = upper_of(&snapshot)
        .with_file_name("work")
        .join("work/incompat/volatile");
    fs::create_dir_all(&mark).unwrap();
    let opened = store.store.open_snapshot("box").unwrap();
    assert_eq!(opened.parents(), stack);
    run_in(&opened, Durability::Durable, "test -e one && echo 2 > two");
    assert!(upper_of(&opened).join("two").exists());
}

/// The directory that takes what is written.
fn upper_of(snapshot: &ActiveSnapshot) -> PathBuf {
    snapshot.written().unwrap().as_ref().to_owned()
}

/// Runs a script in the snapshot's mount, in a mount namespace of its own.
fn run_in(snapshot: &ActiveSnapshot, durability: Durability, script: &str) {
    let MountKind::Overlay {
        lower,
        upper: Some(upper),
    } = snapshot.mount(durability)
    else {
        panic!("no overlay with an upper directory");
    };
    let lower: Vec<_> = lower
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let options = format!(
        "lowerdir={},upperdir={},workdir={}{}",
        lower.join(":"),
        upper.upper.display(),
        upper.work.display(),
        if upper.volatile { ",volatile" } else { "" },
    );
    let root = snapshot.root().display();
    let script = format!(
        "mount -t overlay overlay -o '{options}' '{root}' && cd '{root}' && {script} && cd / && umount '{root}'"
    );
    let output = Command::new("unshare")
        .args(["-m", "sh", "-e", "-c", &script])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
