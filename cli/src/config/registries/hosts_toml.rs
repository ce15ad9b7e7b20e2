//! Containerd's `certs.d/HOST/hosts.toml`. Source: containerd's docs/hosts.md.

use std::path::{Path, PathBuf};

use mica_registry_client::Mirror;
use serde::Deserialize;

use super::{Certificates, Registries, bad_value, list, parse_mirror, read_text};
use crate::failure::CliError;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    server: Option<String>,
    host: toml::Table,
    #[serde(flatten)]
    own: Entry,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entry {
    capabilities: Option<Vec<String>>,
    ca: Option<OneOrMore>,
    client: Option<toml::Value>,
    skip_verify: bool,
    override_path: bool,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(PathBuf),
    More(Vec<PathBuf>),
}

/// The directory that is about all registries.
const DEFAULT: &str = "_default";

/// Reads the files of all hosts.
pub(super) fn read(directory: &Path, all: &mut Registries) -> Result<(), CliError> {
    for host in list(directory)? {
        let path = host.join("hosts.toml");
        let name = host.file_name().and_then(|name| name.to_str());
        if let (Some(name), Some(text)) = (name, read_text(&path)?) {
            let file: File = toml::from_str(&text).map_err(|source| CliError::Toml {
                path: path.clone(),
                source: Box::new(source),
            })?;
            add(&path, &host_of(name), &file, all)?;
        }
    }
    Ok(())
}

/// `localhost_5000_` is `localhost:5000`, and `_default` is every host.
fn host_of(directory: &str) -> String {
    if directory == DEFAULT {
        return "*".to_owned();
    }
    let port = directory
        .strip_suffix('_')
        .and_then(|name| name.rsplit_once('_'));
    match port {
        Some((host, port)) if port.parse::<u16>().is_ok() => format!("{host}:{port}"),
        _ => directory.to_owned(),
    }
}

fn add(path: &Path, host: &str, file: &File, all: &mut Registries) -> Result<(), CliError> {
    let by = path.display().to_string();
    if let Some(server) = &file.server {
        let origin = address(path, server, file.own.override_path)?;
        note_host(path, &origin, &file.own, all)?;
        let is_same = origin.host == host
            || (host == "docker.io" && origin.host == "registry-1.docker.io")
            || host == "*";
        let location = format!("{}/{}", origin.host, origin.prefix);
        if !is_same || !origin.prefix.is_empty() {
            all.set_location(host, location.trim_end_matches('/'), &by);
        }
        if server.starts_with("http://") {
            all.add_insecure(&origin.host, &by);
        }
    } else if host != "*" {
        let origin = parse_mirror(path, host)?;
        note_host(path, &origin, &file.own, all)?;
    }
    for (url, entry) in &file.host {
        let entry: Entry = entry.clone().try_into().map_err(|source| CliError::Toml {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        let mirror = address(path, url, entry.override_path)?;
        note_host(path, &mirror, &entry, all)?;
        let pulls = |wanted: &str| {
            let all = entry.capabilities.as_ref();
            all.is_none_or(|all| all.iter().any(|capability| capability == wanted))
        };
        if pulls("pull") {
            let mirror = Mirror {
                pull_from: match pulls("resolve") {
                    true => mica_registry_client::PullFrom::All,
                    false => mica_registry_client::PullFrom::DigestOnly,
                },
                ..mirror
            };
            all.add_mirror(host, mirror, &by);
        }
    }
    Ok(())
}

/// Reads `https://HOST`; the path of an overridden one is the API's, with `/v2` before the prefix.
fn address(path: &Path, url: &str, is_overridden: bool) -> Result<Mirror, CliError> {
    let mut mirror = parse_mirror(path, url)?;
    let bare = mirror.prefix.trim_end_matches('/').to_owned();
    mirror.prefix = match bare
        .strip_prefix("v2")
        .map(|rest| rest.trim_start_matches('/'))
    {
        Some("") => String::new(),
        Some(rest) => format!("{rest}/"),
        None if bare.is_empty() => String::new(),
        None => {
            let reason = match is_overridden {
                true => "a path that does not start with /v2 is not supported",
                false => "a path needs override_path = true",
            };
            return Err(bad_value(path, url, reason));
        }
    };
    Ok(mirror)
}

/// Notes how a host is to be believed.
fn note_host(
    path: &Path,
    origin: &Mirror,
    entry: &Entry,
    all: &mut Registries,
) -> Result<(), CliError> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let authorities = match &entry.ca {
        None => Vec::new(),
        Some(OneOrMore::One(one)) => vec![directory.join(one)],
        Some(OneOrMore::More(more)) => more.iter().map(|one| directory.join(one)).collect(),
    };
    let found = Certificates {
        authorities,
        identity: client(path, directory, entry.client.as_ref())?,
        is_unverified: entry.skip_verify,
    };
    all.hosts
        .entry(origin.host.clone())
        .or_default()
        .add(&found);
    Ok(())
}

/// Reads `"file"`, `["file", …]` or `[["certificate", "key"], …]`, of which the first counts.
fn client(
    path: &Path,
    directory: &Path,
    value: Option<&toml::Value>,
) -> Result<Option<(PathBuf, PathBuf)>, CliError> {
    let file = |value: &toml::Value| value.as_str().map(|name| directory.join(name));
    let Some(value) = value else { return Ok(None) };
    let first = match value {
        toml::Value::Array(all) => all.first(),
        value => Some(value),
    };
    let pair = match first {
        Some(toml::Value::Array(pair)) => {
            pair.first().and_then(file).zip(pair.get(1).and_then(file))
        }
        Some(one) => file(one).map(|both| (both.clone(), both)),
        None => None,
    };
    let pair =
        pair.ok_or_else(|| bad_value(path, "client", "expected a certificate and its key"))?;
    Ok(Some(pair))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mica_registry_client::{MirrorScheme, PullFrom};

    #[test]
    fn hosts_are_read_in_their_order() {
        let directory = tempfile::tempdir().unwrap();
        let write = |host: &str, text: &str| {
            let host = directory.path().join(host);
            std::fs::create_dir(&host).unwrap();
            std::fs::write(host.join("hosts.toml"), text).unwrap();
        };
        write(
            "docker.io",
            r#"
            server = "https://registry-1.docker.io"
            [host."http://z.example:5000"]
            capabilities = ["pull", "resolve"]
            [host."https://a.example/v2/hub"]
            capabilities = ["pull"]
            override_path = true
            ca = "a.crt"
            client = [["c.cert", "c.key"]]
            skip_verify = true
            [host."https://push.example"]
            capabilities = ["push"]
            "#,
        );
        write("localhost_5000_", "server = \"http://other:1\"\n");
        write("_default", "[host.\"https://cache.example\"]\n");
        let mut all = Registries::default();
        read(directory.path(), &mut all).unwrap();
        let hub: Vec<_> = all.names["docker.io"]
            .mirrors
            .iter()
            .map(|said| &said.value)
            .collect();
        assert_eq!(hub.len(), 2);
        assert_eq!(
            (hub[0].host.as_str(), hub[0].scheme),
            ("z.example:5000", MirrorScheme::Http)
        );
        assert_eq!(
            (hub[1].host.as_str(), hub[1].prefix.as_str()),
            ("a.example", "hub/")
        );
        assert_eq!(hub[1].pull_from, PullFrom::DigestOnly);
        assert!(all.names["docker.io"].location.is_none());
        let local = all.names["localhost:5000"].location.as_ref().unwrap();
        assert_eq!(local.value, "other:1");
        assert!(all.insecure.contains_key("other:1"));
        assert_eq!(all.names["*"].mirrors[0].value.host, "cache.example");
        let a = &all.hosts["a.example"];
        let base = directory.path().join("docker.io");
        assert_eq!(a.authorities, [base.join("a.crt")]);
        assert_eq!(a.identity, Some((base.join("c.cert"), base.join("c.key"))));
        assert!(a.is_unverified);
    }
}
