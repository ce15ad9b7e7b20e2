//! Credentials and settings of AWS, as its own tools find them.

use std::fs;
use std::io;
use std::path::Path;

use rusty_s3::Credentials;

use super::Environment;
use crate::failure::CliError;

impl Environment {
    /// Returns the region that the environment names.
    pub(crate) fn aws_region(self) -> Option<String> {
        let default = || self.variable("AWS_DEFAULT_REGION");
        self.variable("AWS_REGION").or_else(default)
    }

    /// Finds credentials: the variables, or a profile of the shared file; `None` when there are none.
    ///
    /// Source: AWS SDKs and Tools Reference Guide, "Shared config and credentials files".
    pub(crate) fn aws_credentials(self) -> Result<Option<Credentials>, CliError> {
        let key = self.variable("AWS_ACCESS_KEY_ID");
        if let (Some(key), Some(secret)) = (key, self.variable("AWS_SECRET_ACCESS_KEY")) {
            let token = self.variable("AWS_SESSION_TOKEN");
            return Ok(Some(credentials(key, secret, token)));
        }
        let named = self.path("AWS_SHARED_CREDENTIALS_FILE");
        let path = named.unwrap_or_else(|| self.home().join(".aws/credentials"));
        let profile = self.variable("AWS_PROFILE");
        of_file(&path, profile.as_deref().unwrap_or("default"))
    }
}

/// Makes credentials, with a token where there is one.
pub(crate) fn credentials(key: String, secret: String, token: Option<String>) -> Credentials {
    match token {
        Some(token) => Credentials::new_with_token(key, secret, token),
        None => Credentials::new(key, secret),
    }
}

fn of_file(path: &Path, profile: &str) -> Result<Option<Credentials>, CliError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(of_profile(&text, profile)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CliError::File {
            action: "read",
            path: path.to_owned(),
            source,
        }),
    }
}

fn of_profile(text: &str, profile: &str) -> Option<Credentials> {
    let (mut key, mut secret, mut token) = (None, None, None);
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            inside = section.trim_end_matches(']').trim() == profile;
            continue;
        }
        let Some((name, value)) = line.split_once('=').filter(|_| inside) else {
            continue;
        };
        let value = Some(value.trim().to_owned());
        match name.trim() {
            "aws_access_key_id" => key = value,
            "aws_secret_access_key" => secret = value,
            "aws_session_token" => token = value,
            _ => {}
        }
    }
    Some(credentials(key?, secret?, token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_that_is_asked_for_counts() {
        let text = "# mine\n[default]\naws_access_key_id = one\naws_secret_access_key=s=1\n\n\
            [ci]\naws_access_key_id=two\naws_secret_access_key=s2\naws_session_token=t\n[half]\naws_access_key_id=x\n";
        let found = of_profile(text, "default").unwrap();
        assert_eq!((found.key(), found.secret()), ("one", "s=1"));
        let found = of_profile(text, "ci").unwrap();
        assert_eq!((found.key(), found.token()), ("two", Some("t")));
        assert!(of_profile(text, "half").is_none());
        assert!(of_profile(text, "none").is_none());
    }
}
