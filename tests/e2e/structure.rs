//! The shape of the workspace.

use std::collections::BTreeMap;
use std::fs;

use mica_tests::{Outcome, repository};

/// Who may use whom: `cli → {builder, container, inspect, registry-server} → {store, isolation,
/// registry-client, dockerfile} → oci`. Siblings are strangers.
const ARROWS: &[(&str, &[&str])] = &[
    ("oci", &[]),
    ("dockerfile", &[]),
    ("isolation", &["oci"]),
    ("store", &["oci"]),
    ("registry-client", &["oci"]),
    ("registry-server", &["oci", "store"]),
    ("builder", &["oci", "dockerfile", "isolation", "store"]),
    ("container", &["oci", "isolation", "store"]),
    ("inspect", &["oci", "dockerfile", "store"]),
    (
        "cli",
        &[
            "oci",
            "dockerfile",
            "isolation",
            "store",
            "registry-client",
            "registry-server",
            "builder",
            "container",
            "inspect",
        ],
    ),
    ("fixtures", &["oci"]),
    ("tests", &[]),
];

pub(crate) fn arrows_point_one_way() -> Outcome {
    let allowed: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    let workspace = fs::read_to_string(repository().join("Cargo.toml")).expect("it is there");
    let members = workspace
        .lines()
        .find(|line| line.starts_with("members"))
        .expect("there are");
    for room in members.split('"').skip(1).step_by(2) {
        let allowed = allowed
            .get(room)
            .unwrap_or_else(|| panic!("{room}: not in the picture"));
        let manifest = repository().join(room).join("Cargo.toml");
        let manifest = fs::read_to_string(manifest).expect("each room has a manifest");
        let normal = manifest
            .split("[dev-dependencies]")
            .next()
            .unwrap_or_default();
        for line in normal.lines().filter(|line| line.starts_with("mica-")) {
            let name = line["mica-".len()..]
                .split(['.', ' ', '='])
                .next()
                .unwrap_or_default();
            assert!(allowed.contains(&name), "{room} must not use {name}");
        }
    }
    Ok(())
}

pub(crate) fn every_file_is_a_module() -> Outcome {
    let main = include_str!("main.rs");
    for entry in fs::read_dir(repository().join("tests/e2e")).expect("it is there") {
        let name = entry.expect("it can be read").file_name();
        let name = name.to_string_lossy();
        let module = name.trim_end_matches(".rs");
        let listed = module == "main" || main.contains(&format!("\n    {module}: "));
        assert!(listed, "{name} has no line in main.rs");
    }
    Ok(())
}
