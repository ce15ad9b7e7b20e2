//! The build context and the other places that files are copied from.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use mica_dockerfile::ignore::{self, Matcher};
use mica_store::{DanglingLinks, Limits, Stack, View};
use tempfile::TempDir;

use crate::copy_files::temporary_directory;
use crate::engine::Engine;
use crate::error::ErrorKind;
use crate::remote::{Checkout, Downloads, GitReference, RemoteFile, Repositories};
use crate::request::{DockerfileSource, NamedContext, SshSource};
use crate::stage::StageBuild;

/// A tree of files that instructions copy from.
pub(crate) struct ContextSource {
    /// The files.
    pub(crate) view: View,
    /// The directories that the view shows, topmost first.
    pub(crate) directories: Vec<PathBuf>,
    /// What the ignore file keeps out.
    pub(crate) ignore: Option<Ignore>,
    /// Whether owners are dropped: files of a context belong to root.
    pub(crate) owners: Owners,
    /// How messages call the place.
    pub(crate) place: String,
    /// What file digests are remembered under: a directory that holds the files; `None` for one
    /// that goes with the build.
    pub(crate) identity: Option<String>,
    /// Mode and time of all files, where those on the disk mean nothing.
    pub(crate) facts: Option<Facts>,
    /// What goes when this is dropped.
    pub(crate) _held: Option<Held>,
}

/// Mode and time of a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The permission bits.
    pub(crate) mode: u32,
    /// Seconds since 1970 and nanoseconds.
    pub(crate) modified: (i64, u32),
}

/// Files that were made for one build.
#[expect(dead_code, reason = "held to be dropped")]
pub(crate) enum Held {
    Directory(TempDir),
    Checkout(Checkout),
}

/// The mode of what was downloaded, as BuildKit has it.
const DOWNLOAD_MODE: u32 = 0o600;

/// The name of a file that stands for a whole context, as BuildKit has it.
const LONE_FILE: &str = "context";

/// What becomes of the owners of copied files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owners {
    /// They stay: the files come from another stage or image.
    Keep,
    /// Root owns the copies: the files come from a context.
    Root,
}

/// The patterns of an ignore file.
pub(crate) struct Ignore {
    /// The file's name.
    pub(crate) name: String,
    /// Its patterns, ready to match.
    pub(crate) matcher: Matcher,
}

impl ContextSource {
    fn directory(path: &Path, ignore: Option<&DockerfileSource>) -> Result<Self, ErrorKind> {
        let directories = vec![path.to_owned()];
        let ignore = ignore.map(Ignore::parse).transpose()?;
        Ok(Self {
            view: View::of_directories(&directories)?,
            directories,
            ignore,
            owners: Owners::Root,
            place: "the build context".into(),
            identity: Some(path.display().to_string()),
            facts: None,
            _held: None,
        })
    }

    fn layers(stack: &Stack, place: String) -> Result<Self, ErrorKind> {
        let top = stack.layers.last();
        Ok(Self {
            view: stack.view()?,
            directories: stack.lower_directories(),
            ignore: None,
            owners: Owners::Keep,
            place,
            identity: top.map(|layer| layer.path.display().to_string()),
            facts: None,
            _held: None,
        })
    }

    /// Files that the build wrote itself, such as heredocs and unpacked archives.
    pub(crate) fn written(path: &Path, owners: Owners) -> Result<Self, ErrorKind> {
        Ok(Self {
            owners,
            identity: None,
            ..Self::directory(path, None)?
        })
    }

    /// The files of a commit.
    pub(crate) fn checked_out(checkout: Checkout) -> Result<Self, ErrorKind> {
        let source = Self::written(&checkout.root, Owners::Root)?;
        Ok(Self {
            _held: Some(Held::Checkout(checkout)),
            ..source
        })
    }

    /// A download: the one file is called by its digest there.
    pub(crate) fn downloaded(
        downloads: &Downloads<'_>,
        file: &RemoteFile,
    ) -> Result<Self, ErrorKind> {
        let path = downloads.fetch(file)?;
        let modified = downloads.modified(file)?;
        let directory = path.parent().unwrap_or(Path::new("/"));
        Ok(Self {
            facts: Some(Facts {
                mode: DOWNLOAD_MODE,
                modified: (modified.as_second(), 0),
            }),
            ..Self::written(directory, Owners::Root)?
        })
    }
}

impl Ignore {
    fn parse(source: &DockerfileSource) -> Result<Self, ErrorKind> {
        let matcher = Matcher::from_lines(&ignore::read(&source.text))
            .map_err(|error| ErrorKind::Pattern(format!("{}: {error}", source.name)))?;
        Ok(Self {
            name: source.name.clone(),
            matcher,
        })
    }

    /// Says which pattern keeps a path out, with its line.
    pub(crate) fn explain(&self, path: &str) -> Option<String> {
        let decision = self.matcher.explain(path).ok()??;
        let line = decision
            .pattern
            .line
            .map_or_else(String::new, |line| format!(":{line}"));
        Some(format!(
            "`{}` ({}{line})",
            decision.pattern.written, self.name
        ))
    }
}

impl Engine<'_> {
    /// Opens the build context once for all steps.
    pub(crate) fn open_context(&self) -> Result<Arc<ContextSource>, ErrorKind> {
        if let Some(source) = self.context.get() {
            return Ok(Arc::clone(source));
        }
        let path = self
            .request
            .context
            .as_deref()
            .ok_or(ErrorKind::NoContext)?;
        let source = ContextSource::directory(path, self.request.ignore.as_ref())?;
        Ok(Arc::clone(self.context.get_or_init(|| Arc::new(source))))
    }

    /// Opens a named context that is a tree of files, once for all steps; `None` for a name that
    /// means something else.
    pub(crate) fn open_named(&self, name: &str) -> Result<Option<Arc<ContextSource>>, ErrorKind> {
        let context = match self.request.named_contexts.get(name) {
            None | Some(NamedContext::Image(_) | NamedContext::Stage(_)) => return Ok(None),
            Some(context) => context,
        };
        // Held while it is opened: whoever comes second waits for the first.
        let mut opened = self
            .named_contexts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(source) = opened.get(name) {
            return Ok(Some(Arc::clone(source)));
        }
        let mut source = match context {
            NamedContext::Directory(path) => {
                ContextSource::directory(path, own_ignore(path)?.as_ref())?
            }
            NamedContext::Git(reference) => self.repository(reference)?,
            NamedContext::Url(url) => self.remote_context(url)?,
            NamedContext::Image(_) | NamedContext::Stage(_) => unreachable!("told apart above"),
        };
        source.place = format!("context \"{name}\"");
        let source = Arc::new(source);
        opened.insert(name.to_owned(), Arc::clone(&source));
        Ok(Some(source))
    }

    /// Returns the downloads of this build.
    pub(crate) fn downloads(&self) -> Downloads<'_> {
        Downloads {
            store: self.store,
            client: self.host,
            secrets: &self.request.secrets,
        }
    }

    /// Returns the repositories of this build.
    pub(crate) fn repositories(&self) -> Repositories<'_> {
        let agent = match self.request.ssh.get("default") {
            Some(SshSource::Agent(socket)) => Some(socket.as_path()),
            _ => None,
        };
        Repositories {
            store: self.store,
            secrets: &self.request.secrets,
            agent,
        }
    }

    fn repository(&self, reference: &GitReference) -> Result<ContextSource, ErrorKind> {
        let repositories = self.repositories();
        let commit = repositories.resolve(reference)?;
        let keep = reference.keep_git_dir == Some(true);
        ContextSource::checked_out(repositories.checkout(&commit, keep)?)
    }

    /// An archive is a context with its content, any other file one with that file alone.
    fn remote_context(&self, url: &str) -> Result<ContextSource, ErrorKind> {
        let downloads = self.downloads();
        let path = downloads.fetch(&downloads.resolve(url, None)?)?;
        let mut file = fs::File::open(&path).map_err(ErrorKind::io("open", &path))?;
        let directory = temporary_directory(self.store)?;
        if mica_store::is_archive(&mut file).map_err(ErrorKind::io("read", &path))? {
            mica_store::apply_onto(directory.path(), file, &archive_limits())?;
        } else {
            let copy = directory.path().join(LONE_FILE);
            fs::copy(&path, &copy).map_err(ErrorKind::io("copy", &path))?;
        }
        let source = ContextSource::written(directory.path(), Owners::Root)?;
        Ok(ContextSource {
            _held: Some(Held::Directory(directory)),
            ..source
        })
    }
}

/// How an archive that is no layer is unpacked.
pub(crate) fn archive_limits() -> Limits {
    Limits {
        dangling_links: DanglingLinks::Refused,
        ..Limits::default()
    }
}

/// The ignore file of a named context is its own.
fn own_ignore(directory: &Path) -> Result<Option<DockerfileSource>, ErrorKind> {
    let name = ".dockerignore";
    let path = directory.join(name);
    match fs::read(&path) {
        Ok(bytes) => Ok(Some(DockerfileSource {
            name: path.display().to_string(),
            text: String::from_utf8_lossy(&bytes).into_owned(),
        })),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ErrorKind::io("read", &path)(error)),
    }
}

impl StageBuild<'_, '_> {
    /// Opens what `--from` names: a stage, a named context or an image.
    pub(crate) fn open_source(&self, from: &str) -> Result<Arc<ContextSource>, ErrorKind> {
        if let Some(index) = self.engine.copied_stage(self.stage, from)? {
            let state = self.other_stage(index)?;
            let place = format!("stage \"{}\"", self.engine.stage_name(index));
            return Ok(Arc::new(ContextSource::layers(&state.stack()?, place)?));
        }
        if let Some(source) = self.engine.open_named(from)? {
            return Ok(source);
        }
        let image = self.image(from, &self.engine.request.platform)?;
        let stack = self.engine.store.unpack(&image)?;
        Ok(Arc::new(ContextSource::layers(
            &stack,
            format!("image \"{from}\""),
        )?))
    }
}
