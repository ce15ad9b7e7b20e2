//! Variable expansion and word splitting, with the quoting rules of the Dockerfile language.
//!
//! `$name`, `${name}` and the modifiers `:-` `-` `:+` `+` `:?` `?` `#` `##` `%` `%%` `/` `//` are
//! replaced; quotes and escapes are taken away. There is no command substitution.

mod lexer;
mod pattern;
#[cfg(test)]
mod tests;
mod words;

use crate::directive::Escape;
use crate::quote::Quoted;
use std::collections::BTreeSet;
use thiserror::Error;

/// Looks up a variable; nothing if it is not set.
pub type Lookup<'v> = dyn Fn(&str) -> Option<String> + 'v;

/// Expands words with a set of variables.
#[derive(Clone, Copy)]
pub struct Expander<'v> {
    variables: &'v Lookup<'v>,
    escape: Escape,
    options: ExpandOptions,
}

/// What an expansion leaves as it was written; by default nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExpandOptions {
    /// Keep quotes around quoted parts.
    pub keep_quotes: bool,
    /// Keep escape characters.
    pub keep_escapes: bool,
    /// Take quotes as ordinary characters, as the content of a heredoc does.
    pub ignore_quotes: bool,
    /// Keep references to variables that are not set.
    pub keep_unset: bool,
}

/// The result of an expansion.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expansion {
    /// The text as a single word.
    pub value: String,
    /// The text split at blanks that are not quoted, those that variables brought in included.
    pub words: Vec<String>,
    /// The variables referred to that are set.
    pub used: BTreeSet<String>,
    /// The variables referred to that are not set.
    pub unmatched: BTreeSet<String>,
}

/// A word that can't be expanded.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("failed to process {}: {problem}", Quoted(.word))]
pub struct ExpandError {
    /// The word as it was written.
    pub word: String,
    /// What is wrong with it.
    pub problem: ExpandProblem,
}

/// What can be wrong with a word.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ExpandProblem {
    /// A `'` without its partner.
    #[error("unexpected end of statement while looking for matching single-quote")]
    SingleQuote,
    /// A `"` without its partner.
    #[error("unexpected end of statement while looking for matching double-quote")]
    DoubleQuote,
    /// A `${` without its `}`.
    #[error("syntax error: missing '}}'")]
    MissingBrace,
    /// A `${name/pattern` without the next `/`.
    #[error("syntax error: missing '/' in ${{}}")]
    MissingSlash,
    /// A `${` without a name.
    #[error("syntax error: bad substitution")]
    BadSubstitution,
    /// A modifier that does not exist.
    #[error("unsupported modifier ({0}) in substitution")]
    Modifier(String),
    /// A variable that `?` requires.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// The text after `?`, or what is the matter.
        message: String,
    },
    /// A pattern of `#`, `%` or `/` with an escape that has no meaning.
    #[error("invalid pattern ({pattern}) in substitution: invalid escape '\\{escaped}'")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// The escaped character.
        escaped: String,
    },
    /// A pattern and a value whose matching would take too much memory.
    #[error("pattern and value are too long to be matched")]
    TooLong,
    /// Substitutions inside substitutions beyond a limit of 200.
    #[error("substitutions are nested too deeply")]
    TooDeep,
}

impl<'v> Expander<'v> {
    /// Makes an expander; `escape` is the one of the file's directives.
    #[must_use]
    pub fn new(escape: Escape, variables: &'v Lookup<'v>) -> Self {
        Self {
            variables,
            escape,
            options: ExpandOptions::default(),
        }
    }

    /// Sets what is left as it was written.
    #[must_use]
    pub fn with_options(self, options: ExpandOptions) -> Self {
        Self { options, ..self }
    }

    /// Expands a word, and returns its text, its parts and the variables it refers to.
    pub fn expand(&self, word: &str) -> Result<Expansion, ExpandError> {
        lexer::run(self, word).map_err(|problem| ExpandError {
            word: word.to_owned(),
            problem,
        })
    }
}

/// Expands a text as a single word.
pub fn expand(
    word: &str,
    variables: &Lookup<'_>,
    escape: Escape,
    options: ExpandOptions,
) -> Result<Expansion, ExpandError> {
    Expander::new(escape, variables)
        .with_options(options)
        .expand(word)
}

/// Expands a text and splits it into words, as `EXPOSE` needs it.
pub fn expand_words(
    text: &str,
    variables: &Lookup<'_>,
    escape: Escape,
) -> Result<Vec<String>, ExpandError> {
    Ok(Expander::new(escape, variables).expand(text)?.words)
}
