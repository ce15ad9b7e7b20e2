//! Secrets in images: found, named, and not pushed.

use std::fs;
use std::process::Command;

use mica_tests::{Machine, Outcome, Registry, needs, repository, run};
use serde_json::{Value, json};

/// A token that is none.
const TOKEN: &str = "ghp_k8Jx02mQpL5vR1zT7yB4nC6dF9gH3sAwEuIo";

fn row(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

pub(crate) fn do_not_leave() -> Outcome {
    let registry = Registry::open()?;
    let machine = Machine::with_busybox();
    let key = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        "MIIEvQIBADANBgkq".repeat(4)
    );
    machine.build(
        "leaky",
        &format!("FROM busybox\nCOPY key value /app/\nRUN rm /app/key\nENV API_TOKEN={TOKEN}\n"),
        &[("key", &key), ("value", "x correct-horse-battery y\n")],
    );
    machine.ok(["secrets", "busybox"]);
    let found = machine.mica(["secrets", "leaky"]);
    found.fails(
        1,
        &[
            "3 secrets in leaky",
            "private key in layer 1: /app/key: byte 0 (removed",
            "GitHub token ghp_…",
        ],
    );
    assert!(!format!("{found}").contains(TOKEN), "{found}");
    let value = machine.path("value");
    fs::write(&value, "correct-horse-battery\n").expect("the directory is ours");
    let declared = format!("id=horse,src={}", value.display());
    let found = machine.mica([
        "secrets", "--format", "json", "--secret", &declared, "leaky",
    ]);
    assert_eq!(found.code, 1, "{found}");
    let rows: Vec<Value> = found.stdout.lines().map(row).collect();
    let horse = rows
        .iter()
        .find(|row| row["kind"] == "declared secret horse");
    let place = &horse.unwrap_or_else(|| panic!("{rows:#?}"))["place"];
    assert_eq!(
        (place["path"].as_str(), place["offset"].as_u64()),
        (Some("/app/value"), Some(2))
    );
    assert!(!found.stdout.contains("correct-horse"), "{found}");
    let name = format!("{}/leaky:1", registry.address);
    machine.ok(["tag", "leaky", &name]);
    machine
        .mica(["push", "--leak-gate", &name])
        .fails(1, &["private key"]);
    machine.mica(["pull", &name]).fails(1, &[]);
    let clean = format!("{}/clean:1", registry.address);
    machine.ok(["tag", "busybox", &clean]);
    machine.ok(["push", "--leak-gate", &clean]);
    Ok(())
}

/// A token in the provenance of an image is found wherever the image is, and the gate keeps it here.
pub(crate) fn in_attestations() -> Outcome {
    needs(&["python3"])?;
    let registry = Registry::open()?;
    let machine = Machine::with_busybox();
    let text = |name: &str| machine.path(name).display().to_string();
    // `FROM scratch`, and a password behind it.
    let dockerfile = "RlJPTSBzY3JhdGNoCkFSRyBEQl9QQVNTV09SRD1rOEp4MDJtUXBMNXZSMQo=";
    let predicate = json!({
        "parameters": { "args": { "build-arg:KEY": TOKEN } },
        "sources": [{ "name": "Dockerfile", "data": dockerfile }],
    });
    for form in ["image", "artifact"] {
        let layout = attested(&machine, form, &predicate);
        let (archive, copied) = (text("o.tar"), format!("{}/{form}:v1", registry.address));
        let mut tar = Command::new("tar");
        run(tar.args(["-C", &text(form), "-cf", &archive, "."])).ok();
        let kept = format!("{}/kept-{form}:v1", registry.address);
        machine.ok(["copy", "-q", "--all", &layout, &format!("store:{kept}")]);
        machine.ok(["copy", "-q", &layout, &copied]);
        let (archive, copied) = (
            format!("oci-archive:{archive}"),
            format!("docker://{copied}"),
        );
        for image in [&layout, &archive, &kept, &copied] {
            let found = machine.mica(["secrets", image]);
            let places = [
                "2 secrets in",
                "GitHub token ghp_… in attestation sha256:",
                ": statement 0: $.predicate.parameters.args.build-arg:KEY",
                "value of DB_PASSWORD k8Jx…",
                ": statement 0: $.predicate.sources[0].data",
            ];
            found.fails(1, &places);
            assert!(!format!("{found}").contains(TOKEN), "{found}");
        }
        let gate = machine.mica(["push", "--leak-gate", &kept]);
        gate.fails(1, &["GitHub token ghp_… in attestation sha256:"]);
        machine.mica(["manifest", "inspect", &kept]).fails(1, &[]);
        let (clean, name) = (
            format!("clean-{form}"),
            format!("{}/clean-{form}:v1", registry.address),
        );
        let layout = attested(&machine, &clean, &json!({ "parameters": {} }));
        machine.ok(["copy", "-q", "--all", &layout, &format!("store:{name}")]);
        machine.ok(["push", "--leak-gate", &name]);
        machine.ok(["manifest", "inspect", &name]);
    }
    Ok(())
}

/// Makes a layout of busybox and an attestation of the form that its name ends with.
fn attested(machine: &Machine, name: &str, predicate: &Value) -> String {
    let path = machine.path(name).display().to_string();
    let layout = format!("oci:{path}:v1");
    machine.ok(["copy", "-q", "store:busybox", &layout]);
    let form = name.rsplit('-').next().unwrap_or(name);
    let script = repository().join("tests/attest-layout.py");
    run(Command::new(script).args([&path, form, &predicate.to_string()])).ok();
    layout
}
