//! `--filter KEY=VALUE`.

use std::collections::BTreeMap;

use mica_oci::Reference;

use crate::failure::CliError;

/// The filters of a listing.
#[derive(Debug)]
pub(super) struct Filters(Vec<(String, String)>);

impl Filters {
    /// Parses filters; `known` are those that the listing has.
    pub(super) fn parse(texts: &[String], known: &[&str]) -> Result<Self, CliError> {
        let parse = |text: &String| match text.split_once('=') {
            Some((key, value)) if known.contains(&key.trim()) => {
                Ok((key.trim().to_lowercase(), value.trim().to_owned()))
            }
            _ => Err(CliError::Filter {
                filter: text.clone(),
            }),
        };
        texts.iter().map(parse).collect::<Result<_, _>>().map(Self)
    }

    /// Returns all values of a key.
    pub(super) fn all(&self, key: &str) -> impl Iterator<Item = &str> {
        let pairs = self.0.iter().filter(move |(name, _)| name == key);
        pairs.map(|(_, value)| value.as_str())
    }

    /// Returns the last value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.all(key).last()
    }

    /// Returns the last value of a key that is true or false.
    pub(super) fn boolean(&self, key: &str) -> Result<Option<bool>, CliError> {
        match self.get(key) {
            None => Ok(None),
            Some("true" | "1") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            Some(value) => Err(CliError::Filter {
                filter: format!("{key}={value}"),
            }),
        }
    }

    /// Tells whether any value of a key is accepted; without that key everything is.
    pub(super) fn any(&self, key: &str, accept: impl FnMut(&str) -> bool) -> bool {
        let mut values = self.all(key).peekable();
        values.peek().is_none() || values.any(accept)
    }

    /// Tells whether labels are as all `label=NAME` and `label=NAME=VALUE` filters say, and as none
    /// of the `label!=` filters does.
    pub(super) fn match_labels(&self, labels: &BTreeMap<String, String>) -> bool {
        let has = |wanted: &str| match wanted.split_once('=') {
            Some((name, value)) => labels.get(name).is_some_and(|found| found == value),
            None => labels.contains_key(wanted),
        };
        self.all("label").all(has) && !self.all("label!").any(has)
    }
}

/// Tells whether a reference has the repository, and the tag if one is given; `*` stands for any
/// text without a slash.
pub(super) fn matches_reference(pattern: &str, reference: &Reference) -> bool {
    let familiar = reference.familiar();
    let repository = reference.familiar_repository();
    if let Ok(wanted) = pattern.parse::<Reference>() {
        let named = wanted.familiar_repository() == repository;
        let has_tag = pattern
            .rsplit('/')
            .next()
            .is_some_and(|last| last.contains(':'));
        return named && (!has_tag || wanted.tag() == reference.tag());
    }
    matches_glob(pattern.as_bytes(), familiar.as_bytes())
        || matches_glob(pattern.as_bytes(), repository.as_bytes())
}

fn matches_glob(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) if matches_glob(rest, text) => true,
        (Some((b'*', _)), Some((byte, rest))) if *byte != b'/' => matches_glob(pattern, rest),
        (Some((b'?', pattern)), Some((byte, text))) if *byte != b'/' => matches_glob(pattern, text),
        (Some((one, pattern)), Some((other, text))) if one == other => matches_glob(pattern, text),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_matched_by_repository_tag_or_pattern() {
        let check = |pattern: &str, name: &str, expected: bool| {
            let reference = name.parse().unwrap();
            assert_eq!(
                matches_reference(pattern, &reference),
                expected,
                "{pattern} {name}"
            );
        };
        check("ubuntu", "ubuntu:22.04", true);
        check("ubuntu:latest", "ubuntu:22.04", false);
        check("localhost:5000/a", "localhost:5000/a:1", true);
        check("user/*", "user/app", true);
        check("*", "user/app", false);
        check("ub*:22*", "ubuntu:22.04", true);
        check("debian", "ubuntu", false);
    }

    #[test]
    fn unknown_filters_are_refused() {
        assert!(Filters::parse(&["colour=red".into()], &["label"]).is_err());
        assert!(Filters::parse(&["label".into()], &["label"]).is_err());
    }
}
