//! What can be wrong with a template, in Go's words.

/// Says why a template cannot be parsed or executed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum TemplateError {
    /// The text is no template.
    #[error("template parsing error: template: :{line}: {message}")]
    Parse {
        /// The line, from 1.
        line: usize,
        /// What is wrong, as Go words it.
        message: String,
    },
    /// The template does not fit its data.
    #[error(
        "template parsing error: template: :{line}:{column}: executing \"\" at <{context}>: {message}"
    )]
    Execute {
        /// The line, from 1.
        line: usize,
        /// The byte in the line, from 0.
        column: usize,
        /// The part of the template that was executed.
        context: String,
        /// What is wrong, as Go words it.
        message: String,
    },
}
