//! Unpacked layers: there, described, and with the files of their diff IDs.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use mica_oci::{ChainId, Descriptor, Document, ImageConfig, Index, Manifest, Verified};

use super::{Broken, Depth, Problem, Report};
use crate::durable::names_or_none;
use crate::layers::Base;
use crate::{Layer, Stack, Store, StoreError};

/// The blob that each stack's topmost layer came from.
type Sources = HashMap<ChainId, Descriptor>;

/// How a layer's files compare with its diff ID.
enum Verdict {
    Same,
    Differs(String),
    Unknown,
}

impl Store {
    pub(super) fn check_layers(
        &self,
        depth: Depth,
        report: &mut Report,
        broken: &mut Broken,
    ) -> Result<(), StoreError> {
        let sources = match depth {
            Depth::Presence => Sources::new(),
            Depth::Content => self.layer_sources(broken)?,
        };
        for chain in self.chains()? {
            report.layers += 1;
            let verdict = match self.whole_layer(&chain) {
                Err(reason) => Verdict::Differs(reason),
                Ok(_) if depth == Depth::Presence => Verdict::Same,
                Ok(layer) => self.compare(&layer, sources.get(&chain)),
            };
            match verdict {
                Verdict::Same => {}
                Verdict::Unknown => report.unverified.push(chain),
                Verdict::Differs(reason) => {
                    broken.chains.insert(chain.clone());
                    report.problems.push(Problem::Layer { chain, reason });
                }
            }
        }
        Ok(())
    }

    /// Returns a registered layer that has all its parts; otherwise what is wrong with it.
    fn whole_layer(&self, chain: &ChainId) -> Result<Layer, String> {
        let layer = self.layer(chain).map_err(|error| with_causes(&error))?;
        let layer = layer.ok_or("its link leads to nothing")?;
        match layer.chain.as_ref() == Some(chain) {
            false => Err(format!("{} describes another layer", layer.path.display())),
            true if !layer.path.is_dir() => Err(format!("{} is missing", layer.path.display())),
            true => Ok(layer),
        }
    }

    /// Makes the layer's tar, and where that is not the one it came from, unpacks that again.
    fn compare(&self, layer: &Layer, source: Option<&Descriptor>) -> Verdict {
        let Some(known) = &layer.description else {
            return Verdict::Unknown;
        };
        let actual = match self.describe(layer) {
            Ok(actual) => actual,
            Err(error) => return Verdict::Differs(with_causes(&error)),
        };
        if actual.diff_id == known.diff_id {
            return Verdict::Same;
        }
        let Some(source) = source else {
            return match actual.entries == known.entries && actual.content == known.content {
                true => Verdict::Unknown,
                false => Verdict::Differs("its files are not those that were unpacked".into()),
            };
        };
        match self.unpacked_again(layer, source) {
            Ok(again) if again == actual.diff_id => Verdict::Same,
            Ok(_) => Verdict::Differs("its files are not those of its blob".into()),
            Err(error) => Verdict::Differs(with_causes(&error)),
        }
    }

    /// Unpacks a layer's blob beside the layer; returns the digest of the tar that we make of it.
    fn unpacked_again(
        &self,
        layer: &Layer,
        source: &Descriptor,
    ) -> Result<mica_oci::DiffId, StoreError> {
        let base = Base::of(self.parents(layer)?)?;
        let blob = Verified::new(self.open_blob(&source.digest)?, source);
        let (writer, _) = self.unpack_beside(&base, source, blob)?;
        let copy = Layer {
            path: writer.path().to_owned(),
            ..layer.clone()
        };
        Ok(self.describe(&copy)?.diff_id)
    }

    /// Returns the layers below a registered one.
    fn parents(&self, layer: &Layer) -> Result<Stack, StoreError> {
        let mut layers = Vec::new();
        let mut next = self.parent_of(&layer.id)?;
        while let Some(chain) = next {
            let Some(layer) = self.layer(&chain)? else {
                break;
            };
            next = self.parent_of(&layer.id)?;
            layers.push(layer);
        }
        layers.reverse();
        Ok(Stack { layers })
    }

    /// Finds the blobs of layers by the images that name them.
    fn layer_sources(&self, broken: &Broken) -> Result<Sources, StoreError> {
        let mut sources = Sources::new();
        for entry in self.own_images()? {
            // What cannot be read is reported with the images.
            let _ = self.add_sources(&entry.target, broken, &mut sources);
        }
        Ok(sources)
    }

    fn add_sources(
        &self,
        target: &Descriptor,
        broken: &Broken,
        sources: &mut Sources,
    ) -> Result<(), StoreError> {
        if target.media_type.is_index() {
            let index: Document<Index> = self.read_document(target)?;
            for child in &index.value().manifests {
                if self.has_blob(&child.digest) {
                    self.add_sources(child, broken, sources)?;
                }
            }
            return Ok(());
        }
        let manifest: Document<Manifest> = self.read_document(target)?;
        let config: Document<ImageConfig> = self.read_document(&manifest.value().config)?;
        let mut chain = None;
        let diff_ids = &config.value().rootfs.diff_ids;
        for (diff_id, descriptor) in diff_ids.iter().zip(&manifest.value().layers) {
            let next = ChainId::extend(chain.as_ref(), diff_id);
            if self.has_blob(&descriptor.digest) && !broken.blobs.contains(&descriptor.digest) {
                sources.insert(next.clone(), descriptor.clone());
            }
            chain = Some(next);
        }
        Ok(())
    }

    /// Lists the layer directories that neither a link nor a snapshot leads to. To be called while
    /// the store is held alone.
    pub(super) fn layers_without_links(&self) -> Result<Vec<PathBuf>, StoreError> {
        let mut used = HashSet::new();
        for chain in self.chains()? {
            used.extend(self.layer(&chain).ok().flatten().map(|layer| layer.id));
        }
        used.extend(self.snapshot_layers()?);
        let directory = self.directory("layers");
        let names = names_or_none(&directory)?.into_iter();
        let unused = names.filter(|name| !used.iter().any(|id| id.as_str() == name));
        Ok(unused.map(|name| directory.join(name)).collect())
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
