//! Applying a layer to a plain directory: in overlayfs form first, then folded into it.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{self as rfs, AtFlags, FileType, Mode};
use rustix::io::Errno;

use super::apply::{Modes, apply};
use super::decompress::Decompressed;
use super::error::{LayerError, TarError};
use super::item::archived;
use super::limits::{Limits, Ownership};
use crate::StoreError;
use crate::error::At;
use crate::metadata::without_overlay;
use crate::sys::{self, Facts};
use crate::temporary::random_name;
use crate::view::View;

/// Applies a tar stream, plain or compressed, to a directory that is no layer: whiteouts delete,
/// opaque marks empty. Returns how many entries it had.
///
/// The stream is unpacked into a hidden directory inside `directory` first. It may be hostile:
/// nothing outside `directory` is changed, and nothing inside when it cannot be read to its end.
pub fn apply_onto(directory: &Path, stream: impl Read, limits: &Limits) -> Result<u64, StoreError> {
    let mut tree = PlainTree::new(directory, limits);
    let entries = tree.apply(stream, || Ok(()))?;
    tree.finish()?;
    Ok(entries)
}

/// A directory that is no layer, to which layers are applied one on top of the other, as with
/// [`apply_onto`].
#[derive(Debug)]
pub struct PlainTree<'a> {
    directory: &'a Path,
    limits: &'a Limits,
    modes: Modes,
}

impl<'a> PlainTree<'a> {
    /// Starts with what is in a directory.
    pub fn new(directory: &'a Path, limits: &'a Limits) -> Self {
        Self {
            directory,
            limits,
            modes: Modes::new(),
        }
    }

    /// Applies a layer. `check` has a last word when the stream was read to its end; nothing is
    /// changed before.
    pub fn apply(
        &mut self,
        stream: impl Read,
        check: impl FnOnce() -> Result<(), StoreError>,
    ) -> Result<u64, StoreError> {
        let directory = self.directory;
        let root = sys::open_root(directory).at("open", directory)?;
        let scratch = Scratch::new(root, directory, self.limits)?;
        let lower = View::of_directories(&[directory.to_owned()])?;
        let stream =
            Decompressed::new(stream, self.limits).map_err(|error| LayerError::Archive {
                after: PathBuf::new(),
                source: TarError::Read(error),
            })?;
        let handle = scratch.layer.try_clone().at("open", directory)?;
        let applied = apply(handle, &lower, stream, self.limits)?;
        check()?;
        fold(&scratch.layer, &scratch.root, Some(&scratch.name))
            .at("apply a layer to", directory)?;
        self.modes.extend(applied.modes);
        Ok(applied.entries)
    }

    /// Sets the modes of directories that had to stay open until all was there.
    pub fn finish(self) -> Result<(), StoreError> {
        let root = sys::open_root(self.directory).at("open", self.directory)?;
        let modes = self.modes.into_iter();
        let mut modes: Vec<_> = modes
            .filter_map(|(path, mode)| Some((path, mode?)))
            .collect();
        // The deepest first: a closed directory hides what is below it.
        modes.sort_by_key(|(path, _)| std::cmp::Reverse(path.components().count()));
        for (path, mode) in modes {
            let set = sys::open_directory_beneath(&root, &path)
                .and_then(|directory| rfs::fchmod(&directory, Mode::from_raw_mode(mode)));
            match set {
                // A later layer removed it.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                set => set.at("set the mode of", &self.directory.join(path))?,
            }
        }
        Ok(())
    }
}

/// A directory with a name that nobody can guess; removed when dropped.
struct Scratch {
    root: OwnedFd,
    name: OsString,
    layer: OwnedFd,
}

impl Scratch {
    fn new(root: OwnedFd, path: &Path, limits: &Limits) -> Result<Self, StoreError> {
        let name = OsString::from(format!(".apply-{}{}", random_name(), random_name()));
        let mut facts = Facts::of(&sys::stat(&root, OsStr::new(".")).at("read", path)?);
        if limits.ownership == Ownership::Own {
            (facts.uid, facts.gid) = sys::own_ids();
        }
        let layer = sys::make_directory(&root, &name).at("make a directory in", path)?;
        let kind = FileType::Directory;
        // What an entry for the root does not change must stay as it is.
        sys::finish_node(&root, &name, kind, &facts, &[]).at("make a directory in", path)?;
        Ok(Self { root, name, layer })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing depends on it; who removes the whole directory gets rid of the rest.
        let _ = sys::remove_tree(&self.root, &self.name);
    }
}

/// Moves everything from an overlayfs directory to a plain one, then copies its metadata.
fn fold(from: &OwnedFd, to: &OwnedFd, spared: Option<&OsStr>) -> Result<(), Errno> {
    let facts = Facts::of(&rfs::fstat(from)?); // its time changes by what follows
    for name in sys::names(from)? {
        if spared == Some(&*name) {
            sys::remove_tree(from, &name)?; // a mark to hide the scratch directory itself
            continue;
        }
        let stat = sys::stat(from, &name)?;
        if sys::is_whiteout(&stat) {
            sys::remove_tree(to, &name)?;
        } else if sys::file_type(&stat) == FileType::Directory {
            fold_directory(from, to, &name)?;
        } else {
            // Renaming does nothing at all when both are links to one file.
            sys::remove_tree(to, &name)?;
            rfs::renameat(from, &name, to, &name)?;
        }
    }
    let attributes = without_overlay(sys::attributes_of(from)?);
    sys::finish_node(
        to,
        OsStr::new("."),
        FileType::Directory,
        &facts,
        &attributes,
    )
}

fn fold_directory(from: &OwnedFd, to: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
    let source = sys::open_directory(from, name)?;
    let target = match sys::open_directory(to, name) {
        Ok(target) => {
            if sys::is_opaque(&source) {
                sys::clear_directory(&target)?;
            }
            clear_attributes(&target)?;
            target
        }
        Err(Errno::NOENT) => sys::make_directory(to, name)?,
        Err(Errno::NOTDIR | Errno::LOOP) => {
            rfs::unlinkat(to, name, AtFlags::empty())?;
            sys::make_directory(to, name)?
        }
        Err(error) => return Err(error),
    };
    fold(&source, &target, None)
}

/// A directory that a layer describes has the layer's attributes only.
fn clear_attributes(directory: &OwnedFd) -> Result<(), Errno> {
    for (name, _) in archived(sys::attributes_of(directory)?) {
        rfs::fremovexattr(directory, name)?;
    }
    Ok(())
}
