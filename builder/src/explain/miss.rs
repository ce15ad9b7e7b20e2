//! Why no earlier result served, as data and in words.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a step ran: the first input that changed, and all others that did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Miss {
    /// What changed, in the order of the key; the first one is the reason. Never empty.
    pub reasons: Vec<Reason>,
    /// The build that it was compared with; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compared: Option<String>,
}

/// One thing that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Reason {
    /// No earlier build is known that had this step.
    New,
    /// The build was told not to reuse.
    Disabled {
        /// The flag.
        flag: String,
    },
    /// The inputs are the same, but the step failed the last time.
    Failed,
    /// The inputs are the same, but the earlier result was removed.
    Removed,
    /// What the step stands on changed.
    Below {
        /// The step below, by the name that progress shows, or a base.
        step: String,
    },
    /// The base image changed.
    Base {
        /// The former name and digest.
        old: (String, String),
        /// The present ones.
        new: (String, String),
    },
    /// The instruction is written otherwise.
    Instruction {
        /// As it was.
        old: String,
        /// As it is.
        new: String,
    },
    /// A build argument.
    Argument(Change),
    /// A variable of the environment.
    Variable(Change),
    /// Files that the step reads.
    Files(FileChanges),
    /// Anything else that enters the key.
    Input(Change),
}

/// A value that changed. The value of what is named like a secret is never shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What it is the value of.
    pub name: String,
    /// As it was; absent when it was not set.
    pub old: Option<String>,
    /// As it is; absent when it is not set.
    pub new: Option<String>,
}

/// Files that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileChanges {
    /// Where the files come from.
    pub place: String,
    /// How many files the step reads now.
    pub total: usize,
    /// How many of them changed, came or went.
    pub changed: usize,
    /// The first of these, by path.
    pub files: Vec<FileChange>,
}

/// One file that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileChange {
    /// Its path in the source.
    pub path: String,
    /// What about it.
    pub change: FileChangeKind,
}

/// What changed about a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileChangeKind {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// Its type.
    Type(String, String),
    /// Its permission bits, in octal.
    Mode(String, String),
    /// Its user and group.
    Owner(String, String),
    /// Its content, or where it links to.
    Content,
}

/// How many files a short text names.
const NAMED_FILES: usize = 3;

/// How many characters of a value a short text shows.
const SHOWN_CHARACTERS: usize = 60;

impl Miss {
    /// A flag of the build forbids reuse.
    pub(crate) fn disabled(flag: String) -> Self {
        Self::only(Reason::Disabled { flag })
    }

    /// The only reason.
    pub(crate) fn only(reason: Reason) -> Self {
        Self {
            reasons: vec![reason],
            compared: None,
        }
    }
}

/// The first reason in a few words.
impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reasons.first() {
            Some(reason) => reason.fmt(f),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => write!(f, "no earlier build has this step"),
            Self::Disabled { flag } => write!(f, "{flag}"),
            Self::Failed => write!(f, "it failed the last time"),
            Self::Removed => write!(f, "the earlier result was removed"),
            Self::Below { step } => write!(f, "parent step changed: {}", short(step)),
            Self::Base { old, new } if old.0 == new.0 => write!(
                f,
                "base image {} changed: {} → {}",
                new.0,
                short_digest(&old.1),
                short_digest(&new.1)
            ),
            Self::Base { old, new } => write!(
                f,
                "base image changed: {} ({}) → {} ({})",
                old.0,
                short_digest(&old.1),
                new.0,
                short_digest(&new.1)
            ),
            Self::Instruction { old, new } => {
                write!(f, "instruction changed: {} → {}", short(old), short(new))
            }
            Self::Argument(change) => write!(f, "build argument {change}"),
            Self::Variable(change) => write!(f, "variable {change}"),
            Self::Files(files) => files.fmt(f),
            Self::Input(change) => change.fmt(f),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<String>| match value {
            Some(value) => format!("\"{}\"", short(value)),
            None => "(not set)".to_owned(),
        };
        let (old, new) = (shown(&self.old), shown(&self.new));
        write!(f, "{} changed: {old} → {new}", self.name)
    }
}

impl fmt::Display for FileChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            place,
            total,
            changed,
            files,
        } = self;
        let plural = if *total == 1 { "" } else { "s" };
        write!(f, "{changed} of {total} file{plural} changed in {place}: ")?;
        for (index, file) in files.iter().take(NAMED_FILES).enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{file}")?;
        }
        match changed.saturating_sub(NAMED_FILES) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

impl fmt::Display for FileChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() {
            "."
        } else {
            &self.path
        };
        write!(f, "{path} ({})", self.change)
    }
}

impl fmt::Display for FileChangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added => write!(f, "added"),
            Self::Removed => write!(f, "removed"),
            Self::Type(old, new) => write!(f, "type {old} → {new}"),
            Self::Mode(old, new) => write!(f, "mode {old} → {new}"),
            Self::Owner(old, new) => write!(f, "owner {old} → {new}"),
            Self::Content => write!(f, "content"),
        }
    }
}

/// A text on one line, and not too long.
fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn short_digest(digest: &str) -> String {
    digest.chars().take("sha256:".len() + 12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_short() {
        let change = |old: Option<&str>, new: Option<&str>| Change {
            name: "V".into(),
            old: old.map(str::to_owned),
            new: new.map(str::to_owned),
        };
        let long = "x".repeat(100);
        let cases = [
            (
                Reason::Argument(change(Some("1"), Some("2"))),
                "build argument V changed: \"1\" → \"2\"".to_owned(),
            ),
            (
                Reason::Variable(change(None, Some("2"))),
                "variable V changed: (not set) → \"2\"".to_owned(),
            ),
            (
                Reason::Input(change(Some(&long), None)),
                format!("V changed: \"{}…\" → (not set)", &long[..60]),
            ),
        ];
        for (reason, text) in cases {
            assert_eq!(reason.to_string(), text);
        }
    }
}
