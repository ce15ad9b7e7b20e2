//! What secrets look like.

use crate::entry::split;

/// A kind of token: a fixed beginning, then letters of a set.
pub(super) struct TokenPattern {
    pub(super) what: &'static str,
    pub(super) prefix: &'static [u8],
    /// The letters that follow.
    letters: Letters,
    /// How many follow at least, and at most; one more letter of the set means that it is something else.
    least: usize,
    most: usize,
}

#[derive(Clone, Copy)]
enum Letters {
    /// `A-Z0-9`
    Upper,
    /// `A-Za-z0-9`
    Alphanumeric,
    /// `A-Za-z0-9_-`
    Url,
    /// As `Url`, and dots: several parts.
    Dotted,
}

const fn token(
    what: &'static str,
    prefix: &'static str,
    letters: Letters,
    least: usize,
    most: usize,
) -> TokenPattern {
    TokenPattern {
        what,
        prefix: prefix.as_bytes(),
        letters,
        least,
        most,
    }
}

/// Tokens by the beginnings that their services document.
pub(super) const TOKENS: &[TokenPattern] = &[
    token("AWS access key", "AKIA", Letters::Upper, 16, 16),
    token("AWS access key", "ASIA", Letters::Upper, 16, 16),
    token("GitHub token", "ghp_", Letters::Alphanumeric, 36, 255),
    token("GitHub token", "gho_", Letters::Alphanumeric, 36, 255),
    token("GitHub token", "ghu_", Letters::Alphanumeric, 36, 255),
    token("GitHub token", "ghs_", Letters::Alphanumeric, 36, 255),
    token("GitHub token", "ghr_", Letters::Alphanumeric, 36, 255),
    token("GitHub token", "github_pat_", Letters::Url, 60, 255),
    token("GitLab token", "glpat-", Letters::Dotted, 20, 255),
    token("Slack token", "xoxb-", Letters::Url, 20, 255),
    token("Slack token", "xoxp-", Letters::Url, 20, 255),
    token("Slack token", "xapp-", Letters::Url, 20, 255),
    token("Stripe key", "sk_live_", Letters::Alphanumeric, 16, 255),
    token("Stripe key", "rk_live_", Letters::Alphanumeric, 16, 255),
    token("Google API key", "AIza", Letters::Url, 35, 35),
    token("Google OAuth secret", "GOCSPX-", Letters::Url, 20, 64),
    token("npm token", "npm_", Letters::Alphanumeric, 36, 36),
    token("PyPI token", "pypi-AgE", Letters::Url, 50, 512),
    token("SendGrid key", "SG.", Letters::Dotted, 60, 80),
    token("Hugging Face token", "hf_", Letters::Alphanumeric, 34, 64),
    token("Docker token", "dckr_pat_", Letters::Url, 20, 64),
    token("Anthropic key", "sk-ant-", Letters::Url, 40, 255),
    token(
        "DigitalOcean token",
        "dop_v1_",
        Letters::Alphanumeric,
        64,
        64,
    ),
];

/// The longest token, its beginning included.
pub(super) const LONGEST_TOKEN: usize = 600;

/// Tokens whose letters are less random than that, in bits a letter, are examples:
/// `AKIAXXXXXXXXXXXXXXXX`.
const TOKEN_ENTROPY: f64 = 2.5;

/// Values whose letters are less random than that are words.
const VALUE_ENTROPY: f64 = 3.0;

/// Shorter values are not told from words.
const SHORTEST_VALUE: usize = 12;

/// More letters of a value are not looked at: a file may be one long line of names and values.
const LONGEST_VALUE: usize = 512;

/// Names before a value that is a secret.
const NAMES: &[&str] = &[
    "password",
    "passwd",
    "secret",
    "token",
    "api_key",
    "apikey",
    "api-key",
    "access_key",
    "private_key",
    "credential",
    "_auth",
    "authtoken",
];

impl TokenPattern {
    /// Returns how long the token is that begins `text`, its prefix passed.
    pub(super) fn length(&self, text: &[u8]) -> Option<usize> {
        let length = text
            .iter()
            .take_while(|byte| self.letters.has(**byte))
            .count();
        let fits = (self.least..=self.most).contains(&length);
        (fits && entropy(&text[..length]) >= TOKEN_ENTROPY).then_some(length)
    }
}

impl Letters {
    fn has(self, byte: u8) -> bool {
        match self {
            Self::Upper => byte.is_ascii_uppercase() || byte.is_ascii_digit(),
            Self::Alphanumeric => byte.is_ascii_alphanumeric(),
            Self::Url => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'),
            Self::Dotted => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'),
        }
    }
}

/// Returns Shannon's entropy of the bytes, in bits a byte.
#[expect(clippy::cast_precision_loss, reason = "texts are short")]
pub(super) fn entropy(bytes: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in bytes {
        counts[usize::from(*byte)] += 1;
    }
    let whole = bytes.len() as f64;
    let counts = counts.iter().filter(|count| **count > 0);
    counts
        .map(|count| f64::from(*count) / whole)
        .map(|part| -part * part.log2())
        .sum()
}

/// Tells files whose settings may be secrets.
pub(super) fn is_settings_file(path: &[u8]) -> bool {
    const NAMES: &[&[u8]] = &[
        b".env",
        b".npmrc",
        b".yarnrc.yml",
        b".pypirc",
        b".netrc",
        b".git-credentials",
        b".htpasswd",
        b".pgpass",
        b".my.cnf",
        b"credentials",
        b"credentials.json",
        b"secrets.yml",
        b"secrets.yaml",
        b"secrets.json",
        b"pip.conf",
        b"settings.xml",
        b".boto",
        b".s3cfg",
        b"terraform.tfvars",
    ];
    let (parent, name) = split(path);
    NAMES.contains(&name)
        || name.ends_with(b".env")
        || name.starts_with(b".env.")
        || (name == b"config.json" && parent.ends_with(b".docker"))
}

/// Finds `NAME=value` and `NAME: value` where the name is one of a secret and the value looks
/// random; returns offset, name and value.
pub(super) fn assignments(text: &str) -> Vec<(usize, String, String)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices(['=', ':']) {
        // Also of `"name": "value"`.
        let before = text[..at].trim_end_matches(['"', '\'', ' ']);
        let name = before.rsplit(|letter: char| !is_name(letter)).next();
        let name = name.unwrap_or_default();
        let lower = name.to_ascii_lowercase();
        if !NAMES.iter().any(|secret| lower.contains(secret)) {
            continue;
        }
        let rest = text[at + 1..].trim_start_matches([' ', '"', '\'']);
        let is_end = |(count, (_, letter)): &(usize, (usize, char))| {
            *count == LONGEST_VALUE
                || letter.is_whitespace()
                || matches!(letter, '"' | '\'' | ',' | ';' | '&')
        };
        let end = rest.char_indices().enumerate().find(is_end);
        let value = &rest[..end.map_or(rest.len(), |(_, (at, _))| at)];
        let is_reference = value.starts_with(['$', '<', '{', '/', '%']);
        if value.len() >= SHORTEST_VALUE
            && !is_reference
            && entropy(value.as_bytes()) >= VALUE_ENTROPY
        {
            found.push((at, name.to_owned(), value.to_owned()));
        }
    }
    found
}

fn is_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_after_their_names() {
        let check = |text: &str, expected: &[&str]| {
            let names: Vec<_> = assignments(text)
                .into_iter()
                .map(|(_, name, _)| name)
                .collect();
            assert_eq!(names, expected, "{text}");
        };
        check("DB_PASSWORD=k8Jx02mQpL5vR1", &["DB_PASSWORD"]);
        check("{\"api_key\": \"k8Jx02mQpL5vR1\"}", &["api_key"]);
        check("RUN curl -H token:k8Jx02mQpL5vR1 host", &["token"]);
        check("PASSWORD=$PASSWORD_OF_DATABASE", &[]);
        check("PASSWORD=changeme", &[]);
        check("TOKEN_FILE=/run/secrets/token1234", &[]);
        check("PATH=/usr/local/sbin:/usr/local/bin", &[]);
        check("ключ=значениезначение=", &[]);
    }

    #[test]
    fn settings_are_told_by_name() {
        for (path, expected) in [
            ("app/.env", true),
            ("app/.env.production", true),
            ("root/.docker/config.json", true),
            ("app/config.json", false),
            ("etc/passwd", false),
        ] {
            assert_eq!(is_settings_file(path.as_bytes()), expected, "{path}");
        }
    }
}
