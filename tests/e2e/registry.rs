//! `mica login`, `push`, `pull` against Debian's docker-registry.

use std::process::Command;

use mica_tests::{Machine, Outcome, Registry, needs, run};

use crate::files::peak_memory;

const USER: &str = "alice";
const PASSWORD: &str = "open sesame";

fn login(machine: &Machine, registry: &Registry) {
    let arguments = ["login", "-u", USER, "--password-stdin", &registry.address];
    let login = machine.mica_with_input(arguments, PASSWORD.as_bytes());
    assert!(login.ok().contains("Login Succeeded"), "{login}");
}

/// An image that lost a name, but has another in a manifest with other compression.
pub(crate) fn one_image_in_two_manifests() -> Outcome {
    let registry = Registry::open()?;
    let machine = Machine::with_busybox();
    machine.build("app", "FROM busybox\nRUN echo app > /f\n", &[]);
    let name = format!("{}/app:1", registry.address);
    machine.ok(["copy", "-q", "store:app", &name]);
    machine.ok(["pull", "-q", &name]);
    machine.ok(["tag", "busybox", &name]);
    let listed = || machine.ok(["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    assert!(!listed().contains("<none>"), "{}", listed());
    machine.ok(["rmi", "app"]);
    assert_eq!(listed().matches("<none>").count(), 1, "{}", listed());
    Ok(())
}

/// Memory does not grow with the number of blobs that move at a time, nor with their size.
pub(crate) fn eight_blobs_at_once() -> Outcome {
    needs(&["python3"])?;
    let registry = Registry::open()?;
    let machine = Machine::with_busybox();
    let settings = machine.path("home/.config/mica");
    std::fs::create_dir_all(&settings).expect("the directory is ours");
    let at_once = r#"{"max-concurrent-uploads": 8, "max-concurrent-downloads": 8}"#;
    std::fs::write(settings.join("config.json"), at_once).expect("the directory is ours");
    let layers: String = (0..8)
        .map(|n| format!("RUN head -c 40000000 /dev/urandom > /{n}\n"))
        .collect();
    let name = format!("{}/team/eight:v1", registry.address);
    machine.build(&name, &format!("FROM busybox\n{layers}"), &[]);
    let pushed = peak_memory(&machine.command(["push", "-q", &name]));
    assert!(pushed < 64 << 10, "push: {pushed} KiB");
    let empty = machine.path("empty");
    let mut pull = machine.command(["pull", "-q", &name]);
    pull.arg("--root").arg(&empty);
    let pulled = peak_memory(&pull);
    assert!(pulled < 64 << 10, "pull: {pulled} KiB");
    Ok(())
}

/// What is there is not asked for blob by blob; that the name may be given is still the registry's to say.
pub(crate) fn push_with_nothing_to_do() -> Outcome {
    let registry = Registry::open()?;
    let machine = Machine::new();
    let name = format!("{}/team/app:v1", registry.address);
    let files = [("a", "a"), ("b", "b")];
    let dockerfile = "FROM scratch\nCOPY a /\nCOPY b /\n";
    machine.build(&name, dockerfile, &files).ok();
    let first = machine.ok(["push", &name]);
    registry.clear_log();
    let again = machine.ok(["push", &name]);
    let digest = |text: &str| text.lines().last().map(str::to_owned);
    assert_eq!(digest(&first), digest(&again));
    let requests = registry.requests();
    assert!(
        !requests.iter().any(|line| line.contains("/blobs/")),
        "{requests:#?}"
    );
    let puts = requests.iter().filter(|line| line.starts_with("PUT"));
    assert_eq!(puts.count(), 1, "{requests:#?}");
    // Not even when only the name is new; what is new is sent.
    let renamed = format!("{}/team/app:v2", registry.address);
    machine.ok(["tag", &name, &renamed]);
    registry.clear_log();
    machine.ok(["push", &renamed]);
    assert!(
        !registry
            .requests()
            .iter()
            .any(|line| line.contains("/blobs/"))
    );
    machine
        .build(&name, dockerfile, &[files[0], ("b", "changed")])
        .ok();
    machine.ok(["push", &name]);
    assert!(
        registry
            .requests()
            .iter()
            .any(|line| line.contains("/blobs/"))
    );
    Ok(())
}

pub(crate) fn login_push_pull() -> Outcome {
    let registry = Registry::with_user(USER, PASSWORD)?;
    let machine = Machine::with_busybox();
    login(&machine, &registry);
    let config = std::fs::read_to_string(machine.path("home/.docker/config.json"));
    let config: serde_json::Value =
        serde_json::from_str(&config.expect("login wrote it")).expect("it is JSON");
    assert!(
        config["auths"][&registry.address]["auth"].is_string(),
        "{config}"
    );
    let name = format!("{}/team/app:v1", registry.address);
    machine.build(
        &name,
        "FROM busybox\nRUN echo shipped > /f\nCMD [\"cat\", \"/f\"]\n",
        &[],
    );
    let pushed = machine.mica(["push", &name]);
    assert!(pushed.ok().contains("v1: digest: sha256:"), "{pushed}");
    assert!(
        machine
            .mica(["push", &name])
            .ok()
            .contains("digest: sha256:")
    );
    let other = Machine::new();
    login(&other, &registry);
    let pulled = other.mica(["pull", &name]);
    assert!(pulled.ok().contains("Digest: sha256:"), "{pulled}");
    assert_eq!(pulled.stdout.lines().last(), Some(name.as_str()));
    assert_eq!(other.ok(["run", "--rm", &name]), "shipped");
    let id = "{{.Id}}";
    assert_eq!(
        other.ok(["inspect", "-f", id, &name]),
        machine.ok(["inspect", "-f", id, &name])
    );
    assert!(
        other
            .mica(["pull", &name])
            .ok()
            .contains("Image is up to date")
    );
    // By digest it is the same, and has no tag to be shown.
    let by_digest = other.ok(["inspect", "-f", "{{index .RepoDigests 0}}", &name]);
    let again = other.mica(["pull", &by_digest]);
    assert!(again.ok().contains("Image is up to date"), "{again}");
    let pushed = other.mica(["push", &by_digest]);
    assert!(pushed.ok().contains("\nsha256:"), "{pushed}");
    other.ok(["logout", &registry.address]);
    other
        .mica(["pull", &format!("{}/team/app:v2", registry.address)])
        .fails(1, &["authentication required"]);
    Ok(())
}

pub(crate) fn peers_accept_what_was_pushed() -> Outcome {
    needs(&["skopeo", "umoci", "podman"])?;
    let registry = Registry::open()?;
    let machine = Machine::with_busybox();
    let name = format!("{}/app:v1", registry.address);
    machine.build(
        &name,
        "FROM busybox\nRUN rm /bin/ls && mkdir /d && ln -s x /d/l && chmod 1777 /d\n",
        &[],
    );
    machine.ok(["push", "-q", &name]);
    let docker = format!("docker://{name}");
    run(Command::new("skopeo").args(["inspect", "--tls-verify=false", &docker])).ok();
    let layout = format!("oci:{}:v1", machine.path("layout").display());
    run(Command::new("skopeo").args(["copy", "-q", "--src-tls-verify=false", &docker, &layout]))
        .ok();
    let image = format!("{}:v1", machine.path("layout").display());
    run(Command::new("umoci")
        .args(["unpack", "--image", &image])
        .arg(machine.path("bundle")))
    .ok();
    let root = machine.path("bundle/rootfs");
    assert!(root.join("d/l").is_symlink() && !root.join("bin/ls").exists());
    let storage = machine.path("podman");
    let mut podman = Command::new("podman");
    podman
        .arg("--root")
        .arg(storage.join("root"))
        .arg("--runroot")
        .arg(storage.join("run"));
    podman.args([
        "--storage-driver",
        "vfs",
        "pull",
        "-q",
        "--tls-verify=false",
        &name,
    ]);
    run(&mut podman).ok();
    Ok(())
}

pub(crate) fn wrong_password() -> Outcome {
    let registry = Registry::with_user(USER, PASSWORD)?;
    let machine = Machine::new();
    let arguments = ["login", "-u", USER, "--password-stdin", &registry.address];
    let login = machine.mica_with_input(arguments, b"guess");
    login.fails(1, &["unauthorized", &registry.address]);
    assert!(!login.stderr.contains("guess"), "{login}");
    assert!(
        !machine.path("home/.docker/config.json").exists(),
        "nothing was stored"
    );
    Ok(())
}

/// `FROM` takes what the store has, and asks the mirror of the hub otherwise.
pub(crate) fn loopback_http() -> Outcome {
    let registry = Registry::open()?;
    let machine = Machine::with_busybox();
    let name = format!("{}/library/tiny:latest", registry.address);
    machine.build(&name, "FROM busybox\nCMD [\"echo\", \"tiny\"]\n", &[]);
    machine.ok(["push", "-q", &name]);
    let other = Machine::new();
    let context = other.context("c", &[("Dockerfile", "FROM tiny\nRUN true\n")]);
    let mut build = other.command(["build", "-q", "-t", "x"]);
    build
        .arg(&context)
        .env("MICA_MIRROR", format!("docker.io={}", registry.address));
    run(&mut build).ok();
    assert_eq!(other.ok(["run", "--rm", "x"]), "tiny");
    Ok(())
}

/// A base that was pulled stays as it is; `--pull` asks for a newer one, and a registry that is gone
/// is an error then only.
pub(crate) fn newer_bases() -> Outcome {
    let registry = Registry::open()?;
    let (publisher, user) = (Machine::with_busybox(), Machine::new());
    let base = format!("{}/team/base:v1", registry.address);
    let publish = |text: &str| {
        publisher.build(&base, &format!("FROM busybox\nRUN echo {text} > /f\n"), &[]);
        publisher.ok(["push", "-q", &base]);
    };
    let dockerfile = format!("FROM {base}\nRUN cp /f /g\n");
    let context = user.context("c", &[("Dockerfile", &dockerfile)]);
    let context = context.to_str().expect("UTF-8");
    let build = |options: &[&str]| {
        let mut arguments = vec!["build", "-q", "-t", "app", context];
        arguments.extend(options);
        user.mica(arguments)
    };
    let file = || user.ok(["run", "--rm", "app", "cat", "/g"]);
    publish("first");
    build(&[]).ok();
    publish("second");
    build(&[]).ok();
    assert_eq!(file(), "first");
    build(&["--pull"]).ok();
    assert_eq!(file(), "second");
    drop(registry);
    build(&[]).ok();
    let gone = build(&["--pull"]);
    assert_eq!(gone.code, 1, "{gone}");
    assert!(gone.stderr.contains(&base), "{gone}");
    assert_eq!(file(), "second");
    Ok(())
}
