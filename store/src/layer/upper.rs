//! A directory that is written on top of other layers, as overlayfs writes its upper directory.
//!
//! Paths are resolved in the merged tree of both. What has to be there for something to be
//! written into it is made: directories of lower layers are repeated with their metadata, missing
//! ones are new.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::copy::{Content, copy_node};
use super::error::{During, EntryError};
use super::limits::{DanglingLinks, Ownership};
use super::lower::{Lower, LowerLayers};
use crate::metadata::without_overlay;
use crate::sys::{self, Facts, Time};
use crate::view::{Child, LONGEST_PATH, MOST_LINKS, components, follow_link};

/// Directories that nothing describes get these, the same on every machine.
const NEW_DIRECTORY: Facts = Facts {
    mode: 0o755,
    uid: 0,
    gid: 0,
    modified: (0, 0),
};

/// The directory being written.
pub(crate) struct Upper<'v> {
    root: Rc<OwnedFd>,
    lower: Lower<'v>,
    dangling: DanglingLinks,
    /// Times to set when nothing more is written into the directories, by their resolved paths.
    times: Vec<(PathBuf, Time)>,
    /// What directories get that nothing describes.
    new_directory: Facts,
}

/// A directory of the merged tree.
#[derive(Clone)]
pub(crate) struct Level<'v> {
    name: OsString,
    /// It in the upper directory, if it is there (yet).
    upper: Option<Rc<OwnedFd>>,
    /// It in the lower layers.
    lower: Lower<'v>,
}

/// The way to a directory of the merged tree, from the root.
#[derive(Clone)]
pub(crate) struct Place<'v>(Vec<Level<'v>>);

impl<'v> Upper<'v> {
    /// Starts to write into an open directory.
    pub(crate) fn new(root: OwnedFd, lower: &'v dyn LowerLayers) -> Self {
        Self {
            root: Rc::new(root),
            lower: Lower::root(lower),
            dangling: DanglingLinks::Made,
            times: Vec::new(),
            new_directory: NEW_DIRECTORY,
        }
    }

    /// Says what becomes of symbolic links to nowhere.
    pub(crate) fn with_dangling(self, dangling: DanglingLinks) -> Self {
        Self { dangling, ..self }
    }

    /// Says whose the directories are that nothing describes.
    pub(crate) fn owned(mut self, ownership: Ownership) -> Self {
        if ownership == Ownership::Own {
            (self.new_directory.uid, self.new_directory.gid) = sys::own_ids();
        }
        self
    }

    /// Hides everything of the lower layers.
    pub(crate) fn hide_lower(&mut self) {
        self.lower = Lower::hidden();
    }

    /// Returns the root.
    pub(crate) fn root(&self) -> Place<'v> {
        Place(vec![Level {
            name: OsString::new(),
            upper: Some(Rc::clone(&self.root)),
            lower: self.lower.clone(),
        }])
    }

    /// Walks to a directory, symbolic links followed inside the root; `None` when something on the
    /// way is none. What is missing is taken for a directory, so that `missing/..` leads back.
    pub(crate) fn walk(&self, path: &Path) -> Result<Option<Place<'v>>, EntryError> {
        let Place(mut levels) = self.root();
        let mut steps: VecDeque<OsString> = components(path);
        let mut links = 0;
        // How many steps are left when the last link's target is reached.
        let mut after_link = None;
        while let Some(step) = steps.pop_front() {
            if step == ".." {
                levels.truncate(levels.len().saturating_sub(1).max(1));
            } else {
                match levels[levels.len() - 1]
                    .child(&step)
                    .during("look up a directory")?
                {
                    Next::Level(level) => levels.push(level),
                    Next::Symlink(target) => {
                        links += 1;
                        if links > MOST_LINKS {
                            return Err(EntryError::Loop);
                        }
                        after_link = after_link.or(Some(steps.len()));
                        follow_link(&target, &mut levels, &mut steps);
                    }
                    Next::Other => return Ok(None),
                }
            }
            if after_link.is_some_and(|left| steps.len() <= left) {
                after_link = None;
                if self.dangling == DanglingLinks::Refused && levels[levels.len() - 1].is_new() {
                    return Err(EntryError::DanglingLink(path_of(&levels)));
                }
            }
            if path_length(&levels) > LONGEST_PATH {
                return Err(EntryError::LongPath);
            }
        }
        Ok(Some(Place(levels)))
    }

    /// Makes a place's directory and those above it in the upper directory, with the metadata
    /// that they have in the lower layers.
    pub(crate) fn materialise(&mut self, place: &mut Place<'v>) -> Result<(), EntryError> {
        for index in 1..place.0.len() {
            if place.0[index].upper.is_some() {
                continue;
            }
            let made = self.make(place, index);
            place.0[index].upper = Some(Rc::new(made.during("make a parent directory")?));
        }
        Ok(())
    }

    fn make(&mut self, place: &Place<'v>, index: usize) -> Result<OwnedFd, Errno> {
        let level = &place.0[index];
        let parent = place.0[index - 1].handle();
        let (directory, facts, attributes) = match level.lower.get()?.and_then(|it| it.top()) {
            Some((_, lower)) => {
                let stat = sys::stat(lower, OsStr::new("."))?;
                let attributes = without_overlay(sys::attributes_of(lower)?);
                let made = sys::make_directory(parent, &level.name)?;
                (made, Facts::of(&stat), attributes)
            }
            // A whiteout at its place must go on hiding what the lower layers have there.
            None => (
                make_over_whiteout(parent, &level.name)?,
                self.new_directory,
                Vec::new(),
            ),
        };
        sys::finish_node(
            parent,
            &level.name,
            FileType::Directory,
            &facts,
            &attributes,
        )?;
        self.times
            .push((path_of(&place.0[..=index]), facts.modified));
        Ok(directory)
    }

    /// Notes the time that a directory gets in the end.
    pub(crate) fn set_time(&mut self, path: PathBuf, time: Time) {
        self.times.push((path, time));
    }

    /// Brings a file of a lower layer into the upper directory, as overlayfs does before it is
    /// changed.
    pub(crate) fn copy_up(
        &mut self,
        place: &mut Place<'v>,
        name: &OsStr,
    ) -> Result<(), EntryError> {
        let lower = place.level().lower.clone();
        let Some(directory) = lower.get().during("look up a file")? else {
            return Ok(());
        };
        let Some(from) = directory.find_at(name).during("look up a file")? else {
            return Ok(());
        };
        self.materialise(place)?;
        copy_node(from, name, place.handle(), name, Content::Copied)
            .during("copy a file from a lower layer")
    }

    /// Sets the times of all directories. To be called when everything is written.
    pub(crate) fn finish(&self) -> Result<(), EntryError> {
        for (path, time) in &self.times {
            match sys::open_directory_beneath(&self.root, path) {
                Ok(directory) => sys::set_modified(directory, OsStr::new("."), *time)
                    .during("set the time of a directory")?,
                // Replaced or removed by a later entry.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(error) => return Err(error).during("set the time of a directory"),
            }
        }
        Ok(())
    }
}

enum Next<'v> {
    Level(Level<'v>),
    Symlink(PathBuf),
    Other,
}

impl Next<'_> {
    fn missing(name: &OsStr) -> Self {
        Self::Level(Level {
            name: name.to_owned(),
            upper: None,
            lower: Lower::hidden(),
        })
    }
}

impl<'v> Level<'v> {
    /// The directory in the upper one; the level was materialised.
    fn handle(&self) -> BorrowedFd<'_> {
        use std::os::fd::AsFd;
        self.upper
            .as_ref()
            .expect("the directory was made before")
            .as_fd()
    }

    /// Tells whether there is no such directory yet.
    fn is_new(&self) -> bool {
        self.upper.is_none() && self.lower.is_hidden()
    }

    fn child(&self, name: &OsStr) -> Result<Next<'v>, Errno> {
        if let Some(upper) = &self.upper {
            match sys::open_directory(upper, name) {
                Ok(directory) => return Ok(Next::Level(self.upper_child(directory, name))),
                Err(Errno::NOENT) => {}
                Err(Errno::NOTDIR | Errno::LOOP) => return upper_node(upper, name),
                Err(error) => return Err(error),
            }
        }
        let Some(lower) = self.lower.get()? else {
            return Ok(Next::missing(name));
        };
        Ok(match lower.child(name)? {
            Child::Missing => Next::missing(name),
            Child::Symlink(target) => Next::Symlink(target),
            Child::Other => Next::Other,
            Child::Directory(lower) => Next::Level(Self {
                name: name.to_owned(),
                upper: None,
                lower: Lower::found(lower),
            }),
        })
    }

    fn upper_child(&self, directory: OwnedFd, name: &OsStr) -> Self {
        let lower = match sys::is_opaque(&directory) {
            true => Lower::hidden(),
            false => self.lower.child(name),
        };
        Self {
            name: name.to_owned(),
            upper: Some(Rc::new(directory)),
            lower,
        }
    }
}

fn upper_node<'v>(upper: &OwnedFd, name: &OsStr) -> Result<Next<'v>, Errno> {
    let stat = sys::stat(upper, name)?;
    Ok(match sys::file_type(&stat) {
        FileType::Symlink => Next::Symlink(sys::read_link(upper, name)?),
        _ if sys::is_whiteout(&stat) => Next::missing(name),
        _ => Next::Other,
    })
}

/// Makes a directory. One at the place of a whiteout becomes opaque.
pub(crate) fn make_over_whiteout(at: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    match sys::make_directory(at, name) {
        Err(Errno::EXIST) => {
            sys::remove_tree(at, name)?;
            let directory = sys::make_directory(at, name)?;
            sys::make_opaque(&directory)?;
            Ok(directory)
        }
        made => made,
    }
}

fn path_of(levels: &[Level<'_>]) -> PathBuf {
    levels[1..].iter().map(|level| &level.name).collect()
}

fn path_length(levels: &[Level<'_>]) -> usize {
    levels.iter().map(|level| level.name.len() + 1).sum()
}

impl<'v> Place<'v> {
    /// The directory in the upper one; the place was materialised.
    pub(crate) fn handle(&self) -> BorrowedFd<'_> {
        self.level().handle()
    }

    /// Looks something in it up in the lower layers, as far as they are visible.
    pub(crate) fn find_lower(&self, name: &OsStr) -> Result<Option<Stat>, Errno> {
        let Some(lower) = self.level().lower.get()? else {
            return Ok(None);
        };
        Ok(lower.find(name)?.map(|(_, stat)| stat))
    }

    /// It in the upper directory, where it is there.
    pub(crate) fn upper(&self) -> Option<&OwnedFd> {
        self.level().upper.as_deref()
    }

    fn level(&self) -> &Level<'v> {
        self.0.last().expect("the root is never removed")
    }

    pub(crate) fn is_root(&self) -> bool {
        self.0.len() == 1
    }

    /// Returns the path below the root, without a leading slash.
    pub(crate) fn path(&self) -> PathBuf {
        path_of(&self.0)
    }
}
