//! Image configuration: OCI's, with what Docker adds.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::{ChainId, DiffId, Platform};

/// An image configuration. Its digest is the image's ID.
///
/// Source: OCI image specification, `config.md`; Docker image specification v1.2 for
/// `Healthcheck`, `OnBuild`, `Shell`. Fields that are not known here survive in `other`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// The CPU architecture, in Go's words.
    pub architecture: String,
    /// How a container of the image is started.
    #[serde(default)]
    pub config: ContainerConfig,
    /// When the image was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// What was done, oldest first; entries that are not empty match the layers in order.
    #[serde(default, deserialize_with = "null_is_default")]
    pub history: Vec<History>,
    /// The operating system.
    pub os: String,
    /// The layers.
    pub rootfs: RootFs,
    /// The variant of the CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// All else that the document holds.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// How a container is started: the image's defaults.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerConfig {
    /// `user[:group]`, names or numbers.
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub user: String,
    /// Ports such as `80/tcp`; the values are empty objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exposed_ports: Option<BTreeMap<String, Map<String, Value>>>,
    /// `NAME=value`, in order.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub env: Vec<String>,
    /// What is always run; `None` and empty differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// The default arguments, or the command where there is no entrypoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// Mount points of volumes; the values are empty objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volumes: Option<BTreeMap<String, Map<String, Value>>>,
    /// The working directory.
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub working_dir: String,
    /// Labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// The signal that stops a container, such as `SIGTERM`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Seconds to wait between the stop signal and SIGKILL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    /// Whether the command's arguments are escaped already; written by BuildKit for shell forms.
    #[serde(
        default,
        skip_serializing_if = "is_false",
        deserialize_with = "null_is_default"
    )]
    pub args_escaped: bool,
    /// How health is checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Instructions for builds based on this image.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub on_build: Vec<String>,
    /// The shell of shell-form commands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
    /// All else that the document holds.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A health check; times are nanoseconds, zero means the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", command]`; empty inherits.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub test: Vec<String>,
    /// The time between two checks.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// How long one check may take.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// How long failures do not count after the start.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// The time between two checks during the start period.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// How many failures in a row make a container unhealthy.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retries: i64,
}

/// One step of an image's making.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// What made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// A remark, such as the builder's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Whether the step made no layer.
    #[serde(default, skip_serializing_if = "is_false")]
    pub empty_layer: bool,
}

/// The layers of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The layers, bottom first.
    #[serde(default, deserialize_with = "null_is_default")]
    pub diff_ids: Vec<DiffId>,
}

impl ImageConfig {
    /// Makes the configuration of an image that is empty: what `FROM scratch` starts with.
    pub fn scratch(platform: &Platform) -> Self {
        Self {
            architecture: platform.architecture.clone(),
            config: ContainerConfig::default(),
            created: None,
            author: None,
            history: Vec::new(),
            os: platform.os.clone(),
            rootfs: RootFs {
                kind: "layers".into(),
                diff_ids: Vec::new(),
            },
            variant: platform.variant.clone(),
            other: Map::new(),
        }
    }

    /// Returns what the image runs on.
    pub fn platform(&self) -> Platform {
        Platform::new(&self.os, &self.architecture, self.variant.as_deref())
    }

    /// Returns the address of the whole stack of layers; `None` for no layers.
    pub fn chain_id(&self) -> Option<ChainId> {
        ChainId::of(&self.rootfs.diff_ids)
    }
}

impl ContainerConfig {
    /// Returns the value of an environment variable.
    pub fn env_value(&self, name: &str) -> Option<&str> {
        self.env
            .iter()
            .find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
    }

    /// Sets an environment variable, in its place when it is set already.
    pub fn set_env(&mut self, name: &str, value: &str) {
        let entry = format!("{name}={value}");
        match self
            .env
            .iter_mut()
            .find(|e| e.split('=').next() == Some(name))
        {
            Some(place) => *place = entry,
            None => self.env.push(entry),
        }
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}

/// Docker writes `null` for absent lists and strings.
fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_and_unknown_fields_survive() {
        let text = r#"{"architecture":"amd64","os":"linux","config":{"Env":null,"Cmd":null,
            "Hostname":"x","OnBuild":null,"User":null},"rootfs":{"type":"layers","diff_ids":null},
            "history":null,"moby.buildkit.buildinfo.v1":"abc"}"#;
        let config: ImageConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.config.other["Hostname"], "x");
        let again = serde_json::to_value(&config).unwrap();
        assert_eq!(again["moby.buildkit.buildinfo.v1"], "abc");
        assert_eq!(again["config"]["Hostname"], "x");
    }

    #[test]
    fn environment_is_set_in_place() {
        let mut config = ContainerConfig::default();
        for (name, value) in [("A", "1"), ("AB", "2"), ("A", "3")] {
            config.set_env(name, value);
        }
        assert_eq!(config.env, ["A=3", "AB=2"]);
        assert_eq!(config.env_value("AB"), Some("2"));
        assert_eq!(config.env_value("B"), None);
    }

    #[test]
    fn oci_spec_reads_what_we_write() {
        let mut config = ImageConfig::scratch(&Platform::new("linux", "arm64", None));
        config.config.set_env("PATH", "/bin");
        config.created = Some("2024-05-06T07:08:09.5Z".parse().unwrap());
        config.history.push(History {
            empty_layer: true,
            ..History::default()
        });
        let text = serde_json::to_string(&config).unwrap();
        let theirs = oci_spec::image::ImageConfiguration::from_reader(text.as_bytes()).unwrap();
        assert_eq!(theirs.created().as_deref(), Some("2024-05-06T07:08:09.5Z"));
        assert_eq!(
            theirs.history().as_ref().unwrap()[0].empty_layer(),
            Some(true)
        );
    }
}
