//! Docker's `config.json` and podman's `auth.json`: the part about logins.

use std::fs::{self, File, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mica_registry_client::{Credentials, Secret};
use serde_json::{Map, Value, json};

use crate::failure::CliError;

/// The name under which docker keeps the hub's login.
const HUB: &str = "https://index.docker.io/v1/";

/// A file that holds logins. What it holds besides is kept as it is.
#[derive(Debug)]
pub(super) struct AuthFile {
    path: PathBuf,
    content: Map<String, Value>,
}

/// Returns the name under which the login at a place is kept: docker's for a registry, podman's,
/// which is its own, for a namespace or a repository.
pub(crate) fn server_key(place: &str) -> String {
    match place {
        "docker.io" => HUB.to_owned(),
        place => place.to_owned(),
    }
}

/// Tells whether a key is about a place: a registry, which has many names, or what is in one.
fn is_about(key: &str, place: &str) -> bool {
    key == place || (!place.contains('/') && is_of_registry(key, place))
}

/// Returns the registry that a name in such a file stands for: a URL, or a host and a path.
fn registry_of(key: &str) -> &str {
    let bare = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"));
    let host = bare.unwrap_or(key);
    match host.split('/').next().unwrap_or(host) {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}

/// Tells whether a key is about a registry as a whole: a path that is no API's is a repository.
fn is_of_registry(key: &str, registry: &str) -> bool {
    let path = key
        .trim_start_matches("https://")
        .trim_start_matches("http://");
    let path = path.split_once('/').map_or("", |(_, path)| path);
    let path = path.trim_matches('/');
    registry_of(key) == registry && (path.is_empty() || matches!(path, "v1" | "v2"))
}

impl AuthFile {
    /// Reads a file; one that does not exist is empty.
    pub(super) fn read(path: PathBuf) -> Result<Self, CliError> {
        let content = match fs::read(&path) {
            Ok(text) if text.trim_ascii().is_empty() => Map::new(),
            Ok(text) => match serde_json::from_slice(&text) {
                Ok(content) => content,
                Err(source) => return Err(CliError::Configuration { path, source }),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => Map::new(),
            Err(source) => {
                return Err(CliError::File {
                    action: "read",
                    path,
                    source,
                });
            }
        };
        Ok(Self { path, content })
    }

    /// Returns where the file is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the suffix of the program that keeps the login at `registry`, if one does.
    pub(super) fn helper(&self, registry: &str) -> Option<&str> {
        let helpers = self.content.get("credHelpers").and_then(Value::as_object);
        let own = helpers.and_then(|helpers| {
            let mut entries = helpers.iter();
            entries
                .find(|(key, _)| registry_of(key) == registry)
                .map(|(_, helper)| helper)
        });
        let helper = own.or_else(|| self.content.get("credsStore"))?.as_str()?;
        Some(helper).filter(|helper| !helper.is_empty())
    }

    /// Returns the login for a repository or the namespaces that it is in, which is kept in the
    /// file itself: the entry with the longest name that covers `name`.
    pub(super) fn credentials_within(&self, name: &str) -> Option<Credentials> {
        let entries = self.entries()?;
        let mut wanted = name;
        while let Some((shorter, _)) = wanted.rsplit_once('/') {
            if let Some(found) = entries.get(wanted).and_then(decode) {
                return Some(found);
            }
            wanted = shorter;
        }
        None
    }

    /// Returns the login at a registry that is kept in the file itself.
    pub(super) fn credentials(&self, registry: &str) -> Option<Credentials> {
        let entries = self.entries()?;
        let exact = entries
            .get(&server_key(registry))
            .or_else(|| entries.get(registry));
        let entry = exact.or_else(|| {
            let mut entries = entries.iter();
            entries
                .find(|(key, _)| is_of_registry(key, registry))
                .map(|(_, entry)| entry)
        })?;
        decode(entry)
    }

    fn entries(&self) -> Option<&Map<String, Value>> {
        self.content.get("auths")?.as_object()
    }

    /// Returns what the file has entries for.
    pub(super) fn places(&self) -> Vec<String> {
        let entries = self.entries();
        let keys = entries.into_iter().flat_map(Map::keys);
        let place = |key: &String| match is_of_registry(key, registry_of(key)) {
            true => registry_of(key).to_owned(),
            false => key.clone(),
        };
        keys.map(place).collect()
    }

    /// Tells whether the file has an entry for a place.
    pub(super) fn has(&self, place: &str) -> bool {
        let entries = self.entries();
        entries.is_some_and(|entries| entries.keys().any(|key| is_about(key, place)))
    }

    /// Sets the login at a place.
    pub(super) fn set(&mut self, place: &str, credentials: &Credentials) {
        self.remove(place);
        let entries = self.content.entry("auths").or_insert_with(|| json!({}));
        if let Some(entries) = entries.as_object_mut() {
            entries.insert(server_key(place), encode(credentials));
        }
    }

    /// Notes that a program keeps the login at `registry`, as docker does.
    pub(super) fn set_kept_elsewhere(&mut self, registry: &str) {
        self.set(registry, &Credentials::Anonymous);
    }

    /// Forgets the login at a place; that at others in it stays.
    pub(super) fn remove(&mut self, place: &str) {
        if let Some(entries) = self.content.get_mut("auths").and_then(Value::as_object_mut) {
            entries.retain(|key, _| !is_about(key, place));
        }
    }

    /// Replaces the file: readable by its owner alone, and seen whole or not at all.
    pub(super) fn write(&self) -> Result<(), CliError> {
        self.replace().map_err(|source| CliError::File {
            action: "write",
            path: self.path.clone(),
            source,
        })
    }

    fn replace(&self) -> std::io::Result<()> {
        // A link stays one: what it leads to is replaced.
        let target = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let directory = target.parent().unwrap_or(Path::new("."));
        if !directory.exists() {
            fs::create_dir_all(directory)?;
            fs::set_permissions(directory, Permissions::from_mode(0o700))?;
        }
        let temporary = directory.join(format!(".config.json.{}", std::process::id()));
        let written = self
            .write_to(&temporary)
            .and_then(|()| fs::rename(&temporary, &target));
        if written.is_err() {
            // The first error is the one that matters.
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    fn write_to(&self, path: &Path) -> std::io::Result<()> {
        let mut options = File::options();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(path)?;
        let mut text = Vec::new();
        let indent = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut serializer = serde_json::Serializer::with_formatter(&mut text, indent);
        serde::Serialize::serialize(&self.content, &mut serializer)?;
        file.write_all(&text)?;
        file.sync_all()
    }
}

fn encode(credentials: &Credentials) -> Value {
    match credentials {
        Credentials::Anonymous => json!({}),
        Credentials::Basic { username, password } => {
            json!({ "auth": STANDARD.encode(format!("{username}:{}", password.expose())) })
        }
        Credentials::IdentityToken(token) => json!({ "identitytoken": token.expose() }),
    }
}

fn decode(entry: &Value) -> Option<Credentials> {
    let text = |name: &str| entry.get(name)?.as_str().filter(|text| !text.is_empty());
    if let Some(token) = text("identitytoken") {
        return Some(Credentials::IdentityToken(Secret::new(token)));
    }
    let pair = match text("auth") {
        Some(encoded) => String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?,
        None => format!("{}:{}", text("username")?, text("password")?),
    };
    let (username, password) = pair.split_once(':')?;
    Some(Credentials::Basic {
        username: username.to_owned(),
        password: Secret::new(password.trim_matches('\0')),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: Value) -> AuthFile {
        AuthFile {
            path: PathBuf::new(),
            content: content.as_object().unwrap().clone(),
        }
    }

    fn check(content: Value, registry: &str, expected: Option<(&str, &str)>) {
        let file = file(content.clone());
        let host = registry.split('/').next().unwrap();
        let found = file.credentials_within(registry);
        let found = found.or_else(|| file.credentials(host));
        let expected = expected.map(|(username, password)| Credentials::Basic {
            username: username.into(),
            password: Secret::new(password),
        });
        assert_eq!(found, expected, "{registry} in {content}");
    }

    #[test]
    fn logins_are_found_under_every_name_that_is_in_use() {
        // "ada:pass:word"
        let auth = json!({ "auth": "YWRhOnBhc3M6d29yZA==" });
        let login = Some(("ada", "pass:word"));
        check(
            json!({"auths": {"https://index.docker.io/v1/": auth}}),
            "docker.io",
            login,
        );
        check(json!({"auths": {"docker.io": auth}}), "docker.io", login);
        check(
            json!({"auths": {"localhost:5000": auth}}),
            "localhost:5000",
            login,
        );
        check(
            json!({"auths": {"https://host.example/v2/": auth}}),
            "host.example",
            login,
        );
        check(
            json!({"auths": {"host.example": {"username": "a", "password": "b"}}}),
            "host.example",
            Some(("a", "b")),
        );
        check(
            json!({"auths": {"localhost:5000": auth}}),
            "localhost:5001",
            None,
        );
        check(json!({"auths": {"h": {"auth": "!!"}}}), "h", None);
        let other = json!({ "auth": "Ym9iOng=" });
        let scoped = json!({"auths": {"h/team": auth, "h": other}});
        check(scoped.clone(), "h/team/app", login);
        check(scoped.clone(), "h/teams", Some(("bob", "x")));
        check(scoped, "h", Some(("bob", "x")));
        check(json!({"auths": {"h/team": auth}}), "h", None);
        check(json!({"auths": {"h": {}}}), "h", None);
        check(json!({}), "h", None);
    }

    #[test]
    fn helpers_of_a_registry_come_before_the_general_one() {
        let file = file(json!({"credsStore": "pass", "credHelpers": {"quay.io": "own"}}));
        assert_eq!(file.helper("quay.io"), Some("own"));
        assert_eq!(file.helper("docker.io"), Some("pass"));
    }

    #[test]
    fn what_else_the_file_holds_is_kept() {
        let mut file =
            file(json!({"psFormat": "x", "auths": {"https://h/v1/": {"auth": "old"}, "o": {}}}));
        let login = Credentials::Basic {
            username: "ada".into(),
            password: Secret::new("pass:word"),
        };
        file.set("h", &login);
        let expected =
            json!({"psFormat": "x", "auths": {"o": {}, "h": {"auth": "YWRhOnBhc3M6d29yZA=="}}});
        assert_eq!(Value::Object(file.content.clone()), expected);
        assert_eq!(file.credentials("h"), Some(login));
        file.remove("h");
        assert!(!file.has("h") && file.has("o"));
    }

    #[test]
    fn a_registry_and_what_is_in_it_are_apart() {
        let entries = json!({"h": {}, "https://h/v2/": {}, "h/team": {}, "h/team/app": {}});
        let left = |place: &str| {
            let mut file = file(json!({ "auths": entries }));
            assert!(file.has(place));
            file.remove(place);
            file.places()
        };
        assert_eq!(left("h"), ["h/team", "h/team/app"]);
        assert_eq!(left("h/team"), ["h", "h", "h/team/app"]);
        let hub = file(json!({"auths": {HUB: {}, "docker.io/ada": {}}}));
        assert_eq!(hub.places(), ["docker.io", "docker.io/ada"]);
        assert_eq!(server_key("docker.io"), HUB);
        assert_eq!(server_key("docker.io/ada"), "docker.io/ada");
    }
}
