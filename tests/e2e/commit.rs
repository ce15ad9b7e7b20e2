//! `mica commit`.

use mica_tests::{Machine, Outcome};

/// The layer holds what the container changed, and nothing that the tool or a volume put there.
pub(crate) fn only_the_containers_changes() -> Outcome {
    let machine = Machine::with_busybox();
    let script = "echo mine > /mine; rm /bin/ls; echo hidden > /vol/content; echo x >> /etc/hosts; sleep 1000";
    let id = machine.ok(["run", "-d", "-v", "/vol", "busybox", "sh", "-c", script]);
    while machine.mica(["exec", &id, "pidof", "sleep"]).code != 0 {}
    let image = machine.ok([
        "commit",
        "-m",
        "a change",
        "-a",
        "me",
        "-c",
        "ENV NEW=1",
        &id,
        "user/helloworld:v2",
    ]);
    assert!(image.starts_with("sha256:"), "{image}");
    assert_eq!(
        machine.ok([
            "run",
            "--rm",
            "user/helloworld:v2",
            "sh",
            "-c",
            "cat /mine; echo $NEW"
        ]),
        "hidden\n1".replace("hidden", "mine")
    );
    machine.ok([
        "save",
        "-o",
        machine.path("c.tar").to_str().expect("UTF-8"),
        "user/helloworld:v2",
    ]);
    let list = mica_tests::run(std::process::Command::new("sh").arg("-c").arg(
        "mkdir x && tar -xf c.tar -C x && tar -tf x/$(python3 -c 'import json;print(json.load(open(\"x/manifest.json\"))[0][\"Layers\"][-1])') | sort",
    ).current_dir(machine.path("")));
    assert_eq!(
        list.ok().split('\n').collect::<Vec<_>>(),
        ["bin/", "bin/.wh.ls", "mine", "vol/"],
        "{list}"
    );
    let history = machine.ok(["history", "--format", "{{.Comment}}", "user/helloworld:v2"]);
    assert_eq!(history.lines().next(), Some("a change"));
    Ok(())
}
