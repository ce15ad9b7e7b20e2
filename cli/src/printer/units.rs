//! Sizes and times for people, as docker's `go-units` writes them.

use jiff::Timestamp;

const DECIMAL: &[&str] = &["B", "kB", "MB", "GB", "TB", "PB", "EB"];
const BINARY: &[&str] = &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// Writes a size in decimal units with three significant digits: `1.23kB`, `124MB`.
pub(crate) fn size(bytes: u64) -> String {
    scaled(bytes, 1000.0, DECIMAL, 3)
}

/// Writes a size in binary units with four significant digits: `1.953GiB`.
pub(crate) fn bytes_binary(bytes: u64) -> String {
    scaled(bytes, 1024.0, BINARY, 4)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "no more than four digits are shown"
)]
fn scaled(bytes: u64, base: f64, units: &[&str], digits: usize) -> String {
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= base && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    format!("{}{}", significant(value, digits), units[unit])
}

/// Rounds to `digits` significant ones and drops trailing zeros; whole digits all stay.
fn significant(value: f64, digits: usize) -> String {
    let whole = format!("{value:.0}").len();
    let text = format!(
        "{value:.decimals$}",
        decimals = digits.saturating_sub(whole)
    );
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// Writes how long ago a moment is: `2 minutes ago`.
pub(crate) fn ago(moment: Timestamp, now: Timestamp) -> String {
    format!("{} ago", duration(now.as_second() - moment.as_second()))
}

/// Writes a number of seconds: `2 minutes`, `About an hour`, `3 weeks`.
fn duration(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match () {
        () if seconds < 1 => "Less than a second".into(),
        () if seconds == 1 => "1 second".into(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".into(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".into(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, expected) in [
            (0, "0B"),
            (999, "999B"),
            (1_000, "1kB"),
            (1_234, "1.23kB"),
            (12_345, "12.3kB"),
            (123_600_000, "124MB"),
            (1_500_000_000, "1.5GB"),
        ] {
            assert_eq!(size(bytes), expected);
        }
        assert_eq!(bytes_binary(2_097_152_000), "1.953GiB");
    }

    #[test]
    fn times_are_rounded_as_docker_rounds_them() {
        const HOUR: i64 = 3600;
        for (seconds, expected) in [
            (-5, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (150, "2 minutes"),
            (50 * 60, "50 minutes"),
            (HOUR, "About an hour"),
            (2 * HOUR - 1, "2 hours"),
            (47 * HOUR, "47 hours"),
            (48 * HOUR, "2 days"),
            (24 * 14 * HOUR, "2 weeks"),
            (24 * 60 * HOUR, "2 months"),
            (24 * 365 * 2 * HOUR, "2 years"),
        ] {
            assert_eq!(duration(seconds), expected, "{seconds}");
        }
    }
}
