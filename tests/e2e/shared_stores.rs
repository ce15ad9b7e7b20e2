//! `additional-stores`: images of stores that are only read.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use mica_tests::{Machine, Outcome};

/// Lets a machine read other stores.
fn configure(machine: &Machine, roots: &[&Path]) {
    let settings = machine.path("home/.config/mica");
    fs::create_dir_all(&settings).expect("the directory is ours");
    let text = serde_json::json!({ "additional-stores": roots }).to_string();
    fs::write(settings.join("config.json"), text).expect("the directory is ours");
}

/// Lists all below a directory, with what a write would change.
fn listing(directory: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in fs::read_dir(directory).expect("it is a directory") {
        let path = entry.expect("it can be read").path();
        let stat = path.symlink_metadata().expect("it is there");
        let (size, links) = (stat.len(), stat.nlink());
        let changed = (stat.ctime(), stat.ctime_nsec());
        lines.push(format!("{} {size} {links} {changed:?}", path.display()));
        if stat.is_dir() {
            lines.extend(listing(&path));
        }
    }
    lines.sort();
    lines
}

fn names_in(machine: &Machine, part: &str) -> usize {
    let entries = fs::read_dir(machine.root().join(part)).expect("the store has it");
    entries.count()
}

pub(crate) fn found_and_left_alone() -> Outcome {
    let site = Machine::with_busybox();
    site.build("team/base:1", "FROM busybox\nRUN echo shared > /f\n", &[]);
    let before = listing(&site.root());
    let machine = Machine::new();
    configure(&machine, &[&site.root()]);
    let names = machine.ok(["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    assert_eq!(names, "team/base:1\nbusybox:latest");
    let run = [
        "run",
        "--rm",
        "--network",
        "none",
        "team/base:1",
        "cat",
        "/f",
    ];
    assert_eq!(machine.ok(run), "shared");
    assert_eq!(
        (
            names_in(&machine, "layers"),
            names_in(&machine, "blobs/sha256")
        ),
        (0, 0)
    );
    let dockerfile = "FROM team/base:1\nRUN cat /f > /g && rm /f\nCMD [\"cat\", \"/g\"]\n";
    machine.build("mine", dockerfile, &[]);
    assert_eq!(names_in(&machine, "layers"), 1, "only what was made here");
    assert_eq!(
        machine.ok(["run", "--rm", "--network", "none", "mine"]),
        "shared"
    );
    machine.ok(["tag", "team/base:1", "own:1"]);
    machine.ok(["system", "prune", "-af"]);
    let other = Machine::new();
    machine.build("mine", dockerfile, &[]);
    let archive = machine.path("mine.tar");
    let path = archive.to_str().expect("UTF-8");
    machine.ok(["save", "-o", path, "mine"]);
    other.ok(["load", "-q", "-i", path]);
    assert_eq!(
        other.ok(["run", "--rm", "--network", "none", "mine"]),
        "shared"
    );
    let image = machine.ok(["inspect", "-f", "{{.Id}}", "team/base:1"]);
    for name in ["team/base:1", image.as_str()] {
        machine.mica(["rmi", name]).fails(1, &["only read"]);
    }
    assert!(
        machine
            .ok(["system", "check", "--full"])
            .ends_with("the store is whole")
    );
    assert_eq!(
        listing(&site.root()),
        before,
        "the shared store was written to"
    );
    Ok(())
}

/// The own store comes first, then the shared ones in their order.
pub(crate) fn the_first_one_wins() -> Outcome {
    let [first, second, own] = [(); 3].map(|()| Machine::new());
    for (machine, text) in [(&first, "first"), (&second, "second"), (&own, "own")] {
        machine.build("x:1", "FROM scratch\nCOPY f /f\n", &[("f", text)]);
    }
    second.build("y:1", "FROM scratch\nCOPY f /f\n", &[("f", "y")]);
    let id = |machine: &Machine, name: &str| machine.ok(["inspect", "-f", "{{.Id}}", name]);
    let before = id(&own, "x:1");
    configure(&own, &[&first.root(), &second.root()]);
    assert_eq!(id(&own, "x:1"), before);
    assert_eq!(id(&own, "y:1"), id(&second, "y:1"));
    own.ok(["rmi", "x:1"]);
    assert_eq!(id(&own, "x:1"), id(&first, "x:1"));
    Ok(())
}

pub(crate) fn unusable_ones_are_named() -> Outcome {
    let site = Machine::new();
    site.ok(["images"]);
    let machine = Machine::new();
    let missing = machine.path("nowhere");
    configure(&machine, &[&missing]);
    let place = missing.to_str().expect("UTF-8");
    let words = [place, "there is no store", "additional-stores"];
    machine.mica(["images"]).fails(1, &words);
    assert!(!missing.exists(), "a store that is only read is not made");
    fs::write(site.root().join("version"), "9\n").expect("the store is ours");
    configure(&machine, &[&site.root()]);
    let root = site.root();
    let words = [root.to_str().expect("UTF-8"), "format version `9`"];
    machine.mica(["images"]).fails(1, &words);
    Ok(())
}
