//! `mica layers`, `ls`, `cat`, `find`, `du`, `file-history`, `extract`: images from everywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use mica_tests::{Machine, Outcome, Registry, Skip, needs, repository, run};
use serde_json::Value;

const DOCKERFILE: &str = "FROM busybox\n\
    COPY f /a/f\n\
    RUN echo more >> /a/f && ln /a/f /a/g && ln -s ../a/g /a/s\n\
    RUN rm /a/f && rm -r /home && mkdir -p /opt/x && head -c 100000 /dev/zero > /opt/x/zeros\n\
    RUN chmod 600 /opt/x/zeros\n";

pub(crate) fn built() -> Machine {
    let machine = Machine::with_busybox();
    machine.build("t", DOCKERFILE, &[("f", "hi\n")]);
    machine
}

pub(crate) fn objects(lines: &str) -> Vec<Value> {
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    lines.lines().map(parse).collect()
}

pub(crate) fn of_a_built_image() -> Outcome {
    let machine = built();
    let layers = objects(&machine.ok(["layers", "--format", "json", "t"]));
    let figures = |row: &Value| {
        let number = |key: &str| row[key].as_u64().expect("it is a number");
        ["size", "added", "changed", "removed", "waste"].map(number)
    };
    assert_eq!(layers.len(), 5);
    assert_eq!(figures(&layers[1]), [3, 1, 0, 0, 3]);
    assert_eq!(figures(&layers[2]), [8, 2, 1, 0, 0]);
    assert_eq!(figures(&layers[3]), [100_000, 1, 0, 1, 100_000]);
    assert_eq!(figures(&layers[4]), [100_000, 0, 1, 0, 0]);
    assert_eq!(layers[1]["instruction"], "COPY f /a/f");
    let table = machine.ok(["layers", "t"]);
    let header: Vec<_> = table
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    assert_eq!(
        header,
        [
            "LAYER",
            "DIGEST",
            "SIZE",
            "COMPRESSED",
            "ADDED",
            "CHANGED",
            "REMOVED",
            "WASTE",
            "INSTRUCTION"
        ]
    );
    assert_eq!(machine.ok(["ls", "t", "/a"]), "g\ns");
    assert_eq!(
        machine.ok(["cat", "t", "/a/s", "a/g"]),
        "hi\nmore\nhi\nmore"
    );
    // Removed by layer 3, so it is read from a layer below.
    machine
        .mica(["cat", "t", "/a/f"])
        .fails(1, &["/a/f: no such file or directory"]);
    assert_eq!(machine.ok(["cat", "t@1", "/a/f"]), "hi");
    assert_eq!(machine.ok(["cat", "t@-3", "/a/f"]), "hi\nmore");
    let digest = layers[2]["digest"].as_str().expect("it has one");
    assert_eq!(
        machine.ok(["cat", &format!("t@{digest}"), "/a/g"]),
        "hi\nmore"
    );
    let removed = objects(&machine.ok(["find", "--type", "w", "--format", "json", "t@3"]));
    let removed: Vec<_> = removed
        .iter()
        .map(|row| row["path"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(removed, ["/a/f", "/home"]);
    let found = machine.ok([
        "find", "--name", "z*", "--size", "+90k", "--perm", "600", "t", "/opt",
    ]);
    assert_eq!(found, "/opt/x/zeros");
    assert_eq!(machine.ok(["du", "-b", "-s", "t", "/opt"]), "100000\t/opt");
    machine
        .mica(["cat", "t", "/opt"])
        .fails(1, &["is a directory"]);
    machine
        .mica(["ls", "t@9"])
        .fails(1, &["has no layer `9`: it has 5"]);
    machine
        .mica(["ls", "--recursve", "t"])
        .fails(125, &["did you mean `--recursive`"]);
    Ok(())
}

pub(crate) fn letters_of_ls_and_du() -> Outcome {
    let machine = built();
    assert_eq!(machine.ok(["du", "-sh", "t", "/opt"]), "100kB\t/opt");
    let levels = |flag| machine.ok(["find", flag, "1", "--type", "d", "t", "/opt"]);
    assert_eq!(levels("--max-depth"), "/opt\n/opt/x");
    assert_eq!(levels("--maxdepth"), levels("--max-depth"));
    let zeros = machine.ok(["find", "-0", "t", "/opt/x"]);
    assert_eq!(zeros, "/opt/x\0/opt/x/zeros\0");
    let long = machine.ok(["ls", "-lah", "t", "/opt/x"]);
    assert!(
        long.contains(" 100kB ") && long.ends_with(" zeros"),
        "{long}"
    );
    Ok(())
}

/// What is in the directory that `mica` runs in.
pub(crate) fn names_of_this_directory() -> Outcome {
    let machine = built();
    let here = machine.context("here", &[("layout/f", "")]);
    machine.ok(["save", "-o", &here.join("t.tar").display().to_string(), "t"]);
    machine.ok(["create", "--name", "box", "t"]);
    let look = |name: &str| {
        let mut command = machine.command(["ls", name, "/a"]);
        run(command.current_dir(&here))
    };
    assert_eq!(look("t.tar").ok(), "g\ns");
    look("layout").fails(1, &["hint: there is no image `layout`", "`./layout`"]);
    look("box").fails(1, &["hint: there is no image `box`", "`container:box`"]);
    machine
        .mica(["diff", "t"])
        .fails(1, &["No such container: t", "it is an image"]);
    Ok(())
}

pub(crate) fn history_of_a_path() -> Outcome {
    let machine = built();
    let check = |path: &str, expected: &[(u64, &str)]| {
        let rows = objects(&machine.ok(["file-history", "--format", "json", "t", path]));
        let actual: Vec<_> = rows
            .iter()
            .map(|row| {
                (
                    row["layer"].as_u64().unwrap_or(99),
                    row["change"].as_str().unwrap_or(""),
                )
            })
            .collect();
        assert_eq!(actual, expected, "{path}");
    };
    check("/a/f", &[(1, "added"), (2, "modified"), (3, "removed")]);
    check("/a/g", &[(2, "added")]);
    check("opt/x/zeros", &[(3, "added"), (4, "metadata")]);
    check("/home", &[(0, "added"), (3, "removed")]);
    let table = machine.ok(["file-history", "t", "/a/f"]);
    assert!(table.contains("RUN echo more >> /a/f"), "{table}");
    machine
        .mica(["file-history", "t", "/none"])
        .fails(1, &["no layer of t has that path"]);
    Ok(())
}

/// What `ls -R --format json` says, without the layer, which the same files may have elsewhere.
fn listing(machine: &Machine, image: &str) -> Vec<Value> {
    let mut rows = objects(&machine.ok(["ls", "-R", "--format", "json", image]));
    for row in &mut rows {
        row.as_object_mut()
            .expect("it is an object")
            .remove("layer");
    }
    rows
}

pub(crate) fn from_everywhere() -> Outcome {
    let machine = built();
    let path = |name: &str| machine.path(name).to_str().expect("UTF-8").to_owned();
    let (docker, oci) = (path("docker.tar"), path("oci.tar"));
    machine.ok(["save", "-o", &docker, "t"]);
    machine.ok(["save", "--format", "oci-archive", "-o", &oci, "t"]);
    let layout = machine.context("layout", &[]);
    run(Command::new("tar")
        .arg("-xf")
        .arg(&oci)
        .arg("-C")
        .arg(&layout))
    .ok();
    run(Command::new("gzip").args(["-k", &docker])).ok();
    let expected = listing(&machine, "t");
    assert!(expected.len() > 50, "{expected:?}");
    let places = [
        format!("docker-archive:{docker}"),
        format!("docker-archive://{docker}.gz"),
        format!("oci-archive:{oci}"),
        format!("oci:{}", layout.display()),
        format!("oci:{}:t:latest", layout.display()),
        docker.clone(),
        layout.to_str().expect("UTF-8").to_owned(),
    ];
    // A store of its own: nothing can come from the other one's cache.
    let other = Machine::new();
    for place in &places {
        assert_eq!(listing(&other, place), expected, "{place}");
        assert_eq!(other.ok(["cat", place, "/a/s"]), "hi\nmore", "{place}");
    }
    other
        .mica(["ls", &format!("oci:{}:none", layout.display())])
        .fails(1, &["has no image `none`", "t:latest"]);
    let files = path("files");
    machine.ok(["extract", "-o", &files, "t"]);
    let contents = |rows: &[Value]| -> BTreeMap<String, Value> {
        let pair = |row: &Value| (row["path"].to_string(), row["digest"].clone());
        rows.iter().map(pair).collect()
    };
    let unpacked = listing(&machine, &format!("dir:{files}"));
    assert_eq!(contents(&unpacked), contents(&expected));
    machine.ok([
        "run",
        "--name",
        "look",
        "t",
        "sh",
        "-c",
        "echo new > /new; rm /a/s",
    ]);
    assert_eq!(machine.ok(["ls", "container:look", "/a"]), "g");
    assert_eq!(machine.ok(["cat", "container:look", "/new"]), "new");
    assert_eq!(
        machine.ok(["ls", "-R", "container:look@-1"]),
        "/a\n/a/s\n/new"
    );
    Ok(())
}

pub(crate) fn of_a_registry() -> Outcome {
    let registry = Registry::open()?;
    let machine = built();
    let name = format!("{}/look:1", registry.address);
    machine.ok(["tag", "t", &name]);
    machine.ok(["push", "-q", &name]);
    let other = Machine::new();
    let expected = listing(&machine, "t");
    assert_eq!(listing(&other, &name), expected);
    assert_eq!(listing(&other, &format!("docker://{name}")), expected);
    assert_eq!(other.ok(["cat", &format!("{name}@1"), "/a/f"]), "hi");
    assert_eq!(other.ok(["images", "-q"]), "", "nothing was pulled");
    // Only what is needed is fetched: the configuration and the one layer.
    let third = Machine::new();
    registry.clear_log();
    assert_eq!(third.ok(["cat", &format!("{name}@1"), "/a/f"]), "hi");
    let requests = registry.requests();
    let blobs = requests.iter().filter_map(|it| it.split_once("/blobs/"));
    let blobs: BTreeSet<_> = blobs.map(|(_, digest)| digest).collect();
    assert_eq!(blobs.len(), 2, "{requests:?}");
    // What was fetched once is known: the layers are not asked for again.
    drop(registry);
    let gone = other.mica(["ls", &name]);
    gone.fails(1, &["there is no image"]);
    Ok(())
}

pub(crate) fn archive(machine: &Machine, name: &str, layers: &[PathBuf]) -> Result<String, Skip> {
    needs(&["python3"])?;
    let out = machine.path(&format!("{name}.tar"));
    let script = repository().join("tests/make-archive.py");
    run(Command::new(script)
        .arg(&out)
        .arg(format!("{name}:latest"))
        .args(layers))
    .ok();
    Ok(out.to_str().expect("UTF-8").to_owned())
}

/// The cases of the conformance pack that have one right tree: it is what is shown.
pub(crate) fn odd_and_hostile_layers() -> Outcome {
    let cases = repository().join("../shared/conformance/tar/cases");
    if !cases.is_dir() {
        return Err(Skip("../shared/conformance is not there".into()));
    }
    needs(&["python3"])?;
    let (machine, fresh) = (Machine::new(), Machine::new());
    let images = machine.path("images");
    let script = repository().join("tests/make-archive.py");
    run(Command::new(script).arg("--cases").args([&cases, &images])).ok();
    let mut compared = 0;
    for case in fs::read_dir(cases).expect("it is there") {
        let case = case.expect("it can be read").path();
        let name = case.file_name().expect("it has one").to_string_lossy();
        let image = images.join(format!("{name}.tar"));
        let image = image.to_str().expect("UTF-8");
        let listed = machine.mica(["ls", "-R", "--format", "json", image]);
        assert!(matches!(listed.code, 0 | 1), "{listed}");
        // By the headers alone, in a store that knows nothing of the layer.
        let layers = fresh.mica(["layers", image]);
        assert!(matches!(layers.code, 0 | 1), "{layers}");
        let expected = fs::read(case.join("result.json")).expect("each case has one");
        let expected: Value = serde_json::from_slice(&expected).expect("it is JSON");
        if expected["expect"] == "ok" {
            let listed = by_path(&objects(listed.ok()));
            let mut trees = vec![&expected["tree"]];
            trees.extend(expected["also_accepted"].as_array().into_iter().flatten());
            let fits = trees.iter().any(|tree| is_tree(tree, &listed));
            assert!(fits, "{name}: {listed:#?}\nexpected {:#}", expected["tree"]);
            compared += 1;
        }
        if expected["expect"] == "ok" {
            continue;
        }
        let out = machine.path("out");
        let extracted = machine.mica(["extract", "-o", out.to_str().expect("UTF-8"), image]);
        assert!(matches!(extracted.code, 0 | 1), "{extracted}");
        let _ = fs::remove_dir_all(&out);
    }
    assert!(compared > 80, "only {compared} cases");
    // `/lc-etc` tells nothing here: `conformance::tar`, which may run now, makes it and guards it.
    for escaped in ["/lc-dne", "/tmp/lc-dne"] {
        assert!(!Path::new(escaped).exists(), "{escaped} was made");
    }
    Ok(())
}

/// By the names that the pack has: bytes that are no UTF-8 as `%XX`.
fn by_path(rows: &[Value]) -> BTreeMap<String, Value> {
    let name = |row: &Value| match row["path_hex"].as_str() {
        None => row["path"].as_str().expect("it has one")[1..].replace('%', "%25"),
        Some(hex) => escape(hex),
    };
    rows.iter().map(|row| (name(row), row.clone())).collect()
}

fn escape(hex: &str) -> String {
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("it is hexadecimal");
    let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
    let chunk = |chunk: std::str::Utf8Chunk<'_>| {
        let invalid = chunk.invalid().iter().map(|byte| format!("%{byte:02X}"));
        chunk.valid().replace('%', "%25") + &invalid.collect::<String>()
    };
    bytes.utf8_chunks().map(chunk).collect()
}

fn is_tree(tree: &Value, listed: &BTreeMap<String, Value>) -> bool {
    let tree = tree.as_object().expect("it is an object");
    // The tree of a big case leaves files out.
    tree.len() == listed.len()
        && tree.iter().all(|(path, wanted)| {
            let Some(row) = listed.get(path) else {
                return false;
            };
            let digest = wanted["sha256"].as_str().map(|hex| format!("sha256:{hex}"));
            ["type", "mode", "uid", "gid", "size"]
                .iter()
                .all(|key| wanted[key].is_null() || wanted[key] == row[key])
                && digest.is_none_or(|digest| row["digest"] == digest)
                && (wanted["dev"].is_null() || wanted["dev"] == row["device"])
        })
}

/// Three hundred layers: each changes a file, adds one and hides the one of the layer below.
pub(crate) fn high_archive(machine: &Machine) -> Result<String, Skip> {
    needs(&["python3"])?;
    let directory = machine.context("layers", &[]);
    let script = "import io, sys, tarfile\n\
        for n in range(300):\n\
        \x20   with tarfile.open('%s/%d' % (sys.argv[1], n), 'w') as out:\n\
        \x20       for name, text in ('n', '%d' % n), ('f%d' % n, 'x'), ('.wh.f%d' % (n - 1), ''):\n\
        \x20           member = tarfile.TarInfo(name); member.size = len(text)\n\
        \x20           out.addfile(member, io.BytesIO(text.encode()))\n";
    run(Command::new("python3").args(["-c", script]).arg(&directory)).ok();
    let layers = (0..300).map(|number: u32| directory.join(number.to_string()));
    let layers: Vec<_> = layers.collect();
    archive(machine, "high", &layers)
}

pub(crate) fn three_hundred_layers() -> Outcome {
    let machine = Machine::new();
    let image = high_archive(&machine)?;
    assert_eq!(
        machine
            .ok(["layers", "--format", "{{.layer}}", &image])
            .lines()
            .count(),
        300
    );
    assert_eq!(machine.ok(["ls", &image]), "f299\nn");
    assert_eq!(machine.ok(["cat", &image, "/n"]), "299");
    assert_eq!(machine.ok(["cat", &format!("{image}@150"), "/n"]), "150");
    let history = machine.ok([
        "file-history",
        "--format",
        "{{.layer}} {{.change}}",
        &image,
        "/f7",
    ]);
    assert_eq!(history, "7 added\n8 removed");
    Ok(())
}

/// Runs a command; returns the most memory that it had in KiB.
pub(crate) fn peak_memory(command: &Command) -> u64 {
    let script = "import resource, subprocess, sys\n\
        subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)\n\
        print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)";
    let mut python = Command::new("python3");
    python
        .args(["-c", script])
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => python.env(name, value),
            None => python.env_remove(name),
        };
    }
    run(&mut python).ok().parse().expect("it is a number")
}

/// A gigabyte of zeros in a layer.
const ZEROS: &str = "import gzip, io, sys, tarfile\n\
    header = tarfile.TarInfo('zeros'); header.size = 1 << 30\n\
    block = gzip.compress(bytes(16 << 20), 1)\n\
    with open(sys.argv[1], 'wb') as out:\n\
    \x20   out.write(gzip.compress(header.tobuf()))\n\
    \x20   for _ in range(64): out.write(block)\n\
    \x20   out.write(gzip.compress(bytes(1024)))\n";

pub(crate) fn a_gigabyte_of_zeros() -> Outcome {
    needs(&["python3"])?;
    let machine = Machine::new();
    let layer = machine.path("zeros.tar.gz");
    run(Command::new("python3").args(["-c", ZEROS]).arg(&layer)).ok();
    let store = archive(&machine, "zeros", &[layer])?;
    let memory = peak_memory(&machine.command(["layers", &store]));
    assert!(memory < 64 << 10, "{memory} KiB");
    let memory = peak_memory(&machine.command(["cat", &store, "/zeros"]));
    assert!(memory < 64 << 10, "{memory} KiB");
    assert_eq!(
        machine.ok(["du", "-b", "-s", &store]),
        format!("{}\t/", 1u64 << 30)
    );
    Ok(())
}

/// Fifty thousand files are listed from the index once their layer is known: it is not read again.
pub(crate) fn fifty_thousand_files() -> Outcome {
    needs(&["python3"])?;
    let machine = Machine::new();
    let layer = machine.path("many.tar");
    let script = "import sys, tarfile\n\
        with tarfile.open(sys.argv[1], 'w') as out:\n\
        \x20   for n in range(50000):\n\
        \x20       out.addfile(tarfile.TarInfo('d%d/some-file-%d' % (n % 200, n)))\n";
    run(Command::new("python3").args(["-c", script]).arg(&layer)).ok();
    let image = archive(&machine, "files", &[layer])?;
    let list = || machine.ok(["ls", "-R", "--format", "json", &image]);
    let listed = list();
    assert_eq!(listed.lines().count(), 50_200);
    // In the middle of the archive is the layer.
    let mut file = fs::OpenOptions::new()
        .write(true)
        .open(&image)
        .expect("it is ours");
    let middle = file.metadata().expect("it is open").len() / 2;
    file.seek(SeekFrom::Start(middle))
        .and_then(|_| file.write_all(&[0xff; 1 << 20]))
        .expect("the file system has room");
    drop(file);
    assert!(list() == listed, "the kept index answers");
    fs::remove_dir_all(machine.root().join("cache/layer-index")).expect("it was kept");
    let unknown = machine.mica(["ls", "-R", &image]);
    assert_ne!(
        unknown.code, 0,
        "without the index the broken layer is read"
    );
    Ok(())
}
