//! What the files of mica, docker, podman and containerd say about registries, as one.
//!
//! ```text
//! MICA_MIRROR ▶ mica's config.json ▶ registries.conf(.d) ▶ hosts.toml ▶ daemon.json
//! ```
//!
//! The first that names a location counts; mirrors are tried in this order; what any of them
//! blocks is blocked, what any calls insecure is insecure. See `docs/registries.md`.

mod certificates;
mod daemon_json;
mod hosts_toml;
mod registries_conf;

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use mica_registry_client::{Access, HostTls, Mirror, PlainHttp, Rule};

use super::Environment;
use crate::failure::CliError;

pub(crate) use certificates::Certificates;

/// Something that a file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said<T> {
    /// What it says.
    pub(crate) value: T,
    /// The file, or the variable.
    pub(crate) by: String,
}

/// What is said about names that start alike.
#[derive(Clone, Debug, Default)]
pub(crate) struct Named {
    pub(crate) location: Option<Said<String>>,
    pub(crate) mirrors: Vec<Said<Mirror>>,
    pub(crate) blocked: Option<String>,
}

/// What all files say.
#[derive(Debug, Default)]
pub(crate) struct Registries {
    pub(crate) names: BTreeMap<String, Named>,
    /// Hosts and networks, and who calls them insecure.
    pub(crate) insecure: BTreeMap<String, String>,
    /// Short names, as docker writes them out, and what they stand for.
    pub(crate) aliases: BTreeMap<String, Said<String>>,
    /// What docker's daemon uses as proxies.
    pub(crate) proxies: BTreeMap<&'static str, String>,
    /// What `hosts.toml` says about certificates, by host.
    hosts: BTreeMap<String, Certificates>,
    /// Where certificates are looked for, in `<host>:<port>` directories.
    certificate_directories: Vec<PathBuf>,
}

impl Registries {
    /// Reads all files but mica's own.
    pub(crate) fn read(environment: Environment) -> Result<Self, CliError> {
        let mut all = Self::default();
        registries_conf::read(environment, &mut all)?;
        hosts_toml::read(&environment.system_config("containerd/certs.d"), &mut all)?;
        daemon_json::read(&environment.system_config("docker/daemon.json"), &mut all)?;
        all.certificate_directories = environment.certificate_directories();
        Ok(all)
    }

    /// Says where names lead to, as the client wants it.
    pub(crate) fn rules(&self) -> Vec<Rule> {
        let rule = |(prefix, named): (&String, &Named)| Rule {
            prefix: prefix.clone(),
            location: named.location.as_ref().map(|said| said.value.clone()),
            mirrors: named
                .mirrors
                .iter()
                .map(|said| said.value.clone())
                .collect(),
            access: match named.blocked {
                Some(_) => Access::Blocked,
                None => Access::Allowed,
            },
            source: named.blocked.clone().unwrap_or_default(),
        };
        self.names.iter().map(rule).collect()
    }

    /// Returns the hosts that may be spoken to without TLS.
    pub(crate) fn plain_http(&self) -> PlainHttp {
        match self.insecure.is_empty() {
            true => PlainHttp::LoopbackOnly,
            false => PlainHttp::Hosts(self.insecure.keys().cloned().collect()),
        }
    }

    /// Returns what short names stand for.
    pub(crate) fn plain_aliases(&self) -> BTreeMap<String, String> {
        let plain = |(name, said): (&String, &Said<String>)| (name.clone(), said.value.clone());
        self.aliases.iter().map(plain).collect()
    }

    /// Finds the certificates for a host, named as in a reference.
    pub(crate) fn certificates(&self, host: &str) -> Result<Certificates, CliError> {
        let mut found = Certificates::default();
        for directory in &self.certificate_directories {
            found.add_directory(&directory.join(host))?;
        }
        if let Some(said) = self.hosts.get(host) {
            found.add(said);
        }
        Ok(found)
    }

    /// Reads the certificates for a host.
    pub(crate) fn host_tls(&self, host: &str) -> Result<HostTls, CliError> {
        self.certificates(host)?.read()
    }

    fn named(&mut self, prefix: &str) -> &mut Named {
        self.names.entry(prefix.to_owned()).or_default()
    }

    /// Adds a mirror behind those that are there.
    pub(crate) fn add_mirror(&mut self, prefix: &str, mirror: Mirror, by: &str) {
        let named = self.named(prefix);
        if !named.mirrors.iter().any(|said| said.value == mirror) {
            named.mirrors.push(said(mirror, by));
        }
    }

    /// Puts mirrors before those that are there.
    pub(crate) fn put_mirrors_first(&mut self, prefix: &str, mirrors: Vec<Mirror>, by: &str) {
        let named = self.named(prefix);
        named.mirrors.retain(|said| !mirrors.contains(&said.value));
        let first = mirrors.into_iter().map(|mirror| said(mirror, by));
        named.mirrors.splice(0..0, first);
    }

    pub(crate) fn add_insecure(&mut self, host: &str, by: &str) {
        let entry = self.insecure.entry(host.to_owned());
        entry.or_insert_with(|| by.to_owned());
    }

    fn set_location(&mut self, prefix: &str, location: &str, by: &str) {
        let named = self.named(prefix);
        if named.location.is_none() {
            named.location = Some(said(location.to_owned(), by));
        }
    }
}

fn said<T>(value: T, by: &str) -> Said<T> {
    Said {
        value,
        by: by.to_owned(),
    }
}

/// Reads a file; `None` where there is none.
fn read_text(path: &Path) -> Result<Option<String>, CliError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(source) => Err(CliError::File {
            action: "read",
            path: path.to_owned(),
            source,
        }),
    }
}

/// Lists a directory by name; nothing where there is none.
fn list(directory: &Path) -> Result<Vec<PathBuf>, CliError> {
    let failed = |source| CliError::File {
        action: "read",
        path: directory.to_owned(),
        source,
    };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(source) => return Err(failed(source)),
    };
    let paths: Result<Vec<_>, _> = entries.map(|entry| entry.map(|e| e.path())).collect();
    let mut paths = paths.map_err(failed)?;
    paths.sort();
    Ok(paths)
}

/// Says that a value in a file cannot be what it is.
fn bad_value(path: &Path, value: &str, reason: impl Into<String>) -> CliError {
    CliError::ConfigurationValue {
        path: path.to_owned(),
        value: value.to_owned(),
        reason: reason.into(),
    }
}

fn parse_mirror(path: &Path, text: &str) -> Result<Mirror, CliError> {
    text.parse()
        .map_err(|error: mica_registry_client::MirrorError| {
            bad_value(path, text, error.to_string())
        })
}
