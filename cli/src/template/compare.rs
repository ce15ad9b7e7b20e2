//! `eq`, `ne`, `lt`, `le`, `gt`, `ge`.

use std::cmp::Ordering;

use serde_json::Value;

use super::datum::{Datum, type_name};
use super::print;

/// Go's classes of values that can be compared with each other.
#[derive(PartialEq, Eq)]
enum Kind {
    Bool,
    Integer,
    Float,
    Text,
    Other,
}

fn kind(value: &Value) -> Kind {
    match value {
        Value::Bool(_) => Kind::Bool,
        Value::Number(number) if number.is_f64() => Kind::Float,
        Value::Number(_) => Kind::Integer,
        Value::String(_) => Kind::Text,
        _ => Kind::Other,
    }
}

/// Tells whether `first` equals any of `others`.
pub(super) fn equal(first: &Datum<'_>, others: &[Datum<'_>]) -> Result<bool, String> {
    check_comparable(&first.value)?;
    if others.is_empty() {
        return Err("missing argument for comparison".into());
    }
    for other in others {
        if equal_pair(&first.value, &other.value)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn equal_pair(first: &Value, second: &Value) -> Result<bool, String> {
    check_comparable(second)?;
    if first.is_null() || second.is_null() {
        return Ok(first.is_null() && second.is_null());
    }
    if kind(first) != kind(second) {
        return Err("incompatible types for comparison".into());
    }
    Ok(first == second)
}

fn check_comparable(value: &Value) -> Result<(), String> {
    match value {
        Value::Array(_) | Value::Object(_) => {
            let (text, name) = (print::text(value), type_name(value));
            Err(format!("non-comparable type {text}: {name}"))
        }
        _ => Ok(()),
    }
}

/// Orders two values.
pub(super) fn order(first: &Datum<'_>, second: &Datum<'_>) -> Result<Ordering, String> {
    let (first, second) = (first.value.as_ref(), second.value.as_ref());
    let (one, two) = (kind(first), kind(second));
    if one == Kind::Other || two == Kind::Other {
        return Err("invalid type for comparison".into());
    }
    if one != two {
        return Err("incompatible types for comparison".into());
    }
    let ordering = match one {
        Kind::Text => first.as_str().cmp(&second.as_str()),
        Kind::Integer => integer(first).cmp(&integer(second)),
        Kind::Float => first
            .as_f64()
            .partial_cmp(&second.as_f64())
            .unwrap_or(Ordering::Equal),
        Kind::Bool | Kind::Other => return Err("invalid type for comparison".into()),
    };
    Ok(ordering)
}

fn integer(value: &Value) -> Option<i128> {
    let unsigned = value.as_u64().map(i128::from);
    value.as_i64().map(i128::from).or(unsigned)
}
