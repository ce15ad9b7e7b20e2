//! Go's constants: numbers and quoted text.

use serde_json::{Number, Value};

/// Returns how many bytes of `text` belong to a number.
pub(super) fn length(text: &str) -> usize {
    let sign = usize::from(text.starts_with(['+', '-']));
    let hexadecimal = text[sign..].starts_with("0x") || text[sign..].starts_with("0X");
    let mut exponent = false;
    let mut end = sign;
    for character in text[sign..].chars() {
        let signed = exponent && matches!(character, '+' | '-');
        let letter = match character {
            'x' | 'X' | 'o' | 'O' | 'b' | 'B' if end == sign + 1 => true,
            'e' | 'E' if !hexadecimal => true,
            'a'..='f' | 'A'..='F' => hexadecimal,
            '.' | '_' | '0'..='9' => true,
            _ => false,
        };
        if !letter && !signed {
            break;
        }
        exponent = !hexadecimal && matches!(character, 'e' | 'E');
        end += character.len_utf8();
    }
    end
}

/// Parses an integer or a floating-point constant.
pub(super) fn parse(text: &str) -> Option<Value> {
    let plain = text.replace('_', "");
    if let Some(integer) = integer(&plain) {
        return Some(Value::from(integer));
    }
    let unsigned = plain.trim_start_matches(['+', '-']);
    let digits = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let float: f64 = plain.parse().ok().filter(|_| digits)?;
    // Go lets a float constant that is whole be an integer, such as `1e3`.
    if float.fract() == 0.0 && float.abs() < 1e15 && !plain.contains('.') {
        #[expect(clippy::cast_possible_truncation, reason = "whole and below 1e15")]
        return Some(Value::from(float as i64));
    }
    Number::from_f64(float).map(Value::Number)
}

fn integer(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let radixes = [("0x", 16), ("0o", 8), ("0b", 2)];
    let prefixed = radixes
        .iter()
        .find_map(|(prefix, radix)| Some((lower.strip_prefix(prefix)?, *radix)));
    let (digits, radix) = match prefixed {
        Some(found) => found,
        None if lower.len() > 1 && lower.starts_with('0') => (&lower[1..], 8),
        None => (lower.as_str(), 10),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let value = i64::from_str_radix(digits, radix).ok()?;
    Some(if negative { -value } else { value })
}

/// Reads a constant in `quote` characters at the start of `text`: its value and its length.
pub(super) fn unquote(text: &str, quote: char) -> Option<(String, usize)> {
    let mut bytes = Vec::new();
    let mut rest = text.strip_prefix(quote)?.chars();
    loop {
        match rest.next()? {
            '\n' => return None,
            '\\' => escape(&mut rest, quote, &mut bytes)?,
            c if c == quote => break,
            c => push(&mut bytes, c),
        }
    }
    let value = String::from_utf8_lossy(&bytes).into_owned();
    Some((value, text.len() - rest.as_str().len()))
}

fn push(bytes: &mut Vec<u8>, character: char) {
    bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Reads what follows a backslash.
fn escape(rest: &mut std::str::Chars<'_>, quote: char, bytes: &mut Vec<u8>) -> Option<()> {
    let character = rest.next()?;
    match character {
        'a' => bytes.push(7),
        'b' => bytes.push(8),
        'f' => bytes.push(12),
        'n' => bytes.push(b'\n'),
        'r' => bytes.push(b'\r'),
        't' => bytes.push(b'\t'),
        'v' => bytes.push(11),
        '\\' => bytes.push(b'\\'),
        c if c == quote => push(bytes, c),
        'x' => bytes.push(u8::try_from(digits(rest, 2, 16)?).ok()?),
        'u' => push(bytes, char::from_u32(digits(rest, 4, 16)?)?),
        'U' => push(bytes, char::from_u32(digits(rest, 8, 16)?)?),
        '0'..='7' => {
            let high = character.to_digit(8)? * 64;
            bytes.push(u8::try_from(high + digits(rest, 2, 8)?).ok()?);
        }
        _ => return None,
    }
    Some(())
}

fn digits(rest: &mut std::str::Chars<'_>, count: usize, radix: u32) -> Option<u32> {
    (0..count).try_fold(0, |value, _| {
        Some(value * radix + rest.next()?.to_digit(radix)?)
    })
}
