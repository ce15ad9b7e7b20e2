//! Running programs and looking at what they print.

use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// What a program that ended left behind.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The command line, for messages.
    pub line: String,
    /// The exit code; 128 and the signal for a killed program.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// No test waits longer for a program: one that hangs is a failure, not a stuck run.
const LIMIT: Duration = Duration::from_secs(300);

/// Runs a program to its end.
pub fn run(command: &mut Command) -> Finished {
    run_with_input(command, b"")
}

/// Runs a program to its end, with `input` on its standard input.
///
/// # Panics
/// When the program cannot be started, or takes longer than five minutes.
pub fn run_with_input(command: &mut Command, input: &[u8]) -> Finished {
    let line = format!("{command:?}");
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {line}: {error}"));
    let mut stdin = child.stdin.take().expect("standard input is a pipe");
    let input = input.to_vec();
    // A program that ends before it has read its input breaks the pipe: that is its right.
    std::thread::spawn(move || stdin.write_all(&input));
    let pid = child.id();
    let (ended, end) = mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        if end.recv_timeout(LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) {
            // SAFETY: kill(2) takes no pointers; the child is not reaped before `ended` is sent.
            #[expect(unsafe_code, reason = "kill(2)")]
            unsafe {
                libc::kill(i32::try_from(pid).expect("PIDs fit"), libc::SIGKILL);
            }
        }
    });
    let output = read_all(&mut child);
    let status = child.wait().expect("the child is ours");
    drop(ended);
    watchdog.join().expect("the watchdog does not panic");
    let output = Output { status, ..output };
    finished(line, &output)
}

fn read_all(child: &mut std::process::Child) -> Output {
    let mut stdout_pipe = child.stdout.take().expect("standard output is a pipe");
    let mut stderr_pipe = child.stderr.take().expect("standard error is a pipe");
    let errors = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stderr_pipe.read_to_end(&mut bytes).map(|_| bytes)
    });
    let mut stdout = Vec::new();
    stdout_pipe
        .read_to_end(&mut stdout)
        .expect("a pipe can be read");
    let stderr = errors
        .join()
        .expect("reading does not panic")
        .expect("a pipe can be read");
    Output {
        status: std::process::ExitStatus::default(),
        stdout,
        stderr,
    }
}

fn finished(line: String, output: &Output) -> Finished {
    use std::os::unix::process::ExitStatusExt;
    let code = output
        .status
        .code()
        .or_else(|| output.status.signal().map(|signal| 128 + signal));
    Finished {
        line,
        code: code.unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Finished {
    /// Returns standard output without its last newline.
    ///
    /// # Panics
    /// When the program did not end with 0.
    #[track_caller]
    pub fn ok(&self) -> &str {
        assert_eq!(self.code, 0, "{self}");
        self.stdout.trim_end_matches('\n')
    }

    /// Checks that the program failed with `code` and that each of `words` is in what it said.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn fails(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{self}");
        for word in words {
            let said = self.stderr.contains(word) || self.stdout.contains(word);
            assert!(said, "`{word}` is missing in: {self}");
        }
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            line,
            code,
            stdout,
            stderr,
        } = self;
        write!(
            f,
            "{line}\nexit code {code}\n--- stdout\n{stdout}\n--- stderr\n{stderr}"
        )
    }
}
