//! Parser directives: `# syntax=`, `# escape=` and `# check=` at the head of a file.

use crate::error::ErrorKind;
use crate::source::{SourceMap, Span};

/// The parser directives of a Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Directives {
    /// `# syntax=`: the frontend that the file was written for.
    pub syntax: Option<Directive>,
    /// `# escape=`: the character that escapes and continues lines.
    pub escape: Escape,
    /// `# check=`: settings of the build checks, such as `skip=all;error=true`.
    pub check: Option<Directive>,
}

/// The value of a directive and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    /// The text after `=`, blanks around it trimmed.
    pub value: String,
    /// The line of the directive.
    pub span: Span,
}

/// The character that escapes the next one and, at the end of a line, continues it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Escape {
    /// `\`, the default.
    #[default]
    Backslash,
    /// `` ` ``, for Windows paths.
    Backtick,
}

impl Escape {
    /// Returns the character.
    #[must_use]
    pub fn character(self) -> char {
        match self {
            Self::Backslash => '\\',
            Self::Backtick => '`',
        }
    }

    fn from_value(value: &str) -> Result<Self, ErrorKind> {
        match value {
            "\\" => Ok(Self::Backslash),
            "`" => Ok(Self::Backtick),
            _ => Err(ErrorKind::InvalidEscape(value.to_owned())),
        }
    }
}

/// Reads the directives at the head of a text and reports what is wrong with them.
///
/// Directives end at the first line that is not one. A `#!` line before them is skipped, but for
/// `escape` it counts as a comment and ends them, as in BuildKit.
pub(crate) fn scan(source: &SourceMap<'_>) -> (Directives, Vec<(ErrorKind, Span)>) {
    let text = source.text();
    let mut found = Directives::default();
    let mut errors = Vec::new();
    let mut seen = Vec::new();
    let mut start = if text.starts_with('\u{feff}') {
        '\u{feff}'.len_utf8()
    } else {
        0
    };
    let shebang = text[start..].starts_with("#!");
    let mut lines = text[start..].split_inclusive('\n');
    if shebang {
        start += lines.next().map_or(0, str::len);
    }
    for line in lines {
        let span = source.span(start, start + line.trim_end_matches(['\r', '\n']).len());
        start += line.len();
        let Some((name, value)) = split(line) else {
            break;
        };
        if seen.contains(&name) {
            errors.push((ErrorKind::DuplicateDirective(name), span));
            continue;
        }
        match name.as_str() {
            "escape" if shebang => {}
            "escape" => match Escape::from_value(value) {
                Ok(escape) => found.escape = escape,
                Err(kind) => errors.push((kind, span)),
            },
            "syntax" => {
                found.syntax = Some(Directive {
                    value: value.to_owned(),
                    span,
                })
            }
            _ => {
                found.check = Some(Directive {
                    value: value.to_owned(),
                    span,
                })
            }
        }
        seen.push(name);
    }
    (found, errors)
}

/// Splits `# name = value` if the name is one of a directive; the name comes in lower case.
pub(crate) fn split(line: &str) -> Option<(String, &str)> {
    let body = line.trim_start().strip_prefix('#')?.trim_start();
    let (name, value) = body.split_once('=')?;
    let name = name.trim_end().to_ascii_lowercase();
    let value = value.trim();
    let known = matches!(name.as_str(), "syntax" | "escape" | "check");
    (known && !value.is_empty()).then_some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, syntax: Option<&str>, escape: char, rule: Option<&str>, errors: usize) {
        let (found, wrong) = scan(&SourceMap::new(text));
        assert_eq!(
            found.syntax.map(|it| it.value).as_deref(),
            syntax,
            "{text:?}"
        );
        assert_eq!(found.escape.character(), escape, "{text:?}");
        assert_eq!(found.check.map(|it| it.value).as_deref(), rule, "{text:?}");
        assert_eq!(wrong.len(), errors, "{text:?}");
    }

    #[test]
    fn directives() {
        check("", None, '\\', None, 0);
        check(
            "# syntax = a/b:1\n#ESCAPE=`\r\nFROM x",
            Some("a/b:1"),
            '`',
            None,
            0,
        );
        check(
            "\u{feff}# check=skip=all;error=true\n",
            None,
            '\\',
            Some("skip=all;error=true"),
            0,
        );
        check("# comment\n# escape=`\n", None, '\\', None, 0);
        check("\n# escape=`\n", None, '\\', None, 0);
        check("# escape=`\n# escape=\\\n", None, '`', None, 1);
        check("# escape=x\n", None, '\\', None, 1);
        check(
            "#!/bin/build\n# syntax=x\n# escape=`\n",
            Some("x"),
            '\\',
            None,
            0,
        );
        check("# other=1\n# escape=`\n", None, '\\', None, 0);
        check("# syntax=\n# escape=`\n", None, '\\', None, 0);
    }
}
