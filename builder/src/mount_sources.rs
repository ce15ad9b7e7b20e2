//! What bind and cache mounts show: files of a context, a stage or an image, without a copy where
//! the kernel can show them as they are to be seen.

use std::collections::HashSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mica_dockerfile::ignore::Matcher;
use mica_dockerfile::{CacheSharing, Mount as Declared};
use mica_oci::{Access, Mount, MountKind, UpperDirectory};
use mica_store::{Entry, FileType, Follow, Snapshotter, View};
use rustix::fs::{CWD, Mode};
use tempfile::TempDir;

use crate::context::{ContextSource, Owners};
use crate::copy_files::temporary_directory;
use crate::error::ErrorKind;
use crate::exchange::mount_directory_name;
use crate::mounts::{Prepared, access};
use crate::run::bind;
use crate::sources::{Selected, Wildcards};
use crate::stage::StageBuild;

impl StageBuild<'_, '_> {
    /// `type=bind`: the source's files as they are; what a `rw` mount writes is dropped.
    pub(crate) fn bind_mount(
        &self,
        mount: &Declared,
        target: &Path,
        prepared: &mut Prepared,
    ) -> Result<(), ErrorKind> {
        let source = self.mount_source(mount)?;
        let path = mount.source.as_deref().unwrap_or("/");
        let selected = source.select(path, &Matcher::default(), Wildcards::None)?;
        let Some(shown) = selected.first() else {
            return Ok(());
        };
        if shown.root.file_type != FileType::Directory {
            prepared.files.insert(target.to_owned());
        }
        if is_to_change_owners(&source, shown) || self.is_to_copy(&source, access(mount))? {
            let copy = temporary_directory(self.engine.store)?;
            let inner = self.materialise(&source, path, copy.path())?;
            prepared.mounts.push(bind(inner, target, access(mount)));
            prepared.directories.push(copy);
            return Ok(());
        }
        let kind = self.shown_as_is(&source, access(mount), prepared)?;
        let kind = match shown.root.path == Path::new("/") {
            true => kind,
            false => MountKind::Within {
                inner: Box::new(kind),
                path: shown.root.path.clone(),
            },
        };
        prepared.mounts.push(Mount {
            kind,
            target: target.to_owned(),
            access: access(mount),
        });
        Ok(())
    }

    /// Tells whether only overlayfs could show a source as it is, and is not to be had.
    fn is_to_copy(&self, source: &ContextSource, access: Access) -> Result<bool, ErrorKind> {
        let is_one = source.directories.len() < 2 && source.ignore.is_none();
        let is_plain = is_one && access == Access::ReadOnly;
        Ok(!is_plain && self.engine.store.snapshotter()? == Snapshotter::Reflink)
    }

    /// All files of a source, less those that its ignore file keeps out; writes go to a directory
    /// that is dropped.
    fn shown_as_is(
        &self,
        source: &Arc<ContextSource>,
        access: Access,
        prepared: &mut Prepared,
    ) -> Result<MountKind, ErrorKind> {
        let store = self.engine.store;
        let mut lower = source.directories.clone();
        if source.ignore.is_some() {
            let mask = temporary_directory(store)?;
            Mask { source }.make(mask.path())?;
            lower.insert(0, mask.path().to_owned());
            prepared.directories.push(mask);
        }
        if lower.is_empty() {
            let empty = temporary_directory(store)?;
            lower.push(empty.path().to_owned());
            prepared.directories.push(empty);
        }
        let upper = match access {
            Access::ReadOnly => None,
            Access::ReadWrite => {
                let scratch = temporary_directory(store)?;
                let upper = writable_top(&scratch, &lower[0])?;
                prepared.directories.push(scratch);
                Some(upper)
            }
        };
        Ok(MountKind::Overlay { lower, upper })
    }

    /// `type=cache`: a directory of the store that outlives the build.
    pub(crate) fn cache_mount(
        &self,
        mount: &Declared,
        target: &Path,
        prepared: &mut Prepared,
    ) -> Result<(), ErrorKind> {
        let start = mount
            .from
            .as_ref()
            .map(|from| self.open_source(from))
            .transpose()?;
        let name = self.cache_name(mount, target, start.as_ref())?;
        let root = self.engine.store.root().join("cache/mounts");
        fs::create_dir_all(&root).map_err(ErrorKind::io("create", &root))?;
        let directory = match mount.sharing.unwrap_or_default() {
            CacheSharing::Private => free_directory(&root, &name, prepared)?,
            CacheSharing::Shared => root.join(&name),
            CacheSharing::Locked => {
                prepared
                    .locks
                    .push(lock(&root.join(format!("{name}.lock")))?);
                root.join(&name)
            }
        };
        if !directory.exists() {
            self.make_cache(mount, start.as_ref(), &directory)?;
        }
        let whole = bind(&directory, target, access(mount));
        let inside = mount.source.as_deref().filter(|_| mount.from.is_none());
        let inside = inside.map(|path| crate::state::clean(&format!("/{path}")));
        prepared.mounts.push(match inside {
            Some(path) if path != "/" => {
                make_inside(&directory, &path)?;
                Mount {
                    kind: MountKind::Within {
                        inner: Box::new(whole.kind),
                        path: path.into(),
                    },
                    ..whole
                }
            }
            _ => whole,
        });
        Ok(())
    }

    /// A cache is known by its ID; one that starts with files of something else also by those.
    fn cache_name(
        &self,
        mount: &Declared,
        target: &Path,
        start: Option<&Arc<ContextSource>>,
    ) -> Result<String, ErrorKind> {
        let mut id = mount
            .id
            .clone()
            .unwrap_or_else(|| target.display().to_string());
        if let Some(source) = start {
            let path = mount.source.as_deref().unwrap_or("/");
            id = format!("{id}\0{}", self.tree_digest(source, path)?.0);
        }
        Ok(mount_directory_name(&id))
    }

    /// Makes a cache with what it starts from, out of sight until it is complete.
    fn make_cache(
        &self,
        mount: &Declared,
        start: Option<&Arc<ContextSource>>,
        directory: &Path,
    ) -> Result<(), ErrorKind> {
        let scratch = temporary_directory(self.engine.store)?;
        let made = match start {
            Some(source) => {
                let path = mount.source.as_deref().unwrap_or("/");
                self.materialise(source, path, scratch.path())?
            }
            None => scratch.path().join("root"),
        };
        if start.is_none() {
            fs::create_dir(&made).map_err(ErrorKind::io("create", &made))?;
        }
        if start.is_none() || mount.mode.is_some() {
            let mode = Permissions::from_mode(mount.mode.unwrap_or(0o755));
            fs::set_permissions(&made, mode).map_err(ErrorKind::io("change the mode of", &made))?;
        }
        chown(&made, mount.uid, mount.gid).map_err(ErrorKind::io("change the owner of", &made))?;
        match fs::rename(&made, directory) {
            // Another build was first.
            Err(_) if directory.exists() => Ok(()),
            renamed => renamed.map_err(ErrorKind::io("rename to", directory)),
        }
    }
}

/// Files of a context belong to root in a build. Those that do on the disk are shown as they are;
/// others have to be copied.
fn is_to_change_owners(source: &ContextSource, shown: &Selected) -> bool {
    let foreign = |uid: u32, gid: u32| (uid, gid) != (0, 0);
    source.owners == Owners::Root && shown.entries().any(|entry| foreign(entry.uid, entry.gid))
}

/// Makes the directories that take what is written, on top of a directory whose metadata shows.
fn writable_top(scratch: &TempDir, below: &Path) -> Result<UpperDirectory, ErrorKind> {
    let (upper, work) = (scratch.path().join("upper"), scratch.path().join("work"));
    for directory in [&upper, &work] {
        fs::create_dir(directory).map_err(ErrorKind::io("create", directory))?;
    }
    let view = View::of_directories(&[below.to_owned()])?;
    if let Some(root) = view.lookup(Path::new("/"), Follow::All)? {
        view.metadata(&root)?.apply(&upper)?;
    }
    Ok(UpperDirectory {
        upper,
        work,
        volatile: true,
    })
}

/// A layer of nothing but whiteouts, which hides what an ignore file keeps out of a context.
struct Mask<'m> {
    source: &'m ContextSource,
}

impl Mask<'_> {
    fn make(&self, directory: &Path) -> Result<(), ErrorKind> {
        let everything = self
            .source
            .select("/", &Matcher::default(), Wildcards::None)?;
        let kept: HashSet<PathBuf> = everything
            .iter()
            .flat_map(|selected| selected.below.iter().map(|entry| selected.relative(entry)))
            .map(Path::to_owned)
            .collect();
        let root = self.source.view.lookup(Path::new("/"), Follow::All)?;
        match root {
            Some(root) => self.hide(&root, Path::new(""), &kept, directory),
            None => Ok(()),
        }
    }

    /// Hides what is not kept in one directory, and goes on in those that are.
    fn hide(
        &self,
        entry: &Entry,
        relative: &Path,
        kept: &HashSet<PathBuf>,
        directory: &Path,
    ) -> Result<(), ErrorKind> {
        for child in self.source.view.read_dir(entry)? {
            let relative = relative.join(child.name());
            let place = directory.join(child.name());
            if !kept.contains(&relative) {
                let mode = Mode::empty();
                rustix::fs::mknodat(CWD, &place, rustix::fs::FileType::CharacterDevice, mode, 0)
                    .map_err(|error| ErrorKind::io("hide", &relative)(error.into()))?;
            } else if child.is_directory() {
                fs::create_dir(&place).map_err(ErrorKind::io("create", &place))?;
                self.hide(&child, &relative, kept, &place)?;
            }
        }
        Ok(self.source.view.metadata(entry)?.apply(directory)?)
    }
}

/// Makes a directory inside a cache, whatever links are there: they may not lead out.
fn make_inside(cache: &Path, path: &str) -> Result<(), ErrorKind> {
    let mut destination = crate::destination::Destination::new(cache, &[])?;
    destination.directory(Path::new(path))?;
    destination.finish()
}

/// Waits for a file's lock.
fn lock(path: &Path) -> Result<fs::File, ErrorKind> {
    let file = fs::File::create(path).map_err(ErrorKind::io("create", path))?;
    file.lock().map_err(ErrorKind::io("lock", path))?;
    Ok(file)
}

/// Takes the first copy of a private cache that no other step uses.
fn free_directory(root: &Path, name: &str, prepared: &mut Prepared) -> Result<PathBuf, ErrorKind> {
    for number in 0_usize.. {
        let path = root.join(format!("{name}.{number}.lock"));
        let file = fs::File::create(&path).map_err(ErrorKind::io("create", &path))?;
        if file.try_lock().is_ok() {
            prepared.locks.push(file);
            return Ok(root.join(format!("{name}.{number}")));
        }
    }
    unreachable!("numbers do not run out")
}
