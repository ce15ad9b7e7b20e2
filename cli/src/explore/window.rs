//! The part of a file that is in memory.

use super::pager::Form;

/// As much of a file is in memory.
pub(super) const MOST: u64 = 4 << 20;

/// Bytes in a row of the hexadecimal form.
pub(super) const HEX_ROW: usize = 16;

/// Bytes of a line that are a row; the rest is the next one. A row is made whole for each drawing.
const TEXT_ROW: usize = 16 << 10;

/// Bytes that follow each other in a file, and the rows that they are. Where it does not start with
/// the file, the end of a line that began before is no row.
#[derive(Debug)]
pub(super) struct Window {
    /// The bytes.
    pub(super) bytes: Vec<u8>,
    /// The offset of the first one in the file, a multiple of [`HEX_ROW`].
    pub(super) from: u64,
    /// The size of the file in bytes.
    pub(super) size: u64,
    lines: Vec<usize>,
}

impl Window {
    /// Takes the bytes of a file of `size` bytes from an offset on.
    pub(super) fn new(bytes: Vec<u8>, from: u64, size: u64) -> Self {
        let cut = bytes.iter().take(TEXT_ROW);
        let cut = cut.take_while(|byte| **byte != b'\n').count() + 1;
        let first = match from {
            1.. if cut <= TEXT_ROW => cut,
            _ => 0,
        };
        Self {
            lines: row_starts(&bytes, first),
            bytes,
            from,
            size,
        }
    }

    /// Returns where a window starts that has an offset in its middle, as far as the file goes.
    pub(super) fn start_around(offset: u64, size: u64) -> u64 {
        let start = offset.saturating_sub(MOST / 2);
        let start = start.min(size.saturating_sub(MOST));
        start.next_multiple_of(HEX_ROW as u64)
    }

    /// Tells whether the file starts here.
    pub(super) fn is_first(&self) -> bool {
        self.from == 0
    }

    /// Tells whether the file ends here.
    pub(super) fn is_last(&self) -> bool {
        self.from + self.bytes.len() as u64 >= self.size
    }

    /// Returns how many rows there are.
    pub(super) fn len(&self, form: Form) -> usize {
        match form {
            Form::Text => self.lines.len(),
            Form::Hex => self.bytes.len().div_ceil(HEX_ROW),
        }
    }

    /// Returns the offset in the file at which a row starts, or its end for a row after the last.
    pub(super) fn offset(&self, form: Form, row: usize) -> u64 {
        self.from + self.start(form, row) as u64
    }

    /// Returns the bytes of a row.
    pub(super) fn row(&self, form: Form, row: usize) -> &[u8] {
        &self.bytes[self.start(form, row)..self.start(form, row + 1)]
    }

    /// Returns the row that holds an offset of the file.
    pub(super) fn row_of(&self, form: Form, offset: u64) -> usize {
        let at = usize::try_from(offset.saturating_sub(self.from)).unwrap_or(usize::MAX);
        match form {
            Form::Text => {
                let behind = self.lines.partition_point(|start| *start <= at);
                behind.saturating_sub(1)
            }
            Form::Hex => at / HEX_ROW,
        }
    }

    fn start(&self, form: Form, row: usize) -> usize {
        let start = match form {
            Form::Text => self.lines.get(row).copied(),
            Form::Hex => Some(row * HEX_ROW),
        };
        start.map_or(self.bytes.len(), |start| start.min(self.bytes.len()))
    }
}

fn row_starts(bytes: &[u8], first: usize) -> Vec<usize> {
    let next = |start: &usize| {
        let most = &bytes[*start..bytes.len().min(start + TEXT_ROW)];
        let end = most.iter().position(|byte| *byte == b'\n');
        Some(start + end.map_or(most.len(), |end| end + 1))
    };
    let starts = std::iter::successors(Some(first), next);
    starts.take_while(|start| *start < bytes.len()).collect()
}
