//! Copying files of the host into a running container. Every path inside is resolved beneath the
//! container's root, whatever symbolic links the container has made.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::containers::Containers;
use crate::error::At;
use crate::{ContainerId, Error};

impl Containers {
    /// Copies a file or directory of the host into a running container, as `docker cp` does: it
    /// belongs to root there and keeps its mode.
    ///
    /// Into a directory that exists it goes by its own name, else it gets the name given.
    ///
    /// # Errors
    /// [`Error::NotRunning`]; [`Error::Io`] with the path concerned.
    pub fn copy_in(&self, id: &ContainerId, from: &Path, to: &Path) -> Result<(), Error> {
        let state = self.state(id)?;
        if !state.is_running() {
            return Err(Error::NotRunning { id: id.to_string() });
        }
        let inside = Inside::open(state.pid)?;
        // `directory/.` is its content.
        let is_content = from.as_os_str().as_encoded_bytes().ends_with(b"/.");
        let target = match (inside.is_directory(to)?, from.file_name()) {
            (true, Some(name)) if !is_content => to.join(name),
            _ => to.to_owned(),
        };
        inside.copy(from, &target)
    }
}

/// The files of a running container, as it sees them.
struct Inside {
    root: OwnedFd,
}

impl Inside {
    fn open(pid: i32) -> Result<Self, Error> {
        let path = PathBuf::from(format!("/proc/{pid}/root"));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, &path, flags, Mode::empty()).at("open", &path)?;
        Ok(Self { root })
    }

    fn resolve(&self, path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::CLOEXEC;
        rustix::fs::openat2(&self.root, path, flags, mode, ResolveFlags::IN_ROOT)
    }

    fn is_directory(&self, path: &Path) -> Result<bool, Error> {
        match self.resolve(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(error) => Err(error).at("open", path),
        }
    }

    fn copy(&self, from: &Path, to: &Path) -> Result<(), Error> {
        let metadata = std::fs::symlink_metadata(from).at("inspect", from)?;
        let kind = metadata.file_type();
        let mode = Mode::from_raw_mode(metadata.permissions().mode() & 0o7777);
        if kind.is_dir() {
            self.copy_directory(from, to, mode)
        } else if kind.is_symlink() {
            let target = std::fs::read_link(from).at("read", from)?;
            let (parent, name) = self.parent(to)?;
            rustix::fs::symlinkat(&target, &parent, name).at("create the link", to)
        } else if kind.is_file() {
            self.copy_file(from, to, mode)
        } else {
            // Devices, pipes and sockets are the host's.
            Ok(())
        }
    }

    fn copy_directory(&self, from: &Path, to: &Path, mode: Mode) -> Result<(), Error> {
        if !self.is_directory(to)? {
            let (parent, name) = self.parent(to)?;
            rustix::fs::mkdirat(&parent, name, mode).at("create the directory", to)?;
        }
        for entry in std::fs::read_dir(from).at("read", from)? {
            let name = entry.at("read", from)?.file_name();
            self.copy(&from.join(&name), &to.join(&name))?;
        }
        Ok(())
    }

    fn copy_file(&self, from: &Path, to: &Path, mode: Mode) -> Result<(), Error> {
        let mut source = File::open(from).at("open", from)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOCTTY;
        let mut target = File::from(self.resolve(to, flags, mode).at("create", to)?);
        io::copy(&mut source, &mut target).at("write", to)?;
        rustix::fs::fchmod(&target, mode).at("change the mode of", to)
    }

    /// Opens the directory that a path is in.
    fn parent<'a>(&self, path: &'a Path) -> Result<(OwnedFd, &'a OsStr), Error> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Errno::EXIST).at("create", path);
        };
        let parent = if parent.as_os_str().is_empty() {
            Path::new("/")
        } else {
            parent
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let opened = self
            .resolve(parent, flags, Mode::empty())
            .at("open", parent)?;
        Ok((opened, name))
    }
}
