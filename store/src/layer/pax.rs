//! PAX extended headers: what a tar header has no room for.
//!
//! Source: POSIX.1-2001, `pax`, "pax Extended Header"; GNU tar manual, "Storing Sparse Files".

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::error::TarError;
use crate::sys::{Attribute, Time};

/// The prefix of records that are extended attributes.
pub(crate) const ATTRIBUTE: &[u8] = b"SCHILY.xattr.";

/// What an extended header says of the entry after it.
#[derive(Debug, Default)]
pub(crate) struct Extension {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) link: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) modified: Option<Time>,
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) sparse: SparseRecords,
}

/// The `GNU.sparse.*` records.
#[derive(Debug, Default)]
pub(crate) struct SparseRecords {
    pub(crate) major: Option<u64>,
    pub(crate) name: Option<Vec<u8>>,
    pub(crate) real_size: Option<u64>,
    /// Offsets and lengths in turn, of formats 0.0 and 0.1.
    pub(crate) map: Vec<u64>,
}

impl Extension {
    /// Reads the records of a header.
    pub(crate) fn parse(&mut self, mut data: &[u8]) -> Result<(), TarError> {
        while !data.is_empty() {
            let (key, value, rest) = record(data).ok_or(TarError::Extension)?;
            self.take(key, value)?;
            data = rest;
        }
        Ok(())
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), TarError> {
        match key {
            b"path" => self.path = text(value)?,
            b"linkpath" => self.link = text(value)?,
            b"size" => self.size = number(value)?,
            b"uid" => self.uid = id(value)?,
            b"gid" => self.gid = id(value)?,
            b"mtime" => self.modified = optional(value, time)?,
            _ => {
                if let Some(name) = key.strip_prefix(ATTRIBUTE) {
                    self.take_attribute(name, value);
                } else if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                    self.sparse.take(key, value)?;
                }
            }
        }
        Ok(())
    }

    fn take_attribute(&mut self, name: &[u8], value: &[u8]) {
        let name = OsString::from_vec(name.to_vec());
        self.attributes.retain(|known| known.0 != name);
        self.attributes.push((name, value.to_vec()));
    }
}

impl SparseRecords {
    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), TarError> {
        match key {
            b"major" => self.major = number(value)?,
            b"name" => self.name = text(value)?,
            b"size" | b"realsize" => self.real_size = number(value)?,
            b"offset" | b"numbytes" => {
                self.map.push(number(value)?.ok_or(TarError::SparseMap)?);
            }
            b"map" => {
                let numbers = value.split(|byte| *byte == b',').map(number);
                let numbers: Result<Option<Vec<u64>>, _> = numbers.collect();
                self.map = numbers?.ok_or(TarError::SparseMap)?;
            }
            _ => {} // `minor`, `numblocks`: implied by the rest
        }
        Ok(())
    }
}

/// Splits off the first record, `LENGTH KEY=VALUE\n`; the length counts all of it.
fn record(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = data.iter().position(|byte| *byte == b' ')?;
    let length = usize::try_from(digits(&data[..space])?).ok()?;
    let body = data.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|byte| *byte == b'=')?;
    if equals == 0 {
        return None;
    }
    Some((&body[..equals], &body[equals + 1..], &data[length..]))
}

pub(crate) fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// An empty value takes back what an earlier header said.
fn optional<T>(value: &[u8], parse: impl Fn(&[u8]) -> Option<T>) -> Result<Option<T>, TarError> {
    match value {
        [] => Ok(None),
        value => Ok(Some(parse(value).ok_or(TarError::Extension)?)),
    }
}

fn number(value: &[u8]) -> Result<Option<u64>, TarError> {
    optional(value, digits)
}

fn id(value: &[u8]) -> Result<Option<u32>, TarError> {
    // The highest one means "leave it as it is" to chown(2).
    let narrow = |value: &[u8]| {
        u32::try_from(digits(value)?)
            .ok()
            .filter(|id| *id != u32::MAX)
    };
    optional(value, narrow)
}

fn text(value: &[u8]) -> Result<Option<Vec<u8>>, TarError> {
    if value.contains(&0) {
        return Err(TarError::NulInName);
    }
    Ok(Some(value.to_vec()).filter(|value| !value.is_empty()))
}

/// Reads decimal seconds with a fraction, such as `-1.25`; digits past the ninth are dropped.
fn time(value: &[u8]) -> Option<Time> {
    let (negative, value) = match value.strip_prefix(b"-") {
        Some(value) => (true, value),
        None => (false, value),
    };
    let mut parts = value.splitn(2, |byte| *byte == b'.');
    let seconds = i64::try_from(digits(parts.next()?)?).ok()?;
    let mut fraction = parts.next().unwrap_or_default().to_vec();
    fraction.resize(9, b'0');
    let nanoseconds = u32::try_from(digits(&fraction)?).ok()?;
    Some(match (negative, nanoseconds) {
        (false, nanoseconds) => (seconds, nanoseconds),
        (true, 0) => (-seconds, 0),
        (true, nanoseconds) => (-seconds - 1, 1_000_000_000 - nanoseconds),
    })
}

/// Writes a time as [`time`] reads it.
pub(crate) fn write_time((seconds, nanoseconds): Time) -> String {
    let text = match (seconds < 0, nanoseconds) {
        (_, 0) => return seconds.to_string(),
        (false, nanoseconds) => format!("{seconds}.{nanoseconds:09}"),
        (true, nanoseconds) => format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanoseconds),
    };
    text.trim_end_matches('0').to_owned()
}

/// Appends a record.
pub(crate) fn write_record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    out.extend_from_slice(length.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_back() {
        for length in [0, 1, 5, 88, 89, 90, 91, 987, 988, 989, 990, 5000] {
            let mut data = Vec::new();
            let value = vec![b'v'; length];
            write_record(&mut data, b"key", &value);
            write_record(&mut data, b"other", b"a=b\nc\0");
            let (key, read, rest) = record(&data).unwrap();
            assert_eq!((key, read), (&b"key"[..], &value[..]), "{length}");
            assert_eq!(record(rest).unwrap().1, b"a=b\nc\0");
        }
    }

    #[test]
    fn malformed_records_are_refused() {
        let cases: [&[u8]; 9] = [
            b"5 a=b",
            b"99 a=b\n",
            b"x a=b\n",
            b"6 ab\n",
            b" a=b\n",
            b"6 a=b\nx",
            b"5 =b\n",
            b"-6 a=b\n",
            b"3 \n",
        ];
        for data in cases {
            let parsed = Extension::default().parse(data);
            assert!(parsed.is_err(), "{}", data.escape_ascii());
        }
    }

    #[test]
    fn times_are_read_back() {
        let cases: [(&str, Time); 6] = [
            ("0", (0, 0)),
            ("12.000000001", (12, 1)),
            ("1.5", (1, 500_000_000)),
            ("-1", (-1, 0)),
            ("-0.25", (-1, 750_000_000)),
            ("-3.000000001", (-4, 999_999_999)),
        ];
        for (text, expected) in cases {
            assert_eq!(time(text.as_bytes()), Some(expected), "{text}");
            assert_eq!(write_time(expected), text);
        }
        for bad in ["", "-", ".5", "1.x", "--1", "99999999999999999999"] {
            assert_eq!(time(bad.as_bytes()), None, "{bad}");
        }
    }
}
