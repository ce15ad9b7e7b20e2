//! From a path to what is asked for. Source: OCI distribution specification, "Endpoints".

use mica_oci::Digest;

/// What a path stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// `/v2/`
    Base,
    /// `/v2/_catalog`
    Catalog,
    /// `/v2/<name>/tags/list`
    Tags(String),
    /// `/v2/<name>/manifests/<tag or digest>`
    Manifest(String, String),
    /// `/v2/<name>/blobs/<digest>`
    Blob(String, Digest),
    /// `/v2/<name>/blobs/uploads/`
    Uploads(String),
    /// `/v2/<name>/blobs/uploads/<session>`
    Upload(String, String),
    /// `/v2/<name>/referrers/<digest>`
    Referrers(String, Digest),
}

/// Why a path stands for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoRoute {
    /// There is no such end point.
    Unknown,
    /// The digest is none.
    Digest,
}

impl Route {
    /// Reads a path that was decoded.
    pub(crate) fn of(path: &str) -> Result<Self, NoRoute> {
        let rest = path.strip_prefix("/v2").ok_or(NoRoute::Unknown)?;
        let rest = match rest.strip_prefix('/') {
            None if rest.is_empty() => return Ok(Self::Base),
            None => return Err(NoRoute::Unknown),
            Some("") => return Ok(Self::Base),
            Some("_catalog") => return Ok(Self::Catalog),
            Some(rest) => rest,
        };
        if let Some(name) = rest.strip_suffix("/tags/list") {
            return Ok(Self::Tags(name.to_owned()));
        }
        if let Some((name, session)) = rest.rsplit_once("/blobs/uploads/") {
            return Ok(match session {
                "" => Self::Uploads(name.to_owned()),
                session => Self::Upload(name.to_owned(), session.to_owned()),
            });
        }
        if let Some(name) = rest.strip_suffix("/blobs/uploads") {
            return Ok(Self::Uploads(name.to_owned()));
        }
        let (head, last) = rest.rsplit_once('/').ok_or(NoRoute::Unknown)?;
        let (name, kind) = head.rsplit_once('/').ok_or(NoRoute::Unknown)?;
        let name = name.to_owned();
        let digest = || last.parse::<Digest>().map_err(|_| NoRoute::Digest);
        match kind {
            "manifests" if !last.is_empty() => Ok(Self::Manifest(name, last.to_owned())),
            "blobs" => Ok(Self::Blob(name, digest()?)),
            "referrers" => Ok(Self::Referrers(name, digest()?)),
            _ => Err(NoRoute::Unknown),
        }
    }

    /// Returns the repository that is meant.
    pub(crate) fn repository(&self) -> Option<&str> {
        match self {
            Self::Base | Self::Catalog => None,
            Self::Tags(name)
            | Self::Manifest(name, _)
            | Self::Blob(name, _)
            | Self::Uploads(name)
            | Self::Upload(name, _)
            | Self::Referrers(name, _) => Some(name),
        }
    }
}

/// Reads a query's parameter; `+` is a plus sign, as in media types.
pub(crate) fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    let mut pairs = query?.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(key, _)| *key == name)?;
    Some(decoded(value))
}

/// Decodes `%XX`.
pub(crate) fn decoded(text: &str) -> String {
    let (mut out, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((&byte, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let value = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (byte, value) {
            (b'%', Some(value)) => {
                out.push(value);
                rest = &after[2..];
            }
            _ => {
                out.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_routes() {
        let digest: Digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
        let name = || "a/b".to_owned();
        let cases = [
            ("/v2", Ok(Route::Base)),
            ("/v2/", Ok(Route::Base)),
            ("/v2/_catalog", Ok(Route::Catalog)),
            ("/v2/a/b/tags/list", Ok(Route::Tags(name()))),
            (
                "/v2/a/b/manifests/v1",
                Ok(Route::Manifest(name(), "v1".into())),
            ),
            (
                &format!("/v2/a/b/blobs/{digest}"),
                Ok(Route::Blob(name(), digest.clone())),
            ),
            ("/v2/a/b/blobs/uploads/", Ok(Route::Uploads(name()))),
            (
                "/v2/a/b/blobs/uploads/1",
                Ok(Route::Upload(name(), "1".into())),
            ),
            (
                &format!("/v2/a/b/referrers/{digest}"),
                Ok(Route::Referrers(name(), digest.clone())),
            ),
            ("/v2/a/b/blobs/sha256:1", Err(NoRoute::Digest)),
            ("/v2/a/b/referrers/x", Err(NoRoute::Digest)),
            ("/v2/a", Err(NoRoute::Unknown)),
            ("/v2/a/b/manifests/", Err(NoRoute::Unknown)),
            ("/v1/", Err(NoRoute::Unknown)),
            ("/v2x", Err(NoRoute::Unknown)),
            ("/", Err(NoRoute::Unknown)),
        ];
        for (path, expected) in cases {
            assert_eq!(Route::of(path), expected, "{path}");
        }
    }

    #[test]
    fn queries_are_decoded() {
        let query = Some("mount=sha256%3Aab&from=a%2Fb&x=1+2&bad=%zz");
        for (key, expected) in [
            ("mount", Some("sha256:ab")),
            ("from", Some("a/b")),
            ("x", Some("1+2")),
            ("bad", Some("%zz")),
            ("none", None),
        ] {
            assert_eq!(parameter(query, key).as_deref(), expected, "{key}");
        }
    }
}
