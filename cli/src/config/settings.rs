//! How registries are reached: mica's own `config.json`, and variables.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::SignedDuration;
use mica_registry_client::{Credentials, Mirror, PlainHttp, Proxies, RegistryConfig, TlsRoots};
use mica_store::Limits;
use serde::Deserialize;

use super::Environment;
use crate::container::sizes::ByteSize;
use crate::failure::CliError;

/// Mica's own `config.json`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct Settings {
    /// Where else to pull from, by registry.
    mirrors: BTreeMap<String, Vec<String>>,
    /// Registries that may be spoken to without TLS.
    insecure_registries: BTreeSet<String>,
    /// Stores that are only read: images are found there, too.
    pub(crate) additional_stores: Vec<PathBuf>,
    /// What layers are held against when they are unpacked.
    layer_limits: LayerLimits,
    /// How builds run.
    pub(crate) build: BuildSettings,
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
        for pair in value
            .split([' ', ','])
            .filter(|pair| !pair.is_empty())
            .rev()
        {
            let Some((registry, mirror)) = pair.split_once('=') else {
                return Err(CliError::Variable {
                    variable: MIRROR,
                    value: value.to_owned(),
                    reason: "expected REGISTRY=MIRROR".into(),
                });
            };
            let mirrors = self.mirrors.entry(registry.to_owned()).or_default();
            mirrors.insert(0, mirror.to_owned());
        }
        Ok(())
    }

    /// Says how registries are reached. Credentials are looked for when a registry asks.
    pub(crate) fn registry_config(
        &self,
        environment: Environment,
        warn: impl Fn(&str) + Send + Sync + 'static,
    ) -> Result<RegistryConfig, CliError> {
        let proxy = |upper: &str| {
            let lower = environment.variable(&upper.to_lowercase());
            lower.or_else(|| environment.variable(upper))
        };
        Ok(RegistryConfig {
            credentials: Arc::new(move |host| match super::find(environment, host) {
                Ok(credentials) => credentials,
                Err(error) => {
                    warn(&error.to_string());
                    Credentials::Anonymous
                }
            }),
            mirrors: self.parsed_mirrors()?,
            plain_http: match self.insecure_registries.is_empty() {
                true => PlainHttp::LoopbackOnly,
                false => PlainHttp::Hosts(self.insecure_registries.clone()),
            },
            tls_roots: tls_roots(environment),
            proxies: Proxies {
                // The upper case variable can be set by a remote client of a CGI program.
                http: environment.variable("http_proxy"),
                https: proxy("HTTPS_PROXY"),
                no_proxy: proxy("NO_PROXY"),
            },
            ..RegistryConfig::default()
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

    fn parsed_mirrors(&self) -> Result<BTreeMap<String, Vec<Mirror>>, CliError> {
        let parse = |text: &String| {
            text.parse::<Mirror>().map_err(|error| CliError::Arguments {
                message: error.to_string(),
            })
        };
        self.mirrors
            .iter()
            .map(|(registry, mirrors)| {
                Ok((
                    registry.clone(),
                    mirrors.iter().map(parse).collect::<Result<_, _>>()?,
                ))
            })
            .collect()
    }
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
        assert_eq!(settings.mirrors["docker.io"], ["a", "http://b:1", "c"]);
        assert_eq!(settings.mirrors["quay.io"], ["q"]);
        assert!(settings.add_mirrors("nonsense").is_err());
    }
}
