//! `mica save` and `mica load`.

use std::path::PathBuf;
use std::process::Command;

use mica_tests::{DockerDaemon, Machine, Outcome, needs, run};

fn saved(machine: &Machine, format: &str) -> PathBuf {
    machine.build(
        "saved",
        "FROM busybox\nRUN echo kept > /f && ln /f /g\nCMD [\"cat\", \"/g\"]\n",
        &[],
    );
    let path = machine.path("saved.tar");
    machine.ok([
        "save",
        "--format",
        format,
        "-o",
        path.to_str().expect("UTF-8"),
        "saved",
    ]);
    path
}

pub(crate) fn save_and_load() -> Outcome {
    let machine = Machine::with_busybox();
    for format in ["docker-archive", "oci-archive"] {
        let archive = saved(&machine, format);
        let other = Machine::new();
        let loaded = other.ok(["load", "-i", archive.to_str().expect("UTF-8")]);
        assert_eq!(loaded, "Loaded image: saved:latest", "{format}");
        assert_eq!(other.ok(["run", "--rm", "saved"]), "kept");
        let bytes = std::fs::read(&archive).expect("it was saved");
        let piped = Machine::new();
        piped.mica_with_input(["load"], &bytes).ok();
        assert_eq!(
            piped.ok(["inspect", "-f", "{{.Id}}", "saved"]),
            machine.ok(["inspect", "-f", "{{.Id}}", "saved"])
        );
        let broken = Machine::new();
        broken
            .mica_with_input(["load"], &bytes[..bytes.len() / 2])
            .fails(1, &[]);
        assert_eq!(
            broken.ok(["images", "-aq"]),
            "",
            "nothing of a truncated archive is visible"
        );
    }
    Ok(())
}

pub(crate) fn no_archives() -> Outcome {
    let machine = Machine::new();
    let directory = machine.context("empty", &[]).display().to_string();
    for (place, words) in [
        ("/etc/passwd", "it is no tar stream"),
        (&directory, "neither manifest.json nor index.json"),
        ("/none.tar", "No such file"),
    ] {
        let loaded = machine.mica(["load", "-i", place]);
        loaded.fails(1, &[&format!("cannot load {place}"), words]);
    }
    let out = machine.path("out").display().to_string();
    let unpack = ["image", "unpack"];
    machine
        .mica(["import", "/etc/passwd", "x"])
        .fails(1, &["cannot import /etc/passwd"]);
    machine
        .mica([unpack[0], unpack[1], "--layer", "/etc/passwd", &out])
        .fails(1, &["cannot unpack /etc/passwd"]);
    machine
        .mica([unpack[0], unpack[1], "/etc/passwd", &out])
        .fails(
            1,
            &[
                "no such image: /etc/passwd",
                "hint: `mica extract /etc/passwd",
            ],
        );
    // The bytes of a header are not shown: they may be anything.
    let loaded = machine.mica_with_input(["load"], &[b'\x1b'; 1024]);
    loaded.fails(1, &["cannot load standard input", "it is no tar stream"]);
    assert!(!loaded.stderr.contains('\x1b'), "{loaded}");
    Ok(())
}

pub(crate) fn several_images() -> Outcome {
    let machine = Machine::with_busybox();
    machine.build("third", "FROM busybox\nLABEL a=b\n", &[]);
    let archive = machine.path("all.tar").display().to_string();
    machine.ok(["save", "-o", &archive, "busybox", "third"]);
    machine.ok(["create", "--name", "box", "busybox"]);
    for (command, what) in [("save", "busybox"), ("export", "box")] {
        machine
            .mica([command, "-o", "/dev/full", what])
            .fails(1, &["cannot write /dev/full", "No space left"]);
    }
    let one = format!("docker-archive:{archive}:busybox:latest");
    machine.mica(["layers", &archive]).fails(
        1,
        &[
            "holds 2 images",
            &format!("hint: choose one of them, such as {one}"),
        ],
    );
    assert_eq!(machine.ok(["layers", &one]).lines().count(), 2);
    Ok(())
}

pub(crate) fn podman_loads() -> Outcome {
    needs(&["podman"])?;
    let machine = Machine::with_busybox();
    for format in ["docker-archive", "oci-archive"] {
        let archive = saved(&machine, format);
        let storage = machine.path(&format!("podman-{format}"));
        let mut podman = Command::new("podman");
        podman
            .arg("--root")
            .arg(storage.join("root"))
            .arg("--runroot")
            .arg(storage.join("run"));
        podman
            .args(["--storage-driver", "vfs", "load", "-q", "-i"])
            .arg(&archive);
        let loaded = run(&mut podman);
        assert!(loaded.ok().contains("saved:latest"), "{loaded}");
    }
    Ok(())
}

pub(crate) fn docker_loads() -> Outcome {
    let machine = Machine::with_busybox();
    let archive = saved(&machine, "docker-archive");
    let daemon = DockerDaemon::start(&machine)?;
    let loaded = run(daemon.docker(&["load", "-i"]).arg(&archive));
    assert!(
        loaded.ok().contains("Loaded image: saved:latest"),
        "{loaded}"
    );
    let back = machine.path("back.tar");
    run(daemon.docker(&["save", "-o"]).arg(&back).arg("saved")).ok();
    let other = Machine::new();
    other.ok(["load", "-q", "-i", back.to_str().expect("UTF-8")]);
    assert_eq!(other.ok(["run", "--rm", "saved"]), "kept");
    Ok(())
}
