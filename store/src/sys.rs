//! Work on files by directory handle and name: what `std` has no safe way for.
//!
//! Nothing here follows a symbolic link. A name is a single component, or `.` for the directory
//! itself, unless a function says otherwise.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{
    self, AtFlags, FileType, Gid, Mode, OFlags, RawDir, ResolveFlags, Stat, StatxFlags,
    StatxTimestamp, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// The attribute by which overlayfs knows a directory that hides those of lower layers.
/// Source: Linux, `Documentation/filesystems/overlayfs.rst`, "whiteouts and opaque directories".
const OPAQUE: &str = "trusted.overlay.opaque";

/// The same for a mount with `userxattr`: what a plain user may set.
const USER_OPAQUE: &str = "user.overlay.opaque";

/// A point in time: seconds since 1970, which may be negative, and nanoseconds.
pub type Time = (i64, u32);

/// An extended attribute: its name and value.
pub type Attribute = (OsString, Vec<u8>);

/// The owner, mode and times that a file is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The permission bits, with set-user-ID, set-group-ID and sticky.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The time of the last change.
    pub modified: Time,
}

impl Facts {
    pub(crate) fn of(stat: &Stat) -> Self {
        Self {
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            modified: modified(stat),
        }
    }
}

/// Returns the user and group that this process makes files as.
pub(crate) fn own_ids() -> (u32, u32) {
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    (user.as_raw(), group.as_raw())
}

pub(crate) fn modified(stat: &Stat) -> Time {
    (stat.st_mtime, stat.st_mtime_nsec as u32)
}

pub(crate) fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// The mode of the mark for a removed file where overlayfs's own cannot be made: on an overlay. The
/// device, 0:1, is none that a driver has.
const NESTED_WHITEOUT: u32 = 0o7000;

/// Tells whether a file is the mark for a removed one: a character device 0:0, as overlayfs has
/// it, or in a store that lies on an overlay 0:1 with the mode 07000.
pub fn is_whiteout_mark(mode: u32, device: u64) -> bool {
    let is_device = FileType::from_raw_mode(mode) == FileType::CharacterDevice;
    let is_nested = device == fs::makedev(0, 1) && mode & 0o7777 == NESTED_WHITEOUT;
    is_device && (device == 0 || is_nested)
}

pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    is_whiteout_mark(stat.st_mode, stat.st_rdev)
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Opens a directory of the host, by any path.
pub(crate) fn open_root(path: &Path) -> Result<OwnedFd, Errno> {
    fs::open(path, DIRECTORY - OFlags::NOFOLLOW, Mode::empty())
}

/// Opens a directory; `ENOTDIR` or `ELOOP` when it is something else.
pub(crate) fn open_directory(at: impl AsFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    fs::openat(at, name, DIRECTORY, Mode::empty())
}

/// Opens what is at a relative path of any length below a directory; no component of it may be a
/// symbolic link, and none can lead out.
pub(crate) fn open_beneath(at: impl AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat2(at, path, flags, Mode::empty(), resolve)
}

/// Opens the directory at a relative path, as [`open_beneath`].
pub(crate) fn open_directory_beneath(at: impl AsFd, path: &Path) -> Result<OwnedFd, Errno> {
    open_beneath(at, path, DIRECTORY)
}

/// Makes a new regular file, mode 0600, open for writing.
pub(crate) fn create_file(at: impl AsFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(at, name, flags, Mode::RUSR | Mode::WUSR)
}

/// Opens a regular file for reading. Nothing happens to a device or pipe of that name: it is
/// not waited for.
pub(crate) fn open_file(at: impl AsFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    fs::openat(at, name, flags, Mode::empty())
}

/// Makes a directory, mode 0700, and opens it.
pub(crate) fn make_directory(at: impl AsFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    fs::mkdirat(&at, name, Mode::RWXU)?;
    open_directory(at, name)
}

pub(crate) fn make_whiteout(at: impl AsFd, name: &OsStr) -> Result<(), Errno> {
    let kind = FileType::CharacterDevice;
    match fs::mknodat(&at, name, kind, Mode::empty(), 0) {
        Err(Errno::PERM) => {
            let mode = Mode::from_raw_mode(NESTED_WHITEOUT);
            fs::mknodat(at, name, kind, mode, fs::makedev(0, 1))
        }
        made => made,
    }
}

pub(crate) fn stat(at: impl AsFd, name: &OsStr) -> Result<Stat, Errno> {
    fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW)
}

/// As [`stat`], with `None` where there is nothing.
pub(crate) fn find(at: impl AsFd, name: &OsStr) -> Result<Option<Stat>, Errno> {
    match stat(at, name) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What tells a file from all others, and from itself before a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) inode: u64,
    /// When the inode was made; the number alone may come again. Zero where that is not kept.
    pub(crate) born: Time,
    /// When its content or metadata changed last; the kernel alone sets it.
    pub(crate) changed: Time,
}

impl Identity {
    pub(crate) fn of(file: impl AsFd) -> Result<Self, Errno> {
        Self::read(file, OsStr::new(""), AtFlags::EMPTY_PATH)
    }

    pub(crate) fn at(directory: impl AsFd, name: &OsStr) -> Result<Self, Errno> {
        Self::read(directory, name, AtFlags::SYMLINK_NOFOLLOW)
    }

    fn read(at: impl AsFd, name: &OsStr, flags: AtFlags) -> Result<Self, Errno> {
        let wanted = StatxFlags::INO | StatxFlags::CTIME | StatxFlags::BTIME;
        let found = fs::statx(at, name, flags, wanted)?;
        let time = |time: StatxTimestamp| (time.tv_sec, time.tv_nsec);
        Ok(Self {
            inode: found.stx_ino,
            born: time(found.stx_btime),
            changed: time(found.stx_ctime),
        })
    }
}

pub(crate) fn read_link(at: impl AsFd, name: &OsStr) -> Result<PathBuf, Errno> {
    let target = fs::readlinkat(at, name, Vec::new())?;
    Ok(OsString::from_vec(target.into_bytes()).into())
}

/// Lists the names in a directory, sorted bytewise.
pub(crate) fn names(directory: impl AsFd) -> Result<Vec<OsString>, Errno> {
    // A handle of its own: two readers of one would share a position.
    let directory = open_directory(directory, OsStr::new("."))?;
    let mut buffer = Vec::with_capacity(32 << 10);
    let mut entries = RawDir::new(directory, buffer.spare_capacity_mut());
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name));
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Removes a file, or a directory with all it holds. It is no error when there is nothing.
pub(crate) fn remove_tree(at: impl AsFd, name: &OsStr) -> Result<(), Errno> {
    match fs::unlinkat(&at, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR) => {
            clear_directory(open_directory(&at, name)?)?;
            fs::unlinkat(at, name, AtFlags::REMOVEDIR)
        }
        Err(error) => Err(error),
    }
}

/// Removes all that a directory holds.
pub(crate) fn clear_directory(directory: impl AsFd) -> Result<(), Errno> {
    for name in names(&directory)? {
        remove_tree(&directory, &name)?;
    }
    Ok(())
}

fn set_owner(at: impl AsFd, name: &OsStr, facts: &Facts) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(facts.uid), Gid::from_raw(facts.gid));
    fs::chownat(at, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
}

/// Symbolic links have no mode of their own.
fn set_mode(at: impl AsFd, name: &OsStr, kind: FileType, facts: &Facts) -> Result<(), Errno> {
    if kind == FileType::Symlink {
        return Ok(());
    }
    fs::chmodat(at, name, Mode::from_raw_mode(facts.mode), AtFlags::empty())
}

pub(crate) fn set_modified(at: impl AsFd, name: &OsStr, time: Time) -> Result<(), Errno> {
    fs::utimensat(at, name, &timestamps(time), AtFlags::SYMLINK_NOFOLLOW)
}

/// Finishes an open regular file: owner, attributes, mode, times. Owner and content come before
/// the attributes, because a change of them drops capabilities. What is right already is left:
/// each change costs the file system a write of the inode.
pub(crate) fn finish_file(
    file: impl AsFd,
    facts: &Facts,
    attributes: &[Attribute],
) -> Result<(), Errno> {
    let found = Facts::of(&fs::fstat(&file)?);
    let owned = (found.uid, found.gid) == (facts.uid, facts.gid);
    if !owned {
        let (uid, gid) = (Uid::from_raw(facts.uid), Gid::from_raw(facts.gid));
        fs::fchown(&file, Some(uid), Some(gid))?;
    }
    for (name, value) in attributes {
        supported(fs::fsetxattr(
            &file,
            name.as_os_str(),
            value,
            XattrFlags::empty(),
        ))?;
    }
    if !owned || found.mode != facts.mode {
        fs::fchmod(&file, Mode::from_raw_mode(facts.mode))?;
    }
    fs::futimens(file, &timestamps(facts.modified))
}

/// As [`finish_file`] for whatever is not open.
pub(crate) fn finish_node(
    at: impl AsFd,
    name: &OsStr,
    kind: FileType,
    facts: &Facts,
    attributes: &[Attribute],
) -> Result<(), Errno> {
    set_owner(&at, name, facts)?;
    for (attribute, value) in attributes {
        supported(set_attribute(&at, name, attribute, value))?;
    }
    set_mode(&at, name, kind, facts)?;
    set_modified(at, name, facts.modified)
}

fn timestamps(modified: Time) -> Timestamps {
    let time = Timespec {
        tv_sec: modified.0,
        tv_nsec: modified.1.into(),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

/// A file system without extended attributes loses them, as with docker; that is no failure.
fn supported(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::OPNOTSUPP) => Ok(()),
        result => result,
    }
}

/// A path that leads to a name in an open directory; the attribute calls that take a handle and
/// a name are newer than the kernels in use.
fn path_of(at: impl AsFd, name: &OsStr) -> PathBuf {
    let mut path = PathBuf::from(format!("/proc/self/fd/{}", at.as_fd().as_raw_fd()));
    path.push(name);
    path
}

pub(crate) fn set_attribute(
    at: impl AsFd,
    name: &OsStr,
    attribute: &OsStr,
    value: &[u8],
) -> Result<(), Errno> {
    fs::lsetxattr(path_of(at, name), attribute, value, XattrFlags::empty())
}

/// Lists the extended attributes of what has that name, sorted; none where they are not
/// supported.
pub(crate) fn attributes(at: impl AsFd, name: &OsStr) -> Result<Vec<Attribute>, Errno> {
    let path = path_of(at, name);
    collect_attributes(
        |buffer| fs::llistxattr(&path, buffer),
        |name, buffer| fs::lgetxattr(&path, name, buffer),
    )
}

/// As [`attributes`] of an open file or directory.
pub(crate) fn attributes_of(file: impl AsFd) -> Result<Vec<Attribute>, Errno> {
    collect_attributes(
        |buffer| fs::flistxattr(&file, buffer),
        |name, buffer| fs::fgetxattr(&file, name, buffer),
    )
}

/// Linux limits names and each value to 64 KiB (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
const ATTRIBUTE_MAX: usize = 64 << 10;

fn collect_attributes(
    list: impl Fn(&mut [u8]) -> Result<usize, Errno>,
    get: impl Fn(&OsStr, &mut [u8]) -> Result<usize, Errno>,
) -> Result<Vec<Attribute>, Errno> {
    // Most files have none or a few: one call each, without allocating.
    let mut few = [0; 256];
    let mut many = Vec::new();
    let names = match list(&mut few) {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(Errno::RANGE) => {
            many.resize(ATTRIBUTE_MAX, 0);
            let length = list(&mut many)?;
            &many[..length]
        }
        listed => &few[..listed?],
    };
    let mut value = vec![0; ATTRIBUTE_MAX];
    let mut found = Vec::new();
    for name in names.split(|byte| *byte == 0) {
        if !name.is_empty() {
            let name = OsStr::from_bytes(name);
            let length = get(name, &mut value)?;
            found.push((name.to_owned(), value[..length].to_vec()));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Tells whether an open directory hides those of lower layers.
pub(crate) fn is_opaque(directory: impl AsFd) -> bool {
    let mut value = [0; 2];
    matches!(fs::fgetxattr(directory, opaque_mark(), &mut value), Ok(1)) && value[0] == b'y'
}

pub(crate) fn make_opaque(directory: impl AsFd) -> Result<(), Errno> {
    fs::fsetxattr(directory, opaque_mark(), b"y", XattrFlags::empty())
}

/// Root's layers are never mounted with `userxattr`: there the user's mark means nothing.
fn opaque_mark() -> &'static str {
    match rustix::process::geteuid().is_root() {
        true => OPAQUE,
        false => USER_OPAQUE,
    }
}

/// Tells whether an attribute is the mark of an opaque directory.
pub(crate) fn is_opaque_mark(name: &OsStr) -> bool {
    name == opaque_mark()
}

/// Copies a regular file's content, holes as holes; in the kernel where it can.
pub(crate) fn copy_content(from: &OwnedFd, to: &OwnedFd, size: u64) -> io::Result<()> {
    let mut position = 0;
    while position < size {
        let start = match fs::seek(from, fs::SeekFrom::Data(position)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break, // only a hole is left
            Err(error) => return Err(error.into()),
        };
        let end = fs::seek(from, fs::SeekFrom::Hole(start))?.min(size);
        copy_range(from, to, start, end)?;
        position = end.max(start + 1);
    }
    Ok(fs::ftruncate(to, size)?)
}

fn copy_range(from: &OwnedFd, to: &OwnedFd, start: u64, end: u64) -> io::Result<()> {
    let (mut read_at, mut write_at) = (start, start);
    while read_at < end {
        let length = usize::try_from(end - read_at).unwrap_or(usize::MAX);
        let copied = fs::copy_file_range(from, Some(&mut read_at), to, Some(&mut write_at), length);
        match copied {
            Ok(0) => break, // it was cut short meanwhile
            Ok(_) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => {
                return copy_range_through_memory(from, to, read_at, end);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn copy_range_through_memory(
    from: &OwnedFd,
    to: &OwnedFd,
    mut position: u64,
    end: u64,
) -> io::Result<()> {
    let mut buffer = vec![0; 256 << 10];
    while position < end {
        let length = buffer
            .len()
            .min(usize::try_from(end - position).unwrap_or(usize::MAX));
        let count = rustix::io::pread(from, &mut buffer[..length], position)?;
        if count == 0 {
            break; // it was cut short meanwhile
        }
        let mut written = 0;
        while written < count {
            written += rustix::io::pwrite(to, &buffer[written..count], position + written as u64)?;
        }
        position += count as u64;
    }
    Ok(())
}
