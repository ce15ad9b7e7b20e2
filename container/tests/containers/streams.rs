//! Standard input and output, logs, terminals, attachments.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use mica_container::{AttachEnd, AttachStdio, DetachKeys, LogOptions, Streams};
use mica_isolation::WindowSize;

use crate::Test;
use crate::world::{World, input, temporary, text};

pub(crate) const TESTS: &[Test] = &[
    ("streams_arrive_whole_and_apart", apart),
    ("input_reaches_the_command", reaches),
    ("much_input_and_output_at_once_does_not_block", echo_much),
    ("output_without_a_newline_arrives", partial),
    ("logs_have_tail_times_and_follow", logs),
    ("a_terminal_has_a_size_and_both_streams", terminal),
    ("a_client_leaves_and_comes_back", detach),
    ("a_second_client_sees_the_same", two_clients),
];

fn apart(world: &World) {
    let ran = world.run(world.script("seq 1 20000; seq 1 3 >&2; exit 4"));
    let expected: String = (1..=20_000).map(|n| format!("{n}\n")).collect();
    assert!(ran.stdout == expected, "{} bytes", ran.stdout.len());
    assert_eq!((ran.stderr.as_str(), ran.code), ("1\n2\n3\n", 4));
}

fn reaches(world: &World) {
    let mut options = world.command(&["cat"]);
    options.interactive = true;
    options.stdin_once = true;
    let id = world.containers.create(options).unwrap();
    let ran = world.start_attached(&id, Some(input(b"hello\n"))).unwrap();
    assert_eq!((ran.stdout.as_str(), ran.code), ("hello\n", 0));
    // Without -i there is nothing to read.
    assert_eq!(world.run(world.command(&["cat"])).stdout, "");
}

fn echo_much(world: &World) {
    let mut options = world.command(&["cat"]);
    options.interactive = true;
    options.stdin_once = true;
    let id = world.containers.create(options).unwrap();
    let content = vec![b'x'; 8 << 20];
    let ran = world.start_attached(&id, Some(input(&content))).unwrap();
    assert!(
        ran.stdout.as_bytes() == content,
        "{} bytes",
        ran.stdout.len()
    );
}

fn partial(world: &World) {
    let (id, ran) = world.run_kept(world.script("printf abc"));
    assert_eq!(ran.stdout, "abc");
    assert_eq!(world.log(&id, &LogOptions::default()), "abc");
}

fn logs(world: &World) {
    let id =
        world.start(world.script("seq 1 5; while [ ! -e /go ]; do sleep 0.05; done; echo last"));
    world.wait_for_line(&id, "5");
    let tail = |lines| LogOptions {
        tail: Some(lines),
        ..Default::default()
    };
    assert_eq!(world.log(&id, &tail(2)), "4\n5\n");
    let timestamps = LogOptions {
        timestamps: true,
        ..tail(1)
    };
    let line = world.log(&id, &timestamps);
    let (time, rest) = line.split_once(' ').unwrap();
    assert_eq!(
        (time.len(), rest),
        ("2024-05-06T07:08:09.123456789Z".len(), "5\n")
    );
    let since = Some(jiff::Timestamp::now());
    assert_eq!(
        world.log(
            &id,
            &LogOptions {
                since,
                ..Default::default()
            }
        ),
        ""
    );
    assert_eq!(world.exec(&id, &["touch", "/go"]).code, 0);
    let follow = LogOptions {
        follow: true,
        ..Default::default()
    };
    assert_eq!(world.log(&id, &follow), "1\n2\n3\n4\n5\nlast\n");
    let file = std::fs::read_to_string(world.containers.log_path(&id)).unwrap();
    let line: serde_json::Value = serde_json::from_str(file.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&line["log"], &line["stream"]),
        (&"1\n".into(), &"stdout".into())
    );
}

/// Runs a container with a terminal; `type_in` gets the client's keyboard.
fn with_terminal(
    world: &World,
    script: &str,
    keys: Option<DetachKeys>,
    type_in: impl FnOnce(&mut UnixStream, &mica_container::Controller),
) -> (AttachEnd, String, mica_container::ContainerId) {
    let mut options = world.script(script);
    options.tty = true;
    options.interactive = true;
    let id = world.containers.create(options).unwrap();
    let streams = Streams {
        stdin: true,
        stdout: true,
        stderr: true,
    };
    let attachment = world.containers.start(&id, Some(streams)).unwrap().unwrap();
    let (mut keyboard, stdin) = UnixStream::pair().unwrap();
    let mut screen = temporary();
    let stdio = AttachStdio {
        stdin: Some(OwnedFd::from(stdin)),
        stdout: screen.try_clone().unwrap().into(),
        stderr: screen.try_clone().unwrap().into(),
    };
    type_in(&mut keyboard, &attachment.controller().unwrap());
    let end = attachment.run(stdio, keys).unwrap();
    (end, text(&mut screen), id)
}

fn terminal(world: &World) {
    let script = "read line; stty size; test -t 0 && test -t 1 && test -t 2 && echo $TERM; exit 3";
    let (end, screen, _) = with_terminal(world, script, None, |keyboard, controller| {
        controller
            .resize(WindowSize {
                rows: 40,
                columns: 132,
            })
            .unwrap();
        keyboard.write_all(b"go\n").unwrap();
    });
    assert_eq!(end, AttachEnd::Exited(3));
    assert!(screen.ends_with("40 132\r\nxterm\r\n"), "{screen:?}");
}

fn detach(world: &World) {
    let script = "read line; echo got $line; exit 2";
    let keys = Some(DetachKeys::default());
    let (end, _, id) = with_terminal(world, script, keys, |keyboard, _| {
        keyboard.write_all(b"\x10\x11").unwrap();
    });
    assert_eq!(end, AttachEnd::Detached);
    assert!(world.state(&id).is_running());
    let streams = Streams {
        stdin: true,
        stdout: true,
        stderr: true,
    };
    let attachment = world.containers.attach(&id, streams).unwrap();
    let (mut keyboard, stdin) = UnixStream::pair().unwrap();
    keyboard.write_all(b"word\n").unwrap();
    let mut screen = temporary();
    let stdio = AttachStdio {
        stdin: Some(OwnedFd::from(stdin)),
        stdout: screen.try_clone().unwrap().into(),
        stderr: screen.try_clone().unwrap().into(),
    };
    assert_eq!(attachment.run(stdio, None).unwrap(), AttachEnd::Exited(2));
    assert!(text(&mut screen).ends_with("got word\r\n"));
}

fn two_clients(world: &World) {
    let id =
        world.start(world.script("while [ ! -e /go ]; do sleep 0.05; done; echo seen; exit 1"));
    let streams = Streams {
        stdin: false,
        stdout: true,
        stderr: true,
    };
    let attachments: Vec<_> = (0..2)
        .map(|_| world.containers.attach(&id, streams).unwrap())
        .collect();
    world.exec(&id, &["touch", "/go"]);
    for attachment in attachments {
        let mut out = temporary();
        let stdio = AttachStdio {
            stdin: None,
            stdout: out.try_clone().unwrap().into(),
            stderr: temporary().into(),
        };
        assert_eq!(attachment.run(stdio, None).unwrap(), AttachEnd::Exited(1));
        assert_eq!(text(&mut out), "seen\n");
    }
}
