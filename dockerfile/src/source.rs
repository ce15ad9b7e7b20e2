//! Places in a Dockerfile: spans, positions, and the lines a diagnostic shows with a caret.

/// A piece of a Dockerfile's text: a byte range and the lines it covers.
///
/// `start..end` indexes the text that was given to the parser (a byte order mark included). Lines
/// are counted from 1; an instruction continued over several lines, or one with heredocs, spans
/// all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Span {
    /// Offset of the first byte.
    pub start: usize,
    /// Offset after the last byte.
    pub end: usize,
    /// Line of the first byte, counted from 1.
    pub first_line: usize,
    /// Line of the last byte, counted from 1.
    pub last_line: usize,
}

impl Span {
    /// Cuts the span out of the text it was made from; empty if the text is another one.
    #[must_use]
    pub fn text<'t>(&self, source: &'t str) -> &'t str {
        source.get(self.start..self.end).unwrap_or("")
    }
}

/// A line and a column, both counted from 1; the column counts characters, not bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Position {
    /// The line, counted from 1.
    pub line: usize,
    /// The character in the line, counted from 1.
    pub column: usize,
}

/// A value together with the place and the text it was written as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub span: Span,
    /// The instruction's text with its continuations joined, as in [`Instruction::source`](crate::Instruction::source).
    pub source: String,
}

/// The text of a Dockerfile with an index of its lines.
#[derive(Debug, Clone)]
pub struct SourceMap<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> SourceMap<'t> {
    /// Indexes the lines of a text.
    #[must_use]
    pub fn new(text: &'t str) -> Self {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let starts = std::iter::once(0)
            .chain(newlines.map(|(at, _)| at + 1))
            .collect();
        Self { text, starts }
    }

    /// Returns the indexed text.
    #[must_use]
    pub fn text(&self) -> &'t str {
        self.text
    }

    /// Returns the line (counted from 1) that holds a byte offset.
    #[must_use]
    pub fn line_of(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset).max(1)
    }

    /// Returns the line and column of a byte offset.
    #[must_use]
    pub fn position(&self, offset: usize) -> Position {
        let line = self.line_of(offset);
        let start = self.starts.get(line - 1).copied().unwrap_or(0);
        let before = self.text.get(start..offset).unwrap_or("");
        let columns = without_mark(start, before).chars().count();
        Position {
            line,
            column: columns + 1,
        }
    }

    /// Makes a span of a byte range.
    #[must_use]
    pub fn span(&self, start: usize, end: usize) -> Span {
        let last = if end > start { end - 1 } else { start };
        Span {
            start,
            end,
            first_line: self.line_of(start),
            last_line: self.line_of(last),
        }
    }

    /// Returns a line (counted from 1) without its line ending, or nothing past the end.
    #[must_use]
    pub fn line(&self, number: usize) -> Option<&'t str> {
        let start = *self.starts.get(number.checked_sub(1)?)?;
        let end = self.starts.get(number).copied().unwrap_or(self.text.len());
        let line = self.text.get(start..end)?;
        Some(
            line.trim_end_matches(['\r', '\n'])
                .trim_start_matches('\u{feff}'),
        )
    }

    /// Prepares the lines around a span for display, with `context` lines before and after it.
    #[must_use]
    pub fn excerpt(&self, span: Span, context: usize) -> Vec<ExcerptLine<'t>> {
        let first = span.first_line.saturating_sub(context).max(1);
        let last = (span.last_line + context).min(self.starts.len());
        (first..=last)
            .filter_map(|number| self.excerpt_line(number, span))
            .collect()
    }

    fn excerpt_line(&self, number: usize, span: Span) -> Option<ExcerptLine<'t>> {
        let text = self.line(number)?;
        let marked = number >= span.first_line && number <= span.last_line;
        let mark = marked.then(|| self.mark(number, text, span));
        Some(ExcerptLine { number, text, mark })
    }

    fn mark(&self, number: usize, text: &str, span: Span) -> Mark {
        let width = text.chars().count();
        let indent = text.chars().take_while(|c| c.is_whitespace()).count();
        let first = if number == span.first_line {
            self.position(span.start).column - 1
        } else {
            indent
        };
        let last = if number == span.last_line {
            self.position(span.end).column - 1
        } else {
            width
        };
        let ends_here = self.line_of(span.end) == number;
        let last = if ends_here || number != span.last_line {
            last.min(width)
        } else {
            width
        };
        Mark {
            column: first,
            width: last.saturating_sub(first).max(1),
        }
    }
}

/// Takes the byte order mark off the first line of a file.
fn without_mark(start: usize, line: &str) -> &str {
    if start == 0 {
        line.strip_prefix('\u{feff}').unwrap_or(line)
    } else {
        line
    }
}

/// A line of source as a diagnostic shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExcerptLine<'t> {
    /// The line's number, counted from 1.
    pub number: usize,
    /// The line without its ending.
    pub text: &'t str,
    /// What to underline; nothing for a line that is only context.
    pub mark: Option<Mark>,
}

impl ExcerptLine<'_> {
    /// Draws the carets below the line: blanks (tabs kept, so that both lines align) and `^`.
    #[must_use]
    pub fn carets(&self) -> Option<String> {
        let mark = self.mark?;
        let keep_tab = |c| if c == '\t' { '\t' } else { ' ' };
        let mut drawn: String = self.text.chars().take(mark.column).map(keep_tab).collect();
        drawn.extend(std::iter::repeat_n('^', mark.width));
        Some(drawn)
    }
}

/// The characters of a line that an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Characters before the mark.
    pub column: usize,
    /// Characters marked, at least one.
    pub width: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carets(text: &str, start: usize, end: usize) -> Vec<Option<String>> {
        let map = SourceMap::new(text);
        map.excerpt(map.span(start, end), 0)
            .iter()
            .map(ExcerptLine::carets)
            .collect()
    }

    #[test]
    fn positions_count_characters_and_skip_the_byte_order_mark() {
        let map = SourceMap::new("\u{feff}FROM ä\nRUN x\n");
        assert_eq!(map.position(3), Position { line: 1, column: 1 });
        assert_eq!(map.position(10), Position { line: 1, column: 7 });
        assert_eq!(map.position(11), Position { line: 2, column: 1 });
        assert_eq!(map.line(1), Some("FROM ä"));
        assert_eq!(map.line(4), None);
    }

    #[test]
    fn carets_stand_below_the_span() {
        assert_eq!(carets("FROM x\nRUNN y\n", 7, 11), [Some("^^^^".into())]);
        assert_eq!(carets("\tCOPY --a b", 6, 9), [Some("\t     ^^^".into())]);
        assert_eq!(
            carets("RUN a \\\n  b\n", 0, 11),
            [Some("^^^^^^^".into()), Some("  ^".into())]
        );
        assert_eq!(carets("", 0, 0), [Some("^".into())]);
    }

    #[test]
    fn excerpts_take_context() {
        let map = SourceMap::new("a\nb\nc\nd");
        let lines: Vec<_> = map
            .excerpt(map.span(2, 3), 1)
            .iter()
            .map(|line| line.text)
            .collect();
        assert_eq!(lines, ["a", "b", "c"]);
    }
}
