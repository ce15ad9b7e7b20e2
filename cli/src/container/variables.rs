//! Environment variables and labels, from flags and from files.

use std::io;
use std::path::{Path, PathBuf};

/// What is wrong with a file of variables or labels, or with a flag.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VariableError {
    /// The file cannot be read.
    #[error("open {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A line has a name with blanks in it.
    #[error("poorly formatted environment: variable '{0}' contains whitespaces")]
    Blank(String),
    /// A line has no name.
    #[error("poorly formatted environment: no variable name on line '{0}'")]
    NoName(String),
    /// A flag has no name.
    #[error("invalid environment variable: {0}")]
    Flag(String),
}

/// Looks a variable up in the caller's environment.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Returns the variables of `--env-file` and of `-e`, in the order in which they count.
///
/// A name alone stands for the value in the caller's environment. Where it has none, a file's
/// line is dropped, and a flag's name is kept alone: it takes the image's variable away.
pub(crate) fn environment(
    files: &[PathBuf],
    flags: &[String],
    lookup: Lookup<'_>,
) -> Result<Vec<String>, VariableError> {
    let mut variables = Vec::new();
    for path in files {
        for line in read_lines(path)? {
            variables.extend(with_value(line, lookup).filter(|line| line.contains('=')));
        }
    }
    for flag in flags {
        if flag.is_empty() || flag.starts_with('=') {
            return Err(VariableError::Flag(flag.clone()));
        }
        variables.extend(with_value(flag.clone(), lookup));
    }
    Ok(variables)
}

fn with_value(entry: String, lookup: Lookup<'_>) -> Option<String> {
    if entry.contains('=') {
        return Some(entry);
    }
    match lookup(&entry) {
        Some(value) => Some(format!("{entry}={value}")),
        None => Some(entry),
    }
}

/// Returns the labels of `--label-file` and of `-l`; a label without a value has an empty one.
pub(crate) fn labels(
    files: &[PathBuf],
    flags: &[String],
) -> Result<Vec<(String, String)>, VariableError> {
    let mut entries = Vec::new();
    for path in files {
        entries.extend(read_lines(path)?);
    }
    entries.extend(flags.iter().cloned());
    let pair = |entry: String| match entry.split_once('=') {
        Some((name, value)) => (name.to_owned(), value.to_owned()),
        None => (entry, String::new()),
    };
    Ok(entries.into_iter().map(pair).collect())
}

fn read_lines(path: &Path) -> Result<Vec<String>, VariableError> {
    let text = std::fs::read_to_string(path).map_err(|source| VariableError::Open {
        path: path.to_owned(),
        source,
    })?;
    parse_lines(&text)
}

/// Splits a file: empty lines and lines that start with `#` do not count, values are verbatim.
fn parse_lines(text: &str) -> Result<Vec<String>, VariableError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut entries = Vec::new();
    for line in text.lines() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let name = line.split_once('=').map_or(line, |(name, _)| name);
        if name.is_empty() {
            return Err(VariableError::NoName(line.to_owned()));
        }
        if name.contains(char::is_whitespace) {
            return Err(VariableError::Blank(name.to_owned()));
        }
        entries.push(line.to_owned());
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn known(name: &str) -> Option<String> {
        (name == "HERE").then(|| "from outside".to_owned())
    }

    #[test]
    fn lines_of_files_are_read() {
        let check = |text: &str, expected: Option<&[&str]>| {
            let expected: Option<Vec<String>> =
                expected.map(|lines| lines.iter().map(|line| (*line).to_owned()).collect());
            assert_eq!(parse_lines(text).ok(), expected, "{text:?}");
        };
        check("A=1\nB=two words \n", Some(&["A=1", "B=two words "]));
        check("\u{feff}A=1\r\n\n# remark\n  C=\n", Some(&["A=1", "C="]));
        check("ALONE\n", Some(&["ALONE"]));
        check("A=b=c # no remark", Some(&["A=b=c # no remark"]));
        check("A B=1", None);
        check("=1", None);
    }

    #[test]
    fn flags_come_after_files() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"A=file\nHERE\nGONE\n").unwrap();
        let flags = ["A=flag", "HERE", "GONE"].map(str::to_owned);
        let read = environment(&[file.path().to_owned()], &flags, &known).unwrap();
        let expected = [
            "A=file",
            "HERE=from outside",
            "A=flag",
            "HERE=from outside",
            "GONE",
        ];
        assert_eq!(read, expected);
        assert!(environment(&[], &["=x".to_owned()], &known).is_err());
    }

    #[test]
    fn labels_may_be_without_a_value() {
        let flags = ["a=b=c", "alone"].map(str::to_owned);
        let read = labels(&[], &flags).unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(read, [pair("a", "b=c"), pair("alone", "")]);
    }
}
