//! Trees of every kind: tree to tar to tree gives the same. `MICA_TEST_TREES` makes more.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use mica_store::{Stack, apply_onto};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, lsetxattr, makedev, mknodat,
    utimensat,
};

use crate::tree::list_host;
use crate::{TestStore, is_root};

/// Trees that are made when nothing is said.
const TREES: u64 = 24;

/// A small generator: the same trees in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }

    /// Any bytes but NUL and slash; at times as long as the kernel takes.
    fn name(&mut self) -> OsString {
        let length = match self.below(10) {
            0 => 255,
            1 => 100 + self.below(3),
            _ => 1 + self.below(12),
        };
        let bytes = (0..length).map(|_| match self.below(4) {
            0 => self.pick(b"\xff\x80 \n=%\t\"\\'"),
            _ => b'a' + u8::try_from(self.below(26)).unwrap(),
        });
        let mut bytes: Vec<u8> = bytes.collect();
        // Names with a meaning in layers are not to be had by files.
        bytes[0] = b'n';
        OsString::from_vec(bytes)
    }

    /// The seconds that every file system keeps, and nanoseconds.
    fn time(&mut self) -> Timespec {
        let seconds = self.pick(&[-2_000_000_000, -1, 0, 1, 1_700_000_000, 5_000_000_000]);
        let nanoseconds = self.pick(&[0, 1, 500_000_000, 999_999_999]);
        Timespec {
            tv_sec: seconds,
            tv_nsec: nanoseconds,
        }
    }
}

/// Fills a directory; `files` are those that can be linked to.
fn fill(directory: &Path, depth: u64, random: &mut Random, files: &mut Vec<PathBuf>) {
    for _ in 0..random.below(7) {
        let path = directory.join(random.name());
        if path.symlink_metadata().is_ok() {
            continue;
        }
        match random.below(9) {
            0..=2 if depth > 0 => {
                fs::create_dir(&path).unwrap();
                fill(&path, depth - 1, random, files);
            }
            3 => symlink(random.name(), &path).unwrap(),
            4 => make_node(&path, random),
            5 if !files.is_empty() => {
                let place = random.below(files.len() as u64);
                fs::hard_link(&files[usize::try_from(place).unwrap()], &path).unwrap();
                continue; // its metadata is the file's
            }
            _ => {
                make_file(&path, random);
                files.push(path.clone());
            }
        }
        describe(&path, random);
    }
}

fn make_node(path: &Path, random: &mut Random) {
    let kinds = [
        FileType::Fifo,
        FileType::CharacterDevice,
        FileType::BlockDevice,
    ];
    let (kind, device) = (
        random.pick(&kinds),
        makedev(1 + random.pick(&[0, 300]), 70_000),
    );
    mknodat(CWD, path, kind, Mode::from_raw_mode(0o600), device).unwrap();
}

fn make_file(path: &Path, random: &mut Random) {
    let file = File::create(path).unwrap();
    let length = random.pick(&[0, 1, 511, 512, 513, 70_000]);
    let content: Vec<u8> = (0..length)
        .map(|_| random.next().to_le_bytes()[0])
        .collect();
    let offset = random.pick(&[0, 0, 0, 1 << 20]);
    file.write_all_at(&content, offset).unwrap();
    if random.below(4) == 0 {
        file.set_len(offset + length + random.below(100_000))
            .unwrap();
    }
}

fn describe(path: &Path, random: &mut Random) {
    let is_link = path.is_symlink();
    let ids = [0, 1, 65_534, 2_097_151, 2_097_152, 4_294_967_294];
    lchown(path, Some(random.pick(&ids)), Some(random.pick(&ids))).unwrap();
    if !is_link {
        let mode = random.pick(&[0, 0o644, 0o755, 0o4755, 0o2711, 0o1777, 0o7777]);
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    if path.is_file() && !is_link {
        let set = |name: &OsStr, value: &[u8]| {
            lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
        };
        if random.below(3) == 0 {
            set(OsStr::from_bytes(b"user.n\xff"), b"a\0b=\n");
        }
        if random.below(4) == 0 {
            set(
                "security.capability".as_ref(),
                b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
            );
        }
    }
    let time = random.time();
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

#[test]
fn any_tree_survives_tar_and_back() {
    if !is_root("any_tree_survives_tar_and_back") {
        return;
    }
    let trees = std::env::var("MICA_TEST_TREES").ok();
    let trees = trees.and_then(|text| text.parse().ok()).unwrap_or(TREES);
    for seed in 1..=trees {
        let store = TestStore::new();
        let writer = store.store.new_layer().unwrap();
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        fill(writer.path(), 3, &mut random, &mut Vec::new());
        let layer = writer.commit().unwrap();
        let mut tar = Vec::new();
        let description = store.store.layer_tar(&layer, &mut tar).unwrap();
        let applied = store.apply(&Stack::default(), &tar).unwrap();
        assert_eq!(
            list_host(&applied.path),
            list_host(&layer.path),
            "seed {seed}"
        );
        assert_eq!(
            store.store.describe(&applied).unwrap(),
            description,
            "seed {seed}"
        );
        let plain = tempfile::tempdir().unwrap();
        apply_onto(plain.path(), &tar[..], &mica_store::Limits::default()).unwrap();
        assert_eq!(
            list_host(plain.path()),
            list_host(&layer.path),
            "seed {seed}"
        );
    }
}

/// Damage anywhere in a stream is an error or changes what is unpacked: it never ends the program,
/// and what is refused leaves nothing.
#[test]
fn no_damaged_stream_breaks_anything() {
    if !is_root("no_damaged_stream_breaks_anything") {
        return;
    }
    let store = TestStore::new();
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let writer = store.store.new_layer().unwrap();
    fill(writer.path(), 2, &mut random, &mut Vec::new());
    fs::write(writer.path().join("one"), "1").unwrap();
    let layer = writer.commit().unwrap();
    let mut tar = Vec::new();
    store.store.layer_tar(&layer, &mut tar).unwrap();
    for _ in 0..200 {
        let mut damaged = tar.clone();
        for _ in 0..=random.below(3) {
            let place = usize::try_from(random.below(damaged.len() as u64)).unwrap();
            match random.below(3) {
                0 => damaged[place] = random.next().to_le_bytes()[0],
                1 => drop(damaged.drain(place..(place + 512).min(damaged.len()))),
                _ => damaged.truncate(place),
            }
            if damaged.is_empty() {
                break;
            }
        }
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        fs::create_dir(&root).unwrap();
        if apply_onto(&root, &damaged[..], &mica_store::Limits::default()).is_err() {
            assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
