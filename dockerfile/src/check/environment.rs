//! The variables that are in scope at an instruction.

use std::collections::BTreeMap;

/// Variables in the order in which they were first set.
#[derive(Debug, Clone, Default)]
pub(super) struct Environment {
    order: Vec<String>,
    values: BTreeMap<String, String>,
}

impl Environment {
    pub(super) fn of(entries: &[(String, String)]) -> Self {
        let mut environment = Self::default();
        for (name, value) in entries {
            environment.set(name, value);
        }
        environment
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        let before = self.values.insert(name.to_owned(), value.to_owned());
        if before.is_none() {
            self.order.push(name.to_owned());
        }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.order.iter().map(String::as_str)
    }
}
