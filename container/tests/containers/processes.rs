//! What a container's processes see, and commands that join them.

use mica_container::{Error, ExecOptions};

use crate::Test;
use crate::world::World;

pub(crate) const TESTS: &[Test] = &[
    ("environment_user_and_directory_are_as_asked", surroundings),
    ("exec_joins_the_container", exec),
    ("exec_in_the_background_goes_on", exec_detached),
    ("pause_holds_everything", pause),
    ("top_lists_the_processes", top),
    ("protection_is_as_asked", protection),
];

fn surroundings(world: &World) {
    let mut options = world.script("echo $A-$FROM_IMAGE-$HOSTNAME; hostname; id -u; pwd; echo $$");
    options.env = vec!["A=1".to_owned(), "FROM_IMAGE=no".to_owned()];
    options.user = Some("user".to_owned());
    options.working_dir = Some("/made/for/this".to_owned());
    options.hostname = Some("box".to_owned());
    assert_eq!(
        world.run(options).stdout,
        "1-no-box\nbox\n1000\n/made/for/this\n1\n"
    );
    let mut options = world.command(&["ignored"]);
    options.entrypoint = Some(vec!["echo".to_owned(), "entry".to_owned()]);
    assert_eq!(world.run(options).stdout, "entry ignored\n");
    let mut options = world.command(&[]);
    options.entrypoint = Some(vec!["true".to_owned()]);
    options.working_dir = Some("relative".to_owned());
    assert!(matches!(
        world.containers.create(options),
        Err(Error::Option(_))
    ));
}

fn exec(world: &World) {
    let mut options = world.command(&["sleep", "1000"]);
    options.env = vec!["A=1".to_owned()];
    let id = world.start(options);
    let ran = world.exec(
        &id,
        &[
            "sh",
            "-c",
            "echo $A; cat /proc/1/cmdline | tr '\\0' ' '; exit 6",
        ],
    );
    assert_eq!((ran.stdout.as_str(), ran.code), ("1\nsleep 1000 ", 6));
    let options = ExecOptions {
        env: vec!["A=2".to_owned()],
        user: Some("user".to_owned()),
        working_dir: Some("/data".to_owned()),
        ..ExecOptions::new(
            ["sh", "-c", "echo $A; id -u; pwd"]
                .map(str::to_owned)
                .to_vec(),
        )
    };
    assert_eq!(
        world.exec_with(&id, &options).unwrap().stdout,
        "2\n1000\n/data\n"
    );
    let terminal = ExecOptions {
        terminal: Some((33, 77)),
        ..ExecOptions::new(
            ["sh", "-c", "stty size; exit 3"]
                .map(str::to_owned)
                .to_vec(),
        )
    };
    let ran = world.exec_with(&id, &terminal).unwrap();
    assert_eq!((ran.stdout.as_str(), ran.code), ("33 77\r\n", 3));
    for (command, code) in [("no-such-command", 127), ("/etc/passwd", 126)] {
        let options = ExecOptions::new(vec![command.to_owned()]);
        let error = world.exec_with(&id, &options).expect_err(command);
        assert_eq!(error.exit_code(), code, "{error}");
    }
    world.containers.kill(&id, libc::SIGKILL).unwrap();
    world.containers.wait(&id).unwrap();
    let error = world.exec_with(&id, &ExecOptions::new(vec!["true".to_owned()]));
    assert!(matches!(error, Err(Error::NotRunning { .. })));
}

fn exec_detached(world: &World) {
    let id = world.start(world.script("while [ ! -e /done ]; do sleep 0.05; done; cat /done"));
    let command = ["sh", "-c", "echo behind > /tmp/x; mv /tmp/x /done"].map(str::to_owned);
    world
        .containers
        .exec_detached(&id, &ExecOptions::new(command.to_vec()))
        .unwrap();
    world.wait_for_line(&id, "behind");
    let missing = ExecOptions::new(vec!["no-such-command".to_owned()]);
    let id = world.start(world.command(&["sleep", "1000"]));
    let error = world
        .containers
        .exec_detached(&id, &missing)
        .expect_err("there is none");
    assert_eq!(error.exit_code(), 127);
}

fn pause(world: &World) {
    let id = world.start(world.script("while :; do echo tick; sleep 0.01; done"));
    world.wait_for_line(&id, "tick");
    world.containers.pause(&id).unwrap();
    assert_eq!(
        world
            .containers
            .inspect(&id, mica_container::Size::Omit)
            .unwrap()["State"]["Status"],
        "paused"
    );
    assert!(world.containers.pause(&id).is_err());
    let options = ExecOptions::new(vec!["true".to_owned()]);
    assert!(matches!(
        world.exec_with(&id, &options),
        Err(Error::ExecInPaused { .. })
    ));
    world.containers.unpause(&id).unwrap();
    assert_eq!(world.exec(&id, &["true"]).code, 0);
    world.containers.pause(&id).unwrap();
    // A frozen container can be killed.
    world.containers.kill(&id, libc::SIGKILL).unwrap();
    assert_eq!(world.containers.wait(&id).unwrap(), 137);
}

/// Ready once the child is what it is to be: between fork and execve it still is the shell.
const WITH_A_CHILD: &str =
    "sleep 1000 & until grep -q ^sleep /proc/$!/cmdline; do :; done; echo ready; wait";

fn top(world: &World) {
    let id = world.start(world.script(WITH_A_CHILD));
    world.wait_for_line(&id, "ready");
    let processes = world.containers.top(&id).unwrap();
    let commands: Vec<&str> = processes.iter().map(|p| p.command.as_str()).collect();
    let shell = format!("sh -c {WITH_A_CHILD}");
    assert_eq!(commands, [shell.as_str(), "sleep 1000"]);
    assert_eq!(processes[1].parent, processes[0].pid);
    assert_eq!(processes[0].pid, world.state(&id).pid);
}

fn protection(world: &World) {
    let script = "grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status | tr -d '\\t '; touch /x";
    let ran = world.run(world.script(script));
    assert_eq!(
        ran.stdout,
        "CapEff:00000000a80425fb\nNoNewPrivs:0\nSeccomp:2\n"
    );
    let mut options = world.script(script);
    options.host.cap_drop = vec!["ALL".to_owned()];
    options.host.cap_add = vec!["CHOWN".to_owned()];
    options.host.security_options = vec![
        "no-new-privileges".to_owned(),
        "seccomp=unconfined".to_owned(),
    ];
    options.host.read_only = true;
    let ran = world.run(options);
    assert_eq!(
        ran.stdout,
        "CapEff:0000000000000001\nNoNewPrivs:1\nSeccomp:0\n"
    );
    assert!(
        ran.stderr.contains("Read-only file system"),
        "{}",
        ran.stderr
    );
}
