//! Putting one more layer on a tree.

use std::collections::BTreeMap;

use super::resolve::{MOST_LINKS, follow, steps};
use super::{Change, ChangeKind, Changes, EntryId, Node, NodeId, Scope, Tree};
use crate::entry::{Kind, clean, shown, split};
use crate::error::PathError;
use crate::index::LayerIndex;

/// One layer on its way into a tree.
struct Apply<'t, 'i> {
    tree: &'t mut Tree<'i>,
    layer: usize,
    /// What changes, where somebody asks.
    changes: Option<Changes>,
    /// The last parent, by its path as written: most entries share it with the one before.
    parent: Option<(&'i [u8], NodeId)>,
}

impl<'i> Tree<'i> {
    /// Puts a layer on top, and returns what it changed. Layers come in order; some may be left out.
    pub fn apply(&mut self, layer: usize, index: &'i LayerIndex) -> Changes {
        let changes = self.put_on(layer, index, Some(Changes::new()));
        changes.expect("they were asked for")
    }

    /// Puts a layer on top as [`Tree::apply`] does, for those who only want the files.
    pub fn add(&mut self, layer: usize, index: &'i LayerIndex) {
        self.put_on(layer, index, None);
    }

    fn put_on(
        &mut self,
        layer: usize,
        index: &'i LayerIndex,
        changes: Option<Changes>,
    ) -> Option<Changes> {
        self.first_names.take();
        self.indexes.insert(layer, index);
        let problems = index.problems.iter();
        self.problems
            .extend(problems.map(|problem| format!("layer {layer}: {problem}")));
        let mut apply = Apply {
            tree: self,
            layer,
            changes,
            parent: None,
        };
        for entry in 0..index.entries.len() {
            let id = EntryId { layer, entry };
            if let Err(error) = apply.entry(id) {
                let path = shown(&index.entries[entry].path);
                let problem = format!("layer {layer}: {path}: {error}");
                apply.tree.problems.push(problem);
            }
        }
        apply.changes
    }
}

impl<'i> Apply<'_, 'i> {
    fn entry(&mut self, id: EntryId) -> Result<(), PathError> {
        let entry = self.tree.entry(id);
        let (parent, name) = split(&entry.path);
        match entry.kind {
            Kind::Opaque => self.opaque(id),
            Kind::Whiteout => self.whiteout(id, parent, name),
            _ if entry.path.is_empty() => {
                self.tree.node_mut(NodeId(0)).data = Some(id);
                Ok(())
            }
            Kind::Directory => {
                let place = self.parent(parent)?;
                self.directory(place, name, id);
                Ok(())
            }
            Kind::HardLink => self.hard_link(id, parent, name),
            _ => {
                let place = self.parent(parent)?;
                self.put(place, name, id, id);
                Ok(())
            }
        }
    }

    /// Returns the directory of an entry, made where it is missing.
    fn parent(&mut self, path: &'i [u8]) -> Result<NodeId, PathError> {
        if let Some((known, place)) = self.parent
            && known == path
        {
            return Ok(place);
        }
        let (mut place, missing) = self.walk(path)?;
        for name in missing {
            place = self.insert(place, name, None, None);
        }
        self.parent = Some((path, place));
        Ok(place)
    }

    /// Walks to a directory that is there; `None` when it is not.
    fn known(&self, path: &[u8]) -> Result<Option<NodeId>, PathError> {
        let (place, missing) = self.walk(path)?;
        Ok(missing.is_empty().then_some(place))
    }

    /// Walks to a directory. What is missing is taken for a directory, so that `missing/..` leads
    /// back; what is still missing at the end comes with the last directory that is there.
    fn walk<'p>(&self, path: &'p [u8]) -> Result<(NodeId, Vec<&'p [u8]>), PathError>
    where
        'i: 'p,
    {
        let mut here = self.tree.root();
        let mut missing = Vec::new();
        let mut steps = steps(path);
        let mut links = 0;
        while let Some(step) = steps.pop_front() {
            if step == b".." {
                if missing.pop().is_none() {
                    here = self.tree.parent(here);
                }
                continue;
            }
            let next = self.tree.node(here).children.get(step).copied();
            let next = next.filter(|_| missing.is_empty());
            match next.map(|next| (next, self.tree.kind(next))) {
                None | Some((_, Kind::Whiteout)) => missing.push(step),
                Some((next, Kind::Directory)) => here = next,
                Some((next, Kind::Symlink)) => {
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(PathError::Loop);
                    }
                    let target = &self.tree.data(next).expect("a link has an entry").link;
                    if target.starts_with(b"/") {
                        here = self.tree.root();
                    }
                    follow(target, &mut steps);
                }
                Some(_) => return Err(PathError::NotADirectory),
            }
        }
        Ok((here, missing))
    }

    fn directory(&mut self, place: NodeId, name: &'i [u8], id: EntryId) {
        let known = self.tree.node(place).children.get(name).copied();
        let Some(known) = known.filter(|known| self.tree.is_directory(*known)) else {
            self.put(place, name, id, id);
            return;
        };
        let before = self.tree.node(known).data;
        let is_same = before.is_some_and(|before| {
            let before = self.tree.entry(before);
            before.has_metadata_of(self.tree.entry(id))
        });
        let node = self.tree.node_mut(known);
        (node.data, node.origin, node.layer) = (Some(id), Some(id), id.layer);
        self.touch(known);
        if !is_same {
            self.note(known, before, Some(id), ChangeKind::Changed);
        }
    }

    fn hard_link(
        &mut self,
        id: EntryId,
        parent: &'i [u8],
        name: &'i [u8],
    ) -> Result<(), PathError> {
        let target = clean(&self.tree.entry(id).link);
        let (target_parent, target_name) = split(&target);
        let from = self.known(target_parent)?;
        let found = from.and_then(|from| self.tree.node(from).children.get(target_name).copied());
        let data = match found.and_then(|found| self.tree.node(found).data) {
            Some(data) if self.tree.entry(data).kind != Kind::Directory => data,
            Some(_) => return Err(PathError::Directory),
            None if self.tree.scope == Scope::Layer => id,
            None => return Err(PathError::Missing),
        };
        let place = self.parent(parent)?;
        let is_itself =
            found.is_some() && self.tree.node(place).children.get(name) == found.as_ref();
        if !is_itself {
            self.put(place, name, data, id);
        }
        Ok(())
    }

    /// Puts something new at a name, in place of what was there.
    fn put(&mut self, place: NodeId, name: &'i [u8], data: EntryId, origin: EntryId) {
        if let Some(former) = self.tree.node(place).children.get(name).copied() {
            self.remove_noted(former);
        }
        let node = self.insert(place, name, Some(data), Some(origin));
        // After the removal of what lower layers had there, that makes a change.
        self.note(node, None, Some(data), ChangeKind::Added);
    }

    fn insert(
        &mut self,
        place: NodeId,
        name: &'i [u8],
        data: Option<EntryId>,
        origin: Option<EntryId>,
    ) -> NodeId {
        let id = NodeId(u32::try_from(self.tree.nodes.len()).expect("entries are limited"));
        self.tree.nodes.push(Node {
            name,
            data,
            layer: self.layer,
            origin,
            parent: place,
            children: BTreeMap::new(),
            touched: self.layer,
        });
        self.tree.node_mut(place).children.insert(name, id);
        self.touch(place);
        if data.is_none() {
            self.note(id, None, None, ChangeKind::Added);
        }
        id
    }

    /// Hides a name of the lower layers.
    fn whiteout(&mut self, id: EntryId, parent: &'i [u8], name: &'i [u8]) -> Result<(), PathError> {
        if self.tree.scope == Scope::Layer {
            let place = self.parent(parent)?;
            if !self.tree.node(place).children.contains_key(name) {
                self.insert(place, name, Some(id), Some(id));
            }
            return Ok(());
        }
        let Some(place) = self.known(parent)? else {
            return Ok(()); // there is nothing to hide
        };
        if let Some(hidden) = self.tree.node(place).children.get(name).copied() {
            self.hide(hidden);
        }
        Ok(())
    }

    /// Hides all that the lower layers have in a directory.
    fn opaque(&mut self, id: EntryId) -> Result<(), PathError> {
        let place = self.parent(&self.tree.entry(id).path)?;
        if self.tree.scope == Scope::Stack {
            for child in self.tree.children(place).collect::<Vec<_>>() {
                self.hide(child);
            }
        }
        Ok(())
    }

    /// Removes a node, but for what this layer put there.
    fn hide(&mut self, id: NodeId) {
        if self.tree.node(id).touched != self.layer {
            self.remove_noted(id);
            self.remove(self.tree.parent(id), self.tree.node(id).name);
            return;
        }
        for child in self.tree.children(id).collect::<Vec<_>>() {
            self.hide(child);
        }
    }

    fn remove(&mut self, place: NodeId, name: &[u8]) {
        self.tree.node_mut(place).children.remove(name);
        self.parent = None; // it may have gone by what is removed here
    }

    /// Notes that a node and all below it are gone.
    fn remove_noted(&mut self, id: NodeId) {
        self.parent = None;
        if self.changes.is_none() {
            return;
        }
        let gone: Vec<_> = self.tree.walk(id).collect();
        for (path, gone) in gone {
            let data = self.tree.node(gone).data;
            self.note_path(path, data, None, ChangeKind::Removed);
        }
    }

    /// Marks a node and those above it as this layer's; above one that is so marked, all are.
    fn touch(&mut self, id: NodeId) {
        let mut here = id;
        loop {
            let node = self.tree.node_mut(here);
            if node.touched == self.layer {
                return;
            }
            node.touched = self.layer;
            here = node.parent;
        }
    }

    fn note(
        &mut self,
        id: NodeId,
        before: Option<EntryId>,
        after: Option<EntryId>,
        kind: ChangeKind,
    ) {
        if self.changes.is_none() {
            return;
        }
        let path = self.tree.path(id);
        self.note_path(path, before, after, kind);
    }

    /// Notes a change. Of several in one layer, the first knows what was there before.
    fn note_path(
        &mut self,
        path: Vec<u8>,
        before: Option<EntryId>,
        after: Option<EntryId>,
        kind: ChangeKind,
    ) {
        let Some(changes) = &mut self.changes else {
            return;
        };
        let path: Box<[u8]> = path.into();
        let Some(former) = changes.get_mut(&path) else {
            let change = Change {
                before,
                after,
                kind,
            };
            changes.insert(path, change);
            return;
        };
        former.after = after;
        former.kind = match (former.kind, kind) {
            // Made and removed by one layer: nothing of it is left.
            (ChangeKind::Added, ChangeKind::Removed) => {
                changes.remove(&path);
                return;
            }
            (ChangeKind::Added, _) => ChangeKind::Added,
            (_, ChangeKind::Removed) => ChangeKind::Removed,
            _ => ChangeKind::Changed,
        };
    }
}
