//! Manifests and tags. Source: OCI distribution specification, "Pulling manifests", "Pushing
//! Manifests", "Listing Tags".

use bytes::Bytes;
use mica_oci::{Descriptor, Digest, MediaType};
use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, LINK};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::retry;
use crate::site::{Call, Site};
use crate::{ProtocolFault, RegistryError};

/// What registries accept as a manifest at most, by the specification.
pub(crate) const LARGEST_MANIFEST: usize = 4 << 20;
pub(crate) const LARGEST_LIST: usize = 16 << 20;
/// Both families. A registry may convert to a type that is listed, so all are.
const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json";
const CONTENT_DIGEST: &str = "docker-content-digest";
/// With this header a registry says that it lists the manifest among its subject's referrers.
const OCI_SUBJECT: &str = "oci-subject";

/// Who lists a manifest that has a subject among the referrers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Indexed {
    /// The registry.
    ByRegistry,
    /// Nobody: it is for the client to do.
    Not,
}

/// A manifest or index as the registry keeps it.
#[derive(Clone, Debug)]
pub(crate) struct RawManifest {
    pub(crate) media_type: MediaType,
    pub(crate) bytes: Bytes,
    pub(crate) digest: Digest,
}

impl RawManifest {
    pub(crate) fn descriptor(&self) -> Descriptor {
        let size = self.bytes.len() as u64;
        Descriptor::new(self.media_type.clone(), self.digest.clone(), size)
    }
}

impl Site {
    /// Finds a manifest by tag or digest: by its headers, or by reading it where they do not tell.
    pub(crate) async fn describe_manifest(
        &self,
        object: &str,
        expected: Option<&Digest>,
    ) -> Result<Descriptor, RegistryError> {
        let call = self.manifest_call(Method::HEAD, object);
        let response = self.send(&call).await?;
        let status = response.status();
        if status == StatusCode::OK
            && let Some(found) = from_headers(response.headers())
            && expected.is_none_or(|expected| *expected == found.digest)
        {
            return Ok(found);
        }
        let mut site = self.clone();
        if retry::is_passing(status) {
            // It was asked often enough.
            site.policy.attempts = 1;
        }
        // A refusal of HEAD has no body, that of GET has the registry's reason.
        let manifest = site.read_manifest(object, expected).await?;
        Ok(manifest.descriptor())
    }

    /// Reads a manifest by tag or digest, and checks it against the digest asked for and announced.
    pub(crate) async fn read_manifest(
        &self,
        object: &str,
        expected: Option<&Digest>,
    ) -> Result<RawManifest, RegistryError> {
        let call = self.manifest_call(Method::GET, object);
        let fault = ProtocolFault::ManifestSize;
        let (headers, bytes) = self.read(&call, LARGEST_MANIFEST, fault).await?;
        let actual = Digest::of(&bytes);
        let announced = announced(&headers);
        if let Some(expected) = expected.or(announced.as_ref())
            && *expected != actual
        {
            return Err(self.wrong_digest(&call, expected.clone(), actual));
        }
        let media_type = content_type(&headers).or_else(|| own_media_type(&bytes));
        Ok(RawManifest {
            media_type: media_type.ok_or_else(|| self.fault(&call, ProtocolFault::MediaType))?,
            bytes,
            digest: actual,
        })
    }

    /// Puts a manifest under a tag or its digest.
    pub(crate) async fn put_manifest(
        &self,
        object: &str,
        media_type: &MediaType,
        bytes: Bytes,
    ) -> Result<Indexed, RegistryError> {
        let actual = Digest::of(&bytes);
        let call = Call::new(Method::PUT, self.url(&format!("manifests/{object}"))).body(bytes);
        let Ok(value) = HeaderValue::from_str(media_type.as_str()) else {
            return Err(self.fault(&call, ProtocolFault::MediaType));
        };
        let call = call.header(CONTENT_TYPE, value);
        let response = self.send(&call).await?;
        let wanted = [StatusCode::CREATED, StatusCode::OK, StatusCode::ACCEPTED];
        let response = self.expect(&call, response, &wanted).await?;
        let knows_referrers = response.headers().contains_key(OCI_SUBJECT);
        match announced(response.headers()) {
            Some(stored) if stored != actual => Err(self.wrong_digest(&call, actual, stored)),
            _ if knows_referrers => Ok(Indexed::ByRegistry),
            _ => Ok(Indexed::Not),
        }
    }

    /// Deletes a manifest by digest or a tag.
    pub(crate) async fn delete_manifest(&self, object: &str) -> Result<(), RegistryError> {
        let url = self.url(&format!("manifests/{object}"));
        let call = Call::new(Method::DELETE, url);
        let response = self.send(&call).await?;
        let wanted = [StatusCode::ACCEPTED, StatusCode::OK, StatusCode::NO_CONTENT];
        self.expect(&call, response, &wanted).await?;
        Ok(())
    }

    /// Lists all tags, page by page.
    pub(crate) async fn list_tags(&self) -> Result<Vec<String>, RegistryError> {
        #[derive(Deserialize)]
        struct Page {
            // `null` for a repository without tags.
            tags: Option<Vec<String>>,
        }
        let tags = |page: Page| page.tags.unwrap_or_default();
        self.list("tags/list", tags).await
    }

    /// Reads a list of names, page by page.
    pub(crate) async fn list<P: DeserializeOwned>(
        &self,
        path: &str,
        names: impl Fn(P) -> Vec<String>,
    ) -> Result<Vec<String>, RegistryError> {
        let mut all = Vec::new();
        let mut next = Some(self.url(path));
        while let Some(url) = next {
            let call = Call::new(Method::GET, url);
            let (headers, body) = self.read(&call, LARGEST_LIST, ProtocolFault::List).await?;
            let page: P = serde_json::from_slice(&body)
                .map_err(|_| self.fault(&call, ProtocolFault::List))?;
            let found = names(page);
            // A page without names is the last, so that a list of links to itself ends.
            next = next_page(&call.url, &headers).filter(|_| !found.is_empty());
            all.extend(found);
            if all.len() > LARGEST_LIST / 8 {
                return Err(self.fault(&call, ProtocolFault::List));
            }
        }
        Ok(all)
    }

    /// Asks for a manifest. Registries deny having one of a type that is not accepted.
    pub(crate) fn manifest_call(&self, method: Method, object: &str) -> Call {
        Call::new(method, self.url(&format!("manifests/{object}")))
            .header(ACCEPT, HeaderValue::from_static(ACCEPTED))
    }

    fn wrong_digest(&self, call: &Call, expected: Digest, actual: Digest) -> RegistryError {
        RegistryError::Digest {
            request: self.name(call),
            expected,
            actual,
        }
    }
}

fn from_headers(headers: &HeaderMap) -> Option<Descriptor> {
    let size = headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()?;
    Some(Descriptor::new(
        content_type(headers)?,
        announced(headers)?,
        size,
    ))
}

/// Reads the digest in the headers; one of an algorithm that cannot be verified is no help.
fn announced(headers: &HeaderMap) -> Option<Digest> {
    headers.get(CONTENT_DIGEST)?.to_str().ok()?.parse().ok()
}

/// Reads the media type; general ones, as of a static file server, say nothing.
fn content_type(headers: &HeaderMap) -> Option<MediaType> {
    let text = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let text = text.split(';').next().unwrap_or_default().trim();
    let telling = text.starts_with("application/vnd.");
    telling.then(|| MediaType::new(text))
}

/// Finds what a manifest says it is, or what its fields show.
fn own_media_type(bytes: &[u8]) -> Option<MediaType> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Shape {
        media_type: Option<MediaType>,
        manifests: Option<serde::de::IgnoredAny>,
        layers: Option<serde::de::IgnoredAny>,
    }
    let shape: Shape = serde_json::from_slice(bytes).ok()?;
    match shape {
        Shape {
            media_type: Some(own),
            ..
        } => Some(own),
        Shape {
            manifests: Some(_), ..
        } => Some(MediaType::OCI_INDEX),
        Shape {
            layers: Some(_), ..
        } => Some(MediaType::OCI_MANIFEST),
        _ => None,
    }
}

/// Reads `Link: </v2/…>; rel="next"`. Source: RFC 8288.
pub(crate) fn next_page(current: &Url, headers: &HeaderMap) -> Option<Url> {
    let text = headers.get(LINK)?.to_str().ok()?;
    let (target, parameters) = text.trim().strip_prefix('<')?.split_once('>')?;
    let next = parameters.to_ascii_lowercase();
    let is_next = next.contains("rel=\"next\"") || next.contains("rel=next");
    let url = current.join(target).ok()?;
    (is_next && url != *current).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_the_next_page() {
        let current = Url::parse("https://host.example/v2/a/tags/list").unwrap();
        let cases = [
            (
                r#"</v2/a/tags/list?last=x&n=2>; rel="next""#,
                Some("https://host.example/v2/a/tags/list?last=x&n=2"),
            ),
            (
                "<list?last=x>; rel=next",
                Some("https://host.example/v2/a/tags/list?last=x"),
            ),
            (r#"</v2/a/tags/list>; rel="next""#, None),
            (r#"</other>; rel="prev""#, None),
            ("nonsense", None),
        ];
        for (link, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(LINK, HeaderValue::from_static(link));
            let next = next_page(&current, &headers);
            assert_eq!(next.as_ref().map(Url::as_str), expected, "{link}");
        }
    }

    #[test]
    fn a_manifest_tells_its_type() {
        let cases: [(&str, Option<MediaType>); 5] = [
            (
                r#"{"mediaType":"application/x"}"#,
                Some(MediaType::new("application/x")),
            ),
            (r#"{"manifests":[]}"#, Some(MediaType::OCI_INDEX)),
            (r#"{"layers":[]}"#, Some(MediaType::OCI_MANIFEST)),
            ("{}", None),
            ("<html>", None),
        ];
        for (text, expected) in cases {
            assert_eq!(own_media_type(text.as_bytes()), expected, "{text}");
        }
    }
}
