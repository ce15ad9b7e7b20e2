//! How an image was made: the predicate of SLSA provenance 1.1.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use mica_builder::BuildRequest;
use mica_oci::{Digest, Platform, Reference};
use serde_json::{Map, Value, json};

use super::{Mode, Provenance};

/// Names what the parameters mean: `docs/attestations.md`.
const BUILD_TYPE: &str = "urn:mica:build:1";

/// Who builds, unless somebody says so: SLSA wants a name.
const BUILDER: &str = concat!("urn:mica:builder:", env!("CARGO_PKG_VERSION"));

/// The images that a build used, as package URLs with their manifests' digests.
#[derive(Debug, Default)]
pub(crate) struct Bases(Mutex<BTreeSet<(String, Digest)>>);

impl Bases {
    /// Notes an image.
    pub(crate) fn note(&self, reference: &Reference, platform: &Platform, manifest: &Digest) {
        let mut bases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bases.insert((package_url(reference, platform), manifest.clone()));
    }

    fn dependencies(&self) -> Vec<Value> {
        let bases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let dependency = |(uri, digest): &(String, Digest)| json!({ "uri": uri, "digest": { "sha256": digest.hex() } });
        bases.iter().map(dependency).collect()
    }
}

/// Names an image of a registry as the package URL specification does.
pub(super) fn package_url(reference: &Reference, platform: &Platform) -> String {
    let name = reference.familiar_repository();
    let version = reference.tag().unwrap_or("latest");
    let platform = platform.to_string().replace('/', "%2F");
    match reference.digest() {
        None => format!("pkg:docker/{name}@{version}?platform={platform}"),
        Some(digest) => {
            format!("pkg:docker/{name}@{version}?digest={digest}&platform={platform}")
        }
    }
}

/// Where the images of a build come from.
pub(crate) struct Origin<'o> {
    /// What was asked for.
    pub(crate) request: &'o BuildRequest,
    /// The images that were used.
    pub(crate) bases: &'o Bases,
    /// The build's name.
    pub(crate) invocation: String,
    /// When it began.
    pub(crate) started: Timestamp,
}

impl Origin<'_> {
    /// Writes the predicate.
    pub(super) fn predicate(&self, provenance: &Provenance) -> Value {
        let mut metadata = json!({
            "invocationID": self.invocation,
            "startedOn": seconds(self.started),
            "finishedOn": seconds(Timestamp::now()),
            "mica_reproducible": provenance.reproducible,
            "mica_completeness": {
                "request": provenance.mode == Mode::Max,
                // Files of the context and what ADD fetches are not listed.
                "resolvedDependencies": false,
            },
        });
        let dockerfile = &self.request.dockerfile;
        if provenance.mode == Mode::Max {
            metadata["mica_source"] = json!({
                "filename": dockerfile.name,
                "language": "Dockerfile",
                "data": STANDARD.encode(&dockerfile.text),
            });
        }
        json!({
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "configSource": { "path": dockerfile.name },
                    "request": self.parameters(provenance.mode),
                },
                "internalParameters": {
                    "builderPlatform": self.request.build_platform.to_string(),
                },
                "resolvedDependencies": self.bases.dependencies(),
            },
            "runDetails": {
                "builder": { "id": provenance.builder.as_deref().unwrap_or(BUILDER) },
                "metadata": metadata,
            },
        })
    }

    /// What the user asked for. Values that may be secret are told in full mode alone, and those of
    /// secrets never.
    fn parameters(&self, mode: Mode) -> Value {
        let request = self.request;
        let mut args = Map::new();
        if let Some(target) = &request.target {
            args.insert("target".into(), json!(target));
        }
        if mode == Mode::Max {
            for (kind, values) in [
                ("build-arg", &request.build_args),
                ("label", &request.labels),
            ] {
                for (name, value) in values {
                    args.insert(format!("{kind}:{name}"), json!(value));
                }
            }
        }
        let mut parameters = json!({ "frontend": "dockerfile.v0", "args": args });
        let ids = |ids: Vec<&String>| -> Value {
            ids.into_iter().map(|id| json!({ "id": id })).collect()
        };
        if mode == Mode::Max {
            parameters["secrets"] = ids(request.secrets.keys().collect());
            parameters["ssh"] = ids(request.ssh.keys().collect());
        }
        let mut locals = vec![json!({ "name": "dockerfile" })];
        if request.context.is_some() {
            locals.push(json!({ "name": "context" }));
        }
        parameters["locals"] = locals.into();
        parameters
    }
}

/// RFC 3339 without fractions, as SLSA has it.
fn seconds(time: Timestamp) -> String {
    let whole = Timestamp::from_second(time.as_second());
    whole.unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_named_as_packages() {
        let platform = Platform::host().to_string().replace('/', "%2F");
        let digest = Digest::of(b"x");
        let cases = [
            ("busybox".to_owned(), "pkg:docker/busybox@latest?platform="),
            (
                "localhost:5000/a/b:v1".to_owned(),
                "pkg:docker/localhost:5000/a/b@v1?platform=",
            ),
            (
                format!("a/b@{digest}"),
                &*format!("pkg:docker/a/b@latest?digest={digest}&platform="),
            ),
        ];
        for (name, expected) in cases {
            let reference = name.parse().unwrap();
            let url = package_url(&reference, &Platform::host());
            assert_eq!(url, format!("{expected}{platform}"));
        }
    }
}
