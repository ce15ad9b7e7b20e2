//! Images in the form in which they leave: compression, media types, times, annotations.

use std::collections::BTreeMap;

use mica_oci::{
    Compression, Descriptor, DiffId, Digest, Document, ImageConfig, Index, Manifest, MediaType,
    Platform,
};

use crate::layer::{Rewrite, Times};
use crate::{Codec, Image, Layer, Store, StoreError};

/// Kind of the records that say what a layer became when its times were changed: diff ID and time
/// to diff ID.
pub(crate) const REWRITTEN: &str = "rewritten";

/// An image, or the images of several platforms with the index that lists them.
#[derive(Clone, Debug)]
pub struct ImageSet {
    /// The index, when there is one.
    pub index: Option<Document<Index>>,
    /// The images; one and only one where there is no index.
    pub images: Vec<Image>,
    /// What else the index lists: artifacts, such as attestations.
    pub artifacts: Vec<Document<Manifest>>,
}

/// How an image is to leave.
#[derive(Clone, Debug)]
pub struct ExportForm {
    /// How layers that were made here are compressed.
    pub codec: Codec,
    /// What becomes of layers that came compressed.
    pub existing: ExistingLayers,
    /// The time that no file of a layer that was made here is younger than, in seconds since 1970.
    pub latest: Option<i64>,
    /// Whose media types are used.
    pub media_types: MediaTypes,
}

impl ExportForm {
    /// Tells whether a layer goes in the form that [`push`](crate::push) gives it.
    pub fn is_that_of_push(&self, origin: Origin) -> bool {
        let keeps_times = self.latest.is_none() || origin == Origin::Base;
        self.codec == Codec::GZIP && self.existing == ExistingLayers::Keep && keeps_times
    }
}

/// What becomes of layers that came compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExistingLayers {
    /// They go as they came.
    Keep,
    /// Those in another compression are converted.
    Convert,
}

/// Whose media types are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaTypes {
    /// OCI's.
    Oci,
    /// Docker's.
    Docker,
}

/// One layer in its outgoing form.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The blob, or the plain tar stream of an unpacked layer.
    pub descriptor: Descriptor,
    /// The tar stream that it holds.
    pub diff_id: DiffId,
}

/// Where a layer comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From the base image: its times are left alone.
    Base,
    /// Made here.
    Made,
}

/// A part of a set of images.
pub(crate) enum Part<'s> {
    /// A layer, or a blob of an artifact.
    Stored(&'s Descriptor),
    /// A configuration, manifest or index: its digest and its bytes.
    Document(&'s Digest, &'s [u8]),
}

impl Part<'_> {
    pub(crate) fn digest(&self) -> &Digest {
        match self {
            Self::Stored(blob) => &blob.digest,
            Self::Document(digest, _) => digest,
        }
    }
}

impl<'s, T> From<&'s Document<T>> for Part<'s> {
    fn from(document: &'s Document<T>) -> Self {
        Self::Document(document.digest(), document.raw())
    }
}

impl ImageSet {
    /// Lists all there is to a set, children before parents.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        let images = self.images.iter().flat_map(|image| {
            let layers = image.manifest.value().layers.iter().map(Part::Stored);
            layers.chain([(&image.config).into(), (&image.manifest).into()])
        });
        let artifacts = self.artifacts.iter().flat_map(|artifact| {
            let Manifest { config, layers, .. } = artifact.value();
            let blobs = [config].into_iter().chain(layers).map(Part::Stored);
            blobs.chain([artifact.into()])
        });
        let index = self.index.iter().map(Part::from);
        images.chain(artifacts).chain(index)
    }

    /// Makes a set of one image.
    pub fn single(image: Image) -> Self {
        Self {
            index: None,
            images: vec![image],
            artifacts: Vec::new(),
        }
    }

    /// Returns what a name is given to: the index, or the image.
    ///
    /// # Panics
    /// When the set is empty.
    pub fn target(&self) -> &Descriptor {
        match &self.index {
            Some(index) => index.descriptor(),
            None => &self.images.first().expect("a set has an image").target,
        }
    }
}

impl Store {
    /// Brings one layer into its outgoing form. Done once: the result is found again.
    pub fn export_layer(
        &self,
        layer: &Descriptor,
        diff_id: &DiffId,
        origin: Origin,
        form: &ExportForm,
    ) -> Result<Outgoing, StoreError> {
        let outgoing = match (form.latest, origin) {
            (Some(latest), Origin::Made) => self.clamped(diff_id, latest, form.codec)?,
            _ => Outgoing {
                descriptor: self.converted(layer, diff_id, form)?,
                diff_id: diff_id.clone(),
            },
        };
        let descriptor = Descriptor {
            media_type: form.media_types.layer(&outgoing.descriptor),
            ..outgoing.descriptor
        };
        Ok(Outgoing {
            descriptor,
            ..outgoing
        })
    }

    /// Brings an image into its outgoing form, and puts its documents into the store.
    ///
    /// `base_layers` is how many of the layers came with the base image.
    pub fn export_image(
        &self,
        image: &Image,
        base_layers: usize,
        form: &ExportForm,
        annotations: &BTreeMap<String, String>,
    ) -> Result<Image, StoreError> {
        let diff_ids = &image.config.value().rootfs.diff_ids;
        let mut layers = Vec::with_capacity(diff_ids.len());
        let pairs = image.manifest.value().layers.iter().zip(diff_ids);
        for (index, (layer, diff_id)) in pairs.enumerate() {
            let origin = match index < base_layers {
                true => Origin::Base,
                false => Origin::Made,
            };
            layers.push(self.export_layer(layer, diff_id, origin, form)?);
        }
        let config = form.media_types.config(&image.config, &layers)?;
        let mut manifest = Manifest {
            config: config.descriptor().clone(),
            layers: layers.into_iter().map(|layer| layer.descriptor).collect(),
            media_type: Some(form.media_types.manifest()),
            ..image.manifest.value().clone()
        };
        manifest.annotations.extend(annotations.clone());
        let manifest = Document::encode(form.media_types.manifest(), manifest);
        self.put_document(&config)?;
        Ok(Image {
            target: self.put_document(&manifest)?,
            manifest,
            config,
        })
    }

    /// Makes the index of some images and of what is about them, and puts it into the store. The
    /// entry of each image gets a platform and annotations.
    pub fn export_index(
        &self,
        images: Vec<(Image, Platform, BTreeMap<String, String>)>,
        artifacts: Vec<(Descriptor, Document<Manifest>)>,
        media_types: MediaTypes,
        annotations: &BTreeMap<String, String>,
    ) -> Result<ImageSet, StoreError> {
        let media_type = media_types.index();
        let mut index = Index {
            media_type: Some(media_type.clone()),
            annotations: annotations.clone(),
            ..Index::new(Vec::with_capacity(images.len()))
        };
        let mut listed = Vec::with_capacity(images.len());
        for (image, platform, annotations) in images {
            index.manifests.push(Descriptor {
                platform: Some(platform),
                annotations,
                ..image.target.clone()
            });
            listed.push(image);
        }
        let (entries, artifacts): (Vec<_>, _) = artifacts.into_iter().unzip();
        index.manifests.extend(entries);
        let index = Document::encode(media_type, index);
        self.put_document(&index)?;
        Ok(ImageSet {
            index: Some(index),
            images: listed,
            artifacts,
        })
    }

    /// Returns the set that a descriptor leads to: an image, or an index with all that it lists.
    ///
    /// # Errors
    /// When a platform of the index is not here.
    pub fn image_set(&self, target: &Descriptor) -> Result<ImageSet, StoreError> {
        if !target.media_type.is_index() {
            return Ok(ImageSet::single(self.image(target, None)?));
        }
        let index: Document<Index> = self.read_document(target)?;
        let (mut images, mut artifacts) = (Vec::new(), Vec::new());
        for entry in &index.value().manifests {
            // An attestation has a configuration as an image has.
            let image =
                (!entry.is_attestation()).then(|| self.image(entry, entry.platform.as_ref()));
            match image {
                None | Some(Err(StoreError::NotAnImage { .. })) => {
                    artifacts.push(self.read_document(entry)?);
                }
                Some(image) => images.push(image?),
            }
        }
        Ok(ImageSet {
            index: Some(index),
            images,
            artifacts,
        })
    }

    /// Returns what there is of what a name stands for. Of an index that was pulled, most platforms
    /// never were here: then it is the image for this host's platform, as in docker.
    pub fn whole_set(&self, target: &Descriptor) -> Result<ImageSet, StoreError> {
        match self.image_set(target) {
            Err(_) => Ok(ImageSet::single(self.image(target, None)?)),
            set => set,
        }
    }

    /// Compresses a layer, or changes its compression where that is wanted.
    fn converted(
        &self,
        layer: &Descriptor,
        diff_id: &DiffId,
        form: &ExportForm,
    ) -> Result<Descriptor, StoreError> {
        let wanted = form.codec.compression();
        match layer.media_type.layer_compression() {
            Some(found) if found == wanted => Ok(layer.clone()),
            Some(Compression::None) => self.compressed_by_diff_id(diff_id, form.codec, None),
            Some(_) if form.existing == ExistingLayers::Convert => {
                self.recompressed(layer, diff_id, form.codec)
            }
            _ => Ok(layer.clone()),
        }
    }

    fn clamped(&self, diff_id: &DiffId, latest: i64, codec: Codec) -> Result<Outgoing, StoreError> {
        let key = format!("{}@{latest}", diff_id.0);
        let known = self.records().get(REWRITTEN, &key)?;
        if let Some(clamped) = known.and_then(|known| known.parse().ok().map(DiffId))
            && let Some(descriptor) = self.known_blob(&clamped, codec)?
        {
            return Ok(Outgoing {
                descriptor,
                diff_id: clamped,
            });
        }
        let layer: Layer = self.made_layer(diff_id)?;
        let rewrite = Rewrite {
            times: Times::Latest(latest),
            owner: None,
        };
        let (clamped, descriptor) = self.rewritten_blob(&layer, rewrite, codec)?;
        self.records().put(REWRITTEN, &key, clamped.0.as_str())?;
        Ok(Outgoing {
            descriptor,
            diff_id: clamped,
        })
    }
}

impl MediaTypes {
    fn manifest(self) -> MediaType {
        match self {
            Self::Oci => MediaType::OCI_MANIFEST,
            Self::Docker => MediaType::DOCKER_MANIFEST,
        }
    }

    fn index(self) -> MediaType {
        match self {
            Self::Oci => MediaType::OCI_INDEX,
            Self::Docker => MediaType::DOCKER_INDEX,
        }
    }

    fn layer(self, layer: &Descriptor) -> MediaType {
        let compression = layer.media_type.layer_compression();
        match (self, compression) {
            (Self::Oci, Some(compression)) => MediaType::layer(compression),
            (Self::Docker, Some(Compression::None)) => MediaType::DOCKER_LAYER,
            (Self::Docker, Some(Compression::Gzip)) => MediaType::DOCKER_LAYER_GZIP,
            (Self::Docker, Some(Compression::Zstd)) => MediaType::DOCKER_LAYER_ZSTD,
            (_, None) => layer.media_type.clone(),
        }
    }

    /// Keeps the very bytes unless the layers' tar streams differ.
    fn config(
        self,
        config: &Document<ImageConfig>,
        layers: &[Outgoing],
    ) -> Result<Document<ImageConfig>, StoreError> {
        let media_type = match self {
            Self::Oci => MediaType::OCI_CONFIG,
            Self::Docker => MediaType::DOCKER_CONFIG,
        };
        let diff_ids: Vec<_> = layers.iter().map(|layer| layer.diff_id.clone()).collect();
        if config.value().rootfs.diff_ids == diff_ids {
            return Ok(Document::parse(media_type, config.raw().clone())?);
        }
        let mut value = config.value().clone();
        value.rootfs.diff_ids = diff_ids;
        Ok(Document::encode(media_type, value))
    }
}
