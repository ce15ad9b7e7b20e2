//! The files that are shown, and which of them are rows.

use std::collections::{BTreeMap, HashMap, HashSet};

use mica_inspect::{ChangeKind, EntryId, Kind, Stack};

/// Which files are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// The merged files up to a layer, and what that layer removed.
    Stack,
    /// What one layer changed.
    Layer,
}

/// How the files of a directory are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Bytewise by name.
    Name,
    /// The largest first.
    Size,
}

/// A file.
#[derive(Debug)]
pub(super) struct Item {
    /// Its path, without a slash in front.
    pub(super) path: Box<[u8]>,
    /// Where its metadata and content are; absent for a directory that nothing describes.
    pub(super) data: Option<EntryId>,
    /// What it is, or was.
    pub(super) kind: Kind,
    /// What the layer did to it.
    pub(super) change: Option<ChangeKind>,
    /// The bytes of its content, or of all that is in a directory.
    pub(super) size: u64,
    /// Whether the layer did something to what is in it.
    pub(super) holds_changes: bool,
    parent: usize,
    children: Vec<usize>,
}

impl Item {
    /// Returns its name in its directory.
    pub(super) fn name(&self) -> &[u8] {
        self.path.rsplit(|byte| *byte == b'/').next().unwrap_or(b"")
    }

    /// Tells whether other files are in it.
    pub(super) fn is_directory(&self) -> bool {
        self.kind == Kind::Directory
    }
}

/// A tree of files. The first is the root, and parents come before what is in them.
#[derive(Debug)]
pub(super) struct Files {
    /// The files, sorted by path.
    pub(super) items: Vec<Item>,
}

/// What is at each path, and what the layer did to it.
type Paths = BTreeMap<Box<[u8]>, (Option<EntryId>, Option<ChangeKind>)>;

/// A file on the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// Its place in [`Files::items`].
    pub(super) item: usize,
    /// How many directories it is in, the root not counted.
    pub(super) depth: usize,
}

/// What of a tree is on the screen.
#[derive(Clone, Debug)]
pub(super) struct View {
    /// The directories whose files are shown.
    pub(super) unfolded: HashSet<Box<[u8]>>,
    /// Only paths that hold this text are shown; in lower case.
    pub(super) filter: String,
    /// How siblings are sorted.
    pub(super) order: Order,
}

impl Files {
    /// Makes the tree of a stack whose topmost layer is the one that is looked at.
    pub(super) fn of(stack: &Stack<'_>, shown: Shown) -> Self {
        let tree = &stack.tree;
        let mut paths = Paths::new();
        if shown == Shown::Stack {
            let walked = tree.walk(tree.root());
            paths.extend(walked.map(|(path, id)| (path.into(), (tree.node(id).data, None))));
        }
        for (path, change) in stack.changes.last().into_iter().flatten() {
            let data = change.after.or(change.before);
            paths.insert(path.clone(), (data, Some(change.kind)));
            add_parents(&mut paths, path);
        }
        paths.entry(Box::default()).or_insert((None, None));
        let mut files = Self { items: Vec::new() };
        let mut places = HashMap::new();
        for (path, (data, change)) in paths {
            let parent = places.get(parent_of(&path)).copied().unwrap_or(0);
            let item = files.items.len();
            if item > 0 {
                files.items[parent].children.push(item);
            }
            places.insert(path.clone(), item);
            let entry = data.map(|data| tree.entry(data));
            files.items.push(Item {
                path,
                data,
                kind: entry.map_or(Kind::Directory, |entry| entry.kind),
                change,
                size: entry.map_or(0, |entry| entry.size),
                holds_changes: false,
                parent,
                children: Vec::new(),
            });
        }
        files.add_up();
        files
    }

    /// Gives directories the sizes of what is in them, and a note of what changed there. Several names of a file count once, and what
    /// is gone does not count.
    fn add_up(&mut self) {
        let mut seen = HashSet::new();
        for item in (1..self.items.len()).rev() {
            let Item {
                change,
                data,
                size,
                holds_changes,
                parent,
                kind,
                ..
            } = self.items[item];
            self.items[parent].holds_changes |= holds_changes || change.is_some();
            let is_gone = change == Some(ChangeKind::Removed);
            let is_known = kind != Kind::Directory && data.is_some_and(|data| !seen.insert(data));
            if !is_gone && !is_known {
                let parent = &mut self.items[parent].size;
                *parent = parent.saturating_add(size);
            }
        }
    }

    /// Returns the rows of a view.
    pub(super) fn rows(&self, view: &View) -> Vec<Row> {
        let matching = (!view.filter.is_empty()).then(|| self.matching(&view.filter));
        self.descend(view.order, |item| match &matching {
            Some(matching) => (matching.contains(&item), true),
            None => (true, view.unfolded.contains(&self.items[item].path)),
        })
    }

    /// Returns all files in the order of the screen, as if all directories were unfolded.
    pub(super) fn all(&self, order: Order) -> Vec<Row> {
        self.descend(order, |_| (true, true))
    }

    /// Walks in the order of the screen; a file is told whether it is a row, and whether what is in
    /// it may be.
    fn descend(&self, order: Order, choose: impl Fn(usize) -> (bool, bool)) -> Vec<Row> {
        let mut rows = Vec::new();
        let mut todo = vec![Row { item: 0, depth: 0 }];
        while let Some(row) = todo.pop() {
            let (is_row, is_open) = choose(row.item);
            if !is_row && row.item > 0 {
                continue;
            }
            if row.item > 0 {
                rows.push(row);
            }
            if row.item > 0 && !is_open {
                continue;
            }
            let depth = if row.item == 0 { 0 } else { row.depth + 1 };
            let mut children = self.items[row.item].children.clone();
            if order == Order::Size {
                children.sort_by_key(|child| std::cmp::Reverse(self.items[*child].size));
            }
            todo.extend(children.iter().rev().map(|item| Row { item: *item, depth }));
        }
        rows
    }

    /// Finds the paths that hold a text, and the directories above them.
    fn matching(&self, text: &str) -> HashSet<usize> {
        let mut found = HashSet::new();
        for (item, file) in self.items.iter().enumerate() {
            let mut here = item;
            if !holds(&file.path, text) {
                continue;
            }
            while found.insert(here) && here != 0 {
                here = self.items[here].parent;
            }
        }
        found
    }

    /// Returns the file at a path.
    pub(super) fn find(&self, path: &[u8]) -> Option<usize> {
        let place = self.items.binary_search_by(|item| (*item.path).cmp(path));
        place.ok()
    }

    /// Returns the directories that a file is in, but for the root.
    pub(super) fn above(&self, item: usize) -> impl Iterator<Item = &Item> {
        let parent = |item: usize| (item != 0).then(|| self.items[item].parent);
        let above = std::iter::successors(parent(item), move |item| parent(*item));
        above
            .filter(|item| *item != 0)
            .map(|item| &self.items[item])
    }
}

/// Tells whether a path holds a text, which is in lower case.
pub(super) fn holds(path: &[u8], text: &str) -> bool {
    String::from_utf8_lossy(path).to_lowercase().contains(text)
}

fn parent_of(path: &[u8]) -> &[u8] {
    let slash = path.iter().rposition(|byte| *byte == b'/');
    &path[..slash.unwrap_or(0)]
}

fn add_parents(paths: &mut Paths, path: &[u8]) {
    let mut parent = parent_of(path);
    while !parent.is_empty() && !paths.contains_key(parent) {
        paths.insert(parent.into(), (None, None));
        parent = parent_of(parent);
    }
}
