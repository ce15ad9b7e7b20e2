//! `mica build --output` and the flags beside it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use mica_tests::{Machine, Outcome, needs, run};
use serde_json::Value;

pub(crate) const APP: &str = "FROM busybox\nRUN mkdir /d && echo one > /d/f && ln /d/f /d/hard && ln -s f /d/soft && chmod 4755 /d/f\n\
    RUN rm /bin/ls && chown 7:8 /d\nCMD [\"cat\", \"/d/f\"]\n";
const FILES: &str = "FROM busybox AS make\nRUN mkdir -p /o/s && echo x > /o/x && chmod 640 /o/x && echo y > /o/s/y \
    && ln -s x /o/l && chown -R 7:8 /o\nFROM scratch\nCOPY --from=make /o /\nCOPY gone /gone\n";

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("the path is UTF-8")
}

/// Builds `dockerfile` with these arguments; the build must succeed.
#[track_caller]
pub(crate) fn build(machine: &Machine, dockerfile: &str, arguments: &[&str]) -> String {
    let context = machine.context("context", &[("Dockerfile", dockerfile), ("gone", "g")]);
    let mut line = vec!["build", "--progress", "plain"];
    line.extend(arguments);
    line.push(text(&context));
    machine.ok(line)
}

/// As [`build`], with the arguments in one line.
#[track_caller]
pub(crate) fn build_line(machine: &Machine, dockerfile: &str, line: &str) -> String {
    build(machine, dockerfile, &line.split(' ').collect::<Vec<_>>())
}

pub(crate) fn json_of(path: &Path) -> Value {
    let raw = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&raw).expect("it is JSON")
}

/// Reads a blob of an OCI layout.
pub(crate) fn blob(layout: &Path, digest: &Value) -> Value {
    let digest = digest.as_str().expect("it is a digest");
    json_of(&layout.join("blobs").join(digest.replace(':', "/")))
}

/// Reads the manifest, or index, that a layout's only entry leads to.
pub(crate) fn manifest(layout: &Path) -> Value {
    let index = json_of(&layout.join("index.json"));
    let entries = index["manifests"].as_array().expect("a list");
    assert_eq!(entries.len(), 1, "{index}");
    blob(layout, &entries[0]["digest"])
}

fn untar(machine: &Machine, archive: &Path, name: &str) -> std::path::PathBuf {
    let directory = machine.context(name, &[]);
    run(Command::new("tar")
        .arg("-xpf")
        .arg(archive)
        .arg("-C")
        .arg(&directory))
    .ok();
    directory
}

pub(crate) fn several_at_once() -> Outcome {
    let machine = Machine::with_busybox();
    let at = |name: &str| machine.path(name);
    let specs = [
        format!("type=oci,dest={}", text(&at("oci.tar"))),
        format!("type=docker,dest={}", text(&at("docker.tar"))),
        format!("type=oci,tar=false,dest={}", text(&at("layout"))),
        format!("type=tar,dest={}", text(&at("tree.tar"))),
        text(&at("tree")).to_owned(),
        "type=image".to_owned(),
        "type=cacheonly".to_owned(),
    ];
    let mut arguments = vec!["-t", "app:1", "-t", "other"];
    for spec in &specs {
        arguments.extend(["-o", spec.as_str()]);
    }
    build(&machine, APP, &arguments);
    assert_eq!(machine.ok(["run", "--rm", "app:1"]), "one");
    for archive in ["oci.tar", "docker.tar", "layout"] {
        let other = Machine::new();
        let loaded = other.ok(["load", "-i", text(&at(archive))]);
        assert!(
            loaded.contains("Loaded image: app:1"),
            "{archive}: {loaded}"
        );
        assert!(loaded.contains("Loaded image: other:latest"), "{archive}");
        assert_eq!(other.ok(["run", "--rm", "other"]), "one", "{archive}");
    }
    let tree = untar(&machine, &at("tree.tar"), "untarred");
    for root in [tree, at("tree")] {
        assert_eq!(
            fs::read_to_string(root.join("d/soft")).ok().as_deref(),
            Some("one\n")
        );
        let [file, hard] =
            ["d/f", "d/hard"].map(|f| fs::metadata(root.join(f)).expect("it is there"));
        assert_eq!((file.ino(), file.mode() & 0o7777), (hard.ino(), 0o4755));
        assert!(!root.join("bin/ls").exists() && root.join("bin/cat").exists());
    }
    Ok(())
}

/// Files belong to who builds; what is there stays; owners are in the tar stream.
pub(crate) fn local_and_tar() -> Outcome {
    let machine = Machine::with_busybox();
    let out = machine.context("out", &[("kept", "k"), ("s/kept", "k"), ("x", "old")]);
    build(&machine, FILES, &["-o", text(&out)]);
    assert_eq!(
        machine.ok(["images", "-aq"]).lines().count(),
        1,
        "busybox alone"
    );
    let read = |name: &str| fs::read_to_string(out.join(name)).ok();
    assert_eq!(read("x").as_deref(), Some("x\n"));
    assert_eq!(read("l").as_deref(), Some("x\n"));
    assert_eq!(read("s/kept").as_deref(), Some("k"));
    assert_eq!(read("kept").as_deref(), Some("k"));
    let x = fs::metadata(out.join("x")).expect("it is there");
    assert_eq!((x.uid(), x.mode() & 0o7777), (0, 0o640));
    let context = machine.path("context");
    let piped = machine
        .command(["build", "-q", "-o", "-", text(&context)])
        .output();
    fs::write(machine.path("piped.tar"), piped.expect("mica runs").stdout).expect("it is ours");
    let list = run(Command::new("tar")
        .arg("-tvf")
        .arg(machine.path("piped.tar"))
        .arg("--numeric-owner"));
    let list = list.stdout;
    let has = |start: &str, end: &str| {
        list.lines()
            .any(|line| line.starts_with(start) && line.ends_with(end))
    };
    assert!(
        has("-rw-r----- 7/8", " x") && has("drwxr-xr-x 7/8", " s/"),
        "{list}"
    );
    assert!(
        has("lrwxrwxrwx 7/8", " l -> x") && has("-rw-r--r-- 0/0", " gone"),
        "{list}"
    );
    // A time that was given is that of all files.
    build(
        &machine,
        FILES,
        &[
            "-o",
            text(&out),
            "--build-arg",
            "SOURCE_DATE_EPOCH=1234567890",
        ],
    );
    let times =
        ["x", "s/y", "gone"].map(|name| fs::metadata(out.join(name)).expect("it is there").mtime());
    assert_eq!(times, [1_234_567_890; 3]);
    Ok(())
}

pub(crate) fn mistakes() -> Outcome {
    let machine = Machine::with_busybox();
    let context = machine.context("context", &[("Dockerfile", "FROM busybox\n")]);
    let file = machine.path("context/Dockerfile");
    let is_file = format!("type=local,dest={}", text(&file));
    for (arguments, word) in [
        (
            &["-o", "type=local"][..],
            "dest is required for local exporter",
        ),
        (&["-o", "dest=x"], "type is required for output"),
        (&["-o", "type=imag"], "did you mean image?"),
        (&["-o", &is_file], "is a file"),
        (
            &["-o", "type=image,compression=lzma"],
            "unsupported compression type lzma",
        ),
        (&["-o", "type=image,compression-level=10"], "0 to 9"),
        (&["-o", "type=image,zip=1"], "unknown attribute zip"),
        (&["--push"], "tag is needed when pushing to registry"),
        (&["--provenance=mod=max"], "did you mean mode?"),
        (
            &["--annotation", "index:a=b"],
            "index annotations not supported for single platform",
        ),
        (&["--annotation", "layer:a=b"], "unknown annotation type"),
        (&["--squash=nowhere"], "cannot squash from \"nowhere\""),
        (
            &[
                "--platform",
                "linux/amd64,linux/arm64",
                "-o",
                "type=docker,dest=x",
            ],
            "docker exporter does not currently support exporting manifest lists",
        ),
        (
            &["--build-arg", "SOURCE_DATE_EPOCH=soon"],
            "SOURCE_DATE_EPOCH",
        ),
        (&["--metadata-fil", "x"], "--metadata-file"),
    ] {
        let mut line = vec!["build"];
        line.extend(arguments);
        line.push(text(&context));
        let finished = machine.mica(&line);
        assert_ne!(finished.code, 0, "{finished}");
        assert!(finished.stderr.contains(word), "`{word}`: {finished}");
    }
    Ok(())
}

fn media_types(layout: &Path) -> Vec<String> {
    let manifest = manifest(layout);
    let layers = manifest["layers"].as_array().expect("a list").iter();
    layers
        .map(|layer| layer["mediaType"].as_str().expect("text").to_owned())
        .collect()
}

pub(crate) fn compressions() -> Outcome {
    let machine = Machine::with_busybox();
    let dockerfile = "FROM busybox\nRUN seq 1 200000 > /numbers\n";
    let mut sizes = Vec::new();
    let base = "application/vnd.oci.image.layer.v1.tar+gzip";
    for (form, expected) in [
        ("", "tar+gzip"),
        (",compression=uncompressed", "tar"),
        (",compression=gzip,compression-level=1", "tar+gzip"),
        (",compression=gzip,compression-level=9", "tar+gzip"),
        (",compression=zstd", "tar+zstd"),
        (",compression=zstd,compression-level=19", "tar+zstd"),
    ] {
        let layout = machine.path(&format!("layout{}", sizes.len()));
        let spec = format!("type=oci,tar=false,dest={}{form}", text(&layout));
        build(&machine, dockerfile, &["-t", "app", "-o", &spec]);
        let types = media_types(&layout);
        assert_eq!(
            types,
            [
                base.to_owned(),
                format!("application/vnd.oci.image.layer.v1.{expected}")
            ],
            "{form}"
        );
        sizes.push(
            manifest(&layout)["layers"][1]["size"]
                .as_u64()
                .expect("a number"),
        );
        let other = Machine::new();
        other.ok(["load", "-q", "-i", text(&layout)]);
        assert_eq!(
            other.ok(["run", "--rm", "app", "tail", "-n", "1", "/numbers"]),
            "200000",
            "{form}"
        );
    }
    assert!(
        sizes[1] > sizes[2] && sizes[2] > sizes[3] && sizes[4] > sizes[5],
        "{sizes:?}"
    );
    Ok(())
}

/// The base's layers are converted only where that is wanted.
pub(crate) fn converted_layers() -> Outcome {
    let machine = Machine::with_busybox();
    let dockerfile = "FROM busybox\nRUN seq 1 2000 > /numbers\n";
    let layout = machine.path("forced");
    let spec = format!(
        "type=oci,tar=false,dest={},compression=zstd,force-compression=true",
        text(&layout)
    );
    build(&machine, dockerfile, &["-t", "app", "-o", &spec]);
    assert!(
        media_types(&layout)
            .iter()
            .all(|kind| kind.ends_with("+zstd"))
    );
    let other = Machine::new();
    other.ok(["load", "-q", "-i", text(&layout)]);
    assert_eq!(
        other.ok(["inspect", "-f", "{{.Id}}", "app"]),
        blob_id(&layout)
    );
    let docker = machine.path("docker");
    let spec = format!(
        "type=oci,tar=false,dest={},oci-mediatypes=false",
        text(&docker)
    );
    build(&machine, dockerfile, &["-o", &spec]);
    assert_eq!(
        media_types(&docker),
        ["application/vnd.docker.image.rootfs.diff.tar.gzip"; 2]
    );
    assert_eq!(
        manifest(&docker)["mediaType"],
        "application/vnd.docker.distribution.manifest.v2+json"
    );
    Ok(())
}

fn blob_id(layout: &Path) -> String {
    manifest(layout)["config"]["digest"]
        .as_str()
        .expect("text")
        .to_owned()
}

/// Layers become one over the base; the steps stay cached, and the history tells.
pub(crate) fn squash() -> Outcome {
    let machine = Machine::with_busybox();
    let dockerfile = "FROM busybox AS base\nRUN echo base > /base && mkdir /d && echo lost > /d/lost\n\
        FROM base AS app\nRUN echo one > /one && rm /base && rm -r /d && mkdir /d && echo new > /d/new\n\
        RUN rm /one /bin/ls && echo two > /two && ln /two /three\n\
        RUN test ! -e /one && test \"$(find /d -type f)\" = /d/new\n";
    let layers = |tag: &str| machine.ok(["inspect", "-f", "{{len .RootFS.Layers}}", tag]);
    build(&machine, dockerfile, &["-t", "plain"]);
    assert_eq!(layers("plain"), "5");
    let listing = |tag: &str| {
        let find = "find / -xdev -path /proc -prune -o -path /sys -prune -o -path /dev -prune -o -print | sort; \
            stat -c '%n %h %a %u' /two /three /d; cat /two /d/new";
        machine.ok(["run", "--rm", "--network", "none", tag, "sh", "-c", find])
    };
    for (flag, tag, count) in [
        ("--squash", "all", "2"),
        ("--squash=app", "app", "3"),
        ("--squash=3", "three", "4"),
    ] {
        build(&machine, dockerfile, &["-t", tag, flag]);
        assert_eq!(layers(tag), count, "{flag}");
        assert_eq!(listing(tag), listing("plain"), "{flag}");
        let history = machine.ok([
            "history",
            "--no-trunc",
            "--format",
            "{{.CreatedBy}}|{{.Comment}}",
            tag,
        ]);
        assert!(history.starts_with("merge "), "{history}");
        assert!(
            history
                .lines()
                .next()
                .is_some_and(|l| l.contains("|merged sha256:")),
            "{history}"
        );
        assert!(history.contains("echo two > /two"), "{history}");
    }
    let again = machine.mica([
        "build",
        "--progress",
        "plain",
        "--squash",
        "-t",
        "again",
        text(&machine.path("context")),
    ]);
    again.ok();
    assert_eq!(
        again
            .stderr
            .lines()
            .filter(|line| line.ends_with(" CACHED"))
            .count(),
        4,
        "{again}"
    );
    let id = |tag: &str| machine.ok(["inspect", "-f", "{{.Id}}", tag]);
    assert_eq!(id("again"), id("all"));
    // An archive of it is whole.
    let archive = machine.path("all.tar");
    machine.ok(["save", "-o", text(&archive), "all"]);
    let other = Machine::new();
    other.ok(["load", "-q", "-i", text(&archive)]);
    assert_eq!(other.ok(["run", "--rm", "all", "cat", "/three"]), "two");
    Ok(())
}

/// Every kind of output is taken by the tools that it is for.
pub(crate) fn peers_take_each_kind() -> Outcome {
    needs(&["skopeo", "umoci", "podman"])?;
    let machine = Machine::with_busybox();
    for (number, form) in [
        "compression=gzip",
        "compression=uncompressed",
        "compression=zstd",
        "oci-mediatypes=false",
    ]
    .iter()
    .enumerate()
    {
        let at = |name: &str| machine.path(&format!("{name}{number}"));
        let (layout, oci, docker) = (at("layout"), at("oci"), at("docker"));
        let specs = [
            format!("type=oci,tar=false,dest={},{form}", text(&layout)),
            format!("type=oci,dest={},{form}", text(&oci)),
            format!("type=docker,dest={},{form}", text(&docker)),
        ];
        build(
            &machine,
            APP,
            &[
                "-t", "app:v1", "-o", &specs[0], "-o", &specs[1], "-o", &specs[2],
            ],
        );
        let sources = [
            format!("oci:{}:docker.io/library/app:v1", text(&layout)),
            format!("oci-archive:{}", text(&oci)),
            format!("docker-archive:{}", text(&docker)),
        ];
        // Debian's skopeo takes OCI's media types alone from a layout.
        let is_oci = *form != "oci-mediatypes=false";
        for (index, source) in sources.iter().enumerate().skip(if is_oci { 0 } else { 2 }) {
            let to = format!("dir:{}", text(&at(&format!("copy{index}-"))));
            run(Command::new("skopeo").args(["copy", "-q", "--insecure-policy", source, &to])).ok();
        }
        let podman = |archive: &Path| {
            let storage = machine.path(&format!("podman-{number}"));
            let mut command = Command::new("podman");
            command.arg("--root").arg(storage.join("root"));
            command.arg("--runroot").arg(storage.join("run"));
            command
                .args(["--storage-driver", "vfs", "load", "-q", "-i"])
                .arg(archive);
            run(&mut command)
        };
        for archive in [&docker, &oci].into_iter().take(if is_oci { 2 } else { 1 }) {
            let loaded = podman(archive);
            assert!(loaded.ok().contains("app:v1"), "{form}: {loaded}");
        }
    }
    // umoci knows no zstd and wants tags without slashes.
    let layout = format!("oci:{}:v1", machine.path("umoci").display());
    let from = format!("oci-archive:{}", text(&machine.path("oci0")));
    run(Command::new("skopeo").args(["copy", "-q", "--insecure-policy", &from, &layout])).ok();
    let image = format!("{}:v1", machine.path("umoci").display());
    let bundle = machine.path("bundle");
    run(Command::new("umoci").args(["unpack", "--image", &image, text(&bundle)])).ok();
    assert_eq!(
        fs::read_to_string(bundle.join("rootfs/d/soft"))
            .ok()
            .as_deref(),
        Some("one\n")
    );
    Ok(())
}
