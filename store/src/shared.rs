//! Read-only stores beside the own one: images and layers are found there, and nothing is copied.
//!
//! ```text
//! look up:  own store, then each shared one in the order given
//! write:    own store only; a name given to an image of a shared store copies its documents
//! collect:  own store only; meanwhile a use holds the shared ones, where their lock can be opened
//! ```
//!
//! Records of a shared store are not read: its database may be on a medium that SQLite cannot lock.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use mica_oci::{Descriptor, Document, Index, Manifest, Reference};
use rustix::fs::FlockOperation;

use crate::images::name_of;
use crate::store::VERSION;
use crate::{Store, StoreError, StoreOptions, Tagged};

impl Store {
    /// Opens the store at `root` to read from it, together with another.
    pub(crate) fn open_shared(root: &Path, options: &StoreOptions) -> Result<Self, StoreError> {
        let options = StoreOptions {
            limits: options.limits.clone(),
            additional: Vec::new(),
            layers: options.layers,
            transfers: options.transfers,
            snapshotter: options.snapshotter,
        };
        let store = Self::handle(root, options, Vec::new())?;
        let failed = |reason| StoreError::Shared {
            root: store.root().to_owned(),
            reason,
        };
        match fs::read_to_string(store.root().join("version")) {
            Ok(found) if found.trim() == VERSION => Ok(store),
            Ok(found) => Err(failed(format!(
                "it has format version `{}`, this program reads version `{VERSION}`",
                found.trim()
            ))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(failed("there is no store".into()))
            }
            Err(error) => Err(failed(error.to_string())),
        }
    }

    /// Returns the roots of the read-only stores that are looked into as well.
    pub fn additional_roots(&self) -> Vec<PathBuf> {
        let roots = self.shared().iter().map(|store| store.root().to_owned());
        roots.collect()
    }

    /// Returns this store and those beside it, in the order that they are looked into.
    pub(crate) fn and_shared(&self) -> impl Iterator<Item = &Store> {
        std::iter::once(self).chain(self.shared())
    }

    /// Keeps the collectors of the shared stores away, as far as they have locks that can be had.
    pub(crate) fn hold_shared(&self) -> Vec<File> {
        let files = self.shared().iter().filter_map(|store| {
            let file = File::open(store.root().join("lock")).ok()?;
            rustix::fs::flock(&file, FlockOperation::LockShared).ok()?;
            Some(file)
        });
        files.collect()
    }

    /// Returns all entries of `index.json` in the shared stores whose names are not ours.
    pub(crate) fn shared_images(&self, own: &[Tagged]) -> Result<Vec<Tagged>, StoreError> {
        let mut found: Vec<Tagged> = Vec::new();
        for store in self.shared() {
            for entry in store.own_images()? {
                let is_hidden = own
                    .iter()
                    .chain(&found)
                    .any(|other| match &entry.reference {
                        Some(name) => other.reference.as_ref() == Some(name),
                        None => other.target.digest == entry.target.digest,
                    });
                if !is_hidden {
                    found.push(entry);
                }
            }
        }
        Ok(found)
    }

    /// Fails for a name that only a shared store has: it cannot be taken away.
    pub fn check_is_own(&self, reference: &Reference) -> Result<(), StoreError> {
        let name = reference.familiar();
        for store in self.and_shared() {
            let index = store.read_index()?;
            if !index.manifests.iter().any(|it| name_of(it) == Some(&name)) {
                continue;
            }
            if store.root() != self.root() {
                let root = store.root().to_owned();
                return Err(StoreError::ReadOnly { name, root });
            }
            break;
        }
        Ok(())
    }

    /// Fails for an image that only a shared store has.
    pub(crate) fn check_has_own(&self, target: &Descriptor) -> Result<(), StoreError> {
        for store in self.and_shared() {
            let entries = store.own_images()?.into_iter();
            let mut of_image = entries.filter(|entry| entry.target.digest == target.digest);
            match of_image.next() {
                Some(entry) if store.root() != self.root() => {
                    let (name, root) = (entry.shown(), store.root().to_owned());
                    return Err(StoreError::ReadOnly { name, root });
                }
                Some(_) => break,
                None => {}
            }
        }
        Ok(())
    }

    /// Copies the documents of an image that a shared store has: names lead to documents of ours.
    pub(crate) fn own_documents(&self, target: &Descriptor) -> Result<(), StoreError> {
        if self.shared().is_empty() || !self.has_blob(&target.digest) {
            return Ok(());
        }
        if target.media_type.is_index() {
            let index: Document<Index> = self.read_document(target)?;
            for child in &index.value().manifests {
                self.own_documents(child)?;
            }
        } else if target.media_type.is_manifest() {
            let manifest: Document<Manifest> = self.read_document(target)?;
            self.own_document(&manifest.value().config)?;
        }
        self.own_document(target)
    }

    fn own_document(&self, descriptor: &Descriptor) -> Result<(), StoreError> {
        if self.own_blob_path(&descriptor.digest).exists() {
            return Ok(());
        }
        let raw = self.read_blob(descriptor)?;
        self.write_blob_file(descriptor, &raw[..])
    }
}
