//! Build arguments: predefined ones, those before the first FROM, and expansion with them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mica_dockerfile::{Dockerfile, Escape, ExpandOptions, Expander};

use crate::error::{BuildError, ErrorKind};
use crate::request::BuildRequest;
use crate::state::Variables;

/// Arguments that RUN steps see without an ARG, and that decide no key and show in no history.
/// Source: Dockerfile reference, "Predefined ARGs".
const PROXIES: [&str; 5] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
];

/// The arguments that FROM lines may use and that stages can take over by name.
#[derive(Debug)]
pub(crate) struct GlobalArguments {
    values: BTreeMap<String, String>,
}

impl GlobalArguments {
    /// Collects the platform's arguments and the file's own, which `--build-arg` overrides.
    pub(crate) fn new(request: &BuildRequest, dockerfile: &Dockerfile) -> Result<Self, BuildError> {
        let mut globals = Self {
            values: predefined_arguments(request, dockerfile),
        };
        for meta in &dockerfile.meta_args {
            for argument in &meta.value.arguments {
                let given = request.build_args.get(&argument.name);
                let value = match (given, &argument.value) {
                    (Some(given), _) => Some(given.clone()),
                    (None, Some(value)) => Some(
                        globals
                            .expand(value, dockerfile.directives.escape)
                            .map_err(|error| error.at(Some(meta.span)))?,
                    ),
                    (None, None) => globals.get(&argument.name).map(str::to_owned),
                };
                if let Some(value) = value {
                    globals.values.insert(argument.name.clone(), value);
                }
            }
        }
        Ok(globals)
    }

    /// Returns the time that stands for now, where the Dockerfile's own arguments set one.
    pub(crate) fn epoch(&self) -> Result<Option<Timestamp>, ErrorKind> {
        let Some(text) = self
            .get("SOURCE_DATE_EPOCH")
            .filter(|text| !text.is_empty())
        else {
            return Ok(None);
        };
        let time = text
            .parse()
            .ok()
            .and_then(|seconds| Timestamp::from_second(seconds).ok());
        let problem = || format!("invalid SOURCE_DATE_EPOCH: {text}");
        time.map(Some).ok_or_else(|| ErrorKind::Value {
            instruction: "ARG",
            problem: problem(),
        })
    }

    /// Returns an argument's value.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Expands a word of a FROM line.
    pub(crate) fn expand(&self, word: &str, escape: Escape) -> Result<String, ErrorKind> {
        let lookup = |name: &str| self.get(name).map(str::to_owned);
        Ok(Expander::new(escape, &lookup).expand(word)?.value)
    }
}

/// Returns the arguments that are there without being declared: those of the platforms and the
/// target's name, unless `--build-arg` sets them.
#[must_use]
pub fn predefined_arguments(
    request: &BuildRequest,
    dockerfile: &Dockerfile,
) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    for (prefix, platform) in [
        ("BUILD", &request.build_platform),
        ("TARGET", &request.platform),
    ] {
        let variant = platform.variant.clone().unwrap_or_default();
        values.insert(format!("{prefix}PLATFORM"), platform.to_string());
        values.insert(format!("{prefix}OS"), platform.os.clone());
        values.insert(
            format!("{prefix}OSVERSION"),
            platform.os_version.clone().unwrap_or_default(),
        );
        values.insert(format!("{prefix}ARCH"), platform.architecture.clone());
        values.insert(format!("{prefix}VARIANT"), variant);
    }
    let last = dockerfile
        .stages
        .last()
        .and_then(|stage| stage.name.clone());
    let target = request
        .target
        .clone()
        .or(last)
        .unwrap_or_else(|| "default".into());
    values.insert("TARGETSTAGE".into(), target);
    for (name, value) in &mut values {
        if let Some(given) = request.build_args.get(name) {
            value.clone_from(given);
        }
    }
    values
}

/// Expands a word of an instruction.
pub(crate) fn expand(
    word: &str,
    variables: &Variables,
    escape: Escape,
) -> Result<String, ErrorKind> {
    let lookup = |name: &str| variables.get(name).map(str::to_owned);
    Ok(Expander::new(escape, &lookup).expand(word)?.value)
}

/// Expands the text of a heredoc, in which quotes are ordinary characters.
pub(crate) fn expand_heredoc(
    text: &str,
    variables: &Variables,
    escape: Escape,
) -> Result<String, ErrorKind> {
    let lookup = |name: &str| variables.get(name).map(str::to_owned);
    let options = ExpandOptions {
        ignore_quotes: true,
        ..ExpandOptions::default()
    };
    Ok(Expander::new(escape, &lookup)
        .with_options(options)
        .expand(text)?
        .value)
}

/// Returns the proxy settings among the build arguments, as `NAME=value`: whichever case was given,
/// both are set, for programs look at one or the other.
pub(crate) fn proxies(request: &BuildRequest) -> Vec<String> {
    let mut entries = Vec::new();
    for name in PROXIES {
        let given = [name.to_owned(), name.to_lowercase()];
        let value = given.iter().find_map(|name| request.build_args.get(name));
        entries.extend(
            given
                .iter()
                .filter_map(|name| Some(format!("{name}={}", value?))),
        );
    }
    entries
}
