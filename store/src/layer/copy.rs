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
    let mut links = HashMap::new();
    copy_directory(from, to, &PathBuf::new(), to, &mut links)
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

/// The first place of each inode that has more than one name.
type Links = HashMap<(u64, u64), PathBuf>;

fn copy_directory(
    from: &OwnedFd,
    to: &OwnedFd,
    path: &Path,
    root: &OwnedFd,
    links: &mut Links,
) -> io::Result<()> {
    for name in sys::names(from)? {
        match copy_entry(from, to, &path.join(&name), root, links) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => result?,
        }
    }
    finish_directory(from, to)
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

fn copy_entry(
    from: &OwnedFd,
    to: &OwnedFd,
    path: &Path,
    root: &OwnedFd,
    links: &mut Links,
) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default();
    let stat = sys::stat(from, name)?;
    if sys::file_type(&stat) == FileType::Directory {
        let directory = sys::open_directory(from, name)?;
        let made = sys::make_directory(to, name)?;
        return copy_directory(&directory, &made, path, root, links);
    }
    if stat.st_nlink > 1 {
        let inode = (stat.st_dev, stat.st_ino);
        if let Some(first) = links.get(&inode) {
            return Ok(rfs::linkat(root, first, to, name, AtFlags::empty())?);
        }
        copy_node(from, name, to, name)?;
        links.insert(inode, path.to_owned());
        return Ok(());
    }
    copy_node(from, name, to, name)
}

/// Copies anything but a directory.
pub(crate) fn copy_node(
    from: impl AsFd,
    name: &OsStr,
    to: impl AsFd,
    new_name: &OsStr,
) -> io::Result<()> {
    let stat = sys::stat(&from, name)?;
    let kind = sys::file_type(&stat);
    if kind == FileType::RegularFile {
        return copy_file(from, name, to, new_name);
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

fn copy_file(from: impl AsFd, name: &OsStr, to: impl AsFd, new_name: &OsStr) -> io::Result<()> {
    let source = sys::open_file(from, name)?;
    let stat = rfs::fstat(&source)?;
    let copy = sys::create_file(to, new_name)?;
    sys::copy_content(&source, &copy, stat.st_size as u64)?;
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
