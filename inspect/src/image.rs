//! An image that is looked into: its documents, its layers, and the index of each.

use std::io::Read;
use std::sync::OnceLock;

use jiff::Timestamp;
use mica_oci::{Descriptor, DiffId, Digest, Document, ImageConfig, Manifest};

use crate::InspectError;
use crate::index::LayerIndex;
use crate::index_file::IndexCache;
use crate::instruction::instruction;
use crate::source::{Attestations, Source};
use crate::stream::LayerStream;
use crate::tree::{Changes, Scope, Tree};

/// An image, a directory, or a container's files.
pub struct Image {
    /// What it is called in messages.
    pub name: String,
    /// The manifest; absent for what is no image.
    pub manifest: Option<Document<Manifest>>,
    /// The configuration; absent for what is no image.
    pub config: Option<Document<ImageConfig>>,
    /// The layers, bottom first.
    pub layers: Vec<Layer>,
    pub(crate) attestations: Option<Attestations>,
    pub(crate) cache: Option<IndexCache>,
}

/// A layer of an image.
pub struct Layer {
    /// Its address where it is stored; absent for a directory.
    pub digest: Option<Digest>,
    /// The address of its tar stream.
    pub diff_id: Option<DiffId>,
    /// The bytes that it has where it is stored.
    pub stored_size: Option<u64>,
    /// What made it, as in a Dockerfile; empty when nothing is known.
    pub instruction: String,
    /// When it was made.
    pub created: Option<Timestamp>,
    pub(crate) source: Box<dyn Source>,
    pub(crate) index: OnceLock<LayerIndex>,
    pub(crate) outline: OnceLock<LayerIndex>,
}

/// The merged files of an image, and what each layer changed.
#[derive(Debug)]
pub struct Stack<'i> {
    /// The files.
    pub tree: Tree<'i>,
    /// The changes of each layer, bottom first.
    pub changes: Vec<Changes>,
}

impl<'i> Stack<'i> {
    fn of(indexes: Vec<&'i LayerIndex>) -> Self {
        let mut tree = Tree::new(Scope::Stack);
        let apply = |(layer, index)| tree.apply(layer, index);
        let changes = indexes.into_iter().enumerate().map(apply).collect();
        Self { tree, changes }
    }
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Image({})", self.name)
    }
}

impl std::fmt::Debug for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Layer({:?})", self.digest)
    }
}

impl Layer {
    pub(crate) fn new(source: Box<dyn Source>) -> Self {
        Self {
            digest: None,
            diff_id: None,
            stored_size: None,
            instruction: String::new(),
            created: None,
            source,
            index: OnceLock::new(),
            outline: OnceLock::new(),
        }
    }
}

impl Image {
    /// Makes an image of its documents and where its layers are.
    pub(crate) fn of_documents(
        name: String,
        manifest: Document<Manifest>,
        config: Document<ImageConfig>,
        source: impl Fn(usize, &Descriptor) -> Box<dyn Source>,
    ) -> Self {
        let history = config.value().history.iter();
        let mut history = history.filter(|step| !step.empty_layer);
        let diff_ids = &config.value().rootfs.diff_ids;
        let descriptors = manifest.value().layers.iter().enumerate();
        let layers = descriptors.map(|(index, descriptor)| {
            let step = history.next();
            Layer {
                digest: Some(descriptor.digest.clone()),
                diff_id: diff_ids.get(index).cloned(),
                stored_size: Some(descriptor.size),
                instruction: step.map(instruction).unwrap_or_default(),
                created: step.and_then(|step| step.created),
                ..Layer::new(source(index, descriptor))
            }
        });
        Self {
            name,
            layers: layers.collect(),
            manifest: Some(manifest),
            config: Some(config),
            attestations: None,
            cache: None,
        }
    }

    /// Keeps the indexes of layers in a directory, and looks for them there first.
    pub fn with_cache(self, cache: IndexCache) -> Self {
        Self {
            cache: Some(cache),
            ..self
        }
    }

    /// Returns the index of a layer; the layer is read when nobody has done so before.
    ///
    /// # Panics
    /// When there is no such layer.
    pub fn index(&self, layer: usize) -> Result<&LayerIndex, InspectError> {
        let asked = &self.layers[layer];
        if let Some(index) = asked.index.get() {
            return Ok(index);
        }
        let index = self.make_index(layer)?;
        Ok(asked.index.get_or_init(|| index))
    }

    fn make_index(&self, layer: usize) -> Result<LayerIndex, InspectError> {
        if let Some(index) = self.kept_index(layer) {
            return Ok(index);
        }
        let asked = &self.layers[layer];
        let cache = self.cache.as_ref().zip(asked.digest.as_ref());
        let blob = asked.source.open()?;
        let built = LayerIndex::build(blob);
        let index = built.map_err(|source| self.layer_error(layer, source))?;
        if let Some((cache, digest)) = cache {
            // A store that cannot be written is still one that can be looked into.
            let _ = cache.save(digest, &index);
        }
        Ok(index)
    }

    fn kept_index(&self, layer: usize) -> Option<LayerIndex> {
        let digest = self.layers[layer].digest.as_ref()?;
        self.cache.as_ref()?.load(digest)
    }

    /// Returns what a layer's headers say. Where they can be read without the content between them,
    /// and no index is kept, files have no digest, and nothing is checked against the layer's own.
    ///
    /// # Panics
    /// When there is no such layer.
    pub fn outline(&self, layer: usize) -> Result<&LayerIndex, InspectError> {
        let asked = &self.layers[layer];
        if let Some(known) = asked.index.get().or(asked.outline.get()) {
            return Ok(known);
        }
        if let Some(index) = self.kept_index(layer) {
            return Ok(asked.index.get_or_init(|| index));
        }
        let Some(plain) = asked.source.open_plain()? else {
            return self.index(layer);
        };
        let outline = LayerIndex::outline(plain);
        let outline = outline.map_err(|source| self.layer_error(layer, source))?;
        Ok(asked.outline.get_or_init(|| outline))
    }

    /// Makes the indexes of the first `count` layers, as many at once as there are processors.
    pub fn index_all(&self, count: usize) -> Result<Vec<&LayerIndex>, InspectError> {
        self.all(count, Self::index)
    }

    /// Asks for the first `count` layers, as many at once as there are processors.
    fn all(
        &self,
        count: usize,
        ask: fn(&Self, usize) -> Result<&LayerIndex, InspectError>,
    ) -> Result<Vec<&LayerIndex>, InspectError> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let next = std::sync::atomic::AtomicUsize::new(0);
        let work = || {
            loop {
                let layer = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                // A layer that failed fails again below, where its error is returned.
                if layer >= count || ask(self, layer).is_err() {
                    return;
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..threads.min(count) {
                scope.spawn(work);
            }
            work();
        });
        (0..count).map(|layer| ask(self, layer)).collect()
    }

    /// Merges the first `count` layers.
    pub fn stack(&self, count: usize) -> Result<Stack<'_>, InspectError> {
        Ok(Stack::of(self.index_all(count)?))
    }

    /// Merges all layers by what their headers say ([`Image::outline`]): enough for paths and sizes.
    pub fn outlined_stack(&self) -> Result<Stack<'_>, InspectError> {
        Ok(Stack::of(self.all(self.layers.len(), Self::outline)?))
    }

    /// Merges all layers.
    pub fn full_stack(&self) -> Result<Stack<'_>, InspectError> {
        self.stack(self.layers.len())
    }

    /// Merges all layers, for those who only want the files.
    pub fn full_tree(&self) -> Result<Tree<'_>, InspectError> {
        let mut tree = Tree::new(Scope::Stack);
        let indexes = self.index_all(self.layers.len())?;
        for (layer, index) in indexes.into_iter().enumerate() {
            tree.add(layer, index);
        }
        Ok(tree)
    }

    /// Returns the tree of one layer by itself.
    pub fn layer_tree(&self, layer: usize) -> Result<Tree<'_>, InspectError> {
        let mut tree = Tree::new(Scope::Layer);
        tree.add(layer, self.index(layer)?);
        Ok(tree)
    }

    pub(crate) fn layer_stream(
        &self,
        layer: usize,
    ) -> Result<LayerStream<Box<dyn Read + Send + '_>>, InspectError> {
        let blob = self.layers[layer].source.open()?;
        LayerStream::new(blob).map_err(|source| self.layer_error(layer, source))
    }

    pub(crate) fn layer_error(&self, layer: usize, source: mica_store::TarError) -> InspectError {
        let digest = self.layers[layer].digest.as_ref().map(Digest::short);
        InspectError::Layer {
            layer: format!("{layer} ({}) of {}", digest.unwrap_or("files"), self.name),
            source,
        }
    }

    /// Finds a layer by its number, from the bottom or, negative, from the top, or by the start of
    /// one of its digests.
    ///
    /// # Errors
    /// [`InspectError::NoSuchLayer`], [`InspectError::AmbiguousLayer`].
    pub fn find_layer(&self, text: &str) -> Result<usize, InspectError> {
        let count = self.layers.len();
        if let Ok(number) = text.parse::<i64>() {
            let from_top = count as i64 + number;
            let index = if number < 0 { from_top } else { number };
            if let Ok(index) = usize::try_from(index)
                && index < count
            {
                return Ok(index);
            }
        }
        // A short number is never the start of a digest: what it names must not hang on chance.
        let is_number = text.len() < 6 && text.parse::<i64>().is_ok();
        let prefix = text.strip_prefix("sha256:").unwrap_or(text);
        let is_so_called = |layer: &Layer| {
            let digests = [
                layer.digest.as_ref(),
                layer.diff_id.as_ref().map(|id| &id.0),
            ];
            let mut digests = digests.into_iter().flatten();
            !is_number
                && !prefix.is_empty()
                && digests.any(|digest| digest.hex().starts_with(prefix))
        };
        let mut found = (0..count).filter(|index| is_so_called(&self.layers[*index]));
        let (image, layer) = (self.name.clone(), text.to_owned());
        match (found.next(), found.next()) {
            (Some(index), None) => Ok(index),
            (Some(_), Some(_)) => Err(InspectError::AmbiguousLayer { image, layer }),
            (None, _) => Err(InspectError::NoSuchLayer {
                image,
                layer,
                count,
            }),
        }
    }
}
