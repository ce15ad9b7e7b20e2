//! Signals by name and number (signal(7)).

use crate::OptionError;

/// Names and numbers on Linux for the architectures that share them (amd64, arm64, …).
const SIGNALS: [(&str, i32); 34] = [
    ("ABRT", libc::SIGABRT),
    ("ALRM", libc::SIGALRM),
    ("BUS", libc::SIGBUS),
    ("CHLD", libc::SIGCHLD),
    ("CLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("FPE", libc::SIGFPE),
    ("HUP", libc::SIGHUP),
    ("ILL", libc::SIGILL),
    ("INT", libc::SIGINT),
    ("IO", libc::SIGIO),
    ("IOT", libc::SIGABRT),
    ("KILL", libc::SIGKILL),
    ("PIPE", libc::SIGPIPE),
    ("POLL", libc::SIGIO),
    ("PROF", libc::SIGPROF),
    ("PWR", libc::SIGPWR),
    ("QUIT", libc::SIGQUIT),
    ("SEGV", libc::SIGSEGV),
    ("STKFLT", libc::SIGSTKFLT),
    ("STOP", libc::SIGSTOP),
    ("SYS", libc::SIGSYS),
    ("TERM", libc::SIGTERM),
    ("TRAP", libc::SIGTRAP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("USR1", libc::SIGUSR1),
    ("USR2", libc::SIGUSR2),
    ("VTALRM", libc::SIGVTALRM),
    ("WINCH", libc::SIGWINCH),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
];

/// The first real-time signal that programs see and the last one, as glibc numbers them.
const REAL_TIME: (i32, i32) = (34, 64);

/// Reads a signal: `9`, `KILL`, `SIGKILL` in any case, `RTMIN+1`, `RTMAX-1`.
///
/// # Errors
/// [`OptionError::Signal`].
pub fn parse_signal(text: &str) -> Result<i32, OptionError> {
    let error = || OptionError::Signal {
        text: text.to_owned(),
    };
    if let Ok(number) = text.parse::<i32>() {
        return (1..=REAL_TIME.1)
            .contains(&number)
            .then_some(number)
            .ok_or_else(error);
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let known = SIGNALS.iter().find(|(known, _)| *known == name);
    known
        .map(|(_, number)| *number)
        .or_else(|| real_time(name))
        .ok_or_else(error)
}

fn real_time(name: &str) -> Option<i32> {
    let (base, offset) = if let Some(rest) = name.strip_prefix("RTMIN") {
        (REAL_TIME.0, rest)
    } else {
        (REAL_TIME.1, name.strip_prefix("RTMAX")?)
    };
    let offset = if offset.is_empty() {
        0
    } else {
        offset.parse::<i32>().ok()?
    };
    let number = base + offset;
    (REAL_TIME.0..=REAL_TIME.1)
        .contains(&number)
        .then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_read() {
        let check = |text: &str, expected: Option<i32>| {
            assert_eq!(parse_signal(text).ok(), expected, "{text}");
        };
        check("9", Some(9));
        check("KILL", Some(9));
        check("sigterm", Some(15));
        check("SIGQUIT", Some(3));
        check("RTMIN+3", Some(37));
        check("SIGRTMAX-1", Some(63));
        check("RTMIN-1", None);
        check("0", None);
        check("65", None);
        check("NONSENSE", None);
    }
}
