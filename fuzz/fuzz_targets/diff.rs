//! Trees to layers: the bytes say what a tree holds; its tar gives the very same tree.
#![no_main]

use std::ffi::OsString;
use std::fmt::Write;
use std::fs::{self, File};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use mica_store::{Limits, apply_onto, directory_tar};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, lgetxattr, llistxattr,
    lsetxattr, makedev, mknodat, utimensat,
};

/// A place of the run's own.
static PLACE: LazyLock<tempfile::TempDir> =
    LazyLock::new(|| tempfile::tempdir().expect("a temporary directory can be made"));

/// Choices, as long as there are any.
struct Choices<'b>(&'b [u8]);

impl<'b> Choices<'b> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn bytes(&mut self, most: usize) -> &'b [u8] {
        let length = usize::from(self.byte()).min(most).min(self.0.len());
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }

    fn word(&mut self) -> u32 {
        u32::from_le_bytes([0; 4].map(|_: u8| self.byte()))
    }

    /// A name without NUL and slash; those with a meaning in layers are not to be had by files.
    fn name(&mut self) -> OsString {
        let taken = self.bytes(255).to_vec();
        let mut name: Vec<u8> = taken.iter().map(|b| if *b == 0 || *b == b'/' { b'x' } else { *b }).collect();
        if name.is_empty() || name.starts_with(b".wh.") || name == b"." || name == b".." {
            name.insert(0, b'n');
            name.truncate(255);
        }
        OsString::from_vec(name)
    }
}

/// What has been made so far.
struct Made {
    directories: Vec<PathBuf>,
    files: Vec<PathBuf>,
}

/// Makes one entry; what the kernel refuses, such as a name that is taken, is left out.
fn add(made: &mut Made, choices: &mut Choices<'_>) -> Option<()> {
    let kind = choices.byte();
    let parent = usize::from(choices.byte()) % made.directories.len();
    let path = made.directories[parent].join(choices.name());
    if path.as_os_str().len() > 2000 || path.symlink_metadata().is_ok() {
        return None;
    }
    match kind % 7 {
        0 | 1 => {
            fs::create_dir(&path).ok()?;
            made.directories.push(path.clone());
        }
        2 => symlink(choices.name(), &path).ok()?,
        3 => {
            let kinds = [FileType::Fifo, FileType::CharacterDevice, FileType::BlockDevice];
            let kind = kinds[usize::from(choices.byte()) % 3];
            // 0:0 is a whiteout.
            let device = makedev(1 + choices.word() % 4095, choices.word() % 1_048_576);
            mknodat(CWD, &path, kind, Mode::from_raw_mode(0o600), device).ok()?;
        }
        4 if !made.files.is_empty() => {
            let file = usize::from(choices.byte()) % made.files.len();
            fs::hard_link(&made.files[file], &path).ok()?;
            return Some(()); // its metadata is the file's
        }
        _ => {
            let file = File::create(&path).ok()?;
            let offset = u64::from(choices.word() % 200_000);
            file.write_all_at(choices.bytes(255), offset).ok()?;
            if choices.byte() % 4 == 0 {
                file.set_len(offset + 1000).ok()?;
            }
            made.files.push(path.clone());
        }
    }
    describe(&path, choices)
}

fn describe(path: &Path, choices: &mut Choices<'_>) -> Option<()> {
    // -1 leaves an owner as it is.
    let id = |word: u32| Some(if word == u32::MAX { 0 } else { word });
    lchown(path, id(choices.word()), id(choices.word())).ok()?;
    if !path.is_symlink() {
        let mode = choices.word() & 0o7777;
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).ok()?;
    }
    if path.is_file() && !path.is_symlink() {
        // A PAX record has no room for `=` in a name: that is an error of its own.
        let letter = |byte: &u8| if matches!(byte, 0 | b'=') { 1 } else { *byte };
        let name: Vec<u8> = choices.bytes(40).iter().map(letter).collect();
        let name = [b"user.", &name[..]].concat();
        if !name.starts_with(b"user.overlay.") {
            let value = choices.bytes(100);
            // Not every name is one to the kernel.
            let _ = lsetxattr(path, &name[..], value, XattrFlags::empty());
        }
    }
    let seconds = i64::from(choices.word().cast_signed()) * i64::from(choices.byte() % 3);
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: i64::from(choices.word() % 1_000_000_000),
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).ok()
}

/// Lists a tree with all that belongs to its files.
fn list(path: &Path, lines: &mut String) {
    let mut names: Vec<_> = fs::read_dir(path).expect("it is a directory").collect();
    names.sort_by_key(|entry| entry.as_ref().expect("it can be read").file_name());
    for entry in names {
        let path = entry.expect("it can be read").path();
        let stat = fs::symlink_metadata(&path).expect("it is there");
        let name = path.file_name().expect("it has a name");
        let (owner, time) = ((stat.uid(), stat.gid()), (stat.mtime(), stat.mtime_nsec()));
        let _ = write!(lines, "{name:?} {:o} {owner:?} {time:?} {:?}", stat.mode(), attributes(&path));
        if !stat.is_dir() {
            let device = if stat.is_file() { 0 } else { stat.rdev() };
            let _ = write!(lines, " {} {} {device}", stat.nlink(), stat.len());
        }
        if stat.is_symlink() {
            let _ = write!(lines, " {:?}", fs::read_link(&path));
        }
        if stat.is_file() {
            let _ = write!(lines, " {:?}", fs::read(&path).map(|bytes| mica_oci::Digest::of(&bytes)));
        }
        lines.push('\n');
        if stat.is_dir() {
            list(&path, lines);
            lines.push_str("..\n");
        }
    }
}

fn attributes(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let (mut names, mut value) = (vec![0; 65536], vec![0; 65536]);
    let length = llistxattr(path, &mut names[..]).expect("attributes can be listed");
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let mut found: Vec<_> = names
        .map(|name| {
            let length = lgetxattr(path, name, &mut value[..]).expect("it is there");
            (name.to_vec(), value[..length].to_vec())
        })
        .collect();
    found.sort();
    found
}

fuzz_target!(|bytes: &[u8]| {
    let place = tempfile::tempdir_in(PLACE.path()).expect("the directory is ours");
    let (root, again) = (place.path().join("root"), place.path().join("again"));
    for directory in [&root, &again] {
        fs::create_dir(directory).expect("the directory is ours");
    }
    let mut made = Made {
        directories: vec![root.clone()],
        files: Vec::new(),
    };
    let mut choices = Choices(bytes);
    while !choices.0.is_empty() {
        add(&mut made, &mut choices);
    }
    let (mut tar, mut tar_again) = (Vec::new(), Vec::new());
    directory_tar(&root, &mut tar).expect("any tree can be archived");
    apply_onto(&again, &tar[..], &Limits::default()).expect("our own tar is taken");
    let (mut expected, mut found) = (String::new(), String::new());
    list(&root, &mut expected);
    list(&again, &mut found);
    assert_eq!(expected, found, "tree to tar to tree");
    directory_tar(&again, &mut tar_again).expect("any tree can be archived");
    assert!(tar == tar_again, "the same tree gives the same tar");
});
