//! `--mount type=…,source=…,target=…` and the relative paths of `-v`.

use std::path::{Path, PathBuf};

use mica_container::{OptionError, TmpfsMount, VolumeMount, VolumeSource};
use mica_oci::Access;

use super::sizes::ByteSize;

/// What one `--mount` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MountOption {
    /// A volume or a bound path.
    Volume(VolumeMount),
    /// A memory file system.
    Memory(TmpfsMount),
}

/// What is wrong with a mount.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MountOptionError {
    /// A field without a value.
    #[error("invalid field '{0}' must be a key=value pair")]
    Pair(String),
    /// A field that no kind of mount has.
    #[error("unexpected key '{0}' in '{0}={1}'")]
    Key(String, String),
    /// A field whose value cannot be read.
    #[error("invalid value for {0}: {1}")]
    Value(String, String),
    /// A kind of mount that there is not.
    #[error("mount type unknown: \"{0}\": bind, volume and tmpfs are supported")]
    Type(String),
    /// No target.
    #[error("target is required")]
    NoTarget,
    /// A bound path without a source.
    #[error("source is required for a bind mount")]
    NoSource,
    /// A field that belongs to another kind of mount.
    #[error("cannot mix '{0}' options with mount type '{1}'")]
    Mix(&'static str, String),
    /// `--mount` does not make the directories that it binds, unlike `-v`.
    #[error("invalid mount config for type \"bind\": bind source path does not exist: {}", .0.display())]
    SourceMissing(PathBuf),
    /// The library refuses the mount.
    #[error(transparent)]
    Option(#[from] OptionError),
}

/// The fields of one `--mount`, before they are put together.
#[derive(Default)]
struct Fields {
    kind: String,
    source: String,
    target: String,
    access: Option<Access>,
    no_copy: bool,
    tmpfs_size: Option<u64>,
    tmpfs_mode: Option<u32>,
}

/// Reads the value of one `--mount`.
pub(crate) fn parse_mount(text: &str) -> Result<MountOption, MountOptionError> {
    let mut fields = Fields {
        kind: "volume".to_owned(),
        ..Fields::default()
    };
    for field in text.split(',') {
        fields.take(field)?;
    }
    if fields.target.is_empty() {
        return Err(MountOptionError::NoTarget);
    }
    fields.check_kinds()?;
    match fields.kind.as_str() {
        "bind" => fields.bind(),
        "volume" => fields.volume().map(MountOption::Volume),
        "tmpfs" => fields.memory(),
        _ => Err(MountOptionError::Type(fields.kind)),
    }
}

impl Fields {
    fn take(&mut self, field: &str) -> Result<(), MountOptionError> {
        let (key, value) = match field.split_once('=') {
            Some(pair) => pair,
            None if matches!(field, "readonly" | "ro" | "volume-nocopy") => (field, "true"),
            None => return Err(MountOptionError::Pair(field.to_owned())),
        };
        let invalid = || MountOptionError::Value(key.to_owned(), value.to_owned());
        match key.to_ascii_lowercase().as_str() {
            "type" => self.kind = value.to_ascii_lowercase(),
            "source" | "src" => value.clone_into(&mut self.source),
            "target" | "dst" | "destination" => value.clone_into(&mut self.target),
            "readonly" | "ro" => {
                let readonly = parse_bool(value).ok_or_else(invalid)?;
                self.access = Some(if readonly {
                    Access::ReadOnly
                } else {
                    Access::ReadWrite
                });
            }
            "volume-nocopy" => self.no_copy = parse_bool(value).ok_or_else(invalid)?,
            "tmpfs-size" => {
                let ByteSize(size) = value.parse().map_err(|_| invalid())?;
                self.tmpfs_size = Some(size);
            }
            "tmpfs-mode" => {
                self.tmpfs_mode = Some(u32::from_str_radix(value, 8).map_err(|_| invalid())?);
            }
            // Mounts are made in the container's own mount namespace: these change nothing.
            "consistency" | "bind-propagation" => {}
            _ => return Err(MountOptionError::Key(key.to_owned(), value.to_owned())),
        }
        Ok(())
    }

    fn check_kinds(&self) -> Result<(), MountOptionError> {
        let mix = |family| Err(MountOptionError::Mix(family, self.kind.clone()));
        if self.no_copy && self.kind != "volume" {
            return mix("volume-*");
        }
        if (self.tmpfs_size.is_some() || self.tmpfs_mode.is_some()) && self.kind != "tmpfs" {
            return mix("tmpfs-*");
        }
        Ok(())
    }

    fn bind(&self) -> Result<MountOption, MountOptionError> {
        if self.source.is_empty() {
            return Err(MountOptionError::NoSource);
        }
        let source = absolute(Path::new(&self.source));
        if !source.exists() {
            return Err(MountOptionError::SourceMissing(source));
        }
        // The target's rules are those of `-v`; a source may have colons here.
        let mount: VolumeMount = self.target.parse()?;
        let source = VolumeSource::Host(source);
        Ok(MountOption::Volume(VolumeMount {
            source,
            access: self.access(),
            ..mount
        }))
    }

    fn volume(&self) -> Result<VolumeMount, MountOptionError> {
        let text = match self.source.as_str() {
            "" => self.target.clone(),
            name if name.contains('/') => {
                return Err(OptionError::VolumeName {
                    name: name.to_owned(),
                }
                .into());
            }
            name => format!("{name}:{}", self.target),
        };
        let mount: VolumeMount = text.parse()?;
        Ok(VolumeMount {
            access: self.access(),
            copy: !self.no_copy,
            ..mount
        })
    }

    fn memory(&self) -> Result<MountOption, MountOptionError> {
        if !self.source.is_empty() {
            return Err(MountOptionError::Mix("source", self.kind.clone()));
        }
        let mount: TmpfsMount = self.target.parse()?;
        let mode = self.tmpfs_mode.unwrap_or(mount.mode);
        let memory = TmpfsMount {
            size: self.tmpfs_size,
            mode,
            access: self.access(),
            ..mount
        };
        Ok(MountOption::Memory(memory))
    }

    fn access(&self) -> Access {
        self.access.unwrap_or(Access::ReadWrite)
    }
}

/// Reads the value of one `-v`; a source that starts with `.` is a path from where we are.
pub(crate) fn parse_volume(text: &str) -> Result<VolumeMount, OptionError> {
    match text.split_once(':') {
        Some((source, rest))
            if source == "."
                || source == ".."
                || source.starts_with("./")
                || source.starts_with("../") =>
        {
            format!("{}:{rest}", absolute(Path::new(source)).display()).parse()
        }
        _ => text.parse(),
    }
}

/// A working directory that is gone leaves the path as it is, to be refused with its name.
fn absolute(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            std::path::Component::ParentDir => drop(clean.pop()),
            component => clean.push(component),
        }
    }
    clean
}

/// Go's `strconv.ParseBool`.
fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_and_bound_paths() {
        let check = |text: &str, expected: Option<(VolumeSource, &str, Access, bool)>| {
            let read = match parse_mount(text).ok() {
                Some(MountOption::Volume(v)) => Some((v.source, v.target, v.access, v.copy)),
                _ => None,
            };
            let expected = expected.map(|(s, t, a, c)| (s, PathBuf::from(t), a, c));
            assert_eq!(read, expected, "{text}");
        };
        let named = |name: &str| VolumeSource::Named(name.to_owned());
        let host = |path: &str| VolumeSource::Host(path.into());
        let (ro, rw) = (Access::ReadOnly, Access::ReadWrite);
        check(
            "type=bind,source=/tmp,target=/data",
            Some((host("/tmp"), "/data", rw, true)),
        );
        check(
            "type=bind,src=/tmp,dst=/data,readonly",
            Some((host("/tmp"), "/data", ro, true)),
        );
        check(
            "type=volume,src=data,dst=/d,ro=1",
            Some((named("data"), "/d", ro, true)),
        );
        check(
            "src=data,dst=/d,volume-nocopy",
            Some((named("data"), "/d", rw, false)),
        );
        check("target=/d", Some((VolumeSource::Anonymous, "/d", rw, true)));
        check("type=bind,source=/tmp", None);
        check("type=bind,target=/data", None);
        check("type=bind,source=/no/such/path,target=/data", None);
        check("type=bind,source=/tmp,target=/d,tmpfs-size=1m", None);
        check("type=bind,source=/tmp,target=relative", None);
        check("type=volume,source=/tmp,target=/d", None);
        check("type=npipe,target=/d", None);
        check("target=/d,colour=red", None);
        check("target=/d,readonly=perhaps", None);
        check("target", None);
    }

    #[test]
    fn memory_file_systems() {
        let read = parse_mount("type=tmpfs,target=/run,tmpfs-size=64m,tmpfs-mode=0755").unwrap();
        let MountOption::Memory(mount) = read else {
            panic!("{read:?}")
        };
        assert_eq!((mount.size, mount.mode), (Some(64 << 20), 0o755));
        assert!(parse_mount("type=tmpfs,source=x,target=/run").is_err());
        assert!(parse_mount("type=tmpfs,target=/run,tmpfs-mode=9").is_err());
    }

    #[test]
    fn relative_paths_start_where_we_are() {
        let here = std::env::current_dir().unwrap();
        let check = |text: &str, expected: &Path| {
            let source = parse_volume(text).unwrap().source;
            assert_eq!(source, VolumeSource::Host(expected.to_owned()), "{text}");
        };
        check("./a:/b", &here.join("a"));
        check(".:/b:ro", &here);
        check("../a:/b", &here.parent().unwrap().join("a"));
        check("/a:/b", Path::new("/a"));
    }
}
