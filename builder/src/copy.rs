//! COPY, ADD and WORKDIR: layers written straight, without a mount.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use mica_dockerfile::ignore::Matcher;
use mica_dockerfile::{AddInstruction, CopyInstruction, CopySource, Heredoc, Instruction};
use mica_store::{Layer, Metadata};
use tempfile::TempDir;

use crate::cache::Ground;
use crate::context::{ContextSource, Owners};
use crate::copy_files::{Copier, temporary_directory};
use crate::destination::Destination;
use crate::error::ErrorKind;
use crate::explain::Inputs;
use crate::key::CacheKey;
use crate::mode::Mode;
use crate::owner::owner_ids;
use crate::provenance::{Adding, Provenance, Unpack};
use crate::sources::{Selected, Wildcards};
use crate::stage::{StageBuild, Step};
use crate::state::StageState;
use crate::variables::{expand, expand_heredoc};

/// What COPY and ADD have in common.
pub(crate) struct Copying<'i> {
    name: &'static str,
    pub(crate) sources: &'i [CopySource],
    pub(crate) destination: &'i str,
    pub(crate) from: Option<&'i str>,
    pub(crate) chown: Option<&'i str>,
    pub(crate) chmod: Option<&'i str>,
    pub(crate) exclude: &'i [String],
    pub(crate) link: bool,
    pub(crate) parents: bool,
    /// What only ADD has.
    pub(crate) add: Option<Adding<'i>>,
}

impl<'i> From<&'i CopyInstruction> for Copying<'i> {
    fn from(copy: &'i CopyInstruction) -> Self {
        Self {
            name: "COPY",
            sources: &copy.sources,
            destination: &copy.destination,
            from: copy.from.as_deref(),
            chown: copy.chown.as_deref(),
            chmod: copy.chmod.as_deref(),
            exclude: &copy.exclude,
            link: copy.link,
            parents: copy.parents,
            add: None,
        }
    }
}

impl<'i> From<&'i AddInstruction> for Copying<'i> {
    fn from(add: &'i AddInstruction) -> Self {
        Self {
            name: "ADD",
            sources: &add.sources,
            destination: &add.destination,
            from: None,
            chown: add.chown.as_deref(),
            chmod: add.chmod.as_deref(),
            exclude: &add.exclude,
            link: add.link,
            parents: false,
            add: Some(Adding {
                checksum: add.checksum.as_deref(),
                keep_git_dir: add.keep_git_dir,
                unpack: add.unpack,
            }),
        }
    }
}

/// A copy with its words expanded and its sources found.
pub(crate) struct Resolved {
    /// Where to, absolute; symbolic links not followed yet.
    pub(crate) destination: String,
    /// Whether the destination was written as a directory.
    pub(crate) into_directory: bool,
    pub(crate) owner: Option<String>,
    pub(crate) mode: Option<Mode>,
    /// Whether the layer is made as if nothing lay below it.
    pub(crate) link: bool,
    pub(crate) parents: bool,
    pub(crate) groups: Vec<Provenance>,
    /// Heredocs written out, kept until the copy is done.
    _written: Option<TempDir>,
}

impl Resolved {
    /// A copy to some place, without any flag.
    pub(crate) fn plain(destination: &str) -> Self {
        Self {
            destination: destination.to_owned(),
            into_directory: false,
            owner: None,
            mode: None,
            link: false,
            parents: false,
            groups: Vec::new(),
            _written: None,
        }
    }
}

/// Sources that came from one place.
pub(crate) struct Group {
    pub(crate) source: Arc<ContextSource>,
    pub(crate) selected: Vec<Selected>,
    pub(crate) unpack: Unpack,
    /// How many components of each path stand before the pivot of `--parents` and are not repeated.
    pub(crate) pivot: usize,
    /// What the content of each selected file comes to, once that was looked at.
    pub(crate) contents: Vec<u64>,
}

impl Group {
    /// Returns the part of a source's path that `--parents` repeats, relative.
    pub(crate) fn below_pivot<'p>(&self, selected: &'p Selected) -> &'p Path {
        let mut components = selected.named.components();
        // The root comes first.
        for _ in 0..=self.pivot {
            components.next();
        }
        components.as_path()
    }
}

impl StageBuild<'_, '_> {
    /// Copies files into a new layer, or reuses what an earlier build made.
    pub(crate) fn copy(
        &self,
        state: &mut StageState,
        copying: &Copying<'_>,
        instruction: &Instruction,
        prefix: &str,
    ) -> Result<(), ErrorKind> {
        let name = format!("{prefix} {}", instruction.source);
        let origin = self.copy_origin(state, copying)?;
        if let Some((origin, ground)) = &origin
            && self.step_by_origin(state, &name, origin, *ground)?
        {
            return Ok(());
        }
        let (words, mut resolved) = self.resolve_copy(state, copying)?;
        let ground = ground(resolved.link, resolved.owner.as_deref());
        let key = self.copy_key(state, copying, &mut resolved, ground)?;
        let step = Step {
            name,
            created_by: history_text(copying, &resolved, &words),
            key,
            files: Box::new(|| {
                resolved
                    .groups
                    .iter()
                    .filter_map(Provenance::files)
                    .collect()
            }),
            origin: origin.map(|(origin, _)| origin),
            ground,
        };
        self.step(state, step, |state, _| self.write_copy(state, &resolved))
    }

    fn resolve_copy(
        &self,
        state: &StageState,
        copying: &Copying<'_>,
    ) -> Result<(Vec<String>, Resolved), ErrorKind> {
        let expand = |word: &str| expand(word, &state.variables, self.escape());
        let exclude: Vec<String> = copying
            .exclude
            .iter()
            .map(|pattern| expand(pattern))
            .collect::<Result<_, _>>()?;
        let exclude =
            Matcher::new(&exclude).map_err(|error| ErrorKind::Pattern(error.to_string()))?;
        let written = expand(copying.destination)?;
        let mut resolved = Resolved {
            into_directory: names_directory(&written),
            owner: copying.chown.map(expand).transpose()?,
            mode: copying
                .chmod
                .map(expand)
                .transpose()?
                .map(|mode| Mode::parse(&mode))
                .transpose()?,
            link: copying.link,
            parents: copying.parents,
            ..Resolved::plain(&state.absolute(&written))
        };
        let mut words = Vec::new();
        let mut heredocs = Vec::new();
        for source in copying.sources {
            match source {
                CopySource::Heredoc(heredoc) => {
                    words.push(format!("<<{}", heredoc.name));
                    heredocs.push(heredoc);
                }
                CopySource::Path(path) => {
                    let path = expand(path)?;
                    let checksum = copying.add.as_ref().and_then(|add| add.checksum);
                    let checksum = checksum.map(expand).transpose()?;
                    let found = self.provenance(copying, &path, &exclude, checksum)?;
                    resolved.groups.push(found);
                    words.push(path);
                }
            }
        }
        self.write_heredocs(state, &heredocs, &mut resolved)?;
        words.push(written);
        Ok((words, resolved))
    }

    /// Selects files that a path or pattern names.
    pub(crate) fn group(
        &self,
        copying: &Copying<'_>,
        path: &str,
        exclude: &Matcher,
    ) -> Result<Group, ErrorKind> {
        let source = match copying.from {
            Some(from) => self.open_source(from)?,
            None => self.engine.open_context()?,
        };
        // A leading `./` is no pivot.
        let path = path.strip_prefix("./").unwrap_or(path);
        let (pivot, path) = match path.split_once("/./") {
            Some((pivot, rest)) if copying.parents => (pivot, format!("{pivot}/{rest}")),
            _ => ("", path.to_owned()),
        };
        let wildcards = if copying.parents {
            Wildcards::Recursive
        } else {
            Wildcards::Single
        };
        let selected = source.select(&path, exclude, wildcards)?;
        let unpack = match &copying.add {
            Some(add) if add.unpack != Some(false) => Unpack::Yes,
            _ => Unpack::No,
        };
        Ok(Group {
            source,
            selected,
            unpack,
            pivot: pivot.split('/').filter(|part| !part.is_empty()).count(),
            contents: Vec::new(),
        })
    }

    fn write_heredocs(
        &self,
        state: &StageState,
        heredocs: &[&Heredoc],
        resolved: &mut Resolved,
    ) -> Result<(), ErrorKind> {
        if heredocs.is_empty() {
            return Ok(());
        }
        let directory = temporary_directory(self.engine.store)?;
        for heredoc in heredocs {
            let text = match heredoc.expand {
                true => expand_heredoc(&heredoc.text(), &state.variables, self.escape())?,
                false => heredoc.text().into_owned(),
            };
            let path = directory.path().join(&heredoc.name);
            fs::write(&path, text).map_err(ErrorKind::io("write", &path))?;
            fs::set_permissions(&path, Permissions::from_mode(0o644))
                .map_err(ErrorKind::io("change the mode of", &path))?;
        }
        let source = Arc::new(ContextSource::written(directory.path(), Owners::Root)?);
        for heredoc in heredocs {
            let selected = source.select(&heredoc.name, &Matcher::default(), Wildcards::None)?;
            resolved.groups.push(Provenance::Files(Group {
                source: Arc::clone(&source),
                selected,
                unpack: Unpack::No,
                pivot: 0,
                contents: Vec::new(),
            }));
        }
        resolved._written = Some(directory);
        Ok(())
    }

    fn copy_key(
        &self,
        state: &StageState,
        copying: &Copying<'_>,
        resolved: &mut Resolved,
        ground: Ground,
    ) -> Result<(CacheKey, Inputs), ErrorKind> {
        let mut digests = Vec::new();
        for provenance in &mut resolved.groups {
            digests.push(self.provenance_digest(provenance)?);
        }
        let yes = |flag: bool| if flag { "yes" } else { "no" };
        Ok(ground
            .key("copy", &state.key)
            .text("instruction", copying.name)
            .text("destination", &resolved.destination)
            .text("directory", yes(resolved.into_directory))
            .list("owner", resolved.owner.as_deref())
            .text("mode", &format!("{:?}", resolved.mode))
            .text("link", yes(resolved.link))
            .text("parents", yes(resolved.parents))
            .list("sources", digests.iter().map(String::as_str))
            .list("named", named_parents(resolved).iter().map(String::as_str))
            .finish_with_inputs())
    }

    fn write_copy(&self, state: &StageState, resolved: &Resolved) -> Result<Layer, ErrorKind> {
        let layer = self.engine.store.new_layer()?;
        let lower = state.stack()?.lower_directories();
        let image = Destination::new(layer.path(), &lower)?;
        let owner = resolved
            .owner
            .as_deref()
            .map(|owner| owner_ids(image.merged(), owner))
            .transpose()?;
        let mut destination = match resolved.link {
            true => Destination::new(layer.path(), &[])?,
            false => image,
        };
        let (uid, gid) = owner.unwrap_or((0, 0));
        let mode = resolved
            .mode
            .as_ref()
            .map_or(0o755, |mode| mode.apply(0o755, true));
        destination.made = Metadata {
            modified: Some(now()),
            ..Metadata::new(mode, uid, gid)
        };
        let mut copier =
            Copier::new(self.engine.store, destination, owner, resolved).recorded(layer.path())?;
        copier.prepare()?;
        for provenance in &resolved.groups {
            let fetched = self.fetched(provenance)?;
            let group = match (provenance, &fetched) {
                (Provenance::Files(group), _) | (_, Some(group)) => group,
                (_, None) => unreachable!("what is no file here was fetched"),
            };
            for selected in &group.selected {
                copier.copy(group, selected)?;
            }
        }
        let description = copier.finish()?;
        Ok(Layer {
            description,
            ..layer.commit()?
        })
    }

    /// WORKDIR: remembers the directory, and makes it where it is missing.
    pub(crate) fn workdir(
        &self,
        state: &mut StageState,
        path: &str,
        prefix: &str,
    ) -> Result<(), ErrorKind> {
        let written = expand(path, &state.variables, self.escape())?;
        let path = state.absolute(&written);
        // BuildKit keeps an absolute path as it is written.
        let kept = if written.starts_with('/') {
            written
        } else {
            path.clone()
        };
        state.config.config.working_dir = kept;
        let user = state.config.config.user.clone();
        let step = Step {
            name: format!("{prefix} WORKDIR {path}"),
            created_by: format!("WORKDIR {path}"),
            key: CacheKey::of("workdir")
                .parent(&state.key)
                .text("path", &path)
                .text("user", &user)
                .finish_with_inputs(),
            files: Box::new(Vec::new),
            origin: None,
            ground: Ground::Same,
        };
        self.step(state, step, |state, _| {
            let layer = self.engine.store.new_layer()?;
            let lower = state.stack()?.lower_directories();
            let mut destination = Destination::new(layer.path(), &lower)?;
            if destination.lookup(Path::new(&path))?.is_none() {
                let (uid, gid) = owner_ids(destination.merged(), &user)?;
                destination.made = Metadata::new(0o755, uid, gid);
                destination.directory(Path::new(&path))?;
            }
            destination.finish()?;
            Ok(layer.commit()?)
        })
    }
}

/// Seconds since 1970 and nanoseconds.
fn now() -> (i64, u32) {
    let now = jiff::Timestamp::now().duration_since(jiff::Timestamp::UNIX_EPOCH);
    (now.as_secs(), now.subsec_nanos().unsigned_abs())
}

/// What a copy may be put upon. A name of a user is looked up in what lies below, a number is not.
pub(crate) fn ground(link: bool, owner: Option<&str>) -> Ground {
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    match owner.is_none_or(|owner| owner.split(':').all(is_number)) && link {
        true => Ground::Any,
        false => Ground::Same,
    }
}

/// Tells whether a destination is written as a directory: with a slash, `.` or `..` at its end.
fn names_directory(path: &str) -> bool {
    path.ends_with('/') || matches!(path.rsplit('/').next(), Some("." | ".."))
}

/// With `--parents` the paths of the sources below the pivot count, not only their last component.
fn named_parents(resolved: &Resolved) -> Vec<String> {
    if !resolved.parents {
        return Vec::new();
    }
    let mut paths = Vec::new();
    for provenance in &resolved.groups {
        let Provenance::Files(group) = provenance else {
            continue;
        };
        let below = group
            .selected
            .iter()
            .map(|selected| group.below_pivot(selected));
        paths.extend(below.map(|path| path.display().to_string()));
    }
    paths
}

fn history_text(copying: &Copying<'_>, resolved: &Resolved, words: &[String]) -> String {
    let mut text = copying.name.to_owned();
    if let Some(owner) = &resolved.owner {
        text.push_str(&format!(" --chown={owner}"));
    }
    if let Some(mode) = copying.chmod {
        text.push_str(&format!(" --chmod={mode}"));
    }
    format!("{text} {} # buildkit", words.join(" "))
}
