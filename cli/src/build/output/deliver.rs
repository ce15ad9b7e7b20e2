//! Bringing a build's result to its places.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::Path;

use jiff::Timestamp;
use mica_builder::{Built, Event, Status};
use mica_oci::{Descriptor, Platform, Reference};
use mica_store::{Codec, ExistingLayers, ExportForm, Image, ImageSet, MediaTypes, Named, Store};

use super::annotations::Place;
use super::{Attesting, Form, Keep, Kind, Output, Push, Shipping, tree};
use crate::build::Display;
use crate::commands::save::save_to;
use crate::failure::Failure;

/// What the outputs of one build share.
pub(crate) struct Delivery<'d> {
    /// The store.
    pub(crate) store: &'d Store,
    /// What was built, a platform each.
    pub(crate) built: &'d [Built],
    /// `--tag`.
    pub(crate) tags: &'d [Reference],
    /// The way to registries, where something is pushed.
    pub(crate) shipping: Option<&'d Shipping>,
    /// What says something about the images, if anything is to be said.
    pub(crate) attesting: Option<&'d Attesting<'d>>,
    /// Where it is told.
    pub(crate) display: &'d Display,
}

/// An image as it left, for those who ask for its digest.
#[derive(Clone, Debug)]
pub(crate) struct Delivered {
    /// The manifest or index, with the annotations of its descriptor.
    pub(crate) descriptor: Descriptor,
    /// The configuration, of a single platform.
    pub(crate) config: Option<Descriptor>,
    /// The names that it got.
    pub(crate) names: Vec<Reference>,
}

/// Brings the result to one place.
pub(crate) fn deliver(
    output: &Output,
    delivery: &Delivery<'_>,
    status: &dyn Fn(Status),
) -> Result<Option<Delivered>, Failure> {
    match &output.kind {
        Kind::CacheOnly => Ok(None),
        Kind::Local { directory, split } => {
            tree::to_directory(delivery, directory, *split)?;
            Ok(None)
        }
        Kind::Tar { file } => {
            to_stream(file.as_deref(), |out| tree::to_tar(delivery, out))?;
            Ok(None)
        }
        Kind::Image { keep, push } => {
            let set = delivery.image(output, *push)?;
            delivery.keep_and_push(output, &set, (*keep, *push), status)?;
            Ok(Some(delivery.delivered(output, &set)))
        }
        Kind::Archive { format, file } => {
            let set = delivery.exported(output, Codec::GZIP)?;
            let named = delivery.named(output, &set);
            to_stream(file.as_deref(), |out| {
                Ok(mica_store::save(delivery.store, &named, *format, out)?)
            })?;
            Ok(Some(delivery.delivered(output, &set)))
        }
        Kind::Layout { directory } => {
            let set = delivery.exported(output, Codec::GZIP)?;
            let named = delivery.named(output, &set);
            mica_store::save_layout(delivery.store, &named, directory)?;
            Ok(Some(delivery.delivered(output, &set)))
        }
    }
}

/// Writes to a file that appears when it is whole, or to standard output.
fn to_stream(
    file: Option<&Path>,
    write: impl FnOnce(&mut dyn Write) -> Result<(), Failure>,
) -> Result<(), Failure> {
    match file {
        Some(path) => save_to(path, |out| write(out)),
        None => {
            let mut out = BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
            write(&mut out)?;
            Ok(out.flush()?)
        }
    }
}

impl Delivery<'_> {
    /// Returns the images as they are in the store, or in the form that was asked for.
    fn image(&self, output: &Output, push: Push) -> Result<ImageSet, Failure> {
        match push {
            // What is said names the image by its digest: it is compressed now, and not by a push.
            Push::No if self.attesting.is_some() => self.exported(output, Codec::GZIP),
            Push::No if output.form.is_usual() => self.set(output, self.images()),
            Push::No => {
                // What only gets other annotations needs no compression.
                let plain = Codec::new(mica_oci::Compression::None, None)?;
                self.exported(output, plain)
            }
            Push::Named | Push::ByDigest => self.exported(output, Codec::GZIP),
        }
    }

    fn images(&self) -> Vec<(Image, &Platform)> {
        let built = self.built.iter();
        built
            .map(|built| (built.image.clone(), &built.platform))
            .collect()
    }

    fn exported(&self, output: &Output, usual: Codec) -> Result<ImageSet, Failure> {
        let annotations = &output.form.annotations;
        let mut images = Vec::with_capacity(self.built.len());
        for built in self.built {
            let form = export_form(&output.form, built.epoch, usual);
            let own = annotations.at(Place::Manifest, Some(&built.platform));
            let image = &built.image;
            let exported = self
                .store
                .export_image(image, built.base_layers, &form, &own)?;
            images.push((exported, &built.platform));
        }
        self.set(output, images)
    }

    /// Makes an index of several images, or of one and what is said about it.
    fn set(&self, output: &Output, images: Vec<(Image, &Platform)>) -> Result<ImageSet, Failure> {
        let annotations = &output.form.annotations;
        if let ([(image, _)], None) = (&images[..], self.attesting) {
            return Ok(ImageSet::single(image.clone()));
        }
        let mut attestations = Vec::new();
        if let Some(attesting) = self.attesting {
            let warn = |text: &str| {
                let text = text.to_owned();
                self.display.event(&Event::Warning { text });
            };
            for (image, platform) in &images {
                let names = output.names(self.tags);
                let attested = attesting.attest(self.store, image, platform, names, &warn)?;
                attestations.push(attested);
            }
        }
        let entries = images.into_iter().map(|(image, platform)| {
            let own = annotations.at(Place::ManifestDescriptor, Some(platform));
            (image, platform.clone(), own)
        });
        Ok(self.store.export_index(
            entries.collect(),
            attestations,
            output.form.media_types.unwrap_or(MediaTypes::Oci),
            &annotations.at(Place::Index, None),
        )?)
    }

    fn keep_and_push(
        &self,
        output: &Output,
        set: &ImageSet,
        (keep, push): (Keep, Push),
        status: &dyn Fn(Status),
    ) -> Result<(), Failure> {
        let done = |text: String| status(Status::done(text));
        let names = output.names(self.tags);
        if push != Push::No
            && let Some(shipping) = self.shipping
        {
            shipping.push(set, names, push)?;
            for name in names {
                done(format!(
                    "pushing manifest for {name}@{}",
                    set.target().digest
                ));
            }
        }
        if keep == Keep::No {
            return Ok(());
        }
        for image in &set.images {
            done(format!("writing image {}", image.id()));
            self.store.unpack(image)?;
        }
        if names.is_empty() {
            self.store.keep_untagged(set.target())?;
        }
        for name in names {
            done(format!("naming to {name}"));
            self.store.tag_image(set.target(), name)?;
        }
        Ok(())
    }

    /// One entry a name, with the annotations that a layout's own index takes.
    fn named(&self, output: &Output, set: &ImageSet) -> Vec<Named> {
        let names = output.names(self.tags);
        let named = |reference: Option<&Reference>| Named {
            reference: reference.cloned(),
            set: set.clone(),
            annotations: self.descriptor_annotations(output, set),
        };
        match names.is_empty() {
            true => vec![named(None)],
            false => names.iter().map(|name| named(Some(name))).collect(),
        }
    }

    fn descriptor_annotations(&self, output: &Output, set: &ImageSet) -> BTreeMap<String, String> {
        let annotations = &output.form.annotations;
        match &set.index {
            Some(_) => annotations.at(Place::IndexDescriptor, None),
            None => {
                let platform = self.built.first().map(|built| &built.platform);
                annotations.at(Place::ManifestDescriptor, platform)
            }
        }
    }

    fn delivered(&self, output: &Output, set: &ImageSet) -> Delivered {
        let mut descriptor = set.target().clone();
        descriptor
            .annotations
            .extend(self.descriptor_annotations(output, set));
        let single = set.images.first().filter(|_| set.images.len() == 1);
        Delivered {
            descriptor,
            config: single.map(|image| image.config.descriptor().clone()),
            names: output.names(self.tags).to_vec(),
        }
    }
}

/// Turns what was asked for into a form that leaves no choice.
pub(super) fn export_form(form: &Form, epoch: Option<Timestamp>, usual: Codec) -> ExportForm {
    let epoch = epoch.filter(|_| form.rewrite_timestamp);
    ExportForm {
        codec: form.codec.unwrap_or(usual),
        existing: form.existing.unwrap_or(ExistingLayers::Keep),
        latest: epoch.map(Timestamp::as_second),
        media_types: form.media_types.unwrap_or(MediaTypes::Oci),
    }
}
