//! Making tar streams, and listing trees so that they can be compared.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use mica_oci::Digest;
use mica_store::{Entry, FileType, Follow, View};
use tar::{EntryType, Header};

/// A tar stream in the making.
pub(crate) struct Tar(tar::Builder<Vec<u8>>);

impl Tar {
    pub(crate) fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    pub(crate) fn directory(&mut self, name: &str, mode: u32) -> &mut Self {
        self.entry(name, EntryType::Directory, mode, b"", None)
    }

    pub(crate) fn file(&mut self, name: &str, content: &[u8], mode: u32) -> &mut Self {
        self.entry(name, EntryType::Regular, mode, content, None)
    }

    pub(crate) fn symlink(&mut self, name: &str, target: &str) -> &mut Self {
        self.entry(name, EntryType::Symlink, 0o777, b"", Some(target))
    }

    pub(crate) fn hard_link(&mut self, name: &str, target: &str) -> &mut Self {
        self.entry(name, EntryType::Link, 0o644, b"", Some(target))
    }

    /// An empty file with an extended attribute.
    pub(crate) fn attribute(&mut self, name: &str, attribute: &str, value: &[u8]) -> &mut Self {
        let key = format!("SCHILY.xattr.{attribute}");
        self.0
            .append_pax_extensions([(key.as_str(), value)])
            .unwrap();
        self.file(name, b"", 0o644)
    }

    fn entry(
        &mut self,
        name: &str,
        kind: EntryType,
        mode: u32,
        content: &[u8],
        target: Option<&str>,
    ) -> &mut Self {
        let mut header = Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_mtime(1_600_000_000);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(content.len() as u64);
        if let Some(target) = target {
            header.set_link_name_literal(target).unwrap();
        }
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    pub(crate) fn finish(&mut self) -> Vec<u8> {
        let builder = std::mem::replace(&mut self.0, tar::Builder::new(Vec::new()));
        builder.into_inner().unwrap()
    }
}

/// Lists a view as [`find_format`] does a mounted tree.
pub(crate) fn list_view(view: &View) -> Vec<String> {
    let root = view.lookup(Path::new("/"), Follow::All).unwrap().unwrap();
    let mut lines = Vec::new();
    walk(view, &root, &mut lines);
    lines.sort();
    lines
}

/// The format of find(1) that gives the same lines.
pub(crate) const FIND: &str = r"find . -mindepth 1 \( -type d -printf '/%P d %m %U %G 0 %T@\n' \) \
    -o \( -type l -printf '/%P l 777 %U %G 0 %T@ %l\n' \) \
    -o \( -type f -printf '/%P f %m %U %G %s %T@ ' -exec sh -c 'sha256sum < $0' {} \; \) \
    -o -printf '/%P %y %m %U %G 0 %T@\n'";

fn walk(view: &View, directory: &Entry, lines: &mut Vec<String>) {
    for entry in view.read_dir(directory).unwrap() {
        let kind = match entry.file_type {
            FileType::Directory => 'd',
            FileType::Symlink => 'l',
            FileType::Regular => 'f',
            FileType::CharacterDevice => 'c',
            FileType::BlockDevice => 'b',
            FileType::Fifo => 'p',
            FileType::Socket => 's',
        };
        let size = if kind == 'f' { entry.size } else { 0 };
        let (seconds, nanoseconds) = entry.modified;
        let mut line = format!(
            "{} {kind} {:o} {} {} {size} {seconds}.{nanoseconds:09}0",
            entry.path.display(),
            entry.mode,
            entry.uid,
            entry.gid,
        );
        if kind == 'l' {
            line += &format!(" {}", view.read_link(&entry).unwrap().display());
        }
        if kind == 'f' {
            let mut content = Vec::new();
            view.open(&entry)
                .unwrap()
                .read_to_end(&mut content)
                .unwrap();
            line += &format!(" {}  -", Digest::of(&content).hex());
        }
        let found = view.lookup(&entry.path, Follow::Parents).unwrap();
        assert_eq!(
            found.as_ref(),
            Some(&entry),
            "a lookup agrees with the listing"
        );
        lines.push(line);
        if entry.is_directory() {
            walk(view, &entry, lines);
        }
    }
}

/// Lists a directory of the host with all that belongs to its files.
pub(crate) fn list_host(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    walk_host(root, OsStr::new(""), &mut lines);
    lines
}

fn walk_host(path: &Path, shown: &OsStr, lines: &mut Vec<String>) {
    let mut names: Vec<OsString> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    for name in names {
        let (path, mut shown) = (path.join(&name), shown.to_owned());
        shown.push("/");
        shown.push(&name);
        let stat = fs::symlink_metadata(&path).unwrap();
        let mut line = format!(
            "{} {:o} {}:{}",
            shown.as_bytes().escape_ascii(),
            stat.mode(),
            stat.uid(),
            stat.gid()
        );
        line += &format!(" {}.{:09} {}", stat.mtime(), stat.mtime_nsec(), stat.rdev());
        if !stat.is_dir() {
            line += &format!(" {} links, {} bytes", stat.nlink(), stat.len());
        }
        if stat.is_symlink() {
            line += &format!(" {:?}", fs::read_link(&path).unwrap());
        }
        if stat.is_file() {
            line += &format!(" {}", Digest::of(&fs::read(&path).unwrap()));
        }
        lines.push(line + &attributes(&path));
        if stat.is_dir() {
            walk_host(&path, &shown, lines);
        }
    }
}

fn attributes(path: &Path) -> String {
    let (mut names, mut value) = (vec![0; 4096], vec![0; 65536]);
    let length = rustix::fs::llistxattr(path, &mut names).unwrap();
    let mut names: Vec<_> = names[..length].split(|byte| *byte == 0).collect();
    names.sort_unstable();
    let mut text = String::new();
    for name in names.into_iter().filter(|name| !name.is_empty()) {
        let length = rustix::fs::lgetxattr(path, name, &mut value).unwrap();
        text += &format!(
            " {}={}",
            name.escape_ascii(),
            value[..length].escape_ascii()
        );
    }
    text
}
