//! How Go writes values: its `%v`.

use serde_json::{Number, Value};

use super::datum::{Datum, Shape};

/// Writes what an action prints.
pub(super) fn action(datum: &Datum<'_>) -> String {
    if datum.is_nil() {
        return "<no value>".into();
    }
    datum_text(datum)
}

/// Writes a value as `%v` does.
pub(super) fn datum_text(datum: &Datum<'_>) -> String {
    match (datum.value.as_ref(), datum.shape) {
        (Value::Null, Shape::TextMap | Shape::Map) => "map[]".into(),
        (Value::Null, Shape::List) => "[]".into(),
        (value, _) => text(value),
    }
}

/// Writes a JSON value as `%v` does.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::Bool(value) => value.to_string(),
        Value::Number(value) => number(value),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(text).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(map) => {
            let mut keys: Vec<_> = map.keys().collect();
            keys.sort();
            let pairs: Vec<_> = keys
                .iter()
                .map(|key| format!("{key}:{}", text(&map[key.as_str()])))
                .collect();
            format!("map[{}]", pairs.join(" "))
        }
    }
}

fn number(number: &Number) -> String {
    match number.as_f64() {
        Some(value) if number.is_f64() => general(value),
        _ => number.to_string(),
    }
}

/// Writes a float as `%v` does: the shortest digits, an exponent below 1e-4 and from 1e21.
pub(super) fn general(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-4..1e21).contains(&magnitude) {
        return exponent(value, None);
    }
    value.to_string()
}

/// Writes a float with an exponent of at least two digits.
pub(super) fn exponent(value: f64, precision: Option<usize>) -> String {
    let text = match precision {
        Some(precision) => format!("{value:.precision$e}"),
        None => format!("{value:e}"),
    };
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}

/// Quotes a text as Go's `%q` does.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            c if u32::from(c) < 0x20 || c == '\u{7f}' => {
                quoted.push_str(&format!("\\x{:02x}", u32::from(c)));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
