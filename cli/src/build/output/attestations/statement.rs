//! Statements about an image, and the manifest that holds them.

use mica_oci::{
    Descriptor, DiffId, Document, ImageConfig, Manifest, MediaType, Platform, Reference,
};
use mica_store::{Image, Store};
use serde_json::{Value, json};

use super::provenance::package_url;
use super::{Attestations, Origin};
use crate::failure::Failure;
use crate::look;

const STATEMENT: &str = "https://in-toto.io/Statement/v0.1";
const SLSA: &str = "https://slsa.dev/provenance/v1";
const SPDX: &str = "https://spdx.dev/Document";
const IN_TOTO: &str = "application/vnd.in-toto+json";

/// What says something about images.
pub(crate) struct Attesting<'a> {
    /// What is to be said.
    pub(crate) wanted: &'a Attestations,
    /// Where the images come from.
    pub(crate) origin: Origin<'a>,
}

impl Attesting<'_> {
    /// Says what is to be said about an image, and puts it into the store. Returns the entry of the
    /// index with its manifest.
    pub(in crate::build::output) fn attest(
        &self,
        store: &Store,
        image: &Image,
        platform: &Platform,
        names: &[Reference],
        warn: &dyn Fn(&str),
    ) -> Result<(Descriptor, Document<Manifest>), Failure> {
        let mut config = ImageConfig::scratch(&Platform::unknown());
        let mut layers = Vec::new();
        for (kind, predicate) in self.predicates(store, image, names, warn)? {
            let statement = json!({
                "_type": STATEMENT,
                "predicateType": kind,
                "subject": subjects(image, platform, names),
                "predicate": predicate,
            });
            let text = statement.to_string();
            let mut layer = Descriptor::of(MediaType::new(IN_TOTO), text.as_bytes());
            store.put_blob(&layer, text.as_bytes())?;
            config.rootfs.diff_ids.push(DiffId(layer.digest.clone()));
            let annotation = ("in-toto.io/predicate-type".to_owned(), kind.to_owned());
            layer.annotations.extend([annotation]);
            layers.push(layer);
        }
        let config = Document::encode(MediaType::OCI_CONFIG, config);
        store.put_document(&config)?;
        let manifest = Manifest::new(config.descriptor().clone(), layers);
        let manifest = Document::encode(MediaType::OCI_MANIFEST, manifest);
        let entry = Descriptor {
            platform: Some(Platform::unknown()),
            ..store.put_document(&manifest)?
        };
        Ok((entry.attesting(&image.target.digest), manifest))
    }

    fn predicates(
        &self,
        store: &Store,
        image: &Image,
        names: &[Reference],
        warn: &dyn Fn(&str),
    ) -> Result<Vec<(&'static str, Value)>, Failure> {
        let mut predicates = Vec::new();
        if self.wanted.bill {
            let name = names.first().map(Reference::familiar);
            let name = name.unwrap_or_else(|| image.id().to_string());
            let opened = look::store_image(store, &name, &image.target, image.clone())?;
            let spdx = look::with_materials(&opened, warn, |materials| materials.spdx())?;
            predicates.push((SPDX, spdx));
        }
        if let Some(provenance) = &self.wanted.provenance {
            predicates.push((SLSA, self.origin.predicate(provenance)));
        }
        Ok(predicates)
    }
}

/// What a statement is about; an image without a name is `_`, as with BuildKit.
fn subjects(image: &Image, platform: &Platform, names: &[Reference]) -> Value {
    let digest = json!({ "sha256": image.target.digest.hex() });
    let subject = |name: String| json!({ "name": name, "digest": digest });
    match names.is_empty() {
        true => json!([subject("_".to_owned())]),
        false => names
            .iter()
            .map(|name| subject(package_url(name, platform)))
            .collect(),
    }
}
