//! Images to look into: finding them by what people type, and showing their files.

mod files_args;
mod open;
mod rows;
mod transport;

pub(crate) use files_args::{FileFormat, FilesArgs};
pub(crate) use open::{Looked, open, open_image, store_image};
pub(crate) use rows::{FileRow, facts_line, long_line, one_line, printable, text_path};
