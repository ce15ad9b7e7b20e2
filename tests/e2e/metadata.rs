//! `--metadata-file`, `--iidfile` and annotations of a build.

use std::fs;

use mica_tests::{Machine, Outcome};
use serde_json::{Value, json};

use super::outputs::{APP, blob, build, build_line, json_of, text};

pub(crate) fn file_and_annotations() -> Outcome {
    let machine = Machine::with_busybox();
    let (layout, file, id) = (
        machine.path("layout"),
        machine.path("meta"),
        machine.path("id"),
    );
    let spec = format!(
        "type=oci,tar=false,dest={},annotation.by=attribute",
        text(&layout)
    );
    let line = format!(
        "-t app -t app:two -o {spec} --label of=image --annotation manifest,manifest-descriptor:where=both \
         --annotation manifest[linux/s390x]:not=here --metadata-file {} --iidfile {}",
        text(&file),
        text(&id)
    );
    build_line(&machine, APP, &line);
    let index = json_of(&layout.join("index.json"));
    let entry = &index["manifests"][0];
    let manifest = blob(&layout, &entry["digest"]);
    assert_eq!(
        manifest["annotations"],
        json!({"by": "attribute", "where": "both"})
    );
    assert_eq!(entry["annotations"]["where"], "both");
    let config = blob(&layout, &manifest["config"]["digest"]);
    assert_eq!(config["config"]["Labels"], json!({"of": "image"}));
    check_metadata(&json_of(&file), entry, &manifest);
    // The reference leads to what is remembered of the build.
    let reference = json_of(&file)["buildx.build.ref"].clone();
    let reference = reference.as_str().expect("text");
    assert!(reference.starts_with("default/default/"), "{reference}");
    let logs = machine.ok(["builds", "logs", reference]);
    assert!(logs.contains("RUN mkdir /d"), "{logs}");
    let id = fs::read_to_string(&id);
    assert_eq!(id.ok().as_deref(), manifest["config"]["digest"].as_str());
    Ok(())
}

fn check_metadata(metadata: &Value, entry: &Value, manifest: &Value) {
    assert_eq!(metadata["containerimage.digest"], entry["digest"]);
    assert_eq!(
        metadata["containerimage.config.digest"],
        manifest["config"]["digest"]
    );
    assert_eq!(
        metadata["containerimage.descriptor"]["digest"],
        entry["digest"]
    );
    assert_eq!(
        metadata["containerimage.descriptor"]["mediaType"],
        manifest["mediaType"]
    );
    assert_eq!(metadata["containerimage.descriptor"]["size"], entry["size"]);
    assert_eq!(
        metadata["image.name"],
        "docker.io/library/app:latest,docker.io/library/app:two"
    );
}

pub(crate) fn annotations_in_the_store() -> Outcome {
    let machine = Machine::with_busybox();
    let file = machine.path("meta");
    build(
        &machine,
        APP,
        &[
            "-t",
            "kept",
            "--annotation",
            "a=b",
            "--metadata-file",
            text(&file),
        ],
    );
    let store = machine.root();
    let kept = blob(&store, &json_of(&file)["containerimage.digest"]);
    assert_eq!(kept["annotations"], json!({"a": "b"}));
    assert_eq!(machine.ok(["run", "--rm", "kept"]), "one");
    Ok(())
}
