//! How registries are reached: mica's own `config.json`, and variables.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::SignedDuration;
use mica_registry_client::{
    Credentials, HostTls, Mirror, Proxies, RateLimit, RegistryConfig, TlsRoots,
};
use mica_store::{Limits, Snapshotter, SnapshotterChoice, Transfers};
use serde::Deserialize;

use super::{Environment, Registries};
use crate::container::sizes::ByteSize;
use crate::failure::CliError;

/// Mica's own `config.json`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct Settings {
    /// Where else to pull from, by registry.
    mirrors: BTreeMap<String, Vec<String>>,
    /// Those of the variable, which come first.
    #[serde(skip)]
    first_mirrors: BTreeMap<String, Vec<String>>,
    /// Registries that may be spoken to without TLS.
    insecure_registries: BTreeSet<String>,
    /// Stores that are only read: images are found there, too.
    pub(crate) additional_stores: Vec<PathBuf>,
    /// What layers are held against when they are unpacked.
    layer_limits: LayerLimits,
    /// How many blobs come from a registry at a time.
    max_concurrent_downloads: Option<NonZeroUsize>,
    /// How many blobs go to one at a time.
    max_concurrent_uploads: Option<NonZeroUsize>,
    /// How read-write layers are laid over others.
    snapshotter: SnapshotterName,
    /// How builds run.
    pub(crate) build: BuildSettings,
}

/// What `snapshotter` and `MICA_SNAPSHOTTER` may say.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SnapshotterName {
    #[default]
    Auto,
    Overlayfs,
    Reflink,
}

/// How builds run: `build`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct BuildSettings {
    /// How many RUN instructions may run at once.
    pub(crate) max_parallelism: Option<NonZeroUsize>,
    /// How much memory they may need together.
    pub(crate) max_memory: Option<ByteSize>,
    /// How much of the build cache stays.
    pub(crate) cache: CacheSettings,
}

/// How much of the build cache stays after each build: `build.cache`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub(crate) struct CacheSettings {
    /// This much is never taken away.
    pub(crate) reserved_space: Option<ByteSize>,
    /// More than this never stays.
    pub(crate) max_used_space: Option<ByteSize>,
    /// This much of the file system is to be free.
    pub(crate) min_free_space: Option<ByteSize>,
    /// What was not used for so long goes.
    pub(crate) keep_duration: Option<Age>,
}

impl CacheSettings {
    /// Tells whether anything is to be done.
    pub(crate) fn is_limited(&self) -> bool {
        let sizes = [
            self.reserved_space,
            self.max_used_space,
            self.min_free_space,
        ];
        sizes.iter().any(Option::is_some) || self.keep_duration.is_some()
    }
}

/// An age such as `720h` or `30d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Age(pub(crate) SignedDuration);

impl TryFrom<String> for Age {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let age = crate::build::duration(&text).map(Self);
        age.ok_or_else(|| format!("`{text}` is no duration such as 24h or 30d"))
    }
}

/// Limits on a layer that is unpacked; those left out have their defaults.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
struct LayerLimits {
    entries: Option<u64>,
    name_length: Option<u64>,
    header_size: Option<u64>,
    attributes: Option<u64>,
    /// How many bytes a compressed one may become; 0 for no limit.
    expansion: Option<u64>,
    /// How many bytes come out before that is looked at.
    free_expansion: Option<ByteSize>,
    /// How large a layer may be uncompressed; 0 for no limit.
    size: Option<ByteSize>,
}

const MIRROR: &str = "MICA_MIRROR";

impl Settings {
    /// Reads the file, if there is one, and the variables.
    ///
    /// `MICA_MIRROR` holds `REGISTRY=MIRROR` pairs, separated by spaces or commas; they come
    /// before the file's mirrors.
    pub(crate) fn read(environment: Environment) -> Result<Self, CliError> {
        let mut settings = Self::of_file(environment)?;
        if let Some(value) = environment.variable(MIRROR) {
            settings.add_mirrors(&value)?;
        }
        Ok(settings)
    }

    /// Reads the file, if there is one.
    pub(crate) fn of_file(environment: Environment) -> Result<Self, CliError> {
        let path = environment.mica_config();
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map_err(|source| CliError::Configuration { path, source }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(CliError::File {
                action: "read",
                path,
                source,
            }),
        }
    }

    fn add_mirrors(&mut self, value: &str) -> Result<(), CliError> {
        for pair in value.split([' ', ',']).filter(|pair| !pair.is_empty()) {
            let Some((registry, mirror)) = pair.split_once('=') else {
                return Err(CliError::Variable {
                    variable: MIRROR,
                    value: value.to_owned(),
                    reason: "expected REGISTRY=MIRROR".into(),
                });
            };
            let mirrors = self.first_mirrors.entry(registry.to_owned()).or_default();
            mirrors.push(mirror.to_owned());
        }
        Ok(())
    }

    /// Joins mica's own settings with what the files of other tools say.
    pub(crate) fn registries(&self, environment: Environment) -> Result<Registries, CliError> {
        let mut all = Registries::read(environment)?;
        let path = environment.mica_config();
        let own = path.display().to_string();
        for (registry, mirrors) in &self.mirrors {
            all.put_mirrors_first(registry, parse_all(mirrors)?, &own);
        }
        for (registry, mirrors) in &self.first_mirrors {
            all.put_mirrors_first(registry, parse_all(mirrors)?, MIRROR);
        }
        for host in &self.insecure_registries {
            all.add_insecure(host, &own);
        }
        Ok(all)
    }

    /// Says how registries are reached. Credentials and certificates are looked for when a
    /// registry asks.
    pub(crate) fn registry_config(
        &self,
        environment: Environment,
        runroot: &Path,
        warn: impl Fn(&str) + Send + Sync + 'static,
    ) -> Result<RegistryConfig, CliError> {
        let registries = self.registries(environment)?;
        let warn = Arc::new(warn);
        let (about_login, about_limit, about_tls) = (warn.clone(), warn.clone(), warn);
        Ok(RegistryConfig {
            credentials: Arc::new(move |name| match super::find(environment, name) {
                Ok(credentials) => credentials,
                Err(error) => {
                    about_login(&error.to_string());
                    Credentials::Anonymous
                }
            }),
            rules: registries.rules(),
            aliases: registries.plain_aliases(),
            plain_http: registries.plain_http(),
            proxies: proxies(environment, &registries),
            tls_roots: tls_roots(environment),
            hosts: Arc::new(move |host| match registries.host_tls(host) {
                Ok(tls) => tls,
                Err(error) => {
                    about_tls(&error.to_string());
                    HostTls::default()
                }
            }),
            token_cache: Some(token_cache(runroot)),
            upload_journal: Some(runroot.join("uploads")),
            upload_chunk: upload_chunk(environment)?,
            on_rate_limit: Arc::new(move |limit| about_limit(&limit_text(limit))),
            ..RegistryConfig::default()
        })
    }

    /// Returns how many blobs move at a time.
    pub(crate) fn transfers(&self) -> Transfers {
        let usual = Transfers::default();
        Transfers {
            downloads: self.max_concurrent_downloads.unwrap_or(usual.downloads),
            uploads: self.max_concurrent_uploads.unwrap_or(usual.uploads),
        }
    }

    /// Returns how read-write layers are laid over others: the variable's word, or the file's.
    pub(crate) fn snapshotter(
        &self,
        environment: Environment,
    ) -> Result<SnapshotterChoice, CliError> {
        const VARIABLE: &str = "MICA_SNAPSHOTTER";
        let name = match environment.variable(VARIABLE) {
            None => self.snapshotter,
            Some(value) => {
                serde_json::from_value(value.clone().into()).map_err(|_| CliError::Variable {
                    variable: VARIABLE,
                    value,
                    reason: "expected auto, overlayfs or reflink".into(),
                })?
            }
        };
        Ok(match name {
            SnapshotterName::Auto => SnapshotterChoice::Automatic(mica_isolation::takes_overlay),
            SnapshotterName::Overlayfs => SnapshotterChoice::Fixed(Snapshotter::Overlayfs),
            SnapshotterName::Reflink => SnapshotterChoice::Fixed(Snapshotter::Reflink),
        })
    }

    /// Returns what layers are held against when they are unpacked.
    pub(crate) fn layer_limits(&self) -> Limits {
        let (usual, given) = (Limits::default(), &self.layer_limits);
        let limit = |given: Option<u64>, usual: Option<u64>| match given {
            Some(0) => None,
            given => given.or(usual),
        };
        let bytes = |size: Option<ByteSize>| size.map(|size| size.0);
        Limits {
            entries: given.entries.unwrap_or(usual.entries),
            name_length: given.name_length.unwrap_or(usual.name_length),
            header_extension: given.header_size.unwrap_or(usual.header_extension),
            attributes: given.attributes.unwrap_or(usual.attributes),
            stream: limit(bytes(given.size), usual.stream),
            expansion: limit(given.expansion, usual.expansion),
            free_expansion: bytes(given.free_expansion).unwrap_or(usual.free_expansion),
            ..usual
        }
    }
}

/// Where bearer tokens are kept until they run out.
pub(crate) fn token_cache(runroot: &Path) -> PathBuf {
    runroot.join("tokens.json")
}

/// The variables come before docker's daemon: they are about this very command.
pub(crate) fn proxies(environment: Environment, registries: &Registries) -> Proxies {
    let proxy = |upper: &str, name: &str| {
        let lower = environment.variable(&upper.to_lowercase());
        let variable = lower.or_else(|| environment.variable(upper));
        variable.or_else(|| registries.proxies.get(name).cloned())
    };
    let daemons = || registries.proxies.get("http").cloned();
    // As Go's programs do: HTTP_PROXY can be set by a remote client of a CGI program.
    let is_cgi = environment.variable("REQUEST_METHOD").is_some();
    Proxies {
        http: match is_cgi {
            true => environment.variable("http_proxy").or_else(daemons),
            false => proxy("HTTP_PROXY", "http"),
        },
        https: proxy("HTTPS_PROXY", "https"),
        no_proxy: proxy("NO_PROXY", "no"),
    }
}

fn upload_chunk(environment: Environment) -> Result<u64, CliError> {
    const VARIABLE: &str = "MICA_UPLOAD_CHUNK";
    let Some(value) = environment.variable(VARIABLE) else {
        return Ok(RegistryConfig::default().upload_chunk);
    };
    let bytes = value.parse().ok().filter(|bytes| *bytes > 0);
    bytes.ok_or_else(|| CliError::Variable {
        variable: VARIABLE,
        value,
        reason: "expected a number of bytes".into(),
    })
}

fn limit_text(limit: &RateLimit) -> String {
    let RateLimit {
        registry,
        remaining,
        limit,
        window,
    } = limit;
    let hours = window.div_ceil(3600);
    let window = match window {
        0 => String::new(),
        _ => format!(" in {hours} h"),
    };
    format!(
        "{registry} allows {remaining} more of {limit} pulls{window}; `mica login` raises the limit"
    )
}

fn parse_all(texts: &[String]) -> Result<Vec<Mirror>, CliError> {
    let parse = |text: &String| {
        text.parse::<Mirror>().map_err(|error| CliError::Arguments {
            message: error.to_string(),
        })
    };
    texts.iter().map(parse).collect()
}

fn tls_roots(environment: Environment) -> TlsRoots {
    match environment.path("SSL_CERT_FILE") {
        Some(bundle) => TlsRoots {
            bundles: vec![bundle],
            extra_pem: Vec::new(),
        },
        None => TlsRoots::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_of_the_variable_come_first() {
        let mut settings: Settings =
            serde_json::from_str(r#"{"mirrors": {"docker.io": ["c"]}}"#).unwrap();
        settings
            .add_mirrors("docker.io=a, docker.io=http://b:1,quay.io=q")
            .unwrap();
        assert_eq!(settings.first_mirrors["docker.io"], ["a", "http://b:1"]);
        assert_eq!(settings.mirrors["docker.io"], ["c"]);
        assert!(settings.add_mirrors("nonsense").is_err());
        let mut all = Registries::default();
        let parse = |texts: &[String]| parse_all(texts).unwrap();
        all.put_mirrors_first("docker.io", parse(&settings.mirrors["docker.io"]), "file");
        let first = parse(&settings.first_mirrors["docker.io"]);
        all.put_mirrors_first("docker.io", first, MIRROR);
        let mirrors = &all.names["docker.io"].mirrors;
        let hosts: Vec<_> = mirrors
            .iter()
            .map(|said| said.value.host.as_str())
            .collect();
        assert_eq!(hosts, ["a", "b:1", "c"]);
    }

    #[test]
    fn transfers_are_docker_s_unless_said_otherwise() {
        let transfers =
            |text: &str| serde_json::from_str(text).map(|read: Settings| read.transfers());
        let numbers = |transfers: Transfers| (transfers.downloads.get(), transfers.uploads.get());
        assert_eq!(numbers(transfers("{}").unwrap()), (3, 5));
        let given = r#"{"max-concurrent-downloads": 8, "max-concurrent-uploads": 1}"#;
        assert_eq!(numbers(transfers(given).unwrap()), (8, 1));
        assert!(transfers(r#"{"max-concurrent-uploads": 0}"#).is_err());
    }
}
