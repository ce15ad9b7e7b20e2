//! The functions: Go's own and those that docker adds.

use std::cmp::Ordering;

use serde_json::Value;

use super::compare;
use super::datum::{Datum, Shape};
use super::print;
use super::printf;

/// What a function may complain about.
#[derive(Debug)]
pub(super) enum Fault {
    /// The number of arguments; told at the function's name.
    Count(String),
    /// One argument, by its index, has a type that the function does not take.
    Argument(usize, String),
    /// Anything else; told at the whole command.
    Call(String),
}

/// How many arguments a function takes.
struct Arity {
    least: usize,
    most: Option<usize>,
}

const NAMES: &[&str] = &[
    "and", "eq", "ge", "gt", "html", "index", "join", "js", "json", "le", "len", "lower", "lt",
    "ne", "not", "or", "pad", "print", "printf", "println", "slice", "split", "title", "truncate",
    "upper", "urlquery",
];

/// Tells whether there is a function of that name.
pub(super) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

fn arity(name: &str) -> Arity {
    let (least, most) = match name {
        "json" | "len" | "lower" | "not" | "title" | "upper" => (1, Some(1)),
        "ge" | "gt" | "join" | "le" | "lt" | "ne" | "split" | "truncate" => (2, Some(2)),
        "pad" => (3, Some(3)),
        "html" | "js" | "print" | "println" | "urlquery" => (0, None),
        _ => (1, None),
    };
    Arity { least, most }
}

/// Calls the function `name`. `and` and `or` come here too, with arguments that were evaluated.
pub(super) fn call<'d>(name: &str, arguments: &[Datum<'d>]) -> Result<Datum<'d>, Fault> {
    check_count(name, arguments.len())?;
    let by_name = |message| Fault::Call(format!("error calling {name}: {message}"));
    let (first, rest) = match arguments.split_first() {
        Some((first, rest)) => (first.clone(), rest),
        None => (Datum::null(), arguments),
    };
    let ordering = |wanted: &[Ordering]| {
        let order = compare::order(&first, &rest[0]).map_err(by_name)?;
        Ok(Datum::new(wanted.contains(&order)))
    };
    match name {
        "and" | "or" => Ok(logic(name, arguments)),
        "not" => Ok(Datum::new(!first.is_true())),
        "eq" => compare::equal(&first, rest)
            .map(Datum::new)
            .map_err(by_name),
        "ne" => compare::equal(&first, rest)
            .map(|equal| Datum::new(!equal))
            .map_err(by_name),
        "lt" => ordering(&[Ordering::Less]),
        "le" => ordering(&[Ordering::Less, Ordering::Equal]),
        "gt" => ordering(&[Ordering::Greater]),
        "ge" => ordering(&[Ordering::Greater, Ordering::Equal]),
        "index" => index(first, rest).map_err(by_name),
        "slice" => slice(&first, rest).map_err(by_name),
        "len" => length(&first).map(Datum::new).map_err(by_name),
        "print" => Ok(Datum::new(printf::sprint(arguments))),
        "println" => Ok(Datum::new(printf::sprintln(arguments))),
        "printf" => Ok(Datum::new(printf::sprintf(text(arguments, 0)?, rest))),
        "json" => Ok(Datum::new(first.value.to_string())),
        "html" => Ok(Datum::new(html(&plain(arguments)))),
        "js" => Ok(Datum::new(javascript(&plain(arguments)))),
        "urlquery" => Ok(Datum::new(url_query(&plain(arguments)))),
        _ => call_text(name, arguments),
    }
}

fn check_count(name: &str, count: usize) -> Result<(), Fault> {
    let Arity { least, most } = arity(name);
    let wanted = match most {
        Some(most) if count < least || count > most => most.to_string(),
        None if count < least => format!("at least {least}"),
        _ => return Ok(()),
    };
    let message = format!("wrong number of args for {name}: want {wanted} got {count}");
    Err(Fault::Count(message))
}

/// The functions over text that docker adds.
fn call_text<'d>(name: &str, arguments: &[Datum<'d>]) -> Result<Datum<'d>, Fault> {
    if name == "join" {
        return join(arguments);
    }
    let source = text(arguments, 0)?;
    let result = match name {
        "lower" => source.to_lowercase(),
        "upper" => source.to_uppercase(),
        "title" => title(source),
        "split" => return split(source, text(arguments, 1)?),
        "truncate" => match usize::try_from(integer(arguments, 1)?) {
            Ok(length) => source.get(..length).unwrap_or(source).to_owned(),
            Err(_) => {
                return Err(Fault::Call(
                    "error calling truncate: slice bounds out of range".into(),
                ));
            }
        },
        "pad" => {
            let width = |index| Ok(usize::try_from(integer(arguments, index)?).unwrap_or(0));
            let (before, after) = (width(1)?, width(2)?);
            match source {
                "" => String::new(),
                source => format!("{}{source}{}", " ".repeat(before), " ".repeat(after)),
            }
        }
        _ => unreachable!("the parser knows which functions there are"),
    };
    Ok(Datum::new(result))
}

fn wrong_type(arguments: &[Datum<'_>], index: usize, expected: &str) -> Fault {
    let got = arguments[index].type_name();
    let got = if got == "<nil>" { "interface {}" } else { got };
    let message = format!("wrong type for value; expected {expected}; got {got}");
    Fault::Argument(index, message)
}

fn text<'a>(arguments: &'a [Datum<'_>], index: usize) -> Result<&'a str, Fault> {
    let text = arguments[index].value.as_str();
    text.ok_or_else(|| wrong_type(arguments, index, "string"))
}

fn integer(arguments: &[Datum<'_>], index: usize) -> Result<i64, Fault> {
    let integer = arguments[index].value.as_i64();
    integer.ok_or_else(|| wrong_type(arguments, index, "int"))
}

fn logic<'d>(name: &str, arguments: &[Datum<'d>]) -> Datum<'d> {
    let decisive = name == "or";
    let found = arguments
        .iter()
        .find(|argument| argument.is_true() == decisive);
    found
        .or(arguments.last())
        .cloned()
        .unwrap_or_else(Datum::null)
}

fn index<'d>(item: Datum<'d>, keys: &[Datum<'_>]) -> Result<Datum<'d>, String> {
    keys.iter()
        .try_fold(item, |item, key| match (item.value.as_ref(), item.shape) {
            _ if item.is_nil() => Err("index of untyped nil".to_owned()),
            (Value::Object(_), _) | (Value::Null, Shape::TextMap | Shape::Map) => {
                member(&item, key)
            }
            (Value::Array(_) | Value::Null, _) => {
                let position = position(key)?;
                let element = usize::try_from(position)
                    .ok()
                    .and_then(|index| item.element(index));
                element.ok_or_else(|| format!("index out of range: {position}"))
            }
            (Value::String(text), _) => {
                let position = position(key)?;
                let byte = usize::try_from(position)
                    .ok()
                    .and_then(|index| text.as_bytes().get(index));
                byte.map(|byte| Datum::new(*byte))
                    .ok_or_else(|| format!("index out of range: {position}"))
            }
            _ => Err(format!("can't index item of type {}", item.type_name())),
        })
}

fn member<'d>(item: &Datum<'d>, key: &Datum<'_>) -> Result<Datum<'d>, String> {
    if key.is_nil() {
        return Err("value is nil; should be of type string".into());
    }
    let Some(name) = key.value.as_str() else {
        let got = key.type_name();
        return Err(format!("value has type {got}; should be string"));
    };
    let absent = match item.shape {
        Shape::TextMap => Datum::new(""),
        _ => Datum::missing(),
    };
    Ok(item.member(name, Shape::Plain).unwrap_or(absent))
}

fn position(key: &Datum<'_>) -> Result<i64, String> {
    if key.is_nil() {
        return Err("cannot index slice/array with nil".into());
    }
    let position = key.value.as_i64();
    position.ok_or_else(|| format!("cannot index slice/array with type {}", key.type_name()))
}

fn slice<'d>(item: &Datum<'_>, bounds: &[Datum<'_>]) -> Result<Datum<'d>, String> {
    let length = match item.value.as_ref() {
        Value::String(_) if bounds.len() > 2 => {
            return Err("cannot 3-index slice a string".into());
        }
        Value::String(text) => text.len(),
        Value::Array(items) => items.len(),
        Value::Null => return Err("slice of untyped nil".into()),
        _ => return Err(format!("can't slice item of type {}", item.type_name())),
    };
    if bounds.len() > 3 {
        return Err(format!("too many slice indexes: {}", bounds.len()));
    }
    let bound = |index: usize, default: usize| match bounds.get(index) {
        None => Ok(default),
        Some(key) => {
            let position = position(key)?;
            let inside = usize::try_from(position)
                .ok()
                .filter(|index| *index <= length);
            inside.ok_or_else(|| format!("index out of range: {position}"))
        }
    };
    let (start, end) = (bound(0, 0)?, bound(1, length)?);
    if start > end {
        return Err(format!("invalid slice index: {start} > {end}"));
    }
    Ok(match item.value.as_ref() {
        Value::Array(items) => Datum::new(items[start..end].to_vec()),
        value => {
            let bytes = &value.as_str().unwrap_or_default().as_bytes()[start..end];
            Datum::new(String::from_utf8_lossy(bytes).into_owned())
        }
    })
}

fn length(item: &Datum<'_>) -> Result<usize, String> {
    match item.value.as_ref() {
        Value::String(text) => Ok(text.len()),
        Value::Array(items) => Ok(items.len()),
        Value::Object(map) => Ok(map.len()),
        Value::Null if !item.is_nil() && item.shape != Shape::Pointer => Ok(0),
        Value::Null => Err("len of nil pointer".into()),
        _ => Err(format!("len of type {}", item.type_name())),
    }
}

fn join<'d>(arguments: &[Datum<'d>]) -> Result<Datum<'d>, Fault> {
    let separator = text(arguments, 1)?;
    match arguments[0].value.as_ref() {
        Value::Array(items) => {
            let texts: Vec<_> = items.iter().map(print::text).collect();
            Ok(Datum::new(texts.join(separator)))
        }
        Value::Null if arguments[0].shape == Shape::List => Ok(Datum::new("")),
        _ => Err(wrong_type(arguments, 0, "[]string")),
    }
}

fn split<'d>(source: &str, separator: &str) -> Result<Datum<'d>, Fault> {
    let parts: Vec<Value> = match separator {
        "" => source
            .chars()
            .map(|c| Value::String(c.to_string()))
            .collect(),
        _ => source.split(separator).map(Value::from).collect(),
    };
    Ok(Datum::new(parts))
}

/// Go's `strings.Title`: the first letter of each word.
fn title(source: &str) -> String {
    let mut former = ' ';
    let mut out = String::new();
    for character in source.chars() {
        match former.is_alphanumeric() || former == '_' {
            true => out.push(character),
            false => out.extend(character.to_uppercase()),
        }
        former = character;
    }
    out
}

/// What the escaping functions escape: the text itself, or what `print` makes of the arguments.
fn plain(arguments: &[Datum<'_>]) -> String {
    match arguments {
        [only] => print::action(only),
        several => printf::sprint(several),
    }
}

fn html(text: &str) -> String {
    let escape = |character| match character {
        '"' => "&#34;".to_owned(),
        '\'' => "&#39;".to_owned(),
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '\0' => "\u{fffd}".to_owned(),
        other => other.to_string(),
    };
    text.chars().map(escape).collect()
}

fn javascript(text: &str) -> String {
    let escape = |character| match character {
        '\\' => "\\\\".to_owned(),
        '\'' => "\\'".to_owned(),
        '"' => "\\\"".to_owned(),
        '<' | '>' | '&' | '=' => format!("\\u{:04X}", u32::from(character)),
        c if u32::from(c) < 0x20 => format!("\\u{:04X}", u32::from(c)),
        other => other.to_string(),
    };
    text.chars().map(escape).collect()
}

fn url_query(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
            char::from(byte).to_string()
        }
        b' ' => "+".to_owned(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(escape).collect()
}
