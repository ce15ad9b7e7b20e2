//! What a layer hides of those below it, and what it has only because a hard link needed it.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use rustix::io::Errno;

use super::super::error::{During, EntryError};
use super::super::upper::Place;
use super::Apply;
use crate::sys;

/// Names by their directory.
#[derive(Default)]
pub(super) struct CopiedUp(HashMap<PathBuf, HashSet<OsString>>);

impl CopiedUp {
    pub(super) fn insert(&mut self, place: &Place<'_>, name: &OsStr) {
        self.0
            .entry(place.path())
            .or_default()
            .insert(name.to_owned());
    }

    pub(super) fn contains(&self, place: &Place<'_>, name: &OsStr) -> bool {
        !self.0.is_empty()
            && self
                .0
                .get(&place.path())
                .is_some_and(|names| names.contains(name))
    }

    pub(super) fn remove(&mut self, place: &Place<'_>, name: &OsStr) -> bool {
        let names = self.0.get_mut(&place.path());
        names.is_some_and(|names| names.remove(name))
    }
}

impl Apply<'_, '_, '_> {
    /// Hides a name of the lower layers.
    pub(super) fn whiteout(&mut self, parent: &Path, name: &OsStr) -> Result<(), EntryError> {
        let Some(mut place) = self.upper.walk(parent)? else {
            return Ok(()); // there is nothing to hide
        };
        let hidden = place.find_lower(name).during("look up what is removed")?;
        if hidden.is_none() && !self.copied_up.contains(&place, name) {
            return Ok(());
        }
        self.upper.materialise(&mut place)?;
        self.parent = None;
        if self.copied_up.remove(&place, name) {
            sys::remove_tree(place.handle(), name).during("hide a file")?;
        }
        match sys::find(place.handle(), name).during("hide a file")? {
            Some(there) if sys::file_type(&there) == FileType::Directory => {
                let directory = sys::open_directory(place.handle(), name);
                sys::make_opaque(directory.during("hide a directory")?).during("hide a directory")
            }
            Some(_) => Ok(()),
            None => sys::make_whiteout(place.handle(), name).during("hide a file"),
        }
    }

    /// Hides all that the lower layers have in a directory.
    pub(super) fn opaque(&mut self, parent: &Path) -> Result<(), EntryError> {
        let place = self.parent(parent)?;
        self.parent = None;
        for name in self.copied_up.0.remove(&place.path()).into_iter().flatten() {
            sys::remove_tree(place.handle(), &name).during("hide a file")?;
        }
        if place.is_root() {
            self.root_is_opaque = true;
            self.upper.hide_lower();
            return Ok(());
        }
        sys::make_opaque(place.handle()).during("hide a directory")
    }

    /// Overlayfs does not look for the mark at a layer's root: each name is hidden by itself.
    pub(super) fn hide_root(&self) -> Result<(), EntryError> {
        let root = self.upper.root();
        let lower = self.lower.root().during("read the root")?;
        for (name, _, _) in lower.list().during("read the root")? {
            match sys::open_directory(root.handle(), &name) {
                Ok(directory) => sys::make_opaque(directory).during("hide a directory")?,
                Err(Errno::NOENT) => {
                    sys::make_whiteout(root.handle(), &name).during("hide a file")?;
                }
                Err(_) => {} // a file, which hides by itself
            }
        }
        Ok(())
    }
}
