//! A real terminal: tmux types and reads the screen.

use std::process::Command;
use std::time::{Duration, Instant};

use mica_tests::{Machine, Outcome, Registry, Skip, mica, needs, run};
use tempfile::TempDir;

/// A terminal with a command in it.
pub(crate) struct Screen {
    /// Holds the socket: a server that is ending must not be taken for the next one.
    directory: TempDir,
}

impl Screen {
    fn start(machine: &Machine, arguments: &str) -> Result<Self, Skip> {
        Self::sized(machine, arguments, (100, 30))
    }

    /// Starts mica in a terminal of so many columns and rows.
    pub(crate) fn sized(
        machine: &Machine,
        arguments: &str,
        (columns, rows): (u16, u16),
    ) -> Result<Self, Skip> {
        needs(&["tmux"])?;
        let screen = Self {
            directory: tempfile::tempdir_in(machine.path("home")).expect("there is room"),
        };
        let line = format!(
            "{} --root {} --runroot {} {arguments}; echo \"left with $?\"; cat",
            mica().display(),
            machine.root().display(),
            machine.path("run").display(),
        );
        let mut start = screen.tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            &columns.to_string(),
            "-y",
            &rows.to_string(),
            &line,
        ]);
        run(start
            .env("HOME", machine.path("home"))
            .env("SHELL", "/bin/sh"))
        .ok();
        Ok(screen)
    }

    fn tmux(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        let socket = self.directory.path().join("tmux");
        command.arg("-S").arg(socket).args(arguments);
        command
    }

    /// Gives the terminal another size.
    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        let (columns, rows) = (columns.to_string(), rows.to_string());
        run(&mut self.tmux(&["resize-window", "-x", &columns, "-y", &rows])).ok();
    }

    /// Asks the terminal, in tmux's words: `alternate_on`, `cursor_flag`.
    pub(crate) fn is(&self, what: &str) -> String {
        let format = format!("#{{{what}}}");
        let answer = run(&mut self.tmux(&["display-message", "-p", &format]));
        answer.ok().trim().to_owned()
    }

    /// Sends the command a signal, as `kill` does.
    pub(crate) fn signal(&self, name: &str) {
        let shell = self.is("pane_pid");
        let children = format!("/proc/{shell}/task/{shell}/children");
        let command = std::fs::read_to_string(children).expect("the shell waits for it");
        run(Command::new("kill").args(["-s", name, command.trim()])).ok();
    }

    /// Types.
    pub(crate) fn keys(&self, keys: &[&str]) {
        let mut arguments = vec!["send-keys"];
        arguments.extend(keys);
        run(&mut self.tmux(&arguments)).ok();
    }

    /// Waits until the screen shows `text`.
    pub(crate) fn shows(&self, text: &str) -> String {
        let start = Instant::now();
        loop {
            let screen = run(&mut self.tmux(&["capture-pane", "-p"])).stdout;
            if screen.contains(text) {
                return screen;
            }
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "`{text}` is not shown: {screen}"
            );
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        run(&mut self.tmux(&["kill-server"]));
    }
}

pub(crate) fn run_it() -> Outcome {
    let machine = Machine::with_busybox();
    let screen = Screen::start(&machine, "run --rm -it busybox sh")?;
    screen.shows("/ #");
    screen.keys(&["tty && stty size && test -t 0 && echo a$((40+2))b", "Enter"]);
    let shown = screen.shows("a42b");
    assert!(
        shown.contains("/dev/pts/0") && shown.contains("30 100"),
        "{shown}"
    );
    // Ctrl-C reaches the command in the container, not mica.
    screen.keys(&["sleep 1000", "Enter"]);
    screen.keys(&["C-c"]);
    screen.keys(&["echo still; exit 5", "Enter"]);
    screen.shows("left with 5");
    Ok(())
}

/// A password is not shown, and is taken also from who types before he is asked.
pub(crate) fn login() -> Outcome {
    let registry = Registry::with_user("ada", "sesame")?;
    let machine = Machine::new();
    let screen = Screen::start(&machine, &format!("login {}", registry.address))?;
    screen.shows("Username:");
    screen.keys(&["ada", "Enter"]);
    screen.shows("Password:");
    screen.keys(&["sesame", "Enter"]);
    let shown = screen.shows("left with 0");
    assert!(
        shown.contains("Login Succeeded") && !shown.contains("sesame"),
        "{shown}"
    );
    let screen = Screen::start(&machine, &format!("login {}", registry.address))?;
    screen.shows("Username:");
    screen.keys(&["ada", "Enter", "sesame", "Enter"]);
    screen.shows("left with 0");
    Ok(())
}

pub(crate) fn exec_it() -> Outcome {
    let machine = Machine::with_busybox();
    machine.ok(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    let screen = Screen::start(&machine, "exec -it box /bin/sh")?;
    screen.shows("/ #");
    screen.keys(&["hostname > /seen; tty; exit 3", "Enter"]);
    let shown = screen.shows("left with 3");
    assert!(shown.contains("/dev/pts/"), "{shown}");
    let id = machine.ok(["ps", "-q"]);
    assert_eq!(machine.ok(["exec", "box", "cat", "/seen"]), id);
    Ok(())
}

pub(crate) fn progress() -> Outcome {
    let machine = Machine::with_busybox();
    let context = machine.context(
        "c",
        &[(
            "Dockerfile",
            "FROM busybox\nRUN echo from-the-step; sleep 1\n",
        )],
    );
    let screen = Screen::start(&machine, &format!("build -t x {}", context.display()))?;
    screen.shows("RUN echo from-the-step");
    let shown = screen.shows("left with 0");
    assert!(shown.contains("[2/2] RUN echo from-the-step"), "{shown}");
    Ok(())
}

/// A failed step's files, looked at in a shell with a terminal of its own.
pub(crate) fn shell_it() -> Outcome {
    let machine = Machine::with_busybox();
    let text = "FROM busybox\nWORKDIR /work\nRUN echo half > half; exit 4\n";
    let context = machine.context("c", &[("Dockerfile", text)]);
    machine
        .mica(["build", context.to_str().expect("UTF-8")])
        .fails(1, &["mica shell @3"]);
    let screen = Screen::start(&machine, "shell @3")?;
    screen.shows("/work #");
    screen.keys(&["test -t 0 && stty size && cat half; exit 6", "Enter"]);
    let shown = screen.shows("left with 6");
    assert!(shown.contains("30 100\nhalf"), "{shown}");
    Ok(())
}
