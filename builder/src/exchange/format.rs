//! The documents of an exported cache. Described in `docs/cache-exchange.md`.

use std::collections::HashSet;

use jiff::Timestamp;
use mica_oci::{ChainId, Descriptor, DiffId, Document, ImageConfig, Index, Manifest, MediaType};
use serde::{Deserialize, Serialize};

use super::mounts::CacheMount;
use crate::key::{CacheKey, VERSION as KEY_VERSION};

/// The version of the configuration that is read and written.
const VERSION: u32 = 1;

/// The type of the configuration.
const CONFIG: &str = "application/vnd.mica.cache.config.v1+json";

/// Where an image's configuration keeps an inline cache.
const INLINE: &str = "mica.cache.v1";

/// The configuration: the steps, sorted by their first key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CacheConfig {
    version: u32,
    /// Keys of another version are never met.
    key_version: String,
    /// The steps.
    pub(crate) steps: Vec<CacheStep>,
    /// The cache mounts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) mounts: Vec<CacheMount>,
}

/// What a step came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CacheStep {
    /// Everything that the step is found by, the key that says which files went in first.
    pub(crate) keys: Vec<CacheKey>,
    /// The stack that it ran upon.
    pub(crate) parent: Option<ChainId>,
    /// Its layer.
    pub(crate) diff_id: DiffId,
    /// The layer's size as a tar stream, in bytes.
    pub(crate) size: u64,
    /// When it ran.
    pub(crate) created: Option<Timestamp>,
    /// Its history text.
    pub(crate) instruction: String,
    /// Its layer's blob; in an inline cache that of the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) layer: Option<Descriptor>,
}

impl CacheStep {
    /// Returns the key that says which files went in.
    pub(crate) fn key(&self) -> &CacheKey {
        &self.keys[0]
    }

    /// Returns the stack that the step gave.
    pub(crate) fn chain(&self) -> ChainId {
        ChainId::extend(self.parent.as_ref(), &self.diff_id)
    }
}

/// The form of the document that leads to the configuration and the layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ManifestForm {
    /// An OCI image manifest: `image-manifest=true`.
    #[default]
    Image,
    /// An OCI index that lists blobs: `image-manifest=false`.
    Index,
    /// A Docker manifest list that lists blobs: `image-manifest=false,oci-mediatypes=false`.
    DockerIndex,
}

impl CacheConfig {
    /// Makes a configuration. Stages run side by side: it is the same whichever step was first.
    pub(crate) fn new(mut steps: Vec<CacheStep>) -> Self {
        steps.sort_by(|one, other| one.key().0.as_str().cmp(other.key().0.as_str()));
        Self {
            version: VERSION,
            key_version: KEY_VERSION.to_owned(),
            steps,
            mounts: Vec::new(),
        }
    }

    fn readable(mut self) -> Option<Self> {
        self.steps.retain(|step| !step.keys.is_empty());
        (self.version == VERSION && self.key_version == KEY_VERSION).then_some(self)
    }

    /// Encodes the configuration and the document that leads to it and to all layers.
    pub(crate) fn documents(self, form: ManifestForm) -> (Document<Self>, (Descriptor, Vec<u8>)) {
        let layers = self.layers();
        let config = Document::encode(MediaType::new(CONFIG), self);
        let top = config.descriptor().clone();
        let (media_type, raw) = match form {
            ManifestForm::Image => {
                let document =
                    Document::encode(MediaType::OCI_MANIFEST, Manifest::new(top, layers));
                (MediaType::OCI_MANIFEST, document.raw().to_vec())
            }
            ManifestForm::Index => index(MediaType::OCI_INDEX, layers, top),
            ManifestForm::DockerIndex => index(MediaType::DOCKER_INDEX, layers, top),
        };
        (config, (Descriptor::of(media_type, &raw), raw))
    }

    fn layers(&self) -> Vec<Descriptor> {
        let mut seen = HashSet::new();
        let layers = self.steps.iter().filter_map(|step| step.layer.as_ref());
        let chunks = self.mounts.iter().flat_map(|mount| &mount.chunks);
        layers
            .chain(chunks)
            .filter(|layer| seen.insert(layer.digest.clone()))
            .cloned()
            .collect()
    }
}

fn index(
    media_type: MediaType,
    mut blobs: Vec<Descriptor>,
    config: Descriptor,
) -> (MediaType, Vec<u8>) {
    blobs.push(config);
    let mut value = Index::new(blobs);
    value.media_type = Some(media_type.clone());
    let document = Document::encode(media_type.clone(), value);
    (media_type, document.raw().to_vec())
}

/// What the document behind a name leads to.
pub(crate) enum Lead {
    /// A cache's configuration.
    Config(Box<Descriptor>),
    /// An image, which may hold an inline cache.
    Image(Box<Manifest>),
    /// More images, one a platform.
    Images(Vec<Descriptor>),
    /// Nothing that a cache could be in.
    Nothing,
}

/// Reads the document behind a name.
pub(crate) fn lead(media_type: &MediaType, raw: &[u8]) -> serde_json::Result<Lead> {
    if media_type.is_manifest() {
        let manifest: Manifest = serde_json::from_slice(raw)?;
        return Ok(match manifest.config.media_type.as_str() {
            CONFIG => Lead::Config(Box::new(manifest.config)),
            _ => Lead::Image(Box::new(manifest)),
        });
    }
    if !media_type.is_index() {
        return Ok(Lead::Nothing);
    }
    let index: Index = serde_json::from_slice(raw)?;
    let config = index
        .manifests
        .iter()
        .find(|blob| blob.media_type.as_str() == CONFIG);
    Ok(match config {
        Some(config) => Lead::Config(Box::new(config.clone())),
        None => Lead::Images(index.manifests),
    })
}

/// Reads a configuration; `None` when it is of another version.
pub(crate) fn config(raw: &[u8]) -> serde_json::Result<Option<CacheConfig>> {
    Ok(serde_json::from_slice::<CacheConfig>(raw)?.readable())
}

/// Reads the inline cache of an image, with the blobs of its layers.
pub(crate) fn of_image(manifest: &Manifest, raw: &[u8]) -> serde_json::Result<Option<CacheConfig>> {
    let mut image: ImageConfig = serde_json::from_slice(raw)?;
    let Some(value) = image.other.remove(INLINE) else {
        return Ok(None);
    };
    let Some(mut config) = serde_json::from_value::<CacheConfig>(value)?.readable() else {
        return Ok(None);
    };
    let mut chain = None;
    for (diff_id, layer) in image.rootfs.diff_ids.iter().zip(&manifest.layers) {
        let next = ChainId::extend(chain.as_ref(), diff_id);
        for step in config.steps.iter_mut().filter(|step| step.chain() == next) {
            step.layer = Some(layer.clone());
        }
        chain = Some(next);
    }
    config.steps.retain(|step| step.layer.is_some());
    Ok(Some(config))
}

/// Puts an inline cache into an image's configuration. The layers are the image's own.
pub(crate) fn inline(image: &mut ImageConfig, mut steps: Vec<CacheStep>) {
    for step in &mut steps {
        step.layer = None;
    }
    let value = serde_json::to_value(CacheConfig::new(steps)).expect("the steps are plain JSON");
    image.other.insert(INLINE.to_owned(), value);
}

#[cfg(test)]
mod tests {
    use mica_oci::Digest;

    use super::*;

    fn step(name: &str, parent: Option<&CacheStep>) -> CacheStep {
        let digest = Digest::of(name.as_bytes());
        CacheStep {
            keys: vec![CacheKey::of(name).finish()],
            parent: parent.map(CacheStep::chain),
            diff_id: DiffId(digest.clone()),
            size: 1,
            created: None,
            instruction: name.to_owned(),
            layer: Some(Descriptor::new(MediaType::OCI_LAYER_GZIP, digest, 1)),
        }
    }

    #[test]
    fn every_form_leads_back_to_the_steps() {
        let below = step("a", None);
        let steps = vec![below.clone(), step("b", Some(&below)), below.clone()];
        let sorted = CacheConfig::new(steps.clone()).steps;
        for form in [
            ManifestForm::Image,
            ManifestForm::Index,
            ManifestForm::DockerIndex,
        ] {
            let (document, (top, raw)) = CacheConfig::new(steps.clone()).documents(form);
            let Lead::Config(found) = lead(&top.media_type, &raw).unwrap() else {
                panic!("{form:?} leads nowhere");
            };
            assert_eq!(found.digest, *document.digest());
            let read = config(document.raw()).unwrap().unwrap();
            assert_eq!(read.steps, sorted);
            assert_eq!(read.layers().len(), 2);
        }
    }

    #[test]
    fn keys_of_another_version_are_not_read() {
        let (document, _) = CacheConfig::new(Vec::new()).documents(ManifestForm::Image);
        let text = String::from_utf8(document.raw().to_vec()).unwrap();
        let other = text.replace(KEY_VERSION, "mica-cache-key-0");
        assert_eq!(config(other.as_bytes()).unwrap(), None);
    }

    #[test]
    fn an_inline_cache_takes_the_layers_of_its_image() {
        let below = step("a", None);
        let above = step("b", Some(&below));
        let lost = step("c", Some(&above));
        let mut image = ImageConfig::scratch(&mica_oci::Platform::host());
        image.rootfs.diff_ids = vec![below.diff_id.clone(), above.diff_id.clone()];
        inline(&mut image, vec![below.clone(), above.clone(), lost]);
        let layers = [&below, &above].map(|step| step.layer.clone().unwrap());
        let config = Descriptor::of(MediaType::OCI_CONFIG, b"");
        let manifest = Manifest::new(config, layers.to_vec());
        let raw = serde_json::to_vec(&image).unwrap();
        let read = of_image(&manifest, &raw).unwrap().unwrap();
        assert_eq!(read.steps, CacheConfig::new(vec![below, above]).steps);
    }
}
