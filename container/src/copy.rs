//! Copying files out of a tree: into an empty volume, or to the host.

use std::fs::File;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use mica_oci::Digest;
use mica_store::{Entry, FileType, Follow, View, Written};
use rustix::fs::CWD;

use crate::containers::Containers;
use crate::error::At;
use crate::{ContainerId, Error};

/// What a container's files are made of.
#[derive(Debug)]
pub struct ContainerFiles {
    /// The image's ID.
    pub image: Digest,
    /// What it wrote.
    pub written: Written,
}

impl Containers {
    /// Copies a file or directory of a container to the host, as `docker cp` does.
    ///
    /// Into a directory that exists it goes by its own name, else it gets the name given.
    ///
    /// # Errors
    /// [`Error::NoSuchPath`].
    pub fn copy_out(&self, id: &ContainerId, from: &Path, to: &Path) -> Result<(), Error> {
        let view = self.view(id)?;
        let none = || Error::NoSuchPath {
            path: from.display().to_string(),
            id: id.to_string(),
        };
        let entry = view.lookup(from, Follow::All)?.ok_or_else(none)?;
        // `directory/.` is its content.
        let is_content = from.as_os_str().as_encoded_bytes().ends_with(b"/.");
        let target = match (to.is_dir(), from.file_name()) {
            (true, Some(name)) if !is_content => to.join(name),
            _ => to.to_owned(),
        };
        copy_entry(&view, &entry, &target)
    }

    /// Returns the files of a container: with what is mounted while it runs, without afterwards.
    fn view(&self, id: &ContainerId) -> Result<View, Error> {
        let state = self.state(id)?;
        if state.is_running() {
            let root = PathBuf::from(format!("/proc/{}/root", state.pid));
            return Ok(View::of_directories(&[root])?);
        }
        let snapshot = self.store().open_snapshot(id.as_str())?;
        Ok(View::of_directories(&snapshot.directories())?)
    }

    /// Returns what a container's files are made of: its image, and what it wrote.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Store`].
    pub fn image_and_changes(&self, id: &ContainerId) -> Result<ContainerFiles, Error> {
        let written = self.store().open_snapshot(id.as_str())?.written()?;
        let image = self.record(id)?.image;
        Ok(ContainerFiles { image, written })
    }
}

/// Copies the content of a directory of `view`, and its owner and mode, to a directory that
/// exists; does nothing when there is no such directory.
pub(crate) fn copy_tree(view: &View, path: &Path, target: &Path) -> Result<(), Error> {
    match view.lookup(path, Follow::All)? {
        Some(entry) if entry.is_directory() => copy_entry(view, &entry, target),
        _ => Ok(()),
    }
}

fn copy_entry(view: &View, entry: &Entry, target: &Path) -> Result<(), Error> {
    match entry.file_type {
        FileType::Directory => {
            match std::fs::create_dir(target) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => made.at("create the directory", target)?,
            }
            for child in view.read_dir(entry)? {
                copy_entry(view, &child, &target.join(child.name()))?;
            }
        }
        FileType::Regular => {
            let mut source = view.open(entry)?;
            let mut file = File::create(target).at("create", target)?;
            io::copy(&mut source, &mut file).at("write", target)?;
        }
        FileType::Symlink => {
            symlink(view.read_link(entry)?, target).at("create the link", target)?;
        }
        FileType::Fifo | FileType::CharacterDevice | FileType::BlockDevice => {
            make_node(entry, target)?;
        }
        // The name of a socket is of no use without its listener.
        FileType::Socket => return Ok(()),
    }
    Ok(view.metadata(entry)?.apply(target)?)
}

fn make_node(entry: &Entry, target: &Path) -> Result<(), Error> {
    let kind = match entry.file_type {
        FileType::CharacterDevice => rustix::fs::FileType::CharacterDevice,
        FileType::BlockDevice => rustix::fs::FileType::BlockDevice,
        _ => rustix::fs::FileType::Fifo,
    };
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(CWD, target, kind, mode, entry.node).at("create", target)
}
