//! Sizes as docker's flags have them: `64m`, `1.5g`, `512k`, bytes.

use std::str::FromStr;

use serde::Deserialize;

/// A number of bytes. In configuration files a text, or a plain number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub(crate) struct ByteSize(pub(crate) u64);

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Bytes(u64),
    Text(String),
}

impl TryFrom<Written> for ByteSize {
    type Error = SizeError;

    fn try_from(written: Written) -> Result<Self, SizeError> {
        match written {
            Written::Bytes(bytes) => Ok(Self(bytes)),
            Written::Text(text) => text.parse(),
        }
    }
}

/// Not a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid size: '{0}'")]
pub(crate) struct SizeError(String);

impl FromStr for ByteSize {
    type Err = SizeError;

    /// Reads a number, which may have a fraction, and a unit of 1024: `k`, `m`, `g`, `t`, `p`,
    /// in any case, with `b` or `ib` behind it if one likes.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || SizeError(text.to_owned());
        let end = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let shift = unit_shift(unit).ok_or_else(error)?;
        if let Ok(whole) = number.parse::<u64>() {
            return whole.checked_mul(1 << shift).map(Self).ok_or_else(error);
        }
        let number = number.parse::<f64>().map_err(|_| error())?;
        // A fraction of a byte is dropped, as docker does.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not negative"
        )]
        Ok(Self((number * f64::from(shift).exp2()) as u64))
    }
}

fn unit_shift(unit: &str) -> Option<u32> {
    match unit.trim_start_matches(' ').to_ascii_lowercase().as_str() {
        "" | "b" => Some(0),
        "k" | "kb" | "kib" => Some(10),
        "m" | "mb" | "mib" => Some(20),
        "g" | "gb" | "gib" => Some(30),
        "t" | "tb" | "tib" => Some(40),
        "p" | "pb" | "pib" => Some(50),
        _ => None,
    }
}

/// Memory and swap together: a size, or -1 for no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SwapLimit(pub(crate) i64);

impl FromStr for SwapLimit {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "-1" {
            return Ok(Self(-1));
        }
        let ByteSize(bytes) = text.parse()?;
        i64::try_from(bytes)
            .map(Self)
            .map_err(|_| SizeError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(
                text.parse::<ByteSize>().ok().map(|size| size.0),
                expected,
                "{text}"
            );
        };
        check("64m", Some(64 << 20));
        check("1g", Some(1 << 30));
        check("512K", Some(512 << 10));
        check("1.5GiB", Some(3 << 29));
        check("42", Some(42));
        check("42b", Some(42));
        check("7 kb", Some(7 << 10));
        check("", None);
        check("m", None);
        check("-1", None);
        check("1x", None);
        check("1.2.3m", None);
        check("99999999999p", None);
    }

    #[test]
    fn swap_may_be_without_limit() {
        let check = |text: &str, expected: Option<i64>| {
            assert_eq!(
                text.parse::<SwapLimit>().ok().map(|limit| limit.0),
                expected,
                "{text}"
            );
        };
        check("-1", Some(-1));
        check("1k", Some(1024));
        check("-2", None);
    }
}
