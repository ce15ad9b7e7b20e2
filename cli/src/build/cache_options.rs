//! `--cache-from` and `--cache-to`, in buildx's syntax.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use mica_builder::{
    CacheDestination, CacheExport, CacheSource, ExportFailure, ExportMode, LayoutCache,
    ManifestForm, MountImport,
};
use mica_oci::{Compression, Digest, Reference};
use mica_registry_client::Actions;
use mica_store::{Codec, ExistingLayers};

use super::cache_registry::{Connection, RegistryCache};
use super::cache_s3::{S3_KEYS, S3Cache, S3Place};
use super::output::compression;
use crate::config::Environment;
use crate::failure::{CliError, Failure};
use crate::session::Session;

/// The tag of a cache in a directory, when no other is given.
const LOCAL_TAG: &str = "latest";

/// What the flags ask for.
#[derive(Debug, Default)]
pub(crate) struct Caches {
    /// Where caches come from.
    pub(crate) sources: Vec<Arc<dyn CacheSource>>,
    /// Which cache mounts are imported.
    pub(crate) mounts: Vec<MountImport>,
    /// Where the cache goes.
    pub(crate) exports: Vec<CacheExport>,
    /// Whether the image keeps its own cache.
    pub(crate) inline: bool,
}

impl Caches {
    /// Reads the flags. Nothing is asked for or sent yet.
    pub(crate) fn read(from: &[String], to: &[String], session: &Session) -> Result<Self, Failure> {
        let connection = Connection::default();
        let mut caches = Self::default();
        for text in from {
            let spec = Spec::parse("--cache-from", text)?;
            let Some(source) = spec
                .place(session.environment)?
                .source(session, &connection)?
            else {
                continue;
            };
            if !spec.mounts.is_empty() {
                caches.mounts.push(MountImport {
                    source: Arc::clone(&source),
                    ids: spec.mounts,
                });
            }
            caches.sources.push(source);
        }
        for text in to {
            let spec = Spec::parse("--cache-to", text)?;
            match spec.place(session.environment)? {
                Place::Inline => caches.inline = true,
                place => {
                    let destination = place.destination(session, &connection)?;
                    caches.exports.push(spec.export(&place, destination)?);
                }
            }
        }
        Ok(caches)
    }
}

/// One flag's fields.
struct Spec<'t> {
    flag: &'static str,
    text: &'t str,
    kind: String,
    fields: BTreeMap<String, String>,
    /// `mount=`, which may be there several times.
    mounts: Vec<String>,
}

/// A place as a flag names it.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Registry(Box<Reference>),
    Local(PathBuf, String, Option<Digest>),
    S3(Box<S3Place>),
    Inline,
}

/// The fields of `--cache-from`, by type.
const FROM: &[(&str, &[&str])] = &[
    ("registry", &["ref"]),
    ("local", &["src", "digest", "tag"]),
    ("s3", S3_KEYS),
    ("inline", &[]),
];

/// The fields of `--cache-to`, by type.
const TO: &[(&str, &[&str])] = &[
    ("registry", &["ref"]),
    ("local", &["dest", "tag"]),
    ("s3", S3_KEYS),
    ("inline", &["mode"]),
];

/// Fields of `--cache-to` that say how the cache is written, wherever it goes.
const EXPORT: &[&str] = &[
    "mode",
    "image-manifest",
    "oci-mediatypes",
    "compression",
    "compression-level",
    "force-compression",
    "ignore-error",
];

/// Fields of `--cache-to` that a bucket has besides.
const S3_EXPORT: &[&str] = &["touch_refresh", "upload_parallelism"];

impl<'t> Spec<'t> {
    fn parse(flag: &'static str, text: &'t str) -> Result<Self, CliError> {
        let mut spec = Self {
            flag,
            text,
            kind: String::new(),
            fields: BTreeMap::new(),
            mounts: Vec::new(),
        };
        let fields = mica_dockerfile::csv_fields(text).map_err(|e| spec.error(&e.to_string()))?;
        if let [reference] = fields.as_slice()
            && !reference.contains('=')
        {
            spec.kind = "registry".to_owned();
            spec.fields.insert("ref".to_owned(), reference.clone());
            return Ok(spec);
        }
        for field in &fields {
            let Some((key, value)) = field.split_once('=') else {
                return Err(spec.error(&format!("invalid value {field}: expected KEY=VALUE")));
            };
            let key = key.trim().to_ascii_lowercase();
            match key.as_str() {
                "type" => spec.kind = value.to_owned(),
                "mount" => spec.mounts.push(value.to_owned()),
                _ => drop(spec.fields.insert(key, value.to_owned())),
            }
        }
        spec.check()?;
        Ok(spec)
    }

    fn check(&self) -> Result<(), CliError> {
        let known = if self.flag == "--cache-to" { TO } else { FROM };
        if self.kind.is_empty() {
            return Err(self.error("type required form> \"type=registry,ref=NAME\""));
        }
        let Some((_, keys)) = known.iter().find(|(kind, _)| *kind == self.kind) else {
            let kind = &self.kind;
            return Err(self.error(&match kind.as_str() {
                "gha" | "azblob" => {
                    format!("type={kind} is not supported: use registry, s3 or local")
                }
                _ => format!("unknown type {kind}: expected registry, local, s3 or inline"),
            }));
        };
        if self.kind == "inline" && !self.mounts.is_empty() {
            return Err(self.error("an image keeps no cache mounts: use registry or local"));
        }
        let more = match (self.flag, self.kind.as_str()) {
            ("--cache-to", "s3") => [EXPORT, S3_EXPORT],
            ("--cache-to", "registry" | "local") => [EXPORT, &[]],
            _ => [&[][..], &[]],
        };
        let keys = [*keys, more[0], more[1]].concat();
        match self.fields.keys().find(|key| !keys.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) => Err(self.error(&format!(
                "unknown key {key} for type={}: expected one of {}",
                self.kind,
                keys.join(", ")
            ))),
        }
    }

    fn place(&self, environment: Environment) -> Result<Place, CliError> {
        Ok(match self.kind.as_str() {
            "s3" => {
                let place = S3Place::read(&self.fields, environment);
                Place::S3(Box::new(place.map_err(|e| self.error(&e.to_string()))?))
            }
            "registry" => {
                let reference = self.required("ref")?.parse();
                let reference = reference
                    .map_err(|error: mica_oci::ReferenceError| self.error(&error.to_string()))?;
                Place::Registry(Box::new(reference))
            }
            "local" => {
                let key = if self.flag == "--cache-to" {
                    "dest"
                } else {
                    "src"
                };
                let tag = self.fields.get("tag").cloned();
                let digest = self.fields.get("digest").map(|digest| digest.parse());
                let digest = digest.transpose();
                Place::Local(
                    self.required(key)?.into(),
                    tag.unwrap_or_else(|| LOCAL_TAG.to_owned()),
                    digest
                        .map_err(|error: mica_oci::DigestError| self.error(&error.to_string()))?,
                )
            }
            _ => Place::Inline,
        })
    }

    fn export(
        &self,
        place: &Place,
        destination: Arc<dyn CacheDestination>,
    ) -> Result<CacheExport, CliError> {
        let mode = match self.fields.get("mode").map(String::as_str) {
            None | Some("min") => ExportMode::Min,
            Some("max") => ExportMode::Max,
            Some(_) => return Err(self.error("invalid mode: expected min or max")),
        };
        let image_manifest = self.boolean("image-manifest")?;
        let form = match (image_manifest, self.boolean("oci-mediatypes")?) {
            (Some(true), Some(false)) => {
                return Err(self.error("image-manifest=true requires oci-mediatypes=true"));
            }
            (Some(false), Some(true) | None) => ManifestForm::Index,
            (_, Some(false)) => ManifestForm::DockerIndex,
            (Some(true) | None, _) => ManifestForm::Image,
        };
        Ok(CacheExport {
            title: match place {
                Place::Local(..) => "exporting cache to client directory".to_owned(),
                Place::S3(_) => "exporting cache to Amazon S3".to_owned(),
                _ => "exporting cache to registry".to_owned(),
            },
            destination,
            mode,
            form,
            failure: match self.boolean("ignore-error")? {
                Some(true) => ExportFailure::Warns,
                _ => ExportFailure::Fails,
            },
            mounts: self.mounts.clone(),
            codec: self.codec()?,
            existing: match self.boolean("force-compression")? {
                Some(true) => ExistingLayers::Convert,
                _ => ExistingLayers::Keep,
            },
            uploads: match self.number("upload_parallelism")? {
                Some(count) => count,
                None => CacheExport::UPLOADS,
            },
        })
    }

    fn codec(&self) -> Result<Codec, CliError> {
        let compression = match self.fields.get("compression") {
            Some(text) => compression(text).map_err(|reason| self.error(&reason))?,
            None => Compression::Gzip,
        };
        let codec = Codec::new(compression, self.number("compression-level")?);
        codec.map_err(|error| self.error(&error.to_string()))
    }

    fn number<N: FromStr>(&self, key: &str) -> Result<Option<N>, CliError> {
        let Some(text) = self.fields.get(key) else {
            return Ok(None);
        };
        let number = text.parse();
        let number = number.map_err(|_| self.error(&format!("{key}={text} is no such number")))?;
        Ok(Some(number))
    }

    fn required(&self, key: &str) -> Result<&str, CliError> {
        let value = self.fields.get(key).filter(|value| !value.is_empty());
        let missing = || self.error(&format!("{} cache requires {key}", self.kind));
        value.map(String::as_str).ok_or_else(missing)
    }

    fn boolean(&self, key: &str) -> Result<Option<bool>, CliError> {
        match self.fields.get(key).map(String::as_str) {
            None => Ok(None),
            Some("true" | "1") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            Some(value) => Err(self.error(&format!("{key}={value} is neither true nor false"))),
        }
    }

    fn error(&self, reason: &str) -> CliError {
        CliError::FlagValue {
            flag: self.flag,
            value: self.text.to_owned(),
            reason: reason.to_owned(),
        }
    }
}

impl Place {
    /// An inline cache is found behind the image's name; the flag alone names nothing.
    fn source(
        self,
        session: &Session,
        connection: &Connection,
    ) -> Result<Option<Arc<dyn CacheSource>>, Failure> {
        Ok(match self {
            Self::Registry(reference) => Some(Arc::new(RegistryCache::new(
                session,
                connection,
                *reference,
                Actions::Pull,
            )?)),
            Self::Local(directory, tag, digest) => {
                Some(Arc::new(LayoutCache::new(directory, tag, digest)))
            }
            Self::S3(place) => Some(Arc::new(S3Cache::new(*place, connection.get(session)?))),
            Self::Inline => None,
        })
    }

    fn destination(
        &self,
        session: &Session,
        connection: &Connection,
    ) -> Result<Arc<dyn CacheDestination>, Failure> {
        Ok(match self {
            Self::Registry(reference) => Arc::new(RegistryCache::new(
                session,
                connection,
                (**reference).clone(),
                Actions::PullPush,
            )?),
            Self::Local(directory, tag, _) => {
                Arc::new(LayoutCache::new(directory.clone(), tag.clone(), None))
            }
            Self::S3(place) => Arc::new(S3Cache::new((**place).clone(), connection.get(session)?)),
            Self::Inline => unreachable!("an inline cache goes where its image goes"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(flag: &'static str, text: &str) -> Result<Place, String> {
        let spec = Spec::parse(flag, text).map_err(|error| error.to_string())?;
        spec.place(Environment).map_err(|error| error.to_string())
    }

    #[test]
    fn places_are_read_as_buildx_reads_them() {
        let registry = |name: &str| Place::Registry(Box::new(name.parse().unwrap()));
        let local = |path: &str, tag: &str| Place::Local(path.into(), tag.to_owned(), None);
        let cases = [
            (
                "--cache-from",
                "host:5000/a/b:c",
                registry("host:5000/a/b:c"),
            ),
            ("--cache-from", "type=registry,ref=a/b", registry("a/b")),
            ("--cache-from", "type=local,src=dir", local("dir", "latest")),
            (
                "--cache-to",
                "type=local,dest=dir,tag=x,mode=max",
                local("dir", "x"),
            ),
            ("--cache-to", "type=inline", Place::Inline),
            (
                "--cache-to",
                "\"type=local\",\"dest=a,b\"",
                local("a,b", "latest"),
            ),
        ];
        for (flag, text, expected) in cases {
            assert_eq!(place(flag, text).expect(text), expected);
        }
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            ("--cache-from", "type=gha", "gha is not supported"),
            (
                "--cache-to",
                "type=azblob,name=x",
                "azblob is not supported",
            ),
            ("--cache-from", "type=local", "requires src"),
            ("--cache-to", "type=local,src=x", "unknown key src"),
            ("--cache-to", "type=registry", "requires ref"),
            ("--cache-to", "type=registry,ref=UPPER", "UPPER"),
            ("--cache-from", "ref=a", "type required"),
            ("--cache-from", "type=nope", "unknown type nope"),
        ];
        for (flag, text, expected) in cases {
            let error = place(flag, text).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
