//! `mica serve`: the store as a registry, for mica and for other tools.

use std::process::Command;

use mica_tests::{DockerDaemon, Machine, Outcome, Registry, Serving, needs, run};

const DOCKERFILE: &str = "FROM busybox\nRUN echo served > /f\nCMD [\"cat\", \"/f\"]\n";

fn served() -> (Machine, Serving) {
    let machine = Machine::with_busybox();
    machine.build("team/app:v1", DOCKERFILE, &[]);
    let serving = Serving::start(&machine, &["--allow-push"]);
    (machine, serving)
}

pub(crate) fn mica_pulls_and_pushes() -> Outcome {
    let (machine, serving) = served();
    let name = format!("{}/team/app:v1", serving.address);
    let other = Machine::new();
    other.ok(["pull", "-q", &name]);
    assert_eq!(other.ok(["run", "--rm", &name]), "served");
    other.ok(["tag", &name, &format!("{}/back/again:v2", serving.address)]);
    other.ok(["push", "-q", &format!("{}/back/again:v2", serving.address)]);
    assert_eq!(machine.ok(["run", "--rm", "back/again:v2"]), "served");
    let tags = other.ok(["tags", &format!("{}/team/app", serving.address)]);
    assert_eq!(tags, "v1");
    assert_eq!(serving.end(), Some(0), "it ends when asked to");
    Ok(())
}

pub(crate) fn read_only_unless_told() -> Outcome {
    let machine = Machine::with_busybox();
    let serving = Serving::start(&machine, &[]);
    let name = format!("{}/x:v1", serving.address);
    let other = Machine::with_busybox();
    other.ok(["tag", "busybox", &name]);
    other
        .mica(["push", &name])
        .fails(1, &["read-only", &serving.address]);
    Ok(())
}

/// No compressed copy of what was compressed, and one of what was made here, kept.
pub(crate) fn peers_pull_and_push() -> Outcome {
    needs(&["skopeo", "podman"])?;
    let (machine, serving) = served();
    let name = format!("docker://{}/team/app:v1", serving.address);
    let layout = format!("oci:{}:v1", machine.path("layout").display());
    for _ in 0..2 {
        run(Command::new("skopeo").args(["copy", "-q", "--src-tls-verify=false", &name, &layout]))
            .ok();
    }
    let target = format!("docker://{}/from/skopeo:v1", serving.address);
    run(Command::new("skopeo").args(["copy", "-q", "--dest-tls-verify=false", &layout, &target]))
        .ok();
    assert_eq!(machine.ok(["run", "--rm", "from/skopeo:v1"]), "served");
    let storage = machine.path("podman");
    let podman = |arguments: &[&str]| {
        let mut podman = Command::new("podman");
        podman.arg("--root").arg(storage.join("root"));
        podman.arg("--runroot").arg(storage.join("run"));
        podman.args(["--storage-driver", "vfs"]).args(arguments);
        run(&mut podman)
    };
    let bare = format!("{}/team/app:v1", serving.address);
    let back = format!("{}/from/podman:v1", serving.address);
    podman(&["pull", "-q", "--tls-verify=false", &bare]).ok();
    podman(&["push", "-q", "--tls-verify=false", &bare, &back]).ok();
    assert_eq!(machine.ok(["run", "--rm", "from/podman:v1"]), "served");
    Ok(())
}

/// A client deletes by the digest that it was told, which is not the store's where layers were
/// compressed for it.
pub(crate) fn skopeo_deletes() -> Outcome {
    needs(&["skopeo"])?;
    let machine = Machine::with_busybox();
    machine.build("team/app:v1", DOCKERFILE, &[]);
    let name = |serving: &Serving| format!("docker://{}/team/app:v1", serving.address);
    let delete = |serving: &Serving| {
        let mut skopeo = Command::new("skopeo");
        skopeo.args(["delete", "--tls-verify=false", &name(serving)]);
        run(&mut skopeo)
    };
    let serving = Serving::start(&machine, &["--allow-push"]);
    assert_ne!(delete(&serving).code, 0);
    machine.ok(["image", "inspect", "team/app:v1"]);
    drop(serving);
    let serving = Serving::start(&machine, &["--allow-delete"]);
    delete(&serving).ok();
    machine
        .mica(["image", "inspect", "team/app:v1"])
        .fails(1, &["team/app:v1"]);
    Ok(())
}

pub(crate) fn docker_pulls_and_pushes() -> Outcome {
    let (machine, serving) = served();
    let daemon = DockerDaemon::start(&machine)?;
    let name = format!("{}/team/app:v1", serving.address);
    let back = format!("{}/from/docker:v1", serving.address);
    for arguments in [
        &["pull", "-q", &name][..],
        &["tag", &name, &back],
        &["push", "-q", &back],
    ] {
        run(&mut daemon.docker(arguments)).ok();
    }
    assert_eq!(machine.ok(["run", "--rm", "from/docker:v1"]), "served");
    Ok(())
}

pub(crate) fn users_and_tls() -> Outcome {
    needs(&["htpasswd"])?;
    let machine = Machine::with_busybox();
    let users = machine.path("users").to_str().expect("UTF-8").to_owned();
    let hashed = run(Command::new("htpasswd").args(["-Bbn", "ada", "open sesame"]));
    std::fs::write(&users, hashed.ok()).expect("the directory is ours");
    let serving = Serving::with_tls(&machine, &["--htpasswd", &users])?;
    let asked = format!("https://{}/v2/", serving.address);
    let mut curl = Command::new("curl");
    curl.args([
        "-sk",
        "-o",
        "/dev/null",
        "-w",
        "%{http_version} %{http_code}",
    ]);
    assert_eq!(run(curl.arg(&asked)).ok(), "2 401");
    let name = format!("{}/busybox", serving.address);
    let other = Machine::new();
    other
        .mica(["pull", &name])
        .fails(1, &["certificate signed by unknown authority", "hint:"]);
    let trusted = other.path(&format!(
        "home/.config/containers/certs.d/{}",
        serving.address
    ));
    std::fs::create_dir_all(&trusted).expect("the directory is ours");
    std::fs::copy(machine.path("cert.pem"), trusted.join("ca.crt")).expect("the directory is ours");
    other
        .mica(["pull", &name])
        .fails(1, &["authentication required", "mica login"]);
    let login = ["login", "-u", "ada", "--password-stdin", &serving.address];
    other
        .mica_with_input(login, b"guess")
        .fails(1, &["unauthorized"]);
    other.mica_with_input(login, b"open sesame").ok();
    other.ok(["pull", "-q", &name]);
    let info = other.ok(["info", "--registry", &serving.address]);
    for word in ["ca.crt", "ada", "config.json"] {
        assert!(info.contains(word), "{info}");
    }
    assert!(!info.contains("sesame"), "{info}");
    Ok(())
}

pub(crate) fn mirror_of_a_registry() -> Outcome {
    let hub = Registry::open()?;
    let machine = Machine::with_busybox();
    let name = format!("{}/team/app:v1", hub.address);
    machine.build(&name, DOCKERFILE, &[]);
    machine.ok(["push", "-q", &name]);
    let cache = Machine::new();
    let serving = Serving::start(&cache, &["--mirror", &hub.address]);
    let through = format!("{}/team/app:v1", serving.address);
    let other = Machine::new();
    other.ok(["pull", "-q", &through]);
    assert_eq!(other.ok(["run", "--rm", &through]), "served");
    assert_eq!(cache.ok(["run", "--rm", &name]), "served");
    drop(hub);
    let offline = Machine::new();
    offline.ok(["pull", "-q", &through]);
    Ok(())
}
