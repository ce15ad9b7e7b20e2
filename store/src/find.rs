//! Finding an image by what people type.

use std::collections::BTreeMap;

use mica_oci::{Descriptor, Digest, Manifest, Reference};

use crate::images::REPOSITORY_DIGESTS;
use crate::{Image, Store, StoreError};

/// Names below this Jaro-Winkler similarity are no help.
const SIMILAR: f64 = 0.8;

/// More suggestions than this are noise.
const SUGGESTIONS: usize = 3;

impl Store {
    /// Finds an image as docker does: by `sha256:…` or 64 digits of its ID, by name, then by a
    /// prefix of its ID; after those by its manifest's digest.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] with names that are much like it; [`StoreError::Ambiguous`].
    pub fn find(&self, name: &str) -> Result<Image, StoreError> {
        self.image(&self.find_target(name)?, None)
    }

    /// Finds as [`find`](Self::find) does what a name stands for: a manifest, or an index.
    ///
    /// # Errors
    /// Those of [`find`](Self::find).
    pub fn find_target(&self, name: &str) -> Result<Descriptor, StoreError> {
        let reference = name.parse::<Reference>().ok();
        if let Some(reference) = &reference
            && let Some(target) = self.find_reference(reference)?
        {
            return Ok(target);
        }
        let prefix = name.strip_prefix("sha256:").unwrap_or(name);
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_prefix = (1..=64).contains(&prefix.len()) && prefix.bytes().all(is_hex);
        if is_prefix && let Some(target) = self.find_prefix(prefix)? {
            return Ok(target);
        }
        Err(StoreError::NotFound {
            name: name.to_owned(),
            near: self.near(name)?,
        })
    }

    pub(crate) fn find_reference(
        &self,
        reference: &Reference,
    ) -> Result<Option<Descriptor>, StoreError> {
        match reference.digest() {
            None => self.resolve_tag(reference),
            Some(digest) => self.find_digest(reference, digest),
        }
    }

    /// A digest names the manifest, or the index that the manifest was chosen from.
    fn find_digest(
        &self,
        reference: &Reference,
        digest: &Digest,
    ) -> Result<Option<Descriptor>, StoreError> {
        let entries = self.images()?;
        if let Some(entry) = entries
            .into_iter()
            .find(|entry| entry.target.digest == *digest)
        {
            return Ok(Some(entry.target));
        }
        let name = format!("\"{}@{digest}\"", reference.familiar_repository());
        let records = self.records().entries(REPOSITORY_DIGESTS)?;
        match records.into_iter().find(|(_, names)| names.contains(&name)) {
            Some((image, _)) => self.find_prefix(image.trim_start_matches("sha256:")),
            None => Ok(None),
        }
    }

    fn find_prefix(&self, prefix: &str) -> Result<Option<Descriptor>, StoreError> {
        let (mut ids, mut manifests) = (BTreeMap::new(), BTreeMap::new());
        for target in self.images()?.into_iter().map(|entry| entry.target) {
            if target.digest.hex().starts_with(prefix) {
                manifests.insert(target.digest.clone(), target.clone());
            }
            // An entry that cannot be read has no ID; its tag says what is wrong with it.
            if let Ok(id) = self.image_id(&target)
                && id.hex().starts_with(prefix)
            {
                ids.insert(id, target);
            }
        }
        let found = if ids.is_empty() { manifests } else { ids };
        if found.len() > 1 {
            return Err(StoreError::Ambiguous {
                prefix: prefix.to_owned(),
                matches: found.keys().map(|id| id.short().to_owned()).collect(),
            });
        }
        Ok(found.into_values().next())
    }

    /// Reads no more than the manifest.
    fn image_id(&self, target: &Descriptor) -> Result<Digest, StoreError> {
        if target.media_type.is_index() {
            return Ok(self.image(target, None)?.id().clone());
        }
        let manifest = self.read_document::<Manifest>(target)?;
        Ok(manifest.value().config.digest.clone())
    }

    /// Returns the names most like `name`, compared in the short form.
    fn near(&self, name: &str) -> Result<Vec<String>, StoreError> {
        let (wanted, wanted_tag) = name.split_once(':').unwrap_or((name, "latest"));
        let wanted_name = format!("{wanted}:{wanted_tag}");
        let mut near: Vec<(f64, f64, String)> = Vec::new();
        for reference in self
            .images()?
            .into_iter()
            .filter_map(|entry| entry.reference)
        {
            let (full, repository) = (reference.familiar(), reference.familiar_repository());
            let whole = strsim::jaro_winkler(&full, &wanted_name);
            let best = whole.max(strsim::jaro_winkler(&repository, wanted));
            if best >= SIMILAR {
                near.push((best, whole, full));
            }
        }
        // Among names of one repository, the tag decides.
        near.sort_by(|one, other| {
            let by_repository = other.0.total_cmp(&one.0);
            by_repository
                .then_with(|| other.1.total_cmp(&one.1))
                .then_with(|| one.2.cmp(&other.2))
        });
        near.truncate(SUGGESTIONS);
        Ok(near.into_iter().map(|(_, _, name)| name).collect())
    }
}
