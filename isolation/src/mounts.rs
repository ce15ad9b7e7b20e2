//! The mounts of a sandbox below its root: those every sandbox has, then the caller's.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use mica_oci::{Access, Mount, MountKind};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use crate::attach::{self, PointKind, Root};
use crate::cgroup::Cgroup;
use crate::error::{At, Error, Step};
use crate::root;
use crate::spec::{SandboxSpec, Share};

/// The group that owns terminals (`tty`) in every distribution.
const TERMINAL_GROUP: &str = "5";

/// Mounts `/proc`, `/dev` and what belongs in it, and `/sys`.
pub(crate) fn mount_standard(root: &Root, spec: &SandboxSpec) -> Result<(), Error> {
    let quiet = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let sealed = quiet | MountAttrFlags::MOUNT_ATTR_NODEV;
    mount_new(root, "proc", "/proc", &[], sealed)?;
    let options = [("mode", Some("755")), ("size", Some("65536k"))];
    let strict = MountAttrFlags::MOUNT_ATTR_STRICTATIME | MountAttrFlags::MOUNT_ATTR_NOSUID;
    let devices = mount_new(root, "tmpfs", "/dev", &options, strict)?;
    make_devices(&devices)?;
    let options = [
        ("newinstance", None),
        ("ptmxmode", Some("0666")),
        ("mode", Some("0620")),
        ("gid", Some(TERMINAL_GROUP)),
    ];
    mount_new(root, "devpts", "/dev/pts", &options, quiet)?;
    mount_shared_memory(root, spec, sealed)?;
    mount_system_files(root, sealed | MountAttrFlags::MOUNT_ATTR_RDONLY)
}

fn mount_new(
    root: &Root,
    kind: &str,
    path: &str,
    options: &[(&str, Option<&str>)],
    attributes: MountAttrFlags,
) -> Result<OwnedFd, Error> {
    let target = root.mount_point(Path::new(path), PointKind::Directory)?;
    attach::new_file_system(kind, options, attributes)
        .and_then(|mount| attach::attach(mount.as_fd(), target.as_fd()).map(|()| mount))
        .at_path(Step::Mount(kind.to_string()), path)
}

/// `/dev/shm` and `/dev/mqueue` go with the IPC namespace: the host's when that is shared.
fn mount_shared_memory(
    root: &Root,
    spec: &SandboxSpec,
    sealed: MountAttrFlags,
) -> Result<(), Error> {
    if spec.namespaces.ipc == Share::Host {
        bind(
            root,
            Path::new("/dev/shm"),
            Path::new("/dev/shm"),
            Access::ReadWrite,
        )?;
        return match Path::new("/dev/mqueue").exists() {
            true => bind(
                root,
                Path::new("/dev/mqueue"),
                Path::new("/dev/mqueue"),
                Access::ReadWrite,
            ),
            false => Ok(()),
        };
    }
    let size = spec.shm_size.to_string();
    let options = [("mode", Some("1777")), ("size", Some(size.as_str()))];
    // A mount of the caller's own there takes its place.
    if !spec
        .mounts
        .iter()
        .any(|mount| mount.target == Path::new("/dev/shm"))
    {
        mount_new(root, "tmpfs", "/dev/shm", &options, sealed)?;
    }
    match mount_new(root, "mqueue", "/dev/mqueue", &[], sealed) {
        // A kernel without POSIX message queues has nothing to show.
        Err(Error::Setup { source, .. }) if source.raw_os_error() == Some(libc::ENODEV) => Ok(()),
        mounted => mounted.map(drop),
    }
}

/// `/sys` shows the network namespace it was mounted in. Whoever may not mount it (it takes rights
/// over the network namespace) gets the host's, read-only as well.
fn mount_system_files(root: &Root, attributes: MountAttrFlags) -> Result<(), Error> {
    match mount_new(root, "sysfs", "/sys", &[], attributes) {
        Err(Error::Setup { source, .. }) if source.raw_os_error() == Some(libc::EPERM) => {
            bind(root, Path::new("/sys"), Path::new("/sys"), Access::ReadOnly)
        }
        mounted => mounted.map(drop),
    }
}

/// Makes the devices and links that programs expect in `/dev`.
fn make_devices(directory: &OwnedFd) -> Result<(), Error> {
    let devices = [
        ("null", 1, 3),
        ("zero", 1, 5),
        ("full", 1, 7),
        ("random", 1, 8),
        ("urandom", 1, 9),
        ("tty", 5, 0),
    ];
    for (name, major, minor) in devices {
        make_device(directory, name, rustix::fs::makedev(major, minor))
            .at_path(Step::CreateDevice, Path::new("/dev").join(name))?;
    }
    let links = [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ];
    for (name, target) in links {
        rustix::fs::symlinkat(target, directory, name)
            .at_path(Step::CreateDevice, Path::new("/dev").join(name))?;
    }
    Ok(())
}

/// Makes a device, or binds the host's where devices may not be made.
fn make_device(directory: &OwnedFd, name: &str, device: u64) -> io::Result<()> {
    let mode = Mode::from_raw_mode(0o666);
    match rustix::fs::mknodat(directory, name, FileType::CharacterDevice, mode, device) {
        Err(Errno::PERM) => {}
        made => return Ok(made?),
    }
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    let target = rustix::fs::openat(directory, name, flags, mode)?;
    let source = attach::clone_path(&Path::new("/dev").join(name))?;
    Ok(attach::attach(source.as_fd(), target.as_fd())?)
}

/// Binds the sandbox's own cgroup directories, read-only, below `/sys/fs/cgroup`.
///
/// Called inside the sandbox's cgroup namespace. A host whose `/sys` has no such directory, or
/// that refuses, leaves it out: nothing a program needs depends on it.
pub(crate) fn mount_cgroups(root: &Root, cgroup: &Cgroup) -> Result<(), Error> {
    let point = Path::new("/sys/fs/cgroup");
    let Ok(target) = root.resolve(point, OFlags::PATH | OFlags::DIRECTORY) else {
        return Ok(());
    };
    if let Some(directory) = cgroup.unified_only() {
        return bind_onto(directory, &target, Access::ReadOnly).at_path(mount_step(), point);
    }
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let top = attach::new_file_system("tmpfs", &[("mode", Some("755"))], attributes)
        .and_then(|mount| attach::attach(mount.as_fd(), target.as_fd()).map(|()| mount))
        .at_path(mount_step(), point)?;
    for (name, directory) in cgroup.directories() {
        bind_hierarchy(&top, &name, directory).at_path(mount_step(), point.join(name))?;
    }
    attach::make_read_only(top.as_fd()).at_path(mount_step(), point)
}

fn mount_step() -> Step {
    Step::Mount("the cgroup".to_string())
}

fn bind_hierarchy(top: &OwnedFd, name: &str, directory: &Path) -> io::Result<()> {
    rustix::fs::mkdirat(top, name, Mode::from_raw_mode(0o755))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let target = rustix::fs::openat(top, name, flags, Mode::empty())?;
    bind_onto(directory, &target, Access::ReadOnly)
}

/// Attaches the caller's mounts, in order.
pub(crate) fn mount_extra(root: &Root, mounts: &[Mount]) -> Result<(), Error> {
    for mount in mounts {
        match &mount.kind {
            MountKind::Bind { source } => bind(root, source, &mount.target, mount.access)?,
            MountKind::Within { inner, path } => {
                mount_part(root, inner, path, &mount.target, mount.access)?;
            }
            kind => mount_directory(root, kind, &mount.target, mount.access)?,
        }
    }
    Ok(())
}

fn mount_directory(
    root: &Root,
    kind: &MountKind,
    path: &Path,
    access: Access,
) -> Result<(), Error> {
    let step = || Step::Mount(root::describe(kind).to_string());
    let target = root.mount_point(path, PointKind::Directory)?;
    let mount = root::new_mount(kind)
        .and_then(|mount| mount.ok_or_else(|| Errno::INVAL.into()))
        .at_path(step(), path)?;
    attach_with(&mount, &target, access).at_path(step(), path)
}

/// Where a file system is attached while a part of it is copied: in the sandbox's own `/dev`.
const HIDDEN: &str = "/dev/.mica-part";

/// Mounts a file or directory of a file system that is not attached anywhere.
fn mount_part(
    root: &Root,
    inner: &MountKind,
    part: &Path,
    path: &Path,
    access: Access,
) -> Result<(), Error> {
    let step = || Step::Mount("the bind mount".to_string());
    let hidden = root.mount_point(Path::new(HIDDEN), PointKind::Directory)?;
    let whole = root::new_mount(inner)
        .and_then(|mount| mount.ok_or_else(|| Errno::INVAL.into()))
        .at_path(step(), path)?;
    attach::attach(whole.as_fd(), hidden.as_fd()).at_path(step(), path)?;
    let found = Root::of(&whole)
        .and_then(|whole| Ok(whole.resolve(part, OFlags::PATH)?))
        .at_path(Step::OpenBindSource, part)?;
    let status = rustix::fs::fstat(&found).at_path(Step::OpenBindSource, part)?;
    let kind = match FileType::from_raw_mode(status.st_mode) {
        FileType::Directory => PointKind::Directory,
        _ => PointKind::File,
    };
    let target = root.mount_point(path, kind)?;
    attach::clone_tree(found.as_fd())
        .map_err(io::Error::from)
        .and_then(|tree| attach_with(&tree, &target, access))
        .and_then(|()| Ok(attach::detach(&whole)?))
        .and_then(|()| Ok(root.remove_directory(Path::new(HIDDEN))?))
        .at_path(step(), path)
}

/// Binds a file or directory of the host onto a path inside the root.
fn bind(root: &Root, source: &Path, path: &Path, access: Access) -> Result<(), Error> {
    let status = rustix::fs::stat(source).at_path(Step::OpenBindSource, source)?;
    let kind = match FileType::from_raw_mode(status.st_mode) {
        FileType::Directory => PointKind::Directory,
        _ => PointKind::File,
    };
    let target = root.mount_point(path, kind)?;
    bind_onto(source, &target, access).at_path(Step::Mount("the bind mount".to_string()), path)
}

fn bind_onto(source: &Path, target: &OwnedFd, access: Access) -> io::Result<()> {
    attach_with(&attach::clone_path(source)?, target, access)
}

fn attach_with(mount: &OwnedFd, target: &OwnedFd, access: Access) -> io::Result<()> {
    match access {
        Access::ReadOnly => attach::attach_read_only(mount.as_fd(), target.as_fd()),
        Access::ReadWrite => Ok(attach::attach(mount.as_fd(), target.as_fd())?),
    }
}
