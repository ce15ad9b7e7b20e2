//! Copying files with everything that belongs to them.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{self as rfs, AtFlags, FileType, Mode, Stat};
use rustix::io::Errno;

use crate::metadata::is_overlay;
use crate::sys::{self, Attribute, Facts};

/// Copies the content of a layer directory into an empty one: owners, modes, times, attributes,
/// hard links, holes, whiteouts and opaque directories.
///
/// Files that vanish meanwhile are left out: the layer may be in use.
pub(crate) fn copy_tree(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    Copier::new(to, Content::Copied).directory(from, to, Path::new(""))
}

/// How a file gets the content of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// By copying.
    Copied,
    /// By sharing its blocks until one of them is written to: `FICLONE`, ioctl_ficlone(2).
    Cloned,
}

/// Makes an empty directory a second place of a layer's files: directories are made anew, all else
/// is linked.
pub(crate) fn link_tree(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    for name in sys::names(from)? {
        let stat = sys::stat(from, &name)?;
        if sys::file_type(&stat) == FileType::Directory {
            let directory = sys::open_directory(from, &name)?;
            link_tree(&directory, &sys::make_directory(to, &name)?)?;
        } else {
            rfs::linkat(from, &name, to, &name, AtFlags::empty())?;
        }
    }
    finish_directory(from, to)
}

/// Copies files to places below a root.
pub(crate) struct Copier<'r> {
    root: &'r OwnedFd,
    content: Content,
    /// The first place of each inode that has more than one name.
    links: HashMap<(u64, u64), PathBuf>,
}

impl<'r> Copier<'r> {
    pub(crate) fn new(root: &'r OwnedFd, content: Content) -> Self {
        Self {
            root,
            content,
            links: HashMap::new(),
        }
    }

    fn directory(&mut self, from: &OwnedFd, to: &OwnedFd, path: &Path) -> io::Result<()> {
        for name in sys::names(from)? {
            match self.entry(from, to, &path.join(&name)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                result => result?,
            }
        }
        finish_directory(from, to)
    }

    /// Copies what has the last name of `path` in `from` to `to`, the directory that `path` leads
    /// to; directories with all they hold.
    pub(crate) fn entry(&mut self, from: &OwnedFd, to: &OwnedFd, path: &Path) -> io::Result<()> {
        let name = path.file_name().unwrap_or_default();
        let stat = sys::stat(from, name)?;
        if sys::file_type(&stat) == FileType::Directory {
            let directory = sys::open_directory(from, name)?;
            let made = sys::make_directory(to, name)?;
            return self.directory(&directory, &made, path);
        }
        let inode = (stat.st_dev, stat.st_ino);
        if let Some(first) = self.links.get(&inode) {
            return Ok(rfs::linkat(self.root, first, to, name, AtFlags::empty())?);
        }
        copy_node(from, name, to, name, self.content)?;
        if stat.st_nlink > 1 {
            self.links.insert(inode, path.to_owned());
        }
        Ok(())
    }
}

/// Gives a directory the metadata of another one, after its content.
fn finish_directory(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    let stat = rfs::fstat(from)?;
    let attributes = kept(sys::attributes_of(from)?);
    Ok(sys::finish_node(
        to,
        OsStr::new("."),
        FileType::Directory,
        &Facts::of(&stat),
        &attributes,
    )?)
}

/// Copies anything but a directory.
pub(crate) fn copy_node(
    from: impl AsFd,
    name: &OsStr,
    to: impl AsFd,
    new_name: &OsStr,
    content: Content,
) -> io::Result<()> {
    let stat = sys::stat(&from, name)?;
    let kind = sys::file_type(&stat);
    if kind == FileType::RegularFile {
        return copy_file(from, name, to, new_name, content);
    }
    make_node(&from, name, &to, new_name, &stat)?;
    let attributes = kept(sys::attributes(from, name)?);
    Ok(sys::finish_node(
        to,
        new_name,
        kind,
        &Facts::of(&stat),
        &attributes,
    )?)
}

fn copy_file(
    from: impl AsFd,
    name: &OsStr,
    to: impl AsFd,
    new_name: &OsStr,
    content: Content,
) -> io::Result<()> {
    let source = sys::open_file(from, name)?;
    let stat = rfs::fstat(&source)?;
    let copy = sys::create_file(to, new_name)?;
    match content {
        Content::Copied => sys::copy_content(&source, &copy, stat.st_size as u64)?,
        Content::Cloned if stat.st_size == 0 => {}
        Content::Cloned => rfs::ioctl_ficlone(&copy, &source)?,
    }
    let attributes = kept(sys::attributes_of(&source)?);
    Ok(sys::finish_file(&copy, &Facts::of(&stat), &attributes)?)
}

fn make_node(
    from: impl AsFd,
    name: &OsStr,
    to: impl AsFd,
    new_name: &OsStr,
    stat: &Stat,
) -> Result<(), Errno> {
    match sys::file_type(stat) {
        FileType::Symlink => rfs::symlinkat(sys::read_link(from, name)?, to, new_name),
        kind => rfs::mknodat(to, new_name, kind, Mode::RUSR | Mode::WUSR, stat.st_rdev),
    }
}

/// Of overlayfs's own attributes only the mark of an opaque directory means something elsewhere.
fn kept(mut attributes: Vec<Attribute>) -> Vec<Attribute> {
    attributes.retain(|(name, _)| sys::is_opaque_mark(name) || !is_overlay(name));
    attributes
}
