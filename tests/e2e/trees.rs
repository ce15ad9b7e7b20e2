//! The tree of every image is the one that `umoci unpack` makes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use mica_tests::{DockerDaemon, Machine, Outcome, needs, run};
use serde_json::Value;

use crate::files::{built, high_archive, objects};

/// Every file of a directory as the listing has it.
fn walk(root: &Path, directory: &Path, out: &mut BTreeMap<Vec<u8>, String>) {
    for entry in fs::read_dir(directory).expect("it can be read") {
        let path = entry.expect("it can be read").path();
        let stat = path.symlink_metadata().expect("it is there");
        let kind = stat.file_type();
        let word = match () {
            () if kind.is_dir() => "dir",
            () if kind.is_symlink() => "symlink",
            () if kind.is_fifo() => "fifo",
            () if kind.is_char_device() => "char",
            () if kind.is_block_device() => "block",
            () => "file",
        };
        let size = if kind.is_file() { stat.len() } else { 0 };
        let link = match kind.is_symlink() {
            true => fs::read_link(&path)
                .expect("it is a link")
                .to_string_lossy()
                .into_owned(),
            false => String::new(),
        };
        let name = path
            .strip_prefix(root)
            .expect("it is below")
            .as_os_str()
            .as_bytes();
        let line = format!(
            "{word} {:04o} {} {} {size} {} {link}",
            stat.mode() & 0o7777,
            stat.uid(),
            stat.gid(),
            stat.mtime()
        );
        out.insert(name.to_vec(), line);
        if kind.is_dir() {
            walk(root, &path, out);
        }
    }
}

fn listed(machine: &Machine, image: &str) -> BTreeMap<Vec<u8>, String> {
    let rows = objects(&machine.ok(["ls", "-R", "--format", "json", image]));
    let line = |row: &Value| {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let link = if row["type"] == "symlink" {
            text("link")
        } else {
            String::new()
        };
        let seconds = row["mtime"].as_f64().expect("it is a number").floor();
        let path = match row["path_hex"].as_str() {
            None => text("path").into_bytes()[1..].to_vec(),
            Some(hex) => (0..hex.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal"))
                .collect(),
        };
        let line = format!(
            "{} {} {} {} {} {seconds} {link}",
            text("type"),
            text("mode"),
            row["uid"],
            row["gid"],
            row["size"]
        );
        (path, line)
    };
    rows.iter().map(line).collect()
}

/// Layers by hand, in shell: one script a layer, run where the layer is made.
const BY_HAND: &[&str] = &[
    "mkdir -p d/sub e/f; echo 1 > d/a; echo 2 > d/sub/b; echo 3 > e/f/c; ln d/a hard; ln -s /d/sub link; mkfifo pipe; mknod null c 1 3; chmod 4755 d/a; chown 7:8 e",
    "mkdir d e; touch d/.wh.sub e/.wh..wh..opq; echo 4 > e/new",
    "mkdir -p d/sub; echo 5 > d/sub/again; printf x > \"$(printf 'n\\351\\377')\"; chmod 700 d; touch .wh.pipe",
    "mkdir d; touch d/.wh.a; echo moved > hard; mkdir e; ln -s ../d e/up",
];

fn hand_made(machine: &Machine) -> Vec<PathBuf> {
    let make = |(number, script): (usize, &&str)| {
        let directory = machine.context(&format!("layer{number}"), &[]);
        let layer = machine.path(&format!("layer{number}.tar"));
        run(Command::new("sh")
            .args(["-ec", script])
            .current_dir(&directory))
        .ok();
        run(Command::new("tar")
            .arg("-C")
            .arg(&directory)
            .arg("-cf")
            .arg(&layer)
            .arg("."))
        .ok();
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
    let root = bundle.join("rootfs");
    let mut expected = BTreeMap::new();
    walk(&root, &root, &mut expected);
    let actual = listed(machine, elsewhere);
    let differs = |path: &&Vec<u8>| actual.get(*path) != expected.get(*path);
    let mut paths = actual.keys().chain(expected.keys()).filter(differs);
    if let Some(path) = paths.next() {
        panic!(
            "{image}: {}: {:?}, by umoci {:?}",
            path.escape_ascii(),
            actual.get(path),
            expected.get(path)
        );
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
