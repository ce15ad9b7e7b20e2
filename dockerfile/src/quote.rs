//! Quoting of text in messages and syntax trees, as Go's `strconv.Quote` writes it.

use std::fmt::{self, Write};

/// Displays a text between double quotes, with what can't be printed escaped.
pub(crate) struct Quoted<'t>(pub(crate) &'t str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        self.0
            .chars()
            .try_for_each(|character| write_escaped(f, character))?;
        f.write_char('"')
    }
}

fn write_escaped(f: &mut fmt::Formatter<'_>, character: char) -> fmt::Result {
    match character {
        '"' => f.write_str("\\\""),
        '\\' => f.write_str("\\\\"),
        '\u{7}' => f.write_str("\\a"),
        '\u{8}' => f.write_str("\\b"),
        '\u{c}' => f.write_str("\\f"),
        '\n' => f.write_str("\\n"),
        '\r' => f.write_str("\\r"),
        '\t' => f.write_str("\\t"),
        '\u{b}' => f.write_str("\\v"),
        ' '..='~' => f.write_char(character),
        '\0'..='\u{7f}' => write!(f, "\\x{:02x}", u32::from(character)),
        _ if is_printable(character) => f.write_char(character),
        '\u{80}'..='\u{ffff}' => write!(f, "\\u{:04x}", u32::from(character)),
        _ => write!(f, "\\U{:08x}", u32::from(character)),
    }
}

/// Tells whether a character outside ASCII is a letter, mark, number, punctuation or symbol.
fn is_printable(character: char) -> bool {
    // `escape_debug` of a string escapes a combining mark only at its start.
    let mut bytes = [0; 4];
    let after_letter = ['a', character].iter().collect::<String>();
    after_letter
        .escape_debug()
        .skip(1)
        .eq(character.encode_utf8(&mut bytes).chars())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_as_go_does() {
        let cases = [
            ("a b", r#""a b""#),
            ("\"\\/", r#""\"\\/""#),
            (
                "\u{8}\u{c}\n\r\t\u{0}\u{7}\u{b}\u{7f}",
                r#""\b\f\n\r\t\x00\a\v\x7f""#,
            ),
            ("♥☃e\u{301}", "\"♥☃e\u{301}\""),
            ("\u{a0}\u{feff}\u{10ffff}", r#""\u00a0\ufeff\U0010ffff""#),
        ];
        for (text, quoted) in cases {
            assert_eq!(Quoted(text).to_string(), quoted);
        }
    }
}
