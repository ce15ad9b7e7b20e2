//! The Dockerfile language: a parser with spans, variable expansion, and ignore patterns.
//!
//! Everything here is pure: text in, values out. Nothing is read from disk, the environment or the
//! network, and nothing is printed. The measure is Dockerfile frontend 1.26 of BuildKit, labs
//! features included.
//!
//! # From text to meaning
//!
//! ```text
//!  text ──► lines ────────► tree ──────────► stages, instructions ──► the build
//!           lines.rs        split.rs         parse.rs, parse/         expand.rs, mount.rs
//!           directive.rs    json.rs          instruction.rs           with the stage's variables
//!           heredoc.rs      tree.rs ──► print.rs ──► text
//! ```
//!
//! - [`parse()`] gives a [`Dockerfile`]: directives, global `ARG`s and [`Stage`]s with typed
//!   [`Instruction`]s, or every error it found. [`parse_partial`] gives both.
//! - [`parse_tree`] gives the [`Tree`] below it, keyword, flags and arguments without meaning;
//!   [`print()`] writes it back.
//! - [`Expander`] replaces variables. The parser never does: what is to be expanded is kept as it
//!   was written, and each field of an instruction says whether it is. `ADD`, `COPY`, `ENV`,
//!   `EXPOSE`, `FROM`, `LABEL`, `STOPSIGNAL`, `USER`, `VOLUME`, `WORKDIR`, `ARG` and the values of
//!   `RUN --mount` are; `RUN`, `CMD`, `ENTRYPOINT`, `HEALTHCHECK`, `SHELL` and `ONBUILD` are not.
//! - [`check`](mod@check) finds what a file does that its author will hardly want.
//! - [`ignore`] reads `.dockerignore` files and matches paths against them.
//! - [`ParseError`] has a [`Span`] and a suggestion; [`SourceMap::excerpt`] prepares the lines and
//!   carets to show with it.
//!
//! ```
//! use mica_dockerfile::{Escape, Expander, InstructionKind, parse};
//!
//! let file = parse("FROM busybox AS base\nENV greeting=\"hello $name\"\n").unwrap();
//! let InstructionKind::Env(pairs) = &file.stages[0].instructions[0].kind else { panic!() };
//! let variables = |name: &str| (name == "name").then(|| "world".to_owned());
//! let expander = Expander::new(Escape::Backslash, &variables);
//! assert_eq!(expander.expand(&pairs[0].value).unwrap().value, "hello world");
//!
//! let errors = parse("FROM busybox\nRUNN true\n").unwrap_err();
//! let message = "dockerfile parse error on line 2: unknown instruction: RUNN (did you mean RUN?)";
//! assert_eq!(errors[0].to_string(), message);
//! ```
//!
//! # Rules of this room
//!
//! - No input makes it panic, and time grows with the length of the input: see
//!   `tests/robustness.rs`.
//! - Messages are worded as BuildKit words them, since people search for them.
//! - Spans are kept through continuations, so that an error points at the word it is about.
//! - It deviates from BuildKit where that is an accident: flags are read as UTF-8 (not byte by
//!   byte), substitutions nest to a depth of 200, `$` has no meaning in the replacement of
//!   `${name//pattern/replacement}`, and a `\` before a letter in an ignore pattern is an error
//!   unless it is one of `\d \s \w` (also in capitals) or a control character such as `\n`.

mod advice;
mod boolean;
pub mod check;
mod csv;
mod directive;
mod error;
mod expand;
mod heredoc;
pub mod ignore;
mod instruction;
mod json;
mod lines;
mod mount;
mod parse;
mod port;
mod print;
mod quote;
mod secret_name;
mod signal;
mod source;
mod split;
mod suggest;
mod tree;

pub use csv::{CsvError, fields as csv_fields};
pub use directive::{Directive, Directives, Escape};
pub use error::{ErrorKind, ParseError};
pub use expand::{
    ExpandError, ExpandOptions, ExpandProblem, Expander, Expansion, Lookup, expand, expand_words,
};
pub use instruction::*;
pub use mount::{CacheSharing, Device, Mount, MountError, MountField, MountFlag, MountKind};
pub use parse::{parse, parse_partial};
pub use port::{ExposedPort, PortError};
pub use print::print;
pub use secret_name::names_a_secret;
pub use signal::is_signal;
pub use source::{ExcerptLine, Mark, Position, SourceMap, Span, Spanned};
pub use suggest::{INSTRUCTION_NAMES, flags_of, nearest, nearest_exact};
pub use tree::{Flag, Form, Node, Tree, parse_tree};
