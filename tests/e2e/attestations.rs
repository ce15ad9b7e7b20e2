//! `mica build --sbom` and `--provenance`: what is said about an image goes where the image goes.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use mica_tests::{Machine, Outcome, Registry, needs, run};
use serde_json::Value;

use super::outputs::{json_of, text};

const SLSA: &str = "https://slsa.dev/provenance/v1";
const SPDX: &str = "https://spdx.dev/Document";

const DOCKERFILE: &str = "FROM busybox
ARG CHANNEL=none
RUN --mount=type=secret,id=token test -s /run/secrets/token
COPY status /var/lib/dpkg/status
";
const STATUS: &str =
    "Package: zlib1g\nStatus: install ok installed\nVersion: 1:1.2.13\nArchitecture: amd64\n";

/// A machine, and the arguments of a build with a secret and a build argument.
fn machine() -> (Machine, Vec<String>) {
    let machine = Machine::with_busybox();
    let context = machine.context("context", &[("Dockerfile", DOCKERFILE), ("status", STATUS)]);
    let token = machine.path("token");
    fs::write(&token, "hunter2-hunter2").expect("the directory is ours");
    let secret = format!("id=token,src={}", text(&token));
    let arguments = [
        "build",
        "-q",
        "--secret",
        &secret,
        "--build-arg",
        "CHANNEL=beta",
    ];
    let mut arguments: Vec<_> = arguments.map(str::to_owned).into();
    arguments.push(text(&context).to_owned());
    (machine, arguments)
}

/// An index as skopeo copies it, and the statements of its images by the digest of the image and
/// the kind of predicate.
struct Copied {
    index: Value,
    statements: BTreeMap<(String, String), Value>,
    everything: String,
}

fn copy(machine: &Machine, source: &str) -> Copied {
    let directory = machine.path("copied");
    let mut skopeo = Command::new("skopeo");
    let target = format!("dir:{}", text(&directory));
    skopeo.args([
        "copy",
        "-q",
        "--all",
        "--src-tls-verify=false",
        source,
        &target,
    ]);
    run(&mut skopeo).ok();
    let read = |name: &str| fs::read(directory.join(name)).expect("skopeo wrote it");
    let json = |name: &str| serde_json::from_slice::<Value>(&read(name)).expect("it is JSON");
    let index = json("manifest.json");
    let (mut statements, mut everything) = (BTreeMap::new(), String::new());
    for entry in index["manifests"].as_array().into_iter().flatten() {
        let about = &entry["annotations"]["vnd.docker.reference.digest"];
        let Some(about) = about.as_str() else {
            continue;
        };
        assert_eq!(entry["platform"]["os"], "unknown");
        let kind = &entry["annotations"]["vnd.docker.reference.type"];
        assert_eq!(kind, "attestation-manifest");
        let hex = |value: &Value| value["digest"].as_str().expect("a digest")[7..].to_owned();
        let manifest = json(&format!("{}.manifest.json", hex(entry)));
        for layer in manifest["layers"].as_array().into_iter().flatten() {
            assert_eq!(layer["mediaType"], "application/vnd.in-toto+json");
            let statement = json(&hex(layer));
            let kind = &layer["annotations"]["in-toto.io/predicate-type"];
            assert_eq!(&statement["predicateType"], kind);
            assert_eq!(
                statement["subject"][0]["digest"]["sha256"].as_str(),
                Some(&about[7..])
            );
            everything += &statement.to_string();
            let key = (about.to_owned(), kind.as_str().expect("text").to_owned());
            statements.insert(key, statement);
        }
    }
    fs::remove_dir_all(&directory).expect("the directory is ours");
    Copied {
        index,
        statements,
        everything,
    }
}

impl Copied {
    /// Returns the statement of a kind about the first image.
    fn first(&self, kind: &str) -> Option<&Value> {
        let image = self.index["manifests"][0]["digest"].as_str()?;
        self.statements.get(&(image.to_owned(), kind.to_owned()))
    }
}

/// They are pushed with the image; the short mode tells nothing that may be secret, and no mode a
/// secret.
pub(crate) fn are_pushed() -> Outcome {
    needs(&["skopeo"])?;
    let registry = Registry::open()?;
    let (machine, arguments) = machine();
    let base = &json_of(&machine.root().join("index.json"))["manifests"][0]["digest"];
    for mode in ["min", "max"] {
        let name = format!("{}/team/app:{mode}", registry.address);
        let mut build = machine.command(&arguments);
        build.args([
            "--push",
            "--sbom",
            &format!("--provenance=mode={mode}"),
            "-t",
            &name,
        ]);
        run(&mut build).ok();
        let copied = copy(&machine, &format!("docker://{name}"));
        assert_eq!(copied.statements.len(), 2, "{mode}");

        let bill = copied.first(SPDX).expect("there is a bill of materials");
        let packages = bill["predicate"]["packages"].to_string();
        assert!(packages.contains("zlib1g"), "{packages}");
        let subject = format!(
            "pkg:docker/{}/team/app@{mode}?platform=linux%2F",
            registry.address
        );
        let told = bill["subject"][0]["name"].as_str().expect("a name");
        assert!(told.starts_with(&subject), "{told}");

        let definition =
            &copied.first(SLSA).expect("there is provenance")["predicate"]["buildDefinition"];
        let dependency = &definition["resolvedDependencies"][0];
        assert!(
            dependency["uri"]
                .to_string()
                .contains("pkg:docker/busybox@latest")
        );
        let digest = dependency["digest"]["sha256"].as_str().expect("a digest");
        assert_eq!(base, &format!("sha256:{digest}"));
        let request = &definition["externalParameters"]["request"];
        let is_full = mode == "max";
        assert_eq!(
            request["args"]["build-arg:CHANNEL"] == "beta",
            is_full,
            "{request}"
        );
        assert_eq!(request["secrets"][0]["id"] == "token", is_full, "{request}");
        assert_eq!(copied.everything.contains("beta"), is_full);
        assert!(!copied.everything.contains("hunter2"));
    }
    Ok(())
}

/// An image of the store keeps them under each name, through `push` and `save`, and is one image to
/// everything else; they go with it.
pub(crate) fn stay_with_the_image() -> Outcome {
    needs(&["skopeo"])?;
    let registry = Registry::open()?;
    let (machine, arguments) = machine();
    let mut build = machine.command(&arguments);
    run(build.args(["--sbom", "--provenance", "-t", "app:v1"])).ok();
    let shown = [
        "run",
        "--rm",
        "app:v1",
        "grep",
        "-c",
        "zlib1g",
        "/var/lib/dpkg/status",
    ];
    assert_eq!(machine.ok(shown), "1");
    assert_eq!(
        machine.ok(["images", "-q"]).lines().count(),
        2,
        "it and busybox"
    );
    let name = format!("{}/app:v1", registry.address);
    machine.ok(["tag", "app:v1", &name]);
    machine.ok(["push", "-q", &name]);
    let pushed = copy(&machine, &format!("docker://{name}"));
    let archive = text(&machine.path("app.tar")).to_owned();
    machine.ok(["save", "--format", "oci-archive", "-o", &archive, "app:v1"]);
    let saved = copy(&machine, &format!("oci-archive:{archive}"));
    assert_eq!(pushed.statements.len(), 2);
    assert_eq!(pushed.index["manifests"], saved.index["manifests"]);
    assert_eq!(pushed.statements, saved.statements);

    let other = Machine::new();
    other.ok(["load", "-q", "-i", &archive]);
    assert_eq!(other.ok(shown), "1");
    let again = format!("{}/again:v1", registry.address);
    other.ok(["tag", "app:v1", &again]);
    other.ok(["push", "-q", &again]);
    let again = copy(&other, &format!("docker://{again}"));
    assert_eq!(again.index, pushed.index);

    machine.ok(["system", "prune", "-f"]);
    machine.ok(["system", "check", "--full"]);
    assert_eq!(
        copy(&machine, &format!("oci-archive:{archive}"))
            .statements
            .len(),
        2
    );
    machine.ok(["rmi", "app:v1", &name, "busybox"]);
    machine.ok(["builder", "prune", "-a", "-f"]);
    machine.ok(["image", "prune", "-f"]);
    let left = fs::read_dir(machine.root().join("blobs/sha256")).expect("the store is there");
    assert_eq!(left.count(), 0);
    Ok(())
}

/// Nothing is said unless it is asked for; what cannot be said is an error before the first step.
pub(crate) fn are_asked_for() -> Outcome {
    needs(&["skopeo"])?;
    let (machine, arguments) = machine();
    let archive = machine.path("plain.tar");
    let output = format!("type=oci,dest={}", text(&archive));
    let mut plain = machine.command(&arguments);
    run(plain.args([
        "--sbom=false",
        "--attest",
        "type=provenance,disabled=true",
        "-o",
        &output,
    ]))
    .ok();
    let copied = copy(&machine, &format!("oci-archive:{}", text(&archive)));
    assert_eq!(
        copied.index["config"]["mediaType"],
        "application/vnd.oci.image.config.v1+json"
    );

    let docker = format!("type=docker,dest={}", text(&machine.path("d.tar")));
    let local = format!("type=local,dest={}", text(&machine.path("files")));
    let mistakes: [(&[&str], &str); 4] = [
        (
            &["--sbom", "-o", &docker],
            "does not currently support exporting manifest lists",
        ),
        (
            &["--provenance", "-o", &local],
            "attestations go with an image",
        ),
        (&["--sbom=generator=some/scanner"], "runs no generator"),
        (
            &["--attest", "type=provenance,mode=full"],
            "mode is min or max",
        ),
    ];
    for (flags, message) in mistakes {
        let mut build = machine.command(&arguments);
        run(build.args(flags)).fails(1, &[message]);
    }
    Ok(())
}
