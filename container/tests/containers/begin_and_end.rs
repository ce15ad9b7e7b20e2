//! Made, started, stopped, removed.

use std::time::{Duration, Instant};

use mica_container::{Error, LogOptions, RemoveOptions, Size, Status, StopOptions, StopTimeout};

use crate::Test;
use crate::world::World;

pub(crate) const TESTS: &[Test] = &[
    ("exit_codes_are_the_command_s", exit_codes),
    ("what_does_not_start_has_docker_s_code", failed_starts),
    ("a_container_is_made_then_started_then_ended", life),
    ("stop_signals_then_kills", stop),
    ("kill_sends_any_signal", kill),
    ("rm_wants_force_for_what_runs", remove),
    ("names_are_unique", names),
    ("a_container_starts_again_with_its_files", restart),
    (
        "a_removed_container_is_gone_when_its_client_returns",
        auto_remove,
    ),
    ("inspect_has_docker_s_shape", inspect),
    ("wait_returns_the_exit_code", wait),
];

fn exit_codes(world: &World) {
    for (script, code) in [("true", 0), ("false", 1), ("exit 42", 42)] {
        assert_eq!(world.run(world.script(script)).code, code, "{script}");
    }
}

fn failed_starts(world: &World) {
    let check = |command: &str, code: u8, words: &str| {
        let id = world.containers.create(world.command(&[command])).unwrap();
        let error = world.containers.start(&id, None).err().expect(command);
        assert_eq!(error.exit_code(), code, "{command}: {error}");
        assert!(error.to_string().contains(words), "{command}: {error}");
        let state = world.state(&id);
        assert_eq!((state.status, state.exit_code), (Status::Created, code));
        assert!(state.error.contains(words));
        world.remove(&id);
    };
    check("no-such-command", 127, "executable file not found in $PATH");
    check("/no/such/file", 127, "no such file or directory");
    check("/etc/passwd", 126, "permission denied");
    let mut options = world.command(&["true"]);
    options.user = Some("nobody-there".to_owned());
    options.host.auto_remove = true;
    let id = world.containers.create(options).unwrap();
    assert_eq!(
        world.containers.start(&id, None).err().unwrap().exit_code(),
        125
    );
    assert!(
        world.containers.ids().unwrap().is_empty(),
        "one that is to be removed is left"
    );
    let none = world.containers.find("abcdef").expect_err("there is none");
    assert_eq!(none.to_string(), "No such container: abcdef");
}

fn life(world: &World) {
    let mut options = world.script("echo out; echo err >&2; exit 3");
    options.name = Some("life".to_owned());
    let id = world.containers.create(options).unwrap();
    let summary = || world.containers.summary(&id).unwrap();
    assert_eq!(summary().status, "Created");
    world.containers.start(&id, None).unwrap();
    assert_eq!(world.containers.wait(&id).unwrap(), 3);
    assert_eq!(summary().status, "Exited (3) Less than a second ago");
    assert_eq!(summary().command, "sh -c 'echo out; echo err >&2; exit 3'");
    let log = world.log(&id, &LogOptions::default());
    let mut lines: Vec<&str> = log.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["err", "out"]);
    for name in ["life", "/life", id.as_str(), id.short(), &id.as_str()[..5]] {
        assert_eq!(world.containers.find(name).unwrap(), id, "{name}");
    }
}

fn stop(world: &World) {
    let polite =
        world.start(world.script("trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done"));
    world.wait_for_line(&polite, "ready");
    world
        .containers
        .stop(&polite, StopOptions::default())
        .unwrap();
    assert_eq!(world.state(&polite).exit_code, 7);
    let deaf = world.start(world.script("trap '' TERM; echo ready; while :; do sleep 0.05; done"));
    world.wait_for_line(&deaf, "ready");
    let timeout = Some(StopTimeout::After(Duration::from_millis(200)));
    let start = Instant::now();
    world
        .containers
        .stop(
            &deaf,
            StopOptions {
                timeout,
                ..Default::default()
            },
        )
        .unwrap();
    assert!(start.elapsed() >= Duration::from_millis(200));
    assert_eq!(world.state(&deaf).exit_code, 137);
    // What has ended is stopped already.
    world
        .containers
        .stop(&deaf, StopOptions::default())
        .unwrap();
    let mut options = world.script("trap 'exit 8' USR1; echo ready; while :; do sleep 0.05; done");
    options.stop_signal = Some("SIGUSR1".to_owned());
    let own = world.start(options);
    world.wait_for_line(&own, "ready");
    world.containers.stop(&own, StopOptions::default()).unwrap();
    assert_eq!(world.state(&own).exit_code, 8);
}

fn kill(world: &World) {
    let id =
        world.start(world.script("trap 'exit 9' HUP; echo ready; while :; do sleep 0.05; done"));
    world.wait_for_line(&id, "ready");
    world.containers.kill(&id, libc::SIGHUP).unwrap();
    assert_eq!(world.containers.wait(&id).unwrap(), 9);
    let error = world
        .containers
        .kill(&id, libc::SIGHUP)
        .expect_err("it has ended");
    assert_eq!(error.to_string(), format!("container {id} is not running"));
}

fn remove(world: &World) {
    let id = world.start(world.command(&["sleep", "1000"]));
    let error = world
        .containers
        .remove(&id, RemoveOptions::default())
        .expect_err("it runs");
    assert!(
        matches!(error, Error::CannotRemoveRunning { .. }),
        "{error}"
    );
    world
        .containers
        .remove(
            &id,
            RemoveOptions {
                force: true,
                volumes: false,
            },
        )
        .unwrap();
    assert!(matches!(
        world.containers.state(&id),
        Err(Error::NoSuchContainer { .. })
    ));
    assert!(
        !world
            .path()
            .join("run/containers")
            .join(id.as_str())
            .exists()
    );
}

fn names(world: &World) {
    let named = |name: &str| {
        let mut options = world.command(&["true"]);
        options.name = Some(name.to_owned());
        options
    };
    let id = world.containers.create(named("one")).unwrap();
    let error = world
        .containers
        .create(named("one"))
        .expect_err("the name is taken");
    assert_eq!(
        error.to_string(),
        format!(
            "Conflict. The container name \"/one\" is already in use by container \"{id}\". \
             You have to remove (or rename) that container to be able to reuse that name."
        )
    );
    assert_eq!(
        world.containers.ids().unwrap(),
        std::slice::from_ref(&id),
        "the refused one is left"
    );
    world.containers.rename(&id, "two").unwrap();
    assert_eq!(world.containers.find("two").unwrap(), id);
    world.containers.create(named("one")).unwrap();
    assert!(matches!(
        world.containers.rename(&id, "one"),
        Err(Error::NameInUse { .. })
    ));
    assert!(matches!(
        world.containers.create(named("a b")),
        Err(Error::InvalidName { .. })
    ));
}

fn restart(world: &World) {
    let script =
        "echo run >> /count; wc -l < /count; trap 'exit 0' TERM; while :; do sleep 0.05; done";
    let id = world.start(world.script(script));
    world.wait_for_line(&id, "1");
    world
        .containers
        .restart(&id, StopOptions::default())
        .unwrap();
    world.wait_for_line(&id, "2");
    assert!(world.state(&id).is_running());
}

fn auto_remove(world: &World) {
    let mut options = world.command(&["echo", "hi"]);
    options.name = Some("short".to_owned());
    assert_eq!(world.run(options.clone()).stdout, "hi\n");
    assert!(world.containers.ids().unwrap().is_empty());
    // The name is free at once.
    assert_eq!(world.run(options).code, 0);
}

fn inspect(world: &World) {
    let mut options = world.command(&["sleep", "1000"]);
    options.env.push("A=b".to_owned());
    options.host.limits.memory = Some(64 << 20);
    let id = world.start(options);
    let object = world.containers.inspect(&id, Size::Measure).unwrap();
    assert_eq!(object["Id"], id.as_str());
    assert_eq!(object["Path"], "sleep");
    assert_eq!(object["Args"][0], "1000");
    assert_eq!(object["State"]["Status"], "running");
    assert_eq!(object["State"]["Pid"], world.state(&id).pid);
    assert_eq!(object["State"]["FinishedAt"], "0001-01-01T00:00:00Z");
    assert_eq!(object["HostConfig"]["Memory"], 64 << 20);
    assert_eq!(object["HostConfig"]["NetworkMode"], "none");
    assert_eq!(object["Config"]["Hostname"], id.short());
    let env = object["Config"]["Env"].as_array().unwrap();
    assert!(env.contains(&"A=b".into()) && env.contains(&"FROM_IMAGE=yes".into()));
    assert_eq!(object["GraphDriver"]["Name"], "overlayfs");
    assert!(object["SizeRootFs"].as_u64() > Some(0));
}

fn wait(world: &World) {
    let id = world.start(world.script("read line; exit 5"));
    assert_eq!(world.containers.wait(&id).unwrap(), 5);
    assert_eq!(world.containers.wait(&id).unwrap(), 5);
    let mut options = world.script("sleep 0.2; exit 6");
    options.host.auto_remove = true;
    let id = world.start(options);
    assert_eq!(world.containers.wait(&id).unwrap(), 6);
}
