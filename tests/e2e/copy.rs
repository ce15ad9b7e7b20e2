//! `mica copy`, `sync`, `tags`, `manifest`, `artifact`: images on the move.

use std::fs;
use std::path::Path;
use std::process::Command;

use mica_tests::{Machine, Outcome, Registry, Serving, needs, repository, run};

/// A registry with `team/app:v1`, and its digest there.
fn pushed() -> Result<(Registry, Machine, String, String), mica_tests::Skip> {
    let registry = Registry::open()?;
    let machine = Machine::with_busybox();
    let name = format!("{}/team/app:v1", registry.address);
    machine.build(
        &name,
        "FROM busybox\nCMD [\"echo\", \"copied\"]\nRUN true > /f\n",
        &[],
    );
    let said = machine.mica(["push", &name]);
    let digest = said
        .ok()
        .split_whitespace()
        .find(|word| word.starts_with("sha256:"));
    let digest = digest.expect("push says the digest").to_owned();
    Ok((registry, machine, name, digest))
}

pub(crate) fn between_all_places() -> Outcome {
    let (registry, machine, name, digest) = pushed()?;
    let path = |name: &str| machine.path(name).display().to_string();
    let target = format!("{}/other/app:v2", registry.address);
    let steps = [
        (name.clone(), format!("docker://{target}")),
        (
            format!("docker://{target}"),
            format!("oci:{}:a", path("layout")),
        ),
        (
            format!("oci:{}:a", path("layout")),
            format!("oci-archive:{}:b", path("a.tar")),
        ),
        (
            format!("oci-archive:{}:b", path("a.tar")),
            format!("{}/third:v3", registry.address),
        ),
    ];
    for (from, to) in &steps {
        assert_eq!(machine.ok(["copy", "-q", from, to]), digest, "{from} {to}");
    }
    // The same content without a name takes no name away.
    machine.ok(["copy", "-q", &name, &format!("oci:{}", path("layout"))]);
    machine.ok(["copy", "-q", &steps[1].1, "store:named:v1"]);
    machine.ok(["copy", "-q", &steps[3].1, "store:here:v1"]);
    assert_eq!(machine.ok(["run", "--rm", "here:v1"]), "copied");
    let docker = format!("docker-archive:{}:there:v1", path("d.tar"));
    machine.ok(["copy", "-q", "store:here:v1", &docker]);
    let other = Machine::new();
    other.ok(["load", "-q", "-i", &path("d.tar")]);
    assert_eq!(other.ok(["run", "--rm", "there:v1"]), "copied");
    machine.ok([
        "copy",
        "-q",
        &format!("docker-archive:{}", path("d.tar")),
        "store:again:v1",
    ]);
    assert_eq!(machine.ok(["run", "--rm", "again:v1"]), "copied");
    for place in ["layout:none", "missing"] {
        let from = format!("oci:{}", path(place));
        for to in ["store:x", &target] {
            let said = machine.mica(["copy", &from, to]);
            said.fails(1, &[&format!("cannot resolve {from}")]);
        }
    }
    Ok(())
}

pub(crate) fn lists_of_platforms() -> Outcome {
    let (registry, machine, name, digest) = pushed()?;
    let list = format!("{}/team/list:v1", registry.address);
    machine.ok(["manifest", "create", &list, &name]);
    machine
        .mica(["manifest", "create", &list, &name])
        .fails(1, &["--amend"]);
    machine.ok([
        "manifest",
        "annotate",
        "--os",
        "linux",
        "--arch",
        "arm64",
        "--variant",
        "v8",
        &list,
        &name,
    ]);
    let shown = machine.ok(["manifest", "inspect", &list]);
    assert!(
        shown.contains("arm64") && shown.contains(&digest),
        "{shown}"
    );
    let pushed = machine.ok(["manifest", "push", "--purge", &list]);
    assert!(pushed.starts_with("sha256:"), "{pushed}");
    let there = machine.ok(["manifest", "inspect", &list]);
    let there: serde_json::Value = serde_json::from_str(&there).expect("it is JSON");
    assert_eq!(there["manifests"][0]["platform"]["variant"], "v8");
    // All platforms, byte for byte; or the one that is asked for.
    let copy = format!("{}/copy:v1", registry.address);
    assert_eq!(machine.ok(["copy", "-q", "--all", &list, &copy]), pushed);
    let one = machine.ok(["copy", "-q", "--platform", "linux/arm64", &list, &copy]);
    assert_eq!(one, digest);
    machine
        .mica(["copy", "--platform", "linux/s390x", &list, &copy])
        .fails(1, &["linux/s390x", "arm64", &list, "hint: "]);
    for command in ["pull", "layers"] {
        let place = format!("{}{list}", if command == "pull" { "" } else { "docker://" });
        machine
            .mica([command, "--platform", "linux/s390x", &place])
            .fails(1, &[&list, "hint: choose one of them"]);
    }
    let other = machine.mica(["pull", "--platform", "linux/s390x", &name]);
    other.ok();
    assert!(other.stderr.contains("not for linux/s390x"), "{other}");
    machine
        .mica(["manifest", "rm", &list])
        .fails(1, &["No such manifest"]);
    machine.ok(["manifest", "rm", "--remote", &list]);
    machine
        .mica(["manifest", "inspect", &list])
        .fails(1, &["manifest unknown"]);
    Ok(())
}

pub(crate) fn tags_and_sync() -> Outcome {
    let (registry, machine, name, _) = pushed()?;
    let repository = format!("{}/team/app", registry.address);
    for tag in ["v2", "v3-rc1"] {
        machine.ok(["copy", "-q", &name, &format!("{repository}:{tag}")]);
    }
    assert_eq!(machine.ok(["tags", &repository]), "v1\nv2\nv3-rc1");
    assert_eq!(
        machine.ok(["tags", "--filter", "v?", &repository]),
        "v1\nv2"
    );
    let machine_of_all = Machine::new();
    machine_of_all.ok(["pull", "-q", "-a", &repository]);
    assert_eq!(
        machine_of_all
            .ok(["images", "-q", &repository])
            .lines()
            .count(),
        3
    );
    let other = Registry::open()?;
    let target = format!("{}/mirror", other.address);
    let sync = |expected: &str| {
        let synced = machine.mica(["sync", &format!("{repository}:v?"), &target]);
        synced.ok();
        assert!(synced.stderr.contains(expected), "{synced}");
    };
    sync("2 copied, 0 up to date, 0 failed");
    sync("0 copied, 2 up to date, 0 failed");
    let nothing = format!("{repository}:v9*");
    machine
        .mica(["sync", &nothing, &target])
        .fails(1, &["v9*` names no image", "1 failed"]);
    assert_eq!(machine.ok(["tags", &format!("{target}/app")]), "v1\nv2");
    let everything = format!("{}/team/*", registry.address);
    let planned = machine.mica(["sync", "--dry-run", &everything, &target]);
    assert!(
        planned.stderr.contains("1 to copy, 2 up to date"),
        "{planned}"
    );
    let found = machine.ok(["search", &format!("{}/app", registry.address)]);
    assert!(found.contains("team/app"), "{found}");
    machine
        .mica(["tags", &format!("{repository}-none")])
        .fails(1, &["app-none"]);
    Ok(())
}

pub(crate) fn artifacts_and_referrers() -> Outcome {
    let (registry, machine, name, _) = pushed()?;
    fs::write(machine.path("note.txt"), "hello").expect("the directory is ours");
    let file = machine.path("note.txt").display().to_string();
    let plain = format!("{}/files:v1", registry.address);
    machine.ok([
        "artifact",
        "push",
        "--artifact-type",
        "application/x-note",
        &plain,
        &file,
    ]);
    for (command, place) in [
        ("pull", plain.clone()),
        ("layers", format!("docker://{plain}")),
    ] {
        machine
            .mica([command, &place])
            .fails(1, &[&place, "hint: it is an artifact"]);
    }
    let out = machine.path("out");
    machine.ok([
        "artifact",
        "pull",
        "-o",
        out.to_str().expect("UTF-8"),
        &plain,
    ]);
    assert_eq!(
        fs::read_to_string(out.join("note.txt")).expect("it came"),
        "hello"
    );
    for (place, words) in [("/none.txt", "No such file"), ("/tmp", "is a directory")] {
        machine
            .mica(["artifact", "push", &plain, place])
            .fails(1, &[place, words]);
    }
    // Debian's registry has no referrers API: the tag schema stands in for it.
    let about = format!("{}/team/app", registry.address);
    let kind = "application/x-signature";
    machine.ok([
        "artifact",
        "push",
        "--artifact-type",
        kind,
        "--subject",
        &name,
        &about,
        &file,
    ]);
    let listed = machine.ok(["artifact", "ls", &name]);
    assert!(listed.contains(kind), "{listed}");
    let layout = format!("oci:{}:v1", machine.path("layout").display());
    machine.ok(["copy", "-q", "--referrers", &name, &layout]);
    let target = format!("{}/moved/app:v1", registry.address);
    machine.ok(["copy", "-q", "--referrers", &layout, &target]);
    let listed = machine.ok(["artifact", "ls", &target]);
    assert!(listed.contains(kind), "{listed}");
    Ok(())
}

pub(crate) fn skopeo_agrees() -> Outcome {
    needs(&["skopeo"])?;
    let (_registry, machine, name, digest) = pushed()?;
    let layout = format!("oci:{}:v1", machine.path("layout").display());
    machine.ok(["copy", "-q", &name, &layout]);
    let shown = run(Command::new("skopeo").args(["inspect", "--format", "{{.Digest}}", &layout]));
    assert_eq!(shown.ok(), digest);
    let archive = format!("oci-archive:{}:v1", machine.path("s.tar").display());
    run(Command::new("skopeo").args(["copy", "-q", &layout, &archive])).ok();
    assert_eq!(
        machine.ok(["copy", "-q", &archive, &format!("{name}-back")]),
        digest
    );
    Ok(())
}

/// Loopback may be spoken to in the clear, and this is it, but no name of it.
fn distant(address: &str) -> String {
    address.replace("127.0.0.1", "0.0.0.0")
}

/// Only who is told to speaks in the clear, or to whom nobody vouches for.
pub(crate) fn insecure_registries() -> Outcome {
    let (registry, machine, name, digest) = pushed()?;
    let plain = distant(&name);
    let layout = format!("oci:{}:v1", machine.path("layout").display());
    let refused: [&[&str]; 4] = [
        &["copy", &plain, &layout],
        &["copy", &name, &plain],
        &["copy", "--dest-tls-verify=false", &plain, &layout],
        &["copy", "--insecure", "--src-tls-verify", &plain, &layout],
    ];
    for arguments in refused {
        let host = distant(&registry.address);
        let said = [
            "server gave HTTP response to HTTPS client",
            &host,
            "--insecure",
        ];
        machine.mica(arguments).fails(1, &said);
    }
    let (host, note) = (
        distant(&registry.address),
        machine.context("n", &[("f", "")]),
    );
    let (file, out) = (note.join("f"), machine.path("out"));
    let [file, out] = [file, out].map(|path| path.display().to_string());
    let (artifact, mirror) = (format!("{host}/note:1"), format!("{host}/mirror"));
    let told: [&[&str]; 7] = [
        &["tags", &plain],
        &["sync", &plain, &mirror],
        &["sync", &format!("{host}/mirror/*"), &host],
        &["artifact", "push", &artifact, &file],
        &["artifact", "pull", "-o", &out, &artifact],
        &["artifact", "ls", &artifact],
        &["manifest", "rm", "--remote", &artifact],
    ];
    for arguments in told {
        let words = ["server gave HTTP response to HTTPS client", "--insecure"];
        machine.mica(arguments).fails(1, &words);
        machine.ok(arguments.iter().chain([&"--insecure"]));
    }
    let moved = plain.replace(":v1", ":v2");
    let allowed: [&[&str]; 4] = [
        &["copy", "-q", "--insecure", &plain, &layout],
        &["copy", "-q", "--src-tls-verify=false", &plain, &layout],
        &["copy", "-q", "--dest-tls-verify=false", &name, &moved],
        &["copy", "-q", "--insecure", &plain, &moved],
    ];
    for arguments in allowed {
        assert_eq!(machine.ok(arguments), digest, "{arguments:?}");
    }
    let serving = Serving::with_tls(&machine, &[])?;
    let signed_by_itself = format!("{}/team/app:v1", serving.address);
    machine.ok(["tag", &name, "team/app:v1"]);
    machine
        .mica(["copy", &signed_by_itself, &layout])
        .fails(1, &["certificate signed by unknown authority", "ca.crt"]);
    machine.ok(["copy", "-q", "--insecure", &signed_by_itself, &layout]);
    Ok(())
}

/// What BuildKit says about an image travels with their index, where all of it is.
pub(crate) fn attestations_travel() -> Outcome {
    needs(&["python3", "skopeo"])?;
    let (registry, machine, name, digest) = pushed()?;
    for form in ["image", "artifact"] {
        let layout = machine.path(form).display().to_string();
        machine.ok(["copy", "-q", &name, &format!("oci:{layout}:v1")]);
        let script = repository().join("tests/attest-layout.py");
        run(Command::new(script).args([&layout, form])).ok();
        let place = |name: &str| format!("{}/{form}/{name}:v1", registry.address);
        let attested = place("attested");
        let both = machine.ok(["copy", "-q", &format!("oci:{layout}:v1"), &attested]);
        assert_eq!(
            machine.ok(["copy", "-q", &attested, &place("copied")]),
            both
        );
        check_attested(
            &format!("docker://{}", place("copied")),
            &machine.path("dir"),
        );

        // A pull is for one platform, as docker's; so is what is pushed then.
        let user = Machine::new();
        let unfit = user.mica(["pull", "--platform", "linux/s390x", &attested]);
        unfit.fails(1, &["linux/s390x", "only for: linux/"]);
        assert!(!unfit.stderr.contains("unknown"), "{unfit}");
        user.ok(["pull", "-q", &attested]);
        assert_eq!(user.ok(["run", "--rm", &attested]), "copied");
        user.ok(["tag", &attested, &place("alone")]);
        let pushed = user.ok(["push", &place("alone")]);
        assert!(pushed.contains(&digest), "{pushed}");

        let store = Machine::new();
        let moved = place("moved");
        store.ok(["copy", "-q", "--all", &attested, &format!("store:{moved}")]);
        assert_eq!(store.ok(["run", "--rm", &moved]), "copied");
        store.ok(["system", "prune", "-f"]);
        store.ok(["system", "check", "--full"]);
        let pushed = store.ok(["push", &moved]);
        assert!(pushed.contains(&both), "{pushed}");
        check_attested(&format!("docker://{moved}"), &machine.path("dir"));
        let file = |name: &str| store.path(name).display().to_string();
        store.ok([
            "save",
            "--format",
            "oci-archive",
            "-o",
            &file("o.tar"),
            &moved,
        ]);
        check_attested(
            &format!("oci-archive:{}", file("o.tar")),
            &machine.path("dir"),
        );
        store.ok(["save", "-o", &file("d.tar"), &moved]);
        let other = Machine::new();
        other.ok(["load", "-q", "-i", &file("d.tar")]);
        assert_eq!(other.ok(["run", "--rm", &moved]), "copied");
    }
    Ok(())
}

/// Has skopeo read all of an index that has an attestation.
fn check_attested(image: &str, out: &Path) {
    let raw = run(Command::new("skopeo").args(["inspect", "--raw", "--tls-verify=false", image]));
    assert!(raw.ok().contains("attestation-manifest"), "{raw}");
    let out = format!("dir:{}", out.display());
    let mut copy = Command::new("skopeo");
    copy.args(["copy", "-q", "--all", "--src-tls-verify=false", image, &out]);
    run(&mut copy).ok();
}
