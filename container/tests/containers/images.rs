//! Images made of containers, and what containers change.

use std::path::Path;

use mica_container::{CommitOptions, ConfigChange};
use mica_store::Follow;

use crate::Test;
use crate::world::World;

pub(crate) const TESTS: &[Test] = &[
    ("a_commit_holds_what_was_written_and_nothing_else", commit),
    ("a_commit_changes_the_configuration", change),
    ("diff_lists_what_changed", diff),
    ("files_are_copied_out", copy_out),
    ("files_are_copied_in_and_never_past_the_root", copy_in),
];

fn commit(world: &World) {
    let host = world.path().join("host");
    std::fs::create_dir(&host).unwrap();
    let mut options = world.script(
        "echo new > /new; echo changed > /data/file; rm -r /data/inner; \
        echo secret > /bound/file; echo secret > /volume/file; echo ready; sleep 1000",
    );
    options
        .volumes
        .push(format!("{}:/bound", host.display()).parse().unwrap());
    options.volumes.push("/volume".parse().unwrap());
    let id = world.start(options);
    world.wait_for_line(&id, "ready");
    let commit = CommitOptions {
        reference: Some("user/helloworld:v2".parse().unwrap()),
        author: Some("somebody".to_owned()),
        message: Some("a remark".to_owned()),
        ..Default::default()
    };
    let image = world.containers.commit(&id, &commit).unwrap();
    assert!(world.state(&id).is_running());
    assert_eq!(
        world
            .containers
            .store()
            .find("user/helloworld:v2")
            .unwrap()
            .id(),
        image.id()
    );
    let config = image.config.value();
    assert_eq!(config.rootfs.diff_ids.len(), 2);
    let history = config.history.last().unwrap();
    assert_eq!(history.comment.as_deref(), Some("a remark"));
    assert!(
        history
            .created_by
            .as_deref()
            .unwrap()
            .starts_with("sh -c echo new")
    );

    let stack = world.containers.store().unpack(&image).unwrap();
    let top = &stack.layers[1].path;
    let mut names: Vec<_> = std::fs::read_dir(top)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["bound", "data", "new", "volume"],
        "nothing of the Init layer is in it"
    );
    for mount_point in ["bound", "volume"] {
        let content = std::fs::read_dir(top.join(mount_point)).unwrap().count();
        assert_eq!(content, 0, "{mount_point}");
    }
    let view = stack.view().unwrap();
    let there = |path: &str| view.lookup(Path::new(path), Follow::All).unwrap().is_some();
    assert!(there("/new") && there("/data/file") && !there("/data/inner"));

    let mut options = mica_container::CreateOptions::new(image, "user/helloworld:v2");
    options.args = ["sh", "-c", "cat /new /data/file"]
        .map(str::to_owned)
        .to_vec();
    options.host.network = mica_container::NetworkMode::None;
    assert_eq!(world.run(options).stdout, "new\nchanged\n");
}

fn change(world: &World) {
    let id = world.containers.create(world.command(&["true"])).unwrap();
    let changes = vec![
        ConfigChange::Cmd(vec!["echo".to_owned(), "changed".to_owned()]),
        ConfigChange::Env {
            name: "NEW".to_owned(),
            value: "1".to_owned(),
        },
        ConfigChange::Expose("81/tcp".to_owned()),
        ConfigChange::WorkingDir("/data".to_owned()),
    ];
    let options = CommitOptions {
        changes,
        ..Default::default()
    };
    let image = world.containers.commit(&id, &options).unwrap();
    let config = &image.config.value().config;
    assert_eq!(
        config.cmd.as_deref(),
        Some(&["echo".to_owned(), "changed".to_owned()][..])
    );
    assert_eq!(config.env_value("NEW"), Some("1"));
    assert_eq!(config.working_dir, "/data");
    assert!(
        config
            .exposed_ports
            .as_ref()
            .unwrap()
            .contains_key("81/tcp")
    );
}

fn diff(world: &World) {
    let script = "echo x > /new; rm /data/inner/file; mkdir /tmp/d; chmod 600 /data/file";
    let (id, _) = world.run_kept(world.script(script));
    let changes = world.containers.changes(&id).unwrap();
    let lines: Vec<String> = changes
        .iter()
        .map(|change| format!("{} {}", change.kind.letter(), change.path.display()))
        .collect();
    let expected = [
        "C /data",
        "C /data/file",
        "C /data/inner",
        "D /data/inner/file",
        "A /new",
        "C /tmp",
        "A /tmp/d",
    ];
    assert_eq!(lines, expected);
}

fn copy_out(world: &World) {
    let id = world
        .start(world.script("mkdir /d; echo x > /d/file; ln -s / /d/link; echo ready; sleep 1000"));
    world.wait_for_line(&id, "ready");
    let check = |target: &str| {
        let target = world.path().join(target);
        world
            .containers
            .copy_out(&id, Path::new("/d"), &target)
            .unwrap();
        assert_eq!(std::fs::read_to_string(target.join("file")).unwrap(), "x\n");
        assert_eq!(
            std::fs::read_link(target.join("link")).unwrap(),
            Path::new("/")
        );
        world
            .containers
            .copy_out(&id, Path::new("/d/link/data/file"), &target)
            .unwrap();
        assert_eq!(
            std::fs::read_to_string(target.join("file")).unwrap(),
            "from the image\n"
        );
        assert!(
            world
                .containers
                .copy_out(&id, Path::new("/none"), &target)
                .is_err()
        );
    };
    check("running");
    world.containers.kill(&id, libc::SIGKILL).unwrap();
    world.containers.wait(&id).unwrap();
    check("stopped");
}

fn copy_in(world: &World) {
    let id = world.start(world.script("ln -s / /tmp/up; echo ready; sleep 1000"));
    world.wait_for_line(&id, "ready");
    let tree = world.path().join("tree");
    std::fs::create_dir_all(tree.join("inner")).unwrap();
    std::fs::write(tree.join("inner/file"), "x\n").unwrap();
    let copy = |from: &str, to: &str| {
        let from = world.path().join(from);
        world.containers.copy_in(&id, &from, Path::new(to)).unwrap();
    };
    copy("tree", "/tmp");
    copy("tree", "/new");
    copy("tree/inner/file", "/tmp/up/etc/named");
    copy("tree/inner/file", "/tmp/up");
    let script = "cat /tmp/tree/inner/file /new/inner/file /etc/named /file";
    let ran = world.exec(&id, &["sh", "-c", script]);
    assert_eq!(ran.stdout, "x\nx\nx\nx\n", "{}", ran.stderr);
    assert!(!Path::new("/etc/named").is_file(), "it left the root");
}
