//! The packages of an image, read from what package managers and compilers leave in it.
//!
//! All that is needed of a layer is read in one pass. The files may be hostile: what is too long is
//! left out, and what cannot be understood is no package.

mod binary;
mod rpm;
mod text;

use std::collections::BTreeMap;
use std::io::{self, Read};

use crate::InspectError;
use crate::entry::{Kind, split};
use crate::image::{Image, Stack};
use crate::read::Flow;
use crate::tree::EntryId;

/// Longer databases and manifests are left out.
const LONGEST: u64 = 64 << 20;

/// Where packages come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ecosystem {
    /// Debian's package manager.
    Dpkg,
    /// Alpine's package manager.
    Apk,
    /// Fedora's package manager, and those of its relatives.
    Rpm,
    /// Python's distributions.
    Python,
    /// Node's packages.
    Npm,
    /// Go modules, from the build information of executables.
    Go,
    /// Rust crates, from the audit data of executables.
    Rust,
}

impl Ecosystem {
    /// Returns the word for it in data: the type of its package URLs, but for dpkg's.
    pub fn word(self) -> &'static str {
        match self {
            Self::Dpkg => "dpkg",
            Self::Apk => "apk",
            Self::Rpm => "rpm",
            Self::Python => "python",
            Self::Npm => "npm",
            Self::Go => "go",
            Self::Rust => "rust",
        }
    }
}

/// An installed package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// Where it comes from.
    pub ecosystem: Ecosystem,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it is built for; empty when nothing is said.
    pub architecture: String,
    /// Its licence as it states it; empty when nothing is said.
    pub license: String,
    /// The file that says so, without a slash in front.
    pub path: String,
    /// The layer that has the file.
    pub layer: usize,
}

/// How a file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Dpkg,
    Apk,
    Rpm,
    Python,
    Npm,
    Executable,
}

/// The operating system that an image says it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    /// `ID` of `os-release`, such as `debian`.
    pub id: String,
    /// `VERSION_ID` of `os-release`.
    pub version: String,
}

impl Image {
    /// Reads the packages of merged files, sorted.
    ///
    /// # Errors
    /// When a layer cannot be read.
    pub fn packages(&self, stack: &Stack<'_>) -> Result<Vec<Package>, InspectError> {
        let mut wanted: BTreeMap<EntryId, (Vec<u8>, Form)> = BTreeMap::new();
        for (path, id) in stack.tree.walk(stack.tree.root()) {
            let Some((data, entry)) = stack.tree.node(id).data.zip(stack.tree.data(id)) else {
                continue;
            };
            if entry.kind != Kind::File {
                continue;
            }
            let is_executable = entry.mode & 0o111 != 0 && entry.size > 4096;
            let other = is_executable.then_some(Form::Executable);
            if let Some(form) = form_of(&path).or(other) {
                wanted.entry(data).or_insert((path, form));
            }
        }
        let mut packages = Vec::new();
        let layers: std::collections::BTreeSet<usize> = wanted.keys().map(|id| id.layer).collect();
        for layer in layers {
            self.visit(layer, |entry, content| {
                if let Some((path, form)) = wanted.get(&EntryId { layer, entry }) {
                    let found = read(*form, content)?;
                    packages.extend(found.into_iter().map(|package| Package {
                        path: String::from_utf8_lossy(path).into_owned(),
                        layer,
                        ..package
                    }));
                }
                Ok(Flow::Continue)
            })?;
        }
        packages.sort();
        packages.dedup();
        Ok(packages)
    }

    /// Returns package databases among the merged files that nothing here can read: rpm's before SQLite
    /// (Berkeley DB), and those of `ndb`.
    pub fn unread_databases(&self, stack: &Stack<'_>) -> Vec<String> {
        let directories = ["var/lib/rpm", "usr/lib/sysimage/rpm", "usr/share/rpm"];
        let paths = directories.iter().flat_map(|directory| {
            ["Packages", "Packages.db"].map(|name| format!("{directory}/{name}"))
        });
        let is_there = |path: &String| self.find_file(&stack.tree, path.as_bytes()).is_ok();
        paths.filter(is_there).collect()
    }

    /// Reads which operating system the merged files are.
    ///
    /// # Errors
    /// When a layer cannot be read.
    pub fn distribution(&self, stack: &Stack<'_>) -> Result<Option<Distribution>, InspectError> {
        for path in ["etc/os-release", "usr/lib/os-release"] {
            let Ok(file) = self.find_file(&stack.tree, path.as_bytes()) else {
                continue;
            };
            let text = self.read_part(file, 0, 64 << 10)?;
            let text = String::from_utf8_lossy(&text);
            let field = |name: &str| {
                let value = text.lines().find_map(|line| line.strip_prefix(name));
                value
                    .unwrap_or_default()
                    .trim_matches(['"', '\''])
                    .to_owned()
            };
            return Ok(Some(Distribution {
                id: field("ID="),
                version: field("VERSION_ID="),
            }));
        }
        Ok(None)
    }
}

fn form_of(path: &[u8]) -> Option<Form> {
    let (parent, name) = split(path);
    let in_metadata = |suffix: &[u8]| split(parent).1.ends_with(suffix);
    match name {
        _ if path == b"var/lib/dpkg/status" || parent == b"var/lib/dpkg/status.d" => {
            (!name.ends_with(b".md5sums")).then_some(Form::Dpkg)
        }
        _ if path.ends_with(b"lib/apk/db/installed") => Some(Form::Apk),
        b"rpmdb.sqlite" => Some(Form::Rpm),
        b"METADATA" if in_metadata(b".dist-info") => Some(Form::Python),
        b"PKG-INFO" if in_metadata(b".egg-info") => Some(Form::Python),
        _ if name.ends_with(b".egg-info") => Some(Form::Python),
        b"package.json" => {
            let above = split(parent).0;
            let scope = split(above).1;
            let is_package = scope == b"node_modules"
                || (scope.starts_with(b"@") && split(split(above).0).1 == b"node_modules");
            is_package.then_some(Form::Npm)
        }
        _ => None,
    }
}

fn read(form: Form, content: &mut dyn Read) -> io::Result<Vec<Package>> {
    if form == Form::Executable {
        return binary::packages(content);
    }
    let mut bytes = Vec::new();
    content.take(LONGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST {
        return Ok(Vec::new());
    }
    if form == Form::Rpm {
        return rpm::packages(&bytes);
    }
    let text = String::from_utf8_lossy(&bytes);
    Ok(match form {
        Form::Dpkg => text::dpkg(&text),
        Form::Apk => text::apk(&text),
        Form::Python => text::python(&text),
        _ => text::npm(&text),
    })
}

impl Package {
    /// Makes a package that is not placed yet; `None` without a name or version.
    pub(crate) fn new(ecosystem: Ecosystem, name: &str, version: &str) -> Option<Self> {
        let is_whole = !name.is_empty() && !version.is_empty();
        is_whole.then(|| Self {
            ecosystem,
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: String::new(),
            license: String::new(),
            path: String::new(),
            layer: 0,
        })
    }
}
