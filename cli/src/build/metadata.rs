//! The configuration of an image at a registry, without its layers.

use mica_oci::{
    BlobReader, ContractError, Descriptor, Document, Fetch, ImageConfig, Index, Manifest, Platform,
    Reference, Resolve,
};
use serde::de::DeserializeOwned;
use tokio::io::AsyncReadExt;

/// No document is longer: what the distribution specification allows for a manifest.
const LONGEST: u64 = 4 << 20;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MetadataError {
    /// The source does not have it.
    #[error("cannot load metadata of {reference}")]
    Source {
        /// The image.
        reference: String,
        /// What the source says.
        #[source]
        source: ContractError,
    },
    /// The image is there, but not for the platform.
    #[error("{reference}: no match for platform in manifest: not found")]
    Platform {
        /// The image.
        reference: String,
    },
}

/// Reads the configuration of an image for a platform.
pub(crate) async fn image_configuration<S: Fetch + Resolve>(
    source: &S,
    reference: &Reference,
    platform: &Platform,
) -> Result<ImageConfig, MetadataError> {
    let failed = |source| MetadataError::Source {
        reference: reference.to_string(),
        source,
    };
    let mut target = source.resolve(reference).await.map_err(failed)?;
    while target.media_type.is_index() {
        let index: Index = document(source, &target).await.map_err(failed)?;
        let fits = |entry: &&Descriptor| match &entry.platform {
            Some(own) => own.satisfies(platform),
            None => index.manifests.len() == 1,
        };
        let found = index.manifests.iter().find(fits).cloned();
        target = found.ok_or_else(|| MetadataError::Platform {
            reference: reference.to_string(),
        })?;
    }
    let manifest: Manifest = document(source, &target).await.map_err(failed)?;
    document(source, &manifest.config).await.map_err(failed)
}

async fn document<S: Fetch, T: DeserializeOwned>(
    source: &S,
    descriptor: &Descriptor,
) -> Result<T, ContractError> {
    let reader: BlobReader = source.fetch(descriptor).await?;
    let mut raw = Vec::new();
    reader.take(LONGEST).read_to_end(&mut raw).await?;
    let document: Document<T> = Document::parse(descriptor.media_type.clone(), raw)?;
    Ok(document.into_value())
}
