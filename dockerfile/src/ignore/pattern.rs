//! One pattern: its check, its class, and whether it matches a path.

use super::IgnoreError;
use super::glob::{self, Class, Escaped, Piece};
use super::path::clean;

/// A pattern of an ignore list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// The pattern as it was given, blanks around it trimmed, with its `!`.
    pub written: String,
    /// The pattern cleaned, without `!`.
    pub text: String,
    /// Whether it begins with `!`: what it matches is kept in the context.
    pub exclusion: bool,
    /// The line of the file it stands in, if it came from one.
    pub line: Option<usize>,
    class: PatternClass,
    /// The pieces; none if the pattern turns out to be wrong only when it is used.
    pieces: Option<Vec<Piece>>,
    expression: String,
}

/// How a pattern is matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatternClass {
    /// The path is the pattern.
    Exact,
    /// The path begins with the pattern, less the `**` at its end.
    Prefix,
    /// The path ends with the pattern, less the `**` at its start.
    Suffix,
    /// The path matches the pattern as a regular expression.
    Regexp,
}

impl Pattern {
    /// Reads a pattern; nothing if it is blank.
    pub fn new(written: &str, line: Option<usize>) -> Result<Option<Self>, IgnoreError> {
        let written = written.trim();
        if written.is_empty() {
            return Ok(None);
        }
        let cleaned = clean(written);
        let (exclusion, text) = match cleaned.strip_prefix('!') {
            Some("") => return Err(IgnoreError::EmptyExclusion { line }),
            Some(text) => (true, text),
            None => (false, cleaned.as_str()),
        };
        if !is_valid(text) {
            return Err(IgnoreError::BadPattern {
                pattern: written.to_owned(),
                line,
            });
        }
        let compiled = Compiler::run(text);
        Ok(Some(Self {
            written: written.to_owned(),
            text: text.to_owned(),
            exclusion,
            line,
            class: compiled.class,
            pieces: compiled.pieces,
            expression: compiled.expression,
        }))
    }

    /// Returns how the pattern is matched.
    #[must_use]
    pub fn class(&self) -> PatternClass {
        self.class
    }

    /// Returns the regular expression that the pattern is equal to, if it is of that class.
    #[must_use]
    pub fn regular_expression(&self) -> Option<String> {
        (self.class == PatternClass::Regexp).then(|| format!("^{}$", self.expression))
    }

    /// Tells whether the pattern matches a path itself, whatever its `!`.
    pub fn matches(&self, path: &str) -> Result<bool, IgnoreError> {
        match self.class {
            PatternClass::Exact => Ok(path == self.text),
            PatternClass::Prefix => Ok(path.starts_with(&self.text[..self.text.len() - 2])),
            PatternClass::Suffix => {
                let suffix = &self.text[2..];
                // `**/name` also matches `name`.
                let alone = suffix.strip_prefix('/').is_some_and(|name| name == path);
                Ok(alone || path.ends_with(suffix))
            }
            PatternClass::Regexp => match &self.pieces {
                Some(pieces) => Ok(glob::matches(pieces, path)),
                None => Err(IgnoreError::BadPattern {
                    pattern: self.written.clone(),
                    line: self.line,
                }),
            },
        }
    }
}

/// Checks a pattern by the rules of Go's `filepath.Match`: classes are closed and their members
/// written properly, and a backslash is not the last character.
fn is_valid(pattern: &str) -> bool {
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        let valid = match character {
            '\\' => characters.next().is_some(),
            '[' => match valid_class(characters.as_str()) {
                Some(rest) => {
                    characters = rest.chars();
                    true
                }
                None => false,
            },
            _ => true,
        };
        if !valid {
            return false;
        }
    }
    true
}

/// Reads a class after its `[` and returns what follows its `]`.
fn valid_class(text: &str) -> Option<&str> {
    let mut rest = text.strip_prefix('^').unwrap_or(text);
    let mut first = true;
    loop {
        if let Some(after) = rest.strip_prefix(']').filter(|_| !first) {
            return Some(after);
        }
        first = false;
        rest = valid_member(rest)?;
        if let Some(to) = rest.strip_prefix('-') {
            rest = valid_member(to)?;
        }
    }
}

fn valid_member(text: &str) -> Option<&str> {
    if text.starts_with(['-', ']']) {
        return None;
    }
    let mut characters = text.strip_prefix('\\').unwrap_or(text).chars();
    characters.next()?;
    // A class must be closed, so something has to follow.
    Some(characters.as_str()).filter(|rest| !rest.is_empty())
}

/// Translates a pattern into pieces, and finds its class on the way.
struct Compiler<'t> {
    rest: &'t str,
    class: PatternClass,
    pieces: Option<Vec<Piece>>,
    expression: String,
}

impl<'t> Compiler<'t> {
    fn run(text: &'t str) -> Self {
        let mut compiler = Self {
            rest: text,
            class: PatternClass::Exact,
            pieces: Some(Vec::new()),
            expression: String::new(),
        };
        let mut first = true;
        while let Some(character) = compiler.next() {
            compiler.step(character, first);
            first = false;
        }
        compiler
    }

    fn next(&mut self) -> Option<char> {
        let mut characters = self.rest.chars();
        let character = characters.next();
        self.rest = characters.as_str();
        character
    }

    fn add(&mut self, piece: Piece, expression: &str) {
        self.pieces
            .iter_mut()
            .for_each(|pieces| pieces.push(piece.clone()));
        self.expression.push_str(expression);
    }

    fn literal(&mut self, character: char) {
        if ".+()|{}$".contains(character) {
            self.expression.push('\\');
        }
        self.add(
            Piece::Literal(character),
            character.encode_utf8(&mut [0; 4]),
        );
    }

    fn step(&mut self, character: char, first: bool) {
        match character {
            '*' => match self.rest.strip_prefix('*') {
                Some(after) => {
                    self.rest = after.strip_prefix('/').unwrap_or(after);
                    self.two_stars(first);
                }
                None => self.special(Piece::NotSlashes, "[^/]*"),
            },
            '?' => self.special(Piece::NotSlash, "[^/]"),
            '\\' => self.escaped(),
            '[' => self.bracket(),
            ']' => self.special(Piece::Literal(']'), "]"),
            '^' => self.add(Piece::Start, "^"),
            _ => self.literal(character),
        }
    }

    fn special(&mut self, piece: Piece, expression: &str) {
        self.class = PatternClass::Regexp;
        self.add(piece, expression);
    }

    fn two_stars(&mut self, first: bool) {
        if !self.rest.is_empty() {
            self.special(Piece::Directories, "(.*/)?");
        } else if self.class == PatternClass::Exact {
            self.class = PatternClass::Prefix;
        } else {
            self.special(Piece::Anything, ".*");
        }
        if first {
            self.class = PatternClass::Suffix;
        }
    }

    fn escaped(&mut self) {
        self.class = PatternClass::Regexp;
        // A pattern that ends with a backslash was refused before.
        let Some(character) = self.next() else { return };
        match Escaped::parse(character) {
            Some(escaped) => self.add(escaped.piece(), &format!("\\{character}")),
            None => self.pieces = None,
        }
    }

    fn bracket(&mut self) {
        self.class = PatternClass::Regexp;
        let Some((class, rest)) = Class::parse(self.rest) else {
            self.expression.push('[');
            self.pieces = None;
            return;
        };
        let written = &self.rest[..self.rest.len() - rest.len()];
        let mut expression = String::from("[");
        for character in written.chars() {
            if ".+()|{}$".contains(character) {
                expression.push('\\');
            }
            expression.push(character);
        }
        self.rest = rest;
        self.add(Piece::Class(class), &expression);
    }
}
