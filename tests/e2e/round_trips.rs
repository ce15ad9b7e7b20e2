//! Images through the hands of the peers: what mica pushes they unpack to the same tree, and what
//! they push mica does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mica_tests::{
    DockerDaemon, Machine, Outcome, Registry, list_overlay, list_tree, make_rich_tree, needs, run,
};

/// What engines put into a container's root, or mount there.
const OF_ENGINES: [&str; 3] = ["dev", "proc", "sys"];

/// Two layers: everything that a layer can hold, and then whiteouts and opaque directories. The
/// tools are no part of the image.
const DOCKERFILE: &str = r#"FROM scratch
ADD rich.tar /r/
RUN --mount=from=busybox,target=/tools ["/tools/bin/sh", "-c", "export PATH=/tools/bin && cd /r && mkdir gone opaque && echo 1 > opaque/below"]
RUN --mount=from=busybox,target=/tools ["/tools/bin/sh", "-c", "export PATH=/tools/bin && cd /r && rm -r gone opaque loop && mkdir opaque && echo 2 > opaque/above && chown 3:4 plain && touch -d @7 opaque/above"]
"#;

/// How layers are compressed; the last part of the image's name.
const FORMS: [&str; 3] = ["gzip", "zstd", "uncompressed"];

/// An image in each form on a registry, and what its tree looks like.
struct Pushed {
    machine: Machine,
    registry: Registry,
    expected: String,
}

impl Pushed {
    fn name(&self, form: &str) -> String {
        format!("{}/rich:{form}", self.registry.address)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.machine.path(name)
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the path is UTF-8")
}

/// Builds the image and pushes it in each form.
fn push_all() -> Result<Pushed, mica_tests::Skip> {
    needs(&["tar"])?;
    let (machine, registry) = (Machine::with_busybox(), Registry::open()?);
    let context = machine.context("context", &[("Dockerfile", DOCKERFILE)]);
    let tree = machine.path("tree");
    fs::create_dir(&tree).expect("the directory is ours");
    make_rich_tree(&tree);
    // More than a block: gzip of several members, zstd of several frames.
    let large: String = (0..400_000).map(|line| format!("{line}\n")).collect();
    fs::write(tree.join("large"), large).expect("the tree is ours");
    let mut tar = Command::new("tar");
    tar.args(["--xattrs", "--xattrs-include=*", "--format=posix", "-C"])
        .arg(&tree);
    run(tar.arg("-cf").arg(context.join("rich.tar")).arg(".")).ok();
    for form in FORMS {
        let name = format!("{}/rich:{form}", registry.address);
        let output =
            format!("type=image,name={name},push=true,compression={form},force-compression=true");
        machine.ok([
            "build",
            "-q",
            "--network",
            "none",
            "-t",
            &name,
            "-o",
            &output,
            text(&context),
        ]);
    }
    let pushed = Pushed {
        expected: String::new(),
        machine,
        registry,
    };
    let expected = unpacked(&pushed.machine, &pushed.name("gzip"), "made");
    let before = list_tree(&tree, &["loop", "plain"]);
    for line in before.lines() {
        let below = format!("r/{line}");
        assert!(
            expected.lines().any(|other| other == below),
            "{below} is not in {expected}"
        );
    }
    Ok(Pushed { expected, ..pushed })
}

/// Lists what mica unpacks.
fn unpacked(machine: &Machine, name: &str, place: &str) -> String {
    let directory = machine.path(place);
    machine.ok(["image", "unpack", name, text(&directory)]);
    list_tree(&directory, &OF_ENGINES)
}

/// Pulls into a store that has nothing, and unpacks.
fn pulled(name: &str) -> String {
    let machine = Machine::new();
    machine.ok(["pull", "-q", name]);
    let unpacked = unpacked(&machine, name, "tree");
    assert_eq!(
        mounted(&machine, name),
        unpacked,
        "{name} mounted and unpacked"
    );
    assert!(
        machine
            .ok(["system", "check", "--full"])
            .ends_with("the store is whole")
    );
    unpacked
}

fn mounted(machine: &Machine, name: &str) -> String {
    let point = machine.path("mount");
    machine.ok(["image", "mount", name, text(&point)]);
    let listed = list_tree(&point, &OF_ENGINES);
    machine.ok(["image", "unmount", name]);
    listed
}

/// Fails with the lines that differ, which are few.
#[track_caller]
fn same(found: &str, expected: &str, what: &str) {
    let missing = expected
        .lines()
        .filter(|line| !found.lines().any(|other| other == *line));
    let extra = found
        .lines()
        .filter(|line| !expected.lines().any(|other| other == *line));
    let differing: Vec<_> = missing
        .map(|it| format!("- {it}"))
        .chain(extra.map(|it| format!("+ {it}")))
        .collect();
    assert!(differing.is_empty(), "{what}:\n{}", differing.join("\n"));
}

fn skopeo(from: &str, to: &str, more: &[&str]) {
    let mut copy = Command::new("skopeo");
    copy.args([
        "copy",
        "-q",
        "--insecure-policy",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
    ]);
    run(copy.args(more).args([from, to])).ok();
}

pub(crate) fn umoci_and_skopeo() -> Outcome {
    needs(&["umoci", "skopeo"])?;
    let pushed = push_all()?;
    for form in FORMS {
        same(&pulled(&pushed.name(form)), &pushed.expected, form);
        // umoci knows no zstd: skopeo makes gzip of it.
        let layout = format!("oci:{}:{form}", text(&pushed.path("layout")));
        let recompressed = ["--dest-compress-format", "gzip", "--dest-compress"];
        let more = if form == "zstd" {
            &recompressed[..]
        } else {
            &[]
        };
        skopeo(&format!("docker://{}", pushed.name(form)), &layout, more);
        let (image, bundle) = (
            format!("{}:{form}", text(&pushed.path("layout"))),
            pushed.path(form),
        );
        run(Command::new("umoci").args(["unpack", "--image", &image, text(&bundle)])).ok();
        same(
            &list_tree(&bundle.join("rootfs"), &OF_ENGINES),
            &pushed.expected,
            &format!("umoci, {form}"),
        );
        // What umoci makes of it, skopeo pushes.
        let added = bundle.join("rootfs/r/by-umoci");
        fs::write(&added, "u").expect("it is ours");
        // umoci writes whole seconds.
        run(Command::new("touch").args(["-d", "@9"]).arg(&added)).ok();
        fs::remove_file(bundle.join("rootfs/r/fifo")).expect("it is ours");
        let after = list_tree(&bundle.join("rootfs"), &OF_ENGINES);
        let repacked = format!("{}:{form}-umoci", text(&pushed.path("layout")));
        run(Command::new("umoci").args(["repack", "--image", &repacked, text(&bundle)])).ok();
        let name = pushed.name(&format!("{form}-umoci"));
        skopeo(&format!("oci:{repacked}"), &format!("docker://{name}"), &[]);
        same(
            &pulled(&name),
            &after,
            &format!("repacked by umoci, {form}"),
        );
    }
    Ok(())
}

pub(crate) fn podman() -> Outcome {
    needs(&["podman"])?;
    let pushed = push_all()?;
    let storage = pushed.path("podman");
    let podman = |arguments: &[&str]| {
        let mut command = Command::new("podman");
        command
            .arg("--root")
            .arg(storage.join("root"))
            .arg("--runroot")
            .arg(storage.join("run"));
        run(command
            .args(["--storage-driver", "overlay"])
            .args(arguments))
    };
    for form in FORMS {
        let name = pushed.name(form);
        podman(&["pull", "-q", "--tls-verify=false", &name]).ok();
        let mounted = podman(&["image", "mount", &name]);
        let listed = list_tree(Path::new(mounted.ok()), &OF_ENGINES);
        podman(&["image", "umount", &name]).ok();
        same(&listed, &pushed.expected, &format!("podman, {form}"));
        // Each is pushed in another compression than it came in.
        let compression = if form == "gzip" { "zstd" } else { "gzip" };
        let copy = pushed.name(&format!("{form}-podman"));
        podman(&["tag", &name, &copy]).ok();
        let push = [
            "push",
            "-q",
            "--tls-verify=false",
            "--compression-format",
            compression,
        ];
        podman(&[&push[..], &[copy.as_str()]].concat()).ok();
        let what = format!("pushed by podman, {form} to {compression}");
        same(&pulled(&copy), &pushed.expected, &what);
        podman(&["rmi", "-af"]).ok();
    }
    // Podman's own home has a mount that is no image's.
    run(Command::new("umount").arg(storage.join("root/overlay")));
    Ok(())
}

pub(crate) fn docker() -> Outcome {
    let pushed = push_all()?;
    let daemon = DockerDaemon::with_driver(&pushed.machine, "overlay2")?;
    // Debian's docker reads no zstd.
    for form in ["gzip", "uncompressed"] {
        let name = pushed.name(form);
        run(&mut daemon.docker(&["pull", "-q", &name])).ok();
        let layers = "{{.GraphDriver.Data.UpperDir}}:{{.GraphDriver.Data.LowerDir}}";
        let layers = run(&mut daemon.docker(&["image", "inspect", "-f", layers, &name]));
        let listed = list_overlay(layers.ok(), &pushed.path("point"), &OF_ENGINES);
        same(&listed, &pushed.expected, &format!("docker, {form}"));
        let copy = pushed.name(&format!("{form}-docker"));
        run(&mut daemon.docker(&["tag", &name, &copy])).ok();
        run(&mut daemon.docker(&["push", "-q", &copy])).ok();
        same(
            &pulled(&copy),
            &pushed.expected,
            &format!("pushed by docker, {form}"),
        );
        run(&mut daemon.docker(&["rmi", "-f", &name, &copy])).ok();
    }
    Ok(())
}

pub(crate) fn containerd() -> Outcome {
    needs(&["ctr"])?;
    let pushed = push_all()?;
    let daemon = DockerDaemon::start(&pushed.machine)?;
    for form in FORMS {
        let (name, copy) = (pushed.name(form), pushed.name(&format!("{form}-ctr")));
        let point = pushed.path(&format!("ctr-{form}"));
        fs::create_dir(&point).expect("it is ours");
        let images = |command: &str, arguments: &[&str]| {
            let mut ctr = daemon.containerd(&["images", command]);
            run(ctr.args(arguments)).ok();
        };
        images(
            "pull",
            &["--plain-http", "--snapshotter", "overlayfs", &name],
        );
        images(
            "mount",
            &["--snapshotter", "overlayfs", &name, text(&point)],
        );
        let listed = list_tree(&point, &OF_ENGINES);
        images("unmount", &["--rm", text(&point)]);
        same(&listed, &pushed.expected, &format!("containerd, {form}"));
        images("tag", &[&name, &copy]);
        images("push", &["--plain-http", &copy]);
        same(
            &pulled(&copy),
            &pushed.expected,
            &format!("pushed by containerd, {form}"),
        );
        images("rm", &["--sync", &name, &copy]);
    }
    Ok(())
}
