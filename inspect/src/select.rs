//! Choosing files by their name, type, size and rights, as `find` does.

use std::str::FromStr;

use crate::entry::{Entry, Kind, split};

/// What a file must be. All that is set must hold.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Patterns for the last name; one must fit.
    pub names: Vec<Pattern>,
    /// Patterns for the whole path, with a slash in front; one must fit.
    pub paths: Vec<Pattern>,
    /// The kinds of file; one must fit.
    pub kinds: Vec<Kind>,
    /// The size in bytes.
    pub sizes: Vec<SizeTest>,
    /// The permission bits.
    pub modes: Vec<ModeTest>,
    /// The owner.
    pub uid: Option<u32>,
    /// The group.
    pub gid: Option<u32>,
}

/// A shell pattern: `*`, `?`, `[…]`, `\`. A star also stands for slashes, as in `find`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// The pattern.
    pub text: Vec<u8>,
    /// Whether upper and lower case are the same.
    pub case: Case,
}

/// Whether a pattern distinguishes upper and lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// It does.
    Sensitive,
    /// It does not.
    Ignored,
}

/// `+N`, `-N` or `N` with one of find's units: the size is rounded up to whole units first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeTest {
    order: std::cmp::Ordering,
    count: u64,
    unit: u64,
}

/// `MODE` exactly, `-MODE` all of these bits, `/MODE` any of them; octal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModeTest {
    /// Just these bits.
    Exactly(u32),
    /// All of these bits.
    All(u32),
    /// Any of these bits.
    Any(u32),
}

/// A predicate that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("expected {expected}")]
pub struct FilterError {
    expected: &'static str,
}

impl Filter {
    /// Tells whether a file fits; `entry` is absent for a directory that nothing describes.
    pub fn fits(&self, path: &[u8], entry: Option<&Entry>) -> bool {
        let name = split(path).1;
        let full = [b"/", path].concat();
        let kind = entry.map_or(Kind::Directory, |entry| entry.kind);
        let mode = entry.map_or(0o755, |entry| entry.mode);
        let owner = entry.map_or((0, 0), |entry| (entry.uid, entry.gid));
        let size = entry.map_or(0, |entry| entry.size);
        (self.names.is_empty() || self.names.iter().any(|pattern| pattern.fits(name)))
            && (self.paths.is_empty() || self.paths.iter().any(|pattern| pattern.fits(&full)))
            && (self.kinds.is_empty() || self.kinds.contains(&kind))
            && self.sizes.iter().all(|test| test.fits(size))
            && self.modes.iter().all(|test| test.fits(mode))
            && self.uid.is_none_or(|uid| uid == owner.0)
            && self.gid.is_none_or(|gid| gid == owner.1)
    }
}

impl Pattern {
    /// Tells whether a name fits.
    pub fn fits(&self, name: &[u8]) -> bool {
        match self.case {
            Case::Sensitive => fits(&self.text, name),
            Case::Ignored => fits(&self.text.to_ascii_lowercase(), &name.to_ascii_lowercase()),
        }
    }
}

/// Matches with one way back, to the last star: the time is bounded by the product of the lengths.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while n < name.len() {
        if pattern.get(p) == Some(&b'*') {
            back = Some((p + 1, n));
            p += 1;
            continue;
        }
        if let Some(length) = one(&pattern[p..], name[n]) {
            p += length;
            n += 1;
            continue;
        }
        let Some((after_star, from)) = back else {
            return false;
        };
        back = Some((after_star, from + 1));
        (p, n) = (after_star, from + 1);
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// Matches one byte; returns how long its part of the pattern is.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [b'?', ..] => Some(1),
        [b'\\', escaped, ..] => (*escaped == byte).then_some(2),
        [b'[', rest @ ..] => match class(rest, byte) {
            Some((true, length)) => Some(length + 1),
            Some((false, _)) => None,
            None => (byte == b'[').then_some(1),
        },
        [plain, ..] => (*plain == byte).then_some(1),
        [] => None,
    }
}

/// Matches a bracket expression, its `[` taken; `None` when it is not closed.
fn class(pattern: &[u8], byte: u8) -> Option<(bool, usize)> {
    let negated = matches!(pattern.first(), Some(b'!' | b'^'));
    let mut at = usize::from(negated);
    let start = at;
    let mut found = false;
    loop {
        match pattern.get(at..)? {
            [b']', ..] if at > start => return Some((found != negated, at + 1)),
            [from, b'-', to, ..] if *to != b']' => {
                found |= (*from..=*to).contains(&byte);
                at += 3;
            }
            [plain, ..] => {
                found |= *plain == byte;
                at += 1;
            }
            [] => return None,
        }
    }
}

impl SizeTest {
    fn fits(self, size: u64) -> bool {
        size.div_ceil(self.unit).cmp(&self.count) == self.order
    }
}

impl FromStr for SizeTest {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        use std::cmp::Ordering;
        let (order, rest) = match text.as_bytes().first() {
            Some(b'+') => (Ordering::Greater, &text[1..]),
            Some(b'-') => (Ordering::Less, &text[1..]),
            _ => (Ordering::Equal, text),
        };
        let (digits, unit) = match rest.find(|letter: char| !letter.is_ascii_digit()) {
            Some(end) => rest.split_at(end),
            None => (rest, "b"),
        };
        let unit = match unit {
            "c" => 1,
            "w" => 2,
            "b" => 512,
            "k" => 1 << 10,
            "M" => 1 << 20,
            "G" => 1 << 30,
            _ => 0,
        };
        match (digits.parse(), unit) {
            (Ok(count), 1..) => Ok(Self { order, count, unit }),
            _ => Err(FilterError {
                expected: "a size such as +10M, -4k or 0c",
            }),
        }
    }
}

impl ModeTest {
    fn fits(self, mode: u32) -> bool {
        match self {
            Self::Exactly(bits) => mode == bits,
            Self::All(bits) => mode & bits == bits,
            Self::Any(bits) => bits == 0 || mode & bits != 0,
        }
    }
}

impl FromStr for ModeTest {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let (make, digits): (fn(u32) -> Self, _) = match text.as_bytes().first() {
            Some(b'-') => (Self::All, &text[1..]),
            Some(b'/') => (Self::Any, &text[1..]),
            _ => (Self::Exactly, text),
        };
        match u32::from_str_radix(digits, 8) {
            Ok(bits) if bits <= 0o7777 => Ok(make(bits)),
            _ => Err(FilterError {
                expected: "an octal mode such as 4755, -4000 or /6000",
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_find() {
        let cases = [
            ("*", "", true),
            ("*.rs", "a.rs", true),
            ("*.rs", "a.rs.bak", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("[a-c]*", "b.txt", true),
            ("[!a-c]*", "b.txt", false),
            ("[]x]", "]", true),
            ("[a", "[a", true),
            (r"\*", "*", true),
            (r"\*", "x", false),
            ("/usr*/b", "/usr/x/b", true),
            ("*a*b*c", "xaybzc", true),
            ("*a*b*c", "xaybz", false),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(
                fits(pattern.as_bytes(), name.as_bytes()),
                expected,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn sizes_are_rounded_up() {
        let cases = [
            ("0", 0, true),
            ("1", 1, true),
            ("1", 513, false),
            ("+1k", 1024, false),
            ("+1k", 1025, true),
            ("-1M", 1, false),
            ("-1M", 0, true),
            ("7c", 7, true),
        ];
        for (test, size, expected) in cases {
            let parsed: SizeTest = test.parse().unwrap();
            assert_eq!(parsed.fits(size), expected, "{test} {size}");
        }
        for bad in ["", "+", "x", "1q", "1kk"] {
            assert!(bad.parse::<SizeTest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn modes_are_exact_all_or_any() {
        let cases = [
            ("755", 0o755, true),
            ("755", 0o4755, false),
            ("-4000", 0o4755, true),
            ("-6000", 0o4755, false),
            ("/6000", 0o4755, true),
        ];
        for (test, mode, expected) in cases {
            let parsed: ModeTest = test.parse().unwrap();
            assert_eq!(parsed.fits(mode), expected, "{test} {mode:o}");
        }
        assert!("8".parse::<ModeTest>().is_err());
        assert!("77777".parse::<ModeTest>().is_err());
    }
}
