//! Images and their names: `index.json` and what it leads to.

use std::fs;

use mica_oci::{
    Descriptor, Digest, Document, ImageConfig, Index, Manifest, MediaType, Platform, Reference,
};

use crate::error::At;
use crate::store::sync_directory;
use crate::{Store, StoreError};

/// Kind of the records that say where an image came from or went to: image ID to a JSON list of
/// `repository@digest`.
pub(crate) const REPOSITORY_DIGESTS: &str = "repo-digest";

/// An image: its manifest and configuration, parsed and with their raw bytes.
#[derive(Clone, Debug)]
pub struct Image {
    /// The manifest's descriptor.
    pub target: Descriptor,
    /// The manifest.
    pub manifest: Document<Manifest>,
    /// The configuration.
    pub config: Document<ImageConfig>,
}

/// An entry of `index.json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tagged {
    /// The image's name; absent for an image that lost its name ("dangling").
    pub reference: Option<Reference>,
    /// The manifest, or an index.
    pub target: Descriptor,
}

impl Image {
    /// Returns the image's ID: the digest of its configuration.
    pub fn id(&self) -> &Digest {
        self.config.digest()
    }
}

impl Store {
    /// Returns all entries of `index.json`, in its order, and then those of the shared stores whose
    /// names are not there.
    pub fn images(&self) -> Result<Vec<Tagged>, StoreError> {
        let mut images = self.own_images()?;
        images.extend(self.shared_images(&images)?);
        Ok(images)
    }

    /// Returns all entries of this store's own `index.json`: those that can be taken away.
    pub fn own_images(&self) -> Result<Vec<Tagged>, StoreError> {
        let index = self.read_index()?;
        Ok(index.manifests.iter().map(Tagged::of).collect())
    }

    /// Returns what a tag points to.
    pub fn resolve_tag(&self, reference: &Reference) -> Result<Option<Descriptor>, StoreError> {
        let name = reference.familiar();
        for store in self.and_shared() {
            let index = store.read_index()?;
            let mut entries = index.manifests.iter();
            if let Some(entry) = entries.find(|entry| name_of(entry) == Some(&name)) {
                return Ok(Some(nameless(entry)));
            }
        }
        Ok(None)
    }

    /// Reads the image that a descriptor leads to; of an index, the one for `platform`, by
    /// default the host's, or the first that is here.
    ///
    /// # Errors
    /// [`StoreError::Platform`] when an index has nothing for the platform.
    pub fn image(
        &self,
        target: &Descriptor,
        platform: Option<&Platform>,
    ) -> Result<Image, StoreError> {
        if target.media_type.is_index() {
            let index: Document<Index> = self.read_document(target)?;
            let chosen = match platform {
                Some(platform) => choose(&index, platform)?,
                None => self.choose_here(&index)?,
            };
            return self.image(&chosen, platform);
        }
        if !target.media_type.is_manifest() {
            return Err(StoreError::NotAnImage {
                digest: target.digest.clone(),
                media_type: target.media_type.to_string(),
            });
        }
        let manifest: Document<Manifest> = self.read_document(target)?;
        let kind = &manifest.value().config.media_type;
        if !kind.is_image_config() {
            return Err(StoreError::NotAnImage {
                digest: target.digest.clone(),
                media_type: kind.to_string(),
            });
        }
        let config = self.read_document(&manifest.value().config)?;
        Ok(Image {
            target: manifest.descriptor().clone(),
            manifest,
            config,
        })
    }

    /// Returns what an index lists as attestations of an image, as far as they are here.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn attestations(
        &self,
        target: &Descriptor,
        image: &Image,
    ) -> Result<Vec<Descriptor>, StoreError> {
        if !target.media_type.is_index() {
            return Ok(Vec::new());
        }
        let index: Document<Index> = self.read_document(target)?;
        let listed = index.value().attestations_of(&image.target.digest);
        let here = listed.filter(|attestation| self.has_blob(&attestation.digest));
        Ok(here.cloned().collect())
    }

    fn choose_here(&self, index: &Document<Index>) -> Result<Descriptor, StoreError> {
        let host = choose(index, &Platform::host());
        if host.as_ref().is_ok_and(|it| self.has_blob(&it.digest)) {
            return host;
        }
        let mut entries = index.value().manifests.iter();
        let here = entries.find(|entry| {
            let platform = entry.platform.as_ref();
            let is_image = !platform.is_some_and(Platform::is_unknown);
            is_image && self.has_blob(&entry.digest)
        });
        here.map_or(host, |here| Ok(here.clone()))
    }

    /// Gives a name to an index; the images that it lists need no entries of their own then.
    pub(crate) fn tag_index(
        &self,
        index: &Document<Index>,
        reference: &Reference,
    ) -> Result<(), StoreError> {
        self.tag_image(index.descriptor(), reference)?;
        let listed = &index.value().manifests;
        self.change_index(|entries| {
            entries.retain(|entry| {
                let is_listed = listed.iter().any(|image| image.digest == entry.digest);
                name_of(entry).is_some() || !is_listed
            });
        })
    }

    /// Writes the configuration and manifest of a new image. It has no name yet, and nothing
    /// keeps it until [`tag_image`](Self::tag_image) or [`keep_untagged`](Self::keep_untagged).
    pub fn put_image(
        &self,
        config: ImageConfig,
        layers: Vec<Descriptor>,
    ) -> Result<Image, StoreError> {
        let config = Document::encode(MediaType::OCI_CONFIG, config);
        let manifest = Manifest::new(config.descriptor().clone(), layers);
        let manifest = Document::encode(MediaType::OCI_MANIFEST, manifest);
        self.put_document(&config)?;
        let target = self.put_document(&manifest)?;
        Ok(Image {
            target,
            manifest,
            config,
        })
    }

    /// Gives a name to an image, whose layers are brought to the disk before. Who had it before stays as a nameless image, unless it is the
    /// same image in another dress or has another name.
    pub fn tag_image(&self, target: &Descriptor, reference: &Reference) -> Result<(), StoreError> {
        if reference.digest().is_some() {
            return Err(StoreError::TagWithDigest {
                reference: reference.familiar(),
            });
        }
        let name = reference.familiar();
        self.own_documents(target)?;
        self.make_durable(target)?;
        self.change_index(|entries| {
            let former = take(entries, |entry| name_of(entry) == Some(&name));
            entries.retain(|entry| entry.digest != target.digest || name_of(entry).is_some());
            let mut entry = nameless(target);
            entry
                .annotations
                .insert(Descriptor::REF_NAME.to_owned(), name.clone());
            entries.push(entry);
            for former in former {
                let gone = !entries.iter().any(|entry| entry.digest == former.digest);
                if gone && !self.is_same_image(&former, target) {
                    entries.push(nameless(&former));
                }
            }
        })
    }

    /// Keeps an image without a name, unless it has an entry already.
    pub fn keep_untagged(&self, target: &Descriptor) -> Result<(), StoreError> {
        self.own_documents(target)?;
        self.make_durable(target)?;
        self.change_index(|entries| {
            if !entries.iter().any(|entry| entry.digest == target.digest) {
                entries.push(nameless(target));
            }
        })
    }

    /// Takes a name away; returns what it pointed to. The content stays until it is collected.
    ///
    /// # Errors
    /// [`StoreError::ReadOnly`] for a name that only a shared store has.
    pub fn untag(&self, reference: &Reference) -> Result<Option<Descriptor>, StoreError> {
        self.check_is_own(reference)?;
        let name = reference.familiar();
        let removed = self.change_index(|entries| take(entries, |e| name_of(e) == Some(&name)))?;
        Ok(removed.first().map(nameless))
    }

    /// Takes the nameless entry of an image away.
    pub(crate) fn remove_untagged(&self, target: &Descriptor) -> Result<(), StoreError> {
        let is_it = |entry: &Descriptor| entry.digest == target.digest && name_of(entry).is_none();
        self.change_index(|entries| take(entries, is_it)).map(drop)
    }

    /// Takes all names and the nameless entry of an image away; returns the names.
    ///
    /// # Errors
    /// [`StoreError::ReadOnly`] for an image that only a shared store has.
    pub fn remove_image(&self, target: &Descriptor) -> Result<Vec<Reference>, StoreError> {
        self.check_has_own(target)?;
        let removed = self.change_index(|entries| take(entries, |e| e.digest == target.digest))?;
        Ok(removed
            .iter()
            .filter_map(|entry| Tagged::of(entry).reference)
            .collect())
    }

    /// Returns the `repository@digest` names of an image that was pulled or pushed.
    pub fn repository_digests(&self, image: &Digest) -> Result<Vec<String>, StoreError> {
        let value = self.records().get(REPOSITORY_DIGESTS, image.as_str())?;
        Ok(value
            .and_then(|value| serde_json::from_str(&value).ok())
            .unwrap_or_default())
    }

    /// Returns the `repository@digest` names that lead to an image, as far as they are known.
    pub fn known_names(&self, target: &Descriptor) -> Result<Vec<String>, StoreError> {
        let manifest = self.read_document::<Manifest>(target).ok();
        let image = manifest.map(|manifest| manifest.value().config.digest.to_string());
        let suffix = format!("@{}", target.digest);
        let mut known = Vec::new();
        for (id, names) in self.records().entries(REPOSITORY_DIGESTS)? {
            let names: Vec<String> = serde_json::from_str(&names).unwrap_or_default();
            let is_image = image.as_ref() == Some(&id);
            known.extend(
                names
                    .into_iter()
                    .filter(|name| is_image || name.ends_with(&suffix)),
            );
        }
        Ok(known)
    }

    /// Returns the platform of an image, where its documents can be read.
    pub fn platform_of(&self, target: &Descriptor) -> Option<Platform> {
        let manifest = self.read_document::<Manifest>(target).ok()?;
        let config = self.read_document::<ImageConfig>(&manifest.value().config);
        Some(config.ok()?.value().platform())
    }

    /// Notes that an image is known as `digest` in the repository of `reference`.
    pub(crate) fn add_repository_digest(
        &self,
        image: &Digest,
        reference: &Reference,
        digest: &Digest,
    ) -> Result<(), StoreError> {
        let mut names = self.repository_digests(image)?;
        let name = format!("{}@{digest}", reference.familiar_repository());
        if names.contains(&name) {
            return Ok(());
        }
        names.push(name);
        let value = serde_json::Value::from(names).to_string();
        self.records()
            .put(REPOSITORY_DIGESTS, image.as_str(), &value)
    }

    pub(crate) fn read_index(&self) -> Result<Index, StoreError> {
        let path = self.root().join("index.json");
        let raw = fs::read(&path).at("read", &path)?;
        serde_json::from_slice(&raw).map_err(|source| StoreError::Damaged { path, source })
    }

    /// Changes `index.json` as a whole while no other process does; writes only what differs.
    fn change_index<T>(
        &self,
        change: impl FnOnce(&mut Vec<Descriptor>) -> T,
    ) -> Result<T, StoreError> {
        let _lock = self.lock_index()?;
        let mut index = self.read_index()?;
        let before = index.manifests.clone();
        let result = change(&mut index.manifests);
        if index.manifests != before {
            // The names of the documents that the entries lead to must be durable before them.
            sync_directory(&self.directory("blobs/sha256"))?;
            let document = Document::encode(MediaType::OCI_INDEX, index);
            self.replace_file(&self.root().join("index.json"), document.raw())?;
        }
        Ok(result)
    }

    /// Manifests differ when layers are compressed in one and not in the other.
    fn is_same_image(&self, one: &Descriptor, other: &Descriptor) -> bool {
        match (self.image(one, None), self.image(other, None)) {
            (Ok(one), Ok(other)) => one.id() == other.id(),
            _ => false,
        }
    }
}

impl Tagged {
    fn of(entry: &Descriptor) -> Self {
        Self {
            reference: name_of(entry).and_then(|name| name.parse().ok()),
            target: nameless(entry),
        }
    }
}

/// Chooses an index's entry for a platform.
///
/// # Errors
/// [`StoreError::Platform`] when it has none.
pub fn choose(index: &Document<Index>, wanted: &Platform) -> Result<Descriptor, StoreError> {
    let fits = |entry: &&Descriptor| match &entry.platform {
        Some(platform) => platform.satisfies(wanted),
        None => index.value().manifests.len() == 1,
    };
    let platforms = index
        .value()
        .manifests
        .iter()
        .filter_map(|entry| entry.platform.as_ref())
        .filter(|platform| !platform.is_unknown());
    match index.value().manifests.iter().find(fits) {
        Some(entry) => Ok(entry.clone()),
        None => Err(StoreError::Platform {
            digest: index.digest().clone(),
            wanted: wanted.to_string(),
            available: platforms.map(ToString::to_string).collect(),
        }),
    }
}

pub(crate) fn name_of(entry: &Descriptor) -> Option<&String> {
    entry.annotations.get(Descriptor::REF_NAME)
}

fn nameless(entry: &Descriptor) -> Descriptor {
    let mut entry = entry.clone();
    entry.annotations.remove(Descriptor::REF_NAME);
    entry
}

fn take(entries: &mut Vec<Descriptor>, is_taken: impl Fn(&Descriptor) -> bool) -> Vec<Descriptor> {
    entries.extract_if(.., |entry| is_taken(entry)).collect()
}
