//! File systems for stores.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mica_store::{Snapshotter, SnapshotterChoice, Store, StoreOptions};
use tempfile::TempDir;

/// A file system for the store, unmounted with the value.
pub(crate) struct Place {
    directory: TempDir,
    /// The last one is mounted last.
    mounts: Vec<PathBuf>,
}

impl Place {
    /// One that shares content between files, on a loop device.
    pub(crate) fn with_clones() -> Result<Self, String> {
        let directory = tempfile::tempdir().unwrap();
        let (image, point) = (directory.path().join("image"), directory.path().join("fs"));
        let file = fs::File::create(&image).and_then(|file| file.set_len(512 << 20));
        file.and_then(|()| fs::create_dir(&point)).unwrap();
        let made = ["mkfs.xfs", "mkfs.btrfs"].into_iter().find(|mkfs| {
            let ran = Command::new(mkfs).arg("-q").arg(&image).output();
            ran.is_ok_and(|output| output.status.success())
        });
        made.ok_or("needs mkfs.xfs or mkfs.btrfs")?;
        let mut place = Self {
            directory,
            mounts: Vec::new(),
        };
        let arguments = [OsStr::new("-o"), OsStr::new("loop"), image.as_os_str()];
        place.mount(&arguments, &point)?;
        Ok(place)
    }

    /// The same below an overlay, which takes no other overlay's upper directory.
    pub(crate) fn on_an_overlay() -> Result<Self, String> {
        let mut place = Self::with_clones()?;
        let point = place.directory.path().join("fs");
        for name in ["lower", "upper", "work"] {
            fs::create_dir(point.join(name)).unwrap();
        }
        let point_text = point.display();
        let options = format!(
            "lowerdir={point_text}/lower,upperdir={point_text}/upper,workdir={point_text}/work"
        );
        place.mount(
            &["-t", "overlay", "overlay", "-o", &options].map(OsStr::new),
            &point,
        )?;
        Ok(place)
    }

    fn mount(&mut self, arguments: &[&OsStr], point: &Path) -> Result<(), String> {
        let mut mount = Command::new("mount");
        let output = mount.args(arguments).arg(point).output().unwrap();
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        self.mounts.push(point.to_owned());
        Ok(())
    }

    pub(crate) fn plain() -> Result<Self, String> {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("fs")).unwrap();
        let mounts = Vec::new();
        Ok(Self { directory, mounts })
    }

    pub(crate) fn store(&self, snapshotter: Snapshotter) -> Store {
        let options = StoreOptions {
            snapshotter: SnapshotterChoice::Fixed(snapshotter),
            ..StoreOptions::default()
        };
        Store::open_with(&self.directory.path().join("fs/root"), options).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for point in self.mounts.iter().rev() {
            // The loop device goes with the mount.
            let unmounted = Command::new("umount").arg(point).status().unwrap();
            assert!(unmounted.success(), "{}", point.display());
        }
    }
}
