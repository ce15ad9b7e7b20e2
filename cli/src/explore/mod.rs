//! The terminal interface of `mica explore`.
//!
//! ```text
//! key ─▶ keys ─▶ Action ─▶ Explorer (what is selected, unfolded, searched) ─▶ draw ─▶ terminal
//!                             │ Files: the rows of a stack or of one layer
//!                             └ Pager: one file, as text or in hexadecimal, a Window of it in memory
//! ```
//!
//! Rules: what an image holds is hostile, so that no byte of it reaches the terminal unchecked; only
//! the rows that are seen are made.

mod details;
mod draw;
mod explorer;
mod files;
mod find;
mod keys;
mod pager;
mod reading;
mod screen;
#[cfg(test)]
mod tests;
mod window;

pub(crate) use screen::run;
