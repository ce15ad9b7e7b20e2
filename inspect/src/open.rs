//! Opening images, wherever they are.

use std::path::Path;
use std::sync::Arc;

use mica_oci::{ContractError, Descriptor, Fetch, Index, Manifest, Platform, Reference, Resolve};
use mica_store::{Archive, ArchivedImage, Store, TransferError, Written};
use tokio::runtime::Runtime;

use crate::InspectError;
use crate::image::{Image, Layer};
use crate::source::{
    ArchiveBlob, ArchiveLayer, Attestations, DirectoryLayer, FetchedLayer, Source, StoreLayer,
};

impl Image {
    /// Opens an image of the store, found by its manifest or by an index that lists it.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn of_store(
        name: &str,
        store: &Store,
        target: &Descriptor,
        image: mica_store::Image,
    ) -> Result<Self, InspectError> {
        let manifests = store.attestations(target, &image)?;
        let store = store.clone();
        let source = move |descriptor: &Descriptor| -> Box<dyn Source> {
            Box::new(StoreLayer {
                store: store.clone(),
                descriptor: descriptor.clone(),
            })
        };
        let layer = |_, descriptor: &Descriptor| source(descriptor);
        let opened = Self::of_documents(name.to_owned(), image.manifest, image.config, layer);
        Ok(opened.with_attestations(manifests, source))
    }

    fn with_attestations(
        self,
        manifests: Vec<Descriptor>,
        source: impl Fn(&Descriptor) -> Box<dyn Source> + Send + Sync + 'static,
    ) -> Self {
        let source = Box::new(source);
        Self {
            attestations: Some(Attestations { manifests, source }),
            ..self
        }
    }

    /// Opens an image of an archive file or a layout's directory: the one called `wanted`, by name,
    /// tag, number (`@1`) or start of its ID, or the only one.
    pub fn of_archive(
        path: &Path,
        wanted: Option<&str>,
        platform: &Platform,
    ) -> Result<Self, InspectError> {
        let failed = |source| InspectError::Archive {
            path: path.to_owned(),
            source,
        };
        let archive = Archive::open(path).map_err(failed)?;
        let images = archive.images(platform).map_err(failed)?;
        let image = choose(path, images, wanted)?;
        let (archive, image) = (Arc::new(archive), Arc::new(image));
        let source = |index, _: &Descriptor| -> Box<dyn Source> {
            Box::new(ArchiveLayer {
                archive: Arc::clone(&archive),
                image: Arc::clone(&image),
                index,
                path: path.to_owned(),
            })
        };
        let name = image.references.first().map(Reference::familiar);
        let name = name.unwrap_or_else(|| path.display().to_string());
        let (manifest, config) = (image.manifest.clone(), image.config.clone());
        let opened = Self::of_documents(name, manifest, config, source);
        let path = path.to_owned();
        let blob = move |descriptor: &Descriptor| -> Box<dyn Source> {
            Box::new(ArchiveBlob {
                archive: Arc::clone(&archive),
                descriptor: descriptor.clone(),
                path: path.clone(),
            })
        };
        Ok(opened.with_attestations(image.attestations.clone(), blob))
    }

    /// Opens a directory: any tree of files, or a layer in overlayfs form.
    pub fn of_directory(path: &Path) -> Result<Self, InspectError> {
        let opened = std::fs::read_dir(path).map(drop);
        opened.map_err(|source| InspectError::File {
            action: "open",
            path: path.to_owned(),
            source,
        })?;
        let path = path.to_owned();
        Ok(Self {
            name: path.display().to_string(),
            manifest: None,
            config: None,
            layers: vec![Layer::new(Box::new(DirectoryLayer { path }))],
            attestations: None,
            cache: None,
        })
    }

    /// Puts what a container wrote on top.
    pub fn with_written(mut self, name: &str, written: Written) -> Self {
        self.layers.push(Layer {
            instruction: format!("container {name}"),
            ..Layer::new(Box::new(DirectoryLayer { path: written }))
        });
        Self {
            name: name.to_owned(),
            ..self
        }
    }

    /// Opens an image of a registry, or any other place that resolves and fetches: documents at
    /// once, layers when they are asked for.
    pub fn of_remote<F>(
        from: F,
        reference: &Reference,
        platform: &Platform,
        runtime: Arc<Runtime>,
    ) -> Result<Self, InspectError>
    where
        F: Fetch + Resolve + Send + Sync + 'static,
    {
        let documents = runtime.block_on(remote_documents(&from, reference, platform))?;
        let (manifest, config, attestations) = documents;
        let from = Arc::new(from);
        let source = move |descriptor: &Descriptor| -> Box<dyn Source> {
            Box::new(FetchedLayer {
                from: Arc::clone(&from),
                descriptor: descriptor.clone(),
                runtime: Arc::clone(&runtime),
            })
        };
        let name = reference.familiar();
        let layer = |_, descriptor: &Descriptor| source(descriptor);
        let opened = Self::of_documents(name, manifest, config, layer);
        Ok(opened.with_attestations(attestations, source))
    }
}

type Documents = (
    mica_oci::Document<Manifest>,
    mica_oci::Document<mica_oci::ImageConfig>,
    Vec<Descriptor>,
);

async fn remote_documents<F: Fetch + Resolve>(
    from: &F,
    reference: &Reference,
    platform: &Platform,
) -> Result<Documents, InspectError> {
    let resolved = from.resolve(reference).await;
    let mut target = resolved.map_err(|source: ContractError| TransferError::Resolve {
        reference: reference.familiar(),
        source,
    })?;
    let mut attestations = Vec::new();
    if target.media_type.is_index() {
        let index = mica_store::fetch_document::<_, Index>(from, &target).await?;
        target = mica_store::choose(&index, platform)?;
        let listed = index.value().attestations_of(&target.digest);
        attestations.extend(listed.cloned());
    }
    let manifest = mica_store::fetch_document::<_, Manifest>(from, &target).await?;
    let config = mica_store::fetch_document(from, &manifest.value().config).await?;
    Ok((manifest, config, attestations))
}

/// Chooses an image of an archive.
fn choose(
    path: &Path,
    mut images: Vec<ArchivedImage>,
    wanted: Option<&str>,
) -> Result<ArchivedImage, InspectError> {
    let path = path.to_owned();
    let names = |images: &[ArchivedImage]| images.iter().map(shown).collect::<Vec<_>>();
    if images.is_empty() {
        return Err(InspectError::NoImage { path });
    }
    let Some(wanted) = wanted else {
        let names = names(&images);
        return match images.len() {
            1 => Ok(images.remove(0)),
            _ => Err(InspectError::SeveralImages { path, names }),
        };
    };
    match images.iter().position(|image| is_called(image, wanted)) {
        Some(found) => Ok(images.swap_remove(found)),
        None => Err(InspectError::NoSuchImage {
            path,
            name: wanted.to_owned(),
            names: names(&images),
        }),
    }
}

fn is_called(image: &ArchivedImage, wanted: &str) -> bool {
    let is_name = |reference: &Reference| {
        let parsed: Option<Reference> = wanted.parse().ok();
        parsed.is_some_and(|parsed| parsed == *reference)
            || reference.tag() == Some(wanted)
            // A layout's name may be the tag alone, which is then taken for a repository.
            || reference.familiar_repository() == wanted
    };
    let digest = wanted.strip_prefix("sha256:").unwrap_or(wanted);
    let is_digest = |hex: &str| digest.len() >= 6 && hex.starts_with(digest);
    image.references.iter().any(is_name)
        || is_digest(image.config.digest().hex())
        || is_digest(image.manifest.digest().hex())
}

fn shown(image: &ArchivedImage) -> String {
    let name = image.references.first().map(Reference::familiar);
    name.unwrap_or_else(|| image.config.digest().short().to_owned())
}
