//! Garbage collection: mark what the roots lead to, remove the rest.
//!
//! ```text
//! index.json ─▶ manifest ─▶ config ─▶ diff IDs ─▶ chains ─▶ layers
//!                   └─────▶ layer blobs              ▲  └──▶ compressed blobs
//! snapshot.json ─────────────────────────────────────┤
//! records of kind "build" ───────────────────────────┘
//! ```

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::PathBuf;

use mica_oci::{ChainId, Descriptor, DiffId, Digest, Document, ImageConfig, Index, Manifest};
use serde::Deserialize;

use crate::compressed::COMPRESSED;
use crate::durable::{chains_in, names_or_none};
use crate::error::At;
use crate::export::REWRITTEN;
use crate::images::REPOSITORY_DIGESTS;
use crate::temporary::Trash;
use crate::{Store, StoreError};

/// Kind of the records that keep layers for coming builds: JSON with `layers`, a list of chain
/// IDs. Other rooms write them.
pub(crate) const BUILD: &str = "build";

/// Kind of the records that keep the files of failed build steps: JSON with `layers`, a list of
/// layers by name. Other rooms write them.
const FAILED: &str = "failed";

/// Kind of the records that records of kind [`BUILD`] name under `files`, in lists called `pieces`.
const FILES: &str = "files";

/// What a collection removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Whether nothing was done because somebody uses the store.
    pub skipped: bool,
    /// The blobs that were removed.
    pub blobs: Vec<Digest>,
    /// The unpacked layers that were removed, by the whole stack that each ended.
    pub layers: Vec<ChainId>,
    /// How many bytes the blobs had, and the tar streams of the layers.
    pub bytes: u64,
}

/// What must stay.
#[derive(Debug, Default)]
struct Marked {
    blobs: HashSet<Digest>,
    chains: HashSet<ChainId>,
    diff_ids: HashSet<DiffId>,
    images: HashSet<Digest>,
    layer_directories: HashSet<String>,
    file_lists: HashSet<String>,
}

/// What collection needs of `layer.json`.
#[derive(Deserialize)]
struct LayerFile {
    diff_id: DiffId,
    parent: Option<ChainId>,
    size: u64,
}

/// What collection needs of a record of kind [`BUILD`].
#[derive(Deserialize)]
struct BuildRecord {
    #[serde(default)]
    layers: Vec<ChainId>,
    #[serde(default)]
    files: Vec<FileList>,
}

/// What collection needs of a record of kind [`FAILED`].
#[derive(Deserialize)]
struct FailedRecord {
    #[serde(default)]
    layers: Vec<String>,
}

/// What collection needs of an element of `files`.
#[derive(Deserialize)]
struct FileList {
    #[serde(default)]
    pieces: Vec<String>,
}

impl Store {
    /// Removes blobs, layers, records and temporaries that nothing references, unless somebody
    /// uses the store. It waits for nobody.
    ///
    /// # Errors
    /// When something that a tag leads to cannot be read: then what it needs is not known, and
    /// nothing is removed.
    pub fn collect(&self) -> Result<Collected, StoreError> {
        // What takes long comes after the lock: it keeps nobody waiting.
        let trash = self.trash()?;
        let Some(lock) = self.hold_alone()? else {
            return Ok(Collected {
                skipped: true,
                ..Collected::default()
            });
        };
        self.remove_abandoned_snapshots(&trash)?;
        self.remove_pending_of_earlier_boots(&trash)?;
        let marked = self.mark()?;
        let mut collected = Collected::default();
        self.sweep_layers(&marked, &trash, &mut collected)?;
        self.sweep_blobs(&marked, &trash, &mut collected)?;
        self.sweep_records(&marked)?;
        drop(lock);
        trash.empty()?;
        self.remove_abandoned()?;
        Ok(collected)
    }

    fn mark(&self) -> Result<Marked, StoreError> {
        let mut marked = Marked::default();
        for entry in self.own_images()? {
            self.mark_target(&entry.target, &mut marked)?;
        }
        for (_, value) in self.records().entries(BUILD)? {
            // A record that is none keeps nothing: it costs a build step, no data.
            let Ok(record) = serde_json::from_str::<BuildRecord>(&value) else {
                continue;
            };
            for chain in record.layers {
                self.mark_chain(chain, &mut marked)?;
            }
            let pieces = record.files.into_iter().flat_map(|list| list.pieces);
            marked.file_lists.extend(pieces);
        }
        for layer in self.snapshot_layers()? {
            marked.layer_directories.insert(layer.as_str().to_owned());
        }
        for (_, value) in self.records().entries(FAILED)? {
            let record = serde_json::from_str::<FailedRecord>(&value).ok();
            let layers = record.into_iter().flat_map(|record| record.layers);
            marked.layer_directories.extend(layers);
        }
        for chain in self.chains()? {
            let kept = self.chain_target(&chain)?;
            if kept.is_some_and(|name| marked.layer_directories.contains(&name)) {
                self.mark_chain(chain, &mut marked)?;
            }
        }
        for diff_id in &marked.diff_ids {
            if let Some(compressed) = self.known_compressed(diff_id, crate::Codec::GZIP)? {
                marked.blobs.insert(compressed.digest);
            }
        }
        Ok(marked)
    }

    fn mark_target(&self, target: &Descriptor, marked: &mut Marked) -> Result<(), StoreError> {
        if !marked.blobs.insert(target.digest.clone()) {
            return Ok(());
        }
        if target.media_type.is_index() {
            let index: Document<Index> = self.read_document(target)?;
            // Only some of an index's platforms may ever have been here.
            for child in index.into_value().manifests {
                if self.has_blob(&child.digest) {
                    self.mark_target(&child, marked)?;
                }
            }
            return Ok(());
        }
        let manifest: Document<Manifest> = self.read_document(target)?;
        let layers = &manifest.value().layers;
        marked
            .blobs
            .extend(layers.iter().map(|layer| layer.digest.clone()));
        marked.blobs.insert(manifest.value().config.digest.clone());
        if !manifest.value().config.media_type.is_image_config() {
            // An artifact, which has no layers to unpack.
            return Ok(());
        }
        let config: Document<ImageConfig> = self.read_document(&manifest.value().config)?;
        marked.images.insert(config.digest().clone());
        let mut chain = None;
        for diff_id in &config.value().rootfs.diff_ids {
            let next = ChainId::extend(chain.as_ref(), diff_id);
            self.mark_chain(next.clone(), marked)?;
            chain = Some(next);
        }
        Ok(())
    }

    /// Marks a stack of layers down to its bottom.
    fn mark_chain(&self, chain: ChainId, marked: &mut Marked) -> Result<(), StoreError> {
        let mut next = Some(chain);
        while let Some(chain) = next {
            if !marked.chains.insert(chain.clone()) {
                break;
            }
            let Some(name) = self.chain_target(&chain)? else {
                break;
            };
            // A link may outlive a power cut that its layer did not: the layer is missing then, and
            // is made again by the next build or pull that needs it.
            if !self
                .directory("layers")
                .join(&name)
                .join("layer.json")
                .exists()
            {
                break;
            }
            let layer = self.read_layer_file(&name)?;
            marked.layer_directories.insert(name);
            marked.diff_ids.insert(layer.diff_id);
            next = layer.parent;
        }
        Ok(())
    }

    fn sweep_layers(
        &self,
        marked: &Marked,
        trash: &Trash,
        collected: &mut Collected,
    ) -> Result<(), StoreError> {
        for chain in self.chains()? {
            if marked.chains.contains(&chain) {
                continue;
            }
            if let Some(name) = self.chain_target(&chain)? {
                collected.bytes += self.read_layer_file(&name).map_or(0, |layer| layer.size);
            }
            // The links go first: a visible chain is complete.
            trash.take(&self.chain_link(&chain))?;
            trash.take(&self.pending_link(&chain))?;
            collected.layers.push(chain);
        }
        for name in names_or_none(&self.directory("layers"))? {
            if !marked.layer_directories.contains(&name) {
                trash.take(&self.directory("layers").join(name))?;
            }
        }
        Ok(())
    }

    fn sweep_blobs(
        &self,
        marked: &Marked,
        trash: &Trash,
        collected: &mut Collected,
    ) -> Result<(), StoreError> {
        for name in names_or_none(&self.directory("blobs/sha256"))? {
            let Ok(digest) = format!("sha256:{name}").parse::<Digest>() else {
                continue; // not ours
            };
            if marked.blobs.contains(&digest) {
                continue;
            }
            let size = self.blob_size(&digest)?;
            trash.take(&self.own_blob_path(&digest))?;
            collected.bytes += size;
            collected.blobs.push(digest);
        }
        Ok(())
    }

    fn sweep_records(&self, marked: &Marked) -> Result<(), StoreError> {
        let records = self.records();
        for key in records.keys(REPOSITORY_DIGESTS)? {
            if key
                .parse()
                .is_ok_and(|image| !marked.images.contains(&image))
            {
                records.remove(REPOSITORY_DIGESTS, &key)?;
            }
        }
        for (kind, separator) in [(COMPRESSED, '/'), (REWRITTEN, '@')] {
            for key in records.keys(kind)? {
                let diff_id = key.split(separator).next().unwrap_or_default().parse();
                if diff_id.is_ok_and(|diff_id| !marked.diff_ids.contains(&DiffId(diff_id))) {
                    records.remove(kind, &key)?;
                }
            }
        }
        for key in records.keys(FILES)? {
            if !marked.file_lists.contains(&key) {
                records.remove(FILES, &key)?;
            }
        }
        Ok(())
    }

    /// Returns all chains that have an unpacked layer.
    pub(crate) fn chains(&self) -> Result<Vec<ChainId>, StoreError> {
        let mut chains = chains_in(&self.directory("chains"))?;
        chains.extend(self.pending_chains()?);
        chains.sort_unstable();
        chains.dedup();
        Ok(chains)
    }

    pub(crate) fn chain_link(&self, chain: &ChainId) -> PathBuf {
        self.directory("chains").join(chain.0.hex())
    }

    /// Returns the name of the directory below `layers` that a chain ends in.
    fn chain_target(&self, chain: &ChainId) -> Result<Option<String>, StoreError> {
        for link in [self.chain_link(chain), self.pending_link(chain)] {
            match fs::read_link(&link) {
                Ok(target) => {
                    let name = target.file_name().and_then(|name| name.to_str());
                    return Ok(name.map(str::to_owned));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).at("read", &link),
            }
        }
        Ok(None)
    }

    fn read_layer_file(&self, name: &str) -> Result<LayerFile, StoreError> {
        let path = self.directory("layers").join(name).join("layer.json");
        let raw = fs::read(&path).at("read", &path)?;
        serde_json::from_slice(&raw).map_err(|source| StoreError::Damaged { path, source })
    }
}
