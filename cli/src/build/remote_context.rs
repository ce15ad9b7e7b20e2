//! Contexts from the network: git repositories, archives and Dockerfiles over HTTP.

use std::fs;
use std::io::Write;
use std::sync::OnceLock;

use mica_builder::{
    Answer, DockerfileSource, Download, DownloadRequest, Downloads, GitPlace, GitReference,
    RemoteError, Repositories, SshSource,
};
use mica_registry_client::Registry;
use tokio::runtime::Runtime;

use super::host::{Failure, fetch};
use crate::session::Session;

use super::context::{Context, ContextError, Held, Remotes, in_tree, is_url, text_of, unpacked};

/// Asks servers for contexts, before there is a build.
pub(crate) struct Fetcher<'s> {
    session: &'s Session,
    connection: OnceLock<(Registry, Runtime)>,
}

impl<'s> Fetcher<'s> {
    /// Prepares one; the client is made by the first request.
    pub(crate) fn new(session: &'s Session) -> Self {
        Self {
            session,
            connection: OnceLock::new(),
        }
    }
}

impl Download for Fetcher<'_> {
    fn download(
        &self,
        request: &DownloadRequest<'_>,
        content: &mut dyn Write,
    ) -> Result<Answer, Failure> {
        if let Some(connection) = self.connection.get() {
            return fetch(connection, request, content);
        }
        let registry = self.session.registry().map_err(|failure| failure.error)?;
        let connection = (registry, Runtime::new()?);
        fetch(self.connection.get_or_init(|| connection), request, content)
    }
}

impl Remotes<'_> {
    /// Opens a context from the network; `None` for what is no address.
    pub(super) fn open(
        &self,
        context: &str,
        file: Option<&str>,
    ) -> Result<Option<Context>, ContextError> {
        if let Some(reference) = GitReference::parse(context, GitPlace::Context)? {
            return self.repository(&reference, file).map(Some);
        }
        if !is_url(context) {
            return Ok(None);
        }
        let path = self.fetch(context)?;
        let failed = |source| ContextError::Io {
            action: "read the download",
            source,
        };
        let mut content = fs::File::open(&path).map_err(failed)?;
        if mica_store::is_archive(&mut content).map_err(failed)? {
            return unpacked(content, file).map(Some);
        }
        // Anything else is a Dockerfile, for which there are no files.
        let bytes = fs::read(&path).map_err(failed)?;
        let dockerfile = DockerfileSource {
            name: "Dockerfile".into(),
            text: text_of(bytes, context)?,
        };
        Ok(Some(Context {
            directory: None,
            dockerfile,
            path: None,
            ignore: None,
            _held: None,
        }))
    }

    /// Reads a Dockerfile over HTTP.
    pub(super) fn read(&self, url: &str) -> Result<Vec<u8>, ContextError> {
        let path = self.fetch(url)?;
        fs::read(path).map_err(|source| ContextError::Io {
            action: "read the download",
            source,
        })
    }

    fn fetch(&self, url: &str) -> Result<std::path::PathBuf, ContextError> {
        let downloads = Downloads {
            store: self.store,
            client: self.client,
            secrets: self.secrets,
        };
        let fetched = downloads
            .resolve(url, None)
            .and_then(|file| downloads.fetch(&file));
        fetched.map_err(|source| failed(url, source))
    }

    fn repository(
        &self,
        reference: &GitReference,
        file: Option<&str>,
    ) -> Result<Context, ContextError> {
        let agent = match self.ssh.get("default") {
            Some(SshSource::Agent(socket)) => Some(socket.as_path()),
            _ => None,
        };
        let repositories = Repositories {
            store: self.store,
            secrets: self.secrets,
            agent,
        };
        let keep = reference.keep_git_dir == Some(true);
        let checkout = repositories
            .resolve(reference)
            .and_then(|commit| repositories.checkout(&commit, keep))
            .map_err(|source| failed(&reference.to_string(), source))?;
        let root = checkout.root.clone();
        in_tree(root, file, Held::Checkout(checkout))
    }
}

fn failed(address: &str, source: RemoteError) -> ContextError {
    ContextError::Remote {
        address: mica_builder::redacted(address),
        source,
    }
}
