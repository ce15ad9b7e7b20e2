//! Directory trees with all that a layer can hold, and listings to compare them by.

use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::path::Path;
use std::process::Command;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, lgetxattr, llistxattr,
    lsetxattr, makedev, mknodat, utimensat,
};

use crate::command::run;

/// `cap_net_raw+ep`, as `linux/capability.h` lays out version 2.
const CAPABILITY: [u8; 20] = [
    1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

/// Fills a directory, as root, with every kind of file, name, owner, mode, time and attribute that
/// all tools keep.
///
/// # Panics
/// When something cannot be made.
pub fn make_rich_tree(root: &Path) {
    make_files(root);
    make_nodes(root);
    let attributed = root.join("attributes");
    fs::write(&attributed, "x").expect("the directory is ours");
    lchown(&attributed, Some(0), Some(0)).expect("root may");
    for (name, value) in [
        ("user.plain", &b"value"[..]),
        ("user.bytes", b"a\0b=\n"),
        ("security.capability", &CAPABILITY),
    ] {
        let set = lsetxattr(&attributed, name, value, XattrFlags::empty());
        set.expect("the file system has attributes");
    }
    touch(&attributed, 1_600_000_000, 0);
}

fn make_files(root: &Path) {
    let long = "long-".repeat(24);
    let odd = OsStr::from_bytes(b"not\xffUTF-8 \n\"");
    let files: [(OsString, u32, u32, u32, i64, i64); 8] = [
        ("plain".into(), 0, 0, 0o644, 1_500_000_000, 0),
        ("suid".into(), 5, 6, 0o4755, 1, 1),
        ("sgid".into(), 7, 8, 0o2711, 0, 0),
        ("none".into(), 9, 9, 0, 1_700_000_000, 123_456_789),
        ("large-id".into(), 3_000_000, 4_000_000_000, 0o600, 5, 0),
        ("late".into(), 0, 0, 0o644, 7_000_000_000, 999_999_999),
        ((long.clone() + "name").into(), 0, 0, 0o644, 5, 0),
        (odd.to_owned(), 0, 0, 0o644, 5, 0),
    ];
    let deep = root.join(&long).join(&long);
    fs::create_dir_all(&deep).expect("the directory is ours");
    for (name, user, group, mode, seconds, nanoseconds) in &files {
        for directory in [root, &deep] {
            let path = directory.join(name);
            fs::write(&path, name.as_bytes()).expect("the directory is ours");
            lchown(&path, Some(*user), Some(*group)).expect("root may");
            fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).expect("it is ours");
            touch(&path, *seconds, *nanoseconds);
        }
    }
    fs::hard_link(root.join("suid"), deep.join("hard")).expect("the file system links");
    let sparse = File::create(root.join("sparse")).expect("the directory is ours");
    sparse.write_all_at(b"end", 3 << 20).expect("there is room");
    sparse.set_len(4 << 20).expect("there is room");
    touch(&root.join("sparse"), 5, 0);
}

fn make_nodes(root: &Path) {
    for (name, target) in [
        ("relative", "../x/y"),
        ("absolute", "/nowhere"),
        ("loop", "loop"),
    ] {
        let path = root.join(name);
        symlink(target, &path).expect("the directory is ours");
        lchown(&path, Some(11), Some(12)).expect("root may");
        touch(&path, 6, 7_000);
    }
    for (name, kind, device) in [
        ("fifo", FileType::Fifo, 0),
        ("null", FileType::CharacterDevice, makedev(1, 3)),
        ("disk", FileType::BlockDevice, makedev(300, 70_000)),
    ] {
        let path = root.join(name);
        mknodat(CWD, &path, kind, Mode::from_raw_mode(0o640), device).expect("root may");
        touch(&path, 6, 0);
    }
    let sticky = root.join("sticky");
    fs::create_dir(&sticky).expect("the directory is ours");
    fs::write(sticky.join("inside"), "").expect("the directory is ours");
    touch(&sticky.join("inside"), 5, 0);
    fs::set_permissions(&sticky, fs::Permissions::from_mode(0o1777)).expect("it is ours");
}

fn touch(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).expect("the file is ours");
}

/// Lists a tree, a line each: name, type and mode, owners, time, links, device, target, a sum of
/// the content, and extended attributes. The root itself has no line; nor do `without`, names
/// directly below it.
///
/// # Panics
/// When it cannot be read.
pub fn list_tree(root: &Path, without: &[&str]) -> String {
    let mut lines = String::new();
    let skipped: Vec<&OsStr> = without.iter().map(OsStr::new).collect();
    list(root, Path::new(""), &skipped, &mut lines);
    lines
}

fn list(directory: &Path, shown: &Path, without: &[&OsStr], lines: &mut String) {
    let entries =
        fs::read_dir(directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
    let mut names: Vec<OsString> = entries
        .map(|entry| entry.expect("it can be read").file_name())
        .collect();
    names.sort();
    for name in names
        .iter()
        .filter(|name| !without.contains(&name.as_os_str()))
    {
        let (path, shown) = (directory.join(name), shown.join(name));
        let stat = fs::symlink_metadata(&path).expect("it is there");
        let _ = write!(
            lines,
            "{} {:o} {}:{}",
            shown.as_os_str().as_bytes().escape_ascii(),
            stat.mode(),
            stat.uid(),
            stat.gid()
        );
        // What made the directory in which something was changed decides on its time.
        if !stat.is_dir() {
            let (time, fraction) = (stat.mtime(), stat.mtime_nsec());
            let device = if stat.is_file() { 0 } else { stat.rdev() };
            let _ = write!(
                lines,
                " {time}.{fraction:09} {} {device} {}",
                stat.nlink(),
                stat.len()
            );
        }
        if stat.is_symlink() {
            let _ = write!(lines, " {:?}", fs::read_link(&path).expect("it is a link"));
        }
        if stat.is_file() {
            let _ = write!(lines, " {:016x}", sum(&path));
        }
        lines.push_str(&attributes(&path));
        lines.push('\n');
        if stat.is_dir() {
            list(&path, &shown, &[], lines);
        }
    }
}

/// FNV-1a, 64 bits.
fn sum(path: &Path) -> u64 {
    let mut content = Vec::new();
    let mut file = File::open(path).expect("root may");
    file.read_to_end(&mut content).expect("it can be read");
    content.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}

fn attributes(path: &Path) -> String {
    let (mut names, mut value) = (vec![0; 4096], vec![0; 65536]);
    let length = llistxattr(path, &mut names[..]).unwrap_or(0);
    let mut names: Vec<_> = names[..length].split(|byte| *byte == 0).collect();
    names.sort_unstable();
    let mut text = String::new();
    // Overlayfs's own say nothing of the file.
    let is_file = |name: &&[u8]| !name.is_empty() && !name.starts_with(b"trusted.overlay.");
    for name in names.into_iter().filter(is_file) {
        let length = lgetxattr(path, name, &mut value[..]).expect("it is there");
        let value = value[..length].escape_ascii();
        let _ = write!(text, " {}={value}", name.escape_ascii());
    }
    text
}

/// Lists what an overlay of directories shows, topmost first, mounted at `point` for the time.
///
/// # Panics
/// When it cannot be mounted.
pub fn list_overlay(lower: &str, point: &Path, without: &[&str]) -> String {
    fs::create_dir_all(point).expect("the directory is ours");
    let options = format!("ro,lowerdir={lower}");
    let mut mount = Command::new("mount");
    mount.args(["-t", "overlay", "overlay", "-o", &options]);
    run(mount.arg(point)).ok();
    let listed = list_tree(point, without);
    run(Command::new("umount").arg(point)).ok();
    listed
}
