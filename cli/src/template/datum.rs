//! Values while a template runs.

use std::borrow::Cow;

use serde_json::Value;

/// A JSON value, and what Go's type says about it where that matters.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Datum<'d> {
    pub(super) value: Cow<'d, Value>,
    pub(super) shape: Shape,
}

/// What Go's type of a value is, beyond what its JSON shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// What it looks like.
    Plain,
    /// `map[string]string`: a missing key has no value, and indexing yields an empty text.
    TextMap,
    /// A map of other things: a missing key has no value.
    Map,
    /// A list, also when it is null.
    List,
    /// A pointer that is null.
    Pointer,
    /// Nothing: a key that is not there.
    Missing,
}

/// Names of the fields that are maps or lists in Go's types, wherever they occur.
///
/// In docker's types a null there is an empty map or list, and a key missing from a map is no
/// error, unlike a field missing from a struct.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Shapes {
    /// Fields that are a `map[string]string`, such as `Labels`.
    pub(crate) text_maps: &'static [&'static str],
    /// Fields that are maps of anything else, such as `Ports`.
    pub(crate) maps: &'static [&'static str],
    /// Fields that are lists, such as `Entrypoint`.
    pub(crate) lists: &'static [&'static str],
    /// Texts that docker's JSON leaves out when they are empty, such as `Variant`.
    pub(crate) optional_texts: &'static [&'static str],
    /// Other fields that it leaves out when they are null, such as `Healthcheck`.
    pub(crate) optional: &'static [&'static str],
}

impl Shapes {
    pub(super) fn of(self, field: &str) -> Shape {
        if self.text_maps.contains(&field) {
            Shape::TextMap
        } else if self.maps.contains(&field) {
            Shape::Map
        } else if self.lists.contains(&field) {
            Shape::List
        } else {
            Shape::Plain
        }
    }

    /// Returns what a field of a struct is that its JSON leaves out.
    pub(super) fn absent<'d>(self, field: &str) -> Option<Datum<'d>> {
        if self.optional_texts.contains(&field) {
            return Some(Datum::new(""));
        }
        let shape = match self.of(field) {
            Shape::Plain => Shape::Pointer,
            shape => shape,
        };
        let is_optional = self.optional.contains(&field);
        is_optional.then(|| Datum {
            shape,
            ..Datum::null()
        })
    }
}

impl<'d> Datum<'d> {
    pub(super) fn new(value: impl Into<Value>) -> Self {
        Self {
            value: Cow::Owned(value.into()),
            shape: Shape::Plain,
        }
    }

    pub(super) fn borrowed(value: &'d Value, shape: Shape) -> Self {
        Self {
            value: Cow::Borrowed(value),
            shape,
        }
    }

    pub(super) fn null() -> Self {
        Self::new(Value::Null)
    }

    pub(super) fn missing() -> Self {
        Self {
            shape: Shape::Missing,
            ..Self::null()
        }
    }

    /// Tells whether Go takes it for true: anything but zero, empty and nil.
    pub(super) fn is_true(&self) -> bool {
        match self.value.as_ref() {
            Value::Null => false,
            Value::Bool(value) => *value,
            Value::Number(number) => number.as_f64() != Some(0.0),
            Value::String(text) => !text.is_empty(),
            Value::Array(items) => !items.is_empty(),
            Value::Object(map) => !map.is_empty(),
        }
    }

    /// Tells whether it is an untyped nil.
    pub(super) fn is_nil(&self) -> bool {
        self.value.is_null() && matches!(self.shape, Shape::Plain | Shape::Missing)
    }

    /// Returns the member `name` of an object, borrowed where the object is.
    pub(super) fn member(&self, name: &str, shape: Shape) -> Option<Self> {
        match &self.value {
            Cow::Borrowed(value) => value.get(name).map(|value| Self::borrowed(value, shape)),
            Cow::Owned(value) => value.get(name).map(|value| Self {
                value: Cow::Owned(value.clone()),
                shape,
            }),
        }
    }

    /// Returns an element of a list, borrowed where the list is.
    pub(super) fn element(&self, index: usize) -> Option<Self> {
        match &self.value {
            Cow::Borrowed(value) => value
                .get(index)
                .map(|value| Self::borrowed(value, Shape::Plain)),
            Cow::Owned(value) => value.get(index).cloned().map(Self::new),
        }
    }

    /// Returns the keys of an object, sorted as Go visits them.
    pub(super) fn sorted_keys(&self) -> Vec<String> {
        let mut keys = match self.value.as_object() {
            Some(map) => map.keys().cloned().collect(),
            None => Vec::new(),
        };
        keys.sort();
        keys
    }

    /// Returns the name of Go's type.
    pub(super) fn type_name(&self) -> &'static str {
        match (self.value.as_ref(), self.shape) {
            (_, Shape::TextMap) => "map[string]string",
            (Value::Null, Shape::Map) => "map[string]interface {}",
            (Value::Null, Shape::List) => "[]interface {}",
            (value, _) => type_name(value),
        }
    }
}

/// Returns the name of the Go type that a JSON value is decoded to.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
