//! Durations in docker's words.

use std::time::Duration;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const WEEK: u64 = 7 * DAY;
const MONTH: u64 = 30 * DAY;
const YEAR: u64 = 365 * DAY;

/// Returns a duration as docker's listings show it: `Less than a second`, `About an hour`,
/// `3 weeks`. Source: `HumanDuration` of docker's go-units.
pub fn human_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    // An hour and a half rounds up, as there.
    let hours = (duration.as_secs_f64() / HOUR as f64).round() as u64;
    match seconds {
        0 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        _ if seconds < MINUTE => format!("{seconds} seconds"),
        _ if seconds < 2 * MINUTE => "About a minute".to_owned(),
        _ if seconds < HOUR => format!("{} minutes", seconds / MINUTE),
        _ if hours <= 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", seconds / WEEK),
        _ if hours < 24 * 365 * 2 => format!("{} months", seconds / MONTH),
        _ => format!("{} years", seconds / YEAR),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_docker_s() {
        let check = |seconds: u64, expected: &str| {
            assert_eq!(
                human_duration(Duration::from_secs(seconds)),
                expected,
                "{seconds}"
            );
        };
        check(0, "Less than a second");
        check(1, "1 second");
        check(45, "45 seconds");
        check(60, "About a minute");
        check(3 * MINUTE, "3 minutes");
        check(HOUR, "About an hour");
        check(HOUR + 35 * MINUTE, "2 hours");
        check(3 * HOUR, "3 hours");
        check(2 * DAY, "2 days");
        check(2 * WEEK, "2 weeks");
        check(2 * MONTH, "2 months");
        check(2 * YEAR, "2 years");
    }
}
