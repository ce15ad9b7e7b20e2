//! The build context and the other places that files are copied from.

use std::path::Path;
use std::sync::Arc;

use mica_dockerfile::ignore::{self, Matcher};
use mica_store::{Stack, View};

use crate::engine::Engine;
use crate::error::ErrorKind;
use crate::request::{DockerfileSource, NamedContext};
use crate::stage::StageBuild;

/// A tree of files that instructions copy from.
pub(crate) struct ContextSource {
    /// The files.
    pub(crate) view: View,
    /// What the ignore file keeps out.
    pub(crate) ignore: Option<Ignore>,
    /// Whether owners are dropped: files of a context belong to root.
    pub(crate) owners: Owners,
    /// How messages call the place.
    pub(crate) place: String,
    /// What file digests are remembered under: a directory that holds the files.
    pub(crate) identity: String,
}

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
        let view = View::of_directories(&[path.to_owned()])?;
        let ignore = ignore.map(Ignore::parse).transpose()?;
        Ok(Self {
            view,
            ignore,
            owners: Owners::Root,
            place: "the build context".into(),
            identity: path.display().to_string(),
        })
    }

    fn layers(stack: &Stack, place: String) -> Result<Self, ErrorKind> {
        let identity = stack
            .layers
            .last()
            .map(|layer| layer.path.display().to_string());
        Ok(Self {
            view: stack.view()?,
            ignore: None,
            owners: Owners::Keep,
            place,
            identity: identity.unwrap_or_default(),
        })
    }

    /// Files that the build wrote itself, such as heredocs and unpacked archives.
    pub(crate) fn written(path: &Path, owners: Owners) -> Result<Self, ErrorKind> {
        Ok(Self {
            owners,
            ..Self::directory(path, None)?
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
}

impl StageBuild<'_, '_> {
    /// Opens what `--from` names: a stage, a named context or an image.
    pub(crate) fn open_source(&self, from: &str) -> Result<Arc<ContextSource>, ErrorKind> {
        if let Some(index) = self.engine.copied_stage(self.stage, from)? {
            let state = self.other_stage(index)?;
            let place = format!("stage \"{}\"", self.engine.stage_name(index));
            return Ok(Arc::new(ContextSource::layers(&state.stack()?, place)?));
        }
        if let Some(NamedContext::Directory(path)) = self.engine.request.named_contexts.get(from) {
            let mut source = ContextSource::directory(path, None)?;
            source.place = format!("context \"{from}\"");
            return Ok(Arc::new(source));
        }
        let image = self.image(from, &self.engine.request.platform)?;
        let stack = self.engine.store.unpack(&image)?;
        Ok(Arc::new(ContextSource::layers(
            &stack,
            format!("image \"{from}\""),
        )?))
    }
}
