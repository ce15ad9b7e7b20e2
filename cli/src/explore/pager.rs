//! Content on the whole screen.

use std::ops::Range;

use mica_inspect::EntryId;

use super::window::{HEX_ROW, Window};
use crate::look;

/// How content is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Line by line.
    Text,
    /// As `hexdump -C` does.
    Hex,
}

/// A row as it is drawn: letters, and whether each is of what was found.
pub(super) type Cells = Vec<(char, bool)>;

/// Content that is looked at.
#[derive(Debug)]
pub(super) struct Pager {
    /// What it is.
    pub(super) title: String,
    /// The file that has it; absent for a text of the program's own.
    pub(super) file: Option<EntryId>,
    /// The part that is in memory.
    pub(super) window: Window,
    /// How it is shown.
    pub(super) form: Form,
    /// The first row of the window on the screen.
    pub(super) top: usize,
    /// Columns that are left out on the left.
    pub(super) left: usize,
    /// The offsets in the file of what was found last.
    pub(super) found: Option<Range<u64>>,
}

impl Pager {
    /// Shows the start of a file: as text where it looks like it.
    pub(super) fn new(title: String, file: Option<EntryId>, window: Window) -> Self {
        let is_binary = window.bytes.iter().take(8 << 10).any(|byte| *byte == 0);
        Self {
            title,
            file,
            window,
            form: if is_binary { Form::Hex } else { Form::Text },
            top: 0,
            left: 0,
            found: None,
        }
    }

    /// Shows a text.
    pub(super) fn of_text(title: String, text: String) -> Self {
        let size = text.len() as u64;
        Self::new(title, None, Window::new(text.into_bytes(), 0, size))
    }

    /// Returns the offset in the file of the first row on the screen.
    pub(super) fn offset(&self) -> u64 {
        self.window.offset(self.form, self.top)
    }

    /// Says which part is on a screen of so many rows.
    pub(super) fn place(&self, height: usize) -> String {
        let form = match self.form {
            Form::Text => "text",
            Form::Hex => "hex",
        };
        let rows = self.window.len(self.form);
        let end = rows.min(self.top + height);
        if self.window.is_first() && self.window.is_last() {
            return format!("{form}, rows {} to {end} of {rows}", self.top + 1);
        }
        let (start, end) = (self.offset(), self.window.offset(self.form, end));
        format!("{form}, bytes {start} to {end} of {}", self.window.size)
    }

    /// Goes up or down as far as the window goes, and tells whether that was far enough.
    pub(super) fn scroll(&mut self, rows: isize, height: usize) -> bool {
        let last = self.window.len(self.form).saturating_sub(height);
        let wanted = self.top.checked_add_signed(rows);
        self.top = self.top.saturating_add_signed(rows).min(last);
        match rows {
            ..0 => wanted.is_some() || self.window.is_first(),
            _ => wanted.is_some_and(|top| top <= last) || self.window.is_last(),
        }
    }

    /// Changes the form, and stays at about the same bytes, or at what was found.
    pub(super) fn toggle(&mut self, (width, height): (usize, usize)) {
        let offset = self.offset();
        let found = self.found.clone();
        let found = found.filter(|found| self.shows(found, height));
        self.form = match self.form {
            Form::Text => Form::Hex,
            Form::Hex => Form::Text,
        };
        self.left = 0;
        self.top = self.window.row_of(self.form, offset);
        self.scroll(0, height);
        if let Some(found) = found {
            self.go_to(found, (width, height));
        }
    }

    /// Shows other bytes of the file, those at an offset first.
    pub(super) fn replace(&mut self, window: Window, offset: u64, height: usize) {
        self.window = window;
        self.top = self.window.row_of(self.form, offset);
        self.scroll(0, height);
    }

    /// Tells whether an offset of the file is in memory.
    pub(super) fn holds(&self, offset: u64) -> bool {
        let start = self.window.offset(self.form, 0);
        (start..self.window.from + self.window.bytes.len() as u64).contains(&offset)
    }

    /// Tells whether what was found is on the screen.
    pub(super) fn shows(&self, found: &Range<u64>, height: usize) -> bool {
        let end = self.window.offset(self.form, self.top + height);
        (self.offset()..end).contains(&found.start)
    }

    /// Marks what was found, and goes there.
    pub(super) fn go_to(&mut self, found: Range<u64>, (width, height): (usize, usize)) {
        let row = self.window.row_of(self.form, found.start);
        if !self.shows(&found, height) {
            self.top = row.saturating_sub(height / 3);
            self.scroll(0, height);
        }
        self.found = Some(found);
        let cells = self.cells(row);
        let column = cells.iter().position(|(_, is_found)| *is_found);
        let column = column.unwrap_or(0);
        if !(self.left..self.left + width).contains(&column) {
            self.left = (column + 1).saturating_sub(width / 2);
        }
    }

    /// Returns the columns of a row that are on a screen, without what would change the terminal.
    pub(super) fn row(&self, row: usize, width: usize) -> Cells {
        let cells = self.cells(row).into_iter();
        cells.skip(self.left).take(width).collect()
    }

    fn cells(&self, row: usize) -> Cells {
        let bytes = match self.form {
            Form::Text => without_end(self.window.row(self.form, row)),
            Form::Hex => self.window.row(self.form, row),
        };
        let start = self.window.offset(self.form, row);
        let place = |offset: u64| {
            let place = usize::try_from(offset.saturating_sub(start));
            place.unwrap_or(usize::MAX).min(bytes.len())
        };
        let found = self.found.as_ref();
        let found = found.map_or(0..0, |found| place(found.start)..place(found.end));
        match self.form {
            Form::Text => text_row(bytes, found),
            Form::Hex => hex_row(start, bytes, &found),
        }
    }
}

fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn text_row(line: &[u8], found: Range<usize>) -> Cells {
    let parts = [
        (&line[..found.start], false),
        (&line[found.clone()], true),
        (&line[found.end..], false),
    ];
    let letters = parts.into_iter().flat_map(|(part, is_found)| {
        let text = String::from_utf8_lossy(part).replace('\t', "    ");
        let text = look::printable(text.as_bytes());
        let letters: Vec<_> = text.chars().collect();
        letters.into_iter().map(move |letter| (letter, is_found))
    });
    letters.collect()
}

/// Writes 16 bytes: where they are, each in hexadecimal, and those of ASCII as letters.
fn hex_row(offset: u64, bytes: &[u8], found: &Range<usize>) -> Cells {
    let mut cells = Cells::new();
    let mut write = |text: &str, is_found| {
        cells.extend(text.chars().map(|letter| (letter, is_found)));
    };
    write(&format!("{offset:08x} "), false);
    for column in 0..HEX_ROW {
        if column % 8 == 0 {
            write(" ", false);
        }
        match bytes.get(column) {
            Some(byte) => write(&format!("{byte:02x}"), found.contains(&column)),
            None => write("  ", false),
        }
        write(" ", false);
    }
    write("|", false);
    for (column, byte) in bytes.iter().enumerate() {
        let letter = match byte {
            b' '..=b'~' => char::from(*byte),
            _ => '.',
        };
        write(letter.encode_utf8(&mut [0; 4]), found.contains(&column));
    }
    write("|", false);
    cells
}
