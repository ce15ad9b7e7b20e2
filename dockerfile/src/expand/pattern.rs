//! Patterns of `${name#pattern}`, `%` and `/`: `*`, `?`, and `\` before one of them.
//!
//! `*` and `?` do not match a newline. The time of a search is bounded by the length of the value
//! times the length of the pattern: what was tried once without success is not tried again.

use super::ExpandProblem;

/// How much a `*` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    Shortest,
    Longest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Literal(char),
    AnyCharacter,
    AnyText,
}

/// A parsed pattern.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    tokens: Vec<Token>,
}

/// Bits that a search may keep, 32 MiB: far beyond any value of a Dockerfile.
const MOST_STATES: usize = 1 << 28;

impl Pattern {
    pub(super) fn parse(pattern: &str) -> Result<Self, ExpandProblem> {
        let wrong = |escaped: Option<char>| ExpandProblem::Pattern {
            pattern: pattern.to_owned(),
            escaped: escaped.map(String::from).unwrap_or_default(),
        };
        let mut tokens = Vec::new();
        let mut characters = pattern.chars();
        while let Some(character) = characters.next() {
            tokens.push(match character {
                '*' => Token::AnyText,
                '?' => Token::AnyCharacter,
                '\\' => match characters.next() {
                    // `}` and `/` must be escaped inside `${}`, but are no part of the pattern.
                    Some(escaped @ ('*' | '?' | '\\' | '}' | '/')) => Token::Literal(escaped),
                    other => return Err(wrong(other)),
                },
                other => Token::Literal(other),
            });
        }
        Ok(Self { tokens })
    }

    /// Takes the match at the start of the value away.
    pub(super) fn trim_start(&self, value: &str, reach: Reach) -> Result<String, ExpandProblem> {
        let text: Vec<char> = value.chars().collect();
        let end = Search::new(&self.tokens, &text, reach)?.match_at(0);
        Ok(text[end.unwrap_or(0)..].iter().collect())
    }

    /// Takes the match at the end of the value away.
    pub(super) fn trim_end(&self, value: &str, reach: Reach) -> Result<String, ExpandProblem> {
        let tokens: Vec<Token> = self.tokens.iter().rev().copied().collect();
        let text: Vec<char> = value.chars().rev().collect();
        let end = Search::new(&tokens, &text, reach)?.match_at(0);
        Ok(text[end.unwrap_or(0)..].iter().rev().collect())
    }

    /// Replaces the first match.
    pub(super) fn replace(&self, value: &str, with: &str) -> Result<String, ExpandProblem> {
        let text: Vec<char> = value.chars().collect();
        let mut search = Search::new(&self.tokens, &text, Reach::Longest)?;
        let Some((start, end)) = search.find(0) else {
            return Ok(value.to_owned());
        };
        let before = text[..start].iter().copied();
        Ok(before
            .chain(with.chars())
            .chain(text[end..].iter().copied())
            .collect())
    }

    /// Replaces every match; an empty one right after another match is left alone.
    pub(super) fn replace_all(&self, value: &str, with: &str) -> Result<String, ExpandProblem> {
        let text: Vec<char> = value.chars().collect();
        let mut search = Search::new(&self.tokens, &text, Reach::Longest)?;
        let (mut replaced, mut copied, mut from) = (String::new(), 0, 0);
        while let Some((start, end)) = search.find(from) {
            replaced.extend(&text[copied..start]);
            if end > copied || start == 0 {
                replaced.push_str(with);
            }
            copied = end;
            from = end.max(from + 1);
        }
        replaced.extend(&text[copied..]);
        Ok(replaced)
    }
}

/// A search for a pattern in a text that remembers where its `*` have failed.
struct Search<'s> {
    tokens: &'s [Token],
    text: &'s [char],
    reach: Reach,
    /// For each token that is a `*`, its row in `tried`.
    rows: Vec<usize>,
    tried: Vec<u64>,
}

impl<'s> Search<'s> {
    fn new(tokens: &'s [Token], text: &'s [char], reach: Reach) -> Result<Self, ExpandProblem> {
        let mut stars = 0;
        let mut rows = Vec::with_capacity(tokens.len());
        for token in tokens {
            rows.push(stars);
            stars += usize::from(*token == Token::AnyText);
        }
        let states = stars.saturating_mul(text.len() + 1);
        if states > MOST_STATES {
            return Err(ExpandProblem::TooLong);
        }
        Ok(Self {
            tokens,
            text,
            reach,
            rows,
            tried: vec![0; states.div_ceil(64)],
        })
    }

    /// Finds the first match that begins at `from` or later.
    fn find(&mut self, from: usize) -> Option<(usize, usize)> {
        (from..=self.text.len()).find_map(|start| Some((start, self.match_at(start)?)))
    }

    /// Matches at a place and returns the end.
    fn match_at(&mut self, start: usize) -> Option<usize> {
        let mut open = vec![(0, start)];
        while let Some((token, at)) = open.pop() {
            let Some(kind) = self.tokens.get(token) else {
                self.forget(at);
                return Some(at);
            };
            let character = self.text.get(at);
            match kind {
                Token::Literal(wanted) if character == Some(wanted) => {
                    open.push((token + 1, at + 1))
                }
                Token::AnyCharacter if character.is_some_and(|c| *c != '\n') => {
                    open.push((token + 1, at + 1));
                }
                Token::AnyText if self.first_time(token, at) => {
                    let more = character
                        .is_some_and(|c| *c != '\n')
                        .then_some((token, at + 1));
                    let enough = Some((token + 1, at));
                    let order = match self.reach {
                        Reach::Shortest => [more, enough],
                        Reach::Longest => [enough, more],
                    };
                    open.extend(order.into_iter().flatten());
                }
                _ => {}
            }
        }
        None
    }

    fn state(&self, token: usize, at: usize) -> (usize, u64) {
        let index = self.rows[token] * (self.text.len() + 1) + at;
        (index / 64, 1 << (index % 64))
    }

    fn first_time(&mut self, token: usize, at: usize) -> bool {
        let (word, bit) = self.state(token, at);
        let first = self.tried[word] & bit == 0;
        self.tried[word] |= bit;
        first
    }

    /// Forgets the states at the end of a match. Those beyond it have failed for good; those before
    /// it are not looked at again; those at the end may be on the way of the match.
    fn forget(&mut self, at: usize) {
        for token in 0..self.tokens.len() {
            if self.tokens[token] == Token::AnyText {
                let (word, bit) = self.state(token, at);
                self.tried[word] &= !bit;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).expect("a valid pattern")
    }

    #[test]
    fn trims() {
        let cases = [
            ("*x*y", "xxyy", Reach::Shortest, "y"),
            ("*x*y", "xxyy", Reach::Longest, ""),
            ("?", "ä", Reach::Shortest, ""),
            ("*", "a\nb", Reach::Longest, "\nb"),
            ("b", "abc", Reach::Longest, "abc"),
        ];
        for (text, value, reach, rest) in cases {
            assert_eq!(
                pattern(text).trim_start(value, reach).as_deref(),
                Ok(rest),
                "{text}"
            );
        }
        assert_eq!(
            pattern(".*").trim_end("a.b.c", Reach::Shortest).as_deref(),
            Ok("a.b")
        );
        assert_eq!(
            pattern(".*").trim_end("a.b.c", Reach::Longest).as_deref(),
            Ok("a")
        );
    }

    #[test]
    fn replaces() {
        let cases = [
            ("a", "banana", "bonono"),
            ("a?", "banana", "booa"),
            ("", "ab", "oaobo"),
            ("*", "ab\ncd", "o\no"),
            ("n*", "banana\nnn", "bao\no"),
        ];
        for (text, value, expected) in cases {
            assert_eq!(
                pattern(text).replace_all(value, "o").as_deref(),
                Ok(expected),
                "{text}"
            );
        }
        assert_eq!(pattern("an").replace("banana", "-").as_deref(), Ok("b-ana"));
    }

    #[test]
    fn a_search_does_not_explode() {
        let value = "a".repeat(20_000);
        let found = pattern("*a*a*a*a*a*a*b").replace_all(&value, "x");
        assert_eq!(found.as_deref(), Ok(value.as_str()));
    }
}
