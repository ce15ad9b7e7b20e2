//! Making mounts and attaching them inside a root, by descriptor and never by joined paths.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags,
};

use crate::error::{At, Error, Step};
use crate::sys::{self, Reach};

/// A directory that paths are resolved inside of, symbolic links included.
pub(crate) struct Root(OwnedFd);

/// How many links are followed in one path: as many as the kernel follows.
const MOST_LINKS: u32 = 40;

/// What a missing mount point is created as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PointKind {
    /// A directory of mode 0755.
    Directory,
    /// An empty file of mode 0644.
    File,
}

impl Root {
    /// Opens a directory as a root.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// Makes a root of an open directory.
    pub(crate) fn of(directory: &OwnedFd) -> io::Result<Self> {
        Ok(Self(directory.try_clone()?))
    }

    /// Removes an empty directory whose parent is no link.
    pub(crate) fn remove_directory(&self, path: &Path) -> Result<(), Errno> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Errno::INVAL);
        };
        let parent = self.resolve(parent, OFlags::PATH | OFlags::DIRECTORY)?;
        rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR)
    }

    /// Opens a path inside the root without following it out.
    pub(crate) fn resolve(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        self.open_at(path, flags | OFlags::CLOEXEC, Mode::empty())
    }

    /// Opens a mount point, made together with its parents when it is missing.
    pub(crate) fn mount_point(&self, path: &Path, kind: PointKind) -> Result<OwnedFd, Error> {
        let wanted = match kind {
            PointKind::Directory => OFlags::PATH | OFlags::DIRECTORY,
            PointKind::File => OFlags::PATH,
        };
        match self.resolve(path, wanted) {
            Err(Errno::NOENT) => self.create(path, kind),
            found => found.at_path(Step::CreateMountPoint, path),
        }
    }

    /// Creates a directory and its parents, each of mode 0755, unless they exist. Of a symbolic
    /// link to nowhere, what it points to is made.
    pub(crate) fn create_directories(&self, path: &Path) -> Result<OwnedFd, Errno> {
        self.create_following(path, MOST_LINKS)
    }

    fn create_following(&self, path: &Path, links: u32) -> Result<OwnedFd, Errno> {
        let directory = OFlags::PATH | OFlags::DIRECTORY;
        let mut walked = PathBuf::from("/");
        let mut components = path.components();
        while let Some(component) = components.next() {
            let next = walked.join(component);
            match self.resolve(&next, directory) {
                Err(Errno::NOENT) => {
                    let parent = self.resolve(&walked, directory)?;
                    if let Some(target) = make_directory(&parent, component.as_os_str())? {
                        let links = links.checked_sub(1).ok_or(Errno::LOOP)?;
                        let rest = walked.join(target).join(components.as_path());
                        return self.create_following(&rest, links);
                    }
                }
                found => drop(found?),
            }
            walked = next;
        }
        self.resolve(&walked, directory)
    }

    fn create(&self, path: &Path, kind: PointKind) -> Result<OwnedFd, Error> {
        match kind {
            PointKind::Directory => self.create_directories(path),
            PointKind::File => self.create_file(path, MOST_LINKS),
        }
        .at_path(Step::CreateMountPoint, path)
    }

    fn create_file(&self, path: &Path, links: u32) -> Result<OwnedFd, Errno> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Errno::ISDIR);
        };
        let directory = self.create_directories(parent)?;
        if let Some(target) = link_target(&directory, name) {
            let links = links.checked_sub(1).ok_or(Errno::LOOP)?;
            return self.create_file(&parent.join(target), links);
        }
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOCTTY | OFlags::CLOEXEC;
        self.open_at(path, flags, Mode::from_raw_mode(0o644))?;
        self.resolve(path, OFlags::PATH)
    }

    fn open_at(&self, path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        rustix::fs::openat2(&self.0, path, flags, mode, ResolveFlags::IN_ROOT)
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Makes a directory of mode 0755, or returns where a symbolic link of the name points to. A
/// directory that another process made meanwhile is as good.
fn make_directory(parent: &OwnedFd, name: &OsStr) -> Result<Option<PathBuf>, Errno> {
    match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
        Err(Errno::EXIST) => Ok(link_target(parent, name)),
        made => made.map(|()| None),
    }
}

fn link_target(directory: &OwnedFd, name: &OsStr) -> Option<PathBuf> {
    let target = rustix::fs::readlinkat(directory, name, Vec::new()).ok()?;
    Some(PathBuf::from(OsString::from_vec(target.into_bytes())))
}

/// Creates a file system that is not attached anywhere yet (fsopen(2)); an option without a value
/// is a flag.
pub(crate) fn new_file_system(
    kind: &str,
    options: &[(&str, Option<&str>)],
    attributes: MountAttrFlags,
) -> Result<OwnedFd, Errno> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(&context, "source", kind)?; // what `mount` shows
    for (name, value) in options {
        match value {
            Some(value) => rustix::mount::fsconfig_set_string(&context, *name, *value)?,
            None => rustix::mount::fsconfig_set_flag(&context, *name)?,
        }
    }
    rustix::mount::fsconfig_create(&context)?;
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Copies what is mounted at a path, with all below it, unattached: the source of a bind mount.
pub(crate) fn clone_path(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    rustix::mount::open_tree(CWD, path, flags | OpenTreeFlags::AT_RECURSIVE)
}

/// Copies the mount of an open file, with all below it, unattached.
pub(crate) fn clone_tree(file: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let flags = flags | OpenTreeFlags::AT_RECURSIVE | OpenTreeFlags::AT_EMPTY_PATH;
    rustix::mount::open_tree(file, "", flags)
}

/// Attaches an unattached mount over an open file or directory.
pub(crate) fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(mount, "", target, "", flags)
}

/// Detaches what is mounted at an open directory, the root of a mount.
pub(crate) fn detach(mount: &OwnedFd) -> Result<(), Errno> {
    let path = format!("/proc/self/fd/{}", mount.as_raw_fd());
    rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH)
}

/// Attaches an unattached mount read-only.
///
/// Before Linux 5.12 the attribute cannot be set beforehand nor on a whole tree: the mount is then
/// attached first, and what is mounted below it stays as it was.
pub(crate) fn attach_read_only(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    match sys::set_mount_read_only(mount, Reach::Tree) {
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
            attach(mount, target)?;
            remount_read_only(mount)
        }
        set => {
            set?;
            Ok(attach(mount, target)?)
        }
    }
}

/// Makes the mount of an open file read-only.
pub(crate) fn make_read_only(mount: BorrowedFd<'_>) -> io::Result<()> {
    match sys::set_mount_read_only(mount, Reach::One) {
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => remount_read_only(mount),
        set => set,
    }
}

/// Makes an attached mount read-only the way of mount(2), which wants the flags that the mount
/// already has repeated.
fn remount_read_only(mount: BorrowedFd<'_>) -> io::Result<()> {
    let present = rustix::fs::fstatvfs(mount)?.f_flag.bits();
    let kept = [
        (libc::ST_NOSUID, MountFlags::NOSUID),
        (libc::ST_NODEV, MountFlags::NODEV),
        (libc::ST_NOEXEC, MountFlags::NOEXEC),
        (libc::ST_NOATIME, MountFlags::NOATIME),
        (libc::ST_NODIRATIME, MountFlags::NODIRATIME),
        (libc::ST_RELATIME, MountFlags::RELATIME),
    ];
    let mut flags = MountFlags::BIND | MountFlags::RDONLY;
    for (bit, flag) in kept {
        flags.set(flag, present & bit != 0);
    }
    let path = format!("/proc/self/fd/{}", mount.as_raw_fd());
    Ok(rustix::mount::mount_remount(path, flags, c"")?)
}
