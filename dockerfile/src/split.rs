//! Splitting an instruction's line: keyword, flags, words, and blank-separated lists.

/// A piece of a line with its place in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    /// The text; of a flag without quotes and escapes.
    pub(crate) text: String,
    /// Offset of its first byte in the line.
    pub(crate) start: usize,
    /// Offset after its last byte in the line.
    pub(crate) end: usize,
}

/// An instruction's line in its parts.
#[derive(Debug)]
pub(crate) struct Parts<'l> {
    pub(crate) keyword: &'l str,
    pub(crate) keyword_start: usize,
    pub(crate) flags: Vec<Word>,
    pub(crate) rest: &'l str,
    pub(crate) rest_start: usize,
}

/// Tells whether a character separates the arguments of a list.
pub(crate) fn is_separator(character: char) -> bool {
    matches!(character, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ')
}

/// Splits a line into keyword, flags and the rest.
pub(crate) fn parts(line: &str) -> Parts<'_> {
    let keyword_start = line.len() - line.trim_start().len();
    let trimmed = line.trim();
    let length = trimmed.find(is_separator).unwrap_or(trimmed.len());
    let (keyword, after) = trimmed.split_at(length);
    let (flags, flags_length) = flags(after, keyword_start + length);
    let after_flags = &after[flags_length..];
    let rest = after_flags.trim();
    let blanks = after_flags.len() - after_flags.trim_start().len();
    let rest_start = keyword_start + length + flags_length + blanks;
    Parts {
        keyword,
        keyword_start,
        flags,
        rest,
        rest_start,
    }
}

/// Reads the words that begin with `--` at the start of a text, up to `--` or another word.
///
/// Returns them, placed at `base` plus their offset, and the length of what was read. The escape
/// of a flag is `\`, whatever the escape directive says.
fn flags(text: &str, base: usize) -> (Vec<Word>, usize) {
    let mut flags = Vec::new();
    let mut at = 0;
    loop {
        let start = at + (text[at..].len() - text[at..].trim_start().len());
        if !text[start..].starts_with("--") {
            return (flags, start);
        }
        let (word, length) = flag(&text[start..]);
        at = start + length;
        if word == "--" {
            return (flags, at);
        }
        flags.push(Word {
            text: word,
            start: base + start,
            end: base + at,
        });
    }
}

/// Reads one flag and returns it without quotes and escapes, and its length as written.
fn flag(text: &str) -> (String, usize) {
    let mut word = String::new();
    let mut quote = None;
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match quote {
            None if character.is_whitespace() => return (word, at),
            None if matches!(character, '\'' | '"') => quote = Some(character),
            Some(open) if character == open => quote = None,
            _ if character == '\\' => word.extend(characters.next().map(|(_, escaped)| escaped)),
            _ => word.push(character),
        }
    }
    (word, text.len())
}

/// Splits at separators; there are no quotes. An empty text has no items.
pub(crate) fn list(text: &str) -> Vec<String> {
    if text.is_empty() {
        return Vec::new();
    }
    text.split(is_separator)
        .filter(|item| !item.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Splits into words at blanks outside quotes; quotes and escapes stay in the words.
pub(crate) fn words(text: &str, escape: char) -> Vec<Word> {
    let mut words = Vec::new();
    let mut at = 0;
    loop {
        let start = at + (text[at..].len() - text[at..].trim_start().len());
        if start == text.len() {
            return words;
        }
        let (word, length) = word(&text[start..], escape);
        at = start + length;
        if !word.is_empty() {
            words.push(Word {
                text: word,
                start,
                end: at,
            });
        }
    }
}

/// Reads a word and returns it, less an escape at the very end, and its length as written.
fn word(text: &str, escape: char) -> (String, usize) {
    let mut quote = None;
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match quote {
            None if character.is_whitespace() => return (text[..at].to_owned(), at),
            None if matches!(character, '\'' | '"') => quote = Some(character),
            Some(open) if character == open => quote = None,
            Some('\'') => {}
            _ if character == escape && characters.next().is_none() => {
                return (text[..at].to_owned(), text.len());
            }
            _ => {}
        }
    }
    (text.to_owned(), text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_parts(line: &str, keyword: &str, expected: &[&str], rest: &str) {
        let found = parts(line);
        let texts: Vec<_> = found.flags.iter().map(|flag| flag.text.as_str()).collect();
        assert_eq!(
            (found.keyword, texts.as_slice(), found.rest),
            (keyword, expected, rest)
        );
        assert!(line[found.rest_start..].starts_with(rest), "{line}");
        assert!(line[found.keyword_start..].starts_with(keyword), "{line}");
    }

    #[test]
    fn splits_off_keyword_and_flags() {
        check_parts(" COPY\t--a=b  --c x  y ", "COPY", &["--a=b", "--c"], "x  y");
        check_parts("COPY -- --x y", "COPY", &[], "--x y");
        check_parts(
            "RUN --a='b c' --d=\\\"e -x",
            "RUN",
            &["--a=b c", "--d=\"e"],
            "-x",
        );
        check_parts("RUN --a=\"b", "RUN", &["--a=b"], "");
        check_parts("RUN --é x", "RUN", &["--é"], "x");
        check_parts("RUN", "RUN", &[], "");
        check_parts("", "", &[], "");
    }

    #[test]
    fn splits_words() {
        let cases: [(&str, &[&str]); 6] = [
            ("a=b c", &["a=b", "c"]),
            ("a=\"b c\" d='e\\' f", &["a=\"b c\"", "d='e\\'", "f"]),
            ("a=b\\ c\\", &["a=b\\ c"]),
            ("\"a\\\" b\"", &["\"a\\\" b\""]),
            ("  ", &[]),
            ("a=\"b\\", &["a=\"b"]),
        ];
        for (text, expected) in cases {
            let found = words(text, '\\');
            let found: Vec<_> = found.iter().map(|word| word.text.as_str()).collect();
            assert_eq!(found, expected, "{text}");
        }
    }
}
