//! Who asks. Where credentials are kept is the caller's business.

use std::fmt;
use std::sync::Arc;

/// A text that must not be seen: `Debug` prints three stars, and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// Takes a text into custody.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// Hands the text out, for a header, a form or a credential store.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What a registry is told about who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// Nothing.
    Anonymous,
    /// A user name and a password or access token.
    Basic {
        /// The user name.
        username: String,
        /// The password or access token.
        password: Secret,
    },
    /// A refresh token that an earlier login was given (`identitytoken` in docker's `config.json`).
    IdentityToken(Secret),
}

/// Finds the credentials for a repository, named as in a reference (`docker.io/library/ubuntu`), or
/// for a registry as such (`localhost:5000`).
///
/// Called at most once for each, when the host first asks who is there, on a thread that may block.
pub type CredentialSource = Arc<dyn Fn(&str) -> Credentials + Send + Sync>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_printed() {
        let credentials = Credentials::Basic {
            username: "ada".to_owned(),
            password: Secret::new("hunter2"),
        };
        let printed = format!("{credentials:?} {:?}", Secret::new("hunter2"));
        assert!(!printed.contains("hunter2"), "{printed}");
        assert!(printed.contains("ada"), "{printed}");
    }
}
