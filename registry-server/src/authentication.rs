//! Who asks: user names and bcrypt hashes in Apache's `htpasswd` format.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{AUTHORIZATION, HeaderMap};
use mica_oci::Digest;

/// Users and the hashes of their passwords.
pub struct Htpasswd {
    hashes: HashMap<String, String>,
    /// Digests of headers that were right: a hash takes long to check, which is its purpose.
    known: Mutex<HashSet<Digest>>,
}

/// Why a text is no such file.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line}: expected USER:HASH with a bcrypt hash (`htpasswd -B`)")]
pub struct HtpasswdError {
    /// The line, counted from 1.
    pub line: usize,
}

/// No more headers are remembered.
const MOST_KNOWN: usize = 1024;

/// Checked for users that there are not, so that they take as long as others.
const NOBODY: &str = "$2y$10$abcdefghijklmnopqrstuuR6MHWTLPPDYU9RLTYTUp7XpxyQH5pAa";

impl Htpasswd {
    /// Reads `USER:HASH` lines; `#` begins a comment.
    pub fn parse(text: &str) -> Result<Self, HtpasswdError> {
        let mut hashes = HashMap::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match line.split_once(':') {
                Some((user, hash)) if is_bcrypt(hash) => {
                    hashes.insert(user.to_owned(), hash.to_owned());
                }
                _ => return Err(HtpasswdError { line: index + 1 }),
            }
        }
        Ok(Self {
            hashes,
            known: Mutex::default(),
        })
    }

    /// Tells whether a request is one of our users'. Takes long on its first right answer and on
    /// each wrong one.
    pub(crate) fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(header) = headers.get(AUTHORIZATION) else {
            return false;
        };
        let digest = Digest::of(header.as_bytes());
        if self.lock().contains(&digest) {
            return true;
        }
        let is_right = header.to_str().is_ok_and(|text| self.is_right(text));
        if is_right {
            let mut known = self.lock();
            if known.len() >= MOST_KNOWN {
                known.clear();
            }
            known.insert(digest);
        }
        is_right
    }

    fn is_right(&self, header: &str) -> bool {
        let Some(encoded) = header
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
            .map(|(_, encoded)| encoded)
        else {
            return false;
        };
        let pair = STANDARD.decode(encoded.trim()).unwrap_or_default();
        let pair = String::from_utf8_lossy(&pair).into_owned();
        let (user, password) = pair.split_once(':').unwrap_or((&pair, ""));
        let hash = self.hashes.get(user);
        let is_right = bcrypt::verify(password, hash.map_or(NOBODY, String::as_str));
        hash.is_some() && is_right.unwrap_or(false)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<Digest>> {
        self.known.lock().expect("no panic under this lock")
    }
}

fn is_bcrypt(hash: &str) -> bool {
    let version = ["$2y$", "$2b$", "$2a$"];
    version.iter().any(|version| hash.starts_with(version)) && hash.len() == 60
}

impl std::fmt::Debug for Htpasswd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Htpasswd({} users)", self.hashes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    #[test]
    fn only_users_with_their_password_are_admitted() {
        let hash = bcrypt::hash("open sesame", 4).unwrap();
        let users = Htpasswd::parse(&format!("# users\n\nada:{hash}\n")).unwrap();
        let cases = [
            (Some("ada:open sesame"), true),
            (Some("ada:open sesame"), true),
            (Some("ada:guess"), false),
            (Some("bob:open sesame"), false),
            (Some("ada"), false),
            (None, false),
        ];
        for (pair, expected) in cases {
            let mut headers = HeaderMap::new();
            if let Some(pair) = pair {
                let text = format!("Basic {}", STANDARD.encode(pair));
                headers.insert(AUTHORIZATION, HeaderValue::from_str(&text).unwrap());
            }
            assert_eq!(users.admits(&headers), expected, "{pair:?}");
        }
    }

    #[test]
    fn other_hashes_are_refused() {
        for bad in ["ada:secret", "ada", "ada:$apr1$x$y", "ada:{SHA}x"] {
            assert_eq!(Htpasswd::parse(bad).unwrap_err().line, 1, "{bad}");
        }
    }
}
