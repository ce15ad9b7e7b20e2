//! Manifests: read, put, deleted. Source: OCI distribution specification, "Pulling manifests",
//! "Pushing Manifests", "Deleting".

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, LOCATION};
use hyper::{Method, Request, StatusCode};
use mica_oci::{Descriptor, Digest, MediaType};
use mica_store::Store;
use serde::Deserialize;

use crate::mirror::Upstream;
use crate::names;
use crate::published::Published;
use crate::reply::{Refusal, Reply, empty, set, with_body};
use crate::server::Service;

/// What registries take as a manifest at most, by the specification.
const LARGEST: usize = 4 << 20;

pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

/// What a manifest or index leads to.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Links {
    pub(crate) media_type: Option<MediaType>,
    pub(crate) artifact_type: Option<MediaType>,
    pub(crate) manifests: Vec<Descriptor>,
    pub(crate) config: Option<Descriptor>,
    pub(crate) layers: Vec<Descriptor>,
    pub(crate) subject: Option<Descriptor>,
    pub(crate) annotations: std::collections::BTreeMap<String, String>,
}

impl<U: Upstream> Service<U> {
    pub(crate) async fn manifest(
        &self,
        name: &str,
        object: &str,
        request: Request<Incoming>,
    ) -> Result<Reply, Refusal> {
        match *request.method() {
            Method::GET | Method::HEAD => {
                let found = self.find_manifest(name, object).await?;
                let is_head = request.method() == Method::HEAD;
                Ok(shown(&found, is_head))
            }
            Method::PUT => self.put_manifest(name, object, request).await,
            Method::DELETE => tokio::task::block_in_place(|| self.delete_manifest(name, object)),
            _ => Err(Refusal::unsupported("a manifest does not take the method")),
        }
    }

    async fn find_manifest(&self, name: &str, object: &str) -> Result<Published, Refusal> {
        let digest = digest_of(object)?;
        let _held = tokio::task::block_in_place(|| self.store.hold())?;
        if let Some(mirrored) = self.mirrored.manifest(&self.store, name, object).await? {
            return Ok(mirrored);
        }
        tokio::task::block_in_place(|| {
            let found = match &digest {
                Some(digest) => self.published.find(&self.store, digest)?,
                None => {
                    let reference = names::reference(name, object);
                    let reference = reference.map_err(|_| unknown(name, object))?;
                    let target = names::find(&self.store, &reference)?;
                    let publish = |target| self.published.publish(&self.store, &target);
                    target.map(publish).transpose()?
                }
            };
            found.ok_or_else(|| unknown(name, object))
        })
    }

    async fn put_manifest(
        &self,
        name: &str,
        object: &str,
        request: Request<Incoming>,
    ) -> Result<Reply, Refusal> {
        let declared = request.headers().get(CONTENT_TYPE).cloned();
        let raw = read(request.into_body()).await?;
        tokio::task::block_in_place(|| {
            let _held = self.store.hold()?;
            let declared = declared.as_ref().and_then(|value| value.to_str().ok());
            let (target, links) = understand(&raw, declared)?;
            self.check_links(&links)?;
            let (store, reference) = (&self.store, object.parse::<Digest>());
            let wrong = |digest: &Digest| *digest != target.digest;
            if object.contains(':') && reference.as_ref().map_or(true, wrong) {
                let message = format!("the manifest has digest {}", target.digest);
                return Err(Refusal::invalid("DIGEST_INVALID", message));
            }
            store.put_blob(&target, raw.as_ref())?;
            match reference {
                Ok(_) => store.keep_untagged(&target)?,
                Err(_) => store.tag_image(&target, &names::reference(name, object)?)?,
            }
            forget_untagged(store, &links)?;
            self.uploads.settle(&links);
            let mut reply = empty(StatusCode::CREATED);
            set(
                &mut reply,
                LOCATION,
                format!("/v2/{name}/manifests/{}", target.digest),
            );
            set(&mut reply, CONTENT_DIGEST, &target.digest);
            if let Some(subject) = &links.subject {
                set(&mut reply, OCI_SUBJECT, &subject.digest);
            }
            Ok(reply)
        })
    }

    /// Children come before parents. A subject may be missing, by the specification.
    fn check_links(&self, links: &Links) -> Result<(), Refusal> {
        let blobs = links.config.iter().chain(&links.layers);
        let is_elsewhere = |blob: &&Descriptor| !blob.urls.is_empty();
        let missing = blobs
            .filter(|blob| !is_elsewhere(blob))
            .find(|blob| !self.store.has_blob(&blob.digest));
        if let Some(blob) = missing {
            let message = format!("blob unknown to registry: {}", blob.digest);
            return Err(Refusal::not_found("MANIFEST_BLOB_UNKNOWN", message));
        }
        let known = |child: &&Descriptor| !self.store.has_blob(&child.digest);
        match links.manifests.iter().find(known) {
            None => Ok(()),
            Some(child) => {
                let message = format!("manifest unknown to registry: {}", child.digest);
                Err(Refusal::not_found("MANIFEST_BLOB_UNKNOWN", message))
            }
        }
    }

    fn delete_manifest(&self, name: &str, object: &str) -> Result<Reply, Refusal> {
        let unknown = || unknown(name, object);
        let store = &self.store;
        if let Some(digest) = digest_of(object)? {
            let known = self.published.source(store, &digest)?;
            store.remove_image(&known.ok_or_else(unknown)?)?;
        } else {
            let reference = names::reference(name, object).map_err(|_| unknown())?;
            store.untag(&reference)?.ok_or_else(unknown)?;
        }
        Ok(empty(StatusCode::ACCEPTED))
    }
}

/// Nobody has what no tag can be called.
fn unknown(name: &str, object: &str) -> Refusal {
    let message = format!("manifest unknown: {name} has no {object}");
    Refusal::not_found("MANIFEST_UNKNOWN", message)
}

/// Reads a digest in the place of a tag; no tag has a colon.
fn digest_of(object: &str) -> Result<Option<Digest>, Refusal> {
    let digest = object.contains(':').then(|| object.parse());
    let digest = digest.transpose();
    digest.map_err(|_| Refusal::invalid("DIGEST_INVALID", format!("`{object}` is no digest")))
}

/// Entries without a name that an index now leads to need not be kept by themselves.
fn forget_untagged(store: &Store, links: &Links) -> Result<(), Refusal> {
    for child in &links.manifests {
        let images = store.images()?;
        let mut own = images
            .iter()
            .filter(|entry| entry.target.digest == child.digest);
        if own.clone().next().is_some() && own.all(|entry| entry.reference.is_none()) {
            store.remove_image(child)?;
        }
    }
    Ok(())
}

async fn read(body: Incoming) -> Result<Bytes, Refusal> {
    let collected = Limited::new(body, LARGEST).collect().await;
    let whole = collected.map(http_body_util::Collected::to_bytes);
    whole.map_err(|error| {
        let status = match error.is::<http_body_util::LengthLimitError>() {
            true => StatusCode::PAYLOAD_TOO_LARGE,
            false => StatusCode::BAD_REQUEST,
        };
        Refusal::new(
            status,
            "MANIFEST_INVALID",
            "the manifest is longer than 4 MiB, or broke off",
        )
    })
}

/// Reads what a manifest is and leads to.
pub(crate) fn understand(
    raw: &[u8],
    declared: Option<&str>,
) -> Result<(Descriptor, Links), Refusal> {
    let invalid = |message: String| Refusal::invalid("MANIFEST_INVALID", message);
    let links: Links = serde_json::from_slice(raw)
        .map_err(|error| invalid(format!("the manifest is no JSON: {error}")))?;
    let declared = declared.and_then(|text| text.split(';').next());
    let declared = declared.map(|text| MediaType::new(text.trim()));
    let media_type = match (&links.media_type, declared) {
        (Some(own), Some(declared)) if *own != declared => {
            let message = format!("the manifest is a {own}, its Content-Type is {declared}");
            return Err(invalid(message));
        }
        (Some(own), _) => own.clone(),
        (None, Some(declared)) => declared,
        (None, None) => return Err(invalid("the manifest has no media type".to_owned())),
    };
    if !media_type.is_manifest() && !media_type.is_index() {
        return Err(invalid(format!(
            "{media_type} is neither a manifest nor an index"
        )));
    }
    if media_type.is_manifest() && links.config.is_none() {
        return Err(invalid("the manifest has no config".to_owned()));
    }
    Ok((Descriptor::of(media_type, raw), links))
}

fn shown(found: &Published, is_head: bool) -> Reply {
    let mut reply = match is_head {
        true => empty(StatusCode::OK),
        false => with_body(StatusCode::OK, found.raw.clone()),
    };
    set(&mut reply, CONTENT_TYPE, &found.media_type);
    set(&mut reply, CONTENT_LENGTH, found.raw.len());
    set(&mut reply, CONTENT_DIGEST, &found.digest);
    reply
}
