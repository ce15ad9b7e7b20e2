//! Volumes, bound paths and memory file systems, as the command line gives them.

use std::path::PathBuf;
use std::str::FromStr;

use mica_oci::Access;
use serde::{Deserialize, Serialize};

use crate::OptionError;

/// One `-v`: `[source:]target[:options]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeMount {
    /// What is mounted.
    pub source: VolumeSource,
    /// The absolute path inside the container.
    pub target: PathBuf,
    /// Whether it can be written.
    pub access: Access,
    /// Whether an empty volume is filled with what the image has at `target`.
    pub copy: bool,
}

/// Where a volume's content is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VolumeSource {
    /// A new volume with a made-up name, which goes with the container.
    Anonymous,
    /// A volume with a name, made when it is missing.
    Named(String),
    /// An absolute path of the host, made as a directory when it is missing.
    Host(PathBuf),
}

impl FromStr for VolumeMount {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |reason| OptionError::Volume {
            text: text.to_owned(),
            reason,
        };
        let parts: Vec<&str> = text.split(':').collect();
        let (source, target, options) = match parts[..] {
            [target] => ("", target, ""),
            [source, target] => (source, target, ""),
            [source, target, options] => (source, target, options),
            _ => return Err(error("too many colons")),
        };
        if parts.len() > 1 && source.is_empty() {
            return Err(error("empty section between colons"));
        }
        if !target.starts_with('/') {
            return Err(error("the path inside the container must be absolute"));
        }
        let target: PathBuf = PathBuf::from(target).components().collect();
        if target.parent().is_none() {
            return Err(error("destination can't be '/'"));
        }
        let (access, copy) = parse_options(options).ok_or_else(|| error("invalid mode"))?;
        Ok(Self {
            source: parse_source(source)?,
            target,
            access,
            copy,
        })
    }
}

/// Reads access and `nocopy`. Labels (`z`) and propagation have no effect here: mounts are made
/// in the container's own mount namespace.
fn parse_options(options: &str) -> Option<(Access, bool)> {
    let (mut access, mut copy) = (Access::ReadWrite, true);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" | "readonly" => access = Access::ReadOnly,
            "rw" | "z" | "Z" | "private" | "rprivate" | "consistent" | "cached" | "delegated" => {}
            "nocopy" => copy = false,
            _ => return None,
        }
    }
    Some((access, copy))
}

fn parse_source(source: &str) -> Result<VolumeSource, OptionError> {
    if source.is_empty() {
        return Ok(VolumeSource::Anonymous);
    }
    if source.starts_with('/') {
        return Ok(VolumeSource::Host(
            PathBuf::from(source).components().collect(),
        ));
    }
    match is_name(source) {
        true => Ok(VolumeSource::Named(source.to_owned())),
        false => Err(OptionError::VolumeName {
            name: source.to_owned(),
        }),
    }
}

/// Tells whether a text is `[a-zA-Z0-9][a-zA-Z0-9_.-]+`: the form of container and volume names.
pub(crate) fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let later = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    bytes.len() > 1 && bytes[0].is_ascii_alphanumeric() && bytes.iter().all(later)
}

/// One `--tmpfs`: `target[:options]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TmpfsMount {
    /// The absolute path inside the container.
    pub target: PathBuf,
    /// The most it may hold, in bytes.
    pub size: Option<u64>,
    /// The mode of its root directory.
    pub mode: u32,
    /// Whether it can be written.
    pub access: Access,
    /// The options as given.
    pub options: String,
}

/// Docker's default mode of a memory file system's root.
const TMPFS_MODE: u32 = 0o1777;

impl FromStr for TmpfsMount {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || OptionError::Tmpfs {
            text: text.to_owned(),
        };
        let (target, options) = text.split_once(':').unwrap_or((text, ""));
        if !target.starts_with('/') || target == "/" {
            return Err(error());
        }
        let mut mount = Self {
            target: target.into(),
            size: None,
            mode: TMPFS_MODE,
            access: Access::ReadWrite,
            options: options.to_owned(),
        };
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("size", size)) => mount.size = Some(parse_size(size).ok_or_else(error)?),
                Some(("mode", mode)) => {
                    mount.mode = u32::from_str_radix(mode, 8).map_err(|_| error())?;
                }
                None if option == "ro" => mount.access = Access::ReadOnly,
                // Always so, or the kernel's defaults.
                None if matches!(option, "rw" | "noexec" | "nosuid" | "nodev" | "exec") => {}
                _ => return Err(error()),
            }
        }
        Ok(mount)
    }
}

/// Reads a size in bytes with an optional unit `k`, `m`, `g` of 1024.
fn parse_size(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| !c.is_ascii_digit());
    let shift = match &lower[digits.len()..] {
        "" | "b" => 0,
        "k" | "kb" => 10,
        "m" | "mb" => 20,
        "g" | "gb" => 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_shl(shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_read() {
        let check = |text: &str, expected: Option<(VolumeSource, &str, Access)>| {
            let read = text.parse::<VolumeMount>().ok();
            let read = read.map(|v| (v.source, v.target.to_str().unwrap().to_owned(), v.access));
            assert_eq!(
                read,
                expected.map(|(s, t, a)| (s, t.to_owned(), a)),
                "{text}"
            );
        };
        let named = |name: &str| VolumeSource::Named(name.to_owned());
        check(
            "/data",
            Some((VolumeSource::Anonymous, "/data", Access::ReadWrite)),
        );
        check(
            "/a/:/b/",
            Some((VolumeSource::Host("/a".into()), "/b", Access::ReadWrite)),
        );
        check("vol:/b:ro", Some((named("vol"), "/b", Access::ReadOnly)));
        check("vol:/b:rw,z", Some((named("vol"), "/b", Access::ReadWrite)));
        check("vol:/b:what", None);
        check("./rel:/b", None);
        check("vol:b", None);
        check("vol:/", None);
        check(":/b", None);
        check("a:/b:ro:x", None);
    }

    #[test]
    fn memory_file_systems_are_read() {
        let mount: TmpfsMount = "/run:rw,size=64m,mode=755".parse().unwrap();
        assert_eq!((mount.size, mount.mode), (Some(64 << 20), 0o755));
        assert_eq!("/run".parse::<TmpfsMount>().unwrap().mode, 0o1777);
        for bad in ["run", "/run:size=x", "/run:what", "/"] {
            assert!(bad.parse::<TmpfsMount>().is_err(), "{bad}");
        }
    }
}
