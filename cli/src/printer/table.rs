//! Tables in docker's layout.

/// Docker's columns are at least that wide, the space after them included.
const NARROWEST: usize = 10;

/// What is left free after a column's longest cell.
const PADDING: usize = 3;

/// Rows of cells that are aligned in columns.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    narrowest: usize,
    padding: usize,
}

impl Table {
    /// Makes an empty table.
    pub(crate) fn new() -> Self {
        Self {
            rows: Vec::new(),
            narrowest: NARROWEST,
            padding: PADDING,
        }
    }

    /// Makes an empty table whose columns are as narrow as they can be.
    pub(crate) fn with_padding(padding: usize) -> Self {
        Self {
            narrowest: 0,
            padding,
            ..Self::new()
        }
    }

    /// Adds a row whose cells are separated by tabs; lines in it become rows of their own.
    pub(crate) fn row(&mut self, text: &str) {
        for line in text.split('\n') {
            self.rows
                .push(line.split('\t').map(str::to_owned).collect());
        }
    }

    /// Aligns the columns. The last cell of a row is never padded.
    pub(crate) fn render(&self) -> String {
        let widths = self.widths();
        let mut out = String::new();
        for row in &self.rows {
            for (index, cell) in row.iter().enumerate() {
                out.push_str(cell);
                if index + 1 < row.len() {
                    let missing = widths[index].saturating_sub(cell.chars().count());
                    out.extend(std::iter::repeat_n(' ', missing));
                }
            }
            out.push('\n');
        }
        out
    }

    fn widths(&self) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let mut widths = vec![self.narrowest; columns];
        for row in &self.rows {
            // The last cell of a row is followed by nothing, so it needs no column.
            for (width, cell) in widths.iter_mut().zip(row.iter().take(row.len() - 1)) {
                *width = (*width).max(cell.chars().count() + self.padding);
            }
        }
        widths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_docker_makes_them() {
        let mut table = Table::new();
        table.row("REPOSITORY\tTAG\tIMAGE ID\tCREATED\tSIZE");
        table.row("helloworld\tlatest\t0123456789ab\t2 minutes ago\t124MB");
        let expected = "REPOSITORY   TAG       IMAGE ID       CREATED         SIZE\n\
                        helloworld   latest    0123456789ab   2 minutes ago   124MB\n";
        assert_eq!(table.render(), expected);
    }
}
