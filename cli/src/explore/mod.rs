//! The terminal interface of `mica explore`.
//!
//! ```text
//! key ─▶ keys ─▶ Action ─▶ Explorer (what is selected, unfolded, searched) ─▶ draw ─▶ terminal
//!                             │ Files: the rows of a stack or of one layer
//!                             └ Pager: one file, as text or in hexadecimal
//! ```
//!
//! Rules: what an image holds is hostile, so that no byte of it reaches the terminal unchecked; only
//! the rows that are seen are made.

mod details;
mod draw;
mod explorer;
mod files;
mod keys;
mod pager;
mod screen;
#[cfg(test)]
mod tests;

pub(crate) use screen::run;
