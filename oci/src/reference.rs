//! Image names as docker normalises them.

use std::fmt;
use std::str::FromStr;

use crate::Digest;

/// A normalised image name: `registry/repository[:tag][@digest]`.
///
/// `ubuntu` is `docker.io/library/ubuntu:latest`; a first component that holds a dot or a colon,
/// or is `localhost`, is a registry. Source: the `distribution/reference` grammar.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Says why a text is no image name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReferenceError {
    /// The name has a character or shape that no registry accepts.
    #[error("invalid reference format: `{reference}`: {reason}")]
    Format {
        /// What was given.
        reference: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Repository names are lower case.
    #[error("invalid reference format: repository name `{repository}` must be lowercase")]
    UpperCase {
        /// The repository as given.
        repository: String,
    },
    /// The digest after `@` is none.
    #[error("invalid reference format: `{reference}`")]
    Digest {
        /// What was given.
        reference: String,
        /// What is wrong with the digest.
        #[source]
        source: crate::DigestError,
    },
}

const DEFAULT_REGISTRY: &str = "docker.io";
const OFFICIAL: &str = "library/";
const DEFAULT_TAG: &str = "latest";
const NAME_LENGTH: usize = 255;
const TAG_LENGTH: usize = 128;

impl Reference {
    /// Returns the registry, with its port: `docker.io`, `localhost:5000`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Returns the repository: `library/ubuntu`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Returns the tag; absent when only a digest was given.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Returns the digest.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Returns the short form that docker shows: without `docker.io/` and `library/`.
    pub fn familiar(&self) -> String {
        let mut text = self.familiar_repository();
        if let Some(tag) = &self.tag {
            text = format!("{text}:{tag}");
        }
        if let Some(digest) = &self.digest {
            text = format!("{text}@{digest}");
        }
        text
    }

    /// Returns the short form of registry and repository alone.
    pub fn familiar_repository(&self) -> String {
        if self.registry != DEFAULT_REGISTRY {
            return format!("{}/{}", self.registry, self.repository);
        }
        match self.repository.strip_prefix(OFFICIAL) {
            Some(name) if !name.contains('/') => name.to_owned(),
            _ => self.repository.clone(),
        }
    }

    /// Returns the same repository with another tag and no digest.
    pub fn with_tag(&self, tag: &str) -> Result<Self, ReferenceError> {
        check_tag(tag, tag)?;
        Ok(Self {
            tag: Some(tag.to_owned()),
            digest: None,
            ..self.clone()
        })
    }

    /// Returns the same repository with a digest and no tag.
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self {
            tag: None,
            digest: Some(digest),
            ..self.clone()
        }
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, digest) = split_digest(text)?;
        let (name, tag) = split_tag(name);
        if name.is_empty() {
            return Err(format_error(text, "the name is empty"));
        }
        if let Some(tag) = tag {
            check_tag(text, tag)?;
        }
        let (registry, path) = split_registry(name);
        let repository = match (registry, path.contains('/')) {
            (None | Some(DEFAULT_REGISTRY), false) => format!("{OFFICIAL}{path}"),
            _ => path.to_owned(),
        };
        check_repository(text, &repository)?;
        let registry = registry.unwrap_or(DEFAULT_REGISTRY).to_owned();
        check_registry(text, &registry)?;
        let tag = match (tag, &digest) {
            (None, None) => Some(DEFAULT_TAG.to_owned()),
            (tag, _) => tag.map(str::to_owned),
        };
        Ok(Self {
            registry,
            repository,
            tag,
            digest,
        })
    }
}

fn format_error(reference: &str, reason: &'static str) -> ReferenceError {
    ReferenceError::Format {
        reference: reference.to_owned(),
        reason,
    }
}

fn split_digest(text: &str) -> Result<(&str, Option<Digest>), ReferenceError> {
    match text.split_once('@') {
        None => Ok((text, None)),
        Some((name, digest)) => match digest.parse() {
            Ok(digest) => Ok((name, Some(digest))),
            Err(source) => Err(ReferenceError::Digest {
                reference: text.to_owned(),
                source,
            }),
        },
    }
}

/// A colon before the last slash is a port's, not a tag's.
fn split_tag(name: &str) -> (&str, Option<&str>) {
    match name.rfind(':') {
        Some(colon) if !name[colon..].contains('/') => (&name[..colon], Some(&name[colon + 1..])),
        _ => (name, None),
    }
}

fn split_registry(name: &str) -> (Option<&str>, &str) {
    match name.split_once('/') {
        Some((first, rest)) if is_registry(first) => {
            let first = if first == "index.docker.io" {
                DEFAULT_REGISTRY
            } else {
                first
            };
            (Some(first), rest)
        }
        _ => (None, name),
    }
}

fn is_registry(component: &str) -> bool {
    component == "localhost"
        || component.contains(['.', ':'])
        || component.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn check_registry(text: &str, registry: &str) -> Result<(), ReferenceError> {
    let (host, port) = match registry.rfind(':') {
        Some(colon) if !registry[colon..].contains(']') => {
            (&registry[..colon], Some(&registry[colon + 1..]))
        }
        _ => (registry, None),
    };
    if let Some(port) = port
        && (port.is_empty() || port.parse::<u16>().is_err())
    {
        return Err(format_error(text, "the registry's port is not a number"));
    }
    let address = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let valid = match address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.split('.').all(|part| {
            let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            part.bytes().all(inner)
                && !part.is_empty()
                && !part.starts_with('-')
                && !part.ends_with('-')
        }),
    };
    if valid {
        Ok(())
    } else {
        Err(format_error(text, "the registry is not a host name"))
    }
}

fn check_repository(text: &str, repository: &str) -> Result<(), ReferenceError> {
    if repository.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(ReferenceError::UpperCase {
            repository: repository.to_owned(),
        });
    }
    if repository.len() > NAME_LENGTH {
        return Err(format_error(
            text,
            "the repository name is longer than 255 characters",
        ));
    }
    let official = repository.strip_prefix(OFFICIAL);
    if official.is_some_and(|name| name.len() == 64 && is_identifier(name)) {
        return Err(format_error(
            text,
            "a name cannot be 64 hexadecimal characters",
        ));
    }
    if repository.split('/').all(is_path_component) {
        Ok(())
    } else {
        Err(format_error(
            text,
            "repository names are lower-case letters, digits and single separators . _ - /",
        ))
    }
}

fn is_identifier(text: &str) -> bool {
    text.bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Lower-case alphanumerics joined by `.`, `_`, `__` or any number of `-`.
fn is_path_component(component: &str) -> bool {
    let bytes = component.as_bytes();
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if !bytes.first().is_some_and(alphanumeric) || !bytes.last().is_some_and(alphanumeric) {
        return false;
    }
    bytes.split(alphanumeric).all(|separator| {
        matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|&byte| byte == b'-')
    })
}

fn check_tag(text: &str, tag: &str) -> Result<(), ReferenceError> {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let rest = |byte: u8| word(byte) || matches!(byte, b'.' | b'-');
    let bytes = tag.as_bytes();
    match bytes.first() {
        Some(&first)
            if word(first) && bytes.iter().all(|&b| rest(b)) && bytes.len() <= TAG_LENGTH =>
        {
            Ok(())
        }
        _ => Err(format_error(
            text,
            "tags are letters, digits, `_`, `.` and `-`, at most 128, not starting with `.` or `-`",
        )),
    }
}

/// The full form: `docker.io/library/ubuntu:latest`.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalised() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let with_digest = format!("ubuntu@{digest}");
        let full_digest = format!("docker.io/library/ubuntu@{digest}");
        let cases = [
            ("ubuntu", "docker.io/library/ubuntu:latest", "ubuntu:latest"),
            ("user/app:v2", "docker.io/user/app:v2", "user/app:v2"),
            (
                "docker.io/ubuntu",
                "docker.io/library/ubuntu:latest",
                "ubuntu:latest",
            ),
            ("index.docker.io/a/b", "docker.io/a/b:latest", "a/b:latest"),
            ("localhost/a", "localhost/a:latest", "localhost/a:latest"),
            (
                "localhost:5000/a/b:1",
                "localhost:5000/a/b:1",
                "localhost:5000/a/b:1",
            ),
            (
                "host.example/a__b/c--d.e",
                "host.example/a__b/c--d.e:latest",
                "host.example/a__b/c--d.e:latest",
            ),
            ("[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a:latest"),
            (&with_digest, &full_digest, &with_digest),
        ];
        for (text, full, familiar) in cases {
            let reference: Reference = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(reference.to_string(), full);
            assert_eq!(reference.familiar(), familiar);
            assert_eq!(full.parse::<Reference>().unwrap(), reference);
        }
    }

    #[test]
    fn bad_names_are_refused() {
        let identifier = "a".repeat(64);
        // As long as `library/` and an identifier, with a letter of two bytes across the border.
        let wide = format!("{}é/{}", "a".repeat(7), "a".repeat(62));
        for bad in [
            "",
            ":tag",
            "Ubuntu",
            "a/B",
            "a b",
            "a:",
            "a:.x",
            "a@sha256:1",
            "-a",
            "a-",
            "a..b",
            "a___b",
            "a//b",
            "host:port/a",
            "..",
            "../x",
            "a/../b",
            &identifier,
            &wide,
            "é",
            "a:é",
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad}");
        }
    }
}
