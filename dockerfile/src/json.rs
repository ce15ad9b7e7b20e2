//! JSON arrays of strings, the exec form of commands.

/// Arrays and objects inside each other; more are no JSON, as in Go.
const DEEPEST: usize = 10_000;

/// What a text is when it is read as a JSON array of strings.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum JsonArray {
    /// An array of strings.
    Strings(Vec<String>),
    /// An array with other values.
    OtherValues,
    /// No JSON array.
    Not,
}

/// Reads a text as a JSON array of strings.
pub(crate) fn array(text: &str) -> JsonArray {
    let mut reader = Reader {
        rest: text.trim_start(),
    };
    reader
        .array()
        .filter(|_| reader.at_end())
        .unwrap_or(JsonArray::Not)
}

/// Writes strings as a JSON array.
pub(crate) fn write<'s>(strings: impl IntoIterator<Item = &'s String>) -> String {
    let quoted: Vec<_> = strings.into_iter().map(|string| quote(string)).collect();
    format!("[{}]", quoted.join(", "))
}

fn quote(string: &str) -> String {
    let mut quoted = String::from("\"");
    for character in string.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\0'..='\u{1f}' => quoted.push_str(&format!("\\u{:04x}", u32::from(character))),
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

struct Reader<'t> {
    rest: &'t str,
}

#[derive(Clone, Copy)]
enum Container {
    Array,
    Object,
}

impl Reader<'_> {
    fn array(&mut self) -> Option<JsonArray> {
        self.token('[')?;
        let mut strings = Some(Vec::new());
        if self.token(']').is_some() {
            return Some(JsonArray::Strings(Vec::new()));
        }
        loop {
            self.blanks();
            if self.rest.starts_with('"') {
                let string = self.string()?;
                strings
                    .iter_mut()
                    .for_each(|strings| strings.push(string.clone()));
            } else {
                self.value()?;
                strings = None;
            }
            if self.token(',').is_none() {
                self.token(']')?;
                return Some(strings.map_or(JsonArray::OtherValues, JsonArray::Strings));
            }
        }
    }

    fn blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn at_end(&mut self) -> bool {
        self.blanks();
        self.rest.is_empty()
    }

    fn token(&mut self, token: char) -> Option<()> {
        self.blanks();
        self.rest = self.rest.strip_prefix(token)?;
        Some(())
    }

    /// Reads a value of any kind. Iterates instead of calling itself: input may be nested deeply.
    fn value(&mut self) -> Option<()> {
        let mut open = Vec::new();
        loop {
            if let Some(container) = self.open_or_scalar()? {
                open.push(container);
                if open.len() > DEEPEST {
                    return None;
                }
                continue;
            }
            loop {
                let Some(container) = open.last().copied() else {
                    return Some(());
                };
                if self.token(',').is_some() {
                    self.key(container)?;
                    break;
                }
                self.token(container.end())?;
                open.pop();
            }
        }
    }

    /// Reads a scalar, an empty container, or the start of another one, which is returned.
    fn open_or_scalar(&mut self) -> Option<Option<Container>> {
        self.blanks();
        let container = match self.rest.chars().next()? {
            '[' => Container::Array,
            '{' => Container::Object,
            '"' => return self.string().map(|_| None),
            _ => return self.scalar().map(|()| None),
        };
        self.rest = &self.rest[1..];
        if self.token(container.end()).is_some() {
            return Some(None);
        }
        self.key(container)?;
        Some(Some(container))
    }

    fn key(&mut self, container: Container) -> Option<()> {
        if matches!(container, Container::Object) {
            self.blanks();
            self.string()?;
            self.token(':')?;
        }
        Some(())
    }

    fn scalar(&mut self) -> Option<()> {
        for word in ["true", "false", "null"] {
            if let Some(rest) = self.rest.strip_prefix(word) {
                self.rest = rest;
                return Some(());
            }
        }
        self.number()
    }

    fn number(&mut self) -> Option<()> {
        self.rest = self.rest.strip_prefix('-').unwrap_or(self.rest);
        match self.rest.strip_prefix('0') {
            Some(rest) => self.rest = rest,
            None => self.digits()?,
        }
        if let Some(rest) = self.rest.strip_prefix('.') {
            self.rest = rest;
            self.digits()?;
        }
        if let Some(rest) = self.rest.strip_prefix(['e', 'E']) {
            self.rest = rest.strip_prefix(['+', '-']).unwrap_or(rest);
            self.digits()?;
        }
        Some(())
    }

    fn digits(&mut self) -> Option<()> {
        let after = self.rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let some = after.len() < self.rest.len();
        self.rest = after;
        some.then_some(())
    }

    fn string(&mut self) -> Option<String> {
        self.rest = self.rest.strip_prefix('"')?;
        let mut string = String::new();
        loop {
            let plain = self.rest.find(['"', '\\'])?;
            let (text, rest) = self.rest.split_at(plain);
            if text.bytes().any(|byte| byte < b' ') {
                return None;
            }
            string.push_str(text);
            self.rest = &rest[1..];
            if rest.starts_with('"') {
                return Some(string);
            }
            string.push(self.escaped()?);
        }
    }

    fn escaped(&mut self) -> Option<char> {
        let kind = self.rest.chars().next()?;
        self.rest = &self.rest[kind.len_utf8()..];
        match kind {
            '"' | '\\' | '/' => Some(kind),
            'b' => Some('\u{8}'),
            'f' => Some('\u{c}'),
            'n' => Some('\n'),
            'r' => Some('\r'),
            't' => Some('\t'),
            'u' => self.unicode(),
            _ => None,
        }
    }

    /// Reads the digits after `\u`, and a second escape if they are half of a surrogate pair. A
    /// lone half becomes a replacement character, as in Go.
    fn unicode(&mut self) -> Option<char> {
        let high = self.hexadecimal()?;
        if !(0xd800..0xdc00).contains(&high) {
            return Some(char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        let before = self.rest;
        let low = self.rest.strip_prefix("\\u").and_then(|rest| {
            self.rest = rest;
            self.hexadecimal()
        });
        match low {
            Some(low @ 0xdc00..0xe000) => {
                char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00))
            }
            _ => {
                self.rest = before;
                Some(char::REPLACEMENT_CHARACTER)
            }
        }
    }

    fn hexadecimal(&mut self) -> Option<u32> {
        let digits = self.rest.get(..4)?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        self.rest = &self.rest[4..];
        u32::from_str_radix(digits, 16).ok()
    }
}

impl Container {
    fn end(self) -> char {
        match self {
            Self::Array => ']',
            Self::Object => '}',
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(items: &[&str]) -> JsonArray {
        JsonArray::Strings(items.iter().map(|item| (*item).to_owned()).collect())
    }

    #[test]
    fn arrays() {
        let cases = [
            ("[]", strings(&[])),
            (" [ \"a\" ,\t\"b\" ] ", strings(&["a", "b"])),
            (
                r#"["\"\\\/\b\f\n\r\tA☃𝄞\ud834"]"#,
                strings(&["\"\\/\u{8}\u{c}\n\r\tA☃𝄞\u{fffd}"]),
            ),
            (r#"["a", 1]"#, JsonArray::OtherValues),
            (
                r#"["a", ["b", {"c": [-1.5e+3, null, {}]}], true]"#,
                JsonArray::OtherValues,
            ),
            (r#"["a"] x"#, JsonArray::Not),
            ("['a']", JsonArray::Not),
            (r#"["a",]"#, JsonArray::Not),
            (r#"["a", 01]"#, JsonArray::Not),
            ("[\"a\tb\"]", JsonArray::Not),
            (r#"["\x"]"#, JsonArray::Not),
            (r#"["\u12"]"#, JsonArray::Not),
            ("[", JsonArray::Not),
            ("a", JsonArray::Not),
        ];
        for (text, expected) in cases {
            assert_eq!(array(text), expected, "{text}");
        }
        assert_eq!(array(&"[".repeat(1_000_000)), JsonArray::Not);
    }

    #[test]
    fn written_arrays_read_back() {
        let items = vec!["a b".to_owned(), "\"\\\n\u{1}é".to_owned(), String::new()];
        assert_eq!(array(&write(&items)), JsonArray::Strings(items));
    }
}
