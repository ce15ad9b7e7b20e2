//! Sources from the network: files over HTTP, and git repositories.
//!
//! ```text
//! <root>/cache/downloads/<sha256>   content of downloads, by digest
//! <root>/cache/git/<name>/          a bare repository for each remote, with its lock beside it
//! ```
//!
//! What a source *is* (a digest, a commit) is found out first, with as little traffic as possible;
//! that decides the key. Content is fetched when a step has to run. Losing the directories costs
//! time, never data.

mod download;
mod error;
mod git;
mod git_url;
mod secrets;

pub use download::{Answer, Download, DownloadRequest, Downloads, RemoteFile, Want};
pub use error::RemoteError;
pub use git::{Checkout, Commit, Repositories};
pub(crate) use git_url::is_http;
pub use git_url::{GitPlace, GitReference, GitReferenceError, redacted};

/// Undoes percent-encoding; what is none stays as it is.
pub(crate) fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let digits = tail
            .get(..2)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let code = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (byte, code) {
            (b'%', Some(code)) => {
                bytes.push(code);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
