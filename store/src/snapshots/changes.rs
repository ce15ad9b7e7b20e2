//! What was written to a farm, in overlayfs form.
//!
//! A file is as it was when it is the clone that was made of what the layers have at its place, and
//! its time of change is still the one it was made with: every write, and every change of
//! metadata, links or name, moves that time, and nobody can set it.

use std::cell::OnceCell;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{self as rfs, FileType};
use rustix::io::Errno;

use super::farm::Origins;
use crate::error::At;
use crate::layer::{Content, Copier};
use crate::metadata::Description;
use crate::sys::{self, Identity};
use crate::view::{Child, Found, MergedDirectory};
use crate::{StoreError, View};

/// What becomes of the files that were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taking {
    /// They are moved, and the farm is of no further use.
    Move,
    /// They are cloned.
    Clone,
}

/// Brings what was written to a farm over `below` into an empty directory.
pub(super) fn gather(
    tree: &Path,
    below: &View,
    origins: &Origins,
    taking: Taking,
    directory: &Path,
) -> Result<(), StoreError> {
    let from = sys::open_root(tree).at("open", tree)?;
    let to = sys::open_root(directory).at("open", directory)?;
    let mut gathering = Gathering {
        origins,
        taking,
        copier: Copier::new(&to, Content::Cloned),
    };
    let target = Target::root(to.try_clone().at("open", directory)?);
    let gathered = gathering.directory(&from, below.merged_root(), &target);
    gathered.at("gather what was written in", tree)
}

struct Gathering<'g> {
    origins: &'g Origins,
    taking: Taking,
    copier: Copier<'g>,
}

/// A directory that is made when something comes into it.
struct Target<'t> {
    parent: Option<&'t Target<'t>>,
    name: &'t OsStr,
    made: OnceCell<OwnedFd>,
}

impl<'t> Target<'t> {
    fn root(directory: OwnedFd) -> Self {
        Self {
            parent: None,
            name: OsStr::new(""),
            made: OnceCell::from(directory),
        }
    }

    fn below(&'t self, name: &'t OsStr) -> Self {
        Self {
            parent: Some(self),
            name,
            made: OnceCell::new(),
        }
    }

    fn path(&self) -> PathBuf {
        let parent = self.parent.map(Target::path);
        parent.unwrap_or_default().join(self.name)
    }

    fn handle(&self) -> Result<&OwnedFd, Errno> {
        if let Some(made) = self.made.get() {
            return Ok(made);
        }
        let parent = self.parent.expect("the root is there").handle()?;
        let made = sys::make_directory(parent, self.name)?;
        Ok(self.made.get_or_init(|| made))
    }
}

impl Gathering<'_> {
    /// Gathers from a directory that is the clone of `lower`; one that is made for it gets its
    /// metadata.
    fn directory(
        &mut self,
        tree: &OwnedFd,
        lower: &MergedDirectory,
        target: &Target<'_>,
    ) -> io::Result<()> {
        // What is moved away changes the directory's time.
        let description = Description::of(tree)?;
        let below = lower.list()?;
        let names = sys::names(tree)?;
        for name in &names {
            let found = below.binary_search_by(|found| found.0.cmp(name));
            let found = found.ok().map(|index| &below[index]);
            // A container that goes on may have removed it.
            let Some(stat) = sys::find(tree, name)? else {
                continue;
            };
            match sys::file_type(&stat) {
                FileType::Directory => self.subdirectory(tree, name, lower, found, target)?,
                _ if self.is_untouched(tree, name, found)? => {}
                _ => self.take(tree, name, target)?,
            }
        }
        for (name, ..) in &below {
            if names.binary_search(name).is_err() {
                sys::make_whiteout(target.handle()?, name)?;
            }
        }
        match target.made.get() {
            Some(made) => Ok(description.apply(made)?),
            None => Ok(()),
        }
    }

    fn subdirectory(
        &mut self,
        tree: &OwnedFd,
        name: &OsStr,
        lower: &MergedDirectory,
        found: Option<&Found>,
        target: &Target<'_>,
    ) -> io::Result<()> {
        let directory = sys::open_directory(tree, name)?;
        let now = Identity::of(&directory)?;
        let below = match found {
            Some(_) => lower.child(name)?,
            None => Child::Missing,
        };
        if let Child::Directory(below) = &below
            && let Some((_, top)) = below.top()
            && let Some(origin) = self.origins.get(&now.inode)
            && origin.lower == rfs::fstat(top)?.st_ino
            && origin.identity.born == now.born
        {
            let inner = target.below(name);
            if origin.identity != now {
                inner.handle()?;
            }
            return self.directory(&directory, below, &inner);
        }
        self.take(tree, name, target)?;
        if found.is_some() {
            sys::make_opaque(sys::open_directory(target.handle()?, name)?)?;
        }
        Ok(())
    }

    /// Tells whether a file is the clone of what the layers have, as it was made.
    fn is_untouched(
        &self,
        tree: &OwnedFd,
        name: &OsStr,
        found: Option<&Found>,
    ) -> io::Result<bool> {
        let Some((_, _, lower)) = found else {
            return Ok(false);
        };
        let now = Identity::at(tree, name)?;
        let origin = self.origins.get(&now.inode);
        Ok(origin.is_some_and(|it| it.lower == lower.st_ino && it.identity == now))
    }

    fn take(&mut self, tree: &OwnedFd, name: &OsStr, target: &Target<'_>) -> io::Result<()> {
        let to = target.handle()?;
        match self.taking {
            Taking::Move => Ok(rfs::renameat(tree, name, to, name)?),
            Taking::Clone => self.copier.entry(tree, to, &target.path().join(name)),
        }
    }
}
