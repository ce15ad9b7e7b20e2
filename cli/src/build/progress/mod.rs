//! Showing a build while it runs.
//!
//! ```text
//! events of the builder ─┬─▶ Journal            what `mica builds` and `mica why` tell later
//! and of this room       ├─▶ Tails              the last lines of each step, for a failure
//!                        └─▶ Plain | Live | RawJson
//! ```

mod colors;
mod display;
mod lines;
mod live;
mod plain;
mod raw_json;
mod screen;
mod summary;
mod tails;

pub(crate) use colors::StepColors;
pub(crate) use display::{Display, Style};
pub(super) use lines::{Lines, line_time};
