//! What is about a manifest: signatures, attestations, bills of materials.
//!
//! Source: OCI distribution specification, "Listing Referrers", "Referrers Tag Schema".

use bytes::Bytes;
use mica_oci::{Descriptor, Digest, Document, Index, Manifest, MediaType};
use reqwest::header::{ACCEPT, HeaderValue};
use reqwest::{Method, StatusCode};

use crate::manifests::{LARGEST_LIST, RawManifest, next_page};
use crate::site::{Call, Site};
use crate::{ProtocolFault, RegistryError};

/// The manifests that are about one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Referrers {
    /// Their descriptors, with artifact type and annotations.
    pub manifests: Vec<Descriptor>,
}

impl Site {
    /// Lists referrers by the API; by the tag schema where there is none.
    pub(crate) async fn referrers(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Referrers, RegistryError> {
        let found = match self.referrers_of_api(subject, artifact_type).await {
            Err(error) if matches!(error.status(), Some(400 | 404 | 405)) => {
                self.tagged_referrers(subject).await?.manifests
            }
            found => found?,
        };
        let wanted = |entry: &Descriptor| {
            artifact_type.is_none_or(|wanted| {
                let kind = entry.artifact_type.as_ref();
                kind.is_some_and(|kind| kind.as_str() == wanted)
            })
        };
        // A registry may ignore the filter.
        let manifests = found.into_iter().filter(wanted).collect();
        Ok(Referrers { manifests })
    }

    async fn referrers_of_api(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        let mut url = self.url(&format!("referrers/{subject}"));
        if let Some(wanted) = artifact_type {
            url.query_pairs_mut().append_pair("artifactType", wanted);
        }
        let (mut all, mut next) = (Vec::new(), Some(url));
        while let Some(url) = next {
            let call = Call::new(Method::GET, url);
            let call = call.header(ACCEPT, HeaderValue::from_static(INDEX));
            let (headers, body) = self.read(&call, LARGEST_LIST, ProtocolFault::List).await?;
            let page: Index = serde_json::from_slice(&body)
                .map_err(|_| self.fault(&call, ProtocolFault::List))?;
            next = next_page(&call.url, &headers).filter(|_| !page.manifests.is_empty());
            all.extend(page.manifests);
            if all.len() > LARGEST_LIST / 256 {
                return Err(self.fault(&call, ProtocolFault::List));
            }
        }
        Ok(all)
    }

    /// Reads the index under the tag that stands for a subject; an empty one where there is none.
    async fn tagged_referrers(&self, subject: &Digest) -> Result<Index, RegistryError> {
        let tag = referrers_tag(subject);
        match self.read_manifest(&tag, None).await {
            Ok(raw) => {
                let call = self.manifest_call(Method::GET, &tag);
                let index = serde_json::from_slice(&raw.bytes);
                index.map_err(|_| self.fault(&call, ProtocolFault::List))
            }
            Err(error) if error.status() == Some(StatusCode::NOT_FOUND.as_u16()) => {
                Ok(Index::new(Vec::new()))
            }
            Err(error) => Err(error),
        }
    }

    /// Adds a manifest that has a subject to the index under the subject's tag: for registries
    /// without the referrers API.
    pub(crate) async fn note_referrer(&self, manifest: &RawManifest) -> Result<(), RegistryError> {
        let Some((subject, entry)) = referrer(manifest) else {
            return Ok(());
        };
        let mut index = self.tagged_referrers(&subject).await?;
        if index
            .manifests
            .iter()
            .any(|known| known.digest == entry.digest)
        {
            return Ok(());
        }
        index.manifests.push(entry);
        let document = Document::encode(MediaType::OCI_INDEX, index);
        let raw: Bytes = document.raw().clone();
        self.put_manifest(&referrers_tag(&subject), &MediaType::OCI_INDEX, raw)
            .await?;
        Ok(())
    }
}

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// `sha256:abc` is `sha256-abc`.
fn referrers_tag(subject: &Digest) -> String {
    subject.as_str().replacen(':', "-", 1)
}

/// Describes a manifest as its subject's referrer; `None` for one without a subject.
fn referrer(manifest: &RawManifest) -> Option<(Digest, Descriptor)> {
    let mut entry = manifest.descriptor();
    if manifest.media_type.is_index() {
        let index: Index = serde_json::from_slice(&manifest.bytes).ok()?;
        entry.artifact_type = index.artifact_type;
        entry.annotations = index.annotations;
        return Some((index.subject?.digest, entry));
    }
    let image: Manifest = serde_json::from_slice(&manifest.bytes).ok()?;
    entry.artifact_type = image.artifact_type.or(Some(image.config.media_type));
    entry.annotations = image.annotations;
    Some((image.subject?.digest, entry))
}
