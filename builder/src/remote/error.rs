//! What can go wrong with a source from the network.

use std::io;
use std::path::PathBuf;

use mica_oci::{Digest, DigestError};
use mica_store::StoreError;

use super::git_url::GitReferenceError;

/// Why a source from the network could not be had. Addresses are shown without passwords.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// No answer came.
    #[error("cannot download {url}")]
    Download {
        /// The address.
        url: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The answer was no success.
    #[error("cannot download {url}: invalid response status {status}")]
    Status {
        /// The address.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The content is not what `--checksum` or an earlier answer said.
    #[error("digest mismatch for {url}: {found} (expected: {expected})")]
    Mismatch {
        /// The address.
        url: String,
        /// The content's digest.
        found: Digest,
        /// What it should be.
        expected: Digest,
    },
    /// `--checksum` is no digest.
    #[error("invalid checksum digest format: \"{text}\"")]
    Checksum {
        /// The text.
        text: String,
        /// What is wrong with it.
        #[source]
        source: DigestError,
    },
    /// A reference to a repository contradicts itself.
    #[error("invalid git reference \"{reference}\"")]
    Reference {
        /// The reference.
        reference: String,
        /// What is wrong with it.
        #[source]
        source: GitReferenceError,
    },
    /// The checksum of a repository is no commit.
    #[error("invalid checksum {0} for Git URL, expected hex commit hash")]
    CommitChecksum(String),
    /// A reference leads to another commit than it should.
    #[error("expected checksum to match {expected}, got {found}: {reference}")]
    CommitMismatch {
        /// The reference.
        reference: String,
        /// What it should be.
        expected: String,
        /// The commit.
        found: String,
    },
    /// The repository has no such reference.
    #[error("repository does not contain ref {name}: {remote}")]
    NoReference {
        /// The repository.
        remote: String,
        /// The branch, tag or commit.
        name: String,
    },
    /// The repository has no such directory.
    #[error("there is no directory {path} in {reference}")]
    NoSubdirectory {
        /// The reference.
        reference: String,
        /// The directory.
        path: String,
    },
    /// The `git` program is not there.
    #[error("cannot run git for {remote}")]
    NoGit {
        /// The repository.
        remote: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The `git` program failed.
    #[error("cannot {action} {remote}: git {command} failed: {output}")]
    Git {
        /// What was attempted: `fetch`.
        action: &'static str,
        /// The repository.
        remote: String,
        /// The git command.
        command: String,
        /// What git said.
        output: String,
    },
    /// A secret that holds a login could not be read.
    #[error("cannot read the secret {id}")]
    Secret {
        /// The secret's id.
        id: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file operation failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RemoteError {
    pub(super) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}
