//! Several layers as one.
//!
//! The result hides and shows over the layers below what the merged layers did together: a
//! whiteout stays only where there is something to hide, and a directory that replaced another
//! stays opaque.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{self as rfs, AtFlags, FileType};
use rustix::io::Errno;

use crate::error::At;
use crate::metadata::Description;
use crate::sys;
use crate::view::{Child, MergedDirectory};
use crate::{Layer, Stack, Store, StoreError, View};

impl Store {
    /// Makes one layer of several, the lowest first, that stand on `below`. Files are not copied:
    /// they get a second name.
    pub fn squash(&self, below: &Stack, layers: &[Layer]) -> Result<Layer, StoreError> {
        let writer = self.new_layer()?;
        link_merged(&below.view()?, layers, writer.path())?;
        writer.commit()
    }
}

/// Fills an empty directory with what `layers`, the lowest first, come to over `below`: directories
/// of its own, and second names for all else.
pub(crate) fn link_merged(
    below: &View,
    layers: &[Layer],
    directory: &Path,
) -> Result<(), StoreError> {
    let to = sys::open_root(directory).at("open", directory)?;
    let mut parts = Vec::with_capacity(layers.len());
    for layer in layers.iter().rev() {
        parts.push(sys::open_root(&layer.path).at("open", &layer.path)?);
    }
    merge(&parts, Some(below.merged_root()), &to).at("merge layers in", directory)
}

/// What the merged layers have at a name.
enum Found {
    /// The directories that merge, topmost first, and whether they hide what is below all of them.
    Directories(Vec<OwnedFd>, Below),
    /// Something else, in the part of that index.
    Leaf(usize, rfs::Stat),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Below {
    Hidden,
    Shown,
}

/// Fills `to` with what `parts`, topmost first, come to over `below`, and copies their metadata.
fn merge(parts: &[OwnedFd], below: Option<&MergedDirectory>, to: &OwnedFd) -> Result<(), Errno> {
    let mut names: BTreeSet<OsString> = BTreeSet::new();
    for part in parts {
        names.extend(sys::names(part)?);
    }
    for name in &names {
        let hidden = match below {
            Some(below) => below.child(name)?,
            None => Child::Missing,
        };
        match find(parts, name)? {
            None => {}
            Some(Found::Leaf(part, stat)) => {
                let is_whiteout = sys::is_whiteout(&stat);
                if !is_whiteout {
                    rfs::linkat(&parts[part], name, to, name, AtFlags::empty())?;
                } else if !matches!(hidden, Child::Missing) {
                    sys::make_whiteout(to, name)?;
                }
            }
            Some(Found::Directories(directories, reach)) => {
                directory(&directories, reach, &hidden, to, name)?;
            }
        }
    }
    Description::of(&parts[0])?.apply(to)
}

fn directory(
    parts: &[OwnedFd],
    reach: Below,
    hidden: &Child,
    to: &OwnedFd,
    name: &OsStr,
) -> Result<(), Errno> {
    let made = sys::make_directory(to, name)?;
    if reach == Below::Hidden && !matches!(hidden, Child::Missing) {
        sys::make_opaque(&made)?;
    }
    let below = match (hidden, reach) {
        (Child::Directory(below), Below::Shown) => Some(below),
        _ => None,
    };
    merge(parts, below, &made)
}

fn find(parts: &[OwnedFd], name: &OsStr) -> Result<Option<Found>, Errno> {
    let mut directories = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let Some(stat) = sys::find(part, name)? else {
            continue;
        };
        if sys::file_type(&stat) != FileType::Directory {
            return Ok(Some(match directories.is_empty() {
                true => Found::Leaf(index, stat),
                false => Found::Directories(directories, Below::Hidden),
            }));
        }
        let directory = sys::open_directory(part, name)?;
        let opaque = sys::is_opaque(&directory);
        directories.push(directory);
        if opaque {
            return Ok(Some(Found::Directories(directories, Below::Hidden)));
        }
    }
    let found = !directories.is_empty();
    Ok(found.then_some(Found::Directories(directories, Below::Shown)))
}
