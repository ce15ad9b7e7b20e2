//! Where a repository is to be found: the user's rules, of which the longest prefix counts.

use std::collections::BTreeMap;

use crate::{Mirror, PullFrom, RegistryError};

/// What the user decided about all names that start alike.
///
/// Source: containers-registries.conf(5), `[[registry]]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// A registry, namespace or repository, such as `docker.io/library`; or `*.example.com`.
    pub prefix: String,
    /// What stands in place of the prefix when something is pulled.
    pub location: Option<String>,
    /// Where else to pull from, best first. Never pushed to.
    pub mirrors: Vec<Mirror>,
    /// Whether such names may be used at all.
    pub access: Access,
    /// Where this was configured, for messages.
    pub source: String,
}

/// Whether names may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// They may.
    #[default]
    Allowed,
    /// The user forbids it.
    Blocked,
}

/// A repository at a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) host: String,
    pub(crate) repository: String,
}

/// A repository at a mirror.
#[derive(Clone, Debug)]
pub(crate) struct MirrorPlace {
    pub(crate) mirror: Mirror,
    pub(crate) repository: String,
}

impl Rule {
    /// Tells how much of a name, `registry/repository`, the prefix covers; `None` for nothing.
    pub fn covers(&self, name: &str) -> Option<usize> {
        if let Some(domain) = self.prefix.strip_prefix('*') {
            let (host, _) = name.split_once('/').unwrap_or((name, ""));
            return host.ends_with(domain).then_some(host.len());
        }
        let rest = name.strip_prefix(self.prefix.as_str())?;
        let whole = rest.is_empty() || rest.starts_with('/');
        whole.then_some(self.prefix.len())
    }

    fn mirrors_of(&self, rest: &str) -> impl Iterator<Item = MirrorPlace> {
        let rest = rest.trim_start_matches('/').to_owned();
        self.mirrors.iter().cloned().map(move |mirror| {
            let joined = format!("{}{rest}", mirror.prefix);
            let repository = joined.trim_end_matches('/').to_owned();
            MirrorPlace { mirror, repository }
        })
    }
}

/// Finds the rule with the longest prefix of `registry/repository`.
pub(crate) fn find<'r>(rules: &'r [Rule], name: &str) -> Option<(&'r Rule, usize)> {
    let fitting = rules
        .iter()
        .filter_map(|rule| Some((rule, rule.covers(name)?)));
    fitting.max_by_key(|(rule, length)| (!rule.prefix.starts_with('*'), *length))
}

/// Says where a name is pulled from.
pub(crate) fn places(
    rules: &[Rule],
    aliases: &BTreeMap<String, String>,
    registry: &str,
    repository: &str,
) -> (Place, Vec<MirrorPlace>) {
    let given = format!("{registry}/{repository}");
    let name = aliases.get(&given).unwrap_or(&given);
    let (host, rest) = name.split_once('/').unwrap_or((registry, repository));
    let own = Place {
        host: host.to_owned(),
        repository: rest.to_owned(),
    };
    let Some((rule, length)) = find(rules, name) else {
        return (own, Vec::new());
    };
    let rest = &name[length..];
    let moved = rule
        .location
        .as_ref()
        .map(|location| format!("{location}{rest}"));
    let place = moved.and_then(|moved| {
        let (host, repository) = moved.split_once('/')?;
        Some(Place {
            host: host.to_owned(),
            repository: repository.to_owned(),
        })
    });
    (place.unwrap_or(own), rule.mirrors_of(rest).collect())
}

/// Fails for a name that the user blocked.
pub(crate) fn check(rules: &[Rule], registry: &str, repository: &str) -> Result<(), RegistryError> {
    let name = format!("{registry}/{repository}");
    match find(rules, &name) {
        Some((rule, _)) if rule.access == Access::Blocked => Err(RegistryError::Blocked {
            name,
            source_file: rule.source.clone(),
        }),
        _ => Ok(()),
    }
}

impl MirrorPlace {
    /// Tells whether the mirror may be asked for this: a tag, or something that a digest names.
    pub(crate) fn serves(&self, by_digest: bool) -> bool {
        match self.mirror.pull_from {
            PullFrom::All => true,
            PullFrom::DigestOnly => by_digest,
            PullFrom::TagOnly => !by_digest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(prefix: &str, location: Option<&str>, mirrors: &[&str]) -> Rule {
        Rule {
            prefix: prefix.to_owned(),
            location: location.map(str::to_owned),
            mirrors: mirrors.iter().map(|m| m.parse().unwrap()).collect(),
            ..Rule::default()
        }
    }

    #[test]
    fn the_longest_prefix_counts() {
        let rules = [
            rule("docker.io", None, &["cache:5000"]),
            rule("docker.io/library", Some("own.example/hub"), &["near/x"]),
            rule("*.wild.example", None, &["tame.example"]),
            rule("host:5000/a", Some("other"), &[]),
        ];
        let cases = [
            (
                "docker.io",
                "ada/app",
                "docker.io/ada/app",
                "cache:5000/ada/app",
            ),
            ("docker.io", "library/b", "own.example/hub/b", "near/x/b"),
            (
                "docker.io",
                "library2/b",
                "docker.io/library2/b",
                "cache:5000/library2/b",
            ),
            (
                "a.wild.example",
                "b/c",
                "a.wild.example/b/c",
                "tame.example/b/c",
            ),
            ("host:5000", "a/b", "other/b", ""),
            ("host:5000", "ab", "host:5000/ab", ""),
            ("quay.io", "a", "quay.io/a", ""),
            ("docker.io", "library/tool", "other/tool", ""),
        ];
        let aliases =
            BTreeMap::from([("docker.io/library/tool".into(), "host:5000/a/tool".into())]);
        for (registry, repository, expected, mirror) in cases {
            let (place, mirrors) = places(&rules, &aliases, registry, repository);
            assert_eq!(format!("{}/{}", place.host, place.repository), expected);
            let first = mirrors.first();
            let first = first.map(|m| format!("{}/{}", m.mirror.host, m.repository));
            assert_eq!(first.unwrap_or_default(), mirror, "{registry}/{repository}");
        }
    }

    #[test]
    fn blocked_names_are_refused() {
        let blocked = Rule {
            access: Access::Blocked,
            ..rule("bad.example/x", None, &[])
        };
        let rules = [rule("bad.example", None, &[]), blocked];
        assert!(check(&rules, "bad.example", "x/y").is_err());
        assert!(check(&rules, "bad.example", "z").is_ok());
    }
}
