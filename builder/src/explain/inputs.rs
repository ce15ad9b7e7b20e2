//! The inputs of a step's key, as its record keeps them.

use serde::{Deserialize, Serialize};

/// What a key was made of: readable, and never part of what decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Inputs {
    /// The operation: `run`, `copy`, `workdir`.
    pub(crate) operation: String,
    /// Names and values in the order in which they entered the key.
    pub(crate) values: Vec<(String, Value)>,
    /// What the step stands on, in words.
    #[serde(default)]
    pub(crate) below: Below,
    /// Which names of the environment are build arguments.
    #[serde(default)]
    pub(crate) arguments: Vec<String>,
}

/// One input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Value {
    /// A text.
    Text(String),
    /// A list of texts.
    List(Vec<String>),
}

/// What lies below a step: a base, or the step before it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Below {
    /// Nothing: `FROM scratch`.
    #[default]
    Scratch,
    /// A base image: its name, and the digest of its manifest.
    Image(String, String),
    /// A step, by the name that progress shows.
    Step(String),
}

impl Inputs {
    /// Returns an input by its name.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        let named = self.values.iter().find(|(known, _)| known == name);
        named.map(|(_, value)| value)
    }

    /// Says what the step stands on, and which variables are arguments.
    pub(crate) fn on(mut self, below: &Below, arguments: &[(String, Option<String>)]) -> Self {
        self.below = below.clone();
        self.arguments = arguments.iter().map(|(name, _)| name.clone()).collect();
        self
    }
}

impl Value {
    /// Returns a list's elements, or a text as the only one.
    pub(crate) fn elements(&self) -> &[String] {
        match self {
            Self::Text(text) => std::slice::from_ref(text),
            Self::List(list) => list,
        }
    }
}

/// As progress names it.
impl std::fmt::Display for Below {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Scratch => write!(f, "FROM scratch"),
            Self::Image(name, _) => write!(f, "FROM {name}"),
            Self::Step(name) => write!(f, "{name}"),
        }
    }
}
