//! The root file system of a sandbox: attached, entered, and the host's left behind.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use mica_oci::{MountKind, UpperDirectory};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
};

use crate::attach::{self, Root};
use crate::error::{At, Error, Step};

/// fsconfig(2) refuses strings of 256 bytes and more.
const LONGEST_OPTION: usize = 255;

/// Cuts the mount namespace off from the host's: nothing mounted here shows there.
pub(crate) fn make_private() -> Result<(), Error> {
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", flags).at(Step::MakeMountsPrivate)
}

/// Attaches the root file system to the mount point and opens it.
pub(crate) fn mount_root(kind: &MountKind, mount_point: &Path) -> Result<Root, Error> {
    let step = || Step::Mount(describe(kind).to_string());
    let mount = new_mount(kind).at_path(step(), mount_point)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let target = rustix::fs::open(mount_point, flags, Mode::empty())
        .at_path(Step::CreateMountPoint, mount_point)?;
    if let Some(mount) = mount {
        attach::attach(mount.as_fd(), target.as_fd()).at_path(step(), mount_point)?;
    } else if let MountKind::Overlay { lower, upper } = kind {
        mount_overlay_by_name(lower, upper.as_ref(), mount_point).at_path(step(), mount_point)?;
    }
    Root::open(mount_point).at_path(step(), mount_point)
}

/// Names a kind of mount as an error message does.
pub(crate) fn describe(kind: &MountKind) -> &'static str {
    match kind {
        MountKind::Bind { .. } | MountKind::Within { .. } => "the bind mount",
        MountKind::Tmpfs { .. } => "tmpfs",
        MountKind::Overlay { .. } => "overlay",
    }
}

/// Makes a mount that is not attached yet; `None` for an overlay on a kernel (before 6.5) that
/// takes layers only through mount(2).
pub(crate) fn new_mount(kind: &MountKind) -> io::Result<Option<OwnedFd>> {
    match kind {
        MountKind::Bind { source } => Ok(Some(attach::clone_path(source)?)),
        // A part can be copied only of what is attached: see `mounts`.
        MountKind::Within { .. } => Err(Errno::INVAL.into()),
        MountKind::Tmpfs { size, mode } => Ok(Some(new_tmpfs(*size, *mode)?)),
        MountKind::Overlay { lower, upper: None } if lower.len() == 1 => {
            // overlayfs wants two layers or an upper directory: one layer alone is that directory.
            let tree = attach::clone_path(&lower[0])?;
            attach::make_read_only(tree.as_fd())?;
            Ok(Some(tree))
        }
        MountKind::Overlay { lower, upper } => match new_overlay(lower, upper.as_ref()) {
            Err(Errno::INVAL | Errno::NOSYS) => Ok(None),
            made => Ok(Some(made?)),
        },
    }
}

fn new_tmpfs(size: Option<u64>, mode: u32) -> Result<OwnedFd, Errno> {
    let mode = format!("{mode:o}");
    let size = size.map(|bytes| bytes.to_string());
    let mut options = vec![("mode", Some(mode.as_str()))];
    if size.is_some() {
        options.push(("size", size.as_deref()));
    }
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    attach::new_file_system("tmpfs", &options, attributes)
}

/// Stacks layers through fsconfig(2): one call a layer, so their number is not bounded by the page
/// that mount(2) takes its options in.
fn new_overlay(lower: &[PathBuf], upper: Option<&UpperDirectory>) -> Result<OwnedFd, Errno> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", "overlay")?;
    // Long paths are named by a descriptor, which must stay open until the stack is made.
    let mut held = Vec::new();
    for layer in lower {
        fsconfig_set_string(&context, "lowerdir+", short_name(layer, &mut held)?)?;
    }
    if let Some(upper) = upper {
        fsconfig_set_string(&context, "upperdir", short_name(&upper.upper, &mut held)?)?;
        fsconfig_set_string(&context, "workdir", short_name(&upper.work, &mut held)?)?;
        if upper.volatile {
            fsconfig_set_flag(&context, "volatile")?;
        }
    }
    for (name, value) in OVERLAY_OPTIONS {
        fsconfig_set_string(&context, *name, *value)?;
    }
    fsconfig_create(&context)?;
    fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )
}

/// Tells whether overlayfs is to be had, and takes an upper directory on the file system of this
/// empty directory, which is not so for one on an overlay. Nothing is attached.
pub fn takes_overlay(directory: &Path) -> bool {
    let try_it = || -> io::Result<()> {
        for name in ["lower", "upper", "work"] {
            std::fs::create_dir(directory.join(name))?;
        }
        let place = rustix::fs::open(directory, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        for (option, name) in [
            ("lowerdir", "lower"),
            ("upperdir", "upper"),
            ("workdir", "work"),
        ] {
            let path = format!("/proc/self/fd/{}/{name}", place.as_raw_fd());
            fsconfig_set_string(&context, option, path)?;
        }
        Ok(fsconfig_create(&context)?)
    };
    match try_it() {
        // Before Linux 5.2 it is found out by mounting.
        Err(error) if error.raw_os_error() == Some(Errno::NOSYS.raw_os_error()) => true,
        tried => tried.is_ok(),
    }
}

/// With these off, an upper directory holds nothing but plain files and whiteouts: it can be read
/// as a layer and stacked elsewhere. Kernels differ in their defaults.
const OVERLAY_OPTIONS: &[(&str, &str)] = &[
    ("index", "off"),
    ("redirect_dir", "off"),
    ("metacopy", "off"),
];

fn short_name(path: &Path, held: &mut Vec<OwnedFd>) -> Result<PathBuf, Errno> {
    if path.as_os_str().len() <= LONGEST_OPTION {
        return Ok(path.to_path_buf());
    }
    let descriptor = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let name = PathBuf::from(format!("/proc/self/fd/{}", descriptor.as_raw_fd()));
    held.push(descriptor);
    Ok(name)
}

/// What mount(2) takes of its options, with the zero at their end.
const PAGE: usize = 4096;

/// Stacks layers through mount(2), for kernels before 6.5. Its options must fit one page: each
/// layer is named by a descriptor, which leaves room for about 200 layers.
///
/// # Errors
/// `E2BIG` for more.
fn mount_overlay_by_name(
    lower: &[PathBuf],
    upper: Option<&UpperDirectory>,
    target: &Path,
) -> io::Result<()> {
    let mut held = Vec::new();
    let mut name = |path: &Path| -> io::Result<String> {
        let descriptor = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let name = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
        held.push(descriptor);
        Ok(name)
    };
    let layers = lower
        .iter()
        .map(|layer| name(layer))
        .collect::<io::Result<Vec<_>>>()?;
    let mut options = format!("lowerdir={}", layers.join(":"));
    if let Some(upper) = upper {
        options += &format!(
            ",upperdir={},workdir={}",
            name(&upper.upper)?,
            name(&upper.work)?
        );
        if upper.volatile {
            options += ",volatile";
        }
    }
    for (name, value) in OVERLAY_OPTIONS {
        options += &format!(",{name}={value}");
    }
    if options.len() >= PAGE {
        // The kernel would cut it off, and complain of something else.
        return Err(Errno::TOOBIG.into());
    }
    let options = std::ffi::CString::new(options)?;
    Ok(rustix::mount::mount(
        "overlay",
        target,
        "overlay",
        MountFlags::empty(),
        &*options,
    )?)
}

/// Makes the root the root of this process and detaches the host's file systems.
pub(crate) fn enter(root: &Root, mount_point: &Path) -> Result<(), Error> {
    // Both names are ".": the old root comes to lie over the new one and is then taken off it, so
    // no directory for it is needed inside the root (pivot_root(2), NOTES).
    rustix::process::fchdir(root)
        .and_then(|()| rustix::process::pivot_root(".", "."))
        .and_then(|()| rustix::mount::unmount(".", UnmountFlags::DETACH))
        .and_then(|()| rustix::process::chdir("/"))
        .at_path(Step::ChangeRoot, mount_point)
}

/// Hides kernel files: `/dev/null` over a file, an empty read-only directory over a directory.
pub(crate) fn mask(root: &Root, paths: &[PathBuf]) -> Result<(), Error> {
    let mut empty = None;
    for path in paths {
        match mask_one(root, path, &mut empty) {
            Err(Errno::NOENT | Errno::NOTDIR) => {} // not every kernel has every file
            masked => masked.at_path(Step::MaskPath, path)?,
        }
    }
    Ok(())
}

fn mask_one(root: &Root, path: &Path, empty: &mut Option<OwnedFd>) -> Result<(), Errno> {
    let target = root.resolve(path, OFlags::PATH)?;
    let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&target)?.st_mode);
    if kind != rustix::fs::FileType::Directory {
        let null = rustix::fs::openat(CWD, "/dev/null", OFlags::PATH, Mode::empty())?;
        return attach::attach(attach::clone_tree(null.as_fd())?.as_fd(), target.as_fd());
    }
    // Attached once, then copied from there: an unattached mount cannot be copied by old kernels.
    if let Some(empty) = empty {
        return attach::attach(attach::clone_tree(empty.as_fd())?.as_fd(), target.as_fd());
    }
    let made = attach::new_file_system("tmpfs", &[("mode", Some("755"))], masked_attributes())?;
    attach::attach(made.as_fd(), target.as_fd())?;
    *empty = Some(made);
    Ok(())
}

fn masked_attributes() -> MountAttrFlags {
    MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC
}

/// Makes kernel files read-only, each by a read-only mount of itself.
pub(crate) fn protect(root: &Root, paths: &[PathBuf]) -> Result<(), Error> {
    for path in paths {
        match root.resolve(path, OFlags::PATH) {
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            found => found
                .map_err(io::Error::from)
                .and_then(|target| {
                    let tree = attach::clone_tree(target.as_fd())?;
                    attach::attach_read_only(tree.as_fd(), target.as_fd())
                })
                .at_path(Step::MakeReadOnly, path)?,
        }
    }
    Ok(())
}
