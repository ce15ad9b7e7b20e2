//! The words of `STOPSIGNAL`.

/// The names of signals, without `SIG`.
const NAMES: [&str; 34] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL",
    "PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP",
    "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ",
];

/// The highest number of a signal.
const LAST: u8 = 64;

/// Tells whether a text is a signal's number or name, with or without `SIG`.
#[must_use]
pub fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<u8>() {
        return (1..=LAST).contains(&number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let realtime = name.starts_with("RTMIN") || name.starts_with("RTMAX");
    realtime || NAMES.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_numbers_and_names() {
        for good in ["9", "SIGTERM", "term", "SIGRTMIN+3", "USR1"] {
            assert!(is_signal(good), "{good}");
        }
        for bad in ["0", "65", "", "SIG", "NOPE", "TERM KILL"] {
            assert!(!is_signal(bad), "{bad}");
        }
    }
}
