//! Files of an image as a tar stream: what `extract` unpacks, or writes as it is.
//!
//! Directories come first, parents before what is in them; then the files, layer by layer as their
//! streams are passed through; last all that needs no content, hard links among it.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read, Write};

use mica_store::{EntryKind, Facts, TarEntry, encode_header};

use crate::InspectError;
use crate::entry::{Entry, Kind, join, split};
use crate::image::Image;
use crate::read::Flow;
use crate::tree::{EntryId, NodeId, Tree};

/// A tar file's blocks.
const BLOCK: u64 = 512;

/// What stands for a directory that nothing describes.
const PLAIN: Facts = Facts {
    mode: 0o755,
    uid: 0,
    gid: 0,
    modified: (0, 0),
};

/// Who owns what is extracted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// Whoever owns it in the image; extended attributes are kept.
    Image,
    /// One user and group, who may set no attributes: what a plain user can have.
    Of {
        /// The user.
        uid: u32,
        /// The group.
        gid: u32,
    },
}

impl Ownership {
    fn apply(self, mut entry: TarEntry) -> TarEntry {
        if let Self::Of { uid, gid } = self {
            (entry.facts.uid, entry.facts.gid) = (uid, gid);
            entry.attributes.clear();
        }
        entry
    }
}

/// What is still to be written.
#[derive(Default)]
struct Plan {
    directories: Vec<(Vec<u8>, NodeId)>,
    /// The first name of each file, by its entry.
    files: BTreeMap<EntryId, Vec<u8>>,
    /// Other names of files, with the first.
    links: Vec<(Vec<u8>, Vec<u8>)>,
    others: Vec<(Vec<u8>, EntryId)>,
}

impl Image {
    /// Writes a node of one of this image's trees and all below it as a tar stream, under the name
    /// `name`; with an empty name, what is in the directory.
    ///
    /// # Errors
    /// When a layer cannot be read, or `out` not be written.
    pub fn write_tar(
        &self,
        tree: &Tree<'_>,
        from: NodeId,
        name: &[u8],
        owner: Ownership,
        out: &mut impl Write,
    ) -> Result<(), InspectError> {
        let plan = Plan::of(tree, from, name);
        for (name, id) in &plan.directories {
            let entry = owner.apply(directory_entry(tree.data(*id), name));
            out.write_all(&header(&entry, 0)?)?;
        }
        let layers = plan.files.keys().map(|id| id.layer);
        let layers: std::collections::BTreeSet<usize> = layers.collect();
        for layer in layers {
            self.write_files(tree, layer, &plan, owner, out)?;
        }
        for (name, target) in &plan.links {
            let link = TarEntry {
                name: name.clone(),
                kind: EntryKind::HardLink(target.clone()),
                facts: PLAIN,
                attributes: Vec::new(),
            };
            out.write_all(&header(&link, 0)?)?;
        }
        for (name, id) in &plan.others {
            let entry = owner.apply(tree.entry(*id).as_tar(name.clone()));
            out.write_all(&header(&entry, 0)?)?;
        }
        out.write_all(&[0; 2 * BLOCK as usize])?;
        out.flush()?;
        Ok(())
    }

    fn write_files(
        &self,
        tree: &Tree<'_>,
        layer: usize,
        plan: &Plan,
        owner: Ownership,
        out: &mut impl Write,
    ) -> Result<(), InspectError> {
        let wanted = plan.files.range(first(layer)..first(layer + 1));
        let mut left = wanted.count();
        // An error of the output travels beside the reader's.
        let mut written = Ok(());
        self.visit(layer, |entry, content| {
            let id = EntryId { layer, entry };
            let Some(name) = plan.files.get(&id) else {
                return Ok(Flow::Continue);
            };
            left -= 1;
            let entry = owner.apply(tree.entry(id).as_tar(name.clone()));
            written = write_file(&entry, tree.entry(id).size, content, out);
            match left > 0 && written.is_ok() {
                true => Ok(Flow::Continue),
                false => Ok(Flow::Stop),
            }
        })?;
        Ok(written?)
    }
}

fn first(layer: usize) -> EntryId {
    EntryId { layer, entry: 0 }
}

impl Plan {
    fn of(tree: &Tree<'_>, from: NodeId, name: &[u8]) -> Self {
        let mut plan = Self::default();
        let mut names = HashMap::from([(from, name.to_vec())]);
        for (_, id) in tree.walk(from) {
            let name = match names.get(&id) {
                Some(name) => name.clone(),
                None => join(&names[&tree.parent(id)], tree.node(id).name),
            };
            plan.add(tree, id, &name);
            if tree.is_directory(id) {
                names.insert(id, name);
            }
        }
        plan
    }

    fn add(&mut self, tree: &Tree<'_>, id: NodeId, name: &[u8]) {
        let Some(data) = tree.node(id).data else {
            return self.directories.push((name.to_vec(), id));
        };
        match tree.entry(data).kind {
            Kind::Directory => self.directories.push((name.to_vec(), id)),
            Kind::Whiteout | Kind::Opaque => {}
            Kind::File => match self.files.get(&data) {
                Some(first) => self.links.push((name.to_vec(), first.clone())),
                None => drop(self.files.insert(data, name.to_vec())),
            },
            _ => self.others.push((name.to_vec(), data)),
        }
    }
}

fn directory_entry(data: Option<&Entry>, name: &[u8]) -> TarEntry {
    let name = [if name.is_empty() { b"." } else { name }, b"/"].concat();
    match data {
        Some(data) => data.as_tar(name),
        None => TarEntry {
            name,
            kind: EntryKind::Directory,
            facts: PLAIN,
            attributes: Vec::new(),
        },
    }
}

fn write_file(
    entry: &TarEntry,
    size: u64,
    content: &mut dyn Read,
    out: &mut impl Write,
) -> io::Result<()> {
    out.write_all(&header(entry, size)?)?;
    io::copy(content, out)?;
    let padding = size.wrapping_neg() % BLOCK;
    out.write_all(&[0; BLOCK as usize][..padding as usize])
}

fn header(entry: &TarEntry, size: u64) -> io::Result<Vec<u8>> {
    encode_header(entry, size).map_err(io::Error::other)
}

/// Returns the name under which a path is extracted: its own.
pub fn file_name(path: &[u8]) -> &[u8] {
    split(path).1
}
