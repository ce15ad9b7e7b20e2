//! Terminals of a sandbox's own.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;

use mica_isolation::{ExitStatus, Stdio, WindowSize, resize_terminal, spawn};

use crate::fixture::{Image, read_line};
use crate::{Skip, Test};

pub(crate) const TESTS: &[Test] = &[("a_terminal_is_controlling", a_terminal_is_controlling)];

const SIZE: WindowSize = WindowSize {
    rows: 30,
    columns: 100,
};

fn a_terminal_is_controlling() -> Result<(), Skip> {
    let image = Image::new();
    let script = "tty; stty size; ls /dev/pts; test -c /dev/console && echo console; \
                  stat -c %u /dev/pts/0; echo more > /dev/tty; read line; echo got $line; stty size; exit 4";
    let mut spec = image.spec(&["sh", "-c", script]);
    spec.process.terminal = Some(SIZE);
    spec.process.user = "app".to_string();
    let mut sandbox = spawn(&spec, Stdio::Inherit).expect("a sandbox");
    let mut master = File::from(sandbox.take_terminal().expect("a terminal"));
    assert!(sandbox.take_terminal().is_none());
    let lines = ["/dev/pts/0", "30 100", "0 ptmx", "console", "1000", "more"];
    for expected in lines {
        let line = read_line(&mut master);
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words.join(" "), expected);
    }
    resize_terminal(
        master.as_fd(),
        WindowSize {
            rows: 5,
            columns: 6,
        },
    )
    .expect("a new size");
    master.write_all(b"word\n").expect("input");
    let mut rest = String::new();
    // The last read fails when the terminal's last user has gone (EIO).
    let _ = master.read_to_string(&mut rest);
    assert_eq!(rest.replace('\r', ""), "word\ngot word\n5 6\n");
    assert_eq!(
        sandbox.wait().expect("an exit").status,
        ExitStatus::Exited(4)
    );
    Ok(())
}
