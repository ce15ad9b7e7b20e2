//! `.dockerignore`: its reader, its patterns, and the matcher that keeps paths out of a context.
//!
//! The semantics are those of docker's matcher, not gitignore's: patterns are anchored at the
//! context's root, `*` and `?` do not cross a slash, `**` does; the last pattern that matches a
//! path or one of its parents decides, and `!` turns its match into "keep".

mod glob;
mod matcher;
mod path;
mod pattern;

use thiserror::Error;

pub use matcher::{Decision, Matcher, ParentMatches, Verdict};
pub use path::clean;
pub use pattern::{Pattern, PatternClass};

/// A list of patterns that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IgnoreError {
    /// A `!` with nothing after it.
    #[error("illegal exclusion pattern: \"!\"")]
    EmptyExclusion {
        /// The line of the file it stands in, if it came from one.
        line: Option<usize>,
    },
    /// A pattern that is no proper glob.
    #[error("syntax error in pattern")]
    BadPattern {
        /// The pattern as it was given.
        pattern: String,
        /// The line of the file it stands in, if it came from one.
        line: Option<usize>,
    },
}

/// A pattern of an ignore file and the line it stands in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IgnoreLine {
    /// The pattern: cleaned, without a leading slash, with its `!`.
    pub pattern: String,
    /// The line, counted from 1.
    pub line: usize,
}

/// Reads the content of an ignore file.
///
/// Lines that begin with `#` and blank lines are left out; blanks around a pattern are trimmed.
#[must_use]
pub fn read(content: &str) -> Vec<IgnoreLine> {
    let content = content.strip_prefix('\u{feff}').unwrap_or(content);
    let numbered = content.split('\n').enumerate();
    numbered
        .filter_map(|(at, line)| {
            Some(IgnoreLine {
                pattern: read_line(line)?,
                line: at + 1,
            })
        })
        .collect()
}

fn read_line(line: &str) -> Option<String> {
    let text = line.trim();
    if line.starts_with('#') || text.is_empty() {
        return None;
    }
    let (mark, pattern) = match text.strip_prefix('!') {
        Some(pattern) => ("!", pattern.trim()),
        None => ("", text),
    };
    if pattern.is_empty() {
        return Some(mark.to_owned());
    }
    let cleaned = clean(pattern);
    let relative = cleaned
        .strip_prefix('/')
        .filter(|rest| !rest.is_empty())
        .unwrap_or(&cleaned);
    Some(format!("{mark}{relative}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_lines_with_their_numbers() {
        let lines = read("\u{feff}a\r\n# c\n\n !  /b/./c \n/\n!\n #d\n");
        let found: Vec<_> = lines
            .iter()
            .map(|it| (it.line, it.pattern.as_str()))
            .collect();
        assert_eq!(
            found,
            [(1, "a"), (4, "!b/c"), (5, "/"), (6, "!"), (7, "#d")]
        );
    }
}
