//! Images to look into: finding them by what people type, and showing their files.

mod open;
mod rows;
mod transport;

pub(crate) use open::{open, open_image};
pub(crate) use rows::{FileRow, long_line, printable, text_path};
