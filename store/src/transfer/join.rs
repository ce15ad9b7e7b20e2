//! One name for several platforms that were pulled one by one.

use mica_oci::{Descriptor, Document, Fetch, Index, Reference, Resolve};

use super::contracts::fetch_bytes;
use super::{TransferError, blocking};
use crate::{Store, StoreError};

/// Lets a name lead to an index again, after a pull for one platform took it from `former`, an
/// image for another one. Where both are not of the same index nothing is done: the name stays
/// with what was pulled last.
pub async fn join_platforms<S: Fetch + Resolve>(
    store: &Store,
    source: &S,
    reference: &Reference,
    former: &Descriptor,
) -> Result<(), TransferError> {
    let (owned, name) = (store.clone(), reference.clone());
    let current = blocking(move || owned.resolve_tag(&name)).await?;
    if current.as_ref() == Some(former) {
        return Ok(());
    }
    let resolved = source.resolve(reference).await;
    let resolved = resolved.map_err(|source| TransferError::Resolve {
        reference: reference.to_string(),
        source,
    })?;
    if !resolved.media_type.is_index() {
        return Ok(());
    }
    let raw = fetch_bytes(source, &resolved).await?;
    let index = Document::<Index>::parse(resolved.media_type, raw).map_err(StoreError::from)?;
    let is_listed = |target: &Descriptor| {
        let mut entries = index.value().manifests.iter();
        target.digest == *index.digest() || entries.any(|entry| entry.digest == target.digest)
    };
    if !is_listed(former) || !current.as_ref().is_some_and(is_listed) {
        return Ok(());
    }
    let (store, reference) = (store.clone(), reference.clone());
    Ok(blocking(move || {
        store.put_document(&index)?;
        store.tag_index(&index, &reference)
    })
    .await?)
}
