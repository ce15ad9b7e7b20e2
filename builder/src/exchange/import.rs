//! Reading caches that others wrote: one small manifest and configuration each.

use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;

use mica_oci::{ChainId, Descriptor, Platform, Verified};

use super::format::{self, CacheConfig, CacheStep, Lead};
use super::mounts::CacheMount;
use super::place::{CacheSource, ExchangeError};
use crate::key::CacheKey;

/// The longest document that is read into memory: a configuration of some 100,000 steps.
const LONGEST: u64 = 64 << 20;

/// The steps of all imported caches.
#[derive(Debug, Default)]
pub(crate) struct Imports {
    steps: HashMap<CacheKey, Vec<Arc<Import>>>,
}

/// A step of an imported cache.
#[derive(Debug)]
pub(crate) struct Import {
    /// The step.
    pub(crate) step: CacheStep,
    /// Its layer's blob.
    pub(crate) blob: Descriptor,
    /// Where that is.
    pub(crate) source: Arc<dyn CacheSource>,
}

impl Imports {
    /// Adds what a place has; returns how many steps that are.
    pub(crate) fn add(
        &mut self,
        source: &Arc<dyn CacheSource>,
        platform: &Platform,
    ) -> Result<usize, ExchangeError> {
        let steps = read(source.as_ref(), platform)?;
        let count = steps.len();
        for step in steps {
            let Some(blob) = step.layer.clone() else {
                continue;
            };
            let keys = step.keys.clone();
            let import = Arc::new(Import {
                step,
                blob,
                source: Arc::clone(source),
            });
            for key in keys {
                self.steps.entry(key).or_default().push(Arc::clone(&import));
            }
        }
        Ok(count)
    }

    /// Finds a step that ran upon this very stack, or any with this key where the stack does not
    /// matter.
    pub(crate) fn find(
        &self,
        key: &CacheKey,
        parent: Option<Option<&ChainId>>,
    ) -> Option<&Arc<Import>> {
        let fits = |import: &&Arc<Import>| {
            parent.is_none_or(|parent| import.step.parent.as_ref() == parent)
        };
        self.steps.get(key)?.iter().find(fits)
    }
}

/// Reads the steps that a place has; a place without a cache has none.
pub(crate) fn read(
    source: &dyn CacheSource,
    platform: &Platform,
) -> Result<Vec<CacheStep>, ExchangeError> {
    let config = read_config(source, platform)?;
    Ok(config.map(|config| config.steps).unwrap_or_default())
}

/// Reads which cache mounts a place has.
pub(crate) fn mounts(source: &dyn CacheSource) -> Result<Vec<CacheMount>, ExchangeError> {
    let config = read_config(source, &Platform::host())?;
    Ok(config.map(|config| config.mounts).unwrap_or_default())
}

fn read_config(
    source: &dyn CacheSource,
    platform: &Platform,
) -> Result<Option<CacheConfig>, ExchangeError> {
    let Some((media_type, raw)) = source.root()? else {
        return Err(NotFound(source.name()).into());
    };
    let lead = match format::lead(&media_type, &raw)? {
        Lead::Images(images) => match image_for(images, platform) {
            Some(image) => format::lead(&image.media_type, &fetch(source, &image)?)?,
            None => Lead::Nothing,
        },
        lead => lead,
    };
    Ok(match lead {
        Lead::Config(config) => format::config(&fetch(source, &config)?)?,
        Lead::Image(manifest) => format::of_image(&manifest, &fetch(source, &manifest.config)?)?,
        Lead::Images(_) | Lead::Nothing => None,
    })
}

/// Nothing is there under the name.
#[derive(Debug, thiserror::Error)]
#[error("{0}: not found")]
pub(crate) struct NotFound(String);

fn image_for(images: Vec<Descriptor>, wanted: &Platform) -> Option<Descriptor> {
    images.into_iter().find(|image| {
        let platform = image.platform.as_ref();
        image.media_type.is_manifest() && platform.is_some_and(|found| found.satisfies(wanted))
    })
}

fn fetch(source: &dyn CacheSource, descriptor: &Descriptor) -> Result<Vec<u8>, ExchangeError> {
    let mut raw = Vec::new();
    let content = source.fetch(descriptor)?.take(LONGEST);
    Verified::new(content, descriptor).read_to_end(&mut raw)?;
    Ok(raw)
}
