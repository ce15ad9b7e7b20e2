//! A cache in a bucket: `type=s3`. The places of its objects are BuildKit's.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use mica_builder::{CacheDestination, CacheSource, Content, ExchangeError};
use mica_oci::{BlobReader, Descriptor, MediaType};
use mica_registry_client::{ObjectRequest, Registry, RegistryError};
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};
use tokio::io::AsyncReadExt;
use tokio::runtime::Runtime;
use url::Url;

use super::cache_filter::duration;
use super::cache_registry::{Blocking, open_at};
use crate::config::{Environment, credentials};

/// How long a signed address holds; one upload must not take longer.
const VALID: Duration = Duration::from_secs(6 * 60 * 60);
/// The longest object of a single upload. Source: Amazon S3 User Guide, "Uploading objects".
const LONGEST: u64 = 5 << 30;
/// How old an object may be before it is touched, so that no lifecycle rule removes it.
const REFRESH: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest document that a name stands for.
const LONGEST_DOCUMENT: u64 = 64 << 20;

/// Where a cache is in a bucket, as the flag's fields and the environment say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct S3Place {
    bucket: Bucket,
    /// None for a bucket that anybody may read.
    credentials: Option<Credentials>,
    blobs: String,
    manifests: String,
    /// The names that the cache gets; it is read by the first.
    names: Vec<String>,
    refresh: Duration,
}

/// The fields of `type=s3`; `--cache-to` has more.
pub(crate) const S3_KEYS: &[&str] = &[
    "region",
    "bucket",
    "endpoint_url",
    "use_path_style",
    "prefix",
    "blobs_prefix",
    "manifests_prefix",
    "name",
    "access_key_id",
    "secret_access_key",
    "session_token",
];

impl S3Place {
    /// Reads the fields; what they lack is the environment's.
    pub(crate) fn read(
        fields: &BTreeMap<String, String>,
        environment: Environment,
    ) -> Result<Self, S3PlaceError> {
        let field = |key: &str| fields.get(key).filter(|value| !value.is_empty()).cloned();
        let region = field("region").or_else(|| environment.aws_region());
        let region = region.ok_or(S3PlaceError::Missing("region", "AWS_REGION"))?;
        let name = field("bucket").or_else(|| environment.variable("AWS_BUCKET"));
        let name = name.ok_or(S3PlaceError::Missing("bucket", "AWS_BUCKET"))?;
        let endpoint = match field("endpoint_url") {
            Some(text) => text,
            None => format!("https://s3.{region}.amazonaws.com"),
        };
        let url: Url = endpoint.parse().map_err(|_| S3PlaceError::Endpoint)?;
        let style = match field("use_path_style").as_deref() {
            Some("true" | "1") => UrlStyle::Path,
            // An address and `localhost` have no names below them.
            _ if !matches!(url.domain(), Some(domain) if domain != "localhost") => UrlStyle::Path,
            None | Some("false" | "0") => UrlStyle::VirtualHost,
            Some(_) => return Err(S3PlaceError::Style),
        };
        let bucket = Bucket::new(url, style, name, region).map_err(|_| S3PlaceError::Endpoint)?;
        let keys = (
            field("access_key_id"),
            field("secret_access_key"),
            field("session_token"),
        );
        let credentials = match keys {
            (Some(key), Some(secret), token) => Some(credentials(key, secret, token)),
            (None, None, None) => environment
                .aws_credentials()
                .map_err(|error| S3PlaceError::Credentials(error.to_string()))?,
            _ => return Err(S3PlaceError::HalfCredentials),
        };
        let prefix = field("prefix").unwrap_or_default();
        let below = |key: &str, usual: &str| {
            let part = fields.get(key).map_or(usual, String::as_str);
            format!("{prefix}{part}")
        };
        let names = field("name").unwrap_or_else(|| "mica".to_owned());
        let names: Vec<_> = names.split(';').map(str::trim).map(str::to_owned).collect();
        let place = Self {
            bucket,
            credentials,
            blobs: below("blobs_prefix", "blobs/"),
            manifests: below("manifests_prefix", "manifests/"),
            names,
            refresh: refresh(field("touch_refresh").as_deref())?,
        };
        place.check()?;
        Ok(place)
    }

    /// An address cannot name an object whose key has an empty part, `.` or `..`.
    fn check(&self) -> Result<(), S3PlaceError> {
        let keys = self.names.iter().map(|name| self.manifest(name));
        for key in keys.chain([format!("{}x", self.blobs)]) {
            if key.split('/').any(|part| matches!(part, "" | "." | "..")) {
                return Err(S3PlaceError::Key(key));
            }
        }
        Ok(())
    }

    fn manifest(&self, name: &str) -> String {
        format!("{}{name}", self.manifests)
    }

    fn blob(&self, descriptor: &Descriptor) -> String {
        format!("{}{}", self.blobs, descriptor.digest)
    }
}

/// Reads a duration such as `24h` or `90m`.
fn refresh(text: Option<&str>) -> Result<Duration, S3PlaceError> {
    let Some(text) = text else {
        return Ok(REFRESH);
    };
    let refresh = duration(text).and_then(|refresh| refresh.try_into().ok());
    refresh.ok_or(S3PlaceError::Refresh)
}

/// What is wrong with the fields.
#[derive(Debug, thiserror::Error)]
pub(crate) enum S3PlaceError {
    #[error("s3 cache requires {0}, or the variable {1}")]
    Missing(&'static str, &'static str),
    #[error("endpoint_url is not an address that a bucket can be at")]
    Endpoint,
    #[error("use_path_style is neither true nor false")]
    Style,
    #[error("touch_refresh is not a duration such as 24h")]
    Refresh,
    #[error("access_key_id and secret_access_key belong together")]
    HalfCredentials,
    #[error("{0}")]
    Credentials(String),
    #[error("no object can have the key {0}")]
    Key(String),
}

/// A cache in a bucket.
pub(crate) struct S3Cache {
    place: S3Place,
    registry: Registry,
    runtime: Arc<Runtime>,
}

/// Why an object cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} s3://{bucket}/{key}")]
pub(crate) struct S3CacheError {
    action: &'static str,
    bucket: String,
    key: String,
    #[source]
    source: S3Failure,
}

#[derive(Debug, thiserror::Error)]
enum S3Failure {
    #[error(transparent)]
    Store(#[from] RegistryError),
    #[error("{0} bytes are more than one upload may have (5 GiB)")]
    TooLong(u64),
    #[error("cannot read {1}")]
    File(#[source] std::io::Error, String),
    #[error("it is not there any more")]
    Gone,
}

impl S3CacheError {
    /// Says what can be done about it.
    pub(crate) fn hint(&self) -> Option<String> {
        let S3Failure::Store(error) = &self.source else {
            return None;
        };
        let text = match error.status() {
            Some(401 | 403) => {
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, to those who may"
            }
            Some(301 | 400) => {
                "check the region, and whether the endpoint wants use_path_style=true"
            }
            Some(404) => "check the names of bucket and endpoint",
            _ => return None,
        };
        Some(text.to_owned())
    }
}

impl S3Cache {
    /// The cache at a place. Nothing is asked for yet.
    pub(crate) fn new(place: S3Place, (registry, runtime): (Registry, Arc<Runtime>)) -> Self {
        Self {
            place,
            registry,
            runtime,
        }
    }

    fn failed(&self, action: &'static str, key: &str) -> impl FnOnce(S3Failure) -> S3CacheError {
        let (bucket, key) = (self.place.bucket.name().to_owned(), key.to_owned());
        move |source| S3CacheError {
            action,
            bucket,
            key,
            source,
        }
    }

    fn get(&self, key: &str) -> Result<Option<BlobReader>, S3CacheError> {
        let bucket = &self.place.bucket;
        let url = bucket
            .get_object(self.place.credentials.as_ref(), key)
            .sign(VALID);
        let request = ObjectRequest::get(url);
        let answer = self.runtime.block_on(self.registry.object(&request));
        answer
            .map_err(S3Failure::from)
            .map_err(self.failed("read", key))
    }

    fn put(&self, key: &str, content: Content<'_>) -> Result<(), S3CacheError> {
        let put = || -> Result<(), S3Failure> {
            let bucket = &self.place.bucket;
            let action = bucket.put_object(self.place.credentials.as_ref(), key);
            let request = ObjectRequest::put(action.sign(VALID));
            let length = length(content)?;
            let sent = self.registry.put_object(&request, length, async || {
                Ok(match content {
                    Content::Bytes(bytes) => Box::pin(std::io::Cursor::new(bytes.to_vec())),
                    Content::File(path) => open_at(path.to_owned(), 0).await?,
                })
            });
            Ok(self.runtime.block_on(sent)?)
        };
        put().map_err(self.failed("write", key))
    }

    /// Makes an object new without sending it: a copy onto itself.
    fn touch(&self, key: &str) -> Result<(), RegistryError> {
        let copied = self.place.bucket.object_url(key);
        let source = format!(
            "/{}{}",
            self.place.bucket.name(),
            path_of(&copied, &self.place.bucket)
        );
        let headers = [
            ("x-amz-copy-source", source.as_str()),
            ("x-amz-metadata-directive", "REPLACE"),
        ];
        let bucket = &self.place.bucket;
        let mut action = bucket.put_object(self.place.credentials.as_ref(), key);
        for (name, value) in headers {
            action.headers_mut().insert(name, value.to_owned());
        }
        let mut request = ObjectRequest::put(action.sign(VALID));
        for (name, value) in headers {
            request = request.header(name, value)?;
        }
        let none = async || Ok::<BlobReader, _>(Box::pin(std::io::Cursor::new(Vec::new())));
        self.runtime
            .block_on(self.registry.put_object(&request, 0, none))
    }
}

/// Returns the path of an object below its bucket, as addresses write it.
fn path_of(object: &Url, bucket: &Bucket) -> String {
    let base = bucket.base_url().as_str().trim_end_matches('/');
    object
        .as_str()
        .strip_prefix(base)
        .unwrap_or_default()
        .to_owned()
}

fn length(content: Content<'_>) -> Result<u64, S3Failure> {
    let length = match content {
        Content::Bytes(bytes) => bytes.len() as u64,
        Content::File(path) => size_of(path)?,
    };
    match length {
        LONGEST.. => Err(S3Failure::TooLong(length)),
        _ => Ok(length),
    }
}

fn size_of(path: &Path) -> Result<u64, S3Failure> {
    let metadata = std::fs::metadata(path);
    let metadata =
        metadata.map_err(|source| S3Failure::File(source, path.display().to_string()))?;
    Ok(metadata.len())
}

/// Tells whether `Last-Modified` is longer ago than `limit`.
fn is_older(modified: Option<&str>, limit: Duration) -> bool {
    let date = modified.and_then(|text| jiff::fmt::rfc2822::parse(text).ok());
    let age = date.map(|date| Timestamp::now().duration_since(date.timestamp()));
    age.is_some_and(|age| age.try_into().is_ok_and(|age: Duration| age > limit))
}

impl fmt::Debug for S3Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S3Cache({})", self.name())
    }
}

impl CacheSource for S3Cache {
    fn name(&self) -> String {
        let place = &self.place;
        let key = place.manifest(&place.names[0]);
        format!("s3://{}/{key}", place.bucket.name())
    }

    fn root(&self) -> Result<Option<(MediaType, Vec<u8>)>, ExchangeError> {
        let key = self.place.manifest(&self.place.names[0]);
        let Some(content) = self.get(&key)? else {
            return Ok(None);
        };
        let mut raw = Vec::new();
        let read = content.take(LONGEST_DOCUMENT);
        self.runtime
            .block_on(async { std::pin::pin!(read).read_to_end(&mut raw).await })?;
        Ok(Some((MediaType::OCI_MANIFEST, raw)))
    }

    fn fetch(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>, ExchangeError> {
        let key = self.place.blob(descriptor);
        let content = self.get(&key)?;
        let content = content.ok_or(S3Failure::Gone);
        let content = content.map_err(self.failed("read", &key))?;
        Ok(Box::new(Blocking::new(content, Arc::clone(&self.runtime))))
    }
}

impl CacheDestination for S3Cache {
    fn contains(&self, descriptor: &Descriptor) -> Result<bool, ExchangeError> {
        let key = self.place.blob(descriptor);
        let bucket = &self.place.bucket;
        let url = bucket
            .head_object(self.place.credentials.as_ref(), &key)
            .sign(VALID);
        let request = ObjectRequest::head(url);
        let headers = self.registry.object_headers(&request);
        let headers = self.runtime.block_on(headers).map_err(S3Failure::from);
        let Some(headers) = headers.map_err(self.failed("look for", &key))? else {
            return Ok(false);
        };
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if text("content-length").and_then(|length| length.parse().ok()) != Some(descriptor.size) {
            return Ok(false);
        }
        if is_older(text("last-modified"), self.place.refresh) {
            let touched = self.touch(&key).map_err(S3Failure::from);
            touched.map_err(self.failed("refresh", &key))?;
        }
        Ok(true)
    }

    fn push(&self, descriptor: &Descriptor, content: Content<'_>) -> Result<(), ExchangeError> {
        Ok(self.put(&self.place.blob(descriptor), content)?)
    }

    fn tag(&self, descriptor: &Descriptor) -> Result<(), ExchangeError> {
        let mut document = Vec::new();
        self.fetch(descriptor)?.read_to_end(&mut document)?;
        for name in &self.place.names {
            self.put(&self.place.manifest(name), Content::Bytes(&document))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<S3Place, S3PlaceError> {
        let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
        let fields = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
        S3Place::read(&fields.collect(), Environment)
    }

    #[test]
    fn objects_are_where_buildkit_puts_them() {
        let keys = "access_key_id=k,secret_access_key=s";
        let place = read(&format!(
            "region=eu-west-1,bucket=b,prefix=p/,name=a;c,{keys}"
        ))
        .unwrap();
        let base = place.bucket.base_url().as_str();
        assert_eq!(base, "https://b.s3.eu-west-1.amazonaws.com/");
        let blob = Descriptor::of(MediaType::OCI_CONFIG, b"");
        assert_eq!(place.blob(&blob), format!("p/blobs/{}", blob.digest));
        assert_eq!(place.names, ["a", "c"]);
        assert_eq!(place.manifest("a"), "p/manifests/a");
        let local = read(&format!(
            "region=r,bucket=b,endpoint_url=http://127.0.0.1:9,{keys}"
        ));
        let base = local.unwrap().bucket.base_url().to_string();
        assert_eq!(base, "http://127.0.0.1:9/b/");
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            ("bucket=b,region=r,access_key_id=k", "belong together"),
            ("bucket=b,region=r,endpoint_url=ftp:x", "endpoint_url"),
            ("bucket=b,region=r,use_path_style=maybe", "use_path_style"),
            ("bucket=b,region=r,name=../x", "../x"),
            ("bucket=b,region=r,touch_refresh=soon", "touch_refresh"),
        ];
        for (text, expected) in cases {
            let error = read(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn old_objects_are_told_by_their_date() {
        let day = Duration::from_secs(86_400);
        assert!(is_older(Some("Sun, 06 Nov 1994 08:49:37 GMT"), day));
        assert!(!is_older(Some("Sat, 06 Nov 2094 08:49:37 GMT"), day));
        assert!(!is_older(None, day));
    }
}
