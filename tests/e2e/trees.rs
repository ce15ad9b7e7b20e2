//! The tree of every image is the one that `umoci unpack` makes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use mica_tests::{DockerDaemon, Machine, Outcome, needs, run};
use rustix::fs::{XattrFlags, lgetxattr, llistxattr, lsetxattr, major, minor};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::files::{built, high_archive, objects};

/// What is known of a file, in words: type, rights, owners, size, time, device, target, content,
/// attributes.
type Facts = String;

/// Files by path; of those with several names all names, the first of them in front.
#[derive(Default)]
struct Files {
    facts: BTreeMap<Vec<u8>, Facts>,
    names: BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>>,
}

impl Files {
    /// Returns what differs first.
    fn difference(&self, other: &Self) -> Option<String> {
        let differs = |path: &&Vec<u8>| self.facts.get(*path) != other.facts.get(*path);
        let mut paths = self.facts.keys().chain(other.facts.keys());
        let path = paths.find(differs).map(|path| {
            let [one, two] = [self, other].map(|files| files.facts.get(path));
            format!("{}: {one:?}, by umoci {two:?}", path.escape_ascii())
        });
        let [one, two] = [&self.names, &other.names];
        path.or_else(|| (one != two).then(|| format!("names: {one:?}, by umoci {two:?}")))
    }
}

/// Every file of a directory as the listing has it.
fn walked(root: &Path) -> Files {
    let mut files = Files::default();
    let mut inodes: BTreeMap<u64, BTreeSet<Vec<u8>>> = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(directory).expect("it can be read") {
            let path = entry.expect("it can be read").path();
            let stat = path.symlink_metadata().expect("it is there");
            let name = path.strip_prefix(root).expect("it is below");
            let name = name.as_os_str().as_bytes().to_vec();
            files.facts.insert(name.clone(), facts_of(&path, &stat));
            if stat.is_dir() {
                todo.push(path);
            } else {
                inodes.entry(stat.ino()).or_default().insert(name);
            }
        }
    }
    let several = inodes.into_values().filter(|names| names.len() > 1);
    files
        .names
        .extend(several.filter_map(|names| Some((names.first()?.clone(), names))));
    files
}

fn facts_of(path: &Path, stat: &Metadata) -> Facts {
    let kind = stat.file_type();
    let word = match () {
        () if kind.is_dir() => "dir",
        () if kind.is_symlink() => "symlink",
        () if kind.is_fifo() => "fifo",
        () if kind.is_char_device() => "char",
        () if kind.is_block_device() => "block",
        () => "file",
    };
    let (mode, uid, gid, mtime) = (stat.mode() & 0o7777, stat.uid(), stat.gid(), stat.mtime());
    let size = if kind.is_file() { stat.len() } else { 0 };
    let mut facts = format!("{word} {mode:04o} {uid} {gid} {size} {mtime}");
    if kind.is_symlink() {
        let target = fs::read_link(path).expect("it is a link");
        facts += &format!(" -> {}", target.to_string_lossy());
    }
    if kind.is_file() {
        let content = fs::read(path).expect("root may");
        facts += &format!(" sha256:{}", hex::encode(Sha256::digest(&content)));
    }
    if kind.is_char_device() || kind.is_block_device() {
        facts += &format!(" {}:{}", major(stat.rdev()), minor(stat.rdev()));
    }
    for (name, value) in attributes(path) {
        facts += &format!(" {name}={value}");
    }
    facts
}

/// Returns names and values, these in hexadecimal.
fn attributes(path: &Path) -> BTreeMap<String, String> {
    let (mut names, mut value) = ([0; 4096], [0; 4096]);
    let length = llistxattr(path, &mut names[..]).expect("the file system has them");
    let names = names[..length].split(|byte| *byte == 0);
    let mut read = |name: &[u8]| {
        let length = lgetxattr(path, name, &mut value[..]).expect("it is there");
        let hex = value[..length].iter().map(|byte| format!("{byte:02x}"));
        (String::from_utf8_lossy(name).into_owned(), hex.collect())
    };
    names
        .filter(|name| !name.is_empty())
        .map(&mut read)
        .collect()
}

fn listed(machine: &Machine, image: &str) -> Files {
    let mut files = Files::default();
    for row in objects(&machine.ok(["ls", "-R", "--format", "json", image])) {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let path = match row["path_hex"].as_str() {
            None => text("path").into_bytes()[1..].to_vec(),
            Some(hex) => (0..hex.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal"))
                .collect(),
        };
        let (link, kind) = (text("link"), text("type"));
        if kind != "symlink" && !link.is_empty() {
            let first = link.as_bytes()[1..].to_vec();
            let names = files.names.entry(first.clone()).or_default();
            names.extend([first, path.clone()]);
        }
        files.facts.insert(path, facts_in(&row, &kind, &link));
    }
    files
}

fn facts_in(row: &Value, kind: &str, link: &str) -> Facts {
    let seconds = row["mtime"].as_f64().expect("it is a number").floor();
    let mode = row["mode"].as_str().expect("it is a text");
    let (uid, gid, size) = (&row["uid"], &row["gid"], &row["size"]);
    let mut facts = format!("{kind} {mode} {uid} {gid} {size} {seconds}");
    if kind == "symlink" {
        facts += &format!(" -> {link}");
    }
    if let Some(digest) = row["digest"].as_str() {
        facts += &format!(" {digest}");
    }
    if let Some(device) = row["device"].as_array() {
        facts += &format!(" {}:{}", device[0], device[1]);
    }
    let attributes = row["xattrs"].as_object().expect("it is an object").iter();
    for (name, value) in attributes.collect::<BTreeMap<_, _>>() {
        facts += &format!(" {name}={}", value.as_str().expect("hexadecimal"));
    }
    facts
}

/// Layers by hand, in shell: one script a layer, run where the layer is made.
const BY_HAND: &[&str] = &[
    "mkdir -p d/sub e/f; echo 1 > d/a; echo 2 > d/sub/b; echo 3 > e/f/c; ln d/a hard; ln -s /d/sub link; mkfifo pipe; mknod null c 1 3; chmod 4755 d/a; chown 7:8 e",
    "mkdir d e; touch d/.wh.sub e/.wh..wh..opq; echo 4 > e/new",
    "mkdir -p d/sub; echo 5 > d/sub/again; printf x > \"$(printf 'n\\351\\377')\"; chmod 700 d; touch .wh.pipe",
    "mkdir d; touch d/.wh.a; echo moved > hard; mkdir e; ln -s ../d e/up",
    "echo 6 > one; ln one two; ln one three; mkdir e; ln one e/four",
    "touch .wh.one; echo 7 > two; mkdir e; echo 8 > e/five; ln e/five e/six",
];

/// Attributes of their files: layer, path, name, value.
const ATTRIBUTES: &[(usize, &str, &str, &[u8])] = &[
    (0, "d/a", "user.note", b"of two names"),
    (0, "d/sub", "user.directory", b"\0=\n"),
    (0, "e/f/c", "user.old", b"1"),
    (1, "e/new", "security.capability", CAPABILITY),
    (2, "d", "user.directory", b"2"),
];

/// `cap_net_raw+ep`, as `linux/capability.h` lays out version 2.
const CAPABILITY: &[u8] = &[
    1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

fn hand_made(machine: &Machine) -> Vec<PathBuf> {
    let make = |(number, script): (usize, &&str)| {
        let directory = machine.context(&format!("layer{number}"), &[]);
        let layer = machine.path(&format!("layer{number}.tar"));
        run(Command::new("sh")
            .args(["-ec", script])
            .current_dir(&directory))
        .ok();
        let attributed = ATTRIBUTES.iter().filter(|(layer, ..)| *layer == number);
        for (_, path, name, value) in attributed {
            let set = lsetxattr(directory.join(path), *name, value, XattrFlags::empty());
            set.expect("the file system has them");
        }
        let mut tar = Command::new("tar");
        tar.args(["--format=posix", "--xattrs", "--xattrs-include=*", "-cf"]);
        run(tar.arg(&layer).arg("-C").arg(&directory).arg(".")).ok();
        layer
    };
    BY_HAND.iter().enumerate().map(make).collect()
}

/// An OCI layout of layers by umoci, and the tree that umoci unpacks it to.
fn umoci_image(machine: &Machine, name: &str, layers: &[PathBuf]) -> String {
    let layout = machine.path(name);
    let layout = layout.to_str().expect("UTF-8");
    let image = format!("{layout}:it");
    let umoci = |arguments: &[&str]| run(Command::new("umoci").args(arguments)).ok().to_owned();
    umoci(&["init", "--layout", layout]);
    umoci(&["new", "--image", &image]);
    for layer in layers {
        umoci(&[
            "raw",
            "add-layer",
            "--image",
            &image,
            layer.to_str().expect("UTF-8"),
        ]);
    }
    image
}

fn check_unpacked(machine: &Machine, image: &str) {
    check_same(machine, image, &format!("oci:{image}"));
}

/// Compares what umoci unpacks of a layout's image with what mica lists of the same image elsewhere.
fn check_same(machine: &Machine, image: &str, elsewhere: &str) {
    let bundle = machine.path("bundle");
    run(Command::new("umoci")
        .args(["unpack", "--image", image])
        .arg(&bundle))
    .ok();
    let (expected, actual) = (walked(&bundle.join("rootfs")), listed(machine, elsewhere));
    if let Some(difference) = actual.difference(&expected) {
        panic!("{image}: {difference}");
    }
    fs::remove_dir_all(bundle).expect("it was made");
}

pub(crate) fn are_those_of_umoci() -> Outcome {
    needs(&["umoci", "tar"])?;
    let machine = built();
    let saved = machine.path("saved.tar");
    machine.ok([
        "save",
        "--format",
        "oci-archive",
        "-o",
        saved.to_str().expect("UTF-8"),
        "t",
    ]);
    let layout = machine.context("saved", &[]);
    run(Command::new("tar")
        .arg("-xf")
        .arg(&saved)
        .arg("-C")
        .arg(&layout))
    .ok();
    check_unpacked(
        &machine,
        &format!("{}:docker.io/library/t:latest", layout.display()),
    );
    let layers = hand_made(&machine);
    for count in 1..=layers.len() {
        let image = umoci_image(&machine, &format!("hand{count}"), &layers[..count]);
        check_unpacked(&machine, &image);
    }
    Ok(())
}

pub(crate) fn of_buildah_are_those_of_umoci() -> Outcome {
    needs(&["umoci", "buildah"])?;
    let machine = Machine::new();
    let storage = machine.path("storage");
    let buildah = |arguments: &[&str]| {
        let mut command = Command::new("buildah");
        command
            .arg("--root")
            .arg(storage.join("root"))
            .arg("--runroot")
            .arg(storage.join("run"));
        command.args(["--storage-driver", "vfs"]).args(arguments);
        run(&mut command).ok().to_owned()
    };
    let context = machine.context("files", &[("one", "1"), ("sub/two", "2")]);
    let context = context.to_str().expect("UTF-8");
    let base = buildah(&["from", "scratch"]);
    buildah(&["copy", &base, context, "/data"]);
    buildah(&["commit", "-q", "--rm", &base, "base"]);
    let second = buildah(&["from", "--pull-never", "localhost/base"]);
    let root = buildah(&["mount", &second]);
    let script =
        "rm -r data/sub; mkdir data/sub; echo 3 > data/sub/three; ln data/one link; chmod 711 data";
    run(Command::new("sh").args(["-ec", script]).current_dir(&root)).ok();
    for (name, value) in [
        ("user.note", &b"buildah's"[..]),
        ("security.capability", CAPABILITY),
    ] {
        let path = Path::new(&root).join("data/one");
        lsetxattr(path, name, value, XattrFlags::empty()).expect("the file system has them");
    }
    let layout = machine.path("by-buildah");
    let target = format!("oci:{}:it", layout.display());
    buildah(&["umount", &second]);
    buildah(&["commit", "-q", "--rm", &second, &target]);
    buildah(&["rmi", "-a", "-f"]);
    check_unpacked(&machine, &format!("{}:it", layout.display()));
    Ok(())
}

/// Makes an OCI layout of a docker archive, with other compression and another manifest, and
/// compares the trees of the two.
fn check_docker_archive(machine: &Machine, archive: &str) {
    let layout = machine.path("by-skopeo");
    let layout = format!("{}:it", layout.display());
    run(Command::new("skopeo").args([
        "copy",
        "-q",
        &format!("docker-archive:{archive}"),
        &format!("oci:{layout}"),
    ]))
    .ok();
    check_same(machine, &layout, &format!("docker-archive:{archive}"));
}

pub(crate) fn of_docker_are_those_of_umoci() -> Outcome {
    needs(&["umoci", "skopeo"])?;
    let machine = Machine::with_busybox();
    let daemon = DockerDaemon::start(&machine)?;
    let archive = |name: &str| machine.path(name).to_str().expect("UTF-8").to_owned();
    let (base, saved) = (archive("base.tar"), archive("saved.tar"));
    machine.ok(["save", "-o", &base, "busybox"]);
    run(&mut daemon.docker(&["load", "-q", "-i", &base])).ok();
    let dockerfile = "FROM busybox\nCOPY one sub /data/\n\
        RUN rm -r /home && ln /data/one /hard && mkdir -p /data/gone/deep && chmod 1777 /data\n\
        RUN rm -r /data/gone && mkdir /data/gone && echo 2 > /data/gone/again && ln -s ../data /etc/up\n\
        RUN rm /data/one && chown 3:4 /hard && touch -d @1000000000 /hard\n";
    let files = [("Dockerfile", dockerfile), ("one", "1"), ("sub/two", "2")];
    let context = machine.context("c", &files);
    let context = context.to_str().expect("UTF-8");
    run(&mut daemon.docker(&["build", "-q", "--network", "none", "-t", "it", context])).ok();
    run(&mut daemon.docker(&["save", "-o", &saved, "it"])).ok();
    check_docker_archive(&machine, &saved);
    Ok(())
}

pub(crate) fn of_three_hundred_layers_are_those_of_umoci() -> Outcome {
    needs(&["umoci", "skopeo"])?;
    let machine = Machine::new();
    let archive = high_archive(&machine)?;
    check_docker_archive(&machine, &archive);
    Ok(())
}
