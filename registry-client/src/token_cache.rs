//! Tokens that other processes may use: a file that only its owner can read.
//!
//! It holds bearer tokens with their expiry, never a password or an identity token. A cache that
//! cannot be read or written costs a request, so its errors are not reported.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mica_oci::Digest;
use reqwest::header::HeaderValue;
use serde::{Deserialize, Serialize};

use crate::{Credentials, Secret};

/// The file's format.
const VERSION: u32 = 1;

/// The cache of one process.
#[derive(Clone, Debug)]
pub(crate) struct TokenCache {
    path: PathBuf,
}

/// What a token was given for.
#[derive(Clone, Debug)]
pub(crate) struct TokenKey<'a> {
    pub(crate) registry: &'a str,
    pub(crate) realm: &'a str,
    pub(crate) scopes: &'a str,
    pub(crate) credentials: &'a Credentials,
}

#[derive(Deserialize, Serialize)]
struct Content {
    version: u32,
    tokens: BTreeMap<String, Entry>,
}

#[derive(Deserialize, Serialize)]
struct Entry {
    registry: String,
    token: String,
    /// Seconds since 1970.
    expires: u64,
}

impl Default for Content {
    fn default() -> Self {
        Self {
            version: VERSION,
            tokens: BTreeMap::new(),
        }
    }
}

impl TokenKey<'_> {
    /// A password has no part in it: a digest of one could be guessed.
    fn text(&self) -> String {
        let account = match self.credentials {
            Credentials::Anonymous => "anonymous".to_owned(),
            Credentials::Basic { username, .. } => format!("user {username}"),
            Credentials::IdentityToken(token) => {
                format!("identity {}", Digest::of(token.expose().as_bytes()))
            }
        };
        format!("{} {} {account} {}", self.registry, self.realm, self.scopes)
    }
}

impl TokenCache {
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// Finds a token that is still good, and for how long it is.
    pub(crate) fn get(&self, key: &TokenKey<'_>) -> Option<(Secret, Duration)> {
        let entry = self.read().tokens.remove(&key.text())?;
        let left = entry.expires.checked_sub(now())?;
        (left > 0).then(|| (Secret::new(entry.token), Duration::from_secs(left)))
    }

    /// Keeps a token.
    pub(crate) fn put(&self, key: &TokenKey<'_>, token: &Secret, lives: Duration) {
        let entry = Entry {
            registry: key.registry.to_owned(),
            token: token.expose().to_owned(),
            expires: now() + lives.as_secs(),
        };
        self.change(|content| {
            content.tokens.insert(key.text(), entry);
        });
    }

    /// Forgets the token of a header that a registry refused.
    pub(crate) fn remove_token(&self, registry: &str, header: &HeaderValue) {
        let bearer = header.to_str().unwrap_or_default().strip_prefix("Bearer ");
        if let Some(bearer) = bearer {
            self.change(|content| {
                let tokens = &mut content.tokens;
                tokens.retain(|_, entry| entry.registry != registry || entry.token != bearer);
            });
        }
    }

    fn change(&self, change: impl FnOnce(&mut Content)) {
        let mut content = self.read();
        change(&mut content);
        let now = now();
        content.tokens.retain(|_, entry| entry.expires > now);
        // Two processes that write at a time cost one of them a request later.
        let _ = self.write(&content);
    }

    fn read(&self) -> Content {
        let text = self.read_own().unwrap_or_default();
        let content: Option<Content> = serde_json::from_slice(&text).ok();
        content
            .filter(|content| content.version == VERSION)
            .unwrap_or_default()
    }

    /// A file that others can read or that is another's is not used.
    fn read_own(&self) -> io::Result<Vec<u8>> {
        let mut file = File::open(&self.path)?;
        let metadata = file.metadata()?;
        let own = metadata.uid() == fs::metadata("/proc/self")?.uid();
        if !own || metadata.mode() & 0o077 != 0 {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let mut text = Vec::new();
        io::Read::read_to_end(&mut file, &mut text)?;
        Ok(text)
    }

    fn write(&self, content: &Content) -> io::Result<()> {
        let parent = self.path.parent().unwrap_or(Path::new("/"));
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(parent)?;
        let temporary = self.path.with_extension(std::process::id().to_string());
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        let written = options
            .open(&temporary)
            .and_then(|mut file| file.write_all(&serde_json::to_vec(content)?))
            .and_then(|()| fs::rename(&temporary, &self.path));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written
    }
}

/// Forgets all tokens of a registry, as after a login or a logout there.
pub fn forget_tokens(cache: &Path, registry: &str) {
    let cache = TokenCache::new(cache);
    if cache.path.exists() {
        cache.change(|content| content.tokens.retain(|_, entry| entry.registry != registry));
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_kept_for_their_account_alone() {
        let directory = tempfile::tempdir().unwrap();
        let cache = TokenCache::new(&directory.path().join("run/tokens.json"));
        let ada = Credentials::Basic {
            username: "ada".to_owned(),
            password: Secret::new("hunter2"),
        };
        let key = |credentials| TokenKey {
            registry: "host.example",
            realm: "https://auth.example/token",
            scopes: "repository:a:pull",
            credentials,
        };
        let minute = Duration::from_secs(60);
        cache.put(&key(&ada), &Secret::new("bearer"), minute);
        let (token, left) = cache.get(&key(&ada)).unwrap();
        assert_eq!(token, Secret::new("bearer"));
        assert!(left <= minute && left > minute / 2);
        assert!(cache.get(&key(&Credentials::Anonymous)).is_none());
        let text = fs::read_to_string(&cache.path).unwrap();
        assert!(!text.contains("hunter2"), "{text}");
        assert_eq!(fs::metadata(&cache.path).unwrap().mode() & 0o777, 0o600);

        cache.put(&key(&ada), &Secret::new("stale"), Duration::ZERO);
        assert!(cache.get(&key(&ada)).is_none());
        cache.put(&key(&ada), &Secret::new("again"), minute);
        forget_tokens(&cache.path, "host.example");
        assert!(cache.get(&key(&ada)).is_none());
    }

    #[test]
    fn a_file_that_others_can_read_is_not_used() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let cache = TokenCache::new(&directory.path().join("tokens.json"));
        let key = TokenKey {
            registry: "h",
            realm: "r",
            scopes: "s",
            credentials: &Credentials::Anonymous,
        };
        cache.put(&key, &Secret::new("bearer"), Duration::from_secs(60));
        fs::set_permissions(&cache.path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(cache.get(&key).is_none());
    }
}
