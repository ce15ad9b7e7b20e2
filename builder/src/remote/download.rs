//! Files over HTTP: what they are, by as little traffic as possible, and their content.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use jiff::Timestamp;
use mica_oci::{Digest, Hasher};
use mica_store::Store;
use serde::{Deserialize, Serialize};

use super::secrets::read_secret;
use super::{RemoteError, percent_decoded, redacted};
use crate::request::SecretSource;

/// The kind of the records: what a server said of an address.
const KIND: &str = "downloads";

/// What BuildKit calls a file whose address ends with a slash.
const UNNAMED: &str = "__unnamed__";

/// Asks a server for a file. The program around the builder does it: it has the one HTTP client.
pub trait Download: Sync {
    /// Sends a request and writes the body of a successful answer to `content`, as it comes.
    ///
    /// An answer of any status is no error: only that none came is one.
    fn download(
        &self,
        request: &DownloadRequest<'_>,
        content: &mut dyn Write,
    ) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>>;
}

/// A request for a file.
#[derive(Clone, Copy, Debug)]
pub struct DownloadRequest<'r> {
    /// The address.
    pub url: &'r str,
    /// Whether the content is asked for.
    pub want: Want,
    /// `If-None-Match`.
    pub etag: Option<&'r str>,
    /// `If-Modified-Since`.
    pub modified_since: Option<&'r str>,
    /// `Authorization`.
    pub authorization: Option<&'r str>,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// The headers: `HEAD`.
    Headers,
    /// The content: `GET`.
    Content,
}

/// An answer's status and headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// `ETag`.
    pub etag: Option<String>,
    /// `Last-Modified`.
    pub last_modified: Option<String>,
}

/// A file that is known by its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteFile {
    /// The address.
    pub url: String,
    /// The last part of the address.
    pub name: String,
    /// The content's digest.
    pub digest: Digest,
}

/// Files over HTTP. They are kept in the store by their digest.
#[derive(Clone, Copy)]
pub struct Downloads<'d> {
    /// Where the files are kept.
    pub store: &'d Store,
    /// Who asks the servers.
    pub client: &'d dyn Download,
    /// Where `HTTP_AUTH_HEADER_<host>` and `HTTP_AUTH_TOKEN_<host>` may be.
    pub secrets: &'d BTreeMap<String, SecretSource>,
}

/// What is remembered of an address.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Known {
    digest: Digest,
    etag: Option<String>,
    last_modified: Option<String>,
}

impl Downloads<'_> {
    /// Finds out what is at an address. With a checksum nobody is asked; a file that was there
    /// before is fetched only when the server says that it changed.
    pub fn resolve(&self, url: &str, checksum: Option<&str>) -> Result<RemoteFile, RemoteError> {
        let digest = match checksum {
            Some(text) => text.parse().map_err(|source| RemoteError::Checksum {
                text: text.to_owned(),
                source,
            })?,
            None => self.current(url)?,
        };
        Ok(RemoteFile {
            url: url.to_owned(),
            name: file_name(url),
            digest,
        })
    }

    /// Returns where a file's content is, fetched when it is not here.
    pub fn fetch(&self, file: &RemoteFile) -> Result<PathBuf, RemoteError> {
        let path = self.path(&file.digest);
        if path.exists() {
            return Ok(path);
        }
        let (answer, found) = self.get(&file.url, None)?;
        let Some(found) = found else {
            return Err(status(&file.url, &answer));
        };
        if found != file.digest {
            return Err(RemoteError::Mismatch {
                url: redacted(&file.url),
                found,
                expected: file.digest.clone(),
            });
        }
        self.remember(&file.url, &answer, &found)?;
        Ok(path)
    }

    /// Returns when a file was changed, as its server said; the epoch when it did not.
    pub fn modified(&self, file: &RemoteFile) -> Result<Timestamp, RemoteError> {
        let known = self.known(&file.url)?;
        let known = known.filter(|known| known.digest == file.digest);
        let text = known.and_then(|known| known.last_modified);
        Ok(text.and_then(|text| http_date(&text)).unwrap_or_default())
    }

    fn current(&self, url: &str) -> Result<Digest, RemoteError> {
        let known = self.known(url)?;
        if let Some(known) = &known
            && known.etag.is_some()
        {
            // Some servers know ETags and not what `If-None-Match` means: they are compared here.
            let answer = self.ask(url, Want::Headers, Some(known), &mut io::sink());
            if answer.is_ok_and(|answer| is_same(known, &answer)) {
                return Ok(known.digest.clone());
            }
        }
        let (answer, found) = self.get(url, known.as_ref())?;
        match (found, known) {
            (Some(found), _) => {
                self.remember(url, &answer, &found)?;
                Ok(found)
            }
            (None, Some(known)) if answer.status == 304 => Ok(known.digest),
            _ => Err(status(url, &answer)),
        }
    }

    /// Fetches content to its place; no digest when there was none.
    fn get(
        &self,
        url: &str,
        known: Option<&Known>,
    ) -> Result<(Answer, Option<Digest>), RemoteError> {
        let directory = self.directory();
        fs::create_dir_all(&directory).map_err(RemoteError::io("create", &directory))?;
        let temporary = tempfile::NamedTempFile::new_in(&directory)
            .map_err(RemoteError::io("create a file in", &directory))?;
        let mut content = Hashed {
            file: BufWriter::with_capacity(256 << 10, temporary.as_file()),
            hasher: Hasher::new(),
        };
        let answer = self.ask(url, Want::Content, known, &mut content)?;
        if !(200..300).contains(&answer.status) {
            return Ok((answer, None));
        }
        let digest = content
            .finish()
            .map_err(RemoteError::io("write", &directory))?;
        let path = self.path(&digest);
        let kept = temporary.persist(&path);
        kept.map_err(|error| RemoteError::io("rename to", &path)(error.error))?;
        Ok((answer, Some(digest)))
    }

    fn ask(
        &self,
        url: &str,
        want: Want,
        known: Option<&Known>,
        content: &mut dyn Write,
    ) -> Result<Answer, RemoteError> {
        let authorization = self.authorization(url)?;
        let request = DownloadRequest {
            url,
            want,
            etag: known.and_then(|known| known.etag.as_deref()),
            modified_since: known.and_then(|known| known.last_modified.as_deref()),
            authorization: authorization.as_deref(),
        };
        let answer = self.client.download(&request, content);
        answer.map_err(|source| RemoteError::Download {
            url: redacted(url),
            source,
        })
    }

    fn authorization(&self, url: &str) -> Result<Option<String>, RemoteError> {
        let host = host_name(url);
        let header = read_secret(self.secrets, &format!("HTTP_AUTH_HEADER_{host}"))?;
        let token = read_secret(self.secrets, &format!("HTTP_AUTH_TOKEN_{host}"))?;
        Ok(token.map(|token| format!("Bearer {token}")).or(header))
    }

    fn known(&self, url: &str) -> Result<Option<Known>, RemoteError> {
        let text = self.store.records().get(KIND, &record_key(url))?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    fn remember(&self, url: &str, answer: &Answer, digest: &Digest) -> Result<(), RemoteError> {
        let known = Known {
            digest: digest.clone(),
            etag: answer.etag.clone(),
            last_modified: answer.last_modified.clone(),
        };
        let text = serde_json::to_string(&known).expect("a record is plain JSON");
        Ok(self.store.records().put(KIND, &record_key(url), &text)?)
    }

    fn directory(&self) -> PathBuf {
        self.store.root().join("cache/downloads")
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.directory().join(digest.hex())
    }
}

/// A file that is hashed while it is written.
struct Hashed<'f> {
    file: BufWriter<&'f File>,
    hasher: Hasher,
}

impl Hashed<'_> {
    fn finish(mut self) -> io::Result<Digest> {
        self.file.flush()?;
        Ok(self.hasher.finish())
    }
}

impl Write for Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn status(url: &str, answer: &Answer) -> RemoteError {
    RemoteError::Status {
        url: redacted(url),
        status: answer.status,
    }
}

/// Tells whether an answer to a question for headers is about the content that is known.
fn is_same(known: &Known, answer: &Answer) -> bool {
    let strong = |etag: &Option<String>| {
        let etag = etag.as_deref()?;
        Some(etag.strip_prefix("W/").unwrap_or(etag).to_owned())
    };
    match (answer.status, strong(&answer.etag)) {
        (304, None) => true,
        (200 | 304, etag) => etag.is_some() && etag == strong(&known.etag),
        _ => false,
    }
}

/// An address may hold a password: records are found by its digest.
fn record_key(url: &str) -> String {
    Digest::of(url.as_bytes()).hex().to_owned()
}

/// The last part of the address' path, as BuildKit names the file.
fn file_name(url: &str) -> String {
    let (_, rest) = url.split_once("://").unwrap_or(("", url));
    let path = rest.split(['?', '#']).next().unwrap_or(rest);
    let (_, path) = path.split_once('/').unwrap_or((path, ""));
    let path = percent_decoded(path);
    let name = path.trim_end_matches('/').rsplit('/').next();
    match name {
        None | Some("" | "." | "..") => UNNAMED.to_owned(),
        Some(name) => name.to_owned(),
    }
}

fn host_name(url: &str) -> &str {
    let (_, rest) = url.split_once("://").unwrap_or(("", url));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let host = authority.rsplit('@').next().unwrap_or(authority);
    match host.strip_prefix('[') {
        Some(address) => address.split(']').next().unwrap_or(address),
        None => host.split(':').next().unwrap_or(host),
    }
}

/// RFC 9110, 5.6.7: the form that servers send.
fn http_date(text: &str) -> Option<Timestamp> {
    let zoned = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_by_their_address() {
        let cases = [
            ("http://h/a/b.tar?x=/y#z", "b.tar"),
            ("http://h/a%20b", "a b"),
            ("http://h/a/", "a"),
            ("http://h/", UNNAMED),
            ("http://h", UNNAMED),
            ("http://h?q", UNNAMED),
            ("http://h/..", UNNAMED),
        ];
        for (url, name) in cases {
            assert_eq!(file_name(url), name, "{url}");
        }
        assert_eq!(host_name("https://u:p@h.example:8080/a"), "h.example");
        assert_eq!(host_name("http://[::1]:80/"), "::1");
    }

    #[test]
    fn answers_are_compared_with_what_is_known() {
        let known = Known {
            digest: Digest::of(b""),
            etag: Some("\"a\"".into()),
            last_modified: None,
        };
        let cases = [
            (200, Some("\"a\""), true),
            (200, Some("W/\"a\""), true),
            (304, None, true),
            (200, Some("\"b\""), false),
            (200, None, false),
            (404, Some("\"a\""), false),
        ];
        for (status, etag, expected) in cases {
            let answer = Answer {
                status,
                etag: etag.map(str::to_owned),
                last_modified: None,
            };
            assert_eq!(is_same(&known, &answer), expected, "{answer:?}");
        }
        let date = http_date("Sun, 06 Nov 1994 08:49:37 GMT").expect("RFC 9110's example");
        assert_eq!(date.as_second(), 784_111_777);
    }
}
