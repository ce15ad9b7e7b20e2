//! Images of as many layers as overlayfs takes, and of one more.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mica_tests::{Machine, Outcome, needs, repository, run};
use serde_json::Value;

use crate::files::archive;

/// The most layers of one overlay mount.
const MOST: usize = 500;

/// Writes layers to a directory, numbered from 1: each replaces a file far down, adds one, and
/// removes the one of the layer below.
const LAYERS: &str = "import io, sys, tarfile\n\
    for n in range(1, int(sys.argv[2])):\n\
    \x20   with tarfile.open('%s/%d' % (sys.argv[1], n), 'w') as out:\n\
    \x20       for name, text in ('deep/er/n', str(n)), ('f%d' % n, 'x'), ('.wh.f%d' % (n - 1), ''):\n\
    \x20           member = tarfile.TarInfo(name); member.size = len(text)\n\
    \x20           out.addfile(member, io.BytesIO(text.encode()))\n";

/// Makes the archive of an image: busybox with layers on top.
fn high_image(machine: &Machine) -> Result<String, mica_tests::Skip> {
    needs(&["python3"])?;
    let directory = machine.context("layers", &[]);
    let mut make = Command::new("python3");
    make.args(["-c", LAYERS])
        .arg(&directory)
        .arg(MOST.to_string());
    run(&mut make).ok();
    let mut layers = vec![lowest_layer()];
    layers.extend((1..MOST).map(|number| directory.join(number.to_string())));
    archive(machine, "high", &layers)
}

/// The layer of busybox, in the layout that tests take it from.
fn lowest_layer() -> PathBuf {
    let layout = repository().join(".cache/tests/busybox");
    let blob = |digest: &Value| {
        let hex = digest["digest"].as_str().expect("it is a descriptor")[7..].to_owned();
        layout.join("blobs/sha256").join(hex)
    };
    let read = |path: &Path| -> Value {
        let text = fs::read(path).expect("it is a layout");
        serde_json::from_slice(&text).expect("it is JSON")
    };
    let index = read(&layout.join("index.json"));
    blob(&read(&blob(&index["manifests"][0]))["layers"][0])
}

/// Runs `mica` with the usual limit on open files.
fn with_usual_limits(machine: &Machine, arguments: &[&str]) -> String {
    let inner = machine.command(arguments);
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -Sn 1024; exec \"$@\"", "sh"])
        .arg(inner.get_program())
        .args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    run(&mut command).ok().to_owned()
}

pub(crate) fn five_hundred_layers() -> Outcome {
    // It makes the layout that the lowest layer comes from.
    drop(Machine::with_busybox());
    let machine = Machine::new();
    let image = high_image(&machine)?;
    let mica = |arguments: &[&str]| with_usual_limits(&machine, arguments);
    let run_it = ["run", "--rm", "--network", "none"];
    mica(&["load", "-q", "-i", &image]);
    let shown = mica(&[&run_it[..], &["high", "cat", "/deep/er/n"]].concat());
    assert_eq!(shown, "499");
    let limit = mica(&[&run_it[..], &["high", "sh", "-c", "ulimit -Sn"]].concat());
    assert_eq!(limit, "1024", "a container has the limit of its caller");
    let point = machine.path("point");
    let point_text = point.to_str().expect("UTF-8");
    mica(&["image", "mount", "high", point_text]);
    let files = fs::read_dir(&point).expect("it is mounted");
    let names = files.map(|file| file.expect("it can be read").file_name());
    let names = names.filter(|name| name.to_string_lossy().starts_with('f'));
    assert_eq!(names.collect::<Vec<_>>(), ["f499"]);
    mica(&["image", "unmount", point_text]);
    let saved = machine.path("saved.tar");
    mica(&["save", "-o", saved.to_str().expect("UTF-8"), "high"]);
    let out = machine.path("out");
    mica(&["image", "unpack", "high", out.to_str().expect("UTF-8")]);
    assert_eq!(
        fs::read(out.join("deep/er/n")).expect("it was unpacked"),
        b"499"
    );
    let context = machine.context("context", &[("new", "new")]);
    let dockerfile = "FROM high\nRUN rm /deep/er/n && echo more > /deep/er/m\nCOPY new /deep/er/\n";
    fs::write(context.join("Dockerfile"), dockerfile).expect("the context is ours");
    mica(&[
        "build",
        "-q",
        "-t",
        "higher",
        context.to_str().expect("UTF-8"),
    ]);
    let listed = mica(&[&run_it[..], &["higher", "ls", "/deep/er", "/"]].concat());
    assert!(
        listed.contains("/deep/er:\nm\nnew") && listed.contains("f499") && !listed.contains("f498"),
        "{listed}"
    );
    mica(&["image", "mount", "higher", point_text]);
    assert_eq!(
        fs::read(point.join("deep/er/m")).expect("it is mounted"),
        b"more\n"
    );
    mica(&["image", "unmount", point_text]);
    let fresh = Machine::new();
    fresh.ok(["load", "-q", "-i", saved.to_str().expect("UTF-8")]);
    assert_eq!(
        fresh.ok(["inspect", "-f", "{{.Id}}", "high"]),
        machine.ok(["inspect", "-f", "{{.Id}}", "high"])
    );
    Ok(())
}
