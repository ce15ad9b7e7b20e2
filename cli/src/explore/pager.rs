//! One file on the whole screen, as text or in hexadecimal.

use crate::look;

/// As much of a file is read.
pub(super) const MOST: u64 = 4 << 20;

/// Bytes in a row of the hexadecimal form.
const ROW: usize = 16;

/// How content is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Line by line.
    Text,
    /// As `hexdump -C` does.
    Hex,
}

/// Content that is looked at.
#[derive(Debug)]
pub(super) struct Pager {
    /// What it is.
    pub(super) title: String,
    /// How it is shown.
    pub(super) form: Form,
    /// The first row on the screen.
    pub(super) top: usize,
    /// Columns that are left out on the left.
    pub(super) left: usize,
    bytes: Vec<u8>,
    lines: Vec<usize>,
}

impl Pager {
    /// Shows bytes: text where they look like it.
    pub(super) fn new(title: String, bytes: Vec<u8>) -> Self {
        let starts = bytes.iter().enumerate();
        let starts = starts
            .filter(|(_, byte)| **byte == b'\n')
            .map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(starts);
        let lines: Vec<_> = lines.filter(|start| *start < bytes.len()).collect();
        let is_binary = bytes.iter().take(8 << 10).any(|byte| *byte == 0);
        Self {
            title,
            form: if is_binary { Form::Hex } else { Form::Text },
            top: 0,
            left: 0,
            lines,
            bytes,
        }
    }

    /// Shows a text.
    pub(super) fn of_text(title: String, text: String) -> Self {
        Self::new(title, text.into_bytes())
    }

    /// Returns how many rows there are.
    pub(super) fn len(&self) -> usize {
        match self.form {
            Form::Text => self.lines.len(),
            Form::Hex => self.bytes.len().div_ceil(ROW),
        }
    }

    /// Returns a row, without what would change the terminal.
    pub(super) fn row(&self, row: usize) -> String {
        match self.form {
            Form::Text => {
                let start = self.lines[row];
                let end = self.lines.get(row + 1).copied();
                let line = &self.bytes[start..end.unwrap_or(self.bytes.len())];
                let line = line.strip_suffix(b"\n").unwrap_or(line);
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                let text = String::from_utf8_lossy(line).replace('\t', "    ");
                let text = look::printable(text.as_bytes());
                text.chars().skip(self.left).collect()
            }
            Form::Hex => hex_row(row * ROW, &self.bytes),
        }
    }

    /// Changes the form, and stays at about the same bytes.
    pub(super) fn toggle(&mut self) {
        match self.form {
            Form::Text => {
                self.form = Form::Hex;
                self.top = self.lines.get(self.top).copied().unwrap_or(0) / ROW;
            }
            Form::Hex => {
                self.form = Form::Text;
                let at = self.top * ROW;
                self.top = self.lines.partition_point(|start| *start <= at);
                self.top = self.top.saturating_sub(1);
            }
        }
    }
}

/// Writes 16 bytes: where they are, each in hexadecimal, and those of ASCII as letters.
fn hex_row(at: usize, bytes: &[u8]) -> String {
    let bytes = &bytes[at..bytes.len().min(at + ROW)];
    let mut out = format!("{at:08x} ");
    for column in 0..ROW {
        if column % 8 == 0 {
            out.push(' ');
        }
        match bytes.get(column) {
            Some(byte) => out += &format!("{byte:02x} "),
            None => out += "   ",
        }
    }
    let letters = bytes.iter().map(|byte| match byte {
        b' '..=b'~' => char::from(*byte),
        _ => '.',
    });
    out.push('|');
    out.extend(letters);
    out.push('|');
    out
}
