//! Names of variables that look like those of secrets.

/// Tells whether a variable's name looks like that of a secret. Source: BuildKit, rule
/// `SecretsUsedInArgOrEnv`.
pub fn names_a_secret(name: &str) -> bool {
    const SECRETS: [&str; 10] = [
        "apikey",
        "auth",
        "credential",
        "credentials",
        "key",
        "password",
        "pword",
        "passwd",
        "secret",
        "token",
    ];
    const HARMLESS: [&str; 3] = ["public", "file", "version"];
    let lower = name.to_lowercase();
    let has = |words: &[&str]| lower.split('_').any(|part| words.contains(&part));
    has(&SECRETS) && !has(&HARMLESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_between_underscores_count() {
        for (name, secret) in [
            ("API_KEY", true),
            ("token", true),
            ("DB_PASSWORD", true),
            ("PUBLIC_KEY", false),
            ("PASSWORD_FILE", false),
            ("KEY_VERSION", false),
            ("MONKEY", false),
            ("VERSION", false),
        ] {
            assert_eq!(names_a_secret(name), secret, "{name}");
        }
    }
}
