//! Logical lines: continuations joined, comments and blank lines between them taken away.

use crate::directive;
use crate::heredoc::HeredocHead;
use crate::instruction::Heredoc;
use crate::source::{SourceMap, Span};

/// A line of an instruction with its continuations joined.
#[derive(Debug)]
pub(crate) struct LogicalLine {
    /// The joined text; no line endings in it.
    pub(crate) text: String,
    /// The lines it was made from.
    pub(crate) span: Span,
    /// The comment lines right above it, without `#` and blanks.
    pub(crate) comments: Vec<String>,
    /// Whether a blank line stands between its continuations.
    pub(crate) has_empty_continuation: bool,
    /// Where each piece of `text` comes from: offset in `text`, offset in the file; ascending.
    pieces: Vec<(usize, usize)>,
}

impl LogicalLine {
    /// Returns the place in the file of a range of `text`.
    pub(crate) fn span_of(&self, source: &SourceMap<'_>, start: usize, end: usize) -> Span {
        let last = if end > start {
            self.offset_of(end - 1) + 1
        } else {
            self.offset_of(start)
        };
        source.span(self.offset_of(start), last)
    }

    fn offset_of(&self, at: usize) -> usize {
        let after = self.pieces.partition_point(|(joined, _)| *joined <= at);
        let (joined, offset) = self
            .pieces
            .get(after.saturating_sub(1))
            .copied()
            .unwrap_or((0, 0));
        offset + (at - joined)
    }
}

/// Reads logical lines and heredocs from a text.
pub(crate) struct LineReader<'s, 't> {
    source: &'s SourceMap<'t>,
    escape: char,
    /// Offset of the next physical line, and its number.
    at: usize,
    next_line: usize,
    in_directives: bool,
    comments: Vec<String>,
}

struct PhysicalLine<'t> {
    text: &'t str,
    start: usize,
    number: usize,
}

impl<'s, 't> LineReader<'s, 't> {
    pub(crate) fn new(source: &'s SourceMap<'t>, escape: char) -> Self {
        let text = source.text();
        let at = if text.starts_with('\u{feff}') {
            '\u{feff}'.len_utf8()
        } else {
            0
        };
        Self {
            source,
            escape,
            at,
            next_line: 1,
            in_directives: true,
            comments: Vec::new(),
        }
    }

    /// Reads the next physical line, without its ending.
    fn physical(&mut self) -> Option<PhysicalLine<'t>> {
        let rest = self
            .source
            .text()
            .get(self.at..)
            .filter(|rest| !rest.is_empty())?;
        let length = rest.find('\n').map_or(rest.len(), |newline| newline + 1);
        let text = rest[..length].trim_end_matches(['\r', '\n']);
        let line = PhysicalLine {
            text,
            start: self.at,
            number: self.next_line,
        };
        self.at += length;
        self.next_line += 1;
        Some(line)
    }

    /// Reads the next instruction's line.
    pub(crate) fn next_line(&mut self) -> Option<LogicalLine> {
        loop {
            let line = self.physical()?;
            let text = line.text.trim_start();
            if text.starts_with('#') {
                self.comment(line.text, text);
                continue;
            }
            self.in_directives = false;
            if !text.is_empty() {
                return Some(self.joined(&line, text));
            }
        }
    }

    /// Keeps a comment for the next instruction. As in BuildKit, it begins after the first
    /// character of the line, which is a blank if the line is indented.
    fn comment(&mut self, line: &str, trimmed: &str) {
        self.in_directives &= directive::split(trimmed).is_some();
        if self.in_directives {
            return;
        }
        let mut characters = line.chars();
        characters.next();
        match characters.as_str().trim() {
            "" => self.comments.clear(),
            comment => self.comments.push(comment.to_owned()),
        }
    }

    fn joined(&mut self, first: &PhysicalLine<'t>, trimmed: &str) -> LogicalLine {
        let start = first.start + (first.text.len() - trimmed.len());
        let end = first.start + first.text.len();
        let span = Span {
            start,
            end,
            first_line: first.number,
            last_line: first.number,
        };
        let mut line = LogicalLine {
            text: String::new(),
            span,
            comments: std::mem::take(&mut self.comments),
            has_empty_continuation: false,
            pieces: Vec::new(),
        };
        let mut goes_on = self.append(&mut line, trimmed, start);
        while goes_on {
            let Some(next) = self.physical() else { break };
            line.span.end = next.start + next.text.len();
            line.span.last_line = next.number;
            let content = next.text.trim_start();
            if content.is_empty() {
                line.has_empty_continuation = true;
            } else if !content.starts_with('#') {
                goes_on = self.append(&mut line, next.text, next.start);
            }
        }
        line
    }

    /// Appends a physical line and tells whether another one follows.
    fn append(&self, line: &mut LogicalLine, text: &str, start: usize) -> bool {
        let continued = without_continuation(text, self.escape);
        line.pieces.push((line.text.len(), start));
        line.text.push_str(continued.unwrap_or(text));
        continued.is_some()
    }

    /// Reads the content of a heredoc; nothing if the file ends before its terminator.
    pub(crate) fn heredoc(&mut self, head: HeredocHead) -> Option<Heredoc> {
        let text = self.source.text();
        let (start, first_line) = (self.at, self.next_line);
        loop {
            let line = self.physical()?;
            let candidate = if head.strip_tabs {
                line.text.trim_start_matches('\t')
            } else {
                line.text
            };
            if candidate != head.name {
                continue;
            }
            let end = line.start + line.text.len();
            return Some(Heredoc {
                content: text[start..line.start].to_owned(),
                span: Span {
                    start,
                    end,
                    first_line,
                    last_line: line.number,
                },
                name: head.name,
                file_descriptor: head.file_descriptor,
                expand: head.expand,
                strip_tabs: head.strip_tabs,
            });
        }
    }

    /// Returns the number of the last line read.
    pub(crate) fn last_line(&self) -> usize {
        self.next_line - 1
    }
}

/// Takes the continuation character off a line's end, if it has one that is not escaped itself.
pub(crate) fn without_continuation(line: &str, escape: char) -> Option<&str> {
    let text = line.trim_end_matches([' ', '\t']).strip_suffix(escape)?;
    (!text.ends_with(escape)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<(String, usize, usize)> {
        let source = SourceMap::new(text);
        let mut reader = LineReader::new(&source, '\\');
        std::iter::from_fn(|| reader.next_line())
            .map(|line| (line.text, line.span.first_line, line.span.last_line))
            .collect()
    }

    /// An instruction's text, and its first and last line.
    type Line<'t> = (&'t str, usize, usize);

    #[test]
    fn joins_continuations() {
        let cases: [(&str, &[Line<'_>]); 8] = [
            ("\u{feff}A b\r\n\r\nC", &[("A b", 1, 1), ("C", 3, 3)]),
            ("A \\\n  b\\\nc", &[("A   bc", 1, 3)]),
            (
                "A \\ \t\n# no\n\n \\\n d\nE",
                &[("A   d", 1, 5), ("E", 6, 6)],
            ),
            ("A b\\\\\nC", &[("A b\\\\", 1, 1), ("C", 2, 2)]),
            ("A \\", &[("A ", 1, 1)]),
            ("\\\nA", &[("A", 1, 2)]),
            ("  # x\n\t A", &[("A", 2, 2)]),
            ("", &[]),
        ];
        for (text, expected) in cases {
            let expected: Vec<_> = expected
                .iter()
                .map(|(text, a, b)| ((*text).to_owned(), *a, *b))
                .collect();
            assert_eq!(lines(text), expected, "{text:?}");
        }
    }

    #[test]
    fn places_survive_the_joining() {
        let text = "RUN \\\n# c\n  é --x";
        let source = SourceMap::new(text);
        let line = LineReader::new(&source, '\\').next_line().expect("a line");
        let at = line.text.find("--x").expect("the flag");
        assert_eq!(line.span_of(&source, at, at + 3).text(text), "--x");
        assert_eq!(
            source
                .position(line.span_of(&source, at, at + 3).start)
                .line,
            3
        );
    }

    #[test]
    fn comments_belong_to_the_next_instruction() {
        let source = SourceMap::new("# escape=\\\n# a\n#\n# b c\n\n## d\n # e\nX\nY");
        let mut reader = LineReader::new(&source, '\\');
        let comments = reader.next_line().expect("X").comments;
        assert_eq!(comments, ["b c", "# d", "# e"]);
        assert!(reader.next_line().expect("Y").comments.is_empty());
    }
}
