//! Choosing the files that an instruction copies: patterns, ignore rules, exclusions.

use std::path::{Path, PathBuf};

use mica_dockerfile::ignore::{Matcher, ParentMatches, Pattern, Verdict};
use mica_store::{Entry, FileType, Follow};

use crate::context::{ContextSource, Ignore};
use crate::error::ErrorKind;
use crate::parallel;

/// What a path may hold of patterns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wildcards {
    /// Nothing: it is a path.
    None,
    /// Those of Go's `filepath.Match`.
    Single,
    /// Those, and `**` for any number of directories.
    Recursive,
}

/// A source that a path or pattern named, with all that is copied of it.
#[derive(Debug)]
pub(crate) struct Selected {
    /// The path as it was named, inside the source.
    pub(crate) named: PathBuf,
    /// The file or directory itself, symbolic links followed.
    pub(crate) root: Entry,
    /// The files and directories below it, parents first, sorted by name; empty for a file.
    pub(crate) below: Vec<Entry>,
}

impl Selected {
    /// Returns the root and everything below it.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        std::iter::once(&self.root).chain(&self.below)
    }

    /// Returns an entry's path below the root; empty for the root itself.
    pub(crate) fn relative<'e>(&self, entry: &'e Entry) -> &'e Path {
        below(&self.root.path, entry)
    }
}

fn below<'e>(root: &Path, entry: &'e Entry) -> &'e Path {
    entry.path.strip_prefix(root).unwrap_or(&entry.path)
}

impl ContextSource {
    /// Selects what a path or pattern names, sorted by name. A pattern may match nothing; a path
    /// must exist.
    pub(crate) fn select(
        &self,
        pattern: &str,
        exclude: &Matcher,
        wildcards: Wildcards,
    ) -> Result<Vec<Selected>, ErrorKind> {
        let pattern = crate::state::clean(&format!("/{pattern}"));
        let mut selected = Vec::new();
        let is_pattern = wildcards != Wildcards::None && has_wildcard(&pattern);
        let names = match is_pattern {
            true => self.matches(&pattern, wildcards)?,
            false => vec![PathBuf::from(&pattern)],
        };
        for named in names {
            match self.open_root(&named, exclude)? {
                Found::Source(source) => selected.push(source),
                Found::Excluded => {}
                Found::Nothing if is_pattern => {}
                Found::Nothing => return Err(self.missing(&pattern)),
            }
        }
        Ok(selected)
    }

    fn missing(&self, path: &str) -> ErrorKind {
        let relative = path.trim_start_matches('/');
        ErrorKind::SourceMissing {
            path: path.to_owned(),
            place: self.place.clone(),
            ignored_by: self
                .ignore
                .as_ref()
                .and_then(|ignore| ignore.explain(relative)),
        }
    }

    /// Walks a pattern component by component, so that `*` never crosses a slash.
    fn matches(&self, pattern: &str, wildcards: Wildcards) -> Result<Vec<PathBuf>, ErrorKind> {
        let mut found = vec![PathBuf::from("/")];
        for component in pattern.split('/').filter(|component| !component.is_empty()) {
            let mut next = Vec::new();
            for parent in found {
                if component == "**" && wildcards == Wildcards::Recursive {
                    self.directories(parent, &mut next)?;
                } else if !has_wildcard(component) {
                    next.push(parent.join(unescaped(component)));
                } else {
                    next.extend(self.children(&parent, component)?);
                }
            }
            found = next;
        }
        Ok(found)
    }

    /// Adds a directory and all directories below it.
    fn directories(&self, path: PathBuf, found: &mut Vec<PathBuf>) -> Result<(), ErrorKind> {
        let Some(directory) = self.view.lookup(&path, Follow::Parents)? else {
            return Ok(());
        };
        if directory.is_directory() {
            for entry in self.view.read_dir(&directory)? {
                if entry.is_directory() {
                    self.directories(path.join(entry.name()), found)?;
                }
            }
            found.push(path);
        }
        Ok(())
    }

    fn children(&self, parent: &Path, pattern: &str) -> Result<Vec<PathBuf>, ErrorKind> {
        let literal = if pattern.starts_with('!') {
            format!("\\{pattern}")
        } else {
            pattern.into()
        };
        let invalid = || ErrorKind::Pattern(pattern.to_owned());
        let pattern = Pattern::new(&literal, None)
            .map_err(|_| invalid())?
            .ok_or_else(invalid)?;
        let Some(directory) = self.view.lookup(parent, Follow::All)? else {
            return Ok(Vec::new());
        };
        if directory.file_type != FileType::Directory {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for entry in self.view.read_dir(&directory)? {
            let name = entry.name().to_string_lossy().into_owned();
            if pattern.matches(&name).map_err(|_| invalid())? {
                found.push(parent.join(entry.name()));
            }
        }
        Ok(found)
    }

    fn open_root(&self, named: &Path, exclude: &Matcher) -> Result<Found, ErrorKind> {
        let Some(root) = self.view.lookup(named, Follow::All)? else {
            return Ok(Found::Nothing);
        };
        let at = Position::of(self.ignore.as_ref(), &root.path)?;
        let mut below = Vec::new();
        if root.file_type == FileType::Directory {
            let walk = Walk {
                source: self,
                exclude,
                root: &root.path,
            };
            walk.spread(&root, &at, &ParentMatches::default(), &mut below)?;
            if at.verdict == Verdict::Ignored && below.is_empty() {
                return Ok(Found::Nothing);
            }
        } else {
            let named = Position::of(self.ignore.as_ref(), named)?;
            if [at.verdict, named.verdict].contains(&Verdict::Ignored) {
                return Ok(Found::Nothing);
            }
        }
        let base = named
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let excluded = matcher_verdict(exclude, &base, &ParentMatches::default())?.0;
        if root.file_type != FileType::Directory && excluded == Verdict::Ignored {
            return Ok(Found::Excluded);
        }
        Ok(Found::Source(Selected {
            named: named.to_owned(),
            root,
            below,
        }))
    }
}

/// What a name stands for.
enum Found {
    /// A file or directory.
    Source(Selected),
    /// A file that `--exclude` leaves out.
    Excluded,
    /// Nothing, or something that the ignore file keeps out of the context.
    Nothing,
}

/// What the ignore file says of a path while walking.
#[derive(Clone)]
struct Position {
    verdict: Verdict,
    parents: ParentMatches,
}

impl Position {
    fn of(ignore: Option<&Ignore>, path: &Path) -> Result<Self, ErrorKind> {
        let mut position = Self {
            verdict: Verdict::Kept,
            parents: ParentMatches::default(),
        };
        let Some(ignore) = ignore else {
            return Ok(position);
        };
        let mut so_far = String::new();
        for component in path.iter().filter(|component| *component != "/") {
            if !so_far.is_empty() {
                so_far.push('/');
            }
            so_far.push_str(&component.to_string_lossy());
            let (verdict, parents) = matcher_verdict(&ignore.matcher, &so_far, &position.parents)?;
            position = Self { verdict, parents };
        }
        Ok(position)
    }

    fn below(&self, ignore: Option<&Ignore>, path: &Path) -> Result<Self, ErrorKind> {
        match ignore {
            None => Ok(Self {
                verdict: Verdict::Kept,
                parents: ParentMatches::default(),
            }),
            Some(ignore) => {
                let path = path.to_string_lossy();
                let path = path.trim_start_matches('/');
                let (verdict, parents) = matcher_verdict(&ignore.matcher, path, &self.parents)?;
                Ok(Self { verdict, parents })
            }
        }
    }
}

fn matcher_verdict(
    matcher: &Matcher,
    path: &str,
    parents: &ParentMatches,
) -> Result<(Verdict, ParentMatches), ErrorKind> {
    matcher
        .descend(path, parents)
        .map_err(|error| ErrorKind::Pattern(error.to_string()))
}

struct Walk<'w> {
    source: &'w ContextSource,
    exclude: &'w Matcher,
    root: &'w Path,
}

/// Something in a directory, with what the patterns say of it.
#[derive(Clone)]
struct Met {
    entry: Entry,
    kept: bool,
    ignored: Position,
    excluded: ParentMatches,
}

/// From so many subdirectories on they are walked side by side.
const WORTH_SPREADING: usize = 8;

impl Walk<'_> {
    /// Adds what is kept below a directory; the work is spread over the cores.
    fn spread(
        &self,
        directory: &Entry,
        ignored: &Position,
        excluded: &ParentMatches,
        found: &mut Vec<Entry>,
    ) -> Result<(), ErrorKind> {
        let met = self.list(directory, ignored, excluded)?;
        let directories = met.iter().filter(|met| met.entry.is_directory()).count();
        if directories < WORTH_SPREADING {
            let each = |met| self.add(met, found, Self::spread);
            return met.into_iter().try_for_each(each);
        }
        let walk = |(): &mut (), met: &Met| {
            let mut found = Vec::new();
            self.add(met.clone(), &mut found, Self::directory)?;
            Ok::<_, ErrorKind>(found)
        };
        let walked = parallel::map(&met, || (), walk)?;
        found.extend(walked.into_iter().flatten());
        Ok(())
    }

    /// Adds what is kept below a directory.
    fn directory(
        &self,
        directory: &Entry,
        ignored: &Position,
        excluded: &ParentMatches,
        found: &mut Vec<Entry>,
    ) -> Result<(), ErrorKind> {
        let met = self.list(directory, ignored, excluded)?;
        let each = |met| self.add(met, found, Self::directory);
        met.into_iter().try_for_each(each)
    }

    fn list(
        &self,
        directory: &Entry,
        ignored: &Position,
        excluded: &ParentMatches,
    ) -> Result<Vec<Met>, ErrorKind> {
        let entries = self.source.view.read_dir(directory)?.into_iter();
        let meet = |entry: Entry| {
            let ignored = ignored.below(self.source.ignore.as_ref(), &entry.path)?;
            let relative = below(self.root, &entry).to_string_lossy();
            let (verdict, excluded) = matcher_verdict(self.exclude, &relative, excluded)?;
            Ok(Met {
                kept: [verdict, ignored.verdict] == [Verdict::Kept; 2],
                entry,
                ignored,
                excluded,
            })
        };
        entries.map(meet).collect()
    }

    fn add(
        &self,
        met: Met,
        found: &mut Vec<Entry>,
        descend: Descend<Self>,
    ) -> Result<(), ErrorKind> {
        if met.entry.is_directory() {
            return self.subdirectory(met, found, descend);
        }
        if met.kept {
            found.push(met.entry);
        }
        Ok(())
    }

    /// A directory that is left out is entered only when an exception may keep something in it;
    /// it is copied, too, when that is so.
    fn subdirectory(
        &self,
        met: Met,
        found: &mut Vec<Entry>,
        descend: Descend<Self>,
    ) -> Result<(), ErrorKind> {
        let ignore = self.source.ignore.as_ref();
        let exceptions = ignore.is_some_and(|ignore| ignore.matcher.has_exclusions())
            || self.exclude.has_exclusions();
        if !met.kept && !exceptions {
            return Ok(());
        }
        let place = found.len();
        found.push(met.entry.clone());
        descend(self, &met.entry, &met.ignored, &met.excluded, found)?;
        if !met.kept && found.len() == place + 1 {
            found.pop();
        }
        Ok(())
    }
}

/// How the content of a directory is added.
type Descend<W> =
    fn(&W, &Entry, &Position, &ParentMatches, &mut Vec<Entry>) -> Result<(), ErrorKind>;

/// Tells whether a path is a pattern of Go's `filepath.Match`.
fn has_wildcard(path: &str) -> bool {
    let mut characters = path.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => {
                characters.next();
            }
            '*' | '?' | '[' => return true,
            _ => {}
        }
    }
    false
}

fn unescaped(component: &str) -> String {
    component.replace('\\', "")
}
