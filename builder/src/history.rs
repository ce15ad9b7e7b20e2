//! The texts that an image's history keeps, as BuildKit writes them.

use std::time::Duration;

use mica_dockerfile::{Healthcheck, HealthcheckCommand};

/// What BuildKit writes into the `comment` of each history entry.
pub(crate) const COMMENT: &str = "buildkit.dockerfile.v0";

/// `["a" "b"]`: Go's `%q` of a list of strings.
pub(crate) fn quoted_list(words: &[String]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| go_quote(word)).collect();
    format!("[{}]", quoted.join(" "))
}

/// Go's `strconv.Quote`, for what shows up in commands.
fn go_quote(word: &str) -> String {
    let mut out = String::with_capacity(word.len() + 2);
    out.push('"');
    for c in word.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// `RUN |1 name=value /bin/sh -c command # buildkit`.
pub(crate) fn run(arguments: &[(String, String)], command: &[String]) -> String {
    let mut words = vec!["RUN".to_owned()];
    if !arguments.is_empty() {
        words.push(format!("|{}", arguments.len()));
        words.extend(
            arguments
                .iter()
                .map(|(name, value)| format!("{name}={value}")),
        );
    }
    words.extend_from_slice(command);
    words.push("# buildkit".to_owned());
    words.join(" ")
}

/// `HEALTHCHECK {Test:[CMD x] Interval:1m30s …}`.
pub(crate) fn healthcheck(check: &Healthcheck, test: &[String]) -> String {
    let none = HealthcheckCommand {
        command: mica_dockerfile::CommandForm::Exec(Vec::new()),
        interval: Duration::ZERO,
        timeout: Duration::ZERO,
        start_period: Duration::ZERO,
        start_interval: Duration::ZERO,
        retries: 0,
    };
    let times = match check {
        Healthcheck::None => &none,
        Healthcheck::Command(command) => command,
    };
    format!(
        "HEALTHCHECK {{Test:[{}] Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
        test.join(" "),
        go_duration(times.interval),
        go_duration(times.timeout),
        go_duration(times.start_period),
        go_duration(times.start_interval),
        times.retries,
    )
}

/// Go's `time.Duration.String`: `1h0m0s`, `1m30s`, `2s`, `500ms`.
fn go_duration(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    match nanoseconds {
        0 => return "0s".to_owned(),
        1..1_000 => return format!("{nanoseconds}ns"),
        1_000..1_000_000 => return format!("{}µs", nanoseconds as f64 / 1e3),
        1_000_000..1_000_000_000 => return format!("{}ms", nanoseconds as f64 / 1e6),
        _ => {}
    }
    let minutes = duration.as_secs() / 60;
    let seconds = (nanoseconds - u128::from(minutes) * 60_000_000_000) as f64 / 1e9;
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_printed_as_go_does() {
        let cases = [
            (0, "0s"),
            (500, "500ms"),
            (2_000, "2s"),
            (90_000, "1m30s"),
            (1_500, "1.5s"),
            (3_600_000, "1h0m0s"),
        ];
        for (milliseconds, expected) in cases {
            assert_eq!(go_duration(Duration::from_millis(milliseconds)), expected);
        }
    }

    #[test]
    fn run_names_its_arguments() {
        let command: Vec<String> = ["/bin/sh", "-c", "make"].map(String::from).to_vec();
        assert_eq!(run(&[], &command), "RUN /bin/sh -c make # buildkit");
        let arguments = [("A".to_owned(), "1".to_owned())];
        assert_eq!(
            run(&arguments, &command),
            "RUN |1 A=1 /bin/sh -c make # buildkit"
        );
        assert_eq!(quoted_list(&["a\"b".into(), "c".into()]), r#"["a\"b" "c"]"#);
    }
}
