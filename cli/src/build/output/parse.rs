//! Reading `--output`, in the words of buildx.

use std::path::{Path, PathBuf};

use mica_dockerfile::nearest;
use mica_oci::{Compression, Reference};
use mica_store::{ArchiveFormat, Codec, ExistingLayers, MediaTypes};

use super::{Form, Keep, Kind, Output, Push};
use crate::failure::CliError;

/// The attributes that any output takes, for suggestions.
const ATTRIBUTES: [&str; 18] = [
    "type",
    "dest",
    "name",
    "push",
    "push-by-digest",
    "store",
    "unpack",
    "name-canonical",
    "compression",
    "compression-level",
    "force-compression",
    "oci-mediatypes",
    "rewrite-timestamp",
    "tar",
    "platform-split",
    "annotation",
    "annotation-manifest",
    "annotation-index",
];

/// The types of outputs, for suggestions.
const TYPES: [&str; 7] = [
    "image",
    "registry",
    "oci",
    "docker",
    "local",
    "tar",
    "cacheonly",
];

/// What was read, before it is known to fit together.
#[derive(Default)]
struct Fields {
    kind: Option<String>,
    destination: Option<String>,
    names: Vec<Reference>,
    push: bool,
    by_digest: bool,
    store: Option<bool>,
    as_tar: Option<bool>,
    split: Option<bool>,
    compression: Option<Compression>,
    level: Option<i32>,
    form: Form,
}

fn invalid(text: &str, reason: String) -> CliError {
    CliError::FlagValue {
        flag: "-o, --output",
        value: text.to_owned(),
        reason,
    }
}

impl Output {
    /// Reads one `--output`: `type=TYPE,KEY=VALUE…`, a directory, or `-` for a tar stream.
    pub(crate) fn parse(text: &str) -> Result<Self, CliError> {
        if text == "-" {
            return Self::of(text, tar_to_stdout());
        }
        if !text.contains(['=', ',']) {
            return Self::of(text, local(text));
        }
        let mut fields = Fields::default();
        for field in split_csv(text) {
            let Some((key, value)) = field.split_once('=') else {
                return Err(invalid(text, format!("invalid value {field}")));
            };
            fields
                .take(&key.to_ascii_lowercase(), key, value)
                .map_err(|reason| invalid(text, reason))?;
        }
        Self::of(text, fields)
    }

    fn of(text: &str, mut fields: Fields) -> Result<Self, CliError> {
        let kind = fields.kind().map_err(|reason| invalid(text, reason))?;
        fields.codec().map_err(|reason| invalid(text, reason))?;
        Ok(Self {
            kind,
            names: fields.names,
            form: fields.form,
        })
    }
}

fn tar_to_stdout() -> Fields {
    Fields {
        kind: Some("tar".into()),
        destination: Some("-".into()),
        ..Fields::default()
    }
}

fn local(directory: &str) -> Fields {
    Fields {
        kind: Some("local".into()),
        destination: Some(directory.into()),
        ..Fields::default()
    }
}

impl Fields {
    fn take(&mut self, key: &str, written: &str, value: &str) -> Result<(), String> {
        let flag = || boolean(key, value);
        match key {
            "type" => self.kind = Some(value.to_owned()),
            "dest" => self.destination = Some(value.to_owned()),
            "name" => self.names = names(value)?,
            "push" => self.push = flag()?,
            "push-by-digest" => self.by_digest = flag()?,
            "store" => self.store = Some(flag()?),
            "tar" => self.as_tar = Some(flag()?),
            "platform-split" => self.split = Some(flag()?),
            "rewrite-timestamp" => self.form.rewrite_timestamp = flag()?,
            "compression" => self.compression = Some(compression(value)?),
            "compression-level" => self.level = Some(number(key, value)?),
            "force-compression" => {
                self.form.existing = flag()?.then_some(ExistingLayers::Convert);
            }
            "oci-mediatypes" => {
                let docker = (!flag()?).then_some(MediaTypes::Docker);
                self.form.media_types = docker.or(Some(MediaTypes::Oci));
            }
            // Layers are unpacked in the store, and a pushed image is known by its digest, in any
            // case.
            "unpack" | "name-canonical" => drop(flag()?),
            _ => return self.annotation(written, value),
        }
        Ok(())
    }

    fn annotation(&mut self, key: &str, value: &str) -> Result<(), String> {
        if self.form.annotations.take_attribute(key, value)? {
            return Ok(());
        }
        Err(unknown_attribute(key, ATTRIBUTES))
    }

    fn kind(&self) -> Result<Kind, String> {
        let name = self.kind.as_deref().unwrap_or_default();
        let push = match (self.push || name == "registry", self.by_digest) {
            (false, _) => Push::No,
            (true, false) => Push::Named,
            (true, true) => Push::ByDigest,
        };
        let keep = match self.store {
            Some(false) => Keep::No,
            _ => Keep::Yes,
        };
        match name {
            "" => Err("type is required for output".into()),
            "image" | "registry" => Ok(Kind::Image { keep, push }),
            "docker" if self.destination.is_none() && self.as_tar != Some(false) => {
                Ok(Kind::Image {
                    keep: Keep::Yes,
                    push: Push::No,
                })
            }
            "oci" | "docker" if self.as_tar == Some(false) => Ok(Kind::Layout {
                directory: self.directory(name)?,
            }),
            "oci" | "docker" => Ok(Kind::Archive {
                format: match name {
                    "oci" => ArchiveFormat::Oci,
                    _ => ArchiveFormat::Docker,
                },
                file: self.file()?,
            }),
            "local" => Ok(Kind::Local {
                directory: self.directory(name)?,
                split: self.split,
            }),
            "tar" => Ok(Kind::Tar { file: self.file()? }),
            "cacheonly" => Ok(Kind::CacheOnly),
            other => {
                let hint = nearest(other, TYPES).map(|near| format!(" (did you mean {near}?)"));
                let hint = hint.unwrap_or_default();
                Err(format!("unknown output type {other}{hint}"))
            }
        }
    }

    fn directory(&self, name: &str) -> Result<PathBuf, String> {
        let Some(text) = self.destination.as_deref().filter(|text| !text.is_empty()) else {
            return Err(format!("dest is required for {name} exporter"));
        };
        if text == "-" {
            return Err(format!("dest cannot be stdout for {name} exporter"));
        }
        let path = Path::new(text);
        match path.exists() && !path.is_dir() {
            true => Err(format!("destination directory {text} is a file")),
            false => Ok(path.to_owned()),
        }
    }

    fn file(&self) -> Result<Option<PathBuf>, String> {
        match self.destination.as_deref() {
            None | Some("" | "-") => Ok(None),
            Some(text) if Path::new(text).is_dir() => {
                Err(format!("destination file {text} is a directory"))
            }
            Some(text) => Ok(Some(text.into())),
        }
    }

    fn codec(&mut self) -> Result<(), String> {
        let compression = match (self.compression, self.level) {
            (None, None) => return Ok(()),
            (compression, _) => compression.unwrap_or(Compression::Gzip),
        };
        let codec = Codec::new(compression, self.level);
        self.form.codec = Some(codec.map_err(|error| error.to_string())?);
        Ok(())
    }
}

/// Splits at commas; a field in double quotes keeps its own, and two quotes stand for one.
fn split_csv(text: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let field = fields.last_mut().expect("there is always a field");
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            other => field.push(other),
        }
    }
    fields
}

/// Says that there is no such attribute, and which was meant.
pub(super) fn unknown_attribute<'k>(
    name: &str,
    known: impl IntoIterator<Item = &'k str>,
) -> String {
    let hint = nearest(name, known).map(|near| format!(" (did you mean {near}?)"));
    format!("unknown attribute {name}{}", hint.unwrap_or_default())
}

pub(super) fn boolean(key: &str, value: &str) -> Result<bool, String> {
    // Go's `strconv.ParseBool`.
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("non-bool value specified for {key}: {value}")),
    }
}

fn number(key: &str, value: &str) -> Result<i32, String> {
    value
        .parse()
        .map_err(|_| format!("non-int value {value} specified for {key}"))
}

/// Reads `compression=`.
pub(crate) fn compression(value: &str) -> Result<Compression, String> {
    match value {
        "uncompressed" => Ok(Compression::None),
        "gzip" => Ok(Compression::Gzip),
        "zstd" => Ok(Compression::Zstd),
        other => Err(format!(
            "unsupported compression type {other}: expected uncompressed, gzip or zstd"
        )),
    }
}

fn names(value: &str) -> Result<Vec<Reference>, String> {
    let parse = |name: &str| name.parse::<Reference>().map_err(|error| error.to_string());
    value.split(',').map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> Kind {
        Output::parse(text).expect(text).kind
    }

    fn check_error(text: &str, reason: &str) {
        let error = Output::parse(text).expect_err(text).to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }

    #[test]
    fn kinds_are_read() {
        let image = |keep, push| Kind::Image { keep, push };
        let archive = |format, file: Option<&str>| Kind::Archive {
            format,
            file: file.map(Into::into),
        };
        let cases = [
            (
                "type=oci,dest=x.tar",
                archive(ArchiveFormat::Oci, Some("x.tar")),
            ),
            ("type=oci", archive(ArchiveFormat::Oci, None)),
            ("type=docker,dest=-", archive(ArchiveFormat::Docker, None)),
            ("type=docker", image(Keep::Yes, Push::No)),
            ("type=image", image(Keep::Yes, Push::No)),
            ("type=image,push=true", image(Keep::Yes, Push::Named)),
            ("type=registry,store=false", image(Keep::No, Push::Named)),
            (
                "push=1,push-by-digest=true,type=image",
                image(Keep::Yes, Push::ByDigest),
            ),
            ("type=cacheonly", Kind::CacheOnly),
            ("type=tar", Kind::Tar { file: None }),
            ("-", Kind::Tar { file: None }),
        ];
        for (text, expected) in cases {
            assert_eq!(kind(text), expected, "{text}");
        }
        let local = |split| Kind::Local {
            directory: "out".into(),
            split,
        };
        assert_eq!(kind("out"), local(None));
        assert_eq!(
            kind("type=local,dest=out,platform-split=false"),
            local(Some(false))
        );
        let layout = Kind::Layout {
            directory: "out".into(),
        };
        assert_eq!(kind("type=oci,tar=false,dest=out"), layout);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, reason) in [
            ("dest=x", "type is required for output"),
            ("type=local", "dest is required for local exporter"),
            (
                "type=local,dest=-",
                "dest cannot be stdout for local exporter",
            ),
            ("type=oci,tar=false", "dest is required for oci exporter"),
            ("type=local,dest=/proc/version", "is a file"),
            ("type=tar,dest=/proc", "is a directory"),
            ("type=imag", "did you mean image?"),
            ("type=image,compresion=gzip", "did you mean compression?"),
            (
                "type=image,compression=lzma",
                "unsupported compression type lzma",
            ),
            ("type=image,compression=gzip,compression-level=11", "0 to 9"),
            ("type=image,push=maybe", "non-bool value specified for push"),
            ("type=image,zip", "invalid value zip"),
        ] {
            check_error(text, reason);
        }
    }

    #[test]
    fn the_form_is_read() {
        let text = "type=image,\"name=a,b:1\",compression=zstd,compression-level=9,\
            force-compression=true,oci-mediatypes=false,rewrite-timestamp=true";
        let output = Output::parse(text).expect(text);
        let names: Vec<_> = output.names.iter().map(Reference::familiar).collect();
        assert_eq!(names, ["a:latest", "b:1"]);
        let form = output.form;
        assert_eq!(
            form.codec,
            Some(Codec::new(Compression::Zstd, Some(9)).expect("it is one"))
        );
        assert_eq!(form.existing, Some(ExistingLayers::Convert));
        assert_eq!(form.media_types, Some(MediaTypes::Docker));
        assert!(form.rewrite_timestamp);
    }
}
