//! A snapshot without overlayfs: the merged tree of the layers, each file a clone of the layer's.
//!
//! A clone (`FICLONE`, ioctl_ficlone(2)) shares its content with the layer until one of them is
//! written to, so a farm takes no space and no layer changes. What every clone was is noted, for
//! [`changes`](super::changes) to find what became of it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{self as rfs, FileType};
use serde::{Deserialize, Serialize};

use crate::error::At;
use crate::layer::{Content, copy_node};
use crate::metadata::Description;
use crate::sys::{self, Identity};
use crate::view::{Child, MergedDirectory};
use crate::{StoreError, View};

/// What a file of the farm was when it was made.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Origin {
    /// The inode in the layer that it is a clone of.
    pub(super) lower: u64,
    pub(super) identity: Identity,
}

/// The origins of a farm's files, by their inodes.
pub(super) type Origins = HashMap<u64, Origin>;

/// Fills an empty directory with clones of what a view shows, and notes them in a file.
///
/// # Errors
/// [`StoreError::NoClones`] where the file system makes none.
pub(super) fn plant(view: &View, tree: &Path, origins: &Path) -> Result<(), StoreError> {
    let root = sys::open_root(tree).at("open", tree)?;
    let mut farm = Farm {
        origins: Origins::new(),
    };
    let planted = farm.directory(view.merged_root(), &root);
    planted.map_err(|source| failed(tree, source))?;
    write(&farm.origins, origins).at("write", origins)?;
    later(origins).at("write", origins)
}

fn failed(tree: &Path, source: io::Error) -> StoreError {
    let tree = tree.to_owned();
    match source.kind() {
        io::ErrorKind::Unsupported | io::ErrorKind::CrossesDevices => {
            StoreError::NoClones { tree, source }
        }
        _ => StoreError::Io {
            action: "clone layers to",
            path: tree,
            source,
        },
    }
}

/// Reads the origins of a farm.
pub(super) fn origins(path: &Path) -> Result<Origins, StoreError> {
    let file = File::open(path).at("open", path)?;
    let read: Result<Vec<Origin>, _> = serde_json::from_reader(BufReader::new(file));
    let read = read.map_err(|source| StoreError::Damaged {
        path: path.to_owned(),
        source,
    })?;
    let keyed = read.into_iter().map(|it| (it.identity.inode, it));
    Ok(keyed.collect())
}

fn write(origins: &Origins, path: &Path) -> io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    serde_json::to_writer(&mut out, &origins.values().collect::<Vec<_>>())?;
    out.flush()
}

/// Returns when the file system's clock has gone on since the file was written: the kernel gives
/// changes within one tick the same time, and a change must not look like the clone.
fn later(path: &Path) -> io::Result<()> {
    let file = File::options().append(true).open(path)?;
    let now = || {
        file.set_modified(std::time::SystemTime::now())?;
        io::Result::Ok(Identity::of(&file)?.changed)
    };
    let before = Identity::of(&file)?.changed;
    while now()? <= before {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    Ok(())
}

/// The names of one inode become files of their own, as overlayfs makes them when they are written
/// to: what happens to one of them changes none of the others.
struct Farm {
    origins: Origins,
}

impl Farm {
    fn directory(&mut self, from: &MergedDirectory, to: &OwnedFd) -> io::Result<()> {
        for (name, layer, stat) in from.list()? {
            if sys::file_type(&stat) != FileType::Directory {
                let holder = from.part(layer).ok_or(io::ErrorKind::NotFound)?;
                copy_node(holder, &name, to, &name, Content::Cloned)?;
                self.note(stat.st_ino, Identity::at(to, &name)?);
            } else if let Child::Directory(child) = from.child(&name)? {
                self.directory(&child, &sys::make_directory(to, &name)?)?;
            }
        }
        let Some((_, top)) = from.top() else {
            return Ok(());
        };
        Description::of(top)?.apply(to)?;
        self.note(rfs::fstat(top)?.st_ino, Identity::of(to)?);
        Ok(())
    }

    fn note(&mut self, lower: u64, identity: Identity) {
        let origin = Origin { lower, identity };
        self.origins.insert(identity.inode, origin);
    }
}
