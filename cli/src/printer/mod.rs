//! The one place that writes to the terminal: data to standard output, messages to standard error.

mod table;
mod terminal;
mod units;

pub(crate) use table::Table;
pub(crate) use terminal::{Colors, Printer};
pub(crate) use units::{ago, bytes_binary, size};
