//! The scanner that walks through a word, takes quotes away and replaces variables.

use super::pattern::{Pattern, Reach};
use super::words::Words;
use super::{ExpandProblem, Expander, Expansion};
use std::collections::BTreeSet;

/// Substitutions that may stand inside each other; more are no honest input.
const DEEPEST: usize = 200;

/// Expands a whole text.
pub(super) fn run(expander: &Expander<'_>, text: &str) -> Result<Expansion, ExpandProblem> {
    let mut lexer = Lexer {
        rest: text,
        expander,
        keep_escapes: expander.options.keep_escapes,
        depth: 0,
        used: BTreeSet::new(),
        unmatched: BTreeSet::new(),
    };
    let mut words = Words::default();
    let value = lexer.until(None, &mut words)?;
    Ok(Expansion {
        value,
        words: words.finish(),
        used: lexer.used,
        unmatched: lexer.unmatched,
    })
}

struct Lexer<'w, 'e> {
    rest: &'w str,
    expander: &'e Expander<'e>,
    keep_escapes: bool,
    depth: usize,
    used: BTreeSet<String>,
    unmatched: BTreeSet<String>,
}

/// The modifiers that take a word: `${name-word}` and so on.
struct Substitution {
    name: String,
    modifier: char,
    /// Whether a `:` stood before: an empty value counts as none.
    empty_is_unset: bool,
}

impl Lexer<'_, '_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let mut characters = self.rest.chars();
        let character = characters.next();
        self.rest = characters.as_str();
        character
    }

    /// Reads up to a character, which is consumed, or to the end.
    fn until(&mut self, stop: Option<char>, words: &mut Words) -> Result<String, ExpandProblem> {
        let mut value = String::new();
        while let Some(character) = self.peek() {
            if stop == Some(character) {
                self.next();
                return Ok(value);
            }
            self.step(character, &mut value, words)?;
        }
        match stop {
            Some('/') => Err(ExpandProblem::MissingSlash),
            Some(_) => Err(ExpandProblem::MissingBrace),
            None => Ok(value),
        }
    }

    fn step(
        &mut self,
        character: char,
        value: &mut String,
        words: &mut Words,
    ) -> Result<(), ExpandProblem> {
        let quotes = !self.expander.options.ignore_quotes;
        let special = match character {
            '\'' if quotes => self.single_quote()?,
            '"' if quotes => self.double_quote()?,
            '<' => self.heredoc_mark(),
            '$' => {
                let text = self.dollar()?;
                words.add_text(&text);
                value.push_str(&text);
                return Ok(());
            }
            _ => {
                self.plain(value, words);
                return Ok(());
            }
        };
        words.add_quoted_text(&special);
        value.push_str(&special);
        Ok(())
    }

    /// Reads a character that has no meaning of its own, or an escaped one.
    fn plain(&mut self, value: &mut String, words: &mut Words) {
        let escape = self.expander.escape.character();
        let Some(character) = self.next() else { return };
        if character != escape {
            words.add(character);
            value.push(character);
            return;
        }
        if self.keep_escapes {
            words.add_quoted(character);
            value.push(character);
        }
        if let Some(escaped) = self.next() {
            words.add_quoted(escaped);
            value.push(escaped);
        }
    }

    /// Reads `<` or `<<` and the blanks after it, which belong to the delimiter of a heredoc.
    fn heredoc_mark(&mut self) -> String {
        self.next();
        let mut mark = String::from("<");
        if self.peek() != Some('<') {
            return mark;
        }
        while let Some(character) = self.peek() {
            if mark.len() > 1 && !matches!(character, ' ' | '\t' | '\n' | '\r') {
                break;
            }
            mark.push(character);
            self.next();
        }
        mark
    }

    fn single_quote(&mut self) -> Result<String, ExpandProblem> {
        let inside = &self.rest[1..];
        let end = inside.find('\'').ok_or(ExpandProblem::SingleQuote)?;
        let keep = self.expander.options.keep_quotes;
        let text = if keep {
            &self.rest[..end + 2]
        } else {
            &inside[..end]
        };
        self.rest = &inside[end + 1..];
        Ok(text.to_owned())
    }

    fn double_quote(&mut self) -> Result<String, ExpandProblem> {
        let keep = self.expander.options.keep_quotes;
        let mut text = String::new();
        text.extend(self.next().filter(|_| keep));
        loop {
            match self.peek().ok_or(ExpandProblem::DoubleQuote)? {
                '"' => {
                    text.extend(self.next().filter(|_| keep));
                    return Ok(text);
                }
                '$' => text.push_str(&self.dollar()?),
                _ => self.inside_double_quotes(&mut text),
            }
        }
    }

    /// Reads a character between double quotes, where only `"`, `$` and the escape can be escaped.
    fn inside_double_quotes(&mut self, text: &mut String) {
        let escape = self.expander.escape.character();
        let Some(character) = self.next() else { return };
        if character != escape {
            text.push(character);
            return;
        }
        if self.keep_escapes {
            text.push(character);
        }
        match self.peek() {
            None => {}
            Some(next) if next == '"' || next == '$' || next == escape => text.extend(self.next()),
            Some(_) => text.push(character),
        }
    }

    fn dollar(&mut self) -> Result<String, ExpandProblem> {
        self.next();
        if self.peek() == Some('{') {
            self.next();
            return self.nested(Self::braces);
        }
        let name = self.name();
        if name.is_empty() {
            return Ok("$".to_owned());
        }
        Ok(self.value_or(&name, |name| format!("${name}")))
    }

    fn nested<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, ExpandProblem>,
    ) -> Result<T, ExpandProblem> {
        if self.depth >= DEEPEST {
            return Err(ExpandProblem::TooDeep);
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    /// Reads what stands between `${` and `}`.
    fn braces(&mut self) -> Result<String, ExpandProblem> {
        match self.peek() {
            None => return Err(ExpandProblem::MissingBrace),
            Some('{' | '}' | ':') => return Err(ExpandProblem::BadSubstitution),
            Some(_) => {}
        }
        let name = self.name();
        match self.next() {
            None => Err(ExpandProblem::MissingBrace),
            Some('}') => Ok(self.value_or(&name, |name| format!("${{{name}}}"))),
            Some('/') => self.replace(&name),
            Some(':') => match self.next() {
                None => Err(ExpandProblem::MissingBrace),
                Some(modifier @ ('-' | '+' | '?')) => self.substitute(Substitution {
                    name,
                    modifier,
                    empty_is_unset: true,
                }),
                Some(other) => Err(ExpandProblem::Modifier(format!(":{other}"))),
            },
            Some(modifier @ ('-' | '+' | '?' | '#' | '%')) => self.substitute(Substitution {
                name,
                modifier,
                empty_is_unset: false,
            }),
            Some(other) => Err(ExpandProblem::Modifier(other.to_string())),
        }
    }

    /// Reads the word of a modifier, up to `stop`, keeping its escapes if it is a pattern.
    fn argument(&mut self, stop: char, keep_escapes: bool) -> Result<String, ExpandProblem> {
        let before = std::mem::replace(&mut self.keep_escapes, keep_escapes);
        let text = self.until(Some(stop), &mut Words::default());
        self.keep_escapes = before;
        text
    }

    fn substitute(&mut self, substitution: Substitution) -> Result<String, ExpandProblem> {
        let Substitution {
            name,
            modifier,
            empty_is_unset,
        } = substitution;
        let word = self.argument('}', matches!(modifier, '#' | '%'))?;
        let value = self.lookup(&name);
        if value.is_none() && self.expander.options.keep_unset {
            let colon = if empty_is_unset { ":" } else { "" };
            return Ok(format!("${{{name}{colon}{modifier}{word}}}"));
        }
        if matches!(modifier, '#' | '%') {
            return trim(modifier, &word, &value.unwrap_or_default());
        }
        let given = value
            .clone()
            .filter(|value| !(empty_is_unset && value.is_empty()));
        match (modifier, given) {
            ('-', given) => Ok(given.unwrap_or(word)),
            ('+', given) => Ok(given.map_or_else(String::new, |_| word)),
            (_, Some(given)) => Ok(given),
            (_, None) => {
                let state = if value.is_some() { "empty" } else { "unset" };
                let message = Some(word).filter(|word| !word.is_empty());
                let message = message.unwrap_or_else(|| format!("is not allowed to be {state}"));
                Err(ExpandProblem::Required { name, message })
            }
        }
    }

    fn replace(&mut self, name: &str) -> Result<String, ExpandProblem> {
        let every = self.peek() == Some('/');
        if every {
            self.next();
        }
        let pattern = self.argument('/', true)?;
        let replacement = self.argument('}', true)?;
        let value = self.lookup(name);
        if value.is_none() && self.expander.options.keep_unset {
            return Ok(format!("${{{name}/{pattern}/{replacement}}}"));
        }
        let value = value.unwrap_or_default();
        let pattern = Pattern::parse(&pattern)?;
        if every {
            pattern.replace_all(&value, &replacement)
        } else {
            pattern.replace(&value, &replacement)
        }
    }

    /// Reads a name: letters, digits and `_`; or only digits; or one special character.
    fn name(&mut self) -> String {
        let first = match self.peek() {
            Some(first) if first.is_numeric() => return self.take(char::is_numeric),
            Some(first) => first,
            None => return String::new(),
        };
        if matches!(first, '@' | '*' | '#' | '?' | '-' | '$' | '!') {
            self.next();
            return first.to_string();
        }
        self.take(|character| character.is_alphanumeric() || character == '_')
    }

    fn take(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let end = self
            .rest
            .find(|character| !wanted(character))
            .unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken.to_owned()
    }

    fn lookup(&mut self, name: &str) -> Option<String> {
        let value = (self.expander.variables)(name);
        let names = if value.is_some() {
            &mut self.used
        } else {
            &mut self.unmatched
        };
        names.insert(name.to_owned());
        value
    }

    fn value_or(&mut self, name: &str, written: impl Fn(&str) -> String) -> String {
        match self.lookup(name) {
            Some(value) => value,
            None if self.expander.options.keep_unset => written(name),
            None => String::new(),
        }
    }
}

/// Applies `#`, `##`, `%` or `%%`; the second character stands at the head of the word.
fn trim(modifier: char, word: &str, value: &str) -> Result<String, ExpandProblem> {
    let (reach, word) = match word.strip_prefix(modifier) {
        Some(word) => (Reach::Longest, word),
        None => (Reach::Shortest, word),
    };
    let pattern = Pattern::parse(word)?;
    if modifier == '#' {
        pattern.trim_start(value, reach)
    } else {
        pattern.trim_end(value, reach)
    }
}
