//! Unpacked layers: where they are, how they come to be, how they get their names.

mod base;
mod onto;
mod unpack;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use mica_oci::{ChainId, Descriptor, DiffId};
use serde::{Deserialize, Serialize};

use crate::durable::WriteBehind;
use crate::error::At;
use crate::layer::{Rewrite, Written, copy_tree, link_tree, write_tar};
use crate::temporary::TemporaryDirectory;
use crate::view::View;
use crate::{Image, Store, StoreError, sys};

pub(crate) use base::Base;
pub(crate) use unpack::root_metadata;

/// The version of `layer.json` that is read and written.
const VERSION: u32 = 1;

/// The name of a layer's directory: random, never used again.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LayerId(String);

/// An unpacked layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Its name.
    pub id: LayerId,
    /// Its content in overlayfs form; the path never changes.
    pub path: PathBuf,
    /// Its tar stream, once that is known.
    pub description: Option<LayerDescription>,
    /// The stack that it ends, once it is registered.
    pub chain: Option<ChainId>,
}

/// What is known of a layer's tar stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerDescription {
    /// The digest of the stream.
    pub diff_id: DiffId,
    /// Its size in bytes.
    pub size: u64,
    /// The bytes of its files' content, each file once: what docker shows as a layer's size.
    pub content: u64,
    /// How many entries it has.
    pub entries: u64,
}

/// Layers on top of each other; may hold some that are not registered yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stack {
    /// The layers, bottom first.
    pub layers: Vec<Layer>,
}

/// An empty layer to write into. Dropped without [`commit`](Self::commit) it is removed.
#[derive(Debug)]
#[must_use = "a layer that is not committed is removed"]
pub struct LayerWriter {
    store: Store,
    directory: TemporaryDirectory,
    path: PathBuf,
}

/// `layer.json`.
#[derive(Serialize, Deserialize)]
struct LayerFile {
    version: u32,
    chain_id: ChainId,
    parent: Option<ChainId>,
    #[serde(flatten)]
    description: LayerDescription,
    /// Seconds since 1970.
    created: u64,
}

impl LayerId {
    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Makes a new one.
    fn random() -> Self {
        Self(format!(
            "{}{}",
            crate::temporary::random_name(),
            crate::temporary::random_name()
        ))
    }
}

/// A layer's name is one plain component of a path.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no layer ID")]
pub struct LayerIdError(String);

impl TryFrom<String> for LayerId {
    type Error = LayerIdError;

    fn try_from(text: String) -> Result<Self, LayerIdError> {
        let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if plain {
            Ok(Self(text))
        } else {
            Err(LayerIdError(text))
        }
    }
}

impl From<LayerId> for String {
    fn from(id: LayerId) -> Self {
        id.0
    }
}

impl Stack {
    /// Returns the layers' directories, topmost first, as overlayfs takes them.
    pub fn lower_directories(&self) -> Vec<PathBuf> {
        self.layers
            .iter()
            .rev()
            .map(|layer| layer.path.clone())
            .collect()
    }

    /// Puts a layer on top.
    pub fn push(&mut self, layer: Layer) {
        self.layers.push(layer);
    }

    /// Returns the merged view of all layers.
    pub fn view(&self) -> Result<View, StoreError> {
        View::of_directories(&self.lower_directories())
    }
}

impl LayerWriter {
    /// Returns the empty directory, mode 0755. What is written there is the layer, in overlayfs
    /// form.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the layer its place. Its description is a [`Recorder`](crate::Recorder)'s, or made later,
    /// by [`Store::describe_new`].
    pub fn commit(self) -> Result<Layer, StoreError> {
        let id = LayerId::random();
        self.directory.persist(&self.store.layer_directory(&id))?;
        Ok(self.store.bare_layer(id))
    }
}

/// Writes the tar stream of a directory in overlayfs form, the same bytes every time.
pub fn directory_tar(directory: &Path, out: impl Write) -> Result<LayerDescription, StoreError> {
    write_directory(directory, Rewrite::default(), out)
}

fn write_directory(
    directory: &Path,
    rewrite: Rewrite,
    out: impl Write,
) -> Result<LayerDescription, StoreError> {
    let root = sys::open_root(directory).at("open", directory)?;
    Ok(write_tar(&root, rewrite, out)?.into())
}

impl From<Written> for LayerDescription {
    fn from(written: Written) -> Self {
        Self {
            diff_id: written.diff_id,
            size: written.size,
            content: written.content,
            entries: written.entries,
        }
    }
}

impl Store {
    /// Returns the topmost layer of a stack that is unpacked and registered.
    pub fn layer(&self, chain: &ChainId) -> Result<Option<Layer>, StoreError> {
        for store in self.and_shared() {
            if let Some(layer) = store.own_layer(chain)? {
                return Ok(Some(layer));
            }
        }
        Ok(None)
    }

    fn own_layer(&self, chain: &ChainId) -> Result<Option<Layer>, StoreError> {
        // The link may move from the second place to the first between two looks.
        let durable = self.chain_link(chain);
        for link in [&durable, &self.pending_link(chain), &durable] {
            if let Some(layer) = self.linked_layer(link)? {
                return Ok(Some(layer));
            }
        }
        Ok(None)
    }

    /// Returns the layer that a link leads to, if it is complete.
    pub(crate) fn linked_layer(&self, link: &Path) -> Result<Option<Layer>, StoreError> {
        let target = match fs::read_link(link) {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).at("read", link),
        };
        let name = target
            .file_name()
            .and_then(OsStr::to_str)
            .unwrap_or_default();
        let id = LayerId::try_from(name.to_owned()).map_err(|_| io::ErrorKind::InvalidData);
        let layer = self.layer_by_id(id.at("read", link)?)?;
        // Without its description the layer was removed by hand.
        Ok(Some(layer).filter(|layer| layer.chain.is_some()))
    }

    /// Returns the layer of that name, with its description where it is registered.
    pub(crate) fn layer_by_id(&self, id: LayerId) -> Result<Layer, StoreError> {
        let path = self.layer_directory(&id).join("layer.json");
        let mut layer = self.bare_layer(id);
        match fs::read(&path) {
            Ok(raw) => {
                let file: LayerFile = serde_json::from_slice(&raw)
                    .map_err(|source| StoreError::Damaged { path, source })?;
                layer.description = Some(file.description);
                layer.chain = Some(file.chain_id);
                Ok(layer)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(layer),
            Err(error) => Err(error).at("read", &path),
        }
    }

    /// Returns the stack below a registered layer.
    pub(crate) fn parent_of(&self, id: &LayerId) -> Result<Option<ChainId>, StoreError> {
        let path = self.layer_directory(id).join("layer.json");
        let raw = fs::read(&path).at("read", &path)?;
        let file: LayerFile =
            serde_json::from_slice(&raw).map_err(|source| StoreError::Damaged { path, source })?;
        Ok(file.parent)
    }

    /// Returns the layers of an image, bottom first.
    ///
    /// # Errors
    /// [`StoreError::MissingLayer`] when one is not unpacked.
    pub fn stack(&self, diff_ids: &[DiffId]) -> Result<Stack, StoreError> {
        let mut stack = Stack::default();
        let mut chain = None;
        for diff_id in diff_ids {
            let next = ChainId::extend(chain.as_ref(), diff_id);
            let layer = self.layer(&next)?.ok_or_else(|| StoreError::MissingLayer {
                diff_id: diff_id.clone(),
                chain: next.clone(),
            })?;
            stack.push(layer);
            chain = Some(next);
        }
        Ok(stack)
    }

    /// Returns the layers of an image, bottom first; those that are not there yet are unpacked
    /// from their blobs.
    pub fn unpack(&self, image: &Image) -> Result<Stack, StoreError> {
        let mut stack = Stack::default();
        let mut chain = None;
        let descriptors = &image.manifest.value().layers;
        for (index, diff_id) in image.config.value().rootfs.diff_ids.iter().enumerate() {
            let next = ChainId::extend(chain.as_ref(), diff_id);
            let layer = match (self.layer(&next)?, descriptors.get(index)) {
                (Some(layer), _) => layer,
                (None, Some(descriptor)) => self.unpack_layer(&stack, diff_id, descriptor)?,
                (None, None) => {
                    let diff_id = diff_id.clone();
                    return Err(StoreError::MissingLayer {
                        diff_id,
                        chain: next,
                    });
                }
            };
            stack.push(layer);
            chain = Some(next);
        }
        Ok(stack)
    }

    fn unpack_layer(
        &self,
        parent: &Stack,
        diff_id: &DiffId,
        descriptor: &Descriptor,
    ) -> Result<Layer, StoreError> {
        let blob = self.open_blob(&descriptor.digest)?;
        self.apply_layer(parent, diff_id, descriptor, blob)
    }

    /// Makes an empty directory to write a layer into.
    pub fn new_layer(&self) -> Result<LayerWriter, StoreError> {
        let directory = self.temporary_directory("layer")?;
        let path = directory.path().join("fs");
        let mode = fs::Permissions::from_mode(0o755);
        fs::create_dir(&path).at("create", &path)?;
        fs::set_permissions(&path, mode).at("create", &path)?;
        Ok(LayerWriter {
            store: self.clone(),
            directory,
            path,
        })
    }

    /// Makes a layer of a directory in overlayfs form on the store's file system, by renaming it.
    pub(crate) fn take_layer(&self, upper: &Path) -> Result<Layer, StoreError> {
        let writer = self.new_layer()?;
        // Over the empty directory that is there.
        fs::rename(upper, writer.path()).at("seal", upper)?;
        writer.commit()
    }

    /// Makes a layer of a copy of a directory in overlayfs form, such as the read-write layer of
    /// a container that goes on.
    pub fn copy_layer(&self, upper: &Path) -> Result<Layer, StoreError> {
        let writer = self.new_layer()?;
        let from = sys::open_root(upper).at("open", upper)?;
        let to = sys::open_root(writer.path()).at("open", writer.path())?;
        copy_tree(&from, &to).at("copy", upper)?;
        writer.commit()
    }

    /// Makes a layer of the same files: directories of its own, and second names for all else. A
    /// layer's files never change, so that is as good as a copy, which a shared store's layer gets.
    pub fn link_layer(&self, layer: &Layer) -> Result<Layer, StoreError> {
        if !layer.path.starts_with(self.directory("layers")) {
            return self.copy_layer(&layer.path);
        }
        let writer = self.new_layer()?;
        let from = sys::open_root(&layer.path).at("open", &layer.path)?;
        let to = sys::open_root(writer.path()).at("open", writer.path())?;
        link_tree(&from, &to).at("link", &layer.path)?;
        writer.commit()
    }

    /// Computes what a layer's tar stream is. Reads all of the layer.
    pub fn describe(&self, layer: &Layer) -> Result<LayerDescription, StoreError> {
        self.layer_tar(layer, io::sink())
    }

    /// As [`describe`](Self::describe), for a layer that was just written: meanwhile it goes to the disk.
    pub fn describe_new(&self, layer: &Layer) -> Result<LayerDescription, StoreError> {
        let root = File::open(&layer.path).at("open", &layer.path)?;
        self.layer_tar(layer, WriteBehind::new(root))
    }

    /// Writes a layer's tar stream, the same bytes every time.
    pub fn layer_tar(
        &self,
        layer: &Layer,
        out: impl Write,
    ) -> Result<LayerDescription, StoreError> {
        self.rewritten_tar(layer, Rewrite::default(), out)
    }

    /// Writes a layer's tar stream with other times or owners than its files have.
    pub(crate) fn rewritten_tar(
        &self,
        layer: &Layer,
        rewrite: Rewrite,
        out: impl Write,
    ) -> Result<LayerDescription, StoreError> {
        write_directory(&layer.path, rewrite, out)
    }

    /// Makes a layer visible as the top of a stack. Where that stack is there already, its layer
    /// is returned, and the given one left to the collector: it may be in use.
    pub fn register(
        &self,
        parent: Option<&ChainId>,
        layer: Layer,
        description: &LayerDescription,
    ) -> Result<Layer, StoreError> {
        let chain = ChainId::extend(parent, &description.diff_id);
        if let Some(known) = self.layer(&chain)? {
            return Ok(known);
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        self.write_layer_file(
            &layer.id,
            &LayerFile {
                version: VERSION,
                chain_id: chain.clone(),
                parent: parent.cloned(),
                description: description.clone(),
                created: now.map_or(0, |since| since.as_secs()),
            },
        )?;
        self.link_chain(&chain, &layer.id)?;
        // Whoever was first: that layer is the one.
        let link = self.chain_link(&chain);
        let missing = || Err(io::ErrorKind::NotFound).at("read", &link);
        self.layer(&chain)?.map_or_else(missing, Ok)
    }

    /// Makes the link that makes a layer visible, unless a good one is there. It is in `chains/`
    /// once the layer is on the disk.
    fn link_chain(&self, chain: &ChainId, id: &LayerId) -> Result<(), StoreError> {
        let (directory, link) = (self.pending_directory(), self.pending_link(chain));
        fs::create_dir_all(&directory).at("create", &directory)?;
        // It has to be good in `chains/` as well.
        let target = Path::new("../layers").join(id.as_str());
        match symlink(&target, &link) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if self.layer(chain)?.is_some() {
                    return Ok(());
                }
                let temporary = link.with_extension(id.as_str());
                symlink(&target, &temporary).at("create", &temporary)?;
                fs::rename(&temporary, &link).at("create", &link)
            }
            result => result.at("create", &link),
        }
    }

    /// Writes `layer.json` as a whole. It is not synced: one sync of the store comes later.
    fn write_layer_file(&self, id: &LayerId, file: &LayerFile) -> Result<(), StoreError> {
        let path = self.layer_directory(id).join("layer.json");
        let temporary = path.with_extension("json.new");
        fs::write(&temporary, serde_json::json!(file).to_string()).at("write", &temporary)?;
        fs::rename(&temporary, &path).at("write", &path)
    }

    /// Returns where a layer is; the names are random, so only one store has it.
    pub(crate) fn layer_directory(&self, id: &LayerId) -> PathBuf {
        let path = |store: &Self| store.directory("layers").join(id.as_str());
        let mut shared = self.shared().iter().map(path);
        let own = path(self);
        match self.shared().is_empty() || own.exists() {
            true => own,
            false => shared.find(|path| path.exists()).unwrap_or(own),
        }
    }

    fn bare_layer(&self, id: LayerId) -> Layer {
        Layer {
            path: self.layer_directory(&id).join("fs"),
            id,
            description: None,
            chain: None,
        }
    }
}
