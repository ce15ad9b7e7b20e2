//! Layers as one tree, without a mount.
//!
//! Follows overlayfs: the topmost layer that has a name wins, directories merge down to one that
//! is opaque or to something that is none, a character device 0:0 hides what is below. Paths are
//! resolved component by component beneath open directories; symbolic links stay inside the root.

mod entry;
mod merged;

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;

pub use entry::{Entry, FileType};
pub(crate) use merged::{Child, Found, MergedDirectory};

use crate::error::At;
use crate::metadata::{open_regular, without_overlay};
use crate::{Metadata, StoreError, sys};

/// As many symbolic links as Linux follows on one path (`path_resolution(7)`).
pub(crate) const MOST_LINKS: usize = 40;

/// Longer resolved paths cannot be used: `PATH_MAX` of Linux.
pub(crate) const LONGEST_PATH: usize = 4096;

/// A merged, read-only view of layer directories.
///
/// Nothing is remembered between calls, so a layer may be written to meanwhile.
#[derive(Debug)]
pub struct View {
    roots: Vec<Root>,
    merged: MergedDirectory,
}

#[derive(Debug)]
struct Root {
    path: PathBuf,
    directory: OwnedFd,
}

/// Which symbolic links a lookup follows; always inside the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// Those on the way and the last component.
    All,
    /// Those on the way only.
    Parents,
}

/// The outcome of a walk along a path.
struct Walk {
    /// The directories on the way and the one arrived at; the root comes first.
    levels: Vec<(OsString, MergedDirectory)>,
    /// What is left: the last component when it is no directory.
    last: Option<OsString>,
}

impl View {
    /// Makes a view of directories, topmost first. No directory at all gives an empty root that
    /// nothing is found in.
    pub fn of_directories(directories: &[PathBuf]) -> Result<Self, StoreError> {
        let open = |path: &PathBuf| {
            let directory = sys::open_root(path).at("open", path)?;
            let path = path.clone();
            Ok(Root { path, directory })
        };
        let roots: Vec<Root> = directories
            .iter()
            .map(open)
            .collect::<Result<_, StoreError>>()?;
        let mut handles = Vec::with_capacity(roots.len());
        for root in &roots {
            handles.push(root.directory.try_clone().at("open", &root.path)?);
        }
        let merged = MergedDirectory::new(handles);
        Ok(Self { roots, merged })
    }

    /// Looks up a path, absolute or relative to the root; `None` when there is nothing, or when
    /// something on the way is no directory.
    ///
    /// # Errors
    /// When a directory cannot be read, or symbolic links lead in a circle.
    pub fn lookup(&self, path: &Path, follow: Follow) -> Result<Option<Entry>, StoreError> {
        let walked = self.walk(path, follow).at("look up", path)?;
        let Some(Walk { levels, last }) = walked else {
            return Ok(None);
        };
        let (mut resolved, directory) = path_of_levels(&levels);
        let found = match &last {
            None => match directory.top() {
                Some((layer, top)) => {
                    sys::find(top, OsStr::new(".")).map(|stat| stat.map(|stat| (layer, stat)))
                }
                None => Ok(None),
            },
            Some(name) => {
                resolved.push(name);
                directory.find(name)
            }
        };
        let found = found.at("look up", path)?;
        Ok(found.map(|(layer, stat)| self.entry(resolved, layer, &stat)))
    }

    /// Lists a directory, sorted bytewise by name.
    pub fn read_dir(&self, directory: &Entry) -> Result<Vec<Entry>, StoreError> {
        let path = &directory.path;
        let walked = self.walk(path, Follow::Parents).at("read", path)?;
        let merged = match &walked {
            Some(Walk { levels, last: None }) => path_of_levels(levels).1,
            _ => return Err(Errno::NOTDIR).at("read", path),
        };
        let found = merged.list().at("read", path)?;
        let entries = found.into_iter();
        Ok(entries
            .map(|(name, layer, stat)| self.entry(path.join(name), layer, &stat))
            .collect())
    }

    /// Opens a regular file for reading.
    pub fn open(&self, entry: &Entry) -> Result<File, StoreError> {
        let opened = self
            .root_of(entry)
            .and_then(|root| open_regular(root, relative(&entry.path)));
        opened.at("open", &self.host_path(entry))
    }

    /// Reads where a symbolic link leads.
    pub fn read_link(&self, entry: &Entry) -> Result<PathBuf, StoreError> {
        let target = self.root_of(entry).and_then(|root| {
            let link = sys::open_beneath(root, relative(&entry.path), OFlags::PATH)?;
            Ok(sys::read_link(&link, OsStr::new(""))?)
        });
        target.at("read", &self.host_path(entry))
    }

    /// Reads all metadata of an entry, with its extended attributes except those of overlayfs.
    pub fn metadata(&self, entry: &Entry) -> Result<Metadata, StoreError> {
        Ok(Metadata {
            attributes: self.attributes(entry)?,
            ..entry.metadata()
        })
    }

    /// Reads the extended attributes of an entry, sorted by name, except those of overlayfs.
    pub fn attributes(&self, entry: &Entry) -> Result<Vec<(OsString, Vec<u8>)>, StoreError> {
        let attributes = self.root_of(entry).and_then(|root| {
            let (parent, name) = match (entry.path.parent(), entry.path.file_name()) {
                (Some(parent), Some(name)) => (parent, name),
                _ => (Path::new("/"), OsStr::new(".")),
            };
            let parent = sys::open_directory_beneath(root, relative(parent))?;
            Ok(sys::attributes(&parent, name)?)
        });
        let attributes = attributes.at("read the attributes of", &self.host_path(entry))?;
        Ok(without_overlay(attributes))
    }

    /// Returns the root as a merged directory.
    pub(crate) fn merged_root(&self) -> &MergedDirectory {
        &self.merged
    }

    fn entry(&self, path: PathBuf, layer: usize, stat: &rustix::fs::Stat) -> Entry {
        Entry::new(path, layer, stat)
    }

    /// Returns where an entry lies on the host, for messages.
    fn host_path(&self, entry: &Entry) -> PathBuf {
        let root = self.roots.get(entry.layer).map(|root| root.path.as_path());
        root.unwrap_or(Path::new("/")).join(relative(&entry.path))
    }

    fn root_of(&self, entry: &Entry) -> std::io::Result<&OwnedFd> {
        let root = self.roots.get(entry.layer);
        root.map(|root| &root.directory)
            .ok_or_else(|| Errno::INVAL.into())
    }

    fn walk(&self, path: &Path, follow: Follow) -> Result<Option<Walk>, Errno> {
        let mut levels = vec![(OsString::new(), self.merged.clone())];
        let mut steps = components(path);
        let mut links = 0;
        while let Some(step) = steps.pop_front() {
            if step == ".." {
                levels.truncate(levels.len().saturating_sub(1).max(1));
                continue;
            }
            let is_last = steps.is_empty();
            let (_, current) = levels.last().expect("the root is never removed");
            match current.child(&step)? {
                Child::Directory(child) => levels.push((step, child)),
                Child::Symlink(target) if !is_last || follow == Follow::All => {
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(Errno::LOOP);
                    }
                    follow_link(&target, &mut levels, &mut steps);
                }
                Child::Missing => return Ok(None),
                Child::Symlink(_) | Child::Other if is_last => {
                    let last = Some(step);
                    return Ok(Some(Walk { levels, last }));
                }
                Child::Symlink(_) | Child::Other => return Ok(None),
            }
        }
        Ok(Some(Walk { levels, last: None }))
    }
}

/// Puts a link's target before the rest of the way; an absolute one starts again at the root.
pub(crate) fn follow_link<T>(target: &Path, levels: &mut Vec<T>, steps: &mut VecDeque<OsString>) {
    if target.is_absolute() {
        levels.truncate(1);
    }
    for step in components(target).into_iter().rev() {
        steps.push_front(step);
    }
}

/// Splits a path into names and `..`.
pub(crate) fn components(path: &Path) -> VecDeque<OsString> {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    });
    names.collect()
}

fn path_of_levels(levels: &[(OsString, MergedDirectory)]) -> (PathBuf, &MergedDirectory) {
    let mut path = PathBuf::from("/");
    path.extend(levels[1..].iter().map(|(name, _)| name));
    (path, &levels[levels.len() - 1].1)
}

fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}
