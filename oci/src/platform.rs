//! Operating system, architecture and variant.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What an image runs on, in Go's words (`linux`, `amd64`, `arm64`, variant `v8`).
///
/// Source: OCI image specification, `image-index.md`; normalisation as in containerd.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    /// The CPU architecture.
    pub architecture: String,
    /// The operating system.
    pub os: String,
    /// The version of the operating system, for Windows.
    #[serde(
        default,
        rename = "os.version",
        skip_serializing_if = "Option::is_none"
    )]
    pub os_version: Option<String>,
    /// Needed features, for Windows.
    #[serde(default, rename = "os.features", skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// The variant of the CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// Says why a text is no platform, in containerd's words, which docker shows, too.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum PlatformError {
    /// A part has characters that no part may have, or none.
    #[error(
        "{part:?} is an invalid component of {specifier:?}: platform specifier component must match \"^[A-Za-z0-9_.-]+$\": invalid argument"
    )]
    Component {
        /// The part.
        part: String,
        /// What was given.
        specifier: String,
    },
    /// A single word that is neither an operating system nor an architecture.
    #[error("{0:?}: unknown operating system or architecture: invalid argument")]
    Unknown(String),
    /// More than os/architecture/variant.
    #[error("{0:?}: cannot parse platform specifier: invalid argument")]
    Shape(String),
}

/// The operating system and the architecture of what runs nowhere.
const UNKNOWN: &str = "unknown";

impl Platform {
    /// Returns what an index says of what runs nowhere, such as attestations.
    pub fn unknown() -> Self {
        Self::new(UNKNOWN, UNKNOWN, None)
    }

    /// Tells whether an index says so of what runs nowhere, such as attestations.
    pub fn is_unknown(&self) -> bool {
        self.os == UNKNOWN
    }

    /// Makes a platform, normalised: `x86_64` is `amd64`, `aarch64` and `arm64/v8` are `arm64`.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let (architecture, variant) = normalise(architecture, variant);
        Self {
            architecture,
            os: os.to_ascii_lowercase(),
            os_version: None,
            os_features: Vec::new(),
            variant,
        }
    }

    /// Returns the platform that this program was built for.
    pub fn host() -> Self {
        Self::new("linux", std::env::consts::ARCH, None)
    }

    /// Tells whether content for `self` runs where `wanted` is asked for.
    pub fn satisfies(&self, wanted: &Self) -> bool {
        let own = Self::new(&self.os, &self.architecture, self.variant.as_deref());
        let wanted = Self::new(&wanted.os, &wanted.architecture, wanted.variant.as_deref());
        own.os == wanted.os
            && own.architecture == wanted.architecture
            && (wanted.variant.is_none() || own.variant == wanted.variant)
    }
}

/// Operating systems that stand for themselves and the host's architecture. Source: Go's `GOOS`.
const SYSTEMS: [&str; 16] = [
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "illumos",
    "ios",
    "js",
    "linux",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "wasip1",
    "windows",
    "zos",
];

/// Architectures that stand for themselves and Linux. Source: Go's `GOARCH`.
const ARCHITECTURES: [&str; 18] = [
    "386", "amd64", "arm", "arm64", "armbe", "arm64be", "loong64", "mips", "mipsle", "mips64",
    "mips64le", "ppc", "ppc64", "ppc64le", "riscv64", "s390x", "sparc64", "wasm",
];

fn normalise(architecture: &str, variant: Option<&str>) -> (String, Option<String>) {
    let architecture = architecture.to_ascii_lowercase();
    let variant = variant
        .filter(|variant| !variant.is_empty())
        .map(str::to_ascii_lowercase);
    let (name, variant) = match (architecture.as_str(), variant.as_deref()) {
        ("x86_64" | "x86-64" | "amd64", Some("v1") | None) => ("amd64", None),
        ("x86_64" | "x86-64" | "amd64", other) => ("amd64", other),
        ("i386" | "i486" | "i586" | "i686" | "x86", other) => ("386", other),
        ("aarch64" | "arm64", Some("8" | "v8") | None) => ("arm64", None),
        ("armhf", _) => ("arm", Some("v7")),
        ("armel", _) => ("arm", Some("v6")),
        ("arm", None | Some("7")) => ("arm", Some("v7")),
        ("arm", Some("5")) => ("arm", Some("v5")),
        ("arm", Some("6")) => ("arm", Some("v6")),
        ("powerpc64", other) => ("ppc64", other),
        ("powerpc64le", other) => ("ppc64le", other),
        (name, other) => (name, other),
    };
    (name.to_owned(), variant.map(str::to_owned))
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split('/').collect();
        let wrong = |part: &&str| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
            part.is_empty() || !part.bytes().all(allowed)
        };
        if let Some(part) = parts.iter().copied().find(wrong) {
            return Err(PlatformError::Component {
                part: part.to_owned(),
                specifier: text.to_owned(),
            });
        }
        match parts[..] {
            [os] if SYSTEMS.contains(&os.to_ascii_lowercase().as_str()) => {
                let host = Self::host();
                Ok(Self::new(os, &host.architecture, host.variant.as_deref()))
            }
            [architecture] => {
                let platform = Self::new("linux", architecture, None);
                match ARCHITECTURES.contains(&platform.architecture.as_str()) {
                    true => Ok(platform),
                    false => Err(PlatformError::Unknown(text.to_owned())),
                }
            }
            [os, architecture] => Ok(Self::new(os, architecture, None)),
            [os, architecture, variant] => Ok(Self::new(os, architecture, Some(variant))),
            _ => Err(PlatformError::Shape(text.to_owned())),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_normalised() {
        let cases = [
            ("linux/x86_64", "linux/amd64"),
            ("aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("windows/amd64", "windows/amd64"),
        ];
        for (text, expected) in cases {
            assert_eq!(
                text.parse::<Platform>().unwrap().to_string(),
                expected,
                "{text}"
            );
        }
        let wrong = [
            (
                "linux/",
                "\"\" is an invalid component of \"linux/\": platform specifier component must match \"^[A-Za-z0-9_.-]+$\": invalid argument",
            ),
            (
                "nonsense",
                "\"nonsense\": unknown operating system or architecture: invalid argument",
            ),
            (
                "a/b/c/d",
                "\"a/b/c/d\": cannot parse platform specifier: invalid argument",
            ),
        ];
        for (text, message) in wrong {
            let error = text.parse::<Platform>().expect_err(text);
            assert_eq!(error.to_string(), message);
        }
    }
}
