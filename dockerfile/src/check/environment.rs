//! The variables that are in scope at an instruction.

/// Variables in the order in which they were first set.
#[derive(Debug, Clone, Default)]
pub(super) struct Environment {
    entries: Vec<(String, String)>,
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
        let found = self.entries.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        match self.entries.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.entries.push((name.to_owned(), value.to_owned())),
        }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(name, _)| name.as_str())
    }
}
