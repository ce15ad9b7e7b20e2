//! References to git repositories, in all the forms that BuildKit takes.
//!
//! ```text
//! https://host/path.git[?ref=…&tag=…&branch=…&subdir=…&commit=…&keep-git-dir=…&submodules=…][#REF[:DIR]]
//! git://…  ssh://…  git@host:path[#REF[:DIR]]  https://host/path.git##ref=…,subdir=…,commit=…
//! github.com/owner/name[#REF[:DIR]]         for a build context only
//! ```

use std::fmt;

/// A git repository, and what to take of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GitReference {
    /// The repository's address, as the `git` program takes it.
    pub remote: String,
    /// A branch, a tag, a full reference or a commit; the default branch when absent.
    pub reference: Option<String>,
    /// The commit that it has to be: the first digits at least.
    pub checksum: Option<String>,
    /// The directory of the repository that is taken; the whole of it when absent.
    pub subdirectory: Option<String>,
    /// Whether `.git` stays; nothing when the reference does not say.
    pub keep_git_dir: Option<bool>,
    /// Whether submodules are left out.
    pub skip_submodules: bool,
}

/// What is wrong with a reference that is one to git beyond doubt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum GitReferenceError {
    #[error("query \"{0}\" has no value")]
    NoValue(String),
    #[error("query \"{0}\" has multiple values")]
    Twice(String),
    #[error("unexpected query \"{0}\"")]
    UnknownQuery(String),
    #[error("invalid {key} value: \"{value}\"")]
    Boolean { key: String, value: String },
    #[error("{what} conflicts: \"{one}\" vs \"{other}\"")]
    Conflict {
        what: &'static str,
        one: String,
        other: String,
    },
    #[error("branch conflicts with tag")]
    BranchAndTag,
    #[error("unexpected key '{key}' in '{field}' (supported keys: ref, commit, subdir)")]
    UnknownKey { key: String, field: String },
    #[error("invalid field '{0}' must be a key=value pair")]
    NoPair(String),
}

/// Where a text may name a repository without a scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GitPlace {
    /// The build context: `github.com/owner/name` is a repository.
    Context,
    /// A source of ADD: the same text is a path.
    Source,
}

impl GitReference {
    /// Reads a reference; `None` for what is no reference to git, such as a path or another URL.
    pub fn parse(text: &str, place: GitPlace) -> Result<Option<Self>, GitReferenceError> {
        let Some((address, from_github)) = address_of(text, place) else {
            return Ok(None);
        };
        let (address, fragment) = address.split_once('#').unwrap_or((&address, ""));
        let (remote, query) = match is_url(address) {
            true => address.split_once('?').unwrap_or((address, "")),
            false => (address, ""),
        };
        if is_http(remote) && !from_github && !path_of(remote).ends_with(".git") {
            return Ok(None);
        }
        let mut reference = Self {
            remote: remote.to_owned(),
            ..Self::default()
        };
        match fragment.strip_prefix('#') {
            Some(fields) => reference.read_fields(fields)?,
            None => {
                let (name, directory) = fragment.split_once(':').unwrap_or((fragment, ""));
                reference.reference = filled(name);
                reference.subdirectory = filled(directory);
            }
        }
        reference.read_query(query)?;
        Ok(Some(reference))
    }

    /// `##ref=…,subdir=…,commit=…`.
    fn read_fields(&mut self, fields: &str) -> Result<(), GitReferenceError> {
        for field in fields.split(',').filter(|field| !field.is_empty()) {
            let (key, value) = field
                .split_once('=')
                .ok_or_else(|| GitReferenceError::NoPair(field.to_owned()))?;
            match key.to_ascii_lowercase().as_str() {
                "ref" => self.reference = filled(value),
                "commit" => self.checksum = filled(value),
                "subdir" => self.subdirectory = filled(value),
                _ => {
                    return Err(GitReferenceError::UnknownKey {
                        key: key.to_owned(),
                        field: field.to_owned(),
                    });
                }
            }
        }
        if self.reference.is_none() {
            self.reference.clone_from(&self.checksum);
        }
        Ok(())
    }

    fn read_query(&mut self, query: &str) -> Result<(), GitReferenceError> {
        let mut seen = Vec::new();
        let (mut tag, mut branch) = (None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (key, value) = (unescaped(key), unescaped(value));
            if seen.contains(&key) {
                return Err(GitReferenceError::Twice(key));
            }
            seen.push(key.clone());
            match key.as_str() {
                "keep-git-dir" => self.keep_git_dir = Some(boolean(&key, &value)?),
                "submodules" => self.skip_submodules = !boolean(&key, &value)?,
                _ if value.is_empty() => return Err(GitReferenceError::NoValue(key)),
                "ref" => set(&mut self.reference, "ref", value)?,
                "subdir" => set(&mut self.subdirectory, "subdir", value)?,
                "checksum" | "commit" => self.checksum = Some(value),
                "tag" => tag = Some(prefixed("refs/tags/", &value)),
                "branch" => branch = Some(prefixed("refs/heads/", &value)),
                _ => return Err(GitReferenceError::UnknownQuery(key)),
            }
        }
        if tag.is_some() && branch.is_some() {
            return Err(GitReferenceError::BranchAndTag);
        }
        if let Some(name) = tag.or(branch) {
            set(&mut self.reference, "ref", name)?;
        }
        if self.reference.is_none() {
            self.reference.clone_from(&self.checksum);
        }
        Ok(())
    }

    /// Returns `scheme://host/` of an address over HTTP, and the host.
    pub(crate) fn http_scope(&self) -> Option<(String, &str)> {
        let (scheme, rest) = self.remote.split_once("://")?;
        let authority = rest.split('/').next().unwrap_or(rest);
        let host = authority.rsplit('@').next().unwrap_or(authority);
        is_http(&self.remote).then(|| (format!("{scheme}://{host}/"), host))
    }
}

impl fmt::Display for GitReference {
    /// Shows it without a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redacted(&self.remote))?;
        match (&self.reference, &self.subdirectory) {
            (None, None) => Ok(()),
            (name, None) => write!(f, "#{}", name.as_deref().unwrap_or_default()),
            (name, Some(directory)) => {
                write!(f, "#{}:{directory}", name.as_deref().unwrap_or_default())
            }
        }
    }
}

/// Replaces a password in a URL, as Go's `URL.Redacted` does.
pub fn redacted(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((user, host)) => {
            let name = user.split(':').next().unwrap_or(user);
            match user.contains(':') {
                true => format!("{scheme}://{name}:xxxxx@{host}{path}"),
                false => format!("{scheme}://{name}@{host}{path}"),
            }
        }
        None => url.to_owned(),
    }
}

/// Returns a git address and whether it came from the short form; `None` for anything else.
fn address_of(text: &str, place: GitPlace) -> Option<(String, bool)> {
    if text.starts_with("./") || text.starts_with("../") {
        return None;
    }
    if place == GitPlace::Context && text.starts_with("github.com/") {
        return Some((format!("https://{text}"), true));
    }
    let known = ["http://", "https://", "ssh://", "git://"];
    if known.iter().any(|scheme| text.starts_with(scheme)) {
        return Some((text.to_owned(), false));
    }
    is_scp_style(text).then(|| (text.to_owned(), false))
}

/// `user@host:path`; a `#` starts the fragment.
fn is_scp_style(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let address = text.split('#').next().unwrap_or(text);
    let Some((user, rest)) = address.split_once('@') else {
        return false;
    };
    let Some((host, path)) = rest.split_once(':') else {
        return false;
    };
    let words = !user.is_empty() && !host.is_empty() && user.chars().all(plain);
    words && host.chars().all(plain) && !path.is_empty()
}

fn is_url(address: &str) -> bool {
    address.contains("://")
}

pub(crate) fn is_http(address: &str) -> bool {
    address.starts_with("http://") || address.starts_with("https://")
}

fn path_of(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    rest.find('/').map_or("", |start| &rest[start..])
}

fn filled(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn set(
    place: &mut Option<String>,
    what: &'static str,
    value: String,
) -> Result<(), GitReferenceError> {
    match place {
        Some(one) if *one != value => Err(GitReferenceError::Conflict {
            what,
            one: one.clone(),
            other: value,
        }),
        _ => {
            *place = Some(value);
            Ok(())
        }
    }
}

fn prefixed(prefix: &str, name: &str) -> String {
    match name.starts_with(prefix) {
        true => name.to_owned(),
        false => format!("{prefix}{name}"),
    }
}

/// Go's `strconv.ParseBool`; no value stands for true.
fn boolean(key: &str, value: &str) -> Result<bool, GitReferenceError> {
    match value {
        "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(GitReferenceError::Boolean {
            key: key.to_owned(),
            value: value.to_owned(),
        }),
    }
}

/// Undoes percent-encoding and `+` of a query.
fn unescaped(text: &str) -> String {
    super::percent_decoded(&text.replace('+', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<GitReference> {
        GitReference::parse(text, GitPlace::Context).expect(text)
    }

    #[test]
    fn references_are_read() {
        let cases = [
            ("https://h/a.git", ("https://h/a.git", None, None)),
            ("http://h/.git#v1", ("http://h/.git", Some("v1"), None)),
            ("https://h/a.git#:d", ("https://h/a.git", None, Some("d"))),
            ("git://h/a#b:c/d", ("git://h/a", Some("b"), Some("c/d"))),
            ("git@h:o/a.git#b", ("git@h:o/a.git", Some("b"), None)),
            (
                "ssh://git@h:2222/a#b",
                ("ssh://git@h:2222/a", Some("b"), None),
            ),
            (
                "github.com/o/a#b",
                ("https://github.com/o/a", Some("b"), None),
            ),
            (
                "https://h/a.git?ref=b&subdir=c",
                ("https://h/a.git", Some("b"), Some("c")),
            ),
            (
                "https://h/a.git?tag=v1",
                ("https://h/a.git", Some("refs/tags/v1"), None),
            ),
            (
                "https://h/a.git?branch=m%2Fx",
                ("https://h/a.git", Some("refs/heads/m/x"), None),
            ),
            (
                "https://h/a.git##ref=b,subdir=/c",
                ("https://h/a.git", Some("b"), Some("/c")),
            ),
        ];
        for (text, expected) in cases {
            let read = parse(text).expect(text);
            let seen = (
                read.remote.as_str(),
                read.reference.as_deref(),
                read.subdirectory.as_deref(),
            );
            assert_eq!(seen, expected, "{text}");
        }
        let full = parse("https://h/a.git?commit=abc&keep-git-dir&submodules=false").unwrap();
        assert_eq!(full.reference.as_deref(), Some("abc"));
        assert_eq!(full.checksum.as_deref(), Some("abc"));
        assert_eq!(
            (full.keep_git_dir, full.skip_submodules),
            (Some(true), true)
        );
    }

    #[test]
    fn other_sources_are_told_apart() {
        for text in [
            "a",
            "./git@h:x",
            "dir/a.git",
            "https://h/a.tar",
            "ftp://h/a.git",
            "a@b",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        let source = GitReference::parse("github.com/o/a", GitPlace::Source);
        assert_eq!(source, Ok(None));
    }

    #[test]
    fn contradictions_are_refused() {
        let cases = [
            ("?tag=v2#refs/heads/m", "ref conflicts"),
            ("?tag=a&branch=b", "branch conflicts with tag"),
            ("?ref", "query \"ref\" has no value"),
            ("?ref=a&ref=b", "multiple values"),
            ("?depth=1", "unexpected query \"depth\""),
            ("?submodules=perhaps", "invalid submodules value"),
            ("##name=x", "unexpected key 'name'"),
        ];
        for (rest, expected) in cases {
            let error = GitReference::parse(&format!("https://h/a.git{rest}"), GitPlace::Source);
            let text = error.expect_err(rest).to_string();
            assert!(text.contains(expected), "{rest}: {text}");
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(redacted("https://u:p@h/a.git"), "https://u:xxxxx@h/a.git");
        assert_eq!(redacted("https://h/a@b.git"), "https://h/a@b.git");
        assert_eq!(redacted("git@h:a"), "git@h:a");
    }
}
