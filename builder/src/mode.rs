//! `--chmod`: octal and symbolic modes.

use crate::error::ErrorKind;

/// A mode to give to copied files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// These very bits.
    Bits(u32),
    /// Changes such as `u+rwX,go=`, applied in order.
    Changes(Vec<Change>),
}

/// One clause of a symbolic mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    who: u32,
    operator: char,
    permissions: String,
}

const USER: u32 = 0o4700;
const GROUP: u32 = 0o2070;
const OTHER: u32 = 0o1007;
const ALL: u32 = 0o7777;
const EXECUTE: u32 = 0o111;

impl Mode {
    /// Reads a mode.
    pub(crate) fn parse(text: &str) -> Result<Self, ErrorKind> {
        let invalid = || ErrorKind::Mode(text.to_owned());
        if text.starts_with(|first: char| first.is_ascii_digit()) {
            let bits = u32::from_str_radix(text, 8).map_err(|_| invalid())?;
            return if bits <= ALL {
                Ok(Self::Bits(bits))
            } else {
                Err(invalid())
            };
        }
        let changes: Option<Vec<_>> = text.split(',').map(clause).collect();
        Ok(Self::Changes(
            changes.ok_or_else(invalid)?.into_iter().flatten().collect(),
        ))
    }

    /// Returns the mode of a file that has `mode` now.
    pub(crate) fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        match self {
            Self::Bits(bits) => *bits,
            Self::Changes(changes) => changes
                .iter()
                .fold(mode, |mode, change| change.apply(mode, is_directory)),
        }
    }
}

/// Reads `[ugoa]*([-+=]perms)+`.
fn clause(text: &str) -> Option<Vec<Change>> {
    let operators = ['+', '-', '='];
    let first = text.find(operators)?;
    let mut who = 0;
    for letter in text[..first].chars() {
        who |= match letter {
            'u' => USER,
            'g' => GROUP,
            'o' => OTHER,
            'a' => ALL,
            _ => return None,
        };
    }
    let who = if who == 0 { ALL } else { who };
    let mut changes = Vec::new();
    let mut rest = &text[first..];
    while let Some(operator) = rest.chars().next() {
        let end = rest[1..].find(operators).map_or(rest.len(), |at| at + 1);
        let permissions = &rest[1..end];
        if !permissions
            .chars()
            .all(|letter| "rwxXstugo".contains(letter))
        {
            return None;
        }
        changes.push(Change {
            who,
            operator,
            permissions: permissions.to_owned(),
        });
        rest = &rest[end..];
    }
    Some(changes)
}

impl Change {
    fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        let bits = self.permissions.chars().fold(0, |bits, letter| {
            bits | self.who & bits_of(letter, mode, is_directory)
        });
        match self.operator {
            '+' => mode | bits,
            '-' => mode & !bits,
            _ => (mode & !self.who) | bits,
        }
    }
}

fn bits_of(letter: char, mode: u32, is_directory: bool) -> u32 {
    let copied = |bits: u32| bits << 6 | bits << 3 | bits;
    match letter {
        'r' => 0o444,
        'w' => 0o222,
        'x' => EXECUTE,
        'X' if is_directory || mode & EXECUTE != 0 => EXECUTE,
        's' => 0o6000,
        't' => 0o1000,
        'u' => copied(mode >> 6 & 7),
        'g' => copied(mode >> 3 & 7),
        'o' => copied(mode & 7),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_applied() {
        let cases = [
            ("755", 0o644, false, 0o755),
            ("04755", 0o644, false, 0o4755),
            ("u+x", 0o644, false, 0o744),
            ("go-rwx", 0o755, false, 0o700),
            ("a=r", 0o755, false, 0o444),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, true, 0o755),
            ("+t", 0o755, true, 0o1755),
            ("g=u", 0o640, false, 0o660),
            ("u+s,o=", 0o755, false, 0o4750),
        ];
        for (text, before, is_directory, after) in cases {
            assert_eq!(
                Mode::parse(text).unwrap().apply(before, is_directory),
                after,
                "{text}"
            );
        }
        for bad in ["", "9", "77777", "u", "z+x", "u+q", "u+x,"] {
            assert!(Mode::parse(bad).is_err(), "{bad}");
        }
    }
}
