//! The first step: text to tokens.

use super::number;

/// A token and the byte it starts at.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) position: usize,
    /// Whether white space comes before it: `.A.B` is one operand, `.A .B` are two.
    pub(super) spaced: bool,
    /// The token as it is written.
    pub(super) text: String,
}

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum TokenKind {
    Text,
    Open,
    Close,
    Quoted(String),
    Number(serde_json::Value),
    Identifier,
    Field,
    Variable,
    Keyword,
    Dot,
    LeftParenthesis,
    RightParenthesis,
    Pipe,
    Declare,
    Assign,
    Comma,
    /// A character that no rule begins with.
    Character,
    /// What follows cannot be split into tokens; the parser reports it once it gets there.
    Error(String),
    End,
}

pub(super) const KEYWORDS: &[&str] = &[
    "block", "break", "continue", "define", "else", "end", "if", "nil", "range", "template", "with",
];

const OPEN: &str = "{{";
const CLOSE: &str = "}}";

/// Splits a template into tokens; the last one is [`TokenKind::End`] or [`TokenKind::Error`].
pub(super) fn lex(text: &str) -> Vec<Token> {
    let mut lexer = Lexer {
        text,
        position: 0,
        tokens: Vec::new(),
        depth: 0,
    };
    if let Err(message) = lexer.run() {
        lexer.push(TokenKind::Error(message), 0, false);
    }
    lexer.tokens
}

struct Lexer<'t> {
    text: &'t str,
    position: usize,
    tokens: Vec<Token>,
    depth: usize,
}

/// Returns the number of the line that holds byte `position`.
pub(super) fn line_of(text: &str, position: usize) -> usize {
    1 + text[..position].matches('\n').count()
}

impl Lexer<'_> {
    fn run(&mut self) -> Result<(), String> {
        let mut trim = false;
        loop {
            let rest = self.rest();
            let Some(open) = rest.find(OPEN) else {
                let end = rest.len();
                self.literal(end, trim, false);
                self.push(TokenKind::End, 0, false);
                return Ok(());
            };
            let trim_before = is_left_trim(&rest[open + OPEN.len()..]);
            self.literal(open, trim, trim_before);
            let marker = if trim_before { 2 } else { 0 };
            trim = match self.comment(OPEN.len() + marker)? {
                Some(trim) => trim,
                None => self.action(marker)?,
            };
        }
    }

    fn rest(&self) -> &str {
        &self.text[self.position..]
    }

    fn push(&mut self, kind: TokenKind, length: usize, spaced: bool) {
        let text = self.rest()[..length].to_owned();
        self.tokens.push(Token {
            kind,
            position: self.position,
            spaced,
            text,
        });
        self.position += length;
    }

    /// Takes `length` bytes of text outside of actions, trimmed where an action asks for it.
    fn literal(&mut self, length: usize, trim_start: bool, trim_end: bool) {
        let mut text = &self.rest()[..length];
        if trim_start {
            text = text.trim_start_matches(is_space);
        }
        if trim_end {
            text = text.trim_end_matches(is_space);
        }
        if !text.is_empty() {
            let token = Token {
                kind: TokenKind::Text,
                position: self.position,
                spaced: false,
                text: text.to_owned(),
            };
            self.tokens.push(token);
        }
        self.position += length;
    }

    /// Skips a comment action, and tells whether it trims what follows; `None` is no comment.
    fn comment(&mut self, start: usize) -> Result<Option<bool>, String> {
        let Some(comment) = self.rest()[start..].strip_prefix("/*") else {
            return Ok(None);
        };
        let Some(end) = comment.find("*/") else {
            return Err("unclosed comment".to_owned());
        };
        let after = &comment[end + 2..];
        let length = start + 2 + end + 2;
        let (trim, closing) = match right_trim(after) {
            Some(length) => (true, length),
            None if after.starts_with(CLOSE) => (false, CLOSE.len()),
            None => return Err("comment ends before closing delimiter".to_owned()),
        };
        self.position += length + closing;
        Ok(Some(trim))
    }

    /// Reads one action, and tells whether it trims what follows.
    fn action(&mut self, marker: usize) -> Result<bool, String> {
        self.push(TokenKind::Open, OPEN.len(), false);
        self.position += marker;
        self.depth = 0;
        loop {
            let spaces = self.rest().len() - self.rest().trim_start_matches(is_space).len();
            let trim = right_trim(self.rest());
            if trim.is_some() || self.rest().starts_with(CLOSE) {
                return self.close(trim);
            }
            self.position += spaces;
            if self.rest().starts_with(CLOSE) {
                return self.close(None);
            }
            self.token(spaces > 0)?;
        }
    }

    fn close(&mut self, trim: Option<usize>) -> Result<bool, String> {
        if self.depth > 0 {
            return Err("unclosed left paren".to_owned());
        }
        self.push(
            TokenKind::Close,
            trim.unwrap_or(CLOSE.len()),
            trim.is_some(),
        );
        Ok(trim.is_some())
    }

    fn token(&mut self, spaced: bool) -> Result<(), String> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return Err("unclosed action".to_owned());
        };
        let next = rest[first.len_utf8()..].chars().next();
        let digit_follows = next.is_some_and(|c| c.is_ascii_digit());
        match first {
            '"' => self.quoted(spaced),
            '`' => self.raw(spaced),
            '\'' => self.character(spaced),
            '|' => self.simple(TokenKind::Pipe, 1, spaced),
            ',' => self.simple(TokenKind::Comma, 1, spaced),
            '=' => self.simple(TokenKind::Assign, 1, spaced),
            ':' if next == Some('=') => self.simple(TokenKind::Declare, 2, spaced),
            ':' => Err("expected :=".to_owned()),
            '(' | ')' => self.parenthesis(first, spaced),
            '$' => self.prefixed(TokenKind::Variable, spaced),
            '.' if digit_follows => self.number(spaced),
            '.' => self.prefixed(TokenKind::Field, spaced),
            '+' | '-' if digit_follows || next == Some('.') => self.number(spaced),
            '0'..='9' => self.number(spaced),
            c if is_word(c) => self.word(spaced),
            c if c.is_ascii_graphic() => self.simple(TokenKind::Character, 1, spaced),
            c => Err(format!("unrecognized character in action: {}", unicode(c))),
        }
    }

    fn simple(&mut self, kind: TokenKind, length: usize, spaced: bool) -> Result<(), String> {
        self.push(kind, length, spaced);
        Ok(())
    }

    fn parenthesis(&mut self, character: char, spaced: bool) -> Result<(), String> {
        if character == '(' {
            self.depth += 1;
            return self.simple(TokenKind::LeftParenthesis, 1, spaced);
        }
        if self.depth == 0 {
            return Err("unexpected right paren".to_owned());
        }
        self.depth -= 1;
        self.simple(TokenKind::RightParenthesis, 1, spaced)
    }

    /// `.Name`, `$name`, a lone dot or a lone dollar.
    fn prefixed(&mut self, kind: TokenKind, spaced: bool) -> Result<(), String> {
        let length = 1 + word_length(&self.rest()[1..]);
        let kind = match kind {
            TokenKind::Field if length == 1 => TokenKind::Dot,
            kind => kind,
        };
        self.push(kind, length, spaced);
        self.check_terminator()
    }

    fn word(&mut self, spaced: bool) -> Result<(), String> {
        let length = word_length(self.rest());
        let kind = if KEYWORDS.contains(&&self.rest()[..length]) {
            TokenKind::Keyword
        } else {
            TokenKind::Identifier
        };
        self.push(kind, length, spaced);
        self.check_terminator()
    }

    /// A name ends where something begins that may follow it.
    fn check_terminator(&self) -> Result<(), String> {
        match self.rest().chars().next() {
            Some(c) if !is_space(c) && !".,|:=()}".contains(c) => {
                Err(format!("bad character {}", unicode(c)))
            }
            _ => Ok(()),
        }
    }

    fn number(&mut self, spaced: bool) -> Result<(), String> {
        let rest = self.rest();
        let length = number::length(rest);
        let text = &rest[..length];
        let next = rest[length..].chars().next();
        match number::parse(text) {
            Some(value) if !next.is_some_and(is_word) => {
                self.simple(TokenKind::Number(value), length, spaced)
            }
            _ => {
                let end = length + next.map_or(0, char::len_utf8);
                Err(format!("bad number syntax: {:?}", &rest[..end]))
            }
        }
    }

    fn quoted(&mut self, spaced: bool) -> Result<(), String> {
        match number::unquote(self.rest(), '"') {
            Some((value, length)) => self.simple(TokenKind::Quoted(value), length, spaced),
            None => Err("unterminated quoted string".to_owned()),
        }
    }

    fn raw(&mut self, spaced: bool) -> Result<(), String> {
        match self.rest()[1..].find('`') {
            Some(end) => {
                let value = self.rest()[1..=end].replace('\r', "");
                self.simple(TokenKind::Quoted(value), end + 2, spaced)
            }
            None => Err("unterminated raw quoted string".to_owned()),
        }
    }

    fn character(&mut self, spaced: bool) -> Result<(), String> {
        let constant = number::unquote(self.rest(), '\'');
        match constant
            .as_ref()
            .map(|(text, length)| (text.chars().collect::<Vec<_>>(), *length))
        {
            Some((characters, length)) if characters.len() == 1 => {
                let value = serde_json::Value::from(u32::from(characters[0]));
                self.simple(TokenKind::Number(value), length, spaced)
            }
            Some(_) => Err("malformed character constant".to_owned()),
            None => Err("unterminated character constant".to_owned()),
        }
    }
}

fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n')
}

fn is_word(character: char) -> bool {
    character == '_' || character.is_alphanumeric()
}

fn word_length(text: &str) -> usize {
    text.find(|c| !is_word(c)).unwrap_or(text.len())
}

fn is_left_trim(action: &str) -> bool {
    action
        .strip_prefix('-')
        .is_some_and(|rest| rest.starts_with(is_space))
}

/// Returns the length of ` -}}` at the start of `text`.
fn right_trim(text: &str) -> Option<usize> {
    let trimmed = text.trim_start_matches(is_space);
    let spaces = text.len() - trimmed.len();
    (spaces > 0 && trimmed.starts_with("-}}")).then_some(spaces + 3)
}

/// Writes a character as Go's `%#U` does.
fn unicode(character: char) -> String {
    format!("U+{:04X} '{character}'", u32::from(character))
}
