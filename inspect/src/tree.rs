//! The files of an image: layers applied on top of each other, in memory.
//!
//! Follows the store's rules for unpacking (`docs/layer-format.md`): names are taken below the root,
//! symbolic links on the way are followed inside it, a marker hides what lower layers have and
//! nothing of its own layer, of entries with one name the last wins. What the store would refuse is
//! noted as a problem and left out.

mod apply;
mod resolve;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::OnceLock;

use crate::entry::{Entry, Kind, join};
use crate::index::LayerIndex;

pub use resolve::Follow;

/// A place in a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u32);

/// An entry of an image: a layer, counted from the bottom, and an entry of its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId {
    /// The layer.
    pub layer: usize,
    /// The place in [`LayerIndex::entries`].
    pub entry: usize,
}

/// A file of the tree.
#[derive(Clone, Debug)]
pub struct Node<'i> {
    /// Its name in its directory; empty for the root.
    pub name: &'i [u8],
    /// Where its metadata and content are: for another name of a file, that file's entry. Absent for
    /// a directory that nothing describes.
    pub data: Option<EntryId>,
    /// The layer that put the name here.
    pub layer: usize,
    /// The entry that put the name here.
    origin: Option<EntryId>,
    parent: NodeId,
    children: BTreeMap<&'i [u8], NodeId>,
    /// The last layer that changed it, or something below it.
    touched: usize,
}

/// What a layer did to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// What was there before; absent for nothing, and for a directory that nothing describes.
    pub before: Option<EntryId>,
    /// What is there now.
    pub after: Option<EntryId>,
    /// How to count it.
    pub kind: ChangeKind,
}

/// How a layer changed a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It was there before.
    Changed,
    /// It is gone.
    Removed,
}

impl ChangeKind {
    /// Returns the word for it in data.
    pub fn word(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Removed => "removed",
        }
    }

    /// Returns docker's letter: `A`, `C` or `D`.
    pub fn letter(self) -> char {
        match self {
            Self::Added => 'A',
            Self::Changed => 'C',
            Self::Removed => 'D',
        }
    }
}

/// The changes of one layer by path, clean and without a slash in front.
pub type Changes = BTreeMap<Box<[u8]>, Change>;

/// What a tree is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The merged files of several layers.
    Stack,
    /// One layer by itself: markers are nodes, and a hard link may have its target elsewhere.
    Layer,
}

/// The files of some layers. Names are those of the indexes: a tree copies none.
#[derive(Clone, Debug)]
pub struct Tree<'i> {
    nodes: Vec<Node<'i>>,
    indexes: BTreeMap<usize, &'i LayerIndex>,
    scope: Scope,
    problems: Vec<String>,
    first_names: OnceLock<HashMap<EntryId, NodeId>>,
}

impl<'i> Tree<'i> {
    /// Makes a tree that has an empty root.
    pub fn new(scope: Scope) -> Self {
        let root = Node {
            name: b"",
            data: None,
            layer: 0,
            origin: None,
            parent: NodeId(0),
            children: BTreeMap::new(),
            touched: 0,
        };
        Self {
            nodes: vec![root],
            indexes: BTreeMap::new(),
            scope,
            problems: Vec::new(),
            first_names: OnceLock::new(),
        }
    }

    /// The root.
    pub fn root(&self) -> NodeId {
        NodeId(0)
    }

    /// Returns a node.
    pub fn node(&self, id: NodeId) -> &Node<'i> {
        &self.nodes[id.0 as usize]
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node<'i> {
        &mut self.nodes[id.0 as usize]
    }

    /// Returns an entry of one of the layers.
    pub fn entry(&self, id: EntryId) -> &'i Entry {
        &self.indexes[&id.layer].entries[id.entry]
    }

    /// Returns the index of a layer that was applied.
    pub fn index_of(&self, layer: usize) -> Option<&'i LayerIndex> {
        self.indexes.get(&layer).copied()
    }

    /// Returns what describes a node; absent for a directory that nothing does.
    pub fn data(&self, id: NodeId) -> Option<&'i Entry> {
        self.node(id).data.map(|data| self.entry(data))
    }

    /// Returns what kind of file a node is.
    pub fn kind(&self, id: NodeId) -> Kind {
        self.data(id).map_or(Kind::Directory, |entry| entry.kind)
    }

    /// Tells whether a node is a directory.
    pub fn is_directory(&self, id: NodeId) -> bool {
        self.kind(id) == Kind::Directory
    }

    /// Returns the first name of a file that has several, for each of the others: a path without a
    /// slash in front.
    pub fn hard_link(&self, id: NodeId) -> Option<Vec<u8>> {
        let first = self.first_names().get(&self.node(id).data?)?;
        (*first != id).then(|| self.path(*first))
    }

    fn is_link(&self, node: &Node<'_>) -> bool {
        let origin = node.origin;
        origin.is_some_and(|origin| self.entry(origin).kind == Kind::HardLink)
    }

    /// The first name of each file to which a hard link leads. Which names those are changes with
    /// each layer, so that they are looked for when all are there.
    fn first_names(&self) -> &HashMap<EntryId, NodeId> {
        self.first_names.get_or_init(|| {
            // Also of nodes that are gone: their files have no other name then.
            let linked = self.nodes.iter().filter(|node| self.is_link(node));
            let linked: HashSet<_> = linked.filter_map(|node| node.data).collect();
            let mut names = HashMap::new();
            if linked.is_empty() {
                return names;
            }
            for id in self.walk_nodes(self.root()) {
                if let Some(data) = self.node(id).data.filter(|data| linked.contains(data)) {
                    names.entry(data).or_insert(id);
                }
            }
            names
        })
    }

    /// Returns a node and all below it, parents first.
    fn walk_nodes(&self, from: NodeId) -> impl Iterator<Item = NodeId> {
        let mut todo = vec![from];
        std::iter::from_fn(move || {
            let id = todo.pop()?;
            todo.extend(self.node(id).children.values().rev());
            Some(id)
        })
    }

    /// Returns what a directory holds, sorted bytewise by name.
    pub fn children(&self, id: NodeId) -> impl ExactSizeIterator<Item = NodeId> {
        self.node(id).children.values().copied()
    }

    /// Returns the directory that a node is in; the root is in itself.
    pub fn parent(&self, id: NodeId) -> NodeId {
        self.node(id).parent
    }

    /// Returns the path of a node, without a slash in front.
    pub fn path(&self, id: NodeId) -> Vec<u8> {
        if id == self.root() {
            return Vec::new();
        }
        let node = self.node(id);
        join(&self.path(node.parent), node.name)
    }

    /// Returns a node and all below it, parents first, each with its path, without a slash in front.
    pub fn walk(&self, from: NodeId) -> impl Iterator<Item = (Vec<u8>, NodeId)> {
        let mut todo = vec![(self.path(from), from)];
        std::iter::from_fn(move || {
            let (path, id) = todo.pop()?;
            let children = self.node(id).children.iter().rev();
            todo.extend(children.map(|(name, child)| (join(&path, name), *child)));
            Some((path, id))
        })
    }

    /// Returns what in the layers cannot be applied.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}
