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
    changes: Changes,
    /// The last parent, by its path as written: most entries share it with the one before.
    parent: Option<(Box<[u8]>, NodeId)>,
}

impl<'i> Tree<'i> {
    /// Puts a layer on top, and returns what it changed. Layers come in order; some may be left out.
    pub fn apply(&mut self, layer: usize, index: &'i LayerIndex) -> Changes {
        self.indexes.insert(layer, index);
        let problems = index.problems.iter();
        self.problems
            .extend(problems.map(|problem| format!("layer {layer}: {problem}")));
        let mut apply = Apply {
            tree: self,
            layer,
            changes: BTreeMap::new(),
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

impl Apply<'_, '_> {
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
    fn parent(&mut self, path: &[u8]) -> Result<NodeId, PathError> {
        if let Some((known, place)) = &self.parent
            && **known == *path
        {
            return Ok(*place);
        }
        let place = self.walk(path, true)?.ok_or(PathError::Missing)?;
        self.parent = Some((path.into(), place));
        Ok(place)
    }

    /// Walks to a directory. What is missing is taken for a directory, so that `missing/..` leads
    /// back; what is still missing at the end is made, or ends the walk with `None`.
    fn walk(&mut self, path: &[u8], make: bool) -> Result<Option<NodeId>, PathError> {
        let mut here = self.tree.root();
        let mut missing: Vec<Box<[u8]>> = Vec::new();
        let mut steps = steps(path);
        let mut links = 0;
        while let Some(step) = steps.pop_front() {
            if &*step == b".." {
                if missing.pop().is_none() {
                    here = self.tree.parent(here);
                }
                continue;
            }
            let next = self.tree.node(here).children.get(&step).copied();
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
        if !missing.is_empty() && !make {
            return Ok(None);
        }
        for name in missing {
            here = self.insert(here, &name, None, None);
        }
        Ok(Some(here))
    }

    fn directory(&mut self, place: NodeId, name: &[u8], id: EntryId) {
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

    fn hard_link(&mut self, id: EntryId, parent: &[u8], name: &[u8]) -> Result<(), PathError> {
        let target = clean(&self.tree.entry(id).link);
        let (target_parent, target_name) = split(&target);
        let from = self.walk(target_parent, false)?;
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
    fn put(&mut self, place: NodeId, name: &[u8], data: EntryId, origin: EntryId) {
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
        name: &[u8],
        data: Option<EntryId>,
        origin: Option<EntryId>,
    ) -> NodeId {
        let id = NodeId(u32::try_from(self.tree.nodes.len()).expect("entries are limited"));
        self.tree.nodes.push(Node {
            name: name.into(),
            data,
            layer: self.layer,
            origin,
            parent: place,
            children: BTreeMap::new(),
            touched: self.layer,
        });
        self.tree.node_mut(place).children.insert(name.into(), id);
        self.touch(place);
        if data.is_none() {
            self.note(id, None, None, ChangeKind::Added);
        }
        id
    }

    /// Hides a name of the lower layers.
    fn whiteout(&mut self, id: EntryId, parent: &[u8], name: &[u8]) -> Result<(), PathError> {
        if self.tree.scope == Scope::Layer {
            let place = self.parent(parent)?;
            if !self.tree.node(place).children.contains_key(name) {
                self.insert(place, name, Some(id), Some(id));
            }
            return Ok(());
        }
        let Some(place) = self.walk(parent, false)? else {
            return Ok(()); // there is nothing to hide
        };
        if let Some(hidden) = self.tree.node(place).children.get(name).copied() {
            self.hide(hidden);
        }
        Ok(())
    }

    /// Hides all that the lower layers have in a directory.
    fn opaque(&mut self, id: EntryId) -> Result<(), PathError> {
        let path = self.tree.entry(id).path.clone();
        let place = self.parent(&path)?;
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
            let name = self.tree.node(id).name.clone();
            self.remove(self.tree.parent(id), &name);
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
        let gone: Vec<_> = self.tree.walk(id).collect();
        for (path, gone) in gone {
            let data = self.tree.node(gone).data;
            self.note_path(path, data, None, ChangeKind::Removed);
        }
    }

    /// Marks a node and those above it as this layer's.
    fn touch(&mut self, id: NodeId) {
        let mut here = id;
        loop {
            let node = self.tree.node_mut(here);
            node.touched = self.layer;
            if here == node.parent {
                return;
            }
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
        let path: Box<[u8]> = path.into();
        let Some(former) = self.changes.get_mut(&path) else {
            let change = Change {
                before,
                after,
                kind,
            };
            self.changes.insert(path, change);
            return;
        };
        former.after = after;
        former.kind = match (former.kind, kind) {
            // Made and removed by one layer: nothing of it is left.
            (ChangeKind::Added, ChangeKind::Removed) => {
                self.changes.remove(&path);
                return;
            }
            (ChangeKind::Added, _) => ChangeKind::Added,
            (_, ChangeKind::Removed) => ChangeKind::Removed,
            _ => ChangeKind::Changed,
        };
    }
}
