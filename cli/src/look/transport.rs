//! Where an image is, in the words of skopeo and dive.

use std::path::{Path, PathBuf};

use mica_oci::Reference;

/// A place of images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    /// An image of the store, or of its registry.
    Name(String),
    /// An image of a registry.
    Registry(String),
    /// An archive file, or a layout's directory, and which of its images.
    Archive(PathBuf, Option<String>),
    /// Any directory.
    Directory(PathBuf),
    /// A container.
    Container(String),
}

/// What was typed: a place, and perhaps a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The place.
    pub(crate) location: Location,
    /// The layer, as typed after the `@`.
    pub(crate) layer: Option<String>,
}

impl Target {
    /// Reads `[TRANSPORT:]IMAGE[@LAYER]`. A digest after the name of an image is part of the name.
    pub(crate) fn parse(text: &str) -> Self {
        if let Some((image, layer)) = text.rsplit_once('@')
            && is_layer(layer)
            && !is_digest_of(image, layer)
        {
            return Self {
                location: Location::parse(image),
                layer: Some(layer.to_owned()),
            };
        }
        Self {
            location: Location::parse(text),
            layer: None,
        }
    }
}

impl Target {
    /// Takes the digest of a name for that of a layer.
    pub(crate) fn with_layer_digest(&self) -> Option<Self> {
        let Location::Name(name) = &self.location else {
            return None;
        };
        let (image, layer) = name.rsplit_once('@')?;
        Some(Self {
            location: Location::Name(image.to_owned()),
            layer: Some(layer.to_owned()),
        })
    }
}

/// A number, or the start of a digest.
fn is_layer(text: &str) -> bool {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    let is_hex = !hex.is_empty() && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex || text.parse::<i64>().is_ok()
}

/// Tells `name@sha256:…` from a layer: all of a digest after a name that has none.
fn is_digest_of(image: &str, digest: &str) -> bool {
    let is_whole = digest
        .strip_prefix("sha256:")
        .is_some_and(|hex| hex.len() == 64);
    let name = image.strip_prefix("docker://").unwrap_or(image);
    let is_name = matches!(
        Location::parse(image),
        Location::Name(_) | Location::Registry(_)
    );
    is_whole
        && is_name
        && name
            .parse::<Reference>()
            .is_ok_and(|name| name.digest().is_none())
}

impl Location {
    fn parse(text: &str) -> Self {
        if let Some(name) = text.strip_prefix("docker://") {
            return Self::Registry(name.to_owned());
        }
        let Some((transport, rest)) = text.split_once(':') else {
            return Self::bare(text);
        };
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        match transport {
            "oci" | "oci-archive" | "docker-archive" => {
                let (path, image) = split_image(rest);
                Self::Archive(path, image)
            }
            "dir" => Self::Directory(rest.into()),
            "container" => Self::Container(rest.to_owned()),
            "store" | "containers-storage" => Self::Name(rest.to_owned()),
            _ => Self::bare(text),
        }
    }

    /// A path begins like one; all else is a name.
    fn bare(text: &str) -> Self {
        let is_path = text.starts_with(['/', '.']);
        let path = Path::new(text);
        match is_path {
            false => Self::Name(text.to_owned()),
            true if path.is_dir() && !path.join("index.json").is_file() => {
                Self::Directory(path.into())
            }
            true => Self::Archive(path.into(), None),
        }
    }
}

/// Splits `PATH[:IMAGE]`; a path that is there is taken whole.
pub(crate) fn split_image(text: &str) -> (PathBuf, Option<String>) {
    if Path::new(text).exists() {
        return (text.into(), None);
    }
    let colons = text.match_indices(':').map(|(at, _)| at);
    for at in colons {
        if Path::new(&text[..at]).exists() {
            return (text[..at].into(), Some(text[at + 1..].to_owned()));
        }
    }
    match text.split_once(':') {
        Some((path, image)) => (path.into(), Some(image.to_owned())),
        None => (text.into(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, location: Location, layer: Option<&str>) {
        let expected = Target {
            location,
            layer: layer.map(str::to_owned),
        };
        assert_eq!(Target::parse(text), expected, "{text}");
    }

    #[test]
    fn transports_are_those_of_skopeo_and_dive() {
        let name = |text: &str| Location::Name(text.into());
        let archive = |path: &str, image: Option<&str>| {
            Location::Archive(path.into(), image.map(str::to_owned))
        };
        let digest = format!("sha256:{}", "0".repeat(64));
        check("busybox", name("busybox"), None);
        check("localhost:5000/a:1", name("localhost:5000/a:1"), None);
        check("busybox@-1", name("busybox"), Some("-1"));
        check("busybox@0abc", name("busybox"), Some("0abc"));
        let with_digest = format!("busybox@{digest}");
        check(&with_digest, name(&with_digest), None);
        check(&format!("{with_digest}@2"), name(&with_digest), Some("2"));
        check("docker://a/b:c", Location::Registry("a/b:c".into()), None);
        check("oci:/none:tag", archive("/none", Some("tag")), None);
        check("oci-archive:/none.tar", archive("/none.tar", None), None);
        check(
            "docker-archive:///none.tar:a:b@1",
            archive("/none.tar", Some("a:b")),
            Some("1"),
        );
        check(
            &format!("oci-archive:/none@{digest}"),
            archive("/none", None),
            Some(&digest),
        );
        check("dir:/proc", Location::Directory("/proc".into()), None);
        check("/proc", Location::Directory("/proc".into()), None);
        check("./none.tar", archive("./none.tar", None), None);
        check("container:web", Location::Container("web".into()), None);
        check("user@host", name("user@host"), None);
    }
}
