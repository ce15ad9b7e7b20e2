//! What every snapshotter must do: one set of cases for all of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mica_oci::MountKind;
use mica_store::{
    ActiveSnapshot, Durability, Layer, SnapshotKind, Snapshotter, Stack, Store, StoreError,
    directory_tar,
};

use crate::place::Place;
use crate::tree::list_host;
use crate::{is_root, skipped};

/// The layers below, made by shell scripts.
const LAYERS: &[&str] = &[
    "mkdir -p d/sub e o/in; echo 1 > d/a; echo 2 > d/sub/b; echo 3 > e/f; echo 4 > o/1; echo 5 > o/in/2; \
     ln d/a d/hard; ln -s d/a link; echo 0 > t1; ln t1 t2; ln t1 t3; mkfifo pipe; mknod null c 1 3; echo cap > cap; chmod 755 cap; \
     capability cap",
    "mkdir -p d/sub; echo 6 > d/sub/c; chmod 700 d/sub; echo 7 > new; chown 5:6 new",
    "mkdir -p d g; echo 8 > d/a; echo 9 > g/h; whiteout d/gone; mkdir o; opaque o; echo 10 > o/3",
];

/// Shell functions for what has no common program.
const FUNCTIONS: &str = r#"
attribute() { python3 -c 'import os, sys; os.setxattr(sys.argv[1], sys.argv[2], bytes.fromhex(sys.argv[3]), follow_symlinks=False)' "$@"; }
capability() { attribute "$1" security.capability 0100000200200000000000000000000000000000; }
whiteout() { mknod "$1" c 0 0 2>/dev/null || { mknod "$1" c 0 1 && chmod 7000 "$1"; }; }
opaque() { attribute "$1" trusted.overlay.opaque 79; }
has() { python3 -c 'import os, sys; os.getxattr(sys.argv[1], sys.argv[2])' "$@"; }
"#;

struct Case {
    name: &'static str,
    /// What is done in the mount.
    script: &'static str,
    /// The layer's entries; a directory ends with a slash.
    entries: &'static [&'static str],
    /// What is then true in a snapshot on top of the new layer.
    check: &'static str,
}

const fn case(
    name: &'static str,
    script: &'static str,
    entries: &'static [&'static str],
    check: &'static str,
) -> Case {
    Case {
        name,
        script,
        entries,
        check,
    }
}

const CASES: &[Case] = &[
    case("nothing", "cat d/a e/f; ls -R .", &[], "test -e d/a"),
    case(
        "new file",
        "echo n > d/n; echo m > m",
        &["d/", "d/n", "m"],
        "grep -q n d/n && grep -q m m",
    ),
    case(
        "changed file",
        "echo more >> d/a",
        &["d/", "d/a"],
        "test \"$(cat d/a | tr '\\n' ' ')\" = '8 more '",
    ),
    case(
        "file of the lowest of three layers",
        "echo more >> d/sub/b",
        &["d/", "d/sub/", "d/sub/b"],
        "test \"$(cat d/sub/b | tr '\\n' ' ')\" = '2 more ' && test $(stat -c %a d/sub) = 700",
    ),
    case(
        "metadata alone",
        "chmod 4711 e/f; chown 9:9 new",
        &["e/", "e/f", "new"],
        "test \"$(stat -c %a e/f)\" = 4711 && test \"$(stat -c %u new)\" = 9 && grep -q 3 e/f",
    ),
    case(
        "metadata of a directory",
        "chmod 711 g",
        &["g/"],
        "test $(stat -c %a g) = 711 && test -e g/h",
    ),
    case(
        "time",
        "touch -d 2001-02-03T04:05:06.789 e/f; touch -h -d 1960-01-01 link",
        &["e/", "e/f", "link"],
        "test \"$(stat -c %Y e/f)\" = $(date -d 2001-02-03T04:05:06 +%s) && test $(stat -c %Y link) -lt 0",
    ),
    case(
        "removal",
        "rm e/f link; rm -r g",
        &[".wh.g", ".wh.link", "e/", "e/.wh.f"],
        "! test -e e/f && ! test -e link && ! test -e g && test -d e",
    ),
    case(
        "removal of what is new",
        "echo x > x; mkdir y; echo > y/z; rm -r x y",
        &[],
        "! test -e x",
    ),
    case(
        "file becomes directory",
        "rm e/f; mkdir e/f; echo in > e/f/in",
        &["e/", "e/f/", "e/f/.wh..wh..opq", "e/f/in"],
        "grep -q in e/f/in",
    ),
    case(
        "directory becomes file",
        "rm -r d; echo file > d",
        &["d"],
        "grep -q file d",
    ),
    case(
        "file becomes link",
        "rm e/f; ln -s ../new e/f",
        &["e/", "e/f"],
        "grep -q 7 e/f && test -L e/f",
    ),
    case(
        "removed and made again",
        "rm e/f; echo again > e/f",
        &["e/", "e/f"],
        "grep -q again e/f",
    ),
    case(
        "directory replaced",
        "rm -r d; mkdir d; echo only > d/only",
        &["d/", "d/.wh..wh..opq", "d/only"],
        "test \"$(ls d)\" = only",
    ),
    case(
        "directory replaced by one of the same names",
        "rm -r g; mkdir g; echo 9 > g/h",
        &["g/", "g/.wh..wh..opq", "g/h"],
        "test \"$(ls g)\" = h",
    ),
    case(
        "inside an opaque directory",
        "rm o/3; echo 4 > o/1",
        &["o/", "o/.wh.3", "o/1"],
        "test \"$(ls o)\" = 1 && ! test -e o/in",
    ),
    case(
        "directory of a lower layer moved",
        "mv g k; mv d/sub d/other",
        &[
            ".wh.g",
            "d/",
            "d/.wh.sub",
            "d/other/",
            "d/other/b",
            "d/other/c",
            "k/",
            "k/h",
        ],
        "grep -q 9 k/h && grep -q 2 d/other/b && grep -q 6 d/other/c && ! test -e g && ! test -e d/sub",
    ),
    case(
        "directory moved over another",
        "rm -r e; mv g e",
        &[".wh.g", "e/", "e/.wh..wh..opq", "e/h"],
        "test \"$(ls e)\" = h",
    ),
    case(
        "file moved",
        "mv e/f moved; mv new e/new",
        &[".wh.new", "e/", "e/.wh.f", "e/new", "moved"],
        "grep -q 3 moved && grep -q 7 e/new && test $(stat -c %u e/new) = 5",
    ),
    case(
        "hard links",
        "echo l > l1; ln l1 l2; mkdir q; ln l1 q/l3; ln e/f e/linked",
        &["e/", "e/f", "e/linked", "l1", "l2", "q/", "q/l3"],
        "test l1 -ef q/l3 && test $(stat -c %h l2) = 3 && test e/f -ef e/linked",
    ),
    case(
        "one of two hard links below",
        "rm d/hard",
        &["d/", "d/.wh.hard"],
        "grep -q 8 d/a && ! test -e d/hard",
    ),
    case(
        "hard links of one layer",
        "rm t2; echo more >> t1",
        &[".wh.t2", "t1"],
        "grep -q more t1 && ! test -e t2 && test $(cat t3) = 0",
    ),
    case(
        "attributes",
        "attribute new user.mine 6162; capability e/f; attribute d trusted.mine 63",
        &["d/", "e/", "e/f", "new"],
        "has new user.mine && has e/f security.capability && has d trusted.mine && has cap security.capability",
    ),
    case(
        "devices and pipes",
        "mknod -m 600 dev c 1 5; mknod disk b 7 1; mkfifo fifo; rm null; chmod 600 pipe",
        &[".wh.null", "dev", "disk", "fifo", "pipe"],
        "test -c dev && test -b disk && test -p fifo && ! test -e null && test $(stat -c %a pipe) = 600",
    ),
    case(
        "links of all kinds",
        "ln -s /nowhere s1; ln -sf e link; ln -s s2 s2",
        &["link", "s1", "s2"],
        "test \"$(readlink link)\" = e && test \"$(readlink s2)\" = s2",
    ),
    case(
        "odd names",
        "echo 1 > \"$(printf 'n\\351\\n')\"; echo 2 > \"$(printf '%0200d' 0)\"",
        &[
            "00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000",
            "n\\xe9",
        ],
        "test -e \"$(printf '%0200d' 0)\"",
    ),
    case(
        "holes",
        "truncate -s 1M sparse; truncate -s 8M e/f",
        &["e/", "e/f", "sparse"],
        "test $(stat -c %s e/f) = 8388608 && head -c 2 e/f | grep -q 3",
    ),
];

fn shell(script: &str) {
    let mut command = Command::new("unshare");
    let script = format!("{FUNCTIONS}\n{script}");
    let output = command.args(["-m", "bash", "-ec", &script]).output();
    let output = output.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {errors}");
}

/// Makes and registers the layers below.
fn stack(store: &Store) -> Stack {
    let mut stack = Stack::default();
    for script in LAYERS {
        let writer = store.new_layer().unwrap();
        shell(&format!("cd '{}'; {script}", writer.path().display()));
        register(store, &mut stack, writer.commit().unwrap());
    }
    stack
}

fn register(store: &Store, stack: &mut Stack, layer: Layer) {
    let below = stack.layers.last().and_then(|layer| layer.chain.clone());
    let description = store.describe(&layer).unwrap();
    let layer = store.register(below.as_ref(), layer, &description);
    stack.push(layer.unwrap());
}

/// Runs a script in a snapshot's mount.
fn run_in(snapshot: &ActiveSnapshot, script: &str) {
    let root = snapshot.root().display();
    let mount = match snapshot.mount(Durability::Volatile) {
        MountKind::Bind { source } => format!("mount --bind '{}' '{root}'", source.display()),
        MountKind::Overlay {
            lower,
            upper: Some(upper),
        } => {
            let lower: Vec<_> = lower
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            let (upper, work) = (upper.upper.display(), upper.work.display());
            let options = "index=off,redirect_dir=off,metacopy=off";
            let lower = lower.join(":");
            format!(
                "mount -t overlay -o lowerdir={lower},upperdir={upper},workdir={work},{options} overlay '{root}'"
            )
        }
        other => panic!("{other:?}"),
    };
    shell(&format!(
        "{mount}; cd '{root}'; {{ {script}; }} >&2; cd /; umount '{root}'"
    ));
}

fn ephemeral(store: &Store, stack: &Stack) -> ActiveSnapshot {
    store.prepare(stack, SnapshotKind::Ephemeral, &[]).unwrap()
}

/// Lists a layer's entries with all that does not depend on the hour.
fn entries(layer: &Path) -> Vec<(String, String)> {
    let mut stream = Vec::new();
    directory_tar(layer, &mut stream).unwrap();
    let mut archive = tar::Archive::new(&stream[..]);
    let describe = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
        let mut entry = entry.unwrap();
        let name = entry.path_bytes().escape_ascii().to_string();
        let extensions = entry.pax_extensions().unwrap();
        let extensions = extensions.into_iter().flatten().map(|it| it.unwrap());
        let attributes: Vec<_> = extensions
            .filter(|it| it.key_bytes().starts_with(b"SCHILY"))
            .map(|it| (it.key().unwrap().to_owned(), it.value_bytes().to_vec()))
            .collect();
        let header = entry.header();
        let said = format!(
            "{:?} {:o} {:?} {:?} {} {:?} {:?} {attributes:?}",
            header.entry_type(),
            header.mode().unwrap(),
            header.uid(),
            header.gid(),
            header.size().unwrap(),
            header.device_major(),
            entry
                .link_name_bytes()
                .map(|it| it.escape_ascii().to_string()),
        );
        (name, said)
    };
    archive.entries().unwrap().map(describe).collect()
}

/// The names of a layer's entries, sorted.
fn names(entries: &[(String, String)]) -> Vec<&str> {
    let mut names: Vec<_> = entries.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names
}

/// Runs all cases; returns the entries of each layer.
fn conform(store: &Store) -> Vec<Vec<(String, String)>> {
    let base = stack(store);
    let directories = base.lower_directories();
    let before: Vec<_> = directories.iter().map(|path| list_host(path)).collect();
    let mut all = Vec::new();
    for case in CASES {
        let name = case.name;
        let snapshot = ephemeral(store, &base);
        run_in(&snapshot, case.script);
        // As a container's: what is looked at is what is sealed.
        let looked_at = entries(snapshot.written().unwrap().as_ref());
        let copied = entries(&snapshot.copy_layer().unwrap().path);
        let (layer, rest) = snapshot.commit().unwrap();
        drop(rest);
        let found = entries(&layer.path);
        assert_eq!(names(&found), case.entries, "{name}");
        assert_eq!((&looked_at, &copied), (&found, &found), "{name}");
        let mut stack = base.clone();
        register(store, &mut stack, layer);
        run_in(&ephemeral(store, &stack), case.check);
        all.push(found);
    }
    let after: Vec<_> = directories.iter().map(|path| list_host(path)).collect();
    assert_eq!(before, after, "no layer below has changed");
    all
}

/// Two snapshots of one stack know nothing of each other; one that stays can be gone on with.
fn stand_alone(store: &Store) {
    let base = stack(store);
    let kind = SnapshotKind::Persistent("box".into());
    let (one, two) = (
        store.prepare(&base, kind, &[]).unwrap(),
        ephemeral(store, &base),
    );
    run_in(&one, "echo one > e/f; rm new");
    run_in(&two, "grep -q 3 e/f; test -e new; echo two > d/a");
    drop(one);
    let one = store.open_snapshot("box").unwrap();
    run_in(
        &one,
        "grep -q one e/f; ! test -e new; grep -q 8 d/a; echo more > more",
    );
    let copied = one.copy_layer().unwrap();
    assert_eq!(
        names(&entries(&copied.path)),
        [".wh.new", "e/", "e/f", "more"]
    );
    run_in(&one, "rm more");
    assert_eq!(
        names(&entries(one.written().unwrap().as_ref())),
        [".wh.new", "e/", "e/f"]
    );
    assert_eq!(
        names(&entries(&two.commit().unwrap().0.path)),
        ["d/", "d/a"]
    );
    store.remove_snapshot("box").unwrap();
    assert!(store.snapshots().unwrap().is_empty());
}

/// Makes a file system, or says why it cannot be had.
type MakePlace = fn() -> Result<Place, String>;

#[test]
fn every_snapshotter_conforms() {
    if !is_root("every_snapshotter_conforms") {
        return;
    }
    let mut expected = None;
    let places = [
        (Snapshotter::Overlayfs, Place::plain as MakePlace),
        (Snapshotter::Reflink, Place::with_clones),
        (Snapshotter::Reflink, Place::on_an_overlay),
    ];
    for (snapshotter, make) in places {
        let place = match make() {
            Ok(place) => place,
            Err(reason) => {
                skipped("every_snapshotter_conforms, reflink", &reason);
                continue;
            }
        };
        let store = place.store(snapshotter);
        stand_alone(&store);
        let found = conform(&store);
        let expected = expected.get_or_insert_with(|| found.clone());
        for ((found, expected), case) in found.iter().zip(&*expected).zip(CASES) {
            assert_eq!(found, expected, "{}: both write the same layer", case.name);
        }
    }
}

/// Without clones an image can be looked at, and nothing be written.
#[test]
fn without_clones_a_snapshot_is_only_read() {
    if !is_root("without_clones_a_snapshot_is_only_read") {
        return;
    }
    let place = Place::plain().unwrap();
    let store = place.store(Snapshotter::Reflink);
    let base = stack(&store);
    let view = store.prepare(&base, SnapshotKind::View("view".into()), &[]);
    let MountKind::Overlay { lower, upper: None } = view.unwrap().mount(Durability::Durable) else {
        panic!("it is only read");
    };
    let tree: &PathBuf = &lower[0];
    assert_eq!(fs::read(tree.join("d/a")).unwrap(), b"8\n");
    assert!(!tree.join("o/1").exists() && tree.join("o/3").exists());
    match store.prepare(&base, SnapshotKind::Ephemeral, &[]) {
        // The file system of the tests may be one that clones.
        Ok(snapshot) => run_in(&snapshot, "echo new > new"),
        Err(error) => assert!(matches!(error, StoreError::NoClones { .. }), "{error}"),
    }
}
