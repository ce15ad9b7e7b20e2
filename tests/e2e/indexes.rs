//! An index of several platforms in the store: built, named, loaded and removed as one.

use std::fs;

use mica_tests::{Machine, Outcome};
use serde_json::Value;

use super::outputs::{blob, build, json_of, manifest, text};
use super::platforms::{BOTH, CROSS, platforms};

/// The platforms of what the store has under a name; none of an image by itself.
fn stored_platforms(machine: &Machine, name: &str) -> Vec<String> {
    let index = json_of(&machine.root().join("index.json"));
    let mut entries = index["manifests"].as_array().expect("a list").iter();
    let has_name =
        |entry: &&Value| entry["annotations"]["org.opencontainers.image.ref.name"] == name;
    let entry = entries.find(has_name).expect("the name is there");
    let target = blob(&machine.root(), &entry["digest"]);
    match target["manifests"].is_array() {
        true => platforms(&target),
        false => Vec::new(),
    }
}

pub(crate) fn one_name_in_the_store() -> Outcome {
    let machine = Machine::with_busybox();
    build(
        &machine,
        CROSS,
        &["--platform", BOTH, "-t", "app", "--load"],
    );
    assert_eq!(
        machine.ok(["inspect", "-f", "{{.Architecture}}", "app"]),
        "amd64"
    );
    machine.ok(["image", "prune", "-f"]);
    build(
        &machine,
        "FROM app\nCOPY --from=app /out /again\n",
        &[
            "--platform",
            BOTH,
            "-o",
            &format!("type=local,dest={}", text(&machine.path("again"))),
        ],
    );
    let again = fs::read_to_string(machine.path("again/linux_arm64/again"));
    assert_eq!(
        again.expect("it was written"),
        "linux/arm64 arm64 linux/amd64\n"
    );
    // Another name is one of all platforms, and the last one takes them along.
    machine.ok(["tag", "app", "other"]);
    assert_eq!(machine.ok(["rmi", "app"]), "Untagged: app:latest");
    assert_eq!(
        stored_platforms(&machine, "other:latest"),
        ["amd64", "arm64"]
    );
    let removed = machine.ok(["rmi", "other"]);
    assert!(
        removed.starts_with("Untagged: other:latest\nDeleted: "),
        "{removed}"
    );
    machine.mica(["inspect", "other"]).fails(1, &["other"]);
    Ok(())
}

/// An archive of all platforms is loaded as one; one that lacks a platform as this host's.
pub(crate) fn loaded_as_one() -> Outcome {
    let machine = Machine::with_busybox();
    build(
        &machine,
        CROSS,
        &["--platform", BOTH, "-t", "app", "--load"],
    );
    let layout = machine.path("layout");
    machine.ok([
        "copy",
        "-q",
        "--all",
        "store:app",
        &format!("oci:{}:app", text(&layout)),
    ]);
    let other = Machine::new();
    other.ok(["load", "-i", text(&layout)]);
    assert_eq!(stored_platforms(&other, "app:latest"), ["amd64", "arm64"]);
    other.ok(["system", "prune", "-f"]);
    other.ok(["system", "check", "--full"]);
    let foreign = manifest(&layout)["manifests"][1]["digest"].clone();
    let foreign = blob(&layout, &foreign)["layers"][0]["digest"].clone();
    let foreign = foreign.as_str().expect("a digest").replace(':', "/");
    fs::remove_file(layout.join("blobs").join(foreign)).expect("it is ours");
    let other = Machine::new();
    other.ok(["load", "-i", text(&layout)]);
    assert!(stored_platforms(&other, "app:latest").is_empty());
    assert_eq!(
        other.ok(["inspect", "-f", "{{.Architecture}}", "app"]),
        "amd64"
    );
    Ok(())
}
