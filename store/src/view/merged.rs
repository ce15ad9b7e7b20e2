//! A directory as overlayfs shows it: the layers' directories of one path, as far as none hides
//! those below.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use crate::sys;

/// A merged directory; a cheap clone.
#[derive(Clone, Debug)]
pub(crate) struct MergedDirectory {
    /// The layers' directories, topmost first; never empty.
    parts: Arc<[Part]>,
}

#[derive(Debug)]
struct Part {
    layer: usize,
    directory: OwnedFd,
}

/// What a merged directory has at a name.
#[derive(Debug)]
pub(crate) enum Child {
    Missing,
    Directory(MergedDirectory),
    Symlink(PathBuf),
    /// A file, device, pipe or socket.
    Other,
}

/// A name, the layer it comes from, and what is there.
pub(crate) type Found = (OsString, usize, Stat);

impl MergedDirectory {
    /// Merges the roots of layers, topmost first.
    pub(crate) fn new(roots: Vec<OwnedFd>) -> Self {
        let parts = roots.into_iter().enumerate();
        Self {
            parts: parts
                .map(|(layer, directory)| Part { layer, directory })
                .collect(),
        }
    }

    /// Returns the topmost layer that has this directory, and that layer's directory.
    pub(crate) fn top(&self) -> Option<(usize, &OwnedFd)> {
        self.parts.first().map(|part| (part.layer, &part.directory))
    }

    /// Returns the topmost layer that has something of that name, with its metadata.
    pub(crate) fn find(&self, name: &OsStr) -> Result<Option<(usize, Stat)>, Errno> {
        for part in self.parts.iter() {
            match sys::find(&part.directory, name)? {
                None => {}
                Some(stat) if sys::is_whiteout(&stat) => return Ok(None),
                Some(stat) => return Ok(Some((part.layer, stat))),
            }
        }
        Ok(None)
    }

    /// Returns the directory of the topmost layer that has something of that name.
    pub(crate) fn find_at(&self, name: &OsStr) -> Result<Option<&OwnedFd>, Errno> {
        let found = self.find(name)?;
        Ok(found.and_then(|(layer, _)| self.part(layer)))
    }

    /// Returns a layer's directory of this path.
    pub(crate) fn part(&self, layer: usize) -> Option<&OwnedFd> {
        let part = self.parts.iter().find(|part| part.layer == layer);
        part.map(|part| &part.directory)
    }

    /// Opens what has that name.
    pub(crate) fn child(&self, name: &OsStr) -> Result<Child, Errno> {
        let mut parts = Vec::new();
        for part in self.parts.iter() {
            match sys::open_directory(&part.directory, name) {
                Ok(directory) => {
                    let opaque = sys::is_opaque(&directory);
                    let layer = part.layer;
                    parts.push(Part { layer, directory });
                    if opaque {
                        break;
                    }
                }
                Err(Errno::NOENT) => {}
                Err(Errno::NOTDIR | Errno::LOOP) if parts.is_empty() => {
                    return part.no_directory(name);
                }
                Err(Errno::NOTDIR | Errno::LOOP) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(match parts.is_empty() {
            true => Child::Missing,
            false => Child::Directory(Self {
                parts: parts.into(),
            }),
        })
    }

    /// Lists what the directory shows, sorted bytewise by name.
    pub(crate) fn list(&self) -> Result<Vec<Found>, Errno> {
        let mut found: Vec<Found> = Vec::new();
        for part in self.parts.iter() {
            let known = found.len();
            for name in sys::names(&part.directory)? {
                // The upper layers' names are sorted among themselves; whiteouts are among them.
                if found[..known]
                    .binary_search_by(|entry| entry.0.cmp(&name))
                    .is_ok()
                {
                    continue;
                }
                if let Some(stat) = sys::find(&part.directory, &name)? {
                    found.push((name, part.layer, stat));
                }
            }
            if known > 0 {
                found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
            }
        }
        found.retain(|(_, _, stat)| !sys::is_whiteout(stat));
        Ok(found)
    }
}

impl Part {
    fn no_directory(&self, name: &OsStr) -> Result<Child, Errno> {
        let Some(stat) = sys::find(&self.directory, name)? else {
            return Ok(Child::Missing);
        };
        Ok(match sys::file_type(&stat) {
            FileType::Symlink => Child::Symlink(sys::read_link(&self.directory, name)?),
            _ if sys::is_whiteout(&stat) => Child::Missing,
            _ => Child::Other,
        })
    }
}
