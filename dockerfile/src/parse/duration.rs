//! Durations as Go writes them: `1h30m`, `2.5s`, `300ms`, `0`.

use crate::error::ErrorKind;

/// Units and their nanoseconds; longer names before their prefixes.
const UNITS: [(&str, i128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads a duration and returns it in nanoseconds; fails like Go's `time.ParseDuration`.
pub(super) fn nanoseconds(value: &str) -> Result<i128, ErrorKind> {
    let wrong = |problem: String| ErrorKind::Duration {
        problem,
        value: value.to_owned(),
    };
    let invalid = || wrong("invalid duration".to_owned());
    let unsigned = value.strip_prefix(['-', '+']).unwrap_or(value);
    if unsigned == "0" {
        return Ok(0);
    }
    let mut rest = unsigned;
    let mut total: i128 = 0;
    if rest.is_empty() {
        return Err(invalid());
    }
    while !rest.is_empty() {
        let (number, after) = split_before(rest, |c| !c.is_ascii_digit() && c != '.');
        let (unit, after) = split_before(after, |c| c.is_ascii_digit() || c == '.');
        if unit.is_empty() && !number.is_empty() {
            return Err(wrong("missing unit in duration".to_owned()));
        }
        let factor = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .map(|(_, factor)| *factor);
        let digits = number.bytes().any(|byte| byte.is_ascii_digit());
        if !digits {
            return Err(invalid());
        }
        let factor = factor.ok_or_else(|| {
            wrong(format!(
                "unknown unit {} in duration",
                crate::quote::Quoted(unit)
            ))
        })?;
        total += scaled(number, factor).ok_or_else(invalid)?;
        if total > i128::from(i64::MAX) {
            return Err(invalid());
        }
        rest = after;
    }
    Ok(if value.starts_with('-') {
        -total
    } else {
        total
    })
}

fn split_before(text: &str, stop: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(stop).unwrap_or(text.len()))
}

/// Multiplies a decimal number with a factor; nothing if it is none or too large.
fn scaled(number: &str, factor: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: i128 = if whole.is_empty() {
        0
    } else {
        whole.parse::<i64>().ok()?.into()
    };
    // Digits beyond the fifteenth are less than a nanosecond of an hour.
    let fraction = &fraction[..fraction.len().min(15)];
    let part: i128 = if fraction.is_empty() {
        0
    } else {
        fraction.parse().ok()?
    };
    let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    Some(whole * factor + part * factor / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let second = 1_000_000_000;
        let cases = [
            ("0", 0),
            ("5s", 5 * second),
            ("1h1m1s", 3661 * second),
            ("1.5s", second + second / 2),
            (".5m", 30 * second),
            ("10us", 10_000),
            ("10µs", 10_000),
            ("-1s", -second),
            ("100000h", 360_000_000 * second),
        ];
        for (text, expected) in cases {
            assert_eq!(nanoseconds(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn wrong_durations() {
        let cases = [
            ("", "time: invalid duration \"\""),
            ("5", "time: missing unit in duration \"5\""),
            ("5x", "time: unknown unit \"x\" in duration \"5x\""),
            ("s", "time: invalid duration \"s\""),
            ("1.2.3s", "time: invalid duration \"1.2.3s\""),
            ("99999999999h", "time: invalid duration \"99999999999h\""),
        ];
        for (text, message) in cases {
            let error = nanoseconds(text).expect_err(text);
            assert_eq!(error.to_string(), message);
        }
    }
}
