//! Images to look into: finding them by what people type, and showing their files.

mod arguments;
mod open;
mod rows;
mod transport;

pub(crate) use arguments::{FilesArgs, Format, ImageArgs, LayerArgs};
pub(crate) use open::{Looked, open, store_image, with_materials};
pub(crate) use rows::{
    FileRow, SizeStyle, depth, facts_line, long_line, one_line, printable, text_path, write_rows,
};
pub(crate) use transport::split_image;
