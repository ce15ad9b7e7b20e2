//! Finding the Dockerfile, the context and the ignore file, as docker does.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use mica_builder::DockerfileSource;
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
    /// An archive's content, removed after the build.
    _unpacked: Option<TempDir>,
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
    /// The context lies on the network.
    #[error("a context from the network ({0}) is not supported yet")]
    Remote(String),
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
    /// The archive on standard input is broken.
    #[error("cannot unpack the context from standard input")]
    Archive(#[source] mica_store::StoreError),
}

const REMOTE: [&str; 5] = ["http://", "https://", "git://", "git@", "github.com/"];

/// Opens `context` (a directory, or `-` for standard input) and `file` (`-f`).
pub(crate) fn open(context: &str, file: Option<&str>) -> Result<Context, ContextError> {
    if REMOTE.iter().any(|prefix| context.starts_with(prefix)) {
        return Err(ContextError::Remote(context.to_owned()));
    }
    if context == "-" {
        return from_stdin(file);
    }
    let directory = PathBuf::from(context);
    let directory = directory
        .canonicalize()
        .map_err(|_| ContextError::NotFound(directory))?;
    if !directory.is_dir() {
        return Err(ContextError::NotDirectory(directory));
    }
    let context = in_directory(directory, file)?;
    Ok(context)
}

fn in_directory(directory: PathBuf, file: Option<&str>) -> Result<Context, ContextError> {
    if file == Some("-") {
        let text = read_stdin()?;
        let ignore = read_ignore(&directory, None)?;
        let dockerfile = DockerfileSource {
            name: "Dockerfile".into(),
            text: text_of(text, "-")?,
        };
        return Ok(Context {
            directory: Some(directory),
            dockerfile,
            path: None,
            ignore,
            _unpacked: None,
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
        _unpacked: None,
    })
}

/// `-f` is relative to where the command runs; without it `Dockerfile`, then `dockerfile`.
fn dockerfile_path(directory: &Path, file: Option<&str>) -> PathBuf {
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
            _unpacked: None,
        });
    }
    let unpacked = tempfile::tempdir().map_err(failed("make a temporary directory"))?;
    let limits = mica_store::Limits::default();
    mica_store::apply_onto(unpacked.path(), spooled, &limits).map_err(ContextError::Archive)?;
    let directory = unpacked.path().to_owned();
    let file = file.map(|file| directory.join(file).display().to_string());
    let mut context = in_directory(directory, file.as_deref())?;
    context.path = None;
    context._unpacked = Some(unpacked);
    Ok(context)
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

fn text_of(bytes: Vec<u8>, name: &str) -> Result<String, ContextError> {
    String::from_utf8(bytes).map_err(|_| ContextError::NotText(name.into()))
}
