//! Stacks by the address of their top, or by their layers' names.

use std::fs;

use mica_oci::ChainId;

use crate::error::At;
use crate::{LayerId, Stack, Store, StoreError};

impl Store {
    /// Returns the stack that a chain ID stands for; `None` when a layer of it is not there.
    pub fn stack_of_chain(&self, chain: &ChainId) -> Result<Option<Stack>, StoreError> {
        let mut stack = Stack::default();
        let mut next = Some(chain.clone());
        while let Some(chain) = next {
            let Some(layer) = self.layer(&chain)? else {
                return Ok(None);
            };
            next = self.parent_of_layer(&layer.id)?;
            stack.layers.insert(0, layer);
        }
        Ok(Some(stack))
    }

    /// Returns the stack of layers by their names, bottom first.
    pub fn stack_of_layers(&self, ids: &[LayerId]) -> Result<Stack, StoreError> {
        let layers = ids.iter().map(|id| self.layer_by_id(id.clone()));
        Ok(Stack {
            layers: layers.collect::<Result<_, _>>()?,
        })
    }

    /// Removes a layer that never got an address, unless a snapshot lies on it: then collection
    /// removes it later.
    pub fn remove_unused_layer(&self, id: &LayerId) -> Result<(), StoreError> {
        let registered = self.layer_by_id(id.clone())?.chain.is_some();
        if registered || self.snapshot_layers()?.contains(id) {
            return Ok(());
        }
        self.discard(&self.directory("layers").join(id.as_str()))
    }

    fn parent_of_layer(&self, id: &LayerId) -> Result<Option<ChainId>, StoreError> {
        #[derive(serde::Deserialize)]
        struct Description {
            parent: Option<ChainId>,
        }
        let path = self.layer_directory(id).join("layer.json");
        let raw = fs::read(&path).at("read", &path)?;
        let read: Result<Description, _> = serde_json::from_slice(&raw);
        read.map(|description| description.parent)
            .map_err(|source| StoreError::Damaged { path, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_is_found_by_its_top() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let mut parent: Option<ChainId> = None;
        let mut ids = Vec::new();
        for name in ["a", "b"] {
            let writer = store.new_layer().unwrap();
            fs::write(writer.path().join(name), name).unwrap();
            let layer = writer.commit().unwrap();
            ids.push(layer.id.clone());
            let description = store.describe(&layer).unwrap();
            store
                .register(parent.as_ref(), layer, &description)
                .unwrap();
            parent = Some(ChainId::extend(parent.as_ref(), &description.diff_id));
        }
        let stack = store.stack_of_chain(&parent.unwrap()).unwrap().unwrap();
        let found: Vec<_> = stack.layers.iter().map(|layer| layer.id.clone()).collect();
        assert_eq!(found, ids);
        assert_eq!(store.stack_of_layers(&ids).unwrap(), stack);
    }

    #[test]
    fn a_layer_in_use_stays() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let layer = store.new_layer().unwrap().commit().unwrap();
        let stack = store
            .stack_of_layers(std::slice::from_ref(&layer.id))
            .unwrap();
        let snapshot = store
            .prepare(&stack, crate::SnapshotKind::Ephemeral, &[])
            .unwrap();
        store.remove_unused_layer(&layer.id).unwrap();
        assert!(layer.path.exists());
        drop(snapshot);
        store.remove_unused_layer(&layer.id).unwrap();
        assert!(!layer.path.exists());
    }
}
