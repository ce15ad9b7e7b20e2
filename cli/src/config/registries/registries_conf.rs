//! `registries.conf` version 2 and its drop-ins. Source: containers-registries.conf(5).

use std::path::{Path, PathBuf};

use mica_oci::Reference;
use mica_registry_client::PullFrom;
use serde::Deserialize;

use super::{Registries, bad_value, list, parse_mirror, read_text, said};
use crate::config::Environment;
use crate::failure::CliError;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct File {
    registry: Vec<Entry>,
    aliases: toml::Table,
    /// Version 1 had tables here.
    registries: Option<toml::Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Entry {
    prefix: String,
    location: String,
    blocked: bool,
    insecure: bool,
    mirror_by_digest_only: bool,
    mirror: Vec<MirrorEntry>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct MirrorEntry {
    location: String,
    insecure: bool,
    pull_from_mirror: Option<String>,
}

/// The list of short names that distributions ship. Short names here are docker's; those that a
/// user or an administrator gives are another matter.
const SHIPPED_NAMES: &str = "shortnames.conf";

/// Reads the user's file or else the system's, and then the drop-ins, the later of which count more.
pub(super) fn read(environment: Environment, all: &mut Registries) -> Result<(), CliError> {
    let mut paths = drop_ins(&environment.user_config("containers/registries.conf.d"))?;
    let mut system = drop_ins(&environment.system_config("containers/registries.conf.d"))?;
    paths.append(&mut system);
    paths.extend(main_file(environment));
    for path in paths {
        read_file(&path, all)?;
    }
    Ok(())
}

fn main_file(environment: Environment) -> Option<PathBuf> {
    let named = environment.path("CONTAINERS_REGISTRIES_CONF");
    let named = named.or_else(|| environment.path("REGISTRIES_CONFIG_PATH"));
    let user = environment.user_config("containers/registries.conf");
    let system = environment.system_config("containers/registries.conf");
    named.or_else(|| [user, system].into_iter().find(|path| path.exists()))
}

/// The last drop-in comes first, as the first that says something counts.
fn drop_ins(directory: &Path) -> Result<Vec<PathBuf>, CliError> {
    let mut paths = list(directory)?;
    paths.retain(|path| {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.unwrap_or_default();
        name.ends_with(".conf") && !name.ends_with(SHIPPED_NAMES)
    });
    paths.reverse();
    Ok(paths)
}

fn read_file(path: &Path, all: &mut Registries) -> Result<(), CliError> {
    let Some(text) = read_text(path)? else {
        return Ok(());
    };
    let file: File = toml::from_str(&text).map_err(|source| CliError::Toml {
        path: path.to_owned(),
        source: Box::new(source),
    })?;
    if file.registries.is_some() {
        let reason = "this is version 1 of the format; [[registry]] is version 2";
        return Err(bad_value(path, "[registries]", reason));
    }
    let by = path.display().to_string();
    for entry in &file.registry {
        add(path, &by, entry, all)?;
    }
    for (name, target) in &file.aliases {
        let target = target.as_str().unwrap_or_default();
        let long: Reference = name
            .parse()
            .map_err(|_| bad_value(path, name, "this is no short name"))?;
        let long = format!("{}/{}", long.registry(), long.repository());
        let is_removed = target.is_empty();
        if !is_removed && target != long {
            let alias = said(target.to_owned(), &by);
            all.aliases.entry(long).or_insert(alias);
        }
    }
    Ok(())
}

fn add(path: &Path, by: &str, entry: &Entry, all: &mut Registries) -> Result<(), CliError> {
    let prefix = match entry.prefix.as_str() {
        "" => entry.location.as_str(),
        prefix => prefix,
    };
    if prefix.is_empty() {
        return Err(bad_value(
            path,
            "[[registry]]",
            "it needs a prefix or a location",
        ));
    }
    let location = match entry.location.as_str() {
        "" => prefix,
        location => location,
    };
    let host = location.split('/').next().unwrap_or(location);
    if entry.insecure && !host.starts_with('*') {
        all.add_insecure(host, by);
    }
    if location != prefix {
        all.set_location(prefix, location, by);
    }
    let named = all.named(prefix);
    if entry.blocked && named.blocked.is_none() {
        named.blocked = Some(by.to_owned());
    }
    for mirror in &entry.mirror {
        let mut parsed = parse_mirror(path, &mirror.location)?;
        parsed.pull_from = match mirror.pull_from_mirror.as_deref() {
            None if entry.mirror_by_digest_only => PullFrom::DigestOnly,
            None | Some("all") => PullFrom::All,
            Some("digest-only") => PullFrom::DigestOnly,
            Some("tag-only") => PullFrom::TagOnly,
            Some(other) => {
                let reason = "expected all, digest-only or tag-only";
                return Err(bad_value(path, other, reason));
            }
        };
        if mirror.insecure {
            all.add_insecure(&parsed.host, by);
        }
        all.add_mirror(prefix, parsed, by);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<Registries, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("registries.conf");
        std::fs::write(&path, text).unwrap();
        let mut all = Registries::default();
        read_file(&path, &mut all).map_err(|error| error.to_string())?;
        Ok(all)
    }

    #[test]
    fn entries_of_version_2_are_read() {
        let all = check(
            r#"
            unqualified-search-registries = ["docker.io"]
            [[registry]]
            prefix = "docker.io/library"
            location = "own.example/hub"
            mirror-by-digest-only = true
            [[registry.mirror]]
            location = "near:5000/x"
            insecure = true
            [[registry.mirror]]
            location = "far"
            pull-from-mirror = "tag-only"
            [[registry]]
            location = "bad.example"
            blocked = true
            [[registry]]
            location = "plain.example:5000"
            insecure = true
            [aliases]
            "tool" = "quay.io/team/tool"
            "busybox" = "docker.io/library/busybox"
            "#,
        )
        .unwrap();
        let library = &all.names["docker.io/library"];
        assert_eq!(library.location.as_ref().unwrap().value, "own.example/hub");
        let mirrors: Vec<_> = library.mirrors.iter().map(|said| &said.value).collect();
        assert_eq!(
            (mirrors[0].host.as_str(), mirrors[0].prefix.as_str()),
            ("near:5000", "x/")
        );
        assert_eq!(mirrors[0].pull_from, PullFrom::DigestOnly);
        assert_eq!(mirrors[1].pull_from, PullFrom::TagOnly);
        assert!(all.names["bad.example"].blocked.is_some());
        let insecure: Vec<_> = all.insecure.keys().map(String::as_str).collect();
        assert_eq!(insecure, ["near:5000", "plain.example:5000"]);
        let aliases: Vec<_> = all
            .aliases
            .iter()
            .map(|(k, v)| (k.as_str(), v.value.as_str()))
            .collect();
        assert_eq!(aliases, [("docker.io/library/tool", "quay.io/team/tool")]);
    }

    #[test]
    fn what_is_no_version_2_is_refused() {
        let cases = [
            ("[registries.search]\nregistries = []\n", "version 1"),
            ("[[registry]]\nblocked = true\n", "prefix or a location"),
            ("[[registry]\n", "cannot read"),
            (
                "[[registry]]\nlocation = 'a'\n[[registry.mirror]]\nlocation = 'm'\npull-from-mirror = 'x'\n",
                "digest-only",
            ),
        ];
        for (text, expected) in cases {
            let error = check(text).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
