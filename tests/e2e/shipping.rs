//! `mica build --push`: layers go up while the build goes on.

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use mica_tests::{Machine, Outcome, Registry, needs, run};

use super::outputs::{build_line, json_of, text};

/// How long a layer may take to get to the registry.
const PATIENCE: Duration = Duration::from_secs(60);

fn digest_count(registry: &Registry, repository: &str) -> usize {
    let layers = registry.storage().join(format!(
        "docker/registry/v2/repositories/{repository}/_layers/sha256"
    ));
    fs::read_dir(layers).map_or(0, Iterator::count)
}

fn has_tag(registry: &Registry, repository: &str, tag: &str) -> bool {
    let tags = registry.storage().join(format!(
        "docker/registry/v2/repositories/{repository}/_manifests/tags"
    ));
    tags.join(tag).exists()
}

/// Waits for a step to connect, or for the build to end without it.
fn accept(gate: &TcpListener, build: &mut Child) -> TcpStream {
    gate.set_nonblocking(true).expect("the listener is ours");
    loop {
        match gate.accept() {
            Ok((step, _)) => return step,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        let ended = build.try_wait().expect("the child is ours");
        assert!(ended.is_none(), "the build ended: {ended:?}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// The second step waits until the test answers; the test answers when the registry has the
/// layers below that step.
pub(crate) fn layers_go_up_before_the_end() -> Outcome {
    let registry = Registry::open()?;
    let machine = Machine::with_busybox();
    let gate = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = gate.local_addr().expect("it is bound").port();
    let dockerfile = format!(
        "FROM busybox\nRUN head -c 3000000 /dev/urandom > /random\n\
         RUN --network=host nc 127.0.0.1 {port} < /dev/null | grep -q go\n"
    );
    let context = machine.context("context", &[("Dockerfile", &dockerfile)]);
    let name = format!("{}/app:v1", registry.address);
    let mut command = machine.command(["build", "--push", "--allow", "network.host"]);
    command.args(["-t", &name, text(&context)]);
    let mut child = command
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("mica starts");
    let mut step = accept(&gate, &mut child);
    let start = Instant::now();
    while digest_count(&registry, "app") < 2 && start.elapsed() < PATIENCE {
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let (before, tagged) = (
        digest_count(&registry, "app"),
        has_tag(&registry, "app", "v1"),
    );
    step.write_all(b"go\n").expect("the step listens");
    drop(step);
    let status = child.wait().expect("the child is ours");
    assert!(status.success());
    assert_eq!(before, 2, "the base's layer and the first step's");
    assert!(!tagged, "a name comes last");
    assert!(has_tag(&registry, "app", "v1"));
    let other = Machine::new();
    other.ok(["pull", "-q", &name]);
    assert_eq!(
        other.ok(["run", "--rm", &name, "stat", "-c", "%s", "/random"]),
        "3000000"
    );
    Ok(())
}

pub(crate) fn a_failed_build_leaves_no_tag() -> Outcome {
    let registry = Registry::open()?;
    let machine = Machine::with_busybox();
    let context = machine.context(
        "context",
        &[("Dockerfile", "FROM busybox\nRUN echo x > /x\nRUN false\n")],
    );
    let name = format!("{}/app:v1", registry.address);
    machine
        .mica(["build", "--push", "-t", &name, text(&context)])
        .fails(1, &["exit code"]);
    assert!(!has_tag(&registry, "app", "v1"));
    Ok(())
}

const SMALL: &str = "FROM busybox\nRUN echo x > /x\n";

/// What `skopeo inspect` says of an image in a registry.
fn inspect(what: &str, name: &str) -> String {
    let name = format!("docker://{name}");
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["inspect", "--tls-verify=false", what, &name]);
    run(&mut skopeo).ok().to_owned()
}

fn layer_type(name: &str) -> String {
    let raw: serde_json::Value = serde_json::from_str(&inspect("--raw", name)).expect("it is JSON");
    raw["layers"][1]["mediaType"]
        .as_str()
        .expect("text")
        .to_owned()
}

/// Several names and repositories at once, in the form that was asked for.
pub(crate) fn forms_and_names() -> Outcome {
    needs(&["skopeo"])?;
    let registry = Registry::open()?;
    let machine = Machine::with_busybox();
    let (address, file) = (&registry.address, machine.path("meta"));
    let line = format!(
        "-o type=registry,\"name={address}/one:a,{address}/one:b,{address}/two:c\",compression=zstd \
         --metadata-file {}",
        text(&file)
    );
    build_line(&machine, SMALL, &line);
    for name in ["one:a", "one:b", "two:c"] {
        let kind = layer_type(&format!("{address}/{name}"));
        assert_eq!(
            kind, "application/vnd.oci.image.layer.v1.tar+zstd",
            "{name}"
        );
    }
    let names = &json_of(&file)["image.name"];
    assert!(
        names
            .as_str()
            .is_some_and(|names| names.ends_with("/two:c"))
    );
    let spec =
        format!("type=image,name={address}/three,push=true,store=false,compression=uncompressed");
    build_line(&machine, SMALL, &format!("-o {spec}"));
    let kind = layer_type(&format!("{address}/three"));
    assert_eq!(kind, "application/vnd.oci.image.layer.v1.tar");
    assert!(!machine.ok(["images"]).contains("/three"));
    Ok(())
}

/// Digests alone; and what the registry got is what the store has.
pub(crate) fn digests() -> Outcome {
    needs(&["skopeo"])?;
    let registry = Registry::open()?;
    let machine = Machine::with_busybox();
    let (address, file) = (&registry.address, machine.path("meta"));
    let spec = format!("type=image,name={address}/four,push=true,push-by-digest=true");
    build_line(
        &machine,
        SMALL,
        &format!("-o {spec} --metadata-file {}", text(&file)),
    );
    let metadata = json_of(&file);
    let digest = metadata["containerimage.digest"].as_str().expect("text");
    assert!(!has_tag(&registry, "four", "latest"));
    inspect("--raw", &format!("{address}/four@{digest}"));
    let name = format!("{address}/five:v1");
    build_line(
        &machine,
        SMALL,
        &format!("--push -t {name} --metadata-file {}", text(&file)),
    );
    let pushed = inspect("--format={{.Digest}}", &name);
    assert_eq!(json_of(&file)["containerimage.digest"], pushed.as_str());
    let kept = machine.ok(["inspect", "-f", "{{json .RepoDigests}}", &name]);
    assert!(kept.contains(&format!("{address}/five@{pushed}")), "{kept}");
    Ok(())
}

/// A registry that refuses fails the build, with its own words.
pub(crate) fn a_refusal_is_reported() -> Outcome {
    let registry = Registry::with_user("alice", "secret")?;
    let machine = Machine::with_busybox();
    let context = machine.context(
        "context",
        &[("Dockerfile", "FROM busybox\nRUN echo x > /x\n")],
    );
    let name = format!("{}/app:v1", registry.address);
    machine
        .mica(["build", "--push", "-t", &name, text(&context)])
        .fails(1, &["authentication required"]);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = listener.local_addr().expect("it is bound").port();
    drop(listener);
    let name = format!("127.0.0.1:{port}/app:v1");
    machine
        .mica(["build", "--push", "-t", &name, text(&context)])
        .fails(1, &[&name]);
    Ok(())
}
