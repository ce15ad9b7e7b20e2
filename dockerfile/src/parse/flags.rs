//! Reading the flags of an instruction.

use super::Failure;
use crate::error::ErrorKind;
use crate::source::Span;
use crate::suggest::nearest;
use crate::tree::Flag;

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FlagKind {
    /// `true` or `false`; `true` if it stands alone.
    Switch,
    /// A value.
    Text,
    /// A value; the flag may stand several times.
    List,
}

/// The flags that an instruction was given.
#[derive(Debug)]
pub(super) struct FlagValues {
    given: Vec<GivenFlag>,
}

#[derive(Debug)]
struct GivenFlag {
    name: String,
    value: String,
    span: Span,
}

impl FlagValues {
    /// Reads flags; fails with the first one that the instruction does not have.
    pub(super) fn read(flags: &[Flag], known: &[(&str, FlagKind)]) -> Result<Self, Failure> {
        let mut values = Self {
            given: Vec::with_capacity(flags.len()),
        };
        for flag in flags {
            let read = values.add(flag, known);
            read.map_err(|failure| Failure {
                span: Some(flag.span),
                ..failure
            })?;
        }
        Ok(values)
    }

    fn add(&mut self, flag: &Flag, known: &[(&str, FlagKind)]) -> Result<(), Failure> {
        let text = flag.text.strip_prefix("--").unwrap_or(&flag.text);
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let Some((_, kind)) = known.iter().find(|(known, _)| *known == name) else {
            return Err(unknown(name, known));
        };
        if *kind != FlagKind::List && self.find(name).is_some() {
            return Err(ErrorKind::DuplicateFlag(name.to_owned()).into());
        }
        let value = match kind {
            FlagKind::Switch => switch(name, value)?,
            _ => value.ok_or_else(|| ErrorKind::MissingFlagValue(name.to_owned()))?,
        };
        let (name, value) = (name.to_owned(), value.to_owned());
        self.given.push(GivenFlag {
            name,
            value,
            span: flag.span,
        });
        Ok(())
    }

    fn find(&self, name: &str) -> Option<&GivenFlag> {
        self.given.iter().find(|flag| flag.name == name)
    }

    /// Takes the value of a flag; an empty one counts as none.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        let at = self.given.iter().position(|flag| flag.name == name)?;
        let value = std::mem::take(&mut self.given[at].value);
        (!value.is_empty()).then_some(value)
    }

    /// Returns the value of a switch, if it was given.
    pub(super) fn switch(&self, name: &str) -> Option<bool> {
        self.find(name).map(|flag| flag.value == "true")
    }

    /// Returns all values of a flag.
    pub(super) fn list(&self, name: &str) -> Vec<String> {
        self.placed(name)
            .map(|(value, _)| value.to_owned())
            .collect()
    }

    /// Returns all values of a flag with their places.
    pub(super) fn placed(&self, name: &str) -> impl Iterator<Item = (&str, Span)> {
        let named = self.given.iter().filter(move |flag| flag.name == name);
        named.map(|flag| (flag.value.as_str(), flag.span))
    }

    /// Reads the value of a flag; an empty one counts as none.
    pub(super) fn read_as<T>(
        &self,
        name: &str,
        read: impl FnOnce(&str) -> Result<T, ErrorKind>,
    ) -> Result<Option<T>, Failure> {
        let Some(flag) = self.find(name).filter(|flag| !flag.value.is_empty()) else {
            return Ok(None);
        };
        let failed = |kind| Failure {
            span: Some(flag.span),
            ..Failure::from(kind)
        };
        read(&flag.value).map(Some).map_err(failed)
    }

    /// Returns the names of the flags in the order given.
    pub(super) fn names(&self) -> Vec<String> {
        self.given.iter().map(|flag| flag.name.clone()).collect()
    }
}

fn unknown(name: &str, known: &[(&str, FlagKind)]) -> Failure {
    Failure {
        suggestion: nearest(name, known.iter().map(|(name, _)| *name)).map(str::to_owned),
        ..Failure::from(ErrorKind::UnknownFlag(name.to_owned()))
    }
}

fn switch<'v>(name: &str, value: Option<&'v str>) -> Result<&'v str, ErrorKind> {
    match value.map(str::to_ascii_lowercase).as_deref() {
        None | Some("true") => Ok("true"),
        Some("false") => Ok("false"),
        Some("") => Err(ErrorKind::MissingFlagValue(name.to_owned())),
        Some(_) => Err(ErrorKind::NotBoolean {
            flag: name.to_owned(),
            value: value.unwrap_or_default().to_owned(),
        }),
    }
}
