//! Drawing rows in place: only those that changed are written, all at once.

use std::io::{self, Write};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// A row of the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// Its text, without control characters.
    pub(super) text: String,
    /// Escape parameters of its colour.
    pub(super) color: Option<String>,
}

/// Columns and rows of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

/// The part of a terminal that is drawn again and again: the rows above the cursor.
pub(super) struct Screen {
    out: Box<dyn Write + Send>,
    drawn: Vec<Row>,
    size: Size,
}

impl Screen {
    pub(super) fn new(out: Box<dyn Write + Send>, size: Size) -> Self {
        Self {
            out,
            drawn: Vec::new(),
            size,
        }
    }

    /// Shows these rows in place of those shown before. Those before must fit on the screen.
    pub(super) fn draw(&mut self, rows: Vec<Row>, size: Size) -> io::Result<()> {
        if size == self.size && rows == self.drawn {
            return Ok(());
        }
        let mut buffer = String::from("\x1b[?25l");
        if size != self.size {
            self.clear(&mut buffer, size);
        }
        if !self.drawn.is_empty() {
            buffer.push_str(&format!("\x1b[{}A", self.drawn.len()));
        }
        buffer.push('\r');
        for (index, row) in rows.iter().enumerate() {
            if self.drawn.get(index) != Some(row) {
                push(&mut buffer, row);
                buffer.push_str("\x1b[K");
            }
            buffer.push_str("\r\n");
        }
        if self.drawn.len() > rows.len() {
            buffer.push_str("\x1b[J");
        }
        buffer.push_str("\x1b[?25h");
        self.drawn = rows;
        self.write(&buffer)
    }

    /// Writes a line above the rows.
    pub(super) fn print_above(&mut self, text: &str, size: Size) -> io::Result<()> {
        let rows = self.drawn.clone();
        let mut buffer = String::new();
        self.clear(&mut buffer, size);
        buffer.push_str(text);
        buffer.push_str("\r\n");
        self.write(&buffer)?;
        self.draw(rows, size)
    }

    /// Lets the rows stand and begins below them.
    pub(super) fn release(&mut self) {
        self.drawn.clear();
    }

    /// Removes the rows. On a terminal that has become narrower they take more lines than before;
    /// on a lower one the first of them are out of reach.
    fn clear(&mut self, buffer: &mut String, size: Size) {
        let columns = size.columns.max(1);
        let height = |row: &Row| row.text.width().div_ceil(columns).max(1);
        let lines: usize = self.drawn.iter().map(height).sum();
        let up = lines.min(size.rows.saturating_sub(1));
        if up > 0 {
            buffer.push_str(&format!("\x1b[{up}A"));
        }
        buffer.push_str("\r\x1b[J");
        self.drawn.clear();
        self.size = size;
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }
}

fn push(buffer: &mut String, row: &Row) {
    match &row.color {
        Some(color) => buffer.push_str(&format!("\x1b[{color}m{}\x1b[0m", row.text)),
        None => buffer.push_str(&row.text),
    }
}

/// Cuts a text to so many columns; a wide character takes two.
pub(super) fn clipped(text: &str, columns: usize) -> String {
    let mut width = 0;
    let fits = |character: &char| {
        width += character.width().unwrap_or(0);
        width <= columns
    };
    text.chars().take_while(fits).collect()
}

/// Puts `left` and `right` at both ends of so many columns; `left` gives way.
pub(super) fn spread(left: &str, right: &str, columns: usize) -> String {
    let room = columns.saturating_sub(right.width() + 1);
    let left = clipped(left, room);
    let blanks = columns.saturating_sub(left.width() + right.width());
    format!("{left}{}{right}", " ".repeat(blanks))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn rows(texts: &[&str]) -> Vec<Row> {
        let row = |text: &&str| Row {
            text: (*text).to_owned(),
            color: None,
        };
        texts.iter().map(row).collect()
    }

    #[test]
    fn only_what_changed_is_written() {
        let out = Shared::default();
        let size = Size {
            columns: 80,
            rows: 24,
        };
        let mut screen = Screen::new(Box::new(out.clone()), size);
        let taken = || std::mem::take(&mut *out.0.lock().expect("no panic"));
        screen
            .draw(rows(&["one", "two", "three"]), size)
            .expect("memory");
        taken();
        screen.draw(rows(&["one", "two!"]), size).expect("memory");
        let text = String::from_utf8(taken()).expect("text");
        assert_eq!(text, "\x1b[?25l\x1b[3A\r\r\ntwo!\x1b[K\r\n\x1b[J\x1b[?25h");
        screen.draw(rows(&["one", "two!"]), size).expect("memory");
        assert!(taken().is_empty(), "nothing changed");
    }

    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!(clipped("a漢字b", 4), "a漢");
        assert_eq!(spread("漢字漢字", "1s", 8), "漢字  1s");
        assert_eq!(spread("ab", "1s", 8), "ab    1s");
    }
}
