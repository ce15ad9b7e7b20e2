//! Go's `text/template`, far enough for what people write after `--format`.
//!
//! ```text
//! text ──lex──▶ tokens ──parse──▶ syntax tree ──evaluate(JSON value)──▶ text
//! ```
//!
//! Semantics follow Go's `text/template` (its package documentation) and the functions that
//! docker's command line adds. Data is JSON: objects stand for structs and maps. [`Shapes`] tells
//! the few fields apart in which Go's type decides about a missing key or a null.

mod compare;
mod datum;
mod error;
mod evaluate;
mod functions;
mod lex;
mod number;
mod parse;
mod print;
mod printf;
mod syntax;

pub(crate) use datum::Shapes;
pub(crate) use error::TemplateError;
pub(crate) use evaluate::MissingKey;

use serde_json::Value;

/// A parsed template.
#[derive(Debug)]
pub(crate) struct Template {
    tree: parse::Parsed,
    missing_key: MissingKey,
    shapes: Shapes,
}

impl Template {
    /// Parses `text`. Errors name the line, as Go does.
    pub(crate) fn parse(text: &str) -> Result<Self, TemplateError> {
        Ok(Self {
            tree: parse::parse(text)?,
            missing_key: MissingKey::Error,
            shapes: Shapes::default(),
        })
    }

    /// Sets what becomes of keys that an object does not have.
    pub(crate) fn with_missing_key(self, missing_key: MissingKey) -> Self {
        Self {
            missing_key,
            ..self
        }
    }

    /// Sets which fields are maps and lists in Go's types.
    pub(crate) fn with_shapes(self, shapes: Shapes) -> Self {
        Self { shapes, ..self }
    }

    /// Renders the template with `data` as its dot.
    pub(crate) fn render(&self, data: &Value) -> Result<String, TemplateError> {
        evaluate::render(&self.tree, data, self.missing_key, self.shapes)
    }
}

#[cfg(test)]
mod tests;
