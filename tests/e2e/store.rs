//! `mica system df|check|prune`, `mica image prune|mount|unmount|unpack`, `mica import`.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use mica_tests::{Machine, Outcome, Page, WebServer, needs, run};

/// A machine with two small images that share a layer.
fn small() -> Machine {
    let machine = Machine::new();
    machine.build("one", "FROM scratch\nCOPY a /a\n", &[("a", "x")]);
    let dockerfile = "FROM scratch\nCOPY a /a\nLABEL keep=yes\nCOPY b /d/b\n";
    machine.build("two", dockerfile, &[("a", "x"), ("b", "yy")]);
    machine
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the path is UTF-8")
}

pub(crate) fn usage() -> Outcome {
    let machine = small();
    machine.ok(["create", "--name", "box", "two", "/a"]);
    let format = "{{.Type}}|{{.TotalCount}}|{{.Active}}|{{.Size}}|{{.Reclaimable}}";
    let lines = machine.ok(["system", "df", "--format", format]);
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines[0], "Images|2|1|3B|0B (0%)");
    assert_eq!(lines[1], "Containers|1|0|0B|0B");
    assert_eq!(lines[2], "Local Volumes|0|0|0B|0B");
    assert!(lines[3].starts_with("Build Cache|2|0|"), "{lines:?}");
    let table = machine.ok(["system", "df"]);
    assert!(
        table.starts_with("TYPE            TOTAL     ACTIVE    SIZE"),
        "{table}"
    );
    let verbose = machine.ok(["system", "df", "-v"]);
    for words in [
        "Images space usage:",
        "SHARED SIZE",
        "VOLUME NAME",
        "Build cache usage:",
    ] {
        assert!(verbose.contains(words), "{words}: {verbose}");
    }
    let data = machine.ok(["system", "df", "-v", "--format", "{{json .Images}}"]);
    assert!(data.contains("\"SharedSize\":\"1B\""), "{data}");
    Ok(())
}

pub(crate) fn pruning() -> Outcome {
    let machine = small();
    machine
        .mica(["image", "prune", "--filter", "colour=red"])
        .fails(1, &["invalid filter"]);
    let volumes = ["system", "prune", "--volumes", "--filter", "until=1h"];
    machine.mica(volumes).fails(1, &["until"]);
    let nothing = machine.ok(["image", "prune", "-f"]);
    assert_eq!(nothing, "Total reclaimed space: 0B");
    let kept = machine.ok(["image", "prune", "-a", "--filter", "until=1h"]);
    assert_eq!(kept, "Total reclaimed space: 0B", "no image is an hour old");
    let labelled = machine.ok(["image", "prune", "-a", "--filter", "label!=keep=yes"]);
    assert!(
        labelled.contains("untagged: one:latest\ndeleted: sha256:"),
        "{labelled}"
    );
    assert_eq!(machine.ok(["images", "--format", "{{.Repository}}"]), "two");
    machine.ok(["volume", "create", "named"]);
    let all = machine.ok(["system", "prune", "-a", "-f", "--volumes"]);
    assert!(
        all.contains("Deleted Images:") && all.contains("Total reclaimed space:"),
        "{all}"
    );
    assert_eq!(machine.ok(["volume", "ls", "-q"]), "named");
    assert_eq!(machine.ok(["images", "-aq"]), "");
    for part in ["blobs/sha256", "chains", "layers", "tmp"] {
        let left = fs::read_dir(machine.root().join(part))
            .expect("it is there")
            .count();
        assert_eq!(left, 0, "{part}");
    }
    Ok(())
}

pub(crate) fn limits_of_the_configuration() -> Outcome {
    let machine = small();
    let archive = machine.path("one.tar");
    machine.ok(["save", "-o", text(&archive), "one"]);
    let configure = |machine: &Machine, text: &str| {
        let settings = machine.path("home/.config/mica");
        fs::create_dir_all(&settings).expect("the directory is ours");
        fs::write(settings.join("config.json"), text).expect("the directory is ours");
    };
    let other = Machine::new();
    configure(&other, r#"{"layer-limits": {"size": "512"}}"#);
    let refused = other.mica(["load", "-i", text(&archive)]);
    refused.fails(1, &["larger than its limit", "sha256:"]);
    configure(&other, r#"{"layer-limits": {"entries": 0}}"#);
    let refused = other.mica(["load", "-i", text(&archive)]);
    refused.fails(1, &["the number of entries is over the limit of 0"]);
    // A refusal ends the command also while much of the layer is still to come.
    let many = machine.context("many", &[("a", ""), ("b", "")]);
    fs::write(many.join("c"), vec![b'c'; 16 << 20]).expect("the directory is ours");
    let tar = machine.path("many.tar");
    run(Command::new("tar")
        .arg("-cf")
        .arg(&tar)
        .arg("-C")
        .arg(&many)
        .arg("."))
    .ok();
    let refused = other.mica(["import", text(&tar), "many:1"]);
    refused.fails(1, &["the number of entries is over the limit of 0"]);
    Ok(())
}

pub(crate) fn checking() -> Outcome {
    let machine = small();
    let clean = machine.ok(["system", "check", "--full"]);
    assert!(clean.ends_with("the store is whole"), "{clean}");
    let id = machine.ok(["inspect", "-f", "{{.Id}}", "two"]);
    let config = machine
        .root()
        .join("blobs/sha256")
        .join(id.trim_start_matches("sha256:"));
    fs::write(&config, "{}").expect("the store is ours");
    let broken = machine.mica(["system", "check"]);
    broken.fails(1, &["broken: blob sha256:", "broken: image two:latest"]);
    assert!(!broken.stdout.contains("image one"), "{broken}");
    let repaired = machine.ok(["system", "check", "--repair"]);
    assert!(
        repaired.contains("repaired: removed image two:latest"),
        "{repaired}"
    );
    assert!(repaired.ends_with("the store is whole"), "{repaired}");
    assert_eq!(machine.ok(["images", "--format", "{{.Repository}}"]), "one");
    let json = machine.ok(["system", "check", "--format", "json"]);
    assert!(json.contains("\"Problems\":[]"), "{json}");
    Ok(())
}

pub(crate) fn unpacking() -> Outcome {
    let machine = small();
    let out = machine.path("out");
    machine.ok(["image", "unpack", "two", text(&out)]);
    assert_eq!(fs::read(out.join("d/b")).expect("it was unpacked"), b"yy");
    let again = machine.mica(["image", "unpack", "two", text(&out)]);
    again.fails(1, &["is not empty", "--force"]);
    machine.ok(["image", "unpack", "--force", "one", text(&out)]);
    machine
        .mica(["image", "unpack", "missing", text(&out)])
        .fails(1, &["no such image"]);
    Ok(())
}

/// A plain user unpacks what root's tools wrote: as files of their own.
pub(crate) fn unpacking_as_a_plain_user() -> Outcome {
    needs(&["setpriv", "tar"])?;
    let machine = Machine::new();
    let tree = machine.path("tree");
    fs::create_dir_all(tree.join("closed/inner")).expect("the directory is ours");
    fs::write(tree.join("closed/file"), "1").expect("the directory is ours");
    fs::set_permissions(tree.join("closed"), fs::Permissions::from_mode(0o500)).expect("ours");
    run(Command::new("mknod")
        .arg(tree.join("null"))
        .args(["c", "1", "3"]))
    .ok();
    let layer = machine.path("layer.tar");
    run(Command::new("tar")
        .arg("-C")
        .arg(&tree)
        .arg("-cf")
        .arg(&layer)
        .arg("."))
    .ok();
    let place = tempfile::Builder::new()
        .prefix("mica-user-")
        .tempdir_in("/tmp")
        .expect("/tmp");
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o777)).expect("ours");
    let binary = place.path().join("mica");
    fs::copy(mica_tests::mica(), &binary).expect("the directory is ours");
    fs::copy(&layer, place.path().join("layer.tar")).expect("the directory is ours");
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(&binary);
    command
        .args(["image", "unpack", "--layer"])
        .arg(place.path().join("layer.tar"));
    command
        .arg(place.path().join("out"))
        .env("HOME", place.path());
    run(&mut command).ok();
    let out = place.path().join("out");
    let closed = fs::metadata(out.join("closed")).expect("it was unpacked");
    assert_eq!((closed.mode() & 0o7777, closed.uid()), (0o500, 65534));
    assert_eq!(
        fs::read(out.join("closed/file")).expect("it was unpacked"),
        b"1"
    );
    assert!(!out.join("null").exists(), "a plain user makes no devices");
    Ok(())
}

pub(crate) fn mounting() -> Outcome {
    let machine = small();
    let point = machine.path("point");
    machine.ok(["image", "mount", "two", text(&point)]);
    assert_eq!(fs::read(point.join("d/b")).expect("it is mounted"), b"yy");
    assert!(fs::write(point.join("new"), "").is_err(), "it is read-only");
    assert_eq!(
        machine.ok(["image", "mount"]),
        format!("two\t{}", text(&point))
    );
    machine
        .mica(["image", "mount", "one", text(&point)])
        .fails(1, &["already"]);
    machine.ok(["rmi", "-f", "two"]);
    machine.ok(["system", "prune", "-a", "-f"]);
    assert!(
        point.join("d/b").exists(),
        "what is mounted is not collected"
    );
    machine.ok(["image", "unmount", text(&point)]);
    assert!(!point.join("d").exists());
    machine.build("one", "FROM scratch\nCOPY a /a\n", &[("a", "x")]);
    let made = machine.ok(["image", "mount", "one"]);
    assert_eq!(
        fs::read(Path::new(&made).join("a")).expect("it is mounted"),
        b"x"
    );
    machine.ok(["image", "umount", "one"]);
    assert!(!Path::new(&made).exists());
    machine
        .mica(["image", "umount", "one"])
        .fails(1, &["not mounted"]);
    Ok(())
}

pub(crate) fn importing() -> Outcome {
    needs(&["tar", "gzip"])?;
    let machine = Machine::new();
    let tree = machine.context("tree", &[("bin/hello", "#!"), ("etc/name", "text")]);
    let archive = machine.path("tree.tar.gz");
    run(Command::new("tar")
        .arg("-C")
        .arg(&tree)
        .arg("-czf")
        .arg(&archive)
        .arg("."))
    .ok();
    let id = machine.ok([
        "import",
        "--change",
        "CMD [\"/bin/hello\"]",
        "--change",
        "ENV A=b",
        "-m",
        "from a test",
        "--platform",
        "linux/arm64",
        text(&archive),
        "imported:1",
    ]);
    let format = "{{.Id}} {{.Config.Cmd}} {{.Config.Env}} {{.Architecture}} {{.Comment}}";
    let shown = machine.ok(["inspect", "-f", format, "imported:1"]);
    assert_eq!(shown, format!("{id} [/bin/hello] [A=b] arm64 from a test"));
    let bytes = fs::read(&archive).expect("it was written");
    let piped = machine.mica_with_input(["import", "-"], &bytes);
    assert!(piped.ok().starts_with("sha256:"), "{piped}");
    let out = machine.path("out");
    machine.ok(["image", "unpack", "imported:1", text(&out)]);
    assert_eq!(
        fs::read(out.join("etc/name")).expect("it was imported"),
        b"text"
    );
    machine
        .mica_with_input(["import", "-"], &bytes[..bytes.len() / 2])
        .fails(1, &[]);
    let pages = [
        ("/tree.tar.gz", Page::new(bytes.clone())),
        ("/half", Page::new(&bytes[..bytes.len() / 2])),
    ];
    let server = WebServer::start(pages);
    let fetched = machine.ok(["import", &server.url("/tree.tar.gz"), "fetched:1"]);
    assert_eq!(
        machine.ok(["inspect", "-f", "{{.Id}}", "fetched:1"]),
        fetched
    );
    let history = machine.ok(["history", "--format", "{{.Comment}}", "fetched:1"]);
    assert_eq!(
        history,
        format!("Imported from {}", server.url("/tree.tar.gz"))
    );
    let half = machine.mica(["import", &server.url("/half"), "half:1"]);
    half.fails(1, &[]);
    let missing = machine.mica(["import", &server.url("/missing"), "missing:1"]);
    missing.fails(1, &["/missing: the server answered 404"]);
    assert!(
        !machine.ok(["images"]).contains("half"),
        "nothing half is named"
    );
    machine.ok(["system", "check", "--full"]);
    Ok(())
}

/// The whole tree of a container: of its image, of the tool, and its own; what is mounted is not.
pub(crate) fn exporting() -> Outcome {
    needs(&["tar"])?;
    let machine = Machine::with_busybox();
    let script = "rm /bin/ls; echo mine > /f; ln /f /g; chown 5:6 /f; echo no > /vol/x";
    let run_it = [
        "run",
        "--name",
        "box",
        "--network",
        "none",
        "-v",
        "/vol",
        "busybox",
        "sh",
        "-c",
    ];
    machine.ok(run_it.into_iter().chain([script]));
    let archive = machine.path("box.tar");
    machine.ok(["export", "-o", text(&archive), "box"]);
    let out = machine.path("out");
    fs::create_dir(&out).expect("the directory is ours");
    run(Command::new("tar")
        .arg("-C")
        .arg(&out)
        .arg("-xpf")
        .arg(&archive))
    .ok();
    assert!(out.join("bin/sh").exists() && !out.join("bin/ls").exists());
    let file = fs::metadata(out.join("f")).expect("it was exported");
    assert_eq!((file.uid(), file.gid(), file.nlink()), (5, 6, 2));
    assert_eq!(
        fs::read_dir(out.join("vol"))
            .expect("the mount point is there")
            .count(),
        0
    );
    assert!(
        out.join("etc/hosts").exists(),
        "what the tool puts in is there"
    );
    let piped = machine.ok(["export", "box"]);
    assert!(
        piped.len() > 100_000,
        "the archive comes on standard output"
    );
    machine.ok(["import", text(&archive), "again:1"]);
    let shown = machine.ok(["run", "--rm", "--network", "none", "again:1", "cat", "/g"]);
    assert_eq!(shown, "mine");
    machine.ok([
        "run",
        "-d",
        "--name",
        "runs",
        "--network",
        "none",
        "busybox",
        "sleep",
        "1000",
    ]);
    let from_running = machine.path("runs.tar");
    machine.ok(["export", "-o", text(&from_running), "runs"]);
    let state = machine.ok(["inspect", "-f", "{{.State.Status}}", "runs"]);
    assert_eq!(state, "running", "it goes on");
    machine.mica(["export", "nobody"]).fails(1, &["nobody"]);
    Ok(())
}
