//! Finding the Dockerfile, the context and the ignore file, as docker does.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use mica_builder::{
    DockerfileSource, Download, GitReferenceError, RemoteError, SecretSource, SshSource,
};
use mica_store::{Follow, Store, View};
use tempfile::TempDir;

/// Where a build reads from.
#[derive(Debug)]
pub(crate) struct Context {
    /// The directory; absent for a Dockerfile on standard input alone.
    pub(crate) directory: Option<PathBuf>,
    /// The Dockerfile.
    pub(crate) dockerfile: DockerfileSource,
    /// Where it lies, if it is a file of the user.
    pub(crate) path: Option<PathBuf>,
    /// The ignore file.
    pub(crate) ignore: Option<DockerfileSource>,
    /// What was fetched or unpacked, removed after the build.
    pub(super) _held: Option<Held>,
}

/// Files that were made for one build.
#[derive(Debug)]
#[expect(dead_code, reason = "held to be dropped")]
pub(crate) enum Held {
    /// An archive's content.
    Unpacked(TempDir),
    /// A commit's files.
    Checkout(mica_builder::Checkout),
}

/// Why there is nothing to build.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContextError {
    /// The path leads nowhere.
    #[error("unable to prepare context: path \"{}\" not found", .0.display())]
    NotFound(PathBuf),
    /// The path is no directory.
    #[error("unable to prepare context: \"{}\" is not a directory", .0.display())]
    NotDirectory(PathBuf),
    /// The context lies on the network and could not be had.
    #[error("unable to prepare context: cannot fetch {address}")]
    Remote {
        /// The address, without a password.
        address: String,
        /// Why.
        #[source]
        source: RemoteError,
    },
    /// The address contradicts itself.
    #[error("unable to prepare context: invalid git reference")]
    Reference(#[from] GitReferenceError),
    /// Both the context and the Dockerfile are to come from standard input.
    #[error("invalid argument: can't use stdin for both build context and dockerfile")]
    StdinTwice,
    /// A file could not be read.
    #[error("failed to read dockerfile: open {}", path.display())]
    Dockerfile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A Dockerfile is not text.
    #[error("{} is not UTF-8 text", .0.display())]
    NotText(PathBuf),
    /// A file operation failed.
    #[error("cannot {action}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A file of a fetched or unpacked context could not be read.
    #[error("failed to read dockerfile: open {0}: no such file or directory")]
    NoDockerfile(String),
    /// The archive is broken.
    #[error("cannot unpack the context")]
    Archive(#[source] mica_store::StoreError),
    /// The files of a fetched or unpacked context could not be read.
    #[error("cannot read the context")]
    Files(#[source] mica_store::StoreError),
}

/// Where contexts from the network come from.
#[derive(Clone, Copy)]
pub(crate) struct Remotes<'r> {
    /// Where they are kept.
    pub(crate) store: &'r Store,
    /// Who asks the servers.
    pub(crate) client: &'r dyn Download,
    /// Logins.
    pub(crate) secrets: &'r BTreeMap<String, SecretSource>,
    /// Keys.
    pub(crate) ssh: &'r BTreeMap<String, SshSource>,
}

/// Opens `context` (a directory, an archive, an address, or `-` for standard input) and `file`
/// (`-f`).
pub(crate) fn open(
    context: &str,
    file: Option<&str>,
    remotes: &Remotes<'_>,
) -> Result<Context, ContextError> {
    if context == "-" {
        return from_stdin(file);
    }
    let directory = PathBuf::from(context);
    if directory.is_dir() {
        let resolved = directory.canonicalize();
        let directory = resolved.map_err(|_| ContextError::NotFound(directory))?;
        return in_directory(directory, file, remotes);
    }
    if let Some(opened) = remotes.open(context, file)? {
        return Ok(opened);
    }
    let failed = |source| ContextError::Io {
        action: "read the context",
        source,
    };
    let Ok(mut archive) = fs::File::open(&directory) else {
        return Err(ContextError::NotFound(directory));
    };
    match mica_store::is_archive(&mut archive).map_err(failed)? {
        true => unpacked(archive, file),
        false => Err(ContextError::NotDirectory(directory)),
    }
}

fn in_directory(
    directory: PathBuf,
    file: Option<&str>,
    remotes: &Remotes<'_>,
) -> Result<Context, ContextError> {
    let elsewhere = match file {
        Some("-") => Some(read_stdin()?),
        Some(url) if is_url(url) => Some(remotes.read(url)?),
        _ => None,
    };
    if let Some(text) = elsewhere {
        let ignore = read_ignore(&directory, None)?;
        let dockerfile = DockerfileSource {
            name: "Dockerfile".into(),
            text: text_of(text, file.unwrap_or_default())?,
        };
        return Ok(Context {
            directory: Some(directory),
            dockerfile,
            path: None,
            ignore,
            _held: None,
        });
    }
    let path = dockerfile_path(&directory, file);
    let bytes = fs::read(&path).map_err(|source| ContextError::Dockerfile {
        path: path.clone(),
        source,
    })?;
    let name = path
        .strip_prefix(&directory)
        .unwrap_or(&path)
        .display()
        .to_string();
    let ignore = read_ignore(&directory, Some(&path))?;
    let text = String::from_utf8(bytes).map_err(|_| ContextError::NotText(path.clone()))?;
    let dockerfile = DockerfileSource { name, text };
    Ok(Context {
        directory: Some(directory),
        dockerfile,
        path: Some(path),
        ignore,
        _held: None,
    })
}

/// `-f` is relative to where the command runs; without it `Dockerfile`, then `dockerfile`.
pub(super) fn dockerfile_path(directory: &Path, file: Option<&str>) -> PathBuf {
    match file {
        Some(file) => PathBuf::from(file),
        None => {
            let usual = directory.join("Dockerfile");
            let lower = directory.join("dockerfile");
            if !usual.exists() && lower.exists() {
                lower
            } else {
                usual
            }
        }
    }
}

/// `NAME.dockerignore` beside the Dockerfile, or `.dockerignore` of the context.
fn read_ignore(
    directory: &Path,
    dockerfile: Option<&Path>,
) -> Result<Option<DockerfileSource>, ContextError> {
    let own = dockerfile.map(|path| {
        let mut name = path.as_os_str().to_owned();
        name.push(".dockerignore");
        PathBuf::from(name)
    });
    for path in own.into_iter().chain([directory.join(".dockerignore")]) {
        match fs::read(&path) {
            Ok(bytes) => {
                let name = path
                    .strip_prefix(directory)
                    .unwrap_or(&path)
                    .display()
                    .to_string();
                let text = String::from_utf8(bytes).map_err(|_| ContextError::NotText(path))?;
                return Ok(Some(DockerfileSource { name, text }));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => {
                return Err(ContextError::Io {
                    action: "read the ignore file",
                    source,
                });
            }
        }
    }
    Ok(None)
}

/// Standard input holds a Dockerfile, or an archive with everything.
fn from_stdin(file: Option<&str>) -> Result<Context, ContextError> {
    if file == Some("-") {
        return Err(ContextError::StdinTwice);
    }
    let failed = |action| move |source| ContextError::Io { action, source };
    let mut spooled = tempfile::tempfile().map_err(failed("make a temporary file"))?;
    io::copy(&mut io::stdin().lock(), &mut spooled).map_err(failed("read standard input"))?;
    if !mica_store::is_archive(&mut spooled).map_err(failed("read standard input"))? {
        let mut bytes = Vec::new();
        spooled
            .read_to_end(&mut bytes)
            .map_err(failed("read standard input"))?;
        let dockerfile = DockerfileSource {
            name: "Dockerfile".into(),
            text: text_of(bytes, "-")?,
        };
        return Ok(Context {
            directory: None,
            dockerfile,
            path: None,
            ignore: None,
            _held: None,
        });
    }
    unpacked(spooled, file)
}

/// A context that is the content of an archive.
pub(super) fn unpacked(archive: fs::File, file: Option<&str>) -> Result<Context, ContextError> {
    let failed = |action| move |source| ContextError::Io { action, source };
    let directory = tempfile::tempdir().map_err(failed("make a temporary directory"))?;
    let limits = mica_store::Limits::default();
    mica_store::apply_onto(directory.path(), archive, &limits).map_err(ContextError::Archive)?;
    let path = directory.path().to_owned();
    in_tree(path, file, Held::Unpacked(directory))
}

/// A context that others made: nothing in it may lead out of it.
pub(super) fn in_tree(
    directory: PathBuf,
    file: Option<&str>,
    held: Held,
) -> Result<Context, ContextError> {
    let view =
        View::of_directories(std::slice::from_ref(&directory)).map_err(ContextError::Files)?;
    let (name, bytes) = match file {
        Some("-") => ("Dockerfile", Some(read_stdin()?)),
        Some(file) => (file, read(&view, file)?),
        None => match read(&view, "Dockerfile")? {
            Some(bytes) => ("Dockerfile", Some(bytes)),
            None => ("dockerfile", read(&view, "dockerfile")?),
        },
    };
    let missing = || ContextError::NoDockerfile(file.unwrap_or("Dockerfile").to_owned());
    let dockerfile = DockerfileSource {
        name: name.to_owned(),
        text: text_of(bytes.ok_or_else(missing)?, name)?,
    };
    let mut ignore = None;
    for name in [format!("{name}.dockerignore"), ".dockerignore".to_owned()] {
        if let Some(bytes) = read(&view, &name)? {
            let text = text_of(bytes, &name)?;
            ignore = Some(DockerfileSource { name, text });
            break;
        }
    }
    Ok(Context {
        directory: Some(directory),
        dockerfile,
        path: None,
        ignore,
        _held: Some(held),
    })
}

fn read(view: &View, path: &str) -> Result<Option<Vec<u8>>, ContextError> {
    let entry = view
        .lookup(Path::new(path), Follow::All)
        .map_err(ContextError::Files)?;
    let Some(entry) = entry else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    let mut file = view.open(&entry).map_err(ContextError::Files)?;
    file.read_to_end(&mut bytes)
        .map_err(|source| ContextError::Io {
            action: "read a file of the context",
            source,
        })?;
    Ok(Some(bytes))
}

/// Tells whether a context or `-f` is an address.
pub(super) fn is_url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

fn read_stdin() -> Result<Vec<u8>, ContextError> {
    let mut bytes = Vec::new();
    io::stdin()
        .lock()
        .read_to_end(&mut bytes)
        .map_err(|source| ContextError::Io {
            action: "read standard input",
            source,
        })?;
    Ok(bytes)
}

pub(super) fn text_of(bytes: Vec<u8>, name: &str) -> Result<String, ContextError> {
    String::from_utf8(bytes).map_err(|_| ContextError::NotText(name.into()))
}
