//! The Init layer: what the tool itself puts into a root file system.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{self as rfs, FileType};

use crate::error::At;
use crate::layer::{EntryError, LayerError, Upper};
use crate::sys::{self, Facts};
use crate::{Follow, StoreError, View};

/// Something that must be there for a container to start, such as a mount point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitEntry {
    /// Where, inside the root; symbolic links on the way are followed there.
    pub path: PathBuf,
    /// What.
    pub kind: InitKind,
}

/// What an [`InitEntry`] makes; owned by root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InitKind {
    /// An empty directory.
    Directory {
        /// Its permission bits.
        mode: u32,
    },
    /// An empty file.
    EmptyFile {
        /// Its permission bits.
        mode: u32,
    },
    /// A symbolic link to that target.
    Symlink(PathBuf),
}

/// Links that are followed from an entry's own name, when they lead to nothing.
const MOST_LINKS: usize = 40;

/// Writes the Init layer of a view into an empty directory.
pub(super) fn write(directory: &Path, view: &View, init: &[InitEntry]) -> Result<(), StoreError> {
    if init.is_empty() {
        return Ok(());
    }
    let root = sys::open_root(directory).at("open", directory)?;
    let mut upper = Upper::new(root, view);
    for entry in init {
        write_entry(&mut upper, directory, view, entry)?;
    }
    let finished = upper.finish();
    finished.map_err(|source| failed(directory, source))
}

fn write_entry(
    upper: &mut Upper<'_>,
    directory: &Path,
    view: &View,
    entry: &InitEntry,
) -> Result<(), StoreError> {
    let Some(path) = free_place(view, entry)? else {
        return Ok(());
    };
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(()); // the root itself
    };
    let wrapped = |source| failed(&entry.path, source);
    let Some(mut place) = upper.walk(parent).map_err(wrapped)? else {
        return Err(failed(
            &entry.path,
            EntryError::NotADirectory(parent.to_owned()),
        ));
    };
    upper.materialise(&mut place).map_err(wrapped)?;
    if sys::find(place.handle(), name)
        .at("look up", &path)?
        .is_some()
    {
        return Ok(()); // an earlier entry
    }
    make(place.handle(), name, &entry.kind).at("create", &directory.join(&path))?;
    upper.set_time(place.path().join(name), (0, 0));
    Ok(())
}

/// Returns where something is to be made: the path itself, or what it leads to by links that end
/// in nothing. `None` when something is there.
fn free_place(view: &View, entry: &InitEntry) -> Result<Option<PathBuf>, StoreError> {
    let mut path = entry.path.clone();
    for _ in 0..MOST_LINKS {
        let Some(there) = view.lookup(&path, Follow::Parents)? else {
            return Ok(Some(path));
        };
        let is_link = there.file_type == crate::FileType::Symlink;
        if !is_link || matches!(entry.kind, InitKind::Symlink(_)) {
            return Ok(None);
        }
        let target = view.read_link(&there)?;
        path = there.path.parent().unwrap_or(Path::new("/")).join(target);
    }
    Ok(None)
}

fn make(
    at: std::os::fd::BorrowedFd<'_>,
    name: &OsStr,
    kind: &InitKind,
) -> Result<(), rustix::io::Errno> {
    let (kind, mode) = match kind {
        InitKind::Directory { mode } => {
            sys::make_directory(at, name)?;
            (FileType::Directory, *mode)
        }
        InitKind::EmptyFile { mode } => {
            sys::create_file(at, name)?;
            (FileType::RegularFile, *mode)
        }
        InitKind::Symlink(target) => {
            rfs::symlinkat(OsStr::from_bytes(target.as_os_str().as_bytes()), at, name)?;
            (FileType::Symlink, 0o777)
        }
    };
    let facts = Facts {
        mode,
        uid: 0,
        gid: 0,
        modified: (0, 0),
    };
    sys::finish_node(at, name, kind, &facts, &[])
}

fn failed(path: &Path, source: EntryError) -> StoreError {
    LayerError::Entry {
        name: path.to_owned(),
        source,
    }
    .into()
}
