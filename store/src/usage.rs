//! What the store's content takes, and how much of it is shared.

use std::collections::{HashMap, HashSet};

use mica_oci::{ChainId, Digest};
use serde::Deserialize;

use crate::collect::BUILD;
use crate::{Image, Store, StoreError};

/// What images and the build cache take. Layers count with the bytes of their files.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// Each image once, however many names it has; the first name comes first.
    pub images: Vec<ImageUsage>,
    /// The layers of all images, each once.
    pub image_bytes: u64,
    /// The results of build steps that are kept.
    pub cache: Vec<CacheUsage>,
}

/// What one image takes.
#[derive(Clone, Debug)]
pub struct ImageUsage {
    /// Its names; none for an image that lost its name.
    pub names: Vec<mica_oci::Reference>,
    /// The image.
    pub image: Image,
    /// Its layers, bottom first, with their sizes.
    pub layers: Vec<(ChainId, u64)>,
    /// The bytes of its layers.
    pub size: u64,
    /// Those that other images have as well.
    pub shared: u64,
}

/// What a kept result of a build step takes.
#[derive(Clone, Debug)]
pub struct CacheUsage {
    /// The step's key.
    pub key: String,
    /// The step's text.
    pub instruction: String,
    /// The bytes of its layer.
    pub size: u64,
    /// Whether an image has the layer, too.
    pub shared: bool,
    /// When the step ran, as it was written.
    pub created: String,
    /// When it was last used, in seconds since 1970; counts in days.
    pub last_used: i64,
}

/// What is needed of a record of kind [`BUILD`].
#[derive(Deserialize)]
struct BuildRecord {
    #[serde(default)]
    layers: Vec<ChainId>,
    #[serde(default)]
    instruction: String,
    #[serde(default)]
    created: String,
}

impl Store {
    /// Adds up what is in the store. An image that cannot be read is left out.
    pub fn usage(&self) -> Result<Usage, StoreError> {
        let mut usage = Usage::default();
        let mut places: HashMap<Digest, usize> = HashMap::new();
        for entry in self.own_images()? {
            let Ok(image) = self.image(&entry.target, None) else {
                continue;
            };
            let place = match places.get(image.id()) {
                Some(place) => *place,
                None => {
                    places.insert(image.id().clone(), usage.images.len());
                    usage.images.push(self.image_usage(image)?);
                    usage.images.len() - 1
                }
            };
            usage.images[place].names.extend(entry.reference);
        }
        let users = users(&usage.images);
        for image in &mut usage.images {
            let shared = image.layers.iter().filter(|(chain, _)| users[chain].0 > 1);
            image.shared = shared.map(|(_, size)| size).sum();
        }
        usage.image_bytes = users.values().map(|(_, size)| size).sum();
        usage.cache = self.cache_usage(|chain| users.contains_key(chain))?;
        Ok(usage)
    }

    fn image_usage(&self, image: Image) -> Result<ImageUsage, StoreError> {
        let mut layers: Vec<(ChainId, u64)> = Vec::new();
        for (index, diff_id) in image.config.value().rootfs.diff_ids.iter().enumerate() {
            let chain = ChainId::extend(layers.last().map(|(chain, _)| chain), diff_id);
            let blob = image.manifest.value().layers.get(index);
            let size = match self.layer_size(&chain)? {
                Some(size) => size,
                None => blob.map_or(0, |descriptor| descriptor.size),
            };
            layers.push((chain, size));
        }
        Ok(ImageUsage {
            names: Vec::new(),
            size: layers.iter().map(|(_, size)| size).sum(),
            shared: 0,
            image,
            layers,
        })
    }

    fn cache_usage(
        &self,
        is_shared: impl Fn(&ChainId) -> bool,
    ) -> Result<Vec<CacheUsage>, StoreError> {
        let mut all = Vec::new();
        let mut counted = HashSet::new();
        for record in self.records().uses(BUILD)? {
            let Ok(build) = serde_json::from_str::<BuildRecord>(&record.value) else {
                continue;
            };
            let mut size = 0;
            for chain in &build.layers {
                // Steps with other keys may have come to the same layer.
                if counted.insert(chain.clone()) {
                    size += self.layer_size(chain)?.unwrap_or(0);
                }
            }
            all.push(CacheUsage {
                key: record.key,
                instruction: build.instruction,
                size,
                shared: build.layers.iter().any(&is_shared),
                created: build.created,
                last_used: record.last_used,
            });
        }
        Ok(all)
    }

    /// Returns the bytes of an unpacked layer's files.
    pub(crate) fn layer_size(&self, chain: &ChainId) -> Result<Option<u64>, StoreError> {
        let layer = self.layer(chain)?;
        let description = layer.and_then(|layer| layer.description);
        Ok(description.map(|description| description.content))
    }
}

/// How many images have each layer, and its size.
fn users(images: &[ImageUsage]) -> HashMap<ChainId, (usize, u64)> {
    let mut users = HashMap::new();
    for (chain, size) in images.iter().flat_map(|image| &image.layers) {
        users.entry(chain.clone()).or_insert((0, *size)).0 += 1;
    }
    users
}
